/* Finding the truth in the log's files.
 *
 * Every record that the state may not have absorbed is looked at; of a segment wholly below that,
 * only the header, and the rest when it is first read (log_survey.c), so that a start takes as long
 * with a great backlog as with none. The certified mark of the log is the highest one that any
 * header bears: what lies at or below it was synced once. So a bad place
 *   - below the mark is damage: kept aside, reported, and left out from now on;
 *   - above it is where a crash cut the log off: it ends there.
 * Good records above the mark may live in the page cache only, and nobody can tell whether the disk
 * has them. They are written anew into a fresh segment, which is synced before the log is used. */
#include "log_survey.h"

#include <base/alloc.h>
#include <base/canary.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct recovery {
    struct weir_log *log;
    struct weir_survey survey;
    struct weir_error *error;
    uint64_t absorbed;
    struct weir_listing listing;
    struct weir_segment_header *headers; /* of each */
    struct weir_segment *segment;        /* the one being taken */
};

/* --- the records above the mark ------------------------------------------------------------ */

/* Where the first record above the mark begins. */
static int find_uncertified(struct recovery *recovery, uint64_t *offset, uint64_t *first,
                            uint64_t *before)
{
    struct weir_segment *segment = recovery->segment;
    struct weir_record_header header;

    *offset = WEIR_SEGMENT_HEADER_BYTES;
    *before = segment->first - 1;
    weir_window_set(&recovery->survey.window, segment->fd, segment->salt, segment->end);
    while (*offset < segment->end) {
        *offset = weir_segment_skip_hole(segment, *offset);
        if (weir_look_header(&recovery->survey.window, *offset, &header) != WEIR_LOOK_GOOD)
            break;
        *first = header.first;
        if (header.count > 0 && weir_record_last(&header) > recovery->survey.mark)
            return 0;
        *before = weir_record_last(&header);
        *offset += weir_record_bytes(&header);
    }
    return weir_error_set(recovery->error, WEIR_EDAMAGED,
                          "the segment beginning at %" PRIu64
                          " changes while it is read; check the disk",
                          segment->first);
}

/* Append the record at `offset` of the old segment to the log's active one. */
static int write_anew(struct recovery *recovery, uint64_t offset,
                      const struct weir_record_header *header, const uint8_t *bytes)
{
    struct weir_record record = {
        .first = header->first,
        .count = header->count,
        .time_ms = header->time_ms,
        .skip_count = header->skip_count,
    };
    struct weir_append append = {.record = &record};
    const uint8_t *at = bytes + WEIR_RECORD_HEADER_BYTES;
    int status;

    record.skips = weir_alloc(header->skip_count * sizeof *record.skips);
    if (!weir_skips_decode(at, header->skip_count, header->count, record.skips)) {
        free(record.skips);
        return weir_error_set(recovery->error, WEIR_EDAMAGED,
                              "the record at offset %" PRIu64
                              " of the segment beginning at %" PRIu64
                              " has an impossible list of skipped messages",
                              offset, recovery->segment->first);
    }
    at += (size_t)header->skip_count * WEIR_SKIP_BYTES;
    record.header = weir_bytes_borrow(at, header->header_bytes);
    at += header->header_bytes;
    record.index = weir_bytes_borrow(at, header->index_bytes);
    at += header->index_bytes;
    record.body = weir_bytes_borrow(at, header->body_bytes);
    weir_log_append(recovery->log, &append, 1, false);
    status = append.status;
    if (status != 0)
        *recovery->error = append.error;
    free(record.skips);
    return status;
}

static int copy_records(struct recovery *recovery, uint64_t offset)
{
    struct weir_segment *segment = recovery->segment;

    while (offset < segment->end) {
        struct weir_record_header header;
        const uint8_t *bytes;
        int status;

        if (weir_look_record(&recovery->survey.window, offset, &header) != WEIR_LOOK_GOOD)
            return weir_error_set(recovery->error, WEIR_EDAMAGED,
                                  "the segment beginning at %" PRIu64
                                  " changes while it is read; check the disk",
                                  segment->first);
        bytes = weir_window_at(&recovery->survey.window, offset,
                               (size_t)weir_record_content_bytes(&header));
        if (header.count > 0 &&
            !(WEIR_CANARY(RECOVERY_SKIPS_RECORD) && weir_record_last(&header) == segment->last)) {
            status = write_anew(recovery, offset, &header, bytes);
            if (status != 0)
                return status;
        }
        offset += weir_record_bytes(&header);
    }
    if (weir_log_sync(recovery->log) != 0) {
        *recovery->error = recovery->log->failure;
        return recovery->error->code;
    }
    return 0;
}

