/* The bytes of the log: segment headers and record headers. docs/format.md has the tables. No I/O.
 */
#ifndef WEIR_STORE_LOG_FORMAT_H
#define WEIR_STORE_LOG_FORMAT_H

#include <base/error.h>
#include <base/limits.h>
#include <contract/store.h>

#define WEIR_LOG_VERSION 1
/* The header has a page of its own: no write of a record ever touches it again. */
#define WEIR_SEGMENT_HEADER_BYTES 4096u
#define WEIR_RECORD_HEADER_BYTES 64u
#define WEIR_RECORD_ALIGN 8u
#define WEIR_RECORD_MAGIC 0x52495257u /* "WRIR" */
#define WEIR_SKIP_BYTES 8u
#define WEIR_RECORD_BYTES_MAX                                                                      \
    (WEIR_RECORD_HEADER_BYTES + WEIR_SKIP_BYTES * WEIR_BATCH_MESSAGES_MAX + WEIR_BATCH_BYTES_MAX + \
     WEIR_RECORD_ALIGN)

struct weir_segment_header {
    uint16_t tag;
    uint8_t uuid[16];
    uint32_t salt;
    uint64_t first;     /* as in the file's name: no record is below it */
    uint64_t certified; /* synced before this segment was begun: where the one before it ends */
    int64_t created_ms;
};

/* A record with count 0 holds no messages: it is written at a clean end, for its certified mark. */
struct weir_record_header {
    uint32_t header_bytes;
    uint32_t index_bytes;
    uint32_t body_bytes;
    uint32_t skip_count;
    uint64_t first;
    uint32_t count;
    uint32_t seed; /* the CRC of the record before; of a segment's first one: the salt */
    int64_t time_ms;
    uint64_t certified;
    uint32_t crc;
};

/* CRC32C of the data, going on from `seed`; neither is inverted. */
uint32_t weir_crc32c(uint32_t seed, const void *data, size_t size);

void weir_segment_header_encode(const struct weir_segment_header *header,
                                uint8_t bytes[WEIR_SEGMENT_HEADER_BYTES]);
/* WEIR_EINVAL: another version. WEIR_EDAMAGED: not a header, or not as it was written. */
int weir_segment_header_decode(const uint8_t bytes[WEIR_SEGMENT_HEADER_BYTES],
                               struct weir_segment_header *header, struct weir_error *error);

/* Everything but the CRC of the whole, which weir_record_crc gives afterwards. `salt` is the
 * segment's: a record's header is valid in its own segment only. */
void weir_record_header_encode(const struct weir_record_header *header, uint32_t salt,
                               uint8_t bytes[WEIR_RECORD_HEADER_BYTES]);
void weir_record_header_set_crc(uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t crc);
/* The CRC of the header alone; what follows is added with weir_crc32c. */
uint32_t weir_record_header_crc(const uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t seed);
/* False: not a header of this segment. True: all of it can be trusted, but for its `crc`, and
 * lengths are within the limits. */
bool weir_record_header_decode(const uint8_t bytes[WEIR_RECORD_HEADER_BYTES], uint32_t salt,
                               struct weir_record_header *header);
/* Of the header, the skipped ranges and the frames. */
uint64_t weir_record_content_bytes(const struct weir_record_header *header);
/* The same, up to where the next record begins. */
uint64_t weir_record_bytes(const struct weir_record_header *header);
/* The last sequence in it. */
uint64_t weir_record_last(const struct weir_record_header *header);

void weir_skips_encode(const struct weir_skip *skips, uint32_t count, uint8_t *bytes);
/* False when they are not ascending, disjoint and within `messages`. */
bool weir_skips_decode(const uint8_t *bytes, uint32_t count, uint32_t messages,
                       struct weir_skip *skips);

#endif
