/* The WAL: durable at the start, bounded afterwards. */
#include <sqlite/database.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>
#include <base/log.h>
#include <base/rewrite.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WARN_EVERY_NS (60 * WEIR_NS_PER_S)

int weir_database_use_wal(const struct weir_database *self, uint64_t bytes, uint64_t bytes_kept,
                          struct weir_error *error)
{
    int64_t page_bytes;
    int status = weir_database_number(self, "PRAGMA page_size", &page_bytes, error);

    if (status != 0)
        return status;
    char *text = weir_asprintf("PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA wal_autocheckpoint = %" PRIu64 ";"
                               "PRAGMA journal_size_limit = %" PRIu64,
                               bytes / (uint64_t)page_bytes, bytes_kept);
    status = weir_database_execute(self, text, "opening", error);
    free(text);
    return status;
}

static uint64_t file_bytes(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 ? (uint64_t)file.st_size : 0;
}

uint64_t weir_database_bytes(const struct weir_database *self)
{
    return file_bytes(self->path) + file_bytes(self->wal_path);
}

/* Without waiting for who reads from it. Returns SQLite's code. */
static int take_in(const struct weir_database *self)
{
    int code;

    sqlite3_busy_timeout(self->handle, 0);
    code = sqlite3_wal_checkpoint_v2(self->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(self->handle, WEIR_DATABASE_BUSY_MS);
    return code;
}

/* Somebody who reads keeps (a part of) the WAL from being taken in. Then it is written anew where
 * it is. */
static int rewrite(const struct weir_database *self, struct weir_error *error)
{
    int status = weir_database_begin(self, error);

    if (status != 0)
        return status;
    weir_log(WEIR_LOG_WARNING,
             "%s cannot be taken into the %s, because another program is reading that in one "
             "transaction; end that one ('fuser %s' names who has it open)",
             self->wal_path, self->what, self->path);
    if (weir_file_rewrite(self->wal_path) != 0) {
        const int number = errno;
        const bool full = number == ENOSPC || number == EDQUOT;

        status = weir_error_set(error, full ? WEIR_EFULL : WEIR_EIO, "cannot write %s anew: %s%s",
                                self->wal_path, strerror(number),
                                full ? "; free space on this file system" : "");
    }
    weir_database_roll_back(self);
    return status;
}

int weir_database_secure_wal(struct weir_database *self, struct weir_error *error)
{
    const int code = take_in(self);

    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return rewrite(self, error);
    return code == SQLITE_OK ? 0 : weir_database_error(self, "opening", error);
}

int weir_database_check_wal(struct weir_database *self, struct weir_error *error)
{
    uint64_t bytes = file_bytes(self->wal_path);
    int64_t now_ns;
    bool due;

    if (bytes < self->wal_bytes_warn)
        return 0;
    now_ns = weir_clock_now().mono_ns;
    due = self->warned_ns == 0 || now_ns - self->warned_ns > WARN_EVERY_NS;
    if (bytes < WEIR_WAL_BYTES_MAX && !due)
        return 0;
    take_in(self); /* the reader may be gone */
    bytes = file_bytes(self->wal_path);
    if (bytes < self->wal_bytes_warn)
        return 0;
    if (due) {
        self->warned_ns = now_ns;
        weir_log(WEIR_LOG_WARNING,
                 "%s has grown to %" PRIu64 " bytes because another program has been reading the "
                 "%s in one transaction for long; end that one ('fuser %s' names who has it open)",
                 self->wal_path, bytes, self->what, self->path);
    }
    if (bytes < WEIR_WAL_BYTES_MAX)
        return 0;
    return weir_error_set(error, WEIR_EFULL,
                          "%s is full: another program has been reading the %s in one transaction "
                          "for too long; end that one",
                          self->wal_path, self->what);
}

void weir_database_shorten_wal(const struct weir_database *self, uint64_t bytes_max)
{
    if (file_bytes(self->wal_path) > bytes_max)
        take_in(self);
}
