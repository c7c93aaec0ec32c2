/* The state of a spool in a SQLite database: one connection, one thread (the one that opens it
 * hands it over before the state thread starts). docs/format.md has the schema.
 *
 *   state_sqlite.c  opening, schema, statements, transactions
 *   state_ops.c     the operations of an APPLY
 *   state_query.c   QUERY
 *   state_load.c    what a start wants to know
 */
#ifndef WEIR_STORE_STATE_H
#define WEIR_STORE_STATE_H

#include <contract/store.h>
#include <sqlite/database.h>

#define WEIR_STATE_VERSION 2
#define WEIR_STATE_ANSWER_BYTES 28u /* of one answer in a producer's row */
#define WEIR_STATE_ENDED_BYTES 20u  /* of one range in a group's `ended` */

enum weir_statement {
    STATEMENT_GROUP_PUT,
    STATEMENT_GROUP_DROP,
    STATEMENT_GROUP_DROP_CHUNKS,
    STATEMENT_GROUP_DROP_MESSAGES,
    STATEMENT_GROUP_PAYLOADS,
    STATEMENT_GROUP_DROP_PAYLOADS,
    STATEMENT_CHUNK_PUT,
    STATEMENT_CHUNK_TRIM,
    STATEMENT_ROW_PUT,
    STATEMENT_ROW_COPIED,
    STATEMENT_ROW_DROP,
    STATEMENT_PAYLOAD_PUT,
    STATEMENT_PAYLOAD_COPY,
    STATEMENT_PAYLOAD_DROP,
    STATEMENT_TOMBSTONE_TRIM,
    STATEMENT_PRODUCER_PUT,
    STATEMENT_PRODUCER_DROP,
    STATEMENT_PRODUCER_TRIM,
    STATEMENT_IDEM_PUT,
    STATEMENT_IDEM_TRIM,
    STATEMENT_ABSORBED,
    STATEMENT_INHERIT_FROM,
    STATEMENT_INHERIT_ROW,
    STATEMENT_INHERIT_PAYLOAD,
    STATEMENT_QUERY_DUE,
    STATEMENT_QUERY_DYING,
    STATEMENT_QUERY_MESSAGE,
    STATEMENT_QUERY_UNCOPIED,
    STATEMENT_QUERY_LIST,
    STATEMENT_COUNT,
};

struct weir_state {
    struct weir_database database;
    sqlite3_stmt *statements[STATEMENT_COUNT]; /* prepared when first used */
    uint8_t uuid[16];
    uint16_t tag;
    uint64_t absorbed; /* of the last committed transaction */
    uint64_t absorbed_uncommitted;
    /* Of the payloads that came in since it was opened; what goes of those that were there before
     * takes it down, too, but not below 0. To sum them all up would hold up a start. */
    uint64_t payload_bytes;
    uint64_t payload_bytes_uncommitted;
    uint64_t wal_bytes_wanted; /* at most, while nobody reads */
};

/* Open "state.db" in the directory, or make it, with a new UUID. WEIR_EINVAL: another tag or
 * version. WEIR_EBUSY: another process keeps it locked. WEIR_EDAMAGED, WEIR_EFULL, WEIR_EIO. */
int weir_state_open(const char *directory, uint16_t tag, uint64_t bytes_max,
                    struct weir_state **self, struct weir_error *error);
void weir_state_close(struct weir_state **self);
/* Of the database and its WAL, by their files. */
uint64_t weir_state_bytes(const struct weir_state *state);

/* Give the file system some of the room back that is free in the database: a bounded step. To be
 * called outside of a transaction. WEIR_EFULL: there is no room to do it; nothing has changed. */
int weir_state_shrink(struct weir_state *state, struct weir_error *error);

/* WEIR_EFULL: somebody's reading has kept the WAL from being taken in for too long. */
int weir_state_check_wal(struct weir_state *state, struct weir_error *error);
/* A transaction. After a failure of any of these the transaction is rolled back. WEIR_EFULL: the
 * disk is. */
int weir_state_begin(struct weir_state *state, struct weir_error *error);
int weir_state_apply(struct weir_state *state, const struct weir_op *ops, uint32_t count,
                     struct weir_store_result *result, struct weir_error *error);
int weir_state_commit(struct weir_state *state, struct weir_error *error);
void weir_state_roll_back(struct weir_state *state);

/* Fill rows, row_count and more. */
int weir_state_query(struct weir_state *state, const struct weir_store_request *request,
                     struct weir_store_result *result, struct weir_error *error);
/* Fill everything but what the log knows; next_sequence is above what the state mentions. */
int weir_state_load(struct weir_state *state, struct weir_recovered *recovered,
                    struct weir_error *error);

/* --- for the state_*.c alone --------------------------------------------------------------- */

/* A statement, ready to be bound. NULL: it cannot be prepared, and `error` says why. */
sqlite3_stmt *weir_state_statement(struct weir_state *state, enum weir_statement which,
                                   struct weir_error *error);
/* Run it to its end and reset it. */
int weir_state_run(struct weir_state *state, sqlite3_stmt *statement, struct weir_error *error);
/* The columns of a message's row, in the order that weir_state_row reads; the payload's follow. */
#define WEIR_STATE_ROW_COLUMNS                                                                     \
    "m.group_number, m.sequence, m.state, m.accepted_ms, m.due_ms, m.attempt, m.death, "           \
    "m.releases, m.suspect, m.reason, m.key_hash, m.lease_incarnation, m.lease_delivery, "         \
    "m.lease_index, m.lease_worker, m.lease_deadline_ms, m.history"
#define WEIR_STATE_PAYLOAD_COLUMNS "p.header, p.index_entry, p.body"
void weir_state_row(sqlite3_stmt *statement, bool payload, struct weir_row *row);
struct weir_bytes weir_state_column_bytes(sqlite3_stmt *statement, int column);

#endif
