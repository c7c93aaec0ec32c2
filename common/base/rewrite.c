#include <base/rewrite.h>

#include <base/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define STEP_BYTES ((size_t)1 << 20)

/* All of it, as a file is neither cut off nor left half by a signal. */
static int write_all(int fd, const char *data, size_t bytes, off_t offset)
{
    while (bytes > 0) {
        const ssize_t written = pwrite(fd, data, bytes, offset);
        if (written < 0 && errno != EINTR)
            return -1;
        if (written > 0) {
            data += written;
            offset += written;
            bytes -= (size_t)written;
        }
    }
    return 0;
}

static int rewrite(int fd, char *step)
{
    for (off_t offset = 0;;) {
        const ssize_t got = pread(fd, step, STEP_BYTES, offset);
        if (got == 0)
            return fsync(fd);
        if (got < 0 && errno != EINTR)
            return -1;
        if (got > 0 && write_all(fd, step, (size_t)got, offset) != 0)
            return -1;
        offset += got > 0 ? got : 0;
    }
}

int weir_file_rewrite(const char *path)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    char *step = weir_alloc(STEP_BYTES);
    const int status = rewrite(fd, step);
    const int number = errno;
    free(step);
    close(fd);
    errno = number;
    return status;
}
