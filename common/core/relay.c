/* The router: to an upstream it is one big worker, to a worker it is a ventilator. */
#include "port_name.h"
#include "relay_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void weir_relay_log(struct relay *self, enum weir_log_level level, const char *format, ...)
{
    char text[WEIR_ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->host.log(self->host.self, level, text);
}

/* ---- groups ---- */

struct relay_group *weir_relay_group(const struct relay *self, const char *name, size_t bytes)
{
    struct relay_group *group;
    HASH_FIND(hh, self->groups, name, bytes, group);
    return group;
}

static void group_destroy(struct relay *self, struct relay_group *group)
{
    weir_relay_queue_fini(self, group);
    weir_relay_join_fini(group);
    weir_heap_remove(&self->idle, &group->idle);
    HASH_DEL(self->groups, group);
    free(group->loans);
    free(group);
}

/* Make room by forgetting a group that nobody serves and no session counts any more. */
static bool group_forget_one(struct relay *self)
{
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next) {
        if (group->queue || group->suspects || weir_relay_joining(group) ||
            weir_dispatch_servers(self->down, group->name, NULL) > 0)
            continue;
        bool forgotten = true;
        for (uint32_t i = 0; i < self->upstream_count && forgotten; i++)
            forgotten = weir_session_forget(self->upstreams[i].session, group->name);
        if (forgotten) {
            group_destroy(self, group);
            return true;
        }
    }
    return false;
}

/* NULL: there are WEIR_GROUPS_MAX already. */
static struct relay_group *group_get(struct relay *self, const char *name)
{
    size_t bytes = strlen(name);
    struct relay_group *group = weir_relay_group(self, name, bytes);
    if (group)
        return group;
    if (HASH_COUNT(self->groups) >= WEIR_GROUPS_MAX && !group_forget_one(self))
        return NULL;
    group = weir_zalloc(1, sizeof *group);
    memcpy(group->name, name, bytes);
    group->loans = weir_zalloc(self->upstream_count, sizeof *group->loans);
    HASH_ADD(hh, self->groups, name, (unsigned)bytes, group);
    return group;
}

/* ---- from below ---- */

static bool on_known(void *arg, const char *name)
{
    return group_get(arg, name) != NULL;
}

static void on_room(void *arg, const char *name, const struct weir_now *now)
{
    struct relay *self = arg;
    self->now = *now;
    struct relay_group *group = weir_relay_group(self, name, strlen(name));
    if (!group)
        return;
    weir_relay_ask_again(self, group);
    weir_relay_pump(self, group);
    weir_relay_lend(self, group);
}

static void on_ack(void *arg, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now)
{
    struct relay *self = arg;
    (void)peer;
    self->now = *now;
    weir_relay_up_acks(self, control);
    weir_relay_order_acks(self, control);
}

static void on_leases(void *arg, uint64_t peer, const struct weir_control *control,
                      const struct weir_now *now)
{
    struct relay *self = arg;
    (void)peer;
    self->now = *now;
    weir_relay_up_leases(self, control);
}

static void on_lost(void *arg, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    struct relay *self = arg;
    self->now = *now;
    if (count == 0)
        return;
    struct weir_control lost = {.verb = WEIR_VERB_LOST};
    WEIR_SET(&lost, worker, WORKER, worker);
    WEIR_SET(&lost, name, NAME, weir_text_of(name));
    WEIR_SET(&lost, leases, LEASES, (struct weir_lease_ref *)leases);
    lost.lease_count = count;
    weir_relay_up_leases(self, &lost);
    weir_relay_order_lost(self, leases, count);
}

/* A BYE with leases, from a router, gives them back; the router stays. */
static void on_released(void *arg, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    struct relay *self = arg;
    self->now = *now;
    struct weir_control bye = {.verb = WEIR_VERB_BYE};
    WEIR_SET(&bye, leases, LEASES, (struct weir_lease_ref *)leases);
    bye.lease_count = count;
    weir_relay_up_leases(self, &bye);
    weir_relay_order_lost(self, leases, count);
}

static void on_join(void *arg, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    struct relay *self = arg;
    self->now = *now;
    char name[WEIR_NAME_BYTES_MAX + 1] = {0};
    memcpy(name, control->group.data, control->group.bytes);
    struct relay_group *group = group_get(self, name);
    if (!group) {
        weir_dispatch_error(self->down, peer, WEIR_CODE_LIMIT,
                            "too many groups are served through this router already", name,
                            WEIR_HAS(control, SERIAL) ? &control->serial : NULL);
        return;
    }
    weir_relay_join(self, group, peer, control);
}

/* ---- from above ---- */

static void on_welcome(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    struct relay *self = arg;
    uint32_t index = port - WEIR_PORT_FROM;
    self->now = *now;
    weir_relay_meet(self, index, control);
    if (!self->upstreams[index].refused)
        weir_relay_flush(self, index);
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next)
        group->loans[index] = (struct loan){0};
    weir_relay_join_welcome(self, index);
    weir_relay_lend_all(self);
}

