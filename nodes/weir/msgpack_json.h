/* What nodes answer, as JSON. */
#ifndef WEIR_MSGPACK_JSON_H
#define WEIR_MSGPACK_JSON_H

#include <base/error.h>
#include <jansson.h>
#include <stddef.h>

/* Decode one msgpack value that fills `data` exactly. Bytes that are not UTF-8 become
 * {"base64": "…"}; a number above 2^63 - 1 becomes a real. WEIR_EPROTO: says what is wrong; nothing
 * deeper than 16 levels is taken. *value is the caller's. */
int weir_msgpack_to_json(const void *data, size_t bytes, json_t **value, struct weir_error *error);

#endif
