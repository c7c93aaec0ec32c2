/* What `weir bench` was asked to do. */
#ifndef WEIR_BENCH_PLAN_H
#define WEIR_BENCH_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <weir.h>

/* What the workers run for each message. */
enum weir_bench_handlers {
    WEIR_BENCH_FUNCTION, /* a C function of libweir's worker */
    WEIR_BENCH_RUN,      /* a process of WEIR_BENCH_PROGRAM */
    WEIR_BENCH_SERVE,    /* a coprocess in Python */
};
#define WEIR_BENCH_PROGRAM "/bin/true"

struct weir_bench_plan {
    uint32_t size; /* bytes of a payload */
    uint64_t messages;
    uint32_t rounds;
    uint32_t producers, groups;
    uint32_t workers;    /* of each group */
    uint32_t at_once;    /* processes of handlers in one worker; 0: they are functions */
    uint32_t keys;       /* 0: messages have none */
    uint32_t prefetch;   /* of a worker; 0: libweir's default */
    uint32_t rate;       /* messages a second where latency is measured; 0: it is not */
    uint64_t burst;      /* messages at once, while handlers take their time; 0: none */
    uint64_t waiting;    /* messages that wait while others come and go; 0: none */
    int64_t duration_ms; /* of that, in each round */
    int64_t patience_ms; /* how long nothing may go on before it is given up */
    const char *above;   /* the directory in which the temporary one is made */
    bool sink;           /* workers hand results to one */
    bool direct;         /* no router between ventilator and workers */
    bool keep;           /* the temporary directory */
    enum weir_fsync fsync;
    enum weir_bench_handlers handlers;
};

/* Messages of one stretch at the fixed rate. */
uint64_t weir_bench_paced_messages(const struct weir_bench_plan *plan);
/* TCP connections that a message passes from the producer to the handler. */
uint32_t weir_bench_hops(const struct weir_bench_plan *plan);
/* "function", "run", "serve". */
const char *weir_bench_handlers_name(enum weir_bench_handlers handlers);
/* "always", "interval", "never". */
const char *weir_bench_fsync_name(enum weir_fsync fsync);

#endif
