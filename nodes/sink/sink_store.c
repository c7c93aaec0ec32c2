#include <base/alloc.h>
#include <base/canary.h>
#include <base/directories.h>
#include <base/limits.h>
#include <errno.h>
#include <fcntl.h>
#include <hold/held_message.h>
#include <hold/hold_sqlite.h>
#include <hold/message_json.h>
#include <sink/ledger_sqlite.h>
#include <sink/output_file.h>
#include <sink/result_json.h>
#include <sink/results_sqlite.h>
#include <sink/sink_store.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TRIM_EVERY 1024u /* batches between two looks at which producers have expired */
/* The lines of a commit are megabytes under load, and a page costs the same whatever its size; but
 * the commit of a single line writes four pages. */
#define LEDGER_PAGE_BYTES 16384u

static const struct weir_hold_schema ledger_schema = {
    .what = "ledger",
    .application_id = 0x57534c47, /* "WSLG" */
    .version = 1,
    .sql = WEIR_LEDGER_TABLE WEIR_OUTPUT_TABLE,
    .page_bytes = LEDGER_PAGE_BYTES,
};

static const struct weir_hold_schema results_schema = {
    .what = "results database",
    .application_id = 0x57535253, /* "WSRS" */
    .version = 1,
    .sql = WEIR_LEDGER_TABLE WEIR_RESULTS_TABLE,
};

struct weir_sink {
    enum weir_sink_kind kind;
    uint16_t tag;
    int lock_fd;
    struct weir_hold_db *db;
    struct weir_ledger ledger;
    struct weir_output output; /* of lines */
    sqlite3_stmt *insert;      /* of rows */
    struct weir_json_text lines;
    struct weir_json_text headers; /* of one row */
    uint32_t until_trim;
};

/* Two sinks on one file would each cut off what the other wrote. */
static int lock(struct weir_sink *self, const char *path, struct weir_error *error)
{
    int status = weir_make_directories(path, 0700, error);
    if (status != 0)
        return status;
    char *lock_path = weir_asprintf("%s.lock", path);
    self->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (self->lock_fd < 0)
        status = weir_error_set(error, WEIR_EIO, "cannot make the lock file %s: %s", lock_path,
                                strerror(errno));
    else if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0)
        status = weir_error_set(error, WEIR_ELOCKED,
                                "another sink writes to %s (it holds %s): end that one first", path,
                                lock_path);
    free(lock_path);
    return status;
}

int weir_sink_open(const struct weir_sink_config *config, struct weir_sink **sink,
                   struct weir_error *error)
{
    const bool rows = config->kind == WEIR_SINK_SQLITE;
    const char *db_path = rows ? config->path : config->ledger_path;
    bool known = false;
    *sink = NULL;
    struct weir_sink *self = weir_zalloc(1, sizeof *self);
    self->kind = config->kind;
    self->tag = config->tag;
    self->lock_fd = self->output.fd = -1;
    int status = lock(self, db_path, error);
    if (status == 0)
        status = weir_hold_db_open(db_path, true, rows ? &results_schema : &ledger_schema,
                                   &self->db, &known, error);
    if (status == 0)
        status = weir_ledger_init(&self->ledger, self->db, error);
    if (status == 0 && rows)
        status = weir_database_prepare(&self->db->file, WEIR_RESULTS_INSERT, &self->insert, error);
    else if (status == 0)
        status = weir_output_open(&self->output, self->db, known, config->path, config->stdout_fd,
                                  error);
    if (status != 0)
        weir_sink_destroy(&self);
    *sink = self;
    return status;
}

void weir_sink_destroy(struct weir_sink **self_pointer)
{
    struct weir_sink *self = *self_pointer;
    if (self == NULL)
        return;
    weir_output_close(&self->output);
    weir_ledger_fini(&self->ledger);
    sqlite3_finalize(self->insert);
    weir_hold_db_destroy(&self->db);
    if (self->lock_fd >= 0)
        close(self->lock_fd);
    free(self->lines.data);
    free(self->headers.data);
    free(self);
    *self_pointer = NULL;
}

