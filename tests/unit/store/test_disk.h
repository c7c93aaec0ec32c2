/* System calls for a spool whose disk misbehaves on demand: the N-th call ends the process as a
 * kill or as a power cut would, or calls fail, or a sync waits until the test lets it go on.
 *
 * A power cut takes back what was not synced: writes to files, renames in directories. With a seed,
 * only some of it, in pieces of 512 bytes, as a disk that writes in an order of its own. */
#ifndef WEIR_TESTS_TEST_DISK_H
#define WEIR_TESTS_TEST_DISK_H

#include <base/random.h>
#include <store/io.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

enum disk_call {
    DISK_OPEN = 1,
    DISK_WRITE,
    DISK_SYNC,
    DISK_ALLOCATE,
    DISK_RENAME,
    DISK_UNLINK,
};

enum disk_end {
    DISK_GOES_ON,
    DISK_KILL,      /* what was written stays in the page cache */
    DISK_POWER_CUT, /* nothing that was not synced is left */
    DISK_TEAR,      /* some of what was not synced is left */
};

struct disk_change;

struct test_disk {
    struct weir_io io;
    pthread_mutex_t lock;
    struct disk_change *changes; /* not synced, newest first */
    struct weir_random random;
    uint64_t calls;  /* that change something, so far */
    uint64_t end_at; /* the call that is not carried out; 0: none */
    enum disk_end end;
    /* Calls of this kind fail from the `fail_after`-th on, `fail_count` times. */
    enum disk_call fail;
    uint32_t fail_after;
    uint32_t fail_count;
    int fail_errno;
    uint32_t syncs; /* of files, data only */
    bool hold_syncs;
    sem_t sync_begun, sync_may_go_on;
};

void test_disk_init(struct test_disk *disk);
void test_disk_fini(struct test_disk *disk);
void test_disk_fail(struct test_disk *disk, enum disk_call call, uint32_t after, uint32_t count,
                    int number);
/* From now on syncs of data wait; and go on. One at a time may be waiting. */
void test_disk_hold(struct test_disk *disk, bool hold);
/* Until one waits. */
void test_disk_wait_for_sync(struct test_disk *disk);
uint32_t test_disk_syncs(struct test_disk *disk);

#endif
