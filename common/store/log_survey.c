/* Going through a segment's records, and telling damage from where the log ends. */
#include "log_survey.h"

#include <base/alloc.h>
#include <base/canary.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#define DAMAGE_REPORTED_MAX 20u

void weir_survey_fini(struct weir_survey *survey)
{
    weir_window_fini(&survey->window);
    free(survey->bad);
    free(survey->report);
}

/* --- one segment --------------------------------------------------------------------------- */

static void add_bad_place(struct weir_survey *survey, uint64_t from, uint64_t to, uint64_t next)
{
    survey->bad = weir_realloc(survey->bad, survey->bad_count + 1, sizeof *survey->bad);
    survey->bad[survey->bad_count++] =
        (struct weir_bad_place){.from = from,
                                .to = to,
                                .after = survey->segment->last,
                                .next = next,
                                .crc = survey->crc,
                                .place_count = survey->segment->place_count};
}

static void take_record(struct weir_survey *survey, uint64_t offset,
                        const struct weir_record_header *header)
{
    struct weir_segment *segment = survey->segment;

    if (segment->place_count == 0 ||
        offset - segment->places[segment->place_count - 1].offset >= WEIR_INDEX_STEP_BYTES)
        weir_segment_add_place(segment, header->first, offset);
    /* A mark stands at the number that would have come next, which may lie behind a gap. */
    if (header->count > 0 || weir_record_last(header) <= header->certified)
        segment->last = weir_record_last(header);
    segment->end = offset + weir_record_bytes(header);
    survey->crc = header->crc;
    if (header->certified > survey->mark)
        survey->mark = header->certified;
}

/* Where the record behind a bad place begins. */
static enum weir_look look_behind(struct weir_survey *survey, enum weir_look what, uint64_t offset,
                                  struct weir_record_header *header, uint64_t *found)
{
    struct weir_segment *segment = survey->segment;
    uint64_t from = offset + WEIR_RECORD_ALIGN;

    /* A header that can be trusted says how far the damage can reach. */
    if (what == WEIR_LOOK_BAD_BODY && offset + weir_record_bytes(header) <= segment->bytes)
        from = offset + weir_record_bytes(header);
    return weir_look_for_record(&survey->window, from, segment->last, found, header);
}

int weir_survey_scan(struct weir_survey *survey, struct weir_segment *segment, uint64_t limit)
{
    uint64_t offset = WEIR_SEGMENT_HEADER_BYTES;

    survey->segment = segment;
    weir_window_set(&survey->window, segment->fd, segment->salt, segment->bytes);
    survey->bad_count = 0;
    survey->crc = segment->salt;
    while (segment->last < limit) {
        struct weir_record_header header;
        enum weir_look look = weir_look_record(&survey->window, offset, &header);

        if (look == WEIR_LOOK_GOOD &&
            (header.seed != survey->crc || header.first <= segment->last) &&
            !WEIR_CANARY(STALE_RECORD_ACCEPTED))
            look = WEIR_LOOK_BAD_BODY;
        if (look == WEIR_LOOK_NONE || look == WEIR_LOOK_BAD_BODY) {
            uint64_t from = offset;

            look = look_behind(survey, look, from, &header, &offset);
            if (look == WEIR_LOOK_NONE) {
                add_bad_place(survey, from, segment->bytes, 0);
                return 0;
            }
            if (look == WEIR_LOOK_GOOD)
                add_bad_place(survey, from, offset, header.first);
        }
        if (look == WEIR_LOOK_ERROR) {
            char *path = weir_log_segment_path(survey->log, segment->first);
            int status = weir_io_error(survey->error, errno, "read", path);

            free(path);
            return status;
        }
        if (weir_record_last(&header) > limit)
            return 0;
        take_record(survey, offset, &header);
        offset += weir_record_bytes(&header);
    }
    return 0;
}

/* --- damage -------------------------------------------------------------------------------- */

static int copy_range(struct weir_survey *survey, uint64_t from, uint64_t to, int fd)
{
    uint64_t written = 0;

    while (from < to) {
        size_t size =
            to - from < WEIR_SURVEY_STEP_BYTES ? (size_t)(to - from) : WEIR_SURVEY_STEP_BYTES;
        const uint8_t *data = weir_window_at(&survey->window, from, size);
        struct iovec iov = {(void *)(uintptr_t)data, size};

        if (data == NULL || weir_io_write(survey->log->io, fd, &iov, 1, written) != 0)
            return -1;
        from += size;
        written += size;
    }
    return survey->log->io->fsync(survey->log->io, fd);
}

/* An earlier start, or an earlier look, may have kept these bytes, and then they are no worse than
 * what can be read today. Only where there was less damage then they are kept anew. */
static bool is_kept(const struct weir_io *io, const struct weir_bad_place *bad, const char *path)
{
    struct stat file;

    return io->stat(io, path, &file) == 0 && (uint64_t)file.st_size >= bad->to - bad->from;
}

