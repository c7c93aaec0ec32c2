#include <base/alloc.h>
#include <base/canary.h>
#include <base/directories.h>
#include <base/limits.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sink/output_file.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ledger keeps the bytes before `length`: enough to tell the file from another one. */
#define TAIL_BYTES_MAX 64u
#define EARLY_BYTES (64u << 10) /* so much begins its way to the disk before it is synced */
#define LINES_BYTES_KEPT (4 * WEIR_HOLD_GROUP_BYTES_MAX) /* of memory, for those that come next */

struct tail {
    char bytes[TAIL_BYTES_MAX];
    size_t count;
};

static const char *name_of(const struct weir_output *self)
{
    return self->path != NULL ? self->path : "standard output";
}

static int write_failed(const struct weir_output *self, struct weir_error *error)
{
    if (errno == ENOSPC || errno == EDQUOT)
        return weir_error_set(error, WEIR_EFULL, "cannot write %s: %s: free some space",
                              name_of(self), strerror(errno));
    return weir_error_set(error, WEIR_EIO, "cannot write %s: %s", name_of(self), strerror(errno));
}

static ssize_t write_some(const struct weir_output *self)
{
    const char *data = self->pending.data + self->written;
    size_t bytes = self->pending.bytes - self->written;
    if (self->path != NULL)
        return pwrite(self->fd, data, bytes, (off_t)(self->length + self->written));
    ssize_t count = write(self->fd, data, bytes);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        struct pollfd item = {.fd = self->fd, .events = POLLOUT};
        poll(&item, 1, -1);
        errno = EINTR;
    }
    return count;
}

/* Somebody may have cut the file or taken it away since. Writing on would leave a hole in it, or go
 * where nobody ever reads. */
static int check_still_there(const struct weir_output *self, struct weir_error *error)
{
    struct stat file;
    if (self->path == NULL || self->written == self->pending.bytes)
        return 0;
    if (fstat(self->fd, &file) != 0)
        return weir_error_set(error, WEIR_EIO, "cannot look at %s: %s", self->path,
                              strerror(errno));
    if (file.st_nlink == 0)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s was removed while results are written to it: put it back, or "
                              "move its ledger %s away, too, to begin anew",
                              self->path, self->db->file.path);
    if ((uint64_t)file.st_size < self->length)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s was cut off while results are written to it: it has %" PRIu64
                              " bytes of %" PRIu64 ": put the file back, or move it and its ledger "
                              "%s away to begin anew",
                              self->path, (uint64_t)file.st_size, self->length,
                              self->db->file.path);
    return 0;
}

static int write_pending(struct weir_output *self, struct weir_error *error)
{
    int status = check_still_there(self, error);
    if (status != 0)
        return status;
    while (self->written < self->pending.bytes) {
        ssize_t count = write_some(self);
        if (count < 0 && errno != EINTR)
            return write_failed(self, error);
        if (count > 0)
            self->written += (size_t)count;
    }
    return 0;
}

int weir_output_settle(struct weir_output *self, struct weir_error *error)
{
    int status = write_pending(self, error);
    if (status != 0 || self->synced || self->path == NULL)
        return status;
    /* A failed sync is final, even for want of room: a second one would say that all is well,
     * whatever became of the pages. The next start writes the lines again. */
    if (!WEIR_CANARY(OUTPUT_NOT_SYNCED) && fdatasync(self->fd) != 0)
        return weir_error_set(error, WEIR_EIO, "cannot sync %s: %s", name_of(self),
                              strerror(errno));
    self->synced = true;
    return 0;
}

/* The last bytes of the file before the lines that come next. */
static struct tail tail_before_next(const struct weir_output *self)
{
    struct tail tail = {.count = self->pending.bytes < TAIL_BYTES_MAX ? self->pending.bytes
                                                                      : TAIL_BYTES_MAX};
    if (tail.count > 0)
        memcpy(tail.bytes, self->pending.data + self->pending.bytes - tail.count, tail.count);
    return tail;
}

int weir_output_commit_lines(struct weir_output *self, const char *lines, size_t bytes,
                             struct weir_error *error)
{
    const struct tail tail = tail_before_next(self);
    sqlite3_bind_int64(self->put, 1, (int64_t)(self->length + self->pending.bytes));
    weir_bind_blob(self->put, 2, tail.bytes, tail.count);
    weir_bind_blob(self->put, 3, lines, bytes);
    return weir_database_run(&self->db->file, self->put, "committing results", error);
}

