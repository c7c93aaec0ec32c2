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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_at_every_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
