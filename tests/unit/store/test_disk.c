#include "test_disk.h"

#include <base/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

/* A write or a rename that a power cut takes back. */
struct disk_change {
    struct disk_change *next;
    ino_t file; /* write: which file; rename: 0 */
    int fd;     /* write: a descriptor of our own */
    uint64_t offset;
    size_t size;
    uint8_t *before; /* what was there */
    char *from, *to; /* rename */
    char *replaced;  /* rename: where what it replaced is kept, or NULL */
};

static struct test_disk *from_io(const struct weir_io *io)
{
    return (struct test_disk *)(uintptr_t)io;
}

static void change_destroy(struct disk_change *change)
{
    if (change->fd >= 0)
        close(change->fd);
    if (change->replaced != NULL)
        unlink(change->replaced);
    free(change->before);
    free(change->from);
    free(change->to);
    free(change->replaced);
    free(change);
}

/* Put back what was there before a write; torn, only some sectors of it. */
static void undo_write(struct test_disk *disk, const struct disk_change *change)
{
    for (size_t at = 0; at < change->size;) {
        size_t size = SECTOR_BYTES - (size_t)((change->offset + at) % SECTOR_BYTES);

        if (size > change->size - at)
            size = change->size - at;
        if (disk->end == DISK_POWER_CUT || weir_random_below(&disk->random, 2) == 0) {
            if (pwrite(change->fd, change->before + at, size, (off_t)(change->offset + at)) !=
                (ssize_t)size)
                _exit(98);
        }
        at += size;
    }
}

static void undo_rename(const struct disk_change *change)
{
    if (rename(change->to, change->from) != 0)
        _exit(97);
    if (change->replaced != NULL && rename(change->replaced, change->to) != 0)
        _exit(96);
}

static void end_now(struct test_disk *disk)
{
    if (disk->end != DISK_KILL) {
        for (struct disk_change *change = disk->changes; change != NULL; change = change->next) {
            if (change->to != NULL)
                undo_rename(change);
            else
                undo_write(disk, change);
        }
    }
    _exit(0);
}

/* Takes the lock. Returns whether the call is to fail. */
static bool begin(const struct weir_io *io, enum disk_call call)
{
    struct test_disk *disk = from_io(io);

    pthread_mutex_lock(&disk->lock);
    if (++disk->calls == disk->end_at)
        end_now(disk);
    if (disk->fail != call || disk->fail_count == 0)
        return false;
    if (disk->fail_after > 0) {
        disk->fail_after--;
        return false;
    }
    disk->fail_count--;
    errno = disk->fail_errno;
    return true;
}

static int end(const struct weir_io *io, int status)
{
    int number = errno;

    pthread_mutex_unlock(&from_io(io)->lock);
    errno = number;
    return status;
}

static int disk_open(const struct weir_io *io, const char *path, int flags)
{
    if ((flags & O_CREAT) == 0)
        return weir_io_posix.open(io, path, flags);
    if (begin(io, DISK_OPEN))
        return end(io, -1);
    return end(io, weir_io_posix.open(io, path, flags));
}

static ssize_t disk_pread(const struct weir_io *io, int fd, void *data, size_t size,
                          uint64_t offset)
{
    return weir_io_posix.pread(io, fd, data, size, offset);
}

static void remember_write(struct test_disk *disk, int fd, size_t size, uint64_t offset)
{
    struct disk_change *change = weir_zalloc(1, sizeof *change);
    char path[64];
    struct stat file;
    ssize_t got;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    change->fd = open(path, O_RDWR | O_CLOEXEC);
    if (change->fd < 0 || fstat(fd, &file) != 0)
        abort();
    change->file = file.st_ino;
    change->offset = offset;
    change->before = weir_alloc(size);
    got = pread(change->fd, change->before, size, (off_t)offset);
    change->size = got > 0 ? (size_t)got : 0;
    change->next = disk->changes;
    disk->changes = change;
}

static ssize_t disk_pwritev(const struct weir_io *io, int fd, const struct iovec *iov, int count,
                            uint64_t offset)
{
    struct test_disk *disk = from_io(io);
    size_t size = 0;
    ssize_t wrote;

    if (begin(io, DISK_WRITE))
        return end(io, -1);
    for (int i = 0; i < count; i++)
        size += iov[i].iov_len;
    if (disk->end_at != 0)
        remember_write(disk, fd, size, offset);
    wrote = weir_io_posix.pwritev(io, fd, iov, count, offset);
    end(io, 0);
    return wrote;
}

