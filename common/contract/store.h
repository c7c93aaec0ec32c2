/* The store's contract: what a holder asks of its storage. Two implementations pass one conformance
 * suite: files (common/store) and memory (for tests and the simulator).
 *
 * A request is handed over and ends later with exactly one result that bears its id. At most
 * WEIR_STORE_REQUESTS_MAX are outstanding (handed over, result not taken yet). Order:
 *   - APPENDs end in the order of their submission, each only when it is durable (as `fsync` says).
 *     Their sequences ascend; numbers may be left out, but never go back;
 *   - APPLY, QUERY, TRIM and HOLD are carried out in the order of their submission, so that a QUERY
 *     sees every APPLY handed over before it;
 *   - READ sees every append that has ended, and none that has not.
 * A result with status != 0 from APPEND, APPLY or HOLD is final: the store takes no more requests
 * of these kinds, and the role stops answering OK and ends. The one exception is WEIR_EFULL:
 * nothing was written, and the request may be repeated later. An APPEND that ends EFULL takes with
 * it every APPEND that was handed over before its result was taken (poll), so the next one may use
 * its sequences again; and so do an APPLY and a HOLD with those of their kind. */
#ifndef WEIR_CONTRACT_STORE_H
#define WEIR_CONTRACT_STORE_H

#include <base/bytes.h>
#include <base/error.h>
#include <base/message_id.h>
#include <contract/policy.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIR_PRODUCER_BYTES 16
#define WEIR_HASH_BYTES 16

struct weir_skip { /* messages of a batch that are not part of the stream: known idempotency keys */
    uint32_t first;
    uint32_t count;
};

/* One batch as the log keeps it. Sequences [first, first + count) belong to it, skipped ones too.
 */
struct weir_record {
    uint64_t first;
    uint32_t count;
    int64_t time_ms; /* accepted */
    struct weir_bytes header;
    struct weir_bytes index;
    struct weir_bytes body;
    struct weir_skip *skips; /* owned, ascending, disjoint */
    uint32_t skip_count;
};

void weir_record_fini(struct weir_record *record);

/* What a message's row in the state says. A message without a row is accounted for by its group's
 * cursors alone. */
enum weir_row_state {
    WEIR_ROW_DEFERRED = 1, /* waits for due_ms */
    WEIR_ROW_PARKED = 2,   /* waits for those ahead of it with its key */
    WEIR_ROW_LEASED = 3,   /* out: a redelivery, or a lease older than a second */
    WEIR_ROW_DYING = 4,    /* a dead letter that the collector has not confirmed yet */
    WEIR_ROW_DEAD = 5,     /* tombstone: confirmed by the collector */
    WEIR_ROW_DONE = 6,     /* tombstone of a message that was dead once and replayed */
};

struct weir_row {
    uint32_t group; /* the group's number in this spool; or WEIR_GROUP_LATER */
    uint64_t sequence;
    enum weir_row_state state;
    int64_t time_ms;   /* accepted */
    int64_t due_ms;    /* wall clock: DEFERRED, DYING: when to go on; dead rows: when it died */
    uint32_t attempt;  /* attempts that count so far */
    uint32_t death;    /* deaths so far */
    uint32_t releases; /* times that it came back untried, in a row */
    bool suspect;      /* to be delivered alone */
    enum weir_reason reason;
    uint64_t key_hash; /* the key that it holds up until it is done or dead; 0: none */
    /* LEASED: the lease it is out under, so that it survives a restart. incarnation 0: none. */
    uint64_t incarnation;
    uint64_t delivery;
    uint32_t index;
    uint64_t worker;
    int64_t deadline_ms;       /* wall clock */
    struct weir_bytes history; /* msgpack array: wire/history.h. Empty: none */
    /* Set when the payload was copied out of the log (or came in by replay): one message. */
    struct weir_bytes header, index_entry, body;
};

void weir_row_fini(struct weir_row *row);

/* Rows of this number, all DEFERRED, are of messages that are delayed: a group that is made before
 * they are due gets them, too (WEIR_OP_INHERIT). `history` is their topic. */
#define WEIR_GROUP_LATER 0u

/* Sequences per chunk of a group's settled bitmap. */
#define WEIR_CHUNK_SEQUENCES 8192u
#define WEIR_CHUNK_BYTES (WEIR_CHUNK_SEQUENCES / 8u)

/* Counters of a group that outlive the process. */
struct weir_group_totals {
    uint64_t matched; /* messages the stream took in for it */
    uint64_t passed; /* of these, handed out or skipped at least once: waiting = matched - passed */
    uint64_t done, retried, dead, rejected, expired, released, dropped, replayed, stale;
};

