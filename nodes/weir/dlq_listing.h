/* `weir dlq ls`, `show` and `export`: dead letters as tables, pages and JSON lines. */
#ifndef WEIR_DLQ_LISTING_H
#define WEIR_DLQ_LISTING_H

#include "dlq_selection.h"

#include <jansson.h>
#include <stdio.h>

#define WEIR_DLQ_ROWS_SHOWN 1000u /* of a table, unless asked otherwise */

/* Each returns the exit status; what went wrong was said. */
int weir_dlq_ls(const struct weir_command *command, struct weir_dlq_selection *selection,
                bool json);
/* 66 when an id has no dead letter. */
int weir_dlq_show(const struct weir_command *command, struct weir_dlq_selection *selection,
                  bool json);
/* Everything as JSON lines. */
int weir_dlq_export(const struct weir_command *command, struct weir_dlq_selection *selection,
                    FILE *out);

/* A letter as JSON, with its payload if it was read; the caller's. */
json_t *weir_dead_letter_to_json(const struct weir_dead_letter *letter);

#endif
