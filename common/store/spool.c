/* A ventilator's spool: opening and recovering it, and the door to its threads. */
#include "spool.h"
#include "spool_lock.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/log.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct weir_spool *from_store(const struct weir_store *store)
{
    return (struct weir_spool *)(uintptr_t)store;
}

static void spool_submit(struct weir_store *store, struct weir_store_request *request)
{
    struct weir_spool *spool = from_store(store);
    struct weir_task *task = weir_zalloc(1, sizeof *task);
    enum weir_store_kind kind = request->kind;

    WEIR_ASSERT(spool->outstanding < WEIR_STORE_REQUESTS_MAX);
    spool->outstanding++;
    task->request = *request;
    task->age = kind == WEIR_STORE_APPLY ? spool->full_applies_taken : spool->full_taken;
    *request = (struct weir_store_request){0};
    if (kind == WEIR_STORE_APPEND)
        weir_task_queue_push(&spool->appends, task);
    else if (kind == WEIR_STORE_READ)
        weir_task_queue_push(&spool->reads, task);
    else
        weir_task_queue_push(&spool->states, task);
}

static bool spool_poll(struct weir_store *store, struct weir_store_result *result)
{
    struct weir_spool *spool = from_store(store);
    struct weir_task *task = weir_done_queue_pop(&spool->done);

    if (task == NULL)
        return false;
    *result = task->result;
    task->result = (struct weir_store_result){0};
    weir_task_destroy(&task);
    spool->outstanding--;
    if (result->kind == WEIR_STORE_APPEND && result->status == WEIR_EFULL)
        spool->full_taken++;
    if (result->kind == WEIR_STORE_APPLY && result->status == WEIR_EFULL)
        spool->full_applies_taken++;
    return true;
}

static int spool_fd(const struct weir_store *store)
{
    return from_store(store)->done.fd;
}

/* Everything but the threads. */
static void release(struct weir_spool *spool)
{
    weir_log_reader_destroy(&spool->reader);
    if (spool->log != NULL)
        weir_log_close(&spool->log);
    weir_state_close(&spool->state);
    weir_reserve_destroy(&spool->reserve);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    weir_task_queue_fini(&spool->appends);
    weir_task_queue_fini(&spool->states);
    weir_task_queue_fini(&spool->reads);
    if (spool->done.fd >= 0)
        weir_done_queue_fini(&spool->done);
    pthread_mutex_destroy(&spool->failure_lock);
    free(spool->group);
    free(spool);
}

static void spool_destroy(struct weir_store *store)
{
    struct weir_spool *spool = from_store(store);

    if (spool->threads)
        weir_spool_stop(spool);
    release(spool);
}

static struct weir_spool *spool_new(enum weir_fsync fsync)
{
    struct weir_spool *spool = weir_zalloc(1, sizeof *spool);

    spool->store.submit = spool_submit;
    spool->store.poll = spool_poll;
    spool->store.fd = spool_fd;
    spool->store.destroy = spool_destroy;
    spool->fsync = fsync;
    spool->lock_fd = -1;
    spool->done.fd = -1;
    spool->sync_due_ns = WEIR_TIME_NEVER;
    weir_task_queue_init(&spool->appends);
    weir_task_queue_init(&spool->states);
    weir_task_queue_init(&spool->reads);
    pthread_mutex_init(&spool->failure_lock, NULL);
    return spool;
}

/* Also what is there already may be the work of a start that was killed before it synced. That one
 * may not read the directory above is no reason to stop, then. */
static int sync_above(const struct weir_io *io, const char *path, bool made,
                      struct weir_error *error)
{
    char *parent = weir_strdup(path);
    char *cut = strrchr(parent, '/');
    int status = 0;

    if (cut != NULL)
        cut[cut == parent] = '\0';
    if (weir_io_sync_directory(io, cut != NULL ? parent : ".") != 0 && made)
        status = weir_io_error(error, errno, "sync the directory above", path);
    free(parent);
    return status;
}

