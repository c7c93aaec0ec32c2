#include "msgpack_json.h"

#include <hold/message_json.h>
#include <wire/reader.h>

#define DEPTH_MAX 16

static json_t *read_value(struct weir_reader *reader, int depth);

/* Either reads `count` values (pairs), or drops what it has and gives NULL. */
static json_t *read_array(struct weir_reader *reader, uint32_t count, int depth)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < count; i++) {
        json_t *item = read_value(reader, depth + 1);

        if (item == NULL) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *read_map(struct weir_reader *reader, uint32_t pairs, int depth)
{
    json_t *object = json_object();

    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_token name;
        json_t *value;

        if (!weir_read_token(reader, &name) || name.type != WEIR_TOKEN_TEXT ||
            (value = read_value(reader, depth + 1)) == NULL ||
            json_object_setn_new(object, (const char *)name.data, name.size, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* NULL: too deep, or of a type that has no place in an answer. */
static json_t *read_value(struct weir_reader *reader, int depth)
{
    struct weir_token token;

    if (depth > DEPTH_MAX || !weir_read_token(reader, &token))
        return NULL;
    switch (token.type) {
    case WEIR_TOKEN_NIL:
        return json_null();
    case WEIR_TOKEN_BOOL:
        return json_boolean(token.u64);
    case WEIR_TOKEN_UINT:
        return token.u64 <= INT64_MAX ? json_integer((json_int_t)token.u64)
                                      : json_real((double)token.u64);
    case WEIR_TOKEN_INT:
        return json_integer(token.i64);
    case WEIR_TOKEN_FLOAT:
        return json_real(token.f64);
    case WEIR_TOKEN_TEXT:
    case WEIR_TOKEN_BIN:
        return weir_json_bytes(token.data, token.size);
    case WEIR_TOKEN_ARRAY:
        return read_array(reader, token.size, depth);
    case WEIR_TOKEN_MAP:
        return read_map(reader, token.size, depth);
    default:
        return NULL;
    }
}

int weir_msgpack_to_json(const void *data, size_t bytes, json_t **value, struct weir_error *error)
{
    struct weir_reader reader = weir_reader_of(data, bytes);

    *value = read_value(&reader, 0);
    if (*value != NULL && weir_reader_left(&reader) > 0) {
        json_decref(*value);
        *value = NULL;
    }
    if (*value == NULL)
        return weir_error_set(error, WEIR_EPROTO,
                              "an answer of %zu bytes is not one msgpack value of known types",
                              bytes);
    return 0;
}
