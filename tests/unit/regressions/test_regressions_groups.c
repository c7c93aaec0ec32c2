/* Bugs of which groups there are, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DAY_MS (24 * 3600 * INT64_C(1000))

/* 1: the time in which a ventilator was down, and that by which the clock had jumped, counted as
 * time without a worker. A group that was not in the topology lost its messages at the start,
 * before a worker could come back. */
static void a_group_is_idle_only_while_a_worker_could_come(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("left")};
    policies[1].expire_idle_ms = 3600000;
    struct stage *s = stage_new(policies, 2, 0);
    s->config.group_count = 1;
    stage_fill(s, "m", 1);
    stage_pass(s, 1000);
    stage_crash(s);
    s->now.wall_ms += DAY_MS;
    stage_start(s);
    stage_run(s);
    stage_pass(s, 20000);
    assert_int_equal(stage_stat(s, "left", "waiting"), 1);
    s->now.wall_ms += DAY_MS; /* it jumps */
    stage_pass(s, 20000);
    assert_int_equal(stage_stat(s, "left", "waiting"), 1);
    s->now.wall_ms -= 2 * DAY_MS;
    stage_pass(s, 3600000); /* by now nobody has come for so long */
    stage_pass(s, 20000);
    assert_string_equal(stage_state(s, 1, "left"), "");
    assert_string_equal(stage_state(s, 1, "g"), "waiting");
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_idle_only_while_a_worker_could_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
