/* What the ventilator's files share.
 *
 *   ventilator.c        the role: its states, events and where they go, the end of each turn
 *   recovery.c          start: what the state and the log say
 *   groups.c            groups of the configuration, joined at run time, removed, left idle
 *   accept.c            PUT to OK: limits, back-pressure, idempotency, append, commit
 *   replay.c            dead letters that come back
 *   handout.c           what of a group goes out next
 *   handout_order.c     the same with order: key
 *   delivery.c          a DELIVER being put together
 *   holders.c           what workers say about their leases: acks, beats, losses
 *   outcome.c           what an outcome does to a message
 *   deferred.c          rows waiting for their time, and those that are due
 *   delayed.c           delayed messages, for groups that do not exist yet
 *   dying.c             dead letters on their way to the collector
 *   flush.c             the state transaction being gathered
 *   copyout.c           freeing the log: what pins it is copied into the state
 *   ventilator_admin.c  STATS, LIST, GROUP, DRAIN
 *   ventilator_status.c STATUS of one message
 *
 * and beneath them, without any knowledge of a ventilator: settled, group_keys, stream, lease,
 * idempotency, group. */
#ifndef WEIR_CORE_VENTILATOR_H
#define WEIR_CORE_VENTILATOR_H

#include <base/random.h>
#include <core/dispatch.h>
#include <core/group.h>
#include <core/idempotency.h>
#include <core/intake.h>
#include <core/lease.h>
#include <core/roles.h>
#include <core/stream.h>
#include <core/submit.h>

struct weir_ventilator;

/* ---- storage requests: each ends in a call ---- */

/* The result is a success, but for READ, TRIM, and an APPEND that found no room: whatever else
 * fails ends the ventilator first. */
typedef void weir_stored_fn(struct weir_ventilator *v, struct weir_store_result *result,
                            uint64_t arg, void *pointer);

struct weir_asked; /* one outstanding request */

/* ---- the flush ---- */

struct weir_flush {
    struct weir_op *ops; /* gathered so far */
    uint32_t count, capacity;
    uint64_t serial; /* of the transaction being gathered, from 1 */
    uint64_t done;   /* the newest that is durable */
    uint32_t under_way;
    bool dirty;        /* there is something to gather */
    bool hurry;        /* somebody waits for it */
    int64_t since_ns;  /* when it became dirty */
    uint64_t absorbed; /* what the newest that was handed over knows of, from the log … */
    uint64_t durable;  /* … and the newest that is durable */
    uint64_t copied;   /* bytes of payloads in what is being gathered */
    uint64_t trim; /* no record wholly below it is needed, once all that was handed over is done */
    struct weir_flush_producer *producers; /* of whom the state knows too little, or too much */
};

/* ---- the other parts' own ---- */

struct weir_accept {
    struct weir_pending_put *pending; /* in the order of acceptance */
    uint64_t bytes;                   /* of those on their way to the disk */
    uint64_t last; /* the last message that was in the log; behind it there may be a gap */
    bool trimmed;  /* the state's producers, since the start */
};

struct weir_delivery { /* being put together */
    struct weir_group *group;
    struct weir_offer offer;
    uint64_t number; /* 0: none is being put together */
    uint64_t messages_max, messages;
    uint64_t bytes_max, bytes;
    uint32_t slice_count;
    struct weir_slice_info info[WEIR_SLICES_MAX];
    struct weir_lease_slice slices[WEIR_SLICES_MAX];
    struct weir_stream_batch *last; /* the batch of the last slice; NULL: that one is a row's */
    uint64_t last_offset;           /* where the slice begins in its body … */
    uint64_t last_bytes;            /* … and how long it is there */
    struct weir_frames frames;
};

struct weir_delayed { /* rows of WEIR_GROUP_LATER */
    int64_t due_ms;   /* none is due before */
    bool asking;
};

struct weir_dying {
    struct weir_dying_letter *letters; /* fetched, or on their way */
    uint32_t count;
    uint64_t rows; /* DYING in the state */
    int64_t at_ms; /* when to look for more; WEIR_TIME_NEVER: nothing to be found */
    bool asking;
    bool outdated; /* a death was replayed since the state was asked: its answer may tell of it */
    uint64_t confirmed, refused;
    uint64_t batches; /* numbered, as the argument of their submission */
};

struct weir_copyout {
    uint64_t oldest_last; /* the last sequence of the oldest whole segment; 0: there is none */
    bool full;            /* an append found no room */
    bool busy;            /* a pass is under way */
    uint32_t last_group;  /* the newest group when it began */
    int64_t at_ns;        /* the next one */
    uint64_t wanted;      /* where the last READ it asked for begins; 0: none */
    uint64_t in_state;    /* bytes of payloads, as its last result says */
    uint64_t on_way;      /* copied, and not in the state yet */
    bool warned;
};

