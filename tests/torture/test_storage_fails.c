/* The N-th call of every kind to the disk fails, for every N, while a ventilator, a sink and a
 * collector work. What failed is either got over, or the process ends and says why; and afterwards,
 * with the power cut on top, whatever was confirmed is there, and all comes to an end. */
#include "faults.h"
#include "holder_life.h"
#include "spool_life.h"
#include "tape_vfs.h"

#include <base/alloc.h>
#include <base/log.h>

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define EVERY 5u /* calls */
#else
#define EVERY 1u
#endif
#define BATCHES 4u
#define DOWN_MS 600000
#define FOREVER 1000000u

/* How a call fails: its errno, and for how many calls on end. A kind's calls take them in turn,
 * with `all` every call takes each. */
struct way {
    int number;
    uint32_t times;
};

static const struct way ways[] = {
    {EIO, 1}, {ENOSPC, 1}, {ENOSPC, 25}, {EDQUOT, 3}, {EINTR, 1}, {EIO, FOREVER}, {SHORT_WRITE, 2},
};
#define WAYS (sizeof ways / sizeof *ways)

struct torture {
    char *directory;
    uint32_t runs, stops, closed;
};

/* A call that the system never ends in this way. */
static bool is_possible(enum fault kind, const struct way *way)
{
    const bool writes = kind == FAULT_WRITE || kind == FAULT_STATE_WRITE;

    if (way->number == SHORT_WRITE)
        return writes;
    if (way->number == EINTR)
        return kind == FAULT_READ || kind == FAULT_WRITE;
    if (way->number == ENOSPC || way->number == EDQUOT)
        return kind != FAULT_READ && kind != FAULT_STATE_READ && kind != FAULT_UNLINK &&
               kind != FAULT_STATE_UNLINK && kind != FAULT_STATE_SYNC;
    return true;
}

static const char *say_where(enum fault kind, uint32_t nth, const struct way *way)
{
    static char where[96];

    snprintf(where, sizeof where, "%s %u fails with %s, %u times", fault_name(kind), nth,
             way->number == SHORT_WRITE ? "a short write" : strerrorname_np(way->number),
             way->times);
    return where;
}

static struct disk *play(const struct tape *tape)
{
    struct disk *disk = disk_new(tape);

    for (uint32_t at = 0; at < tape->count; at++)
        disk_step(disk, &tape->entries[at]);
    return disk;
}

static void leave(const struct disk *disk, enum tape_end end, uint32_t seed, const char *directory)
{
    tape_directory_clear(directory);
    disk_leave(disk, end, seed, NULL, 0, directory);
}

/* The directory as one of the ends leaves it. */
static void leave_any(const struct tape *tape, uint32_t seed, const char *directory)
{
    static const enum tape_end ends[] = {TAPE_POWER_CUT, TAPE_TORN, TAPE_KILLED};
    struct disk *disk = play(tape);

    leave(disk, ends[seed % 3], seed, directory);
    disk_destroy(&disk);
}

static bool is_sync(enum fault kind)
{
    return kind == FAULT_SYNC || kind == FAULT_STATE_SYNC;
}

/* ---- the ventilator ---- */

static void recover_spool(struct torture *torture, struct truth *truth, const char *where)
{
    struct stage *stage = life_start(torture->directory, truth, DOWN_MS);

    if (stage->open_error.code != 0)
        fail_msg("%s: afterwards the spool does not open: %s", where, stage->open_error.text);
    if (stage->damage != NULL)
        fail_msg("%s: afterwards damage is reported: %s", where, stage->damage);
    life_produce(stage, truth, BATCHES);
    life_drain(stage, truth, where);
    for (uint32_t batch = 1; batch <= BATCHES; batch++)
        assert_int_not_equal(truth->first[batch], 0);
    stage_destroy(&stage);
}

/* A process whose sync failed has ended, and the page cache has what the disk has not. The next one
 * works on that, and then the power goes. */
static void lose_power_later(struct torture *torture, const struct tape *tape,
                             const struct truth *before, uint32_t seed, const char *where)
{
    struct truth truth = *before, later = *before;
    struct disk *disk = play(tape);
    struct weir_random random;
    struct tape *second;
    uint32_t end;

    leave(disk, TAPE_KILLED, 0, torture->directory);
    second = tape_record_on(torture->directory, disk);
    recover_spool(torture, &truth, where);
    tape_stop();
    weir_random_seed(&random, seed);
    end = (uint32_t)weir_random_below(&random, second->count + 1);
    for (uint32_t at = 0; at < end; at++) {
        disk_step(disk, &second->entries[at]);
        truth_step(&later, &second->entries[at]);
    }
    leave(disk, TAPE_POWER_CUT, 0, torture->directory);
    disk_destroy(&disk);
    tape_destroy(&second);
    recover_spool(torture, &later, where);
}

/* Returns whether there was such a call. */
static bool fail_spool(struct torture *torture, enum fault kind, uint32_t nth,
                       const struct way *way)
{
    const char *where = say_where(kind, nth, way);
    struct truth truth = {0};
    struct stage *stage;
    struct tape *tape;
    bool hit;

    tape_directory_clear(torture->directory);
    tape = tape_record(torture->directory);
    faults_set(kind, nth, way->times, way->number);
    stage = life_live(torture->directory, &truth, BATCHES);
    hit = faults_hit();
    faults_clear();
    torture->runs++;
    if (stage->role == NULL) {
        torture->closed++;
        if (stage->open_error.code == 0 || stage->open_error.text[0] == '\0')
            fail_msg("%s: the spool does not open and does not say why", where);
    } else if (stage->stopped != -1) {
        torture->stops++;
        if (stage->stopped == 0 || stage->errors_logged == 0)
            fail_msg("%s: the ventilator stopped without a word", where);
    } else {
        /* It got over it; now that the disk is well, so is all the rest. */
        life_produce(stage, &truth, BATCHES);
        life_drain(stage, &truth, where);
    }
    /* What the process does at its end it may not live to do. */
    if (nth % 2 == 0)
        stage_destroy(&stage);
    tape_stop();
    if (stage != NULL)
        stage_destroy(&stage);
    if (is_sync(kind))
        lose_power_later(torture, tape, &truth, nth, where);
    leave_any(tape, nth, torture->directory);
    tape_destroy(&tape);
    recover_spool(torture, &truth, where);
    return hit;
}

