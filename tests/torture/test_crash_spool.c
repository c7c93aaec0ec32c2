/* A ventilator's work is recorded, and then it ends at every single write that was made to its log
 * and its state: killed, in the middle of the write, by a power cut, and by one that tears what was
 * not synced. Whatever was confirmed up to there is done or dead afterwards, once, and a torn end
 * is no damage. */
#include "spool_life.h"
#include "tape_vfs.h"

#include <base/alloc.h>

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define EVERY 5u /* boundaries */
#else
#define EVERY 1u
#endif
#define TORN_EVERY 8u /* writes; and at every sync */
#define DOWN_MS 600000

struct crash {
    char *directory;
    uint32_t boundaries, recoveries, again;
};

/* Start from what is left, and see it through to the end. Gives back how far the tape of it (if
 * there is one) was when the ventilator stood. */
static uint32_t recover(struct crash *crash, const struct truth *before, const struct tape *tape,
                        const char *where)
{
    struct truth truth = *before;
    struct stage *stage = life_start(crash->directory, &truth, DOWN_MS);
    uint32_t last = 0, opened = tape != NULL ? tape_length(tape) : 0;

    crash->recoveries++;
    if (stage->open_error.code != 0)
        fail_msg("%s: the spool does not open: %s", where, stage->open_error.text);
    if (stage->damage != NULL)
        fail_msg("%s: damage is reported: %s", where, stage->damage);
    /* The next two may have been on their way: they are said again. */
    while (last < LIFE_BATCHES && truth.first[last + 1] != 0)
        last++;
    last = last + 2 < LIFE_BATCHES ? last + 2 : LIFE_BATCHES;
    life_produce(stage, &truth, last);
    life_drain(stage, &truth, where);
    for (uint32_t batch = 1; batch <= last; batch++)
        assert_int_not_equal(truth.first[batch], 0);
    stage_destroy(&stage);
    return opened;
}

/* The directory as the disk is left before entry `at`. */
static void leave(struct crash *crash, const struct disk *disk, const struct tape *tape,
                  uint32_t at, enum tape_end end)
{
    const struct tape_entry *next = &tape->entries[at];
    const uint64_t part = next->kind == TAPE_WRITE && end == TAPE_KILLED ? next->bytes / 2 : 0;

    tape_directory_clear(crash->directory);
    disk_leave(disk, end, at, next, part, crash->directory);
}

/* Somewhere on the way of a second life, half of the time before the ventilator stands. */
static uint32_t somewhere(uint32_t seed, uint32_t opened, uint32_t count)
{
    struct weir_random random;

    weir_random_seed(&random, seed);
    return (uint32_t)weir_random_below(&random,
                                       weir_random_below(&random, 2) == 0 ? opened : count);
}

/* The end comes a second time, while the ventilator recovers or afterwards. After a kill the power
 * goes, with what even the first life had not synced; else it goes twice. */
static void end_twice(struct crash *crash, const struct disk *disk, const struct truth *before,
                      uint32_t at)
{
    const bool killed = at % 2 == 0;
    struct truth truth = *before;
    struct disk *second;
    struct tape *other;
    char where[96];
    uint32_t opened, end;

    snprintf(where, sizeof where, "%s before entry %u", killed ? "killed" : "torn", at);
    tape_directory_clear(crash->directory);
    disk_leave(disk, killed ? TAPE_KILLED : TAPE_TORN, at, NULL, 0, crash->directory);
    other = killed ? tape_record_on(crash->directory, disk) : tape_record(crash->directory);
    opened = recover(crash, before, other, where);
    tape_stop();
    end = somewhere(at, opened, other->count);
    second = killed ? disk_copy(disk) : disk_new(other);
    for (uint32_t i = 0; i < end; i++) {
        disk_step(second, &other->entries[i]);
        truth_step(&truth, &other->entries[i]);
    }
    snprintf(where, sizeof where, "%s before entry %u, power cut before entry %u of %u",
             killed ? "killed" : "torn", at, end, other->count);
    tape_directory_clear(crash->directory);
    disk_leave(second, TAPE_POWER_CUT, 0, NULL, 0, crash->directory);
    recover(crash, &truth, NULL, where);
    crash->again++;
    disk_destroy(&second);
    tape_destroy(&other);
}

static void end_here(struct crash *crash, const struct disk *disk, const struct truth *truth,
                     const struct tape *tape, uint32_t at, enum tape_end end)
{
    static const char *const names[] = {"killed", "power cut", "torn"};
    char where[64];

    snprintf(where, sizeof where, "%s before entry %u", names[end], at);
    leave(crash, disk, tape, at, end);
    recover(crash, truth, NULL, where);
}

static void crash_everywhere(struct crash *crash, const struct tape *tape)
{
    struct disk *disk = disk_new(tape);
    struct truth truth = {0};

    for (uint32_t at = 0; at < tape->count; at++) {
        const struct tape_entry *entry = &tape->entries[at];
        const bool syncs = entry->kind == TAPE_SYNC || entry->kind == TAPE_SYNC_DIRECTORY;

        /* What is left changes with the entry; until here the outside learnt the most. */
        if (entry->kind != TAPE_NOTE && crash->boundaries++ % EVERY == 0) {
            end_here(crash, disk, &truth, tape, at, syncs ? TAPE_POWER_CUT : TAPE_KILLED);
            if (syncs)
                end_twice(crash, disk, &truth, at);
            else if (at % TORN_EVERY == 0)
                end_here(crash, disk, &truth, tape, at, TAPE_TORN);
        }
        disk_step(disk, entry);
        truth_step(&truth, entry);
    }
    disk_destroy(&disk);
}

static void test_ends_at_every_write(void **state)
{
    struct crash crash = {.directory = tape_directory_new()};
    struct truth truth = {0};
    struct tape *tape = tape_record(crash.directory);
    struct stage *stage = life_live(crash.directory, &truth, LIFE_BATCHES);

    (void)state;
    assert_int_equal(stage->stopped, -1);
    stage_destroy(&stage);
    tape_stop();
    crash_everywhere(&crash, tape);
    print_message("%u boundaries%s, %u recoveries, %u of them after a second end\n",
                  crash.boundaries, EVERY > 1 ? " (some left out)" : "", crash.recoveries,
                  crash.again);
    assert_true(crash.boundaries > 1000); /* else the recording is broken */
    assert_true(crash.again > 0);
    tape_destroy(&tape);
    tape_directory_destroy(&crash.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_at_every_write),
    };

    /* A stage is large and mostly empty: fresh pages for each are cheaper than to wipe it. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    tape_vfs_use();
    return cmocka_run_group_tests_name("spool crashes", tests, NULL, NULL);
}