static void on_deliver(void *arg, uint32_t port, const struct weir_control *control,
                       struct weir_event *event)
{
    struct relay *self = arg;
    uint32_t index = port - WEIR_PORT_FROM;
    self->now = event->now;
    weir_relay_learn(self, index, control->incarnation);
    struct relay_group *group = weir_relay_group(self, control->group.data, control->group.bytes);
    if (!group) /* lent before it was forgotten: its lease ends */
        return;
    group->loans[index].stirred_ns = event->now.mono_ns;
    group->turn = (index + 1) % self->upstream_count;
    weir_relay_take(self, group, control, event->frames);
    weir_relay_pump(self, group);
    weir_relay_lend(self, group);
}

static void on_waiting(struct relay *self, uint32_t index, struct relay_group *group)
{
    struct loan *loan = &group->loans[index];
    loan->hungry = true;
    loan->absent = false;
    loan->stirred_ns = self->now.mono_ns;
    weir_relay_lend(self, group);
    struct weir_credit credit = weir_session_credit(self->upstreams[index].session, group->name);
    if (credit.limit_messages <= credit.used_messages) /* a router below may take from others */
        weir_dispatch_announce(self->down, group->name, &self->now);
}

static void on_error(struct relay *self, uint32_t index, struct relay_group *group,
                     const struct weir_control *control)
{
    if (group && weir_session_about_group(control)) {
        weir_relay_refused(self, index, group, control);
        return;
    }
    const struct weir_port_name name = weir_port_name(&self->host, WEIR_PORT_FROM + index);
    weir_relay_log(self, WEIR_LOG_WARNING, "%s reports an error: %.*s: %.*s", name.text,
                   (int)control->code.bytes, control->code.data, (int)control->text.bytes,
                   control->text.data);
}

/* GO and echoes find their worker by its number. */
static void pass_down(struct relay *self, const struct weir_control *control)
{
    uint64_t peer = weir_dispatch_peer_of(self->down, control->worker);
    if (peer)
        weir_dispatch_send(self->down, peer, control);
}

static void on_control(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    struct relay *self = arg;
    uint32_t index = port - WEIR_PORT_FROM;
    self->now = *now;
    struct relay_group *group =
        WEIR_HAS(control, GROUP) ? weir_relay_group(self, control->group.data, control->group.bytes)
                                 : NULL;
    switch (control->verb) {
    case WEIR_VERB_WAITING:
        if (group)
            on_waiting(self, index, group);
        break;
    case WEIR_VERB_CREDITED:
        if (group)
            weir_relay_lend(self, group);
        break;
    case WEIR_VERB_JOINED:
        if (group)
            weir_relay_joined(self, index, group, control);
        break;
    case WEIR_VERB_ERROR:
        on_error(self, index, group, control);
        break;
    case WEIR_VERB_HEARTBEAT:
        if (WEIR_HAS(control, INCARNATION))
            weir_relay_learn(self, index, control->incarnation);
        if (WEIR_HAS(control, WORKER))
            pass_down(self, control);
        break;
    case WEIR_VERB_GO:
        pass_down(self, control);
        break;
    default:
        break;
    }
}

static void on_down(void *arg, uint32_t port, const struct weir_now *now)
{
    struct relay *self = arg;
    self->now = *now;
    weir_relay_join_down(self, port - WEIR_PORT_FROM);
    weir_relay_lend_all(self);
}

static void on_held(void *arg, uint32_t port, struct weir_lease_ref **leases, uint32_t *count)
{
    /* A router holds nothing: its workers say what they hold, with every beat. */
    (void)arg, (void)port, (void)leases, (void)count;
}

/* ---- drain ---- */

void weir_relay_drain(struct relay *self)
{
    if (self->draining)
        return;
    self->draining = true;
    self->drain_until_ns = self->now.mono_ns + WEIR_DRAIN_MS * WEIR_NS_PER_MS;
    weir_relay_log(self, WEIR_LOG_INFO, "draining: taking nothing new, %llu messages are out",
                   (unsigned long long)weir_dispatch_outstanding(self->down));
    weir_relay_lend_all(self);
}

static bool drained(const struct relay *self)
{
    const struct relay_group *group;
    if (weir_dispatch_outstanding(self->down) > 0)
        return false;
    for (group = self->groups; group; group = group->hh.next)
        if (group->queued_messages > 0 || weir_relay_lent(self, group) > 0)
            return false;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (self->upstreams[i].held.count > 0)
            return false;
    return true;
}

