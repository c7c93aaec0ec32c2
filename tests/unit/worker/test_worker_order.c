/* The worker machine: messages with one key in their order, and suspects alone. */
#include "worker_fixture.h"

#include <base/alloc.h>
#include <core/job_lease.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct worker *self = worker_new();
    self->config.concurrency = 3;
    self->config.prefetch = 500;
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct worker *self = *state;
    worker_destroy(&self);
    return 0;
}

static void deliver(struct worker *self, uint64_t delivery, uint32_t first, uint32_t count,
                    const char *const *keys)
{
    worker_deliver(
        self,
        &(struct delivered){
            .delivery = delivery, .first = first, .count = count, .keys = keys, .ordered = true});
}

static void expect_job(struct worker *self, uint32_t job, uint64_t sequence, uint32_t count)
{
    assert_int_equal(worker_job(self, job)->sequence, sequence);
    assert_int_equal(worker_job(self, job)->count, count);
    assert_true(worker_job(self, job)->ordered);
}

static void one_key_is_handled_in_turn(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "a", "b", "a", NULL, "b"};
    worker_up(self);
    deliver(self, 1, 0, 6, keys);
    assert_int_equal(self->script->job_count, 3);
    expect_job(self, 0, 1000, 1); /* a */
    expect_job(self, 1, 1002, 1); /* b */
    expect_job(self, 2, 1004, 1); /* no key */
    worker_job_is(self, 2, WEIR_DONE);
    assert_int_equal(self->script->job_count, 3); /* a and b still run */
    worker_job_is(self, 1, WEIR_DONE);
    expect_job(self, 3, 1005, 1); /* b; a still runs */
    worker_job_is(self, 0, WEIR_DONE);
    expect_job(self, 4, 1001, 1);
    worker_job_is(self, 3, WEIR_DONE);
    assert_int_equal(self->script->job_count, 5);
    worker_job_is(self, 4, WEIR_DONE);
    expect_job(self, 5, 1003, 1);
    worker_job_is(self, 5, WEIR_DONE);
    assert_int_equal(worker_stat(self, "held"), 0);
    assert_int_equal(worker_stat(self, "done"), 6);
}

/* Also over deliveries: the older one may have lost its lease while it still runs. */
static void one_key_never_runs_twice_at_once(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a"};
    worker_up(self);
    deliver(self, 1, 0, 1, keys);
    deliver(self, 2, 0, 1, keys);
    assert_int_equal(self->script->job_count, 1);
    worker_job_is(self, 0, WEIR_DONE);
    expect_job(self, 1, 2000, 1);
}

static void a_failure_releases_those_behind_it(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "b", "a", "c", "a"};
    static const char *const more[] = {"a", "d"};
    self->config.concurrency = 1;
    worker_up(self);
    deliver(self, 1, 0, 5, keys);
    deliver(self, 1, 5, 2, more);
    deliver(self, 2, 0, 2, more); /* another delivery: not behind it */
    script_skip(self->script);
    worker_outcome(self, 0, 0, 1, WEIR_RETRY, "no", NULL);
    const struct said *said = script_find(self->script, WEIR_VERB_ACK);
    static const uint32_t released[] = {2, 4, 5};
    bool seen[8] = {false};
    uint32_t retried = UINT32_MAX;
    for (uint32_t i = 0; i < said->control.ack_count; i++) {
        const struct weir_ack *ack = &said->control.acks[i];
        assert_int_equal(ack->lease.delivery, 1);
        if (ack->outcome == WEIR_RETRY)
            retried = ack->lease.first;
        else
            for (uint32_t n = 0; n < ack->lease.count; n++)
                seen[ack->lease.first + n] = ack->outcome == WEIR_RELEASE;
    }
    assert_int_equal(retried, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(seen[released[i]]);
    assert_false(seen[1] || seen[3] || seen[6]);
    worker_job_end(self, 0);
    static const uint64_t then[] = {1001, 1003, 1006, 2000, 2001};
    for (uint32_t i = 0; i < 5; i++) {
        expect_job(self, i + 1, then[i], 1);
        worker_job_is(self, i + 1, WEIR_DONE);
    }
    assert_int_equal(worker_stat(self, "held"), 0);
}

