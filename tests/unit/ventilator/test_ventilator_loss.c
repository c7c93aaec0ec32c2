/* Workers that die, fall silent or take too long; suspects. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define A 50
#define B 60
#define C 70

/* Nothing is wrong with most of what a killed worker held: it goes on at full speed. */
static void test_a_lost_worker_costs_its_messages_nothing(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_credit(s, A, "g", 3);
    stage_fill(s, "a", 3);
    stage_expect(s, "a0");
    s->got_seen = s->got_count;
    stage_gone(s, A);
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 10);
    static const char *const expected[] = {"a0", "a1", "a2"};
    assert_int_equal(stage_stat(s, "g", "in-flight"), 3); /* all at once */
    for (size_t i = 0; i < 3; i++) {
        const struct got *got = stage_expect(s, expected[i]);
        assert_false(got->alone);
        assert_int_equal(got->attempt, 1);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    assert_int_equal(stage_stat(s, "g", "done"), 3);
    stage_destroy(&s);
}

/* The same where it had been out for so long that the state knew of it. */
static void test_what_was_out_for_long_is_lost_twice(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_credit(s, A, "g", 2);
    stage_fill(s, "a", 2);
    stage_alive(s, A, 500, 2000);
    s->got_seen = s->got_count;
    stage_gone(s, A);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 2);
    assert_false(stage_expect(s, "a0")->alone);
    assert_false(stage_expect(s, "a1")->alone);
    stage_gone(s, B);
    stage_worker(s, C, 700);
    stage_credit(s, C, "g", 2);
    assert_true(stage_expect(s, "a0")->alone);
    assert_null(stage_next(s));
    stage_destroy(&s);
}

static void test_two_lost_workers_make_suspects(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_suspects(s, A, 3);
    assert_int_equal(stage_stat(s, "g", "deferred"), 3);
    assert_int_equal(stage_stat(s, "g", "retried"), 0);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 10);
    for (uint32_t i = 0; i < 3; i++) { /* one after the other, each alone */
        const struct got *got = stage_next(s);
        assert_non_null(got);
        assert_true(got->alone);
        assert_int_equal(got->attempt, 1);
        assert_int_equal(got->sequence, i + 1);
        assert_null(stage_next(s));
        stage_begin(s, got, 600);
        assert_int_equal(s->go_said, i + 1);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    assert_int_equal(stage_stat(s, "g", "done"), 3);
    stage_destroy(&s);
}

static void test_what_kills_every_worker_dies(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    uint64_t peer = A;
    stage_suspects(s, peer, 1); /* these losses count for nothing else */
    for (uint32_t attempt = 1; attempt <= 3; attempt++) {
        peer++;
        stage_worker(s, peer, peer);
        stage_credit(s, peer, "g", 1);
        stage_pass(s, 1100);
        const struct got *got = stage_expect(s, "a0");
        assert_int_equal(got->attempt, attempt);
        assert_true(got->alone);
        stage_begin(s, got, peer);
        stage_gone(s, peer);
    }
    assert_int_equal(s->letter_count, 1);
    assert_int_equal(s->letters[0].reason, WEIR_REASON_ATTEMPTS);
    assert_int_equal(s->letters[0].notes, 3);
    assert_int_equal(s->letters[0].outcomes[2], WEIR_NOTE_LOST);
    stage_destroy(&s);
}

static void test_a_suspect_that_had_not_begun_does_not_count(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.attempts = 1;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_suspects(s, A, 1);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 1);
    stage_expect(s, "a0"); /* no BEGIN */
    stage_gone(s, B);
    stage_worker(s, C, 700);
    stage_credit(s, C, "g", 1);
    const struct got *got = stage_expect(s, "a0");
    assert_int_equal(got->attempt, 1);
    assert_int_equal(s->letter_count, 0);
    stage_ack(s, got, WEIR_DONE, NULL);
    stage_destroy(&s);
}

static void test_a_deadline_passes(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.lease_ms = 10000;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_credit(s, A, "g", 5);
    stage_fill(s, "a", 2);
    const struct got *kept = stage_expect(s, "a0"), *lost = stage_expect(s, "a1");
    stage_ack(s, kept, WEIR_DONE, NULL);
    stage_pass(s, 6000);
    stage_beat(s, lost, 500, true);
    assert_int_equal(s->echoed, 1);
    stage_pass(s, 6000);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 1); /* the beat pushed it on */
    stage_pass(s, 6000);
    assert_int_equal(stage_stat(s, NULL, "deadlines_passed"), 1);
    stage_beat(s, lost, 500, true);
    assert_int_equal(s->echoed, 0); /* not its any more */
    stage_ack(s, lost, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "stale"), 1);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    stage_destroy(&s);
}

static void test_an_attempt_takes_too_long(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.timeout_ms = 20000;
    policy.attempts = 1;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_credit(s, A, "g", 5);
    stage_fill(s, "a", 2);
    const struct got *runs = stage_expect(s, "a0"), *waits = stage_expect(s, "a1");
    for (uint32_t i = 0; i < 20; i++) {
        stage_beat(s, runs, 500, true);
        stage_beat(s, waits, 500, false);
        stage_pass(s, 2000);
    }
    /* Only what ran has a time that could end. */
    assert_int_equal(s->letter_count, 1);
    assert_string_equal(s->letters[0].payload, "a0");
    assert_int_equal(s->letters[0].outcomes[0], WEIR_NOTE_TIMEOUT);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 1);
    stage_ack(s, waits, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    stage_destroy(&s);
}

static void test_bye_gives_everything_back(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_credit(s, A, "g", 5);
    stage_fill(s, "a", 5);
    s->got_seen = s->got_count;
    struct weir_control bye = {.verb = WEIR_VERB_BYE};
    WEIR_SET(&bye, worker, WORKER, 500);
    stage_control(s, WEIR_PORT_DISPATCH, A, &bye);
    assert_int_equal(stage_stat(s, "g", "waiting"), 5);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 0);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 5);
    static const char *const expected[] = {"a0", "a1", "a2", "a3", "a4"};
    for (size_t i = 0; i < 5; i++) {
        const struct got *got = stage_expect(s, expected[i]);
        assert_false(got->alone);
        assert_int_equal(got->attempt, 1);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    assert_int_equal(stage_stat(s, "g", "done"), 5);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lost_worker_costs_its_messages_nothing),
        cmocka_unit_test(test_what_was_out_for_long_is_lost_twice),
        cmocka_unit_test(test_two_lost_workers_make_suspects),
        cmocka_unit_test(test_what_kills_every_worker_dies),
        cmocka_unit_test(test_a_suspect_that_had_not_begun_does_not_count),
        cmocka_unit_test(test_a_deadline_passes),
        cmocka_unit_test(test_an_attempt_takes_too_long),
        cmocka_unit_test(test_bye_gives_everything_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
