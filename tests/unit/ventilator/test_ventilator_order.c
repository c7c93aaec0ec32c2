/* order: key. At any moment the messages of a key that are out are in one delivery, and nothing
 * goes past one that waits for a retry. */
#include "stage.h"

#include <base/alloc.h>
#include <base/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A 50
#define B 60
#define C 70

static struct stage *ordered(uint64_t credit_a, uint64_t credit_b)
{
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, A, 500);
    stage_worker(s, B, 600);
    if (credit_a)
        stage_credit(s, A, "g", credit_a);
    if (credit_b)
        stage_credit(s, B, "g", credit_b);
    return s;
}

static void test_a_key_follows_in_its_delivery_only(void **state)
{
    (void)state;
    struct stage *s = ordered(2, 0);
    static const char *const keys[] = {"k", "k", "k", "l", NULL};
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 5, .keys = keys});
    const struct got *a0 = stage_expect(s, "a0"), *a1 = stage_expect(s, "a1");
    assert_int_equal(a0->delivery, a1->delivery);
    stage_credit(s, B, "g", 100);
    /* a2 waits for those ahead of it, others do not. */
    stage_expect(s, "a3");
    stage_expect(s, "a4");
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "waiting"), 1);
    assert_string_equal(stage_state(s, 3, "g"), "waiting");
    stage_ack(s, a0, WEIR_DONE, NULL);
    assert_null(stage_next(s));
    stage_ack(s, a1, WEIR_DONE, NULL);
    assert_int_equal(stage_expect(s, "a2")->peer, B);
    stage_destroy(&s);
}

static void test_a_retry_holds_up_its_key(void **state)
{
    (void)state;
    struct stage *s = ordered(100, 0);
    static const char *const keys[] = {"k", "k", "k", "l"};
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 4, .keys = keys});
    const struct got *a0 = stage_expect(s, "a0");
    const struct got *a1 = stage_expect(s, "a1");
    stage_expect(s, "a2");
    stage_ack(s, stage_expect(s, "a3"), WEIR_DONE, NULL);
    stage_ack(s, a0, WEIR_RETRY, "no");
    stage_ack_range(s, a1, 2, WEIR_RELEASE, -1); /* as a worker does with those behind */
    stage_put(s, &(struct stage_batch){.prefix = "b", .count = 2, .keys = keys});
    assert_null(stage_next(s));
    stage_pass(s, 1100);
    a0 = stage_expect(s, "a0");
    assert_int_equal(a0->attempt, 2);
    assert_null(stage_next(s));
    stage_ack(s, a0, WEIR_REJECT, "never"); /* dead is over, too */
    static const char *const expected[] = {"a1", "a2", "b0", "b1"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(stage_expect(s, expected[i])->attempt, 1);
    stage_destroy(&s);
}

static void test_a_delayed_message_holds_nothing_up(void **state)
{
    (void)state;
    struct stage *s = ordered(100, 0);
    static const char *const keys[] = {"k"};
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 1, .keys = keys, .delay_ms = 3000});
    stage_put(s, &(struct stage_batch){.prefix = "b", .count = 1, .keys = keys});
    stage_ack(s, stage_expect(s, "b0"), WEIR_DONE, NULL);
    stage_pass(s, 3100);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RETRY, NULL);
    stage_put(s, &(struct stage_batch){.prefix = "c", .count = 1, .keys = keys});
    assert_null(stage_next(s)); /* once tried, it does */
    stage_pass(s, 1100);
    stage_ack(s, stage_expect(s, "a0"), WEIR_DONE, NULL);
    stage_expect(s, "c0");
    stage_destroy(&s);
}

static void test_a_lost_worker_keeps_the_order(void **state)
{
    (void)state;
    struct stage *s = ordered(100, 0);
    static const char *const keys[] = {"k", "k", "k"};
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 3, .keys = keys});
    s->got_seen = s->got_count;
    stage_gone(s, A);
    stage_worker(s, C, 700);
    stage_credit(s, C, "g", 100);
    static const char *const expected[] = {"a0", "a1", "a2"};
    for (size_t i = 0; i < 3; i++)
        assert_false(stage_expect(s, expected[i])->alone);
    stage_gone(s, C);
    stage_credit(s, B, "g", 100);
    for (size_t i = 0; i < 3; i++) {
        const struct got *got = stage_expect(s, expected[i]);
        assert_true(got->alone);
        assert_null(stage_next(s));
        stage_begin(s, got, 600);
        stage_ack(s, got, WEIR_DONE, NULL);
    }
    assert_int_equal(stage_stat(s, "g", "done"), 3);
    stage_destroy(&s);
}

