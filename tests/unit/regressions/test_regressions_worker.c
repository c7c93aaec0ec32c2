/* Bugs of the worker machine, each with its number. */
#include <worker_fixture.h>

#include <setjmp.h>
#include <stdarg.h>

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

static void echo_beats(struct worker *self)
{
    for (const struct said *said; (said = script_next(self->script));)
        if (said->control.verb == WEIR_VERB_HEARTBEAT && said->port == UP(0))
            worker_echo(self, 0, said->control.serial, INCARNATION, said->control.leases,
                        said->control.lease_count);
}

/* 1: all upstreams had said WAITING while the worker had nothing to lend for longer than a second.
 * Then none of them counted as one with work, and nobody was ever lent anything again. */
static void who_has_waited_for_long_is_lent_to(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.upstream_count = 2;
    self->config.concurrency = 1;
    self->config.job_messages_max = 8;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 8});
    worker_waiting(self, 0);
    worker_waiting(self, 1);
    script_skip(self->script);
    for (int i = 0; i < 3; i++) {
        worker_pass_ms(self, WEIR_HEARTBEAT_MS);
        echo_beats(self);
        worker_pass_ms(self, 1);
    }
    script_skip(self->script);
    worker_job_is(self, 0, WEIR_DONE);
    const uint32_t said = self->script->said_seen;
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 8 + 4);
    self->script->said_seen = said;
    assert_true(worker_credit(self, 1, &messages, &bytes));
    assert_int_equal(messages, 4);
}

/* Routers split a delivery of two messages: one comes by each of two ways. */
static void get_one_by_each_way(struct worker *self)
{
    self->config.upstream_count = 2;
    worker_up(self);
    script_skip(self->script);
    for (uint32_t i = 0; i < 2; i++)
        worker_waiting(self, i);
    const struct said *less = script_find(self->script, WEIR_VERB_CREDIT);
    assert_non_null(less); /* half of what the first had is asked back, for the second */
    worker_credited(self, 0, less->control.serial, 0, 0);
    for (uint32_t i = 0; i < 2; i++)
        worker_deliver(self,
                       &(struct delivered){
                           .upstream = i, .relayed = true, .delivery = 1, .first = i, .count = 1});
    assert_int_equal(self->script->job_count, 2);
}

/* 2: routers had split one delivery, and parts of it came by two ways. When the first way's
 * connection was made anew, READY did not name what had come by it, as the delivery's last part had
 * come by the other: the router gave back a message that was being handled. */
static void ready_names_what_came_by_that_way(void **state)
{
    struct worker *self = *state;
    get_one_by_each_way(self);
    worker_started(self, 0, 0);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    const struct said *ready = script_find(self->script, WEIR_VERB_READY);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 1);
    assert_int_equal(ready->control.leases[0].delivery, 1);
    assert_int_equal(ready->control.leases[0].first, 0);
    assert_int_equal(ready->control.leases[0].count, 2);
}

/* 3: a handler asked to be tried again after longer than the wire can say. The ack was refused as
 * malformed, with every other in its frame, and said again for ever. */
static void a_delay_beyond_all_bounds_is_bounded(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 1});
    const uint64_t job = worker_job(self, 0)->id;
    struct weir_job_outcome outcome = {.count = 1, .outcome = WEIR_RETRY, .delay_ms = INT64_MAX};
    struct weir_handled handled = {
        .type = WEIR_HANDLED_OUTCOMES, .job = job, .outcome_count = 1, .outcomes = &outcome};
    script_skip(self->script);
    worker_handled(self, &handled); /* what does not parse fails in the script */
    const struct said *ack = worker_expect_ack(self, 1, 0, 1, WEIR_RETRY);
    assert_int_equal(ack->control.acks[0].delay_ms, WEIR_DURATION_MS_MAX);
}

/* 4: a worker behind a router was also connected to the router ahead of that one, so echoes of what
 * it beat to one came by the other. It did not know them for its own: leases that had ended were
 * worked on, and those that lived were not renewed. Seed 179 of the simulator. */
