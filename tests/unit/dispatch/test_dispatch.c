#include "script.h"

#include <core/dispatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "email"
#define PORT WEIR_PORT_DISPATCH

/* A server whose owner writes down what it is told. */
struct server {
    struct script script;
    struct weir_dispatch *dispatch;
    char told[4096]; /* "room email\nlost 7 kate 5/0+3\n…" */
    uint64_t delivery;
    uint64_t sequence;
    bool unknown; /* the owner knows no group */
};

static void tell(struct server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct server *server, const char *format, ...)
{
    size_t used = strlen(server->told);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(server->told + used, sizeof server->told - used, format, arguments);
    va_end(arguments);
}

static void tell_leases(struct server *server, const struct weir_lease_ref *leases, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tell(server, " %llu/%u+%u", (unsigned long long)leases[i].delivery, leases[i].first,
             leases[i].count);
    tell(server, "\n");
}

static void on_room(void *self, const char *group, const struct weir_now *now)
{
    (void)now;
    tell(self, "room %s\n", group);
}

static void on_ack(void *self, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now)
{
    (void)now;
    tell(self, "ack %llu by %llx\n", (unsigned long long)peer, (unsigned long long)control->worker);
}

static void on_beat(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    tell(self, "beat %llu by %llx", (unsigned long long)peer, (unsigned long long)control->worker);
    tell_leases(self, control->leases, control->lease_count);
}

static void on_begin(void *self, uint64_t peer, const struct weir_control *control,
                     const struct weir_now *now)
{
    (void)now, (void)control;
    tell(self, "begin %llu\n", (unsigned long long)peer);
}

static void on_extend(void *self, uint64_t peer, const struct weir_control *control,
                      const struct weir_now *now)
{
    (void)now, (void)control;
    tell(self, "extend %llu\n", (unsigned long long)peer);
}

static void on_lost(void *self, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    (void)now;
    tell(self, "lost %llx %s", (unsigned long long)worker, name);
    tell_leases(self, leases, count);
}

static void on_released(void *self, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    (void)now;
    tell(self, "released");
    tell_leases(self, leases, count);
}

static void on_join(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    tell(self, "join %llu %.*s\n", (unsigned long long)peer, (int)control->group.bytes,
         control->group.data);
}

static bool on_known(void *self, const char *group)
{
    (void)group;
    return !((struct server *)self)->unknown;
}

static void take(void *arg, struct weir_event *event)
{
    weir_dispatch_event(arg, event);
}

static int setup(void **state)
{
    struct server *server = weir_zalloc(1, sizeof *server);
    script_init(&server->script);
    const struct weir_dispatch_owner owner = {.self = server,
                                              .room = on_room,
                                              .ack = on_ack,
                                              .beat = on_beat,
                                              .begin = on_begin,
                                              .extend = on_extend,
                                              .lost = on_lost,
                                              .released = on_released,
                                              .join = on_join,
                                              .known = on_known};
    const struct weir_dispatch_config config = {.name = "intake",
                                                .role = "ventilator",
                                                .incarnation = INCARNATION,
                                                .uuid = "0123456789abcde",
                                                .port = PORT};
    server->dispatch = weir_dispatch_new(&config, &owner, &server->script.host, 1);
    *state = server;
    return 0;
}

static int teardown(void **state)
{
    struct server *server = *state;
    weir_dispatch_destroy(&server->dispatch);
    script_fini(&server->script);
    free(server);
    return 0;
}

static void say(struct server *server, uint64_t peer, const struct weir_control *control)
{
    script_say(&server->script, PORT, peer, control, NULL, take, server->dispatch);
}

static void gone(struct server *server, uint64_t peer)
{
    script_event(&server->script, WEIR_EVENT_PEER_GONE, PORT, peer, take, server->dispatch);
}

static int64_t tick(struct server *server)
{
    return weir_dispatch_tick(server->dispatch, &server->script.now);
}

static void wait(struct server *server, int64_t ms)
{
    script_wait(&server->script, ms);
    tick(server);
}

static void assert_told(struct server *server, const char *expected)
{
    assert_string_equal(server->told, expected);
    server->told[0] = '\0';
}

