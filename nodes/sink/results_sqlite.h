/* A sink's output as rows of the table `results`. */
#ifndef WEIR_RESULTS_SQLITE_H
#define WEIR_RESULTS_SQLITE_H

#include <hold/held_message.h>
#include <hold/hold_sqlite.h>
#include <json/json_text.h>

/* A text that is not UTF-8 stands as a BLOB. */
#define WEIR_RESULTS_TABLE                                                                         \
    "CREATE TABLE results (row INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL,"        \
    " \"group\" TEXT, key, attempt INTEGER NOT NULL, death INTEGER NOT NULL, result,"              \
    " headers TEXT NOT NULL, time_ms INTEGER NOT NULL);"                                           \
    "CREATE INDEX results_by_id ON results (id);"
#define WEIR_RESULTS_INSERT                                                                        \
    "INSERT INTO results (id, topic, \"group\", key, attempt, death, result, headers, time_ms)"    \
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

/* Within a transaction: one message as a row, through a statement made of WEIR_RESULTS_INSERT.
 * `headers` is room to write in. */
int weir_results_insert(struct weir_hold_db *db, sqlite3_stmt *insert,
                        struct weir_json_text *headers, const struct weir_held_message *message,
                        int64_t time_ms, struct weir_error *error);

#endif
