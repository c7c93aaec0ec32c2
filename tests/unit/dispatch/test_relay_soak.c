/* Ventilators above a router, or above two in a row, workers below, and a network between them that
 * breaks: a random life, beside a model that knows what may happen.
 *
 *   - a message of a delivery is given to one worker at most, once;
 *   - no worker gets more than it asked for;
 *   - with an order by key, none is begun before the one ahead of it has been finished once;
 *   - when the faults end, everything is done.
 *
 * The ventilators' side is the real dispatch and the workers' the real session; what each would do
 * with the messages is played here. */
#include "script.h"

#include <base/random.h>
#include <core/dispatch.h>
#include <core/roles.h>
#include <core/session.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "g"
#define VENTILATORS 2u
#define WORKERS 4u
#define ROUTERS 2u /* the lower one, and the upper one where there are two */
/* Links: a worker's to the lower router; the lower router's to the upper one; and of the router
 * that is uppermost to each ventilator. */
#define MIDDLE WORKERS
#define UPPER (WORKERS + 1u)
#define LINKS (UPPER + VENTILATORS)
#define MESSAGES 3000u /* a ventilator */
#define QUEUE_MAX 4096u
#define KEYS 11u
#define DELIVERIES_MAX 200000u

struct queue { /* messages on their way */
    struct weir_frames at[QUEUE_MAX];
    uint32_t head, count;
};

struct link { /* the client's end and the server's */
    bool up;
    uint64_t peer; /* the client's number at the server, in this connection */
    struct queue to_server, to_client;
    int64_t back_ns;
};

enum state { WAITING, LEASED, DONE };

struct message { /* as its ventilator knows it */
    enum state state;
    uint64_t delivery;
    uint32_t index;
    int64_t deadline_ns;
    bool run; /* some worker has finished it, whether or not its ack has arrived */
};

struct ventilator {
    struct world *world;
    uint32_t number;
    uint64_t incarnation;
    struct weir_dispatch *dispatch;
    struct message messages[MESSAGES];
    uint32_t done;
    bool ordered;
    uint64_t delivery;
};

struct job { /* as its worker knows it */
    uint64_t incarnation, delivery, serial;
    uint32_t index, sequence;
    bool failed; /* the one ahead of it failed: to be given back */
};

struct worker {
    struct world *world;
    uint32_t number;
    uint64_t name;
    struct weir_session *session;
    struct job jobs[64];
    uint32_t job_count, prefetch;
    uint64_t serial, granted, got; /* in this session */
    int64_t beat_ns;
};

struct router {
    struct world *world;
    struct weir_role *role;
    struct weir_host host;
};

struct world {
    struct weir_random random;
    uint32_t rows; /* routers */
    struct weir_now now;
    struct link links[LINKS];
    struct ventilator ventilators[VENTILATORS];
    struct worker workers[WORKERS];
    struct router routers[ROUTERS];
    struct weir_host ventilator_hosts[VENTILATORS], worker_hosts[WORKERS];
    uint64_t peers, names;
    bool quiet; /* the faults have ended */
    /* Where each message of each delivery was given to, as a bit once it was. */
    uint64_t given[VENTILATORS][DELIVERIES_MAX];
    uint32_t restarts, kills, breaks;
};

static uint32_t below(struct world *world, uint32_t limit)
{
    return (uint32_t)weir_random_below(&world->random, limit);
}

/* ---- the network ---- */

static void put(struct queue *queue, struct weir_frames *frames)
{
    assert_true(queue->count < QUEUE_MAX);
    queue->at[(queue->head + queue->count++) % QUEUE_MAX] = *frames;
    *frames = (struct weir_frames){0};
}

/* The router at a link's client end, and at its server end; NULL: something else is there. */
static struct router *client_router(struct world *world, uint32_t i)
{
    if (i < WORKERS)
        return NULL;
    return i == MIDDLE ? &world->routers[0] : &world->routers[world->rows - 1];
}

static struct router *server_router(struct world *world, uint32_t i)
{
    if (i >= UPPER)
        return NULL;
    return i == MIDDLE ? &world->routers[1] : &world->routers[0];
}

static uint32_t client_port(uint32_t i)
{
    return i < UPPER ? WEIR_PORT_FROM : WEIR_PORT_FROM + i - UPPER;
}