/* ---- sink and collector ---- */

static void open_again(struct torture *torture, enum holder_kind kind, struct holder *holder,
                       const struct holder_truth *truth, const char *where)
{
    if (holder_open(holder, kind, torture->directory) != 0)
        fail_msg("%s: afterwards it does not open: %s", where, holder->error.text);
    holder_check(holder, truth, false, where);
}

static void hold_all(struct holder *holder, struct holder_truth *truth, const char *where)
{
    if (holder_hold(holder, truth, 0, HOLDER_BATCHES - 1) != 0)
        fail_msg("%s: afterwards it holds nothing: %s", where, holder->error.text);
    holder_check(holder, truth, true, where);
}

/* As with the ventilator. */
static void lose_holders_power_later(struct torture *torture, enum holder_kind kind,
                                     const struct tape *tape, const struct holder_truth *before,
                                     const char *where)
{
    struct holder_truth truth = *before;
    struct disk *disk = play(tape);
    struct tape *second;
    struct holder holder;

    leave(disk, TAPE_KILLED, 0, torture->directory);
    second = tape_record_on(torture->directory, disk);
    open_again(torture, kind, &holder, &truth, where);
    hold_all(&holder, &truth, where);
    tape_stop();
    holder_close(&holder);
    for (uint32_t at = 0; at < second->count; at++)
        disk_step(disk, &second->entries[at]);
    leave(disk, TAPE_POWER_CUT, 0, torture->directory);
    disk_destroy(&disk);
    tape_destroy(&second);
    open_again(torture, kind, &holder, &truth, where);
    holder_close(&holder);
}

static bool fail_holder(struct torture *torture, enum holder_kind holder_kind, enum fault kind,
                        uint32_t nth, const struct way *way)
{
    const char *where = say_where(kind, nth, way);
    struct holder_truth truth = {0};
    struct weir_error error = {0};
    struct holder holder;
    struct tape *tape;
    bool hit;

    tape_directory_clear(torture->directory);
    tape = tape_record(torture->directory);
    faults_set(kind, nth, way->times, way->number);
    if (holder_live(holder_kind, torture->directory, HOLDER_BATCHES, &truth, &error) != 0) {
        torture->stops++;
        if (error.text[0] == '\0')
            fail_msg("%s: it stopped without a word", where);
    }
    hit = faults_hit();
    faults_clear();
    tape_stop();
    torture->runs++;
    if (is_sync(kind))
        lose_holders_power_later(torture, holder_kind, tape, &truth, where);
    leave_any(tape, nth, torture->directory);
    tape_destroy(&tape);
    open_again(torture, holder_kind, &holder, &truth, where);
    hold_all(&holder, &truth, where);
    holder_close(&holder);
    return hit;
}

/* ---- all of it ---- */

/* Of the spool (HOLDER_KINDS), or of a holder. */
static void fail_every_call(enum holder_kind holder)
{
    struct torture torture = {.directory = tape_directory_new()};
    const bool all = getenv("WEIR_TORTURE") != NULL;

    for (enum fault kind = 0; kind < FAULT_KINDS; kind++) {
        uint32_t calls = 0, nth = 1;

        for (bool hit = true; hit; nth += all ? 1 : EVERY) {
            hit = false;
            for (uint32_t i = 0; i < WAYS; i++) {
                const struct way *way = &ways[all ? i : (nth / EVERY + i) % WAYS];

                if (!is_possible(kind, way))
                    continue;
                hit |= holder == HOLDER_KINDS ? fail_spool(&torture, kind, nth, way)
                                              : fail_holder(&torture, holder, kind, nth, way);
                if (!all)
                    break;
            }
            calls = hit ? nth : calls;
        }
        if (calls > 0)
            print_message("  %s: %u calls%s\n", fault_name(kind), calls,
                          all || EVERY == 1 ? "" : " (some left out)");
    }
    assert_true(torture.runs > 20); /* else the calls do not come here */
    assert_true(torture.stops > 0);
    print_message("%u runs: %u ended by themselves, %u did not open\n", torture.runs, torture.stops,
                  torture.closed);
    tape_directory_destroy(&torture.directory);
}

static void test_ventilator(void **state)
{
    (void)state;
    fail_every_call(HOLDER_KINDS);
}

static void test_sink_of_lines(void **state)
{
    (void)state;
    fail_every_call(HOLDER_LINES);
}

static void test_sink_of_rows(void **state)
{
    (void)state;
    fail_every_call(HOLDER_ROWS);
}

static void test_collector(void **state)
{
    (void)state;
    fail_every_call(HOLDER_LETTERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ventilator),
        cmocka_unit_test(test_sink_of_lines),
        cmocka_unit_test(test_sink_of_rows),
        cmocka_unit_test(test_collector),
    };

    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    tape_vfs_use();
    return cmocka_run_group_tests_name("storage that fails", tests, NULL, NULL);
}