static void ready(struct server *server, uint64_t peer, uint64_t worker)
{
    struct weir_control control = control_ready(worker ? "worker" : "router", worker, "kate");
    say(server, peer, &control);
    script_expect(&server->script, PORT, peer, WEIR_VERB_WELCOME);
}

static void ready_with(struct server *server, uint64_t peer, uint64_t worker,
                       struct weir_lease_ref *leases, uint32_t count)
{
    struct weir_control control = control_ready("worker", worker, "kate");
    WEIR_SET(&control, leases, LEASES, leases);
    control.lease_count = count;
    say(server, peer, &control);
    script_expect(&server->script, PORT, peer, WEIR_VERB_WELCOME);
}

static void credit(struct server *server, uint64_t peer, uint64_t messages, uint64_t bytes)
{
    struct weir_control control = control_credit(GROUP, messages, bytes);
    say(server, peer, &control);
}

/* A worker with credit, and nothing noted of how it came. */
static void worker(struct server *server, uint64_t peer, uint64_t number, uint64_t messages)
{
    ready(server, peer, number);
    credit(server, peer, messages, 1 << 20);
    server->told[0] = '\0';
}

static bool offer(struct server *server, bool alone, struct weir_offer *offered)
{
    return weir_dispatch_offer(server->dispatch, GROUP, alone, &server->script.now, offered);
}

/* Deliver to a peer; returns the delivery's number. */
static uint64_t deliver(struct server *server, uint64_t peer, uint32_t count, bool alone)
{
    struct weir_slice_info slice = {
        .index = 0, .count = count, .sequence = server->sequence + 1, .time_ms = 1, .attempt = 1};
    struct weir_control control =
        control_deliver(GROUP, INCARNATION, ++server->delivery, &slice, 1);
    if (alone)
        WEIR_SET(&control, alone, ALONE, 1);
    struct weir_frames frames = {0};
    script_slice(&frames, server->sequence + 1, count, 0, NULL);
    server->sequence += count;
    weir_dispatch_deliver(server->dispatch, peer, &control, &frames, &server->script.now);
    struct sent *sent = script_find(&server->script, PORT, peer, WEIR_VERB_DELIVER);
    assert_non_null(sent);
    uint64_t numbers[WEIR_DELIVERY_MESSAGES_MAX];
    assert_int_equal(script_numbers(sent, numbers, WEIR_DELIVERY_MESSAGES_MAX), count);
    assert_int_equal(sent->control.delivery, server->delivery);
    return server->delivery;
}

static void ack(struct server *server, uint64_t peer, uint64_t delivery, uint32_t first,
                uint32_t count, uint32_t outcome)
{
    struct weir_ack entry = ack_of(INCARNATION, delivery, first, count, outcome);
    struct weir_control control = control_ack(GROUP, &entry, 1);
    say(server, peer, &control);
}

static void expect_error(struct server *server, uint64_t peer, const char *code)
{
    struct sent *sent = script_expect(&server->script, PORT, peer, WEIR_VERB_ERROR);
    assert_text(&sent->control.code, code);
}

/* ---- sessions ---- */

static void ready_comes_first(void **state)
{
    struct server *server = *state;
    struct weir_ack entry = ack_of(INCARNATION, 1, 0, 1, WEIR_DONE);
    struct weir_control frames[] = {control_credit(GROUP, 1, 1), control_ack(GROUP, &entry, 1)};
    for (uint32_t i = 0; i < 2; i++) {
        say(server, 5, &frames[i]);
        expect_error(server, 5, WEIR_CODE_NOT_READY);
    }
    assert_told(server, "");
    struct weir_control control = control_ready("worker", 0xa, "kate");
    say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_WELCOME);
    assert_int_equal(sent->control.version, 1);
    assert_int_equal(sent->control.incarnation, INCARNATION);
    assert_memory_equal(sent->control.uuid, "0123456789abcde", 16);
    assert_text(&sent->control.name, "intake");
    assert_text(&sent->control.role, "ventilator");
    say(server, 5, &frames[0]);
    say(server, 5, &frames[1]);
    assert_told(server, "room email\nack 5 by a\n");
    script_expect_nothing(&server->script);
}