static void router_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct router *router = arg;
    struct world *world = router->world;
    for (uint32_t i = 0; i < LINKS && frames->count > 0; i++) {
        struct link *link = &world->links[i];
        if (link->up && server_router(world, i) == router && port == WEIR_PORT_DISPATCH &&
            link->peer == peer)
            put(&link->to_client, frames);
        else if (link->up && client_router(world, i) == router && port == client_port(i))
            put(&link->to_server, frames);
    }
    weir_frames_drop(frames);
}

static void ventilator_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct ventilator *ventilator = arg;
    struct link *link = &ventilator->world->links[UPPER + ventilator->number];
    (void)port;
    if (link->up && link->peer == peer)
        put(&link->to_client, frames);
    weir_frames_drop(frames);
}

static void worker_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct worker *worker = arg;
    struct link *link = &worker->world->links[worker->number];
    (void)port, (void)peer;
    if (link->up)
        put(&link->to_server, frames);
    weir_frames_drop(frames);
}

static void ignore_wake(void *arg, int64_t mono_ns)
{
    (void)arg, (void)mono_ns;
}

static void no_log(void *arg, enum weir_log_level level, const char *text)
{
    (void)arg, (void)level;
    /* Nobody here lies, so nobody may be accused. */
    fail_msg("%s", text);
}

static void at_client(struct world *world, uint32_t i, struct weir_event *event)
{
    event->now = world->now;
    event->peer = 0;
    event->port = client_port(i);
    if (i < WORKERS)
        weir_session_event(world->workers[i].session, event);
    else
        weir_role_step(client_router(world, i)->role, event);
}

static void at_server(struct world *world, uint32_t i, uint64_t peer, struct weir_event *event)
{
    event->now = world->now;
    event->port = WEIR_PORT_DISPATCH;
    event->peer = peer;
    if (i < UPPER)
        weir_role_step(server_router(world, i)->role, event);
    else
        weir_dispatch_event(world->ventilators[i - UPPER].dispatch, event);
}

static void pass_one(struct world *world, uint32_t i, bool to_server)
{
    struct link *link = &world->links[i];
    struct queue *queue = to_server ? &link->to_server : &link->to_client;
    if (queue->count == 0)
        return;
    struct weir_frames frames = queue->at[queue->head];
    queue->head = (queue->head + 1) % QUEUE_MAX;
    queue->count--;
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE, .frames = &frames};
    if (to_server)
        at_server(world, i, link->peer, &event);
    else
        at_client(world, i, &event);
    weir_frames_drop(&frames);
}

static void empty(struct queue *queue)
{
    for (; queue->count > 0; queue->count--) {
        weir_frames_drop(&queue->at[queue->head]);
        queue->head = (queue->head + 1) % QUEUE_MAX;
    }
}

/* The connection breaks; what was on its way is lost. An end that is no more is not told. */
static void link_break(struct world *world, uint32_t i, bool client_lives, bool server_lives)
{
    struct link *link = &world->links[i];
    struct weir_event down = {.type = WEIR_EVENT_LINK_DOWN}, gone = {.type = WEIR_EVENT_PEER_GONE};
    if (!link->up)
        return;
    link->up = false;
    link->back_ns = world->now.mono_ns + (int64_t)below(world, 400) * MS;
    empty(&link->to_server);
    empty(&link->to_client);
    if (server_lives)
        at_server(world, i, link->peer, &gone);
    if (client_lives)
        at_client(world, i, &down);
}

static void link_restore(struct world *world, uint32_t i)
{
    struct link *link = &world->links[i];
    struct weir_event up = {.type = WEIR_EVENT_LINK_UP};
    if (link->up || world->now.mono_ns < link->back_ns || (i == MIDDLE && world->rows == 1))
        return;
    link->up = true;
    link->peer = ++world->peers;
    at_client(world, i, &up);
}

/* ---- a ventilator ---- */

/* May it be leased, with an order by key: nothing ahead of it is out or waits? `taken` counts what
 * goes with the same delivery. */
static bool may_go(const struct ventilator *ventilator, uint32_t sequence, const bool *blocked)
{
    return ventilator->messages[sequence - 1].state == WAITING &&
           (!ventilator->ordered || !blocked[sequence % KEYS]);
}

