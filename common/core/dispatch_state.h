/* What the dispatch keeps, shared by its files and by nobody else.
 *
 *   dispatch.c            frames in, frames out, the turn
 *   dispatch_peers.c      sessions: READY, takeover, silence, loss, BYE
 *   dispatch_routes.c     on which ways a worker is reached, and whether it is lost on all
 *   dispatch_credit.c     groups, who serves them, limits and use, WAITING
 *   dispatch_offer.c      who gets the next delivery; breakers' probes; suspects
 *   dispatch_holdings.c   who holds which messages of which delivery
 *   dispatch_stats.c      what an operator sees
 *
 * A peer's session:
 *
 *            READY             quiet too long
 *        ──────────► LIVE ◄────────────────────► SILENT
 *                      │       heard again         │
 *                      ├───────────────────────────┤
 *          PEER_GONE   ▼                           ▼  READY of this worker on another connection
 *                    GONE ────────────────────► SUPERSEDED
 *                      │                           │
 *           grace over ▼                           ▼ grace over
 *                    lost                the rest is released: it was lost on the wire
 *
 * In GONE and SUPERSEDED acks that were on their way still count. A router that is gone is
 * forgotten at once. */
#ifndef WEIR_CORE_DISPATCH_STATE_H
#define WEIR_CORE_DISPATCH_STATE_H

#include <base/alloc.h>
#include <base/hash_table.h>
#include <base/heap.h>
#include <core/breaker.h>
#include <core/dispatch.h>
#include <utlist.h>

enum peer_state { PEER_LIVE, PEER_SILENT, PEER_GONE, PEER_SUPERSEDED };

struct group;

struct peer {
    UT_hash_handle hh;        /* by number */
    UT_hash_handle hh_worker; /* by worker: only the newest session of a worker is in */
    uint64_t number;
    uint64_t worker; /* 0: a router */
    char name[WEIR_NAME_BYTES_MAX + 1];
    enum peer_state state;
    uint32_t readies;      /* READYs said on this connection */
    uint64_t ready_serial; /* of the newest; 0: none was said */
    int64_t heard_ns;
    int64_t heard_ms;            /* the same on the wall */
    struct weir_heap_node quiet; /* end of patience: silence, or grace */
    struct weir_breaker breaker; /* of a worker */
    struct weir_heap_node probe; /* when the open breaker is due */
    struct service *services;    /* by prev, next */
    struct part *parts;          /* oldest first */
    uint64_t outstanding;        /* messages in parts */
    uint64_t unplaced;           /* of these, of unknown group: claimed by READY */
    uint64_t alone;              /* of these, suspects */
    struct group *drained_for;   /* gets nothing, so that a suspect can be sent to it */
    int64_t drain_after_ns;      /* not before */
};

/* A group that a peer serves. */
struct service {
    struct service *prev, *next;     /* of the peer */
    struct service *g_prev, *g_next; /* of the group */
    struct peer *peer;
    struct group *group;
    uint64_t limit_messages, limit_bytes; /* cumulative, as CREDIT said */
    uint64_t sent_messages, sent_bytes;   /* cumulative, in this session */
    uint64_t serial;                      /* of the newest CREDIT; 0: it had none */
    bool voided;                          /* what was granted, and nothing has been since */
    uint64_t outstanding;                 /* messages sent or claimed, not ended */
    uint32_t alone;                       /* of these, suspects */
    bool waiting_said;                    /* and nothing sent since */
    int64_t waiting_ns;
    uint64_t turn; /* when it was last sent something */
};

struct group {
    UT_hash_handle hh;
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct service *services; /* by g_prev, g_next */
    uint32_t service_count;
    uint32_t delivery_count; /* that name this group */
    int64_t last_seen_ms;    /* of services that are no more */
    bool dirty;              /* room is to be told of */
    struct group *dirty_next;
    struct peer *drained; /* the peer that is drained for a suspect of this group */
    struct weir_heap_node drain;
    /* All its workers' breakers are open: one probe at a time for the whole group. */
    bool open;
    int64_t open_interval_ms;
    int64_t open_probe_at_ns;
    struct weir_heap_node probe;
};

struct delivery_key {
    uint64_t incarnation;
    uint64_t number;
};

