/* delivery: at-most-once. The state knows of a message before a worker does. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

static struct stage *final_group(void)
{
    struct weir_group_policy policy = stage_policy("g");
    policy.delivery = WEIR_AT_MOST_ONCE;
    return stage_new(&policy, 1, 0);
}

static void test_nothing_comes_twice(void **state)
{
    (void)state;
    struct stage *s = final_group();
    stage_fill(s, "a", 5);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 3);
    const struct got *a0 = stage_expect(s, "a0");
    assert_true(a0->once);
    stage_ack(s, a0, WEIR_DONE, NULL);
    stage_ack(s, stage_expect(s, "a1"), WEIR_RETRY, "no");
    stage_expect(s, "a2");
    assert_null(stage_next(s));
    stage_gone(s, W);
    stage_pass(s, 1000);
    assert_string_equal(stage_state(s, 1, "g"), "done");
    assert_string_equal(stage_state(s, 2, "g"), "dropped");
    stage_restart(s);
    assert_string_equal(stage_state(s, 2, "g"), "dropped");
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 10);
    stage_expect(s, "a3");
    stage_expect(s, "a4");
    stage_pass(s, 5000);
    assert_null(stage_next(s));
    assert_int_equal(s->letter_count, 0);
    stage_destroy(&s);
}

static void test_a_crash_at_every_point_repeats_nothing(void **state)
{
    (void)state;
    for (uint64_t steps = 1; steps < 60; steps++) {
        bool seen[8] = {false};
        struct stage *s = final_group();
        stage_fill(s, "a", 7);
        s->steps_left = steps;
        stage_worker(s, W, WORKER);
        for (uint32_t credit = 1; credit <= 7 && !s->crashed; credit += 2)
            stage_credit(s, W, "g", credit);
        s->steps_left = UINT64_MAX;
        stage_restart(s);
        stage_worker(s, W + 1, WORKER + 1);
        stage_credit(s, W + 1, "g", 100);
        for (uint32_t i = 0; i < s->got_count; i++) {
            assert_false(seen[s->got[i].sequence]);
            seen[s->got[i].sequence] = true;
        }
        assert_true(seen[7]);
        stage_destroy(&s);
    }
}

static void test_what_was_given_back_goes_out_again(void **state)
{
    (void)state;
    struct stage *s = final_group();
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10);
    stage_fill(s, "a", 2);
    const struct got *a0 = stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_ack(s, a0, WEIR_RELEASE, NULL);
    stage_expect(s, "a0"); /* nobody had looked at it */
    assert_null(stage_next(s));
    stage_destroy(&s);
}

static void test_a_delayed_one_goes_out_once(void **state)
{
    (void)state;
    struct stage *s = final_group();
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10);
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 2, .delay_ms = 2000});
    stage_pass(s, 2100);
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_restart(s);
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 10);
    stage_pass(s, 5000);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_comes_twice),
        cmocka_unit_test(test_a_crash_at_every_point_repeats_nothing),
        cmocka_unit_test(test_what_was_given_back_goes_out_again),
        cmocka_unit_test(test_a_delayed_one_goes_out_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
