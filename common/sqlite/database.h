/* A SQLite file of Weir's: a spool's state, a sink's ledger, a collector's store. How it is opened,
 * what its errors mean, and how what is committed to it is durable whoever reads it meanwhile. One
 * connection, one thread at a time; everything here blocks.
 *
 *   database.c  opening, errors, statements, transactions
 *   wal.c       the WAL: durable at the start, bounded afterwards
 */
#ifndef WEIR_SQLITE_DATABASE_H
#define WEIR_SQLITE_DATABASE_H

#include <base/error.h>

#include <sqlite3.h>

#include <stddef.h>
#include <stdint.h>

struct weir_database {
    sqlite3 *handle;
    const char *what; /* "state", "ledger": for messages to a person */
    char *path, *wal_path;
    uint64_t wal_bytes_warn; /* a longer WAL is complained about; WEIR_WAL_BYTES_WARN at first */
    int64_t warned_ns;       /* when that was done last */
};

/* Open the file for reading and writing. `flags`: further ones of sqlite3_open_v2; `what` is
 * borrowed. The file is not looked into yet. To be finished also after a failure. Errors as
 * weir_database_error gives them. */
int weir_database_init(struct weir_database *self, const char *what, const char *path, int flags,
                       struct weir_error *error);
/* The statements that were prepared should be finalized by then. */
void weir_database_fini(struct weir_database *self);

/* What SQLite's last error means: WEIR_EFULL (a quota's end, too), WEIR_EBUSY (another process has
 * kept it locked for ten seconds), WEIR_EDAMAGED (or no SQLite file), WEIR_EIO. The text says what
 * was being done (`doing`: "writing results"), to which file, and what SQLite says. */
int weir_database_error(const struct weir_database *self, const char *doing,
                        struct weir_error *error);

/* Prepare a statement that is used again and again. */
int weir_database_prepare(const struct weir_database *self, const char *sql,
                          sqlite3_stmt **statement, struct weir_error *error);
/* Run a statement that gives no rows, and make it ready to be bound anew. */
int weir_database_run(const struct weir_database *self, sqlite3_stmt *statement, const char *doing,
                      struct weir_error *error);
/* Run one or more statements that give no rows worth having. */
int weir_database_execute(const struct weir_database *self, const char *sql, const char *doing,
                          struct weir_error *error);
/* The number that a statement gives. */
int weir_database_number(const struct weir_database *self, const char *sql, int64_t *number,
                         struct weir_error *error);

/* Binding what may be missing: text that is NULL is NULL, bytes that are none are an empty blob.
 * Both must live until the statement has run. */
void weir_bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes);
void weir_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t bytes);

/* A write transaction; begin waits for another process's to end. WEIR_EDAMAGED: the file is not
 * where it was. A commit that fails must be rolled back; rolling back never fails. */
int weir_database_begin(const struct weir_database *self, struct weir_error *error);
int weir_database_commit(const struct weir_database *self, const char *doing,
                         struct weir_error *error);
void weir_database_roll_back(const struct weir_database *self);

/* --- the WAL ------------------------------------------------------------------------------- */

/* Write through a WAL from now on, and sync it in each commit. It is taken into the database when
 * it has about so many bytes; it begins anew after that, and what is longer than `bytes_kept` is
 * cut off. */
int weir_database_use_wal(const struct weir_database *self, uint64_t bytes, uint64_t bytes_kept,
                          struct weir_error *error);
/* Make durable what the WAL holds. What the last process wrote to it that one may not have synced,
 * and after a sync that failed no later one writes those pages; yet it is what we read. So this
 * comes before anything is done because of it. */
int weir_database_secure_wal(struct weir_database *self, struct weir_error *error);
/* Before a transaction. SQLite begins its WAL anew only when nobody reads from it, so a reader that
 * stays makes it grow. First that is said, then, from WEIR_WAL_BYTES_MAX on, it is WEIR_EFULL. */
int weir_database_check_wal(struct weir_database *self, struct weir_error *error);
/* Take the WAL in, as far as nobody reads from it, if it is longer. Not within a transaction. */
void weir_database_shorten_wal(const struct weir_database *self, uint64_t bytes_max);
/* Of the database and its WAL, by their files. */
uint64_t weir_database_bytes(const struct weir_database *self);

#endif
