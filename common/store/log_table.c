/* Which segments there are, where a sequence is to be looked for, and what becomes of freed ones.
 */
#include "log.h"

#include <base/alloc.h>
#include <base/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

char *weir_log_segment_path(const struct weir_log *log, uint64_t first)
{
    return weir_asprintf("%s/%020" PRIu64 ".seg", log->directory, first);
}

char *weir_log_spare_path(const struct weir_log *log, uint64_t number)
{
    return weir_asprintf("%s/spare-%" PRIu64 ".seg", log->directory, number);
}

struct weir_segment *weir_segment_new(uint64_t first, uint64_t bytes, uint32_t salt)
{
    struct weir_segment *segment = weir_zalloc(1, sizeof *segment);

    segment->first = first;
    segment->last = first - 1;
    segment->end = WEIR_SEGMENT_HEADER_BYTES;
    segment->bytes = bytes;
    segment->salt = salt;
    segment->fd = -1;
    return segment;
}

void weir_segment_destroy(const struct weir_log *log, struct weir_segment **self)
{
    struct weir_segment *segment = *self;

    *self = NULL;
    if (segment->fd >= 0)
        log->io->close(log->io, segment->fd);
    free(segment->places);
    free(segment->holes);
    free(segment);
}

void weir_segment_add_place(struct weir_segment *segment, uint64_t sequence, uint64_t offset)
{
    segment->places =
        weir_realloc(segment->places, segment->place_count + 1, sizeof *segment->places);
    segment->places[segment->place_count++] = (struct weir_place){sequence, offset};
}

void weir_segment_add_hole(struct weir_segment *segment, uint64_t from, uint64_t to)
{
    uint32_t at = segment->hole_count;

    segment->holes = weir_realloc(segment->holes, segment->hole_count + 1, sizeof *segment->holes);
    for (; at > 0 && segment->holes[at - 1].from > from; at--)
        segment->holes[at] = segment->holes[at - 1];
    segment->holes[at] = (struct weir_hole){from, to};
    segment->hole_count++;
}

uint64_t weir_segment_skip_hole(const struct weir_segment *segment, uint64_t offset)
{
    for (uint32_t i = 0; i < segment->hole_count; i++) {
        if (segment->holes[i].from == offset)
            offset = segment->holes[i].to;
    }
    return offset;
}

void weir_log_add_segment(struct weir_log *log, struct weir_segment *segment)
{
    struct weir_segment *replaced = NULL;

    pthread_mutex_lock(&log->lock);
    if (log->segment_count > 0 && log->segments[log->segment_count - 1]->first == segment->first) {
        replaced = log->segments[--log->segment_count];
        WEIR_ASSERT(replaced->pins == 0); /* there was nothing in it to read or to sync */
        log->segments_bytes -= replaced->bytes;
    }
    if (log->segment_count == log->segment_capacity) {
        log->segment_capacity = log->segment_capacity > 0 ? 2 * log->segment_capacity : 16;
        log->segments = weir_realloc(log->segments, log->segment_capacity, sizeof *log->segments);
    }
    log->segments[log->segment_count++] = segment;
    log->segments_bytes += segment->bytes;
    log->blocked = false;
    pthread_mutex_unlock(&log->lock);
    if (replaced != NULL)
        weir_segment_destroy(log, &replaced);
}

void weir_log_add_spare(struct weir_log *log, uint64_t number)
{
    pthread_mutex_lock(&log->lock);
    WEIR_ASSERT(log->spare_count < WEIR_SPARE_SEGMENTS_MAX);
    log->spares[log->spare_count++] = number;
    if (number >= log->spare_number)
        log->spare_number = number + 1;
    pthread_mutex_unlock(&log->lock);
}

bool weir_log_take_spare(struct weir_log *log, uint64_t *number)
{
    bool taken = false;

    pthread_mutex_lock(&log->lock);
    if (log->spare_count > 0) {
        *number = log->spares[--log->spare_count];
        taken = true;
    }
    pthread_mutex_unlock(&log->lock);
    return taken;
}

static uint64_t used_locked(const struct weir_log *log)
{
    return log->segments_bytes + atomic_load_explicit(&log->other_bytes, memory_order_relaxed);
}

/* With this many spares, do all files together stay within what is allowed? */
static bool may_keep_locked(const struct weir_log *log, uint64_t used, uint32_t spares)
{
    return log->bytes_max == 0 || used + spares * log->segment_bytes <= log->bytes_max;
}

