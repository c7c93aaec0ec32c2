/* The worker machine's inside, shared by its files:
 *
 *   worker.c          the role: events, turns, admin
 *   worker_drain.c    its end
 *   worker_hold.c     what is held: leases, and the lots of messages delivered under them
 *   worker_start.c    which messages are started next, and as which jobs
 *   worker_outcome.c  what comes of the jobs
 *   worker_ack.c      outcomes on their way back
 *   worker_result.c   results on their way on, ahead of their acks
 *   worker_beat.c     heartbeats and their echoes
 *   worker_credit.c   credit for the upstreams
 *
 * A message's way through here:
 *
 *   DELIVER ──► waiting ──► in a job ──► outcome ──────────────► ack ──► no longer held
 *                  │            └─────► result ──► sink's OK ──►  ▲
 *                  └──────────── release (drain, a suspect, a failed key ahead) ──► ┘
 *
 * It is held from its DELIVER until its ack is sent or its lease is lost. */
#ifndef WEIR_CORE_WORKER_H
#define WEIR_CORE_WORKER_H

#include <base/hash_table.h>
#include <base/random.h>
#include <base/rangeset.h>
#include <core/job_lease.h>
#include <core/roles.h>
#include <core/session.h>
#include <core/submit.h>
#include <wire/batch.h>
#include <wire/control.h>

struct weir_lease_name {
    uint64_t incarnation;
    uint64_t delivery;
};

/* One delivery under which something is held here, or still runs. Indexes are the delivery's. */
struct weir_worker_lease {
    UT_hash_handle hh;
    struct weir_lease_name name;
    uint32_t upstream; /* it last came from there */
    uint32_t *ways;    /* all that count parts of it as held here: routers may have split it */
    uint32_t way_count;
    struct weir_rangeset held;
    int64_t deadline_ns;
    int64_t lease_ms;
    int64_t timeout_ms;
    bool ordered;
    bool once; /* at most once */
    bool alone;
    bool has_spool; /* the ventilator said which spool it is of */
    uint8_t spool[16];
    bool go;                      /* alone: GO was said */
    struct weir_worker_lot *lots; /* in the order of arrival */
    uint64_t *failed_keys;        /* ordered: keys of messages that come again */
    uint32_t failed_count;
    struct weir_worker_lease *settling_next;
    bool settling;
    uint64_t echo_serial; /* `echoed` belongs to this beat */
    struct weir_rangeset echoed;
};

/* One slice of a DELIVER. Indexes are the lot's own, from 0. */
struct weir_worker_lot {
    struct weir_worker_lot *prev, *next;             /* of the lease */
    struct weir_worker_lot *ready_prev, *ready_next; /* while it has waiting messages */
    struct weir_worker_lease *lease;
    uint64_t arrival; /* ascending */
    uint32_t upstream;
    struct weir_bytes header, index, body;
    struct weir_batch_header batch; /* decoded from header */
    uint32_t width;                 /* of an index entry */
    struct weir_slice_info info;
    struct weir_rangeset waiting;
    uint32_t open;   /* messages waiting, in jobs, or with a result that is not handed over */
    uint32_t cursor; /* a message of which … */
    uint64_t cursor_offset; /* … the place in the body is known */
};

/* A slot for a running job. */
struct weir_worker_job {
    uint64_t id; /* 0: free */
    struct weir_worker_lot *lot;
    uint32_t first, count;        /* messages of the lot */
    struct weir_rangeset unended; /* of the lot's: without an outcome */
    struct weir_job_lease *lease;
    int64_t since_ns; /* its start, or the last outcomes */
    bool running;     /* the handler of … */
    uint32_t at;      /* … this message of the lot runs */
    bool stopped;     /* some of it was lost: no more of it is started */
    bool killed;

    uint32_t cursor;        /* a message of which … */
    uint64_t cursor_offset; /* … the place in the body is known */
};

struct weir_worker_ack {
    struct weir_lease_name name;
    uint64_t first, count;
    enum weir_outcome outcome;
    int64_t delay_ms;
    struct weir_bytes error;
    bool sent;
};

/* An ack that was sent: it may have been lost until the echo of a later beat comes. */
struct weir_worker_kept {
    uint64_t serial; /* the newest beat when it was sent */
    struct weir_worker_ack ack;
};

