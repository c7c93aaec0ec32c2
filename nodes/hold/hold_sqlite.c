#include <base/alloc.h>
#include <base/clock.h>
#include <base/directories.h>
#include <base/limits.h>
#include <base/log.h>
#include <base/rewrite.h>
#include <errno.h>
#include <hold/hold_sqlite.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_TIMEOUT_MS 10000
#define WARN_EVERY_NS (60 * WEIR_NS_PER_S)
#define ANSWER_BYTES 28u /* number, first, time: u64 each; count: u32; little-endian */

static const char holder_tables[] =
    "CREATE TABLE producers (id BLOB PRIMARY KEY, number INTEGER NOT NULL,"
    " time_ms INTEGER NOT NULL, answers BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE next_sequence (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " sequence INTEGER NOT NULL);"
    "INSERT INTO next_sequence VALUES (1, 1);";

/* Files that were made before there was this table gain it. */
static const char spools_table[] =
    "CREATE TABLE IF NOT EXISTS spools (tag INTEGER PRIMARY KEY, uuid BLOB NOT NULL)";

void weir_bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes)
{
    if (text == NULL)
        sqlite3_bind_null(statement, at);
    else
        sqlite3_bind_text64(statement, at, text, bytes, SQLITE_STATIC, SQLITE_UTF8);
}

void weir_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t bytes)
{
    if (bytes == 0)
        sqlite3_bind_zeroblob(statement, at, 0);
    else
        sqlite3_bind_blob64(statement, at, data, bytes, SQLITE_STATIC);
}

/* SQLite calls it full only where write(2) found no room for the database or its WAL: not in its
 * shared memory, and not beyond a quota. */
static int error_code(const struct weir_hold_db *self)
{
    int code = sqlite3_errcode(self->db), system = sqlite3_system_errno(self->db);
    bool full = sqlite3_extended_errcode(self->db) == SQLITE_IOERR_SHMSIZE ||
                (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT));
    return full ? SQLITE_FULL : code;
}

