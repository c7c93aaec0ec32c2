#include <base/topic.h>
#include <wire/message.h>
#include <wire/reader.h>
#include <wire/writer.h>

#include <string.h>

/* What the head of a value takes at most, and an origin without its texts and history. */
#define HEAD_BYTES 5u
#define ORIGIN_BYTES 64u

static bool header_name_valid(const char *name, uint32_t bytes)
{
    if (bytes == 0 || bytes > WEIR_HEADER_NAME_BYTES_MAX)
        return false;
    for (uint32_t i = 0; i < bytes; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '=')
            return false;
    return true;
}

static bool origin_valid(const struct weir_origin *origin)
{
    return weir_topic_valid(origin->topic, origin->topic_bytes) &&
           weir_name_valid(origin->group, origin->group_bytes) &&
           (origin->history.size == 0 || weir_history_valid(&origin->history));
}

/* Decoding. Each reader gives NULL, or what was expected where it stopped. */

static const char *read_key(struct weir_reader *reader, uint32_t max, const char **key,
                            uint32_t *bytes)
{
    if (weir_read_nil(reader))
        return NULL;
    if (!weir_read_raw(reader, key, bytes) || *bytes > max)
        return "a key: nil, or str or bin within the limit for keys";
    if (*bytes == 0)
        *key = NULL;
    return NULL;
}

static const char *read_headers(struct weir_reader *reader, struct weir_message_view *message)
{
    uint32_t pairs, total = 0;

    if (weir_read_nil(reader))
        return NULL;
    if (!weir_read_map(reader, &pairs) || pairs > WEIR_HEADERS_MAX)
        return "headers: nil, or a map of not too many pairs";
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_header_pair *pair = &message->headers[i];

        if (!weir_read_raw(reader, &pair->name, &pair->name_bytes) ||
            !header_name_valid(pair->name, pair->name_bytes))
            return "a header's name: visible ASCII other than '=', within its limit";
        if (!weir_read_raw(reader, &pair->value, &pair->value_bytes) ||
            pair->value_bytes > WEIR_HEADER_VALUE_BYTES_MAX)
            return "a header's value: str or bin within the limit for values";
        total += pair->name_bytes + pair->value_bytes;
    }
    if (total > WEIR_HEADERS_BYTES_MAX)
        return "headers that are within the limit together";
    message->header_count = pairs;
    return NULL;
}

static const char *read_origin(struct weir_reader *reader, struct weir_message_view *message)
{
    struct weir_origin *origin = &message->origin;
    const char *bad = "an origin: nil, or [id, topic, group, death, attempt, reason, history]";
    const uint8_t *start;
    uint32_t count;

    if (weir_read_nil(reader))
        return NULL;
    if (!weir_read_array(reader, &count) || count < 6 ||
        !weir_read_fixed(reader, origin->id, WEIR_ID_BYTES) ||
        !weir_read_text(reader, &origin->topic, &origin->topic_bytes) ||
        !weir_read_text(reader, &origin->group, &origin->group_bytes) ||
        !weir_read_u32(reader, UINT32_MAX, &origin->death) ||
        !weir_read_u32(reader, UINT32_MAX, &origin->attempt) ||
        !weir_read_u32(reader, UINT32_MAX, &origin->reason))
        return bad;
    origin->history = WEIR_BYTES_NONE;
    if (count > 6 && !weir_read_nil(reader)) {
        start = reader->at;
        if (!weir_read_skip(reader))
            return bad;
        origin->history = weir_bytes_borrow(start, (size_t)(reader->at - start));
    }
    for (uint32_t i = 7; i < count; i++)
        if (!weir_read_skip(reader))
            return bad;
    if (!origin_valid(origin))
        return "an origin with a valid topic, group and history";
    message->has_origin = true;
    return NULL;
}