static void nonsense_is_answered(void **state)
{
    struct server *server = *state;
    struct weir_control bad_role = control_ready("boss", 1, "kate");
    say(server, 5, &bad_role);
    expect_error(server, 5, WEIR_CODE_MALFORMED);
    struct weir_control no_number = control_ready("worker", 0, "kate");
    say(server, 5, &no_number);
    expect_error(server, 5, WEIR_CODE_MALFORMED);
    struct weir_control version = control_ready("worker", 1, "kate");
    version.version = 9;
    say(server, 5, &version);
    expect_error(server, 5, WEIR_CODE_VERSION);

    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_copy("\xff\x00rubbish", 9));
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                               .now = server->script.now,
                               .port = PORT,
                               .peer = 5,
                               .frames = &frames};
    weir_dispatch_event(server->dispatch, &event);
    expect_error(server, 5, WEIR_CODE_MALFORMED);
    weir_frames_push(&frames, weir_bytes_copy("x", 1));
    weir_dispatch_event(server->dispatch, &event);
    expect_error(server, 5, WEIR_CODE_MALFORMED);
    weir_frames_drop(&frames);

    ready(server, 5, 1);
    struct weir_lease_ref lease = {INCARNATION, 1, 0, 1};
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 1, &lease, 1);
    say(server, 5, &lost);
    expect_error(server, 5, WEIR_CODE_UNEXPECTED);
    struct weir_control other = control_leases(WEIR_VERB_HEARTBEAT, 2, &lease, 1);
    say(server, 5, &other);
    expect_error(server, 5, WEIR_CODE_MALFORMED);
    server->unknown = true;
    credit(server, 5, 1, 1);
    expect_error(server, 5, WEIR_CODE_GROUP);
    assert_told(server, "");
}

static void beats_are_echoed(void **state)
{
    struct server *server = *state;
    ready(server, 5, 0xa);
    struct weir_control control = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&control, serial, SERIAL, 77);
    say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_HEARTBEAT);
    assert_int_equal(sent->control.serial, 77);
    assert_int_equal(sent->control.worker, 0xa);
    assert_int_equal(sent->control.incarnation, INCARNATION);
    struct weir_lease_ref lease = {INCARNATION, 1, 0, 4};
    struct weir_control leases = control_leases(WEIR_VERB_HEARTBEAT, 0, &lease, 1);
    say(server, 5, &leases);
    assert_told(server, "beat 5 by a 1/0+4\n");
    script_expect_nothing(&server->script);
}

static void a_killed_worker_is_lost_after_the_grace(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0xa, 10);
    uint64_t first = deliver(server, 5, 4, false);
    ack(server, 5, first, 1, 2, WEIR_DONE);
    server->told[0] = '\0';
    gone(server, 5);
    struct weir_offer offered;
    assert_false(offer(server, false, &offered));
    wait(server, WEIR_LOSS_GRACE_MS - 1);
    assert_told(server, "room email\n");
    wait(server, 1);
    assert_told(server, "lost a kate 1/0+1 1/3+1\nroom email\n");
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 0);
    assert_int_equal(weir_dispatch_peer_of(server->dispatch, 0xa), 0);
}

static void a_reconnected_worker_takes_over(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0xa, 20);
    uint64_t first = deliver(server, 5, 4, false);
    uint64_t second = deliver(server, 5, 2, false);
    uint64_t third = deliver(server, 5, 3, false);
    gone(server, 5);
    wait(server, 10);
    server->told[0] = '\0';
    /* It names one delivery in part; the second was acked on the old connection, and that ack is
     * read late; the third was lost on the wire. */
    struct weir_lease_ref held = {INCARNATION, first, 0, 3};
    ready_with(server, 6, 0xa, &held, 1);
    assert_int_equal(weir_dispatch_peer_of(server->dispatch, 0xa), 6);
    ack(server, 5, second, 0, 2, WEIR_DONE);
    struct weir_offer offered;
    assert_false(offer(server, false, &offered)); /* its credit is gone */
    server->told[0] = '\0';
    wait(server, WEIR_LOSS_GRACE_MS);
    char expected[64];
    snprintf(expected, sizeof expected, "released %llu/3+1 %llu/0+3\nroom email\n",
             (unsigned long long)first, (unsigned long long)third);
    /* What is reported stands in the order of the deliveries. */
    assert_non_null(strstr(server->told, "released"));
    assert_told(server, expected);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
    /* What it named is held on the new way. */
    credit(server, 6, 5, 1000);
    gone(server, 6);
    server->told[0] = '\0';
    wait(server, WEIR_LOSS_GRACE_MS);
    snprintf(expected, sizeof expected, "lost a kate %llu/0+3\nroom email\n",
             (unsigned long long)first);
    assert_told(server, expected);
}

