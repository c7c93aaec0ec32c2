/* Invariant 5, for workers: the machine's insides do not go into one file with a ventilator's. */
#include "sim.h"
#include <core/worker.h>

void sim_check_worker_bounds(struct sim_process *process)
{
    const struct weir_worker *worker = (const struct weir_worker *)(const void *)process->role;
    sim_check_bound(process, "messages at hand", sim_holds(process), process->prefetch);
    sim_check_bound(process, "bytes of results that wait", worker->queue_bytes,
                    WEIR_RESULTS_BYTES_MAX);
    for (uint32_t i = 0; i < worker->upstream_count; i++)
        sim_check_bound(process, "acks kept", worker->upstreams[i].kept_count, WEIR_ACKS_KEPT_MAX);
}