static const char *read_message(struct weir_reader *reader, struct weir_message_view *message)
{
    const char *payload, *wrong = NULL;
    uint32_t count, payload_bytes;

    if (!weir_read_array(reader, &count) || count == 0)
        return "an array [payload, key, headers, idempotency key, origin]";
    if (!weir_read_raw(reader, &payload, &payload_bytes))
        return "a payload: bin or str";
    message->payload = (const uint8_t *)payload;
    message->payload_bytes = payload_bytes;
    if (count > 1)
        wrong = read_key(reader, WEIR_KEY_BYTES_MAX, &message->key, &message->key_bytes);
    if (wrong == NULL && count > 2)
        wrong = read_headers(reader, message);
    if (wrong == NULL && count > 3)
        wrong = read_key(reader, WEIR_IDEMPOTENCY_KEY_BYTES_MAX, &message->idempotency_key,
                         &message->idempotency_key_bytes);
    if (wrong == NULL && count > 4)
        wrong = read_origin(reader, message);
    /* What a later version adds. */
    for (uint32_t i = 5; wrong == NULL && i < count; i++)
        if (!weir_read_skip(reader))
            wrong = "a msgpack value";
    return wrong;
}

int weir_message_decode(const void *data, size_t size, struct weir_message_view *message,
                        struct weir_error *error)
{
    struct weir_reader reader = weir_reader_of(data, size);
    const char *wrong;

    message->key = NULL;
    message->key_bytes = 0;
    message->header_count = 0;
    message->idempotency_key = NULL;
    message->idempotency_key_bytes = 0;
    message->has_origin = false;
    if (size > WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX)
        return weir_error_set(error, WEIR_EPROTO, "message: %zu bytes, the limit is %u", size,
                              WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX);
    wrong = read_message(&reader, message);
    if (wrong == NULL && reader.at != reader.end)
        wrong = "the message to end here";
    if (wrong != NULL)
        return weir_error_set(error, WEIR_EPROTO, "message: expected %s, before byte %zu of %zu",
                              wrong, size - weir_reader_left(&reader), size);
    return 0;
}

/* Encoding. */

static int check_headers(const struct weir_message_view *message, size_t *bytes,
                         struct weir_error *error)
{
    size_t total = 0;

    if (message->header_count > WEIR_HEADERS_MAX)
        return weir_error_set(error, WEIR_ELIMIT, "message: %u headers, the limit is %u",
                              message->header_count, WEIR_HEADERS_MAX);
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct weir_header_pair *pair = &message->headers[i];

        if (!header_name_valid(pair->name, pair->name_bytes))
            return weir_error_set(error, WEIR_EINVAL,
                                  "message: the name of header %u is not valid: expected 1 to %u "
                                  "visible ASCII characters other than '='",
                                  i + 1, WEIR_HEADER_NAME_BYTES_MAX);
        if (pair->value_bytes > WEIR_HEADER_VALUE_BYTES_MAX)
            return weir_error_set(
                error, WEIR_ELIMIT, "message: header %.*s has %u bytes, the limit is %u",
                (int)pair->name_bytes, pair->name, pair->value_bytes, WEIR_HEADER_VALUE_BYTES_MAX);
        total += pair->name_bytes + pair->value_bytes;
    }
    if (total > WEIR_HEADERS_BYTES_MAX)
        return weir_error_set(error, WEIR_ELIMIT,
                              "message: the headers have %zu bytes together, the limit is %u",
                              total, WEIR_HEADERS_BYTES_MAX);
    *bytes += total + 2u * HEAD_BYTES * message->header_count;
    return 0;
}

int weir_message_check(const struct weir_message_view *message, size_t *bytes_max,
                       struct weir_error *error)
{
    size_t bytes = 6u * HEAD_BYTES, origin_bytes = 0;
    int rc;

