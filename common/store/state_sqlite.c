/* Opening the state, its schema, and the frame that every transaction runs in. */
#include "io.h"
#include "state.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/random.h>
#include <base/rewrite.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define APPLICATION_ID 0x57656972 /* "Weir" */
#define BUSY_MS 10000             /* somebody writes to it with the sqlite3 shell */
#define WARN_EVERY_NS (60 * WEIR_NS_PER_S)

static const char schema[] =
    "CREATE TABLE spool (\n"
    "  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),\n"
    "  uuid BLOB NOT NULL,\n"
    "  tag INTEGER NOT NULL,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  absorbed_sequence INTEGER NOT NULL);\n"
    "CREATE TABLE groups (\n"
    "  number INTEGER PRIMARY KEY,\n"
    "  name TEXT NOT NULL,\n"
    "  topics TEXT NOT NULL,\n"
    "  ordering TEXT NOT NULL,\n"
    "  delivery TEXT NOT NULL,\n"
    "  start_at TEXT NOT NULL,\n"
    "  attempts INTEGER NOT NULL,\n"
    "  backoff_first_ms INTEGER NOT NULL,\n"
    "  backoff_factor_permille INTEGER NOT NULL,\n"
    "  backoff_max_ms INTEGER NOT NULL,\n"
    "  timeout_ms INTEGER NOT NULL,\n"
    "  lease_ms INTEGER NOT NULL,\n"
    "  rate_permille INTEGER NOT NULL,\n"
    "  max_backlog INTEGER NOT NULL,\n"
    "  on_full TEXT NOT NULL,\n"
    "  expire_idle_ms INTEGER NOT NULL,\n"
    "  dynamic INTEGER NOT NULL,\n"
    "  start_sequence INTEGER NOT NULL,\n"
    "  low_sequence INTEGER NOT NULL,\n"
    "  next_sequence INTEGER NOT NULL,\n"
    "  created_ms INTEGER NOT NULL,\n"
    "  active_ms INTEGER NOT NULL,\n"
    "  paused INTEGER NOT NULL,\n"
    "  listed INTEGER NOT NULL,\n"
    "  matched INTEGER NOT NULL,\n"
    "  passed INTEGER NOT NULL,\n"
    "  done INTEGER NOT NULL,\n"
    "  retried INTEGER NOT NULL,\n"
    "  dead INTEGER NOT NULL,\n"
    "  rejected INTEGER NOT NULL,\n"
    "  expired INTEGER NOT NULL,\n"
    "  released INTEGER NOT NULL,\n"
    "  dropped INTEGER NOT NULL,\n"
    "  replayed INTEGER NOT NULL,\n"
    "  stale INTEGER NOT NULL,\n"
    "  ended BLOB NOT NULL DEFAULT x'');\n"
    "CREATE TABLE chunks (\n"
    "  group_number INTEGER NOT NULL,\n"
    "  chunk INTEGER NOT NULL,\n"
    "  settled BLOB NOT NULL,\n"
    "  PRIMARY KEY (group_number, chunk)) WITHOUT ROWID;\n"
    "CREATE TABLE messages (\n"
    "  sequence INTEGER NOT NULL,\n"
    "  group_number INTEGER NOT NULL,\n"
    "  state INTEGER NOT NULL,\n"
    "  accepted_ms INTEGER NOT NULL,\n"
    "  due_ms INTEGER NOT NULL,\n"
    "  attempt INTEGER NOT NULL,\n"
    "  death INTEGER NOT NULL,\n"
    "  releases INTEGER NOT NULL,\n"
    "  suspect INTEGER NOT NULL,\n"
    "  reason INTEGER NOT NULL,\n"
    "  key_hash INTEGER NOT NULL,\n"
    "  lease_incarnation INTEGER NOT NULL,\n"
    "  lease_delivery INTEGER NOT NULL,\n"
    "  lease_index INTEGER NOT NULL,\n"
    "  lease_worker INTEGER NOT NULL,\n"
    "  lease_deadline_ms INTEGER NOT NULL,\n"
    "  history BLOB NOT NULL,\n"
    "  copied INTEGER NOT NULL,\n"
    "  PRIMARY KEY (sequence, group_number));\n"
    "CREATE INDEX messages_by_state ON messages (group_number, state, sequence);\n"
    "CREATE INDEX messages_due ON messages (group_number, due_ms, sequence) WHERE state = 1;\n"
    "CREATE INDEX messages_dying ON messages (due_ms, sequence, group_number) WHERE state = 4;\n"
    "CREATE INDEX messages_keyed ON messages (group_number, state, sequence, key_hash)\n"
    "  WHERE key_hash <> 0 AND state IN (1, 2);\n"
    "CREATE INDEX messages_uncopied ON messages (sequence, group_number)\n"
    "  WHERE copied = 0 AND state IN (1, 2, 3, 4);\n"
    "CREATE INDEX messages_ended ON messages (group_number, sequence) WHERE state IN (5, 6);\n"
    "CREATE TABLE payloads (\n"
    "  group_number INTEGER NOT NULL,\n"
    "  sequence INTEGER NOT NULL,\n"
    "  header BLOB NOT NULL,\n"
    "  index_entry BLOB NOT NULL,\n"
    "  body BLOB NOT NULL,\n"
    "  PRIMARY KEY (group_number, sequence));\n"
    "CREATE TABLE producers (\n"
    "  id BLOB PRIMARY KEY,\n"
    "  number INTEGER NOT NULL,\n"
    "  seen_ms INTEGER NOT NULL,\n"
    "  answers BLOB NOT NULL) WITHOUT ROWID;\n"
    "CREATE TABLE idempotency (\n"
    "  sequence INTEGER PRIMARY KEY,\n"
    "  hash BLOB NOT NULL,\n"
    "  accepted_ms INTEGER NOT NULL);\n"
    /* For whoever looks in with the shell. */
    "CREATE VIEW message_list AS SELECT g.name AS \"group\", m.sequence,\n"
    "  CASE m.state WHEN 1 THEN 'deferred' WHEN 2 THEN 'parked' WHEN 3 THEN 'leased'\n"
    "    WHEN 4 THEN 'dying' WHEN 5 THEN 'dead' WHEN 6 THEN 'done' END AS state,\n"
    "  CASE m.reason WHEN 0 THEN 'none' WHEN 1 THEN 'attempts' WHEN 2 THEN 'rejected'\n"
    "    WHEN 3 THEN 'expired' WHEN 4 THEN 'backlog' END AS reason,\n"
    "  m.attempt, m.death,\n"
    "  datetime (m.accepted_ms / 1000, 'unixepoch') AS accepted,\n"
    "  datetime (m.due_ms / 1000, 'unixepoch') AS due,\n"
    "  m.copied\n"
    "  FROM messages m JOIN groups g ON g.number = m.group_number;\n";

