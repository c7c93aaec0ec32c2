/* The simulator: a whole topology of the real role machines in one process, under a virtual clock,
 * with a network that delays and loses connections and processes that crash and come back.
 * Everything that happens follows from the seed.
 *
 *   params.c    what a scenario is made of
 *   run.c       one seed, from the first event to the last check
 *   seeds.c     many seeds, in several processes
 *   shrink.c    a smaller scenario that fails in the same way
 *   world.c     time, processes, the network, the hosts
 *   spool.c     a ventilator's spool: the real log on a simulated disk; filesystem.c, inode.c,
 *               state.c, outside.c are what it stands on
 *   disk.c      what the holders' storage keeps
 *   damage.c    bits that turn over in what was synced
 *   power.c     machines that lose power, disks that fail, fill up, or are slow
 *   groups.c    which groups there are, and which messages are theirs
 *   handlers.c  workers' handlers and what they do to each message
 *   producer.c  who sends, and the model of what was confirmed
 *   replayer.c  who sends dead letters back
 *   scenario.c  a topology and its faults, from the seed
 *   operator.c  somebody at the admin port
 *   watch.c     what ventilators say to workers, overheard
 *   leases.c    who has what, and until when
 *   credit.c    what was allowed and what was sent, on each connection
 *   bounds*.c   what processes keep
 *   counts.c    what ventilators count, against what was seen
 *   hostile.c   somebody who sends what makes no sense, and old acks
 *   check.c     the invariants of the design, against the model
 *   describe*.c what is stuck, and where, for whoever reads a trace
 */
#ifndef SIM_H
#define SIM_H

#include <base/alloc.h>
#include <base/heap.h>
#include <base/random.h>
#include <contract/host.h>
#include <core/roles.h>
#include <core/submit.h>
#include <stdio.h>
#include <stdlib.h>
#include <store/store.h>

#define SIM_PROCESSES_MAX 48
#define SIM_LINKS_MAX 8
#define SIM_BEATS_KEPT 64
#define SIM_STOLEN_MAX 32
#define SIM_GROUPS_MAX 7
#define SIM_STREAMS_MAX 4
#define SIM_SEGMENT_BYTES 8192u /* a page of header and a page of records */
#define SIM_TOPIC "work.item"
#define SIM_TOPIC_RARE "work.rare"
#define SIM_TOPIC_MADE "made.item" /* of the second stage */
#define SIM_WALL_START_MS INT64_C(1800000000000)

enum sim_kind {
    SIM_VENTILATOR,
    SIM_RELAY,
    SIM_WORKER,
    SIM_SINK,
    SIM_DLQ,
    SIM_PRODUCER,
    SIM_REPLAYER
};

/* What is checked: checks.def. */
enum sim_check_name {
#define X(NAME, ...) SIM_CHECK_##NAME,
#include "checks.def"
#undef X
    SIM_CHECKS
};

/* What is counted: counts.def. */
enum sim_count_name {
#define X(NAME, ...) SIM_COUNT_##NAME,
#include "counts.def"
#undef X
    SIM_COUNTS
};

/* What must stay within its limit: bounds.def. */
enum sim_bound_name {
#define X(NAME, ...) SIM_BOUND_##NAME,
#include "bounds.def"
#undef X
    SIM_BOUNDS
};

/* What a scenario is made of: params.def. */
struct sim_params {
#define X(name, ...) uint32_t name;
#include "params.def"
#undef X
};
#define SIM_PARAMS ((uint32_t)(sizeof(struct sim_params) / sizeof(uint32_t)))

struct sim_param {
    const char *name, *text;
    uint32_t simplest, least, most, percent;
};

struct sim_bound {
    const char *text;
    uint64_t limit; /* 0: it differs from process to process */
};

struct sim_check {
    const char *name, *text;
    uint32_t invariant; /* of the design; 0: promised elsewhere */
};

struct sim;
struct sim_process;

/* One client port and the server port it is connected to. */
struct sim_link {
    struct sim_process *client, *server;
    uint32_t client_port, server_port;
    uint64_t peer;       /* the server's name of this connection; 0: not connected */
    uint64_t generation; /* counts connections: what is in flight on an older one is lost */
    int64_t last_up_ns, last_down_ns; /* a connection keeps the order */
    bool connecting;
    bool session;      /* the server has said WELCOME on this connection */
    int64_t broken_ns; /* since when the server has not heard READY again; 0: it has */
    int64_t away_ns;   /* when that last had been so for long enough to count as a loss */
    struct sim_credit {
        uint64_t limit_messages, limit_bytes, sent_messages, sent_bytes;
        uint32_t flying; /* DELIVERs that have not arrived … */
        int64_t sent_ns; /* … when the last one was sent */
    } credit[SIM_GROUPS_MAX];
};

