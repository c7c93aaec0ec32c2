#include "log_format.h"

#include <base/little_endian.h>

#include <isa-l/crc.h>
#include <string.h>

/* A segment's header: what is not listed is zero. */
enum {
    SEGMENT_MAGIC = 0,
    SEGMENT_VERSION = 8,
    SEGMENT_TAG = 10,
    SEGMENT_SALT = 12,
    SEGMENT_UUID = 16,
    SEGMENT_FIRST = 32,
    SEGMENT_CERTIFIED = 40,
    SEGMENT_CREATED = 48,
    SEGMENT_CRC = 56, /* of the bytes before it, seed 0 */
};
static const char segment_magic[8] = {'W', 'E', 'I', 'R', 'S', 'E', 'G', '\n'};

enum {
    RECORD_MAGIC = 0,
    RECORD_VERSION = 4,
    RECORD_FLAGS = 6,
    RECORD_HEADER_BYTES = 8,
    RECORD_INDEX_BYTES = 12,
    RECORD_BODY_BYTES = 16,
    RECORD_SKIPS = 20,
    RECORD_FIRST = 24,
    RECORD_COUNT = 32,
    RECORD_SEED = 36,
    RECORD_TIME = 40,
    RECORD_CERTIFIED = 48,
    RECORD_HEAD_CRC = 56, /* of the bytes before it, seeded with the salt */
    RECORD_CRC = 60,      /* of all but itself and the padding, seeded with `seed` */
};

uint32_t weir_crc32c(uint32_t seed, const void *data, size_t size)
{
    /* The library takes int lengths and a pointer without const; it writes nothing. */
    WEIR_ASSERT(size <= INT32_MAX);
    return size > 0 ? crc32_iscsi((unsigned char *)(uintptr_t)data, (int)size, seed) : seed;
}

void weir_segment_header_encode(const struct weir_segment_header *header,
                                uint8_t bytes[WEIR_SEGMENT_HEADER_BYTES])
{
    memset(bytes, 0, WEIR_SEGMENT_HEADER_BYTES);
    memcpy(bytes + SEGMENT_MAGIC, segment_magic, sizeof segment_magic);
    put_u16(bytes + SEGMENT_VERSION, WEIR_LOG_VERSION);
    put_u16(bytes + SEGMENT_TAG, header->tag);
    put_u32(bytes + SEGMENT_SALT, header->salt);
    memcpy(bytes + SEGMENT_UUID, header->uuid, sizeof header->uuid);
    put_u64(bytes + SEGMENT_FIRST, header->first);
    put_u64(bytes + SEGMENT_CERTIFIED, header->certified);
    put_u64(bytes + SEGMENT_CREATED, (uint64_t)header->created_ms);
    put_u32(bytes + SEGMENT_CRC, weir_crc32c(0, bytes, SEGMENT_CRC));
}

int weir_segment_header_decode(const uint8_t bytes[WEIR_SEGMENT_HEADER_BYTES],
                               struct weir_segment_header *header, struct weir_error *error)
{
    if (memcmp(bytes + SEGMENT_MAGIC, segment_magic, sizeof segment_magic) != 0)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "its header does not begin as one of a segment");
    /* Before the CRC: another version may have it elsewhere. */
    if (get_u16(bytes + SEGMENT_VERSION) != WEIR_LOG_VERSION)
        return weir_error_set(error, WEIR_EINVAL,
                              "it has format version %u, this program knows version %u; run the "
                              "version of Weir that wrote it until the log is empty, see "
                              "docs/format.md",
                              get_u16(bytes + SEGMENT_VERSION), WEIR_LOG_VERSION);
    if (get_u32(bytes + SEGMENT_CRC) != weir_crc32c(0, bytes, SEGMENT_CRC))
        return weir_error_set(error, WEIR_EDAMAGED, "its header does not match its checksum");
    header->tag = get_u16(bytes + SEGMENT_TAG);
    header->salt = get_u32(bytes + SEGMENT_SALT);
    memcpy(header->uuid, bytes + SEGMENT_UUID, sizeof header->uuid);
    header->first = get_u64(bytes + SEGMENT_FIRST);
    header->certified = get_u64(bytes + SEGMENT_CERTIFIED);
    header->created_ms = (int64_t)get_u64(bytes + SEGMENT_CREATED);
    return 0;
}

