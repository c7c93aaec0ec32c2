/* The router: what goes down and up through it, groups that join, and its end. */
#include "router_fixture.h"

#include <stdio.h>
#include <string.h>

/* ---- down ---- */

static void a_delivery_is_split_to_fit(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    router_expect_credit(router, 0, 4);
    router_below(router, 6, 0xb, 6);
    router_expect_credit(router, 0, 10);
    script_forget(&router->script);
    const struct delivery delivery = {.incarnation = FIRST, .number = 3, .count = 10};
    router_deliver(router, 0, delivery);
    router_expect_deliver(router, 6, delivery, 1, 6);
    router_expect_deliver(router, 5, delivery, 7, 4);
    script_expect_nothing(&router->script);
    /* Acks go up as they are, and say whose they are. */
    router_ack(router, 5, FIRST, 3, 17, 3);
    struct sent *sent = script_expect(&router->script, UP(0), 0, WEIR_VERB_ACK);
    assert_int_equal(sent->control.worker, 0xa);
    assert_text(&sent->control.name, "kate");
    assert_int_equal(sent->control.acks[0].lease.first, 17);
    assert_int_equal(sent->control.acks[0].lease.count, 3);
    router_credit(router, 5, 7, 7 * KIB);
    router_expect_credit(router, 0, 13);
    script_expect_nothing(&router->script);
    router_destroy(router);
}

static void bytes_bound_a_split_too(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 0);
    router_below(router, 6, 0xb, 0);
    router_credit(router, 5, 100, 330); /* three of 107: "m1;", 100 more, and the index entry */
    router_credit(router, 6, 100, 220);
    const struct delivery delivery = {.incarnation = FIRST, .number = 1, .count = 5, .pad = 100};
    router_deliver(router, 0, delivery);
    router_expect_deliver(router, 5, delivery, 1, 3);
    router_expect_deliver(router, 6, delivery, 4, 2);
    /* One of any size waits until a worker holds nothing. */
    const struct delivery large = {.incarnation = FIRST, .number = 2, .count = 1, .pad = 900};
    router_deliver(router, 0, large);
    script_forget(&router->script);
    router_ack(router, 6, FIRST, 1, 13, 2);
    router_expect_deliver(router, 6, large, 6, 1);
    router_destroy(router);
}

/* A second passes, and the ventilator has echoed. */
static void router_pass_second(struct router *router)
{
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&echo, serial, SERIAL, 1);
    router_wait(router, 1000);
    router_say(router, UP(0), 0, &echo);
}

static void a_split_delivery_goes_on_when_credit_comes(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    router_below(router, 6, 0xb, 4);
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 6);
    const struct delivery delivery = {.incarnation = FIRST, .number = 1, .count = 8};
    router_deliver(router, 0, delivery);
    router_expect_deliver(router, 5, delivery, 1, 4);
    assert_null(script_find(&router->script, DOWN, 5, WEIR_VERB_DELIVER));
    router_wait(router, WEIR_LOSS_GRACE_MS);
    router_credit(router, 5, 6, 6 * KIB);
    router_expect_deliver(router, 5, delivery, 5, 2);
    /* What nobody takes in time is given back; its lease goes on all the while. */
    for (uint32_t i = 0; i < WEIR_LEASE_MS / 2000 - 1; i++) {
        router_pass_second(router);
        router_credit(router, 5, 6, 6 * KIB);
    }
    assert_null(script_find(&router->script, UP(0), 0, WEIR_VERB_ACK));
    router_wait(router, 1000);
    router_expect_ack(router, 0, FIRST, 1, 16, 2, WEIR_RELEASE);
    router_destroy(router);
}

static void what_nobody_serves_is_given_back(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 5);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 4});
    assert_null(script_find(&router->script, UP(0), 0, WEIR_VERB_ACK));
    router_wait(router, WEIR_LOSS_GRACE_MS);
    router_expect_ack(router, 0, FIRST, 1, 10, 4, WEIR_RELEASE);
    router_destroy(router);
}