/* How messages ended that were neither done nor dead, in ranges of sequences. */
enum weir_fate {
    WEIR_FATE_LOST = 1,    /* gone with a damaged log */
    WEIR_FATE_DROPPED = 2, /* on-full: drop; or at most once, and it failed */
};

struct weir_ended_range {
    uint64_t first, last;
    enum weir_fate fate;
};

struct weir_ended {
    uint64_t known_from; /* of those below it is only known that they have ended */
    uint32_t count;
    struct weir_ended_range at[WEIR_ENDED_RANGES_MAX]; /* ascending, disjoint */
};

struct weir_group_row {
    uint32_t number; /* 1 … , never used twice in a spool */
    struct weir_group_policy policy;
    uint64_t start; /* first sequence that belongs to it */
    uint64_t low;   /* everything below is settled */
    uint64_t next;  /* where handing out goes on */
    int64_t created_ms;
    int64_t active_ms; /* a worker was last seen */
    bool paused;
    bool listed; /* in the topology file, or dynamic: false means left over */
    struct weir_group_totals totals;
    struct weir_ended ended;
};

struct weir_producer_answer {
    uint64_t number;
    uint64_t first;
    uint32_t count;
    int64_t time_ms;
};

/* A producer, and the answers to its newest batches, so that any it may repeat can be answered. */
struct weir_producer_row {
    uint8_t id[WEIR_PRODUCER_BYTES];
    uint64_t number;                                               /* the last batch accepted */
    int64_t time_ms;                                               /* when */
    struct weir_producer_answer answers[WEIR_PRODUCER_WINDOW_MAX]; /* oldest first */
    uint32_t answer_count;
};

/* Which spool a stream's tag was seen with (sink, dlq). */
struct weir_spool_row {
    uint16_t tag;
    uint8_t uuid[16];
};

struct weir_idem_row {
    uint8_t hash[WEIR_HASH_BYTES];
    uint64_t sequence;
    int64_t time_ms;
};

/* One state transaction: a list of operations, all or none. */
enum weir_op_type {
    WEIR_OP_GROUP_PUT,      /* group: insert or update by number */
    WEIR_OP_GROUP_DROP,     /* number: with its rows and chunks */
    WEIR_OP_CHUNK_PUT,      /* number, chunk, bits: bit set = settled */
    WEIR_OP_CHUNK_TRIM,     /* number, chunk: forget chunks below it */
    WEIR_OP_ROW_PUT,        /* row: insert or replace by (group, sequence); a row without payload
                               leaves a stored payload alone, but a tombstone keeps none */
    WEIR_OP_ROW_COPY,       /* row: only group, sequence and payload: add the payload to the row
                               that is there, if one is and has none */
    WEIR_OP_ROW_DROP,       /* number, sequence */
    WEIR_OP_TOMBSTONE_TRIM, /* number, count: keep the `count` tombstones of the highest sequences
                             */
    WEIR_OP_PRODUCER_PUT,   /* producer */
    WEIR_OP_PRODUCER_DROP,  /* producer: only its id */
    WEIR_OP_PRODUCER_TRIM,  /* time_ms: forget those last seen before */
    WEIR_OP_IDEM_PUT,       /* idem: insert or replace by sequence */
    WEIR_OP_IDEM_TRIM,      /* sequence: forget keys of messages below */
    WEIR_OP_ABSORBED,       /* sequence: every record up to it has left its traces in the state */
    WEIR_OP_INHERIT,        /* group, sequence, time_ms: a group that is made gets rows of its own,
                               payloads too, for those of WEIR_GROUP_LATER that lie below
                               `sequence`, are due after time_ms and have one of its topics */
};

struct weir_op {
    enum weir_op_type type;
    uint32_t number;
    uint64_t chunk;
    uint64_t sequence;
    uint64_t count;
    int64_t time_ms;
    struct weir_group_row *group;       /* owned */
    struct weir_row *row;               /* owned */
    struct weir_producer_row *producer; /* owned: there may be a million operations at once */
    struct weir_idem_row idem;
    uint8_t *bits; /* owned, WEIR_CHUNK_BYTES */
};

void weir_ops_destroy(struct weir_op *ops, uint32_t count);

enum weir_store_kind {
    WEIR_STORE_APPEND, /* record */
    WEIR_STORE_READ,   /* sequence, bytes_max */
    WEIR_STORE_APPLY,  /* ops */
    WEIR_STORE_QUERY,  /* query, number, sequence, time_ms, key_hash, count */
    WEIR_STORE_TRIM, /* sequence: no record wholly below it is needed any more. What the last APPLY
                        did not absorb stays all the same */
    WEIR_STORE_HOLD, /* sink, dlq: a batch to be written for good: record, producer */
};

