/* Reading: a sequence is found through the segments' names, their sparse index and a walk over the
 * headers of at most a MiB; whoever reads on finds a cursor where it left off. A block is read once
 * and the records point into it. */
#include "log_survey.h"

#include <base/alloc.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WALK_STEP_BYTES 16384u

/* Groups read at different places: each finds its own. */
struct cursor {
    uint64_t sequence; /* the next record is the first one at or above it */
    uint64_t segment;  /* its name */
    uint32_t salt;
    uint64_t offset;
};

struct weir_log_reader {
    struct weir_log *log;
    struct weir_window window;
    struct cursor cursors[WEIR_READ_CURSORS];
    uint32_t next_cursor;
    uint64_t tick;
};

/* What one READ has so far. */
struct reading {
    struct weir_log_reader *reader;
    uint64_t sequence; /* wanted next */
    uint64_t readable; /* the last one to be seen */
    uint64_t bytes_left;
    struct weir_record *records;
    uint32_t count;
    uint32_t capacity;
    struct weir_error *error;
};

struct weir_log_reader *weir_log_reader_new(struct weir_log *log)
{
    struct weir_log_reader *reader = weir_zalloc(1, sizeof *reader);

    reader->log = log;
    weir_window_init(&reader->window, log->io, WALK_STEP_BYTES);
    return reader;
}

void weir_log_reader_destroy(struct weir_log_reader **self)
{
    if (*self == NULL)
        return;
    weir_window_fini(&(*self)->window);
    free(*self);
    *self = NULL;
}

/* --- files --------------------------------------------------------------------------------- */

/* Close what was not read for longest, when too many are open. */
static void close_one(struct weir_log *log)
{
    struct weir_segment *oldest = NULL;
    uint32_t open = 0;

    for (uint32_t i = 0; i < log->segment_count; i++) {
        struct weir_segment *segment = log->segments[i];

        if (segment->fd < 0 || i + 1 == log->segment_count)
            continue;
        open++;
        if (segment->pins == 0 && (oldest == NULL || segment->read_tick < oldest->read_tick))
            oldest = segment;
    }
    if (open >= WEIR_OPEN_SEGMENTS_MAX && oldest != NULL) {
        log->io->close(log->io, oldest->fd);
        oldest->fd = -1;
    }
}

/* The pinned segment's file is open after this, and what is in it known. Nobody else opens files of
 * segments that are not active. */
static int open_file(struct reading *reading, struct weir_segment *segment)
{
    struct weir_log *log = reading->reader->log;
    int fd, status = 0;

    pthread_mutex_lock(&log->lock);
    segment->read_tick = ++reading->reader->tick;
    fd = segment->fd;
    if (fd < 0)
        close_one(log);
    pthread_mutex_unlock(&log->lock);
    if (fd < 0) {
        char *path = weir_log_segment_path(log, segment->first);

        fd = log->io->open(log->io, path, O_RDONLY);
        if (fd < 0)
            status = weir_io_error(reading->error, errno, "open", path);
        free(path);
        pthread_mutex_lock(&log->lock);
        segment->fd = fd;
        pthread_mutex_unlock(&log->lock);
    }
    if (status == 0 && segment->unsurveyed)
        status = weir_survey_late(log, segment, reading->error);
    return status;
}

static int read_error(struct reading *reading, const struct weir_segment *segment)
{
    char *path = weir_log_segment_path(reading->reader->log, segment->first);
    int status = weir_io_error(reading->error, errno, "read", path);

    free(path);
    return status;
}

/* --- damage found while running ------------------------------------------------------------ */

/* Go on behind a place that is not as it was written. *offset: the next good record, or `end`. */
static int skip_damage(struct reading *reading, struct weir_segment *segment, uint64_t end,
                       uint64_t *offset)
{
    struct weir_log *log = reading->reader->log;
    struct weir_window *window = &reading->reader->window;
    struct weir_record_header header;
    uint64_t from = *offset, search = from + WEIR_RECORD_ALIGN, found = end;
    enum weir_look look;

    weir_window_set(window, segment->fd, segment->salt, end);
    if (weir_look_header(window, from, &header) == WEIR_LOOK_GOOD &&
        weir_record_bytes(&header) <= end - from)
        search = from + weir_record_bytes(&header);
    look = weir_look_for_record(window, search, 0, &found, &header);
    if (look == WEIR_LOOK_ERROR)
        return read_error(reading, segment);
    weir_log(WEIR_LOG_ERROR,
             "%s/%020" PRIu64 ".seg: %" PRIu64 " bytes at offset %" PRIu64
             " are damaged and left out; check the disk, the next start keeps them aside and says "
             "which messages they held",
             log->directory, segment->first, found - from, from);
    pthread_mutex_lock(&log->lock);
    weir_segment_add_hole(segment, from, found);
    pthread_mutex_unlock(&log->lock);
    *offset = found;
    return 0;
}

