/* Questions to the state. */
#include "state.h"

#include <base/alloc.h>

#include <stdlib.h>

struct weir_bytes weir_state_column_bytes(sqlite3_stmt *statement, int column)
{
    int size = sqlite3_column_bytes(statement, column);

    return size > 0 ? weir_bytes_copy(sqlite3_column_blob(statement, column), (size_t)size)
                    : WEIR_BYTES_NONE;
}

void weir_state_row(sqlite3_stmt *statement, bool payload, struct weir_row *row)
{
    *row = (struct weir_row){
        .group = (uint32_t)sqlite3_column_int64(statement, 0),
        .sequence = (uint64_t)sqlite3_column_int64(statement, 1),
        .state = (enum weir_row_state)sqlite3_column_int(statement, 2),
        .time_ms = sqlite3_column_int64(statement, 3),
        .due_ms = sqlite3_column_int64(statement, 4),
        .attempt = (uint32_t)sqlite3_column_int64(statement, 5),
        .death = (uint32_t)sqlite3_column_int64(statement, 6),
        .releases = (uint32_t)sqlite3_column_int64(statement, 7),
        .suspect = sqlite3_column_int(statement, 8) != 0,
        .reason = (enum weir_reason)sqlite3_column_int(statement, 9),
        .key_hash = (uint64_t)sqlite3_column_int64(statement, 10),
        .incarnation = (uint64_t)sqlite3_column_int64(statement, 11),
        .delivery = (uint64_t)sqlite3_column_int64(statement, 12),
        .index = (uint32_t)sqlite3_column_int64(statement, 13),
        .worker = (uint64_t)sqlite3_column_int64(statement, 14),
        .deadline_ms = sqlite3_column_int64(statement, 15),
        .history = weir_state_column_bytes(statement, 16),
    };
    if (payload) {
        row->header = weir_state_column_bytes(statement, 17);
        row->index_entry = weir_state_column_bytes(statement, 18);
        row->body = weir_state_column_bytes(statement, 19);
    }
}

/* The bound statement for a query. */
static sqlite3_stmt *prepare(struct weir_state *state, const struct weir_store_request *request,
                             struct weir_error *error)
{
    static const enum weir_statement statements[] = {
        [WEIR_QUERY_DUE] = STATEMENT_QUERY_DUE,
        [WEIR_QUERY_DYING] = STATEMENT_QUERY_DYING,
        [WEIR_QUERY_MESSAGE] = STATEMENT_QUERY_MESSAGE,
        [WEIR_QUERY_UNCOPIED] = STATEMENT_QUERY_UNCOPIED,
        [WEIR_QUERY_LIST] = STATEMENT_QUERY_LIST,
    };
    sqlite3_stmt *statement = weir_state_statement(state, statements[request->query], error);
    sqlite3_int64 sequence =
        request->sequence < INT64_MAX ? (sqlite3_int64)request->sequence : INT64_MAX;

    if (statement == NULL)
        return NULL;
    switch (request->query) {
    case WEIR_QUERY_DUE:
        sqlite3_bind_int64(statement, 1, request->number);
        sqlite3_bind_int64(statement, 2, request->time_ms);
        break;
    case WEIR_QUERY_DYING:
        sqlite3_bind_int64(statement, 1, request->time_ms);
        break;
    case WEIR_QUERY_MESSAGE:
        sqlite3_bind_int64(statement, 1, sequence);
        sqlite3_bind_int64(statement, 2, request->number);
        break;
    case WEIR_QUERY_UNCOPIED:
        sqlite3_bind_int64(statement, 1, sequence);
        break;
    case WEIR_QUERY_LIST:
        sqlite3_bind_int64(statement, 1, request->number);
        sqlite3_bind_int(statement, 2, (int)request->state);
        sqlite3_bind_int64(statement, 3, sequence);
        break;
    }
    return statement;
}

int weir_state_query(struct weir_state *state, const struct weir_store_request *request,
                     struct weir_store_result *result, struct weir_error *error)
{
    bool payload = request->query != WEIR_QUERY_LIST && request->query != WEIR_QUERY_UNCOPIED;
    sqlite3_stmt *statement = prepare(state, request, error);
    uint32_t capacity = 0;
    uint64_t bytes = 0;
    int step, status = 0;

    if (statement == NULL)
        return error->code;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct weir_row row;

        if (result->row_count == request->count) {
            result->more = true;
            break;
        }
        weir_state_row(statement, payload, &row);
        bytes += row.history.size + row.header.size + row.index_entry.size + row.body.size;
        if (bytes > WEIR_QUERY_BYTES_MAX && result->row_count > 0) {
            weir_row_fini(&row);
            result->more = true;
            break;
        }
        if (result->row_count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 16;
            result->rows = weir_realloc(result->rows, capacity, sizeof *result->rows);
        }
        result->rows[result->row_count++] = row;
    }
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        status = weir_database_error(&state->database, "looking messages up", error);
    sqlite3_reset(statement);
    return status;
}
