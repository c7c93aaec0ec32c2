/* Groups, who serves them, and how much each may be sent. */
#include "dispatch_state.h"
#include <base/canary.h>

#include <stdlib.h>
#include <string.h>

/* ---- groups ---- */

struct group *weir_dispatch_group(const struct weir_dispatch *self, const char *name, size_t bytes)
{
    struct group *group;
    HASH_FIND(hh, self->groups, name, bytes, group);
    return group;
}

void weir_dispatch_group_drop(struct weir_dispatch *self, struct group *group)
{
    WEIR_ASSERT(!group->services && group->delivery_count == 0 && !group->dirty);
    weir_heap_remove(&self->group_probes, &group->probe);
    weir_heap_remove(&self->drains, &group->drain);
    HASH_DELETE(hh, self->groups, group);
    free(group);
}

/* Make room by forgetting the group that nobody has served for longest. */
static bool forget_one(struct weir_dispatch *self)
{
    struct group *group, *next, *oldest = NULL;
    HASH_ITER (hh, self->groups, group, next)
        if (!group->services && group->delivery_count == 0 && !group->dirty &&
            (!oldest || group->last_seen_ms < oldest->last_seen_ms))
            oldest = group;
    if (oldest)
        weir_dispatch_group_drop(self, oldest);
    return oldest != NULL;
}

struct group *weir_dispatch_group_get(struct weir_dispatch *self, const char *name, size_t bytes)
{
    struct group *group = weir_dispatch_group(self, name, bytes);
    if (group)
        return group;
    WEIR_ASSERT(bytes <= WEIR_NAME_BYTES_MAX);
    if (HASH_COUNT(self->groups) >= WEIR_GROUPS_MAX && !forget_one(self))
        return NULL;
    group = weir_zalloc(1, sizeof *group);
    memcpy(group->name, name, bytes);
    HASH_ADD(hh, self->groups, name, (unsigned)bytes, group);
    return group;
}

void weir_dispatch_groups(const struct weir_dispatch *self,
                          void (*each)(void *arg, const char *group), void *arg)
{
    struct group *group, *next;
    HASH_ITER (hh, self->groups, group, next)
        if (group->services)
            each(arg, group->name);
}

/* ---- services ---- */

struct service *weir_dispatch_service(const struct peer *peer, const struct group *group)
{
    struct service *service;
    DL_FOREACH (peer->services, service)
        if (service->group == group)
            return service;
    return NULL;
}

struct service *weir_dispatch_service_get(struct weir_dispatch *self, struct peer *peer,
                                          struct group *group)
{
    struct service *service = weir_dispatch_service(peer, group);
    if (service)
        return service;
    service = weir_zalloc(1, sizeof *service);
    service->peer = peer;
    service->group = group;
    /* Many ventilators that start at once must not all begin with the same worker. */
    service->turn = weir_random_below(&self->random, UINT32_MAX);
    DL_APPEND(peer->services, service);
    DL_APPEND2(group->services, service, g_prev, g_next);
    group->service_count++;
    weir_dispatch_review(self, group);
    return service;
}

void weir_dispatch_service_drop(struct weir_dispatch *self, struct service *service)
{
    struct group *group = service->group;
    struct peer *peer = service->peer;
    WEIR_ASSERT(service->outstanding == 0);
    if (peer->drained_for == group)
        weir_dispatch_drain_end(self, group);
    if (group->last_seen_ms < peer->heard_ms)
        group->last_seen_ms = peer->heard_ms;
    DL_DELETE(peer->services, service);
    DL_DELETE2(group->services, service, g_prev, g_next);
    group->service_count--;
    free(service);
    weir_dispatch_review(self, group);
    weir_dispatch_stir(self, group);
}

uint32_t weir_dispatch_servers(const struct weir_dispatch *self, const char *name,
                               int64_t *last_seen_ms)
{
    const struct group *group = weir_dispatch_group(self, name, strlen(name));
    const struct service *service;
    uint32_t count = 0;
    int64_t last_ms = group ? group->last_seen_ms : 0;
    if (group)
        DL_FOREACH2(group->services, service, g_next)
        {
            /* One that cannot be reached may be back in a moment. */
            if (service->peer->state == PEER_LIVE || service->peer->state == PEER_GONE)
                count++;
            if (service->peer->heard_ms > last_ms)
                last_ms = service->peer->heard_ms;
        }
    if (last_seen_ms)
        *last_seen_ms = last_ms;
    return count;
}

/* ---- credit ---- */

/* Nothing more is sent until it is given anew. */
static void credit_void(struct service *service)
{
    service->limit_messages = service->sent_messages;
    service->limit_bytes = service->sent_bytes;
    service->voided = true;
}