static void test_the_order_outlives_a_restart(void **state)
{
    (void)state;
    struct stage *s = ordered(100, 0);
    static const char *const keys[] = {"k", "k", "k", "l"};
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 4, .keys = keys});
    stage_alive(s, A, 500, 2000); /* all leased for long, so by rows */
    const struct got *a0 = stage_expect(s, "a0");
    const struct got *a1 = stage_expect(s, "a1");
    stage_ack_range(s, a0, 1, WEIR_RETRY, 5000);
    stage_ack_range(s, a1, 2, WEIR_RELEASE, -1);
    stage_pass(s, 200);
    s->got_seen = s->got_count;
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 1);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 100);
    assert_null(stage_next(s));
    stage_alive(s, B, 600, 5000);
    a0 = stage_expect(s, "a0");
    assert_null(stage_next(s));
    stage_ack(s, a0, WEIR_DONE, NULL);
    a1 = stage_expect(s, "a1");
    assert_int_equal(stage_expect(s, "a2")->delivery, a1->delivery);
    stage_destroy(&s);
}

/* One key waits, with more behind it than is listed; meanwhile another goes on. What is not listed
 * is found again in the log, in order. */
static void test_more_than_is_listed(void **state)
{
    (void)state;
    enum { BATCHES = 4, PER_BATCH = 40000 };
    static const char *keys[PER_BATCH];
    struct stage *s = ordered(1, 0);
    for (uint32_t i = 0; i < PER_BATCH; i++)
        keys[i] = i % 1000 == 999 ? "other" : "k";
    for (uint32_t b = 0; b < BATCHES; b++)
        stage_put(s, &(struct stage_batch){.prefix = "m", .count = PER_BATCH, .keys = keys});
    const struct got first = *stage_expect(s, "m0");
    uint64_t credit = 0, others = 0, done = 1, last = 1;
    for (uint32_t turn = 0; others < BATCHES * PER_BATCH / 1000 && turn < 100; turn++) {
        stage_credit(s, B, "g", credit += 100);
        for (const struct got *got = stage_next(s); got; got = stage_next(s), others++) {
            assert_int_equal(got->sequence % 1000, 0);
            stage_ack(s, got, WEIR_DONE, NULL);
        }
    }
    assert_int_equal(others, BATCHES * PER_BATCH / 1000);
    assert_int_equal(stage_stat(s, "g", "waiting"), BATCHES * PER_BATCH - others - 1);
    stage_ack(s, &first, WEIR_DONE, NULL);
    for (uint32_t turn = 0; turn < 1000 && done + others < BATCHES * PER_BATCH; turn++) {
        stage_credit(s, B, "g", credit += 4096);
        stage_alive(s, B, 600, 20);
        while (s->got_seen < s->got_count) {
            const struct got run = s->got[s->got_seen];
            uint32_t count = 0;
            while (s->got_seen < s->got_count && s->got[s->got_seen].delivery == run.delivery) {
                assert_true(s->got[s->got_seen].sequence > last);
                last = s->got[s->got_seen++].sequence;
                count++;
            }
            done += count;
            if (s->got_seen == s->got_count)
                s->got_count = s->got_seen = 0;
            stage_ack_range(s, &run, count, WEIR_DONE, -1);
        }
    }
    assert_int_equal(done + others, BATCHES * PER_BATCH);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "done"), BATCHES * PER_BATCH);
    stage_destroy(&s);
}

/* ---- at random, against the rule itself ---- */

#define KEYS 6u
#define MESSAGES 400u

struct world {
    struct stage *s;
    char key_of[MESSAGES + 1][8];
    bool over[MESSAGES + 1];
    uint64_t out_in[MESSAGES + 1]; /* delivery; 0: not out */
};

