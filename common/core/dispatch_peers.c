/* Sessions: who is there, since when, and what becomes of those that are not. */
#include "dispatch_state.h"
#include <base/canary.h>

#include <stdlib.h>
#include <string.h>

#define GRACE_NS (WEIR_LOSS_GRACE_MS * WEIR_NS_PER_MS)
#define SILENCE_NS (WEIR_PEER_SILENCE_MS * WEIR_NS_PER_MS)

struct peer *weir_dispatch_peer(const struct weir_dispatch *self, uint64_t number)
{
    struct peer *peer;
    HASH_FIND(hh, self->peers, &number, sizeof number, peer);
    return peer;
}

struct peer *weir_dispatch_worker(const struct weir_dispatch *self, uint64_t worker)
{
    struct peer *peer;
    HASH_FIND(hh_worker, self->workers, &worker, sizeof worker, peer);
    return peer;
}

static struct peer *peer_new(struct weir_dispatch *self, uint64_t number, uint64_t worker)
{
    struct peer *peer = weir_zalloc(1, sizeof *peer);
    peer->number = number;
    peer->worker = worker;
    weir_breaker_init(&peer->breaker);
    HASH_ADD(hh, self->peers, number, sizeof peer->number, peer);
    if (worker)
        HASH_ADD(hh_worker, self->workers, worker, sizeof peer->worker, peer);
    return peer;
}

/* From now on another session, or none, stands for this worker. */
static void retire(struct weir_dispatch *self, struct peer *peer)
{
    if (peer->worker && weir_dispatch_worker(self, peer->worker) == peer)
        HASH_DELETE(hh_worker, self->workers, peer);
}

void weir_dispatch_peer_drop(struct weir_dispatch *self, struct peer *peer)
{
    retire(self, peer);
    while (peer->parts)
        weir_dispatch_part_drop(self, peer->parts);
    while (peer->services)
        weir_dispatch_service_drop(self, peer->services);
    weir_heap_remove(&self->quiet, &peer->quiet);
    weir_heap_remove(&self->probes, &peer->probe);
    HASH_DELETE(hh, self->peers, peer);
    free(peer);
}

/* Every move in the diagram, and what hangs on it. */
static void peer_move(struct weir_dispatch *self, struct peer *peer, enum peer_state to)
{
    static const bool allowed[][4] = {
        [PEER_LIVE] = {[PEER_SILENT] = true, [PEER_GONE] = true, [PEER_SUPERSEDED] = true},
        [PEER_SILENT] = {[PEER_LIVE] = true, [PEER_GONE] = true, [PEER_SUPERSEDED] = true},
        [PEER_GONE] = {[PEER_SUPERSEDED] = true},
        [PEER_SUPERSEDED] = {[PEER_LIVE] = false},
    };
    WEIR_ASSERT(allowed[peer->state][to]);
    peer->state = to;
    int64_t now_ns = self->now.mono_ns;
    if (to == PEER_LIVE)
        weir_heap_set(&self->quiet, &peer->quiet, now_ns + SILENCE_NS);
    else if (to == PEER_SILENT)
        weir_heap_remove(&self->quiet, &peer->quiet);
    else
        weir_heap_set(&self->quiet, &peer->quiet, now_ns + GRACE_NS);
    if (to != PEER_LIVE && peer->drained_for)
        weir_dispatch_drain_end(self, peer->drained_for);
    weir_dispatch_review_peer(self, peer);
}

void weir_dispatch_heard(struct weir_dispatch *self, struct peer *peer)
{
    peer->heard_ns = self->now.mono_ns;
    peer->heard_ms = self->now.wall_ms;
    if (peer->state == PEER_SILENT)
        peer_move(self, peer, PEER_LIVE);
}

/* ---- READY ---- */

static void welcome(struct weir_dispatch *self, const struct peer *peer)
{
    struct weir_control answer = {.verb = WEIR_VERB_WELCOME};
    WEIR_SET(&answer, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&answer, heartbeat_ms, HEARTBEAT_MS, WEIR_HEARTBEAT_MS);
    WEIR_SET(&answer, role, ROLE, weir_text_of(self->role));
    WEIR_SET(&answer, name, NAME, weir_text_of(self->name));
    if (self->incarnation) {
        WEIR_SET(&answer, incarnation, INCARNATION, self->incarnation);
        memcpy(answer.uuid, self->uuid, sizeof answer.uuid);
        WEIR_MARK(&answer, UUID);
    }
    weir_dispatch_send(self, peer->number, &answer);
}