/* It names the CREDIT that is refused, so that nobody takes it for the answer to a later one. */
static void credit_refuse(struct weir_dispatch *self, struct peer *peer, const char *name,
                          const struct weir_control *control)
{
    struct group *group = weir_dispatch_group(self, name, strlen(name));
    struct service *service = group ? weir_dispatch_service(peer, group) : NULL;
    if (service)
        credit_void(service);
    weir_dispatch_error(self, peer->number, WEIR_CODE_GROUP,
                        "no such group here: declare it in the topology, or JOIN it first", name,
                        WEIR_HAS(control, SERIAL) ? &control->serial : NULL);
}

void weir_dispatch_credit(struct weir_dispatch *self, struct peer *peer,
                          const struct weir_control *control)
{
    char name[WEIR_NAME_BYTES_MAX + 1] = {0};
    memcpy(name, control->group.data, control->group.bytes);
    if (self->owner.known && !self->owner.known(self->owner.self, name)) {
        credit_refuse(self, peer, name, control);
        return;
    }
    struct group *group = weir_dispatch_group_get(self, name, control->group.bytes);
    if (!group) {
        weir_dispatch_error(self, peer->number, WEIR_CODE_LIMIT,
                            "too many groups are served here already", name,
                            WEIR_HAS(control, SERIAL) ? &control->serial : NULL);
        return;
    }
    struct service *service = weir_dispatch_service_get(self, peer, group);
    /* Who takes back what was just voided waits for an answer, too. */
    bool lowered = service->voided || control->messages < service->limit_messages ||
                   control->bytes < service->limit_bytes;
    service->voided = false;
    service->limit_messages = control->messages + WEIR_CANARY(CREDIT_EXCEEDED);
    service->limit_bytes = control->bytes;
    service->serial = WEIR_HAS(control, SERIAL) ? control->serial : 0;
    if (lowered) {
        struct weir_control answer = {.verb = WEIR_VERB_CREDITED};
        WEIR_SET(&answer, group, GROUP, control->group);
        WEIR_SET(&answer, messages, MESSAGES, service->sent_messages);
        WEIR_SET(&answer, bytes, BYTES, service->sent_bytes);
        if (WEIR_HAS(control, SERIAL))
            WEIR_SET(&answer, serial, SERIAL, control->serial);
        weir_dispatch_send(self, peer->number, &answer);
    }
    weir_dispatch_stir(self, group);
}

void weir_dispatch_room(const struct weir_dispatch *self, const char *name, uint64_t *messages,
                        uint64_t *bytes)
{
    const struct group *group = weir_dispatch_group(self, name, strlen(name));
    const struct service *service;
    *messages = *bytes = 0;
    if (!group)
        return;
    DL_FOREACH2(group->services, service, g_next)
    {
        struct room room;
        bool some = weir_dispatch_service_room(self, service, &room);
        if (some)
            *messages += room.messages;
        /* Bytes left over by a worker that has no room for messages count: they were lent with the
         * messages it holds now, and will be used with the next. */
        *bytes += room.bytes;
        if (some && group->open)
            return; /* one probe, whoever takes it */
    }
}

void weir_dispatch_announce(struct weir_dispatch *self, const char *name,
                            const struct weir_now *now)
{
    struct group *group = weir_dispatch_group(self, name, strlen(name));
    struct service *service;
    if (!group)
        return;
    struct weir_control waiting = {.verb = WEIR_VERB_WAITING};
    WEIR_SET(&waiting, group, GROUP, weir_text_of(group->name));
    DL_FOREACH2(group->services, service, g_next)
    {
        int64_t again_ns = service->waiting_ns + WEIR_WAITING_AGAIN_MS * WEIR_NS_PER_MS;
        if (service->peer->state != PEER_LIVE || (service->waiting_said && now->mono_ns < again_ns))
            continue;
        service->waiting_said = true;
        service->waiting_ns = now->mono_ns;
        weir_dispatch_send(self, service->peer->number, &waiting);
    }
}

void weir_dispatch_refuse(struct weir_dispatch *self, const char *name, const char *text)
{
    struct group *group = weir_dispatch_group(self, name, strlen(name));
    struct service *service;
    if (!group)
        return;
    DL_FOREACH2(group->services, service, g_next)
    {
        credit_void(service);
        if (service->peer->state != PEER_LIVE && service->peer->state != PEER_SILENT)
            continue;
        weir_dispatch_error(self, service->peer->number, WEIR_CODE_GROUP, text, group->name,
                            service->serial ? &service->serial : NULL);
    }
}

uint64_t weir_dispatch_outstanding(const struct weir_dispatch *self)
{
    uint64_t messages = 0;
    for (const struct peer *peer = self->peers; peer; peer = peer->hh.next)
        messages += peer->outstanding;
    return messages;
}
