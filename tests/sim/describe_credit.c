/* Who has lent whom how much for a group, and what it holds: for whoever reads a trace. Like
 * describe.c it looks where nothing else here may. */
#include "sim.h"
#include <core/dispatch_state.h>
#include <string.h>

void sim_describe_dispatch(struct sim *sim, const char *who, const struct weir_dispatch *dispatch,
                           const char *name)
{
    static const char *const states[] = {"live", "silent", "gone", "superseded"};
    const struct group *group = weir_dispatch_group(dispatch, name, strlen(name));
    const struct service *service;
    if (!group)
        return;
    sim_log(sim, who, "dispatch %s: %s%s%s", name, group->dirty ? "dirty " : "",
            group->open ? "open " : "", group->drained ? "drains one" : "");
    DL_FOREACH2(group->services, service, g_next)
    {
        const struct peer *peer = service->peer;
        sim_log(sim, who,
                "  %s (peer %llu, worker %llx) %s, limit %llu, sent %llu, out %llu (peer %llu, "
                "unplaced %llu, alone %llu)%s, bytes left %lld, breaker %d%s",
                peer->name, (unsigned long long)peer->number, (unsigned long long)peer->worker,
                states[peer->state], (unsigned long long)service->limit_messages,
                (unsigned long long)service->sent_messages,
                (unsigned long long)service->outstanding, (unsigned long long)peer->outstanding,
                (unsigned long long)peer->unplaced, (unsigned long long)peer->alone,
                peer->drained_for ? " drained" : "",
                (long long)(service->limit_bytes - service->sent_bytes), (int)peer->breaker.state,
                service->waiting_said ? ", was told WAITING" : "");
    }
}
