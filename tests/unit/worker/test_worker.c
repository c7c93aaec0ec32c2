/* The worker machine: credit, jobs, acks, leases, drain. */
#include "worker_fixture.h"

#include <base/alloc.h>
#include <core/job_lease.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = worker_new();
    return 0;
}

static int teardown(void **state)
{
    struct worker *self = *state;
    worker_destroy(&self);
    return 0;
}

static void deliver(struct worker *self, uint64_t delivery, uint32_t first, uint32_t count)
{
    worker_deliver(self, &(struct delivered){.delivery = delivery, .first = first, .count = count});
}

/* ---- session and credit ---- */

static void asks_for_its_prefetch(void **state)
{
    struct worker *self = *state;
    worker_begin(self);
    assert_null(script_next(self->script));
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    const struct said *ready = script_expect(self->script, UP(0), WEIR_VERB_READY);
    assert_true(script_text_is(ready->control.role, "worker"));
    assert_true(script_text_is(ready->control.name, "email.1"));
    assert_true(ready->control.worker != 0);
    assert_int_equal(ready->control.lease_count, 0);
    assert_null(script_next(self->script));
    worker_welcome(self, 0, INCARNATION);
    uint64_t messages, bytes;
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 8);
    assert_int_equal(bytes, 1 << 20);
}

static void never_holds_more_than_its_prefetch(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_up(self);
    deliver(self, 1, 0, 8);
    assert_false(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(worker_stat(self, "held"), 8);
    for (uint32_t i = 0; i < 3; i++)
        worker_job_is(self, i, WEIR_DONE);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    /* Used 8, so 8 more than what is still held. */
    assert_true(messages > 8 && messages <= 8 + 3);
    for (uint32_t i = 3; i < 8; i++)
        worker_job_is(self, i, WEIR_DONE);
    worker_credit(self, 0, &messages, &bytes);
    assert_true(messages > 8 + 4 && messages <= 16);
    assert_int_equal(worker_stat(self, "held"), 0);
    assert_int_equal(worker_stat(self, "held_bytes"), 0);
}

static void bytes_are_lent_too(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.prefetch_bytes = 100;
    worker_begin(self);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(bytes, 100);
    deliver(self, 1, 0, 1);
    const uint64_t used = worker_stat(self, "held_bytes");
    assert_true(used > 0 && used < 100);
    script_skip(self->script);
    deliver(self, 2, 0, 1);
    assert_false(worker_credit(self, 0, &messages, &bytes));
    worker_job_is(self, 0, WEIR_DONE); /* the other's bytes are still held */
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(bytes, 2 * used + 100 - used);
}

/* Paced, with a handler that has done 64 messages in a millisecond; the credit said then. */
static uint64_t fast_worker_up(struct worker *self)
{
    uint64_t messages, bytes;
    self->config.paced = true;
    self->config.concurrency = 1;
    self->config.prefetch = 10000;
    self->config.job_messages_max = 1000;
    worker_begin(self);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 64); /* nobody knows how fast the handler is */
    deliver(self, 1, 0, 64);
    worker_pass_ms(self, 1);
    worker_job_is(self, 0, WEIR_DONE);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    return messages;
}

/* Paced: as many as keep the handler busy for 50 ms, and never more than the prefetch. */
static void a_fast_handler_is_given_more(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    messages = fast_worker_up(self);
    assert_in_range(messages, 64 + 64 * 50 - 1, 64 + 64 * 50);
    deliver(self, 2, 0, 1000);
    worker_job_is(self, 1, WEIR_DONE); /* in no time */
    worker_credit(self, 0, &messages, &bytes);
    assert_int_equal(worker_stat(self, "prefetch"), 10000);
    assert_int_equal(messages, 64 + 1000 + 10000);
}