enum weir_ventilator_state {
    WEIR_VENTILATOR_RECOVERING,
    WEIR_VENTILATOR_OPEN,
    WEIR_VENTILATOR_DRAINING, /* waiting for what is out */
    WEIR_VENTILATOR_CLOSING,  /* the last flush is under way */
    WEIR_VENTILATOR_STOPPED,
};

struct weir_ventilator {
    struct weir_role role;
    enum weir_ventilator_state state;
    struct weir_host host;
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct weir_ventilator_config config; /* `groups` only until recovery is over */
    struct weir_group_policy *policies;   /* of the configuration, likewise */
    struct weir_recovered *recovered;     /* likewise */
    uint8_t uuid[16];
    uint16_t tag;
    uint64_t incarnation;
    uint64_t oldest; /* the lowest sequence that may still be in the log */
    struct weir_random random;
    struct weir_now now; /* of this turn */
    struct weir_intake *intake;
    struct weir_dispatch *dispatch;
    struct weir_submit *submit; /* NULL: there is no collector */
    struct weir_stream stream;
    struct weir_group **groups;
    uint32_t group_count;
    uint32_t last_group; /* the highest number given to a group */
    struct weir_group *stirred;
    struct weir_heap group_timers;
    struct weir_leases leases;
    uint64_t last_delivery;
    uint64_t last_beat; /* they are counted as they come */
    struct weir_delivery delivery;
    struct weir_asked *asked;
    uint32_t asked_count;
    uint64_t last_request;
    struct weir_flush flush;
    struct weir_accept accept;
    struct weir_idempotency idempotency;
    struct weir_delayed delayed;
    struct weir_dying dying;
    struct weir_copyout copyout;
    struct weir_replay *replays;
    uint32_t replay_count;
    struct weir_join *joins;
    uint32_t join_count;
    struct weir_change *changes;
    uint32_t change_count;
    struct weir_status *statuses;
    uint32_t status_count;
    uint64_t last_status;
    uint32_t listing_count;     /* LISTs that wait for storage */
    struct weir_stashed *stash; /* what came while recovering */
    uint32_t stash_count;
    uint64_t stash_bytes;
    int64_t housekeeping_ns;
    int64_t drain_until_ns;
    uint64_t opening_flush; /* recovery's last one; 0: it is not that far */
    uint64_t closing_flush;
    uint64_t used_bytes;
    uint64_t log_syncs;
    bool again;   /* work is left: take another turn at once */
    bool crowded; /* groups wait until the flush has made room */
    struct {
        uint64_t accepted, malformed, stashed_dropped, missing, acks_stale, acks_unknown, flushes,
            timed_out, deadlines, lost_workers, full;
    } count;
};

/* ---- ventilator.c ---- */

/* Hand a request over; `done` is called with its result. */
void weir_ventilator_ask(struct weir_ventilator *v, struct weir_store_request *request,
                         weir_stored_fn *done, uint64_t arg, void *pointer);
/* Room for a request that can wait? */
bool weir_ventilator_may_ask(const struct weir_ventilator *v);
void weir_ventilator_log(struct weir_ventilator *v, enum weir_log_level level, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));
/* Storage failed for good: no OK from now on. */
void weir_ventilator_fail(struct weir_ventilator *v, const struct weir_error *error,
                          const char *what);
void weir_ventilator_drain(struct weir_ventilator *v);
/* Look at this group in this turn. */
void weir_ventilator_stir(struct weir_ventilator *v, struct weir_group *group);
/* What log and state had is taken in. A group exists from the moment at which it is durable: what
 * is confirmed before would not be its own after a crash. So if the topology has new ones, they are
 * made durable before the ventilator is open. */
void weir_ventilator_recovered(struct weir_ventilator *v);
void weir_ventilator_open(struct weir_ventilator *v);
int64_t weir_ventilator_mono_of(const struct weir_ventilator *v, int64_t wall_ms);

/* ---- recovery.c ---- */

void weir_recovery_start(struct weir_ventilator *v);

/* ---- groups.c ---- */

struct weir_group *weir_groups_find(const struct weir_ventilator *v, const char *name,
                                    size_t bytes);
struct weir_group *weir_groups_number(const struct weir_ventilator *v, uint32_t number);
/* Whether any was made. */
bool weir_groups_configure(struct weir_ventilator *v);
void weir_groups_join(struct weir_ventilator *v, uint64_t peer, const struct weir_control *control);
void weir_groups_remove(struct weir_ventilator *v, struct weir_group *group);
void weir_groups_flushed(struct weir_ventilator *v); /* JOINED may be due */
void weir_groups_housekeeping(struct weir_ventilator *v);

/* ---- accept.c ---- */

int weir_accept_put(void *self, struct weir_put *put, struct weir_turned_away *away,
                    const struct weir_now *now);
