/* What the processes of a bench use and count, as seen from outside: CPU time and memory from the
 * kernel, the ventilator's counts from its admin endpoint. */
#ifndef WEIR_BENCH_METER_H
#define WEIR_BENCH_METER_H

#include "../admin_zmq.h"
#include "stage.h"

#include <time.h>

enum weir_bench_kind {
    WEIR_BENCH_PRODUCER,
    WEIR_BENCH_VENTILATOR,
    WEIR_BENCH_ROUTER,
    WEIR_BENCH_WORKER,
    WEIR_BENCH_SINK,
    WEIR_BENCH_KINDS,
};
/* "producer" … */
const char *weir_bench_kind_name(enum weir_bench_kind kind);

struct weir_bench_metered {
    enum weir_bench_kind kind;
    pid_t pid;
    clockid_t cpu;
};

struct weir_bench_meter {
    struct weir_bench_metered at[WEIR_BENCH_PARTS_MAX];
    uint32_t count;
    uint64_t rss_max_bytes[WEIR_BENCH_KINDS]; /* anonymous memory of one process, the most seen */
    const char *gone; /* a process of the topology that has ended; NULL: none was seen to */
};

void weir_bench_meter_add(struct weir_bench_meter *self, enum weir_bench_kind kind, pid_t pid);
/* The topology's processes. WEIR_EIO: one is not there. */
int weir_bench_meter_add_stage(struct weir_bench_meter *self, const struct weir_bench_stage *stage,
                               struct weir_error *error);
/* Forget those from number `first` on. */
void weir_bench_meter_cut(struct weir_bench_meter *self, uint32_t first);
/* Look at everybody's memory, and for those that are gone. */
void weir_bench_meter_sample(struct weir_bench_meter *self);
/* Anonymous memory of the processes of a kind, now. */
uint64_t weir_bench_meter_rss(const struct weir_bench_meter *self, enum weir_bench_kind kind);
/* CPU time used so far, by kind, in ns; of the processes that still run. */
struct weir_bench_cpu {
    int64_t ns[WEIR_BENCH_KINDS];
};
struct weir_bench_cpu weir_bench_meter_cpu(const struct weir_bench_meter *self);

/* The topology is as it was started: no process of it has ended, and been started again. WEIR_EIO:
 * names the one. */
int weir_bench_stage_sound(const struct weir_bench_stage *stage, struct weir_error *error);
/* Whether so many workers of each group are connected. */
bool weir_bench_stage_joined(const struct weir_bench_stage *stage);

/* Asks the ventilator over one connection. Has threads: none of the crew may be started while it
 * is there. */
struct weir_bench_counts {
    uint64_t accepted;
    uint64_t done;                    /* the least of all groups */
    uint64_t log_syncs, state_writes; /* commits of the log; transactions of the state */
};
struct weir_bench_asker {
    struct weir_admin *admin;
    struct weir_admin_call call;
};
void weir_bench_asker_init(struct weir_bench_asker *self, const struct weir_bench_stage *stage);
void weir_bench_asker_fini(struct weir_bench_asker *self);
/* Pause or resume all groups. WEIR_EIO: the ventilator did not. */
int weir_bench_groups(const struct weir_bench_stage *stage, bool pause, struct weir_error *error);
/* The error is what weir_admin_ask said: WEIR_ETIMEDOUT and WEIR_EUNREACHABLE may pass. */
int weir_bench_ask(struct weir_bench_asker *self, struct weir_bench_counts *counts,
                   struct weir_error *error);

#endif
