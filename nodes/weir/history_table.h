/* A message's past attempts, as ventilators and the collector tell them. */
#ifndef WEIR_HISTORY_TABLE_H
#define WEIR_HISTORY_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* `history` is a JSON array of notes; an empty one prints nothing. An empty line comes first, then
 * `title` unless it is "". */
void weir_history_print(const json_t *history, const char *title, FILE *out, bool coloured);

#endif