/* The changes that a sync of this file (0: of directories) makes safe. */
static void settle(struct test_disk *disk, ino_t file)
{
    struct disk_change **at = &disk->changes;

    while (*at != NULL) {
        struct disk_change *change = *at;

        if (change->file == file) {
            *at = change->next;
            change_destroy(change);
        } else {
            at = &change->next;
        }
    }
}

static int sync_file(const struct weir_io *io, int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0)
        abort();
    settle(from_io(io), S_ISDIR(file.st_mode) ? 0 : file.st_ino);
    return 0;
}

static int disk_fdatasync(const struct weir_io *io, int fd)
{
    struct test_disk *disk = from_io(io);
    bool hold;

    pthread_mutex_lock(&disk->lock);
    disk->syncs++;
    hold = disk->hold_syncs;
    pthread_mutex_unlock(&disk->lock);
    if (hold) {
        sem_post(&disk->sync_begun);
        sem_wait(&disk->sync_may_go_on);
    }
    if (begin(io, DISK_SYNC))
        return end(io, -1);
    return end(io, sync_file(io, fd));
}

static int disk_fsync(const struct weir_io *io, int fd)
{
    if (begin(io, DISK_SYNC))
        return end(io, -1);
    return end(io, sync_file(io, fd));
}

static int disk_allocate(const struct weir_io *io, int fd, uint64_t size)
{
    if (begin(io, DISK_ALLOCATE))
        return end(io, -1);
    return end(io, weir_io_posix.allocate(io, fd, size));
}

static int disk_rename(const struct weir_io *io, const char *from, const char *to)
{
    struct test_disk *disk = from_io(io);
    struct disk_change *change;

    if (begin(io, DISK_RENAME))
        return end(io, -1);
    if (disk->end_at != 0) {
        change = weir_zalloc(1, sizeof *change);
        change->fd = -1;
        change->from = weir_strdup(from);
        change->to = weir_strdup(to);
        if (access(to, F_OK) == 0) {
            change->replaced = weir_asprintf("%s.replaced-%d-%llu", to, (int)getpid(),
                                             (unsigned long long)disk->calls);
            if (link(to, change->replaced) != 0)
                abort();
        }
        change->next = disk->changes;
        disk->changes = change;
    }
    return end(io, weir_io_posix.rename(io, from, to));
}

static int disk_unlink(const struct weir_io *io, const char *path)
{
    if (begin(io, DISK_UNLINK))
        return end(io, -1);
    return end(io, weir_io_posix.unlink(io, path));
}

void test_disk_init(struct test_disk *disk)
{
    memset(disk, 0, sizeof *disk);
    disk->io = (struct weir_io){.open = disk_open,
                                .pread = disk_pread,
                                .pwritev = disk_pwritev,
                                .fdatasync = disk_fdatasync,
                                .fsync = disk_fsync,
                                .allocate = disk_allocate,
                                .rename = disk_rename,
                                .unlink = disk_unlink,
                                .close = weir_io_posix.close,
                                .stat = weir_io_posix.stat,
                                .mkdir = weir_io_posix.mkdir,
                                .list = weir_io_posix.list};
    pthread_mutex_init(&disk->lock, NULL);
    sem_init(&disk->sync_begun, 0, 0);
    sem_init(&disk->sync_may_go_on, 0, 0);
}

void test_disk_fini(struct test_disk *disk)
{
    while (disk->changes != NULL) {
        struct disk_change *change = disk->changes;

        disk->changes = change->next;
        change_destroy(change);
    }
    pthread_mutex_destroy(&disk->lock);
    sem_destroy(&disk->sync_begun);
    sem_destroy(&disk->sync_may_go_on);
}

void test_disk_fail(struct test_disk *disk, enum disk_call call, uint32_t after, uint32_t count,
                    int number)
{
    pthread_mutex_lock(&disk->lock);
    disk->fail = call;
    disk->fail_after = after;
    disk->fail_count = count;
    disk->fail_errno = number;
    pthread_mutex_unlock(&disk->lock);
}

uint32_t test_disk_syncs(struct test_disk *disk)
{
    uint32_t syncs;

    pthread_mutex_lock(&disk->lock);
    syncs = disk->syncs;
    pthread_mutex_unlock(&disk->lock);
    return syncs;
}

void test_disk_hold(struct test_disk *disk, bool hold)
{
    pthread_mutex_lock(&disk->lock);
    disk->hold_syncs = hold;
    pthread_mutex_unlock(&disk->lock);
    if (!hold)
        sem_post(&disk->sync_may_go_on);
}

void test_disk_wait_for_sync(struct test_disk *disk)
{
    while (sem_wait(&disk->sync_begun) != 0)
        continue;
}
