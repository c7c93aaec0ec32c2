/* Bugs of dispatch's server side, each with its number. */
#include <script.h>

#include <core/dispatch.h>
#include <stdlib.h>

#define GROUP "email"
#define PORT WEIR_PORT_DISPATCH
#define PEER 5
#define WORKER 0xa

struct server {
    struct script script;
    struct weir_dispatch *dispatch;
    uint64_t released; /* messages */
    uint64_t delivery; /* the newest */
};

/* The owner has nothing to do with it. */
static void on_group(void *self, const char *group, const struct weir_now *now)
{
    (void)self, (void)group, (void)now;
}

static void on_control(void *self, uint64_t peer, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)self, (void)peer, (void)control, (void)now;
}

static void on_lost(void *self, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    (void)self, (void)worker, (void)leases, (void)now;
    fail_msg("%s is lost, with %u leases", name, count);
}

static void on_released(void *self, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    struct server *server = self;
    (void)now;
    for (uint32_t i = 0; i < count; i++)
        server->released += leases[i].count;
}

static int setup(void **state)
{
    struct server *server = weir_zalloc(1, sizeof *server);
    script_init(&server->script);
    const struct weir_dispatch_owner owner = {.self = server,
                                              .room = on_group,
                                              .ack = on_control,
                                              .beat = on_control,
                                              .lost = on_lost,
                                              .released = on_released};
    const struct weir_dispatch_config config = {.name = "hub", .role = "router", .port = PORT};
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

static void take(void *arg, struct weir_event *event)
{
    weir_dispatch_event(arg, event);
}

static void say(struct server *server, const struct weir_control *control)
{
    script_say(&server->script, PORT, PEER, control, NULL, take, server->dispatch);
}

static void beat(struct server *server, struct weir_lease_ref *leases, uint32_t count)
{
    struct weir_control control =
        control_leases(WEIR_VERB_HEARTBEAT, count ? WORKER : 0, leases, count);
    WEIR_SET(&control, serial, SERIAL, 1);
    say(server, &control);
}

static bool takes_a_suspect(struct server *server)
{
    struct weir_offer offer;
    return weir_dispatch_offer(server->dispatch, GROUP, true, &server->script.now, &offer);
}

/* 1: after the cable of its host was mended, a worker said READY and named messages whose leases
 * had ended meanwhile. It heard so from the echo of its first beat and named them no more, but they
 * were noted as held by it for twice the longest lease, a minute: so long it was never idle here,
 * and no suspect could be sent to it, though it had nothing to do. */
static void test_what_a_worker_names_no_more_it_does_not_hold(void **state)
{
    struct server *server = *state;
    struct weir_lease_ref held[] = {{INCARNATION, 7, 0, 4}, {INCARNATION, 8, 0, 1}};
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    WEIR_SET(&ready, leases, LEASES, held);
    ready.lease_count = 2;
    say(server, &ready);
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    say(server, &credit);
    beat(server, held, 2);
    assert_false(takes_a_suspect(server));

    /* One of them is still named: that one it has, however long it takes. */
    for (int i = 0; i < 5; i++) {
        script_wait(&server->script, WEIR_HEARTBEAT_MS);
        beat(server, held + 1, 1);
    }
    assert_false(takes_a_suspect(server));
    for (int i = 0; i < 3; i++) {
        script_wait(&server->script, WEIR_HEARTBEAT_MS);
        beat(server, NULL, 0);
    }
    assert_true(takes_a_suspect(server));
}

/* What was sent and is still on a slow wire is in no beat yet: that says nothing. */
static void test_what_was_never_named_may_be_on_its_way(void **state)
{
    struct server *server = *state;
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_slice_info slice = {.count = 1, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control deliver = control_deliver(GROUP, INCARNATION, 9, &slice, 1);
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    struct weir_frames frames = {0};
    say(server, &ready);
    say(server, &credit);
    script_slice(&frames, 1, 1, 0, NULL);
    weir_dispatch_deliver(server->dispatch, PEER, &deliver, &frames, &server->script.now);
    for (int i = 0; i < 5; i++) {
        script_wait(&server->script, WEIR_HEARTBEAT_MS);
        beat(server, NULL, 0);
    }
    assert_false(takes_a_suspect(server));
}

/* 2: a worker's connection broke right after its READY, and before that was read here its next one
 * stood and had said READY, too. ZeroMQ keeps the order on a connection only: the new READY was
 * read first, the old one took the session from it, and what the worker was running was handed out
 * again. */
static void test_a_ready_that_is_read_late_takes_no_session(void **state)
{
    struct server *server = *state;
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    WEIR_SET(&ready, serial, SERIAL, 2);
    say(server, &ready);
    WEIR_SET(&ready, serial, SERIAL, 1);
    script_say(&server->script, PORT, PEER - 1, &ready, NULL, take, server->dispatch);
    script_expect(&server->script, PORT, PEER, WEIR_VERB_WELCOME);
    script_expect_nothing(&server->script);
    beat(server, NULL, 0);
    script_expect(&server->script, PORT, PEER, WEIR_VERB_HEARTBEAT);
    WEIR_SET(&ready, serial, SERIAL, 3);
    script_say(&server->script, PORT, PEER + 1, &ready, NULL, take, server->dispatch);
    script_expect(&server->script, PORT, PEER + 1, WEIR_VERB_WELCOME);
}

/* 3: a busy worker with much credit left came before an idle one with little. Only the idle one
 * takes a message of any size, so one larger than any credit waited as long as the others were
 * busy. */
static void test_an_idle_worker_comes_before_a_busy_one(void **state)
{
    struct server *server = *state;
    struct weir_slice_info slice = {.count = 1, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control deliver = control_deliver(GROUP, INCARNATION, 9, &slice, 1);
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control much = control_credit(GROUP, 100, 1 << 20);
    struct weir_control little = control_credit(GROUP, 1, 10);
    struct weir_frames frames = {0};
    struct weir_offer offer;
    say(server, &ready);
    say(server, &much);
    script_slice(&frames, 1, 1, 0, NULL);
    weir_dispatch_deliver(server->dispatch, PEER, &deliver, &frames, &server->script.now);
    ready = control_ready("worker", WORKER + 1, "lena");
    script_say(&server->script, PORT, PEER + 1, &ready, NULL, take, server->dispatch);
    script_say(&server->script, PORT, PEER + 1, &little, NULL, take, server->dispatch);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    assert_int_equal(offer.peer, PEER + 1);
    assert_true(offer.whole);
}

/* 4: a worker whose connection broke held more than one READY can name. What the list had no room
 * for counted as lost on the wire: it was given back, and another worker started what the first one
 * was running, in a group that starts a message at most once, too. (Simulator with small limits,
 * seed 475.) */
static void test_what_a_full_ready_leaves_out_is_held(void **state)
{
    struct server *server = *state;
    struct weir_slice_info slice = {.count = 1, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control deliver = control_deliver(GROUP, INCARNATION, 9, &slice, 1);
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    struct weir_frames frames = {0};
    struct weir_lease_ref *held = weir_zalloc(WEIR_LEASES_MAX, sizeof *held);
    for (uint32_t i = 0; i < WEIR_LEASES_MAX; i++)
        held[i] = (struct weir_lease_ref){INCARNATION, 100 + i, 0, 1};
    say(server, &ready);
    say(server, &credit);
    script_slice(&frames, 1, 1, 0, NULL);
    weir_dispatch_deliver(server->dispatch, PEER, &deliver, &frames, &server->script.now);

    WEIR_SET(&ready, leases, LEASES, held);
    ready.lease_count = WEIR_LEASES_MAX;
    script_say(&server->script, PORT, PEER + 1, &ready, NULL, take, server->dispatch);
    script_wait(&server->script, 2 * WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(server->dispatch, &server->script.now);
    assert_int_equal(server->released, 0);

    /* One that has room for more, and leaves it out, gives it back. */
    ready.lease_count = WEIR_LEASES_MAX - 1;
    script_say(&server->script, PORT, PEER + 2, &ready, NULL, take, server->dispatch);
    script_wait(&server->script, 2 * WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(server->dispatch, &server->script.now);
    assert_int_equal(server->released, 2);
    free(held);
}

/* 5: a worker said BYE and closed its connection. The connection's end became known before the BYE
 * was read, for there was much to read, and the BYE was thrown away: what the worker had given back
 * became suspects, as after a crash. */
static void test_a_bye_counts_behind_the_end_of_its_connection(void **state)
{
    struct server *server = *state;
    struct weir_slice_info slice = {.count = 1, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control deliver = control_deliver(GROUP, INCARNATION, 9, &slice, 1);
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    struct weir_control bye = {.verb = WEIR_VERB_BYE};
    struct weir_frames frames = {0};
    say(server, &ready);
    say(server, &credit);
    script_slice(&frames, 1, 1, 0, NULL);
    weir_dispatch_deliver(server->dispatch, PEER, &deliver, &frames, &server->script.now);
    script_event(&server->script, WEIR_EVENT_PEER_GONE, PORT, PEER, take, server->dispatch);
    say(server, &bye);
    assert_int_equal(server->released, 1);
    script_wait(&server->script, WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(server->dispatch, &server->script.now); /* on_lost fails */
}

/* 6: a group was removed, and whoever served it heard so from the answer to its next CREDIT, after
 * which its credit is void. Here it still stood: when the group was made anew, more was sent than
 * the worker had allowed. Behind a router all workers were told of it, with the same end. */
static void test_with_a_group_goes_the_credit_for_it(void **state)
{
    struct server *server = *state;
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    struct weir_offer offer;
    WEIR_SET(&credit, serial, SERIAL, 8);
    say(server, &ready);
    say(server, &credit);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    weir_dispatch_refuse(server->dispatch, GROUP, "is gone");
    const struct sent *sent = script_find(&server->script, PORT, PEER, WEIR_VERB_ERROR);
    assert_non_null(sent);
    assert_text(&sent->control.code, WEIR_CODE_GROUP);
    assert_text(&sent->control.group, GROUP);
    assert_true(WEIR_HAS(&sent->control, SERIAL));
    assert_int_equal(sent->control.serial, 8);
    assert_false(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));

    WEIR_SET(&credit, serial, SERIAL, 9);
    say(server, &credit);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    assert_int_equal(offer.messages, 10);
}

/* 8: a worker took credit back when what it had granted was just being voided, with its group. The
 * limit was no lower than what was left, so nothing was answered, and the ERROR was about an older
 * CREDIT: it waited for CREDITED for ever, and lent nothing more. (Simulator, seeds 612129 and
 * 711384.) */
static void test_credit_taken_back_as_it_is_voided_is_confirmed(void **state)
{
    struct server *server = *state;
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control credit = control_credit(GROUP, 10, 1 << 20);
    WEIR_SET(&credit, serial, SERIAL, 8);
    say(server, &ready);
    say(server, &credit);
    weir_dispatch_refuse(server->dispatch, GROUP, "is gone");
    credit = control_credit(GROUP, 0, 0);
    WEIR_SET(&credit, serial, SERIAL, 9);
    say(server, &credit);
    const struct sent *sent = script_find(&server->script, PORT, PEER, WEIR_VERB_CREDITED);
    assert_non_null(sent);
    assert_int_equal(sent->control.serial, 9);
}

static uint64_t deliver(struct server *server, uint64_t peer, uint32_t count)
{
    struct weir_slice_info slice = {.count = count, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control control =
        control_deliver(GROUP, INCARNATION, ++server->delivery, &slice, 1);
    struct weir_frames frames = {0};
    script_slice(&frames, 1, count, 0, NULL);
    weir_dispatch_deliver(server->dispatch, peer, &control, &frames, &server->script.now);
    return server->delivery;
}

static void ack(struct server *server, uint64_t delivery, uint32_t count, uint32_t outcome)
{
    struct weir_ack item = ack_of(INCARNATION, delivery, 0, count, outcome);
    struct weir_control control = control_ack(GROUP, &item, 1);
    say(server, &control);
}

/* READY and CREDIT of the worker on a connection, with what it holds. */
static void begin(struct server *server, uint64_t peer, struct weir_lease_ref *held, uint32_t count)
{
    struct weir_control ready = control_ready("worker", WORKER, "kate");
    struct weir_control credit = control_credit(GROUP, 100, 1 << 20);
    WEIR_SET(&ready, leases, LEASES, held);
    ready.lease_count = count;
    script_say(&server->script, PORT, peer, &ready, NULL, take, server->dispatch);
    script_say(&server->script, PORT, peer, &credit, NULL, take, server->dispatch);
}

/* The worker fails so often that its breaker opens, and is sent a probe. Returns the delivery. */
static uint64_t probe(struct server *server)
{
    struct weir_offer offer;
    begin(server, PEER, NULL, 0);
    ack(server, deliver(server, PEER, WEIR_BREAKER_OUTCOMES_MIN), WEIR_BREAKER_OUTCOMES_MIN,
        WEIR_RETRY);
    assert_false(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    script_wait(&server->script, WEIR_BREAKER_FIRST_MS);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    assert_int_equal(offer.messages, 1);
    return deliver(server, PEER, 1);
}

/* Nothing is offered to `peer` until the interval is over; then one message is. */
static void assert_probed_again(struct server *server, uint64_t peer)
{
    struct weir_offer offer;
    assert_false(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    script_wait(&server->script, WEIR_BREAKER_FIRST_MS);
    weir_dispatch_tick(server->dispatch, &server->script.now);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    assert_int_equal(offer.peer, peer);
    assert_int_equal(offer.messages, 1);
}

/* 7: the connection of a worker whose breaker was open broke, and with it the ack of the probe was
 * lost. The worker came back and did not name the probe. That was given back with the old session,
 * but the breaker was with the new one: it waited for the probe's outcome, and the worker, the only
 * one of its group, was sent nothing ever again. (Simulator, seed 242695.) */
static void test_a_probe_that_a_reconnect_loses_is_lost(void **state)
{
    struct server *server = *state;
    probe(server);
    begin(server, PEER + 1, NULL, 0);
    script_wait(&server->script, WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(server->dispatch, &server->script.now);
    assert_int_equal(server->released, 1);
    assert_probed_again(server, PEER + 1);
}

/* 7: the same when the ack was not lost, but read after the worker's new READY. */
static void test_a_probe_may_be_answered_on_the_old_connection(void **state)
{
    struct server *server = *state;
    struct weir_offer offer;
    uint64_t delivery = probe(server);
    begin(server, PEER + 1, NULL, 0);
    ack(server, delivery, 1, WEIR_DONE);
    assert_true(weir_dispatch_offer(server->dispatch, GROUP, false, &server->script.now, &offer));
    assert_int_equal(offer.peer, PEER + 1);
    assert_int_equal(offer.messages, 100);
}

/* 7: the same when the worker names it after the reconnect, and not in the READY after that. */
static void test_a_probe_that_is_named_no_more_is_lost(void **state)
{
    struct server *server = *state;
    struct weir_lease_ref held = {INCARNATION, probe(server), 0, 1};
    begin(server, PEER + 1, &held, 1);
    begin(server, PEER + 1, NULL, 0);
    assert_probed_again(server, PEER + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_a_worker_names_no_more_it_does_not_hold, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_was_never_named_may_be_on_its_way, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_with_a_group_goes_the_credit_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_credit_taken_back_as_it_is_voided_is_confirmed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_idle_worker_comes_before_a_busy_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_bye_counts_behind_the_end_of_its_connection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_ready_that_is_read_late_takes_no_session, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_a_full_ready_leaves_out_is_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_that_a_reconnect_loses_is_lost, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_may_be_answered_on_the_old_connection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_probe_that_is_named_no_more_is_lost, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