struct weir_worker_result {
    struct weir_worker_lot *lot;
    uint32_t at; /* message of the lot */
    const uint8_t *message;
    uint32_t message_bytes;
    bool alone; /* refused in company: is it the one? */
    struct weir_bytes payload;
};

/* One beat as it was sent. */
struct weir_worker_beat {
    uint64_t serial; /* 0: none */
    int64_t sent_ns;
    struct weir_lease_ref *named; /* owned */
    uint32_t named_count;
};

#define WEIR_WORKER_BEATS_KEPT 16u

struct weir_worker_upstream {
    struct weir_session *session;
    uint32_t number;
    bool starved;           /* it has said WAITING and got nothing since */
    int64_t eager_until_ns; /* it had work not long ago */
    uint64_t held_bytes;
    bool refused;             /* ERROR group: no credit … */
    int64_t refused_until_ns; /* … until then */
    int64_t refused_wait_ms;
    int64_t beat_every_ns, beat_next_ns;
    struct weir_worker_beat beats[WEIR_WORKER_BEATS_KEPT];
    uint32_t beat_newest;
    struct weir_worker_kept *kept; /* a ring, oldest first, of at most WEIR_ACKS_KEPT_MAX */
    uint32_t kept_head, kept_count, kept_capacity;
    uint64_t reaches[(1u << 16) / 64]; /* bitmap of stream tags that have been seen there */
};

/*  SERVING ── DRAIN ──► DRAINING ── nothing runs, ──► LEAVING ── all acks are ──► STOPPED
 *                                 no result waits              confirmed          */
enum weir_worker_state {
    WEIR_WORKER_SERVING,
    WEIR_WORKER_DRAINING,
    WEIR_WORKER_LEAVING,
    WEIR_WORKER_STOPPED
};

struct weir_worker_counts {
    uint64_t done, failed, rejected, unavailable, released; /* messages acked so */
    uint64_t lost;                                          /* leases of messages */
    uint64_t late; /* outcomes of messages that were not ours any more */
    uint64_t results, results_refused;
    uint64_t errors; /* what servers found wrong, and what was wrong with what they sent */
};

struct weir_worker {
    struct weir_role role;
    struct weir_host host;
    char *name, *group, *result_topic;
    bool results;
    char **topics; /* of a dynamic group */
    uint32_t topic_count;
    char *from;
    uint32_t concurrency, prefetch, job_messages_max;
    uint64_t prefetch_bytes;
    bool paced;
    int64_t pace_ns;        /* what handlers have lately taken … */
    uint64_t pace_messages; /* … for so many */
    uint64_t number;        /* this worker's own, random */
    enum weir_worker_state state;
    int64_t drain_until_ns;
    bool drain_over;     /* what has not ended by then is given back */
    int64_t leave_by_ns; /* LEAVING */

    struct weir_worker_upstream *upstreams;
    uint32_t upstream_count;
    uint32_t share_turn; /* whose turn it is when there is less credit than upstreams */

    struct weir_worker_lease *leases;   /* by name */
    struct weir_worker_lot *ready;      /* by arrival */
    struct weir_worker_lot *spent;      /* to be freed at the end of the turn */
    struct weir_worker_lease *settling; /* likewise, unless something is held under them again */
    uint64_t arrivals;
    uint64_t held, held_bytes, waiting; /* messages, bytes, messages */
    struct weir_worker_lease *alone;    /* a suspect: nothing else may be held; NULL: none */
    bool begun;                         /* BEGIN was said in this session */

    struct weir_worker_job *jobs; /* `concurrency` slots */
    uint32_t *free_slots;
    uint32_t running; /* jobs */
    uint64_t last_job;

    struct weir_worker_ack *acks;
    uint32_t ack_count, ack_capacity;
    struct weir_ack *ack_out; /* the frame that is being filled */
    uint32_t ack_out_capacity;

    struct weir_submit *submit; /* NULL: no results */
    bool sink_busy;
    struct weir_worker_result *queue; /* a ring */
    uint32_t queue_head, queue_count, queue_capacity;
    uint64_t queue_bytes;
    uint64_t parcel_messages, parcel_bytes; /* at the sink */
    struct weir_worker_parcel *parcels;

