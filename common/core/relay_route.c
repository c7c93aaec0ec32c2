/* Which way up. A lease's name carries its stream's tag, and a tag leads to an upstream: to the
 * ventilator itself, which said so in its WELCOME, or to a router that frames of the stream came
 * through. What names an unknown stream goes to every router above: one of them may know; and waits
 * for every upstream that has not said yet who it is, as all are when the router has just started:
 * workers that were here before have acks for them. */
#include "relay_state.h"

#include <stdlib.h>
#include <string.h>

#define NO_WAY UINT32_MAX

static uint32_t tag_of(uint64_t incarnation)
{
    return (uint32_t)(incarnation & UINT16_MAX);
}

static struct tag *tag_find(const struct relay *self, uint32_t number)
{
    struct tag *tag;
    HASH_FIND(hh, self->tags, &number, sizeof number, tag);
    return tag;
}

static struct tag *tag_get(struct relay *self, uint32_t number)
{
    struct tag *tag = tag_find(self, number);
    if (!tag) {
        tag = weir_zalloc(1, sizeof *tag);
        tag->tag = number;
        tag->direct = tag->via = -1;
        HASH_ADD(hh, self->tags, tag, sizeof tag->tag, tag);
    }
    return tag;
}

void weir_relay_meet(struct relay *self, uint32_t index, const struct weir_control *welcome)
{
    struct upstream *upstream = &self->upstreams[index];
    size_t bytes =
        welcome->name.bytes < WEIR_NAME_BYTES_MAX ? welcome->name.bytes : WEIR_NAME_BYTES_MAX;
    memcpy(upstream->name, welcome->name.data, bytes);
    upstream->name[bytes] = '\0';
    upstream->named = true;
    upstream->router = !WEIR_HAS(welcome, INCARNATION);
    upstream->refused = false;
    upstream->incarnation = welcome->incarnation;
    if (upstream->router)
        return;
    struct tag *tag = tag_get(self, tag_of(welcome->incarnation));
    const struct upstream *known =
        tag->direct >= 0 && (uint32_t)tag->direct != index ? &self->upstreams[tag->direct] : NULL;
    if (known && memcmp(known->uuid, welcome->uuid, sizeof known->uuid) != 0) {
        upstream->refused = true;
        weir_relay_log(self, WEIR_LOG_ERROR,
                       "upstream %s and upstream %s are different spools under the same tag %u: "
                       "the first is refused. Give one of them another tag and start it anew",
                       upstream->name, known->name, tag->tag);
        return;
    }
    memcpy(upstream->uuid, welcome->uuid, sizeof upstream->uuid);
    tag->direct = (int32_t)index;
}

void weir_relay_learn(struct relay *self, uint32_t index, uint64_t incarnation)
{
    if (self->upstreams[index].router)
        tag_get(self, tag_of(incarnation))->via = (int32_t)index;
}

static uint32_t way_of(const struct relay *self, uint64_t incarnation)
{
    const struct tag *tag = tag_find(self, tag_of(incarnation));
    if (!tag)
        return NO_WAY;
    bool direct_open = tag->direct >= 0 && weir_session_open(self->upstreams[tag->direct].session);
    if (direct_open || tag->via < 0)
        return tag->direct >= 0 ? (uint32_t)tag->direct : NO_WAY;
    return tag->direct >= 0 && !weir_session_open(self->upstreams[tag->via].session)
               ? (uint32_t)tag->direct
               : (uint32_t)tag->via;
}

/* ---- sending up ---- */

static void hold(struct relay *self, struct upstream *upstream, struct weir_bytes frame)
{
    while (upstream->held.count > 0 &&
           (upstream->held.count >= WEIR_HELD_ACKS_MAX ||
            upstream->held_bytes + frame.size > WEIR_HELD_ACKS_BYTES_MAX)) {
        /* The oldest half at once, so that a long absence does not cost a move a frame. */
        uint32_t drop = (upstream->held.count + 1) / 2;
        for (uint32_t i = 0; i < drop; i++) {
            upstream->held_bytes -= upstream->held.at[i].size;
            weir_bytes_drop(&upstream->held.at[i]);
        }
        upstream->held.count -= drop;
        memmove(upstream->held.at, upstream->held.at + drop,
                upstream->held.count * sizeof *upstream->held.at);
        self->count.dropped += drop;
    }
    upstream->held_bytes += frame.size;
    weir_frames_push(&upstream->held, frame);
}

void weir_relay_up(struct relay *self, uint32_t index, const struct weir_control *control)
{
    struct upstream *upstream = &self->upstreams[index];
    if (upstream->refused)
        return;
    if (weir_session_open(upstream->session))
        weir_session_send(upstream->session, control);
    else if (control->verb == WEIR_VERB_ACK || control->verb == WEIR_VERB_LOST ||
             control->verb == WEIR_VERB_BYE)
        hold(self, upstream, weir_control_encode(control));
}