/* What is wrong with this READY? */
static bool ready_valid(struct weir_dispatch *self, uint64_t number,
                        const struct weir_control *control)
{
    bool worker = weir_text_is(&control->role, "worker");
    if (control->version != WEIR_PROTOCOL_VERSION) {
        weir_dispatch_error(self, number, WEIR_CODE_VERSION,
                            "READY: this node speaks version 1 of the protocol", NULL, NULL);
        return false;
    }
    if (!worker && !weir_text_is(&control->role, "router")) {
        weir_dispatch_error(self, number, WEIR_CODE_MALFORMED,
                            "READY: role must be \"worker\" or \"router\"", NULL, NULL);
        return false;
    }
    if (worker && (!WEIR_HAS(control, WORKER) || control->worker == 0)) {
        weir_dispatch_error(self, number, WEIR_CODE_MALFORMED,
                            "READY: a worker must say its number, `worker`", NULL, NULL);
        return false;
    }
    return true;
}

/* READY on a connection that has a session: credit starts anew. What was delivered on it and is
 * not named is on its way, since the connection never broke; what an earlier READY claimed and this
 * one does not is no longer held. */
static void renew(struct peer *peer)
{
    struct service *service;
    DL_FOREACH (peer->services, service) {
        service->limit_messages = service->limit_bytes = 0;
        service->sent_messages = service->sent_bytes = 0;
        service->waiting_said = false;
    }
}

static void drop_unclaimed(struct weir_dispatch *self, struct peer *peer)
{
    struct part *part, *next;
    DL_FOREACH_SAFE(peer->parts, part, next)
    if (part->claimed && part->ready != peer->readies)
        weir_dispatch_part_drop(self, part);
}

/* A list that has no room for more may leave out what is held all the same: that stays with the
 * worker until its beats leave it out, too. Of what is known by its word alone, not without end. */
static void keep_unnamed(struct weir_dispatch *self, struct peer *peer)
{
    uint32_t by_its_word = 0;
    struct peer *old, *next_peer;
    HASH_ITER (hh, self->peers, old, next_peer) {
        if (old == peer || old->worker != peer->worker)
            continue;
        struct part *part, *next;
        DL_FOREACH_SAFE(old->parts, part, next)
        {
            if (!part->service && ++by_its_word > WEIR_LEASES_MAX)
                continue;
            const struct weir_lease_ref lease = {part->delivery->key.incarnation,
                                                 part->delivery->key.number, part->first,
                                                 part->count};
            weir_dispatch_claim(self, peer, &lease);
        }
    }
}

/* The worker is back on another connection: its old session ends, after a time for acks that are
 * still in it. */
static void supersede(struct weir_dispatch *self, struct peer *old, struct peer *peer)
{
    peer->breaker = old->breaker;
    if (old->probe.index)
        weir_heap_set(&self->probes, &peer->probe, old->probe.at);
    weir_heap_remove(&self->probes, &old->probe);
    weir_breaker_init(&old->breaker);
    self->count.taken_over++;
    peer_move(self, old, PEER_SUPERSEDED);
}

static void lose(struct weir_dispatch *self, struct peer *peer);

/* One of a connection that has ended, read only after its worker's next one: what it begins is
 * over, and the session that there is goes on. */
static bool ready_late(const struct weir_dispatch *self, uint64_t number,
                       const struct weir_control *control)
{
    const struct peer *newest = weir_dispatch_worker(self, control->worker);
    return newest && newest->number != number && WEIR_HAS(control, SERIAL) &&
           newest->ready_serial > control->serial;
}

static struct peer *admit(struct weir_dispatch *self, uint64_t number,
                          const struct weir_control *control)
{
    uint64_t worker = weir_text_is(&control->role, "worker") ? control->worker : 0;
    struct peer *peer = weir_dispatch_peer(self, number);
    if (peer && peer->worker != worker) { /* somebody else speaks here now */
        lose(self, peer);
        peer = NULL;
    }
    if (peer) {
        renew(peer);
        return peer;
    }
    if (HASH_COUNT(self->peers) >= WEIR_PEERS_MAX) {
        weir_dispatch_error(self, number, WEIR_CODE_LIMIT,
                            "READY: too many workers and routers are connected here", NULL, NULL);
        return NULL;
    }
    struct peer *old = worker ? weir_dispatch_worker(self, worker) : NULL;
    if (old)
        retire(self, old);
    peer = peer_new(self, number, worker);
    weir_heap_set(&self->quiet, &peer->quiet, self->now.mono_ns + SILENCE_NS);
    if (old)
        supersede(self, old, peer);
    return peer;
}

