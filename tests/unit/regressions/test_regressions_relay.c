/* Bugs of the router, each with its number. */
#include <router_fixture.h>

/* 1: the worker with the most credit for messages had too little for the bytes of the next one. It
 * was chosen again and again, and all that waited in the router stood still until that worker had
 * finished what it had, while others had room (seen in sim_small --seed 487). */
static void a_worker_without_bytes_holds_up_no_other(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 3);
    const struct delivery roomy = {.incarnation = FIRST, .number = 1, .count = 1};
    router_deliver(router, 0, roomy);
    router_expect_deliver(router, 5, roomy, 1, 1);
    router_below(router, 6, 0xb, 0);
    router_credit(router, 6, 50, 20);
    const struct delivery tight = {.incarnation = FIRST, .number = 2, .count = 1, .pad = 10};
    router_deliver(router, 0, tight);
    router_expect_deliver(router, 6, tight, 2, 1);
    const struct delivery next = {.incarnation = FIRST, .number = 3, .count = 1, .pad = 100};
    router_deliver(router, 0, next);
    router_expect_deliver(router, 5, next, 3, 1);
    router_destroy(router);
}

/* ---- JOIN ---- */

#define OWN "user.signed_up"
#define OTHER "order.paid"

static void join(struct router *router, uint64_t peer, const char *topic, uint64_t serial)
{
    struct weir_text topics[] = {weir_text_of(topic)};
    struct weir_control control = {.verb = WEIR_VERB_JOIN};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, topics, TOPICS, topics);
    WEIR_SET(&control, serial, SERIAL, serial);
    control.topic_count = 1;
    router_say(router, DOWN, peer, &control);
}

static void newcomer(struct router *router, uint64_t peer, const char *topic, uint64_t serial)
{
    struct weir_control ready = control_ready("worker", peer, "kate");
    router_say(router, DOWN, peer, &ready);
    script_expect(&router->script, DOWN, peer, WEIR_VERB_WELCOME);
    join(router, peer, topic, serial);
}

/* The next frame is a JOIN that goes up; returns its serial. */
static uint64_t expect_join(struct router *router, uint32_t i, const char *topic)
{
    const struct sent *sent = script_expect(&router->script, UP(i), 0, WEIR_VERB_JOIN);
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.topic_count, 1);
    assert_text(&sent->control.topics[0], topic);
    return sent->control.serial;
}

static void say_joined(struct router *router, uint32_t i, uint64_t serial)
{
    struct weir_control control = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, start, START, 12);
    WEIR_SET(&control, serial, SERIAL, serial);
    router_say(router, UP(i), 0, &control);
}

static void say_refused(struct router *router, uint32_t i, uint64_t serial, const char *text)
{
    struct weir_control control = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&control, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&control, text, TEXT, weir_text_of(text));
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, serial, SERIAL, serial);
    router_say(router, UP(i), 0, &control);
}

static void expect_joined(struct router *router, uint64_t peer, uint64_t serial)
{
    const struct sent *sent = script_expect(&router->script, DOWN, peer, WEIR_VERB_JOINED);
    assert_text(&sent->control.group, GROUP);
    assert_int_equal(sent->control.serial, serial);
}

static void expect_refused(struct router *router, uint64_t peer, uint64_t serial, const char *text)
{
    const struct sent *sent = script_expect(&router->script, DOWN, peer, WEIR_VERB_ERROR);
    assert_text(&sent->control.code, WEIR_CODE_GROUP);
    assert_text(&sent->control.group, GROUP);
    assert_text(&sent->control.text, text);
    assert_true(WEIR_HAS(&sent->control, SERIAL));
    assert_int_equal(sent->control.serial, serial);
}

/* Worker 5 serves the group with its own topics, through this upstream. */
static void serve(struct router *router, uint32_t i)
{
    newcomer(router, 5, OWN, 31);
    say_joined(router, i, expect_join(router, i, OWN));
    expect_joined(router, 5, 31);
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, i, 4);
    script_expect_nothing(&router->script);
}

/* It is served still, and nobody else is. */
static void is_served(struct router *router, uint32_t i, uint64_t incarnation, uint64_t number)
{
    const struct delivery delivery = {.incarnation = incarnation, .number = number, .count = 1};
    router_deliver(router, i, delivery);
    router_expect_deliver(router, 5, delivery, router->sequence, 1);
    script_expect_nothing(&router->script);
}