/* --- finding ------------------------------------------------------------------------------- */

static void use_cursor(const struct weir_log_reader *reader, uint64_t sequence,
                       const struct weir_segment *segment, uint64_t *offset)
{
    for (uint32_t i = 0; i < WEIR_READ_CURSORS; i++) {
        const struct cursor *cursor = &reader->cursors[i];

        if (cursor->sequence == sequence && cursor->segment == segment->first &&
            cursor->salt == segment->salt && cursor->offset > *offset)
            *offset = cursor->offset;
    }
}

static void leave_cursor(struct weir_log_reader *reader, const struct weir_segment *segment,
                         uint64_t began_at, uint64_t sequence, uint64_t offset)
{
    struct cursor *cursor = NULL;

    for (uint32_t i = 0; i < WEIR_READ_CURSORS && cursor == NULL; i++) {
        if (reader->cursors[i].sequence == began_at || reader->cursors[i].sequence == sequence)
            cursor = &reader->cursors[i];
    }
    if (cursor == NULL)
        cursor = &reader->cursors[reader->next_cursor++ % WEIR_READ_CURSORS];
    *cursor = (struct cursor){sequence, segment->first, segment->salt, offset};
}

/* Walk to the record that holds `sequence`, or the next. *offset becomes `end` when there is none.
 * *size: of the record; 0: it is there, but not to be seen yet. */
static int walk(struct reading *reading, struct weir_segment *segment, uint64_t end,
                uint64_t *offset, uint64_t *size)
{
    struct weir_window *window = &reading->reader->window;

    weir_window_set(window, segment->fd, segment->salt, end);
    while (*offset < end) {
        struct weir_record_header header;
        enum weir_look look;
        int status;

        *offset = weir_segment_skip_hole(segment, *offset);
        if (*offset >= end)
            break;
        look = weir_look_header(window, *offset, &header);
        if (look == WEIR_LOOK_ERROR)
            return read_error(reading, segment);
        if (look != WEIR_LOOK_GOOD || weir_record_bytes(&header) > end - *offset) {
            status = skip_damage(reading, segment, end, offset);
            if (status != 0)
                return status;
            continue;
        }
        if (header.count > 0 && weir_record_last(&header) >= reading->sequence) {
            *size = weir_record_last(&header) <= reading->readable
                        ? weir_record_content_bytes(&header)
                        : 0;
            return 0;
        }
        *offset += weir_record_bytes(&header);
    }
    *offset = end;
    return 0;
}

/* --- reading ------------------------------------------------------------------------------- */

static bool push_record(struct reading *reading, const struct weir_record_header *header,
                        const struct weir_bytes *block, size_t at)
{
    struct weir_record record = {.first = header->first,
                                 .count = header->count,
                                 .time_ms = header->time_ms,
                                 .skip_count = header->skip_count};

    at += WEIR_RECORD_HEADER_BYTES;
    if (header->skip_count > 0) {
        record.skips = weir_alloc(header->skip_count * sizeof *record.skips);
        if (!weir_skips_decode(block->data + at, header->skip_count, header->count, record.skips)) {
            free(record.skips);
            return false;
        }
    }
    at += (size_t)header->skip_count * WEIR_SKIP_BYTES;
    record.header = weir_bytes_cut(block, at, header->header_bytes);
    at += header->header_bytes;
    record.index = weir_bytes_cut(block, at, header->index_bytes);
    at += header->index_bytes;
    record.body = weir_bytes_cut(block, at, header->body_bytes);
    if (reading->count == reading->capacity) {
        reading->capacity = reading->capacity > 0 ? 2 * reading->capacity : 8;
        reading->records =
            weir_realloc(reading->records, reading->capacity, sizeof *reading->records);
    }
    reading->records[reading->count++] = record;
    return true;
}

/* Take the records of a block that begins at `offset`. *offset: behind the last one taken. Returns
 * false when the reading has all it may have. */
