/* Bugs of delayed messages, also of those from before a group's start, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define W 50
#define WORKER 500
#define DELAY_MS 600000

/* 1: delayed messages that lay before the group's start were out together when the ventilator
 * ended, and were joined into one slice of their lease at its next start. When they were done then,
 * nothing was left of them, and `status` did not know that they had been for the group. */
static void what_is_done_after_a_start_was_for_the_group(void **state)
{
    (void)state;
    struct stage *s = stage_new(NULL, 0, 0);
    stage_put(
        s, &(struct stage_batch){.topic = "t.a", .prefix = "a", .count = 2, .delay_ms = DELAY_MS});
    stage_worker(s, W, WORKER);
    struct weir_text topics[] = {weir_text_of("t.*")};
    struct weir_control join = {.verb = WEIR_VERB_JOIN, .topic_count = 1};
    WEIR_SET(&join, group, GROUP, weir_text_of("late"));
    WEIR_SET(&join, topics, TOPICS, topics);
    stage_control(s, WEIR_PORT_DISPATCH, W, &join);
    stage_credit(s, W, "late", 10);
    stage_alive(s, W, WORKER, DELAY_MS + 1000);
    const struct got first = *stage_expect(s, "a0"), second = *stage_expect(s, "a1");
    assert_true(first.delivery == second.delivery); /* else they are not joined */
    stage_alive(s, W, WORKER, 1500);
    stage_restart(s);
    assert_string_equal(stage_state(s, 1, "late"), "in-flight");
    stage_worker(s, W, WORKER);
    stage_ack(s, &first, WEIR_DONE, NULL);
    stage_ack(s, &second, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "late", "done"), 2);
    assert_string_equal(stage_state(s, 1, "late"), "done");
    assert_string_equal(stage_state(s, 2, "late"), "done");
    stage_destroy(&s);
}

/* 2: with delivery at-most-once a message that had been delayed left the group's numbers when it
 * left the state, and that is before it is sent. Given back by a worker, it waited for the next one
 * uncounted: the group seemed to be empty. */
static void what_waits_to_be_sent_at_most_once_is_counted(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.delivery = WEIR_AT_MOST_ONCE;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 1, .delay_ms = 1000});
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 1);
    stage_alive(s, W, WORKER, 2000);
    const struct got first = *stage_expect(s, "a0");
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_ack(s, &first, WEIR_RELEASE, NULL);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    stage_credit(s, W, "g", 2);
    stage_ack(s, stage_expect(s, "a0"), WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    stage_destroy(&s);
}

/* 3: a ventilator at rest asked its state every ten seconds for delayed messages that are due,
 * though there were none. */
static void a_ventilator_at_rest_asks_nothing(void **state)
{
    (void)state;
    for (uint32_t started = 0; started < 2; started++) { /* rows that it made, or found */
        struct stage *s = stage_new(NULL, 0, 0);
        stage_put(s, &(struct stage_batch){
                         .topic = "t.a", .prefix = "a", .count = 2, .delay_ms = DELAY_MS});
        stage_put(s, &(struct stage_batch){
                         .topic = "t.a", .prefix = "b", .count = 1, .delay_ms = DELAY_MS + 60000});
        stage_pass(s, 30000);
        if (started)
            stage_restart(s);
        stage_pass(s, 30000);
        uint32_t requests = s->requests;
        stage_pass(s, DELAY_MS / 2);
        assert_int_equal(s->requests, requests);
        stage_pass(s, DELAY_MS);
        assert_true(s->requests > requests);
        requests = s->requests;
        stage_pass(s, DELAY_MS);
        assert_int_equal(s->requests, requests);
        stage_crash(s);
        struct weir_recovered *recovered = weir_memory_store_recover(s->memory);
        assert_int_equal(recovered->counts_count, 0); /* they were dropped when they were due */
        weir_recovered_destroy(&recovered);
        stage_destroy(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_done_after_a_start_was_for_the_group),
        cmocka_unit_test(what_waits_to_be_sent_at_most_once_is_counted),
        cmocka_unit_test(a_ventilator_at_rest_asks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
