/* The router's machine, as its files see it.
 *
 *   relay.c         events, what the sessions say, drain
 *   relay_route.c   which way up: acks, beats, losses
 *   relay_lend.c    the workers' credit, lent to the upstreams
 *   relay_join.c    groups that are joined, and with which topics
 *   relay_queue.c   deliveries on their way down, split to fit
 *   relay_order.c   the same where a key's messages must stay in order
 *   relay_admin.c   stats, drain
 *
 * Nothing here need outlive the process: what waits is under a lease that ends, credit is given
 * anew in each session, and the way of an ack is found from the lease's own name. */
#ifndef WEIR_CORE_RELAY_STATE_H
#define WEIR_CORE_RELAY_STATE_H

#include <base/alloc.h>
#include <base/hash_table.h>
#include <base/heap.h>
#include <core/dispatch.h>
#include <core/roles.h>
#include <core/session.h>
#include <utlist.h>

struct relay;
struct order;
struct ask;

/* A delivery, or what is left of it, that waits for room. */
struct item {
    struct item *prev, *next;
    struct relay_group *group;
    uint64_t incarnation, delivery, lease_ms, timeout_ms;
    bool has_timeout, ordered, once, alone, has_uuid;
    uint8_t uuid[16];
    struct weir_slice_info *slices;
    struct weir_frames frames; /* three a slice */
    uint32_t slice_count;
    uint32_t slice_at;              /* those before are placed; this one is cut to what is left */
    uint64_t messages, bytes;       /* left */
    struct weir_heap_node deadline; /* then it is given back: its lease goes on all the time */
    struct order *order;            /* ordered, and placed in part */
};

/* What an upstream is to a group. */
struct loan {
    bool hungry;        /* it said WAITING, and uses what it gets */
    bool absent;        /* it has no such group */
    int64_t stirred_ns; /* when it last showed that it has work, or was given credit */
};

struct relay_group {
    UT_hash_handle hh;
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct item *queue;
    struct item *suspects;
    uint64_t queued_messages, queued_bytes;
    struct loan *loans;         /* one an upstream */
    uint32_t turn;              /* whose turn it is where not everybody can have some */
    struct weir_heap_node idle; /* when a hungry upstream that sends nothing is taken for sated */
    struct ask *asks;           /* topics to JOIN with: those that were accepted, and others */
    struct ask *accepted;       /* NULL: none, so far as is known here */
    uint32_t ask_count;
};

struct upstream {
    struct weir_session *session;
    bool router;
    bool refused; /* another spool under a tag that is known */
    bool named;   /* WELCOME has come once */
    char name[WEIR_NAME_BYTES_MAX + 1];
    uint64_t incarnation; /* 0: a router, or not known yet */
    uint8_t uuid[16];
    struct weir_frames held; /* acks and the like for when it is back */
    size_t held_bytes;
};

/* The way to a stream. */
struct tag {
    UT_hash_handle hh;
    uint32_t tag;
    int32_t direct; /* the upstream that is its ventilator; -1 */
    int32_t via;    /* a router that leads there; -1 */
};

#define RELAY_COUNTERS(X)                                                                          \
    X(delivered)  /* messages that came down */                                                    \
    X(split)      /* deliveries that did not go on in one piece */                                 \
    X(given_back) /* messages released because nobody took them in time */                         \
    X(unroutable) /* acks and beats of a stream that no upstream leads to */                       \
    X(dropped)    /* frames for an upstream that was away too long */

struct relay {
    struct weir_role role;
    struct weir_host host;
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct weir_dispatch *down;
    struct upstream *upstreams;
    uint32_t upstream_count;
    struct share *shares; /* scratch of relay_lend.c, one an upstream */
    struct relay_group *groups;
    struct tag *tags;
    struct weir_heap deadlines; /* items */
    struct weir_heap idle;      /* groups */
    struct weir_now now;
    bool draining, stopped;
    int64_t drain_until_ns;
    int64_t wake_ns;
    struct {
#define X(name) uint64_t name;
        RELAY_COUNTERS(X)
#undef X
    } count;
};

/* ---- relay.c ---- */

