/* A group as the ventilator keeps it: its row, what of the stream is settled, and where the rest
 * is.
 *
 *   sequences   start ........ low ............... next ................ stream.end
 *               all settled    | settled, leased,  | waiting (some may be
 *                              | returned, waiting | settled: dropped when
 *                              | for a key         | the backlog was full)
 *
 * A sequence that is settled has a row in the state, or nothing more is to be done for it. */
#ifndef WEIR_CORE_GROUP_H
#define WEIR_CORE_GROUP_H

#include <base/clock.h>
#include <base/heap.h>
#include <base/pace.h>
#include <base/rangeset.h>
#include <core/ended.h>
#include <core/group_keys.h>
#include <core/settled.h>
#include <core/stream.h>

/* A row that is due and waits in memory to be handed out. */
struct weir_ready {
    struct weir_ready *prev, *next;
    struct weir_row *row;
    uint64_t after; /* not before this flush is durable (at most once) */
};

struct weir_deferred {
    struct weir_ready *ready;    /* earliest first */
    struct weir_ready *suspects; /* to be delivered alone */
    struct weir_ready *fetched;  /* parked ones, until all that were asked for are here */
    uint32_t suspect_count;
    uint64_t rows;  /* that wait, in the state or in memory */
    int64_t due_ms; /* of the earliest that is not in memory, as far as is known */
    bool known;     /* due_ms is no later than the truth */
    bool asking;    /* a QUERY is under way */
};

struct weir_group {
    struct weir_group *prev, *next; /* in `stirred` */
    struct weir_group_row row;      /* row.low is settled.low, kept up by the flush */
    struct weir_settled settled;
    struct weir_keys keys;         /* order: key */
    struct weir_rangeset returned; /* given back untouched, to go out again */
    struct weir_rangeset claimed;  /* at most once: noted as sent, in `claim_flush` */
    struct weir_rangeset cleared;  /* at most once: durably noted, not sent yet */
    uint64_t claim_flush;
    struct weir_deferred deferred;
    uint64_t in_flight, dying, dead, tombstones; /* messages; the last two are rows */
    uint64_t rescan_looks;                       /* order: key: of the rescan under way … */
    int64_t rescan_ns;                           /* … and when the next one may begin */
    bool rescan_paused;
    uint32_t fetching;      /* order: key: parked rows under way */
    uint64_t trimmed_chunk; /* the state has no chunk below it */
    uint64_t overflowed;    /* the last message that a full backlog turned away */
    uint64_t dropped_to; /* what the last drop brought and, behind it, what is not for the group */
    int64_t rate_ns;     /* with a rate: when the last message it let through was due */
    struct weir_pace pace; /* of deliveries from the log */
    uint64_t pace_bytes;   /* the stream's pushed_bytes after the last of them … */
    bool paced;            /* … which left nothing behind */
    int64_t idle_ns;       /* mono: since when it may be without a worker */
    int64_t oldest_ms;     /* when the oldest waiting message was accepted, last time it was seen */
    struct weir_heap_node timer;
    bool dirty, stirred, reading;
    bool keys_full;          /* order: key: that has been said */
    bool tombstones_trimmed; /* the state forgot some: from where on it knows is to be asked */
    bool unparking;          /* it has parked rows, but no order any more (recovery) */
};

struct weir_group *weir_group_new(const struct weir_group_row *row);
void weir_group_destroy(struct weir_group **self);

bool weir_group_matches(const struct weir_group *self, const struct weir_batch_header *header);
bool weir_group_ordered(const struct weir_group *self);
bool weir_group_final(const struct weir_group *self); /* delivery: at-most-once */
/* Settle sequences; `next` never stays below what is all settled. */
void weir_group_settle(struct weir_group *self, uint64_t first, uint64_t count);
/* What is not settled of [first, end) is gone with a damaged log. */
void weir_group_lose(struct weir_group *self, uint64_t first, uint64_t end);
/* [first, first + count) is dropped: its backlog is full, or it was sent at most once. */
void weir_group_drop(struct weir_group *self, uint64_t first, uint64_t count);
/* Hand out from here on; what lies between is not for this group. */
void weir_group_pass(struct weir_group *self, uint64_t to);
/* Messages that nobody has yet: in the log, in returned ranges, behind keys. */
uint64_t weir_group_waiting(const struct weir_group *self);
/* The same with what is deferred: what a bounded backlog bounds. */
uint64_t weir_group_backlog(const struct weir_group *self);
/* The lowest sequence that is still needed from the log, rows apart. */
uint64_t weir_group_needs(const struct weir_group *self);

/* How many messages the rate lets through now. */
uint64_t weir_group_rate_room(const struct weir_group *self, int64_t now_ns);
void weir_group_rate_take(struct weir_group *self, uint64_t messages, int64_t now_ns);
/* When it lets the next one through. */
int64_t weir_group_rate_next(const struct weir_group *self);

int64_t weir_group_lease_ms(const struct weir_group *self);
/* Whether both name the same topics, in whatever order. */
bool weir_policy_same_topics(const struct weir_group_policy *left,
                             const struct weir_group_policy *right);

#endif
