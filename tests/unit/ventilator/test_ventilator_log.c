/* The log: many messages, groups that lag, what pins a segment and what does not. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

/* Acknowledge everything that has come since, by whole runs. */
static uint32_t done_all(struct stage *s)
{
    uint32_t done = 0;
    while (s->got_seen < s->got_count) {
        const struct got *first = &s->got[s->got_seen];
        uint32_t count = 1;
        while (s->got_seen + count < s->got_count && first[count].delivery == first->delivery)
            count++;
        s->got_seen += count;
        done += count;
        stage_ack_range(s, first, count, WEIR_DONE, -1);
    }
    return done;
}

static void test_ten_thousand(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("lags")};
    struct stage *s = stage_new(policies, 2, 0);
    for (uint32_t i = 0; i < 10; i++)
        stage_fill(s, "m", 1000);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 20000);
    stage_pass(s, 10);
    assert_int_equal(done_all(s), 10000);
    assert_int_equal(stage_stat(s, "g", "done"), 10000);
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(s->got[i].sequence, i + 1);
    /* Started anew, there is no batch in memory: the other group reads the log. */
    stage_pass(s, 100);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "done"), 10000);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "lags", "waiting"), 10000);
    stage_worker(s, W, WORKER + 1);
    stage_credit(s, W, "lags", 20000);
    stage_pass(s, 10);
    assert_int_equal(done_all(s), 10000);
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(s->got[10000 + i].sequence, i + 1);
    assert_int_equal(stage_stat(s, "lags", "waiting"), 0);
    stage_destroy(&s);
}

static void test_small_batches_share_a_delivery(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    for (uint32_t i = 0; i < 300; i++)
        stage_fill(s, "m", 1);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 1000);
    assert_int_equal(s->got_count, 300);
    assert_int_equal(s->got[0].delivery, s->got[WEIR_SLICES_MAX - 1].delivery);
    assert_int_not_equal(s->got[0].delivery, s->got[WEIR_SLICES_MAX].delivery);
    stage_destroy(&s);
}

/* What comes closely leaves together, a few ms later. */
static void test_deliveries_are_spaced(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 100000);
    for (uint32_t i = 0; i < WEIR_PACE_MESSAGES; i++) { /* so many go at once */
        stage_fill(s, "few", 1);
        assert_int_equal(s->got_count, i + 1);
    }
    const uint32_t held = 10 * WEIR_PACE_DELIVERY_MS;
    for (uint32_t ms = 0; ms < WEIR_PACE_DELIVERY_MS; ms++) {
        stage_fill(s, "many", 10);
        assert_int_equal(s->got_count, WEIR_PACE_MESSAGES);
        assert_int_equal(stage_stat(s, "g", "waiting"), 10 * (ms + 1));
        stage_pass(s, 1);
    }
    assert_int_equal(s->got_count, WEIR_PACE_MESSAGES + held);
    const struct got *first = &s->got[WEIR_PACE_MESSAGES];
    for (uint32_t i = 0; i < held; i++) {
        assert_int_equal(first[i].sequence, WEIR_PACE_MESSAGES + i + 1);
        assert_int_equal(first[i].delivery, first->delivery);
    }
    stage_fill(s, "much", WEIR_DELIVERY_MESSAGES_MAX / 2); /* worth a delivery */
    assert_int_equal(s->got_count, WEIR_PACE_MESSAGES + held + WEIR_DELIVERY_MESSAGES_MAX / 2);
    assert_int_equal(done_all(s), s->got_count);
    stage_destroy(&s);
}

/* Whoever sends the next ones when the last ones are done is not made to wait for each. */
static void test_nothing_is_held_in_vain(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 100000);
    stage_fill(s, "m", WEIR_PACE_MESSAGES);
    assert_int_equal(done_all(s), WEIR_PACE_MESSAGES);
    stage_fill(s, "m", 10);
    assert_int_equal(done_all(s), 0);
    stage_pass(s, WEIR_PACE_DELIVERY_STEP_MS);
    assert_int_equal(done_all(s), 10);
    for (uint32_t i = 0; i < 2 * WEIR_PACE_MESSAGES; i++) {
        stage_fill(s, "m", 10);
        assert_int_equal(done_all(s), 10);
    }
    stage_destroy(&s);
}

static uint64_t used(struct stage *s)
{
    return stage_stat(s, NULL, "used_bytes");
}

/* 30 segments' worth. */
static void fill_log(struct stage *s)
{
    for (uint32_t i = 0; i < 100; i++) {
        stage_put(s, &(struct stage_batch){.prefix = "m", .count = 5, .payload_bytes = 1000});
        stage_pass(s, WEIR_PACE_DELIVERY_MS); /* it may be held so long */
        done_all(s);
    }
}

static void test_the_log_is_freed(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("lags")};
    struct stage *s = stage_new(policies, 2, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10000);
    fill_log(s);
    stage_pass(s, 5000);
    assert_true(used(s) > 500000); /* a group that lags pins it all */
    stage_credit(s, W, "lags", 10000);
    stage_pass(s, 10);
    assert_int_equal(done_all(s), 500);
    stage_pass(s, 5000);
    assert_true(used(s) < 2 * WEIR_MEMORY_SEGMENT_BYTES);
    assert_string_equal(stage_state(s, 3, "g"), "done"); /* though the message is gone */
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    stage_destroy(&s);
}

