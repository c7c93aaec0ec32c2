#include "spool_lock.h"
#include "io.h"

#include <base/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_TEXT_BYTES 64
#define LOCK_VERSION 1

/* "weir lock 1\npid 4711\n" */
static void read_lock(int fd, int *version, long *pid)
{
    char text[LOCK_TEXT_BYTES] = "";
    static const char head[] = "weir lock ", middle[] = "\npid ";
    char *at = text;

    *version = 0;
    *pid = 0;
    if (pread(fd, text, sizeof text - 1, 0) <= 0 || strncmp(at, head, sizeof head - 1) != 0)
        return;
    *version = (int)strtol(at + sizeof head - 1, &at, 10);
    if (strncmp(at, middle, sizeof middle - 1) == 0)
        *pid = strtol(at + sizeof middle - 1, NULL, 10);
}

/* Always of one length and never cut before, so that it can be written on a full disk. */
static int write_lock(int fd, const char *path, struct weir_error *error)
{
    char text[LOCK_TEXT_BYTES];
    int length =
        snprintf(text, sizeof text, "weir lock %d\npid %-19ld\n", LOCK_VERSION, (long)getpid());

    if (pwrite(fd, text, (size_t)length, 0) != length)
        return weir_io_error(error, errno, "write", path);
    return 0;
}

int weir_spool_lock(const char *directory, int *fd, struct weir_error *error)
{
    char *path = weir_asprintf("%s/lock", directory);
    int version, status = 0;
    long pid;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        int number = errno;

        status = weir_io_error(error, number, "make the lock file", path);
        if (status == WEIR_EIO)
            status = weir_error_set(error, status,
                                    "cannot make the lock file %s: %s; the spool must be a "
                                    "directory that this user may write to",
                                    path, strerror(number));
        free(path);
        return status;
    }
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            read_lock(*fd, &version, &pid);
            status = weir_error_set(error, WEIR_ELOCKED,
                                    "the spool %s is in use by process %ld; stop that one first, "
                                    "or give this node a spool of its own",
                                    directory, pid);
        } else {
            status = weir_io_error(error, errno, "lock", path);
        }
    } else {
        /* A version that is to come may keep more in the directory than this one knows. */
        read_lock(*fd, &version, &pid);
        if (version > LOCK_VERSION)
            status = weir_error_set(error, WEIR_EINVAL,
                                    "the spool %s has format version %d, this program knows "
                                    "version %d; use the version of Weir that made it",
                                    directory, version, LOCK_VERSION);
        else
            status = write_lock(*fd, path, error);
    }
    if (status != 0) {
        close(*fd);
        *fd = -1;
    }
    free(path);
    return status;
}