void weir_record_header_encode(const struct weir_record_header *header, uint32_t salt,
                               uint8_t bytes[WEIR_RECORD_HEADER_BYTES])
{
    put_u32(bytes + RECORD_MAGIC, WEIR_RECORD_MAGIC);
    put_u16(bytes + RECORD_VERSION, WEIR_LOG_VERSION);
    put_u16(bytes + RECORD_FLAGS, 0);
    put_u32(bytes + RECORD_HEADER_BYTES, header->header_bytes);
    put_u32(bytes + RECORD_INDEX_BYTES, header->index_bytes);
    put_u32(bytes + RECORD_BODY_BYTES, header->body_bytes);
    put_u32(bytes + RECORD_SKIPS, header->skip_count);
    put_u64(bytes + RECORD_FIRST, header->first);
    put_u32(bytes + RECORD_COUNT, header->count);
    put_u32(bytes + RECORD_SEED, header->seed);
    put_u64(bytes + RECORD_TIME, (uint64_t)header->time_ms);
    put_u64(bytes + RECORD_CERTIFIED, header->certified);
    put_u32(bytes + RECORD_HEAD_CRC, weir_crc32c(salt, bytes, RECORD_HEAD_CRC));
    put_u32(bytes + RECORD_CRC, 0);
}

void weir_record_header_set_crc(uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t crc)
{
    put_u32(bytes + RECORD_CRC, crc);
}

uint32_t weir_record_header_crc(const uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t seed)
{
    return weir_crc32c(seed, bytes, RECORD_CRC);
}

bool weir_record_header_decode(const uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t salt,
                               struct weir_record_header *header)
{
    uint64_t frames;

    if (get_u32(bytes + RECORD_MAGIC) != WEIR_RECORD_MAGIC ||
        get_u16(bytes + RECORD_VERSION) != WEIR_LOG_VERSION ||
        get_u32(bytes + RECORD_HEAD_CRC) != weir_crc32c(salt, bytes, RECORD_HEAD_CRC))
        return false;
    header->header_bytes = get_u32(bytes + RECORD_HEADER_BYTES);
    header->index_bytes = get_u32(bytes + RECORD_INDEX_BYTES);
    header->body_bytes = get_u32(bytes + RECORD_BODY_BYTES);
    header->skip_count = get_u32(bytes + RECORD_SKIPS);
    header->first = get_u64(bytes + RECORD_FIRST);
    header->count = get_u32(bytes + RECORD_COUNT);
    header->seed = get_u32(bytes + RECORD_SEED);
    header->time_ms = (int64_t)get_u64(bytes + RECORD_TIME);
    header->certified = get_u64(bytes + RECORD_CERTIFIED);
    header->crc = get_u32(bytes + RECORD_CRC);
    frames = (uint64_t)header->header_bytes + header->index_bytes + header->body_bytes;
    return frames <= WEIR_BATCH_BYTES_MAX && header->count <= WEIR_BATCH_MESSAGES_MAX &&
           header->skip_count <= header->count && header->first > 0 && header->first <= INT64_MAX;
}

uint64_t weir_record_content_bytes(const struct weir_record_header *header)
{
    return WEIR_RECORD_HEADER_BYTES + (uint64_t)header->skip_count * WEIR_SKIP_BYTES +
           header->header_bytes + header->index_bytes + header->body_bytes;
}

uint64_t weir_record_bytes(const struct weir_record_header *header)
{
    uint64_t bytes = weir_record_content_bytes(header);

    return (bytes + WEIR_RECORD_ALIGN - 1) / WEIR_RECORD_ALIGN * WEIR_RECORD_ALIGN;
}

uint64_t weir_record_last(const struct weir_record_header *header)
{
    return header->first + header->count - 1;
}

void weir_skips_encode(const struct weir_skip *skips, uint32_t count, uint8_t *bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        put_u32(bytes + (size_t)i * WEIR_SKIP_BYTES, skips[i].first);
        put_u32(bytes + (size_t)i * WEIR_SKIP_BYTES + 4, skips[i].count);
    }
}

bool weir_skips_decode(const uint8_t *bytes, uint32_t count, uint32_t messages,
                       struct weir_skip *skips)
{
    uint32_t next = 0;

    for (uint32_t i = 0; i < count; i++) {
        skips[i].first = get_u32(bytes + (size_t)i * WEIR_SKIP_BYTES);
        skips[i].count = get_u32(bytes + (size_t)i * WEIR_SKIP_BYTES + 4);
        if (skips[i].first < next || skips[i].first > messages || skips[i].count == 0 ||
            skips[i].count > messages - skips[i].first)
            return false;
        next = skips[i].first + skips[i].count;
    }
    return true;
}
