/* The server side of the dispatch protocol: sessions, credit, who holds what, breakers, and who
 * gets the next delivery. Shared by the ventilator, which has the work, and the relay, which passes
 * it on: both are its `owner`. It never keeps a message itself. */
#ifndef WEIR_CORE_DISPATCH_H
#define WEIR_CORE_DISPATCH_H

#include <base/random.h>
#include <contract/host.h>
#include <wire/control.h>

struct weir_dispatch;

/* What the owner is told. All are called from within weir_dispatch_event, weir_dispatch_gone or
 * weir_dispatch_tick; none may destroy the dispatch. `group` is NUL-terminated. */
struct weir_dispatch_owner {
    void *self;
    /* Somebody has room for this group now: hand out what there is. Called at most once a group
     * and turn, after the turn's other calls. */
    void (*room)(void *self, const char *group, const struct weir_now *now);
    /* Outcomes. `frame` is the control frame they came in; acks of leases this dispatch never saw
     * are passed on too (they may have come another way). `worker` is 0 when the frame did not say.
     */
    void (*ack)(void *self, uint64_t peer, const struct weir_control *control,
                const struct weir_now *now);
    /* A worker's beat that names leases: renew those that live and answer with an echo to `peer`
     * (HEARTBEAT with serial, worker, incarnation, leases still live). A beat that names none is
     * echoed by the dispatch itself. */
    void (*beat)(void *self, uint64_t peer, const struct weir_control *control,
                 const struct weir_now *now);
    /* BEGIN: answer GO to `peer` for those that live. EXTEND: start the attempt timeout anew. */
    void (*begin)(void *self, uint64_t peer, const struct weir_control *control,
                  const struct weir_now *now);
    void (*extend)(void *self, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now);
    /* A worker is gone and held these, from its last READY or DELIVER on. */
    void (*lost)(void *self, uint64_t worker, const char *name, const struct weir_lease_ref *leases,
                 uint32_t count, const struct weir_now *now);
    /* These are given back untouched: BYE; or a worker came back on another connection and does not
     * hold them, so they were lost on the wire. */
    void (*released)(void *self, const struct weir_lease_ref *leases, uint32_t count,
                     const struct weir_now *now);
    /* JOIN: answer JOINED or ERROR to `peer`, now or later. */
    void (*join)(void *self, uint64_t peer, const struct weir_control *control,
                 const struct weir_now *now);
    /* Does this group exist here? CREDIT for one that does not is answered with ERROR group. NULL:
     * every group does (a relay learns groups from its workers). */
    bool (*known)(void *self, const char *group);
};

struct weir_dispatch_config {
    const char *name;     /* of the node, for WELCOME; copied */
    const char *role;     /* "ventilator" or "router" */
    uint64_t incarnation; /* 0 for a relay */
    uint8_t uuid[16];
    uint32_t port; /* WEIR_PORT_DISPATCH */
};

struct weir_dispatch *weir_dispatch_new(const struct weir_dispatch_config *config,
                                        const struct weir_dispatch_owner *owner,
                                        const struct weir_host *host, uint64_t seed);
void weir_dispatch_destroy(struct weir_dispatch **self);

/* A message on the dispatch port. Everything wrong with it is answered with ERROR and counted. */
void weir_dispatch_event(struct weir_dispatch *self, struct weir_event *event);
/* PEER_GONE. A worker that does not say READY on another connection within WEIR_LOSS_GRACE_MS is
 * lost; a router is forgotten, and nothing with it. */
void weir_dispatch_gone(struct weir_dispatch *self, uint64_t peer, const struct weir_now *now);
/* Silent peers, breaker probes, withdrawn suspects; call each turn. Returns when to be called next.
 */
int64_t weir_dispatch_tick(struct weir_dispatch *self, const struct weir_now *now);

