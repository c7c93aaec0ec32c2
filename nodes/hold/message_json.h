/* Parts of a message as JSON, without loss: what is not UTF-8 stands as {"base64": "…"}. */
#ifndef WEIR_MESSAGE_JSON_H
#define WEIR_MESSAGE_JSON_H

#include <jansson.h>
#include <wire/batch.h>

/* A string, or an object with the bytes in base64. */
json_t *weir_json_bytes(const void *data, size_t bytes);
/* [{"attempt", "time_ms", "outcome", "worker", "error"}, …]; empty where it does not parse. */
json_t *weir_json_history(const struct weir_bytes *history);

/* Unix time in ms as "2026-11-22T10:00:00.123Z". */
#define WEIR_TIME_TEXT_BYTES 32
void weir_time_format(int64_t time_ms, char text[WEIR_TIME_TEXT_BYTES]);

#endif
