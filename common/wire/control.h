/* The control frame: the first frame of every message on the wire. A msgpack array
 *   [verb, {field: value, …}]
 * with the verb and the fields' names as short strings. Which verb has which fields, of which type
 * and range, is one table (control_fields.def, control_verbs.def); the decoder, the encoder and
 * docs/protocol.md's tables all come from it. A field that is not known is skipped, so that later
 * versions may add some. */
#ifndef WEIR_WIRE_CONTROL_H
#define WEIR_WIRE_CONTROL_H

#include <base/bytes.h>
#include <base/error.h>
#include <base/limits.h>
#include <base/message_id.h>
#include <stdint.h>

#define WEIR_PROTOCOL_VERSION 1

enum weir_verb {
    /* submit */
    WEIR_VERB_PUT = 1, /* + batch (3 frames) */
    WEIR_VERB_OK,
    WEIR_VERB_BUSY,
    WEIR_VERB_REFUSED,
    /* dispatch */
    WEIR_VERB_READY,   /* client → server: here I am, this I hold */
    WEIR_VERB_WELCOME, /* server → client */
    WEIR_VERB_JOIN,    /* client → server: I serve a group that may be new */
    WEIR_VERB_JOINED,
    WEIR_VERB_CREDIT,    /* client → server: cumulative limit */
    WEIR_VERB_CREDITED,  /* server → client: answer to a limit that went down */
    WEIR_VERB_WAITING,   /* server → client: there is work and no credit */
    WEIR_VERB_DELIVER,   /* server → client: + a slice (3 frames) for each entry of `slices` */
    WEIR_VERB_ACK,       /* client → server */
    WEIR_VERB_BEGIN,     /* client → server: may I start this suspect? */
    WEIR_VERB_GO,        /* server → client: yes */
    WEIR_VERB_EXTEND,    /* client → server: a running message gets its attempt timeout anew */
    WEIR_VERB_HEARTBEAT, /* both ways: beat, and its echo */
    WEIR_VERB_LOST,      /* router → ventilator: this worker is gone, it held these */
    WEIR_VERB_BYE,       /* either way: I leave; whatever I hold is released */
    /* both */
    WEIR_VERB_ERROR, /* server → client: what was wrong with your frame */
    /* admin */
    WEIR_VERB_STATS,
    WEIR_VERB_STATUS, /* of one id */
    WEIR_VERB_LIST,   /* messages of a group in a state */
    WEIR_VERB_GROUP,  /* pause, resume, remove */
    WEIR_VERB_DRAIN,
    WEIR_VERB_ANSWER, /* + one frame: msgpack map */
    WEIR_VERB_COUNT,
};

/* Messages of one delivery: indexes [first, first + count). */
struct weir_lease_ref {
    uint64_t incarnation; /* its low 16 bits are the stream's tag */
    uint64_t delivery;
    uint32_t first;
    uint32_t count;
};

struct weir_ack {
    struct weir_lease_ref lease;
    uint32_t outcome;  /* enum weir_outcome */
    int64_t delay_ms;  /* -1: none asked for */
    const char *error; /* not NUL-terminated; NULL: none */
    uint32_t error_bytes;
};

/* One slice of a DELIVER. */
struct weir_slice_info {
    uint32_t index; /* of its first message in the delivery */
    uint32_t count;
    uint64_t sequence; /* of its first message; the others follow without a gap */
    int64_t time_ms;   /* accepted */
    uint32_t attempt;  /* from 1 */
    uint32_t death;    /* deaths so far */
};

struct weir_duplicate {
    uint32_t index;            /* in the batch */
    uint8_t id[WEIR_ID_BYTES]; /* of the original */
};

struct weir_text { /* points into the frame; not NUL-terminated */
    const char *data;
    uint32_t bytes;
};

/* All fields of all verbs; `has` says which are there: 1 << enum weir_field. */
struct weir_control {
    enum weir_verb verb;
    uint64_t has;
    uint64_t version;
    uint64_t number;
    uint64_t first;
    uint64_t count;
    uint64_t tag;
    int64_t time_ms;
    uint64_t retry_ms;
    uint64_t incarnation;
    uint64_t delivery;
    uint64_t worker; /* random for each start of a worker */
    uint64_t serial;
    uint64_t messages;
    uint64_t bytes;
    uint64_t lease_ms;
    uint64_t timeout_ms;
    uint64_t heartbeat_ms;
    uint64_t start;
    uint64_t after;
    uint64_t limit;
    uint64_t ordered; /* 0 or 1 */
    uint64_t once;    /* 0 or 1 */
    uint64_t alone;   /* 0 or 1 */
    struct weir_text name;
    struct weir_text role; /* "worker" or "router" */
    struct weir_text group;
    struct weir_text code;
    struct weir_text text;
    struct weir_text durability; /* "always", "interval", "never" */
    struct weir_text state;
    struct weir_text from; /* JOIN: "now" or "earliest" */
    struct weir_text action;
    uint8_t uuid[16];
    uint8_t id[WEIR_ID_BYTES];
    struct weir_text *topics; /* arrays: owned by the control */
    uint32_t topic_count;
    struct weir_lease_ref *leases; /* held: READY, HEARTBEAT, LOST; named: BEGIN, GO, EXTEND */
    uint32_t lease_count;
    struct weir_lease_ref *running; /* HEARTBEAT: of the held ones, these handlers run */
    uint32_t running_count;
    struct weir_ack *acks;
    uint32_t ack_count;
    struct weir_slice_info *slices;
    uint32_t slice_count;
    struct weir_duplicate *duplicates;
    uint32_t duplicate_count;
};