static void check_new(struct world *w, uint32_t from)
{
    for (uint32_t i = from; i < w->s->got_count; i++) {
        const struct got *got = &w->s->got[i];
        for (uint64_t ahead = 1; ahead < got->sequence; ahead++) {
            if (w->over[ahead] || strcmp(w->key_of[ahead], w->key_of[got->sequence]) != 0)
                continue;
            if (w->out_in[ahead] != got->delivery)
                fail_msg("message %lu went out before %lu of its key was over",
                         (unsigned long)got->sequence, (unsigned long)ahead);
        }
        w->out_in[got->sequence] = got->delivery;
    }
}

/* What a worker does with a delivery: in turn; behind a failure the rest of its key is released. */
static void work(struct world *w, struct weir_random *random, uint32_t from)
{
    bool failed[KEYS] = {false};
    for (uint32_t i = from; i < w->s->got_count; i++) {
        const struct got got = w->s->got[i];
        const uint32_t key = (uint32_t)(w->key_of[got.sequence][1] - '0');
        const uint32_t before = w->s->got_count;
        if (w->out_in[got.sequence] != got.delivery)
            continue;
        const uint64_t dice = weir_random_below(random, 10);
        w->out_in[got.sequence] = 0;
        if (failed[key]) {
            stage_ack(w->s, &got, WEIR_RELEASE, NULL);
        } else if (dice < 6) {
            w->over[got.sequence] = true;
            stage_ack(w->s, &got, WEIR_DONE, NULL);
        } else {
            failed[key] = true;
            w->over[got.sequence] = dice == 9 || got.attempt == 3;
            stage_ack(w->s, &got, dice == 9 ? WEIR_REJECT : WEIR_RETRY, "no");
        }
        check_new(w, before);
        if (w->s->got_count > before)
            return; /* what came meanwhile has its own turn */
    }
}

static uint32_t count_over(const struct world *w)
{
    uint32_t over = 0;
    for (uint32_t i = 1; i <= MESSAGES; i++)
        over += w->over[i];
    return over;
}

static void test_at_random(void **state)
{
    (void)state;
    struct weir_random random;
    struct world *w = weir_zalloc(1, sizeof *w);
    weir_random_seed(&random, 7);
    w->s = ordered(0, 0);
    uint32_t sent = 0, credit = 0;
    while (sent < MESSAGES) {
        const char *keys[20];
        char text[20][8];
        const uint32_t count = 1 + (uint32_t)weir_random_below(&random, 19);
        for (uint32_t i = 0; i < count; i++) {
            snprintf(text[i], sizeof text[i], "k%u", (unsigned)weir_random_below(&random, KEYS));
            keys[i] = text[i];
            if (sent + i < MESSAGES)
                memcpy(w->key_of[sent + i + 1], text[i], sizeof text[i]);
        }
        const uint32_t fit = sent + count > MESSAGES ? MESSAGES - sent : count;
        stage_put(w->s, &(struct stage_batch){.prefix = "m", .count = fit, .keys = keys});
        sent += fit;
    }
    for (uint32_t turn = 0; turn < 2000 && count_over(w) < MESSAGES; turn++) {
        const uint32_t before = w->s->got_count;
        credit += 1 + (uint32_t)weir_random_below(&random, 12);
        stage_credit(w->s, turn % 2 ? A : B, "g", credit);
        stage_alive(w->s, A, 500, 100);
        stage_alive(w->s, B, 600, 100);
        check_new(w, before);
        while (w->s->got_seen < w->s->got_count)
            work(w, &random, w->s->got_seen++);
        if (turn % 37 == 36) { /* some are out for long enough to be rows */
            stage_alive(w->s, A, 500, 1500);
            check_new(w, w->s->got_count);
        }
    }
    assert_int_equal(count_over(w), MESSAGES);
    assert_int_equal(stage_stat(w->s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(w->s, "g", "deferred"), 0);
    assert_int_equal(stage_stat(w->s, "g", "in-flight"), 0);
    stage_destroy(&w->s);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_follows_in_its_delivery_only),
        cmocka_unit_test(test_a_retry_holds_up_its_key),
        cmocka_unit_test(test_a_delayed_message_holds_nothing_up),
        cmocka_unit_test(test_a_lost_worker_keeps_the_order),
        cmocka_unit_test(test_the_order_outlives_a_restart),
        cmocka_unit_test(test_more_than_is_listed),
        cmocka_unit_test(test_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
