/* Reading msgpack from bytes that nobody vouches for: one token at a time, in place.
 *
 * msgpack-c builds a tree before anyone can look at it, and reserves what an array claims to hold
 * before it has seen an element: five bytes ask for gigabytes. So decoding goes through this
 * reader, which allocates nothing: a count is believed only as far as the bytes behind it reach,
 * and skipping a value needs no stack, however deep it is. Encoding is msgpack-c's. */
#ifndef WEIR_WIRE_READER_H
#define WEIR_WIRE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left to read. Copy the struct to look ahead. */
struct weir_reader {
    const uint8_t *at;
    const uint8_t *end;
};

enum weir_token_type {
    WEIR_TOKEN_NIL,
    WEIR_TOKEN_BOOL,  /* u64: 0 or 1 */
    WEIR_TOKEN_UINT,  /* u64; whatever is not negative, in any of msgpack's integer formats */
    WEIR_TOKEN_INT,   /* i64 < 0 */
    WEIR_TOKEN_FLOAT, /* f64 */
    WEIR_TOKEN_TEXT,  /* data, size: a str */
    WEIR_TOKEN_BIN,   /* data, size */
    WEIR_TOKEN_EXT,   /* data, size */
    WEIR_TOKEN_ARRAY, /* size: so many values follow */
    WEIR_TOKEN_MAP,   /* size: so many pairs of values follow */
};

struct weir_token {
    enum weir_token_type type;
    uint32_t size;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
        const uint8_t *data; /* points into what is read */
    };
};

struct weir_reader weir_reader_of(const void *data, size_t size);
/* The bytes that are left. */
static inline size_t weir_reader_left(const struct weir_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* Read one token; false when the bytes are not msgpack, or end in it, or are too few for the
 * elements that an array or map claims. After false the reader's place is not defined. */
bool weir_read_token(struct weir_reader *reader, struct weir_token *token);
/* Pass over one value with all that is in it. */
bool weir_read_skip(struct weir_reader *reader);

/* Read one value of this type; false when it is another, or out of range. */
bool weir_read_array(struct weir_reader *reader, uint32_t *count);
bool weir_read_map(struct weir_reader *reader, uint32_t *pairs);
bool weir_read_u64(struct weir_reader *reader, uint64_t max, uint64_t *value);
bool weir_read_u32(struct weir_reader *reader, uint32_t max, uint32_t *value);
/* 0 … max */
bool weir_read_time(struct weir_reader *reader, int64_t max, int64_t *value);
bool weir_read_text(struct weir_reader *reader, const char **text, uint32_t *bytes);
/* A str or a bin: text that need not be UTF-8. */
bool weir_read_raw(struct weir_reader *reader, const char **text, uint32_t *bytes);
/* A bin of exactly `size` bytes, copied. */
bool weir_read_fixed(struct weir_reader *reader, uint8_t *data, uint32_t size);
/* Read nil if it is next; false, and nothing is read, when it is not. */
bool weir_read_nil(struct weir_reader *reader);

#endif
