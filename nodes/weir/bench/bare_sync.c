#include "bodies.h"

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "sync"

/* The blocks are there and have been written, so that a sync has data to write and nothing else. */
static int make_file(uint64_t bytes)
{
    enum { CHUNK = 1 << 16 };
    const int fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    char *zeros = weir_zalloc(1, CHUNK);
    bool written = fd >= 0;

    for (uint64_t at = 0; at < bytes && written; at += CHUNK)
        written = pwrite(fd, zeros, CHUNK, (off_t)at) == CHUNK;
    written = written && fsync(fd) == 0;
    free(zeros);
    if (!written && fd >= 0)
        close(fd);
    return written ? fd : -1;
}

int weir_bench_sync(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_sync *what = argument;
    const int fd = make_file((uint64_t)what->count * what->size);
    char *payload = weir_bench_payload_new(what->size);
    bool written = fd >= 0;

    for (uint32_t i = 0; i < what->count && written; i++) {
        written = pwrite(fd, payload, what->size, (off_t)((uint64_t)i * what->size)) ==
                  (ssize_t)what->size;
        const int64_t began_ns = weir_clock_now().mono_ns;

        written = written && fdatasync(fd) == 0;
        what->latency_ns[i] = weir_clock_now().mono_ns - began_ns;
    }
    free(payload);
    if (!written)
        return weir_bench_part_fail(self, "cannot write and sync a file: %s", strerror(errno));
    close(fd);
    (void)unlink(FILE_NAME);
    weir_bench_part_tell(self, WEIR_BENCH_DONE);
    return 0;
}