uint64_t weir_log_used_bytes(struct weir_log *log)
{
    uint64_t used;

    pthread_mutex_lock(&log->lock);
    used = used_locked(log);
    pthread_mutex_unlock(&log->lock);
    return used;
}

void weir_log_shed_spares(struct weir_log *log)
{
    for (;;) {
        uint64_t number = 0;
        bool shed;
        char *path;

        pthread_mutex_lock(&log->lock);
        shed = log->spare_count > 0 && !may_keep_locked(log, used_locked(log), log->spare_count);
        if (shed)
            number = log->spares[--log->spare_count];
        pthread_mutex_unlock(&log->lock);
        if (!shed)
            return;
        path = weir_log_spare_path(log, number);
        log->io->unlink(log->io, path);
        free(path);
    }
}

bool weir_log_has_room(struct weir_log *log, uint64_t bytes)
{
    return log->bytes_max == 0 || weir_log_used_bytes(log) + bytes <= log->bytes_max;
}

uint64_t weir_log_oldest_segment_last(struct weir_log *log)
{
    uint64_t last = 0;

    pthread_mutex_lock(&log->lock);
    if (log->segment_count > 1 || (log->segment_count == 1 && log->blocked))
        last = log->segments[0]->last;
    pthread_mutex_unlock(&log->lock);
    return last;
}

/* Keep the file as a spare. The directory is synced before anybody may write over it: a name that
 * came back after a power cut must not bear another segment's content. */
static bool recycle(struct weir_log *log, const struct weir_segment *segment, const char *path)
{
    uint64_t number;
    char *spare;
    bool kept;

    pthread_mutex_lock(&log->lock);
    number = log->spare_number++;
    kept = log->spare_count + log->recycling < WEIR_SPARE_SEGMENTS_MAX &&
           segment->bytes == log->segment_bytes &&
           may_keep_locked(log, used_locked(log) - segment->bytes,
                           log->spare_count + log->recycling + 1);
    if (kept)
        log->recycling++;
    pthread_mutex_unlock(&log->lock);
    if (!kept)
        return false;
    spare = weir_log_spare_path(log, number);
    if (log->io->rename(log->io, path, spare) != 0) {
        kept = false;
    } else if (weir_io_sync_directory(log->io, log->directory) != 0) {
        log->io->unlink(log->io, spare);
        kept = false;
    }
    pthread_mutex_lock(&log->lock);
    log->recycling--;
    if (kept)
        log->spares[log->spare_count++] = number;
    pthread_mutex_unlock(&log->lock);
    free(spare);
    return kept;
}

/* A start takes the files that it finds for a log without a gap. So each removal is durable before
 * the next one: a power cut brings back the last one at most. */
static bool remove_segment(struct weir_log *log, const struct weir_segment *segment,
                           const char *path)
{
    if (log->removal_unsynced && weir_io_sync_directory(log->io, log->directory) != 0)
        return false;
    log->removal_unsynced = false;
    if (recycle(log, segment, path))
        return true;
    log->removal_unsynced = true;
    return log->io->unlink(log->io, path) == 0 || errno == ENOENT;
}

/* Free the oldest segment, which is marked as retiring. False: it stays until the next try. */
static bool retire(struct weir_log *log, struct weir_segment *segment)
{
    char *path = weir_log_segment_path(log, segment->first);
    const bool gone = remove_segment(log, segment, path);

    if (!gone && !log->removal_failed)
        weir_log(WEIR_LOG_WARNING,
                 "cannot remove %s, whose messages are all done: %s; until that works no segment "
                 "behind it is freed",
                 path, strerror(errno));
    log->removal_failed = !gone;
    pthread_mutex_lock(&log->lock);
    segment->retiring = false;
    if (gone) {
        log->segment_count--;
        memmove(&log->segments[0], &log->segments[1], log->segment_count * sizeof *log->segments);
        log->segments_bytes -= segment->bytes;
    }
    pthread_mutex_unlock(&log->lock);
    if (gone)
        weir_segment_destroy(log, &segment);
    free(path);
    return gone;
}

/* The oldest segment, for retire, when nothing in it is needed and nobody holds it. One thread at a
 * time has it, and those behind it wait: see remove_segment. */
static struct weir_segment *begin_retiring_locked(struct weir_log *log)
{
    struct weir_segment *segment = log->segment_count > 0 ? log->segments[0] : NULL;