struct sim_process {
    struct sim *sim;
    enum sim_kind kind;
    uint32_t index; /* among its kind */
    char name[24];
    struct weir_host host;
    struct weir_role *role; /* NULL while it is down */
    uint64_t epoch;         /* counts starts: events meant for an earlier life are dropped */
    int64_t clock_skew_ms;
    int64_t boot_ns;          /* what its monotonic clock said at the beginning */
    int64_t drift_ppm;        /* how much faster it goes than time does */
    int64_t stalled_until_ns; /* nothing happens in it until then; then all at once … */
    int64_t stalled_count;    /* … so much, in its order, a nanosecond each */
    int64_t disturbed_ns;     /* when something last happened to it that may repeat jobs */
    uint64_t wake_serial;
    struct sim_link links[SIM_LINKS_MAX];
    uint32_t link_count;
    bool held_down;       /* by a fault that lasts */
    uint32_t machine;     /* those of one lose power together */
    int64_t disk_slow_ns; /* what its disk takes at most for one thing; 0: as usual */
    bool stopping;        /* the role has said that it is finished */
    bool told_to_stop;    /* in this life */
    bool said_why;        /* the role has told of an error in this life */
    /* ventilator */
    struct sim_spool *spool;
    uint64_t store_bytes_max;
    uint32_t dies_at_start;          /* at this call to the disk; 0: it does not */
    uint64_t paused[SIM_GROUPS_MAX]; /* in which epoch the operator was told so; 0: it goes on */
    bool pausing[SIM_GROUPS_MAX];    /* that is the last thing it was told */
    bool resumed[SIM_GROUPS_MAX];    /* the operator was told so */
    struct weir_frames *answer;      /* where what it says to the operator goes */
    /* sink, dlq */
    struct sim_disk *disk;
    uint64_t opened;                  /* in which epoch it was seen to be open last */
    uint64_t busy_said, refused_said; /* in this life */
    uint64_t stale_acks;              /* that came to it in this life, as far as is certain */
    /* router */
    uint64_t relayed[SIM_GROUPS_MAX]; /* waited there or might still come, after the last event */
    /* worker */
    struct sim_held *held; /* what it last got of each message, by its number */
    uint32_t held_count;
    struct sim_beat {
        uint64_t serial;
        int64_t sent_ns;      /* by its own clock */
        struct sim_link *way; /* NULL: forgotten, with its way's session */
    } beats[SIM_BEATS_KEPT];
    uint32_t beat_count;
    uint32_t group;
    uint32_t concurrency, prefetch, job_messages_max;
    bool slow;     /* its handlers take up to a second */
    bool stubborn; /* … and cannot be stopped: the library's, in a thread of the process */
    uint64_t prefetch_bytes;
    struct sim_job *jobs;
    uint32_t running;
    /* producer */
    struct sim_producer *producer;
    struct sim_replayer *replayer;
};

/* Is a group there, and has it a message, as far as anybody outside can tell? */
enum sim_presence { SIM_ABSENT, SIM_UNSURE, SIM_THERE };
enum sim_claim { SIM_NOT_ITS, SIM_PERHAPS, SIM_OWED };
/* What of a group may be edited in a topology, from one start of its ventilator to the next. */
enum sim_edit { SIM_NO_EDIT, SIM_EDIT_TOPICS, SIM_EDIT_ORDER, SIM_EDIT_LISTED };

struct sim_group {
    struct weir_group_policy policy;
    bool joins; /* workers bring it, and no topology has it */
    enum sim_edit edit;
    struct sim_place { /* at one ventilator */
        enum sim_presence presence;
        uint64_t start;   /* as whoever joined was told; 0: nobody was */
        bool edited;      /* as the topology has it: it has fewer topics, no order, is left out */
        bool removed;     /* somebody gave the order, once at least … */
        bool asked_since; /* … and after that somebody has brought it again */
    } at[SIM_STREAMS_MAX];
};

