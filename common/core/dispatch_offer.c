/* Who gets the next delivery: credit, fairness, breakers' probes, and suspects. */
#include "dispatch_state.h"

#include <stdlib.h>
#include <string.h>

/* ---- breakers ---- */

/* Whether every worker that serves the group has an open breaker. A router has breakers of its own
 * and shows them as credit, so a group with one is never open as a whole. */
static bool all_open(const struct group *group, int64_t *probe_at_ns)
{
    const struct service *service;
    uint32_t open = 0;
    *probe_at_ns = WEIR_TIME_NEVER;
    DL_FOREACH2(group->services, service, g_next)
    {
        const struct peer *peer = service->peer;
        if (peer->state != PEER_LIVE)
            continue;
        if (is_router(peer) || peer->breaker.state == WEIR_BREAKER_CLOSED)
            return false;
        open++;
        if (peer->breaker.probe_at_ns < *probe_at_ns)
            *probe_at_ns = peer->breaker.probe_at_ns;
    }
    return open > 0;
}

void weir_dispatch_review(struct weir_dispatch *self, struct group *group)
{
    int64_t probe_at_ns;
    bool open = all_open(group, &probe_at_ns);
    if (open == group->open)
        return;
    group->open = open;
    weir_heap_remove(&self->group_probes, &group->probe);
    if (open) {
        group->open_interval_ms = WEIR_BREAKER_FIRST_MS;
        group->open_probe_at_ns = probe_at_ns;
        weir_heap_set(&self->group_probes, &group->probe, probe_at_ns);
    }
    weir_dispatch_stir(self, group);
}

void weir_dispatch_review_peer(struct weir_dispatch *self, struct peer *peer)
{
    struct service *service;
    DL_FOREACH (peer->services, service)
        weir_dispatch_review(self, service->group);
    weir_dispatch_stir_peer(self, peer);
}

/* A probe ended without a success: the groups that are open as a whole wait, too. */
static void group_probe_ended(struct weir_dispatch *self, struct peer *peer, bool failed)
{
    struct service *service;
    DL_FOREACH (peer->services, service) {
        struct group *group = service->group;
        if (!group->open)
            continue;
        if (failed && group->open_interval_ms < WEIR_BREAKER_LAST_MS)
            group->open_interval_ms *= 2;
        if (group->open_interval_ms > WEIR_BREAKER_LAST_MS)
            group->open_interval_ms = WEIR_BREAKER_LAST_MS;
        group->open_probe_at_ns = self->now.mono_ns + group->open_interval_ms * WEIR_NS_PER_MS;
        weir_heap_set(&self->group_probes, &group->probe, group->open_probe_at_ns);
    }
}

static void probe_again(struct weir_dispatch *self, struct peer *peer, bool failed)
{
    group_probe_ended(self, peer, failed);
    weir_heap_set(&self->probes, &peer->probe, peer->breaker.probe_at_ns);
}

void weir_dispatch_outcome(struct weir_dispatch *self, const struct part *part,
                           enum weir_outcome outcome, uint32_t count)
{
    /* The breaker is with the newest session of the worker, what was sent may be with an older. */
    struct peer *peer =
        is_router(part->peer) ? NULL : weir_dispatch_worker(self, part->peer->worker);
    if (!peer)
        return;
    struct weir_breaker *breaker = &peer->breaker;
    bool probing = breaker->state == WEIR_BREAKER_PROBING;
    /* While a probe is out, what was sent before it decides nothing. */
    if (probing != part->probe)
        return;
    if (outcome == WEIR_RELEASE) {
        if (probing) {
            weir_breaker_probe_lost(breaker, self->now.mono_ns);
            probe_again(self, peer, false);
        }
        return;
    }
    if (!weir_breaker_note(breaker, outcome, count, self->now.mono_ns))
        return;
    if (breaker->state == WEIR_BREAKER_OPEN) {
        self->count.opened += !probing;
        probe_again(self, peer, true);
    }
    weir_dispatch_review_peer(self, peer);
}

static bool probe_is_out(const struct group *group)
{
    const struct service *service;
    DL_FOREACH2(group->services, service, g_next)
    if (service->peer->breaker.state == WEIR_BREAKER_PROBING)
        return true;
    return false;
}

