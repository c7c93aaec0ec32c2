/* Who is offered messages: by credit, past broken workers, and suspects alone. */
#include "server_fixture.h"

#include <stdio.h>

/* ---- credit and choice ---- */

static void an_offer_is_what_the_credit_allows(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    assert_false(server_offer(server, false, &offered));
    server_ready(server, 5, 0xa);
    server_credit(server, 5, 3, 100);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.peer, 5);
    assert_int_equal(offered.messages, 3);
    assert_int_equal(offered.bytes, 100);
    assert_true(offered.whole);
    assert_false(offered.router);
    uint64_t delivery =
        server_deliver(server, 5, 2, false); /* m1;m2; and two index entries: 14 bytes */
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    assert_int_equal(offered.bytes, 86);
    assert_false(offered.whole);
    server_ack(server, 5, delivery, 0, 2, WEIR_DONE);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 1); /* an ack is no credit */
    assert_true(offered.whole);
    server_credit(server, 5, 5, 100);
    server_credit(server, 5, 5, 100); /* saying it again changes nothing */
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 3);
}

static void a_lowered_limit_is_confirmed(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_ready(server, 5, 0xa);
    server_credit(server, 5, 30, 1000);
    server_deliver(server, 5, 2, false);
    struct weir_control control = control_credit(GROUP, 3, 1000);
    WEIR_SET(&control, serial, SERIAL, 9);
    server_say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_CREDITED);
    assert_int_equal(sent->control.messages, 2);
    assert_int_equal(sent->control.bytes, 14);
    assert_int_equal(sent->control.serial, 9);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    control = control_credit(GROUP, 1, 1000);
    server_say(server, 5, &control);
    assert_false(server_offer(server, false, &offered));
}

static void one_large_message_passes_when_nothing_is_out(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_ready(server, 5, 0xa);
    server_credit(server, 5, 10, 1);
    assert_true(server_offer(server, false, &offered));
    assert_true(offered.whole);
    assert_int_equal(offered.bytes, 1);
    uint64_t delivery = server_deliver(server, 5, 1, false);
    assert_false(server_offer(server, false, &offered));
    server->told[0] = '\0';
    server_ack(server, 5, delivery, 0, 1, WEIR_DONE);
    server_assert_told(server, "ack 5 by a\nroom email\n");
    assert_true(server_offer(server, false, &offered));
    assert_true(offered.whole);
}

static void equal_workers_alternate(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 6);
    server_worker(server, 6, 0xb, 6);
    uint32_t got[2] = {0};
    for (uint32_t i = 0; i < 12; i++) {
        assert_true(server_offer(server, false, &offered));
        server_deliver(server, offered.peer, 1, false);
        got[offered.peer - 5]++;
        assert_true(got[0] <= got[1] + 1 && got[1] <= got[0] + 1);
    }
    assert_false(server_offer(server, false, &offered));
}

static void large_credit_is_shared_out(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    for (uint64_t i = 0; i < 4; i++)
        server_worker(server, 5 + i, 0xa + i, 2000);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 500);
    for (uint64_t i = 0; i < 3; i++)
        server_gone(server, 5 + i);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 2000);
}

static void waiting_is_said_once(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 0);
    server_worker(server, 6, 0, 1);
    server_deliver(server, 6, 1, false);
    assert_false(server_offer(server, false, &offered));
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_WAITING);
    assert_text(&sent->control.group, GROUP);
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    assert_false(server_offer(server, false, &offered));
    script_expect_nothing(&server->script);
    /* Who got work is told again; who did not, after a while. */
    server_credit(server, 6, 2, 1000);
    assert_true(server_offer(server, false, &offered));
    server_deliver(server, 6, 1, false);
    assert_false(server_offer(server, false, &offered));
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    script_expect_nothing(&server->script);
    server_wait(server, WEIR_WAITING_AGAIN_MS);
    assert_false(server_offer(server, false, &offered));
    script_expect(&server->script, PORT, 5, WEIR_VERB_WAITING);
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    script_expect_nothing(&server->script);
}

