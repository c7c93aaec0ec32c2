/* Credit, overheard on every connection of a dispatch port, as the server sees it: what the client
 * allowed in all, and what was sent. */
#include "sim.h"
#include <string.h>
#include <wire/control.h>

void sim_credit_arrives(struct sim_link *link, const struct weir_control *control)
{
    const uint32_t group =
        sim_group_of(link->server->sim, control->group.data, control->group.bytes);
    if (control->verb != WEIR_VERB_CREDIT || !link->session || group == SIM_GROUPS_MAX)
        return;
    link->credit[group].limit_messages = control->messages;
    link->credit[group].limit_bytes = control->bytes;
}

void sim_credit_landed(struct sim_link *link, const struct weir_control *control)
{
    const uint32_t group =
        sim_group_of(link->server->sim, control->group.data, control->group.bytes);
    if (group < SIM_GROUPS_MAX && link->credit[group].flying > 0)
        link->credit[group].flying--;
}

/* Whether the client has anything of the group from here, as far as is certain: a worker may know
 * better than its server, but not the other way round. */
static bool outstanding(const struct sim_link *link, const struct sim_credit *credit)
{
    const int64_t age_ns = link->server->sim->now_ns - credit->sent_ns;
    return (credit->flying > 0 && age_ns < WEIR_NS_PER_S) ||
           (link->client->kind == SIM_WORKER && sim_holds_from(link->client, link));
}

void sim_credit_used(struct sim_link *link, const struct weir_control *control,
                     const struct weir_frames *frames)
{
    struct sim *sim = link->server->sim;
    if (control->verb == WEIR_VERB_WELCOME) { /* all credit and all use are zero again */
        link->session = true;
        sim_groups_opened(link->server);
        for (uint32_t i = 0; i < SIM_GROUPS_MAX; i++)
            link->credit[i].limit_messages = link->credit[i].limit_bytes =
                link->credit[i].sent_messages = link->credit[i].sent_bytes = 0;
    }
    if (control->verb != WEIR_VERB_DELIVER)
        return;
    const uint32_t group = sim_group_of(sim, control->group.data, control->group.bytes);
    if (group == SIM_GROUPS_MAX)
        return;
    struct sim_credit *credit = &link->credit[group];
    uint64_t messages = 0, bytes = 0;
    for (uint32_t i = 0; i < control->slice_count && 3 * i + 3 < frames->count; i++) {
        messages += control->slices[i].count;
        bytes += frames->at[3 * i + 2].size + frames->at[3 * i + 3].size;
    }
    credit->sent_messages += messages;
    credit->sent_bytes += bytes;
    if (credit->sent_messages > credit->limit_messages)
        sim_fail(sim, SIM_CHECK_CREDIT, "%s sends %s %llu messages of %s, allowed are %llu",
                 link->server->name, link->client->name, (unsigned long long)credit->sent_messages,
                 sim->groups[group].policy.name, (unsigned long long)credit->limit_messages);
    if (credit->sent_bytes > credit->limit_bytes && (messages > 1 || outstanding(link, credit)))
        sim_fail(sim, SIM_CHECK_CREDIT,
                 "%s sends %s %llu bytes of %s, allowed are %llu, and that is not one message that "
                 "goes alone",
                 link->server->name, link->client->name, (unsigned long long)credit->sent_bytes,
                 sim->groups[group].policy.name, (unsigned long long)credit->limit_bytes);
    credit->flying++;
    credit->sent_ns = sim->now_ns;
}