bool weir_accept_idle(const struct weir_ventilator *v); /* nothing is on its way to the disk */
void weir_accept_expire(struct weir_ventilator *v);     /* idempotency keys, producers */
/* The traces of a committed batch in memory: idempotency keys, groups' counters. */
void weir_accept_absorb(struct weir_ventilator *v, const struct weir_stream_batch *batch);
void weir_accept_fini(struct weir_ventilator *v);

/* ---- replay.c ---- */

int weir_replay_put(struct weir_ventilator *v, struct weir_put *put, struct weir_turned_away *away);
void weir_replay_flushed(struct weir_ventilator *v);
void weir_replay_fini(struct weir_ventilator *v);

/* ---- delivery.c ---- */

void weir_delivery_begin(struct weir_ventilator *v, struct weir_group *group,
                         const struct weir_offer *offer);
/* Add as many of these `count` messages as fit; returns how many. */
uint32_t weir_delivery_add(struct weir_ventilator *v, struct weir_stream_batch *batch,
                           uint64_t sequence, uint32_t count, bool again);
/* Add one message with a past. `batch` holds it unless the row has its payload. False: no room;
 * else the row is taken over. */
bool weir_delivery_add_row(struct weir_ventilator *v, struct weir_stream_batch *batch,
                           struct weir_row *row);
/* Send it and make it a lease; does nothing when it is empty. Returns how many messages went. */
uint64_t weir_delivery_send(struct weir_ventilator *v, bool alone);

/* ---- handout.c, handout_order.c ---- */

/* Everything this group can do now, as far as one turn goes. */
void weir_handout(struct weir_ventilator *v, struct weir_group *group);

/* Come again then, at the latest. */
void weir_handout_at(struct weir_ventilator *v, struct weir_group *group, int64_t at_ns);

enum weir_peek {
    WEIR_PEEK_MESSAGES, /* at `next` there are messages for the group */
    WEIR_PEEK_END,      /* there is nothing */
    WEIR_PEEK_READ,     /* it has to be read first */
    WEIR_PEEK_LATER,    /* this turn has done enough */
};
/* Pass over what is not to be handed out at `next`. MESSAGES: `run` of them, in *batch. */
enum weir_peek weir_handout_peek(struct weir_ventilator *v, struct weir_group *group,
                                 struct weir_stream_batch **batch, uint32_t *run);
/* Whether a batch's time to live is over. */
bool weir_handout_expired(const struct weir_ventilator *v, const struct weir_batch_header *header,
                          int64_t time_ms);
/* Whether a group with order: key has anything that may go, besides what is at `next`. */
bool weir_handout_order_has(struct weir_ventilator *v, struct weir_group *group);
/* Fill the delivery. */
void weir_handout_order_fill(struct weir_ventilator *v, struct weir_group *group);
/* May this row, which is due, go now? If not, it is noted as parked, and not to be kept here. */
bool weir_handout_order_row(struct weir_ventilator *v, struct weir_group *group,
                            struct weir_row *row);
/* A row of an ordered group goes out: it holds its key up from now on. */
void weir_handout_order_leased(struct weir_ventilator *v, struct weir_group *group,
                               struct weir_row *row, const struct weir_stream_batch *batch);

/* ---- holders.c: the dispatch's owner ---- */

extern const struct weir_dispatch_owner weir_holders_owner; /* with `self` NULL */
/* Deadlines and timeouts that have passed. Returns when the next one is. */
int64_t weir_holders_tick(struct weir_ventilator *v);

/* ---- outcome.c ---- */

/* How messages ended: an enum weir_outcome, a WEIR_NOTE_…, or WEIR_OUTCOME_LOST. */
#define WEIR_OUTCOME_LOST 100u /* with its worker; does not count */
struct weir_verdict {
    uint32_t outcome;
    int64_t delay_ms; /* < 0: none asked for */
    const char *error;
    uint32_t error_bytes;
    const char *worker;
    uint32_t worker_bytes;
};
/* Apply it to what is still open of [first, first + count). Returns how many that were. The lease
 * is removed when nothing of it is open any more. */
uint64_t weir_outcome_apply(struct weir_ventilator *v, struct weir_lease *lease, uint32_t first,
                            uint32_t count, const struct weir_verdict *verdict);
/* A message that was never handed out dies (expired, backlog full). */
void weir_outcome_die_unsent(struct weir_ventilator *v, struct weir_group *group, uint64_t sequence,
                             int64_t time_ms, enum weir_reason reason);
/* A row's message dies; the row is taken over. */
void weir_outcome_die(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row,
                      enum weir_reason reason);
/* It was with a worker that was lost: a suspect, if it had come back before. */
void weir_outcome_lost(struct weir_row *row);
struct weir_row *weir_row_new(const struct weir_group *group, uint64_t sequence, int64_t time_ms);
/* One of the state's answer, taken out of it; what is left there is empty. */
struct weir_row *weir_row_move(struct weir_row *from);
void weir_row_destroy(struct weir_row **row);

