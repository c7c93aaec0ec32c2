/* Appending: many records in one write, one sync for all of them, and the change to a new segment.
 * All of it belongs to the log writer's thread. */
#include "log.h"

#include <base/alloc.h>
#include <base/canary.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/random.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define IOV_MAX_WRITE 1024 /* Linux's UIO_MAXIOV */
#define IOV_PER_RECORD 6   /* header, skips, three frames, padding */
#define GATHER_MAX (IOV_MAX_WRITE / IOV_PER_RECORD)
/* Written at once, so that what was read for its checksum is in the CPU's cache still. */
#define WRITE_BYTES (512u << 10)

struct weir_gather {
    struct iovec iov[IOV_MAX_WRITE];
    int iov_count;
    uint8_t heads[GATHER_MAX][WEIR_RECORD_HEADER_BYTES];
    uint8_t *skips[GATHER_MAX];
    uint32_t count;
    uint64_t offset; /* where the write begins */
    /* What the log goes back to when the disk has no room for the write. */
    uint32_t crc_before;
    uint64_t next_before;
};

static const uint8_t padding[WEIR_RECORD_ALIGN];

/* Final: see the contract. */
static int fail(struct weir_log *log, const struct weir_error *error)
{
    log->failure = *error;
    if (error->code == WEIR_EFULL)
        log->failure.code = WEIR_EIO;
    log->failed = log->failure.code;
    weir_log(WEIR_LOG_ERROR, "%s; nothing more is accepted, restart to recover the log",
             error->text);
    return log->failed;
}

static int fail_active(struct weir_log *log, const char *what)
{
    struct weir_error error;
    int number = errno;
    char *path = weir_log_segment_path(log, log->active->first);

    weir_io_error(&error, number, what, path);
    free(path);
    return fail(log, &error);
}

/* The active segment's records are as they shall be. */
static void settle(struct weir_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->active->end = log->write_end;
    log->active->last = log->next_sequence - 1;
    pthread_mutex_unlock(&log->lock);
}

static void forget_gathered(struct weir_gather *gather)
{
    for (uint32_t i = 0; i < gather->count; i++)
        free(gather->skips[i]);
    gather->count = 0;
    gather->iov_count = 0;
}

/* The next write goes over what may have been written of this one, and where its records would have
 * begun there may be none then. */
static void take_back(struct weir_log *log, const struct weir_gather *gather)
{
    struct weir_segment *segment = log->active;

    pthread_mutex_lock(&log->lock);
    while (segment->place_count > 0 &&
           segment->places[segment->place_count - 1].offset >= gather->offset)
        segment->place_count--;
    pthread_mutex_unlock(&log->lock);
    log->next_place = gather->offset;
    log->write_end = gather->offset;
    log->crc = gather->crc_before;
    log->next_sequence = gather->next_before;
}

/* Write what was gathered. WEIR_EFULL: none of it counts as written. */
static int flush(struct weir_log *log, struct weir_error *error)
{
    struct weir_gather *gather = log->gather;
    int status = 0;

    if (gather->count == 0)
        return 0;
    log->dirty = true;
    if (weir_io_write(log->io, log->active->fd, gather->iov, gather->iov_count, gather->offset) !=
        0) {
        int number = errno;
        char *path = weir_log_segment_path(log, log->active->first);

        status = weir_io_error(error, number, "write to", path);
        free(path);
        take_back(log, gather);
        if (status != WEIR_EFULL)
            status = fail(log, error);
    }
    forget_gathered(gather);
    return status;
}

static void push_iov(struct weir_gather *gather, const void *data, size_t size)
{
    if (size > 0)
        gather->iov[gather->iov_count++] = (struct iovec){(void *)(uintptr_t)data, size};
}