/* Make the directory and those above it, each durable in the one above. */
static int make_directories(const struct weir_io *io, const char *directory,
                            struct weir_error *error)
{
    char *path = weir_strdup(directory);
    int status = 0;

    for (char *slash = path; slash != NULL && status == 0;) {
        char *next = strchr(slash + 1, '/');
        struct stat there;

        if (next != NULL)
            *next = '\0';
        const bool missing = io->stat(io, path, &there) != 0;
        if (missing)
            status = weir_io_make_directory(io, path, error);
        if (status == 0)
            status = sync_above(io, path, missing, error);
        if (next != NULL)
            *next = '/';
        slash = next;
    }
    free(path);
    return status;
}

/* Smaller than the whole by enough that a small spool can free some while it fills others. */
static uint64_t segment_bytes(const struct weir_spool_config *config)
{
    uint64_t bytes = config->segment_bytes;

    if (bytes == 0) {
        bytes = WEIR_SEGMENT_BYTES;
        if (config->bytes_max > 0 && config->bytes_max / 4 < bytes)
            bytes = config->bytes_max / 4;
    }
    if (bytes < WEIR_SEGMENT_BYTES_MIN)
        bytes = WEIR_SEGMENT_BYTES_MIN;
    return bytes / 4096 * 4096;
}

static uint64_t reserve_bytes(const struct weir_spool_config *config)
{
    if (config->bytes_max > 0 && config->bytes_max / 16 < WEIR_RESERVE_BYTES)
        return config->bytes_max / 16;
    return WEIR_RESERVE_BYTES;
}

/* A log whose state is gone must not get a new one: what was done would be unknown, and SQLite
 * would throw away a WAL that may still hold it all. */
static int check_state_is_there(const struct weir_io *io, const char *directory,
                                struct weir_error *error)
{
    char *path = weir_asprintf("%s/state.db", directory);
    struct stat file;
    int status = 0;

    if ((io->stat(io, path, &file) != 0 || file.st_size == 0) && weir_log_exists(io, directory))
        status = weir_error_set(error, WEIR_EDAMAGED,
                                "%s is gone or empty, but there are messages in %s/log: put it "
                                "back, and what was beside it (state.db-wal), or move the spool "
                                "away and begin a new one",
                                path, directory);
    free(path);
    return status;
}

static int open_state(struct weir_spool *spool, const struct weir_spool_config *config,
                      struct weir_recovered *recovered, struct weir_error *error)
{
    int status =
        weir_state_open(config->directory, config->tag, config->bytes_max, &spool->state, error);

    /* On a full disk even opening may need a page. */
    if (status == WEIR_EFULL && weir_reserve_give(spool->reserve))
        status = weir_state_open(config->directory, config->tag, config->bytes_max, &spool->state,
                                 error);
    return status == 0 ? weir_state_load(spool->state, recovered, error) : status;
}

/* Above anything that log or state mention; and with a weak fsync above all that may have been lost
 * with the end of the log (weir_log_append). Counted from the log alone: of what the state mentions
 * nothing is lost, and a start that takes nothing in costs the next one no sequences. */
static uint64_t next_sequence(const struct weir_spool_config *config, const struct weir_log *log,
                              const struct weir_recovered *recovered)
{
    const bool weak = config->fsync != WEIR_FSYNC_ALWAYS && recovered->group_count > 0;
    const uint64_t next = log->next_sequence + (weak ? WEIR_UNSYNCED_MESSAGES_MAX : 0);

    return next > recovered->next_sequence ? next : recovered->next_sequence;
}

static int open_log(struct weir_spool *spool, const struct weir_spool_config *config,
                    const struct weir_io *io, struct weir_recovered *recovered,
                    struct weir_error *error)
{
    struct weir_log_config log = {.io = io,
                                  .directory = config->directory,
                                  .tag = config->tag,
                                  .bytes_max = config->bytes_max,
                                  .segment_bytes = segment_bytes(config)};
    uint64_t oldest = 0;
    int status;