/* Write the good records above the mark into a fresh segment; the old one ends before them. When
 * there is nothing else in the old one, the fresh one takes its name and its place. */
static int secure_uncertified(struct recovery *recovery)
{
    struct weir_log *log = recovery->log;
    struct weir_segment *old = recovery->segment;
    uint64_t offset, first = 0, before;
    bool replaces;
    int status = find_uncertified(recovery, &offset, &first, &before);

    if (status != 0)
        return status;
    replaces = before < old->first;
    if (replaces)
        first = old->first;
    log->certified = recovery->survey.mark < first ? recovery->survey.mark : first - 1;
    log->next_sequence = first;
    status = weir_log_begin_segment(
        log, first, WEIR_SEGMENT_HEADER_BYTES + (old->end - offset) + WEIR_RECORD_HEADER_BYTES,
        false, recovery->error);
    if (status != 0)
        return status;
    status = copy_records(recovery, offset);
    if (status != 0) {
        weir_segment_destroy(log, &log->active);
        return status;
    }
    old->end = offset;
    old->last = before;
    log->io->close(log->io, old->fd);
    old->fd = -1;
    if (replaces)
        weir_segment_destroy(recovery->log, &recovery->segment);
    else
        weir_log_add_segment(log, old);
    recovery->segment = NULL;
    return weir_log_publish_segment(log, recovery->error);
}

/* --- all of it ----------------------------------------------------------------------------- */

static int take_last_segment(struct recovery *recovery)
{
    struct weir_log *log = recovery->log;
    struct weir_segment *segment = recovery->segment;
    const struct weir_bad_place *cut;
    int status = weir_survey_judge(&recovery->survey, UINT64_MAX, &cut);

    if (status != 0)
        return status;
    if (cut != NULL)
        weir_survey_cut_off(&recovery->survey, cut);
    if (segment->last > recovery->survey.mark && segment->last >= segment->first &&
        !WEIR_CANARY(UNCERTIFIED_NOT_REWRITTEN))
        return secure_uncertified(recovery);
    log->active = segment;
    log->write_end = segment->end;
    log->next_sequence = segment->last + 1;
    log->certified = recovery->survey.mark;
    log->marked = recovery->survey.mark;
    log->next_place = segment->place_count > 0
                          ? segment->places[segment->place_count - 1].offset + WEIR_INDEX_STEP_BYTES
                          : WEIR_SEGMENT_HEADER_BYTES;
    log->crc = recovery->survey.crc;
    weir_log_add_segment(log, segment);
    recovery->segment = NULL;
    return 0;
}

static int take_segment(struct recovery *recovery, uint32_t at)
{
    bool is_last = at + 1 == recovery->listing.count;
    uint64_t limit = is_last ? UINT64_MAX : recovery->headers[at + 1].certified;
    const struct weir_bad_place *cut;
    int status = 0;

    if (!is_last && limit <= recovery->absorbed && limit >= recovery->segment->first) {
        recovery->segment->last = limit;
        recovery->segment->end = recovery->segment->bytes;
        recovery->segment->unsurveyed = true;
    } else {
        status = weir_survey_scan(&recovery->survey, recovery->segment, limit);
        if (status == 0 && is_last)
            return take_last_segment(recovery);
        if (status == 0)
            status = weir_survey_judge(&recovery->survey, limit, &cut);
    }
    if (status != 0)
        return status;
    recovery->log->io->close(recovery->log->io, recovery->segment->fd);
    recovery->segment->fd = -1;
    weir_log_add_segment(recovery->log, recovery->segment);
    recovery->segment = NULL;
    return 0;
}

static int open_segment(struct recovery *recovery, uint32_t at, struct weir_segment **segment)
{
    struct weir_segment_header *header = &recovery->headers[at];
    int status = weir_log_open_segment(recovery->log, recovery->listing.firsts[at], header, segment,
                                       recovery->error);

    if (status == 0 && header->certified > recovery->survey.mark)
        recovery->survey.mark = header->certified;
    return status;
}

