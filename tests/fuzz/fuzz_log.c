/* Segments that somebody has been at: parts of files overwritten, copied about, zeroed, files
 * removed and renamed, and the power cut in between. Whatever was done: the log opens, or says what
 * is wrong; no record is given out that was not appended; what is missing was reported; and what is
 * appended afterwards is there after the next start. */
#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <filesystem.h>
#include <outside.h>
#include <stdio.h>
#include <stdlib.h>
#include <store/log.h>
#include <string.h>

#define DIRECTORY SIM_MOUNT "/spool"
#define SEGMENT_BYTES 8192u
#define RECORDS_MAX 64u
#define NEW_RECORDS 3u
#define BODY_BYTES_MAX 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct trial {
    struct sim_filesystem files;
    struct weir_log *log;
    uint64_t last;    /* sequence appended */
    uint64_t trimmed; /* records wholly below it may be gone */
    uint32_t reports; /* lines for the operator */
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct trial *self)
{
    if (self->size == 0)
        return 0;
    self->size--;
    return *self->data++;
}

static void said(void *arg, enum weir_log_level level, const char *text)
{
    struct trial *self = arg;
    WEIR_ASSERT(text[0] != '\0');
    self->reports += level <= WEIR_LOG_WARNING;
}

static size_t body_of(uint64_t sequence, uint8_t body[BODY_BYTES_MAX])
{
    const size_t size = 20 + sequence * 37 % (BODY_BYTES_MAX - 20);
    for (size_t i = 0; i < size; i++)
        body[i] = (uint8_t)(sequence * 131 + i);
    return size;
}

static void append(struct trial *self, uint64_t sequence)
{
    uint8_t body[BODY_BYTES_MAX];
    const size_t size = body_of(sequence, body);
    const struct weir_record record = {.first = sequence,
                                       .count = 1,
                                       .time_ms = 1,
                                       .header = weir_bytes_borrow("header", 6),
                                       .index = weir_bytes_borrow("indx", 4),
                                       .body = weir_bytes_borrow(body, size)};
    struct weir_append one = {.record = &record};
    const int status = weir_log_append(self->log, &one, 1, true);
    WEIR_ASSERT(status == 0 && one.status == 0);
    weir_log_show(self->log);
    self->last = sequence;
}

/* Which of the sequences are there; none is there that was not appended, or other than it was. */
static uint64_t read_all(struct trial *self, uint64_t oldest)
{
    struct weir_log_reader *reader = weir_log_reader_new(self->log);
    uint64_t at = oldest, there = 0;
    for (uint32_t count = 1; count > 0;) {
        struct weir_record *records = NULL;
        struct weir_error error = {0};
        const int status = weir_log_read(reader, at, 1024, &records, &count, &error);
        WEIR_ASSERT(status == 0);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t body[BODY_BYTES_MAX];
            const size_t size = body_of(records[i].first, body);
            WEIR_ASSERT(records[i].first >= at && records[i].first <= self->last);
            WEIR_ASSERT(records[i].count == 1 && weir_bytes_equal(&records[i].body, body, size));
            there += 1;
            at = records[i].first + 1;
            weir_record_fini(&records[i]);
        }
        free(records);
    }
    weir_log_reader_destroy(&reader);
    return there;
}

/* False: it does not open, and said why. */
static bool open_log(struct trial *self, uint64_t *oldest, bool *damaged)
{
    const struct weir_log_config config = {.io = &self->files.io,
                                           .directory = DIRECTORY,
                                           .uuid = "0123456789abcde",
                                           .tag = 7,
                                           .segment_bytes = SEGMENT_BYTES};
    struct weir_error error = {0};
    char *damage = NULL;
    const int status =
        weir_log_open(&config, self->last, self->last + 1, &self->log, oldest, &damage, &error);
    WEIR_ASSERT(status == 0 || error.text[0] != '\0');
    *damaged = damage != NULL;
    free(damage);
    return status == 0;
}

/* ---- what is done to it ---- */

static struct sim_name *pick_file(struct trial *self)
{
    struct sim_name *files[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->files.name_count && count < 64; i++) {
        struct sim_name *name = self->files.names[i];
        if (name->cache && !name->cache->directory && name->cache->size > 0)
            files[count++] = name;
    }
    return count ? files[take(self) % count] : NULL;
}

static uint64_t pick_offset(struct trial *self, const struct sim_name *file)
{
    const uint64_t high = take(self);
    return (high << 8 | take(self)) % file->cache->size;
}

