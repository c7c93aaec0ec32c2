/* A ventilator over the store in memory, with everything around it played by the test: producers,
 * workers, the collector, an operator; and a clock that only the test moves. */
#ifndef TEST_VENTILATOR_STAGE_H
#define TEST_VENTILATOR_STAGE_H

#include <core/roles.h>
#include <store/store.h>
#include <wire/batch.h>
#include <wire/control.h>

#define STAGE_MAX 32768u
#define STAGE_TAG 7u
#define STAGE_START_MS INT64_C(1700000000000)

/* One message that was handed out. */
struct got {
    uint64_t peer;
    uint64_t incarnation, delivery;
    uint32_t index;
    uint64_t sequence;
    int64_t time_ms; /* accepted */
    uint32_t attempt, death;
    bool once, alone;
    char group[WEIR_NAME_BYTES_MAX + 1];
    char payload[48];
};

/* One answer to a PUT. */
struct answered {
    enum weir_verb verb;
    uint64_t number, first, count;
    int64_t time_ms;
    char code[32];
    uint32_t duplicate_count;
    uint64_t duplicate_of[8]; /* sequences of the originals */
};

/* One dead letter that the collector was given. */
struct letter {
    uint64_t sequence;
    uint32_t death, attempt, reason;
    char group[WEIR_NAME_BYTES_MAX + 1];
    char payload[48];
    char topic[64];
    struct weir_bytes body;    /* the whole message */
    struct weir_bytes history; /* borrowed from body */
    uint32_t notes;
    char errors[8][64];
    uint32_t outcomes[8];
};

enum collector {
    COLLECTOR_TAKES,
    COLLECTOR_TAKES_UNSEEN, /* and the test does not look at them */
    COLLECTOR_REFUSES,
    COLLECTOR_SILENT
};

struct stage {
    struct weir_memory_store *memory;
    /* Instead of it, when its directory is set: a spool of files. */
    struct weir_spool_config spool;
    struct weir_store *files;     /* NULL while it is closed */
    uint32_t outstanding;         /* requests to it without a result */
    uint32_t requests;            /* to either */
    struct weir_error open_error; /* of its last start; code 0: it opened */
    char *damage;                 /* what that start reported; NULL: nothing */
    struct weir_role *role;
    struct weir_host host;
    struct weir_now now;
    struct weir_ventilator_config config;
    struct weir_group_policy policies[8];
    int64_t wake_ns;
    uint8_t uuid[16]; /* the spool's */
    int stopped;      /* -1: not */
    uint64_t seed;
    uint64_t number; /* of the last PUT */
    uint64_t serial;
    enum collector collector;
    struct got got[STAGE_MAX];
    uint32_t got_count, got_seen;
    struct answered answered[STAGE_MAX];
    uint32_t answered_count, answered_seen;
    struct letter letters[256];
    uint32_t letter_count;
    /* Called at once for each answer, and for each letter before the collector's own OK; may be
     * NULL. */
    void (*on_answer)(void *watcher, const struct answered *answered);
    void (*on_letter)(void *watcher, const struct letter *letter);
    void *watcher;
    struct weir_bytes pending[64]; /* PUTs to a silent collector: the numbers only are kept */
    struct weir_bytes admin;       /* the last ANSWER's map */
    char admin_error[32];
    uint32_t waiting_said, go_said, joined;
    char group_error[128];
    uint32_t echoed;     /* leases in the last echo */
    uint64_t steps_left; /* storage completions until the crash; UINT64_MAX: none */
    bool crashed;
    char log[WEIR_ERROR_TEXT_BYTES];
    uint32_t errors_logged;
};

/* A policy for all topics "t.>" with a backoff of exactly nothing but at most 1 s. */
struct weir_group_policy stage_policy(const char *name);
struct stage *stage_new(const struct weir_group_policy *policies, uint32_t count,
                        uint64_t bytes_max);
/* The same over the real spool, so long after STAGE_START_MS, and not started yet. Where a start
 * does not open it, the role is NULL and `stopped` is 1, as the program would have it; and once the
 * role has stopped, it is not stepped any more. */
struct stage *stage_new_on_files(const struct weir_group_policy *policies, uint32_t count,
                                 const struct weir_spool_config *spool, int64_t after_ms);