static void an_echo_may_come_another_way(void **state)
{
    struct worker *self = *state;
    self->config.upstream_count = 2;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 1});
    assert_int_equal(self->script->job_count, 1);
    worker_started(self, 0, 0);
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat;
    while ((beat = script_next(self->script)) &&
           (beat->control.verb != WEIR_VERB_HEARTBEAT || beat->control.lease_count == 0))
        ;
    assert_non_null(beat);
    assert_int_equal(beat->port, UP(0));
    assert_int_equal(self->script->killed_count, 0);
    worker_echo(self, 1, beat->control.serial, INCARNATION, NULL, 0);
    assert_int_equal(self->script->killed_count, 1);
}

/* 5: the search for the next message of an ordered group ends after so many that wait. It ended for
 * one lot only, and in the lots behind it went on, past the end of the list of blocked keys. */
static void the_window_of_a_search_holds_over_all_lots(void **state)
{
    struct worker *self = *state;
    enum { WINDOW = 256 };
    static const char *same[WINDOW + 2];
    static const char *const other[] = {"b"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        same[i] = "a";
    self->config.concurrency = 2;
    self->config.job_messages_max = 1;
    self->config.prefetch = 2 * WINDOW;
    worker_up(self);
    worker_deliver(self, &(struct delivered){
                             .delivery = 1, .count = WINDOW + 2, .keys = same, .ordered = true});
    worker_deliver(self,
                   &(struct delivered){.delivery = 2, .count = 1, .keys = other, .ordered = true});
    assert_int_equal(self->script->job_count, 1);
    worker_job_is(self, 0, WEIR_DONE); /* one fewer ahead of it: the next look comes further */
    assert_int_equal(self->script->job_count, 2);
    worker_job_is(self, 1, WEIR_DONE);
    assert_int_equal(worker_job(self, 2)->sequence, 1002);
    assert_int_equal(worker_job(self, 3)->sequence, 2000);
}

/* 6: the message that a job was handling was not its worker's any more, and the job was killed for
 * it. What the job had not begun, and what was still leased, was given back, instead of waiting
 * again. */
static void what_a_killed_job_had_not_begun_waits_again(void **state)
{
    struct worker *self = *state;
    self->config.concurrency = 1;
    self->config.job_messages_max = 8;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 4});
    worker_started(self, 0, 0);
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT);
    struct weir_lease_ref left = {INCARNATION, 1, 1, 3};
    worker_echo(self, 0, beat->control.serial, INCARNATION, &left, 1);
    assert_int_equal(self->script->killed_count, 1);
    worker_job_end(self, 0);
    assert_int_equal(self->script->job_count, 2);
    assert_int_equal(worker_job(self, 1)->sequence, 1001);
    assert_int_equal(worker_job(self, 1)->count, 3);
    assert_null(script_find(self->script, WEIR_VERB_ACK));
}

/* 7: a worker that was told to end closed its connections as soon as it had handed its last acks to
 * them. What was still unsent there was lost with its BYE: what it had done was out until it was
 * found lost, and then done again, as suspects. */
static void the_last_acks_have_arrived_before_the_end(void **state)
{
    struct worker *self = *state;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 1});
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    const struct said *less = script_find(self->script, WEIR_VERB_CREDIT);
    assert_non_null(less);
    worker_credited(self, 0, less->control.serial, less->control.messages, less->control.bytes);
    worker_job_is(self, 0, WEIR_DONE);
    worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_int_equal(self->script->stopped, -1);
    const struct said *beat = script_find(self->script, WEIR_VERB_HEARTBEAT); /* at once */
    assert_non_null(beat);
    assert_null(script_find(self->script, WEIR_VERB_BYE));
    worker_echo(self, 0, beat->control.serial - 1, INCARNATION, NULL, 0); /* an older one's */
    assert_int_equal(self->script->stopped, -1);
    worker_echo(self, 0, beat->control.serial, INCARNATION, NULL, 0);
    assert_non_null(script_find(self->script, WEIR_VERB_BYE));
    assert_int_equal(self->script->stopped, 0);
}

static void refuse_join(struct worker *self, uint32_t upstream)
{
    const struct said *join = script_find(self->script, WEIR_VERB_JOIN);
    assert_non_null(join);
    assert_int_equal(join->port, UP(upstream));
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&error, text, TEXT, weir_text_of("not now"));
    WEIR_SET(&error, group, GROUP, weir_text_of("email"));
    WEIR_SET(&error, serial, SERIAL, join->control.serial);
    worker_feed(self, UP(upstream), &error);
}

