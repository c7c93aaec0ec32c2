/* A VFS around SQLite's own. What it adds: changes get onto the tape, and calls may fail. The
 * shared memory beside a WAL is not recorded: the first to open a database makes it anew. */
#include "tape_vfs.h"
#include "faults.h"
#include "tape_inside.h"

#include <base/alloc.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

struct vfs_file {
    sqlite3_file base;
    char *path;
    ino_t inode;
    bool sync_directory; /* a new journal or WAL: the first sync is of its directory, too */
    sqlite3_file *real;  /* behind this struct */
};

static sqlite3_vfs *original;
static sqlite3_vfs vfs;

static struct vfs_file *of(sqlite3_file *file)
{
    return (struct vfs_file *)file;
}

/* Takes the lock. What the call is to return instead of being carried out; 0: nothing. */
static int begin(const struct vfs_file *self, enum fault fault, int code)
{
    tape_lock();
    if (!tape_is_ours(self->path) || !fault_comes(fault))
        return SQLITE_OK;
    return errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : code;
}

static int end(int status)
{
    tape_unlock();
    return status;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? weir_strndup(path, (size_t)(slash - path)) : weir_strdup(".");
}

static int file_close(sqlite3_file *file)
{
    struct vfs_file *self = of(file);
    int status = self->real->pMethods->xClose(self->real);

    free(self->path);
    self->path = NULL;
    return status;
}

static int file_read(sqlite3_file *file, void *data, int bytes, sqlite3_int64 at)
{
    struct vfs_file *self = of(file);
    int status = begin(self, FAULT_STATE_READ, SQLITE_IOERR_READ);

    if (status == SQLITE_OK)
        status = self->real->pMethods->xRead(self->real, data, bytes, at);
    return end(status);
}

static int file_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
    struct vfs_file *self = of(file);
    int status = begin(self, FAULT_STATE_WRITE, SQLITE_IOERR_WRITE);
    int wanted = bytes;

    if (status != SQLITE_OK && !fault_is_short())
        return end(status);
    if (status != SQLITE_OK)
        bytes /= 2;
    if (self->real->pMethods->xWrite(self->real, data, bytes, at) != SQLITE_OK)
        status = SQLITE_IOERR_WRITE;
    else
        tape_wrote(self->inode, (uint64_t)at, data, (uint64_t)bytes);
    return end(bytes == wanted || status != SQLITE_OK ? status : SQLITE_FULL);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct vfs_file *self = of(file);
    int status = begin(self, FAULT_STATE_WRITE, SQLITE_IOERR_TRUNCATE);

    if (status == SQLITE_OK)
        status = self->real->pMethods->xTruncate(self->real, bytes);
    if (status == SQLITE_OK)
        tape_resized(self->inode, (uint64_t)bytes, false);
    return end(status);
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct vfs_file *self = of(file);
    int status = begin(self, FAULT_STATE_SYNC, SQLITE_IOERR_FSYNC);

    if (status != SQLITE_OK)
        tape_sync_failed(self->inode);
    else
        status = self->real->pMethods->xSync(self->real, flags);
    if (status == SQLITE_OK) {
        tape_synced(self->inode);
        if (self->sync_directory) {
            char *parent = parent_of(self->path);

            tape_synced_directory(parent);
            free(parent);
            self->sync_directory = false;
        }
    }
    return end(status);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    return of(file)->real->pMethods->xFileSize(of(file)->real, bytes);
}

static int file_lock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xLock(of(file)->real, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xUnlock(of(file)->real, level);
}

static int file_check_lock(sqlite3_file *file, int *locked)
{
    return of(file)->real->pMethods->xCheckReservedLock(of(file)->real, locked);
}

static int file_control(sqlite3_file *file, int what, void *arg)
{
    return of(file)->real->pMethods->xFileControl(of(file)->real, what, arg);
}

static int file_sector_size(sqlite3_file *file)
{
    return of(file)->real->pMethods->xSectorSize(of(file)->real);
}

static int file_characteristics(sqlite3_file *file)
{
    return of(file)->real->pMethods->xDeviceCharacteristics(of(file)->real);
}

static int file_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **at)
{
    struct vfs_file *self = of(file);
    int status = begin(self, FAULT_STATE_SHM, SQLITE_IOERR_SHMMAP);

    if (status == SQLITE_OK)
        status = self->real->pMethods->xShmMap(self->real, page, bytes, extend, at);
    return end(status);
}

static int file_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return of(file)->real->pMethods->xShmLock(of(file)->real, offset, count, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    of(file)->real->pMethods->xShmBarrier(of(file)->real);
}

static int file_shm_unmap(sqlite3_file *file, int remove)
{
    return of(file)->real->pMethods->xShmUnmap(of(file)->real, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *self, sqlite3_filename path, sqlite3_file *file, int flags,
                    int *flags_out)
{
    struct vfs_file *opened = of(file);
    const int journals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
    bool existed;
    int status;

    (void)self;
    file->pMethods = NULL;
    /* Spilled sorts and the like are no part of what lasts. */
    if (path == NULL)
        return original->xOpen(original, path, file, flags, flags_out);
    opened->real = (sqlite3_file *)(opened + 1);
    opened->real->pMethods = NULL;
    tape_lock();
    if (tape_is_ours(path) && fault_comes(FAULT_STATE_OPEN))
        return end(errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN);
    existed = tape_inode_of(path) != 0;
    status = original->xOpen(original, path, opened->real, flags, flags_out);
    if (status == SQLITE_OK) {
        if (!existed)
            tape_created(path);
        opened->path = weir_strdup(path);
        opened->inode = tape_inode_of(path);
        opened->sync_directory = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & journals) != 0;
        file->pMethods = &methods;
    }
    return end(status);
}

static int vfs_delete(sqlite3_vfs *self, const char *path, int sync_directory)
{
    int status;

    (void)self;
    tape_lock();
    if (tape_is_ours(path) && fault_comes(FAULT_STATE_UNLINK))
        return end(SQLITE_IOERR_DELETE);
    status = original->xDelete(original, path, sync_directory);
    if (status == SQLITE_OK) {
        tape_unlinked(path);
        if (sync_directory != 0) {
            char *parent = parent_of(path);

            tape_synced_directory(parent);
            free(parent);
        }
    }
    return end(status);
}

void tape_vfs_use(void)
{
    original = sqlite3_vfs_find(NULL);
    vfs = *original;
    vfs.zName = "tape";
    vfs.szOsFile = (int)sizeof(struct vfs_file) + original->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    sqlite3_vfs_register(&vfs, 1);
}