static void what_goes_at_most_once_is_sent_on_as_such(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    const struct delivery once = {.incarnation = FIRST, .number = 1, .count = 2, .once = true};
    const struct delivery other = {.incarnation = FIRST, .number = 2, .count = 2};
    router_deliver(router, 0, once);
    router_expect_deliver(router, 5, once, 1, 2);
    router_deliver(router, 0, other);
    router_expect_deliver(router, 5, other, 3, 2);
    router_destroy(router);
}

static void a_suspect_stays_alone(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    const struct delivery first = {.incarnation = FIRST, .number = 1, .count = 1};
    const struct delivery suspect = {.incarnation = FIRST, .number = 2, .count = 1, .alone = true};
    const struct delivery last = {.incarnation = FIRST, .number = 3, .count = 1};
    router_deliver(router, 0, first);
    router_expect_deliver(router, 5, first, 1, 1);
    router_deliver(router, 0, suspect);
    script_forget(&router->script);
    router->sequence = 1; /* for the check: its own place */
    router_ack(router, 5, FIRST, 1, 10, 1);
    router->sequence = 2;
    router_expect_deliver(router, 5, suspect, 2, 1);
    router_deliver(router, 0, last);
    assert_null(script_find(&router->script, DOWN, 5, WEIR_VERB_DELIVER));
    router_ack(router, 5, FIRST, 2, 10, 1);
    router_expect_deliver(router, 5, last, 3, 1);
    router_destroy(router);
}

/* ---- up ---- */

static void acks_find_their_ventilator(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 4);
    script_forget(&router->script);
    struct weir_ack acks[] = {ack_of(SECOND, 1, 0, 1, WEIR_DONE), ack_of(FIRST, 1, 0, 2, WEIR_DONE),
                              ack_of(SECOND, 9, 5, 3, WEIR_RETRY),
                              ack_of(THIRD, 1, 0, 1, WEIR_DONE)};
    acks[2].error = "no route";
    acks[2].error_bytes = 8;
    acks[2].delay_ms = 50;
    struct weir_control control = control_ack(GROUP, acks, 4);
    router_say(router, DOWN, 5, &control);
    router_expect_ack(router, 0, FIRST, 1, 0, 2, WEIR_DONE);
    struct sent *sent = script_expect(&router->script, UP(1), 0, WEIR_VERB_ACK);
    assert_int_equal(sent->control.ack_count, 2);
    assert_int_equal(sent->control.acks[0].lease.delivery, 1);
    assert_int_equal(sent->control.acks[1].lease.first, 5);
    assert_int_equal(sent->control.acks[1].outcome, WEIR_RETRY);
    assert_int_equal(sent->control.acks[1].delay_ms, 50);
    assert_memory_equal(sent->control.acks[1].error, "no route", 8);
    script_expect_nothing(&router->script);
    router_destroy(router);
}

static void a_router_above_is_asked_about_unknown_streams(void **state)
{
    (void)state;
    struct router *router = router_new(3);
    router_above(router, 0, FIRST);
    router_above(router, 1, 0);
    router_above(router, 2, 0);
    router_below(router, 5, 0xa, 40);
    script_forget(&router->script);
    router_ack(router, 5, THIRD, 1, 0, 1);
    router_expect_ack(router, 1, THIRD, 1, 0, 1, WEIR_DONE);
    router_expect_ack(router, 2, THIRD, 1, 0, 1, WEIR_DONE);
    script_expect_nothing(&router->script);
    /* A delivery shows which one leads there. */
    router_deliver(router, 2, (struct delivery){.incarnation = THIRD, .number = 2, .count = 1});
    script_forget(&router->script);
    router_ack(router, 5, THIRD, 2, 10, 1);
    router_expect_ack(router, 2, THIRD, 2, 10, 1, WEIR_DONE);
    assert_null(script_find(&router->script, UP(1), 0, WEIR_VERB_ACK));
    router_destroy(router);
}