/* 8: credit that waited for JOINED outlived the refusal of its JOIN. An upstream that is refused
 * counts for nothing when what is free is shared, so each had all of it in turn; and when the group
 * was there at last, each said all of it (sim --seed 3940). */
static void the_prefetch_is_shared_once_after_refused_joins(void **state)
{
    struct worker *self = *state;
    static const char *const topics[] = {"user.signed_up"};
    self->config.topics = topics;
    self->config.topic_count = 1;
    self->config.upstream_count = 3;
    self->config.prefetch = 6;
    worker_begin(self);
    for (uint32_t i = 0; i < 3; i++) {
        worker_event(self, WEIR_EVENT_LINK_UP, UP(i));
        worker_welcome(self, i, INCARNATION + i);
        refuse_join(self, i);
    }
    worker_pass_ms(self, 1000); /* it asks again */
    uint64_t total = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct weir_control joined = {.verb = WEIR_VERB_JOINED};
        WEIR_SET(&joined, group, GROUP, weir_text_of("email"));
        WEIR_SET(&joined, start, START, 7);
        worker_feed(self, UP(i), &joined);
    }
    for (struct said *credit; (credit = script_find(self->script, WEIR_VERB_CREDIT));)
        total += credit->control.messages; /* nothing was used: each is said once */
    assert_int_equal(total, 6);
}

/* 9: a worker that had heard nothing for long said READY again, and only then got the JOINED of the
 * session before. The CREDIT that had waited for it reached the server behind that READY, and
 * counted in the session that the worker began with none: it got more than it had asked for. (Seed
 * 415010 of sim_small, --power 1 --disks 1 --keys 0 --ordered 1 --delays 0 --replays 1 --joins 2
 * --removals 5 --edits 1.) */
static void joined_of_an_earlier_session_brings_no_credit(void **state)
{
    struct worker *self = *state;
    static const char *const topics[] = {"user.signed_up"};
    self->config.topics = topics;
    self->config.topic_count = 1;
    worker_begin(self);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    assert_non_null(script_find(self->script, WEIR_VERB_READY));
    assert_non_null(script_find(self->script, WEIR_VERB_JOIN));
    worker_pass_ms(self, WEIR_PEER_SILENCE_MS + 1);
    assert_non_null(script_find(self->script, WEIR_VERB_READY));
    struct weir_control joined = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&joined, group, GROUP, weir_text_of("email"));
    WEIR_SET(&joined, start, START, 7);
    worker_feed(self, UP(0), &joined);
    worker_pass_ms(self, 1);
    assert_null(script_find(self->script, WEIR_VERB_CREDIT));
    worker_welcome(self, 0, INCARNATION);
    assert_non_null(script_find(self->script, WEIR_VERB_JOIN));
    worker_feed(self, UP(0), &joined);
    assert_non_null(script_find(self->script, WEIR_VERB_CREDIT));
}

static const struct said *ready_again(struct worker *self, uint32_t upstream)
{
    script_skip(self->script);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(upstream));
    return script_find(self->script, WEIR_VERB_READY);
}

static void a_message_by_each_way(struct worker *self)
{
    self->config.upstream_count = 2;
    worker_up(self);
    worker_waiting(self, 0);
    worker_waiting(self, 1);
    const struct said *less = script_find(self->script, WEIR_VERB_CREDIT);
    assert_non_null(less);
    worker_credited(self, 0, less->control.serial, 0, 0);
    for (uint32_t i = 0; i < 2; i++)
        worker_deliver(self, &(struct delivered){
                                 .upstream = i, .relayed = true, .delivery = 1 + i, .count = 1});
}

/* 10: while the way by which a message had come was down, READY named it on another way, too. When
 * that one's connection was made anew and the first way stood again, it was left out there: as what
 * an earlier READY named and this one does not is held no longer, the router gave back a message
 * that was being handled. (Seed 62 of the simulator, --snaps 1.) */