static void hand_out(struct ventilator *ventilator, const struct weir_now *now)
{
    struct weir_offer offer;
    bool blocked[KEYS] = {false};
    uint32_t sequence = 1;
    while (sequence <= MESSAGES) {
        if (!weir_dispatch_offer(ventilator->dispatch, GROUP, false, now, &offer))
            return;
        struct weir_slice_info slices[64];
        struct weir_frames frames = {0};
        uint32_t count = 0, slice_count = 0, limit = 1 + below(ventilator->world, 60);
        limit = offer.messages < limit ? offer.messages : limit;
        bool here[KEYS] = {false}; /* goes with this delivery */
        for (; sequence <= MESSAGES && count < limit; sequence++) {
            struct message *message = &ventilator->messages[sequence - 1];
            uint32_t key = sequence % KEYS;
            if (message->state == DONE)
                continue;
            if (!may_go(ventilator, sequence, blocked)) {
                blocked[key] = true;
                continue;
            }
            if (offer.bytes < 24 * (count + 1u) && !(count == 0 && offer.whole))
                break; /* none is larger than that */
            here[key] = true;
            uint64_t hash = key + 1;
            script_slice(&frames, sequence, 1, 0, ventilator->ordered ? &hash : NULL);
            slices[slice_count++] = (struct weir_slice_info){
                .index = count++, .count = 1, .sequence = sequence, .time_ms = 1, .attempt = 1};
            *message = (struct message){.state = LEASED,
                                        .delivery = ventilator->delivery + 1,
                                        .index = count - 1,
                                        .deadline_ns = now->mono_ns + WEIR_LEASE_MS * MS,
                                        .run = message->run};
        }
        for (uint32_t key = 0; key < KEYS; key++)
            blocked[key] = blocked[key] || here[key]; /* of the next delivery */
        if (count == 0)
            return;
        assert_true(++ventilator->delivery < DELIVERIES_MAX);
        struct weir_control control = control_deliver(GROUP, ventilator->incarnation,
                                                      ventilator->delivery, slices, slice_count);
        if (ventilator->ordered)
            WEIR_SET(&control, ordered, ORDERED, 1);
        weir_dispatch_deliver(ventilator->dispatch, offer.peer, &control, &frames, now);
    }
}

static struct message *find_leased(struct ventilator *ventilator, uint64_t delivery, uint32_t index)
{
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message *message = &ventilator->messages[i];
        if (message->state == LEASED && message->delivery == delivery && message->index == index)
            return message;
    }
    return NULL;
}

static void on_room(void *arg, const char *group, const struct weir_now *now)
{
    assert_string_equal(group, GROUP);
    hand_out(arg, now);
}

static void on_ack(void *arg, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now)
{
    struct ventilator *ventilator = arg;
    (void)peer, (void)now;
    for (uint32_t a = 0; a < control->ack_count; a++) {
        const struct weir_ack *ack = &control->acks[a];
        assert_true(ack->lease.incarnation == ventilator->incarnation); /* routed by its tag */
        for (uint32_t i = 0; i < ack->lease.count; i++) {
            struct message *message =
                find_leased(ventilator, ack->lease.delivery, ack->lease.first + i);
            if (!message)
                continue;
            message->state = ack->outcome == WEIR_DONE ? DONE : WAITING;
            ventilator->done += message->state == DONE;
        }
    }
}

static void come_back(struct ventilator *ventilator, const struct weir_lease_ref *leases,
                      uint32_t count)
{
    for (uint32_t l = 0; l < count; l++)
        for (uint32_t i = 0; i < leases[l].count; i++) {
            struct message *message =
                find_leased(ventilator, leases[l].delivery, leases[l].first + i);
            if (message)
                message->state = WAITING;
        }
}

static void on_lost(void *arg, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    (void)worker, (void)name, (void)now;
    come_back(arg, leases, count);
}

static void on_released(void *arg, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    (void)now;
    come_back(arg, leases, count);
}

static void on_beat(void *arg, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    struct ventilator *ventilator = arg;
    struct weir_lease_ref live[256];
    uint32_t count = 0;
    for (uint32_t i = 0; i < control->lease_count; i++) {
        const struct weir_lease_ref *lease = &control->leases[i];
        struct message *message = find_leased(ventilator, lease->delivery, lease->first);
        assert_int_equal(lease->count, 1);
        if (!message)
            continue;
        message->deadline_ns = now->mono_ns + WEIR_LEASE_MS * MS;
        live[count++] = *lease;
    }
    struct weir_control echo = control_leases(WEIR_VERB_HEARTBEAT, control->worker, live, count);
    WEIR_SET(&echo, serial, SERIAL, control->serial);
    WEIR_SET(&echo, incarnation, INCARNATION, ventilator->incarnation);
    weir_dispatch_send(ventilator->dispatch, peer, &echo);
}

