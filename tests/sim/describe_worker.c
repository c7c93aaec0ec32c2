/* What a worker holds and has lent: for whoever reads a trace. Like describe.c it looks where
 * nothing else here may. */
#include "sim.h"
#include <core/worker.h>

void sim_describe_worker(struct sim *sim, struct sim_process *process)
{
    const struct weir_worker *worker = (const struct weir_worker *)(const void *)process->role;
    sim_log(sim, process->name,
            "%s %llx: held %llu, waiting %llu, running %u, %sresults waiting %llu%s", worker->group,
            (unsigned long long)worker->number, (unsigned long long)worker->held,
            (unsigned long long)worker->waiting, worker->running,
            worker->alone ? "a suspect, " : "",
            (unsigned long long)weir_worker_results_waiting(worker),
            weir_worker_result_flows(worker) ? "" : ", the sink does not take them");
    for (uint32_t i = 0; i < worker->upstream_count; i++) {
        const struct weir_worker_upstream *upstream = &worker->upstreams[i];
        struct weir_credit credit = weir_session_credit(upstream->session, worker->group);
        sim_log(sim, process->name, "  upstream %u%s%s%s: used %llu, limit %llu, ceiling %llu%s", i,
                weir_session_open(upstream->session) ? "" : ", not open",
                upstream->starved ? ", starved" : "", upstream->refused ? ", refused" : "",
                (unsigned long long)credit.used_messages, (unsigned long long)credit.limit_messages,
                (unsigned long long)credit.ceiling_messages,
                credit.withdrawing ? ", withdrawing" : "");
    }
}
