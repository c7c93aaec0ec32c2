#include <wire/reader.h>

#include <endian.h>
#include <string.h>

struct weir_reader weir_reader_of(const void *data, size_t size)
{
    return (struct weir_reader){data, size > 0 ? (const uint8_t *)data + size : data};
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static bool take_number(struct weir_reader *reader, uint32_t bytes, uint64_t *value)
{
    uint16_t two;
    uint32_t four;

    if (weir_reader_left(reader) < bytes)
        return false;
    switch (bytes) {
    case 1:
        *value = *reader->at;
        break;
    case 2:
        memcpy(&two, reader->at, sizeof two);
        *value = be16toh(two);
        break;
    case 4:
        memcpy(&four, reader->at, sizeof four);
        *value = be32toh(four);
        break;
    default:
        memcpy(value, reader->at, sizeof *value);
        *value = be64toh(*value);
        break;
    }
    reader->at += bytes;
    return true;
}

static bool take_signed(struct weir_reader *reader, uint32_t bytes, struct weir_token *token)
{
    uint64_t raw;
    uint32_t unused_bits = 64 - 8 * bytes;

    if (!take_number(reader, bytes, &raw))
        return false;
    token->i64 = (int64_t)(raw << unused_bits) >> unused_bits;
    token->type = token->i64 < 0 ? WEIR_TOKEN_INT : WEIR_TOKEN_UINT;
    return true;
}

static bool take_float(struct weir_reader *reader, uint32_t bytes, struct weir_token *token)
{
    uint64_t raw;

    token->type = WEIR_TOKEN_FLOAT;
    if (!take_number(reader, bytes, &raw))
        return false;
    if (bytes == 4) {
        uint32_t half = (uint32_t)raw;
        float value;

        memcpy(&value, &half, sizeof value);
        token->f64 = value;
    } else {
        memcpy(&token->f64, &raw, sizeof raw);
    }
    return true;
}

static bool take_data(struct weir_reader *reader, uint64_t size, enum weir_token_type type,
                      struct weir_token *token)
{
    if (weir_reader_left(reader) < size)
        return false;
    token->type = type;
    token->size = (uint32_t)size;
    token->data = reader->at;
    reader->at += size;
    return true;
}

/* An extension: its type's byte, then its data. */
static bool take_extension(struct weir_reader *reader, uint64_t size, struct weir_token *token)
{
    uint64_t type;

    return take_number(reader, 1, &type) && take_data(reader, size, WEIR_TOKEN_EXT, token);
}

/* Every element takes a byte at least. */
static bool take_count(const struct weir_reader *reader, uint64_t count, enum weir_token_type type,
                       struct weir_token *token)
{
    token->type = type;
    token->size = (uint32_t)count;
    return count <= weir_reader_left(reader) / (type == WEIR_TOKEN_MAP ? 2 : 1);
}

/* What has its size or kind in the first byte alone. */
static bool take_fixed(struct weir_reader *reader, uint8_t head, struct weir_token *token)
{
    if (head < 0x80) {
        token->type = WEIR_TOKEN_UINT;
        token->u64 = head;
        return true;
    }
    if (head >= 0xe0) {
        token->type = WEIR_TOKEN_INT;
        token->i64 = (int64_t)head - 256;
        return true;
    }
    if (head < 0x90)
        return take_count(reader, head & 15u, WEIR_TOKEN_MAP, token);
    if (head < 0xa0)
        return take_count(reader, head & 15u, WEIR_TOKEN_ARRAY, token);
    return take_data(reader, head & 31u, WEIR_TOKEN_TEXT, token);
}

bool weir_read_token(struct weir_reader *reader, struct weir_token *token)
{
    uint8_t head;
    uint64_t size;

    if (reader->at == reader->end)
        return false;
    head = *reader->at++;
    if (head < 0xc0 || head >= 0xe0)
        return take_fixed(reader, head, token);
    switch (head) {
    case 0xc0:
        token->type = WEIR_TOKEN_NIL;
        return true;
    case 0xc2:
    case 0xc3:
        token->type = WEIR_TOKEN_BOOL;
        token->u64 = head & 1u;
        return true;
    case 0xc4: /* bin 8, 16, 32 */
    case 0xc5:
    case 0xc6:
        return take_number(reader, 1u << (head - 0xc4), &size) &&
               take_data(reader, size, WEIR_TOKEN_BIN, token);
    case 0xc7: /* ext 8, 16, 32 */
    case 0xc8:
    case 0xc9:
        return take_number(reader, 1u << (head - 0xc7), &size) &&
               take_extension(reader, size, token);
    case 0xca: /* float 32, 64 */
    case 0xcb:
        return take_float(reader, 4u << (head - 0xca), token);
    case 0xcc: /* uint 8, 16, 32, 64 */
    case 0xcd:
    case 0xce:
    case 0xcf:
        token->type = WEIR_TOKEN_UINT;
        return take_number(reader, 1u << (head - 0xcc), &token->u64);
    case 0xd0: /* int 8, 16, 32, 64 */
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return take_signed(reader, 1u << (head - 0xd0), token);
    case 0xd4: /* ext of 1, 2, 4, 8, 16 bytes */
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return take_extension(reader, 1u << (head - 0xd4), token);
    case 0xd9: /* str 8, 16, 32 */
    case 0xda:
    case 0xdb:
        return take_number(reader, 1u << (head - 0xd9), &size) &&
               take_data(reader, size, WEIR_TOKEN_TEXT, token);
    case 0xdc: /* array 16, 32 */
    case 0xdd:
        return take_number(reader, 2u << (head - 0xdc), &size) &&
               take_count(reader, size, WEIR_TOKEN_ARRAY, token);
    case 0xde: /* map 16, 32 */
    case 0xdf:
        return take_number(reader, 2u << (head - 0xde), &size) &&
               take_count(reader, size, WEIR_TOKEN_MAP, token);
    default: /* 0xc1 is never used */
        return false;
    }
}

bool weir_read_skip(struct weir_reader *reader)
{
    struct weir_token token;
    uint64_t pending = 1;

    /* Counting what is still owed takes the place of a stack. It cannot grow past the bytes left,
     * because each value owed takes one. */
    while (pending > 0) {
        if (pending > weir_reader_left(reader) || !weir_read_token(reader, &token))
            return false;
        pending--;
        if (token.type == WEIR_TOKEN_ARRAY)
            pending += token.size;
        else if (token.type == WEIR_TOKEN_MAP)
            pending += 2 * (uint64_t)token.size;
    }
    return true;
}

static bool read_sized(struct weir_reader *reader, enum weir_token_type type, uint32_t *size)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) || token.type != type)
        return false;
    *size = token.size;
    return true;
}