/* It keeps no more than it needs, and gives back what it was lent while it was fast. */
static void a_slow_handler_does_not_hoard(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    fast_worker_up(self);
    worker_confirm(self, 0);
    deliver(self, 2, 0, 10);
    script_skip(self->script);
    worker_pass_ms(self, 1000);
    worker_outcome(self, 1, 0, 1, WEIR_DONE, NULL, NULL);
    assert_int_equal(worker_stat(self, "prefetch"), 2);
    const struct said *less = script_find(self->script, WEIR_VERB_CREDIT);
    assert_non_null(less);
    assert_int_equal(less->control.messages, 64 + 10); /* what came, and nothing more */
    worker_credited(self, 0, less->control.serial, 64 + 10, less->control.bytes);
    worker_outcome(self, 1, 1, 8, WEIR_DONE, NULL, NULL);
    worker_credit(self, 0, &messages, &bytes);
    assert_int_equal(messages, 64 + 10 + worker_stat(self, "prefetch") - 1);
}

/* Two upstreams: one gives its share back when the other has work and nothing to send it with. */
static void lends_to_the_upstream_that_has_work(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.upstream_count = 2;
    worker_begin(self);
    for (uint32_t i = 0; i < 2; i++) {
        worker_event(self, WEIR_EVENT_LINK_UP, UP(i));
        script_skip(self->script);
        worker_welcome(self, i, INCARNATION + i);
        assert_true(worker_credit(self, i, &messages, &bytes));
        assert_int_equal(messages, i == 0 ? 8 : 0); /* the first had it all before */
    }
    worker_waiting(self, 1);
    const struct said *less = script_expect(self->script, UP(0), WEIR_VERB_CREDIT);
    assert_int_equal(less->control.messages, 0);
    assert_null(script_next(self->script)); /* nothing is lent twice */
    worker_credited(self, 0, less->control.serial, 0, 0);
    assert_true(worker_credit(self, 1, &messages, &bytes));
    assert_int_equal(messages, 8);
    assert_int_equal(bytes, 1 << 19); /* bytes are shared for good */
}

/* WAITING is said once: it holds, however long nothing can be lent. */
static void waiting_is_remembered(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.upstream_count = 2;
    self->config.prefetch = 1;
    worker_up(self);
    deliver(self, 1, 0, 1);
    worker_waiting(self, 1);
    assert_false(worker_credit(self, 1, &messages, &bytes));
    worker_pass_ms(self, 3000);
    worker_job_is(self, 0, WEIR_DONE);
    assert_true(worker_credit(self, 1, &messages, &bytes));
    assert_int_equal(messages, 1);
}

static void an_unknown_group_is_loud_and_asked_for_again(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_up(self);
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&error, text, TEXT, weir_text_of("no group email here"));
    WEIR_SET(&error, group, GROUP, weir_text_of("email"));
    int64_t wait_ms = 1000;
    for (int i = 0; i < 3; i++, wait_ms *= 2) {
        self->script->log[0] = 0;
        worker_feed(self, UP(0), &error);
        assert_non_null(strstr(self->script->log, "no group email here"));
        assert_non_null(strstr(self->script->log, "groups"));
        assert_false(worker_credit(self, 0, &messages, &bytes));
        worker_pass_ms(self, wait_ms - 1);
        assert_false(worker_credit(self, 0, &messages, &bytes));
        worker_pass_ms(self, 1);
        assert_true(worker_credit(self, 0, &messages, &bytes));
        assert_int_equal(messages, 8);
    }
}

static const char *on_endpoint(void *arg, uint32_t port)
{
    (void)arg;
    return port == UP(0) ? "tcp://hub:7402" : NULL;
}

static void say_error(struct worker *self, uint32_t upstream, const char *code)
{
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(code));
    WEIR_SET(&error, text, TEXT, weir_text_of("not like this"));
    WEIR_SET(&error, group, GROUP, weir_text_of("email"));
    worker_feed(self, UP(upstream), &error);
}

static void an_upstream_is_named_by_its_endpoint(void **state)
{
    struct worker *self = *state;
    self->script->host.endpoint = on_endpoint;
    self->config.upstream_count = 2;
    worker_up(self);
    say_error(self, 0, WEIR_CODE_MALFORMED);
    assert_string_equal(self->script->log, "tcp://hub:7402 reports an error: not like this");
    say_error(self, 1, WEIR_CODE_GROUP);
    assert_non_null(strstr(self->script->log, "no work from upstream 1: not like this."));
}

