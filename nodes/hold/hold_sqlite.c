#include <base/alloc.h>
#include <base/directories.h>
#include <base/limits.h>
#include <base/little_endian.h>
#include <errno.h>
#include <hold/hold_sqlite.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAL_BYTES_KEPT (16u << 20) /* of one that a slow reader made longer */
#define ANSWER_BYTES 28u           /* number, first, time: u64 each; count: u32; little-endian */

static const char holder_tables[] =
    "CREATE TABLE producers (id BLOB PRIMARY KEY, number INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, answers BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE next_sequence (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " sequence INTEGER NOT NULL);"
    "INSERT INTO next_sequence VALUES (1, 1);";

/* Files that were made before there was this table gain it. */
static const char spools_table[] =
    "CREATE TABLE IF NOT EXISTS spools (tag INTEGER PRIMARY KEY, uuid BLOB NOT NULL)";

/* Whether it has its tables, and all of them. */
static int inspect(struct weir_hold_db *self, const struct weir_hold_schema *schema, bool *existed,
                   bool *whole, struct weir_error *error)
{
    const struct weir_database *file = &self->file;
    int64_t tables = 0, application = 0, version = 0, spools = 0;
    int status = weir_database_number(file, "SELECT count(*) FROM sqlite_schema", &tables, error);
    if (status == 0)
        status = weir_database_number(file, "PRAGMA application_id", &application, error);
    if (status == 0)
        status = weir_database_number(file, "PRAGMA user_version", &version, error);
    if (status == 0)
        status = weir_database_number(
            file, "SELECT count(*) FROM sqlite_schema WHERE name = 'spools'", &spools, error);
    if (status != 0)
        return status;
    *existed = tables > 0;
    *whole = spools > 0;
    if (tables > 0 && application != schema->application_id)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s is an SQLite file of something else, not a %s: name another file",
                              file->path, file->what);
    if (tables > 0 && version != schema->version)
        return weir_error_set(error, WEIR_EINVAL,
                              "the %s %s has format %" PRId64 ", this program reads format %" PRId32
                              ": docs/format-holders.md says how to upgrade",
                              file->what, file->path, version, schema->version);
    return 0;
}

static int run_text(struct weir_hold_db *self, const char *sql, struct weir_error *error)
{
    return weir_database_execute(&self->file, sql, "opening", error);
}

/* In one transaction, so that two processes that open a new file do not both fill it. */
static int make_tables(struct weir_hold_db *self, const struct weir_hold_schema *schema,
                       bool *existed, struct weir_error *error)
{
    bool whole;
    int status = weir_database_begin(&self->file, error);
    if (status == 0)
        status = inspect(self, schema, existed, &whole, error);
    if (status == 0 && !*existed) {
        char *pragmas =
            weir_asprintf("PRAGMA application_id = %" PRId32 "; PRAGMA user_version = %" PRId32,
                          schema->application_id, schema->version);
        status = run_text(self, schema->sql, error);
        if (status == 0)
            status = run_text(self, holder_tables, error);
        if (status == 0)
            status = run_text(self, pragmas, error);
        free(pragmas);
    }
    if (status == 0)
        status = run_text(self, spools_table, error);
    return status == 0 ? weir_database_commit(&self->file, "opening", error) : status;
}

/* A file of something else is left as it is; and nothing is locked where nothing has to be made, so
 * that one can look into the file whoever writes to it. */
static int find_or_make_tables(struct weir_hold_db *self, const struct weir_hold_schema *schema,
                               bool *existed, struct weir_error *error)
{
    bool whole;
    int status = inspect(self, schema, existed, &whole, error);
    if (status == 0 && !*existed && schema->page_bytes > 0) {
        char *pragma = weir_asprintf("PRAGMA page_size = %" PRIu32, schema->page_bytes);
        status = run_text(self, pragma, error);
        free(pragma);
    }
    if (status == 0)
        status = weir_database_use_wal(&self->file, WEIR_WAL_BYTES, WAL_BYTES_KEPT, error);
    if (status == 0 && !whole)
        status = make_tables(self, schema, existed, error);
    return status;
}