bool weir_read_array(struct weir_reader *reader, uint32_t *count)
{
    return read_sized(reader, WEIR_TOKEN_ARRAY, count);
}

bool weir_read_map(struct weir_reader *reader, uint32_t *pairs)
{
    return read_sized(reader, WEIR_TOKEN_MAP, pairs);
}

bool weir_read_u64(struct weir_reader *reader, uint64_t max, uint64_t *value)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) || token.type != WEIR_TOKEN_UINT || token.u64 > max)
        return false;
    *value = token.u64;
    return true;
}

bool weir_read_u32(struct weir_reader *reader, uint32_t max, uint32_t *value)
{
    uint64_t wide;

    if (!weir_read_u64(reader, max, &wide))
        return false;
    *value = (uint32_t)wide;
    return true;
}

bool weir_read_time(struct weir_reader *reader, int64_t max, int64_t *value)
{
    uint64_t wide;

    if (!weir_read_u64(reader, (uint64_t)max, &wide))
        return false;
    *value = (int64_t)wide;
    return true;
}

bool weir_read_text(struct weir_reader *reader, const char **text, uint32_t *bytes)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) || token.type != WEIR_TOKEN_TEXT)
        return false;
    *text = (const char *)token.data;
    *bytes = token.size;
    return true;
}

bool weir_read_raw(struct weir_reader *reader, const char **text, uint32_t *bytes)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) ||
        (token.type != WEIR_TOKEN_TEXT && token.type != WEIR_TOKEN_BIN))
        return false;
    *text = (const char *)token.data;
    *bytes = token.size;
    return true;
}

bool weir_read_fixed(struct weir_reader *reader, uint8_t *data, uint32_t size)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) || token.type != WEIR_TOKEN_BIN || token.size != size)
        return false;
    memcpy(data, token.data, size);
    return true;
}

bool weir_read_nil(struct weir_reader *reader)
{
    if (reader->at == reader->end || *reader->at != 0xc0)
        return false;
    reader->at++;
    return true;
}
