/* A result as one JSON line: {"id", "topic", "group", "key", "attempt", "result", …}. */
#ifndef WEIR_RESULT_JSON_H
#define WEIR_RESULT_JSON_H

#include <hold/held_message.h>

struct weir_lines { /* grows; used again for each group of batches */
    char *data;
    size_t bytes, capacity;
};

/* Append the line of one message, accepted at `time_ms`. */
void weir_lines_add(struct weir_lines *lines, const struct weir_held_message *message,
                    int64_t time_ms);

#endif
