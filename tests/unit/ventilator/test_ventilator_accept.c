/* What is taken in, when it is confirmed, and what is turned away. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define W 50 /* a worker's peer */

static struct stage *one_group(struct weir_group_policy *policy)
{
    struct stage *s = stage_new(policy, 1, 0);
    stage_worker(s, W, 500);
    return s;
}

static void test_ok_and_delivery_only_after_the_commit(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = one_group(&policy);
    stage_credit(s, W, "g", 10);
    const uint64_t number = stage_put_later(s, &(struct stage_batch){.prefix = "a", .count = 2});
    assert_null(stage_answer(s, number));
    assert_null(stage_next(s));
    stage_run(s);
    const struct answered *ok = stage_answer(s, number);
    assert_int_equal(ok->verb, WEIR_VERB_OK);
    assert_int_equal(ok->first, 1);
    assert_int_equal(ok->count, 2);
    assert_int_equal(ok->time_ms, STAGE_START_MS);
    assert_int_equal(stage_expect(s, "a0")->sequence, 1);
    const struct got *got = stage_expect(s, "a1");
    assert_int_equal(got->sequence, 2);
    assert_int_equal(got->attempt, 1);
    assert_int_equal(got->delivery, s->got[0].delivery); /* one delivery for both */
    assert_null(stage_next(s));
    stage_destroy(&s);
}

static void test_a_repeat_is_answered_and_not_stored(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = one_group(&policy);
    const struct answered first = stage_put(s, &(struct stage_batch){.prefix = "a", .count = 3});
    const struct answered again =
        stage_put(s, &(struct stage_batch){.prefix = "a", .count = 3, .number = 1});
    assert_int_equal(again.first, first.first);
    assert_int_equal(stage_stat(s, NULL, "accepted"), 3);
    stage_restart(s);
    const struct answered later =
        stage_put(s, &(struct stage_batch){.prefix = "a", .count = 3, .number = 1});
    assert_int_equal(later.verb, WEIR_VERB_OK);
    assert_int_equal(later.first, first.first);
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    stage_destroy(&s);
}

static void test_each_group_gets_what_matches(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("all"), stage_policy("b"),
                                           stage_policy("c")};
    memcpy(policies[1].topics[0], "t.b", 4);
    memcpy(policies[2].topics[0], "t.c", 4);
    struct stage *s = stage_new(policies, 3, 0);
    stage_put(s, &(struct stage_batch){.topic = "t.a", .prefix = "a", .count = 2});
    stage_put(s, &(struct stage_batch){.topic = "t.b", .prefix = "b", .count = 1});
    stage_put(s, &(struct stage_batch){.topic = "x.b", .prefix = "x", .count = 5});
    stage_put(s, &(struct stage_batch){.topic = "t.c", .prefix = "c", .count = 1});
    assert_int_equal(stage_stat(s, "all", "waiting"), 4);
    assert_int_equal(stage_stat(s, "b", "waiting"), 1);
    assert_int_equal(stage_stat(s, "c", "waiting"), 1);
    stage_worker(s, W, 500);
    stage_credit(s, W, "c", 10);
    assert_int_equal(stage_expect(s, "c0")->sequence, 9);
    stage_credit(s, W, "all", 10);
    static const char *const expected[] = {"a0", "a1", "b0", "c0"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(stage_expect(s, expected[i])->group, "all");
    assert_null(stage_next(s));
    assert_string_equal(stage_state(s, 3, "all"), "in-flight");
    assert_string_equal(stage_state(s, 3, "b"), "waiting");
    assert_string_equal(stage_state(s, 3, "c"), "");
    stage_destroy(&s);
}