static bool breaker_allows(const struct weir_dispatch *self, const struct service *service,
                           bool *probe)
{
    const struct weir_breaker *breaker = &service->peer->breaker;
    const struct group *group = service->group;
    *probe = false;
    if (is_router(service->peer))
        return true;
    if (!group->open)
        return weir_breaker_allows(breaker, self->now.mono_ns, probe);
    *probe = breaker->state == WEIR_BREAKER_OPEN && self->now.mono_ns >= group->open_probe_at_ns &&
             !probe_is_out(group);
    return *probe;
}

/* ---- room ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

bool weir_dispatch_service_room(const struct weir_dispatch *self, const struct service *service,
                                struct room *room)
{
    const struct peer *peer = service->peer;
    bool reserved = !is_router(peer) && (peer->alone > 0 || peer->drained_for);
    *room = (struct room){0};
    if (peer->state != PEER_LIVE || reserved || !breaker_allows(self, service, &room->probe))
        return false;
    room->bytes = least(less(service->limit_bytes, service->sent_bytes), WEIR_CREDIT_BYTES_MAX);
    room->messages = least(less(service->limit_messages, service->sent_messages),
                           less(WEIR_CREDIT_MESSAGES_MAX, service->outstanding));
    room->whole = service->outstanding == 0 && peer->unplaced == 0;
    if (room->probe)
        room->messages = least(room->messages, 1);
    return room->messages > 0 && (room->bytes > 0 || room->whole);
}

/* ---- the next delivery ---- */

/* Is a a better choice than b? A due probe first; then one that holds nothing, which can also take
 * one message of any size; then the most credit for what is out already; then whose last turn is
 * longer ago. */
static bool better(const struct service *a, const struct room *a_room, const struct service *b,
                   const struct room *b_room)
{
    if (a_room->probe != b_room->probe)
        return a_room->probe;
    if (a_room->probe)
        return a->peer->breaker.probe_at_ns < b->peer->breaker.probe_at_ns;
    if (a_room->whole != b_room->whole)
        return a_room->whole;
    /* Both factors are at most 2^20. */
    uint64_t a_weight = a_room->messages * (b->outstanding + 1);
    uint64_t b_weight = b_room->messages * (a->outstanding + 1);
    if (a_weight != b_weight)
        return a_weight > b_weight;
    return a->turn < b->turn;
}

/* An offer leaves something to others that have room: an equal part, though never so little that
 * the messages travel one by one. */
static uint32_t fair_share(const struct room *room, uint32_t candidates)
{
    uint64_t share = (room->messages + candidates - 1) / candidates;
    if (share < WEIR_OFFER_SHARE_MIN)
        share = room->messages < WEIR_OFFER_SHARE_MIN ? room->messages : WEIR_OFFER_SHARE_MIN;
    return (uint32_t)(share < WEIR_DELIVERY_MESSAGES_MAX ? share : WEIR_DELIVERY_MESSAGES_MAX);
}

static void offer_to(const struct service *service, const struct room *room, uint32_t candidates,
                     struct weir_offer *offer)
{
    *offer = (struct weir_offer){.peer = service->peer->number,
                                 .messages = fair_share(room, candidates),
                                 .bytes = room->bytes,
                                 .whole = room->whole,
                                 .router = is_router(service->peer)};
}

typedef bool better_fn(const struct service *a, const struct room *a_room, const struct service *b,
                       const struct room *b_room);

/* The best of those that have room for so many bytes, or hold nothing. */
static bool offer_best(struct weir_dispatch *self, struct group *group, uint64_t bytes,
                       better_fn *is_better, struct weir_offer *offer)
{
    struct service *service, *best = NULL;
    struct room room, best_room = {0};
    uint32_t candidates = 0;
    DL_FOREACH2(group->services, service, g_next)
    {
        if (!weir_dispatch_service_room(self, service, &room) ||
            (!room.whole && room.bytes < bytes))
            continue;
        candidates++;
        if (!best || is_better(service, &room, best, &best_room)) {
            best = service;
            best_room = room;
        }
    }
    if (best)
        offer_to(best, &best_room, candidates, offer);
    return best != NULL;
}

static bool larger(const struct service *a, const struct room *a_room, const struct service *b,
                   const struct room *b_room)
{
    (void)a;
    (void)b;
    return a_room->whole != b_room->whole ? a_room->whole : a_room->bytes > b_room->bytes;
}