static void a_dynamic_group_is_joined(void **state)
{
    struct worker *self = *state;
    static const char *const topics[] = {"user.*", "order.>"};
    uint64_t messages, bytes;
    self->config.topics = topics;
    self->config.topic_count = 2;
    self->config.from = "earliest";
    worker_begin(self);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    script_expect(self->script, UP(0), WEIR_VERB_READY);
    const struct said *join = script_expect(self->script, UP(0), WEIR_VERB_JOIN);
    assert_true(script_text_is(join->control.group, "email"));
    assert_int_equal(join->control.topic_count, 2);
    assert_true(script_text_is(join->control.topics[1], "order.>"));
    assert_true(script_text_is(join->control.from, "earliest"));
    assert_false(worker_credit(self, 0, &messages, &bytes)); /* the group may not exist yet */
    struct weir_control joined = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&joined, group, GROUP, weir_text_of("email"));
    WEIR_SET(&joined, start, START, 12);
    worker_feed(self, UP(0), &joined);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 8);
}

/* ---- jobs and acks ---- */

static void jobs_are_told_all_they_need(void **state)
{
    struct worker *self = *state;
    static const char *const keys[] = {"a", NULL, "c"};
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 3, .first = 10, .count = 3, .keys = keys});
    assert_int_equal(self->script->job_count, 2); /* concurrency */
    const struct weir_job *job = worker_job(self, 1);
    assert_true(job->id != 0 && job->id != worker_job(self, 0)->id);
    assert_int_equal(job->count, 1);
    assert_int_equal(job->sequence, 3011);
    assert_int_equal(job->time_ms, 1700000000000);
    assert_int_equal(job->attempt, 2);
    assert_int_equal(job->death, 1);
    assert_int_equal(job->tag, TAG);
    assert_string_equal(job->group, "email");
    assert_int_equal(job->timeout_ms, 9000);
    assert_int_equal(job->deadline_ns, self->script->now.mono_ns + 30 * WEIR_NS_PER_S);
    assert_int_equal(weir_job_lease_deadline(job->lease), job->deadline_ns);
    assert_false(job->ordered);
    struct weir_message_view message;
    assert_int_equal(weir_message_decode(job->body.data, job->body.size, &message, NULL), 0);
    assert_memory_equal(message.payload, "3.1", 3);
    assert_int_equal(message.key_bytes, 0);
    struct weir_batch_header header;
    assert_int_equal(weir_batch_header_decode(&job->header, &header, NULL), 0);
    assert_int_equal(header.topic_bytes, strlen("user.signed_up"));
    /* The third starts when one has ended. */
    worker_job_end(self, 0);
    assert_int_equal(self->script->job_count, 3);
}

static void a_slice_is_split_over_the_executors(void **state)
{
    struct worker *self = *state;
    self->config.prefetch = 1000;
    self->config.job_messages_max = 300;
    self->config.concurrency = 3;
    worker_up(self);
    deliver(self, 1, 0, 900);
    assert_int_equal(self->script->job_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct weir_job *job = worker_job(self, i);
        assert_int_equal(job->count, 300);
        assert_int_equal(job->sequence, 1000 + 300 * i);
        struct weir_message_view message;
        uint32_t width, length;
        assert_int_equal(weir_slice_check(&job->index, &job->body, 300, &width, NULL), 0);
        length = weir_index_length(&job->index, width, 0);
        assert_int_equal(weir_message_decode(job->body.data, length, &message, NULL), 0);
        char payload[16];
        int bytes = snprintf(payload, sizeof payload, "1.%u", 300 * i);
        assert_int_equal(message.payload_bytes, bytes);
        assert_memory_equal(message.payload, payload, (size_t)bytes);
    }
    worker_job_is(self, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 300, 300, WEIR_DONE);
}