static bool take_records(struct reading *reading, const struct weir_segment *segment,
                         const struct weir_bytes *block, uint64_t *offset, bool *damaged)
{
    size_t at = 0;

    *damaged = false;
    while (block->size - at >= WEIR_RECORD_HEADER_BYTES) {
        struct weir_record_header header;
        const uint8_t *bytes = block->data + at;
        uint64_t content;
        uint32_t crc;

        if (weir_segment_skip_hole(segment, *offset) != *offset)
            return true;
        *damaged = !weir_record_header_decode(bytes, segment->salt, &header);
        if (*damaged)
            return true;
        content = weir_record_content_bytes(&header);
        if (header.count > 0 && (weir_record_last(&header) > reading->readable ||
                                 (reading->count > 0 && content > reading->bytes_left)))
            return false;
        if (content > block->size - at)
            return true;
        crc = weir_record_header_crc(bytes, header.seed);
        crc = weir_crc32c(crc, bytes + WEIR_RECORD_HEADER_BYTES,
                          (size_t)content - WEIR_RECORD_HEADER_BYTES);
        *damaged =
            crc != header.crc || (header.count > 0 && !push_record(reading, &header, block, at));
        if (*damaged)
            return true;
        if (header.count > 0) {
            reading->sequence = weir_record_last(&header) + 1;
            reading->bytes_left -= content < reading->bytes_left ? content : reading->bytes_left;
        }
        *offset += weir_record_bytes(&header);
        if (weir_record_bytes(&header) > block->size - at)
            return true;
        at += (size_t)weir_record_bytes(&header);
    }
    return true;
}

/* Read on in one segment. *more: it is at its end and the reading may go on in the next. */
static int read_segment(struct reading *reading, struct weir_segment *segment, bool *more)
{
    struct weir_log *log = reading->reader->log;
    uint64_t began_at = reading->sequence, offset, end, last, size = 0;
    int status = open_file(reading, segment);

    *more = true;
    if (status != 0)
        return status;
    weir_log_extent(log, segment, reading->sequence, &offset, &end, &last);
    use_cursor(reading->reader, reading->sequence, segment, &offset);
    while (*more && offset < end) {
        uint64_t wanted;
        struct weir_bytes block;
        uint8_t *data;
        bool damaged;

        status = walk(reading, segment, end, &offset, &size);
        if (status != 0 || offset == end)
            break;
        if (size == 0 || (reading->count > 0 && size > reading->bytes_left)) {
            *more = false;
            break;
        }
        wanted = reading->bytes_left < WEIR_READ_BLOCK_BYTES ? reading->bytes_left
                                                             : WEIR_READ_BLOCK_BYTES;
        if (wanted < size)
            wanted = size;
        if (wanted > end - offset)
            wanted = end - offset;
        block = weir_bytes_new((size_t)wanted, &data);
        if (weir_io_read(log->io, segment->fd, data, (size_t)wanted, offset) <= 0) {
            weir_bytes_drop(&block);
            status = read_error(reading, segment);
            break;
        }
        *more = take_records(reading, segment, &block, &offset, &damaged);
        weir_bytes_drop(&block);
        if (damaged)
            status = skip_damage(reading, segment, end, &offset);
        if (status != 0)
            break;
    }
    if (reading->count > 0)
        leave_cursor(reading->reader, segment, began_at, reading->sequence, offset);
    /* Whatever else it had is damaged: go on behind it. */
    if (*more && reading->sequence <= last)
        reading->sequence = last + 1;
    return status;
}

int weir_log_read(struct weir_log_reader *reader, uint64_t sequence, uint32_t bytes_max,
                  struct weir_record **records, uint32_t *count, struct weir_error *error)
{
    struct reading reading = {
        .reader = reader, .sequence = sequence, .bytes_left = bytes_max, .error = error};
    bool more = true;
    int status = 0;

    while (more && status == 0) {
        struct weir_segment *segment =
            weir_log_pin(reader->log, reading.sequence, &reading.readable);

        if (segment == NULL)
            break;
        status = read_segment(&reading, segment, &more);
        weir_log_unpin(reader->log, segment);
    }
    if (status != 0) {
        for (uint32_t i = 0; i < reading.count; i++)
            weir_record_fini(&reading.records[i]);
        free(reading.records);
        return status;
    }
    *records = reading.records;
    *count = reading.count;
    return 0;
}