static void acks_wait_for_an_upstream_that_is_away(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 4);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 4});
    router_event(router, WEIR_EVENT_LINK_DOWN, UP(0), 0);
    script_forget(&router->script);
    router_ack(router, 5, FIRST, 1, 10, 1);
    router_ack(router, 5, FIRST, 1, 11, 3);
    script_expect_nothing(&router->script);
    /* Another incarnation of the same stream: its leases may have survived. */
    router_above(router, 0, FIRST + (UINT64_C(1) << 32));
    router_expect_ack(router, 0, FIRST, 1, 10, 1, WEIR_DONE);
    router_expect_ack(router, 0, FIRST, 1, 11, 3, WEIR_DONE);
    router_destroy(router);
}

static void beats_are_split_and_echoes_come_back(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 4);
    script_forget(&router->script);
    struct weir_lease_ref leases[] = {{FIRST, 1, 0, 5}, {SECOND, 2, 0, 6}, {FIRST, 3, 1, 1}};
    struct weir_lease_ref running = {FIRST, 3, 1, 1};
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xa, leases, 3);
    WEIR_SET(&beat, running, RUNNING, &running);
    WEIR_SET(&beat, serial, SERIAL, 42);
    beat.running_count = 1;
    router_say(router, DOWN, 5, &beat);
    struct sent *first = script_expect(&router->script, UP(0), 0, WEIR_VERB_HEARTBEAT);
    assert_int_equal(first->control.serial, 42);
    assert_int_equal(first->control.worker, 0xa);
    assert_text(&first->control.name, "kate");
    assert_int_equal(first->control.lease_count, 2);
    assert_int_equal(first->control.leases[1].delivery, 3);
    assert_int_equal(first->control.running_count, 1);
    struct sent *second = script_expect(&router->script, UP(1), 0, WEIR_VERB_HEARTBEAT);
    assert_int_equal(second->control.lease_count, 1);
    assert_int_equal(second->control.leases[0].count, 6);
    assert_int_equal(second->control.running_count, 0);
    struct weir_control echo = control_leases(WEIR_VERB_HEARTBEAT, 0xa, leases, 1);
    WEIR_SET(&echo, incarnation, INCARNATION, FIRST);
    WEIR_SET(&echo, serial, SERIAL, 42);
    router_say(router, UP(0), 0, &echo);
    struct sent *down = script_expect(&router->script, DOWN, 5, WEIR_VERB_HEARTBEAT);
    assert_int_equal(down->control.serial, 42);
    assert_true(down->control.incarnation == FIRST);
    assert_int_equal(down->control.lease_count, 1);
    /* BEGIN goes up, GO comes down. */
    struct weir_control begin = control_leases(WEIR_VERB_BEGIN, 0xa, &leases[1], 1);
    router_say(router, DOWN, 5, &begin);
    script_expect(&router->script, UP(1), 0, WEIR_VERB_BEGIN);
    struct weir_control go = control_leases(WEIR_VERB_GO, 0xa, &leases[1], 1);
    router_say(router, UP(1), 0, &go);
    down = script_expect(&router->script, DOWN, 5, WEIR_VERB_GO);
    assert_int_equal(down->control.leases[0].delivery, 2);
    script_expect_nothing(&router->script);
    router_destroy(router);
}

