/* Writing: what the collector holds, and what is removed.
 *
 * A letter's message is kept as it came; its payload is a part of it, which the view dead_letters
 * cuts out. Format 1 of the file; docs/format-holders.md describes it. */
#include <base/alloc.h>
#include <base/canary.h>
#include <base/clock.h>
#include <base/limits.h>
#include <base/topic.h>
#include <base/utf8.h>
#include <dlq/dlq_rows.h>
#include <dlq/dlq_store.h>
#include <hold/held_message.h>
#include <hold/hold_sqlite.h>
#include <hold/message_json.h>
#include <json/json_text.h>
#include <stdlib.h>
#include <string.h>

#define PURGE_PAGE 1000u /* deaths removed in one transaction, so that others get their turn */
#define TRIM_EVERY 1024u /* requests between two looks at what has expired */

static const struct weir_hold_schema schema = {
    .what = "dead-letter store",
    .application_id = 0x57444c51, /* "WDLQ" */
    .version = 1,
    .sql = "CREATE TABLE letters (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,"
           " tag INTEGER NOT NULL, \"group\" TEXT NOT NULL, death INTEGER NOT NULL,"
           " topic TEXT NOT NULL, key, headers TEXT NOT NULL, reason TEXT NOT NULL,"
           " attempts INTEGER NOT NULL, history TEXT NOT NULL, error TEXT NOT NULL,"
           " died_ms INTEGER NOT NULL, accepted_ms INTEGER NOT NULL, origin_history BLOB NOT NULL,"
           " payload_at INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, message BLOB NOT NULL,"
           " UNIQUE (id, \"group\", death));"
           "CREATE INDEX letters_by_group ON letters (\"group\", row);"
           "CREATE TABLE removed (row INTEGER PRIMARY KEY, id TEXT NOT NULL,"
           " \"group\" TEXT NOT NULL, death INTEGER NOT NULL, removed_ms INTEGER NOT NULL,"
           " UNIQUE (id, \"group\", death));"
           "CREATE VIEW dead_letters AS SELECT row, id, tag, \"group\", death, topic, key, headers,"
           " substr (message, payload_at + 1, payload_bytes) AS payload, reason, attempts, history,"
           " error, died_ms, accepted_ms, origin_history, message FROM letters;"};

static void topic_match(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    const char *pattern = (const char *)sqlite3_value_text(values[0]);
    const char *topic = (const char *)sqlite3_value_text(values[1]);
    bool match = pattern != NULL && topic != NULL &&
                 weir_topic_match(pattern, topic, (size_t)sqlite3_value_bytes(values[1]));
    sqlite3_result_int(context, match);
}

int weir_dlq_store_open(const char *path, bool make, struct weir_dlq_store **store,
                        struct weir_error *error)
{
    *store = NULL;
    struct weir_dlq_store *self = weir_zalloc(1, sizeof *self);
    int status = weir_hold_db_open(path, make, &schema, &self->db, NULL, error);
    if (status != 0)
        goto cleanup;
    sqlite3_create_function_v2(self->db->file.handle, "topic_match", 2,
                               SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, topic_match, NULL, NULL,
                               NULL);
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&self->was_removed, "SELECT 1 FROM removed WHERE id = ? AND \"group\" = ? AND death = ?"},
        {&self->insert,
         "INSERT OR IGNORE INTO letters (id, \"group\", death, tag, topic, key, headers, reason,"
         " attempts, history, error, died_ms, accepted_ms, origin_history, payload_at,"
         " payload_bytes, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
        {&self->remove, "DELETE FROM letters WHERE id = ? AND \"group\" = ? AND death = ?"},
        {&self->note_removed,
         "INSERT OR IGNORE INTO removed (id, \"group\", death, removed_ms) VALUES (?, ?, ?, ?)"},
        {&self->trim_removed,
         "DELETE FROM removed WHERE row <= (SELECT max (row) FROM removed) - ?"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all && status == 0; i++)
        status = weir_database_prepare(&self->db->file, all[i].sql, all[i].statement, error);
cleanup:
    if (status != 0)
        weir_dlq_store_destroy(&self);
    *store = self;
    return status;
}

void weir_dlq_store_destroy(struct weir_dlq_store **self_pointer)
{
    struct weir_dlq_store *self = *self_pointer;
    if (self == NULL)
        return;
    sqlite3_finalize(self->was_removed);
    sqlite3_finalize(self->insert);
    sqlite3_finalize(self->remove);
    sqlite3_finalize(self->note_removed);
    sqlite3_finalize(self->trim_removed);
    weir_hold_db_destroy(&self->db);
    free(self);
    *self_pointer = NULL;
}

/* The first three parameters of every statement about one death. */
static void bind_death(sqlite3_stmt *statement, const char *id, const char *group,
                       size_t group_bytes, uint32_t death)
{
    weir_bind_text(statement, 1, id, strlen(id));
    weir_bind_text(statement, 2, group, group_bytes);
    sqlite3_bind_int64(statement, 3, death);
}

