/* The files of the log as a start finds them: which there are, and whether each is what its name
 * says. */
#include "log.h"

#include <base/alloc.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool parse_segment_name(const char *name, uint64_t *first)
{
    uint64_t value = 0;

    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(name[i] - '0'), &value))
            return false;
    }
    *first = value;
    return strcmp(name + 20, ".seg") == 0;
}

static bool parse_spare_name(const char *name, uint64_t *number)
{
    char *end;

    if (strncmp(name, "spare-", 6) != 0)
        return false;
    errno = 0;
    *number = strtoull(name + 6, &end, 10);
    return errno == 0 && end != name + 6 && strcmp(end, ".seg") == 0;
}

static bool is_unfinished(const char *name)
{
    size_t length = strlen(name);

    return length == 24 && strcmp(name + 20, ".new") == 0;
}

static void remove_file(struct weir_log *log, const char *name)
{
    char *path = weir_asprintf("%s/%s", log->directory, name);

    if (log->io->unlink(log->io, path) != 0)
        weir_log(WEIR_LOG_WARNING, "cannot remove %s, which is not needed: %s", path,
                 strerror(errno));
    free(path);
}

/* A spare of another size than today's segments is of no use. */
static void adopt_spare(struct weir_log *log, const char *name, uint64_t number)
{
    char *path = weir_asprintf("%s/%s", log->directory, name);
    struct stat status;
    bool fits = log->io->stat(log->io, path, &status) == 0 &&
                (uint64_t)status.st_size == log->segment_bytes;

    if (fits && log->spare_count < WEIR_SPARE_SEGMENTS_MAX)
        weir_log_add_spare(log, number);
    else
        remove_file(log, name);
    free(path);
}

static int compare_firsts(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static void see_segment(void *arg, const char *name)
{
    bool *seen = arg;
    uint64_t number;

    *seen = *seen || parse_segment_name(name, &number);
}

bool weir_log_exists(const struct weir_io *io, const char *spool_directory)
{
    char *path = weir_asprintf("%s/log", spool_directory);
    bool seen = false;

    io->list(io, path, see_segment, &seen);
    free(path);
    return seen;
}

struct listing_log {
    struct weir_log *log;
    struct weir_listing *listing;
};

static void take_name(void *arg, const char *name)
{
    struct listing_log *both = arg;
    struct weir_listing *listing = both->listing;
    uint64_t number;

    if (parse_segment_name(name, &number)) {
        listing->firsts =
            weir_realloc(listing->firsts, listing->count + 1, sizeof *listing->firsts);
        listing->firsts[listing->count++] = number;
    } else if (parse_spare_name(name, &number)) {
        adopt_spare(both->log, name, number);
    } else if (is_unfinished(name)) {
        remove_file(both->log, name);
    }
}

int weir_log_list(struct weir_log *log, struct weir_listing *listing, struct weir_error *error)
{
    struct listing_log both = {log, listing};

    if (log->io->list(log->io, log->directory, take_name, &both) != 0)
        return weir_io_error(error, errno, "list", log->directory);
    if (listing->count > 1)
        qsort(listing->firsts, listing->count, sizeof *listing->firsts, compare_firsts);
    return 0;
}

static int check_header(const struct weir_log *log, uint64_t first, const char *path,
                        const uint8_t *page, struct weir_segment_header *header,
                        struct weir_error *error)
{
    struct weir_error why;
    int status = weir_segment_header_decode(page, header, &why);

    if (status == WEIR_EDAMAGED)
        return weir_error_set(error, status,
                              "%s: %s; its messages begin at %" PRIu64
                              ". Move the file out of the directory to start without it",
                              path, why.text, first);
    if (status != 0)
        return weir_error_set(error, status, "%s: %s", path, why.text);
    if (memcmp(header->uuid, log->uuid, sizeof header->uuid) != 0 || header->tag != log->tag)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s belongs to another spool (its tag is %u); move it back there",
                              path, header->tag);
    if (header->first != first || first == 0 || first > INT64_MAX)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s: its header says that it begins at %" PRIu64
                              "; give the file its own name back",
                              path, header->first);
    return 0;
}

int weir_log_open_segment(const struct weir_log *log, uint64_t first,
                          struct weir_segment_header *header, struct weir_segment **segment,
                          struct weir_error *error)
{
    char *path = weir_log_segment_path(log, first);
    uint8_t *page = weir_zalloc(1, WEIR_SEGMENT_HEADER_BYTES);
    int fd = log->io->open(log->io, path, O_RDWR);
    struct stat file;
    int status;

    if (fd < 0 || log->io->stat(log->io, path, &file) != 0) {
        status = weir_io_error(error, errno, "open", path);
        goto cleanup;
    }
    /* A file that is too short has zeroes for a header, and that is said. */
    if (weir_io_read(log->io, fd, page, WEIR_SEGMENT_HEADER_BYTES, 0) < 0) {
        status = weir_io_error(error, errno, "read", path);
        goto cleanup;
    }
    status = check_header(log, first, path, page, header, error);
    if (status != 0)
        goto cleanup;
    *segment = weir_segment_new(first, (uint64_t)file.st_size, header->salt);
    (*segment)->fd = fd;
    fd = -1;
cleanup:
    if (fd >= 0)
        log->io->close(log->io, fd);
    free(page);
    free(path);
    return status;
}