static int prepare_all(struct weir_hold_db *self, struct weir_error *error)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&self->put_producer, "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)"},
        {&self->trim_producers, "DELETE FROM producers WHERE time_ms < ?"},
        {&self->put_spool, "INSERT OR IGNORE INTO spools VALUES (?, ?)"},
        {&self->put_next, "UPDATE next_sequence SET sequence = max (sequence, ?) WHERE one = 1"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int status = weir_database_prepare(&self->file, all[i].sql, all[i].statement, error);
        if (status != 0)
            return status;
    }
    return 0;
}

int weir_hold_db_open(const char *path, bool make, const struct weir_hold_schema *schema,
                      struct weir_hold_db **db, bool *existed, struct weir_error *error)
{
    bool had_tables = false;
    *db = NULL;
    json_set_alloc_funcs(weir_alloc, free); /* a part of a message that got lost would go unseen */
    if (!make && access(path, F_OK) != 0)
        return weir_error_set(error, WEIR_ENOTFOUND, "there is no %s at %s: %s", schema->what, path,
                              strerror(errno));
    if (make && weir_make_directories(path, 0700, error) != 0)
        return WEIR_EIO;
    struct weir_hold_db *self = weir_zalloc(1, sizeof *self);
    int status =
        weir_database_init(&self->file, schema->what, path, make ? SQLITE_OPEN_CREATE : 0, error);
    if (status == 0)
        status = find_or_make_tables(self, schema, &had_tables, error);
    if (status == 0 && make) /* who only looks in answers for nothing */
        status = weir_database_secure_wal(&self->file, error);
    if (status == 0)
        status = prepare_all(self, error);
    if (status != 0) {
        weir_hold_db_destroy(&self);
        return status;
    }
    if (existed != NULL)
        *existed = had_tables;
    *db = self;
    return 0;
}

void weir_hold_db_destroy(struct weir_hold_db **self_pointer)
{
    struct weir_hold_db *self = *self_pointer;
    if (self == NULL)
        return;
    sqlite3_finalize(self->put_producer);
    sqlite3_finalize(self->trim_producers);
    sqlite3_finalize(self->put_next);
    sqlite3_finalize(self->put_spool);
    weir_database_fini(&self->file);
    free(self);
    *self_pointer = NULL;
}

int weir_hold_db_begin(struct weir_hold_db *self, struct weir_error *error)
{
    int status = weir_database_check_wal(&self->file, error);
    return status == 0 ? weir_database_begin(&self->file, error) : status;
}

int weir_hold_db_note(struct weir_hold_db *self, const struct weir_store_request *request,
                      struct weir_error *error)
{
    const struct weir_producer_row *row = &request->producer;
    uint8_t answers[WEIR_PRODUCER_WINDOW_MAX * ANSWER_BYTES];
    for (uint32_t i = 0; i < row->answer_count; i++) {
        uint8_t *at = &answers[(size_t)i * ANSWER_BYTES];
        put_u64(at, row->answers[i].number);
        put_u64(at + 8, row->answers[i].first);
        put_u64(at + 16, (uint64_t)row->answers[i].time_ms);
        put_u32(at + 24, row->answers[i].count);
    }
    weir_bind_blob(self->put_producer, 1, row->id, sizeof row->id);
    sqlite3_bind_int64(self->put_producer, 2, (int64_t)row->number);
    sqlite3_bind_int64(self->put_producer, 3, row->time_ms);
    weir_bind_blob(self->put_producer, 4, answers, (size_t)row->answer_count * ANSWER_BYTES);
    int status = weir_database_run(&self->file, self->put_producer, "noting a producer", error);
    if (status != 0)
        return status;
    sqlite3_bind_int64(self->put_next, 1, (int64_t)(request->record.first + request->record.count));
    return weir_database_run(&self->file, self->put_next, "noting the next sequence", error);
}

int weir_hold_db_spool(struct weir_hold_db *self, uint16_t tag, const uint8_t uuid[16],
                       struct weir_error *error)
{
    sqlite3_bind_int(self->put_spool, 1, tag);
    weir_bind_blob(self->put_spool, 2, uuid, 16);
    return weir_database_run(&self->file, self->put_spool, "noting a spool", error);
}

