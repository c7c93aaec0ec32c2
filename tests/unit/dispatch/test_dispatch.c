/* Sessions of workers and routers with a ventilator: how they begin, go on, and are lost. */
#include "server_fixture.h"

#include <stdio.h>
#include <string.h>

static void ready_comes_first(void **state)
{
    struct server *server = *state;
    struct weir_ack entry = ack_of(INCARNATION, 1, 0, 1, WEIR_DONE);
    struct weir_control frames[] = {control_credit(GROUP, 1, 1), control_ack(GROUP, &entry, 1)};
    for (uint32_t i = 0; i < 2; i++) {
        server_say(server, 5, &frames[i]);
        server_expect_error(server, 5, WEIR_CODE_NOT_READY);
    }
    server_assert_told(server, "");
    struct weir_control control = control_ready("worker", 0xa, "kate");
    server_say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_WELCOME);
    assert_int_equal(sent->control.version, 1);
    assert_int_equal(sent->control.incarnation, INCARNATION);
    assert_memory_equal(sent->control.uuid, "0123456789abcde", 16);
    assert_text(&sent->control.name, "intake");
    assert_text(&sent->control.role, "ventilator");
    server_say(server, 5, &frames[0]);
    server_say(server, 5, &frames[1]);
    server_assert_told(server, "room email\nack 5 by a\n");
    script_expect_nothing(&server->script);
}

static void nonsense_is_answered(void **state)
{
    struct server *server = *state;
    struct weir_control bad_role = control_ready("boss", 1, "kate");
    server_say(server, 5, &bad_role);
    server_expect_error(server, 5, WEIR_CODE_MALFORMED);
    struct weir_control no_number = control_ready("worker", 0, "kate");
    server_say(server, 5, &no_number);
    server_expect_error(server, 5, WEIR_CODE_MALFORMED);
    struct weir_control version = control_ready("worker", 1, "kate");
    version.version = 9;
    server_say(server, 5, &version);
    server_expect_error(server, 5, WEIR_CODE_VERSION);

    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_copy("\xff\x00rubbish", 9));
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                               .now = server->script.now,
                               .port = PORT,
                               .peer = 5,
                               .frames = &frames};
    weir_dispatch_event(server->dispatch, &event);
    server_expect_error(server, 5, WEIR_CODE_MALFORMED);
    weir_frames_push(&frames, weir_bytes_copy("x", 1));
    weir_dispatch_event(server->dispatch, &event);
    server_expect_error(server, 5, WEIR_CODE_MALFORMED);
    weir_frames_drop(&frames);

    server_ready(server, 5, 1);
    struct weir_lease_ref lease = {INCARNATION, 1, 0, 1};
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 1, &lease, 1);
    server_say(server, 5, &lost);
    server_expect_error(server, 5, WEIR_CODE_UNEXPECTED);
    struct weir_control other = control_leases(WEIR_VERB_HEARTBEAT, 2, &lease, 1);
    server_say(server, 5, &other);
    server_expect_error(server, 5, WEIR_CODE_MALFORMED);
    server->unknown = true;
    server_credit(server, 5, 1, 1);
    server_expect_error(server, 5, WEIR_CODE_GROUP);
    server_assert_told(server, "");
}

static void beats_are_echoed(void **state)
{
    struct server *server = *state;
    server_ready(server, 5, 0xa);
    struct weir_control control = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&control, serial, SERIAL, 77);
    server_say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_HEARTBEAT);
    assert_int_equal(sent->control.serial, 77);
    assert_int_equal(sent->control.worker, 0xa);
    assert_int_equal(sent->control.incarnation, INCARNATION);
    struct weir_lease_ref lease = {INCARNATION, 1, 0, 4};
    struct weir_control leases = control_leases(WEIR_VERB_HEARTBEAT, 0, &lease, 1);
    server_say(server, 5, &leases);
    server_assert_told(server, "beat 5 by a 1/0+4\n");
    script_expect_nothing(&server->script);
}

