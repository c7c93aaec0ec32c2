/* What the SQLite files of the holders (a sink's ledger, the collector's store) have in common: how
 * they are opened and written, and the producers' numbers, which become durable together with the
 * batch they belong to. One connection, one thread. */
#ifndef WEIR_HOLD_SQLITE_H
#define WEIR_HOLD_SQLITE_H

#include <base/error.h>
#include <contract/store.h>
#include <sqlite/database.h>

struct weir_hold_db {
    struct weir_database file;
    sqlite3_stmt *put_producer, *trim_producers, *put_next, *put_spool;
};

struct weir_hold_schema {
    const char *what;
    int32_t application_id; /* PRAGMA application_id: whose file this is */
    int32_t version;        /* PRAGMA user_version: of the tables */
    const char *sql;        /* makes the tables, in an empty file … */
    uint32_t page_bytes;    /* … of such pages; 0: as SQLite has it */
};

/* Open the file, and with `make` make it if missing, its directories too. Its tables are made when
 * it is empty. WAL, synchronous=FULL. WEIR_ENOTFOUND, WEIR_EIO, WEIR_EDAMAGED (no SQLite file, or a
 * damaged one), WEIR_EINVAL (another program's file, or another version's). *existed (may be NULL):
 * whether it had its tables already. */
int weir_hold_db_open(const char *path, bool make, const struct weir_hold_schema *schema,
                      struct weir_hold_db **db, bool *existed, struct weir_error *error);
void weir_hold_db_destroy(struct weir_hold_db **self);

/* Begin a write transaction, as weir_database_begin does. WEIR_EFULL, too: somebody's reading has
 * kept the WAL from being taken in for too long. */
int weir_hold_db_begin(struct weir_hold_db *self, struct weir_error *error);

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

#endif
