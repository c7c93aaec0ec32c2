/* What a bench has found out: figures of each round, their median and their spread. Pure. */
#ifndef WEIR_BENCH_FIGURES_H
#define WEIR_BENCH_FIGURES_H

#include "meter.h"
#include "plan.h"

#include <stddef.h>
#include <stdint.h>

#define WEIR_BENCH_ROUNDS_MAX 99u

enum weir_bench_quantile { WEIR_BENCH_P50, WEIR_BENCH_P99, WEIR_BENCH_P999, WEIR_BENCH_QUANTILES };
/* "p50" … */
const char *weir_bench_quantile_name(enum weir_bench_quantile quantile);

/* From what to what a latency is; all start when the message was due. */
enum weir_bench_latency {
    WEIR_BENCH_OK,      /* to its confirmation, in the producer */
    WEIR_BENCH_HANDLER, /* to the start of its handler */
    WEIR_BENCH_ACKED,   /* to when the ventilator says that every group is done with it */
    WEIR_BENCH_CHAIN,   /* through bare libzmq */
    WEIR_BENCH_SYNC,    /* of a bare fdatasync */
    WEIR_BENCH_LATENCIES,
};
const char *weir_bench_latency_name(enum weir_bench_latency latency);

struct weir_bench_round {
    double pipeline_msgs_per_s, raw_msgs_per_s;
    double ratio; /* of these */
    double cpu_us_per_message[WEIR_BENCH_KINDS];
    double spawns_per_s, spawn_ratio;     /* where handlers are processes */
    double burst_ms, burst_drained_per_s; /* until all were accepted; meanwhile and after */
    double burst_rss_before_bytes, burst_rss_max_bytes; /* of the ventilator */
    double fill_msgs_per_s, waiting_msgs_per_s, waiting_acked_per_s;
    double waiting_ratio;          /* waiting_msgs_per_s by pipeline_msgs_per_s */
    double raw_cpu_us_per_message; /* sender and receiver */
    double log_syncs, state_writes;
    double cpu_percent_at_rate[WEIR_BENCH_KINDS]; /* of one core */
    double latency_us[WEIR_BENCH_LATENCIES][WEIR_BENCH_QUANTILES];
};

/* Everything that went through, in all rounds. */
struct weir_bench_totals {
    uint64_t sent;     /* and confirmed */
    uint64_t accepted; /* as the ventilator says */
    uint64_t handled;  /* each message once for each group */
    uint64_t repeated, disordered, strange;
    uint64_t acked;   /* by every group, as the ventilator says */
    uint64_t results; /* lines of the sink's file */
};

struct weir_bench_figures {
    struct weir_bench_round rounds[WEIR_BENCH_ROUNDS_MAX];
    uint32_t count;
    struct weir_bench_totals totals;
    uint64_t rss_max_bytes[WEIR_BENCH_KINDS];
    bool in_memory; /* the spool's file system is */
};

/* In µs, of `count` values in ns, which it sorts: the smallest value that is not below so many of
 * them. 0: there are none. */
void weir_bench_quantiles(int64_t *values_ns, uint64_t count,
                          double quantiles_us[WEIR_BENCH_QUANTILES]);

struct weir_bench_spread {
    double median, min, max;
};
/* Over all rounds; `member` is the offset of a double in struct weir_bench_round. */
struct weir_bench_spread weir_bench_spread(const struct weir_bench_figures *self, size_t member);

/* By how many times the pipeline's latency to the handler is above the floor: the bare chain and,
 * where each message is synced, a bare fdatasync. 0: it was not measured. */
double weir_bench_latency_ratio(const struct weir_bench_figures *self,
                                const struct weir_bench_plan *plan,
                                enum weir_bench_quantile quantile);

#endif