/* Nothing leaves and nothing starts before the last of those that ended together. */
static void jobs_of_a_turn_share_an_ack(void **state)
{
    struct worker *self = *state;
    self->config.prefetch = 100;
    self->config.concurrency = 4;
    self->config.job_messages_max = 1;
    worker_up(self);
    deliver(self, 1, 20, 10);
    assert_int_equal(self->script->job_count, 4);
    self->more = true;
    for (uint32_t i = 0; i < 3; i++)
        worker_job_is(self, i, WEIR_DONE);
    worker_outcome(self, 3, 0, 1, WEIR_DONE, NULL, NULL);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    assert_int_equal(self->script->job_count, 4);
    self->more = false;
    worker_job_end(self, 3);
    worker_expect_ack(self, 1, 20, 4, WEIR_DONE);
    assert_int_equal(self->script->job_count, 8);
}

static void outcomes_of_a_turn_share_an_ack(void **state)
{
    struct worker *self = *state;
    self->config.prefetch = 100;
    self->config.concurrency = 1;
    self->config.job_messages_max = 100;
    worker_up(self);
    deliver(self, 1, 20, 10);
    struct weir_job_outcome outcomes[] = {
        {.first = 0, .count = 3, .outcome = WEIR_DONE, .delay_ms = -1},
        {.first = 3, .count = 2, .outcome = WEIR_DONE, .delay_ms = -1},
        {.first = 5,
         .count = 1,
         .outcome = WEIR_RETRY,
         .delay_ms = 70,
         .error = weir_bytes_borrow("no such user", 12)},
        {.first = 6, .count = 3, .outcome = WEIR_REJECT, .delay_ms = -1},
    };
    struct weir_handled handled = {.type = WEIR_HANDLED_OUTCOMES,
                                   .job = worker_job(self, 0)->id,
                                   .outcome_count = 4,
                                   .outcomes = outcomes};
    worker_handled(self, &handled);
    const struct said *said = script_find(self->script, WEIR_VERB_ACK);
    assert_int_equal(said->control.ack_count, 3);
    const struct weir_ack *acks = said->control.acks;
    assert_int_equal(acks[0].lease.first, 20);
    assert_int_equal(acks[0].lease.count, 5);
    assert_int_equal(acks[0].outcome, WEIR_DONE);
    assert_int_equal(acks[1].lease.first, 25);
    assert_int_equal(acks[1].lease.count, 1);
    assert_int_equal(acks[1].outcome, WEIR_RETRY);
    assert_int_equal(acks[1].delay_ms, 70);
    assert_int_equal(acks[1].error_bytes, 12);
    assert_memory_equal(acks[1].error, "no such user", 12);
    assert_int_equal(acks[2].lease.first, 26);
    assert_int_equal(acks[2].lease.count, 3);
    assert_int_equal(acks[2].outcome, WEIR_REJECT);
    assert_int_equal(worker_stat(self, "done"), 5);
    assert_int_equal(worker_stat(self, "failed"), 1);
    assert_int_equal(worker_stat(self, "rejected"), 3);
    assert_int_equal(worker_stat(self, "held"), 1);
    /* The last one was never started: it is, now. */
    worker_job_end(self, 0);
    assert_int_equal(self->script->job_count, 2);
    assert_int_equal(worker_job(self, 1)->sequence, 1029);
}

static void long_errors_are_cut_and_spread_over_frames(void **state)
{
    struct worker *self = *state;
    char *error = weir_zalloc(1, 5000);
    memset(error, 'x', 4999);
    self->config.prefetch = 4000;
    self->config.concurrency = 1;
    self->config.job_messages_max = 4000;
    worker_up(self);
    deliver(self, 1, 0, 2000);
    struct weir_job_outcome *outcomes = weir_zalloc(2000, sizeof *outcomes);
    for (uint32_t i = 0; i < 2000; i++)
        outcomes[i] = (struct weir_job_outcome){.first = i,
                                                .count = 1,
                                                .outcome = WEIR_RETRY,
                                                .delay_ms = -1,
                                                .error = weir_bytes_borrow(error, 4999)};
    struct weir_handled handled = {.type = WEIR_HANDLED_OUTCOMES,
                                   .job = worker_job(self, 0)->id,
                                   .outcome_count = 2000,
                                   .outcomes = outcomes};
    worker_handled(self, &handled);
    uint32_t next = 0;
    for (const struct said *said; (said = script_find(self->script, WEIR_VERB_ACK));) {
        assert_true(said->frames.at[0].size <= WEIR_CONTROL_BYTES_MAX);
        for (uint32_t i = 0; i < said->control.ack_count; i++, next++) {
            assert_int_equal(said->control.acks[i].lease.first, next);
            assert_int_equal(said->control.acks[i].error_bytes, WEIR_ERROR_BYTES_MAX);
        }
    }
    assert_int_equal(next, 2000);
    free(outcomes);
    free(error);
}

