/* What a router and a worker say of a group: for whoever reads a trace. Like describe.c it looks
 * where nothing else here may. */
#include "sim.h"
#include <core/relay_state.h>
#include <string.h>

void sim_describe_relay(struct sim *sim, struct sim_process *process, const char *name)
{
    const struct relay *relay = (const struct relay *)(const void *)process->role;
    const struct relay_group *group = weir_relay_group(relay, name, strlen(name));
    if (!group)
        return;
    sim_log(sim, process->name, "%s: queued %llu%s%s", name,
            (unsigned long long)group->queued_messages, group->queue ? ", a queue" : "",
            group->suspects ? ", suspects" : "");
    for (uint32_t i = 0; i < relay->upstream_count; i++) {
        struct weir_credit credit = weir_session_credit(relay->upstreams[i].session, name);
        sim_log(sim, process->name,
                "  upstream %u%s%s%s: used %llu, limit %llu, ceiling %llu%s, bytes left %lld", i,
                weir_session_open(relay->upstreams[i].session) ? "" : ", not open",
                group->loans[i].hungry ? ", hungry" : "", group->loans[i].absent ? ", absent" : "",
                (unsigned long long)credit.used_messages, (unsigned long long)credit.limit_messages,
                (unsigned long long)credit.ceiling_messages,
                credit.withdrawing ? ", withdrawing" : "",
                (long long)(credit.limit_bytes - credit.used_bytes));
    }
    sim_describe_dispatch(sim, process->name, relay->down, name);
}
