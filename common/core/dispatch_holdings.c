/* Who holds which messages of which delivery: ranges, never single messages. */
#include "dispatch_state.h"

#include <stdlib.h>

static struct delivery *find(const struct weir_dispatch *self, const struct weir_lease_ref *lease)
{
    struct delivery_key key = {lease->incarnation, lease->delivery};
    struct delivery *delivery;
    HASH_FIND(hh, self->deliveries, &key, sizeof key, delivery);
    return delivery;
}

static struct delivery *get(struct weir_dispatch *self, const struct weir_lease_ref *lease)
{
    struct delivery *delivery = find(self, lease);
    if (!delivery) {
        delivery = weir_zalloc(1, sizeof *delivery);
        delivery->key = (struct delivery_key){lease->incarnation, lease->delivery};
        HASH_ADD(hh, self->deliveries, key, sizeof delivery->key, delivery);
    }
    return delivery;
}

/* The first part that ends above `index`. */
static uint32_t seek(const struct delivery *delivery, uint64_t index)
{
    uint32_t low = 0, high = delivery->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct part *part = delivery->parts[middle];
        if ((uint64_t)part->first + part->count <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct delivery *delivery, struct part *part)
{
    if (delivery->count == delivery->capacity) {
        delivery->capacity = delivery->capacity ? delivery->capacity * 2 : 1;
        delivery->parts = weir_realloc(delivery->parts, delivery->capacity, sizeof(struct part *));
    }
    uint32_t at = seek(delivery, part->first);
    for (uint32_t i = delivery->count; i > at; i--)
        delivery->parts[i] = delivery->parts[i - 1];
    delivery->parts[at] = part;
    delivery->count++;
}

static void account(struct part *part, uint32_t count, bool more)
{
    uint64_t change = more ? count : -(uint64_t)count;
    part->peer->outstanding += change;
    if (part->alone)
        part->peer->alone += change;
    if (!part->service) {
        part->peer->unplaced += change;
        return;
    }
    part->service->outstanding += change;
    if (part->alone)
        part->service->alone += (uint32_t)change;
}

static struct part *part_new(struct weir_dispatch *self, struct delivery *delivery,
                             const struct part *like, uint32_t first, uint32_t count)
{
    struct part *part = weir_alloc(sizeof *part);
    *part = *like;
    part->delivery = delivery;
    part->first = first;
    part->count = count;
    part->stale = (struct weir_heap_node){0};
    weir_heap_set(&self->stale, &part->stale, self->now.mono_ns + 2 * part->lease_ns);
    DL_APPEND(part->peer->parts, part);
    insert(delivery, part);
    return part;
}

/* Unlink an emptied part, and its delivery with the last one. */
static void part_free(struct weir_dispatch *self, struct part *part)
{
    struct delivery *delivery = part->delivery;
    uint32_t at = seek(delivery, part->first);
    WEIR_ASSERT(delivery->parts[at] == part);
    delivery->count--;
    for (; at < delivery->count; at++)
        delivery->parts[at] = delivery->parts[at + 1];
    weir_heap_remove(&self->stale, &part->stale);
    DL_DELETE(part->peer->parts, part);
    free(part);
    if (delivery->count > 0)
        return;
    if (delivery->group)
        delivery->group->delivery_count--;
    HASH_DELETE(hh, self->deliveries, delivery);
    free(delivery->parts);
    free(delivery);
}

/* Take [first, last) out of a part; both lie in it. */
static void cut(struct weir_dispatch *self, struct part *part, uint64_t first, uint64_t last)
{
    uint64_t end = (uint64_t)part->first + part->count;
    account(part, (uint32_t)(last - first), false);
    if (first == part->first && last == end) {
        part_free(self, part);
    } else if (first == part->first) {
        part->first = (uint32_t)last;
        part->count = (uint32_t)(end - last);
    } else {
        part->count = (uint32_t)(first - part->first);
        if (last < end)
            part_new(self, part->delivery, part, (uint32_t)last, (uint32_t)(end - last));
    }
}

static void settle(struct weir_dispatch *self, struct part *part, uint64_t first, uint64_t last,
                   int outcome)
{
    struct peer *peer = part->peer;
    struct service *service = part->service;
    enum weir_outcome ended = outcome < 0 ? WEIR_RELEASE : (enum weir_outcome)outcome;
    weir_dispatch_outcome(self, part, ended, (uint32_t)(last - first));
    if (outcome >= 0)
        self->count.settled += last - first;
    bool freed = part->alone || peer->drained_for;
    cut(self, part, first, last);
    /* An idle worker may take a suspect of any of its groups; else only this group has gained. */
    if (peer->outstanding == 0 || freed)
        weir_dispatch_stir_peer(self, peer);
    else if (service)
        weir_dispatch_stir(self, service->group);
}

uint64_t weir_dispatch_take(struct weir_dispatch *self, const struct weir_lease_ref *lease,
                            const struct peer *holder, int outcome)
{
    uint64_t at = lease->first, end = at + lease->count, taken = 0;
    /* The delivery and its array change under each cut, so every step looks anew. */
    while (at < end) {
        struct delivery *delivery = find(self, lease);
        uint32_t i = delivery ? seek(delivery, at) : 0;
        if (!delivery || i == delivery->count || delivery->parts[i]->first >= end)
            break;
        struct part *part = delivery->parts[i];
        uint64_t part_end = (uint64_t)part->first + part->count;
        uint64_t first = part->first > at ? part->first : at;
        uint64_t last = part_end < end ? part_end : end;
        at = last;
        if (holder && part->peer != holder)
            continue;
        taken += last - first;
        settle(self, part, first, last, outcome);
    }
    return taken;
}

void weir_dispatch_hold(struct weir_dispatch *self, struct peer *peer, struct service *service,
                        const struct weir_lease_ref *lease, const struct part *how)
{
    if (lease->count == 0)
        return;
    weir_dispatch_take(self, lease, NULL, -1);
    struct delivery *delivery = get(self, lease);
    if (!delivery->group && service) {
        delivery->group = service->group;
        service->group->delivery_count++;
    }
    struct part like = *how;
    like.peer = peer;
    like.service = service;
    account(part_new(self, delivery, &like, lease->first, lease->count), lease->count, true);
}

/* May a worker that says so hold this, although it is noted for another? */
static bool may_claim(const struct peer *peer, const struct part *part)
{
    return is_router(part->peer) || part->peer->worker == peer->worker;
}

/* Move what is noted of [first, last) to the peer, which READY says holds it. */
static void claim_part(struct weir_dispatch *self, struct peer *peer, struct part *part,
                       uint64_t first, uint64_t last)
{
    struct part like = *part;
    struct delivery *delivery = part->delivery;
    struct service *service =
        part->service ? weir_dispatch_service_get(self, peer, part->service->group) : NULL;
    struct weir_lease_ref lease = {delivery->key.incarnation, delivery->key.number, (uint32_t)first,
                                   (uint32_t)(last - first)};
    like.claimed = like.claimed || part->peer != peer;
    like.ready = peer->readies;
    like.named_ns = self->now.mono_ns;
    like.probe = part->probe && part->peer->worker == peer->worker;
    cut(self, part, first, last);
    weir_dispatch_hold(self, peer, service, &lease, &like);
}

void weir_dispatch_claim(struct weir_dispatch *self, struct peer *peer,
                         const struct weir_lease_ref *lease)
{
    const struct part claimed = {.claimed = true,
                                 .ready = peer->readies,
                                 .lease_ns = WEIR_LEASE_MS * WEIR_NS_PER_MS,
                                 .named_ns = self->now.mono_ns};
    uint64_t at = lease->first, end = at + lease->count;
    while (at < end) {
        struct delivery *delivery = find(self, lease);
        uint32_t i = delivery ? seek(delivery, at) : 0;
        struct part *part = delivery && i < delivery->count ? delivery->parts[i] : NULL;
        uint64_t gap_end = part && part->first < end ? part->first : end;
        if (at < gap_end) {
            struct weir_lease_ref gap = *lease;
            gap.first = (uint32_t)at;
            gap.count = (uint32_t)(gap_end - at);
            struct service *service = delivery && delivery->group
                                          ? weir_dispatch_service_get(self, peer, delivery->group)
                                          : NULL;
            weir_dispatch_hold(self, peer, service, &gap, &claimed);
            at = gap_end;
            continue;
        }
        uint64_t part_end = (uint64_t)part->first + part->count;
        uint64_t last = part_end < end ? part_end : end;
        if (may_claim(peer, part))
            claim_part(self, peer, part, at, last);
        at = last;
    }
}

void weir_dispatch_touch(struct weir_dispatch *self, const struct peer *peer,
                         const struct weir_lease_ref *lease)
{
    struct delivery *delivery = find(self, lease);
    if (!delivery)
        return;
    uint64_t end = (uint64_t)lease->first + lease->count;
    for (uint32_t i = seek(delivery, lease->first); i < delivery->count; i++) {
        struct part *part = delivery->parts[i];
        if (part->first >= end)
            break;
        if (part->peer != peer)
            continue;
        part->named_ns = self->now.mono_ns;
        weir_heap_set(&self->stale, &part->stale, self->now.mono_ns + 2 * part->lease_ns);
    }
}

static void go_stale(struct weir_dispatch *self, struct part *part)
{
    self->count.stale += part->count;
    settle(self, part, part->first, (uint64_t)part->first + part->count, -1);
}

/* What holds much names it in several beats, one right after the other. */
void weir_dispatch_prune(struct weir_dispatch *self, struct peer *peer)
{
    int64_t recently_ns = self->now.mono_ns - 2 * WEIR_HEARTBEAT_MS * WEIR_NS_PER_MS;
    struct part *part, *next;
    DL_FOREACH_SAFE(peer->parts, part, next)
    if (part->named_ns != 0 && part->named_ns < recently_ns)
        go_stale(self, part);
}

void weir_dispatch_part_drop(struct weir_dispatch *self, struct part *part)
{
    weir_dispatch_outcome(self, part, WEIR_RELEASE, part->count);
    account(part, part->count, false);
    part_free(self, part);
}

struct weir_lease_ref *weir_dispatch_held(const struct peer *peer, uint32_t *count)
{
    uint32_t capacity = 0;
    struct weir_lease_ref *leases = NULL;
    struct part *part;
    *count = 0;
    DL_FOREACH (peer->parts, part) {
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            leases = weir_realloc(leases, capacity, sizeof *leases);
        }
        leases[(*count)++] = (struct weir_lease_ref){
            part->delivery->key.incarnation, part->delivery->key.number, part->first, part->count};
    }
    return leases;
}

void weir_dispatch_holdings_tick(struct weir_dispatch *self)
{
    while (weir_heap_next(&self->stale) <= self->now.mono_ns)
        go_stale(self, WEIR_CONTAINER_OF(weir_heap_first(&self->stale), struct part, stale));
}

void weir_dispatch_forget(struct weir_dispatch *self, const struct weir_lease_ref *lease)
{
    weir_dispatch_take(self, lease, NULL, -1);
}