static void test_idempotency_keys(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = one_group(&policy);
    static const char *const once[] = {"k1", NULL, "k2", "k1"};
    const struct answered first =
        stage_put(s, &(struct stage_batch){.prefix = "a", .count = 4, .once = once});
    assert_int_equal(first.duplicate_count, 1); /* within one batch */
    assert_int_equal(first.duplicate_of[0], 1);
    static const char *const more[] = {"k3", "k2"};
    const struct answered second =
        stage_put(s, &(struct stage_batch){.prefix = "b", .count = 2, .once = more});
    assert_int_equal(second.duplicate_count, 1);
    assert_int_equal(second.duplicate_of[0], 3);
    const struct answered third = /* nothing new at all */
        stage_put(s, &(struct stage_batch){.prefix = "c", .count = 2, .once = more});
    assert_int_equal(third.verb, WEIR_VERB_OK);
    assert_int_equal(third.duplicate_count, 2);
    assert_int_equal(third.duplicate_of[0], second.first);
    stage_pass(s, 100); /* the third is in the state only */
    stage_restart(s);
    const struct answered fourth =
        stage_put(s, &(struct stage_batch){.prefix = "d", .count = 2, .once = more});
    assert_int_equal(fourth.duplicate_count, 2);
    assert_int_equal(fourth.duplicate_of[1], 3);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 100);
    static const char *const expected[] = {"a0", "a1", "a2", "b0"};
    for (size_t i = 0; i < 4; i++)
        stage_expect(s, expected[i]);
    assert_null(stage_next(s));
    /* Beyond the window a repeat is a new message. */
    stage_pass(s, 61000);
    const struct answered fifth =
        stage_put(s, &(struct stage_batch){.prefix = "e", .count = 2, .once = more});
    assert_int_equal(fifth.duplicate_count, 0);
    stage_destroy(&s);
}

static void test_a_duplicate_waits_for_its_original(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = one_group(&policy);
    static const char *const once[] = {"k"};
    stage_put_later(s, &(struct stage_batch){.prefix = "a", .count = 1, .once = once});
    const uint64_t copy =
        stage_put_later(s, &(struct stage_batch){.prefix = "b", .count = 1, .once = once});
    assert_null(stage_answer(s, copy));
    stage_run(s);
    assert_int_equal(stage_answer(s, copy)->verb, WEIR_VERB_OK);
    assert_int_equal(stage_answer(s, copy)->duplicate_of[0], 1);
    assert_int_equal(s->answered[0].number, copy - 1);
    stage_destroy(&s);
}

static void test_a_full_backlog_refuses(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.max_backlog = 3;
    struct stage *s = one_group(&policy);
    stage_fill(s, "a", 3);
    struct answered busy = stage_put(s, &(struct stage_batch){.prefix = "b", .count = 1});
    assert_int_equal(busy.verb, WEIR_VERB_BUSY);
    stage_put(s, &(struct stage_batch){.topic = "x.a", .prefix = "x", .count = 1, .number = 2});
    assert_int_equal(s->answered[s->answered_count - 1].verb, WEIR_VERB_OK); /* not for it */
    stage_credit(s, W, "g", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_DONE, NULL);
    const struct answered ok = stage_put(s, &(struct stage_batch){.prefix = "b", .count = 1});
    assert_int_equal(ok.verb, WEIR_VERB_OK);
    stage_destroy(&s);
}

static void test_a_full_backlog_drops(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("other")};
    policies[0].max_backlog = 3;
    policies[0].on_full = WEIR_ON_FULL_DROP;
    struct stage *s = stage_new(policies, 2, 0);
    stage_fill(s, "a", 2);
    stage_fill(s, "b", 4); /* one of them still fits */
    stage_fill(s, "c", 5);
    assert_int_equal(stage_stat(s, "g", "dropped"), 8);
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    assert_int_equal(stage_stat(s, "other", "waiting"), 11);
    stage_pass(s, 100);
    stage_restart(s);
    assert_string_equal(stage_state(s, 3, "g"), "waiting");
    assert_string_equal(stage_state(s, 4, "g"), "dropped");
    assert_true(stage_state_unknown(s, 4, "g", "attempt"));
    assert_string_equal(stage_state(s, 11, "g"), "dropped");
    assert_string_equal(stage_state(s, 11, "other"), "waiting");
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 100);
    static const char *const expected[] = {"a0", "a1", "b0"};
    for (size_t i = 0; i < 3; i++)
        stage_ack(s, stage_expect(s, expected[i]), WEIR_DONE, NULL);
    assert_null(stage_next(s));
    stage_fill(s, "d", 1);
    stage_expect(s, "d0");
    stage_destroy(&s);
}

