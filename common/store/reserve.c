#include "reserve.h"

#include <base/alloc.h>
#include <base/log.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char reserve_text[] = "weir reserve 1\n";

struct weir_reserve {
    const struct weir_io *io;
    char *path;
    uint64_t bytes;
    pthread_mutex_t lock;
    bool held;
};

struct weir_reserve *weir_reserve_new(const struct weir_io *io, const char *directory,
                                      uint64_t bytes)
{
    struct weir_reserve *reserve = weir_zalloc(1, sizeof *reserve);
    struct stat file;

    reserve->io = io;
    reserve->path = weir_asprintf("%s/reserve", directory);
    reserve->bytes = bytes;
    pthread_mutex_init(&reserve->lock, NULL);
    reserve->held = io->stat(io, reserve->path, &file) == 0 && (uint64_t)file.st_size == bytes &&
                    (uint64_t)file.st_blocks * 512 >= bytes;
    return reserve;
}

void weir_reserve_destroy(struct weir_reserve **self)
{
    struct weir_reserve *reserve = *self;

    if (reserve == NULL)
        return;
    *self = NULL;
    pthread_mutex_destroy(&reserve->lock);
    free(reserve->path);
    free(reserve);
}

static bool allocate(struct weir_reserve *reserve)
{
    struct iovec iov = {(void *)(uintptr_t)reserve_text, sizeof reserve_text - 1};
    int fd = reserve->io->open(reserve->io, reserve->path, O_RDWR | O_CREAT | O_TRUNC);
    bool taken;

    if (fd < 0)
        return false;
    taken = reserve->io->allocate(reserve->io, fd, reserve->bytes) == 0 &&
            weir_io_write(reserve->io, fd, &iov, 1, 0) == 0;
    reserve->io->close(reserve->io, fd);
    if (!taken)
        reserve->io->unlink(reserve->io, reserve->path);
    return taken;
}

bool weir_reserve_take(struct weir_reserve *reserve)
{
    bool held;

    pthread_mutex_lock(&reserve->lock);
    if (!reserve->held)
        reserve->held = allocate(reserve);
    held = reserve->held;
    pthread_mutex_unlock(&reserve->lock);
    return held;
}

bool weir_reserve_give(struct weir_reserve *reserve)
{
    bool given;

    pthread_mutex_lock(&reserve->lock);
    given = reserve->held;
    if (given && reserve->io->unlink(reserve->io, reserve->path) != 0) {
        weir_log(WEIR_LOG_WARNING, "cannot give up the reserve %s: %s", reserve->path,
                 strerror(errno));
        given = false;
    }
    reserve->held = reserve->held && !given;
    pthread_mutex_unlock(&reserve->lock);
    if (given)
        weir_log(WEIR_LOG_WARNING,
                 "the disk is full: the reserve %s is given to the state, and no message is "
                 "accepted until there is space again",
                 reserve->path);
    return given;
}

bool weir_reserve_held(struct weir_reserve *reserve)
{
    bool held;

    pthread_mutex_lock(&reserve->lock);
    held = reserve->held;
    pthread_mutex_unlock(&reserve->lock);
    return held;
}

uint64_t weir_reserve_bytes(struct weir_reserve *reserve)
{
    return weir_reserve_held(reserve) ? reserve->bytes : 0;
}