static void a_late_part_of_the_delivery_is_behind_the_failure(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "b"};
    worker_up(self);
    deliver(self, 1, 0, 2, keys);
    worker_job_is(self, 0, WEIR_UNAVAILABLE);
    script_skip(self->script);
    deliver(self, 1, 2, 2, keys);
    worker_expect_ack(self, 1, 2, 1, WEIR_RELEASE);
    assert_int_equal(self->script->job_count, 2);
    worker_job_is(self, 1, WEIR_DONE);
    expect_job(self, 2, 1003, 1);
}

static void what_is_dead_blocks_nothing(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "a"};
    worker_up(self);
    deliver(self, 1, 0, 2, keys);
    worker_job_is(self, 0, WEIR_REJECT);
    expect_job(self, 1, 1001, 1);
}

/* Long jobs stop at the first message that is not done: what was not started goes on elsewhere. */
static void a_stopped_job_goes_on_without_the_failed_key(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "b", "a", "c", "b"};
    self->config.concurrency = 1;
    self->config.job_messages_max = 100;
    worker_up(self);
    deliver(self, 1, 0, 5, keys);
    expect_job(self, 0, 1000, 5);
    script_skip(self->script);
    worker_outcome(self, 0, 0, 1, WEIR_DONE, NULL, NULL);
    worker_outcome(self, 0, 1, 1, WEIR_RETRY, "no", NULL);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 1, 1, WEIR_RETRY);
    worker_job_end(self, 0);
    worker_expect_ack(self, 1, 4, 1, WEIR_RELEASE);
    expect_job(self, 1, 1002, 2);
}

static void runs_of_messages_leave_out_keys_that_run(void **state)
{
    struct worker *self = *state;
    static const char *const first[] = {"a", "b"};
    static const char *const second[] = {"c", "c", "d", "a", "e", "d"};
    self->config.concurrency = 2;
    self->config.job_messages_max = 100;
    worker_up(self);
    deliver(self, 1, 0, 2, first);
    expect_job(self, 0, 1000, 2);
    deliver(self, 2, 0, 6, second);
    expect_job(self, 1, 2000, 3); /* c c d; then a runs elsewhere */
    worker_job_is(self, 0, WEIR_DONE);
    expect_job(self, 2, 2003, 2); /* a e; d runs in the other job */
}

static void what_is_lost_blocks_its_key(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", "a", "b"};
    self->config.concurrency = 1;
    worker_up(self);
    deliver(self, 1, 0, 3, keys);
    worker_started(self, 0, 0);
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT);
    struct weir_lease_ref live[] = {{INCARNATION, 1, 1, 2}};
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT, .lease_count = 1};
    WEIR_SET(&echo, serial, SERIAL, beat->control.serial);
    WEIR_SET(&echo, incarnation, INCARNATION, INCARNATION);
    WEIR_SET(&echo, leases, LEASES, live);
    worker_feed(self, UP(0), &echo);
    assert_int_equal(self->script->killed_count, 1);
    worker_expect_ack(self, 1, 1, 1, WEIR_RELEASE); /* behind what another may run now */
    worker_job_end(self, 0);
    expect_job(self, 1, 1002, 1);
}

/* ---- suspects ---- */

static void suspect(struct worker *self, uint64_t delivery)
{
    worker_deliver(
        self, &(struct delivered){.delivery = delivery, .first = 9, .count = 1, .alone = true});
}

static void go(struct worker *self, const struct said *begin)
{
    struct weir_control control = {.verb = WEIR_VERB_GO, .lease_count = 1};
    WEIR_SET(&control, leases, LEASES, begin->control.leases);
    WEIR_SET(&control, worker, WORKER, self->number);
    worker_feed(self, UP(0), &control);
}

