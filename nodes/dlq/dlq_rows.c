/* Reading: filters as SQL, rows as dead letters. */
#include <base/alloc.h>
#include <base/limits.h>
#include <dlq/dlq_rows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "row, id, \"group\", death, topic, key, headers, reason, attempts, history, error, died_ms,"   \
    " accepted_ms, origin_history"

enum column {
    ROW,
    ID,
    GROUP,
    DEATH,
    TOPIC,
    KEY,
    HEADERS,
    REASON,
    ATTEMPTS,
    HISTORY,
    ERROR,
    DIED,
    ACCEPTED,
    ORIGIN_HISTORY,
    PAYLOAD, /* these two not without payloads */
    MESSAGE,
};

static const char *const statements[][2] = {
    [WEIR_DLQ_LIST] = {"SELECT " COLUMNS ", payload, message FROM dead_letters WHERE row > :after",
                       " ORDER BY row LIMIT :limit"},
    [WEIR_DLQ_COUNT] = {"SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE row > :after",
                        " ORDER BY row LIMIT :limit)"},
    [WEIR_DLQ_DELETE] = {"DELETE FROM letters WHERE row IN"
                         " (SELECT row FROM dead_letters WHERE row > :after",
                         " ORDER BY row LIMIT :limit) RETURNING id, \"group\", death"},
};
static const char list_without_payload[] =
    "SELECT " COLUMNS " FROM dead_letters WHERE row > :after";

/* Only what is asked for stands in the statement, so that SQLite can use an index for it. */
static char *filter_sql(enum weir_dlq_statement kind, const struct weir_dlq_filter *filter)
{
    return weir_asprintf("%s%s%s%s%s%s%s%s%s%s",
                         kind == WEIR_DLQ_LIST && filter->without_payload ? list_without_payload
                                                                          : statements[kind][0],
                         filter->id != NULL ? " AND id = :id" : "",
                         filter->group != NULL ? " AND \"group\" = :group" : "",
                         filter->death != 0 ? " AND death = :death" : "",
                         filter->reason != WEIR_REASON_NONE ? " AND reason = :reason" : "",
                         filter->topic != NULL ? " AND topic_match (:topic, topic)" : "",
                         filter->since_ms != 0 ? " AND died_ms >= :since" : "",
                         filter->until_ms != 0 ? " AND died_ms < :until" : "",
                         filter->text != NULL ? " AND (instr (payload, CAST (:text AS BLOB)) > 0"
                                                " OR instr (error, :text) > 0)"
                                              : "",
                         statements[kind][1]);
}

/* What cannot be bound would be NULL, which no letter equals. Both return SQLite's code. */
static int bind_named_text(sqlite3_stmt *statement, const char *name, const char *text)
{
    int at = sqlite3_bind_parameter_index(statement, name);
    return at > 0 ? sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT) : SQLITE_OK;
}

static int bind_named_number(sqlite3_stmt *statement, const char *name, int64_t number)
{
    int at = sqlite3_bind_parameter_index(statement, name);
    return at > 0 ? sqlite3_bind_int64(statement, at, number) : SQLITE_OK;
}

int weir_dlq_select(struct weir_dlq_store *self, enum weir_dlq_statement kind,
                    const struct weir_dlq_filter *filter, sqlite3_stmt **statement,
                    struct weir_error *error)
{
    char id[WEIR_ID_TEXT_BYTES] = "";
    if (filter->id != NULL)
        weir_id_format(filter->id, id);
    char *sql = filter_sql(kind, filter);
    *statement = NULL;
    int status = weir_database_prepare(&self->db->file, sql, statement, error);
    free(sql);
    if (status != 0)
        return status;
    if (bind_named_number(*statement, ":after", filter->after_row) == SQLITE_OK &&
        bind_named_number(*statement, ":limit", filter->limit == 0 ? -1 : (int64_t)filter->limit) ==
            SQLITE_OK &&
        bind_named_text(*statement, ":id", id) == SQLITE_OK &&
        bind_named_text(*statement, ":group", filter->group) == SQLITE_OK &&
        bind_named_number(*statement, ":death", filter->death) == SQLITE_OK &&
        bind_named_text(*statement, ":reason", weir_reason_name(filter->reason)) == SQLITE_OK &&
        bind_named_text(*statement, ":topic", filter->topic) == SQLITE_OK &&
        bind_named_number(*statement, ":since", filter->since_ms) == SQLITE_OK &&
        bind_named_number(*statement, ":until", filter->until_ms) == SQLITE_OK &&
        bind_named_text(*statement, ":text", filter->text) == SQLITE_OK)
        return 0;
    status = weir_database_error(&self->db->file, "picking dead letters", error);
    sqlite3_finalize(*statement);
    *statement = NULL;
    return status;
}

