#include "msgpack_json.h"

#include <base/alloc.h>
#include <msgpack.h>
#include <sodium.h>
#include <stdlib.h>

#define DEPTH_MAX 16

json_t *weir_json_from_bytes(const void *data, size_t bytes)
{
    json_t *text = bytes == 0 ? json_string("") : json_stringn(data, bytes);

    if (text != NULL)
        return text;
    size_t room = sodium_base64_ENCODED_LEN(bytes, sodium_base64_VARIANT_ORIGINAL);
    char *base64 = weir_alloc(room);

    sodium_bin2base64(base64, room, data, bytes, sodium_base64_VARIANT_ORIGINAL);
    json_t *object = json_pack("{s:s}", "base64", base64);

    free(base64);
    return object;
}

static json_t *convert(const msgpack_object *object, int depth);

static json_t *convert_array(const msgpack_object_array *array, int depth)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < array->size; i++) {
        json_t *item = convert(&array->ptr[i], depth + 1);

        if (item == NULL) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *convert_map(const msgpack_object_map *map, int depth)
{
    json_t *object = json_object();

    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *name = &map->ptr[i].key;
        json_t *text = name->type == MSGPACK_OBJECT_STR
                           ? json_stringn(name->via.str.ptr, name->via.str.size)
                           : NULL;
        json_t *value = text ? convert(&map->ptr[i].val, depth + 1) : NULL;

        if (value == NULL) {
            json_decref(text);
            json_decref(object);
            return NULL;
        }
        json_object_set_new(object, json_string_value(text), value);
        json_decref(text);
    }
    return object;
}

/* NULL: too deep, or of a type that has no place in an answer. */
static json_t *convert(const msgpack_object *object, int depth)
{
    if (depth > DEPTH_MAX)
        return NULL;
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        return json_null();
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(object->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return object->via.u64 <= INT64_MAX ? json_integer((json_int_t)object->via.u64)
                                            : json_real((double)object->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return json_integer(object->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return json_real(object->via.f64);
    case MSGPACK_OBJECT_STR:
        return weir_json_from_bytes(object->via.str.ptr, object->via.str.size);
    case MSGPACK_OBJECT_BIN:
        return weir_json_from_bytes(object->via.bin.ptr, object->via.bin.size);
    case MSGPACK_OBJECT_ARRAY:
        return convert_array(&object->via.array, depth);
    case MSGPACK_OBJECT_MAP:
        return convert_map(&object->via.map, depth);
    default:
        return NULL;
    }
}

int weir_msgpack_to_json(const void *data, size_t bytes, json_t **value, struct weir_error *error)
{
    msgpack_unpacked unpacked;
    size_t used = 0;

    *value = NULL;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, data, bytes, &used) == MSGPACK_UNPACK_SUCCESS &&
        used == bytes)
        *value = convert(&unpacked.data, 0);
    msgpack_unpacked_destroy(&unpacked);
    if (*value == NULL)
        return weir_error_set(error, WEIR_EPROTO,
                              "an answer of %zu bytes is not one msgpack value of known types",
                              bytes);
    return 0;
}