void weir_output_committed(struct weir_output *self, struct weir_json_text *lines)
{
    struct weir_json_text before = self->pending;
    self->length += before.bytes;
    self->pending = *lines;
    self->written = 0;
    self->synced = false;
    if (before.capacity > LINES_BYTES_KEPT) { /* a group of exceptional size made it so large */
        free(before.data);
        before.data = NULL;
        before.capacity = 0;
    }
    before.bytes = 0;
    *lines = before;
    if (write_pending(self, NULL) == 0 && self->path != NULL && self->written >= EARLY_BYTES)
        (void)sync_file_range(self->fd, (off_t)self->length, (off_t)self->written,
                              SYNC_FILE_RANGE_WRITE);
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int read_ledger(struct weir_output *self, struct tail *tail, struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = weir_database_prepare(&self->db->file, "SELECT length, tail, lines FROM output",
                                       &statement, error);
    int step = status == 0 ? sqlite3_step(statement) : SQLITE_ERROR;
    if (status == 0 && step == SQLITE_DONE)
        status =
            weir_error_set(error, WEIR_EDAMAGED,
                           "the ledger %s does not say how far %s was written: restore it from "
                           "a copy",
                           self->db->file.path, name_of(self));
    else if (status == 0 && step != SQLITE_ROW)
        status = weir_database_error(&self->db->file, "reading how far was written", error);
    if (status == 0) {
        size_t tail_bytes = (size_t)sqlite3_column_bytes(statement, 1);
        self->length = (uint64_t)sqlite3_column_int64(statement, 0);
        tail->count = tail_bytes < TAIL_BYTES_MAX ? tail_bytes : TAIL_BYTES_MAX;
        if (tail->count > 0)
            memcpy(tail->bytes, sqlite3_column_blob(statement, 1), tail->count);
        weir_json_text_raw(&self->pending, sqlite3_column_blob(statement, 2),
                           (size_t)sqlite3_column_bytes(statement, 2));
    }
    sqlite3_finalize(statement);
    return status;
}

/* Is the file the one that was written: as long as was synced, and with the same end? */
static int check_file(const struct weir_output *self, bool known, const struct tail *tail,
                      uint64_t size, struct weir_error *error)
{
    char found[TAIL_BYTES_MAX];
    if (!known && size > 0)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s has content already, and the ledger %s knows nothing of it: move "
                              "the file away, or put its ledger back",
                              self->path, self->db->file.path);
    if (size < self->length)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s has %" PRIu64 " bytes, but %" PRIu64 " were written, says the "
                              "ledger %s: put the file back, or move both away to begin anew",
                              self->path, size, self->length, self->db->file.path);
    if (tail->count > self->length ||
        pread(self->fd, found, tail->count, (off_t)(self->length - tail->count)) !=
            (ssize_t)tail->count ||
        memcmp(found, tail->bytes, tail->count) != 0)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s is not the file that was written: it differs before byte %" PRIu64
                              " from what the ledger %s says: put the file back, or move both away "
                              "to begin anew",
                              self->path, self->length, self->db->file.path);
    return 0;
}

/* A new file's name must outlive a power cut, too. */
static int sync_directory(const struct weir_output *self, struct weir_error *error)
{
    char *copy = weir_strdup(self->path);
    char *slash = strrchr(copy, '/');
    const char *directory = slash == NULL ? "." : slash == copy ? "/" : copy;
    if (slash != NULL && slash != copy)
        *slash = '\0';
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = fd >= 0 && fsync(fd) == 0
                     ? 0
                     : weir_error_set(error, WEIR_EIO, "cannot sync the directory %s: %s",
                                      directory, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(copy);
    return status;
}

static int open_file(struct weir_output *self, bool known, const struct tail *tail,
                     struct weir_error *error)
{
    struct stat file;
    int status = weir_make_directories(self->path, 0700, error);
    if (status != 0)
        return status;
    self->fd = open(self->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (self->fd < 0 || fstat(self->fd, &file) != 0)
        return weir_error_set(error, WEIR_EIO, "cannot open %s for writing: %s", self->path,
                              strerror(errno));
    if (!S_ISREG(file.st_mode))
        return weir_error_set(error, WEIR_EINVAL,
                              "%s is no plain file: name one, or write to `stdout`", self->path);
    status = check_file(self, known, tail, (uint64_t)file.st_size, error);
    if (WEIR_CANARY(OUTPUT_NOT_CUT))
        self->length = (uint64_t)file.st_size;
    if (status == 0 && file.st_size == 0)
        status = sync_directory(self, error);
    if (status == 0)
        status = write_pending(self, error);
    if (status == 0 && ftruncate(self->fd, (off_t)(self->length + self->pending.bytes)) != 0)
        status = write_failed(self, error);
    return status == 0 ? weir_output_settle(self, error) : status;
}

int weir_output_open(struct weir_output *self, struct weir_hold_db *db, bool known,
                     const char *path, int fd, struct weir_error *error)
{
    struct tail tail = {.count = 0};
    *self = (struct weir_output){.db = db, .fd = -1};
    if (path != NULL)
        self->path = weir_strdup(path);
    /* For what may be more than one row SQLite would first copy the lines of before elsewhere. */
    int status = weir_database_prepare(
        &db->file, "UPDATE output SET length = ?, tail = ?, lines = ? WHERE one = 1", &self->put,
        error);
    if (status == 0)
        status = read_ledger(self, &tail, error);
    if (status != 0)
        return status;
    if (path == NULL)
        self->fd = fd;
    status = path != NULL ? open_file(self, known, &tail, error) : write_pending(self, error);
    self->open = status == 0;
    return status;
}

void weir_output_close(struct weir_output *self)
{
    /* Nothing is pending after an orderly end, so that stdout does not get it again. */
    if (self->open && weir_output_settle(self, NULL) == 0 && self->path == NULL &&
        weir_hold_db_begin(self->db, NULL) == 0) {
        weir_output_commit_lines(self, NULL, 0, NULL);
        weir_database_commit(&self->db->file, "closing", NULL);
    }
    sqlite3_finalize(self->put);
    if (self->path != NULL && self->fd >= 0)
        close(self->fd);
    free(self->pending.data);
    free(self->path);
    *self = (struct weir_output){.fd = -1};
}