static void reconnect(struct router *router, uint32_t i, uint64_t incarnation)
{
    router_event(router, WEIR_EVENT_LINK_DOWN, UP(i), 0);
    script_forget(&router->script);
    router_above(router, i, incarnation);
}

/* 2: a worker that joined a group with other topics than it has was refused, and with it all who
 * served the group through this router: their credit was void. At the next reconnect the router
 * joined with the topics that had been asked for last, and was refused again. */
static void other_topics_are_refused_and_nobody_else(void **state)
{
    (void)state;
    static const char text[] = "group email is served here with the topics " OWN
                               ": join it with these, or use another name";
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    serve(router, 0);
    newcomer(router, 6, OTHER, 41);
    expect_refused(router, 6, 41, text);
    is_served(router, 0, FIRST, 1);
    reconnect(router, 0, FIRST + (UINT64_C(1) << 32));
    const uint64_t serial = expect_join(router, 0, OWN);
    script_expect_nothing(&router->script);
    join(router, 6, OTHER, 42);
    expect_refused(router, 6, 42, text);
    say_joined(router, 0, serial);
    router_expect_credit(router, 0, 3);
    is_served(router, 0, FIRST + (UINT64_C(1) << 32), 2);
    router_destroy(router);
}

/* 3: the same where the router knows nothing yet, as after its start: the answer to one JOIN was
 * given to all who had asked. */
static void each_join_has_its_own_answer(void **state)
{
    (void)state;
    for (uint32_t order = 0; order < 2; order++) {
        struct router *router = router_new(1);
        router_above(router, 0, FIRST);
        newcomer(router, 6, OTHER, 41);
        const uint64_t other = expect_join(router, 0, OTHER);
        newcomer(router, 5, OWN, 31);
        const uint64_t own = expect_join(router, 0, OWN);
        newcomer(router, 7, OTHER, 51); /* hears of the JOIN that is under way */
        script_expect_nothing(&router->script);
        if (order == 0)
            say_joined(router, 0, own);
        say_refused(router, 0, other, "it has other topics");
        if (order == 0)
            expect_joined(router, 5, 31);
        expect_refused(router, 6, 41, "it has other topics");
        expect_refused(router, 7, 51, "it has other topics");
        if (order == 1) {
            say_joined(router, 0, own);
            expect_joined(router, 5, 31);
        }
        router_credit(router, 5, 4, 4 * KIB);
        router_expect_credit(router, 0, 4);
        is_served(router, 0, FIRST, 1);
        reconnect(router, 0, FIRST);
        expect_join(router, 0, OWN);
        script_expect_nothing(&router->script);
        router_destroy(router);
    }
}

/* 4: the same with workers who give credit without a JOIN, and a ventilator that has not got the
 * group: it would have made it, with the wrong topics. Whoever knows the group is asked alone. */
static void a_group_is_not_made_anew_beside_those_who_know_it(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    router_below(router, 5, 5, 4);
    router_expect_credit(router, 0, 2);
    const uint64_t credit = router_expect_credit(router, 1, 2)->control.serial;
    say_refused(router, 1, credit, "no such group");
    router_expect_credit(router, 0, 4);
    newcomer(router, 6, OTHER, 41);
    const uint64_t other = expect_join(router, 0, OTHER);
    script_expect_nothing(&router->script);
    say_refused(router, 0, other, "it has other topics");
    expect_refused(router, 6, 41, "above says: it has other topics");
    is_served(router, 0, FIRST, 1);
    reconnect(router, 0, FIRST);
    router_expect_credit(router, 0, 3); /* without a JOIN */
    is_served(router, 0, FIRST, 2);
    /* With the right ones it is made where it is not, too. */
    newcomer(router, 7, OWN, 51);
    const uint64_t own = expect_join(router, 0, OWN);
    script_expect_nothing(&router->script);
    say_joined(router, 0, own);
    expect_joined(router, 7, 51);
    expect_join(router, 1, OWN);
    script_expect_nothing(&router->script);
    router_destroy(router);
}

/* 5: of several ventilators one has the group and one refuses to make it. A worker with other
 * topics hears why from both, the one with the right ones works on; so it is after each reconnect.
 */
