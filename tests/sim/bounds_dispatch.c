/* Invariant 5, for the dispatch port of ventilators and routers. */
#include "sim.h"
#include <core/dispatch_state.h>
#include <string.h>

#define PREFETCH_MAX 16u /* of the simulator's workers */

static void check(struct sim_process *process, enum sim_bound_name name, uint64_t value,
                  uint64_t beyond)
{
    sim_check_bound(process, name, value, sim_bound_of(name)->limit, beyond);
}

uint64_t sim_asked_for(const struct weir_dispatch *dispatch, const char *name)
{
    const struct group *group = weir_dispatch_group(dispatch, name, strlen(name));
    const struct service *service;
    uint64_t messages = 0;
    if (group)
        DL_FOREACH2(group->services, service, g_next)
    if (service->limit_messages > service->sent_messages)
        messages += service->limit_messages - service->sent_messages;
    return messages;
}

void sim_check_dispatch_bounds(struct sim_process *process, const struct weir_dispatch *dispatch)
{
    const struct peer *peer, *next;
    const struct service *service;
    check(process, SIM_BOUND_PEERS, HASH_COUNT(dispatch->peers), 0);
    check(process, SIM_BOUND_ROUTES, HASH_COUNT(dispatch->routes), 0);
    HASH_ITER (hh, dispatch->peers, peer, next)
        DL_FOREACH (peer->services, service)
            /* what came another way, and its READY names, comes on top */
            check(process, SIM_BOUND_LENT, service->outstanding, PREFETCH_MAX);
}
