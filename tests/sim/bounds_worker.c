/* Invariant 5, for workers: the machine's insides do not go into one file with a ventilator's. */
#include "sim.h"
#include <core/worker.h>

#define RESULT_BYTES_MAX 1300u /* of the simulator's handlers */

void sim_check_worker_bounds(struct sim_process *process)
{
    const struct weir_worker *worker = (const struct weir_worker *)(const void *)process->role;
    /* No job starts when there is no room; those that run go on. */
    const uint64_t running = process->concurrency * process->job_messages_max * RESULT_BYTES_MAX;
    sim_check_bound(process, SIM_BOUND_AT_HAND, sim_holds(process), process->prefetch,
                    worker->results ? WEIR_RESULTS_AHEAD_MAX : 0);
    sim_check_bound(process, SIM_BOUND_RESULTS, worker->queue_bytes + worker->parcel_bytes,
                    WEIR_RESULTS_BYTES_MAX, running);
    for (uint32_t i = 0; i < worker->upstream_count; i++)
        sim_check_bound(process, SIM_BOUND_ACKS_KEPT, worker->upstreams[i].kept_count,
                        WEIR_ACKS_KEPT_MAX, 0);
}
