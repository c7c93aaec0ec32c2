/* Opening, errors, statements, transactions. */
#include <sqlite/database.h>

#include <base/alloc.h>
#include <base/limits.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int weir_database_init(struct weir_database *self, const char *what, const char *path, int flags,
                       struct weir_error *error)
{
    *self = (struct weir_database){
        .what = what,
        .path = weir_strdup(path),
        .wal_path = weir_asprintf("%s-wal", path),
        .wal_bytes_warn = WEIR_WAL_BYTES_WARN,
    };
    if (sqlite3_open_v2(path, &self->handle, flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return weir_database_error(self, "opening", error);
    sqlite3_busy_timeout(self->handle, WEIR_DATABASE_BUSY_MS);
    return 0;
}

void weir_database_fini(struct weir_database *self)
{
    sqlite3_close_v2(self->handle);
    free(self->path);
    free(self->wal_path);
    *self = (struct weir_database){0};
}

/* --- errors -------------------------------------------------------------------------------- */

/* SQLite calls it full only where write(2) found no room for the database or its WAL: not in its
 * shared memory, and not beyond a quota. */
static int error_code(const struct weir_database *self)
{
    int code = sqlite3_errcode(self->handle), system = sqlite3_system_errno(self->handle);
    bool full = sqlite3_extended_errcode(self->handle) == SQLITE_IOERR_SHMSIZE ||
                (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT));

    return full ? SQLITE_FULL : code;
}

int weir_database_error(const struct weir_database *self, const char *doing,
                        struct weir_error *error)
{
    const char *what = self->what, *path = self->path, *text = sqlite3_errmsg(self->handle);
    int system = sqlite3_system_errno(self->handle);

    switch (error_code(self)) {
    case SQLITE_FULL:
        return weir_error_set(error, WEIR_EFULL,
                              "%s: the disk of the %s %s is full: free some space", doing, what,
                              path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return weir_error_set(error, WEIR_EBUSY,
                              "%s: another process has kept the %s %s locked for %d s; end its "
                              "transaction ('fuser %s' names who has the file open) and try again",
                              doing, what, path, WEIR_DATABASE_BUSY_MS / 1000, path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%s: the %s %s is damaged (%s): keep it aside, and restore it from a "
                              "copy or from what \"sqlite3 %s .recover\" gives; or move it away, "
                              "with all that belongs to it, and begin a new one",
                              doing, what, path, text, path);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return weir_error_set(error, WEIR_EIO,
                              "%s: cannot open the %s %s for writing (%s): check who owns it and "
                              "its directory",
                              doing, what, path, text);
    default:
        return weir_error_set(error, WEIR_EIO, "%s: the %s %s: %s%s%s", doing, what, path, text,
                              system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    }
}

/* --- statements ---------------------------------------------------------------------------- */

int weir_database_prepare(const struct weir_database *self, const char *sql,
                          sqlite3_stmt **statement, struct weir_error *error)
{
    if (sqlite3_prepare_v3(self->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
        SQLITE_OK)
        return 0;
    return weir_database_error(self, "preparing", error);
}

int weir_database_run(const struct weir_database *self, sqlite3_stmt *statement, const char *doing,
                      struct weir_error *error)
{
    int status =
        sqlite3_step(statement) == SQLITE_DONE ? 0 : weir_database_error(self, doing, error);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

int weir_database_execute(const struct weir_database *self, const char *sql, const char *doing,
                          struct weir_error *error)
{
    if (sqlite3_exec(self->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return weir_database_error(self, doing, error);
}

int weir_database_number(const struct weir_database *self, const char *sql, int64_t *number,
                         struct weir_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = weir_database_prepare(self, sql, &statement, error);

    if (status == 0 && sqlite3_step(statement) == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    else if (status == 0)
        status = weir_database_error(self, "reading", error);
    sqlite3_finalize(statement);
    return status;
}

void weir_bind_text(sqlite3_stmt *statement, int at, const char *text, size_t bytes)
{
    if (text == NULL)
        sqlite3_bind_null(statement, at);
    else
        sqlite3_bind_text64(statement, at, text, bytes, SQLITE_STATIC, SQLITE_UTF8);
}

void weir_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t bytes)
{
    if (bytes == 0)
        sqlite3_bind_zeroblob(statement, at, 0);
    else
        sqlite3_bind_blob64(statement, at, data, bytes, SQLITE_STATIC);
}

/* --- transactions -------------------------------------------------------------------------- */

int weir_database_begin(const struct weir_database *self, struct weir_error *error)
{
    int moved = 0;

    /* What is written to a file that has no name any more is gone with this process. */
    sqlite3_file_control(self->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (moved)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "the %s %s was removed or replaced while it was written to: put the "
                              "file back, and what was beside it (-wal), and start again",
                              self->what, self->path);
    return weir_database_execute(self, "BEGIN IMMEDIATE", "beginning a transaction", error);
}

int weir_database_commit(const struct weir_database *self, const char *doing,
                         struct weir_error *error)
{
    return weir_database_execute(self, "COMMIT", doing, error);
}

void weir_database_roll_back(const struct weir_database *self)
{
    if (!sqlite3_get_autocommit(self->handle)) /* some failures have rolled back already */
        sqlite3_exec(self->handle, "ROLLBACK", NULL, NULL, NULL);
}
