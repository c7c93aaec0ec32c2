/* Batches and slices as they come from a peer or a disk: checking and cutting. These loops run for
 * every message that passes a node, and touch nothing but the index. */
#include <base/canary.h>
#include <base/topic.h>
#include <wire/batch.h>
#include <wire/batch_header.h>
#include <wire/reader.h>

#include <endian.h>
#include <string.h>

#define LENGTH_BYTES 4u
#define KEY_HASH_BYTES 8u
#define IDEM_HASH_BYTES 16u
#define FLAGS_KNOWN ((uint32_t)(WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT | WEIR_BATCH_REPLAY))

uint32_t weir_index_width(uint32_t flags)
{
    return LENGTH_BYTES + ((flags & WEIR_BATCH_KEYED) != 0 ? KEY_HASH_BYTES : 0) +
           ((flags & WEIR_BATCH_IDEMPOTENT) != 0 ? IDEM_HASH_BYTES : 0);
}

static inline uint32_t load_length(const uint8_t *entry)
{
    uint32_t length;

    memcpy(&length, entry, sizeof length);
    return le32toh(length);
}

uint32_t weir_index_length(const struct weir_bytes *index, uint32_t width, uint32_t entry)
{
    return load_length(index->data + (size_t)entry * width);
}

uint64_t weir_index_key_hash(const struct weir_bytes *index, uint32_t width, uint32_t flags,
                             uint32_t entry)
{
    uint64_t hash;

    if ((flags & WEIR_BATCH_KEYED) == 0)
        return 0;
    memcpy(&hash, index->data + (size_t)entry * width + LENGTH_BYTES, sizeof hash);
    return le64toh(hash);
}

const uint8_t *weir_index_idem_hash(const struct weir_bytes *index, uint32_t width, uint32_t flags,
                                    uint32_t entry)
{
    static const uint8_t none[IDEM_HASH_BYTES];
    const uint8_t *hash;

    if ((flags & WEIR_BATCH_IDEMPOTENT) == 0)
        return NULL;
    hash = index->data + (size_t)(entry + 1) * width - IDEM_HASH_BYTES;
    return memcmp(hash, none, sizeof none) != 0 ? hash : NULL;
}

/* The sum of the lengths, and how far they reach. A width known at compile time lets the compiler
 * unroll the loop. */
struct lengths {
    uint64_t sum;
    uint32_t least;
    uint32_t most;
};

static inline struct lengths add_up(const uint8_t *entry, uint32_t count, size_t width)
{
    struct lengths lengths = {0, UINT32_MAX, 0};

    for (uint32_t i = 0; i < count; i++, entry += width) {
        uint32_t length = load_length(entry);

        lengths.sum += length;
        lengths.least = length < lengths.least ? length : lengths.least;
        lengths.most = length > lengths.most ? length : lengths.most;
    }
    return lengths;
}

static struct lengths measure(const uint8_t *entry, uint32_t count, uint32_t width)
{
    switch (width) {
    case 4:
        return add_up(entry, count, 4);
    case 12:
        return add_up(entry, count, 12);
    case 20:
        return add_up(entry, count, 20);
    default:
        return add_up(entry, count, 28);
    }
}

uint64_t weir_index_span(const struct weir_bytes *index, uint32_t width, uint32_t first,
                         uint32_t count)
{
    return measure(index->data + (size_t)first * width, count, width).sum;
}

/* Whether `count` entries of this width describe the body. */
static int check_index(const struct weir_bytes *index, const struct weir_bytes *body,
                       uint32_t count, uint32_t width, struct weir_error *error)
{
    struct lengths lengths;

    if (index->size != (uint64_t)count * width)
        return weir_error_set(error, WEIR_EPROTO,
                              "index: %zu bytes, expected %u entries of %u bytes", index->size,
                              count, width);
    lengths = measure(index->data, count, width);
    if (lengths.sum != body->size && !WEIR_CANARY(LENGTHS_BELIEVED))
        return weir_error_set(error, WEIR_EPROTO,
                              "index: the lengths add up to %llu, but the body has %zu bytes",
                              (unsigned long long)lengths.sum, body->size);
    if (lengths.least == 0)
        return weir_error_set(error, WEIR_EPROTO, "index: a message of length 0");
    if (lengths.most > WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX)
        return weir_error_set(error, WEIR_ELIMIT, "index: a message of %u bytes, the limit is %u",
                              lengths.most, WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX);
    return 0;
}

int weir_slice_check(const struct weir_bytes *index, const struct weir_bytes *body, uint32_t count,
                     uint32_t *width, struct weir_error *error)
{
    uint64_t entry = count > 0 ? index->size / count : 0;

    if (count == 0 || count > WEIR_BATCH_MESSAGES_MAX)
        return weir_error_set(error, WEIR_EPROTO, "slice: %u messages, expected 1 to %u", count,
                              WEIR_BATCH_MESSAGES_MAX);
    if (entry != weir_index_width(0) && entry != weir_index_width(WEIR_BATCH_KEYED) &&
        entry != weir_index_width(WEIR_BATCH_IDEMPOTENT) &&
        entry != weir_index_width(WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT))
        return weir_error_set(error, WEIR_EPROTO,
                              "slice: an index of %zu bytes for %u messages, expected 4, 12, 20 or "
                              "28 bytes each",
                              index->size, count);
    *width = (uint32_t)entry;
    return check_index(index, body, count, *width, error);
}