static void test_a_few_unfinished_pin_nothing(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10000);
    stage_put(s, &(struct stage_batch){.prefix = "later", .count = 1, .delay_ms = 600000});
    stage_fill(s, "stubborn", 1);
    stage_ack_range(s, stage_expect(s, "stubborn0"), 1, WEIR_RETRY, 300000);
    stage_fill(s, "long", 1);
    const struct got out = *stage_expect(s, "long0"); /* a job that takes hours */
    s->collector = COLLECTOR_SILENT;
    stage_fill(s, "dead", 1);
    stage_ack(s, stage_expect(s, "dead0"), WEIR_REJECT, "never");
    fill_log(s);
    for (uint32_t i = 0; i < 4; i++) {
        stage_beat(s, &out, WORKER, true);
        stage_alive(s, W, WORKER, 2000);
    }
    assert_true(used(s) < 2 * WEIR_MEMORY_SEGMENT_BYTES);
    assert_true(stage_stat(s, NULL, "copied_bytes") > 0);
    assert_string_equal(stage_state(s, 1, "g"), "deferred");
    assert_string_equal(stage_state(s, 2, "g"), "deferred");
    assert_string_equal(stage_state(s, 3, "g"), "in-flight");
    assert_string_equal(stage_state(s, 4, "g"), "dead");
    s->collector = COLLECTOR_TAKES;
    stage_restart(s);
    stage_pass(s, 1000);
    assert_int_equal(s->letter_count, 1);
    assert_string_equal(s->letters[0].payload, "dead0");
    stage_worker(s, W, WORKER + 1);
    stage_credit(s, W, "g", 10000);
    stage_alive(s, W, WORKER + 1, 40000); /* its old worker is not heard of */
    stage_ack(s, stage_expect(s, "long0"), WEIR_DONE, NULL);
    stage_alive(s, W, WORKER + 1, 270000);
    const struct got *again = stage_expect(s, "stubborn0");
    assert_int_equal(again->attempt, 2);
    stage_ack(s, again, WEIR_DONE, NULL);
    stage_alive(s, W, WORKER + 1, 300000);
    stage_ack(s, stage_expect(s, "later0"), WEIR_DONE, NULL);
    stage_pass(s, 3000);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

static void test_a_key_that_waits_pins_nothing(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    static const char *const keys[] = {"k", "k", "k", "k"};
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10000);
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 2, .keys = keys});
    const struct got *a0 = stage_expect(s, "a0"), *a1 = stage_expect(s, "a1");
    stage_ack_range(s, a0, 1, WEIR_RETRY, 60000);
    stage_ack(s, a1, WEIR_RELEASE, NULL);
    stage_put(s, &(struct stage_batch){.prefix = "b", .count = 4, .keys = keys});
    assert_int_equal(stage_stat(s, "g", "waiting"), 5);
    fill_log(s);
    stage_alive(s, W, WORKER, 5000);
    assert_true(used(s) < 2 * WEIR_MEMORY_SEGMENT_BYTES);
    assert_int_equal(stage_stat(s, "g", "waiting"), 5);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "waiting"), 5);
    stage_worker(s, W, WORKER + 1);
    stage_credit(s, W, "g", 10000);
    assert_null(stage_next(s));
    stage_alive(s, W, WORKER + 1, 60000);
    static const char *const expected[] = {"a0", "a1", "b0", "b1", "b2", "b3"};
    for (size_t i = 0; i < 6; i++) {
        const struct got *got = stage_expect(s, expected[i]);
        if (i > 1) /* those that waited follow each other */
            assert_int_equal(got->delivery, got[-1].delivery);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    stage_destroy(&s);
}

static void test_a_full_backlog_pins_nothing(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("nobody")};
    policies[1].max_backlog = 4;
    policies[1].on_full = WEIR_ON_FULL_DROP;
    struct stage *s = stage_new(policies, 2, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10000);
    stage_fill(s, "a", 4);
    fill_log(s);
    stage_alive(s, W, WORKER, 5000);
    assert_true(used(s) < 2 * WEIR_MEMORY_SEGMENT_BYTES);
    assert_int_equal(stage_stat(s, "nobody", "dropped"), 500);
    stage_restart(s);
    stage_worker(s, W, WORKER + 1);
    stage_credit(s, W, "nobody", 10000);
    static const char *const expected[] = {"a0", "a1", "a2", "a3"};
    for (size_t i = 0; i < 4; i++)
        stage_ack(s, stage_expect(s, expected[i]), WEIR_DONE, NULL);
    assert_null(stage_next(s));
    stage_destroy(&s);
}

static void test_many_retries_come_back(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 100000);
    stage_fill(s, "m", 5000);
    stage_pass(s, 10);
    assert_int_equal(s->got_count, 5000);
    while (s->got_seen < 5000) {
        const struct got *first = &s->got[s->got_seen];
        uint32_t count = 1;
        while (s->got_seen + count < 5000 && first[count].delivery == first->delivery)
            count++;
        s->got_seen += count;
        stage_ack_range(s, first, count, WEIR_UNAVAILABLE, -1);
    }
    assert_int_equal(stage_stat(s, "g", "deferred"), 5000);
    stage_alive(s, W, WORKER, 2000);
    assert_int_equal(done_all(s), 5000);
    assert_int_equal(stage_stat(s, "g", "done"), 5000);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_thousand),
        cmocka_unit_test(test_small_batches_share_a_delivery),
        cmocka_unit_test(test_deliveries_are_spaced),
        cmocka_unit_test(test_nothing_is_held_in_vain),
        cmocka_unit_test(test_the_log_is_freed),
        cmocka_unit_test(test_a_few_unfinished_pin_nothing),
        cmocka_unit_test(test_a_key_that_waits_pins_nothing),
        cmocka_unit_test(test_a_full_backlog_pins_nothing),
        cmocka_unit_test(test_many_retries_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
