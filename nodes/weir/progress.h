/* A progress bar on stderr, when that is a terminal and the work takes longer than a moment. */
#ifndef WEIR_PROGRESS_H
#define WEIR_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct weir_progress {
    bool wanted;        /* stderr is a terminal */
    bool shown;         /* something of it stands on the terminal */
    uint64_t bytes_all; /* of the input; 0: not known */
    int64_t started_ns, drawn_ns;
};

void weir_progress_init(struct weir_progress *self, uint64_t bytes_all, int64_t now_ns);
/* Draw it anew, at most ten times a second. `remark` says what is waited for; may be "". */
void weir_progress_draw(struct weir_progress *self, uint64_t count, uint64_t bytes,
                        const char *remark, int64_t now_ns);
/* Take it off the terminal, before a line is printed and at the end. */
void weir_progress_clear(struct weir_progress *self);

/* The bar's text, without control characters: "[######    ]  60 %  12345 messages, 5678/s". */
#define WEIR_PROGRESS_BYTES 256
void weir_progress_format(const struct weir_progress *self, uint64_t count, uint64_t bytes,
                          const char *remark, int64_t now_ns, char text[WEIR_PROGRESS_BYTES]);

#endif