static void ready_names_again_what_it_named_there(void **state)
{
    struct worker *self = *state;
    a_message_by_each_way(self);
    assert_int_equal(self->script->job_count, 2);
    worker_started(self, 0, 0);
    worker_started(self, 1, 0);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(1));
    const struct said *ready = ready_again(self, 1);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 2);
    worker_welcome(self, 1, INCARNATION);
    worker_event(self, WEIR_EVENT_LINK_UP, UP(0));
    worker_welcome(self, 0, INCARNATION);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(1));
    ready = ready_again(self, 1);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 2);
    assert_int_equal(ready->control.leases[0].delivery, 1);
    assert_int_equal(ready->control.leases[1].delivery, 2);
}

/* 11: while the way by which a message had come was down, it was acked on another. When the first
 * way stood again, READY left it out there, as if it had been lost, and the router gave back what
 * was done, ahead of the ack that waited in the other router for a ventilator out of reach. */
static void ready_names_what_was_acked_another_way(void **state)
{
    struct worker *self = *state;
    a_message_by_each_way(self);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    script_skip(self->script);
    worker_job_is(self, 0, WEIR_DONE);
    const struct said *ack = worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_int_equal(ack->port, UP(1));
    const struct said *ready = ready_again(self, 0);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 1);
    assert_int_equal(ready->control.leases[0].delivery, 1);
    worker_welcome(self, 0, INCARNATION);
    ack = worker_expect_ack(self, 1, 0, 1, WEIR_DONE);
    assert_int_equal(ack->port, UP(0));
    /* What has arrived is not said again. */
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    for (uint32_t i = 0; i < 2; i++)
        worker_confirm(self, i);
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    ready = ready_again(self, 0);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 0);
}

/* 12: a drain's time was over, and what was given back under at-most-once delivery was called
 * untouched, so that it was handled a second time: what ran, and what waited for its result to be
 * taken. What had not been begun goes back as such. */
static void what_was_begun_at_most_once_is_not_released(void **state)
{
    struct worker *self = *state;
    self->config.results = true;
    self->config.concurrency = 4;
    self->config.job_messages_max = 2;
    worker_up(self);
    worker_event(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 8, .once = true});
    assert_int_equal(self->script->job_count, 4);
    assert_true(worker_job(self, 0)->once);
    for (uint32_t job = 0; job < 3; job++)
        worker_started(self, job, 0);
    worker_outcome(self, 0, 0, 1, WEIR_DONE, NULL, "handed over, and not answered");
    worker_event(self, WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO);
    worker_event(self, WEIR_EVENT_DRAIN, 0);
    script_skip(self->script);
    for (int i = 0; i < WEIR_DRAIN_MS / 1000; i++) {
        worker_waiting(self, 0); /* the ventilator is there */
        worker_pass_ms(self, 1000);
    }
    assert_int_equal(self->script->killed_count, 4);
    worker_expect_ack(self, 1, 0, 1, WEIR_UNAVAILABLE);
    worker_outcome(self, 1, 0, 1, WEIR_DONE, NULL, "too late");
    worker_expect_ack(self, 1, 2, 1, WEIR_UNAVAILABLE);
    worker_outcome(self, 2, 0, 1, WEIR_RELEASE, "ended by the worker", NULL);
    worker_expect_ack(self, 1, 4, 1, WEIR_UNAVAILABLE);
    worker_job_end(self, 0);
    worker_expect_ack(self, 1, 1, 1, WEIR_RELEASE);
    worker_job_end(self, 3);
    worker_expect_ack(self, 1, 6, 2, WEIR_RELEASE);
    worker_job_end(self, 1);
    worker_job_end(self, 2);
}

/* 13: a handler that was cut off leaves no outcome, and its message, which was still held, was
 * handled again by the same worker, or released, under at-most-once delivery, too. */
static void what_was_cut_off_is_not_begun_again(void **state)
{
    struct worker *self = *state;
    self->config.concurrency = 1;
    self->config.job_messages_max = 8;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 3, .once = true});
    worker_started(self, 0, 1);
    script_skip(self->script);
    worker_job_end(self, 0);
    worker_expect_ack(self, 1, 1, 1, WEIR_UNAVAILABLE);
    assert_int_equal(self->script->job_count, 2);
    assert_int_equal(worker_job(self, 1)->sequence, 1000);
    assert_int_equal(worker_job(self, 1)->count, 1);
    worker_job_is(self, 1, WEIR_DONE);
    assert_int_equal(worker_job(self, 2)->sequence, 1002);
}