static void drain_step(struct relay *self)
{
    bool late = self->now.mono_ns >= self->drain_until_ns;
    if (!self->draining || self->stopped || !(late || drained(self)))
        return;
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next)
        weir_relay_queue_release(self, group);
    if (late)
        weir_relay_log(self, WEIR_LOG_WARNING,
                       "drain: %llu messages are still out; their leases go on without this router",
                       (unsigned long long)weir_dispatch_outstanding(self->down));
    const struct weir_control bye = {.verb = WEIR_VERB_BYE};
    for (uint32_t i = 0; i < self->upstream_count; i++)
        weir_session_send(self->upstreams[i].session, &bye);
    self->stopped = true;
    self->host.stopped(self->host.self, 0);
}

/* ---- the turn ---- */

static void sleep_until(struct relay *self, int64_t next_ns)
{
    if (next_ns == self->wake_ns)
        return;
    self->wake_ns = next_ns;
    self->host.wake_at(self->host.self, next_ns);
}

static void turn_end(struct relay *self)
{
    weir_relay_queue_tick(self);
    weir_relay_lend_tick(self);
    int64_t next = weir_dispatch_tick(self->down, &self->now);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        int64_t at = weir_session_tick(self->upstreams[i].session, &self->now);
        next = at < next ? at : next;
    }
    drain_step(self);
    int64_t others[] = {weir_heap_next(&self->deadlines), weir_heap_next(&self->idle),
                        self->draining ? self->drain_until_ns : WEIR_TIME_NEVER};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        next = others[i] < next ? others[i] : next;
    sleep_until(self, next);
}

static bool is_upstream(const struct relay *self, uint32_t port)
{
    return port >= WEIR_PORT_FROM && port - WEIR_PORT_FROM < self->upstream_count;
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct relay *self = (struct relay *)(void *)role;
    self->now = event->now;
    if (self->stopped)
        return;
    switch (event->type) {
    case WEIR_EVENT_MESSAGE:
    case WEIR_EVENT_PEER_GONE:
    case WEIR_EVENT_LINK_UP:
    case WEIR_EVENT_LINK_DOWN:
        if (event->port == WEIR_PORT_DISPATCH)
            weir_dispatch_event(self->down, event);
        else if (is_upstream(self, event->port))
            weir_session_event(self->upstreams[event->port - WEIR_PORT_FROM].session, event);
        else if (event->port == WEIR_PORT_ADMIN && event->type == WEIR_EVENT_MESSAGE)
            weir_relay_admin(self, event);
        break;
    case WEIR_EVENT_TIMER:
        self->wake_ns = WEIR_TIME_NEVER;
        break;
    case WEIR_EVENT_DRAIN:
        weir_relay_drain(self);
        break;
    default:
        break;
    }
    turn_end(self);
}

static void destroy(struct weir_role *role)
{
    struct relay *self = (struct relay *)(void *)role;
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next)
        group_destroy(self, group);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        weir_session_destroy(&self->upstreams[i].session);
        weir_frames_drop(&self->upstreams[i].held);
    }
    weir_dispatch_destroy(&self->down);
    weir_relay_routes_fini(self);
    weir_heap_fini(&self->deadlines);
    weir_heap_fini(&self->idle);
    free(self->shares);
    free(self->upstreams);
    free(self);
}

static void open_sessions(struct relay *self)
{
    const struct weir_session_owner owner = {.self = self,
                                             .welcome = on_welcome,
                                             .deliver = on_deliver,
                                             .control = on_control,
                                             .down = on_down,
                                             .held = on_held};
    self->upstreams = weir_zalloc(self->upstream_count, sizeof *self->upstreams);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        const struct weir_session_config config = {
            .port = WEIR_PORT_FROM + i, .name = self->name, .role = "router"};
        self->upstreams[i].session = weir_session_new(&config, &owner, &self->host);
        snprintf(self->upstreams[i].name, sizeof self->upstreams[i].name, "#%u", i);
    }
}

struct weir_role *weir_relay_new(const struct weir_relay_config *config,
                                 const struct weir_host *host, uint64_t seed)
{
    struct relay *self = weir_zalloc(1, sizeof *self);
    WEIR_ASSERT(config->upstream_count > 0 && config->upstream_count <= WEIR_UPSTREAMS_MAX);
    self->role = (struct weir_role){.step = step, .destroy = destroy};
    self->host = *host;
    self->upstream_count = config->upstream_count;
    self->wake_ns = WEIR_TIME_NEVER;
    snprintf(self->name, sizeof self->name, "%s", config->name);
    open_sessions(self);
    const struct weir_dispatch_owner owner = {.self = self,
                                              .room = on_room,
                                              .ack = on_ack,
                                              .beat = on_leases,
                                              .begin = on_leases,
                                              .extend = on_leases,
                                              .lost = on_lost,
                                              .released = on_released,
                                              .join = on_join,
                                              .known = on_known};
    const struct weir_dispatch_config down = {
        .name = self->name, .role = "router", .port = WEIR_PORT_DISPATCH};
    self->down = weir_dispatch_new(&down, &owner, &self->host, seed);
    return &self->role;
}
