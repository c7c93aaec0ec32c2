/* JSON written straight into a buffer, for what is written a million times: byte for byte what
 * jansson writes (JSON_COMPACT) for the same values, without making them first. */
#ifndef WEIR_JSON_TEXT_H
#define WEIR_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wire/batch.h>

/* Grows as it is needed; all zeroes: empty. Its memory is weir_alloc's, and data the owner's to
 * free. No NUL follows. */
struct weir_json_text {
    char *data;
    size_t bytes, capacity;
};

/* What is JSON already. */
void weir_json_text_raw(struct weir_json_text *self, const char *json, size_t bytes);
/* A text constant, as it stands. */
#define WEIR_JSON_TEXT(self, constant) weir_json_text_raw(self, constant, sizeof(constant) - 1)
/* As a string; false: it is no UTF-8 (RFC 3629), and nothing was written. */
bool weir_json_text_string(struct weir_json_text *self, const void *data, size_t bytes);
/* A member of an object: `start` is `{"name` or `,"name`, whose closing quote comes with what
 * follows. It is null where data is NULL, and called "<name>_base64" where it is no UTF-8. */
void weir_json_text_member(struct weir_json_text *self, const char *start, const void *data,
                           size_t bytes);
void weir_json_text_number(struct weir_json_text *self, uint64_t number);
/* {name: value, …}; what is no UTF-8 is {"base64": "…"}. Of one name the last value counts. */
void weir_json_text_headers(struct weir_json_text *self, const struct weir_message_view *message);

#endif