/* What is known of one message, from the outside. */
struct sim_message {
    uint32_t number; /* its payload says so */
    uint32_t stream;
    char key[12];                  /* empty: none */
    uint32_t idempotency;          /* the number in its idempotency key; 0: it has none */
    bool made;                     /* of the second stage: the result of … */
    uint32_t parent, parent_death; /* … this one, after so many deaths */
    bool rare;                     /* of the topic that groups may be edited not to have */
    bool delayed, expires, confirmed;
    int64_t time_ms, due_ms; /* once it is confirmed: as its ventilator says */
    uint64_t sent_epoch;     /* in which life of its ventilator */
    bool placed;             /* its sequence is known */
    uint32_t sender;         /* the process that sent it */
    bool duplicate;          /* it was told to be one: the stream does not have it */
    bool unsure;             /* it may be one: whether or not its key was forgotten, nobody said */
    bool unsynced;           /* when the power failed, though confirmed: it may be lost … */
    bool again;              /* … and not confirmed: it was sent again, and may be taken twice */
    bool damaged;            /* on the disk: it may be lost, and that must be said */
    uint64_t sequence;
    struct {
        enum sim_claim claim;
        bool handled;     /* the handler has said done */
        bool passed;      /* one behind it with its key was started, as if it were dead */
        uint32_t results; /* written by the sink */
        uint32_t deaths;  /* kept by the collector */
        uint32_t reason, dead_attempt;
        uint32_t replays; /* of different deaths */
        uint32_t starts, failures;
        uint64_t tried; /* bit n: attempt n was made, or may have been */
    } in[SIM_GROUPS_MAX];
};

struct sim_letter { /* as the collector has it */
    uint8_t id[WEIR_ID_BYTES];
    uint32_t message, group, death, attempt, reason;
    bool replayed;
};

struct sim {
    uint64_t seed;
    bool trace;
    struct sim_params params;
    uint64_t fixed; /* bit n: the n-th of them is set by hand */
    uint64_t counts[SIM_COUNTS];
    bool full[SIM_BOUNDS]; /* it was at its limit */
    bool over;             /* only what events carry is still released */
    struct weir_random random;
    int64_t now_ns;
    struct weir_heap events;
    uint64_t event_count;
    struct sim_process processes[SIM_PROCESSES_MAX];
    uint32_t process_count;
    struct sim_group groups[SIM_GROUPS_MAX];
    uint32_t group_count;
    uint64_t next_peer;
    int64_t router_died_ns; /* when one last did */
    struct sim_stolen {     /* some of the frames that were sent */
        uint32_t port;
        struct weir_frames frames;
    } stolen[SIM_STOLEN_MAX];
    uint32_t stolen_count;
    struct sim_old_ack { /* that arrived */
        struct sim_process *process;
        uint64_t epoch;
        struct weir_bytes frame;
    } old_acks[SIM_STOLEN_MAX];
    uint32_t old_ack_count;
    struct {
        struct sim_process *process; /* NULL: nobody is at it */
        uint64_t peer;
        uint32_t answers;
    } hostile;
    struct sim_suspect *suspects;
    uint32_t suspect_count;
    struct sim_lease *leases;
    struct sim_letter *letters;
    uint32_t letter_count;
    struct sim_message *messages;
    uint32_t message_count, message_capacity;
    int64_t faults_end_ns;
    int64_t idle_asked_ns;
    char failure[512]; /* the first violation; empty: none */
    enum sim_check_name failed;
};

/* run.c */
/* Run the seed; true: nothing was violated. To be followed by sim_world_fini. */
bool sim_play(struct sim *sim);

/* params.c */
const struct sim_param *sim_param_of(uint32_t number);
uint32_t *sim_param_value(struct sim_params *values, uint32_t number);
void sim_params_draw(struct sim *sim);
/* Set one by its name; < 0: there is none, or `text` is no value for it, which was said. */
int sim_params_set(struct sim *sim, const char *name, const char *text);
void sim_params_print(struct sim *sim, FILE *out); /* those that are set, as options */

/* seeds.c. `model` holds what is set; nothing in it has run. */
#define SIM_JOBS_MAX 64
struct sim_outcome {
    bool good;
    enum sim_check_name failed;
    char failure[512];
    uint64_t counts[SIM_COUNTS];
    bool full[SIM_BOUNDS];
    struct sim_params params;
};
bool sim_seed_play(const struct sim *model, uint64_t seed, struct sim_outcome *outcome);
/* How a child ended that should not have, as text. */
void sim_end_describe(int status, char *text, size_t bytes);
int sim_seeds(const struct sim *model, uint64_t from, uint64_t to, uint32_t jobs);

/* shrink.c */
int sim_shrink(const struct sim *model);

