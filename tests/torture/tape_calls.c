/* The system calls of Weir's own code, put onto the tape: the tests are linked with --wrap. */
#include "faults.h"
#include "tape_inside.h"

#include <base/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int __real_open(const char *path, int flags, ...);
ssize_t __real_pread(int fd, void *data, size_t bytes, off_t at);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t at);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t at);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_posix_fallocate(int fd, off_t at, off_t bytes);
int __real_ftruncate(int fd, off_t bytes);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_mkdir(const char *path, mode_t mode);

int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_posix_fallocate(int fd, off_t at, off_t bytes);
int __wrap_ftruncate(int fd, off_t bytes);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);

static int end(int status)
{
    int number = errno;

    tape_unlock();
    errno = number;
    return status;
}

int __wrap_open(const char *path, int flags, ...)
{
    struct stat file;
    va_list arguments;
    mode_t mode = 0;
    bool existed;
    int fd;

    va_start(arguments, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(arguments, mode_t);
    va_end(arguments);
    tape_lock();
    if (tape_is_ours(path) && fault_comes(FAULT_OPEN))
        return end(-1);
    existed = stat(path, &file) == 0;
    fd = __real_open(path, flags, mode);
    if (fd >= 0 && !existed)
        tape_created(path);
    else if (fd >= 0 && (flags & O_TRUNC) != 0 && file.st_size > 0)
        tape_resized(file.st_ino, 0, false);
    return end(fd);
}

/* Of a file that the tape is about. */
static bool fails(int fd, enum fault fault)
{
    return tape_has(fd) && fault_comes(fault);
}

ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t at)
{
    tape_lock();
    if (fails(fd, FAULT_READ))
        return end(-1);
    tape_unlock();
    return __real_pread(fd, data, bytes, at);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    struct iovec iov = {(void *)(uintptr_t)data, bytes};

    return __wrap_pwritev(fd, &iov, 1, at);
}

/* One call is one write, whatever it was gathered from. */
static void note_write(int fd, const struct iovec *iov, uint64_t at, uint64_t bytes)
{
    uint8_t *data = weir_alloc(bytes);
    uint64_t copied = 0;

    for (int i = 0; copied < bytes; i++) {
        uint64_t part = iov[i].iov_len < bytes - copied ? iov[i].iov_len : bytes - copied;

        memcpy(data + copied, iov[i].iov_base, part);
        copied += part;
    }
    tape_wrote(tape_inode(fd), at, data, bytes);
    free(data);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    struct iovec part;
    ssize_t wrote;

    tape_lock();
    if (fails(fd, FAULT_WRITE)) {
        /* The disk may have taken a part before it failed, and says so the next time. */
        if (!fault_is_short() || iov->iov_len < 2)
            return end(-1);
        part = (struct iovec){iov->iov_base, iov->iov_len / 2};
        iov = &part;
        count = 1;
    }
    wrote = __real_pwritev(fd, iov, count, at);
    if (wrote > 0)
        note_write(fd, iov, (uint64_t)at, (uint64_t)wrote);
    end(0);
    return wrote;
}

/* A descriptor of a directory is synced by its path. */
static void note_sync(int fd)
{
    char link[64], path[512];
    struct stat file;
    ssize_t length;

    if (fstat(fd, &file) != 0)
        return;
    if (!S_ISDIR(file.st_mode)) {
        tape_synced(file.st_ino);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return;
    path[length] = '\0';
    tape_synced_directory(path);
}

static int sync_with(int fd, int (*sync)(int fd))
{
    int status;

    tape_lock();
    if (fails(fd, FAULT_SYNC)) {
        int number = errno;

        tape_sync_failed(tape_inode(fd));
        errno = number;
        return end(-1);
    }
    status = sync(fd);
    if (status == 0)
        note_sync(fd);
    return end(status);
}

int __wrap_fdatasync(int fd)
{
    return sync_with(fd, __real_fdatasync);
}

int __wrap_fsync(int fd)
{
    return sync_with(fd, __real_fsync);
}

int __wrap_posix_fallocate(int fd, off_t at, off_t bytes)
{
    int number;

    tape_lock();
    if (fails(fd, FAULT_ALLOCATE)) {
        number = errno;
        end(0);
        return number;
    }
    number = __real_posix_fallocate(fd, at, bytes);
    if (number == 0)
        tape_resized(tape_inode(fd), (uint64_t)(at + bytes), true);
    end(0);
    return number;
}

int __wrap_ftruncate(int fd, off_t bytes)
{
    int status;

    tape_lock();
    if (fails(fd, FAULT_WRITE))
        return end(-1);
    status = __real_ftruncate(fd, bytes);
    if (status == 0)
        tape_resized(tape_inode(fd), (uint64_t)bytes, false);
    return end(status);
}

int __wrap_rename(const char *from, const char *to)
{
    int status;

    tape_lock();
    if (tape_is_ours(from) && fault_comes(FAULT_RENAME))
        return end(-1);
    status = __real_rename(from, to);
    if (status == 0)
        tape_renamed(from, to);
    return end(status);
}

int __wrap_unlink(const char *path)
{
    int status;

    tape_lock();
    if (tape_is_ours(path) && fault_comes(FAULT_UNLINK))
        return end(-1);
    status = __real_unlink(path);
    if (status == 0)
        tape_unlinked(path);
    return end(status);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    int status;

    tape_lock();
    if (tape_is_ours(path) && fault_comes(FAULT_OPEN))
        return end(-1);
    status = __real_mkdir(path, mode);
    if (status == 0)
        tape_made_directory(path);
    return end(status);
}
