/* Dead letters that come back. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

static struct stage *with_a_dead_letter(void)
{
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("other")};
    struct stage *s = stage_new(policies, 2, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 1000);
    stage_fill(s, "a", 1);
    stage_ack(s, stage_expect(s, "a0"), WEIR_REJECT, "broken");
    assert_int_equal(s->letter_count, 1);
    return s;
}

static void test_it_comes_back_once(void **state)
{
    (void)state;
    struct stage *s = with_a_dead_letter();
    const struct answered ok = stage_replay(s, &s->letters[0]);
    assert_int_equal(ok.verb, WEIR_VERB_OK);
    const struct got *got = stage_expect(s, "a0");
    assert_int_equal(got->sequence, 1); /* its old id */
    assert_int_equal(got->death, 1);
    assert_int_equal(got->attempt, 1);
    assert_string_equal(got->group, "g");
    assert_int_equal(stage_replay(s, &s->letters[0]).verb, WEIR_VERB_OK); /* once more */
    assert_null(stage_next(s));
    stage_ack(s, got, WEIR_DONE, NULL);
    assert_string_equal(stage_state(s, 1, "g"), "done");
    assert_int_equal(stage_stat(s, "g", "replayed"), 1);
    assert_int_equal(stage_stat(s, "g", "dead"), 0);
    assert_int_equal(stage_stat(s, "other", "waiting"), 1);               /* in no other group */
    assert_int_equal(stage_replay(s, &s->letters[0]).verb, WEIR_VERB_OK); /* after its end */
    assert_null(stage_next(s));
    stage_pass(s, 100);
    stage_restart(s);
    assert_int_equal(stage_replay(s, &s->letters[0]).verb, WEIR_VERB_OK);
    assert_int_equal(stage_stat(s, "g", "replayed"), 1);
    stage_destroy(&s);
}

static void test_it_dies_again(void **state)
{
    (void)state;
    struct stage *s = with_a_dead_letter();
    stage_replay(s, &s->letters[0]);
    stage_ack(s, stage_expect(s, "a0"), WEIR_REJECT, "still broken");
    assert_int_equal(s->letter_count, 2);
    const struct letter *letter = &s->letters[1];
    assert_int_equal(letter->sequence, 1);
    assert_int_equal(letter->death, 2);
    assert_int_equal(letter->notes, 2); /* the whole history */
    assert_string_equal(letter->errors[0], "broken");
    assert_string_equal(letter->errors[1], "still broken");
    /* The first death is over: only the second one comes back. */
    stage_replay(s, &s->letters[0]);
    assert_null(stage_next(s));
    stage_replay(s, letter);
    assert_int_equal(stage_expect(s, "a0")->death, 2);
    stage_destroy(&s);
}

/* Killed after each completion of the storage: confirmed means that it is there. */
static bool replay_and_crash(uint64_t steps)
{
    struct stage *s = with_a_dead_letter();
    stage_pass(s, 100);
    s->steps_left = steps;
    const uint64_t number = stage_replay_as(s, &s->letters[0], NULL, NULL);
    const struct answered *answered = stage_answer(s, number);
    const bool confirmed = answered && answered->verb == WEIR_VERB_OK;
    s->steps_left = UINT64_MAX;
    s->got_seen = s->got_count;
    stage_restart(s);
    if (confirmed) {
        assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    } else {
        s->number = number - 1; /* the same batch again */
        assert_int_equal(stage_replay(s, &s->letters[0]).verb, WEIR_VERB_OK);
    }
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 10);
    stage_expect(s, "a0");
    assert_null(stage_next(s));
    stage_destroy(&s);
    return confirmed;
}

static void test_ok_only_when_durable(void **state)
{
    (void)state;
    uint64_t steps = 1;
    while (!replay_and_crash(steps))
        steps++;
    assert_true(steps > 1);
}

static void test_what_is_no_dead_letter_is_refused(void **state)
{
    (void)state;
    struct stage *s = with_a_dead_letter();
    struct letter letter = s->letters[0];
    letter.body = weir_bytes_ref(&letter.body);
    /* A message that never died: the next one of this stream. */
    stage_group(s, "g", "pause");
    stage_fill(s, "b", 1);
    const struct weir_id id = {STAGE_START_MS, STAGE_TAG, 2};
    stage_replay_as(s, &letter, &id, "g");
    assert_string_equal(stage_answer(s, s->number)->code, WEIR_CODE_REPLAY);
    const struct weir_id far = {STAGE_START_MS, STAGE_TAG, 1000};
    stage_replay_as(s, &letter, &far, "g");
    assert_string_equal(stage_answer(s, s->number)->code, WEIR_CODE_REPLAY);
    const struct weir_id other = {STAGE_START_MS, STAGE_TAG + 1, 1};
    stage_replay_as(s, &letter, &other, "g");
    assert_string_equal(stage_answer(s, s->number)->code, WEIR_CODE_REPLAY);
    const struct weir_id same = {STAGE_START_MS, STAGE_TAG, 1};
    stage_replay_as(s, &letter, &same, "nobody");
    assert_string_equal(stage_answer(s, s->number)->code, WEIR_CODE_REPLAY);
    stage_replay_as(s, &letter, &same, "g");
    assert_int_equal(stage_answer(s, s->number)->verb, WEIR_VERB_OK);
    weir_bytes_drop(&letter.body);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_comes_back_once),
        cmocka_unit_test(test_it_dies_again),
        cmocka_unit_test(test_ok_only_when_durable),
        cmocka_unit_test(test_what_is_no_dead_letter_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