#define PAYLOAD_BYTES "length (header) + length (index_entry) + length (body)"
#define PAYLOAD_OF_ROW                                                                             \
    " INTO payloads SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM messages WHERE"          \
    " sequence = ?2 AND group_number = ?1 AND state NOT IN (5, 6)) RETURNING " PAYLOAD_BYTES
#define FROM_MESSAGES_WITH_PAYLOAD                                                                 \
    " FROM messages m LEFT JOIN payloads p"                                                        \
    " ON p.group_number = m.group_number AND p.sequence = m.sequence "
#define SELECT_WITH_PAYLOAD                                                                        \
    "SELECT " WEIR_STATE_ROW_COLUMNS ", " WEIR_STATE_PAYLOAD_COLUMNS FROM_MESSAGES_WITH_PAYLOAD
#define SELECT_WITHOUT_PAYLOAD "SELECT " WEIR_STATE_ROW_COLUMNS " FROM messages m "

static const char *const statement_texts[STATEMENT_COUNT] = {
    [STATEMENT_GROUP_PUT] =
        "INSERT OR REPLACE INTO groups VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
        " ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30,"
        " ?31, ?32, ?33, ?34, ?35, ?36)",
    [STATEMENT_GROUP_DROP] = "DELETE FROM groups WHERE number = ?1",
    [STATEMENT_GROUP_DROP_CHUNKS] = "DELETE FROM chunks WHERE group_number = ?1",
    [STATEMENT_GROUP_DROP_MESSAGES] = "DELETE FROM messages WHERE group_number = ?1",
    [STATEMENT_GROUP_PAYLOADS] =
        "SELECT sum (" PAYLOAD_BYTES ") FROM payloads WHERE group_number = ?1",
    [STATEMENT_GROUP_DROP_PAYLOADS] = "DELETE FROM payloads WHERE group_number = ?1",
    [STATEMENT_CHUNK_PUT] = "INSERT OR REPLACE INTO chunks VALUES (?1, ?2, ?3)",
    [STATEMENT_CHUNK_TRIM] = "DELETE FROM chunks WHERE group_number = ?1 AND chunk < ?2",
    [STATEMENT_ROW_PUT] =
        "INSERT INTO messages VALUES (?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
        " ?15, ?16, ?17, 0)"
        " ON CONFLICT (sequence, group_number) DO UPDATE SET state = ?3, accepted_ms = ?4,"
        " due_ms = ?5, attempt = ?6, death = ?7, releases = ?8, suspect = ?9, reason = ?10,"
        " key_hash = ?11, lease_incarnation = ?12, lease_delivery = ?13, lease_index = ?14,"
        " lease_worker = ?15, lease_deadline_ms = ?16, history = ?17",
    [STATEMENT_ROW_COPIED] =
        "UPDATE messages SET copied = ?3 WHERE sequence = ?2 AND group_number = ?1",
    [STATEMENT_ROW_DROP] = "DELETE FROM messages WHERE sequence = ?2 AND group_number = ?1",
    [STATEMENT_PAYLOAD_PUT] = "INSERT OR REPLACE" PAYLOAD_OF_ROW,
    [STATEMENT_PAYLOAD_COPY] = "INSERT OR IGNORE" PAYLOAD_OF_ROW,
    [STATEMENT_PAYLOAD_DROP] = "DELETE FROM payloads WHERE group_number = ?1 AND sequence = ?2"
                               " RETURNING " PAYLOAD_BYTES,
    [STATEMENT_TOMBSTONE_TRIM] =
        "DELETE FROM messages WHERE group_number = ?1 AND state IN (5, 6) AND sequence <="
        " (SELECT sequence FROM messages WHERE group_number = ?1 AND state IN (5, 6)"
        " ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
    [STATEMENT_PRODUCER_PUT] = "INSERT OR REPLACE INTO producers VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_PRODUCER_DROP] = "DELETE FROM producers WHERE id = ?1",
    [STATEMENT_PRODUCER_TRIM] = "DELETE FROM producers WHERE seen_ms < ?1",
    [STATEMENT_IDEM_PUT] = "INSERT OR REPLACE INTO idempotency VALUES (?1, ?2, ?3)",
    [STATEMENT_IDEM_TRIM] = "DELETE FROM idempotency WHERE sequence < ?1",
    [STATEMENT_ABSORBED] = "UPDATE spool SET absorbed_sequence = ?1",
    [STATEMENT_INHERIT_FROM] =
        "SELECT sequence, due_ms, history FROM messages WHERE group_number = ?1 AND state = 1"
        " AND due_ms > ?2 AND sequence < ?3",
    [STATEMENT_INHERIT_ROW] =
        "INSERT OR REPLACE INTO messages SELECT sequence, ?2, state, accepted_ms, due_ms, 0, 0, 0,"
        " 0, 0, 0, 0, 0, 0, 0, 0, x'', copied FROM messages"
        " WHERE sequence = ?3 AND group_number = ?1",
    [STATEMENT_INHERIT_PAYLOAD] =
        "INSERT OR REPLACE INTO payloads SELECT ?2, sequence, header, index_entry, body"
        " FROM payloads WHERE sequence = ?3 AND group_number = ?1 RETURNING " PAYLOAD_BYTES,
    [STATEMENT_QUERY_DUE] = SELECT_WITH_PAYLOAD
    "WHERE m.state = 1 AND m.group_number = ?1 AND m.due_ms <= ?2 ORDER BY m.due_ms, m.sequence",
    [STATEMENT_QUERY_DYING] = SELECT_WITH_PAYLOAD
    "WHERE m.state = 4 AND m.due_ms <= ?1 ORDER BY m.due_ms, m.sequence, m.group_number",
    [STATEMENT_QUERY_MESSAGE] = SELECT_WITH_PAYLOAD
    "WHERE m.sequence = ?1 AND ?2 IN (0, m.group_number) ORDER BY m.group_number",
    [STATEMENT_QUERY_UNCOPIED] =
        SELECT_WITHOUT_PAYLOAD "WHERE m.copied = 0 AND m.state IN (1, 2, 3, 4) AND m.sequence < ?1"
                               " ORDER BY m.sequence, m.group_number",
    [STATEMENT_QUERY_LIST] = SELECT_WITHOUT_PAYLOAD
    "WHERE m.group_number = ?1 AND m.state = ?2 AND m.sequence > ?3 ORDER BY m.sequence",
    [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
    [STATEMENT_COMMIT] = "COMMIT",
};

/* --- errors and statements ----------------------------------------------------------------- */

int weir_state_error(struct weir_state *state, const char *what, struct weir_error *error)
{
    int code = sqlite3_errcode(state->database);
    int extended = sqlite3_extended_errcode(state->database);
    int system = sqlite3_system_errno(state->database);
    const char *text = sqlite3_errmsg(state->database);

    if (code == SQLITE_FULL || (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)) ||
        extended == SQLITE_IOERR_SHMSIZE)
        return weir_error_set(error, WEIR_EFULL, "cannot %s %s: %s; free space on this file system",
                              what, state->path, text);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return weir_error_set(
            error, WEIR_EDAMAGED,
            "cannot %s %s: %s; rescue what \"sqlite3 %s .recover\" gives, or move "
            "the spool away and begin a new one",
            what, state->path, text, state->path);
    if (code == SQLITE_BUSY)
        return weir_error_set(error, WEIR_EIO,
                              "cannot %s %s: another program has kept it locked for %d s; only "
                              "read it, and in short transactions",
                              what, state->path, BUSY_MS / 1000);
    return weir_error_set(error, WEIR_EIO, "cannot %s %s: %s%s%s", what, state->path, text,
                          system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
}

sqlite3_stmt *weir_state_statement(struct weir_state *state, enum weir_statement which,
                                   struct weir_error *error)
{
    sqlite3_stmt **statement = &state->statements[which];

    if (*statement == NULL &&
        sqlite3_prepare_v3(state->database, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                           statement, NULL) != SQLITE_OK) {
        weir_state_error(state, "prepare a statement for", error);
        return NULL;
    }
    return *statement;
}

int weir_state_run(struct weir_state *state, sqlite3_stmt *statement, struct weir_error *error)
{
    int status = 0;

    if (sqlite3_step(statement) != SQLITE_DONE)
        status = weir_state_error(state, "write to", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

static int execute(struct weir_state *state, const char *text, struct weir_error *error)
{
    if (sqlite3_exec(state->database, text, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return weir_state_error(state, "set up", error);
}

static int64_t pragma(struct weir_state *state, const char *text, int *status,
                      struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = 0;

    if (sqlite3_prepare_v2(state->database, text, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        *status = weir_state_error(state, "read", error);
    else
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static uint64_t file_bytes(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 ? (uint64_t)file.st_size : 0;
}

/* --- opening ------------------------------------------------------------------------------- */

/* How large the WAL grows before its pages are taken into the database. A small spool has a small
 * one. */
static int configure(struct weir_state *state, uint64_t bytes_max, struct weir_error *error)
{
    uint64_t pages = WEIR_WAL_PAGES;
    char *text;
    int status;

    if (bytes_max > 0 && bytes_max / 16 / 4096 < pages)
        pages = bytes_max / 16 / 4096 < 16 ? 16 : bytes_max / 16 / 4096;
    /* How pages are given back has to be said before there is any page. */
    text = weir_asprintf("PRAGMA auto_vacuum = INCREMENTAL;"
                         "PRAGMA journal_mode = WAL;"
                         "PRAGMA synchronous = FULL;"
                         "PRAGMA wal_autocheckpoint = %" PRIu64 ";"
                         "PRAGMA journal_size_limit = %" PRIu64 ";"
                         "PRAGMA cache_size = -%d;"
                         "PRAGMA trusted_schema = OFF;",
                         pages, pages * 4096, WEIR_STATE_CACHE_KIB);
    state->wal_bytes_wanted = 2 * pages * 4096;
    state->wal_bytes_warn = WEIR_WAL_BYTES_WARN;
    if (bytes_max > 0 && bytes_max / 4 < state->wal_bytes_warn)
        state->wal_bytes_warn = bytes_max / 4;
    sqlite3_busy_timeout(state->database, BUSY_MS);
    status = execute(state, text, error);
    free(text);
    return status;
}

static int create(struct weir_state *state, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    char *version;
    int status = execute(state, "BEGIN IMMEDIATE", error);

    if (status == 0)
        status = execute(state, schema, error);
    if (status != 0)
        return status;
    weir_entropy(state->uuid, sizeof state->uuid);
    if (sqlite3_prepare_v2(state->database, "INSERT INTO spool VALUES (1, ?1, ?2, ?3, 0)", -1,
                           &statement, NULL) != SQLITE_OK)
        return weir_state_error(state, "set up", error);
    sqlite3_bind_blob(statement, 1, state->uuid, sizeof state->uuid, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, state->tag);
    sqlite3_bind_int64(statement, 3, weir_clock_now().wall_ms);
    status = weir_state_run(state, statement, error);
    sqlite3_finalize(statement);
    version = weir_asprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                            APPLICATION_ID, WEIR_STATE_VERSION);
    if (status == 0)
        status = execute(state, version, error);
    free(version);
    return status;
}

/* From each version to the next. */
static int upgrade(struct weir_state *state, int64_t version, struct weir_error *error)
{
    static const char *const steps[WEIR_STATE_VERSION] = {
        [1] = "BEGIN IMMEDIATE;"
              "ALTER TABLE groups ADD COLUMN ended BLOB NOT NULL DEFAULT x'';"
              "CREATE INDEX IF NOT EXISTS messages_keyed"
              " ON messages (group_number, state, sequence, key_hash)"
              " WHERE key_hash <> 0 AND state IN (1, 2);"
              "PRAGMA user_version = 2;"
              "COMMIT",
    };
    int status = 0;

    for (; version < WEIR_STATE_VERSION && status == 0; version++)
        status = execute(state, steps[version], error);
    return status;
}

static int read_identity(struct weir_state *state, uint16_t tag, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = 0;

    if (sqlite3_prepare_v2(state->database, "SELECT uuid, tag, absorbed_sequence FROM spool", -1,
                           &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        status = weir_state_error(state, "read the identity in", error);
    } else if (sqlite3_column_bytes(statement, 0) != sizeof state->uuid) {
        status = weir_error_set(error, WEIR_EDAMAGED, "%s: the spool's uuid has not 16 bytes",
                                state->path);
    } else {
        memcpy(state->uuid, sqlite3_column_blob(statement, 0), sizeof state->uuid);
        state->tag = (uint16_t)sqlite3_column_int64(statement, 1);
        state->absorbed = (uint64_t)sqlite3_column_int64(statement, 2);
        state->absorbed_uncommitted = state->absorbed;
        if (state->tag != tag)
            status = weir_error_set(error, WEIR_EINVAL,
                                    "%s belongs to the stream with tag %u, this node has tag %u; "
                                    "ids of its messages bear the tag, so give the node its own "
                                    "spool, or its old tag back",
                                    state->path, state->tag, tag);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Somebody who reads the database keeps (a part of) the WAL from being taken in. Then it is written
 * anew where it is. */
static int rewrite_wal(struct weir_state *state, struct weir_error *error)
{
    int status = execute(state, "BEGIN IMMEDIATE", error);

    if (status != 0)
        return status;
    weir_log(WEIR_LOG_WARNING,
             "%s cannot be taken into the database, because another program is reading the state "
             "in one transaction; end that one",
             state->wal_path);
    if (weir_file_rewrite(state->wal_path) != 0)
        status = weir_io_error(error, errno, "write anew", state->wal_path);
    sqlite3_exec(state->database, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* What the last process wrote to the WAL it may not have synced, and a sync that failed may have
 * dropped it from the page cache's dirty pages; yet it is what we read. So it becomes durable
 * before anything is done because of it: the log must not be freed on the word of a transaction
 * that a power cut takes back. */
static int secure_wal(struct weir_state *state, struct weir_error *error)
{
    int code, status = 0;

    sqlite3_busy_timeout(state->database, 0);
    code = sqlite3_wal_checkpoint_v2(state->database, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(state->database, BUSY_MS);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        status = rewrite_wal(state, error);
    else if (code != SQLITE_OK)
        status = weir_state_error(state, "take in the WAL of", error);
    state->wal_bytes = file_bytes(state->wal_path);
    return status;
}

static int open_or_create(struct weir_state *state, uint16_t tag, uint64_t bytes_max,
                          struct weir_error *error)
{
    int status = 0;
    int64_t version, application, tables;

    if (sqlite3_open_v2(state->path, &state->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                            SQLITE_OPEN_NOFOLLOW,
                        NULL) != SQLITE_OK)
        return weir_state_error(state, "open", error);
    sqlite3_extended_result_codes(state->database, 0);
    version = pragma(state, "PRAGMA user_version", &status, error);
    application = pragma(state, "PRAGMA application_id", &status, error);
    tables = pragma(state, "SELECT count (*) FROM sqlite_schema", &status, error);
    if (status != 0)
        return status;
    if (tables > 0 && application != APPLICATION_ID)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s is a database, but not the state of a spool; give the node a "
                              "directory of its own",
                              state->path);
    if (tables > 0 && (version < 1 || version > WEIR_STATE_VERSION))
        return weir_error_set(error, WEIR_EINVAL,
                              "%s has format version %" PRId64 ", this program knows 1 to %d; "
                              "use the version of Weir that made it, see docs/format.md",
                              state->path, version, WEIR_STATE_VERSION);
    status = configure(state, bytes_max, error);
    if (status == 0 && tables == 0)
        status = create(state, error);
    else if (status == 0)
        status = upgrade(state, version, error);
    if (status == 0)
        status = secure_wal(state, error);
    if (status == 0)
        status = read_identity(state, tag, error);
    return status;
}

int weir_state_open(const char *directory, uint16_t tag, uint64_t bytes_max,
                    struct weir_state **self, struct weir_error *error)
{
    struct weir_state *state = weir_zalloc(1, sizeof *state);
    int status;

    state->path = weir_asprintf("%s/state.db", directory);
    state->wal_path = weir_asprintf("%s/state.db-wal", directory);
    state->tag = tag;
    status = open_or_create(state, tag, bytes_max, error);
    if (status != 0) {
        weir_state_close(&state);
        return status;
    }
    *self = state;
    return 0;
}

void weir_state_close(struct weir_state **self)
{
    struct weir_state *state = *self;

    if (state == NULL)
        return;
    *self = NULL;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(state->statements[i]);
    sqlite3_close(state->database);
    free(state->path);
    free(state->wal_path);
    free(state);
}

uint64_t weir_state_bytes(const struct weir_state *state)
{
    return file_bytes(state->path) + file_bytes(state->wal_path);
}

/* --- transactions -------------------------------------------------------------------------- */

static void roll_back(struct weir_state *state)
{
    /* Some failures have rolled back already. */
    if (!sqlite3_get_autocommit(state->database))
        sqlite3_exec(state->database, "ROLLBACK", NULL, NULL, NULL);
    state->absorbed_uncommitted = state->absorbed;
    state->payload_bytes_uncommitted = state->payload_bytes;
}

/* Without waiting for readers. */
static void empty_wal(struct weir_state *state)
{
    sqlite3_busy_timeout(state->database, 0);
    sqlite3_wal_checkpoint_v2(state->database, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(state->database, BUSY_MS);
    state->wal_bytes = file_bytes(state->wal_path);
}

/* Pages are moved through the WAL, so as many as it is wanted to hold. The file gets shorter when
 * the WAL is taken in. A database of a version that did not ask for it keeps its pages. */
int weir_state_shrink(struct weir_state *state, struct weir_error *error)
{
    int status = 0;
    const int64_t free_pages = pragma(state, "PRAGMA freelist_count", &status, error);
    char *text;

    if (status != 0 || free_pages == 0)
        return status;
    text = weir_asprintf("PRAGMA incremental_vacuum (%" PRIu64 ")",
                         state->wal_bytes_wanted / 2 / 4096);
    status = execute(state, text, error);
    free(text);
    if (status == 0)
        empty_wal(state);
    return status;
}

/* SQLite begins its WAL anew only when nobody reads from it, so a reader that stays makes it grow.
 * First that is said, then it is bounded. */
int weir_state_check_wal(struct weir_state *state, struct weir_error *error)
{
    int64_t now_ns;

    if (state->wal_bytes < state->wal_bytes_warn)
        return 0;
    now_ns = weir_clock_now().mono_ns;
    if (state->warned_ns == 0 || now_ns - state->warned_ns > WARN_EVERY_NS) {
        state->warned_ns = now_ns;
        weir_log(WEIR_LOG_WARNING,
                 "%s has grown to %" PRIu64 " bytes because another program has been reading the "
                 "state in one transaction for long; end that one",
                 state->wal_path, state->wal_bytes);
    }
    if (state->wal_bytes < WEIR_WAL_BYTES_MAX)
        return 0;
    /* Look whether the reader is gone. */
    empty_wal(state);
    if (state->wal_bytes < WEIR_WAL_BYTES_MAX)
        return 0;
    return weir_error_set(error, WEIR_EFULL,
                          "%s is full: another program has been reading the state in one "
                          "transaction for too long; end that one",
                          state->wal_path);
}

int weir_state_begin(struct weir_state *state, struct weir_error *error)
{
    sqlite3_stmt *begin = weir_state_statement(state, STATEMENT_BEGIN, error);
    int moved = 0;

    /* What is written to a file that has no name any more is gone with this process, and the log
     * must not be freed on its word. */
    sqlite3_file_control(state->database, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s was removed or replaced while it was written to; put the file "
                              "back, and what was beside it (state.db-wal), and start again",
                              state->path);
    return begin != NULL ? weir_state_run(state, begin, error) : error->code;
}

int weir_state_commit(struct weir_state *state, struct weir_error *error)
{
    sqlite3_stmt *commit = weir_state_statement(state, STATEMENT_COMMIT, error);
    int status = commit != NULL ? weir_state_run(state, commit, error) : error->code;

    if (status != 0) {
        roll_back(state);
        return status;
    }
    state->absorbed = state->absorbed_uncommitted;
    state->payload_bytes = state->payload_bytes_uncommitted;
    /* One large transaction must not leave a file behind that counts as use for ever. */
    state->wal_bytes = file_bytes(state->wal_path);
    if (state->wal_bytes > state->wal_bytes_wanted)
        empty_wal(state);
    return 0;
}

void weir_state_roll_back(struct weir_state *state)
{
    roll_back(state);
}
