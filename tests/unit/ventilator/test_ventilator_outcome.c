/* What becomes of a message after each outcome: settled, tried again, dead. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

static struct stage *ready(const struct weir_group_policy *policy)
{
    struct stage *s = stage_new(policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, policy->name, 100000);
    return s;
}

static void test_done_once(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 3);
    const struct got *first = stage_expect(s, "a0");
    stage_ack_range(s, first, 2, WEIR_DONE, -1);
    assert_string_equal(stage_state(s, 1, "g"), "done");
    assert_true(stage_state_unknown(s, 1, "g", "attempt")); /* nothing is kept of it */
    assert_int_equal(stage_state_number(s, 1, "g", "death"), 0);
    assert_string_equal(stage_state(s, 3, "g"), "in-flight");
    assert_int_equal(stage_state_number(s, 3, "g", "attempt"), 1);
    assert_int_equal(stage_stat(s, "g", "done"), 2);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 1);
    stage_ack_range(s, first, 3, WEIR_RETRY, -1); /* two of them are over */
    assert_int_equal(stage_stat(s, "g", "stale"), 2);
    assert_int_equal(stage_stat(s, "g", "retried"), 1);
    struct got other = *first;
    other.incarnation ^= UINT64_C(1) << 40;
    stage_ack(s, &other, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "stale"), 3);
    assert_int_equal(stage_stat(s, "g", "done"), 2);
    stage_destroy(&s);
}

static void test_retry_until_dead(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RETRY, "first");
    assert_string_equal(stage_state(s, 1, "g"), "deferred");
    assert_true(stage_state_number(s, 1, "g", "due_ms") >= (uint64_t)s->now.wall_ms);
    stage_pass(s, 1100);
    const struct got *got = stage_expect(s, "a0");
    assert_int_equal(got->attempt, 2);
    stage_ack(s, got, WEIR_RETRY, "second");
    stage_pass(s, 1100);
    got = stage_expect(s, "a0");
    assert_int_equal(got->attempt, 3);
    assert_int_equal(s->letter_count, 0);
    stage_ack(s, got, WEIR_RETRY, "third");
    assert_int_equal(s->letter_count, 1);
    const struct letter *letter = &s->letters[0];
    assert_int_equal(letter->sequence, 1);
    assert_int_equal(letter->death, 1);
    assert_int_equal(letter->attempt, 3);
    assert_int_equal(letter->reason, WEIR_REASON_ATTEMPTS);
    assert_string_equal(letter->group, "g");
    assert_string_equal(letter->topic, "t.a");
    assert_string_equal(letter->payload, "a0");
    assert_int_equal(letter->notes, 3);
    assert_string_equal(letter->errors[0], "first");
    assert_string_equal(letter->errors[2], "third");
    stage_pass(s, 100);
    assert_string_equal(stage_state(s, 1, "g"), "dead");
    assert_int_equal(stage_stat(s, "g", "dead"), 1);
    assert_int_equal(stage_stat(s, "g", "dying"), 0);
    stage_pass(s, 60000);
    assert_null(stage_next(s));
    stage_destroy(&s);
}

static void test_a_delay_that_was_asked_for(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 1);
    stage_ack_range(s, stage_expect(s, "a0"), 1, WEIR_RETRY, 20000);
    stage_alive(s, W, WORKER, 19900);
    assert_null(stage_next(s));
    stage_pass(s, 200);
    stage_expect(s, "a0");
    stage_destroy(&s);
}

static void test_reject(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 2);
    stage_ack(s, stage_expect(s, "a0"), WEIR_REJECT, "malformed");
    assert_int_equal(s->letter_count, 1);
    assert_int_equal(s->letters[0].reason, WEIR_REASON_REJECTED);
    assert_int_equal(s->letters[0].attempt, 1);
    assert_string_equal(s->letters[0].errors[0], "malformed");
    assert_int_equal(stage_stat(s, "g", "rejected"), 1);
    stage_expect(s, "a1");
    stage_destroy(&s);
}

static void test_releases_count_nothing_and_wait_longer(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RELEASE, NULL);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RELEASE, NULL); /* at once */
    stage_ack(s, stage_expect(s, "a0"), WEIR_RELEASE, NULL); /* at once, with a row */
    int64_t before = s->now.wall_ms;
    for (uint32_t i = 0; i < 6; i++) {
        while (s->got_seen == s->got_count)
            stage_pass(s, 10);
        const struct got *got = stage_expect(s, "a0");
        assert_int_equal(got->attempt, 1);
        const int64_t waited = s->now.wall_ms - before;
        assert_true(waited >= (50 << i) && waited <= (100 << i) + 30);
        before = s->now.wall_ms;
        stage_ack(s, got, WEIR_RELEASE, NULL);
    }
    stage_alive(s, W, WORKER, 20000);
    stage_ack(s, stage_expect(s, "a0"), WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "released"), 9);
    assert_int_equal(stage_stat(s, "g", "retried"), 0);
    assert_string_equal(stage_state(s, 1, "g"), "done");
    stage_destroy(&s);
}