static const char *text_or_none(const char *text)
{
    return text != NULL ? text : "";
}

/* The newest error there is, as text: what is not UTF-8 stands in the history. */
static char *newest_error(const struct weir_bytes *history)
{
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    int count =
        history->size > 0 ? weir_history_decode(history, notes, WEIR_HISTORY_ENTRIES_MAX) : 0;
    for (int i = count - 1; i >= 0; i--) {
        json_t *text =
            notes[i].error_bytes > 0 ? json_stringn(notes[i].error, notes[i].error_bytes) : NULL;
        if (text == NULL)
            continue;
        char *copy = weir_strdup(json_string_value(text));
        json_decref(text);
        return copy;
    }
    return weir_strdup("");
}

static char *json_take(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

/* A key is TEXT where it is UTF-8, else a BLOB. */
static void bind_key(sqlite3_stmt *statement, int at, const struct weir_message_view *view)
{
    if (view->key == NULL) {
        sqlite3_bind_null(statement, at);
        return;
    }
    if (weir_utf8_valid(view->key, view->key_bytes))
        weir_bind_text(statement, at, view->key, view->key_bytes);
    else
        weir_bind_blob(statement, at, view->key, view->key_bytes);
}

static int insert_letter(struct weir_dlq_store *self, const struct weir_held_message *message,
                         int64_t now_ms, bool *duplicate, struct weir_error *error)
{
    const struct weir_message_view *view = &message->view;
    const struct weir_origin *origin = &view->origin; /* zeroed where there is none */
    const bool own_topic = origin->topic_bytes > 0;
    const char *group = text_or_none(origin->group);
    const char *reason = origin->reason <= WEIR_REASON_BACKLOG
                             ? weir_reason_name((enum weir_reason)origin->reason)
                             : weir_reason_name(WEIR_REASON_NONE);
    char id[WEIR_ID_TEXT_BYTES];
    weir_id_format(&message->id, id);

    bind_death(self->was_removed, id, group, origin->group_bytes, origin->death);
    int step = sqlite3_step(self->was_removed);
    int status = step == SQLITE_ROW || step == SQLITE_DONE
                     ? 0
                     : weir_database_error(&self->db->file, "looking a dead letter up", error);
    sqlite3_reset(self->was_removed);
    *duplicate = step == SQLITE_ROW && !WEIR_CANARY(REMOVED_FORGOTTEN);
    if (status != 0 || *duplicate)
        return status;

    struct weir_json_text headers = {0};
    weir_json_text_headers(&headers, view);
    char *history = json_take(weir_json_history(&origin->history));
    char *newest = newest_error(&origin->history);
    sqlite3_stmt *insert = self->insert;
    bind_death(insert, id, group, origin->group_bytes, origin->death);
    sqlite3_bind_int64(insert, 4, message->id.tag);
    weir_bind_text(insert, 5, own_topic ? origin->topic : message->topic,
                   own_topic ? origin->topic_bytes : message->topic_bytes);
    bind_key(insert, 6, view);
    weir_bind_text(insert, 7, headers.data, headers.bytes);
    weir_bind_text(insert, 8, reason, strlen(reason));
    sqlite3_bind_int64(insert, 9, origin->attempt);
    weir_bind_text(insert, 10, history, strlen(history));
    weir_bind_text(insert, 11, newest, strlen(newest));
    sqlite3_bind_int64(insert, 12, now_ms);
    sqlite3_bind_int64(insert, 13, message->id.time_ms);
    weir_bind_blob(insert, 14, origin->history.data, origin->history.size);
    sqlite3_bind_int64(insert, 15,
                       view->payload_bytes > 0 ? view->payload - message->body.data : 0);
    sqlite3_bind_int64(insert, 16, (int64_t)view->payload_bytes);
    weir_bind_blob(insert, 17, message->body.data, message->body.size);
    status = weir_database_run(&self->db->file, insert, "writing a dead letter", error);
    *duplicate = status == 0 && sqlite3_changes(self->db->file.handle) == 0;
    free(headers.data);
    free(history);
    free(newest);
    return status;
}

static int hold_one(struct weir_dlq_store *self, uint16_t tag,
                    const struct weir_store_request *request, uint32_t *duplicates,
                    struct weir_error *error)
{
    struct weir_held_walk walk;
    int status = weir_held_walk_init(&walk, &request->record, tag, error);
    *duplicates = 0;
    while (status == 0 && weir_held_walk_next(&walk)) {
        bool duplicate = false;
        status = insert_letter(self, &walk.message, request->record.time_ms, &duplicate, error);
        *duplicates += duplicate;
    }
    if (status == 0 && walk.header.has_spool && walk.message.view.has_origin)
        status = weir_hold_db_spool(self->db, walk.message.id.tag, walk.header.spool, error);
    if (status == 0)
        status = weir_hold_db_note(self->db, request, error);
    return status;
}

int weir_dlq_store_hold(struct weir_dlq_store *self, uint16_t tag,
                        const struct weir_store_request *requests, uint32_t count,
                        uint32_t *duplicates, struct weir_error *error)
{
    int status = weir_hold_db_begin(self->db, error);
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = hold_one(self, tag, &requests[i], &duplicates[i], error);
    if (status == 0 && self->until_trim < count) {
        self->until_trim = TRIM_EVERY;
        status = weir_hold_db_trim(self->db, requests[0].record.time_ms - WEIR_PRODUCER_EXPIRE_MS,
                                   error);
    } else {
        self->until_trim -= self->until_trim < count ? self->until_trim : count;
    }
    if (status == 0)
        status = weir_database_commit(&self->db->file, "writing dead letters", error);
    if (status != 0)
        weir_database_roll_back(&self->db->file);
    /* Another process that holds the file passes; nothing was written. */
    return status == WEIR_EBUSY ? WEIR_EFULL : status;
}

int weir_dlq_store_recover(struct weir_dlq_store *self, struct weir_producer_row **producers,
                           uint32_t *producer_count, uint64_t *next_sequence,
                           struct weir_error *error)
{
    return weir_hold_db_recover(self->db, producers, producer_count, next_sequence, error);
}

int weir_dlq_store_spools(struct weir_dlq_store *self, struct weir_spool_row **spools,
                          uint32_t *count, struct weir_error *error)
{
    return weir_hold_db_spools(self->db, spools, count, error);
}

static int remember_removed(struct weir_dlq_store *self, const char *id, const char *group,
                            uint32_t death, struct weir_error *error)
{
    bind_death(self->note_removed, id, group, strlen(group), death);
    sqlite3_bind_int64(self->note_removed, 4, weir_clock_now().wall_ms);
    return weir_database_run(&self->db->file, self->note_removed, "remembering a removal", error);
}

static int trim_and_commit(struct weir_dlq_store *self, struct weir_error *error)
{
    sqlite3_bind_int64(self->trim_removed, 1, WEIR_REMOVED_DEATHS_MAX);
    int status =
        weir_database_run(&self->db->file, self->trim_removed, "forgetting old removals", error);
    return status == 0 ? weir_database_commit(&self->db->file, "removing dead letters", error)
                       : status;
}

int weir_dlq_store_remove(struct weir_dlq_store *self, const struct weir_id *id, const char *group,
                          uint32_t death, bool *removed, struct weir_error *error)
{
    char text[WEIR_ID_TEXT_BYTES];
    weir_id_format(id, text);
    *removed = false;
    int status = weir_hold_db_begin(self->db, error);
    if (status != 0)
        return status;
    bind_death(self->remove, text, group, strlen(group), death);
    status = weir_database_run(&self->db->file, self->remove, "removing a dead letter", error);
    bool was_there = status == 0 && sqlite3_changes(self->db->file.handle) > 0;
    if (was_there)
        status = remember_removed(self, text, group, death, error);
    if (status == 0)
        status = trim_and_commit(self, error);
    if (status != 0)
        weir_database_roll_back(&self->db->file);
    *removed = was_there && status == 0;
    return status;
}

/* Remove at most `limit`, in one transaction. */
static int purge_page(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                      uint32_t limit, uint32_t *count, struct weir_error *error)
{
    struct weir_dlq_filter page = *filter;
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    *count = 0;
    page.limit = limit;
    int status = weir_dlq_select(self, WEIR_DLQ_DELETE, &page, &statement, error);
    if (status != 0)
        return status;
    status = weir_hold_db_begin(self->db, error);
    if (status != 0) {
        sqlite3_finalize(statement);
        return status;
    }
    while (status == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        status = remember_removed(self, (const char *)sqlite3_column_text(statement, 0),
                                  (const char *)sqlite3_column_text(statement, 1),
                                  (uint32_t)sqlite3_column_int64(statement, 2), error);
        *count += 1;
    }
    if (status == 0 && step != SQLITE_DONE)
        status = weir_database_error(&self->db->file, "purging dead letters", error);
    sqlite3_finalize(statement);
    if (status == 0)
        status = trim_and_commit(self, error);
    if (status != 0)
        weir_database_roll_back(&self->db->file);
    return status;
}

int weir_dlq_store_purge(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                         uint64_t *count, struct weir_error *error)
{
    *count = 0;
    for (;;) {
        uint64_t left = filter->limit == 0 ? PURGE_PAGE : filter->limit - *count;
        uint32_t page = left < PURGE_PAGE ? (uint32_t)left : PURGE_PAGE, removed = 0;
        int status = page > 0 ? purge_page(self, filter, page, &removed, error) : 0;
        if (status != 0)
            return status;
        *count += removed;
        if (removed < page || page == 0)
            return 0;
    }
}