static void on_nothing(void *arg, uint64_t peer, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)arg, (void)peer, (void)control, (void)now;
}

static void ventilator_tick(struct ventilator *ventilator)
{
    const struct weir_now *now = &ventilator->world->now;
    bool expired = false;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message *message = &ventilator->messages[i];
        if (message->state != LEASED || message->deadline_ns > now->mono_ns)
            continue;
        struct weir_lease_ref lease = {ventilator->incarnation, message->delivery, message->index,
                                       1};
        message->state = WAITING;
        weir_dispatch_forget(ventilator->dispatch, &lease);
        expired = true;
    }
    if (expired || below(ventilator->world, 20) == 0)
        hand_out(ventilator, now);
    weir_dispatch_tick(ventilator->dispatch, now);
}

/* ---- a worker ---- */

static void grant(struct worker *worker)
{
    if (!weir_session_open(worker->session))
        return;
    uint32_t room = worker->prefetch - worker->job_count;
    weir_session_grant(worker->session, GROUP, room, 1 << 16);
    worker->granted = worker->got + room;
}

static void on_welcome(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    struct worker *worker = arg;
    (void)port, (void)control, (void)now;
    worker->got = worker->granted = 0;
    grant(worker);
}

static void on_deliver(void *arg, uint32_t port, const struct weir_control *control,
                       struct weir_event *event)
{
    struct worker *worker = arg;
    struct sent sent = {.frames = *event->frames, .control = *control};
    uint64_t numbers[64];
    (void)port;
    uint32_t count = script_numbers(&sent, numbers, 64), at = 0;
    uint32_t ventilator = (uint32_t)(control->incarnation & 0xff) - 1;
    uint64_t *given = &worker->world->given[ventilator][control->delivery];
    worker->got += count;
    assert_true(worker->got <= worker->granted);
    assert_true(worker->job_count + count <= worker->prefetch);
    for (uint32_t s = 0; s < control->slice_count; s++)
        for (uint32_t i = 0; i < control->slices[s].count; i++) {
            uint32_t index = control->slices[s].index + i;
            assert_false(*given >> index & 1); /* to one worker at most, once */
            *given |= UINT64_C(1) << index;
            worker->jobs[worker->job_count++] = (struct job){.incarnation = control->incarnation,
                                                             .delivery = control->delivery,
                                                             .index = index,
                                                             .sequence = (uint32_t)numbers[at++]};
        }
}

/* The echo names what lives; what it does not is lost. */
static void on_echo(struct worker *worker, const struct weir_control *echo)
{
    uint32_t kept = 0;
    for (uint32_t j = 0; j < worker->job_count; j++) {
        struct job *job = &worker->jobs[j];
        bool asked = job->incarnation == echo->incarnation && job->serial == echo->serial;
        bool lives = !asked;
        for (uint32_t i = 0; i < echo->lease_count && !lives; i++)
            lives =
                echo->leases[i].delivery == job->delivery && echo->leases[i].first == job->index;
        if (lives)
            worker->jobs[kept++] = *job;
    }
    worker->job_count = kept;
    grant(worker);
}

static void on_control(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)port, (void)now;
    if (control->verb == WEIR_VERB_HEARTBEAT && WEIR_HAS(control, INCARNATION))
        on_echo(arg, control);
}

static void on_down(void *arg, uint32_t port, const struct weir_now *now)
{
    (void)arg, (void)port, (void)now;
}

static void on_held(void *arg, uint32_t port, struct weir_lease_ref **leases, uint32_t *count)
{
    struct worker *worker = arg;
    (void)port;
    *leases = weir_realloc(*leases, *count + worker->job_count + 1u, sizeof **leases);
    for (uint32_t j = 0; j < worker->job_count; j++)
        (*leases)[(*count)++] = (struct weir_lease_ref){
            worker->jobs[j].incarnation, worker->jobs[j].delivery, worker->jobs[j].index, 1};
}

