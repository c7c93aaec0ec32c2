/* The ventilator is killed after each single completion of its storage, and started again: what was
 * confirmed is never lost, and everything ends done or dead. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define W 50
#define BATCHES 6u
#define PER_BATCH 5u

/* What the outside knows, over all lives of the ventilator. */
struct truth {
    bool confirmed[BATCHES + 1];
    bool done[BATCHES * PER_BATCH];
    uint32_t failures[BATCHES * PER_BATCH];
};

static uint32_t number_of(const struct got *got)
{
    unsigned batch = 0, message = 0;
    assert_int_equal(sscanf(got->payload, "b%u.%u", &batch, &message), 2);
    return (batch - 1) * PER_BATCH + message;
}

/* Handle whatever has come: the third of each batch always fails, the fourth once. */
static void work(struct stage *s, struct truth *truth)
{
    const struct got *got;
    while (!s->crashed && (got = stage_next(s)) != NULL) {
        const struct got copy = *got;
        const uint32_t n = number_of(&copy);
        const uint32_t kind = n % PER_BATCH;
        assert_true(copy.attempt >= 1 && copy.attempt <= 3);
        if (copy.alone)
            stage_begin(s, &copy, 500 + s->seed);
        if (s->crashed)
            return;
        if (kind == 2 || (kind == 3 && truth->failures[n] == 0)) {
            truth->failures[n]++;
            stage_ack(s, &copy, WEIR_RETRY, "no");
        } else {
            truth->done[n] = true;
            stage_ack(s, &copy, WEIR_DONE, NULL);
        }
    }
}

static void live(struct stage *s, struct truth *truth, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds && !s->crashed; i++) {
        stage_worker(s, W + s->seed, 500 + s->seed);
        if (!s->crashed)
            stage_credit(s, W + s->seed, "g", 1000);
        work(s, truth);
        if (!s->crashed)
            stage_pass(s, 700);
        work(s, truth);
    }
}

/* One producer: each batch until it is confirmed, in order. */
static void produce(struct stage *s, struct truth *truth, uint32_t batch)
{
    char prefix[16];
    snprintf(prefix, sizeof prefix, "b%u.", batch);
    stage_put_later(s,
                    &(struct stage_batch){.prefix = prefix, .count = PER_BATCH, .number = batch});
    if (!s->crashed)
        stage_run(s);
    for (uint32_t i = 0; i < s->answered_count; i++)
        if (s->answered[i].verb == WEIR_VERB_OK)
            truth->confirmed[s->answered[i].number] = true;
}

static bool dead(const struct stage *s, uint32_t n)
{
    char payload[48];
    snprintf(payload, sizeof payload, "b%u.%u", n / PER_BATCH + 1, n % PER_BATCH);
    for (uint32_t i = 0; i < s->letter_count; i++)
        if (strcmp(s->letters[i].payload, payload) == 0)
            return true;
    return false;
}

static bool crash_after(uint64_t steps)
{
    struct weir_group_policy policy = stage_policy("g");
    policy.backoff = (struct weir_backoff){200, 1000, 200};
    struct truth truth = {0};
    struct stage *s = stage_new(&policy, 1, 0);
    s->steps_left = steps;
    for (uint32_t batch = 1; batch <= BATCHES && !s->crashed; batch++) {
        produce(s, &truth, batch);
        live(s, &truth, 2);
    }
    const bool crashed = s->crashed;
    s->steps_left = UINT64_MAX;
    stage_crash(s);
    s->got_seen = s->got_count;
    stage_start(s);
    stage_run(s);
    for (uint32_t batch = 1; batch <= BATCHES; batch++) {
        /* What was confirmed is there: its repeat is answered, whatever happened in between. */
        if (!truth.confirmed[batch])
            produce(s, &truth, batch);
        assert_true(truth.confirmed[batch]);
    }
    live(s, &truth, 70); /* beyond the deadline of what was out */
    for (uint32_t n = 0; n < BATCHES * PER_BATCH; n++) {
        if (n % PER_BATCH == 2)
            assert_true(dead(s, n));
        else
            assert_true(truth.done[n] && !dead(s, n));
    }
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    assert_int_equal(stage_stat(s, "g", "dying"), 0);
    stage_destroy(&s);
    return crashed;
}

static void test_a_crash_at_every_point(void **state)
{
    (void)state;
    uint64_t steps = 1;
    while (crash_after(steps))
        steps++;
    assert_true(steps > 50);
}

