/* Server side of the dispatch protocol: frames in, frames out, the turn. */
#include "dispatch_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct weir_dispatch *weir_dispatch_new(const struct weir_dispatch_config *config,
                                        const struct weir_dispatch_owner *owner,
                                        const struct weir_host *host, uint64_t seed)
{
    struct weir_dispatch *self = weir_zalloc(1, sizeof *self);
    self->owner = *owner;
    self->host = *host;
    weir_random_seed(&self->random, seed);
    snprintf(self->name, sizeof self->name, "%s", config->name);
    snprintf(self->role, sizeof self->role, "%s", config->role);
    self->incarnation = config->incarnation;
    memcpy(self->uuid, config->uuid, sizeof self->uuid);
    self->port = config->port;
    return self;
}

void weir_dispatch_destroy(struct weir_dispatch **self_p)
{
    struct weir_dispatch *self = *self_p;
    if (!self)
        return;
    struct peer *peer, *next_peer;
    HASH_ITER (hh, self->peers, peer, next_peer)
        weir_dispatch_peer_drop(self, peer);
    struct group *group, *next_group;
    HASH_ITER (hh, self->groups, group, next_group) {
        group->dirty = false;
        weir_dispatch_group_drop(self, group);
    }
    weir_dispatch_routes_fini(self);
    weir_heap_fini(&self->quiet);
    weir_heap_fini(&self->stale);
    weir_heap_fini(&self->probes);
    weir_heap_fini(&self->group_probes);
    weir_heap_fini(&self->drains);
    free(self);
    *self_p = NULL;
}

/* ---- sending ---- */

void weir_dispatch_send(struct weir_dispatch *self, uint64_t peer,
                        const struct weir_control *control)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    self->host.send(self->host.self, self->port, peer, &frames);
}

void weir_dispatch_error(struct weir_dispatch *self, uint64_t peer, const char *code,
                         const char *text, const char *group, const uint64_t *serial)
{
    struct weir_control answer = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&answer, code, CODE, weir_text_of(code));
    WEIR_SET(&answer, text, TEXT, weir_text_of(text));
    if (group)
        WEIR_SET(&answer, group, GROUP, weir_text_of(group));
    if (serial)
        WEIR_SET(&answer, serial, SERIAL, *serial);
    self->count.errors++;
    weir_dispatch_send(self, peer, &answer);
}

/* ---- who has room now ---- */

void weir_dispatch_stir(struct weir_dispatch *self, struct group *group)
{
    if (group->dirty)
        return;
    group->dirty = true;
    group->dirty_next = self->dirty;
    self->dirty = group;
}

void weir_dispatch_stir_peer(struct weir_dispatch *self, struct peer *peer)
{
    struct service *service;
    DL_FOREACH (peer->services, service)
        weir_dispatch_stir(self, service->group);
}

/* Tell the owner, once a group. What that stirs up anew waits for the next turn. */
static void tell_room(struct weir_dispatch *self)
{
    struct group *group = self->dirty;
    self->dirty = NULL;
    while (group) {
        struct group *next = group->dirty_next;
        group->dirty = false;
        self->owner.room(self->owner.self, group->name, &self->now);
        group = next;
    }
}

/* ---- frames in ---- */

/* A worker's frames say whose they are, even where it left that out. */
static bool sign(struct weir_dispatch *self, const struct peer *peer, struct weir_control *control)
{
    if (is_router(peer))
        return true;
    if (WEIR_HAS(control, WORKER) && control->worker != peer->worker) {
        weir_dispatch_error(self, peer->number, WEIR_CODE_MALFORMED,
                            "worker: not the number that READY named", NULL, NULL);
        return false;
    }
    bool answers = control->verb == WEIR_VERB_ACK || control->verb == WEIR_VERB_HEARTBEAT;
    if (answers)
        WEIR_SET(control, worker, WORKER, peer->worker);
    if (answers && !WEIR_HAS(control, NAME))
        WEIR_SET(control, name, NAME, weir_text_of(peer->name));
    return true;
}

static void on_ack(struct weir_dispatch *self, struct peer *peer,
                   const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->ack_count; i++)
        weir_dispatch_take(self, &control->acks[i].lease, NULL, (int)control->acks[i].outcome);
    self->owner.ack(self->owner.self, peer->number, control, &self->now);
}

static void touch(struct weir_dispatch *self, const struct peer *peer,
                  const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->lease_count; i++)
        weir_dispatch_touch(self, peer, &control->leases[i]);
}