/* The header of the next segment is needed before this one is judged, so look one ahead. */
static int take_segments(struct recovery *recovery)
{
    struct weir_segment *ahead = NULL;
    int status = 0;

    recovery->headers = weir_zalloc(recovery->listing.count, sizeof *recovery->headers);
    if (recovery->listing.count > 0)
        status = open_segment(recovery, 0, &ahead);
    for (uint32_t i = 0; i < recovery->listing.count && status == 0; i++) {
        recovery->segment = ahead;
        ahead = NULL;
        if (i + 1 < recovery->listing.count)
            status = open_segment(recovery, i + 1, &ahead);
        if (status == 0)
            status = take_segment(recovery, i);
    }
    if (ahead != NULL)
        weir_segment_destroy(recovery->log, &ahead);
    if (recovery->segment != NULL)
        weir_segment_destroy(recovery->log, &recovery->segment);
    return status;
}

/* The state absorbs nothing before it is synced. So where it speaks of messages behind the log's
 * end, somebody or something has cut the log off, and no mark in it is left to tell. */
static void report_lost_end(struct recovery *recovery)
{
    const uint64_t absorbed = recovery->absorbed;
    const struct weir_log *log = recovery->log;
    const struct weir_segment *last =
        log->segment_count > 0 ? log->segments[log->segment_count - 1] : NULL;
    char *path;

    if (last == NULL || log->next_sequence > absorbed)
        return;
    path = weir_log_segment_path(log, last->first);
    weir_survey_tell(
        &recovery->survey,
        weir_asprintf("%s ends after message %" PRIu64 ", but messages up to %" PRIu64
                      " were accepted: the file was cut off, or is an older copy. Those of them "
                      "that were not finished can no longer be delivered; put the whole file back "
                      "before the next start, if you have it",
                      path, log->next_sequence - 1, absorbed));
    free(path);
}

static struct weir_log *log_new(const struct weir_log_config *config)
{
    struct weir_log *log = weir_zalloc(1, sizeof *log);

    log->io = config->io;
    log->directory = weir_asprintf("%s/log", config->directory);
    log->damaged = weir_asprintf("%s/damaged", config->directory);
    memcpy(log->uuid, config->uuid, sizeof log->uuid);
    log->tag = config->tag;
    log->segment_bytes = config->segment_bytes;
    log->next_sequence = 1;
    log->gather = weir_gather_new();
    pthread_mutex_init(&log->lock, NULL);
    atomic_init(&log->other_bytes, 0);
    atomic_init(&log->wanted_bytes, 0);
    atomic_init(&log->unsynced, false);
    return log;
}

static uint64_t oldest_sequence(const struct weir_log *log)
{
    for (uint32_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i]->unsurveyed)
            return log->segments[i]->first;
        if (log->segments[i]->place_count > 0)
            return log->segments[i]->places[0].sequence;
    }
    return 0;
}

int weir_log_open(const struct weir_log_config *config, uint64_t absorbed, uint64_t next_sequence,
                  struct weir_log **self, uint64_t *oldest, char **damage, struct weir_error *error)
{
    struct weir_log *log = log_new(config);
    struct recovery recovery = {
        .log = log, .survey = {.log = log, .error = error}, .error = error, .absorbed = absorbed};
    int status;

    weir_window_init(&recovery.survey.window, config->io, WEIR_SURVEY_STEP_BYTES);
    status = weir_io_make_directory(log->io, log->directory, error);
    /* Names that the last process gave may not be on the disk yet, and what is appended to their
     * files would be lost with them. */
    if (status == 0 && weir_io_sync_directory(log->io, log->directory) != 0)
        status = weir_io_error(error, errno, "sync the directory", log->directory);
    if (status == 0)
        status = weir_log_list(log, &recovery.listing, error);
    if (status == 0)
        status = take_segments(&recovery);
    if (status == 0) {
        report_lost_end(&recovery);
        log->state_next = next_sequence;
        log->readable = log->segment_count > 0 ? log->next_sequence - 1 : 0;
        log->bytes_max = config->bytes_max; /* not before: recovery may go over it */
        *oldest = oldest_sequence(log);
        *damage = recovery.survey.report;
        recovery.survey.report = NULL;
        *self = log;
    } else {
        weir_log_abandon(&log);
    }
    weir_survey_fini(&recovery.survey);
    free(recovery.listing.firsts);
    free(recovery.headers);
    return status;
}