/* Messages [first, first + count) of a delivery that one peer holds. */
struct part {
    struct part *prev, *next; /* of the peer */
    struct peer *peer;
    struct delivery *delivery;
    struct service *service; /* NULL: the group is not known */
    uint32_t first, count;
    bool alone;
    bool probe;                  /* its outcome decides about the peer's breaker */
    bool claimed;                /* READY named it … */
    uint32_t ready;              /* … the peer's how-many-eth */
    int64_t lease_ns;            /* how long the lease lasts without a beat */
    int64_t named_ns;            /* when the peer last said that it holds this; 0: never yet */
    struct weir_heap_node stale; /* nobody has named it for two leases */
};

struct delivery {
    UT_hash_handle hh;
    struct delivery_key key;
    struct group *group; /* NULL: not known */
    struct part **parts; /* disjoint, ascending */
    uint32_t count, capacity;
};

/* How a worker was last reached, behind routers or not, and one more way it may still be on. */
struct route {
    UT_hash_handle hh;
    struct route *prev, *next; /* longest silent first */
    uint64_t worker;
    uint64_t peer, other; /* numbers */
    int64_t seen_ns, other_ns;
    /* Reported lost on one way while there was another: so for the moment that is in doubt. */
    struct weir_lease_ref *doubted; /* owned */
    uint32_t doubted_count;
    uint64_t doubted_on; /* the peer that reported it */
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct weir_heap_node doubt; /* when it is taken for true */
};

/* X (name): counters, in the order of the stats. */
#define DISPATCH_COUNTERS(X)                                                                       \
    X(errors)     /* frames answered with ERROR */                                                 \
    X(not_ready)  /* of these, from peers that skipped READY */                                    \
    X(deliveries) /* DELIVERs sent */                                                              \
    X(messages)   /* in them */                                                                    \
    X(settled)    /* messages that ended with an ack from their holder */                          \
    X(stale)      /* messages held that nobody names any more */                                   \
    X(lost)       /* workers */                                                                    \
    X(taken_over) /* sessions superseded by their worker's new one */                              \
    X(silent)     /* peers that fell silent */                                                     \
    X(opened)     /* breakers */

struct weir_dispatch {
    struct weir_dispatch_owner owner;
    struct weir_host host;
    struct weir_random random;
    char name[WEIR_NAME_BYTES_MAX + 1];
    char role[WEIR_NAME_BYTES_MAX + 1];
    uint64_t incarnation;
    uint8_t uuid[16];
    uint32_t port;
    struct weir_now now; /* of this turn */
    uint64_t turn;       /* counts deliveries */
    struct peer *peers;
    struct peer *workers;
    struct group *groups;
    struct group *dirty; /* by dirty_next */
    struct delivery *deliveries;
    struct route *routes;      /* hash */
    struct route *routes_list; /* by silence */
    struct weir_heap quiet;    /* peers */
    struct weir_heap stale;    /* parts */
    struct weir_heap probes;   /* peers */
    struct weir_heap group_probes;
    struct weir_heap drains; /* groups */
    struct weir_heap doubts; /* routes */
    struct {
#define X(name) uint64_t name;
        DISPATCH_COUNTERS(X)
#undef X
    } count;
};

static inline bool is_router(const struct peer *peer)
{
    return peer->worker == 0;
}

/* ---- dispatch.c ---- */

/* `room` will be said of this group at the end of the turn. */
void weir_dispatch_stir(struct weir_dispatch *self, struct group *group);
void weir_dispatch_stir_peer(struct weir_dispatch *self, struct peer *peer);

/* ---- dispatch_peers.c ---- */

struct peer *weir_dispatch_peer(const struct weir_dispatch *self, uint64_t number);
void weir_dispatch_ready(struct weir_dispatch *self, uint64_t number,
                         const struct weir_control *control);
void weir_dispatch_bye(struct weir_dispatch *self, struct peer *peer,
                       const struct weir_control *control);
/* LOST, from a router. */
void weir_dispatch_lost(struct weir_dispatch *self, struct peer *peer,
                        const struct weir_control *control);
void weir_dispatch_heard(struct weir_dispatch *self, struct peer *peer);
/* The newest session of a worker that is connected here itself. */
struct peer *weir_dispatch_worker(const struct weir_dispatch *self, uint64_t worker);
void weir_dispatch_peers_tick(struct weir_dispatch *self);
/* Forget a peer and all it holds without telling anybody. */
void weir_dispatch_peer_drop(struct weir_dispatch *self, struct peer *peer);