static const struct said *expect_begin(struct worker *self, uint64_t delivery)
{
    const struct said *begin = script_find(self->script, WEIR_VERB_BEGIN);
    assert_non_null(begin);
    assert_int_equal(begin->control.worker, self->number);
    assert_int_equal(begin->control.lease_count, 1);
    assert_int_equal(begin->control.leases[0].delivery, delivery);
    assert_int_equal(begin->control.leases[0].first, 9);
    return begin;
}

static void a_suspect_waits_until_it_is_alone_and_begun(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.concurrency = 1;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 3});
    script_skip(self->script);
    suspect(self, 2);
    worker_expect_ack(self, 1, 1, 2, WEIR_RELEASE); /* what waits is given back */
    const struct said *less = script_find(self->script, WEIR_VERB_CREDIT);
    assert_int_equal(less->control.messages, 4); /* and nothing more is asked for */
    assert_int_equal(self->script->job_count, 1);
    worker_deliver(self, &(struct delivered){.delivery = 3, .count = 1}); /* on its way */
    worker_expect_ack(self, 3, 0, 1, WEIR_RELEASE);
    worker_credited(self, 0, less->control.serial, 4, less->control.bytes);
    assert_null(script_find(self->script, WEIR_VERB_BEGIN)); /* one still runs */
    worker_job_is(self, 0, WEIR_DONE);
    const struct said *begin = expect_begin(self, 2);
    assert_int_equal(self->script->job_count, 1);
    go(self, begin);
    assert_int_equal(self->script->job_count, 2);
    assert_int_equal(worker_job(self, 1)->sequence, 2009);
    script_skip(self->script);
    worker_job_is(self, 1, WEIR_DONE);
    worker_expect_ack(self, 2, 9, 1, WEIR_DONE);
    assert_true(worker_credit(self, 0, &messages, &bytes)); /* back to work */
    assert_int_equal(messages, 500 + 5);
}

static void begin_is_said_again_after_a_reconnect_and_a_beat(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    suspect(self, 2);
    expect_begin(self, 2);
    assert_null(script_find(self->script, WEIR_VERB_BEGIN));
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0)); /* the GO is lost */
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    expect_begin(self, 2);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *begin = expect_begin(self, 2);
    go(self, begin);
    go(self, begin);
    assert_int_equal(self->script->job_count, 1);
}

static void a_lost_suspect_is_forgotten(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    suspect(self, 2);
    const struct said *begin = expect_begin(self, 2);
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT);
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&echo, serial, SERIAL, beat->control.serial);
    WEIR_SET(&echo, incarnation, INCARNATION, INCARNATION);
    worker_feed(self, UP(0), &echo);
    assert_int_equal(worker_stat(self, "held"), 0);
    go(self, begin);
    assert_int_equal(self->script->job_count, 0);
    worker_deliver(self, &(struct delivered){.delivery = 4, .count = 1});
    assert_int_equal(self->script->job_count, 1);
}

static void a_second_suspect_is_given_back(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    suspect(self, 2);
    script_skip(self->script);
    suspect(self, 3);
    worker_expect_ack(self, 3, 9, 1, WEIR_RELEASE);
}

static void drain_gives_a_suspect_back(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    suspect(self, 2);
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    worker_expect_ack(self, 2, 9, 1, WEIR_RELEASE);
    worker_confirm(self, 0);
    assert_int_equal(self->script->stopped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_key_is_handled_in_turn),
        TEST(one_key_never_runs_twice_at_once),
        TEST(a_failure_releases_those_behind_it),
        TEST(a_late_part_of_the_delivery_is_behind_the_failure),
        TEST(what_is_dead_blocks_nothing),
        TEST(a_stopped_job_goes_on_without_the_failed_key),
        TEST(runs_of_messages_leave_out_keys_that_run),
        TEST(what_is_lost_blocks_its_key),
        TEST(a_suspect_waits_until_it_is_alone_and_begun),
        TEST(begin_is_said_again_after_a_reconnect_and_a_beat),
        TEST(a_lost_suspect_is_forgotten),
        TEST(a_second_suspect_is_given_back),
        TEST(drain_gives_a_suspect_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