static const char *column_text(sqlite3_stmt *statement, enum column column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text != NULL ? text : "";
}

static struct weir_bytes column_bytes(sqlite3_stmt *statement, enum column column)
{
    const void *data = sqlite3_column_blob(statement, column);
    return weir_bytes_borrow(data, (size_t)sqlite3_column_bytes(statement, column));
}

static enum weir_reason reason_of(const char *name)
{
    enum weir_reason reason = WEIR_REASON_BACKLOG;
    while (reason > WEIR_REASON_NONE && strcmp(name, weir_reason_name(reason)) != 0)
        reason--;
    return reason;
}

static int read_letter(const struct weir_dlq_store *self, sqlite3_stmt *statement,
                       bool without_payload, struct weir_dead_letter *letter,
                       struct weir_error *error)
{
    *letter = (struct weir_dead_letter){
        .row = sqlite3_column_int64(statement, ROW),
        .group = column_text(statement, GROUP),
        .death = (uint32_t)sqlite3_column_int64(statement, DEATH),
        .topic = column_text(statement, TOPIC),
        .headers = column_text(statement, HEADERS),
        .reason = reason_of(column_text(statement, REASON)),
        .attempts = (uint32_t)sqlite3_column_int64(statement, ATTEMPTS),
        .history = column_text(statement, HISTORY),
        .error = column_text(statement, ERROR),
        .died_ms = sqlite3_column_int64(statement, DIED),
        .accepted_ms = sqlite3_column_int64(statement, ACCEPTED),
        .origin_history = column_bytes(statement, ORIGIN_HISTORY),
    };
    const char *id = column_text(statement, ID);
    if (strlen(id) != WEIR_ID_TEXT_BYTES - 1 || weir_id_parse(id, &letter->id) != 0)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "the %s %s has a letter with an id that is none, in row %lld: remove "
                              "that row with the sqlite3 shell",
                              self->db->file.what, self->db->file.path, (long long)letter->row);
    memcpy(letter->id_text, id, WEIR_ID_TEXT_BYTES);
    if (sqlite3_column_type(statement, KEY) != SQLITE_NULL) {
        letter->key = column_text(statement, KEY); /* ends with NUL even where it is a BLOB */
        letter->key_bytes = (size_t)sqlite3_column_bytes(statement, KEY);
    }
    if (!without_payload) {
        struct weir_bytes payload = column_bytes(statement, PAYLOAD);
        letter->payload = payload.data != NULL ? (const void *)payload.data : "";
        letter->payload_bytes = payload.size;
        letter->message = column_bytes(statement, MESSAGE);
    }
    return 0;
}

int weir_dlq_store_list(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                        bool (*each)(void *arg, const struct weir_dead_letter *letter), void *arg,
                        struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    bool more = true;
    int status = weir_dlq_select(self, WEIR_DLQ_LIST, filter, &statement, error);
    if (status != 0)
        return status;
    while (more && status == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct weir_dead_letter letter;
        status = read_letter(self, statement, filter->without_payload, &letter, error);
        if (status == 0)
            more = each(arg, &letter);
    }
    if (status == 0 && more && step != SQLITE_DONE)
        status = weir_database_error(&self->db->file, "listing dead letters", error);
    sqlite3_finalize(statement);
    return status;
}

int weir_dlq_store_count(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                         uint64_t *count, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    *count = 0;
    int status = weir_dlq_select(self, WEIR_DLQ_COUNT, filter, &statement, error);
    if (status != 0)
        return status;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *count = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        status = weir_database_error(&self->db->file, "counting dead letters", error);
    sqlite3_finalize(statement);
    return status;
}
