/* Where a bench takes place: a temporary directory, and in it a topology of its own, whose
 * processes a supervisor runs, as `weir up` does. */
#ifndef WEIR_BENCH_STAGE_H
#define WEIR_BENCH_STAGE_H

#include "crew.h"
#include "plan.h"

#include <config/config.h>

#define WEIR_BENCH_RESULTS "results.jsonl" /* of the sink, in the directory */

struct weir_bench_stage {
    const struct weir_bench_plan *plan;
    char *directory; /* NULL: none was made */
    struct weir_topology *topology;
    const struct weir_node *ventilator, *router, *sink; /* router, sink: NULL without one */
    uint32_t supervisor;                                /* its place in the crew */
};

/* Make the directory, go there, and write the topology. WEIR_EINVAL: no directory can be
 * made there; WEIR_EIO. */
int weir_bench_stage_init(struct weir_bench_stage *self, const struct weir_bench_plan *plan,
                          struct weir_error *error);
/* Start its processes, as a part of the crew, and wait until all of them answer. */
int weir_bench_stage_up(struct weir_bench_stage *self, struct weir_bench_crew *crew,
                        struct weir_error *error);
/* Drain them. */
int weir_bench_stage_down(struct weir_bench_stage *self, struct weir_bench_crew *crew,
                          struct weir_error *error);
/* End what still runs, in the second it takes, and remove the directory unless it is to be kept. */
void weir_bench_stage_fini(struct weir_bench_stage *self, struct weir_bench_crew *crew, bool keep);

/* Whether the directory's file system is memory, where a sync costs nothing. */
bool weir_bench_stage_in_memory(const struct weir_bench_stage *self);
/* Where workers take work from. */
const char *weir_bench_stage_dispatch(const struct weir_bench_stage *self);

#endif
