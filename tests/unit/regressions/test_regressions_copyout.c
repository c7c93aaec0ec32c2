/* Bugs of what is copied out of the log, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

/* 1: when a group was removed, what had been copied out for it still counted. After enough of that
 * nothing was copied any more, and a message that nobody finished pinned the log for ever. */
static void what_a_removed_group_had_counts_no_more(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("old")};
    snprintf(policies[1].topics[0], sizeof policies[1].topics[0], "t.late");
    struct stage *s = stage_new(policies, 2, 0);
    s->config.group_count = 1; /* "old" is taken out of the topology */
    stage_restart(s);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10000);
    stage_credit(s, W, "old", 10);
    stage_put(s, &(struct stage_batch){.topic = "t.late", .prefix = "late", .count = 1});
    const struct got *late = stage_next(s);
    for (; late; late = stage_next(s)) /* it is done in one group, and waits in the other */
        stage_ack_range(s, late, 1, late->group[0] == 'g' ? WEIR_DONE : WEIR_RETRY, 600000);
    for (uint32_t i = 0; i < 100; i++) {
        stage_put(s, &(struct stage_batch){.prefix = "m", .count = 5, .payload_bytes = 1000});
        for (const struct got *got; (got = stage_next(s));)
            stage_ack(s, got, WEIR_DONE, NULL);
    }
    stage_alive(s, W, WORKER, 5000);
    assert_string_equal(stage_state(s, 1, "old"), "deferred");
    assert_true(stage_stat(s, NULL, "copied_bytes") > 0);
    stage_group(s, "old", "remove");
    assert_int_equal(stage_stat(s, NULL, "copied_bytes"), 0);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_removed_group_had_counts_no_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
