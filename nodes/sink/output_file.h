/* A sink's output of lines, to a file or to stdout, so that every line is there once.
 *
 * Lines are made durable in the ledger first, in the transaction that notes their messages as
 * written, together with the place where they belong; only then do they go to the file. So what a
 * reader of the file sees never changes afterwards. The file is synced before the next transaction
 * replaces those lines by newer ones, and at start they are written (again) to their place.
 * Whatever follows them in the file is cut off. */
#ifndef WEIR_SINK_OUTPUT_H
#define WEIR_SINK_OUTPUT_H

#include <hold/hold_sqlite.h>
#include <json/json_text.h>

struct weir_output {
    struct weir_hold_db *db; /* not owned */
    char *path;              /* NULL: stdout */
    int fd;
    sqlite3_stmt *put;
    uint64_t length;               /* where the pending lines begin */
    struct weir_json_text pending; /* the lines that were committed last */
    size_t written;                /* of them */
    bool synced;
    bool open; /* and found to be the one the ledger speaks of */
};

/* The table, for the schema of the file it is in. */
#define WEIR_OUTPUT_TABLE                                                                          \
    "CREATE TABLE output (one INTEGER PRIMARY KEY CHECK (one = 1), length INTEGER NOT NULL,"       \
    " tail BLOB NOT NULL, lines BLOB NOT NULL);"                                                   \
    "INSERT INTO output VALUES (1, 0, x'', x'');"

/* Open, or make, the file; check that it is the one the ledger speaks of, and bring it to where the
 * ledger is. `known`: the ledger had been there. `path` NULL: stdout, through `fd`, which stays the
 * caller's. WEIR_EINVAL: a file with content and no ledger of it; WEIR_EDAMAGED: the file is
 * shorter than what was synced, or another one; both leave it as it is. WEIR_EFULL, WEIR_EIO. */
int weir_output_open(struct weir_output *self, struct weir_hold_db *db, bool known,
                     const char *path, int fd, struct weir_error *error);
/* Writes what is left to be written, as well as that goes: the ledger has it. */
void weir_output_close(struct weir_output *self);

/* Before a transaction: all that was committed is in the file, and synced. WEIR_EFULL, WEIR_EIO. */
int weir_output_settle(struct weir_output *self, struct weir_error *error);
/* Within it: these lines come next. Copies them only with _committed. */
int weir_output_commit_lines(struct weir_output *self, const char *lines, size_t bytes,
                             struct weir_error *error);
/* After its commit: take the lines over and write them; *lines gets the room of the ones before,
 * empty. What fails here is told by the next _settle. */
void weir_output_committed(struct weir_output *self, struct weir_json_text *lines);

#endif
