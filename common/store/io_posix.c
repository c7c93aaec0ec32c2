#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int posix_open(const struct weir_io *io, const char *path, int flags)
{
    (void)io;
    return open(path, flags | O_CLOEXEC, 0600);
}

static ssize_t posix_pread(const struct weir_io *io, int fd, void *data, size_t size,
                           uint64_t offset)
{
    (void)io;
    return pread(fd, data, size, (off_t)offset);
}

static ssize_t posix_pwritev(const struct weir_io *io, int fd, const struct iovec *iov, int count,
                             uint64_t offset)
{
    (void)io;
    return pwritev(fd, iov, count, (off_t)offset);
}

static int posix_fdatasync(const struct weir_io *io, int fd)
{
    (void)io;
    return fdatasync(fd);
}

static int posix_fsync(const struct weir_io *io, int fd)
{
    (void)io;
    return fsync(fd);
}

static int posix_allocate(const struct weir_io *io, int fd, uint64_t size)
{
    int number = posix_fallocate(fd, 0, (off_t)size);

    (void)io;
    errno = number;
    return number == 0 ? 0 : -1;
}

static int posix_rename(const struct weir_io *io, const char *from, const char *to)
{
    (void)io;
    return rename(from, to);
}

static int posix_unlink(const struct weir_io *io, const char *path)
{
    (void)io;
    return unlink(path);
}

static void posix_close(const struct weir_io *io, int fd)
{
    (void)io;
    close(fd);
}

static int posix_stat(const struct weir_io *io, const char *path, struct stat *status)
{
    (void)io;
    return stat(path, status);
}

static int posix_mkdir(const struct weir_io *io, const char *path)
{
    (void)io;
    return mkdir(path, 0700);
}

static int posix_list(const struct weir_io *io, const char *path,
                      void (*each)(void *arg, const char *name), void *arg)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    int number;

    (void)io;
    if (directory == NULL)
        return -1;
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
        errno = 0;
    }
    number = errno;
    closedir(directory);
    errno = number;
    return number == 0 ? 0 : -1;
}

const struct weir_io weir_io_posix = {
    .open = posix_open,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .fdatasync = posix_fdatasync,
    .fsync = posix_fsync,
    .allocate = posix_allocate,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .close = posix_close,
    .stat = posix_stat,
    .mkdir = posix_mkdir,
    .list = posix_list,
};

int weir_io_read(const struct weir_io *io, int fd, void *data, size_t size, uint64_t offset)
{
    uint8_t *at = data;

    while (size > 0) {
        ssize_t got = io->pread(io, fd, at, size, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return 1;
}

int weir_io_write(const struct weir_io *io, int fd, struct iovec *iov, int count, uint64_t offset)
{
    while (count > 0) {
        ssize_t wrote = io->pwritev(io, fd, iov, count, offset);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -1;
        if (wrote == 0 && iov->iov_len > 0) {
            errno = ENOSPC; /* as write(2) has it: no room, not even for one byte */
            return -1;
        }
        offset += (uint64_t)wrote;
        while (count > 0 && (size_t)wrote >= iov->iov_len) {
            wrote -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + wrote;
            iov->iov_len -= (size_t)wrote;
        }
    }
    return 0;
}

int weir_io_sync_directory(const struct weir_io *io, const char *path)
{
    int fd = io->open(io, path, O_RDONLY | O_DIRECTORY);
    int status, number;

    if (fd < 0)
        return -1;
    status = io->fsync(io, fd);
    number = errno;
    io->close(io, fd);
    errno = number;
    return status;
}

int weir_io_make_directory(const struct weir_io *io, const char *path, struct weir_error *error)
{
    if (io->mkdir(io, path) == 0 || errno == EEXIST)
        return 0;
    return weir_io_error(error, errno, "make the directory", path);
}

int weir_io_error(struct weir_error *error, int number, const char *what, const char *path)
{
    bool full = number == ENOSPC || number == EDQUOT;
    char text[128];

    return weir_error_set(error, full ? WEIR_EFULL : WEIR_EIO, "cannot %s %s: %s%s", what, path,
                          strerror_r(number, text, sizeof text),
                          full ? "; free space on this file system" : "");
}