static void on_heartbeat(struct weir_dispatch *self, struct peer *peer,
                         const struct weir_control *control)
{
    if (WEIR_HAS(control, WORKER) && control->worker != 0)
        weir_dispatch_route(self, peer, control->worker);
    touch(self, peer, control);
    if (!is_router(peer) && control->lease_count < WEIR_LEASES_MAX)
        weir_dispatch_prune(self, peer);
    if (control->lease_count > 0) {
        if (!WEIR_HAS(control, WORKER)) {
            weir_dispatch_error(self, peer->number, WEIR_CODE_MALFORMED,
                                "HEARTBEAT: leases need the worker that holds them", NULL, NULL);
            return;
        }
        self->owner.beat(self->owner.self, peer->number, control, &self->now);
        return;
    }
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&echo, serial, SERIAL, control->serial);
    if (WEIR_HAS(control, WORKER))
        WEIR_SET(&echo, worker, WORKER, control->worker);
    if (self->incarnation)
        WEIR_SET(&echo, incarnation, INCARNATION, self->incarnation);
    weir_dispatch_send(self, peer->number, &echo);
}

static void unexpected(struct weir_dispatch *self, const struct peer *peer, enum weir_verb verb)
{
    char text[96];
    snprintf(text, sizeof text, "%s does not belong here: %s", weir_verb_name(verb),
             verb == WEIR_VERB_LOST ? "only a router may say it" : "this is the dispatch port");
    weir_dispatch_error(self, peer->number, WEIR_CODE_UNEXPECTED, text, NULL, NULL);
}

static void on_frame(struct weir_dispatch *self, struct peer *peer, struct weir_control *control)
{
    void *owner = self->owner.self;
    /* Its connection ended or its worker is elsewhere now: only what still counts. */
    if (peer->state > PEER_SILENT) {
        if (control->verb == WEIR_VERB_ACK)
            on_ack(self, peer, control);
        else if (control->verb == WEIR_VERB_BYE && peer->state == PEER_GONE)
            weir_dispatch_bye(self, peer, control);
        return;
    }
    weir_dispatch_heard(self, peer);
    switch (control->verb) {
    case WEIR_VERB_CREDIT:
        weir_dispatch_credit(self, peer, control);
        break;
    case WEIR_VERB_ACK:
        on_ack(self, peer, control);
        break;
    case WEIR_VERB_HEARTBEAT:
        on_heartbeat(self, peer, control);
        break;
    case WEIR_VERB_BEGIN:
        touch(self, peer, control);
        self->owner.begin(owner, peer->number, control, &self->now);
        break;
    case WEIR_VERB_EXTEND:
        touch(self, peer, control);
        self->owner.extend(owner, peer->number, control, &self->now);
        break;
    case WEIR_VERB_JOIN:
        self->owner.join(owner, peer->number, control, &self->now);
        break;
    case WEIR_VERB_BYE:
        weir_dispatch_bye(self, peer, control);
        break;
    case WEIR_VERB_LOST:
        if (is_router(peer)) {
            weir_dispatch_lost(self, peer, control);
            break;
        } /* fall through */
    default:
        unexpected(self, peer, control->verb);
        break;
    }
}

static void on_message(struct weir_dispatch *self, uint64_t number,
                       const struct weir_frames *frames)
{
    struct weir_control control;
    struct weir_error error;
    if (frames->count != 1) {
        weir_dispatch_error(self, number, WEIR_CODE_MALFORMED,
                            "a message to the dispatch port is one frame", NULL, NULL);
        return;
    }
    if (weir_control_decode(&frames->at[0], &control, &error) != 0) {
        weir_dispatch_error(self, number, WEIR_CODE_MALFORMED, error.text, NULL, NULL);
        return;
    }
    struct peer *peer = weir_dispatch_peer(self, number);
    if (control.verb == WEIR_VERB_READY) {
        weir_dispatch_ready(self, number, &control);
    } else if (!peer) {
        self->count.not_ready++;
        weir_dispatch_error(self, number, WEIR_CODE_NOT_READY,
                            "this connection has no session: say READY first", NULL, NULL);
    } else if (sign(self, peer, &control)) {
        on_frame(self, peer, &control);
    }
    weir_control_fini(&control);
}

/* ---- the turn ---- */

void weir_dispatch_event(struct weir_dispatch *self, struct weir_event *event)
{
    self->now = event->now;
    if (event->type == WEIR_EVENT_PEER_GONE)
        weir_dispatch_gone(self, event->peer, &event->now);
    else if (event->type == WEIR_EVENT_MESSAGE)
        on_message(self, event->peer, event->frames);
    tell_room(self);
}

int64_t weir_dispatch_tick(struct weir_dispatch *self, const struct weir_now *now)
{
    self->now = *now;
    weir_dispatch_peers_tick(self);
    weir_dispatch_routes_tick(self);
    weir_dispatch_holdings_tick(self);
    weir_dispatch_offer_tick(self);
    tell_room(self);
    if (self->dirty)
        return now->mono_ns;
    int64_t next = weir_heap_next(&self->quiet);
    int64_t others[] = {weir_dispatch_routes_next(self), weir_heap_next(&self->stale),
                        weir_dispatch_offer_next(self)};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i] < next)
            next = others[i];
    return next;
}
