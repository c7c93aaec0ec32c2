/* What the parts of a round share: the bench itself, and a stretch of messages through the
 * pipeline. */
#ifndef WEIR_BENCH_ROUNDS_INSIDE_H
#define WEIR_BENCH_ROUNDS_INSIDE_H

#include "bodies.h"
#include "crew.h"
#include "figures.h"
#include "load.h"
#include "meter.h"
#include "stage.h"

struct bench {
    const struct weir_bench_plan *plan;
    struct weir_bench_stage *stage;
    struct weir_bench_crew *crew;
    struct weir_bench_figures *figures;
    struct weir_bench_load load;
    struct weir_bench_meter meter;
    struct weir_bench_worker *workers;
    struct weir_bench_producer *producers; /* twice as many as send at once */
    int64_t *acked_ns, *other_ns;          /* one a message at the rate; other_ns is shared */
    uint64_t other_bytes;
};

/* Those that the topology does not have; waits until all are connected. */
int weir_bench_start_workers(struct bench *self, struct weir_error *error);

struct stretch {
    uint64_t count;
    uint32_t rate;
    bool watch;         /* note when each message is acked: costs the ventilator a little */
    int64_t handler_ns; /* so long does each handler take, at first */
    uint32_t first;     /* its first producer in the crew … */
    uint32_t second;    /* … and the first of those that begin when `between` has let them */
    /* What happens between the word to begin and waiting for all to be acked; NULL: nothing. */
    int (*between)(struct bench *self, struct stretch *stretch, struct weir_error *error);
    uint64_t
        ahead; /* so many messages are sent by others than the rest, which `between` lets begin */
    struct weir_bench_round *round;
    struct weir_bench_asker asker;
    struct weir_bench_counts before, after;
    struct weir_bench_cpu cpu; /* used */
    int64_t took_ns;           /* from the first send until all are acked */
    uint64_t progress;         /* a sum that grows when anything goes on … */
    int64_t progress_ns;       /* … as it has done then last */
};

/* All of it: the producers start, send, and end; every message is confirmed, handled, acked and
 * accounted for. */
int weir_bench_run_stretch(struct bench *self, struct stretch *stretch, struct weir_error *error);
/* For `between`. The word to begin, for those from `first` up to `end` in the crew. */
void weir_bench_go(const struct bench *self, uint32_t first, uint32_t end);
/* Let everybody go on for a moment. WEIR_ETIMEDOUT: nothing does. */
int weir_bench_linger(struct bench *self, struct stretch *stretch, struct weir_error *error);
/* What the ventilator counts, into `after`. */
int weir_bench_count(struct stretch *stretch, bool *answered, struct weir_error *error);

/* The rounds' parts with a backlog (backlog.c). */
int weir_bench_measure_burst(struct bench *self, struct weir_bench_round *round,
                             struct weir_error *error);
int weir_bench_measure_waiting(struct bench *self, struct weir_bench_round *round,
                               struct weir_error *error);

static inline double weir_bench_per_second(uint64_t count, int64_t ns)
{
    return ns > 0 ? (double)count * (double)WEIR_NS_PER_S / (double)ns : 0;
}

#endif
