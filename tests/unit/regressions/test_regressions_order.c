/* Bugs of the order of keys, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

/* 1: the second message of a key had failed, and was a row; the first was still out when the
 * ventilator crashed, with nothing of it in the state. After the restart the row was due before the
 * log had been gone through, and went out first. */
static void a_row_waits_for_what_the_log_hides(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "k"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = 2, .keys = keys});
    stage_credit(s, W, "g", 2);
    stage_expect(s, "m0");
    const struct got second = *stage_expect(s, "m1");
    stage_ack(s, &second, WEIR_RETRY, "no");
    stage_pass(s, 200);
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    stage_restart(s);
    stage_pass(s, 2000); /* the row is due */
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 1);
    const struct got first = *stage_expect(s, "m0");
    assert_null(stage_next(s));
    stage_ack(s, &first, WEIR_DONE, NULL);
    stage_credit(s, W + 1, "g", 2);
    stage_pass(s, 100);
    const struct got again = *stage_expect(s, "m1");
    assert_int_equal(again.attempt, 2);
    stage_ack(s, &again, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

/* 2: a message that had waited in the state for its key was in none of the group's numbers while it
 * was being fetched: the group seemed to be empty, and had room in its backlog that it had not.
 * (Seed 5 of the simulator, with --repeats 40 --window 4.) */
static void a_row_on_its_way_from_the_state_is_counted(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "k"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = 2, .keys = keys});
    stage_credit(s, W, "g", 8);
    const struct got first = *stage_expect(s, "m0");
    const struct got second = *stage_expect(s, "m1");
    stage_ack(s, &second, WEIR_RETRY, "no");
    stage_alive(s, W, WORKER, 2000); /* it is due, and waits for the first one */
    assert_int_equal(stage_stat(s, "g", "waiting"), 1);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    s->steps_left = 0; /* the state takes its time */
    stage_ack(s, &first, WEIR_DONE, NULL);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    s->steps_left = UINT64_MAX;
    s->crashed = false;
    stage_run(s);
    const struct got again = *stage_expect(s, "m1");
    assert_int_equal(again.attempt, 2);
    stage_ack(s, &again, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_waits_for_what_the_log_hides),
        cmocka_unit_test(a_row_on_its_way_from_the_state_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