int weir_sink_recover(struct weir_sink *self, struct weir_producer_row **producers,
                      uint32_t *producer_count, uint64_t *next_sequence, struct weir_error *error)
{
    return weir_hold_db_recover(self->db, producers, producer_count, next_sequence, error);
}

int weir_sink_spools(struct weir_sink *self, struct weir_spool_row **spools, uint32_t *count,
                     struct weir_error *error)
{
    return weir_hold_db_spools(self->db, spools, count, error);
}

static int hold_one(struct weir_sink *self, const struct weir_store_request *request,
                    uint32_t *duplicates, struct weir_error *error)
{
    const int64_t time_ms = request->record.time_ms;
    char time[WEIR_TIME_TEXT_BYTES];
    struct weir_held_walk walk;
    weir_time_format(time_ms, time);
    int status = weir_held_walk_init(&walk, &request->record, self->tag, error);
    *duplicates = 0;
    while (status == 0 && weir_held_walk_next(&walk)) {
        bool fresh = false;
        status = weir_ledger_note(&self->ledger, &walk.message, &fresh, error);
        if (status != 0)
            break;
        if (!fresh)
            *duplicates += 1;
        else if (self->kind == WEIR_SINK_SQLITE)
            status = weir_results_insert(self->db, self->insert, &self->headers, &walk.message,
                                         time_ms, error);
        else
            weir_result_line(&self->lines, &walk.message, time);
    }
    if (status == 0 && walk.header.has_spool && walk.message.view.has_origin)
        status = weir_hold_db_spool(self->db, walk.message.id.tag, walk.header.spool, error);
    if (status == 0)
        status = weir_hold_db_note(self->db, request, error);
    return status;
}

static int trim(struct weir_sink *self, uint32_t count, int64_t now_ms, struct weir_error *error)
{
    if (self->until_trim > count) {
        self->until_trim -= count;
        return 0;
    }
    self->until_trim = TRIM_EVERY;
    return weir_hold_db_trim(self->db, now_ms - WEIR_PRODUCER_EXPIRE_MS, error);
}

static int write_all(struct weir_sink *self, const struct weir_store_request *requests,
                     uint32_t count, uint32_t *duplicates, struct weir_error *error)
{
    int status = 0;
    weir_ledger_begin(&self->ledger);
    self->lines.bytes = 0;
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = hold_one(self, &requests[i], &duplicates[i], error);
    if (status == 0)
        status = weir_ledger_end(&self->ledger, error);
    if (status == 0 && WEIR_CANARY(RANGES_AHEAD_OF_LINES))
        status = weir_database_execute(&self->db->file, "COMMIT; BEGIN", "writing results", error);
    if (status == 0)
        status = trim(self, count, requests[count - 1].record.time_ms, error);
    if (status == 0 && self->lines.bytes > 0)
        status =
            weir_output_commit_lines(&self->output, self->lines.data, self->lines.bytes, error);
    if (status == 0)
        status = weir_database_commit(&self->db->file, "writing results", error);
    return status;
}

int weir_sink_hold(struct weir_sink *self, const struct weir_store_request *requests,
                   uint32_t count, uint32_t *duplicates, struct weir_error *error)
{
    const bool lines = self->kind != WEIR_SINK_SQLITE;
    int status = lines ? weir_output_settle(&self->output, error) : 0;
    if (status == 0)
        status = weir_hold_db_begin(self->db, error);
    if (status != 0)
        return status == WEIR_EBUSY ? WEIR_EFULL : status;
    status = write_all(self, requests, count, duplicates, error);
    if (status != 0) {
        weir_database_roll_back(&self->db->file);
    } else if (self->lines.bytes > 0) {
        weir_output_committed(&self->output, &self->lines);
    }
    /* Another process that holds the file passes; nothing was written. */
    return status == WEIR_EBUSY ? WEIR_EFULL : status;
}
