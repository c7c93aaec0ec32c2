/* What docs/protocol.md says in the words of the code: tables from the .def files and limits.h, and
 * bytes from the encoder. */
#ifndef PROTOCOL_DOC_H
#define PROTOCOL_DOC_H

#include <stdbool.h>
#include <stdio.h>

/* Print the block of this name ("verb PUT", "limits", "dump ok" …); false: there is none. */
bool print_tables(const char *name, FILE *out);
bool print_dump(const char *name, FILE *out);

/* Every block that the document must have, NULL at the end. */
const char *const *table_names(void);
const char *const *dump_names(void);

#endif
