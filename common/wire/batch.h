/* The batch format: what a PUT carries, what the log keeps, what a DELIVER hands on. See
 * docs/protocol.md, section "Batches".
 *
 *   header  msgpack map: what holds for the whole batch
 *   index   one little-endian entry a message: u32 length of its body; with KEYED a u64 hash of its
 *           key (0: it has none); with IDEMPOTENT a 128-bit hash of its idempotency key (0: none)
 *   body    the messages one after another, each a msgpack array
 *             [payload, key, headers, idempotency-key, origin]
 *           of which everything after the payload may be nil or, at the end, absent
 *
 * Hashes are the first 8 (16) bytes of SHA-256, read as they stand; a key's as little-endian u64.
 */
#ifndef WEIR_WIRE_BATCH_H
#define WEIR_WIRE_BATCH_H

#include <base/bytes.h>
#include <base/error.h>
#include <base/limits.h>
#include <base/message_id.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIR_BATCH_VERSION 1

enum weir_batch_flags {
    WEIR_BATCH_KEYED = 1,
    WEIR_BATCH_IDEMPOTENT = 2,
    WEIR_BATCH_REPLAY = 4, /* every message has an origin: dead letters on their way back */
};

/* The decoded header. Pointers point into the frame it was decoded from. */
struct weir_batch_header {
    uint32_t version;
    const char *topic; /* not NUL-terminated */
    uint32_t topic_bytes;
    uint32_t count;
    int64_t created_ms;
    uint8_t producer[16];
    uint64_t number;  /* 1, 2, 3 … of this producer */
    int64_t delay_ms; /* 0: none */
    int64_t ttl_ms;   /* 0: none */
    uint32_t flags;
    bool has_spool;    /* of results and dead letters: */
    uint8_t spool[16]; /* the UUID of the spool that all their origins are of */
};

/* Decode and check a header frame. WEIR_EPROTO, with what is wrong. */
int weir_batch_header_decode(const struct weir_bytes *frame, struct weir_batch_header *header,
                             struct weir_error *error);

/* Check a whole batch as it comes from a peer: the header, that the index has `count` entries of
 * the width its flags ask for, that their lengths add up to the body, and the limits. Message
 * bodies are not looked into. WEIR_EPROTO, or WEIR_ELIMIT when the batch or a message is too large.
 */
int weir_batch_check(const struct weir_bytes *header_frame, const struct weir_bytes *index,
                     const struct weir_bytes *body, struct weir_batch_header *header,
                     struct weir_error *error);

/* The width of an index entry under these flags: 4, 12, 20 or 28. */
uint32_t weir_index_width(uint32_t flags);
/* One entry's parts; `width` says which there are. A part that is not there is 0 (NULL). */
uint32_t weir_index_length(const struct weir_bytes *index, uint32_t width, uint32_t entry);
uint64_t weir_index_key_hash(const struct weir_bytes *index, uint32_t width, uint32_t flags,
                             uint32_t entry);
const uint8_t *weir_index_idem_hash(const struct weir_bytes *index, uint32_t width, uint32_t flags,
                                    uint32_t entry);
/* The sum of the lengths of entries [first, first + count). */
uint64_t weir_index_span(const struct weir_bytes *index, uint32_t width, uint32_t first,
                         uint32_t count);

/* Check a slice as it comes in a DELIVER: `count` equal entries of a possible width whose lengths
 * add up to the body. Gives the width. WEIR_EPROTO or WEIR_ELIMIT. */
int weir_slice_check(const struct weir_bytes *index, const struct weir_bytes *body, uint32_t count,
                     uint32_t *width, struct weir_error *error);
/* New references to the part of a slice that holds entries [first, first + count). `body_offset`
 * is the offset of entry `first` in the body where the caller knows it, else UINT64_MAX. */
void weir_slice_cut(const struct weir_bytes *index, const struct weir_bytes *body, uint32_t width,
                    uint32_t first, uint32_t count, uint64_t body_offset,
                    struct weir_bytes *index_out, struct weir_bytes *body_out);

uint64_t weir_key_hash(const void *key, size_t bytes); /* never 0 */
void weir_idem_hash(const void *key, size_t bytes, uint8_t hash[16]);