    if (message->key_bytes > WEIR_KEY_BYTES_MAX)
        return weir_error_set(error, WEIR_ELIMIT, "message: the key has %u bytes, the limit is %u",
                              message->key_bytes, WEIR_KEY_BYTES_MAX);
    if (message->idempotency_key_bytes > WEIR_IDEMPOTENCY_KEY_BYTES_MAX)
        return weir_error_set(error, WEIR_ELIMIT,
                              "message: the idempotency key has %u bytes, the limit is %u",
                              message->idempotency_key_bytes, WEIR_IDEMPOTENCY_KEY_BYTES_MAX);
    rc = check_headers(message, &bytes, error);
    if (rc != 0)
        return rc;
    bytes += message->key_bytes;
    /* What an origin adds is bounded by its parts: whatever was accepted can be made a dead letter.
     */
    if (message->has_origin) {
        if (!origin_valid(&message->origin))
            return weir_error_set(error, WEIR_EINVAL,
                                  "message: its origin has no valid topic, group or history");
        origin_bytes = ORIGIN_BYTES + message->origin.topic_bytes + message->origin.group_bytes +
                       message->origin.history.size + message->idempotency_key_bytes;
    } else {
        bytes += message->idempotency_key_bytes;
    }
    if (message->payload_bytes > WEIR_MESSAGE_BYTES_MAX - bytes)
        return weir_error_set(error, WEIR_ELIMIT,
                              "message: a payload of %zu bytes and %zu bytes around it, the limit "
                              "is %u together; keep large data elsewhere and send its place",
                              message->payload_bytes, bytes, WEIR_MESSAGE_BYTES_MAX);
    *bytes_max = bytes + message->payload_bytes + origin_bytes;
    return 0;
}

static void write_optional(msgpack_packer *packer, const char *text, uint32_t bytes)
{
    if (bytes > 0)
        weir_write_raw(packer, text, bytes);
    else
        (void)msgpack_pack_nil(packer);
}

static void write_headers(msgpack_packer *packer, const struct weir_message_view *message)
{
    if (message->header_count == 0) {
        (void)msgpack_pack_nil(packer);
        return;
    }
    (void)msgpack_pack_map(packer, message->header_count);
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct weir_header_pair *pair = &message->headers[i];

        weir_write_text(packer, pair->name, pair->name_bytes);
        weir_write_raw(packer, pair->value, pair->value_bytes);
    }
}

static void write_origin(msgpack_packer *packer, const struct weir_origin *origin)
{
    (void)msgpack_pack_array(packer, 7);
    weir_write_bin(packer, origin->id, WEIR_ID_BYTES);
    weir_write_text(packer, origin->topic, origin->topic_bytes);
    weir_write_text(packer, origin->group, origin->group_bytes);
    (void)msgpack_pack_uint32(packer, origin->death);
    (void)msgpack_pack_uint32(packer, origin->attempt);
    (void)msgpack_pack_uint32(packer, origin->reason);
    if (origin->history.size > 0)
        (void)packer->callback(packer->data, (const char *)origin->history.data,
                               origin->history.size);
    else
        (void)msgpack_pack_nil(packer);
}

void weir_message_write(const struct weir_message_view *message, msgpack_packer *packer)
{
    uint32_t count = message->has_origin                  ? 5
                     : message->idempotency_key_bytes > 0 ? 4
                     : message->header_count > 0          ? 3
                     : message->key_bytes > 0             ? 2
                                                          : 1;

    (void)msgpack_pack_array(packer, count);
    weir_write_bin(packer, message->payload, message->payload_bytes);
    if (count > 1)
        write_optional(packer, message->key, message->key_bytes);
    if (count > 2)
        write_headers(packer, message);
    if (count > 3)
        write_optional(packer, message->idempotency_key, message->idempotency_key_bytes);
    if (count > 4)
        write_origin(packer, &message->origin);
}

uint32_t weir_origin_key(const struct weir_origin *origin, char text[WEIR_ORIGIN_KEY_BYTES])
{
    const uint32_t group_bytes =
        origin->group_bytes < WEIR_NAME_BYTES_MAX ? origin->group_bytes : WEIR_NAME_BYTES_MAX;
    uint32_t bytes = WEIR_ID_TEXT_BYTES - 1, digits = 1;
    struct weir_id id;

    weir_id_decode(origin->id, &id);
    weir_id_format(&id, text);
    text[bytes++] = '/';
    if (group_bytes > 0)
        memcpy(&text[bytes], origin->group, group_bytes);
    bytes += group_bytes;
    text[bytes++] = '/';
    for (uint32_t rest = origin->death; rest >= 10; rest /= 10)
        digits++;
    bytes += digits;
    for (uint32_t i = 1, rest = origin->death; i <= digits; i++, rest /= 10)
        text[bytes - i] = (char)('0' + rest % 10);
    text[bytes] = '\0';
    return bytes;
}