    memcpy(log.uuid, recovered->uuid, sizeof log.uuid);
    status = weir_log_open(&log, recovered->absorbed, recovered->next_sequence, &spool->log,
                           &oldest, &recovered->damage, error);
    if (status == WEIR_EFULL && weir_reserve_give(spool->reserve))
        status = weir_log_open(&log, recovered->absorbed, recovered->next_sequence, &spool->log,
                               &oldest, &recovered->damage, error);
    if (status != 0)
        return status;
    recovered->next_sequence = next_sequence(config, spool->log, recovered);
    recovered->oldest_sequence = oldest != 0 ? oldest : recovered->next_sequence;
    return 0;
}

static int open_parts(struct weir_spool *spool, const struct weir_spool_config *config,
                      const struct weir_io *io, struct weir_recovered *recovered,
                      struct weir_error *error)
{
    int status = make_directories(io, config->directory, error);

    if (status == 0)
        status = weir_spool_lock(config->directory, &spool->lock_fd, error);
    if (status != 0)
        return status;
    spool->reserve = weir_reserve_new(io, config->directory, reserve_bytes(config));
    status = check_state_is_there(io, config->directory, error);
    if (status == 0)
        status = open_state(spool, config, recovered, error);
    if (status == 0)
        status = open_log(spool, config, io, recovered, error);
    if (status != 0)
        return status;
    if (weir_io_sync_directory(io, config->directory) != 0)
        return weir_io_error(error, errno, "sync the directory", config->directory);
    if (!weir_reserve_take(spool->reserve))
        weir_log(WEIR_LOG_WARNING,
                 "%s: the disk has no room for the spool's reserve; no message is accepted until "
                 "it has",
                 config->directory);
    if (weir_done_queue_init(&spool->done) != 0)
        return weir_io_error(error, errno, "make", "an eventfd");
    spool->reader = weir_log_reader_new(spool->log);
    weir_spool_measure(spool);
    recovered->used_bytes = weir_log_used_bytes(spool->log);
    return 0;
}

int weir_spool_open_quiet(const struct weir_spool_config *config, const struct weir_io *io,
                          struct weir_spool **self, struct weir_recovered **recovered,
                          struct weir_error *error)
{
    struct weir_spool *spool = spool_new(config->fsync);
    struct weir_recovered *found = weir_zalloc(1, sizeof *found);
    int status = open_parts(spool, config, io, found, error);

    if (status != 0) {
        release(spool);
        weir_recovered_destroy(&found);
        return status;
    }
    *self = spool;
    *recovered = found;
    return 0;
}

int weir_spool_open_with(const struct weir_spool_config *config, const struct weir_io *io,
                         struct weir_store **store, struct weir_recovered **recovered,
                         struct weir_error *error)
{
    struct weir_spool *spool;
    struct weir_error ignored;
    int status;

    if (error == NULL)
        error = &ignored;
    if (config->bytes_max > 0 && config->bytes_max < WEIR_SPOOL_BYTES_MIN)
        return weir_error_set(
            error, WEIR_EINVAL, "%s: a spool's max must be at least %u bytes, not %llu",
            config->directory, WEIR_SPOOL_BYTES_MIN, (unsigned long long)config->bytes_max);
    status = weir_spool_open_quiet(config, io, &spool, recovered, error);
    if (status != 0)
        return status;
    status = weir_spool_start(spool, error);
    if (status != 0) {
        release(spool);
        weir_recovered_destroy(recovered);
        return status;
    }
    spool->threads = true;
    *store = &spool->store;
    return 0;
}

int weir_spool_open(const struct weir_spool_config *config, struct weir_store **store,
                    struct weir_recovered **recovered, struct weir_error *error)
{
    return weir_spool_open_with(config, &weir_io_posix, store, recovered, error);
}
