/* How the router lends its workers' credit to the upstreams. */
#include "router_fixture.h"

static void expect_nothing_up(struct router *router)
{
    struct sent *sent = router_next_up(router);
    if (sent)
        fail_msg("sent %s to %u", weir_verb_name(sent->control.verb), sent->port);
}

static void waiting(struct router *router, uint32_t i)
{
    struct weir_control control = {.verb = WEIR_VERB_WAITING};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    router_say(router, UP(i), 0, &control);
}

static void an_idle_upstream_never_starves_a_busy_one(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 16);
    router_expect_credit(router, 0, 8);
    router_expect_credit(router, 1, 8);
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 1, .count = 8});
    script_forget(&router->script);
    waiting(router, 0);
    /* All that is left is the idle one's: it keeps an eighth. */
    struct sent *lowered = router_expect_credit(router, 1, 1);
    expect_nothing_up(router);
    /* Nothing is lent twice: not before it has confirmed. */
    waiting(router, 0);
    expect_nothing_up(router);
    router_credited(router, 1, lowered, 0);
    router_expect_credit(router, 0, 15);
    expect_nothing_up(router);
    /* The busy one used it up and is sated; the other is busy now. */
    router_deliver(router, 0, (struct delivery){.incarnation = FIRST, .number = 2, .count = 3});
    script_forget(&router->script);
    router_wait(router, WEIR_LEND_IDLE_MS);
    expect_nothing_up(router);
    router_deliver(router, 1, (struct delivery){.incarnation = SECOND, .number = 1, .count = 1});
    script_forget(&router->script);
    waiting(router, 1);
    lowered = router_expect_credit(router, 0, 11);
    router_credited(router, 0, lowered, 11);
    router_expect_credit(router, 1, 5);
    router_destroy(router);
}

static void one_credit_takes_turns(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 1);
    router_expect_credit(router, 0, 1);
    router_expect_credit(router, 1, 0); /* it must know that we serve the group */
    waiting(router, 0);
    waiting(router, 1);
    expect_nothing_up(router); /* whose turn it is keeps it */
    uint64_t limits[2] = {1, 0};
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t up = i % 2;
        router_deliver(
            router, up,
            (struct delivery){.incarnation = up ? SECOND : FIRST, .number = 1 + i / 2, .count = 1});
        waiting(router, up);
        router_ack(router, 5, up ? SECOND : FIRST, 1 + i / 2, 10, 1);
        script_forget(&router->script);
        router_credit(router, 5, 2 + i, (2 + i) * KIB);
        router_expect_credit(router, 1 - up, ++limits[1 - up]);
        expect_nothing_up(router);
    }
    router_destroy(router);
}

static void a_lost_worker_takes_its_credit_back(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 8);
    router_below(router, 6, 0xb, 8);
    script_forget(&router->script);
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 5);
    router_expect_credit(router, 0, 8);
    router_event(router, WEIR_EVENT_PEER_GONE, DOWN, 6);
    router_expect_credit(router, 0, 0);
    router_destroy(router);
}

static void an_upstream_that_breaks_leaves_its_part(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 0xa, 16);
    script_forget(&router->script);
    router_event(router, WEIR_EVENT_LINK_DOWN, UP(0), 0);
    router_expect_credit(router, 1, 16);
    router_above(router, 0, FIRST);
    router_expect_credit(router, 0, 0);
    waiting(router, 0);
    struct sent *lowered = router_expect_credit(router, 1, 2);
    router_credited(router, 1, lowered, 0);
    router_expect_credit(router, 0, 14);
    router_destroy(router);
}

static void a_hungry_router_above_makes_us_say_waiting(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0, 0); /* a router below that has lent its credit elsewhere */
    script_forget(&router->script);
    waiting(router, 0);
    struct sent *sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_WAITING);
    assert_text(&sent->control.group, GROUP);
    router_destroy(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_upstream_never_starves_a_busy_one),
        cmocka_unit_test(one_credit_takes_turns),
        cmocka_unit_test(a_lost_worker_takes_its_credit_back),
        cmocka_unit_test(an_upstream_that_breaks_leaves_its_part),
        cmocka_unit_test(a_hungry_router_above_makes_us_say_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
