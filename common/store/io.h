/* The few system calls through which log and reserve touch the disk, as a table: tests put their
 * own in its place and let the N-th call fail, tear or never return, or put a disk of their own
 * behind all of them. (SQLite has such a table itself: xSetSystemCall of its "unix" VFS.) Each
 * behaves as the call it is named after: -1 and errno on failure. */
#ifndef WEIR_STORE_IO_H
#define WEIR_STORE_IO_H

#include <base/error.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct weir_io {
    int (*open)(const struct weir_io *io, const char *path, int flags); /* mode 0600 */
    ssize_t (*pread)(const struct weir_io *io, int fd, void *data, size_t size, uint64_t offset);
    ssize_t (*pwritev)(const struct weir_io *io, int fd, const struct iovec *iov, int count,
                       uint64_t offset);
    int (*fdatasync)(const struct weir_io *io, int fd);
    int (*fsync)(const struct weir_io *io, int fd); /* of new files and of directories */
    int (*allocate)(const struct weir_io *io, int fd, uint64_t size);
    int (*rename)(const struct weir_io *io, const char *from, const char *to);
    int (*unlink)(const struct weir_io *io, const char *path);
    void (*close)(const struct weir_io *io, int fd);
    int (*stat)(const struct weir_io *io, const char *path, struct stat *status);
    int (*mkdir)(const struct weir_io *io, const char *path); /* mode 0700 */
    /* Every name in a directory, in any order; `each` may unlink the one it is given. */
    int (*list)(const struct weir_io *io, const char *path,
                void (*each)(void *arg, const char *name), void *arg);
};

extern const struct weir_io weir_io_posix;

/* Read exactly `size` bytes. Returns 1; 0 when the file ends before; -1 with errno. */
int weir_io_read(const struct weir_io *io, int fd, void *data, size_t size, uint64_t offset);
/* Write all of it, however often that takes; `iov` is used up. Returns 0, or -1 with errno. */
int weir_io_write(const struct weir_io *io, int fd, struct iovec *iov, int count, uint64_t offset);
/* Sync the directory itself. Returns 0, or -1 with errno. */
int weir_io_sync_directory(const struct weir_io *io, const char *path);
/* Make a directory if it is missing. WEIR_EIO, WEIR_EFULL; says what to look at. */
int weir_io_make_directory(const struct weir_io *io, const char *path, struct weir_error *error);
/* What errno means here: WEIR_EFULL when the disk or a quota is full, else WEIR_EIO; with
 * "cannot <what> <path>: <errno's text>". */
int weir_io_error(struct weir_error *error, int number, const char *what, const char *path);

#endif