    uint64_t last_serial;
    int64_t wake_ns;           /* as the host was told */
    int64_t complain_again_ns; /* not more often than once a second */
    struct weir_worker_counts counts;
};

/* ---- worker.c ---- */

/* Somebody else did something wrong: count it, and log it unless another line was just logged. */
void weir_worker_complain(struct weir_worker *self, enum weir_log_level level,
                          const struct weir_now *now, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* JOIN, where the group's topics are given. */
void weir_worker_join(const struct weir_worker *self, struct weir_worker_upstream *upstream);

/* ---- worker_drain.c ---- */

void weir_worker_drain(struct weir_worker *self, const struct weir_now *now);
/* Give up what has not ended when the drain's time is over. */
void weir_worker_drain_tick(struct weir_worker *self, const struct weir_now *now);
/* End of a turn: stop when there is nothing left to do, and to wait for. */
void weir_worker_leave(struct weir_worker *self, const struct weir_now *now);
/* When to be called next. */
int64_t weir_worker_drain_next(const struct weir_worker *self);

/* ---- worker_hold.c ---- */

/* Take a DELIVER in: every slice becomes a lot, or is given back at once. */
void weir_worker_take(struct weir_worker *self, uint32_t upstream,
                      const struct weir_control *control, struct weir_event *event);
struct weir_worker_lease *weir_worker_lease_find(const struct weir_worker *self,
                                                 const struct weir_lease_name *name);
/* The part of [*first, …] up to `end` that is held, from *first on; false: nothing more. */
bool weir_worker_held_part(const struct weir_worker_lease *lease, uint64_t end, uint64_t *first,
                           uint64_t *count);
/* Held no longer: acked, or lost. */
void weir_worker_unhold(struct weir_worker *self, struct weir_worker_lease *lease, uint64_t first,
                        uint64_t count);
/* Somebody else has these now, or will: what waits is forgotten, what runs is killed, what ends is
 * not acked. */
void weir_worker_lose(struct weir_worker *self, struct weir_worker_lease *lease, uint64_t first,
                      uint64_t count);
/* How a message goes back that was begun here, and that nothing will come of: at most once not as
 * one that is untouched. */
enum weir_outcome weir_worker_back(const struct weir_worker_lease *lease);
/* So many messages of the lot need it no longer. */
void weir_worker_lot_finish(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t count);
/* End of a turn: free the lots and leases that nothing needs any more. Until then they stay, so
 * that nobody has to ask what a call may have freed. */
void weir_worker_sweep(struct weir_worker *self);
/* Take messages of the lot out of those that wait, or put them back. */
void weir_worker_unwait(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t first,
                        uint32_t count);
void weir_worker_rewait(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t first,
                        uint32_t count);
/* Give back all that waits; of every lease but this one (may be NULL). */
void weir_worker_release_waiting(struct weir_worker *self, const struct weir_worker_lease *but);
/* ordered: this message comes again: the ones behind it with its key are given back. */
void weir_worker_fail_key(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t at);
bool weir_worker_key_failed(const struct weir_worker_lot *lot, uint32_t at);
uint64_t weir_worker_key(const struct weir_worker_lot *lot, uint32_t at);
/* Whether this upstream counts something of the lease as held here. */
bool weir_worker_counted(const struct weir_worker *self, const struct weir_worker_lease *lease,
                         uint32_t upstream);
/* From now on it does, since something of it came that way, or was named there as held. */
void weir_worker_note_way(struct weir_worker_lease *lease, uint32_t upstream);
/* The upstream that an ack, BEGIN or EXTEND for this lease can take now; NULL: none. */
struct weir_worker_upstream *weir_worker_way(struct weir_worker *self,
                                             const struct weir_worker_lease *lease);
void weir_worker_reaches(struct weir_worker_upstream *upstream, uint64_t incarnation);
/* Frames of this stream have come from there, so it leads to its ventilator. */
bool weir_worker_leads(const struct weir_worker_upstream *upstream, uint64_t incarnation);
void weir_worker_hold_fini(struct weir_worker *self);

/* ---- worker_start.c ---- */

/* Start what may be started. */
void weir_worker_start_ready(struct weir_worker *self, const struct weir_now *now);
/* A suspect waits: ask for it once nothing else is held. */
void weir_worker_begin(struct weir_worker *self);
void weir_worker_go(struct weir_worker *self, const struct weir_control *control);
struct weir_worker_job *weir_worker_job_find(const struct weir_worker *self, uint64_t id);
void weir_worker_kill(struct weir_worker *self, struct weir_worker_job *job);

/* ---- worker_outcome.c ---- */

void weir_worker_handled(struct weir_worker *self, struct weir_event *event);

/* ---- worker_ack.c ---- */

/* Messages of a delivery have ended so. `error` is moved in; may be NULL. */
void weir_worker_ack(struct weir_worker *self, const struct weir_worker_lease *lease,
                     uint64_t first, uint64_t count, enum weir_outcome outcome, int64_t delay_ms,
                     struct weir_bytes *error);
/* Send what can be sent. */
void weir_worker_ack_flush(struct weir_worker *self);
/* A beat with this serial was echoed: what was acked ahead of it has arrived. */
void weir_worker_ack_confirm(struct weir_worker_upstream *upstream, uint64_t serial);
/* Something was acked that no beat has followed, whose echo would confirm it. */
bool weir_worker_ack_unasked(const struct weir_worker_upstream *upstream);
/* Messages whose acks may have been lost. */
uint64_t weir_worker_ack_unconfirmed(const struct weir_worker_upstream *upstream);
/* The next ack that may have been lost, whichever way it was sent, and that this upstream leads to
 * as well; NULL: that was the last. Begin with a cursor of zeros. */
struct weir_worker_kept_at {
    uint32_t upstream, number;
};
struct weir_worker_kept *weir_worker_ack_kept(const struct weir_worker *self,
                                              const struct weir_worker_upstream *upstream,
                                              struct weir_worker_kept_at *at);
/* A new session: say these again. */
void weir_worker_ack_repeat(struct weir_worker *self, struct weir_worker_upstream *upstream);
void weir_worker_ack_fini(struct weir_worker *self);

/* ---- worker_result.c ---- */

/* A message is done and has a result: hand it on, then ack. Takes `payload`. */
void weir_worker_result_add(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t at,
                            const uint8_t *message, uint32_t message_bytes,
                            struct weir_bytes *payload);
void weir_worker_result_flush(struct weir_worker *self, const struct weir_now *now);
/* The sink is there and takes what it is given. */
bool weir_worker_result_flows(const struct weir_worker *self);
/* Results that are not handed over yet: messages. */
uint64_t weir_worker_results_waiting(const struct weir_worker *self);
/* So many of them may be held beyond the prefetch. */
uint64_t weir_worker_results_ahead(const struct weir_worker *self);
/* Give the messages back whose results nobody has taken. */
void weir_worker_result_give_up(struct weir_worker *self);
void weir_worker_result_init(struct weir_worker *self, struct weir_random *random);
void weir_worker_result_fini(struct weir_worker *self);

/* ---- worker_beat.c ---- */

/* Beat where it is time; returns when to be called next. */
int64_t weir_worker_beat(struct weir_worker *self, const struct weir_now *now);
void weir_worker_echo(struct weir_worker *self, const struct weir_control *control);
/* What is held, for READY. */
void weir_worker_held(struct weir_worker *self, uint32_t upstream, struct weir_lease_ref **leases,
                      uint32_t *count);
void weir_worker_beats_forget(struct weir_worker_upstream *upstream);

/* ---- worker_credit.c ---- */

/* So many messages of the job have ended since it was last looked at. */
void weir_worker_pace(struct weir_worker *self, struct weir_worker_job *job, uint64_t messages,
                      const struct weir_now *now);
/* Messages that may be held now. */
uint64_t weir_worker_prefetch(const struct weir_worker *self);
/* Lend what is free. */
void weir_worker_credit(struct weir_worker *self, const struct weir_now *now);
/* ERROR group: nothing is lent there for a while, that grows; returns it in ms, or 0: it is being
 * waited already. */
int64_t weir_worker_refused(struct weir_worker_upstream *upstream, const struct weir_now *now);
/* Ask again where it is time; returns when to be called next. */
int64_t weir_worker_refused_tick(struct weir_worker *self, const struct weir_now *now);

#endif