static void test_long_leases_survive(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 2);
    stage_fill(s, "a", 3);
    const struct got old = *stage_expect(s, "a0"), other = *stage_expect(s, "a1");
    stage_alive(s, W, 500, 1500);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 2);
    assert_string_equal(stage_state(s, 1, "g"), "in-flight");
    stage_worker(s, W + 1, 501);
    stage_credit(s, W + 1, "g", 5);
    stage_expect(s, "a2"); /* not the two that are out */
    assert_null(stage_next(s));
    struct got acked = old;
    acked.peer = W + 1; /* another way, the lease's own name */
    stage_ack(s, &acked, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    stage_alive(s, W + 1, 501, 31000); /* nobody names the other: it is given out anew */
    const struct got *again = stage_expect(s, "a1");
    assert_int_equal(again->attempt, 1);
    assert_int_not_equal(again->incarnation, other.incarnation);
    stage_destroy(&s);
}

static void test_a_drain_keeps_what_is_out(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, 500);
    stage_credit(s, W, "g", 2);
    stage_fill(s, "a", 3);
    const struct got first = *stage_expect(s, "a0"), second = *stage_expect(s, "a1");
    struct weir_control drain = {.verb = WEIR_VERB_DRAIN};
    stage_control(s, WEIR_PORT_ADMIN, 2, &drain);
    assert_int_equal(s->stopped, -1);
    const uint64_t number = stage_put_later(s, &(struct stage_batch){.prefix = "b", .count = 1});
    stage_run(s);
    assert_int_equal(stage_answer(s, number)->verb, WEIR_VERB_REFUSED);
    assert_string_equal(stage_answer(s, number)->code, WEIR_CODE_DRAINING);
    stage_ack(s, &first, WEIR_DONE, NULL);
    assert_null(stage_next(s)); /* nothing new */
    assert_int_equal(s->stopped, -1);
    stage_alive(s, W, 500, 29000);
    stage_pass(s, 2000);
    assert_int_equal(s->stopped, 0); /* it does not wait for ever */
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "done"), 1);
    assert_int_equal(stage_stat(s, "g", "in-flight") + stage_stat(s, "g", "deferred"), 1);
    struct got acked = second;
    stage_worker(s, W + 1, 501);
    acked.peer = W + 1;
    stage_ack(s, &acked, WEIR_DONE, NULL);
    stage_destroy(&s);
}

static void test_a_drain_with_nothing_out_is_quick(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_fill(s, "a", 3);
    struct weir_control drain = {.verb = WEIR_VERB_DRAIN};
    stage_control(s, WEIR_PORT_ADMIN, 2, &drain);
    assert_int_equal(s->stopped, 0);
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "waiting"), 3);
    stage_destroy(&s);
}

static void test_groups_change(void **state)
{
    (void)state;
    struct weir_group_policy policies[] = {stage_policy("old"), stage_policy("kept")};
    struct stage *s = stage_new(policies, 2, 0);
    stage_fill(s, "a", 2);
    stage_pass(s, 100);
    /* "old" is taken out of the topology, "new" and "all" are put in. */
    s->policies[0] = stage_policy("new");
    s->policies[2] = stage_policy("all");
    s->policies[2].start = WEIR_START_EARLIEST;
    s->config.group_count = 3;
    stage_restart(s);
    assert_non_null(strstr(s->log, "open")); /* and before that a warning */
    assert_int_equal(stage_stat(s, "old", "waiting"), 2);
    assert_int_equal(stage_stat(s, "kept", "waiting"), 2);
    assert_int_equal(stage_stat(s, "new", "waiting"), 0);
    assert_int_equal(stage_stat(s, "all", "waiting"), 2);
    stage_fill(s, "b", 1);
    stage_worker(s, W, 500);
    stage_credit(s, W, "old", 10); /* it may still be served */
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_expect(s, "b0");
    stage_credit(s, W, "new", 10);
    stage_expect(s, "b0");
    stage_credit(s, W, "all", 10);
    stage_expect(s, "a0");
    stage_expect(s, "a1");
    stage_expect(s, "b0");
    stage_group(s, "old", "remove");
    stage_pass(s, 100);
    stage_restart(s);
    assert_string_equal(stage_state(s, 1, "old"), "");
    assert_string_equal(stage_state(s, 1, "kept"), "waiting");
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_at_every_point),
        cmocka_unit_test(test_long_leases_survive),
        cmocka_unit_test(test_a_drain_keeps_what_is_out),
        cmocka_unit_test(test_a_drain_with_nothing_out_is_quick),
        cmocka_unit_test(test_groups_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