void weir_dispatch_ready(struct weir_dispatch *self, uint64_t number,
                         const struct weir_control *control)
{
    struct peer *known = weir_dispatch_peer(self, number);
    if (known && known->state > PEER_SILENT) /* sent before its connection ended */
        return;
    if (!ready_valid(self, number, control) || ready_late(self, number, control))
        return;
    struct peer *peer = admit(self, number, control);
    if (!peer)
        return;
    uint32_t bytes =
        control->name.bytes < WEIR_NAME_BYTES_MAX ? control->name.bytes : WEIR_NAME_BYTES_MAX;
    memcpy(peer->name, control->name.data, bytes);
    peer->name[bytes] = '\0';
    peer->readies++;
    peer->ready_serial = WEIR_HAS(control, SERIAL) ? control->serial : 0;
    weir_dispatch_heard(self, peer);
    if (!is_router(peer)) {
        for (uint32_t i = 0; i < control->lease_count; i++)
            weir_dispatch_claim(self, peer, &control->leases[i]);
        if (control->lease_count == WEIR_LEASES_MAX)
            keep_unnamed(self, peer);
        drop_unclaimed(self, peer);
        weir_dispatch_route(self, peer, peer->worker);
    }
    weir_dispatch_review_peer(self, peer);
    welcome(self, peer);
}

/* ---- ends ---- */

static void tell_released(struct weir_dispatch *self, const struct weir_lease_ref *leases,
                          uint32_t count)
{
    for (uint32_t at = 0; at < count; at += WEIR_LEASES_MAX) {
        uint32_t piece = count - at < WEIR_LEASES_MAX ? count - at : WEIR_LEASES_MAX;
        self->owner.released(self->owner.self, leases + at, piece, &self->now);
    }
}

static void release(struct weir_dispatch *self, struct peer *peer)
{
    uint32_t count;
    struct weir_lease_ref *leases = weir_dispatch_held(peer, &count);
    weir_dispatch_peer_drop(self, peer);
    tell_released(self, leases, count);
    free(leases);
}

static void lose(struct weir_dispatch *self, struct peer *peer)
{
    if (is_router(peer) && !WEIR_CANARY(ROUTER_LOSS_LOSES_LEASES)) {
        weir_dispatch_peer_drop(self, peer);
        return;
    }
    uint32_t count;
    struct weir_lease_ref *leases = weir_dispatch_held(peer, &count);
    uint64_t number = peer->number, worker = peer->worker;
    char name[sizeof peer->name];
    memcpy(name, peer->name, sizeof name);
    weir_dispatch_peer_drop(self, peer);
    weir_dispatch_loss(self, number, worker, name, leases, count);
    free(leases);
}

void weir_dispatch_gone(struct weir_dispatch *self, uint64_t number, const struct weir_now *now)
{
    self->now = *now;
    struct peer *peer = weir_dispatch_peer(self, number);
    if (!peer || peer->state > PEER_SILENT)
        return;
    if (is_router(peer))
        lose(self, peer);
    else
        peer_move(self, peer, PEER_GONE);
}

void weir_dispatch_bye(struct weir_dispatch *self, struct peer *peer,
                       const struct weir_control *control)
{
    if (!is_router(peer)) {
        for (uint32_t i = 0; i < control->lease_count; i++)
            weir_dispatch_claim(self, peer, &control->leases[i]);
        release(self, peer);
        return;
    }
    if (!WEIR_HAS(control, LEASES)) {
        weir_dispatch_peer_drop(self, peer);
        return;
    }
    /* A worker behind the router gave these back; the router stays. */
    for (uint32_t i = 0; i < control->lease_count; i++)
        weir_dispatch_take(self, &control->leases[i], peer, -1);
    tell_released(self, control->leases, control->lease_count);
}

void weir_dispatch_lost(struct weir_dispatch *self, struct peer *peer,
                        const struct weir_control *control)
{
    char name[WEIR_NAME_BYTES_MAX + 1] = {0};
    if (WEIR_HAS(control, NAME))
        memcpy(name, control->name.data,
               control->name.bytes < sizeof name ? control->name.bytes : sizeof name - 1);
    for (uint32_t i = 0; i < control->lease_count; i++)
        weir_dispatch_take(self, &control->leases[i], peer, -1);
    weir_dispatch_loss(self, peer->number, control->worker, name, control->leases,
                       control->lease_count);
}

/* ---- the turn ---- */

static void patience_ended(struct weir_dispatch *self, struct peer *peer)
{
    switch (peer->state) {
    case PEER_LIVE:
        /* Set when it was last looked at, not with each of its frames. */
        if (peer->heard_ns + SILENCE_NS > self->now.mono_ns) {
            weir_heap_set(&self->quiet, &peer->quiet, peer->heard_ns + SILENCE_NS);
        } else {
            self->count.silent++;
            peer_move(self, peer, PEER_SILENT);
        }
        break;
    case PEER_GONE:
        lose(self, peer);
        break;
    case PEER_SUPERSEDED:
        release(self, peer);
        break;
    case PEER_SILENT:
        weir_heap_remove(&self->quiet, &peer->quiet);
        break;
    }
}

void weir_dispatch_peers_tick(struct weir_dispatch *self)
{
    while (weir_heap_next(&self->quiet) <= self->now.mono_ns)
        patience_ended(self, WEIR_CONTAINER_OF(weir_heap_first(&self->quiet), struct peer, quiet));
}