/* Of what was held for an upstream, keep what bears this tag, or all but that. */
static void sift(struct upstream *upstream, uint32_t tag, bool keep)
{
    struct weir_frames held = upstream->held;
    upstream->held = (struct weir_frames){0};
    upstream->held_bytes = 0;
    for (uint32_t i = 0; i < held.count; i++) {
        struct weir_control control;
        uint32_t acks = 0, leases = 0;
        if (weir_control_decode(&held.at[i], &control, NULL) != 0)
            continue;
        for (uint32_t n = 0; n < control.ack_count; n++)
            if ((tag_of(control.acks[n].lease.incarnation) == tag) == keep)
                control.acks[acks++] = control.acks[n];
        for (uint32_t n = 0; n < control.lease_count; n++)
            if ((tag_of(control.leases[n].incarnation) == tag) == keep)
                control.leases[leases++] = control.leases[n];
        control.ack_count = acks;
        control.lease_count = leases;
        if (acks > 0 || leases > 0) {
            struct weir_bytes frame = weir_control_encode(&control);
            upstream->held_bytes += frame.size;
            weir_frames_push(&upstream->held, frame);
        }
        weir_control_fini(&control);
    }
    weir_frames_drop(&held);
}

void weir_relay_flush(struct relay *self, uint32_t index)
{
    struct upstream *upstream = &self->upstreams[index];
    /* What was held for all because nobody knew whose it is. */
    for (uint32_t i = 0; i < self->upstream_count && !upstream->router; i++)
        if (i == index || !self->upstreams[i].named)
            sift(&self->upstreams[i], tag_of(upstream->incarnation), i == index);
    for (uint32_t i = 0; i < upstream->held.count; i++) {
        struct weir_frames frames = {0};
        weir_frames_push(&frames, upstream->held.at[i]);
        self->host.send(self->host.self, WEIR_PORT_FROM + index, 0, &frames);
    }
    upstream->held.count = 0;
    upstream->held_bytes = 0;
    weir_frames_drop(&upstream->held);
}

/* ---- frames that name leases ---- */

/* Does what has this way belong to the upstream, as far as is known? */
static bool belongs(const struct relay *self, uint32_t way, uint32_t index)
{
    const struct upstream *upstream = &self->upstreams[index];
    return way == index || (way == NO_WAY && (upstream->router || !upstream->named));
}

static void count_lost_ways(struct relay *self, uint32_t way)
{
    if (way != NO_WAY)
        return;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (belongs(self, way, i))
            return;
    self->count.unroutable++;
}

void weir_relay_up_acks(struct relay *self, const struct weir_control *control)
{
    uint32_t *ways = weir_alloc(control->ack_count * sizeof *ways);
    struct weir_ack *acks = weir_alloc(control->ack_count * sizeof *acks);
    for (uint32_t i = 0; i < control->ack_count; i++) {
        ways[i] = way_of(self, control->acks[i].lease.incarnation);
        count_lost_ways(self, ways[i]);
    }
    for (uint32_t up = 0; up < self->upstream_count; up++) {
        struct weir_control part = *control;
        part.acks = acks;
        part.ack_count = 0;
        for (uint32_t i = 0; i < control->ack_count; i++)
            if (belongs(self, ways[i], up))
                acks[part.ack_count++] = control->acks[i];
        if (part.ack_count > 0)
            weir_relay_up(self, up, &part);
    }
    free(acks);
    free(ways);
}

static uint32_t pick(const struct relay *self, const struct weir_lease_ref *from, uint32_t count,
                     uint32_t up, struct weir_lease_ref *to)
{
    uint32_t picked = 0;
    for (uint32_t i = 0; i < count; i++)
        if (belongs(self, way_of(self, from[i].incarnation), up))
            to[picked++] = from[i];
    return picked;
}

void weir_relay_up_leases(struct relay *self, const struct weir_control *control)
{
    struct weir_lease_ref *leases = weir_alloc((control->lease_count + 1) * sizeof *leases);
    struct weir_lease_ref *running = weir_alloc((control->running_count + 1) * sizeof *running);
    for (uint32_t i = 0; i < control->lease_count; i++)
        count_lost_ways(self, way_of(self, control->leases[i].incarnation));
    for (uint32_t up = 0; up < self->upstream_count; up++) {
        struct weir_control part = *control;
        part.leases = leases;
        part.lease_count = pick(self, control->leases, control->lease_count, up, leases);
        part.running = running;
        part.running_count = pick(self, control->running, control->running_count, up, running);
        if (part.lease_count > 0)
            weir_relay_up(self, up, &part);
    }
    free(running);
    free(leases);
}

void weir_relay_routes_fini(struct relay *self)
{
    struct tag *tag, *next;
    HASH_ITER (hh, self->tags, tag, next) {
        HASH_DEL(self->tags, tag);
        free(tag);
    }
}