static void overwrite(struct trial *self, const struct sim_name *file, const uint8_t *bytes,
                      size_t size)
{
    const struct weir_io *io = &self->files.io;
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    const uint64_t offset = pick_offset(self, file);
    const int fd = io->open(io, file->path, O_RDWR);
    WEIR_ASSERT(fd >= 0 && weir_io_write(io, fd, &part, 1, offset) == 0 && io->fsync(io, fd) == 0);
    io->close(io, fd);
}

static void mangle(struct trial *self)
{
    const struct weir_io *io = &self->files.io;
    const struct sim_name *file = pick_file(self);
    const uint8_t what = take(self);
    uint8_t bytes[SIM_SECTOR_BYTES] = {0};
    char path[128];
    if (!file)
        return;
    switch (what % 8) {
    case 0:
        (void)io->unlink(io, file->path);
        break;
    case 1:
        snprintf(path, sizeof path, DIRECTORY "/log/%020u.seg", take(self));
        (void)io->rename(io, file->path, path);
        break;
    case 2:
        sim_filesystem_power_cut(&self->files);
        sim_filesystem_reopen(&self->files);
        break;
    case 3: { /* from elsewhere */
        const struct sim_name *from = pick_file(self);
        const int fd = io->open(io, from->path, O_RDONLY);
        WEIR_ASSERT(fd >= 0);
        const ssize_t size = io->pread(io, fd, bytes, 1u + take(self), pick_offset(self, from));
        io->close(io, fd);
        if (size > 0)
            overwrite(self, file, bytes, (size_t)size);
        break;
    }
    case 4:
        overwrite(self, file, bytes, 1u + take(self));
        break;
    default:
        for (uint32_t i = 0; i <= what / 32u; i++)
            bytes[i] = take(self);
        overwrite(self, file, bytes, 1u + what / 32u);
    }
}

/* ---- one trial ---- */

static uint64_t seed_of(const uint8_t *data, size_t size)
{
    uint64_t seed = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++)
        seed = (seed ^ data[i]) * UINT64_C(1099511628211);
    return seed; /* so that no salt is known beforehand, and no checksum can be made to fit */
}

static void make(struct trial *self)
{
    const uint8_t how = take(self);
    const uint64_t count = 1 + take(self) % RECORDS_MAX;
    uint64_t oldest;
    bool damaged;
    const bool open = open_log(self, &oldest, &damaged);
    WEIR_ASSERT(open && !damaged && weir_io_sync_directory(&self->files.io, DIRECTORY) == 0);
    for (uint64_t i = 1; i <= count; i++) {
        append(self, i);
        if (how & 1 && i == count / 2) { /* what follows goes into files that were used before */
            weir_log_trim(self->log, i);
            self->trimmed = i;
        }
    }
    if (how & 2) {
        weir_log_close(&self->log);
    } else {
        sim_filesystem_die(&self->files);
        weir_log_abandon(&self->log);
        sim_filesystem_reopen(&self->files);
    }
}

static void check(struct trial *self)
{
    uint64_t oldest = 0;
    bool damaged = false;
    self->reports = 0;
    if (!open_log(self, &oldest, &damaged))
        return;
    const uint64_t there = read_all(self, 1);
    /* That its beginning is gone, or all of it, a log cannot know: groups do, by where they stand.
     */
    uint64_t begin = oldest > self->trimmed ? oldest : self->trimmed;
    begin = oldest ? begin + !begin : self->last + 1;
    WEIR_ASSERT(there >= self->last + 1 - begin || damaged || self->reports > 0);
    const uint64_t first =
        self->log->next_sequence > self->last ? self->log->next_sequence : self->last + 1;
    for (uint32_t i = 0; i < NEW_RECORDS; i++)
        append(self, first + i);
    weir_log_close(&self->log);

    const bool again = open_log(self, &oldest, &damaged);
    WEIR_ASSERT(again);
    WEIR_ASSERT(read_all(self, first) == NEW_RECORDS);
    weir_log_close(&self->log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trial trial = {.data = data, .size = size};
    sim_filesystem_init(&trial.files, seed_of(data, size));
    sim_outside_set(&(struct sim_outside){.now = {.mono_ns = 1, .wall_ms = 1},
                                          .random = &trial.files.random,
                                          .said = said,
                                          .self = &trial});
    struct weir_error error;
    const int made = weir_io_make_directory(&trial.files.io, DIRECTORY, &error);
    WEIR_ASSERT(made == 0 && weir_io_sync_directory(&trial.files.io, SIM_MOUNT) == 0);
    make(&trial);
    while (trial.size > 0)
        mangle(&trial);
    check(&trial);
    sim_filesystem_fini(&trial.files);
    return 0;
}
