/* Bugs found where memory runs out. */
#include "memory.h"
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void nothing(void)
{
}

/* 1: a table of uthash's that found no memory ended the process with status 255 and without a word,
 * from whichever thread, and ran what is registered to run at an orderly end. */
static void a_table_without_memory_ends_loudly(void **state)
{
    const struct weir_group_policy policy = stage_policy("g");
    struct memory_counts counts;
    struct stage *stage;

    (void)state;
    memory_end_each(1, nothing);
    stage = stage_new(&policy, 1, 0);
    stage_worker(stage, 50, 500);
    stage_credit(stage, 50, "g", 10);
    stage_fill(stage, "m", 1);
    stage_ack(stage, stage_expect(stage, "m0"), WEIR_DONE, NULL);
    counts = memory_ended();
    memory_end_each(0, NULL);
    assert_true(counts.tried > 50);
    assert_int_equal(counts.silent, 0);
    stage_destroy(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_without_memory_ends_loudly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