/* Put one record behind the others. There is room for it in the segment. */
static void gather_record(struct weir_log *log, const struct weir_record *record)
{
    struct weir_gather *gather = log->gather;
    uint8_t *head = gather->heads[gather->count];
    size_t skip_bytes = (size_t)record->skip_count * WEIR_SKIP_BYTES;
    uint8_t *skips = NULL;
    struct weir_record_header header = {
        .header_bytes = (uint32_t)record->header.size,
        .index_bytes = (uint32_t)record->index.size,
        .body_bytes = (uint32_t)record->body.size,
        .skip_count = record->skip_count,
        .first = record->first,
        .count = record->count,
        .seed = log->crc,
        .time_ms = record->time_ms,
        .certified = log->certified,
    };
    uint64_t content = weir_record_content_bytes(&header);
    uint64_t bytes = weir_record_bytes(&header);
    uint32_t crc;

    if (gather->count == 0) {
        gather->offset = log->write_end;
        gather->crc_before = log->crc;
        gather->next_before = log->next_sequence;
    }
    if (skip_bytes > 0) {
        skips = weir_alloc(skip_bytes);
        weir_skips_encode(record->skips, record->skip_count, skips);
    }
    gather->skips[gather->count++] = skips;
    weir_record_header_encode(&header, log->active->salt, head);
    crc = weir_record_header_crc(head, header.seed);
    crc = weir_crc32c(crc, skips, skip_bytes);
    crc = weir_crc32c(crc, record->header.data, record->header.size);
    crc = weir_crc32c(crc, record->index.data, record->index.size);
    crc = weir_crc32c(crc, record->body.data, record->body.size);
    weir_record_header_set_crc(head, crc);
    push_iov(gather, head, WEIR_RECORD_HEADER_BYTES);
    push_iov(gather, skips, skip_bytes);
    push_iov(gather, record->header.data, record->header.size);
    push_iov(gather, record->index.data, record->index.size);
    push_iov(gather, record->body.data, record->body.size);
    push_iov(gather, padding, (size_t)(bytes - content));
    if (log->write_end >= log->next_place) {
        pthread_mutex_lock(&log->lock);
        weir_segment_add_place(log->active, record->first, log->write_end);
        pthread_mutex_unlock(&log->lock);
        log->next_place = log->write_end + WEIR_INDEX_STEP_BYTES;
    }
    log->crc = crc;
    log->write_end += bytes;
    log->next_sequence = record->first + record->count;
    log->marked = log->certified;
}

int weir_log_sync(struct weir_log *log)
{
    if (log->failed != 0)
        return log->failed;
    if (!log->dirty)
        return 0;
    if (atomic_load(&log->unsynced)) {
        errno = EIO;
        return fail_active(log, "sync");
    }
    /* Never again after a failure: the kernel may have dropped the pages it could not write, and a
     * second call would say that all is well. */
    if (log->io->fdatasync(log->io, log->active->fd) != 0 && !WEIR_CANARY(SYNC_FAILURE_IGNORED))
        return fail_active(log, "sync");
    atomic_fetch_add_explicit(&log->syncs, 1, memory_order_relaxed);
    log->dirty = false;
    log->certified = log->next_sequence - 1;
    return 0;
}

static char *new_path(const struct weir_log *log, uint64_t first)
{
    return weir_asprintf("%s/%020" PRIu64 ".new", log->directory, first);
}

static int make_file(struct weir_log *log, const char *path, uint64_t bytes, int *fd,
                     struct weir_error *error)
{
    int status;

    *fd = log->io->open(log->io, path, O_RDWR | O_CREAT | O_TRUNC);
    if (*fd < 0)
        return weir_io_error(error, errno, "make", path);
    if (log->io->allocate(log->io, *fd, bytes) == 0)
        return 0;
    status = weir_io_error(error, errno, "allocate the blocks of", path);
    log->io->close(log->io, *fd);
    log->io->unlink(log->io, path);
    return status;
}

/* A file of at least this size under the name of a segment to be: a spare, or a new one. With
 * `small_will_do` (recovery) the disk may be too full for a whole segment. */
static int obtain_file(struct weir_log *log, const char *path, bool small_will_do, uint64_t *bytes,
                       int *fd, struct weir_error *error)
{
    uint64_t least = *bytes;
    uint64_t number;
    int status;

    if (*bytes <= log->segment_bytes && weir_log_take_spare(log, &number)) {
        char *spare = weir_log_spare_path(log, number);
        int renamed = log->io->rename(log->io, spare, path);

        free(spare);
        if (renamed == 0) {
            *bytes = log->segment_bytes;
            *fd = log->io->open(log->io, path, O_RDWR);
            return *fd >= 0 ? 0 : weir_io_error(error, errno, "open", path);
        }
    }
    if (*bytes < log->segment_bytes)
        *bytes = log->segment_bytes;
    atomic_store_explicit(&log->wanted_bytes, *bytes, memory_order_relaxed);
    if (!weir_log_has_room(log, *bytes))
        return weir_error_set(error, WEIR_EFULL,
                              "the spool is full: %" PRIu64 " of %" PRIu64
                              " bytes are in use and the log needs a new segment of %" PRIu64
                              "; wait until messages are done, or raise spool.max",
                              weir_log_used_bytes(log), log->bytes_max, *bytes);
    status = make_file(log, path, *bytes, fd, error);
    if (status == WEIR_EFULL && small_will_do && least < *bytes) {
        *bytes = least;
        status = make_file(log, path, *bytes, fd, error);
    }
    return status;
}

int weir_log_begin_segment(struct weir_log *log, uint64_t first, uint64_t bytes, bool publish_now,
                           struct weir_error *error)
{
    struct weir_segment_header header = {.tag = log->tag,
                                         .first = first,
                                         .certified = log->certified,
                                         .created_ms = weir_clock_now().wall_ms};
    char *path = new_path(log, first);
    uint8_t *page = weir_alloc(WEIR_SEGMENT_HEADER_BYTES);
    struct iovec iov = {page, WEIR_SEGMENT_HEADER_BYTES};
    int fd = -1;
    int status = obtain_file(log, path, !publish_now, &bytes, &fd, error);