void weir_slice_cut(const struct weir_bytes *index, const struct weir_bytes *body, uint32_t width,
                    uint32_t first, uint32_t count, uint64_t body_offset,
                    struct weir_bytes *index_out, struct weir_bytes *body_out)
{
    if (body_offset == UINT64_MAX)
        body_offset = weir_index_span(index, width, 0, first);
    *index_out = weir_bytes_cut(index, (size_t)first * width, (size_t)count * width);
    *body_out = weir_bytes_cut(body, body_offset, weir_index_span(index, width, first, count));
}

static bool read_header_field(struct weir_reader *reader, enum batch_header_field field,
                              struct weir_batch_header *header)
{
    switch (field) {
    case BATCH_HEADER_VERSION:
        return weir_read_u32(reader, UINT32_MAX, &header->version);
    case BATCH_HEADER_TOPIC:
        return weir_read_text(reader, &header->topic, &header->topic_bytes) &&
               weir_topic_valid(header->topic, header->topic_bytes);
    case BATCH_HEADER_COUNT:
        return weir_read_u32(reader, WEIR_BATCH_MESSAGES_MAX, &header->count) && header->count > 0;
    case BATCH_HEADER_CREATED:
        return weir_read_time(reader, WEIR_TIME_MS_MAX, &header->created_ms);
    case BATCH_HEADER_PRODUCER:
        return weir_read_fixed(reader, header->producer, sizeof header->producer);
    case BATCH_HEADER_NUMBER:
        return weir_read_u64(reader, UINT64_MAX, &header->number) && header->number > 0;
    case BATCH_HEADER_DELAY:
        return weir_read_time(reader, WEIR_DURATION_MS_MAX, &header->delay_ms);
    case BATCH_HEADER_TTL:
        return weir_read_time(reader, WEIR_DURATION_MS_MAX, &header->ttl_ms);
    case BATCH_HEADER_FLAGS:
        return weir_read_u32(reader, FLAGS_KNOWN, &header->flags);
    case BATCH_HEADER_SPOOL:
        header->has_spool = true;
        return weir_read_fixed(reader, header->spool, sizeof header->spool);
    default:
        return weir_read_skip(reader);
    }
}

int weir_batch_header_decode(const struct weir_bytes *frame, struct weir_batch_header *header,
                             struct weir_error *error)
{
    struct weir_reader reader = weir_reader_of(frame->data, frame->size);
    uint32_t pairs, seen = 0;

    *header = (struct weir_batch_header){0};
    if (frame->size > WEIR_BATCH_HEADER_BYTES_MAX)
        return weir_error_set(error, WEIR_EPROTO, "batch header: %zu bytes, the limit is %u",
                              frame->size, WEIR_BATCH_HEADER_BYTES_MAX);
    if (!weir_read_map(&reader, &pairs))
        return weir_error_set(error, WEIR_EPROTO, "batch header: expected a map of fields");
    for (uint32_t i = 0; i < pairs; i++) {
        const char *key;
        uint32_t bytes;
        enum batch_header_field field;

        if (!weir_read_text(&reader, &key, &bytes))
            return weir_error_set(error, WEIR_EPROTO, "batch header: expected a field's name");
        field = weir_batch_header_field(key, bytes);
        if (!read_header_field(&reader, field, header) || (seen >> field & 1u) != 0)
            return weir_error_set(error, WEIR_EPROTO,
                                  "batch header: field \"%s\" is there twice, or of another type, "
                                  "or out of range",
                                  weir_batch_header_key(field));
        if (field != BATCH_HEADER_UNKNOWN)
            seen |= 1u << field;
    }
    if (reader.at != reader.end)
        return weir_error_set(error, WEIR_EPROTO, "batch header: bytes after its end");
    for (enum batch_header_field field = 0; field < BATCH_HEADER_UNKNOWN; field++)
        if ((BATCH_HEADER_REQUIRED >> field & 1u) != 0 && (seen >> field & 1u) == 0)
            return weir_error_set(error, WEIR_EPROTO, "batch header: field \"%s\" is missing",
                                  weir_batch_header_key(field));
    if (header->version != WEIR_BATCH_VERSION)
        return weir_error_set(error, WEIR_EPROTO, "batch header: version %u, expected %u",
                              header->version, WEIR_BATCH_VERSION);
    return 0;
}

int weir_batch_check(const struct weir_bytes *header_frame, const struct weir_bytes *index,
                     const struct weir_bytes *body, struct weir_batch_header *header,
                     struct weir_error *error)
{
    int rc = weir_batch_header_decode(header_frame, header, error);

    if (rc != 0)
        return rc;
    if (header_frame->size + index->size > WEIR_BATCH_BYTES_MAX ||
        body->size > WEIR_BATCH_BYTES_MAX - header_frame->size - index->size)
        return weir_error_set(error, WEIR_ELIMIT, "batch: %zu bytes, the limit is %u",
                              header_frame->size + index->size + body->size, WEIR_BATCH_BYTES_MAX);
    return check_index(index, body, header->count, weir_index_width(header->flags), error);
}