static void a_lost_worker_is_reported_to_each_ventilator(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 8);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 4});
    router_deliver(router, 1, (struct delivery){.incarnation = SECOND, .number = 7, .count = 2});
    router_ack(router, 5, FIRST, 1, 11, 2);
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 5);
    script_forget(&router->script);
    router_wait(router, WEIR_LOSS_GRACE_MS);
    struct sent *lost = script_find(&router->script, UP(0), 0, WEIR_VERB_LOST);
    assert_non_null(lost);
    assert_int_equal(lost->control.worker, 0xa);
    assert_text(&lost->control.name, "kate");
    assert_int_equal(lost->control.lease_count, 2);
    assert_int_equal(lost->control.leases[0].first, 10);
    assert_int_equal(lost->control.leases[1].first, 13);
    lost = script_expect(&router->script, UP(1), 0, WEIR_VERB_LOST);
    assert_int_equal(lost->control.leases[0].delivery, 7);
    assert_int_equal(lost->control.leases[0].count, 2);
    router_destroy(router);
}

/* A router that starts anew knows nothing, and needs to know nothing. */
static void a_restarted_router_serves_on(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    /* The worker is there before the ventilators are. */
    struct weir_lease_ref leases[] = {{FIRST, 1, 0, 5}, {SECOND, 2, 3, 2}};
    struct weir_control ready = control_ready("worker", 0xa, "kate");
    WEIR_SET(&ready, leases, LEASES, leases);
    ready.lease_count = 2;
    router_say(router, DOWN, 5, &ready);
    script_expect(&router->script, DOWN, 5, WEIR_VERB_WELCOME);
    router_credit(router, 5, 3, 3 * KIB);
    router_above(router, 0, FIRST);
    script_forget(&router->script);
    router_above(router, 1, SECOND);
    script_forget(&router->script);
    router_ack(router, 5, SECOND, 2, 3, 1);
    router_expect_ack(router, 1, SECOND, 2, 3, 1, WEIR_DONE);
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xa, leases, 1);
    router_say(router, DOWN, 5, &beat);
    script_expect(&router->script, UP(0), 0, WEIR_VERB_HEARTBEAT);
    /* It is lost with all it had said to hold. */
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 5);
    script_forget(&router->script);
    router_wait(router, WEIR_LOSS_GRACE_MS);
    struct sent *lost = script_find(&router->script, UP(0), 0, WEIR_VERB_LOST);
    assert_int_equal(lost->control.leases[0].count, 5);
    lost = script_find(&router->script, UP(1), 0, WEIR_VERB_LOST);
    assert_int_equal(lost->control.leases[0].first, 4);
    assert_int_equal(lost->control.leases[0].count, 1);
    router_destroy(router);
}

static void a_leaving_worker_gives_back(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 8);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 4});
    script_forget(&router->script);
    const struct weir_control bye = {.verb = WEIR_VERB_BYE};
    router_say(router, DOWN, 5, &bye);
    struct sent *back = script_find(&router->script, UP(0), 0, WEIR_VERB_BYE);
    assert_int_equal(back->control.lease_count, 1);
    assert_int_equal(back->control.leases[0].first, 10);
    assert_int_equal(back->control.leases[0].count, 4);
    router_destroy(router);
}

static void two_spools_under_one_tag_are_refused(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_event(router, WEIR_EVENT_LINK_UP, UP(1), 0);
    struct weir_control welcome = control_welcome("ventilator", SECOND - 1); /* tag 1 as well */
    welcome.uuid[0] = 9;
    router_say(router, UP(1), 0, &welcome);
    assert_non_null(strstr(router->script.log, "different spools under the same tag 1"));
    script_forget(&router->script);
    router_below(router, 5, 0xa, 8);
    assert_non_null(script_find(&router->script, UP(0), 0, WEIR_VERB_CREDIT));
    script_forget(&router->script);
    router_ack(router, 5, SECOND - 1, 1, 0, 1);
    script_expect(&router->script, UP(0), 0, WEIR_VERB_ACK); /* stale there: its tag's way */
    script_expect_nothing(&router->script);
    router_destroy(router);
}

/* ---- groups ---- */

