/* What a sink has written: for each stream, group and death number the sequences, as a set of
 * ranges in SQLite. Nothing of it is kept in memory but the range that was touched last, so that a
 * run of messages in order costs one row. */
#ifndef WEIR_SINK_LEDGER_H
#define WEIR_SINK_LEDGER_H

#include <base/limits.h>
#include <hold/held_message.h>
#include <hold/hold_sqlite.h>

/* Sequences here are the i64 with the same bits, as SQLite keeps them. */
struct weir_ledger_range {
    int64_t first, last;
    bool there;
};

struct weir_ledger {
    struct weir_hold_db *db; /* not owned */
    sqlite3_stmt *below, *above, *put, *drop;
    /* The range touched last, and where the next one begins. */
    bool loaded, changed;
    uint16_t tag;
    char group[WEIR_NAME_BYTES_MAX + 1];
    uint32_t group_bytes;
    uint32_t death;
    struct weir_ledger_range range, next;
};

/* The table, for the schema of the file it is in. */
#define WEIR_LEDGER_TABLE                                                                          \
    "CREATE TABLE ranges (tag INTEGER NOT NULL, \"group\" TEXT NOT NULL, death INTEGER NOT NULL,"  \
    " first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (tag, \"group\", death, first))"  \
    " WITHOUT ROWID;"

int weir_ledger_init(struct weir_ledger *self, struct weir_hold_db *db, struct weir_error *error);
void weir_ledger_fini(struct weir_ledger *self);

/* Within a transaction, which begins with _begin and must be preceded by _end before its commit.
 * *fresh: the message had not been noted, and is now. */
void weir_ledger_begin(struct weir_ledger *self);
int weir_ledger_note(struct weir_ledger *self, const struct weir_held_message *message, bool *fresh,
                     struct weir_error *error);
int weir_ledger_end(struct weir_ledger *self, struct weir_error *error);

#endif