    if (status != 0)
        goto cleanup;
    if (!WEIR_CANARY(STALE_RECORD_ACCEPTED))
        weir_entropy(&header.salt, sizeof header.salt);
    memcpy(header.uuid, log->uuid, sizeof header.uuid);
    weir_segment_header_encode(&header, page);
    if (weir_io_write(log->io, fd, &iov, 1, 0) != 0 || log->io->fsync(log->io, fd) != 0) {
        status = weir_io_error(error, errno, "write the header of", path);
        log->io->close(log->io, fd);
        log->io->unlink(log->io, path);
        goto cleanup;
    }
    log->active = weir_segment_new(first, bytes, header.salt);
    log->active->fd = fd;
    log->write_end = WEIR_SEGMENT_HEADER_BYTES;
    log->next_place = WEIR_SEGMENT_HEADER_BYTES;
    log->crc = header.salt;
    log->marked = log->certified;
    log->dirty = false;
    if (publish_now)
        status = weir_log_publish_segment(log, error);
cleanup:
    free(page);
    free(path);
    return status;
}

int weir_log_publish_segment(struct weir_log *log, struct weir_error *error)
{
    char *from = new_path(log, log->active->first);
    char *to = weir_log_segment_path(log, log->active->first);
    int status = 0;

    if (log->io->rename(log->io, from, to) != 0) {
        status = weir_io_error(error, errno, "rename to", to);
        log->io->unlink(log->io, from);
    } else if (!WEIR_CANARY(DIRECTORY_NOT_SYNCED) &&
               weir_io_sync_directory(log->io, log->directory) != 0) {
        /* Which name the file has after a power cut nobody knows: this cannot be tried again. */
        weir_io_error(error, errno, "sync the directory", log->directory);
        status = error->code = WEIR_EIO;
    }
    if (status == 0)
        weir_log_add_segment(log, log->active);
    else
        weir_segment_destroy(log, &log->active);
    free(from);
    free(to);
    return status;
}

static void block(struct weir_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->blocked = log->active != NULL;
    pthread_mutex_unlock(&log->lock);
}

/* Nobody writes to it any more; whoever reads it opens it again. */
static void close_written(struct weir_log *log, struct weir_segment *segment)
{
    pthread_mutex_lock(&log->lock);
    if (segment->pins == 0) {
        log->io->close(log->io, segment->fd);
        segment->fd = -1;
    }
    pthread_mutex_unlock(&log->lock);
}

/* Make all of the active segment durable and go on in a new one, that has room for `bytes`. */
static int rotate(struct weir_log *log, uint64_t first, uint64_t bytes, struct weir_error *error)
{
    struct weir_segment *old = log->active;
    bool replaces; /* the old one is empty: the new one takes its name */
    int status = flush(log, error);

    if (status == 0)
        status = weir_log_sync(log);
    if (status != 0)
        return status;
    if (old != NULL)
        settle(log);
    replaces = old != NULL && old->first == first;
    status = weir_log_begin_segment(log, first, WEIR_SEGMENT_HEADER_BYTES + bytes, true, error);
    if (status == WEIR_EFULL) {
        /* All is as it was: the old segment stays the active one, unless it is of no use. */
        log->active = old;
        block(log);
        weir_log_unblock(log);
        if (log->active != NULL)
            return status;
        old = NULL;
        status = weir_log_begin_segment(log, first, WEIR_SEGMENT_HEADER_BYTES + bytes, true, error);
    }
    if (status != 0 && status != WEIR_EFULL)
        return fail(log, error);
    if (status == 0 && old != NULL && !replaces)
        close_written(log, old);
    return status;
}

static int check(const struct weir_log *log, const struct weir_record *record,
                 struct weir_error *error)
{
    uint64_t frames = (uint64_t)record->header.size + record->index.size + record->body.size;
    uint64_t least = log->next_sequence > log->state_next ? log->next_sequence : log->state_next;

    if (record->first < least || record->first > (uint64_t)INT64_MAX - record->count)
        return weir_error_set(error, WEIR_EINVAL,
                              "append of sequence %" PRIu64 ": the log goes on at %" PRIu64
                              "; sequences must ascend",
                              record->first, least);
    if (record->count == 0 || record->count > WEIR_BATCH_MESSAGES_MAX ||
        record->skip_count > record->count || frames > WEIR_BATCH_BYTES_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "append of %u messages in %" PRIu64 " bytes: a batch has at most %u "
                              "in %u",
                              record->count, frames, WEIR_BATCH_MESSAGES_MAX, WEIR_BATCH_BYTES_MAX);
    return 0;
}

