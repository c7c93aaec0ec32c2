#include <base/utf8.h>
#include <json/json_text.h>
#include <sink/results_sqlite.h>
#include <string.h>

static void bind_value(sqlite3_stmt *statement, int at, const void *data, size_t bytes)
{
    if (data == NULL) {
        sqlite3_bind_null(statement, at);
        return;
    }
    if (weir_utf8_valid(data, bytes))
        weir_bind_text(statement, at, data, bytes);
    else
        weir_bind_blob(statement, at, data, bytes);
}

int weir_results_insert(struct weir_hold_db *db, sqlite3_stmt *insert,
                        struct weir_json_text *headers, const struct weir_held_message *message,
                        int64_t time_ms, struct weir_error *error)
{
    const struct weir_message_view *view = &message->view;
    char id[WEIR_ID_TEXT_BYTES];
    headers->bytes = 0;
    weir_json_text_headers(headers, view);
    weir_id_format(&message->id, id);
    weir_bind_text(insert, 1, id, strlen(id));
    weir_bind_text(insert, 2, message->topic, message->topic_bytes);
    bind_value(insert, 3, view->origin.group, view->origin.group_bytes);
    bind_value(insert, 4, view->key, view->key_bytes);
    sqlite3_bind_int64(insert, 5, view->origin.attempt);
    sqlite3_bind_int64(insert, 6, view->origin.death);
    bind_value(insert, 7, view->payload, view->payload_bytes);
    weir_bind_text(insert, 8, headers->data, headers->bytes);
    sqlite3_bind_int64(insert, 9, time_ms);
    return weir_database_run(&db->file, insert, "writing a result", error);
}
