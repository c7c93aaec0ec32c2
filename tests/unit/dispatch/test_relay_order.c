/* How the router splits deliveries whose messages must stay in order by key. */
#include "script.h"

#include <core/roles.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "email"
#define DOWN WEIR_PORT_DISPATCH
#define UP WEIR_PORT_FROM
#define MESSAGES_MAX 600u

struct router {
    struct script script;
    struct weir_role *role;
};

static void take(void *arg, struct weir_event *event)
{
    weir_role_step(arg, event);
}

static void say(struct router *router, uint32_t port, uint64_t peer,
                const struct weir_control *control)
{
    script_say(&router->script, port, peer, control, NULL, take, router->role);
}

static void credit(struct router *router, uint64_t peer, uint64_t messages)
{
    struct weir_control control = control_credit(GROUP, messages, 1 << 20);
    script_forget(&router->script);
    say(router, DOWN, peer, &control);
}

static int setup(void **state)
{
    struct router *router = weir_zalloc(1, sizeof *router);
    script_init(&router->script);
    const struct weir_relay_config config = {.name = "hub", .upstream_count = 1};
    router->role = weir_relay_new(&config, &router->script.host, 1);
    script_event(&router->script, WEIR_EVENT_LINK_UP, UP, 0, take, router->role);
    struct weir_control welcome = control_welcome("ventilator", INCARNATION);
    say(router, UP, 0, &welcome);
    *state = router;
    return 0;
}

static int teardown(void **state)
{
    struct router *router = *state;
    weir_role_destroy(&router->role);
    script_fini(&router->script);
    free(router);
    return 0;
}

static void worker(struct router *router, uint64_t peer, uint64_t messages)
{
    struct weir_control ready = control_ready("worker", peer, "kate");
    say(router, DOWN, peer, &ready);
    credit(router, peer, messages);
}

/* A worker whose credit is lent, and that is gone before the ventilator uses it. */
static void gone_worker(struct router *router, uint64_t messages)
{
    worker(router, 9, messages);
    script_event(&router->script, WEIR_EVENT_PEER_GONE, DOWN, 9, take, router->role);
}

/* A delivery with these keys, one character a message ('-': none); message n has sequence and
 * number n, from 1. */
static void deliver(struct router *router, const char *keys)
{
    uint32_t count = (uint32_t)strlen(keys);
    uint64_t hashes[MESSAGES_MAX];
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = keys[i] == '-' ? 0 : (uint64_t)keys[i] << 40;
    /* In two slices, so that runs cross a border. */
    uint32_t half = count / 2;
    struct weir_slice_info slices[] = {
        {.index = 0, .count = half, .sequence = 1, .time_ms = 1, .attempt = 1},
        {.index = half, .count = count - half, .sequence = 1 + half, .time_ms = 1, .attempt = 1}};
    struct weir_frames frames = {0};
    script_slice(&frames, 1, half, 0, hashes);
    script_slice(&frames, 1 + half, count - half, 0, hashes + half);
    struct weir_control control = control_deliver(GROUP, INCARNATION, 1, slices, 2);
    WEIR_SET(&control, ordered, ORDERED, 1);
    script_forget(&router->script);
    script_say(&router->script, UP, 0, &control, &frames, take, router->role);
}

/* The peer's next DELIVER holds these, as their places in the delivery: "0 3 4". */
static void expect(struct router *router, uint64_t peer, const char *places)
{
    struct sent *sent = script_find(&router->script, DOWN, peer, WEIR_VERB_DELIVER);
    uint64_t numbers[MESSAGES_MAX];
    char got[1024] = "";
    assert_non_null(sent);
    assert_int_equal(sent->control.ordered, 1);
    uint32_t count = script_numbers(sent, numbers, MESSAGES_MAX);
    for (uint32_t i = 0, s = 0, left = 0; i < count; i++, left--) {
        if (left == 0) {
            /* Index and sequence go together. */
            assert_int_equal(sent->control.slices[s].index + 1, numbers[i]);
            left = sent->control.slices[s++].count;
        }
        size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s%u", used ? " " : "", (unsigned)numbers[i] - 1);
    }
    assert_string_equal(got, places);
}

static void expect_no_deliver(struct router *router)
{
    struct sent *sent;
    while ((sent = script_next(&router->script)))
        assert_int_not_equal(sent->control.verb, WEIR_VERB_DELIVER);
}

static void ack(struct router *router, uint64_t peer, uint32_t first, uint32_t count,
                uint32_t outcome)
{
    struct weir_ack entry = ack_of(INCARNATION, 1, first, count, outcome);
    struct weir_control control = control_ack(GROUP, &entry, 1);
    script_forget(&router->script);
    say(router, DOWN, peer, &control);
}

static void expect_given_back(struct router *router, uint32_t first, uint32_t count)
{
    struct sent *sent;
    do
        sent = script_find(&router->script, UP, 0, WEIR_VERB_ACK);
    while (sent && sent->control.acks[0].outcome != WEIR_RELEASE);
    assert_non_null(sent);
    assert_int_equal(sent->control.acks[0].lease.first, first);
    assert_int_equal(sent->control.acks[0].lease.count, count);
}