static void test_unavailable_waits_at_once(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_UNAVAILABLE, NULL);
    assert_null(stage_next(s));
    assert_string_equal(stage_state(s, 1, "g"), "deferred");
    stage_pass(s, 200);
    assert_int_equal(stage_expect(s, "a0")->attempt, 1);
    stage_destroy(&s);
}

static void test_delay_and_time_to_live(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    stage_put(s, &(struct stage_batch){.prefix = "later", .count = 2, .delay_ms = 5000});
    stage_fill(s, "now", 1);
    stage_ack(s, stage_expect(s, "now0"), WEIR_DONE, NULL);
    assert_string_equal(stage_state(s, 1, "g"), "deferred");
    stage_pass(s, 4900);
    assert_null(stage_next(s));
    stage_pass(s, 200);
    assert_int_equal(stage_expect(s, "later0")->attempt, 1);
    stage_expect(s, "later1");
    assert_int_equal(stage_stat(s, "g", "retried"), 0);
    /* Expired while it waited. */
    stage_group(s, "g", "pause");
    stage_put(s, &(struct stage_batch){.prefix = "short", .count = 1, .ttl_ms = 1000});
    stage_pass(s, 1500);
    stage_group(s, "g", "resume");
    stage_run(s);
    assert_null(stage_next(s));
    assert_int_equal(s->letter_count, 1);
    assert_int_equal(s->letters[0].reason, WEIR_REASON_EXPIRED);
    assert_string_equal(s->letters[0].payload, "short0");
    assert_int_equal(stage_stat(s, "g", "expired"), 1);
    /* Expired while it waited for its retry. */
    stage_put(s, &(struct stage_batch){.prefix = "tried", .count = 1, .ttl_ms = 1000});
    stage_ack_range(s, stage_expect(s, "tried0"), 1, WEIR_RETRY, 2000);
    stage_pass(s, 2100);
    assert_null(stage_next(s));
    assert_int_equal(s->letter_count, 2);
    assert_int_equal(s->letters[1].reason, WEIR_REASON_EXPIRED);
    assert_int_equal(s->letters[1].attempt, 1);
    stage_destroy(&s);
}

static void test_rate(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.rate_permille = 100 * 1000; /* 100/s */
    struct stage *s = ready(&policy);
    stage_fill(s, "a", 1000);
    stage_pass(s, 2000);
    assert_true(s->got_count >= 200 && s->got_count <= 215);
    stage_pass(s, 1000);
    assert_true(s->got_count >= 300 && s->got_count <= 315);
    stage_destroy(&s);
}

static void test_credit_is_never_exceeded(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 3);
    stage_fill(s, "a", 10);
    assert_int_equal(s->got_count, 3);
    stage_ack_range(s, &s->got[0], 3, WEIR_DONE, -1);
    assert_int_equal(s->got_count, 3);
    stage_credit(s, W, "g", 8);
    assert_int_equal(s->got_count, 8);
    assert_string_equal(s->got[7].payload, "a7");
    stage_destroy(&s);
}

static void test_the_collector_is_away_or_says_no(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = ready(&policy);
    s->collector = COLLECTOR_REFUSES;
    stage_fill(s, "a", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_REJECT, "no");
    assert_true(s->errors_logged > 0);
    assert_int_equal(stage_stat(s, "g", "dying"), 1);
    assert_int_equal(stage_stat(s, "g", "dead"), 1);
    assert_string_equal(stage_state(s, 1, "g"), "dead");
    s->collector = COLLECTOR_SILENT;
    stage_pass(s, 5000);
    stage_restart(s); /* it is offered again by the next one */
    assert_int_equal(stage_stat(s, "g", "dying"), 1);
    s->collector = COLLECTOR_TAKES;
    stage_pass(s, 60000);
    assert_int_equal(s->letter_count, 1);
    assert_int_equal(stage_stat(s, "g", "dying"), 0);
    assert_int_equal(stage_stat(s, "g", "dead"), 1);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_done_once),
        cmocka_unit_test(test_retry_until_dead),
        cmocka_unit_test(test_a_delay_that_was_asked_for),
        cmocka_unit_test(test_reject),
        cmocka_unit_test(test_releases_count_nothing_and_wait_longer),
        cmocka_unit_test(test_unavailable_waits_at_once),
        cmocka_unit_test(test_delay_and_time_to_live),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_credit_is_never_exceeded),
        cmocka_unit_test(test_the_collector_is_away_or_says_no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
