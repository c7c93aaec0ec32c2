/* What an operator sees of the dispatch. */
#include "dispatch_state.h"

#include <inttypes.h>
#include <stdio.h>

#define STATS_PEERS_MAX WEIR_ADMIN_LIST_MAX

static const char *breaker_name(const struct weir_breaker *breaker)
{
    static const char *const names[] = {[WEIR_BREAKER_CLOSED] = "closed",
                                        [WEIR_BREAKER_OPEN] = "open",
                                        [WEIR_BREAKER_PROBING] = "probing"};
    return names[breaker->state];
}

static const char *state_name(enum peer_state state)
{
    static const char *const names[] = {[PEER_LIVE] = "live",
                                        [PEER_SILENT] = "silent",
                                        [PEER_GONE] = "gone",
                                        [PEER_SUPERSEDED] = "superseded"};
    return names[state];
}

static void pack_service(struct weir_packer *packer, const struct weir_dispatch *self,
                         const struct service *service)
{
    struct room room = {0};
    bool has_room = weir_dispatch_service_room(self, service, &room);
    weir_pack_map(packer, 3);
    weir_pack_text(packer, "group");
    weir_pack_text(packer, service->group->name);
    weir_pack_text(packer, "in_flight");
    weir_pack_u64(packer, service->outstanding);
    weir_pack_text(packer, "room");
    weir_pack_u64(packer, has_room ? room.messages : 0);
}

static void pack_peer(struct weir_packer *packer, const struct weir_dispatch *self,
                      const struct peer *peer, const struct weir_now *now)
{
    const struct service *service;
    uint32_t services = 0;
    DL_FOREACH (peer->services, service)
        services++;
    char worker[17];
    snprintf(worker, sizeof worker, "%016" PRIx64, peer->worker);
    weir_pack_map(packer, 8);
    weir_pack_text(packer, "name");
    weir_pack_text(packer, peer->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, is_router(peer) ? "router" : "worker");
    weir_pack_text(packer, "worker");
    weir_pack_text(packer, is_router(peer) ? "" : worker);
    weir_pack_text(packer, "state");
    weir_pack_text(packer, state_name(peer->state));
    weir_pack_text(packer, "silent_ms");
    weir_pack_i64(packer, (now->mono_ns - peer->heard_ns) / WEIR_NS_PER_MS);
    weir_pack_text(packer, "breaker");
    weir_pack_text(packer, breaker_name(&peer->breaker));
    weir_pack_text(packer, "in_flight");
    weir_pack_u64(packer, peer->outstanding);
    weir_pack_text(packer, "groups");
    weir_pack_array(packer, services);
    DL_FOREACH (peer->services, service)
        pack_service(packer, self, service);
}

uint32_t weir_dispatch_stats_count(void)
{
    uint32_t count = 2; /* peers, peer_count */
#define X(name) count++;
    DISPATCH_COUNTERS(X)
#undef X
    return count;
}

void weir_dispatch_stats(const struct weir_dispatch *self, struct weir_packer *packer,
                         const struct weir_now *now)
{
#define X(name)                                                                                    \
    weir_pack_text(packer, #name);                                                                 \
    weir_pack_u64(packer, self->count.name);
    DISPATCH_COUNTERS(X)
#undef X
    uint32_t peers = HASH_COUNT(self->peers);
    weir_pack_text(packer, "peer_count");
    weir_pack_u64(packer, peers);
    uint32_t shown = peers < STATS_PEERS_MAX ? peers : STATS_PEERS_MAX;
    weir_pack_text(packer, "peers");
    weir_pack_array(packer, shown);
    const struct peer *peer = self->peers;
    for (uint32_t i = 0; i < shown; i++, peer = peer->hh.next)
        pack_peer(packer, self, peer, now);
}