static void ready_again_on_a_standing_connection_keeps_what_is_on_its_way(void **state)
{
    struct server *server = *state;
    struct weir_lease_ref claimed = {INCARNATION, 900, 0, 5};
    ready_with(server, 5, 0xa, &claimed, 1);
    credit(server, 5, 10, 1000);
    deliver(server, 5, 2, false);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 7);
    ready(server, 5, 0xa);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 2);
    struct weir_offer offered;
    assert_false(offer(server, false, &offered));
    credit(server, 5, 10, 1000);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 10); /* credit began anew */
    assert_null(strstr(server->told, "released"));
    assert_null(strstr(server->told, "lost"));
}

static void a_lost_router_loses_nothing(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0, 100);
    deliver(server, 5, 4, false);
    gone(server, 5);
    wait(server, WEIR_LEASE_MS);
    assert_null(strstr(server->told, "lost"));
    assert_null(strstr(server->told, "released"));
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 0);
}

static void a_router_reports_its_workers(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0, 100);
    uint64_t delivery = deliver(server, 5, 6, false);
    struct weir_lease_ref leases[] = {{INCARNATION, delivery, 0, 2}, {INCARNATION, delivery, 4, 1}};
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 0xb, leases, 2);
    WEIR_SET(&lost, name, NAME, weir_text_of("bob"));
    say(server, 5, &lost);
    assert_told(server, "lost b bob 1/0+2 1/4+1\nroom email\n");
    /* A worker behind it gave one back: a BYE that names it; the router stays. */
    struct weir_control back = control_leases(WEIR_VERB_BYE, 0, leases, 1);
    back.leases[0].first = 5;
    back.leases[0].count = 1;
    say(server, 5, &back);
    assert_told(server, "released 1/5+1\nroom email\n");
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 2);
    const struct weir_control bye = {.verb = WEIR_VERB_BYE};
    say(server, 5, &bye);
    assert_told(server, "room email\n");
    credit(server, 5, 200, 1000);
    expect_error(server, 5, WEIR_CODE_NOT_READY);
}

/* Its loss behind one router is no loss while it beats through another. */
static void a_worker_with_two_ways_is_lost_on_both(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0, 100);
    worker(server, 6, 0, 100);
    struct weir_lease_ref lease = {INCARNATION, deliver(server, 5, 6, false), 0, 6};
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xb, &lease, 1);
    struct weir_control lost = control_leases(WEIR_VERB_LOST, 0xb, &lease, 1);
    say(server, 5, &beat);
    say(server, 6, &beat);
    server->told[0] = '\0';
    say(server, 5, &lost);
    assert_told(server, "room email\n");
    say(server, 6, &beat);
    wait(server, WEIR_LOSS_DOUBT_MS + 1);
    assert_null(strstr(server->told, "lost"));
    /* Lost on both: at once. */
    say(server, 5, &beat);
    say(server, 6, &beat);
    say(server, 5, &lost);
    server->told[0] = '\0';
    say(server, 6, &lost);
    assert_told(server, "lost b  1/0+6\nlost b  1/0+6\n");
    /* Lost on one, and silent on the other: after a time. */
    say(server, 5, &beat);
    say(server, 6, &beat);
    say(server, 5, &lost);
    server->told[0] = '\0';
    wait(server, WEIR_LOSS_DOUBT_MS);
    assert_told(server, "lost b  1/0+6\n");
}

static void bye_releases_everything(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0xa, 10);
    deliver(server, 5, 4, false);
    struct weir_lease_ref other = {INCARNATION, 50, 7, 2}; /* of before a restart */
    struct weir_control bye = control_leases(WEIR_VERB_BYE, 0xa, &other, 1);
    say(server, 5, &bye);
    assert_told(server, "released 1/0+4 50/7+2\nroom email\n");
    gone(server, 5);
    wait(server, 1000);
    assert_told(server, "");
}

