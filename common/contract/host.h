/* The border between a role machine and the world.
 *
 * A role is a state machine that touches nothing: it gets events and calls this small table of host
 * services. In production the host is common/runtime; in tests it is the simulator. Services never
 * block and never call back into the role: what they cause comes later, as an event. */
#ifndef WEIR_CONTRACT_HOST_H
#define WEIR_CONTRACT_HOST_H

#include <base/bytes.h>
#include <base/clock.h>
#include <base/log.h>
#include <contract/policy.h>
#include <contract/store.h>

/* Where a message comes from or goes to. A server port is a ROUTER and has many peers, named by a
 * number that is never 0 and not used again for another connection; a client port is one DEALER,
 * whose peer is 0. */
enum weir_port {
    WEIR_PORT_SUBMIT = 1,   /* server: producers */
    WEIR_PORT_DISPATCH = 2, /* server: routers and workers */
    WEIR_PORT_ADMIN = 3,    /* server: the command line */
    WEIR_PORT_TO = 4,       /* client: results, dead letters */
    WEIR_PORT_FROM = 16,    /* client: WEIR_PORT_FROM + i is the i-th upstream */
};

enum weir_event_type {
    WEIR_EVENT_START,     /* once, first */
    WEIR_EVENT_MESSAGE,   /* port, peer, frames: the machine may move the frames out */
    WEIR_EVENT_PEER_GONE, /* server port: this peer cannot be reached any more */
    WEIR_EVENT_LINK_UP,   /* client port: a connection stands, with a new identity at the server */
    WEIR_EVENT_LINK_DOWN, /* client port: it broke; whatever was unanswered may be lost */
    WEIR_EVENT_TIMER,     /* the time asked for with wake_at has come */
    WEIR_EVENT_STORED,    /* result: a store request has ended */
    WEIR_EVENT_HANDLED,   /* handled: a job has ended, or asks for something */
    WEIR_EVENT_DRAIN,     /* finish what is running, take nothing new, then call stopped */
};

struct weir_job;
struct weir_handled;

struct weir_event {
    enum weir_event_type type;
    struct weir_now now;
    uint32_t port;
    uint64_t peer;
    struct weir_frames *frames;       /* MESSAGE; whatever is left in it the host releases */
    struct weir_store_result *result; /* STORED; likewise */
    struct weir_handled *handled;     /* HANDLED; likewise */
    bool more; /* HANDLED: another one follows at once, so what ends a turn may wait for it */
};

struct weir_host {
    void *self;
    /* Queue one message. Takes the frames over and clears the struct. To a peer that is gone it is
     * dropped, and a PEER_GONE event follows (or has come already). */
    void (*send)(void *self, uint32_t port, uint64_t peer, struct weir_frames *frames);
    /* Ask for a TIMER event at this monotonic time; replaces the last wish. */
    void (*wake_at)(void *self, int64_t mono_ns);
    /* Hand over a store request (ventilator, sink, dlq). Takes its contents over. Every request
     * gets exactly one STORED event, in the order that contract/store.h states. */
    void (*store)(void *self, struct weir_store_request *request);
    /* Start a job (worker). Takes its contents over. */
    void (*run)(void *self, struct weir_job *job);
    /* End a job that is over its time or no longer ours; its HANDLED still comes. */
    void (*kill)(void *self, uint64_t job);
    /* The role is finished: drained, or not able to go on. `status` is the process's exit status.
     */
    void (*stopped)(void *self, int status);
    void (*log)(void *self, enum weir_log_level level, const char *text);
    /* For people: what this port serves or is connected to. Lives as long as the host. May be NULL.
     */
    const char *(*endpoint)(void *self, uint32_t port);
};

/* What every role is to whoever drives it. A role struct begins with this. */
struct weir_role {
    /* One turn: handle the event completely, with bounded work. */
    void (*step)(struct weir_role *role, struct weir_event *event);
    void (*destroy)(struct weir_role *role);
};

/* Work for a handler (worker). A job is a run of messages of one slice, handled in turn by one
 * executor; executors that start a process a message get jobs of one. */
struct weir_job {
    uint64_t id;              /* never 0 */
    struct weir_bytes header; /* the batch header frame */
    struct weir_bytes index;  /* entries of exactly these messages */
    struct weir_bytes body;   /* exactly these messages */
    uint32_t count;
    uint64_t sequence; /* of the first; the others follow */
    int64_t time_ms;   /* accepted */
    uint32_t attempt;
    uint32_t death;
    uint16_t tag;                 /* of the stream: the ids follow */
    const char *group;            /* lives as long as the role */
    int64_t timeout_ms;           /* of each message; 0: none. The executor enforces it */
    int64_t deadline_ns;          /* mono: no message of it may be started after this … */
    struct weir_job_lease *lease; /* … unless this says otherwise: see weir_job_lease_deadline */
    bool ordered;                 /* stop at the first message that is not done */
    bool once;                    /* at most once: no handler gets a message of it anew */
};

/* The lease's deadline as heartbeats push it on: written by the machine, read by executors. */
struct weir_job_lease; /* core/job_lease.h */

struct weir_job_outcome {
    uint32_t first; /* within the job */
    uint32_t count;
    enum weir_outcome outcome;
    int64_t delay_ms;        /* RETRY: wait this long; < 0: the group's backoff */
    struct weir_bytes error; /* text; may be empty */
    struct weir_bytes
        result; /* DONE, count 1: the result; block and data NULL when there is none */
};

enum weir_handled_type {
    WEIR_HANDLED_STARTED,  /* `first` of the job is running since `at` (status, timeout backstop) */
    WEIR_HANDLED_EXTEND,   /* the handler of `first` asks for its attempt timeout anew */
    WEIR_HANDLED_OUTCOMES, /* some messages of the job have ended */
    WEIR_HANDLED_END,      /* the job is over; messages without an outcome were never started */
};

struct weir_handled {
    enum weir_handled_type type;
    uint64_t job;
    uint32_t first;
    uint32_t outcome_count;
    struct weir_job_outcome *outcomes; /* owned: released with the event unless moved out */
};

#endif