static void where_some_have_the_group_it_is_served_from_these(void **state)
{
    (void)state;
    struct router *router = router_new(3);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    newcomer(router, 6, OTHER, 41);
    uint64_t other[] = {expect_join(router, 0, OTHER), expect_join(router, 1, OTHER)};
    newcomer(router, 5, OWN, 31);
    uint64_t own[] = {expect_join(router, 0, OWN), expect_join(router, 1, OWN)};
    say_refused(router, 1, other[1], "none here");
    say_refused(router, 1, own[1], "none here");
    script_expect_nothing(&router->script);
    say_joined(router, 0, own[0]);
    expect_joined(router, 5, 31);
    say_refused(router, 0, other[0], "it has other topics");
    expect_refused(router, 6, 41, "above says: none here; above says: it has other topics");
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, 0, 4);
    is_served(router, 0, FIRST, 1);
    reconnect(router, 1, SECOND);
    own[1] = expect_join(router, 1, OWN);
    say_refused(router, 1, own[1], "none here");
    is_served(router, 0, FIRST, 2);
    router_above(router, 2, THIRD); /* for the first time */
    say_joined(router, 2, expect_join(router, 2, OWN));
    router_expect_credit(router, 2, 0);
    reconnect(router, 0, FIRST);
    const struct sent *credit = router_next_up(router);
    while (credit && credit->port != UP(0)) /* the others have what it had */
        credit = router_next_up(router);
    assert_non_null(credit);
    assert_int_equal(credit->control.verb, WEIR_VERB_JOIN);
    assert_text(&credit->control.topics[0], OWN);
    router_destroy(router);
}

/* 6: with routers in rows: what a router below asks for is several JOINs of one peer, and the later
 * took the place of the earlier. */
static void a_router_below_may_ask_for_several_topics(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    struct weir_control ready = control_ready("router", 0, "below");
    router_say(router, DOWN, 5, &ready);
    script_expect(&router->script, DOWN, 5, WEIR_VERB_WELCOME);
    join(router, 5, OTHER, 41);
    const uint64_t other = expect_join(router, 0, OTHER);
    join(router, 5, OWN, 43);
    const uint64_t own = expect_join(router, 0, OWN);
    say_refused(router, 0, other, "it has other topics");
    expect_refused(router, 5, 41, "it has other topics");
    say_joined(router, 0, own);
    expect_joined(router, 5, 43);
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, 0, 4);
    join(router, 5, OTHER, 45);
    const struct sent *sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_ERROR);
    assert_int_equal(sent->control.serial, 45);
    is_served(router, 0, FIRST, 1);
    router_destroy(router);
}

/* 7: a ventilator that does not want to hear a JOIN just now, of a group that it has, was taken for
 * one that has not got it: all who served the group were refused. */
static void a_group_that_takes_credit_is_there(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    serve(router, 0);
    newcomer(router, 6, OWN, 41);
    say_refused(router, 0, expect_join(router, 0, OWN), "try again later");
    expect_refused(router, 6, 41, "try again later");
    is_served(router, 0, FIRST, 1);
    router_destroy(router);
}

/* 8: whoever was there first, and is gone, decides nothing. The ventilator that made the group with
 * the wrong topics gets no credit of those with the right ones. */
static void topics_that_nobody_serves_with_are_given_up(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_above(router, 0, FIRST);
    router_above(router, 1, SECOND);
    newcomer(router, 6, OTHER, 41);
    const uint64_t other = expect_join(router, 0, OTHER);
    const uint64_t made = expect_join(router, 1, OTHER);
    say_refused(router, 0, other, "it has other topics");
    say_joined(router, 1, made);
    expect_joined(router, 6, 41);
    router_credit(router, 6, 4, 4 * KIB);
    router_expect_credit(router, 1, 4);
    newcomer(router, 5, OWN, 31);
    const struct sent *sent = script_expect(&router->script, DOWN, 5, WEIR_VERB_ERROR);
    assert_int_equal(sent->control.serial, 31);
    const struct weir_control bye = {.verb = WEIR_VERB_BYE};
    router_say(router, DOWN, 6, &bye);
    router_credited(router, 1, router_expect_credit(router, 1, 0), 0);
    router_wait(router, WEIR_LOSS_GRACE_MS);
    script_forget(&router->script);
    join(router, 5, OWN, 32);
    const uint64_t there = expect_join(router, 1, OWN);
    const uint64_t own = expect_join(router, 0, OWN);
    say_refused(router, 1, there, "it has other topics");
    say_joined(router, 0, own);
    expect_joined(router, 5, 32);
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, 0, 4);
    script_expect_nothing(&router->script);
    struct weir_control waiting = {.verb = WEIR_VERB_WAITING};
    WEIR_SET(&waiting, group, GROUP, weir_text_of(GROUP));
    router_say(router, UP(1), 0, &waiting); /* it does not know why it gets none */
    assert_null(router_next_up(router));
    is_served(router, 0, FIRST, 1);
    router_destroy(router);
}

