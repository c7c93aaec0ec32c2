/* The worker machine: results are with whoever is next before their messages are acked. */
#include "worker_fixture.h"

#include <base/alloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct worker *self = worker_new();
    self->config.results = true;
    self->config.concurrency = 4;
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct worker *self = *state;
    worker_destroy(&self);
    return 0;
}

static void up(struct worker *self)
{
    worker_up(self);
    worker_event(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    script_skip(self->script);
}

static void deliver(struct worker *self, uint64_t delivery, uint32_t count)
{
    static const char *const keys[] = {"k0", "k1", NULL, "k3", "k4", "k5", "k6", "k7"};
    worker_deliver(self, &(struct delivered){.delivery = delivery, .count = count, .keys = keys});
}

static void done(struct worker *self, uint32_t job, const char *result)
{
    worker_outcome(self, job, 0, 1, WEIR_DONE, NULL, result);
    worker_job_end(self, job);
}

/* The next PUT to the sink, checked as a whole batch of this many messages. */
static const struct said *expect_put(struct worker *self, uint32_t count,
                                     struct weir_batch_header *header)
{
    const struct said *said = script_find(self->script, WEIR_VERB_PUT);
    assert_non_null(said);
    assert_int_equal(said->port, WEIR_PORT_TO);
    assert_int_equal(weir_batch_check(&said->frames.at[1], &said->frames.at[2], &said->frames.at[3],
                                      header, NULL),
                     0);
    assert_int_equal(header->count, count);
    return said;
}

static void a_result_says_where_it_comes_from(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    up(self);
    deliver(self, 1, 2);
    done(self, 1, "hello");
    const struct said *said = expect_put(self, 1, &header);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    assert_memory_equal(header.topic, "user.signed_up", header.topic_bytes);
    assert_int_equal(header.flags & (WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT),
                     WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT);
    struct weir_message_view message;
    const struct weir_bytes *body = &said->frames.at[3];
    assert_int_equal(weir_message_decode(body->data, body->size, &message, NULL), 0);
    assert_int_equal(message.payload_bytes, 5);
    assert_memory_equal(message.payload, "hello", 5);
    assert_int_equal(message.key_bytes, 2);
    assert_memory_equal(message.key, "k1", 2);
    assert_int_equal(message.header_count, 1);
    assert_memory_equal(message.headers[0].name, "traceparent", 11);
    assert_memory_equal(message.headers[0].value, "00-ab-cd-01", 11);
    assert_true(message.has_origin);
    struct weir_id id;
    weir_id_decode(message.origin.id, &id);
    assert_int_equal(id.time_ms, 1700000000000);
    assert_int_equal(id.tag, TAG);
    assert_int_equal(id.sequence, 1001);
    assert_int_equal(message.origin.topic_bytes, 14);
    assert_memory_equal(message.origin.topic, "user.signed_up", 14);
    assert_memory_equal(message.origin.group, "email", 5);
    assert_int_equal(message.origin.death, 1);
    assert_int_equal(message.origin.attempt, 2);
    char key[WEIR_ORIGIN_KEY_BYTES], text[WEIR_ID_TEXT_BYTES], expected[WEIR_ORIGIN_KEY_BYTES];
    uint32_t bytes = weir_origin_key(&message.origin, key);
    assert_int_equal(message.idempotency_key_bytes, bytes);
    assert_memory_equal(message.idempotency_key, key, bytes);
    weir_id_format(&id, text);
    snprintf(expected, sizeof expected, "%s/email/1", text);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(key, expected, bytes);
    worker_results_held(self, 1, 1);
    worker_expect_ack(self, 1, 1, 1, WEIR_DONE);
    assert_int_equal(worker_stat(self, "results"), 1);
    assert_int_equal(worker_stat(self, "done"), 1);
}

/* A batch of results says which spool they are of, so it has those of one only. */
static void a_batch_is_of_one_spool(void **state)
{
    static const uint8_t spools[] = {1, 1, 1, 1, 2, 0};
    struct worker *self = *state;
    struct weir_batch_header header;
    self->config.concurrency = 8;
    up(self);
    for (uint32_t i = 0; i < 6; i++) {
        worker_deliver(self,
                       &(struct delivered){.delivery = i + 1, .count = 1, .spool = spools[i]});
        done(self, i, "r");
    }
    expect_put(self, 1, &header);
    expect_put(self, 1, &header);
    for (uint32_t i = 2, number = 1; i < 6; number++) {
        const uint32_t count = i == 2 ? 2 : 1;
        worker_results_held(self, number, number == 3 ? 2 : 1);
        expect_put(self, count, &header);
        assert_int_equal(header.has_spool, spools[i] != 0);
        assert_int_equal(header.spool[0], spools[i]);
        assert_int_equal(header.spool[15], spools[i]);
        i += count;
    }
}

/* As many as the prefetch come on top of it, and no more. */
static void what_is_on_its_way_makes_room(void **state)
{
    struct worker *self = *state;
    uint64_t limit, bytes, used = 0;
    self->config.concurrency = 1;
    self->config.prefetch = self->config.job_messages_max = 1000;
    self->config.prefetch_bytes = WEIR_CREDIT_BYTES_MAX;
    up(self);
    limit = self->config.prefetch; /* WELCOME was answered so */
    struct weir_job_outcome *outcomes = weir_zalloc(1000, sizeof *outcomes);
    for (uint32_t job = 0; used < limit; job++) {
        const uint32_t count = (uint32_t)(limit - used);
        assert_true(count <= 1000);
        worker_deliver(self, &(struct delivered){.delivery = job + 1, .count = count});
        for (uint32_t i = 0; i < count; i++)
            outcomes[i] = (struct weir_job_outcome){.first = i,
                                                    .count = 1,
                                                    .outcome = WEIR_DONE,
                                                    .delay_ms = -1,
                                                    .result = weir_bytes_borrow("r", 1)};
        struct weir_handled handled = {.type = WEIR_HANDLED_OUTCOMES,
                                       .job = worker_job(self, job)->id,
                                       .outcome_count = count,
                                       .outcomes = outcomes};
        worker_handled(self, &handled);
        used += count;
        if (!worker_credit(self, 0, &limit, &bytes))
            break;
        worker_job_end(self, job);
        script_skip(self->script);
        if (job > 100)
            fail_msg("%u messages are held, and more may come", (unsigned)used);
    }
    free(outcomes);
    assert_int_equal(limit, 2 * self->config.prefetch);
    assert_int_equal(worker_stat(self, "held"), limit);
    assert_int_equal(worker_stat(self, "results_waiting"), limit);

    worker_event(self, WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO); /* nobody takes them */
    assert_false(worker_credit(self, 0, &limit, &bytes));
}

static void a_topic_of_its_own(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    self->config.result_topic = "mail.sent";
    up(self);
    deliver(self, 1, 1);
    done(self, 0, "");
    const struct said *said = expect_put(self, 1, &header);
    assert_int_equal(header.topic_bytes, 9);
    assert_memory_equal(header.topic, "mail.sent", 9);
    struct weir_message_view message;
    assert_int_equal(
        weir_message_decode(said->frames.at[3].data, said->frames.at[3].size, &message, NULL), 0);
    assert_int_equal(message.payload_bytes, 0); /* an empty result is one, too */
    assert_int_equal(message.origin.topic_bytes, 14);
}

static void without_a_result_the_ack_goes_at_once(void **state)
{
    struct worker *self = *state;
    up(self);
    deliver(self, 1, 2);
    done(self, 0, NULL);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_outcome(self, 1, 0, 1, WEIR_RETRY, "no", "ignored");
    worker_expect_ack(self, 1, 1, 1, WEIR_RETRY);
    self->script->said_seen = 0;
    assert_null(script_find(self->script, WEIR_VERB_PUT));
}

/* With two batches on their way the next results wait for company. */
static void results_share_batches(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    self->config.concurrency = 8;
    up(self);
    deliver(self, 1, 8);
    for (uint32_t i = 0; i < 6; i++)
        done(self, i, "r");
    expect_put(self, 1, &header);
    expect_put(self, 1, &header);
    assert_null(script_find(self->script, WEIR_VERB_PUT));
    assert_int_equal(worker_stat(self, "results_waiting"), 6);
    worker_results_held(self, 1, 1);
    expect_put(self, 4, &header);
    assert_int_equal(header.number, 3);
    worker_results_held(self, 3, 4); /* ahead of the second: waits for it */
    self->script->said_seen = 0;
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    worker_results_held(self, 2, 1);
    worker_expect_ack(self, 1, 1, 5, WEIR_DONE);
    assert_int_equal(worker_stat(self, "results_waiting"), 0);
}

static void no_work_is_asked_for_before_the_sink_is_there(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_begin(self);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    assert_true(worker_credit(self, 0, &messages, &bytes)); /* here we are … */
    assert_int_equal(messages, 0);
    worker_event(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 8);
}

static void while_the_sink_is_away_results_are_kept(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    uint64_t messages, bytes;
    up(self);
    deliver(self, 1, 4);
    done(self, 0, "zero");
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO);
    const struct said *less = script_expect(self->script, UP(0), WEIR_VERB_CREDIT);
    assert_int_equal(less->control.messages, 4); /* nothing new */
    worker_credited(self, 0, less->control.serial, 4, less->control.bytes);
    for (uint32_t i = 1; i < 4; i++)
        done(self, i, "more");
    assert_int_equal(self->script->job_count, 4); /* and no handler twice */
    assert_int_equal(worker_stat(self, "held"), 4);
    assert_int_equal(worker_stat(self, "results_waiting"), 4);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    /* Its lease lives on. */
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT);
    assert_int_equal(beat->control.lease_count, 1);
    assert_int_equal(beat->control.leases[0].count, 4);
    assert_int_equal(beat->control.running_count, 0);

    worker_event(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    const struct said *again = expect_put(self, 1, &header);
    struct weir_message_view message;
    assert_int_equal(
        weir_message_decode(again->frames.at[3].data, again->frames.at[3].size, &message, NULL), 0);
    assert_memory_equal(message.payload, "zero", 4);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 4 + 8); /* beside those that are done */
    worker_results_held(self, 1, 1);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
}

