/* What a ventilator that is started again knows, after a kill and after a drain. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define W 50
static struct stage *two_of_three_out(struct got *first, struct got *second)
{
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 2);
    stage_fill(s, "a", 3);
    *first = *stage_expect(s, "a0");
    *second = *stage_expect(s, "a1");
    return s;
}

static void test_long_leases_survive(void **state)
{
    (void)state;
    struct got old, other;
    struct stage *s = two_of_three_out(&old, &other);
    stage_alive(s, W, 500, 1500);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 2);
    assert_string_equal(stage_state(s, 1, "g"), "in-flight");
    stage_worker(s, W + 1, 501);
    stage_credit(s, W + 1, "g", 5);
    stage_expect(s, "a2"); /* not the two that are out */
    assert_null(stage_next(s));
    old.peer = W + 1; /* another way, the lease's own name */
    stage_ack(s, &old, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    stage_alive(s, W + 1, 501, 31000); /* nobody names the other: it is given out anew */
    const struct got *again = stage_expect(s, "a1");
    assert_int_equal(again->attempt, 1);
    assert_int_not_equal(again->incarnation, other.incarnation);
    stage_destroy(&s);
}

static void test_a_drain_keeps_what_is_out(void **state)
{
    (void)state;
    struct got first, second;
    struct stage *s = two_of_three_out(&first, &second);
    struct weir_control drain = {.verb = WEIR_VERB_DRAIN};
    stage_control(s, WEIR_PORT_ADMIN, 2, &drain);
    assert_int_equal(s->stopped, -1);
    const uint64_t number = stage_put_later(s, &(struct stage_batch){.prefix = "b", .count = 1});
    stage_run(s);
    assert_int_equal(stage_answer(s, number)->verb, WEIR_VERB_REFUSED);
    assert_string_equal(stage_answer(s, number)->code, WEIR_CODE_DRAINING);
    stage_ack(s, &first, WEIR_DONE, NULL);
    assert_null(stage_next(s)); /* nothing new */
    assert_int_equal(s->stopped, -1);
    stage_alive(s, W, 500, 29000);
    stage_pass(s, 2000);
    assert_int_equal(s->stopped, 0); /* it does not wait for ever */
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 1); /* its lease has ended */
    stage_worker(s, W + 1, 501);
    second.peer = W + 1;
    stage_ack(s, &second, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "done"), 1); /* too late */
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    stage_destroy(&s);
}

static void test_a_drain_with_nothing_out_is_quick(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_fill(s, "a", 3);
    struct weir_control drain = {.verb = WEIR_VERB_DRAIN};
    stage_control(s, WEIR_PORT_ADMIN, 2, &drain);
    assert_int_equal(s->stopped, 0);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    stage_destroy(&s);
}

static void test_groups_change(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("old"), stage_policy("kept")};
    struct stage *s = stage_new(policies, 2, 0);
    stage_fill(s, "a", 2);
    stage_pass(s, 100);
    /* "old" is taken out of the topology, "new" and "all" are put in. */
    s->policies[0] = stage_policy("new");
    s->policies[2] = stage_policy("all");
    s->policies[2].start = WEIR_START_EARLIEST;
    s->config.group_count = 3;
    stage_restart(s);
    assert_non_null(strstr(s->log, "open")); /* and before that a warning */
    assert_int_equal(stage_stat(s, "old", "waiting"), 2);
    assert_int_equal(stage_stat(s, "kept", "waiting"), 2);
    assert_int_equal(stage_stat(s, "new", "waiting"), 0);
    assert_int_equal(stage_stat(s, "all", "waiting"), 2);
    stage_fill(s, "b", 1);
    stage_worker(s, W, 500);
    stage_credit(s, W, "old", 10); /* it may still be served */
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_expect(s, "b0");
    stage_credit(s, W, "new", 10);
    stage_expect(s, "b0");
    stage_credit(s, W, "all", 10);
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_expect(s, "b0");
    stage_group(s, "old", "remove");
    stage_pass(s, 100);
    stage_restart(s);
    assert_string_equal(stage_state(s, 1, "old"), "");
    assert_string_equal(stage_state(s, 1, "kept"), "waiting");
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_leases_survive),
        cmocka_unit_test(test_a_drain_keeps_what_is_out),
        cmocka_unit_test(test_a_drain_with_nothing_out_is_quick),
        cmocka_unit_test(test_groups_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