static void beat(struct worker *worker)
{
    struct weir_lease_ref *leases = NULL;
    uint32_t count = 0;
    worker->beat_ns = worker->world->now.mono_ns;
    if (worker->job_count == 0)
        return;
    on_held(worker, 0, &leases, &count);
    struct weir_control control = control_leases(WEIR_VERB_HEARTBEAT, worker->name, leases, count);
    WEIR_SET(&control, serial, SERIAL, ++worker->serial);
    for (uint32_t j = 0; j < worker->job_count; j++)
        worker->jobs[j].serial = worker->serial;
    weir_session_send(worker->session, &control);
    free(leases);
}

/* Finish one job: with an order by key, the first of its key. */
static void run_one(struct worker *worker)
{
    struct world *world = worker->world;
    if (worker->job_count == 0)
        return;
    uint32_t at = below(world, worker->job_count);
    struct job *job = &worker->jobs[at];
    struct ventilator *ventilator = &world->ventilators[(job->incarnation & 0xff) - 1];
    for (uint32_t j = 0; j < worker->job_count && ventilator->ordered; j++) {
        struct job *other = &worker->jobs[j];
        if (other->incarnation == job->incarnation && other->delivery == job->delivery &&
            other->sequence % KEYS == job->sequence % KEYS && other->sequence < job->sequence)
            job = other;
    }
    uint32_t outcome = job->failed ? WEIR_RELEASE : below(world, 20) == 0 ? WEIR_RETRY : WEIR_DONE;
    if (ventilator->ordered && !job->failed)
        for (uint32_t s = job->sequence; s > KEYS; s -= KEYS)
            assert_true(ventilator->messages[s - KEYS - 1].run); /* the ones ahead */
    if (outcome == WEIR_DONE)
        ventilator->messages[job->sequence - 1].run = true;
    for (uint32_t j = 0; j < worker->job_count && ventilator->ordered && outcome == WEIR_RETRY; j++)
        if (worker->jobs[j].delivery == job->delivery &&
            worker->jobs[j].incarnation == job->incarnation &&
            worker->jobs[j].sequence % KEYS == job->sequence % KEYS)
            worker->jobs[j].failed = true;
    struct weir_ack ack = ack_of(job->incarnation, job->delivery, job->index, 1, outcome);
    struct weir_control control = control_ack(GROUP, &ack, 1);
    weir_session_send(worker->session, &control);
    *job = worker->jobs[--worker->job_count];
    grant(worker);
}

static void worker_start(struct world *world, uint32_t i)
{
    struct worker *worker = &world->workers[i];
    const struct weir_session_owner owner = {.self = worker,
                                             .welcome = on_welcome,
                                             .deliver = on_deliver,
                                             .control = on_control,
                                             .down = on_down,
                                             .held = on_held};
    *worker = (struct worker){
        .world = world, .number = i, .name = ++world->names, .prefetch = 1 + below(world, 24)};
    const struct weir_session_config config = {
        .port = WEIR_PORT_FROM, .name = "w", .role = "worker", .worker = worker->name};
    world->worker_hosts[i] = (struct weir_host){
        .self = worker, .send = worker_send, .wake_at = ignore_wake, .log = no_log};
    worker->session = weir_session_new(&config, &owner, &world->worker_hosts[i]);
}

static void worker_kill(struct world *world, uint32_t i)
{
    link_break(world, i, false, true);
    weir_session_destroy(&world->workers[i].session);
    worker_start(world, i);
}

/* ---- the world ---- */

static void router_start(struct world *world, uint32_t i)
{
    struct router *router = &world->routers[i];
    const struct weir_relay_config config = {
        .name = "hub", .upstream_count = i + 1 == world->rows ? VENTILATORS : 1};
    struct weir_event start = {.type = WEIR_EVENT_START, .now = world->now};
    router->world = world;
    router->host = (struct weir_host){
        .self = router, .send = router_send, .wake_at = ignore_wake, .log = no_log};
    router->role = weir_relay_new(&config, &router->host, below(world, 1000));
    weir_role_step(router->role, &start);
}

static void router_kill(struct world *world, uint32_t r)
{
    struct router *router = &world->routers[r];
    for (uint32_t i = 0; i < LINKS; i++)
        if (client_router(world, i) == router || server_router(world, i) == router)
            link_break(world, i, client_router(world, i) != router,
                       server_router(world, i) != router);
    weir_role_destroy(&router->role);
    router_start(world, r);
}