int weir_hold_db_error(const struct weir_hold_db *self, const char *doing, struct weir_error *error)
{
    const char *text = sqlite3_errmsg(self->db);
    switch (error_code(self)) {
    case SQLITE_FULL:
        return weir_error_set(error, WEIR_EFULL,
                              "%s: the disk of the %s %s is full: free some space", doing,
                              self->what, self->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return weir_error_set(error, WEIR_EBUSY,
                              "%s: another process has kept the %s %s locked for %d s; end its "
                              "transaction ('fuser %s' names who has the file open) and try again",
                              doing, self->what, self->path, BUSY_TIMEOUT_MS / 1000, self->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s: the %s %s is damaged (%s): keep it aside and restore it from a "
                              "copy, or begin a new one under another name",
                              doing, self->what, self->path, text);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return weir_error_set(error, WEIR_EIO,
                              "%s: cannot open the %s %s for writing (%s): check who owns it and "
                              "its directory",
                              doing, self->what, self->path, text);
    default:
        return weir_error_set(error, WEIR_EIO, "%s: the %s %s: %s", doing, self->what, self->path,
                              text);
    }
}

int weir_hold_db_prepare(const struct weir_hold_db *self, const char *sql, sqlite3_stmt **statement,
                         struct weir_error *error)
{
    if (sqlite3_prepare_v3(self->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
        SQLITE_OK)
        return 0;
    return weir_hold_db_error(self, "preparing", error);
}

int weir_hold_db_run(const struct weir_hold_db *self, sqlite3_stmt *statement, const char *doing,
                     struct weir_error *error)
{
    int status =
        sqlite3_step(statement) == SQLITE_DONE ? 0 : weir_hold_db_error(self, doing, error);
    sqlite3_reset(statement);
    return status;
}

static int run_text(struct weir_hold_db *self, const char *sql, struct weir_error *error)
{
    if (sqlite3_exec(self->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return weir_hold_db_error(self, "opening", error);
}

static int read_number(struct weir_hold_db *self, const char *sql, int64_t *number,
                       struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = weir_hold_db_prepare(self, sql, &statement, error);
    if (status == 0 && sqlite3_step(statement) == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    else if (status == 0)
        status = weir_hold_db_error(self, "opening", error);
    sqlite3_finalize(statement);
    return status;
}

/* Whether it has its tables, and all of them. */
static int inspect(struct weir_hold_db *self, const struct weir_hold_schema *schema, bool *existed,
                   bool *whole, struct weir_error *error)
{
    int64_t tables = 0, application = 0, version = 0, spools = 0;
    int status = read_number(self, "SELECT count(*) FROM sqlite_schema", &tables, error);
    if (status == 0)
        status = read_number(self, "PRAGMA application_id", &application, error);
    if (status == 0)
        status = read_number(self, "PRAGMA user_version", &version, error);
    if (status == 0)
        status = read_number(self, "SELECT count(*) FROM sqlite_schema WHERE name = 'spools'",
                             &spools, error);
    if (status != 0)
        return status;
    *existed = tables > 0;
    *whole = spools > 0;
    if (tables > 0 && application != schema->application_id)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s is an SQLite file of something else, not a %s: name another file",
                              self->path, self->what);
    if (tables > 0 && version != schema->version)
        return weir_error_set(error, WEIR_EINVAL,
                              "the %s %s has format %" PRId64 ", this program reads format %" PRId32
                              ": docs/format-holders.md says how to upgrade",
                              self->what, self->path, version, schema->version);
    return 0;
}

/* Nothing is locked where nothing has to be made, so that one can look into the file whoever writes
 * to it. Else in one transaction, so that two processes that open a new file do not both fill it.
 */
static int make_tables(struct weir_hold_db *self, const struct weir_hold_schema *schema,
                       bool *existed, struct weir_error *error)
{
    bool whole;
    int status = inspect(self, schema, existed, &whole, error);
    if (status != 0 || whole)
        return status;
    status = run_text(self, "BEGIN IMMEDIATE", error);
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
    return status == 0 ? run_text(self, "COMMIT", error) : status;
}

/* Take the WAL in, without waiting for who reads from it. Returns SQLite's code. */
static int take_wal_in(struct weir_hold_db *self)
{
    sqlite3_busy_timeout(self->db, 0);
    int code = sqlite3_wal_checkpoint_v2(self->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(self->db, BUSY_TIMEOUT_MS);
    return code;
}

/* Somebody who reads keeps (a part of) the WAL from being taken in. Then it is written anew where
 * it is. */
static int rewrite_wal(struct weir_hold_db *self, struct weir_error *error)
{
    int status = run_text(self, "BEGIN IMMEDIATE", error);
    if (status != 0)
        return status;
    if (weir_file_rewrite(self->wal_path) != 0)
        status = weir_error_set(error, WEIR_EIO, "cannot write %s anew: %s", self->wal_path,
                                strerror(errno));
    sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* What the last process wrote to the WAL it may not have synced, and after a sync that failed no
 * later one writes those pages; yet it is what we read, and go on from. So it is taken into the
 * database, and synced there, before anything is answered because of it. */
static int secure_wal(struct weir_hold_db *self, struct weir_error *error)
{
    int code = take_wal_in(self);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return rewrite_wal(self, error);
    return code == SQLITE_OK ? 0 : weir_hold_db_error(self, "opening", error);
}

static int prepare_all(struct weir_hold_db *self, struct weir_error *error)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } all[] = {
        {&self->begin, "BEGIN IMMEDIATE"},
        {&self->commit, "COMMIT"},
        {&self->rollback, "ROLLBACK"},
        {&self->put_producer, "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)"},
        {&self->trim_producers, "DELETE FROM producers WHERE time_ms < ?"},
        {&self->put_spool, "INSERT OR IGNORE INTO spools VALUES (?, ?)"},
        {&self->put_next, "UPDATE next_sequence SET sequence = max (sequence, ?)"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int status = weir_hold_db_prepare(self, all[i].sql, all[i].statement, error);
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
    self->path = weir_strdup(path);
    self->wal_path = weir_asprintf("%s-wal", path);
    self->what = schema->what;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (make ? SQLITE_OPEN_CREATE : 0);
    int status = sqlite3_open_v2(path, &self->db, flags, NULL) == SQLITE_OK
                     ? 0
                     : weir_hold_db_error(self, "opening", error);
    if (status == 0) {
        sqlite3_busy_timeout(self->db, BUSY_TIMEOUT_MS);
        /* The WAL is cut back after a checkpoint, whatever a slow reader made of it. */
        status = run_text(self,
                          "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                          "PRAGMA journal_size_limit = 16777216; PRAGMA foreign_keys = OFF",
                          error);
    }
    if (status == 0)
        status = make_tables(self, schema, &had_tables, error);
    if (status == 0 && make) /* who only looks in answers for nothing */
        status = secure_wal(self, error);
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
    sqlite3_finalize(self->begin);
    sqlite3_finalize(self->commit);
    sqlite3_finalize(self->rollback);
    sqlite3_finalize(self->put_producer);
    sqlite3_finalize(self->trim_producers);
    sqlite3_finalize(self->put_next);
    sqlite3_finalize(self->put_spool);
    sqlite3_close_v2(self->db);
    free(self->path);
    free(self->wal_path);
    free(self);
    *self_pointer = NULL;
}

static uint64_t wal_bytes(const struct weir_hold_db *self)
{
    struct stat file;
    return stat(self->wal_path, &file) == 0 ? (uint64_t)file.st_size : 0;
}

/* SQLite begins its WAL anew only when nobody reads from it, so a reader that stays makes it grow.
 * First that is said, then it is bounded. */
static int check_wal(struct weir_hold_db *self, struct weir_error *error)
{
    const int64_t now_ns = weir_clock_now().mono_ns;
    const bool due = self->warned_ns == 0 || now_ns - self->warned_ns > WARN_EVERY_NS;
    uint64_t bytes = wal_bytes(self);
    if (bytes < WEIR_WAL_BYTES_WARN || (bytes < WEIR_WAL_BYTES_MAX && !due))
        return 0;
    take_wal_in(self); /* the reader may be gone */
    bytes = wal_bytes(self);
    if (bytes < WEIR_WAL_BYTES_WARN)
        return 0;
    if (due) {
        self->warned_ns = now_ns;
        weir_log(WEIR_LOG_WARNING,
                 "%s has grown to %" PRIu64 " bytes because another program has been reading the "
                 "%s in one transaction for long; end that one ('fuser %s' names who has it open)",
                 self->wal_path, bytes, self->what, self->path);
    }
    if (bytes < WEIR_WAL_BYTES_MAX)
        return 0;
    return weir_error_set(error, WEIR_EFULL,
                          "%s is full: another program has been reading the %s in one transaction "
                          "for too long; end that one",
                          self->wal_path, self->what);
}

int weir_hold_db_begin(struct weir_hold_db *self, struct weir_error *error)
{
    /* What is written to a file that has no name any more is gone with this process. */
    int moved = 0;
    sqlite3_file_control(self->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "the %s %s was removed or replaced while it was written to: put the "
                              "file back, and what was beside it (-wal), and start again",
                              self->what, self->path);
    int status = check_wal(self, error);
    return status == 0 ? weir_hold_db_run(self, self->begin, "beginning a transaction", error)
                       : status;
}

int weir_hold_db_commit(struct weir_hold_db *self, const char *doing, struct weir_error *error)
{
    return weir_hold_db_run(self, self->commit, doing, error);
}

void weir_hold_db_rollback(struct weir_hold_db *self)
{
    if (sqlite3_get_autocommit(self->db))
        return; /* some failures roll back by themselves */
    sqlite3_step(self->rollback);
    sqlite3_reset(self->rollback);
}

static void put_le(uint8_t *at, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

int weir_hold_db_note(struct weir_hold_db *self, const struct weir_store_request *request,
                      struct weir_error *error)
{
    const struct weir_producer_row *row = &request->producer;
    uint8_t answers[WEIR_PRODUCER_WINDOW_MAX * ANSWER_BYTES];
    for (uint32_t i = 0; i < row->answer_count; i++) {
        uint8_t *at = &answers[(size_t)i * ANSWER_BYTES];
        put_le(at, row->answers[i].number, 8);
        put_le(at + 8, row->answers[i].first, 8);
        put_le(at + 16, (uint64_t)row->answers[i].time_ms, 8);
        put_le(at + 24, row->answers[i].count, 4);
    }
    weir_bind_blob(self->put_producer, 1, row->id, sizeof row->id);
    sqlite3_bind_int64(self->put_producer, 2, (int64_t)row->number);
    sqlite3_bind_int64(self->put_producer, 3, row->time_ms);
    weir_bind_blob(self->put_producer, 4, answers, (size_t)row->answer_count * ANSWER_BYTES);
    int status = weir_hold_db_run(self, self->put_producer, "noting a producer", error);
    if (status != 0)
        return status;
    sqlite3_bind_int64(self->put_next, 1, (int64_t)(request->record.first + request->record.count));
    return weir_hold_db_run(self, self->put_next, "noting the next sequence", error);
}

int weir_hold_db_spool(struct weir_hold_db *self, uint16_t tag, const uint8_t uuid[16],
                       struct weir_error *error)
{
    sqlite3_bind_int(self->put_spool, 1, tag);
    weir_bind_blob(self->put_spool, 2, uuid, 16);
    return weir_hold_db_run(self, self->put_spool, "noting a spool", error);
}

int weir_hold_db_spools(struct weir_hold_db *self, struct weir_spool_row **spools, uint32_t *count,
                        struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    *spools = NULL;
    *count = 0;
    int status = weir_hold_db_prepare(self, "SELECT tag, uuid FROM spools WHERE length (uuid) = 16",
                                      &statement, error);
    while (status == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        *spools = weir_realloc(*spools, *count + 1, sizeof **spools);
        struct weir_spool_row *row = &(*spools)[(*count)++];
        row->tag = (uint16_t)sqlite3_column_int(statement, 0);
        memcpy(row->uuid, sqlite3_column_blob(statement, 1), sizeof row->uuid);
    }
    if (status == 0 && step != SQLITE_DONE)
        status = weir_hold_db_error(self, "reading the spools", error);
    sqlite3_finalize(statement);
    return status;
}

int weir_hold_db_trim(struct weir_hold_db *self, int64_t before_ms, struct weir_error *error)
{
    sqlite3_bind_int64(self->trim_producers, 1, before_ms);
    return weir_hold_db_run(self, self->trim_producers, "forgetting silent producers", error);
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
            .number = get_le(at, 8),
            .first = get_le(at + 8, 8),
            .time_ms = (int64_t)get_le(at + 16, 8),
            .count = (uint32_t)get_le(at + 24, 4),
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
    int status =
        read_number(self, "SELECT sequence FROM next_sequence WHERE one = 1", &next, error);
    if (status == 0)
        status = weir_hold_db_prepare(self,
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
                           self->what, self->path);
            goto cleanup;
        }
        count++;
    }
    if (step != SQLITE_DONE)
        status = weir_hold_db_error(self, "reading the producers", error);
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
