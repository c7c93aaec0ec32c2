/* A random life of a dispatch server beside a simple model of it: who holds which message, and how
 * much each session may be sent. Breakers open and close by the way. */
#include "script.h"

#include <base/random.h>
#include <core/dispatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT WEIR_PORT_DISPATCH
#define WORKERS 5u
#define MESSAGES_MAX 40000u
#define STEPS 6000u

enum place { NOWHERE, HELD, BACK }; /* BACK: told as ended, lost or released */

struct message {
    uint64_t delivery;
    uint32_t index;
    uint32_t worker;
    enum place place;
    bool in_flight; /* sent on a connection that broke before it was read */
};

struct actor {
    uint64_t peer; /* 0: not connected */
    uint64_t limit_messages, limit_bytes, sent_messages, sent_bytes;
    uint64_t outstanding;
};

struct world {
    struct script script;
    struct weir_dispatch *dispatch;
    struct weir_random random;
    struct actor actors[WORKERS];
    bool broken[WORKERS];     /* nothing that it finishes succeeds */
    struct message *messages; /* by number - 1 */
    uint32_t message_count;
    uint64_t delivery, peer;
    uint64_t held, lost, released, acked;
};

static uint32_t below(struct world *world, uint32_t limit)
{
    return (uint32_t)weir_random_below(&world->random, limit);
}

/* ---- what the owner is told ---- */

static void come_back(struct world *world, const struct weir_lease_ref *leases, uint32_t count,
                      uint64_t *counter)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t m = 0; m < world->message_count; m++) {
            struct message *message = &world->messages[m];
            if (message->delivery != leases[i].delivery || message->index < leases[i].first ||
                message->index >= leases[i].first + leases[i].count)
                continue;
            assert_int_equal(message->place, HELD); /* once only */
            message->place = BACK;
            world->held--;
            (*counter)++;
        }
}

static void on_lost(void *self, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    struct world *world = self;
    (void)name, (void)now;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t m = 0; m < world->message_count; m++)
            if (world->messages[m].delivery == leases[i].delivery &&
                world->messages[m].index == leases[i].first)
                assert_int_equal(world->messages[m].worker + 1, worker);
    come_back(world, leases, count, &world->lost);
}

static void on_released(void *self, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    struct world *world = self;
    (void)now;
    come_back(world, leases, count, &world->released);
}

static void on_control(void *self, uint64_t peer, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)self, (void)peer, (void)control, (void)now;
}

static void on_room(void *self, const char *group, const struct weir_now *now)
{
    (void)self, (void)now;
    assert_string_equal(group, "g");
}

static void take(void *arg, struct weir_event *event)
{
    weir_dispatch_event(arg, event);
}

static void say(struct world *world, uint64_t peer, const struct weir_control *control)
{
    script_say(&world->script, PORT, peer, control, NULL, take, world->dispatch);
}

/* ---- steps ---- */

static void connect_worker(struct world *world, uint32_t w)
{
    struct actor *actor = &world->actors[w];
    struct weir_lease_ref leases[256];
    uint32_t count = 0;
    /* It names what it holds, unless that was lost on the wire. */
    for (uint32_t m = 0; m < world->message_count && count < 256; m++) {
        struct message *message = &world->messages[m];
        if (message->place == HELD && message->worker == w && !message->in_flight)
            leases[count++] =
                (struct weir_lease_ref){INCARNATION, message->delivery, message->index, 1};
    }
    struct weir_control ready = control_ready("worker", w + 1, "w");
    WEIR_SET(&ready, leases, LEASES, leases);
    ready.lease_count = count;
    *actor = (struct actor){.peer = ++world->peer, .outstanding = count};
    say(world, actor->peer, &ready);
    script_expect(&world->script, PORT, actor->peer, WEIR_VERB_WELCOME);
}