struct relay_group *weir_relay_group(const struct relay *self, const char *name, size_t bytes);
void weir_relay_drain(struct relay *self);
void weir_relay_log(struct relay *self, enum weir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- relay_route.c ---- */

/* Learn who an upstream is; refuses one whose tag belongs to another spool. */
void weir_relay_meet(struct relay *self, uint32_t upstream, const struct weir_control *welcome);
/* A frame of this stream came through this upstream. */
void weir_relay_learn(struct relay *self, uint32_t upstream, uint64_t incarnation);
/* Send, or keep until the upstream is back. */
void weir_relay_up(struct relay *self, uint32_t upstream, const struct weir_control *control);
void weir_relay_flush(struct relay *self, uint32_t upstream);
/* Send the parts of a frame that names acks or leases to where they belong. */
void weir_relay_up_acks(struct relay *self, const struct weir_control *control);
void weir_relay_up_leases(struct relay *self, const struct weir_control *control);
void weir_relay_routes_fini(struct relay *self);

/* ---- relay_queue.c ---- */

void weir_relay_take(struct relay *self, struct relay_group *group,
                     const struct weir_control *control, struct weir_frames *frames);
/* Place what can be placed; give back what nobody serves. */
void weir_relay_pump(struct relay *self, struct relay_group *group);
void weir_relay_queue_tick(struct relay *self);
/* Give everything that waits back. */
void weir_relay_queue_release(struct relay *self, struct relay_group *group);
void weir_relay_queue_fini(struct relay *self, struct relay_group *group);
/* The offer is too small for the next message of the item: a larger one. False: there is none. */
bool weir_relay_offer_larger(struct relay *self, const struct item *item, struct weir_offer *offer);
/* Send some slices on, as offered. */
void weir_relay_send(struct relay *self, const struct item *item, uint64_t peer,
                     struct weir_slice_info *slices, uint32_t count, struct weir_frames *frames);
/* Give messages of an item back. */
void weir_relay_give_back(struct relay *self, const struct item *item,
                          const struct weir_lease_ref *leases, uint32_t count);

/* ---- relay_order.c ---- */

/* Place what can be, key by key. False: nobody has room (true: what is left waits for acks). */
bool weir_relay_order_place(struct relay *self, struct item *item);
/* What became of messages that were placed: the ones behind them go on, or are given back. */
void weir_relay_order_acks(struct relay *self, const struct weir_control *control);
void weir_relay_order_lost(struct relay *self, const struct weir_lease_ref *leases, uint32_t count);
/* The ranges still waiting, as an array to be freed. */
struct weir_lease_ref *weir_relay_order_left(struct item *item, uint32_t *count);
void weir_relay_order_free(struct item *item);

/* ---- relay_lend.c ---- */

void weir_relay_lend(struct relay *self, struct relay_group *group);
void weir_relay_lend_all(struct relay *self);
void weir_relay_lend_tick(struct relay *self);
/* Credit that upstreams may still use, in messages. */
uint64_t weir_relay_lent(const struct relay *self, const struct relay_group *group);

/* ---- relay_join.c ---- */

/* JOIN from below, JOINED and ERROR about a group from above. */
void weir_relay_join(struct relay *self, struct relay_group *group, uint64_t peer,
                     const struct weir_control *join);
void weir_relay_joined(struct relay *self, uint32_t upstream, struct relay_group *group,
                       const struct weir_control *control);
void weir_relay_refused(struct relay *self, uint32_t upstream, struct relay_group *group,
                        const struct weir_control *error);
/* Workers have given credit anew for a group that no upstream had: it may be there now. */
void weir_relay_ask_again(struct relay *self, struct relay_group *group);
/* A session begins, before anything is lent in it; a link ends. */
void weir_relay_join_welcome(struct relay *self, uint32_t upstream);
void weir_relay_join_down(struct relay *self, uint32_t upstream);
/* The upstream has the group, as far as we know, and the workers' credit may go there. */
bool weir_relay_lendable(const struct relay *self, const struct relay_group *group,
                         uint32_t upstream);
/* Somebody waits for an answer. */
bool weir_relay_joining(const struct relay_group *group);
void weir_relay_join_fini(struct relay_group *group);

/* ---- relay_admin.c ---- */

void weir_relay_admin(struct relay *self, const struct weir_event *event);

#endif
