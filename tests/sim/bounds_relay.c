/* Invariant 5, for routers. */
#include "sim.h"
#include <core/relay_state.h>
#include <string.h>

static void check(struct sim_process *process, enum sim_bound_name name, uint64_t value,
                  uint64_t beyond)
{
    sim_check_bound(process, name, value, sim_bound_of(name)->limit, beyond);
}

void sim_check_relay_bounds(struct sim_process *process)
{
    const struct relay *relay = (const struct relay *)(const void *)process->role;
    struct sim *sim = process->sim;
    for (uint32_t i = 0; i < relay->upstream_count; i++) {
        check(process, SIM_BOUND_HELD_ACKS, relay->upstreams[i].held.count, 0);
        check(process, SIM_BOUND_HELD_ACKS_BYTES, relay->upstreams[i].held_bytes, 0);
    }
    /* What waits here was sent for credit that workers gave, in this life of the router; each
     * upstream may have sent as much as one may have out. */
    for (uint32_t g = 0; g < sim->group_count; g++) {
        const char *name = sim->groups[g].policy.name;
        const struct relay_group *group = weir_relay_group(relay, name, strlen(name));
        if (group)
            check(process, SIM_BOUND_RELAYED, group->queued_messages,
                  (relay->upstream_count - 1) * (uint64_t)WEIR_CREDIT_MESSAGES_MAX);
    }
    sim_check_dispatch_bounds(process, relay->down);
}
