/* A result as one JSON line: {"id", "topic", "group", "key", "attempt", "result", …}. */
#ifndef WEIR_RESULT_JSON_H
#define WEIR_RESULT_JSON_H

#include <hold/held_message.h>
#include <json/json_text.h>

/* Append the line of one message, accepted at `time` (as weir_time_format writes it). */
void weir_result_line(struct weir_json_text *lines, const struct weir_held_message *message,
                      const char *time);

#endif