bool weir_dispatch_offer_larger(struct weir_dispatch *self, const char *name,
                                const struct weir_now *now, struct weir_offer *offer)
{
    self->now = *now;
    struct group *group = weir_dispatch_group(self, name, strlen(name));
    if (!group || offer->whole)
        return false;
    return offer_best(self, group, offer->bytes + 1, larger, offer);
}

/* ---- suspects ---- */

/* A worker that holds nothing, or a router that does not have enough of them already. The worker
 * may be one that is drained for this group, which no other offer sees. */
static bool takes_alone(const struct weir_dispatch *self, struct service *service,
                        struct room *room)
{
    struct peer *peer = service->peer;
    if (is_router(peer))
        return service->alone < WEIR_ALONE_ROUTER_MAX &&
               weir_dispatch_service_room(self, service, room);
    if (peer->outstanding > 0 || (peer->drained_for && peer->drained_for != service->group))
        return false;
    struct group *drained_for = peer->drained_for;
    peer->drained_for = NULL;
    bool takes = weir_dispatch_service_room(self, service, room);
    peer->drained_for = drained_for;
    return takes;
}

static bool offer_alone(struct weir_dispatch *self, struct group *group, struct weir_offer *offer)
{
    struct service *service, *best = NULL;
    struct room room, best_room = {0};
    DL_FOREACH2(group->services, service, g_next)
    {
        if (!takes_alone(self, service, &room))
            continue;
        bool workers_first = best && is_router(best->peer) && !is_router(service->peer);
        bool routers_last = best && !is_router(best->peer) && is_router(service->peer);
        if (!best || workers_first || (!routers_last && better(service, &room, best, &best_room))) {
            best = service;
            best_room = room;
        }
    }
    if (!best)
        return false;
    offer_to(best, &best_room, 1, offer);
    offer->messages = 1;
    return true;
}

void weir_dispatch_drain_end(struct weir_dispatch *self, struct group *group)
{
    struct peer *peer = group->drained;
    if (!peer)
        return;
    group->drained = NULL;
    peer->drained_for = NULL;
    weir_heap_remove(&self->drains, &group->drain);
    weir_dispatch_stir_peer(self, peer);
}

/* Nobody is idle: let the worker that is nearest to it finish, for a while. One at a time, so that
 * suspects never take more than that from the other work. */
static void drain_one(struct weir_dispatch *self, struct group *group)
{
    struct service *service;
    struct peer *best = NULL;
    if (group->drained)
        return;
    DL_FOREACH2(group->services, service, g_next)
    {
        struct peer *peer = service->peer;
        bool fit = !is_router(peer) && peer->state == PEER_LIVE && !peer->drained_for &&
                   peer->alone == 0 && peer->outstanding > 0 &&
                   peer->breaker.state == WEIR_BREAKER_CLOSED &&
                   peer->drain_after_ns <= self->now.mono_ns;
        if (fit && (!best || peer->outstanding < best->outstanding))
            best = peer;
    }
    if (!best)
        return;
    group->drained = best;
    best->drained_for = group;
    weir_heap_set(&self->drains, &group->drain,
                  self->now.mono_ns + WEIR_ALONE_WAIT_MS * WEIR_NS_PER_MS);
    /* What it had room for counts no longer. */
    weir_dispatch_stir_peer(self, best);
}

bool weir_dispatch_offer(struct weir_dispatch *self, const char *name, bool alone,
                         const struct weir_now *now, struct weir_offer *offer)
{
    self->now = *now;
    struct group *group = weir_dispatch_group(self, name, strlen(name));
    if (!group)
        return false;
    if (alone ? offer_alone(self, group, offer) : offer_best(self, group, 0, better, offer))
        return true;
    if (alone)
        drain_one(self, group);
    weir_dispatch_announce(self, name, now);
    return false;
}

/* ---- sending ---- */

static uint64_t move_frames(struct weir_frames *from, struct weir_frames *to)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        if (i % 3 != 0) /* index and body; the header is the server's own */
            bytes += from->at[i].size;
        weir_frames_push(to, from->at[i]);
    }
    from->count = 0;
    weir_frames_drop(from);
    return bytes;
}