/* world.c */
typedef void sim_call(struct sim *sim, struct sim_process *process, void *arg, uint64_t number);
void sim_at(struct sim *sim, int64_t delay_ns, struct sim_process *process, sim_call *call,
            void *arg, uint64_t number);
struct weir_now sim_now(const struct sim_process *process);
struct sim_process *sim_process_add(struct sim *sim, enum sim_kind kind);
void sim_link_add(struct sim_process *client, uint32_t client_port, struct sim_process *server,
                  uint32_t server_port);
void sim_step(struct sim_process *process, struct weir_event *event);
void sim_start(struct sim_process *process);
/* For sim_at, with the process as `arg`: it is held down no longer, and starts. */
void sim_come_back(struct sim *sim, struct sim_process *none, void *arg, uint64_t number);
/* How a process ends. */
enum sim_ending {
    SIM_STOPPED,    /* by itself: storage is left in order */
    SIM_KILLED,     /* its memory is gone; what it wrote stays */
    SIM_POWER_LOST, /* so is what was not synced */
};
void sim_end(struct sim_process *process, enum sim_ending how);
void sim_crash(struct sim_process *process); /* killed */
void sim_break(struct sim_link *link);
void sim_disturb(struct sim_process *process); /* what happens to it now is a reason for repeats */
int64_t sim_delay(struct sim *sim, int64_t max_ns); /* uniform, at least 1 */
/* Run until `done` says so, or until the virtual time `until_ns`; false: it came to that. */
bool sim_run(struct sim *sim, int64_t until_ns, bool (*done)(struct sim *sim));
void sim_log(struct sim *sim, const char *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A check is violated. Only the first is kept: what follows may follow from it. */
void sim_fail(struct sim *sim, enum sim_check_name check, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const struct sim_check *sim_check_of(enum sim_check_name check);
void sim_count(struct sim *sim, enum sim_count_name what);
const char *sim_count_text(uint32_t what);
void sim_world_fini(struct sim *sim);
/* Make the role of a process that is down; scenario.c knows its configuration. */
struct weir_role *sim_role_new(struct sim_process *process);

/* spool.c */
void sim_spool_new(struct sim_process *process);
void sim_spool_destroy(struct sim_process *process);
/* Recover it; NULL: it cannot be opened now. */
struct weir_recovered *sim_spool_open(struct sim_process *process);
void sim_spool_end(struct sim_process *process, enum sim_ending how);
void sim_spool_submit(struct sim_process *process, struct weir_store_request *request);
/* For whoever describes a state: at once. */
void sim_spool_query(struct sim_process *process, struct weir_store_request *request,
                     struct weir_store_result *result);
/* Something was made to fail in this life, so the process may end because of it. */
bool sim_spool_may_fail(const struct sim_process *process);
/* Invariants 1 and 9: the process says OK to these now, so a power cut must leave them. */
void sim_spool_check_ok(struct sim_process *process, uint64_t first, uint64_t count);

/* disk.c */
struct sim_disk *sim_disk_new(void);
void sim_disk_destroy(struct sim_disk **self);
void sim_disk_submit(struct sim_process *process, struct weir_store_request *request);
/* Lose what was not carried out; some of it may have been, without an answer. */
void sim_disk_crash(struct sim_process *process);
/* The one after so many cannot be kept, and then none in this life. */
void sim_disk_fail(struct sim_disk *self, uint32_t after);
void sim_disk_fill(struct sim_disk *self, bool full);
void sim_disk_heal(struct sim_disk *self);
bool sim_disk_failed(const struct sim_disk *self);
const struct weir_producer_row *sim_disk_producers(const struct sim_disk *self, uint32_t *count);
uint64_t sim_disk_next(const struct sim_disk *self);

/* handlers.c */
void sim_handler_run(struct sim_process *process, struct weir_job *job);
void sim_handler_kill(struct sim_process *process, uint64_t job);
void sim_handlers_fini(struct sim_process *process);

/* What a group's handler does with a message, from the seed alone. */
enum sim_behaviour {
    SIM_OK,
    SIM_FAIL_ONCE,
    SIM_FAIL_ALWAYS,
    SIM_REJECT,
    SIM_HANG_ONCE,
    SIM_CRASH_ONCE,
    SIM_CRASH_ALWAYS,
    SIM_UNAVAILABLE_ONCE,
    SIM_UNAVAILABLE_THEN_FAIL,
};
enum sim_behaviour sim_behaviour_of(const struct sim *sim, uint32_t message, uint32_t group);

/* producer.c */
struct weir_role *sim_producer_new(struct sim_process *process);
struct sim_message *sim_message_of(struct sim *sim, const void *payload, size_t bytes);
/* Its sequence is known from now on, and stays. */
void sim_message_place(struct sim *sim, struct sim_message *message, uint64_t sequence);
const char *sim_topic_of(const struct sim_message *message);
/* The message that the result of this one is, made if there is none yet (which moves messages). */
struct sim_message *sim_made_of(struct sim *sim, uint32_t parent, uint32_t death);
bool sim_producers_done(const struct sim *sim);

/* replayer.c */
struct weir_role *sim_replayer_new(struct sim_process *process);
bool sim_replayers_done(const struct sim *sim);

/* scenario.c */
void sim_scenario(struct sim *sim);
void sim_crash_awhile(struct sim *sim, struct sim_process *process);
/* What matters has just been sent there: the connection may break before it arrives. */
void sim_snap(struct sim_link *link);
void sim_heal(struct sim *sim); /* end of faults: everything comes back */

/* power.c */
void sim_power_scenario(struct sim *sim);
void sim_power_heal(struct sim *sim);
/* Something was made to fail in this life, so the process may end because of it. */
bool sim_storage_may_fail(const struct sim_process *process);

/* operator.c */
/* One of the node's numbers; false: it does not answer. */
bool sim_number(struct sim_process *process, const char *name, uint64_t *value);
/* Some of a ventilator's numbers about what it takes in. */
bool sim_intake_numbers(struct sim_process *process, const char *const *names, uint64_t *values,
                        uint32_t count);
bool sim_group_numbers(struct sim_process *process, uint32_t group, const char *const *names,
                       uint64_t *values, uint32_t count);
/* These are answered when they are durable, if at all. */
void sim_group_pause(struct sim_process *process, uint32_t group, bool pause);
void sim_group_remove(struct sim_process *process, uint32_t group);
void sim_operator_answered(struct sim_process *process, uint64_t peer,
                           const struct weir_frames *frames);
bool sim_groups_idle(struct sim *sim);

/* watch.c */
void sim_watch(struct sim_process *process, const struct weir_frames *frames);
void sim_watch_link(struct sim_link *link, const struct weir_frames *frames);
void sim_watch_answer(struct sim_process *process, const struct sim_process *to,
                      const struct weir_frames *frames);
/* A ventilator answers a PUT: count what it did not take. */
void sim_watch_turned_away(struct sim_process *process, const struct weir_frames *frames);
void sim_tried(struct sim_message *message, uint32_t group, uint32_t attempt);

/* leases.c */
struct weir_control;
void sim_lease_given(struct sim_process *process, const struct weir_control *control,
                     const struct weir_frames *frames);
/* A ventilator starts, and knows of these leases. */
void sim_leases_recovered(struct sim_process *process, const struct weir_recovered *recovered);
/* A ventilator forgets them with their group, and workers learn of that later. */
void sim_leases_removed(struct sim_process *process, uint32_t group);
/* Frames that have reached a process. */
void sim_overhear(struct sim_process *to, struct sim_link *link, const struct weir_frames *frames);
/* Frames that a worker sends to one of its upstreams. */
void sim_overhear_worker(struct sim_process *process, uint32_t port,
                         const struct weir_frames *frames);
/* A client is about to hear that its connection has ended, or that there is a new one. */
void sim_way_ends(struct sim_link *link);
void sim_leases_fini(struct sim *sim);
/* A worker starts a message. */
/* How many messages the worker has and has not acked. */
uint32_t sim_holds(const struct sim_process *process);
/* The worker has something that came by this connection, and has not acked it. */
bool sim_holds_from(const struct sim_process *process, const struct sim_link *link);
/* When the lease was given under which it has this message; < 0: it does not. */
int64_t sim_held_since(const struct sim_process *process, const struct sim_message *message);
/* It has acked what it last got of it, and may have it once more, under an earlier lease, of which
 * its ventilator has not known since it started: when that was given; < 0: it may not. */
int64_t sim_held_before(const struct sim_process *process, const struct sim_message *message);
void sim_check_lease(struct sim_process *process, const struct sim_message *message);
/* The lease under which the worker has this message was so young when its ventilator ended that the
 * next start does not know of it. */
bool sim_lease_forgotten(const struct sim_process *process, const struct sim_message *message);
/* Stale acks are counted: to be asked before a life ends. */
void sim_check_stale(struct sim_process *process);

/* groups.c */
/* The group of the second stage. It is at the last ventilator only, and no other that a topology
 * has is there. */
bool sim_is_second(const struct sim *sim, uint32_t group);
/* A life of a ventilator begins: which groups its topology has; and it is seen to be open. */
uint32_t sim_groups_listed(struct sim_process *process, struct weir_group_policy *policies);
void sim_groups_opened(struct sim_process *process);
/* A message is sent: whose it is. */
void sim_groups_claim(struct sim *sim, struct sim_message *message);
/* A ventilator is asked for a group that joins, and says that it has it, from `start` on. */
void sim_group_asked(struct sim_process *process, const struct weir_control *control);
void sim_group_joined(struct sim_process *process, const struct weir_control *control);
/* It is ordered to remove one, and has said that it did. */
void sim_group_goes(struct sim_process *process, uint32_t group);
void sim_group_gone(struct sim_process *process, uint32_t group);
/* The operator removes some. */
void sim_groups_scenario(struct sim *sim);
/* It may be there. */
bool sim_has_group(const struct sim_process *process, uint32_t group);
/* Whose message it is, from all that is known by now. */
enum sim_claim sim_claim_of(const struct sim *sim, const struct sim_message *message,
                            uint32_t group);
/* What the ventilator counts of the group can be told from outside. */
bool sim_group_countable(const struct sim *sim, uint32_t stream, uint32_t group);
/* What workers bring is there, unless it was removed. */
bool sim_groups_joined(const struct sim *sim);

/* credit.c */
struct weir_control;
void sim_credit_arrives(struct sim_link *link, const struct weir_control *control);
void sim_credit_landed(struct sim_link *link, const struct weir_control *control);
void sim_credit_used(struct sim_link *link, const struct weir_control *control,
                     const struct weir_frames *frames);

/* hostile.c */
void sim_hostile_listen(struct sim *sim, uint32_t port, const struct weir_frames *frames);
void sim_hostile_act(struct sim *sim, struct sim_process *process);
void sim_hostile_fini(struct sim *sim);
void sim_ack_note(struct sim_process *process, const struct weir_bytes *frame);
void sim_ack_again(struct sim *sim, struct sim_process *process);

/* bounds.c, bounds_dispatch.c, bounds_relay.c, bounds_worker.c */
const struct sim_bound *sim_bound_of(enum sim_bound_name name);
/* It may be `beyond` its limit for what was under way when it was reached. */
void sim_check_bound(struct sim_process *process, enum sim_bound_name name, uint64_t value,
                     uint64_t limit, uint64_t beyond);
struct weir_dispatch;
void sim_check_dispatch_bounds(struct sim_process *process, const struct weir_dispatch *dispatch);
/* How many messages more than they got the peers of this port have asked for. */
uint64_t sim_asked_for(const struct weir_dispatch *dispatch, const char *group);
void sim_check_relay_bounds(struct sim_process *process);
void sim_check_worker_bounds(struct sim_process *process);
void sim_check_bounds(struct sim_process *process);

/* counts.c */
/* Invariant 12: to be asked before a life ends … */
void sim_check_answers(struct sim_process *process);
/* … and when all has drained. */
void sim_check_totals(struct sim_process *process);

/* check.c */
uint32_t sim_group_of(const struct sim *sim, const char *name, size_t bytes);
void sim_check_start(struct sim_process *process, struct sim_message *message,
                     const struct weir_job *job, uint32_t index_in_job);
bool sim_settled(struct sim *sim);
/* A group that may end messages without a trace outside: its numbers must account for them. */
bool sim_may_lose(const struct sim *sim, uint32_t group);
void sim_check_end(struct sim *sim);
/* It did not drain: say whether something is stuck or gone. */
void sim_check_stuck(struct sim *sim);
void sim_describe_open(struct sim *sim, uint32_t most);

/* describe.c, describe_credit.c, describe_relay.c, describe_worker.c */
struct weir_dispatch;
void sim_describe_dispatch(struct sim *sim, const char *who, const struct weir_dispatch *dispatch,
                           const char *group);
void sim_describe_relay(struct sim *sim, struct sim_process *process, const char *group);
void sim_describe_worker(struct sim *sim, struct sim_process *process);
void sim_describe_group(struct sim *sim, struct sim_process *process, uint32_t group);
void sim_describe_message(struct sim *sim, struct sim_process *process, uint32_t group,
                          uint64_t sequence);

#endif
