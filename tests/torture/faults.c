#include "faults.h"
#include "tape_inside.h"

#include <errno.h>
#include <string.h>

static struct {
    enum fault kind;
    uint32_t nth, times;
    int number;
    bool hit;
    uint32_t seen[FAULT_KINDS];
} faults;

void faults_set(enum fault kind, uint32_t nth, uint32_t times, int number)
{
    tape_lock();
    memset(&faults, 0, sizeof faults);
    faults.kind = kind;
    faults.nth = nth;
    faults.times = times;
    faults.number = number;
    tape_unlock();
}

void faults_clear(void)
{
    faults_set(FAULT_OPEN, 0, 0, 0);
}

uint32_t faults_seen(enum fault kind)
{
    uint32_t seen;

    tape_lock();
    seen = faults.seen[kind];
    tape_unlock();
    return seen;
}

bool faults_hit(void)
{
    bool hit;

    tape_lock();
    hit = faults.hit;
    tape_unlock();
    return hit;
}

bool fault_comes(enum fault kind)
{
    uint32_t call = ++faults.seen[kind];

    if (faults.nth == 0 || faults.kind != kind || call < faults.nth ||
        call - faults.nth >= faults.times)
        return false;
    faults.hit = true;
    errno = faults.number == SHORT_WRITE ? ENOSPC : faults.number;
    return true;
}

bool fault_is_short(void)
{
    return faults.number == SHORT_WRITE;
}

const char *fault_name(enum fault kind)
{
    static const char *const names[FAULT_KINDS] = {
        "open",       "pread",        "pwritev",    "fsync",      "fallocate",
        "rename",     "unlink",       "state open", "state read", "state write",
        "state sync", "state unlink", "state shm",
    };

    return names[kind];
}