static void join_with(struct router *router, uint64_t peer, const char *topic, uint64_t serial)
{
    struct weir_text topics[] = {weir_text_of(topic)};
    struct weir_control control = {.verb = WEIR_VERB_JOIN};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, topics, TOPICS, topics);
    WEIR_SET(&control, serial, SERIAL, serial);
    control.topic_count = 1;
    router_say(router, DOWN, peer, &control);
}

static void join(struct router *router, uint64_t peer, uint64_t serial)
{
    join_with(router, peer, "user.*", serial);
}

static void joined(struct router *router, uint32_t i)
{
    struct weir_control control = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, start, START, 12);
    router_say(router, UP(i), 0, &control);
}

static void no_group(struct router *router, uint32_t i)
{
    struct weir_control control = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&control, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&control, text, TEXT, weir_text_of("no such group"));
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    router_say(router, UP(i), 0, &control);
}

static void joins_go_up_and_joined_comes_down(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    struct weir_control ready = control_ready("worker", 0xa, "kate");
    router_say(router, DOWN, 5, &ready);
    script_forget(&router->script);
    join(router, 5, 31);
    struct sent *sent = script_expect(&router->script, UP(0), 0, WEIR_VERB_JOIN);
    assert_text(&sent->control.group, GROUP);
    assert_text(&sent->control.topics[0], "user.*");
    script_expect_nothing(&router->script);
    joined(router, 0);
    sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_JOINED);
    assert_int_equal(sent->control.serial, 31);
    assert_null(router_next_up(router)); /* nobody serves it yet */
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, 0, 4);
    /* An upstream that comes later is told. */
    router_above(router, 1, SECOND);
    script_expect(&router->script, UP(1), 0, WEIR_VERB_JOIN);
    router_destroy(router);
}

static void a_group_may_be_absent_at_some_upstreams(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 8);
    script_forget(&router->script);
    no_group(router, 1);
    router_expect_credit(router, 0, 8); /* all of it to the one that has it */
    script_expect_nothing(&router->script);
    no_group(router, 0);
    struct sent *sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_ERROR);
    assert_text(&sent->control.code, WEIR_CODE_GROUP);
    assert_text(&sent->control.group, GROUP);
    router_destroy(router);
}

/* Nobody above answers, and somebody asks for ever new topics. */
static void what_is_asked_for_is_bounded(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    struct weir_control ready = control_ready("worker", 0xa, "kate");
    router_above(router, 0, FIRST);
    router_say(router, DOWN, 5, &ready);
    script_expect(&router->script, DOWN, 5, WEIR_VERB_WELCOME);
    char topic[16];
    for (uint32_t i = 0; i < WEIR_ASKS_MAX; i++) {
        snprintf(topic, sizeof topic, "user.%u", i);
        join_with(router, 5, topic, i);
        assert_text(&script_expect(&router->script, UP(0), 0, WEIR_VERB_JOIN)->control.topics[0],
                    topic);
    }
    join_with(router, 5, "user.more", 99);
    struct sent *sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_ERROR);
    assert_text(&sent->control.code, WEIR_CODE_LIMIT);
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.serial, 99);
    join_with(router, 5, topic, 98); /* the one that is asked for */
    script_expect_nothing(&router->script);
    router_destroy(router);
}

/* ---- admin ---- */

static void drain_waits_for_what_is_out(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 8);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 4});
    script_forget(&router->script);
    const struct weir_control request = {.verb = WEIR_VERB_DRAIN};
    router_say(router, WEIR_PORT_ADMIN, 77, &request);
    script_expect(&router->script, WEIR_PORT_ADMIN, 77, WEIR_VERB_ANSWER);
    struct sent *lowered = script_expect(&router->script, UP(0), 0, WEIR_VERB_CREDIT);
    assert_int_equal(lowered->control.messages, 4);
    router_credited(router, 0, lowered, 4);
    assert_false(router->script.stopped);
    router_ack(router, 5, FIRST, 1, 10, 4);
    assert_non_null(script_find(&router->script, UP(0), 0, WEIR_VERB_ACK));
    script_expect(&router->script, UP(0), 0, WEIR_VERB_BYE);
    assert_true(router->script.stopped);
    assert_int_equal(router->script.status, 0);
    router_destroy(router);
}