/* Under another name, until all of it is on the disk: a failure must not cost what is there. */
static int copy_aside(struct weir_survey *survey, const struct weir_bad_place *bad,
                      const char *path)
{
    const struct weir_io *io = survey->log->io;
    char *part = weir_asprintf("%s.part", path);
    int fd = io->open(io, part, O_WRONLY | O_CREAT | O_TRUNC);
    int status = 0;

    if (fd < 0) {
        status = weir_io_error(survey->error, errno, "make", part);
    } else {
        if (copy_range(survey, bad->from, bad->to, fd) != 0)
            status = weir_io_error(survey->error, errno, "keep damaged bytes in", part);
        io->close(io, fd);
        if (status == 0 && io->rename(io, part, path) != 0)
            status = weir_io_error(survey->error, errno, "rename", part);
        if (status != 0)
            io->unlink(io, part);
    }
    free(part);
    return status;
}

/* Keep the damaged bytes where nothing is ever written over them. */
static int keep_aside(struct weir_survey *survey, const struct weir_bad_place *bad,
                      const char *path)
{
    const struct weir_io *io = survey->log->io;
    int status = weir_io_make_directory(io, survey->log->damaged, survey->error);

    if (status == 0 && !is_kept(io, bad, path))
        status = copy_aside(survey, bad, path);
    if (status == 0 && weir_io_sync_directory(io, survey->log->damaged) != 0)
        status = weir_io_error(survey->error, errno, "sync", survey->log->damaged);
    return status;
}

void weir_survey_tell(struct weir_survey *survey, char *line)
{
    char *before = survey->report;

    survey->report = before == NULL ? line : weir_asprintf("%s\n%s", before, line);
    if (before != NULL)
        free(line);
    free(before);
}

static void report(struct weir_survey *survey, const struct weir_bad_place *bad, uint64_t last,
                   const char *kept)
{
    const uint32_t before = survey->reported++;

    if (before < DAMAGE_REPORTED_MAX) {
        char *path = weir_log_segment_path(survey->log, survey->segment->first);

        weir_survey_tell(
            survey,
            weir_asprintf("%s: %" PRIu64 " bytes at offset %" PRIu64
                          " are damaged; messages %" PRIu64 " to %" PRIu64
                          " can no longer be delivered from there. The bytes are kept in %s",
                          path, bad->to - bad->from, bad->from, bad->after + 1, last, kept));
        free(path);
    } else if (before == DAMAGE_REPORTED_MAX) {
        weir_survey_tell(survey,
                         weir_asprintf("and more of the same; see %s", survey->log->damaged));
    }
}

int weir_survey_judge(struct weir_survey *survey, uint64_t limit, const struct weir_bad_place **cut)
{
    *cut = NULL;
    for (uint32_t i = 0; i < survey->bad_count; i++) {
        const struct weir_bad_place *bad = &survey->bad[i];
        uint64_t certified = survey->mark < limit ? survey->mark : limit;
        char *kept;
        int status;

        if (bad->after >= certified || WEIR_CANARY(DAMAGE_CUT_OFF)) {
            *cut = bad;
            return 0;
        }
        kept = weir_asprintf("%s/%020" PRIu64 "-%" PRIu64 ".bin", survey->log->damaged,
                             survey->segment->first, bad->from);
        status = keep_aside(survey, bad, kept);
        if (status == 0) {
            report(survey, bad, bad->next != 0 ? bad->next - 1 : certified, kept);
            weir_segment_add_hole(survey->segment, bad->from, bad->to);
        }
        free(kept);
        if (status != 0)
            return status;
        if (bad->next == 0) {
            survey->segment->last = certified;
            survey->segment->end = bad->to;
        }
    }
    return 0;
}

void weir_survey_cut_off(struct weir_survey *survey, const struct weir_bad_place *cut)
{
    survey->segment->last = cut->after;
    survey->segment->end = cut->from;
    survey->segment->place_count = cut->place_count;
    survey->crc = cut->crc;
}

/* --- late ---------------------------------------------------------------------------------- */

/* What was found becomes the segment's, of which the other threads see only `last`. */
static void take_over(struct weir_log *log, struct weir_segment *segment,
                      struct weir_segment *found)
{
    pthread_mutex_lock(&log->lock);
    segment->places = found->places;
    segment->place_count = found->place_count;
    segment->holes = found->holes;
    segment->hole_count = found->hole_count;
    segment->end = found->end;
    segment->unsurveyed = false;
    pthread_mutex_unlock(&log->lock);
    found->places = NULL;
    found->holes = NULL;
}

int weir_survey_late(struct weir_log *log, struct weir_segment *segment, struct weir_error *error)
{
    struct weir_survey survey = {.log = log, .error = error, .mark = UINT64_MAX};
    struct weir_segment *found = weir_segment_new(segment->first, segment->bytes, segment->salt);
    const struct weir_bad_place *cut;
    int status;

    found->fd = segment->fd;
    weir_window_init(&survey.window, log->io, WEIR_SURVEY_STEP_BYTES);
    status = weir_survey_scan(&survey, found, segment->last);
    if (status == 0)
        status = weir_survey_judge(&survey, segment->last, &cut);
    if (survey.report != NULL)
        weir_log(WEIR_LOG_ERROR, "the spool is damaged: %s", survey.report);
    if (status == 0)
        take_over(log, segment, found);
    found->fd = -1;
    weir_segment_destroy(log, &found);
    weir_survey_fini(&survey);
    return status;
}