static void a_batch_that_cannot_be_read_is_rejected(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    struct weir_slice_info slice = {.index = 4, .count = 1, .sequence = 1, .attempt = 1};
    struct weir_control control = {.verb = WEIR_VERB_DELIVER, .slice_count = 1};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, incarnation, INCARNATION, INCARNATION);
    WEIR_SET(&control, delivery, DELIVERY, 1);
    WEIR_SET(&control, lease_ms, LEASE_MS, 1000);
    WEIR_SET(&control, slices, SLICES, &slice);
    struct weir_frames frames = script_frames(&control);
    weir_frames_push(&frames, weir_bytes_copy("?", 1));
    weir_frames_push(&frames, weir_bytes_copy("\1\0\0\0", 4));
    weir_frames_push(&frames, weir_bytes_copy("x", 1));
    worker_message(self, UP(0), &frames);
    assert_int_equal(self->script->job_count, 0);
    const struct said *said = worker_expect_ack(self, 1, 4, 1, WEIR_REJECT);
    assert_true(said->control.acks[0].error_bytes > 0);
    assert_int_equal(worker_stat(self, "held"), 0);
}

static void what_is_held_already_is_not_taken_twice(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 3);
    deliver(self, 1, 2, 2);
    assert_int_equal(worker_stat(self, "held"), 3);
    assert_non_null(strstr(self->script->log, "held already"));
}

/* ---- leases ---- */

static const struct said *beat(struct worker *self)
{
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *said = script_find(self->script, WEIR_VERB_HEARTBEAT);
    assert_non_null(said);
    assert_int_equal(said->control.worker, self->number);
    return said;
}

static void beats_name_what_is_held_and_what_runs(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 4);
    deliver(self, 2, 7, 1);
    worker_started(self, 0, 0);
    worker_started(self, 1, 0);
    worker_outcome(self, 0, 0, 1, WEIR_DONE, NULL, NULL);
    const struct said *said = beat(self);
    assert_int_equal(said->control.lease_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct weir_lease_ref *ref = &said->control.leases[i];
        assert_int_equal(ref->incarnation, INCARNATION);
        assert_int_equal(ref->first, ref->delivery == 1 ? 1 : 7);
        assert_int_equal(ref->count, ref->delivery == 1 ? 3 : 1);
    }
    assert_int_equal(said->control.running_count, 1);
    assert_int_equal(said->control.running[0].delivery, 1);
    assert_int_equal(said->control.running[0].first, 1);
    assert_int_equal(said->control.running[0].count, 1);
}

static void an_echo_pushes_the_deadline_from_when_it_was_asked(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 1);
    const struct said *said = beat(self);
    const int64_t sent_ns = self->script->now.mono_ns;
    script_pass_ms(self->script, 700); /* the answer takes its time */
    worker_echo(self, 0, said->control.serial, INCARNATION, said->control.leases, 1);
    assert_int_equal(weir_job_lease_deadline(worker_job(self, 0)->lease),
                     sent_ns + 30 * WEIR_NS_PER_S);
    assert_int_equal(self->script->killed_count, 0);
}

