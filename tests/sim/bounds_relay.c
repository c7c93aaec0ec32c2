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
    /* What waits here was sent for credit that workers gave. They may be gone since, and upstreams
     * have begun anew: what is here already stays, but nothing more is lent before there is room
     * for it and for all that may still come. */
    for (uint32_t g = 0; g < sim->group_count; g++) {
        const char *name = sim->groups[g].policy.name;
        const struct relay_group *group = weir_relay_group(relay, name, strlen(name));
        const uint64_t before = process->relayed[g], asked = sim_asked_for(relay->down, name);
        const uint64_t now = group ? group->queued_messages + weir_relay_lent(relay, group) : 0;
        sim_check_bound(process, SIM_BOUND_RELAYED, now, asked > before ? asked : before, 0);
        process->relayed[g] = now;
    }
    sim_check_dispatch_bounds(process, relay->down);
}