static int append_one(struct weir_log *log, const struct weir_record *record,
                      struct weir_error *error)
{
    struct weir_record_header sizes = {.header_bytes = (uint32_t)record->header.size,
                                       .index_bytes = (uint32_t)record->index.size,
                                       .body_bytes = (uint32_t)record->body.size,
                                       .skip_count = record->skip_count};
    uint64_t bytes = weir_record_bytes(&sizes);
    int status = check(log, record, error);

    if (status != 0)
        return fail(log, error);
    if (!weir_log_has_room(log, 0))
        return weir_error_set(error, WEIR_EFULL,
                              "the spool is full: %" PRIu64 " bytes are in use, %" PRIu64
                              " are allowed; wait until messages are done, or raise spool.max",
                              weir_log_used_bytes(log), log->bytes_max);
    if (log->gather->count == GATHER_MAX ||
        (log->gather->count > 0 && log->write_end + bytes - log->gather->offset > WRITE_BYTES)) {
        status = flush(log, error);
        if (status != 0)
            return status;
    }
    /* Room is left for the mark at a clean end. A blocked segment takes no more, so that small
     * batches do not overtake the large one for ever. */
    if (log->active == NULL || log->blocked ||
        log->write_end + bytes + WEIR_RECORD_HEADER_BYTES > log->active->bytes) {
        status = rotate(log, record->first, bytes + WEIR_RECORD_HEADER_BYTES, error);
        if (status != 0)
            return status;
    }
    gather_record(log, record);
    return 0;
}

/* The last sequence for which an append may end well. */
static uint64_t kept_up_to(const struct weir_log *log)
{
    return log->failed != 0 ? log->certified : log->next_sequence - 1;
}

/* What a power cut takes may have left results at a sink, which knows them by their sequences: none
 * of these may be given again. A start passes over as many as could have been read and not been
 * synced, so there is a bound to them, and it holds behind what a start has passed over, too. */
static bool too_much_unsynced(const struct weir_log *log)
{
    return log->next_sequence > log->certified + 1 + WEIR_UNSYNCED_MESSAGES_MAX;
}

int weir_log_append(struct weir_log *log, struct weir_append *appends, uint32_t count, bool sync)
{
    struct weir_error error = log->failure;
    int status = log->failed;
    uint32_t taken = 0;

    while (status == 0 && taken < count) {
        status = append_one(log, appends[taken].record, &error);
        if (status == 0)
            taken++;
    }
    if (log->failed == 0) {
        struct weir_error flush_error;
        int flushed = flush(log, &flush_error);

        if (flushed != 0 && status == 0) {
            status = flushed;
            error = flush_error;
        }
        if (log->failed == 0 && (sync || too_much_unsynced(log)))
            weir_log_sync(log);
        if (log->failed == 0 && log->active != NULL)
            settle(log);
    }
    if (log->failed != 0)
        error = log->failure;
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_record *record = appends[i].record;
        bool kept = i < taken && record->first + record->count - 1 <= kept_up_to(log);

        appends[i].status = kept ? 0 : error.code;
        if (!kept)
            appends[i].error = error;
    }
    return log->failed;
}

void weir_log_show(struct weir_log *log)
{
    pthread_mutex_lock(&log->lock);
    if (kept_up_to(log) > log->readable)
        log->readable = kept_up_to(log);
    pthread_mutex_unlock(&log->lock);
}

/* A record without messages, for its certified mark alone. It need not be synced: when it is lost,
 * the next start writes the last records anew, that is all. */
static void write_mark(struct weir_log *log)
{
    struct weir_record mark = {.first = log->next_sequence, .time_ms = weir_clock_now().wall_ms};
    struct weir_error error;

    if (log->write_end + WEIR_RECORD_HEADER_BYTES > log->active->bytes)
        return;
    gather_record(log, &mark);
    flush(log, &error);
}

void weir_log_abandon(struct weir_log **self)
{
    struct weir_log *log = *self;

    if (log == NULL)
        return;
    *self = NULL;
    for (uint32_t i = 0; i < log->segment_count; i++)
        weir_segment_destroy(log, &log->segments[i]);
    free(log->segments);
    if (log->gather != NULL)
        forget_gathered(log->gather);
    free(log->gather);
    pthread_mutex_destroy(&log->lock);
    free(log->directory);
    free(log->damaged);
    free(log);
}

void weir_log_close(struct weir_log **self)
{
    struct weir_log *log = *self;

    if (log->active != NULL && weir_log_sync(log) == 0 && log->certified > log->marked)
        write_mark(log);
    weir_log_abandon(self);
}

struct weir_gather *weir_gather_new(void)
{
    return weir_zalloc(1, sizeof(struct weir_gather));
}