static void disconnect_worker(struct world *world, uint32_t w)
{
    struct actor *actor = &world->actors[w];
    bool told = below(world, 2);
    for (uint32_t m = 0; m < world->message_count; m++) {
        struct message *message = &world->messages[m];
        if (message->place == HELD && message->worker == w && below(world, 3) == 0)
            message->in_flight = true;
    }
    if (told)
        script_event(&world->script, WEIR_EVENT_PEER_GONE, PORT, actor->peer, take,
                     world->dispatch);
    actor->peer = 0;
    if (below(world, 2) || !told) { /* back at once: nothing is lost but what was in flight */
        connect_worker(world, w);
        return;
    }
    script_wait(&world->script, WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(world->dispatch, &world->script.now);
    for (uint32_t m = 0; m < world->message_count; m++)
        assert_false(world->messages[m].place == HELD && world->messages[m].worker == w);
}

static void grant(struct world *world, uint32_t w, uint32_t more_messages, uint32_t more_bytes)
{
    struct actor *actor = &world->actors[w];
    uint64_t messages = actor->sent_messages + more_messages;
    uint64_t bytes = actor->sent_bytes + more_bytes;
    bool lowers = messages < actor->limit_messages || bytes < actor->limit_bytes;
    struct weir_control credit = control_credit("g", messages, bytes);
    actor->limit_messages = messages;
    actor->limit_bytes = bytes;
    script_forget(&world->script);
    say(world, actor->peer, &credit);
    if (!lowers) {
        script_expect_nothing(&world->script);
        return;
    }
    struct sent *sent = script_expect(&world->script, PORT, actor->peer, WEIR_VERB_CREDITED);
    assert_int_equal(sent->control.messages, actor->sent_messages);
    assert_int_equal(sent->control.bytes, actor->sent_bytes);
}

static struct actor *actor_of(struct world *world, uint64_t peer)
{
    for (uint32_t w = 0; w < WORKERS; w++)
        if (world->actors[w].peer == peer)
            return &world->actors[w];
    fail_msg("offered a peer that is not there");
    return NULL;
}

static void work(struct world *world)
{
    struct weir_offer offer;
    if (!weir_dispatch_offer(world->dispatch, "g", below(world, 16) == 0, &world->script.now,
                             &offer))
        return;
    struct actor *actor = actor_of(world, offer.peer);
    assert_in_range(offer.messages, 1, actor->limit_messages - actor->sent_messages);
    assert_int_equal(offer.whole, actor->outstanding == 0);
    if (actor->limit_bytes > actor->sent_bytes)
        assert_in_range(offer.bytes, 0, actor->limit_bytes - actor->sent_bytes);
    else
        assert_int_equal(offer.bytes, 0);
    uint32_t count = 1 + below(world, offer.messages);
    struct weir_frames frames = {0};
    uint32_t first = world->message_count + 1;
    script_slice(&frames, first, count, 0, NULL);
    uint64_t bytes = frames.at[1].size + frames.at[2].size;
    if (bytes > offer.bytes && !(count == 1 && offer.whole)) {
        weir_frames_drop(&frames);
        return;
    }
    uint32_t gap = below(world, 3);
    struct weir_slice_info slice = {
        .index = gap, .count = count, .sequence = first, .time_ms = 1, .attempt = 1};
    struct weir_control control = control_deliver("g", INCARNATION, ++world->delivery, &slice, 1);
    weir_dispatch_deliver(world->dispatch, offer.peer, &control, &frames, &world->script.now);
    for (uint32_t i = 0; i < count; i++)
        world->messages[world->message_count++] =
            (struct message){.delivery = world->delivery,
                             .index = gap + i,
                             .worker = (uint32_t)(actor - world->actors),
                             .place = HELD};
    actor->sent_messages += count;
    actor->sent_bytes += bytes;
    actor->outstanding += count;
    world->held += count;
}

/* Ack a random run of what a worker holds. */
static void finish(struct world *world, uint32_t w)
{
    struct actor *actor = &world->actors[w];
    uint32_t from = below(world, world->message_count + 1), length = 1 + below(world, 20);
    struct weir_ack acks[20];
    uint32_t count = 0;
    for (uint32_t m = from; m < world->message_count && count < length; m++) {
        struct message *message = &world->messages[m];
        if (message->worker != w || message->place != HELD || message->in_flight)
            continue;
        acks[count++] = ack_of(INCARNATION, message->delivery, message->index, 1,
                               world->broken[w] ? WEIR_RETRY : WEIR_DONE);
        message->place = BACK;
        world->held--;
        world->acked++;
        actor->outstanding--;
    }
    if (count == 0)
        return;
    if (count > 1)
        acks[count - 1].outcome = WEIR_RELEASE;
    struct weir_control control = control_ack("g", acks, count);
    say(world, actor->peer, &control);
}

static void finish_all(struct world *world)
{
    while (world->held > 0)
        finish(world, below(world, WORKERS));
}

/* All come back, in order again, and finish what they hold. Whatever their breakers waited for, one
 * probe each later all their credit is offered. */
static void assert_nobody_is_stuck(struct world *world)
{
    uint64_t messages, bytes;
    memset(world->broken, 0, sizeof world->broken);
    for (uint32_t w = 0; w < WORKERS; w++)
        connect_worker(world, w);
    script_wait(&world->script, WEIR_LOSS_GRACE_MS);
    weir_dispatch_tick(world->dispatch, &world->script.now);
    finish_all(world);
    for (uint32_t round = 0; round <= WORKERS; round++) {
        script_wait(&world->script, WEIR_BREAKER_LAST_MS);
        for (uint32_t w = 0; w < WORKERS; w++)
            grant(world, w, 1, 100);
        weir_dispatch_tick(world->dispatch, &world->script.now);
        weir_dispatch_room(world->dispatch, "g", &messages, &bytes);
        assert_true(messages > 0);
        work(world);
        finish_all(world);
    }
    assert_int_equal(messages, WORKERS);
}

static void live(uint64_t seed)
{
    struct world world = {0};
    script_init(&world.script);
    weir_random_seed(&world.random, seed);
    world.messages = weir_zalloc(MESSAGES_MAX, sizeof *world.messages);
    const struct weir_dispatch_owner owner = {.self = &world,
                                              .room = on_room,
                                              .ack = on_control,
                                              .beat = on_control,
                                              .begin = on_control,
                                              .extend = on_control,
                                              .lost = on_lost,
                                              .released = on_released,
                                              .join = on_control};
    const struct weir_dispatch_config config = {
        .name = "v", .role = "ventilator", .incarnation = INCARNATION, .port = PORT};
    world.dispatch = weir_dispatch_new(&config, &owner, &world.script.host, seed);
    for (uint32_t step = 0; step < STEPS && world.message_count < MESSAGES_MAX - 64; step++) {
        uint32_t w = below(&world, WORKERS), what = below(&world, 100);
        struct actor *actor = &world.actors[w];
        if (below(&world, 500) == 0)
            world.broken[w] = !world.broken[w];
        if (actor->peer == 0)
            connect_worker(&world, w);
        else if (what < 1)
            disconnect_worker(&world, w);
        else if (what < 25)
            grant(&world, w, below(&world, 30), below(&world, 300));
        else if (what < 55)
            work(&world);
        else
            finish(&world, w);
        script_forget(&world.script);
        script_wait(&world.script, below(&world, 20));
        weir_dispatch_tick(world.dispatch, &world.script.now);
        script_forget(&world.script);
        assert_int_equal(weir_dispatch_outstanding(world.dispatch), world.held);
    }
    assert_nobody_is_stuck(&world);
    assert_true(world.acked > 1000 && world.lost > 0 && world.released > 0);
    weir_dispatch_destroy(&world.dispatch);
    script_fini(&world.script);
    free(world.messages);
}

static void credit_and_holdings_agree_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        live(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(credit_and_holdings_agree_with_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