static void fault(struct world *world)
{
    uint32_t what = below(world, 10);
    if (what == 0) {
        world->restarts++;
        router_kill(world, below(world, world->rows));
    } else if (what < 4) {
        world->kills++;
        worker_kill(world, below(world, WORKERS));
    } else {
        world->breaks++;
        link_break(world, below(world, LINKS), true, true);
    }
}

static void pass_time(struct world *world, int64_t ms)
{
    world->now.mono_ns += ms * MS;
    world->now.wall_ms += ms;
    struct weir_event timer = {.type = WEIR_EVENT_TIMER, .now = world->now};
    for (uint32_t i = 0; i < world->rows; i++)
        weir_role_step(world->routers[i].role, &timer);
    for (uint32_t i = 0; i < VENTILATORS; i++)
        ventilator_tick(&world->ventilators[i]);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &world->workers[i];
        if (world->now.mono_ns >= worker->beat_ns + WEIR_HEARTBEAT_MS * MS)
            beat(worker);
        weir_session_tick(worker->session, &world->now);
    }
    for (uint32_t i = 0; i < LINKS; i++)
        link_restore(world, i);
}

static void step(struct world *world)
{
    uint32_t what = below(world, 1000);
    if (what < 30)
        pass_time(world, below(world, 40));
    else if (what < 300)
        run_one(&world->workers[below(world, WORKERS)]);
    else if (what == 999 && !world->quiet)
        fault(world);
    else
        pass_one(world, below(world, LINKS), below(world, 2));
}

static void world_init(struct world *world, uint64_t seed)
{
    weir_random_seed(&world->random, seed);
    world->now = (struct weir_now){.mono_ns = 1000 * WEIR_NS_PER_S, .wall_ms = 1700000000000};
    world->rows = 1 + (uint32_t)(seed % 2);
    for (uint32_t i = 0; i < VENTILATORS; i++) {
        struct ventilator *ventilator = &world->ventilators[i];
        *ventilator = (struct ventilator){.world = world,
                                          .number = i,
                                          .incarnation = (UINT64_C(0xabcd) << 32) + i + 1,
                                          .ordered = i == 1};
        const struct weir_dispatch_owner owner = {.self = ventilator,
                                                  .room = on_room,
                                                  .ack = on_ack,
                                                  .beat = on_beat,
                                                  .begin = on_nothing,
                                                  .extend = on_nothing,
                                                  .lost = on_lost,
                                                  .released = on_released,
                                                  .join = on_nothing};
        const struct weir_dispatch_config config = {.name = "v",
                                                    .role = "ventilator",
                                                    .incarnation = ventilator->incarnation,
                                                    .uuid = {(uint8_t)i},
                                                    .port = WEIR_PORT_DISPATCH};
        world->ventilator_hosts[i] = (struct weir_host){
            .self = ventilator, .send = ventilator_send, .wake_at = ignore_wake, .log = no_log};
        ventilator->dispatch =
            weir_dispatch_new(&config, &owner, &world->ventilator_hosts[i], seed);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_start(world, i);
    for (uint32_t i = 0; i < world->rows; i++)
        router_start(world, i);
}

static void live(uint64_t seed)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    world_init(world, seed);
    uint32_t steps = 0;
    while (world->ventilators[0].done + world->ventilators[1].done < VENTILATORS * MESSAGES) {
        world->quiet = steps > 250000;
        if (++steps > 1500000)
            fail_msg("seed %llu: %u and %u of %u are done, and no more", (unsigned long long)seed,
                     world->ventilators[0].done, world->ventilators[1].done, MESSAGES);
        step(world);
    }
    print_message(
        "seed %llu: %u in a row, %u steps, %u router restarts, %u workers killed, %u breaks\n",
        (unsigned long long)seed, world->rows, steps, world->restarts, world->kills, world->breaks);
    for (uint32_t i = 0; i < LINKS; i++) {
        empty(&world->links[i].to_server);
        empty(&world->links[i].to_client);
    }
    for (uint32_t i = 0; i < world->rows; i++)
        weir_role_destroy(&world->routers[i].role);
    for (uint32_t i = 0; i < WORKERS; i++)
        weir_session_destroy(&world->workers[i].session);
    for (uint32_t i = 0; i < VENTILATORS; i++)
        weir_dispatch_destroy(&world->ventilators[i].dispatch);
    free(world);
}

static void everything_is_done_once_given(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        live(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_is_done_once_given)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