static void what_an_echo_does_not_name_is_lost(void **state)
{
    struct worker *self = *state;
    self->config.concurrency = 1;
    worker_up(self);
    deliver(self, 1, 0, 3);
    deliver(self, 2, 0, 1);
    worker_started(self, 0, 0);
    const struct said *said = beat(self);
    struct weir_lease_ref live[] = {{INCARNATION, 1, 2, 1}, {INCARNATION, 2, 0, 1}};
    deliver(self, 3, 0, 1); /* after the beat: not judged by its echo */
    worker_echo(self, 0, said->control.serial, INCARNATION, live, 2);
    assert_int_equal(self->script->killed_count, 1);
    assert_int_equal(self->script->killed[0], worker_job(self, 0)->id);
    assert_int_equal(weir_job_lease_deadline(worker_job(self, 0)->lease), 0);
    assert_int_equal(worker_stat(self, "held"), 3);
    assert_int_equal(worker_stat(self, "lost"), 2);
    script_skip(self->script);
    worker_outcome(self, 0, 0, 1, WEIR_RETRY, "killed", NULL);
    worker_job_end(self, 0);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    assert_int_equal(worker_stat(self, "late"), 1);
    /* Message 1 is gone, 2 starts. */
    assert_int_equal(worker_job(self, 1)->sequence, 1002);
    worker_job_is(self, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 2, 1, WEIR_DONE);
}

static void a_job_goes_on_when_only_others_of_it_are_lost(void **state)
{
    struct worker *self = *state;
    self->config.concurrency = 1;
    self->config.job_messages_max = 8;
    worker_up(self);
    deliver(self, 1, 0, 4);
    worker_started(self, 0, 0);
    const struct said *said = beat(self);
    struct weir_lease_ref live[] = {{INCARNATION, 1, 0, 3}};
    worker_echo(self, 0, said->control.serial, INCARNATION, live, 1);
    assert_int_equal(self->script->killed_count, 0);
    assert_int_equal(weir_job_lease_deadline(worker_job(self, 0)->lease), 0); /* starts no more */
    script_skip(self->script);
    worker_outcome(self, 0, 0, 1, WEIR_DONE, NULL, NULL);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_job_end(self, 0);
    assert_int_equal(worker_job(self, 1)->sequence, 1001);
    assert_int_equal(worker_job(self, 1)->count, 2);
}

static void an_echo_judges_its_own_stream_only(void **state)
{
    struct worker *self = *state;
    self->config.upstream_count = 2;
    worker_up(self);
    deliver(self, 1, 0, 1);
    const struct said *said = beat(self);
    worker_echo(self, 0, said->control.serial, INCARNATION + 1, NULL, 0); /* another ventilator's */
    assert_int_equal(worker_stat(self, "held"), 1);
    worker_echo(self, 0, said->control.serial + 1000, INCARNATION, NULL, 0); /* no beat of ours */
    assert_int_equal(worker_stat(self, "held"), 1);
    worker_echo(self, 0, said->control.serial, (UINT64_C(99) << 16) | TAG, NULL, 0); /* restarted */
    assert_int_equal(worker_stat(self, "held"), 0);
}

static void nothing_starts_past_its_deadline(void **state)
{
    struct worker *self = *state;
    self->config.concurrency = 1;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 2, .lease_ms = 1000});
    script_pass_ms(self->script, 1000);
    worker_job_is(self, 0, WEIR_DONE);
    assert_int_equal(self->script->job_count, 1);
    assert_int_equal(worker_stat(self, "held"), 0);
    assert_int_equal(worker_stat(self, "lost"), 1);
}

static void extend_is_forwarded(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 6, 1);
    script_skip(self->script);
    struct weir_handled handled = {.type = WEIR_HANDLED_EXTEND, .job = worker_job(self, 0)->id};
    worker_handled(self, &handled);
    const struct said *said = script_expect(self->script, UP(0), WEIR_VERB_EXTEND);
    assert_int_equal(said->control.worker, self->number);
    assert_int_equal(said->control.lease_count, 1);
    assert_int_equal(said->control.leases[0].first, 6);
}

/* ---- lost links ---- */

static void a_reconnect_names_what_is_held(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 3);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    assert_int_equal(self->script->killed_count, 0);
    script_skip(self->script);
    worker_job_is(self, 0, WEIR_DONE); /* handlers go on, and so do those that wait */
    assert_int_equal(self->script->job_count, 3);
    assert_null(script_next(self->script));
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    const struct said *ready = script_expect(self->script, UP(0), WEIR_VERB_READY);
    assert_int_equal(ready->control.worker, self->number);
    assert_int_equal(ready->control.lease_count, 1);
    assert_int_equal(ready->control.leases[0].first, 0);
    assert_int_equal(ready->control.leases[0].count, 3);
    worker_welcome(self, 0, INCARNATION);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    self->script->said_seen = 0;
    assert_non_null(script_find(self->script, WEIR_VERB_HEARTBEAT)); /* what lives of it? */
}

