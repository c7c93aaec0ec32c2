/* A worker machine in a scripted world: upstreams that say what the test wants, and jobs that end
 * when the test says so. */
#ifndef TEST_WORKER_FIXTURE_H
#define TEST_WORKER_FIXTURE_H

#include "script.h"

#define UP(i) (WEIR_PORT_FROM + (i))
#define TAG 5u
#define INCARNATION ((UINT64_C(77) << 16) | TAG)

struct worker {
    struct script *script;
    struct weir_role *role;
    struct weir_worker_config config; /* change before worker_start */
    uint64_t number;                  /* as READY said it */
    bool more;                        /* what is handled is followed by more in the same turn */
};

struct worker *worker_new(void);
void worker_destroy(struct worker **self);
/* Make the machine, say START. */
void worker_begin(struct worker *self);
/* worker_begin, link and WELCOME of every upstream, as a ventilator; forget what was said. */
void worker_up(struct worker *self);

void worker_event(struct worker *self, enum weir_event_type type, uint32_t port);
void worker_message(struct worker *self, uint32_t port, struct weir_frames *frames);
void worker_feed(struct worker *self, uint32_t port, const struct weir_control *control);
void worker_welcome(struct worker *self, uint32_t upstream, uint64_t incarnation);
void worker_waiting(struct worker *self, uint32_t upstream);
void worker_credited(struct worker *self, uint32_t upstream, uint64_t serial, uint64_t messages,
                     uint64_t bytes);
void worker_echo(struct worker *self, uint32_t upstream, uint64_t serial, uint64_t incarnation,
                 struct weir_lease_ref *live, uint32_t count);
/* The upstream has read all that was said to it: it echoes every beat, and confirms all credit. */
void worker_confirm(struct worker *self, uint32_t upstream);
/* The sink's OK for batch `number` of results. */
void worker_results_held(struct worker *self, uint64_t number, uint32_t count);
/* Let time pass, then the timer go off. */
void worker_pass_ms(struct worker *self, int64_t ms);

struct delivered {
    uint32_t upstream; /* each a ventilator */
    bool relayed;      /* the upstream is a router, and the first one's ventilator is behind it */
    uint64_t delivery;
    uint32_t first, count;
    const char *const *keys;
    bool ordered, once, alone;
    uint64_t lease_ms; /* 0: 30 s */
    uint8_t spool;     /* each byte of its UUID; 0: it is not said */
};
/* Deliver: message i has sequence 1000 * delivery + first + i. */
void worker_deliver(struct worker *self, const struct delivered *what);
/* The newest jobs; job 0 is the first that was ever started. */
const struct weir_job *worker_job(const struct worker *self, uint32_t job);
/* What an executor says; the outcomes' errors and results are dropped. */
void worker_handled(struct worker *self, struct weir_handled *what);
void worker_started(struct worker *self, uint32_t job, uint32_t first);
void worker_outcome(struct worker *self, uint32_t job, uint32_t first, uint32_t count,
                    enum weir_outcome outcome, const char *error, const char *result);
void worker_job_end(struct worker *self, uint32_t job);
/* The whole job ends so. */
void worker_job_is(struct worker *self, uint32_t job, enum weir_outcome outcome);

/* The next ACK must consist of this entry. */
const struct said *worker_expect_ack(struct worker *self, uint64_t delivery, uint32_t first,
                                     uint32_t count, enum weir_outcome outcome);
/* The last CREDIT said since the last look: what it adds up to; false: none was said. */
bool worker_credit(struct worker *self, uint32_t upstream, uint64_t *messages, uint64_t *bytes);
uint64_t worker_stat(struct worker *self, const char *name);

#endif