static void busy_stops_the_asking(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    up(self);
    deliver(self, 1, 1);
    done(self, 0, "r");
    struct weir_control busy = {.verb = WEIR_VERB_BUSY};
    WEIR_SET(&busy, number, NUMBER, 1);
    WEIR_SET(&busy, retry_ms, RETRY_MS, 300);
    script_skip(self->script);
    worker_feed(self, WEIR_PORT_TO, &busy);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 1);
    worker_pass_ms(self, 300);
    assert_non_null(script_find(self->script, WEIR_VERB_PUT));
    worker_results_held(self, 1, 1);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
}

static void refuse(struct worker *self, uint64_t number)
{
    struct weir_control refused = {.verb = WEIR_VERB_REFUSED};
    WEIR_SET(&refused, number, NUMBER, number);
    WEIR_SET(&refused, code, CODE, weir_text_of(WEIR_CODE_LIMIT));
    WEIR_SET(&refused, text, TEXT, weir_text_of("no topic mail here"));
    worker_feed(self, WEIR_PORT_TO, &refused);
}

/* The payload of the next PUT, which must be of one message. */
static void expect_alone(struct worker *self, uint64_t number, const char *payload, const char *key)
{
    struct weir_batch_header header;
    struct weir_message_view message;
    const struct said *said = expect_put(self, 1, &header);
    assert_int_equal(header.number, number);
    assert_int_equal(
        weir_message_decode(said->frames.at[3].data, said->frames.at[3].size, &message, NULL), 0);
    assert_int_equal(message.payload_bytes, strlen(payload));
    assert_memory_equal(message.payload, payload, strlen(payload));
    assert_int_equal(message.key_bytes, key ? strlen(key) : 0);
    if (key)
        assert_memory_equal(message.key, key, strlen(key));
}