static void what_fits_one_worker_is_not_split(void **state)
{
    struct router *router = *state;
    worker(router, 5, 6);
    deliver(router, "abcabc");
    expect(router, 5, "0 1 2 3 4 5");
    expect_no_deliver(router);
}

static void a_key_goes_to_one_worker(void **state)
{
    struct router *router = *state;
    worker(router, 5, 4);
    worker(router, 6, 3);
    deliver(router, "abcabca");
    expect(router, 5, "0 3 6");
    expect(router, 6, "1 4");
    expect(router, 6, "2"); /* no room for both, and nothing else to use it for */
    expect_no_deliver(router);
    credit(router, 5, 6);
    expect_no_deliver(router);
    ack(router, 6, 2, 1, WEIR_DONE);
    expect(router, 5, "5");
}

static void messages_without_a_key_go_anywhere(void **state)
{
    struct router *router = *state;
    worker(router, 5, 3);
    worker(router, 6, 3);
    deliver(router, "a--a--");
    expect(router, 5, "0 1 3");
    expect(router, 6, "2 4 5");
}

static void a_hot_key_waits_for_what_is_ahead(void **state)
{
    struct router *router = *state;
    worker(router, 5, 3);
    worker(router, 6, 3);
    deliver(router, "aaaaab");
    expect(router, 5, "0 1 2");
    expect(router, 6, "5");
    credit(router, 5, 10);
    expect_no_deliver(router); /* although there is room */
    ack(router, 5, 0, 2, WEIR_DONE);
    expect_no_deliver(router);
    ack(router, 5, 2, 1, WEIR_REJECT); /* dead: finished, too */
    expect(router, 5, "3 4");
}

static void what_is_behind_a_failure_is_given_back(void **state)
{
    struct router *router = *state;
    worker(router, 5, 3);
    worker(router, 6, 3);
    deliver(router, "aaaaab");
    ack(router, 5, 0, 1, WEIR_DONE);
    expect_no_deliver(router);
    ack(router, 5, 1, 1, WEIR_RETRY);
    expect_given_back(router, 3, 2);
    credit(router, 5, 10);
    expect_no_deliver(router);
}

static void what_is_behind_a_lost_worker_is_given_back(void **state)
{
    struct router *router = *state;
    worker(router, 5, 3);
    worker(router, 6, 3);
    deliver(router, "aaaaab");
    script_event(&router->script, WEIR_EVENT_PEER_GONE, DOWN, 5, take, router->role);
    script_forget(&router->script);
    script_wait(&router->script, WEIR_LOSS_GRACE_MS);
    script_event(&router->script, WEIR_EVENT_TIMER, 0, 0, take, router->role);
    assert_non_null(script_find(&router->script, UP, 0, WEIR_VERB_LOST));
    expect_given_back(router, 3, 2);
}

static void other_keys_pass_a_waiting_one(void **state)
{
    struct router *router = *state;
    worker(router, 5, 2);
    worker(router, 6, 1);
    gone_worker(router, 3);
    deliver(router, "aaabcd");
    expect(router, 5, "0 1");
    expect(router, 6, "3");
    credit(router, 6, 3);
    expect(router, 6, "4 5");
    ack(router, 5, 0, 2, WEIR_DONE);
    expect_no_deliver(router);
    credit(router, 5, 3);
    expect(router, 5, "2");
}

/* Alternating keys make a slice of every message; a DELIVER has a limit of them. */
static void slices_are_bounded(void **state)
{
    struct router *router = *state;
    char keys[MESSAGES_MAX + 1] = {0};
    for (uint32_t i = 0; i < MESSAGES_MAX; i++)
        keys[i] = i % 2 ? 'x' : 'y';
    worker(router, 5, 320);
    gone_worker(router, MESSAGES_MAX - 320);
    deliver(router, keys);
    struct sent *sent = script_find(&router->script, DOWN, 5, WEIR_VERB_DELIVER);
    assert_int_equal(sent->control.slice_count, WEIR_SLICES_MAX);
    for (uint32_t i = 0; i < WEIR_SLICES_MAX; i++)
        assert_int_equal(sent->control.slices[i].index, 2 * i);
    sent = script_find(&router->script, DOWN, 5, WEIR_VERB_DELIVER);
    assert_int_equal(sent->control.slice_count, 320 - WEIR_SLICES_MAX);
    assert_int_equal(sent->control.slices[0].index, 1);
    expect_no_deliver(router);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_fits_one_worker_is_not_split),
        TEST(a_key_goes_to_one_worker),
        TEST(messages_without_a_key_go_anywhere),
        TEST(a_hot_key_waits_for_what_is_ahead),
        TEST(what_is_behind_a_failure_is_given_back),
        TEST(what_is_behind_a_lost_worker_is_given_back),
        TEST(other_keys_pass_a_waiting_one),
        TEST(slices_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