static void a_killed_worker_is_lost_after_the_grace(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0xa, 10);
    uint64_t first = server_deliver(server, 5, 4, false);
    server_ack(server, 5, first, 1, 2, WEIR_DONE);
    server->told[0] = '\0';
    server_gone(server, 5);
    struct weir_offer offered;
    assert_false(server_offer(server, false, &offered));
    server_wait(server, WEIR_LOSS_GRACE_MS - 1);
    server_assert_told(server, "room email\n");
    server_wait(server, 1);
    server_assert_told(server, "lost a kate 1/0+1 1/3+1\nroom email\n");
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 0);
    assert_int_equal(weir_dispatch_peer_of(server->dispatch, 0xa), 0);
}

static void a_reconnected_worker_takes_over(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0xa, 20);
    uint64_t first = server_deliver(server, 5, 4, false);
    uint64_t second = server_deliver(server, 5, 2, false);
    uint64_t third = server_deliver(server, 5, 3, false);
    server_gone(server, 5);
    server_wait(server, 10);
    server->told[0] = '\0';
    /* It names one delivery in part; the second was acked on the old connection, and that ack is
     * read late; the third was lost on the wire. */
    struct weir_lease_ref held = {INCARNATION, first, 0, 3};
    server_ready_with(server, 6, 0xa, &held, 1);
    assert_int_equal(weir_dispatch_peer_of(server->dispatch, 0xa), 6);
    server_ack(server, 5, second, 0, 2, WEIR_DONE);
    struct weir_offer offered;
    assert_false(server_offer(server, false, &offered)); /* its credit is gone */
    server->told[0] = '\0';
    server_wait(server, WEIR_LOSS_GRACE_MS);
    char expected[64];
    snprintf(expected, sizeof expected, "released %llu/3+1 %llu/0+3\nroom email\n",
             (unsigned long long)first, (unsigned long long)third);
    /* What is reported stands in the order of the deliveries. */
    assert_non_null(strstr(server->told, "released"));
    server_assert_told(server, expected);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
    /* What it named is held on the new way. */
    server_credit(server, 6, 5, 1000);
    server_gone(server, 6);
    server->told[0] = '\0';
    server_wait(server, WEIR_LOSS_GRACE_MS);
    snprintf(expected, sizeof expected, "lost a kate %llu/0+3\nroom email\n",
             (unsigned long long)first);
    server_assert_told(server, expected);
}

static void ready_again_on_a_standing_connection_keeps_what_is_on_its_way(void **state)
{
    struct server *server = *state;
    struct weir_lease_ref claimed = {INCARNATION, 900, 0, 5};
    server_ready_with(server, 5, 0xa, &claimed, 1);
    server_credit(server, 5, 10, 1000);
    server_deliver(server, 5, 2, false);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 7);
    server_ready(server, 5, 0xa);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 2);
    struct weir_offer offered;
    assert_false(server_offer(server, false, &offered));
    server_credit(server, 5, 10, 1000);
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 10); /* credit began anew */
    assert_null(strstr(server->told, "released"));
    assert_null(strstr(server->told, "lost"));
}

static void a_lost_router_loses_nothing(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0, 100);
    server_deliver(server, 5, 4, false);
    server_gone(server, 5);
    server_wait(server, WEIR_LEASE_MS);
    assert_null(strstr(server->told, "lost"));
    assert_null(strstr(server->told, "released"));
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 0);
}

static void a_router_reports_its_workers(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0, 100);
    uint64_t delivery = server_deliver(server, 5, 6, false);
    struct weir_lease_ref leases[] = {{INCARNATION, delivery, 0, 2}, {INCARNATION, delivery, 4, 1}};
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 0xb, leases, 2);
    WEIR_SET(&lost, name, NAME, weir_text_of("bob"));
    server_say(server, 5, &lost);
    server_assert_told(server, "lost b bob 1/0+2 1/4+1\nroom email\n");
    /* A worker behind it gave one back: a BYE that names it; the router stays. */
    struct weir_control back = control_leases(WEIR_VERB_BYE, 0, leases, 1);
    back.leases[0].first = 5;
    back.leases[0].count = 1;
    server_say(server, 5, &back);
    server_assert_told(server, "released 1/5+1\nroom email\n");
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 2);
    const struct weir_control bye = {.verb = WEIR_VERB_BYE};
    server_say(server, 5, &bye);
    server_assert_told(server, "room email\n");
    server_credit(server, 5, 200, 1000);
    server_expect_error(server, 5, WEIR_CODE_NOT_READY);
}