static void test_a_full_backlog_makes_dead_letters(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.max_backlog = 1;
    policy.on_full = WEIR_ON_FULL_DEAD_LETTER;
    struct stage *s = one_group(&policy);
    stage_fill(s, "a", 2);
    assert_int_equal(s->letter_count, 1);
    assert_string_equal(s->letters[0].payload, "a1");
    assert_int_equal(s->letters[0].reason, WEIR_REASON_BACKLOG);
    assert_int_equal(s->letters[0].death, 1);
    assert_string_equal(stage_state(s, 2, "g"), "dead");
    stage_destroy(&s);
}

static void test_a_full_spool_says_busy_and_goes_on(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 40000);
    const struct stage_batch big = {.prefix = "a", .count = 10, .payload_bytes = 1000};
    uint32_t taken = 0;
    while (stage_put(s, &big).verb == WEIR_VERB_OK)
        taken++;
    assert_int_equal(taken, 3);
    /* Two in flight at once when it is full: both are turned away, and neither is lost. */
    const uint64_t refused = s->number;
    struct stage_batch again = big;
    again.number = refused;
    stage_put_later(s, &again);
    stage_put_later(s, &big);
    stage_run(s);
    assert_int_equal(stage_answer(s, refused)->verb, WEIR_VERB_BUSY);
    assert_int_not_equal(stage_answer(s, refused + 1)->verb, WEIR_VERB_OK);
    assert_true(stage_stat(s, NULL, "spool_full") > 0);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 100);
    for (uint32_t i = 0; i < taken * 10; i++)
        stage_ack(s, stage_next(s), WEIR_DONE, NULL);
    assert_null(stage_next(s));
    stage_pass(s, 3000);
    const struct answered ok = stage_put(s, &again);
    assert_int_equal(ok.verb, WEIR_VERB_OK);
    assert_int_equal(ok.first, 31);
    const struct got *got = stage_next(s);
    assert_non_null(got);
    assert_int_equal(got->sequence, 31);
    stage_destroy(&s);
}

static void test_join(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = one_group(&policy);
    stage_fill(s, "a", 2);
    struct weir_text topics[] = {weir_text_of("t.a")};
    struct weir_control join = {.verb = WEIR_VERB_JOIN};
    WEIR_SET(&join, group, GROUP, weir_text_of("late"));
    WEIR_SET(&join, topics, TOPICS, topics);
    join.topic_count = 1;
    stage_control(s, WEIR_PORT_DISPATCH, W, &join);
    assert_int_equal(s->joined, 1);
    stage_credit(s, W, "late", 10);
    assert_null(stage_next(s)); /* it starts at now */
    stage_fill(s, "b", 1);
    assert_string_equal(stage_expect(s, "b0")->group, "late");
    stage_control(s, WEIR_PORT_DISPATCH, W, &join);
    assert_int_equal(s->joined, 2);
    topics[0] = weir_text_of("t.b"); /* the same group with other topics */
    stage_control(s, WEIR_PORT_DISPATCH, W, &join);
    assert_int_equal(s->joined, 2);
    assert_string_equal(s->admin_error, WEIR_CODE_GROUP);
    assert_string_equal(
        s->group_error,
        "group late exists with the topics t.a: join it with these, or use another name");
    WEIR_SET(&join, group, GROUP, weir_text_of("history"));
    WEIR_SET(&join, from, FROM, weir_text_of("earliest"));
    topics[0] = weir_text_of("t.>");
    stage_control(s, WEIR_PORT_DISPATCH, W, &join);
    stage_credit(s, W, "history", 10);
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_expect(s, "b0");
    stage_restart(s);
    assert_int_equal(stage_stat(s, "late", "waiting"), 1);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ok_and_delivery_only_after_the_commit),
        cmocka_unit_test(test_a_repeat_is_answered_and_not_stored),
        cmocka_unit_test(test_each_group_gets_what_matches),
        cmocka_unit_test(test_idempotency_keys),
        cmocka_unit_test(test_a_duplicate_waits_for_its_original),
        cmocka_unit_test(test_a_full_backlog_refuses),
        cmocka_unit_test(test_a_full_backlog_drops),
        cmocka_unit_test(test_a_full_backlog_makes_dead_letters),
        cmocka_unit_test(test_a_full_spool_says_busy_and_goes_on),
        cmocka_unit_test(test_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
