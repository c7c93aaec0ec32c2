/* On which ways a worker is reached: itself, or behind one router or another. A worker may have two
 * ways at once, and its loss on one of them is no loss while it beats on the other. */
#include "dispatch_state.h"

#include <stdlib.h>
#include <string.h>

#define ROUTE_NS (WEIR_ROUTE_MS * WEIR_NS_PER_MS)
#define DOUBT_NS (WEIR_LOSS_DOUBT_MS * WEIR_NS_PER_MS)

static struct route *find(const struct weir_dispatch *self, uint64_t worker)
{
    struct route *route;
    HASH_FIND(hh, self->routes, &worker, sizeof worker, route);
    return route;
}

static void route_drop(struct weir_dispatch *self, struct route *route)
{
    weir_heap_remove(&self->doubts, &route->doubt);
    HASH_DEL(self->routes, route);
    DL_DELETE(self->routes_list, route);
    free(route->doubted);
    free(route);
}

static void doubt_end(struct weir_dispatch *self, struct route *route)
{
    weir_heap_remove(&self->doubts, &route->doubt);
    free(route->doubted);
    route->doubted = NULL;
    route->doubted_count = 0;
}

static void tell(struct weir_dispatch *self, uint64_t worker, const char *name,
                 const struct weir_lease_ref *leases, uint32_t count)
{
    uint32_t at = 0;
    do {
        uint32_t piece = count - at < WEIR_LEASES_MAX ? count - at : WEIR_LEASES_MAX;
        self->owner.lost(self->owner.self, worker, name, leases ? leases + at : NULL, piece,
                         &self->now);
        at += piece;
    } while (at < count);
}

/* Nothing came on the other way either. */
static void doubt_confirmed(struct weir_dispatch *self, struct route *route)
{
    struct weir_lease_ref *leases = route->doubted;
    uint32_t count = route->doubted_count;
    route->doubted = NULL;
    doubt_end(self, route);
    if (count > 0)
        tell(self, route->worker, route->name, leases, count);
    free(leases);
}

void weir_dispatch_route(struct weir_dispatch *self, const struct peer *peer, uint64_t worker)
{
    struct route *route = find(self, worker);
    if (route) {
        DL_DELETE(self->routes_list, route);
    } else {
        if (HASH_COUNT(self->routes) >= WEIR_ROUTES_MAX) {
            doubt_confirmed(self, self->routes_list);
            route_drop(self, self->routes_list);
        }
        route = weir_zalloc(1, sizeof *route);
        route->worker = worker;
        route->peer = peer->number;
        HASH_ADD(hh, self->routes, worker, sizeof route->worker, route);
    }
    if (route->peer != peer->number) {
        route->other = route->peer;
        route->other_ns = route->seen_ns;
        route->peer = peer->number;
    }
    route->seen_ns = self->now.mono_ns;
    DL_APPEND(self->routes_list, route);
    /* It lives: what it does not name on this way ends with its deadline. */
    if (route->doubt.index)
        doubt_end(self, route);
}

static bool stands(const struct weir_dispatch *self, uint64_t number)
{
    const struct peer *peer = weir_dispatch_peer(self, number);
    return peer && peer->state <= PEER_SILENT;
}

uint64_t weir_dispatch_peer_of(const struct weir_dispatch *self, uint64_t worker)
{
    const struct route *route = find(self, worker);
    if (route && stands(self, route->peer))
        return route->peer;
    const struct peer *peer = worker ? weir_dispatch_worker(self, worker) : NULL;
    if (peer && peer->state <= PEER_SILENT)
        return peer->number;
    return route && stands(self, route->other) ? route->other : 0;
}

/* Has the worker been heard on a way that still stands, other than through this peer? */
static bool elsewhere(const struct weir_dispatch *self, const struct route *route, uint64_t number)
{
    int64_t recent_ns = self->now.mono_ns - WEIR_PEER_SILENCE_MS * WEIR_NS_PER_MS;
    if (route->peer != number && route->seen_ns >= recent_ns && stands(self, route->peer))
        return true;
    return route->other != 0 && route->other != number && route->other_ns >= recent_ns &&
           stands(self, route->other);
}

void weir_dispatch_loss(struct weir_dispatch *self, uint64_t number, uint64_t worker,
                        const char *name, const struct weir_lease_ref *leases, uint32_t count)
{
    struct route *route = find(self, worker);
    bool second = route && route->doubt.index && route->doubted_on != number;
    if (route && !second && elsewhere(self, route, number)) {
        if (route->doubted_count + count > WEIR_LEASES_MAX)
            doubt_confirmed(self, route);
        route->doubted = weir_realloc(route->doubted, (size_t)route->doubted_count + count + 1,
                                      sizeof *route->doubted);
        for (uint32_t i = 0; i < count; i++)
            route->doubted[route->doubted_count++] = leases[i];
        route->doubted_on = number;
        memcpy(route->name, name, sizeof route->name);
        weir_heap_set(&self->doubts, &route->doubt, self->now.mono_ns + DOUBT_NS);
        return;
    }
    self->count.lost++;
    if (route) {
        doubt_confirmed(self, route);
        route_drop(self, route);
    }
    tell(self, worker, name, leases, count);
}

void weir_dispatch_routes_tick(struct weir_dispatch *self)
{
    while (weir_heap_next(&self->doubts) <= self->now.mono_ns) {
        struct route *route =
            WEIR_CONTAINER_OF(weir_heap_first(&self->doubts), struct route, doubt);
        self->count.lost++;
        doubt_confirmed(self, route);
    }
    while (self->routes_list && self->routes_list->seen_ns + ROUTE_NS <= self->now.mono_ns)
        route_drop(self, self->routes_list);
}

int64_t weir_dispatch_routes_next(const struct weir_dispatch *self)
{
    int64_t next = weir_heap_next(&self->doubts);
    if (self->routes_list && self->routes_list->seen_ns + ROUTE_NS < next)
        next = self->routes_list->seen_ns + ROUTE_NS;
    return next;
}

void weir_dispatch_routes_fini(struct weir_dispatch *self)
{
    while (self->routes_list)
        route_drop(self, self->routes_list);
    weir_heap_fini(&self->doubts);
}