static void acks_that_may_be_lost_are_said_again(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 3);
    worker_outcome(self, 0, 0, 1, WEIR_RETRY, "why not", NULL);
    worker_expect_ack(self, 1, 0, 1, WEIR_RETRY);
    const struct said *said = beat(self); /* its echo says that the first ack arrived */
    worker_job_is(self, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 1, 1, WEIR_DONE);
    worker_echo(self, 0, said->control.serial, INCARNATION, said->control.leases,
                said->control.lease_count);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    const struct said *ready = script_expect(self->script, UP(0), WEIR_VERB_READY);
    assert_int_equal(ready->control.lease_count, 2); /* what was acked is held until it arrives */
    assert_int_equal(ready->control.leases[0].first, 2);
    assert_int_equal(ready->control.leases[1].first, 1);
    worker_welcome(self, 0, INCARNATION);
    worker_expect_ack(self, 1, 1, 1, WEIR_DONE);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    said = beat(self);
    worker_echo(self, 0, said->control.serial, INCARNATION, said->control.leases,
                said->control.lease_count);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    script_skip(self->script);
    worker_welcome(self, 0, INCARNATION);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
}

static void acks_take_another_way_that_leads_there(void **state)
{
    struct worker *self = *state;
    self->config.upstream_count = 3;
    worker_up(self); /* three ventilators … */
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(2));
    worker_event(self, WEIR_EVENT_LINK_UP, UP(2));
    worker_welcome(self, 2, 0); /* … of which the third is a router now */
    script_skip(self->script);
    deliver(self, 1, 0, 1);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    script_skip(self->script);
    worker_job_is(self, 0, WEIR_DONE);
    assert_null(script_find(self->script, WEIR_VERB_ACK)); /* neither is known to lead there */
    /* Work of the same stream comes through the router. */
    worker_deliver(self,
                   &(struct delivered){.upstream = 2, .relayed = true, .delivery = 2, .count = 1});
    const struct said *ack = worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_int_equal(ack->port, UP(2));
}

/* ---- drain ---- */

static void drain_gives_back_and_finishes(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_up(self);
    deliver(self, 1, 0, 5);
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    worker_expect_ack(self, 1, 2, 3, WEIR_RELEASE);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 5); /* as much as was used */
    deliver(self, 2, 0, 1);        /* it was on its way */
    worker_expect_ack(self, 2, 0, 1, WEIR_RELEASE);
    worker_job_is(self, 0, WEIR_DONE);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_int_equal(self->script->stopped, -1);
    assert_int_equal(self->script->job_count, 2);
    worker_job_is(self, 1, WEIR_RETRY);
    worker_expect_ack(self, 1, 1, 1, WEIR_RETRY);
    worker_confirm(self, 0);
    const struct said *bye = script_find(self->script, WEIR_VERB_BYE);
    assert_non_null(bye);
    assert_int_equal(bye->port, UP(0));
    assert_int_equal(bye->control.worker, self->number);
    assert_int_equal(self->script->stopped, 0);
}

/* Whether the worker has said what shows that its acks have arrived. */
static bool asks(struct worker *self)
{
    return script_find(self->script, WEIR_VERB_HEARTBEAT) != NULL;
}

static void what_comes_while_it_leaves_is_given_back_and_confirmed(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_up(self);
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 0);
    assert_int_equal(self->script->stopped, -1); /* a DELIVER may be on its way */
    deliver(self, 1, 0, 2);
    worker_expect_ack(self, 1, 0, 2, WEIR_RELEASE);
    assert_true(asks(self));
    deliver(self, 2, 0, 1);
    worker_expect_ack(self, 2, 0, 1, WEIR_RELEASE);
    assert_true(asks(self));
    worker_confirm(self, 0);
    assert_non_null(script_find(self->script, WEIR_VERB_BYE));
    assert_int_equal(self->script->stopped, 0);
}