int weir_hold_db_spools(struct weir_hold_db *self, struct weir_spool_row **spools, uint32_t *count,
                        struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    *spools = NULL;
    *count = 0;
    int status = weir_database_prepare(
        &self->file, "SELECT tag, uuid FROM spools WHERE length (uuid) = 16", &statement, error);
    while (status == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        *spools = weir_realloc(*spools, *count + 1, sizeof **spools);
        struct weir_spool_row *row = &(*spools)[(*count)++];
        row->tag = (uint16_t)sqlite3_column_int(statement, 0);
        memcpy(row->uuid, sqlite3_column_blob(statement, 1), sizeof row->uuid);
    }
    if (status == 0 && step != SQLITE_DONE)
        status = weir_database_error(&self->file, "reading the spools", error);
    sqlite3_finalize(statement);
    return status;
}

int weir_hold_db_trim(struct weir_hold_db *self, int64_t before_ms, struct weir_error *error)
{
    sqlite3_bind_int64(self->trim_producers, 1, before_ms);
    return weir_database_run(&self->file, self->trim_producers, "forgetting silent producers",
                             error);
}

static int read_producer(sqlite3_stmt *statement, struct weir_producer_row *row)
{
    size_t bytes = (size_t)sqlite3_column_bytes(statement, 3);
    const uint8_t *answers = sqlite3_column_blob(statement, 3);
    if (sqlite3_column_bytes(statement, 0) != WEIR_PRODUCER_BYTES || bytes % ANSWER_BYTES != 0 ||
        bytes / ANSWER_BYTES > WEIR_PRODUCER_WINDOW_MAX)
        return WEIR_EDAMAGED;
    memcpy(row->id, sqlite3_column_blob(statement, 0), WEIR_PRODUCER_BYTES);
    row->number = (uint64_t)sqlite3_column_int64(statement, 1);
    row->time_ms = sqlite3_column_int64(statement, 2);
    row->answer_count = (uint32_t)(bytes / ANSWER_BYTES);
    for (uint32_t i = 0; i < row->answer_count; i++) {
        const uint8_t *at = &answers[(size_t)i * ANSWER_BYTES];
        row->answers[i] = (struct weir_producer_answer){
            .number = get_u64(at),
            .first = get_u64(at + 8),
            .time_ms = (int64_t)get_u64(at + 16),
            .count = get_u32(at + 24),
        };
    }
    return 0;
}

int weir_hold_db_recover(struct weir_hold_db *self, struct weir_producer_row **producers,
                         uint32_t *producer_count, uint64_t *next_sequence,
                         struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    struct weir_producer_row *rows = NULL;
    uint32_t count = 0, capacity = 0;
    int64_t next = 1;
    int step = SQLITE_DONE;
    *producers = NULL;
    *producer_count = 0;
    int status = weir_database_number(
        &self->file, "SELECT sequence FROM next_sequence WHERE one = 1", &next, error);
    if (status == 0)
        status = weir_database_prepare(&self->file,
                                       "SELECT id, number, time_ms, answers FROM producers"
                                       " ORDER BY time_ms DESC LIMIT ?",
                                       &statement, error);
    if (status != 0)
        goto cleanup;
    sqlite3_bind_int64(statement, 1, WEIR_PRODUCERS_MAX);
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            rows = weir_realloc(rows, capacity, sizeof *rows);
        }
        rows[count] = (struct weir_producer_row){0};
        status = read_producer(statement, &rows[count]);
        if (status != 0) {
            weir_error_set(error, status, "the %s %s has a producer's row that makes no sense",
                           self->file.what, self->file.path);
            goto cleanup;
        }
        count++;
    }
    if (step != SQLITE_DONE)
        status = weir_database_error(&self->file, "reading the producers", error);
cleanup:
    sqlite3_finalize(statement);
    if (status != 0) {
        free(rows);
        return status;
    }
    *producers = rows;
    *producer_count = count;
    *next_sequence = (uint64_t)next;
    return 0;
}
