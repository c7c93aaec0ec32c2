/* Opening the state, its schema, and the frame that every transaction runs in. */
#include "state.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/random.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x57656972 /* "Weir" */
#define WAL_BYTES_MIN (64u << 10) /* of a small spool */

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
};

sqlite3_stmt *weir_state_statement(struct weir_state *state, enum weir_statement which,
                                   struct weir_error *error)
{
    sqlite3_stmt **statement = &state->statements[which];

    if (*statement == NULL &&
        weir_database_prepare(&state->database, statement_texts[which], statement, error) != 0)
        return NULL;
    return *statement;
}

int weir_state_run(struct weir_state *state, sqlite3_stmt *statement, struct weir_error *error)
{
    return weir_database_run(&state->database, statement, "noting what has changed", error);
}

/* --- opening ------------------------------------------------------------------------------- */

static int execute(struct weir_state *state, const char *text, struct weir_error *error)
{
    return weir_database_execute(&state->database, text, "opening", error);
}

/* A small spool has a small WAL. */
static int configure(struct weir_state *state, uint64_t bytes_max, struct weir_error *error)
{
    struct weir_database *database = &state->database;
    uint64_t wal_bytes = WEIR_WAL_BYTES;
    char *cache;
    int status;

    if (bytes_max > 0 && bytes_max / 16 < wal_bytes)
        wal_bytes = bytes_max / 16 < WAL_BYTES_MIN ? WAL_BYTES_MIN : bytes_max / 16;
    state->wal_bytes_wanted = 2 * wal_bytes;
    if (bytes_max > 0 && bytes_max / 4 < database->wal_bytes_warn)
        database->wal_bytes_warn = bytes_max / 4;
    /* How pages are given back has to be said before there is any page. */
    status = execute(state, "PRAGMA auto_vacuum = INCREMENTAL", error);
    if (status == 0)
        status = weir_database_use_wal(database, wal_bytes, wal_bytes, error);
    cache =
        weir_asprintf("PRAGMA cache_size = -%d; PRAGMA trusted_schema = OFF", WEIR_STATE_CACHE_KIB);
    if (status == 0)
        status = execute(state, cache, error);
    free(cache);
    return status;
}

static int create(struct weir_state *state, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    char *version;
    int status = execute(state, "BEGIN IMMEDIATE", error);

    if (status == 0)
        status = execute(state, schema, error);
    if (status == 0)
        status = weir_database_prepare(
            &state->database, "INSERT INTO spool VALUES (1, ?1, ?2, ?3, 0)", &statement, error);
    if (status != 0)
        return status;
    weir_entropy(state->uuid, sizeof state->uuid);
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
    const char *path = state->database.path;
    sqlite3_stmt *statement = NULL;
    int status = weir_database_prepare(
        &state->database, "SELECT uuid, tag, absorbed_sequence FROM spool", &statement, error);

    if (status != 0)
        return status;
    if (sqlite3_step(statement) != SQLITE_ROW) {
        status = weir_database_error(&state->database, "reading whose it is", error);
    } else if (sqlite3_column_bytes(statement, 0) != sizeof state->uuid) {
        status =
            weir_error_set(error, WEIR_EDAMAGED, "%s: the spool's uuid has not 16 bytes", path);
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
                                    path, state->tag, tag);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Whether it is ours, and which version it has: 0 if it is empty. */
static int read_version(struct weir_state *state, int64_t *version, struct weir_error *error)
{
    struct weir_database *database = &state->database;
    int64_t application = 0, tables = 0;
    int status = weir_database_number(database, "PRAGMA user_version", version, error);

    if (status == 0)
        status = weir_database_number(database, "PRAGMA application_id", &application, error);
    if (status == 0)
        status =
            weir_database_number(database, "SELECT count (*) FROM sqlite_schema", &tables, error);
    if (status != 0)
        return status;
    if (tables == 0)
        *version = 0;
    else if (application != APPLICATION_ID)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s is a database, but not the state of a spool; give the node a "
                              "directory of its own",
                              database->path);
    else if (*version < 1 || *version > WEIR_STATE_VERSION)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s has format version %" PRId64 ", this program knows 1 to %d; "
                              "use the version of Weir that made it, see docs/format.md",
                              database->path, *version, WEIR_STATE_VERSION);
    return 0;
}

static int open_or_create(struct weir_state *state, const char *path, uint16_t tag,
                          uint64_t bytes_max, struct weir_error *error)
{
    int64_t version = 0;
    int status = weir_database_init(&state->database, "state", path,
                                    SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, error);

    if (status == 0)
        status = read_version(state, &version, error);
    if (status == 0)
        status = configure(state, bytes_max, error);
    if (status == 0)
        status = version == 0 ? create(state, error) : upgrade(state, version, error);
    /* The log must not be freed on the word of a transaction that a power cut takes back. */
    if (status == 0)
        status = weir_database_secure_wal(&state->database, error);
    if (status == 0)
        status = read_identity(state, tag, error);
    return status;
}

int weir_state_open(const char *directory, uint16_t tag, uint64_t bytes_max,
                    struct weir_state **self, struct weir_error *error)
{
    struct weir_state *state = weir_zalloc(1, sizeof *state);
    char *path = weir_asprintf("%s/state.db", directory);
    int status;

    state->tag = tag;
    status = open_or_create(state, path, tag, bytes_max, error);
    free(path);
    if (status != 0)
        weir_state_close(&state);
    else
        *self = state;
    return status;
}

void weir_state_close(struct weir_state **self)
{
    struct weir_state *state = *self;

    if (state == NULL)
        return;
    *self = NULL;
    for (int i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(state->statements[i]);
    weir_database_fini(&state->database);
    free(state);
}

uint64_t weir_state_bytes(const struct weir_state *state)
{
    return weir_database_bytes(&state->database);
}

/* --- transactions -------------------------------------------------------------------------- */

int weir_state_check_wal(struct weir_state *state, struct weir_error *error)
{
    return weir_database_check_wal(&state->database, error);
}

int weir_state_begin(struct weir_state *state, struct weir_error *error)
{
    return weir_database_begin(&state->database, error);
}

int weir_state_commit(struct weir_state *state, struct weir_error *error)
{
    int status = weir_database_commit(&state->database, "noting what has changed", error);

    if (status != 0) {
        weir_state_roll_back(state);
        return status;
    }
    state->absorbed = state->absorbed_uncommitted;
    state->payload_bytes = state->payload_bytes_uncommitted;
    /* One large transaction must not leave a file behind that counts as use for ever. */
    weir_database_shorten_wal(&state->database, state->wal_bytes_wanted);
    return 0;
}

void weir_state_roll_back(struct weir_state *state)
{
    weir_database_roll_back(&state->database);
    state->absorbed_uncommitted = state->absorbed;
    state->payload_bytes_uncommitted = state->payload_bytes;
}

/* Pages are moved through the WAL, so as many as it is wanted to hold. The file gets shorter when
 * the WAL is taken in. A database of a version that did not ask for it keeps its pages. */
int weir_state_shrink(struct weir_state *state, struct weir_error *error)
{
    struct weir_database *database = &state->database;
    int64_t free_pages = 0;
    int status = weir_database_number(database, "PRAGMA freelist_count", &free_pages, error);
    char *text;

    if (status != 0 || free_pages == 0)
        return status;
    text = weir_asprintf("PRAGMA incremental_vacuum (%" PRIu64 ")",
                         state->wal_bytes_wanted / 2 / 4096);
    status = weir_database_execute(database, text, "giving room back", error);
    free(text);
    if (status == 0)
        weir_database_shorten_wal(database, 0);
    return status;
}