static void silent_peers_get_nothing(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 10);
    wait(server, WEIR_PEER_SILENCE_MS - 1);
    assert_true(offer(server, false, &offered));
    wait(server, 1);
    assert_false(offer(server, false, &offered));
    server->told[0] = '\0';
    credit(server, 5, 10, 1 << 20);
    assert_told(server, "room email\n");
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 10);
}

static void an_idle_server_sleeps(void **state)
{
    struct server *server = *state;
    assert_true(tick(server) == WEIR_TIME_NEVER);
    worker(server, 5, 0xa, 10);
    int64_t next = tick(server);
    assert_int_equal((next - server->script.now.mono_ns) / MS, WEIR_PEER_SILENCE_MS);
}

/* ---- credit and choice ---- */

static void an_offer_is_what_the_credit_allows(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    assert_false(offer(server, false, &offered));
    ready(server, 5, 0xa);
    credit(server, 5, 3, 100);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.peer, 5);
    assert_int_equal(offered.messages, 3);
    assert_int_equal(offered.bytes, 100);
    assert_true(offered.whole);
    assert_false(offered.router);
    uint64_t delivery = deliver(server, 5, 2, false); /* m1;m2; and two index entries: 14 bytes */
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    assert_int_equal(offered.bytes, 86);
    assert_false(offered.whole);
    ack(server, 5, delivery, 0, 2, WEIR_DONE);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 1); /* an ack is no credit */
    assert_true(offered.whole);
    credit(server, 5, 5, 100);
    credit(server, 5, 5, 100); /* saying it again changes nothing */
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 3);
}

static void a_lowered_limit_is_confirmed(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    ready(server, 5, 0xa);
    credit(server, 5, 30, 1000);
    deliver(server, 5, 2, false);
    struct weir_control control = control_credit(GROUP, 3, 1000);
    WEIR_SET(&control, serial, SERIAL, 9);
    say(server, 5, &control);
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_CREDITED);
    assert_int_equal(sent->control.messages, 2);
    assert_int_equal(sent->control.bytes, 14);
    assert_int_equal(sent->control.serial, 9);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    control = control_credit(GROUP, 1, 1000);
    say(server, 5, &control);
    assert_false(offer(server, false, &offered));
}

static void one_large_message_passes_when_nothing_is_out(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    ready(server, 5, 0xa);
    credit(server, 5, 10, 1);
    assert_true(offer(server, false, &offered));
    assert_true(offered.whole);
    assert_int_equal(offered.bytes, 1);
    uint64_t delivery = deliver(server, 5, 1, false);
    assert_false(offer(server, false, &offered));
    server->told[0] = '\0';
    ack(server, 5, delivery, 0, 1, WEIR_DONE);
    assert_told(server, "ack 5 by a\nroom email\n");
    assert_true(offer(server, false, &offered));
    assert_true(offered.whole);
}

static void equal_workers_alternate(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 6);
    worker(server, 6, 0xb, 6);
    uint32_t got[2] = {0};
    for (uint32_t i = 0; i < 12; i++) {
        assert_true(offer(server, false, &offered));
        deliver(server, offered.peer, 1, false);
        got[offered.peer - 5]++;
        assert_true(got[0] <= got[1] + 1 && got[1] <= got[0] + 1);
    }
    assert_false(offer(server, false, &offered));
}

static void large_credit_is_shared_out(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    for (uint64_t i = 0; i < 4; i++)
        worker(server, 5 + i, 0xa + i, 2000);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 500);
    for (uint64_t i = 0; i < 3; i++)
        gone(server, 5 + i);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 2000);
}