enum weir_field {
#define X(name, key, type, ...) WEIR_FIELD_##name,
#include <wire/control_fields.def>
#undef X
    WEIR_FIELDS_END,
};

#define WEIR_HAS(control, field) (((control)->has >> WEIR_FIELD_##field) & 1u)
/* Mark a field as there that was filled otherwise. */
#define WEIR_MARK(control, field) ((control)->has |= UINT64_C(1) << WEIR_FIELD_##field)
/* Set a plain field and mark it as there: WEIR_SET (&c, number, NUMBER, 7). */
#define WEIR_SET(control, member, field, value)                                                    \
    ((control)->member = (value), (control)->has |= UINT64_C(1) << WEIR_FIELD_##field)

/* Decode and check a control frame: lengths, types, ranges, that the verb's required fields are
 * there and that the sum `first + count` of a range does not overflow. Indexes into deliveries and
 * batches are within their limits. On success the caller ends with weir_control_fini; texts point
 * into `frame`. WEIR_EPROTO says what is wrong; `control` is then empty. */
int weir_control_decode(const struct weir_bytes *frame, struct weir_control *control,
                        struct weir_error *error);
void weir_control_fini(struct weir_control *control);
/* Encode the fields that `has` names. Asserts that the verb's required fields are among them, that
 * all of them belong to the verb, and that arrays are within limits.h. Texts that are too long are
 * cut. */
struct weir_bytes weir_control_encode(const struct weir_control *control);

struct weir_text weir_text_of(const char *text);
bool weir_text_is(const struct weir_text *text, const char *word);
const char *weir_verb_name(enum weir_verb verb);
/* How many frames follow this control frame. */
uint32_t weir_control_frames(const struct weir_control *control);

/* The codes of REFUSED and ERROR, as strings on the wire. docs/protocol.md says what each asks for.
 */
#define WEIR_CODE_MALFORMED "malformed" /* a frame does not parse */
#define WEIR_CODE_VERSION "version"
#define WEIR_CODE_NOT_READY "not-ready"   /* READY first */
#define WEIR_CODE_UNEXPECTED "unexpected" /* this verb does not belong here */
#define WEIR_CODE_ORDER "order"           /* PUT: another number is expected: `number` */
#define WEIR_CODE_LIMIT "limit"
#define WEIR_CODE_STORAGE "storage" /* cannot be kept; the node is about to end */
#define WEIR_CODE_DRAINING "draining"
#define WEIR_CODE_GROUP "group"     /* no such group, or the same with other topics */
#define WEIR_CODE_REPLAY "replay"   /* not a dead letter of this stream */
#define WEIR_CODE_TAG "tag"         /* another spool is known under this tag */
#define WEIR_CODE_UNKNOWN "unknown" /* STATUS: no such message was ever here */

/* Writing an ANSWER's map; wire/reader.h reads one. */
struct weir_packer; /* growing msgpack buffer */
struct weir_packer *weir_packer_new(void);
void weir_packer_destroy(struct weir_packer **self);
void weir_pack_map(struct weir_packer *packer, uint32_t pairs);
void weir_pack_array(struct weir_packer *packer, uint32_t count);
/* Text that is not UTF-8 becomes a bin. */
void weir_pack_text(struct weir_packer *packer, const char *text);
void weir_pack_text_n(struct weir_packer *packer, const char *text, size_t bytes);
void weir_pack_bytes(struct weir_packer *packer, const void *data, size_t bytes);
void weir_pack_u64(struct weir_packer *packer, uint64_t value);
void weir_pack_i64(struct weir_packer *packer, int64_t value);
void weir_pack_bool(struct weir_packer *packer, int value);
void weir_pack_nil(struct weir_packer *packer);
/* The finished bytes; the packer is destroyed. */
struct weir_bytes weir_packer_finish(struct weir_packer **self);

#endif