/* Only what is refused by itself is rejected; what travelled with it is not. */
static void a_refused_batch_is_taken_apart(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    self->config.concurrency = 5;
    up(self);
    deliver(self, 1, 5);
    static const char *const results[] = {"first", "second", "bad", "", "good"};
    for (uint32_t i = 0; i < 5; i++)
        done(self, i, results[i]);
    expect_alone(self, 1, "first", "k0");
    expect_alone(self, 2, "second", "k1");
    worker_results_held(self, 1, 1);
    expect_put(self, 3, &header);
    refuse(self, 3);
    worker_results_held(self, 2, 1);
    self->script->said_seen = 0;
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_expect_ack(self, 1, 1, 1, WEIR_DONE);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    assert_int_equal(worker_stat(self, "results_waiting"), 3);
    self->script->said_seen = 0;
    expect_put(self, 1, &header);
    expect_put(self, 1, &header);
    expect_put(self, 3, &header);
    expect_alone(self, 4, "bad", NULL);
    expect_alone(self, 5, "", "k3");
    script_skip(self->script);
    const uint32_t said = self->script->said_seen;
    refuse(self, 4);
    expect_alone(self, 6, "good", "k4");
    self->script->said_seen = said;
    worker_expect_ack(self, 1, 2, 1, WEIR_REJECT);
    worker_results_held(self, 5, 1);
    worker_expect_ack(self, 1, 3, 1, WEIR_DONE);
    worker_results_held(self, 6, 1);
    worker_expect_ack(self, 1, 4, 1, WEIR_DONE);
    assert_int_equal(worker_stat(self, "results_refused"), 1);
    assert_int_equal(worker_stat(self, "results_waiting"), 0);
    assert_int_equal(worker_stat(self, "held"), 0);
}

