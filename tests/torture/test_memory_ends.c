/* Weir gets no memory at its N-th request, for every N, while a ventilator, a sink and a collector
 * work: the process says so and ends there and then, and what it left is recovered with all that
 * was confirmed. */
#include "holder_life.h"
#include "memory.h"
#include "spool_life.h"
#include "tape_inside.h"
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
#define EVERY 11u /* allocations: a fork is slow there */
#else
#define EVERY 1u
#endif
#define BATCHES 2u
#define HOLDER_BATCHES_HELD 6u
#define DOWN_MS 600000
#define ENTRIES_MAX 8192u

static const struct tape *tape;
static bool ended_at[ENTRIES_MAX]; /* after so many entries of the tape memory ran out */

static void seen(void)
{
    const uint32_t at = tape_length(tape);

    if (at < ENTRIES_MAX)
        ended_at[at] = true;
}

static void begin(struct tape *recorded)
{
    tape = recorded;
    memset(ended_at, 0, sizeof ended_at);
    memory_end_each(EVERY, seen);
}

static void end(void)
{
    const struct memory_counts counts = memory_ended();

    memory_end_each(0, NULL);
    tape_stop();
    assert_true(tape->count < ENTRIES_MAX);
    assert_true(counts.calls > 100);
    assert_int_equal(counts.silent, 0);
    print_message("%llu allocations, %llu of them failed, each with a loud end; ",
                  (unsigned long long)counts.calls, (unsigned long long)counts.tried);
}

/* What the outside knows: of a ventilator, or of a holder. */
struct known {
    struct truth spool;
    struct holder_truth holder;
};

static void recover_spool(const char *directory, const struct known *known, const char *where)
{
    struct truth later = known->spool;
    struct stage *stage = life_start(directory, &later, DOWN_MS);

    assert_string_equal(stage->open_error.text, "");
    assert_null(stage->damage);
    life_produce(stage, &later, BATCHES);
    life_drain(stage, &later, where);
    stage_destroy(&stage);
}

static void recover_holder(const char *directory, enum holder_kind kind, const struct known *known,
                           const char *where)
{
    struct holder holder;

    assert_int_equal(holder_open(&holder, kind, directory), 0);
    holder_check(&holder, &known->holder, false, where);
    holder_close(&holder);
}

/* What each end left is recovered, with all that was confirmed up to there. HOLDER_KINDS: it is a
 * ventilator's. */
static void recover_each(const char *directory, enum holder_kind kind)
{
    struct known known = {0};
    struct disk *disk = disk_new(tape);
    uint32_t recoveries = 0;

    for (uint32_t at = 0; at <= tape->count; at++) {
        if (ended_at[at]) {
            char where[64];

            snprintf(where, sizeof where, "no memory after entry %u", at);
            tape_directory_clear(directory);
            disk_leave(disk, TAPE_KILLED, 0, NULL, 0, directory);
            if (kind == HOLDER_KINDS)
                recover_spool(directory, &known, where);
            else
                recover_holder(directory, kind, &known, where);
            recoveries++;
        }
        if (at == tape->count)
            break;
        disk_step(disk, &tape->entries[at]);
        if (kind == HOLDER_KINDS)
            truth_step(&known.spool, &tape->entries[at]);
        else
            holder_truth_step(&known.holder, &tape->entries[at]);
    }
    print_message("%u recoveries\n", recoveries);
    assert_true(recoveries > 0);
    disk_destroy(&disk);
}

static void test_ventilator(void **state)
{
    char *directory = tape_directory_new();
    struct truth truth = {0};
    struct tape *recorded = tape_record(directory);
    struct stage *stage;

    (void)state;
    begin(recorded);
    stage = life_live(directory, &truth, BATCHES);
    stage_destroy(&stage);
    end();
    recover_each(directory, HOLDER_KINDS);
    tape_destroy(&recorded);
    tape_directory_destroy(&directory);
}

static void starve_holder(enum holder_kind kind)
{
    char *directory = tape_directory_new();
    struct holder_truth truth = {0};
    struct weir_error error = {0};
    struct tape *recorded = tape_record(directory);

    begin(recorded);
    assert_int_equal(holder_live(kind, directory, HOLDER_BATCHES_HELD, &truth, &error), 0);
    end();
    recover_each(directory, kind);
    tape_destroy(&recorded);
    tape_directory_destroy(&directory);
}

static void test_sink_of_lines(void **state)
{
    (void)state;
    starve_holder(HOLDER_LINES);
}

static void test_collector(void **state)
{
    (void)state;
    starve_holder(HOLDER_LETTERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ventilator),
        cmocka_unit_test(test_sink_of_lines),
        cmocka_unit_test(test_collector),
    };

    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    tape_vfs_use();
    return cmocka_run_group_tests_name("no memory", tests, NULL, NULL);
}