/* ---- dispatch_routes.c ---- */

/* `worker` was heard of through `peer`. */
void weir_dispatch_route(struct weir_dispatch *self, const struct peer *peer, uint64_t worker);
/* The worker is gone from the way through the peer of this number: tell the owner, at once where
 * there is no other way, else when nothing is heard of it there either. */
void weir_dispatch_loss(struct weir_dispatch *self, uint64_t number, uint64_t worker,
                        const char *name, const struct weir_lease_ref *leases, uint32_t count);
void weir_dispatch_routes_tick(struct weir_dispatch *self);
int64_t weir_dispatch_routes_next(const struct weir_dispatch *self);
void weir_dispatch_routes_fini(struct weir_dispatch *self);

/* ---- dispatch_credit.c ---- */

struct group *weir_dispatch_group(const struct weir_dispatch *self, const char *name, size_t bytes);
/* Found or made; NULL: WEIR_GROUPS_MAX. */
struct group *weir_dispatch_group_get(struct weir_dispatch *self, const char *name, size_t bytes);
void weir_dispatch_group_drop(struct weir_dispatch *self, struct group *group);
struct service *weir_dispatch_service(const struct peer *peer, const struct group *group);
struct service *weir_dispatch_service_get(struct weir_dispatch *self, struct peer *peer,
                                          struct group *group);
void weir_dispatch_service_drop(struct weir_dispatch *self, struct service *service);
void weir_dispatch_credit(struct weir_dispatch *self, struct peer *peer,
                          const struct weir_control *control);

/* ---- dispatch_offer.c ---- */

/* What may be sent to a service now. */
struct room {
    uint64_t messages;
    uint64_t bytes;
    bool whole;
    bool probe;
};
/* False: nothing; `room` then says how many bytes there would be for more messages. */
bool weir_dispatch_service_room(const struct weir_dispatch *self, const struct service *service,
                                struct room *room);
/* Outcomes of `count` messages that this part's peer held; before they are taken off. */
void weir_dispatch_outcome(struct weir_dispatch *self, const struct part *part,
                           enum weir_outcome outcome, uint32_t count);
/* A peer's breaker, services or state changed: see whether its groups are open as a whole. */
void weir_dispatch_review(struct weir_dispatch *self, struct group *group);
void weir_dispatch_review_peer(struct weir_dispatch *self, struct peer *peer);
void weir_dispatch_drain_end(struct weir_dispatch *self, struct group *group);
void weir_dispatch_offer_tick(struct weir_dispatch *self);
int64_t weir_dispatch_offer_next(const struct weir_dispatch *self);

/* ---- dispatch_holdings.c ---- */

/* Note that `peer` holds these; whoever was noted before does no longer. */
void weir_dispatch_hold(struct weir_dispatch *self, struct peer *peer, struct service *service,
                        const struct weir_lease_ref *lease, const struct part *how);
/* Take messages off, whoever holds them. `outcome`: an enum weir_outcome, or -1 for none. Returns
 * how many were noted. */
uint64_t weir_dispatch_take(struct weir_dispatch *self, const struct weir_lease_ref *lease,
                            const struct peer *holder, int outcome);
/* READY names this: note it for the peer, where no other live worker holds it. */
void weir_dispatch_claim(struct weir_dispatch *self, struct peer *peer,
                         const struct weir_lease_ref *lease);
/* The peer names this as held: it is not stale. */
void weir_dispatch_touch(struct weir_dispatch *self, const struct peer *peer,
                         const struct weir_lease_ref *lease);
/* The peer, a worker, has said what it holds: take off what it named before and does not any more.
 * That was lost for it, or is none of its own any more, and it said so on another way or not at
 * all. */
void weir_dispatch_prune(struct weir_dispatch *self, struct peer *peer);
/* Its peer holds it no longer: no outcome, and none to come. */
void weir_dispatch_part_drop(struct weir_dispatch *self, struct part *part);
/* Everything the peer holds, as an array to be freed. */
struct weir_lease_ref *weir_dispatch_held(const struct peer *peer, uint32_t *count);
void weir_dispatch_holdings_tick(struct weir_dispatch *self);

#endif