/* One past attempt, in an origin's history and in a row's. */
struct weir_attempt_note {
    uint32_t attempt;
    int64_t time_ms;
    uint32_t outcome;   /* enum weir_outcome; 5: the worker was lost; 6: timed out; 7: expired */
    const char *worker; /* its name; not NUL-terminated */
    uint32_t worker_bytes;
    const char *error; /* UTF-8 or not; not NUL-terminated */
    uint32_t error_bytes;
};
#define WEIR_NOTE_LOST 5u
#define WEIR_NOTE_TIMEOUT 6u
#define WEIR_NOTE_EXPIRED 7u

/* Append a note to an encoded history (msgpack array of notes; empty bytes: none so far). Keeps the
 * first and the newest fifteen. Returns the new history. */
struct weir_bytes weir_history_add(const struct weir_bytes *history,
                                   const struct weir_attempt_note *note);
/* Decode at most `max` notes, oldest first; returns how many, or WEIR_EPROTO. Pointers point into
 * `history`. */
int weir_history_decode(const struct weir_bytes *history, struct weir_attempt_note *notes,
                        uint32_t max);

/* Where a result or a dead letter comes from. */
struct weir_origin {
    uint8_t id[WEIR_ID_BYTES];
    const char *topic;
    uint32_t topic_bytes;
    const char *group;
    uint32_t group_bytes;
    uint32_t death; /* of a result: deaths so far; of a dead letter: this death's number, from 1 */
    uint32_t attempt;
    uint32_t reason;           /* enum weir_reason; 0 in a result */
    struct weir_bytes history; /* borrowed; empty: none */
};

struct weir_header_pair {
    const char *name;
    uint32_t name_bytes;
    const char *value;
    uint32_t value_bytes;
};

/* One message, decoded. Everything points into the body it was decoded from (headers' array
 * excepted: that lives in the struct). */
struct weir_message_view {
    const uint8_t *payload;
    size_t payload_bytes;
    const char *key; /* NULL: none */
    uint32_t key_bytes;
    struct weir_header_pair headers[WEIR_HEADERS_MAX];
    uint32_t header_count;
    const char *idempotency_key; /* NULL: none */
    uint32_t idempotency_key_bytes;
    bool has_origin;
    struct weir_origin origin;
};

/* Decode the message in [data, data + size), which must be filled exactly. WEIR_EPROTO. */
int weir_message_decode(const void *data, size_t size, struct weir_message_view *message,
                        struct weir_error *error);

/* Building a batch. */
struct weir_batch_builder;

/* `topic` (valid, see weir_topic_valid) and the header's other fields but count and flags hold for
 * all that is added. Copies what it needs. */
struct weir_batch_builder *weir_batch_builder_new(const struct weir_batch_header *header);
void weir_batch_builder_destroy(struct weir_batch_builder **self);
/* About so much is to come: room is made for it at once, not bit by bit. */
void weir_batch_builder_expect(struct weir_batch_builder *self, uint32_t messages, size_t bytes);
/* Encode and add one message. Its memory may go right after. WEIR_ELIMIT, naming the limit, when it
 * can never be sent; WEIR_EINVAL when a header's name or the origin is not valid; WEIR_EFULL when
 * it has no room in this batch any more (add it to the next). */
int weir_batch_builder_add(struct weir_batch_builder *self, const struct weir_message_view *message,
                           struct weir_error *error);
uint32_t weir_batch_builder_count(const struct weir_batch_builder *self);
/* The three frames' bytes as they stand, or a little less than so many. */
size_t weir_batch_builder_size(const struct weir_batch_builder *self);
/* Number the batch, give its three frames, and make the builder empty and ready for the next. There
 * must be a message in it. */
void weir_batch_builder_finish(struct weir_batch_builder *self, uint64_t number, int64_t created_ms,
                               uint32_t extra_flags, struct weir_bytes *header,
                               struct weir_bytes *index, struct weir_bytes *body);

/* "<id>/<group>/<death>": the idempotency key of a result or dead letter. Returns its length. */
#define WEIR_ORIGIN_KEY_BYTES (WEIR_ID_TEXT_BYTES + WEIR_NAME_BYTES_MAX + 16u)
uint32_t weir_origin_key(const struct weir_origin *origin, char text[WEIR_ORIGIN_KEY_BYTES]);

#endif