/* Who takes the next delivery of a group. */
struct weir_offer {
    uint64_t peer;
    uint32_t messages; /* at most so many; >= 1 */
    uint64_t bytes;    /* at most so many; one message may always pass when `whole` */
    bool whole;        /* nothing is outstanding there: one message of any size may pass */
    bool router;       /* the peer is a router: it splits further */
};
/* A peer that holds nothing, else the one with the most free credit per message outstanding; with
 * several the offer is no more than a fair share. Breakers are heeded: an open one is offered a
 * probe of one message when it is due. `alone`: for a suspect: a worker that holds nothing, or a
 * router; while it is out that worker is offered nothing else. When none is idle, one is drained
 * for it, for a while. False: nobody has room; the group is then announced as WAITING, once, to all
 * that serve it, and `room` follows when that changes. */
bool weir_dispatch_offer(struct weir_dispatch *self, const char *group, bool alone,
                         const struct weir_now *now, struct weir_offer *offer);

/* The next message was larger than this offer's bytes: who else takes it. Whoever holds nothing,
 * else whoever has the most bytes; what is out at the first may run for hours, and what the others
 * have room for is not to wait for that. Not for suspects. False: nobody has more, the offer is as
 * it was. */
bool weir_dispatch_offer_larger(struct weir_dispatch *self, const char *group,
                                const struct weir_now *now, struct weir_offer *offer);

/* Send a DELIVER as offered: `control` filled (verb, group, incarnation, delivery, slices, …), then
 * three frames a slice, taken over from `frames` (no control frame in it yet). Accounts the credit
 * and notes who holds what. */
void weir_dispatch_deliver(struct weir_dispatch *self, uint64_t peer,
                           const struct weir_control *control, struct weir_frames *frames,
                           const struct weir_now *now);

/* Forget a lease that ended here without an ack from its holder (deadline passed, ended another
 * way), so that it counts as outstanding no longer. */
void weir_dispatch_forget(struct weir_dispatch *self, const struct weir_lease_ref *lease);

/* Send any other frame to a peer. */
void weir_dispatch_send(struct weir_dispatch *self, uint64_t peer,
                        const struct weir_control *control);
/* ERROR. `group`: NULL, or the group that it is about; `serial`: NULL, or that of the frame which
 * it answers. Counted. */
void weir_dispatch_error(struct weir_dispatch *self, uint64_t peer, const char *code,
                         const char *text, const char *group, const uint64_t *serial);

/* The free credit of all workers for a group, breakers heeded: what a relay may lend upwards. Bytes
 * count where there is room for no message, too. */
void weir_dispatch_room(const struct weir_dispatch *self, const char *group, uint64_t *messages,
                        uint64_t *bytes);
/* Work waits elsewhere for room here: say WAITING, as a failing offer does. For a relay whose own
 * upstream says so. */
void weir_dispatch_announce(struct weir_dispatch *self, const char *group,
                            const struct weir_now *now);
/* There is no such group (any more): all credit for it is void, and who gave it is told so. */
void weir_dispatch_refuse(struct weir_dispatch *self, const char *group, const char *text);
/* Messages that are out, to all peers. */
uint64_t weir_dispatch_outstanding(const struct weir_dispatch *self);
/* Every group that a live session has named. Calls `each` for all. */
void weir_dispatch_groups(const struct weir_dispatch *self,
                          void (*each)(void *arg, const char *group), void *arg);
/* The session that last said READY or beat as this worker; 0: none. */
uint64_t weir_dispatch_peer_of(const struct weir_dispatch *self, uint64_t worker);
/* How many live sessions serve the group, and when one was last seen (wall ms; 0: never). */
uint32_t weir_dispatch_servers(const struct weir_dispatch *self, const char *group,
                               int64_t *last_seen_ms);
/* Counters and sessions, as pairs into a map that the caller has opened; returns how many pairs. */
uint32_t weir_dispatch_stats_count(void);
void weir_dispatch_stats(const struct weir_dispatch *self, struct weir_packer *packer,
                         const struct weir_now *now);

#endif