static void waiting_is_said_once(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 0);
    worker(server, 6, 0, 1);
    deliver(server, 6, 1, false);
    assert_false(offer(server, false, &offered));
    struct sent *sent = script_expect(&server->script, PORT, 5, WEIR_VERB_WAITING);
    assert_text(&sent->control.group, GROUP);
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    assert_false(offer(server, false, &offered));
    script_expect_nothing(&server->script);
    /* Who got work is told again; who did not, after a while. */
    credit(server, 6, 2, 1000);
    assert_true(offer(server, false, &offered));
    deliver(server, 6, 1, false);
    assert_false(offer(server, false, &offered));
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    script_expect_nothing(&server->script);
    wait(server, WEIR_WAITING_AGAIN_MS);
    assert_false(offer(server, false, &offered));
    script_expect(&server->script, PORT, 5, WEIR_VERB_WAITING);
    script_expect(&server->script, PORT, 6, WEIR_VERB_WAITING);
    script_expect_nothing(&server->script);
}

static void forgotten_leases_are_outstanding_no_longer(void **state)
{
    struct server *server = *state;
    worker(server, 5, 0xa, 10);
    struct weir_lease_ref lease = {INCARNATION, deliver(server, 5, 6, false), 1, 3};
    weir_dispatch_forget(server->dispatch, &lease);
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
    /* Beats keep what they name; the rest is stale after two leases. */
    struct weir_lease_ref named = {INCARNATION, lease.delivery, 0, 1};
    struct weir_control beat = control_leases(WEIR_VERB_HEARTBEAT, 0xa, &named, 1);
    for (uint32_t i = 0; i < 2 * WEIR_LEASE_MS / WEIR_HEARTBEAT_MS; i++) {
        assert_int_equal(weir_dispatch_outstanding(server->dispatch), 3);
        wait(server, WEIR_HEARTBEAT_MS);
        say(server, 5, &beat);
    }
    assert_int_equal(weir_dispatch_outstanding(server->dispatch), 1);
}

static void there_are_limits(void **state)
{
    struct server *server = *state;
    for (uint64_t i = 1; i <= WEIR_PEERS_MAX; i++) {
        struct weir_control control = control_ready("worker", i, "kate");
        say(server, i, &control);
    }
    script_forget(&server->script);
    struct weir_control late = control_ready("worker", WEIR_PEERS_MAX + 1, "kate");
    say(server, WEIR_PEERS_MAX + 1, &late);
    expect_error(server, WEIR_PEERS_MAX + 1, WEIR_CODE_LIMIT);
    for (uint32_t i = 0; i < WEIR_GROUPS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "g%u", i);
        struct weir_control control = control_credit(name, 1, 1);
        say(server, 1, &control);
    }
    script_expect_nothing(&server->script);
    credit(server, 1, 1, 1);
    expect_error(server, 1, WEIR_CODE_LIMIT);
    /* A group that nobody serves any more makes room. */
    gone(server, 1);
    wait(server, WEIR_LOSS_GRACE_MS);
    credit(server, 2, 1, 1);
    script_expect_nothing(&server->script);
}

/* ---- breakers ---- */

static void fail_all(struct server *server, uint64_t peer, uint32_t count)
{
    uint64_t delivery = deliver(server, peer, count, false);
    ack(server, peer, delivery, 0, count, WEIR_RETRY);
}

static void a_broken_worker_gets_probes_only(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 100);
    worker(server, 6, 0xb, 100);
    fail_all(server, 5, 20);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(offer(server, false, &offered));
        assert_int_equal(offered.peer, 6);
        deliver(server, 6, 1, false);
    }
    uint64_t messages, bytes;
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 97);
    server->told[0] = '\0';
    wait(server, WEIR_BREAKER_FIRST_MS);
    assert_told(server, "room email\n");
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.peer, 5);
    assert_int_equal(offered.messages, 1);
    uint64_t probe = deliver(server, 5, 1, false);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.peer, 6);
    ack(server, 5, probe, 0, 1, WEIR_DONE);
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 97 + 79);
}