void stage_destroy(struct stage **self);
/* Start the role with what the store has; stage_new has done so once. */
void stage_start(struct stage *self);
/* Kill it: what was not completed is gone. */
void stage_crash(struct stage *self);
/* Both. */
void stage_restart(struct stage *self);
/* Everything that can happen without time passing. */
void stage_run(struct stage *self);
/* The same, and then so much time. */
void stage_pass(struct stage *self, int64_t ms);

/* A batch of `count` messages "<prefix>0", "<prefix>1" … with these keys (NULL: none). Returns its
 * number. Does not run. */
struct stage_batch {
    const char *topic; /* NULL: "t.a" */
    const char *prefix;
    uint32_t count;
    const char *const *keys;
    const char *const *once; /* idempotency keys */
    int64_t delay_ms, ttl_ms;
    uint32_t payload_bytes; /* filled up to so many; 0: as it is */
    uint64_t number;        /* 0: the next one */
};
uint64_t stage_put_later(struct stage *self, const struct stage_batch *batch);
/* The same, and run. The answer. */
struct answered stage_put(struct stage *self, const struct stage_batch *batch);
/* The simplest: so many messages "<prefix>i". Asserts that they are taken; returns the first. */
uint64_t stage_fill(struct stage *self, const char *prefix, uint32_t count);
const struct answered *stage_answer(const struct stage *self, uint64_t number);

void stage_control(struct stage *self, uint32_t port, uint64_t peer,
                   const struct weir_control *control);
/* The connection broke. */
void stage_peer_gone(struct stage *self, uint64_t peer);
/* A worker that is ready, and its credit (cumulative, in messages). */
void stage_worker(struct stage *self, uint64_t peer, uint64_t worker);
void stage_credit(struct stage *self, uint64_t peer, const char *group, uint64_t messages);
/* The next message that was handed out and not looked at; NULL: none. */
const struct got *stage_next(struct stage *self);
/* The next one, which must be this payload. */
const struct got *stage_expect(struct stage *self, const char *payload);
void stage_ack(struct stage *self, const struct got *got, uint32_t outcome, const char *error);
void stage_ack_range(struct stage *self, const struct got *first, uint32_t count, uint32_t outcome,
                     int64_t delay_ms);
void stage_begin(struct stage *self, const struct got *got, uint64_t worker);
void stage_beat(struct stage *self, const struct got *got, uint64_t worker, bool running);
/* Time passes, and the worker is heard of all the while. */
void stage_alive(struct stage *self, uint64_t peer, uint64_t worker, int64_t ms);
/* Messages of topic "t.a" come, and all that is handed out is done at once, until the log is freed
 * but for what is unfinished otherwise: 30 segments. The worker is heard of. */
void stage_turn_log_over(struct stage *self, uint64_t peer, uint64_t worker);
/* The same with so much that no batch from before is in memory. */
void stage_forget_batches(struct stage *self);
/* It is gone, for good. */
void stage_gone(struct stage *self, uint64_t peer);
/* Two workers come, one after the other, get this many new messages of group "g", "a0" and so on,
 * and are gone: these are suspects. */
void stage_suspects(struct stage *self, uint64_t peer, uint32_t count);

/* STATS: a number of a group; of the node with group NULL. */
uint64_t stage_stat(struct stage *self, const char *group, const char *name);
/* STATUS: the state of a message in a group; "" when the group is not told of. */
const char *stage_state(struct stage *self, uint64_t sequence, const char *group);
uint64_t stage_state_number(struct stage *self, uint64_t sequence, const char *group,
                            const char *name);
/* Whether that is said to be unknown. */
bool stage_state_unknown(struct stage *self, uint64_t sequence, const char *group,
                         const char *name);
void stage_group(struct stage *self, const char *group, const char *action);
/* Tell it to end in good order; it has ended when `stopped` is 0. */
void stage_drain(struct stage *self);
/* Give a dead letter back. The answer. */
struct answered stage_replay(struct stage *self, const struct letter *letter);
/* The same with another id or group (NULL: its own), whatever the answer. Returns its number. */
uint64_t stage_replay_as(struct stage *self, const struct letter *letter, const struct weir_id *id,
                         const char *group);

#endif