    if (segment == NULL || segment->retiring || segment->pins > 0 ||
        segment->last >= log->trim_mark)
        return NULL;
    segment->retiring = true;
    return segment;
}

/* All but the last one, which is the log writer's. */
static struct weir_segment *begin_trimming_locked(struct weir_log *log)
{
    return log->segment_count > 1 ? begin_retiring_locked(log) : NULL;
}

static void retire_all(struct weir_log *log, struct weir_segment *segment)
{
    while (segment != NULL && retire(log, segment)) {
        pthread_mutex_lock(&log->lock);
        segment = begin_trimming_locked(log);
        pthread_mutex_unlock(&log->lock);
    }
}

void weir_log_trim(struct weir_log *log, uint64_t sequence)
{
    struct weir_segment *segment;

    pthread_mutex_lock(&log->lock);
    if (sequence > log->trim_mark)
        log->trim_mark = sequence;
    segment = begin_trimming_locked(log);
    pthread_mutex_unlock(&log->lock);
    retire_all(log, segment);
}

bool weir_log_is_blocked(struct weir_log *log)
{
    bool blocked;

    pthread_mutex_lock(&log->lock);
    blocked = log->blocked;
    pthread_mutex_unlock(&log->lock);
    return blocked;
}

void weir_log_unblock(struct weir_log *log)
{
    struct weir_segment *segment = NULL;

    pthread_mutex_lock(&log->lock);
    if (log->blocked && log->segment_count == 1)
        segment = begin_retiring_locked(log);
    pthread_mutex_unlock(&log->lock);
    if (segment == NULL || !retire(log, segment))
        return;
    pthread_mutex_lock(&log->lock);
    log->blocked = false;
    pthread_mutex_unlock(&log->lock);
    log->active = NULL;
    log->dirty = false;
}

/* The last place at or below `sequence`, or the beginning. */
static uint64_t place_of(const struct weir_segment *segment, uint64_t sequence)
{
    uint32_t low = 0, high = segment->place_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (segment->places[middle].sequence <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? segment->places[low - 1].offset : WEIR_SEGMENT_HEADER_BYTES;
}

struct weir_segment *weir_log_pin(struct weir_log *log, uint64_t sequence, uint64_t *readable)
{
    struct weir_segment *segment = NULL;
    uint32_t low = 0, high;

    pthread_mutex_lock(&log->lock);
    *readable = log->readable;
    high = log->segment_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (log->segments[middle]->last < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    /* An empty segment's `last` is below its `first`, so it may stand before the one we want. */
    while (low < log->segment_count &&
           (log->segments[low]->retiring || log->segments[low]->last < log->segments[low]->first))
        low++;
    if (low < log->segment_count && sequence <= log->readable) {
        segment = log->segments[low];
        segment->pins++;
    }
    pthread_mutex_unlock(&log->lock);
    return segment;
}

void weir_log_extent(struct weir_log *log, const struct weir_segment *segment, uint64_t sequence,
                     uint64_t *offset, uint64_t *end, uint64_t *last)
{
    pthread_mutex_lock(&log->lock);
    *offset = place_of(segment, sequence);
    *end = segment->end;
    *last = segment->last;
    pthread_mutex_unlock(&log->lock);
}

void weir_log_unpin(struct weir_log *log, struct weir_segment *segment)
{
    struct weir_segment *oldest;

    pthread_mutex_lock(&log->lock);
    segment->pins--;
    oldest = begin_trimming_locked(log); /* it may have waited for this */
    pthread_mutex_unlock(&log->lock);
    retire_all(log, oldest);
}

int weir_log_sync_appended(struct weir_log *log, struct weir_error *error)
{
    struct weir_segment *last = NULL;
    int status = 0;

    /* All older segments were synced when the next one was begun. An empty one may be replaced. */
    pthread_mutex_lock(&log->lock);
    if (log->segment_count > 0)
        last = log->segments[log->segment_count - 1];
    if (last != NULL && last->fd >= 0 && last->last >= last->first)
        last->pins++;
    else
        last = NULL;
    pthread_mutex_unlock(&log->lock);
    if (last == NULL)
        return 0;
    if (log->io->fdatasync(log->io, last->fd) != 0) {
        char *path = weir_log_segment_path(log, last->first);

        status = weir_io_error(error, errno, "sync", path);
        atomic_store(&log->unsynced, true);
        free(path);
    }
    atomic_fetch_add_explicit(&log->syncs, 1, memory_order_relaxed);
    weir_log_unpin(log, last);
    return status;
}
