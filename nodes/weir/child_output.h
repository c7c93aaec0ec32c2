/* The lines that the supervised processes write, each with the name of its process before it. */
#ifndef WEIR_CHILD_OUTPUT_H
#define WEIR_CHILD_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WEIR_LINE_BYTES_MAX 8192u /* a longer line comes in pieces */

struct weir_child_output {
    FILE *out;
    char *prefix; /* NULL: lines go on as they come */
    char *name;   /* the process names itself in each line of its log; once is enough */
    char *line;
    size_t used;
};

/* `number` chooses the colour, `width` is that of the widest name. */
void weir_child_output_init(struct weir_child_output *self, FILE *out, const char *name,
                            uint32_t number, uint32_t width, bool coloured);
void weir_child_output_fini(struct weir_child_output *self);
/* Read what there is, at most one buffer, and print the complete lines. False at the end of the
 * file, after the last line was printed. `fd` does not block. */
bool weir_child_output_read(struct weir_child_output *self, int fd);

#endif
