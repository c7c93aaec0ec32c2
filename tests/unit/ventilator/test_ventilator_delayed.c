/* A group that is made before a delayed message is due receives it, whatever became of the log
 * meanwhile. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define W 50
#define WORKER 500
#define DELAY_MS 600000

static void join(struct stage *s, const char *group, const char *topic)
{
    struct weir_text topics[] = {weir_text_of(topic)};
    struct weir_control control = {.verb = WEIR_VERB_JOIN};
    WEIR_SET(&control, group, GROUP, weir_text_of(group));
    WEIR_SET(&control, topics, TOPICS, topics);
    control.topic_count = 1;
    stage_control(s, WEIR_PORT_DISPATCH, W, &control);
}

static void put_delayed(struct stage *s, const char *topic, const char *prefix, uint32_t count)
{
    stage_put(s, &(struct stage_batch){
                     .topic = topic, .prefix = prefix, .count = count, .delay_ms = DELAY_MS});
}

/* The group gets exactly these, when they are due, and they are done. */
static void expect_all(struct stage *s, const char *group, const char *prefix, uint32_t count)
{
    const int64_t left_ms = STAGE_START_MS + DELAY_MS + 1000 - s->now.wall_ms;
    stage_credit(s, W, group, 1000);
    stage_alive(s, W, WORKER, left_ms > 0 ? left_ms : 10);
    for (uint32_t i = 0; i < count; i++) {
        char payload[48];
        snprintf(payload, sizeof payload, "%s%u", prefix, i);
        const struct got *got = stage_expect(s, payload);
        assert_string_equal(got->group, group);
        assert_int_equal(got->attempt, 1);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, group, "done"), count);
    assert_int_equal(stage_stat(s, group, "deferred"), 0);
    assert_int_equal(stage_stat(s, group, "waiting"), 0);
}

static void test_a_group_that_joins(void **state)
{
    (void)state;
    struct stage *s = stage_new(NULL, 0, 0); /* nobody wanted it when it came */
    put_delayed(s, "t.a", "a", 3);
    put_delayed(s, "u.a", "other", 2);
    stage_fill(s, "now", 1);
    stage_pass(s, 60000);
    stage_worker(s, W, WORKER);
    join(s, "late", "t.*");
    assert_int_equal(s->joined, 1);
    assert_int_equal(stage_stat(s, "late", "deferred"), 3);
    assert_string_equal(stage_state(s, 2, "late"), "deferred");
    assert_string_equal(stage_state(s, 6, "late"), "");
    expect_all(s, "late", "a", 3);
    assert_string_equal(stage_state(s, 2, "late"), "done");
    stage_pass(s, 60000);
    join(s, "too-late", "t.*");
    assert_int_equal(stage_stat(s, "too-late", "deferred"), 0);
    stage_destroy(&s);
}

static void test_a_group_of_the_configuration(void **state)
{
    (void)state;
    const struct weir_group_policy policies[] = {stage_policy("first"), stage_policy("second")};
    struct stage *s = stage_new(policies, 1, 0);
    put_delayed(s, "t.a", "a", 2);
    stage_pass(s, 60000);
    s->policies[1] = policies[1];
    s->config.group_count = 2;
    stage_restart(s);
    assert_int_equal(stage_stat(s, "first", "deferred"), 2);
    assert_int_equal(stage_stat(s, "second", "deferred"), 2);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "second", "deferred"), 2);
    stage_worker(s, W, WORKER);
    expect_all(s, "second", "a", 2);
    expect_all(s, "first", "a", 2);
    stage_destroy(&s);
}

static void test_what_is_gone_from_the_log(void **state)
{
    (void)state;
    const struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 100000);
    put_delayed(s, "u.a", "a", 2);
    const uint64_t segments = 4 * WEIR_MEMORY_SEGMENT_BYTES;
    for (uint64_t bytes = 0; bytes < segments; bytes += 10000) {
        const struct stage_batch batch = {.prefix = "x", .count = 1, .payload_bytes = 10000};
        assert_int_equal(stage_put(s, &batch).verb, WEIR_VERB_OK);
        stage_ack(s, stage_next(s), WEIR_DONE, NULL);
    }
    stage_pass(s, 5000);
    assert_true(stage_stat(s, NULL, "used_bytes") < 2 * WEIR_MEMORY_SEGMENT_BYTES);
    stage_restart(s);
    stage_worker(s, W, WORKER);
    join(s, "late", "u.a");
    expect_all(s, "late", "a", 2);
    stage_alive(s, W, WORKER, DELAY_MS);
    assert_int_equal(stage_stat(s, NULL, "copied_bytes"), 0);
    stage_destroy(&s);
}

/* Whenever it crashes: either the group is not there, or it has all of them. */
static void test_a_crash(void **state)
{
    (void)state;
    uint32_t lost = 0, joined = 0;
    for (uint64_t steps = 0; steps < 12; steps++) {
        struct stage *s = stage_new(NULL, 0, 0);
        put_delayed(s, "t.a", "a", 2);
        stage_worker(s, W, WORKER);
        s->steps_left = steps;
        /* One more is on its way to the disk when the group is made. */
        stage_put_later(s, &(struct stage_batch){
                               .topic = "t.b", .prefix = "b", .count = 1, .delay_ms = DELAY_MS});
        join(s, "late", "t.>");
        s->steps_left = UINT64_MAX;
        const bool answered = s->joined > 0, accepted = s->answered_count == 2;
        stage_restart(s);
        stage_worker(s, W, WORKER);
        lost += !answered;
        joined += answered && accepted;
        if (!answered)
            join(s, "late", "t.>");
        const uint64_t deferred = stage_stat(s, "late", "deferred");
        assert_true(deferred == 3 || (deferred == 2 && !accepted));
        stage_credit(s, W, "late", 1000);
        stage_alive(s, W, WORKER, DELAY_MS + 1000);
        stage_expect(s, "a0");
        stage_expect(s, "a1");
        if (deferred == 3)
            stage_expect(s, "b0");
        assert_null(stage_next(s));
        stage_destroy(&s);
    }
    assert_true(lost > 0 && joined > 0); /* both were tried */
}

static void test_a_death_before_the_start_can_be_replayed(void **state)
{
    (void)state;
    struct stage *s = stage_new(NULL, 0, 0);
    put_delayed(s, "t.a", "a", 1);
    stage_worker(s, W, WORKER);
    join(s, "late", "t.*");
    stage_credit(s, W, "late", 10);
    stage_alive(s, W, WORKER, DELAY_MS + 1000);
    stage_ack(s, stage_expect(s, "a0"), WEIR_REJECT, "never");
    stage_pass(s, 1000);
    assert_int_equal(s->letter_count, 1);
    assert_string_equal(stage_state(s, 1, "late"), "dead");
    assert_int_equal(stage_replay(s, &s->letters[0]).verb, WEIR_VERB_OK);
    stage_alive(s, W, WORKER, 1000);
    stage_ack(s, stage_expect(s, "a0"), WEIR_DONE, NULL);
    assert_string_equal(stage_state(s, 1, "late"), "done");
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group_that_joins),
        cmocka_unit_test(test_a_group_of_the_configuration),
        cmocka_unit_test(test_what_is_gone_from_the_log),
        cmocka_unit_test(test_a_crash),
        cmocka_unit_test(test_a_death_before_the_start_can_be_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
