/* What an operator sees of a router, and may ask of it. */
#include "relay_state.h"

#include <core/admin.h>

static const char *upstream_state(const struct upstream *upstream)
{
    if (upstream->refused)
        return "refused";
    return weir_session_open(upstream->session) ? "open" : "away";
}

static void pack_upstream(struct weir_packer *packer, const struct upstream *upstream)
{
    weir_pack_map(packer, 6);
    weir_pack_text(packer, "name");
    weir_pack_text(packer, upstream->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, !upstream->named   ? "unknown"
                           : upstream->router ? "router"
                                              : "ventilator");
    weir_pack_text(packer, "state");
    weir_pack_text(packer, upstream_state(upstream));
    weir_pack_text(packer, "tag");
    weir_pack_u64(packer, upstream->incarnation & UINT16_MAX);
    weir_pack_text(packer, "held_frames");
    weir_pack_u64(packer, upstream->held.count);
    weir_pack_text(packer, "errors");
    weir_pack_u64(packer, weir_session_errors(upstream->session));
}

static void pack_group(struct weir_packer *packer, const struct relay *self,
                       const struct relay_group *group)
{
    uint64_t messages, bytes;
    weir_dispatch_room(self->down, group->name, &messages, &bytes);
    weir_pack_map(packer, 5);
    weir_pack_text(packer, "group");
    weir_pack_text(packer, group->name);
    weir_pack_text(packer, "workers");
    weir_pack_u64(packer, weir_dispatch_servers(self->down, group->name, NULL));
    weir_pack_text(packer, "room");
    weir_pack_u64(packer, messages);
    weir_pack_text(packer, "lent");
    weir_pack_u64(packer, weir_relay_lent(self, group));
    weir_pack_text(packer, "queued");
    weir_pack_u64(packer, group->queued_messages);
}

static void answer_stats(struct relay *self, const struct weir_event *event)
{
    struct weir_packer *packer = weir_packer_new();
    uint32_t counters = 0;
#define X(name) counters++;
    RELAY_COUNTERS(X)
#undef X
    weir_pack_map(packer, 6 + counters);
    weir_pack_text(packer, "node");
    weir_pack_text(packer, self->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, "router");
    weir_pack_text(packer, "draining");
    weir_pack_bool(packer, self->draining);
    weir_pack_text(packer, "upstreams");
    weir_pack_array(packer, self->upstream_count);
    for (uint32_t i = 0; i < self->upstream_count; i++)
        pack_upstream(packer, &self->upstreams[i]);
    weir_pack_text(packer, "groups");
    weir_pack_array(packer, HASH_COUNT(self->groups));
    for (const struct relay_group *group = self->groups; group; group = group->hh.next)
        pack_group(packer, self, group);
    weir_pack_text(packer, "dispatch");
    weir_pack_map(packer, weir_dispatch_stats_count());
    weir_dispatch_stats(self->down, packer, &self->now);
#define X(name)                                                                                    \
    weir_pack_text(packer, #name);                                                                 \
    weir_pack_u64(packer, self->count.name);
    RELAY_COUNTERS(X)
#undef X
    weir_admin_answer(&self->host, event, &packer);
}

void weir_relay_admin(struct relay *self, const struct weir_event *event)
{
    struct weir_control control;
    if (!weir_admin_decode(&self->host, event, &control))
        return;
    if (control.verb == WEIR_VERB_STATS) {
        answer_stats(self, event);
    } else if (control.verb == WEIR_VERB_DRAIN) {
        weir_admin_done(&self->host, event, "draining");
        weir_relay_drain(self);
    } else {
        weir_admin_unknown(&self->host, event, control.verb);
    }
    weir_control_fini(&control);
}