/* How many messages the next beat on this way names as held. */
static uint64_t beat_names(struct worker *self, uint32_t upstream)
{
    uint64_t messages = 0;
    const struct said *said;
    while ((said = script_find(self->script, WEIR_VERB_HEARTBEAT)) && said->port != UP(upstream))
        continue;
    assert_non_null(said);
    for (uint32_t i = 0; i < said->control.lease_count; i++)
        messages += said->control.leases[i].count;
    return messages;
}

/* 14: routers had split a delivery, and a worker got parts of it by two of them. READY named these
 * to both, but beats only to the one whose part had come last: the other took the worker for idle
 * while it handled what that router had sent, and sent it more bytes than it had asked for. (Seed
 * 113220 of the simulator.) */
static void beats_name_what_ready_names_there(void **state)
{
    struct worker *self = *state;
    get_one_by_each_way(self);
    for (uint32_t i = 0; i < 2; i++) {
        worker_started(self, i, 0);
        script_skip(self->script);
        worker_pass_ms(self, WEIR_HEARTBEAT_MS);
        assert_int_equal(beat_names(self, i), 2);
    }
    worker_event(self, WEIR_EVENT_LINK_DOWN, UP(0));
    const struct said *ready = ready_again(self, 0);
    assert_non_null(ready);
    assert_int_equal(ready->control.lease_count, 1);
    assert_int_equal(ready->control.leases[0].count, 2);
    worker_welcome(self, 0, INCARNATION);
    script_skip(self->script);
    worker_pass_ms(self, WEIR_HEARTBEAT_MS);
    assert_int_equal(beat_names(self, 0), 2);
}

/* A worker whose prefetch is full. */
static void worker_full(struct worker *self, uint32_t concurrency, uint32_t prefetch,
                        uint32_t job_messages_max)
{
    self->config.concurrency = concurrency;
    self->config.prefetch = prefetch;
    self->config.job_messages_max = job_messages_max;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = prefetch});
    script_skip(self->script);
}

/* 15: where more waited than the prefetch, what each job set free was lent at once, and came back
 * as a delivery of as many messages, which was the next job: deliveries became small and stayed so.
 */
static void credit_is_lent_in_amounts_worth_a_frame(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_full(self, 1, 800, 10);
    for (uint32_t job = 0; job < 9; job++)
        worker_job_is(self, job, WEIR_DONE);
    assert_false(worker_credit(self, 0, &messages, &bytes));
    worker_job_is(self, 9, WEIR_DONE);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 800 + 100);
}

/* 16: with a prefetch of what can be in work, a handler that had ended had nothing to do until an
 * eighth of the others had ended, too, however long those took. */
static void an_idle_handler_is_lent_for_at_once(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    worker_full(self, 16, 16, 1);
    worker_job_is(self, 0, WEIR_DONE);
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 16 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ready_names_what_was_acked_another_way, setup, teardown),
        cmocka_unit_test_setup_teardown(beats_name_what_ready_names_there, setup, teardown),
        cmocka_unit_test_setup_teardown(ready_names_again_what_it_named_there, setup, teardown),
        cmocka_unit_test_setup_teardown(joined_of_an_earlier_session_brings_no_credit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_prefetch_is_shared_once_after_refused_joins, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_last_acks_have_arrived_before_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_killed_job_had_not_begun_waits_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_window_of_a_search_holds_over_all_lots, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_delay_beyond_all_bounds_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(ready_names_what_came_by_that_way, setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_waited_for_long_is_lent_to, setup, teardown),
        cmocka_unit_test_setup_teardown(an_echo_may_come_another_way, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_begun_at_most_once_is_not_released, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_cut_off_is_not_begun_again, setup, teardown),
        cmocka_unit_test_setup_teardown(credit_is_lent_in_amounts_worth_a_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(an_idle_handler_is_lent_for_at_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