/* ---- deferred.c ---- */

/* The message waits until due_ms; the row is taken over. */
void weir_deferred_put(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row,
                       int64_t due_ms);
/* Ask the state for what is due, if there may be any. Returns when to look again (wall). */
int64_t weir_deferred_look(struct weir_ventilator *v, struct weir_group *group);
void weir_deferred_push(struct weir_group *group, struct weir_row *row, uint64_t after);
/* Take a row off the ready list. */
struct weir_row *weir_deferred_take(struct weir_group *group, struct weir_ready *ready);
/* Fetch a parked row: it becomes ready. */
void weir_deferred_fetch(struct weir_ventilator *v, struct weir_group *group, uint64_t sequence);
/* A payload was copied into the state: give it to the row if it is in memory. */
void weir_deferred_copied(struct weir_group *group, const struct weir_row *copy);

/* ---- delayed.c ---- */

/* A batch was committed, or is found above what the state has absorbed. */
void weir_delayed_absorb(struct weir_ventilator *v, const struct weir_stream_batch *batch);
/* This group was made just now. */
void weir_delayed_inherit(struct weir_ventilator *v, const struct weir_group *group);
/* A flush is durable: what groups got by it. */
void weir_delayed_flushed(struct weir_ventilator *v, const struct weir_store_result *result);
void weir_delayed_drop(struct weir_ventilator *v, uint64_t sequence);
/* What is due by now is for the groups that there are. */
void weir_delayed_tick(struct weir_ventilator *v);

/* ---- dying.c ---- */

void weir_dying_init(struct weir_ventilator *v);
void weir_dying_fini(struct weir_ventilator *v);
void weir_dying_put(struct weir_ventilator *v); /* there is one more */
int64_t weir_dying_tick(struct weir_ventilator *v);
/* This death was replayed: its submission, if under way, changes nothing any more. */
void weir_dying_replayed(struct weir_ventilator *v, uint32_t group, uint64_t sequence);
void weir_dying_removed(struct weir_ventilator *v, uint32_t group);
void weir_dying_copied(struct weir_ventilator *v, const struct weir_row *copy);
/* The i-th letter in memory. */
struct weir_row *weir_dying_row(const struct weir_ventilator *v, uint32_t i);

/* ---- flush.c ---- */

void weir_flush_init(struct weir_ventilator *v);
void weir_flush_fini(struct weir_ventilator *v);
struct weir_op *weir_flush_op(struct weir_ventilator *v, enum weir_op_type type);
/* The row as it is; its payload too when `payload`. */
void weir_flush_row(struct weir_ventilator *v, const struct weir_row *row, bool payload);
void weir_flush_row_drop(struct weir_ventilator *v, uint32_t group, uint64_t sequence);
void weir_flush_group(struct weir_ventilator *v, struct weir_group *group);
void weir_flush_producer(struct weir_ventilator *v, const uint8_t id[WEIR_PRODUCER_BYTES]);
/* Everything noted up to now is durable when flush.done reaches the returned number; soon. */
uint64_t weir_flush_need(struct weir_ventilator *v);
/* Hand it over now, so that a QUERY asked after this sees it. */
void weir_flush_now(struct weir_ventilator *v);
/* Hand it over if its time has come. Returns when that is. */
int64_t weir_flush_tick(struct weir_ventilator *v);
/* Every lease becomes part of the state, however young. */
void weir_flush_leases(struct weir_ventilator *v);
/* Put a lease's open messages into the state, with their deadline. */
void weir_flush_lease(struct weir_ventilator *v, struct weir_lease *lease);

/* ---- copyout.c ---- */

void weir_copyout_seen(struct weir_ventilator *v, const struct weir_store_result *result);
/* The READ from there on has ended. */
void weir_copyout_loaded(struct weir_ventilator *v, uint64_t sequence);
/* So many copied bytes were in a flush that has ended. */
void weir_copyout_arrived(struct weir_ventilator *v, uint64_t bytes);
/* What the limit on copying counts. */
uint64_t weir_copyout_bytes(const struct weir_ventilator *v);
int64_t weir_copyout_tick(struct weir_ventilator *v);

/* ---- ventilator_admin.c, ventilator_status.c ---- */

void weir_ventilator_admin(struct weir_ventilator *v, struct weir_event *event);
void weir_ventilator_admin_flushed(struct weir_ventilator *v); /* changes may be durable */
void weir_status_ask(struct weir_ventilator *v, const struct weir_event *event,
                     const struct weir_control *control);
void weir_status_loaded(struct weir_ventilator *v); /* a READ has ended */
void weir_status_fini(struct weir_ventilator *v);

#endif