/* Its loss behind one router is no loss while it beats through another. */
static void a_worker_with_two_ways_is_lost_on_both(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0, 100);
    server_worker(server, 6, 0, 100);
    struct weir_lease_ref lease = {INCARNATION, server_deliver(server, 5, 6, false), 0, 6};
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xb, &lease, 1);
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 0xb, &lease, 1);
    server_say(server, 5, &beat);
    server_say(server, 6, &beat);
    server->told[0] = '\0';
    server_say(server, 5, &lost);
    server_assert_told(server, "room email\n");
    server_say(server, 6, &beat);
    server_wait(server, WEIR_LOSS_DOUBT_MS + 1);
    assert_null(strstr(server->told, "lost"));
    /* Lost on both: at once. */
    server_say(server, 5, &beat);
    server_say(server, 6, &beat);
    server_say(server, 5, &lost);
    server->told[0] = '\0';
    server_say(server, 6, &lost);
    server_assert_told(server, "lost b  1/0+6\nlost b  1/0+6\n");
    /* Lost on one, and silent on the other: after a time. */
    server_say(server, 5, &beat);
    server_say(server, 6, &beat);
    server_say(server, 5, &lost);
    server->told[0] = '\0';
    server_wait(server, WEIR_LOSS_DOUBT_MS);
    server_assert_told(server, "lost b  1/0+6\n");
}

static void bye_releases_everything(void **state)
{
    struct server *server = *state;
    server_worker(server, 5, 0xa, 10);
    server_deliver(server, 5, 4, false);
    struct weir_lease_ref other = {INCARNATION, 50, 7, 2}; /* of before a restart */
    struct weir_control bye = control_leases(WEIR_VERB_BYE, 0xa, &other, 1);
    server_say(server, 5, &bye);
    server_assert_told(server, "released 1/0+4 50/7+2\nroom email\n");
    server_gone(server, 5);
    server_wait(server, 1000);
    server_assert_told(server, "");
}

static void silent_peers_get_nothing(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    server_worker(server, 5, 0xa, 10);
    server_wait(server, WEIR_PEER_SILENCE_MS - 1);
    assert_true(server_offer(server, false, &offered));
    server_wait(server, 1);
    assert_false(server_offer(server, false, &offered));
    server->told[0] = '\0';
    server_credit(server, 5, 10, 1 << 20);
    server_assert_told(server, "room email\n");
    assert_true(server_offer(server, false, &offered));
    assert_int_equal(offered.messages, 10);
}

static void an_idle_server_sleeps(void **state)
{
    struct server *server = *state;
    assert_true(server_tick(server) == WEIR_TIME_NEVER);
    server_worker(server, 5, 0xa, 10);
    int64_t next = server_tick(server);
    assert_int_equal((next - server->script.now.mono_ns) / MS, WEIR_PEER_SILENCE_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, server_set_up, server_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ready_comes_first),
        TEST(nonsense_is_answered),
        TEST(beats_are_echoed),
        TEST(a_killed_worker_is_lost_after_the_grace),
        TEST(a_reconnected_worker_takes_over),
        TEST(ready_again_on_a_standing_connection_keeps_what_is_on_its_way),
        TEST(a_lost_router_loses_nothing),
        TEST(a_router_reports_its_workers),
        TEST(a_worker_with_two_ways_is_lost_on_both),
        TEST(bye_releases_everything),
        TEST(silent_peers_get_nothing),
        TEST(an_idle_server_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
