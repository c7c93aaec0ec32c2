#include "router_fixture.h"

#include <stdlib.h>

static void take(void *arg, struct weir_event *event)
{
    weir_role_step(arg, event);
}

void router_event(struct router *router, enum weir_event_type type, uint32_t port, uint64_t peer)
{
    script_event(&router->script, type, port, peer, take, router->role);
}

void router_say(struct router *router, uint32_t port, uint64_t peer,
                const struct weir_control *control)
{
    script_say(&router->script, port, peer, control, NULL, take, router->role);
}

void router_wait(struct router *router, int64_t ms)
{
    script_wait(&router->script, ms);
    router_event(router, WEIR_EVENT_TIMER, 0, 0);
}

struct router *router_new(uint32_t upstreams)
{
    struct router *router = weir_zalloc(1, sizeof *router);
    script_init(&router->script);
    const struct weir_relay_config config = {.name = "hub", .upstream_count = upstreams};
    router->role = weir_relay_new(&config, &router->script.host, 1);
    router_event(router, WEIR_EVENT_START, 0, 0);
    return router;
}

void router_destroy(struct router *router)
{
    weir_role_destroy(&router->role);
    script_fini(&router->script);
    free(router);
}

void router_above(struct router *router, uint32_t i, uint64_t incarnation)
{
    router_event(router, WEIR_EVENT_LINK_UP, UP(i), 0);
    struct sent *ready = script_expect(&router->script, UP(i), 0, WEIR_VERB_READY);
    assert_text(&ready->control.role, "router");
    assert_text(&ready->control.name, "hub");
    assert_false(WEIR_HAS(&ready->control, WORKER));
    struct weir_control welcome =
        control_welcome(incarnation ? "ventilator" : "router", incarnation);
    router_say(router, UP(i), 0, &welcome);
}

void router_credit(struct router *router, uint64_t peer, uint64_t messages, uint64_t bytes)
{
    struct weir_control control = control_credit(GROUP, messages, bytes);
    router_say(router, DOWN, peer, &control);
}

void router_below(struct router *router, uint64_t peer, uint64_t worker, uint64_t messages)
{
    struct weir_control ready = control_ready(worker ? "worker" : "router", worker, "kate");
    router_say(router, DOWN, peer, &ready);
    struct sent *welcome = script_find(&router->script, DOWN, peer, WEIR_VERB_WELCOME);
    assert_non_null(welcome);
    assert_text(&welcome->control.role, "router");
    assert_false(WEIR_HAS(&welcome->control, INCARNATION));
    router_credit(router, peer, messages, messages * KIB);
}

struct sent *router_next_up(struct router *router)
{
    struct sent *sent;
    while ((sent = script_next(&router->script)))
        if (sent->port >= WEIR_PORT_FROM)
            return sent;
    return NULL;
}

struct sent *router_expect_credit(struct router *router, uint32_t i, uint64_t messages)
{
    struct sent *sent = router_next_up(router);
    assert_non_null(sent);
    assert_int_equal(sent->control.verb, WEIR_VERB_CREDIT);
    assert_int_equal(sent->port, UP(i));
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.messages, messages);
    return sent;
}

void router_deliver(struct router *router, uint32_t i, struct delivery delivery)
{
    struct weir_slice_info slice = {.index = 10,
                                    .count = delivery.count,
                                    .sequence = router->sequence + 1,
                                    .time_ms = 99,
                                    .attempt = 2,
                                    .death = 1};
    struct weir_control control =
        control_deliver(GROUP, delivery.incarnation, delivery.number, &slice, 1);
    WEIR_SET(&control, timeout_ms, TIMEOUT_MS, 777);
    if (delivery.once)
        WEIR_SET(&control, once, ONCE, 1);
    if (delivery.alone)
        WEIR_SET(&control, alone, ALONE, 1);
    struct weir_frames frames = {0};
    script_slice(&frames, router->sequence + 1, delivery.count, delivery.pad, NULL);
    router->sequence += delivery.count;
    script_say(&router->script, UP(i), 0, &control, &frames, take, router->role);
}

void router_expect_deliver(struct router *router, uint64_t peer, struct delivery delivery,
                           uint64_t first, uint32_t count)
{
    struct sent *sent = script_find(&router->script, DOWN, peer, WEIR_VERB_DELIVER);
    uint64_t numbers[WEIR_DELIVERY_MESSAGES_MAX];
    assert_non_null(sent);
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.incarnation, delivery.incarnation);
    assert_int_equal(sent->control.delivery, delivery.number);
    assert_int_equal(sent->control.lease_ms, WEIR_LEASE_MS);
    assert_int_equal(sent->control.timeout_ms, 777);
    assert_int_equal(sent->control.once, delivery.once);
    assert_int_equal(WEIR_HAS(&sent->control, ALONE), delivery.alone);
    assert_true(WEIR_HAS(&sent->control, UUID));
    assert_int_equal(sent->control.uuid[15], delivery.incarnation & 0xff);
    assert_int_equal(script_numbers(sent, numbers, WEIR_DELIVERY_MESSAGES_MAX), count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(numbers[i], first + i);
    const struct weir_slice_info *slice = &sent->control.slices[0];
    uint64_t slice_first = router->sequence - delivery.count + 1;
    assert_int_equal(slice->index, 10 + first - slice_first);
    assert_int_equal(slice->time_ms, 99);
    assert_int_equal(slice->attempt, 2);
    assert_int_equal(slice->death, 1);
}

void router_ack(struct router *router, uint64_t peer, uint64_t incarnation, uint64_t delivery,
                uint32_t first, uint32_t count)
{
    struct weir_ack entry = ack_of(incarnation, delivery, first, count, WEIR_DONE);
    struct weir_control control = control_ack(GROUP, &entry, 1);
    router_say(router, DOWN, peer, &control);
}

void router_expect_ack(struct router *router, uint32_t i, uint64_t incarnation, uint64_t delivery,
                       uint32_t first, uint32_t count, uint32_t outcome)
{
    struct sent *sent = script_find(&router->script, UP(i), 0, WEIR_VERB_ACK);
    assert_non_null(sent);
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.ack_count, 1);
    const struct weir_ack *entry = &sent->control.acks[0];
    assert_true(entry->lease.incarnation == incarnation);
    assert_int_equal(entry->lease.delivery, delivery);
    assert_int_equal(entry->lease.first, first);
    assert_int_equal(entry->lease.count, count);
    assert_int_equal(entry->outcome, outcome);
}

void router_credited(struct router *router, uint32_t i, const struct sent *sent, uint64_t used)
{
    struct weir_control control = {.verb = WEIR_VERB_CREDITED};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, messages, MESSAGES, used);
    WEIR_SET(&control, bytes, BYTES, 0);
    WEIR_SET(&control, serial, SERIAL, sent->control.serial);
    router_say(router, UP(i), 0, &control);
}
