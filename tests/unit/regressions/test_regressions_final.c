/* Bugs of groups with delivery: at-most-once, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

/* One message of group "g" is out, and no more can go; others are for "rest". */
static struct stage *begin(int64_t delay_ms)
{
    struct weir_group_policy policies[] = {stage_policy("g"), stage_policy("rest")};
    policies[0].delivery = WEIR_AT_MOST_ONCE;
    snprintf(policies[0].topics[0], sizeof policies[0].topics[0], "t.once");
    snprintf(policies[1].topics[0], sizeof policies[1].topics[0], "t.a");
    struct stage *s = stage_new(policies, 2, 0);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 1);
    stage_credit(s, W, "rest", 100000);
    stage_put(s, &(struct stage_batch){
                     .topic = "t.once", .prefix = "a", .count = 1, .delay_ms = delay_ms});
    stage_alive(s, W, WORKER, delay_ms + 1000);
    return s;
}

/* It is given back, and the ventilator is stopped in good order and started again. */
static void go_back(struct stage *s)
{
    stage_drain(s);
    assert_int_equal(s->stopped, 0);
    stage_restart(s);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "rest", 100000);
}

static void expect_its_time(struct stage *s)
{
    stage_credit(s, W, "g", 1);
    stage_alive(s, W, WORKER, 1000);
    const struct got *got = stage_expect(s, "a0");
    assert_int_equal(got->sequence, 1);
    assert_true(got->time_ms == STAGE_START_MS);
    stage_destroy(&s);
}

/* 1: a message that had not been sent when the ventilator was stopped in good order was taken for
 * one that was accepted then: its id was another than the one that `OK` had named, and its time to
 * live began anew. */
static void what_goes_back_at_the_end_keeps_its_time(void **state)
{
    (void)state;
    struct stage *s = begin(0);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RELEASE, NULL);
    stage_alive(s, W, WORKER, 60000);
    go_back(s);
    stage_turn_log_over(s, W, WORKER); /* from now on only its row knows */
    expect_its_time(s);

    s = begin(0);
    stage_ack(s, stage_expect(s, "a0"), WEIR_RELEASE, NULL);
    stage_forget_batches(s); /* only the log knew */
    stage_alive(s, W, WORKER, 60000);
    go_back(s);
    expect_its_time(s);
}

/* 2: a worker gave a message back that it had held until the log was freed behind it; what is sent
 * at most once keeps no log. That was reported as damage. */
static void what_comes_back_too_late_is_dropped(void **state)
{
    static const int64_t delays_ms[] = {0, 1000}; /* as it is in the log; as a row */
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct stage *s = begin(delays_ms[i]);
        const struct got *a0 = stage_expect(s, "a0");
        stage_turn_log_over(s, W, WORKER);
        assert_true(stage_stat(s, NULL, "used_bytes") < 2 * WEIR_MEMORY_SEGMENT_BYTES);
        stage_forget_batches(s);
        assert_string_equal(stage_state(s, 1, "g"), "in-flight");
        stage_ack(s, a0, WEIR_RELEASE, NULL);
        stage_credit(s, W, "g", 2);
        stage_alive(s, W, WORKER, 1000);
        assert_null(stage_next(s));
        assert_string_equal(stage_state(s, 1, "g"), "dropped");
        assert_int_equal(stage_stat(s, "g", "dropped"), 1);
        assert_int_equal(stage_stat(s, "g", "released"), 1);
        assert_int_equal(stage_stat(s, "g", "waiting"), 0);
        assert_int_equal(stage_stat(s, "g", "deferred"), 0);
        assert_int_equal(stage_stat(s, NULL, "missing"), 0);
        assert_int_equal(s->errors_logged, 0);
        stage_destroy(&s);
    }
}

/* 3: the ventilator was told to end while it asked the state for what was due. It took that out of
 * the state all the same, to send it, and ended. */