/* 9: when no upstream had a group that is served without a JOIN, its workers asked again and again,
 * and the router asked nobody: they had no work even when the group was there at last. */
static void credit_for_a_group_that_was_not_there_asks_again(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 5, 4);
    say_refused(router, 0, router_expect_credit(router, 0, 4)->control.serial, "no such group");
    assert_non_null(script_find(&router->script, DOWN, 5, WEIR_VERB_ERROR));
    script_expect_nothing(&router->script); /* not at once */
    router_credit(router, 5, 4, 4 * KIB);
    router_expect_credit(router, 0, 4);
    is_served(router, 0, FIRST, 1);
    router_destroy(router);
}

static uint32_t acks_gone_up(struct router *router, uint32_t i)
{
    uint32_t count = 0;
    const struct sent *sent;
    while ((sent = router_next_up(router)))
        count += sent->port == UP(i) && sent->control.verb == WEIR_VERB_ACK;
    return count;
}

/* 10: a router that has just started has heard from no upstream, so it knew the way of no ack and
 * dropped what its workers, who were there before, said to it meanwhile. The messages had been
 * finished, and were handed out anew as soon as a worker was back on the way by which it had got
 * them. (Seeds 822 and 61183 of the simulator.) */
static void acks_wait_for_upstreams_that_are_not_known_yet(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_below(router, 5, 0xa, 0);
    struct weir_ack both[] = {ack_of(FIRST, 7, 0, 2, WEIR_DONE),
                              ack_of(SECOND, 8, 3, 1, WEIR_DONE)};
    const struct weir_control control = control_ack(GROUP, both, 2);
    router_say(router, DOWN, 5, &control);
    struct weir_lease_ref released = {SECOND, 9, 0, 1};
    const struct weir_control bye = control_leases(WEIR_VERB_BYE, 0xa, &released, 1);
    router_say(router, DOWN, 5, &bye);
    assert_null(router_next_up(router));
    /* Each gets what is its own. */
    router_above(router, 0, FIRST);
    router_expect_ack(router, 0, FIRST, 7, 0, 2, WEIR_DONE);
    assert_null(script_find(&router->script, UP(0), 0, WEIR_VERB_BYE));
    script_forget(&router->script);
    router_above(router, 1, SECOND);
    router_expect_ack(router, 1, SECOND, 8, 3, 1, WEIR_DONE);
    const struct sent *sent = script_find(&router->script, UP(1), 0, WEIR_VERB_BYE);
    assert_non_null(sent);
    assert_int_equal(sent->control.lease_count, 1);
    assert_int_equal(sent->control.leases[0].delivery, 9);
    /* Now all are known, and nobody has this stream. */
    router_below(router, 6, 0xb, 0);
    script_forget(&router->script);
    router_ack(router, 6, THIRD, 1, 0, 1);
    reconnect(router, 0, FIRST);
    assert_int_equal(acks_gone_up(router, 0), 0);
    router_destroy(router);
}

/* 11: the same, with an upstream that does not come: what turned out to be another's waits for it
 * no longer, so the router can end. */
static void what_is_known_to_be_anothers_waits_no_longer(void **state)
{
    (void)state;
    struct router *router = router_new(2);
    router_below(router, 5, 0xa, 0);
    router_ack(router, 5, FIRST, 7, 0, 2);
    router_above(router, 0, FIRST);
    router_expect_ack(router, 0, FIRST, 7, 0, 2, WEIR_DONE);
    router_event(router, WEIR_EVENT_DRAIN, 0, 0);
    assert_true(router->script.stopped);
    router_destroy(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_known_to_be_anothers_waits_no_longer),
        cmocka_unit_test(acks_wait_for_upstreams_that_are_not_known_yet),
        cmocka_unit_test(a_worker_without_bytes_holds_up_no_other),
        cmocka_unit_test(other_topics_are_refused_and_nobody_else),
        cmocka_unit_test(each_join_has_its_own_answer),
        cmocka_unit_test(a_group_is_not_made_anew_beside_those_who_know_it),
        cmocka_unit_test(where_some_have_the_group_it_is_served_from_these),
        cmocka_unit_test(a_router_below_may_ask_for_several_topics),
        cmocka_unit_test(a_group_that_takes_credit_is_there),
        cmocka_unit_test(topics_that_nobody_serves_with_are_given_up),
        cmocka_unit_test(credit_for_a_group_that_was_not_there_asks_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