static void forgotten_leases_are_outstanding_no_longer(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0xa, 10);
    struct weir_lease_ref lease = {INCARNATION, server_deliver(server, 5, 6, false), 1, 3};
    weir_dispatch_forget(server->dispatch, &lease);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
    /* Beats keep what they name; the rest is stale after two leases. */
    struct weir_lease_ref named = {INCARNATION, lease.delivery, 0, 1};
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xa, &named, 1);
    for (uint32_t i = 0; i < 2 * WEIR_LEASE_MS / WEIR_HEARTBEAT_MS; i++) {
        assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
        server_wait(server, WEIR_HEARTBEAT_MS);
        server_say(server, 5, &beat);
    }
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 1);
}

static void there_are_limits(void **state)
{
    struct server *server = *state;
    for (uint64_t i = 1; i <= WEIR_PEERS_MAX; i++) {
        struct weir_control control = control_ready("worker", i, "kate");
        server_say(server, i, &control);
    }
    script_forget(&server->script);
    struct weir_control late = control_ready("worker", WEIR_PEERS_MAX + 1, "kate");
    server_say(server, WEIR_PEERS_MAX + 1, &late);
    server_expect_error(server, WEIR_PEERS_MAX + 1, WEIR_CODE_LIMIT);
    for (uint32_t i = 0; i < WEIR_GROUPS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "g%u", i);
        struct weir_control control = control_credit(name, 1, 1);
        server_say(server, 1, &control);
    }
    script_expect_nothing(&server->script);
    server_credit(server, 1, 1, 1);
    server_expect_error(server, 1, WEIR_CODE_LIMIT);
    /* A group that nobody serves any more makes room. */
    server_gone(server, 1);
    server_wait(server, WEIR_LOSS_GRACE_MS);
    server_credit(server, 2, 1, 1);
    script_expect_nothing(&server->script);
}

/* ---- breakers ---- */

static void fail_all(struct server *server, uint64_t peer, uint32_t count)
{
    uint64_t delivery = server_deliver(server, peer, count, false);
    server_ack(server, peer, delivery, 0, count, WEIR_RETRY);
}

static void a_broken_worker_gets_probes_only(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 100);
    server_worker(server, 6, 0xb, 100);
    fail_all(server, 5, 20);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(server_offer(server, false, &offered));
        assert_int_equal(offered.peer, 6);
        server_deliver(server, 6, 1, false);
    }
    uint64_t messages, bytes;
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 97);
    server->told[0] = '\0';
    server_wait(server, WEIR_BREAKER_FIRST_MS);
    server_assert_told(server, "room email\n");
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.peer, 5);
    assert_int_equal(offered.messages, 1);
    uint64_t probe = server_deliver(server, 5, 1, false);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.peer, 6);
    server_ack(server, 5, probe, 0, 1, WEIR_DONE);
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 97 + 79);
}

static void a_group_that_is_all_open_has_one_probe(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 100);
    server_worker(server, 6, 0xb, 100);
    fail_all(server, 5, 20);
    server_wait(server, 100);
    fail_all(server, 6, 20);
    assert_false(server_offer(server, false, &offered));
    server_wait(server, WEIR_BREAKER_FIRST_MS - 100);
    uint64_t messages, bytes;
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 1);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    uint64_t delivery = server_deliver(server, offered.peer, 1, false);
    server_wait(server, 100); /* the other's own time */
    struct weir_offer second;
    assert_false(server_offer(server, false, &second));
    server_ack(server, offered.peer, delivery, 0, 1, WEIR_UNAVAILABLE);
    server_wait(server, 2 * WEIR_BREAKER_FIRST_MS - 1);
    assert_false(server_offer(server, false, &second));
    server_wait(server, 1);
    assert_true(server_offer(server, false, &second));
    assert_int_not_equal(second.peer, offered.peer);
    delivery = server_deliver(server, second.peer, 1, false);
    /* A probe that comes back untouched is tried again after the same time. */
    server_ack(server, second.peer, delivery, 0, 1, WEIR_RELEASE);
    server_wait(server, 2 * WEIR_BREAKER_FIRST_MS);
    assert_true(server_offer(server, false, &second));
    delivery = server_deliver(server, second.peer, 1, false);
    server_ack(server, second.peer, delivery, 0, 1, WEIR_DONE);
    assert_true(server_offer(server, false, &second));
    /* The other is due at once, with a probe of its own. */
    assert_int_equal(second.messages, 1);
}