static void who_is_away_is_waited_for_only_with_acks_for_it(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 2);
    worker_job_is(self, 0, WEIR_DONE);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    worker_job_is(self, 1, WEIR_DONE);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    assert_int_equal(self->script->stopped, -1);
    worker_pass_ms(self, 50);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    script_skip(self->script);
    worker_welcome(self, 0, INCARNATION);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 1, 1, WEIR_DONE);
    assert_true(asks(self));
    assert_int_equal(self->script->stopped, -1);
    worker_confirm(self, 0);
    assert_int_equal(self->script->stopped, 0);
}

static void who_is_away_without_acks_is_not_waited_for(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    assert_int_equal(self->script->stopped, 0);
}

static void who_stays_away_is_not_waited_for_for_ever(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 2);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    worker_job_is(self, 0, WEIR_DONE);
    worker_job_is(self, 1, WEIR_DONE);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    worker_pass_ms(self, WEIR_LEAVE_MS - 1);
    assert_int_equal(self->script->stopped, -1);
    worker_pass_ms(self, 1);
    assert_int_equal(self->script->stopped, 0);
    assert_non_null(strstr(self->script->log, "2 messages may be delivered again"));
}

static void drain_ends_what_does_not_end(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    deliver(self, 1, 0, 2);
    const struct weir_control drain = {.verb = WEIR_VERB_DRAIN};
    worker_feed(self, WEIR_PORT_ADMIN, &drain);
    for (int64_t ms = 1; ms < WEIR_DRAIN_MS; ms += 1000) {
        worker_pass_ms(self, ms == 1 ? 999 : 1000);
        worker_echo(self, 0, 0, INCARNATION, NULL, 0); /* the ventilator is there all the time */
    }
    assert_int_equal(self->script->killed_count, 0);
    worker_pass_ms(self, 1);
    assert_int_equal(self->script->killed_count, 2);
    script_skip(self->script);
    worker_outcome(self, 0, 0, 1, WEIR_RETRY, "killed", NULL);
    worker_expect_ack(self, 1, 0, 1, WEIR_RELEASE); /* it was not given its time */
    worker_job_end(self, 0);
    worker_job_end(self, 1);
    worker_expect_ack(self, 1, 1, 1, WEIR_RELEASE);
    worker_confirm(self, 0);
    assert_int_equal(self->script->stopped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(asks_for_its_prefetch),
        TEST(never_holds_more_than_its_prefetch),
        TEST(a_fast_handler_is_given_more),
        TEST(a_slow_handler_does_not_hoard),
        TEST(bytes_are_lent_too),
        TEST(lends_to_the_upstream_that_has_work),
        TEST(waiting_is_remembered),
        TEST(an_unknown_group_is_loud_and_asked_for_again),
        TEST(an_upstream_is_named_by_its_endpoint),
        TEST(a_dynamic_group_is_joined),
        TEST(jobs_are_told_all_they_need),
        TEST(a_slice_is_split_over_the_executors),
        TEST(outcomes_of_a_turn_share_an_ack),
        TEST(jobs_of_a_turn_share_an_ack),
        TEST(long_errors_are_cut_and_spread_over_frames),
        TEST(a_batch_that_cannot_be_read_is_rejected),
        TEST(what_is_held_already_is_not_taken_twice),
        TEST(beats_name_what_is_held_and_what_runs),
        TEST(an_echo_pushes_the_deadline_from_when_it_was_asked),
        TEST(what_an_echo_does_not_name_is_lost),
        TEST(a_job_goes_on_when_only_others_of_it_are_lost),
        TEST(an_echo_judges_its_own_stream_only),
        TEST(nothing_starts_past_its_deadline),
        TEST(extend_is_forwarded),
        TEST(a_reconnect_names_what_is_held),
        TEST(acks_that_may_be_lost_are_said_again),
        TEST(acks_take_another_way_that_leads_there),
        TEST(drain_gives_back_and_finishes),
        TEST(drain_ends_what_does_not_end),
        TEST(what_comes_while_it_leaves_is_given_back_and_confirmed),
        TEST(who_is_away_is_waited_for_only_with_acks_for_it),
        TEST(who_is_away_without_acks_is_not_waited_for),
        TEST(who_stays_away_is_not_waited_for_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