static void drain_is_bounded(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 1);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 1});
    router_event(router, WEIR_EVENT_DRAIN, 0, 0);
    router_wait(router, WEIR_DRAIN_MS - 1);
    assert_false(router->script.stopped);
    router_wait(router, 1);
    assert_true(router->script.stopped);
    assert_non_null(strstr(router->script.log, "1 messages are still out"));
    router_destroy(router);
}

static void contains(const struct weir_bytes *frame, const char *text)
{
    assert_non_null(memmem(frame->data, frame->size, text, strlen(text)));
}

static void stats_tell_what_there_is(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 8);
    script_forget(&router->script);
    const struct weir_control request = {.verb = WEIR_VERB_STATS};
    router_say(router, WEIR_PORT_ADMIN, 77, &request);
    struct sent *sent = script_expect(&router->script, WEIR_PORT_ADMIN, 77, WEIR_VERB_ANSWER);
    assert_int_equal(sent->frames.count, 2);
    static const char *const texts[] = {"node",  "hub",  "router", "upstreams", "above",
                                        "open",  "away", "groups", "email",     "dispatch",
                                        "peers", "kate", "closed", "given_back"};
    for (uint32_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        contains(&sent->frames.at[1], texts[i]);
    struct weir_control put = {.verb = WEIR_VERB_BYE};
    router_say(router, WEIR_PORT_ADMIN, 77, &put);
    script_expect(&router->script, WEIR_PORT_ADMIN, 77, WEIR_VERB_ERROR);
    router_destroy(router);
}

static void an_idle_router_wakes_for_beats_only(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    assert_true(router->script.wake_ns == WEIR_TIME_NEVER);
    router_above(router, 0, FIRST);
    assert_int_equal(router->script.wake_ns - router->script.now.mono_ns, WEIR_HEARTBEAT_MS * MS);
    script_wait(&router->script, WEIR_HEARTBEAT_MS);
    router_event(router, WEIR_EVENT_TIMER, 0, 0);
    script_expect(&router->script, UP(0), 0, WEIR_VERB_HEARTBEAT);
    assert_int_equal(router->script.wake_ns - router->script.now.mono_ns, WEIR_HEARTBEAT_MS * MS);
    router_destroy(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delivery_is_split_to_fit),
        cmocka_unit_test(bytes_bound_a_split_too),
        cmocka_unit_test(a_split_delivery_goes_on_when_credit_comes),
        cmocka_unit_test(what_nobody_serves_is_given_back),
        cmocka_unit_test(what_goes_at_most_once_is_sent_on_as_such),
        cmocka_unit_test(a_suspect_stays_alone),
        cmocka_unit_test(acks_find_their_ventilator),
        cmocka_unit_test(a_router_above_is_asked_about_unknown_streams),
        cmocka_unit_test(acks_wait_for_an_upstream_that_is_away),
        cmocka_unit_test(beats_are_split_and_echoes_come_back),
        cmocka_unit_test(a_lost_worker_is_reported_to_each_ventilator),
        cmocka_unit_test(a_restarted_router_serves_on),
        cmocka_unit_test(a_leaving_worker_gives_back),
        cmocka_unit_test(two_spools_under_one_tag_are_refused),
        cmocka_unit_test(joins_go_up_and_joined_comes_down),
        cmocka_unit_test(a_group_may_be_absent_at_some_upstreams),
        cmocka_unit_test(what_is_asked_for_is_bounded),
        cmocka_unit_test(drain_waits_for_what_is_out),
        cmocka_unit_test(drain_is_bounded),
        cmocka_unit_test(stats_tell_what_there_is),
        cmocka_unit_test(an_idle_router_wakes_for_beats_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
