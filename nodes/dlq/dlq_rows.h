/* Within the dead letters' store: its statements, and filters as SQL. */
#ifndef WEIR_DLQ_ROWS_H
#define WEIR_DLQ_ROWS_H

#include <dlq/dlq_store.h>
#include <hold/hold_sqlite.h>

struct weir_dlq_store {
    struct weir_hold_db *db;
    sqlite3_stmt *was_removed, *insert, *remove, *note_removed, *trim_removed;
    uint32_t until_trim;
};

enum weir_dlq_statement {
    WEIR_DLQ_LIST,
    WEIR_DLQ_COUNT,
    WEIR_DLQ_DELETE, /* gives id, group and death of each */
};

/* The statement for what the filter lets through, its values bound: copies, but for `text`. */
int weir_dlq_select(struct weir_dlq_store *self, enum weir_dlq_statement kind,
                    const struct weir_dlq_filter *filter, sqlite3_stmt **statement,
                    struct weir_error *error);

#endif