static void a_refused_result_rejects_its_message(void **state)
{
    struct worker *self = *state;
    up(self);
    deliver(self, 1, 1);
    done(self, 0, "r");
    refuse(self, 1);
    const struct said *ack = worker_expect_ack(self, 1, 0, 1, WEIR_REJECT);
    static const char text[] = "the result was refused (limit): no topic mail here";
    assert_int_equal(ack->control.acks[0].error_bytes, sizeof text - 1);
    assert_memory_equal(ack->control.acks[0].error, text, sizeof text - 1);
    assert_int_equal(worker_stat(self, "results_refused"), 1);
}

static void a_result_that_is_too_large_rejects_its_message(void **state)
{
    struct worker *self = *state;
    const size_t bytes = WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX + 1;
    char *large = weir_alloc(bytes + 1);
    memset(large, 'x', bytes);
    large[bytes] = 0;
    up(self);
    deliver(self, 1, 1);
    done(self, 0, large);
    free(large);
    const struct said *ack = worker_expect_ack(self, 1, 0, 1, WEIR_REJECT);
    assert_true(ack->control.acks[0].error_bytes > 0);
    assert_int_equal(worker_stat(self, "results_waiting"), 0);
    assert_int_equal(worker_stat(self, "held"), 0);
}

static void a_result_outlives_its_lease(void **state)
{
    struct worker *self = *state;
    struct weir_batch_header header;
    up(self);
    worker_event(self, WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO);
    deliver(self, 1, 1);
    done(self, 0, "r");
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT);
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&echo, serial, SERIAL, beat->control.serial);
    WEIR_SET(&echo, incarnation, INCARNATION, INCARNATION);
    worker_feed(self, UP(0), &echo);
    assert_int_equal(worker_stat(self, "held"), 0);
    worker_event(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    expect_put(self, 1, &header);
    worker_results_held(self, 1, 1);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
    assert_int_equal(worker_stat(self, "late"), 1);
    assert_int_equal(worker_stat(self, "held_bytes"), 0);
}

static void drain_waits_for_the_sink(void **state)
{
    struct worker *self = *state;
    up(self);
    deliver(self, 1, 1);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    done(self, 0, "r");
    assert_int_equal(self->script->stopped, -1);
    worker_results_held(self, 1, 1);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    worker_confirm(self, 0);
    assert_non_null(script_find(self->script, WEIR_VERB_BYE));
    assert_int_equal(self->script->stopped, 0);
}

static void drain_does_not_wait_for_ever(void **state)
{
    struct worker *self = *state;
    up(self);
    deliver(self, 1, 4);
    done(self, 0, "sent");
    worker_event(self, WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO);
    done(self, 1, "kept");
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    script_skip(self->script);
    for (int i = 0; i < WEIR_DRAIN_MS / 1000; i++) {
        worker_waiting(self, 0); /* the ventilator is there */
        worker_pass_ms(self, 1000);
    }
    worker_expect_ack(self, 1, 0, 2, WEIR_RELEASE);
    done(self, 2, "too late"); /* nobody will have it: somebody else does it again */
    worker_expect_ack(self, 1, 2, 1, WEIR_RELEASE);
    done(self, 3, NULL);
    worker_expect_ack(self, 1, 3, 1, WEIR_DONE);
    worker_confirm(self, 0);
    assert_int_equal(self->script->stopped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_result_says_where_it_comes_from),
        TEST(a_batch_is_of_one_spool),
        TEST(what_is_on_its_way_makes_room),
        TEST(a_topic_of_its_own),
        TEST(without_a_result_the_ack_goes_at_once),
        TEST(results_share_batches),
        TEST(no_work_is_asked_for_before_the_sink_is_there),
        TEST(while_the_sink_is_away_results_are_kept),
        TEST(busy_stops_the_asking),
        TEST(a_refused_batch_is_taken_apart),
        TEST(a_refused_result_rejects_its_message),
        TEST(a_result_that_is_too_large_rejects_its_message),
        TEST(a_result_outlives_its_lease),
        TEST(drain_waits_for_the_sink),
        TEST(drain_does_not_wait_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
