/* What the SQLite files of the holders (a sink's ledger, the collector's store) have in common: how
 * they are opened and written, and the producers' numbers, which become durable together with the
 * batch they belong to. One connection, one thread. */
#ifndef WEIR_HOLD_SQLITE_H
#define WEIR_HOLD_SQLITE_H

#include <base/error.h>
#include <contract/store.h>
#include <sqlite3.h>

struct weir_hold_db {
    sqlite3 *db;
    char *path, *wal_path;
    int64_t warned_ns; /* when a long WAL was last complained about */
    const char *what;  /* "ledger", "dead-letter store": for messages to a person */
    sqlite3_stmt *begin, *commit, *rollback;
    sqlite3_stmt *put_producer, *trim_producers, *put_next, *put_spool;
};

struct weir_hold_schema {
    const char *what;
    int32_t application_id; /* PRAGMA application_id: whose file this is */
    int32_t version;        /* PRAGMA user_version: of the tables */
    const char *sql;        /* makes the tables, in an empty file */
};

/* Open the file, and with `make` make it if missing, its directories too. Its tables are made when
 * it is empty. WAL, synchronous=FULL. WEIR_ENOTFOUND, WEIR_EIO, WEIR_EDAMAGED (no SQLite file, or a
 * damaged one), WEIR_EINVAL (another program's file, or another version's). *existed (may be NULL):
 * whether it had its tables already. */
int weir_hold_db_open(const char *path, bool make, const struct weir_hold_schema *schema,
                      struct weir_hold_db **db, bool *existed, struct weir_error *error);
void weir_hold_db_destroy(struct weir_hold_db **self);

/* The error of the last call: WEIR_EFULL, WEIR_EBUSY, WEIR_EDAMAGED or WEIR_EIO; the text says what
 * was being done (`doing`: "writing results"), to which file, and what SQLite says. */
int weir_hold_db_error(const struct weir_hold_db *self, const char *doing,
                       struct weir_error *error);
/* Prepare a statement that lives as long as the file. */
int weir_hold_db_prepare(const struct weir_hold_db *self, const char *sql, sqlite3_stmt **statement,
                         struct weir_error *error);
/* Run a statement that gives no rows, and make it ready for the next time. */
int weir_hold_db_run(const struct weir_hold_db *self, sqlite3_stmt *statement, const char *doing,
                     struct weir_error *error);
/* A write transaction: begin waits for another process's to end; WEIR_EDAMAGED: the file is not
 * where it was; WEIR_EFULL: somebody's reading has kept the WAL from being taken in for too long.
 * Rolling back never fails. */
int weir_hold_db_begin(struct weir_hold_db *self, struct weir_error *error);
int weir_hold_db_commit(struct weir_hold_db *self, const char *doing, struct weir_error *error);
void weir_hold_db_rollback(struct weir_hold_db *self);

/* Within a transaction: the producer's row of this HOLD, and the next free sequence. */
int weir_hold_db_note(struct weir_hold_db *self, const struct weir_store_request *request,
                      struct weir_error *error);
/* Within a transaction: the spool that a batch of results or dead letters names, with the tag of
 * one of its messages' ids. The first one of a tag stays. */
int weir_hold_db_spool(struct weir_hold_db *self, uint16_t tag, const uint8_t uuid[16],
                       struct weir_error *error);
/* What was noted; *spools is the caller's to free. */
int weir_hold_db_spools(struct weir_hold_db *self, struct weir_spool_row **spools, uint32_t *count,
                        struct weir_error *error);
/* Within a transaction: forget the producers that were last seen before. */
int weir_hold_db_trim(struct weir_hold_db *self, int64_t before_ms, struct weir_error *error);
/* What was noted: the newest WEIR_PRODUCERS_MAX producers (*producers is the caller's to free), and
 * the next sequence, from 1. */
int weir_hold_db_recover(struct weir_hold_db *self, struct weir_producer_row **producers,
                         uint32_t *producer_count, uint64_t *next_sequence,
                         struct weir_error *error);

/* Binding and reading the kinds that occur. Text and bytes must live until the statement has run.
 * Sequences are u64 kept as the i64 of the same bits. */
void weir_bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes);
void weir_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t bytes);

#endif