/* Rows come with history and payload, but from LIST and UNCOPIED without payload. */
enum weir_query {
    WEIR_QUERY_DUE, /* rows of group `number` in DEFERRED with due_ms <= time_ms, earliest first */
    WEIR_QUERY_DYING,    /* rows of any group in DYING with due_ms <= time_ms, earliest first */
    WEIR_QUERY_MESSAGE,  /* rows with this sequence, of group `number`; 0: of any group */
    WEIR_QUERY_UNCOPIED, /* rows of any group in DEFERRED, PARKED, LEASED or DYING, below
                            `sequence`, whose payload is still in the log, lowest first */
    WEIR_QUERY_LIST,     /* rows of group `number` in `state`, sequence > `sequence`, ascending */
};

struct weir_store_request {
    uint64_t id;
    enum weir_store_kind kind;
    struct weir_record record;
    struct weir_producer_row producer; /* HOLD: kept in the same transaction */
    struct weir_op *ops;               /* APPLY: owned array */
    uint32_t op_count;
    enum weir_query query;
    enum weir_row_state state;
    uint32_t number;
    uint64_t sequence;
    int64_t time_ms;
    uint32_t count;     /* rows at most */
    uint32_t bytes_max; /* READ: stop after this many bytes, but give one record */
};

void weir_store_request_fini(struct weir_store_request *request);

struct weir_row_counts {
    uint32_t group;
    uint64_t deferred, dying, dead; /* how many rows */
    int64_t due_ms;                 /* earliest of DEFERRED; WEIR_TIME_NEVER */
};

struct weir_store_result {
    uint64_t id;
    enum weir_store_kind kind;
    int status;              /* 0 or WEIR_E… */
    struct weir_error error; /* when status != 0 */
    /* READ: records in order, the first one holding `sequence` or, where the log has a hole
     * (trimmed, or damaged), the next one there is. None: nothing at or above `sequence`. */
    struct weir_record *records; /* owned */
    uint32_t record_count;
    struct weir_row *rows; /* QUERY; owned */
    uint32_t row_count;
    bool more;           /* QUERY: `count` or WEIR_QUERY_BYTES_MAX cut the answer short */
    uint32_t duplicates; /* HOLD: messages that were there already */
    struct weir_row_counts *inherited; /* APPLY: what each INHERIT gave; owned */
    uint32_t inherited_count;
    /* Any kind: how full the spool is now, how much of that are payloads of rows that came in since
     * the start, and where its oldest segment ends. */
    uint64_t used_bytes;
    uint64_t payload_bytes;
    uint64_t oldest_segment_last; /* the last sequence of the oldest segment that takes no more
                                     records; 0: none */
    uint64_t log_syncs; /* fdatasyncs of the log since the start; 0 where there are none */
};

void weir_store_result_fini(struct weir_store_result *result);

struct weir_chunk_row {
    uint32_t group;
    uint64_t chunk;
    uint8_t *bits; /* owned, WEIR_CHUNK_BYTES */
};

/* Rows in LEASED, without payloads. Neighbours that have no past are one: from `row` on, the next
 * sequence has the next index of the same lease, and everything else alike. */
struct weir_leased {
    struct weir_row row;
    uint32_t count;
};

/* A row in DEFERRED or PARKED that has a key. There may be very many. */
struct weir_keyed {
    uint32_t group;
    enum weir_row_state state;
    uint64_t sequence;
    uint64_t key_hash;
};

/* What the state and the log say at start. */
struct weir_recovered {
    uint8_t uuid[16];
    uint16_t tag;
    uint64_t absorbed;        /* records above it are to be read and their traces taken in */
    uint64_t next_sequence;   /* above anything that log or state mentions */
    uint64_t oldest_sequence; /* in the log; next_sequence when it is empty */
    uint64_t used_bytes;
    struct weir_group_row *groups;
    uint32_t group_count;
    struct weir_chunk_row *chunks;
    uint32_t chunk_count;
    struct weir_leased *leased; /* by group and sequence */
    uint32_t leased_count;
    struct weir_keyed *keyed; /* by group, state and sequence */
    uint32_t keyed_count;
    struct weir_row_counts *counts; /* one a group that has rows */
    uint32_t counts_count;
    struct weir_producer_row *producers; /* the newest WEIR_PRODUCERS_MAX */
    uint32_t producer_count;
    struct weir_idem_row *idems; /* ascending by sequence */
    uint32_t idem_count;
    char *damage; /* a report for the operator; NULL: none */
};

void weir_recovered_destroy(struct weir_recovered **self);
/* Add the next row in LEASED, in their order, to the last entry, if it belongs there. */
bool weir_leased_join(struct weir_recovered *recovered, const struct weir_row *row);

#endif
