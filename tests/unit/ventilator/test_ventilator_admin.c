/* What an operator is told. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500
#define OPERATOR 2

/* Say it, and crash after so many completions of the store. Whether it was answered. */
static bool answered_before_crash(struct stage *s, const char *action, uint64_t steps)
{
    struct weir_control control = {.verb = WEIR_VERB_GROUP};
    WEIR_SET(&control, group, GROUP, weir_text_of("g"));
    WEIR_SET(&control, action, ACTION, weir_text_of(action));
    weir_bytes_drop(&s->admin);
    s->steps_left = steps;
    stage_control(s, WEIR_PORT_ADMIN, OPERATOR, &control);
    const bool answered = s->admin.size > 0;
    s->steps_left = UINT64_MAX;
    stage_restart(s);
    return answered;
}

/* Whether a message of the group is handed out. */
static bool goes_on(struct stage *s)
{
    const uint32_t before = s->got_count;
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 1);
    stage_run(s);
    if (s->got_count == before)
        return false;
    stage_ack(s, stage_next(s), WEIR_RELEASE, NULL);
    return true;
}

static void test_a_change_is_answered_when_it_is_durable(void **state)
{
    (void)state;
    const struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_fill(s, "a", 1);
    stage_pass(s, 1000);
    assert_false(answered_before_crash(s, "pause", 0));
    assert_true(goes_on(s));
    stage_pass(s, 1000);
    assert_true(answered_before_crash(s, "pause", 10));
    assert_false(goes_on(s));
    assert_false(answered_before_crash(s, "resume", 0));
    assert_false(goes_on(s));
    assert_true(answered_before_crash(s, "resume", 10));
    assert_true(goes_on(s));
    stage_pass(s, 1000);
    assert_false(answered_before_crash(s, "remove", 0));
    assert_int_equal(stage_stat(s, "g", "waiting"), 1);
    assert_true(answered_before_crash(s, "remove", 10));
    assert_int_equal(stage_stat(s, "g", "waiting"), 0); /* made anew, from the configuration */
    stage_destroy(&s);
}

/* Of what lies below the oldest tombstone that was kept it is only known that it has ended. */
static void test_what_was_forgotten_is_not_made_up(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.max_backlog = 1;
    policy.on_full = WEIR_ON_FULL_DEAD_LETTER;
    struct stage *s = stage_new(&policy, 1, 0);
    s->collector = COLLECTOR_TAKES_UNSEEN;
    const uint32_t batch = 5000, batches = WEIR_TOMBSTONES_MAX / batch + 2;
    for (uint32_t i = 0; i < batches; i++)
        stage_fill(s, "a", batch);
    assert_int_equal(stage_stat(s, "g", "dying"), 0);
    stage_pass(s, 2 * WEIR_HOUSEKEEPING_MS);
    assert_string_equal(stage_state(s, 2, "g"), "done");
    assert_true(stage_state_unknown(s, 2, "g", "death"));
    assert_true(stage_state_unknown(s, 2, "g", "attempt"));
    assert_string_equal(stage_state(s, batch * batches, "g"), "dead");
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_is_answered_when_it_is_durable),
        cmocka_unit_test(test_what_was_forgotten_is_not_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