static void the_breaker_survives_a_reconnect(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 100);
    fail_all(server, 5, 20);
    server_worker(server, 6, 0xa, 100);
    assert_false(server_offer(server, false, &offered));
    server_wait(server, WEIR_BREAKER_FIRST_MS);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
}

static void routers_have_no_breaker(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0, 100);
    fail_all(server, 5, 40);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 60);
}

/* ---- suspects ---- */

static void a_suspect_goes_alone(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 10);
    server_worker(server, 6, 0xb, 10);
    server_deliver(server, 5, 1, false);
    assert_true(server_offer(server, true, &offered));
    assert_int_equal(offered.peer, 6);
    assert_int_equal(offered.messages, 1);
    uint64_t suspect = server_deliver(server, 6, 1, true);
    /* Nothing else goes there, suspect or not. */
    for (uint32_t i = 0; i < 9; i++) {
        assert_true(server_offer(server, false, &offered));
        assert_int_equal(offered.peer, 5);
        server_deliver(server, 5, 1, false);
    }
    assert_false(server_offer(server, false, &offered));
    assert_false(server_offer(server, true, &offered));
    server->told[0] = '\0';
    server_ack(server, 6, suspect, 0, 1, WEIR_DONE);
    server_assert_told(server, "ack 6 by b\nroom email\n");
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.peer, 6);
}

static void a_busy_worker_is_drained_for_a_suspect(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 10);
    server_worker(server, 6, 0xb, 10);
    server_deliver(server, 5, 4, false);
    uint64_t delivery = server_deliver(server, 6, 2, false);
    assert_false(server_offer(server, true, &offered));
    /* The one with least to do, and only that one. */
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(server_offer(server, false, &offered));
        assert_int_equal(offered.peer, 5);
        assert_false(server_offer(server, true, &offered));
    }
    server->told[0] = '\0';
    server_ack(server, 6, delivery, 0, 2, WEIR_DONE);
    server_assert_told(server, "ack 6 by b\nroom email\n");
    assert_true(server_offer(server, true, &offered));
    assert_int_equal(offered.peer, 6);
    server_deliver(server, 6, 1, true);
}

static void draining_is_bounded(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 10);
    server_deliver(server, 5, 2, false);
    assert_false(server_offer(server, true, &offered));
    assert_false(server_offer(server, false, &offered));
    server_credit(server, 5, 10, 1 << 20);
    server_wait(server, WEIR_ALONE_WAIT_MS - 1);
    server_credit(server, 5, 10, 1 << 20);
    assert_false(server_offer(server, false, &offered));
    server->told[0] = '\0';
    server_wait(server, 1);
    server_assert_told(server, "room email\n");
    assert_false(server_offer(server, true, &offered)); /* in peace for now */
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 8);
}

static void a_router_takes_a_few_suspects(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0, 100);
    server_deliver(server, 5, 50, false);
    for (uint32_t i = 0; i < WEIR_ALONE_ROUTER_MAX; i++) {
        assert_true(server_offer(server, true, &offered));
        assert_true(offered.router);
        assert_int_equal(offered.messages, 1);
        server_deliver(server, 5, 1, true);
    }
    assert_false(server_offer(server, true, &offered));
    assert_true(server_offer(server, false, &offered));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, server_set_up, server_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_offer_is_what_the_credit_allows),
        TEST(a_lowered_limit_is_confirmed),
        TEST(one_large_message_passes_when_nothing_is_out),
        TEST(equal_workers_alternate),
        TEST(large_credit_is_shared_out),
        TEST(waiting_is_said_once),
        TEST(forgotten_leases_are_outstanding_no_longer),
        TEST(there_are_limits),
        TEST(a_broken_worker_gets_probes_only),
        TEST(a_group_that_is_all_open_has_one_probe),
        TEST(the_breaker_survives_a_reconnect),
        TEST(routers_have_no_breaker),
        TEST(a_suspect_goes_alone),
        TEST(a_busy_worker_is_drained_for_a_suspect),
        TEST(draining_is_bounded),
        TEST(a_router_takes_a_few_suspects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