static void what_is_due_at_the_end_stays_in_the_state(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    policy.delivery = WEIR_AT_MOST_ONCE;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "a", .count = 1, .delay_ms = 1000});
    stage_pass(s, 500);
    s->now.mono_ns += 1000 * WEIR_NS_PER_MS;
    s->now.wall_ms += 1000;
    s->steps_left = 0; /* the state does not answer yet */
    const uint32_t requests = s->requests;
    stage_credit(s, W, "g", 10);
    assert_int_equal(s->requests, requests + 1);
    s->steps_left = UINT64_MAX;
    s->crashed = false;
    stage_drain(s);
    assert_int_equal(s->stopped, 0);
    stage_restart(s);
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 10);
    stage_alive(s, W, WORKER, 1000);
    stage_expect(s, "a0");
    stage_destroy(&s);
}

static void router(struct stage *s, uint64_t peer)
{
    struct weir_control ready = {.verb = WEIR_VERB_READY};
    WEIR_SET(&ready, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&ready, role, ROLE, weir_text_of("router"));
    WEIR_SET(&ready, name, NAME, weir_text_of("hub"));
    stage_control(s, WEIR_PORT_DISPATCH, peer, &ready);
}

static void bye(struct stage *s, uint64_t peer, const struct got *got)
{
    struct weir_lease_ref lease = {got->incarnation, got->delivery, got->index, 1};
    struct weir_control control = {.verb = WEIR_VERB_BYE, .lease_count = 1};
    WEIR_SET(&control, leases, LEASES, &lease);
    stage_control(s, WEIR_PORT_DISPATCH, peer, &control);
}

/* It is not sent again to whoever has room, its ack counts, and without one it is dropped at the
 * end of its lease. */
static void expect_no_second_time(struct stage *s, const struct got *a0, bool acked)
{
    stage_worker(s, W + 2, WORKER + 2);
    stage_credit(s, W + 2, "g", 10);
    stage_alive(s, W + 2, WORKER + 2, 2000);
    assert_null(stage_next(s));
    assert_string_equal(stage_state(s, 1, "g"), "in-flight");
    struct got other_way = *a0;
    other_way.peer = W + 2;
    if (acked)
        stage_ack(s, &other_way, WEIR_DONE, NULL);
    stage_alive(s, W + 2, WORKER + 2, WEIR_LEASE_MS);
    assert_null(stage_next(s));
    assert_string_equal(stage_state(s, 1, "g"), acked ? "done" : "dropped");
    assert_int_equal(stage_stat(s, "g", "done"), acked);
    assert_int_equal(stage_stat(s, "g", "dropped"), !acked);
    assert_int_equal(stage_stat(s, NULL, "stale_acks"), 0);
    assert_int_equal(stage_stat(s, "g", "in-flight"), 0);
    stage_destroy(&s);
}

/* 4: a message was handled, its worker's connection ended, and the ack was on its way by another
 * one when the worker was back and did not name what it had acked. That was taken for given back
 * untouched, and sent again; a router said so with a BYE that names leases (seeds 46552, 54804 and
 * 66023). So was what a worker had when it said BYE without waiting for its acks. */
static void what_nobody_names_any_more_is_not_sent_again(void **state)
{
    (void)state;
    for (int acked = 0; acked < 2; acked++) {
        struct stage *s = begin(0); /* back on another connection, straight to the ventilator */
        const struct got *a0 = stage_expect(s, "a0");
        stage_peer_gone(s, W);
        stage_worker(s, W + 1, WORKER);
        stage_pass(s, 1000);
        expect_no_second_time(s, a0, acked);

        s = begin(0); /* said by a router */
        a0 = stage_expect(s, "a0");
        router(s, W + 1);
        bye(s, W + 1, a0);
        expect_no_second_time(s, a0, acked);

        s = begin(0); /* said by the worker */
        a0 = stage_expect(s, "a0");
        bye(s, W, a0);
        expect_no_second_time(s, a0, acked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_back_at_the_end_keeps_its_time),
        cmocka_unit_test(what_comes_back_too_late_is_dropped),
        cmocka_unit_test(what_is_due_at_the_end_stays_in_the_state),
        cmocka_unit_test(what_nobody_names_any_more_is_not_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