static void hold_slices(struct weir_dispatch *self, struct service *service,
                        const struct weir_control *control, const struct part *how)
{
    struct weir_lease_ref lease = {control->incarnation, control->delivery, 0, 0};
    for (uint32_t i = 0; i < control->slice_count; i++) {
        const struct weir_slice_info *slice = &control->slices[i];
        if (lease.count > 0 && slice->index == lease.first + lease.count) {
            lease.count += slice->count;
            continue;
        }
        weir_dispatch_hold(self, service->peer, service, &lease, how);
        lease.first = slice->index;
        lease.count = slice->count;
    }
    weir_dispatch_hold(self, service->peer, service, &lease, how);
}

void weir_dispatch_deliver(struct weir_dispatch *self, uint64_t number,
                           const struct weir_control *control, struct weir_frames *frames,
                           const struct weir_now *now)
{
    self->now = *now;
    struct peer *peer = weir_dispatch_peer(self, number);
    struct group *group = weir_dispatch_group(self, control->group.data, control->group.bytes);
    struct service *service = peer && group ? weir_dispatch_service(peer, group) : NULL;
    WEIR_ASSERT(service && frames->count == 3 * control->slice_count && frames->count > 0);

    uint64_t messages = 0;
    for (uint32_t i = 0; i < control->slice_count; i++)
        messages += control->slices[i].count;
    struct weir_frames out = {0};
    weir_frames_push(&out, weir_control_encode(control));
    uint64_t bytes = move_frames(frames, &out);
    bool fits = service->sent_bytes + bytes <= service->limit_bytes;
    WEIR_ASSERT(service->sent_messages + messages <= service->limit_messages);
    WEIR_ASSERT(fits || (messages == 1 && service->outstanding == 0));

    uint64_t lease_ms =
        control->lease_ms < WEIR_PRODUCER_EXPIRE_MS ? control->lease_ms : WEIR_PRODUCER_EXPIRE_MS;
    struct part how = {.alone = WEIR_HAS(control, ALONE) && control->alone,
                       .lease_ns = (int64_t)lease_ms * WEIR_NS_PER_MS};
    if (!is_router(peer) && peer->breaker.state == WEIR_BREAKER_OPEN) {
        weir_breaker_probe(&peer->breaker);
        weir_heap_remove(&self->probes, &peer->probe);
        how.probe = true;
    }
    if (how.alone) /* whoever took it: the next one will be asked for anew */
        weir_dispatch_drain_end(self, group);
    service->sent_messages += messages;
    service->sent_bytes += bytes;
    service->waiting_said = false;
    service->turn = ++self->turn + UINT32_MAX;
    self->count.deliveries++;
    self->count.messages += messages;
    hold_slices(self, service, control, &how);
    self->host.send(self->host.self, self->port, number, &out);
}

/* ---- the turn ---- */

void weir_dispatch_offer_tick(struct weir_dispatch *self)
{
    int64_t now_ns = self->now.mono_ns;
    while (weir_heap_next(&self->probes) <= now_ns) {
        struct peer *peer = WEIR_CONTAINER_OF(weir_heap_first(&self->probes), struct peer, probe);
        weir_heap_remove(&self->probes, &peer->probe);
        weir_dispatch_stir_peer(self, peer);
    }
    while (weir_heap_next(&self->group_probes) <= now_ns) {
        struct group *group =
            WEIR_CONTAINER_OF(weir_heap_first(&self->group_probes), struct group, probe);
        weir_heap_remove(&self->group_probes, &group->probe);
        weir_dispatch_stir(self, group);
    }
    while (weir_heap_next(&self->drains) <= now_ns) {
        struct group *group =
            WEIR_CONTAINER_OF(weir_heap_first(&self->drains), struct group, drain);
        group->drained->drain_after_ns = now_ns + WEIR_ALONE_AGAIN_MS * WEIR_NS_PER_MS;
        weir_dispatch_drain_end(self, group);
    }
}

int64_t weir_dispatch_offer_next(const struct weir_dispatch *self)
{
    int64_t next = weir_heap_next(&self->probes);
    if (weir_heap_next(&self->group_probes) < next)
        next = weir_heap_next(&self->group_probes);
    return weir_heap_next(&self->drains) < next ? weir_heap_next(&self->drains) : next;
}