static void a_group_that_is_all_open_has_one_probe(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 100);
    worker(server, 6, 0xb, 100);
    fail_all(server, 5, 20);
    wait(server, 100);
    fail_all(server, 6, 20);
    assert_false(offer(server, false, &offered));
    wait(server, WEIR_BREAKER_FIRST_MS - 100);
    uint64_t messages, bytes;
    weir_dispatch_room(server->dispatch, GROUP, &messages, &bytes);
    assert_int_equal(messages, 1);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
    uint64_t delivery = deliver(server, offered.peer, 1, false);
    wait(server, 100); /* the other's own time */
    struct weir_offer second;
    assert_false(offer(server, false, &second));
    ack(server, offered.peer, delivery, 0, 1, WEIR_UNAVAILABLE);
    wait(server, 2 * WEIR_BREAKER_FIRST_MS - 1);
    assert_false(offer(server, false, &second));
    wait(server, 1);
    assert_true(offer(server, false, &second));
    assert_int_not_equal(second.peer, offered.peer);
    delivery = deliver(server, second.peer, 1, false);
    /* A probe that comes back untouched is tried again after the same time. */
    ack(server, second.peer, delivery, 0, 1, WEIR_RELEASE);
    wait(server, 2 * WEIR_BREAKER_FIRST_MS);
    assert_true(offer(server, false, &second));
    delivery = deliver(server, second.peer, 1, false);
    ack(server, second.peer, delivery, 0, 1, WEIR_DONE);
    assert_true(offer(server, false, &second));
    /* The other is due at once, with a probe of its own. */
    assert_int_equal(second.messages, 1);
}

static void the_breaker_survives_a_reconnect(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 100);
    fail_all(server, 5, 20);
    worker(server, 6, 0xa, 100);
    assert_false(offer(server, false, &offered));
    wait(server, WEIR_BREAKER_FIRST_MS);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 1);
}

static void routers_have_no_breaker(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0, 100);
    fail_all(server, 5, 40);
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 60);
}

/* ---- suspects ---- */

static void a_suspect_goes_alone(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 10);
    worker(server, 6, 0xb, 10);
    deliver(server, 5, 1, false);
    assert_true(offer(server, true, &offered));
    assert_int_equal(offered.peer, 6);
    assert_int_equal(offered.messages, 1);
    uint64_t suspect = deliver(server, 6, 1, true);
    /* Nothing else goes there, suspect or not. */
    for (uint32_t i = 0; i < 9; i++) {
        assert_true(offer(server, false, &offered));
        assert_int_equal(offered.peer, 5);
        deliver(server, 5, 1, false);
    }
    assert_false(offer(server, false, &offered));
    assert_false(offer(server, true, &offered));
    server->told[0] = '\0';
    ack(server, 6, suspect, 0, 1, WEIR_DONE);
    assert_told(server, "ack 6 by b\nroom email\n");
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.peer, 6);
}

static void a_busy_worker_is_drained_for_a_suspect(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 10);
    worker(server, 6, 0xb, 10);
    deliver(server, 5, 4, false);
    uint64_t delivery = deliver(server, 6, 2, false);
    assert_false(offer(server, true, &offered));
    /* The one with least to do, and only that one. */
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(offer(server, false, &offered));
        assert_int_equal(offered.peer, 5);
        assert_false(offer(server, true, &offered));
    }
    server->told[0] = '\0';
    ack(server, 6, delivery, 0, 2, WEIR_DONE);
    assert_told(server, "ack 6 by b\nroom email\n");
    assert_true(offer(server, true, &offered));
    assert_int_equal(offered.peer, 6);
    deliver(server, 6, 1, true);
}

static void draining_is_bounded(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0xa, 10);
    deliver(server, 5, 2, false);
    assert_false(offer(server, true, &offered));
    assert_false(offer(server, false, &offered));
    credit(server, 5, 10, 1 << 20);
    wait(server, WEIR_ALONE_WAIT_MS - 1);
    credit(server, 5, 10, 1 << 20);
    assert_false(offer(server, false, &offered));
    server->told[0] = '\0';
    wait(server, 1);
    assert_told(server, "room email\n");
    assert_false(offer(server, true, &offered)); /* in peace for now */
    assert_true(offer(server, false, &offered));
    assert_int_equal(offered.messages, 8);
}

static void a_router_takes_a_few_suspects(void **state)
{
    struct server *server = *state;
    struct weir_offer offered;
    worker(server, 5, 0, 100);
    deliver(server, 5, 50, false);
    for (uint32_t i = 0; i < WEIR_ALONE_ROUTER_MAX; i++) {
        assert_true(offer(server, true, &offered));
        assert_true(offered.router);
        assert_int_equal(offered.messages, 1);
        deliver(server, 5, 1, true);
    }
    assert_false(offer(server, true, &offered));
    assert_true(offer(server, false, &offered));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
