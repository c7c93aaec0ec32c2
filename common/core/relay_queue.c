/* Deliveries on their way down: split to fit the workers' credit by cutting index and body, never
 * copying, and kept for a while where a worker that was to have them is gone. What is kept is at
 * most what was lent. */
#include "relay_state.h"
#include <base/canary.h>

#include <stdlib.h>
#include <string.h>
#include <wire/batch.h>

/* ---- items ---- */

static struct item **queue_of(struct item *item)
{
    return item->alone ? &item->group->suspects : &item->group->queue;
}

static void item_destroy(struct relay *self, struct item *item)
{
    struct item **queue = queue_of(item);
    DL_DELETE(*queue, item);
    item->group->queued_messages -= item->messages;
    item->group->queued_bytes -= item->bytes;
    weir_heap_remove(&self->deadlines, &item->deadline);
    weir_relay_order_free(item);
    weir_frames_drop(&item->frames);
    free(item->slices);
    free(item);
}

void weir_relay_take(struct relay *self, struct relay_group *group,
                     const struct weir_control *control, struct weir_frames *frames)
{
    struct item *item = weir_zalloc(1, sizeof *item);
    item->group = group;
    item->incarnation = control->incarnation;
    item->delivery = control->delivery;
    item->lease_ms = control->lease_ms;
    item->timeout_ms = control->timeout_ms;
    item->has_timeout = WEIR_HAS(control, TIMEOUT_MS);
    item->ordered = WEIR_HAS(control, ORDERED) && control->ordered;
    item->once = WEIR_HAS(control, ONCE) && control->once;
    item->alone = WEIR_HAS(control, ALONE) && control->alone;
    item->has_uuid = WEIR_HAS(control, UUID);
    memcpy(item->uuid, control->uuid, sizeof item->uuid);
    item->slice_count = control->slice_count;
    item->slices = weir_alloc(control->slice_count * sizeof *item->slices);
    memcpy(item->slices, control->slices, control->slice_count * sizeof *item->slices);
    for (uint32_t i = 0; i < item->slice_count; i++)
        item->messages += item->slices[i].count;
    for (uint32_t i = 1; i < frames->count; i++) {
        if (i % 3 != 1)
            item->bytes += frames->at[i].size;
        weir_frames_push(&item->frames, frames->at[i]);
    }
    frames->count = 1; /* the control frame stays with the event */
    self->count.delivered += item->messages;
    group->queued_messages += item->messages;
    group->queued_bytes += item->bytes;
    struct item **queue = queue_of(item);
    DL_APPEND(*queue, item);
    uint64_t patience_ms =
        control->lease_ms < WEIR_LEASE_MS ? control->lease_ms / 2 : WEIR_LEASE_MS / 2;
    weir_heap_set(&self->deadlines, &item->deadline,
                  self->now.mono_ns + (int64_t)patience_ms * WEIR_NS_PER_MS);
}

/* ---- sending on ---- */

void weir_relay_send(struct relay *self, const struct item *item, uint64_t peer,
                     struct weir_slice_info *slices, uint32_t count, struct weir_frames *frames)
{
    struct weir_control control = {.verb = WEIR_VERB_DELIVER};
    WEIR_SET(&control, group, GROUP, weir_text_of(item->group->name));
    WEIR_SET(&control, incarnation, INCARNATION, item->incarnation);
    WEIR_SET(&control, delivery, DELIVERY, item->delivery);
    WEIR_SET(&control, lease_ms, LEASE_MS, item->lease_ms);
    WEIR_SET(&control, slices, SLICES, slices);
    control.slice_count = count;
    if (item->has_timeout)
        WEIR_SET(&control, timeout_ms, TIMEOUT_MS, item->timeout_ms);
    if (item->ordered)
        WEIR_SET(&control, ordered, ORDERED, 1);
    if (item->once)
        WEIR_SET(&control, once, ONCE, 1);
    if (item->alone)
        WEIR_SET(&control, alone, ALONE, 1);
    if (item->has_uuid)
        WEIR_MARK(&control, UUID);
    memcpy(control.uuid, item->uuid, sizeof control.uuid);
    weir_dispatch_deliver(self->down, peer, &control, frames, &self->now);
}

static uint64_t slice_bytes(const struct item *item, uint32_t slice)
{
    return item->frames.at[3 * slice + 1].size + item->frames.at[3 * slice + 2].size;
}

/* How many messages from the front of the slice fit; gives the size of their bodies. */
static uint32_t fitting(const struct item *item, uint32_t slice, uint32_t messages, uint64_t bytes,
                        uint64_t *body_bytes)
{
    const struct weir_bytes *index = &item->frames.at[3 * slice + 1];
    uint32_t count = item->slices[slice].count;
    uint32_t width = (uint32_t)(index->size / count);
    uint32_t most = count < messages ? count : messages;
    if (slice_bytes(item, slice) <= bytes) {
        *body_bytes = weir_index_span(index, width, 0, most);
        return most;
    }
    uint64_t used = 0;
    *body_bytes = 0;
    for (uint32_t i = 0; i < most; i++) {
        uint32_t length = weir_index_length(index, width, i);
        used += width + length;
        if (used > bytes)
            return i;
        *body_bytes += length;
    }
    return most;
}

/* Cut `count` messages off the front of a slice. */
static void cut_front(struct item *item, uint32_t at, uint32_t count, uint64_t body_bytes,
                      struct weir_slice_info *slice, struct weir_frames *frames)
{
    struct weir_slice_info *rest = &item->slices[at];
    struct weir_bytes *header = &item->frames.at[3 * at], *index = header + 1, *body = header + 2;
    uint64_t index_bytes = index->size / rest->count * count;
    weir_frames_push(frames, weir_bytes_ref(header));
    weir_frames_push(frames, weir_bytes_cut(index, 0, index_bytes));
    weir_frames_push(frames, weir_bytes_cut(body, 0, body_bytes));
    struct weir_bytes index_rest = weir_bytes_cut(index, index_bytes, index->size - index_bytes);
    struct weir_bytes body_rest = weir_bytes_cut(body, body_bytes, body->size - body_bytes);
    weir_bytes_drop(index);
    weir_bytes_drop(body);
    *index = index_rest;
    *body = body_rest;
    *slice = *rest;
    slice->count = count;
    rest->index += count;
    rest->sequence += count;
    rest->count -= count;
}

static void whole_slice(struct item *item, struct weir_slice_info *slice,
                        struct weir_frames *frames)
{
    uint32_t at = item->slice_at++;
    *slice = item->slices[at];
    for (uint32_t i = 0; i < 3; i++) {
        weir_frames_push(frames, item->frames.at[3 * at + i]);
        item->frames.at[3 * at + i] = WEIR_BYTES_NONE;
    }
}

/* Send what the offer has room for, from the front. False: not even one message fits. */
static bool send_front(struct relay *self, struct item *item, const struct weir_offer *offer)
{
    struct weir_slice_info slices[WEIR_SLICES_MAX];
    struct weir_frames frames = {0};
    uint32_t slice_count = 0, messages = offer->messages;
    uint64_t bytes = offer->bytes, sent_messages = 0, sent_bytes = 0;
    while (item->slice_at < item->slice_count && messages > 0) {
        uint32_t at = item->slice_at;
        uint64_t body_bytes, size = slice_bytes(item, at);
        uint32_t count = fitting(item, at, messages, bytes, &body_bytes);
        bool first = slice_count == 0;
        if (count == 0 && first && offer->whole) { /* one of any size */
            const struct weir_bytes *index = &item->frames.at[3 * at + 1];
            count = messages = 1;
            body_bytes =
                weir_index_length(index, (uint32_t)(index->size / item->slices[at].count), 0);
        }
        if (count == 0)
            break;
        if (count == item->slices[at].count) {
            whole_slice(item, &slices[slice_count++], &frames);
        } else {
            cut_front(item, at, count, body_bytes, &slices[slice_count++], &frames);
            size -= slice_bytes(item, at);
        }
        messages -= count;
        sent_messages += count;
        sent_bytes += size;
        bytes = bytes > size ? bytes - size : 0;
    }
    if (slice_count == 0)
        return false;
    item->messages -= sent_messages;
    item->bytes -= sent_bytes;
    item->group->queued_messages -= sent_messages;
    item->group->queued_bytes -= sent_bytes;
    if (item->messages > 0)
        self->count.split++;
    weir_relay_send(self, item, offer->peer, slices, slice_count, &frames);
    return true;
}

static bool fits_whole(const struct item *item, const struct weir_offer *offer)
{
    return item->messages <= offer->messages &&
           (item->bytes <= offer->bytes || (item->messages == 1 && offer->whole));
}

bool weir_relay_offer_larger(struct relay *self, const struct item *item, struct weir_offer *offer)
{
    return !item->alone &&
           weir_dispatch_offer_larger(self->down, item->group->name, &self->now, offer);
}

/* Place an item as far as there is room. False: nobody has room for the next of the group. */
static bool place(struct relay *self, struct item *item)
{
    while (item->messages > 0) {
        struct weir_offer offer;
        if (item->order)
            return weir_relay_order_place(self, item);
        if (!weir_dispatch_offer(self->down, item->group->name, item->alone, &self->now, &offer))
            return false;
        if (item->ordered && !fits_whole(item, &offer) && !WEIR_CANARY(ROUTER_SPLITS_KEYS))
            return weir_relay_order_place(self, item);
        while (!send_front(self, item, &offer))
            if (!weir_relay_offer_larger(self, item, &offer))
                return false;
    }
    return true;
}

/* ---- giving back ---- */

void weir_relay_give_back(struct relay *self, const struct item *item,
                          const struct weir_lease_ref *leases, uint32_t count)
{
    struct weir_control control = {.verb = WEIR_VERB_ACK};
    WEIR_SET(&control, group, GROUP, weir_text_of(item->group->name));
    for (uint32_t at = 0; at < count;) {
        uint32_t piece = count - at < WEIR_ACKS_MAX ? count - at : WEIR_ACKS_MAX;
        struct weir_ack *acks = weir_zalloc(piece, sizeof *acks);
        for (uint32_t i = 0; i < piece; i++) {
            acks[i].lease = leases[at + i];
            acks[i].outcome = WEIR_RELEASE;
            acks[i].delay_ms = -1;
            self->count.given_back += leases[at + i].count;
        }
        WEIR_SET(&control, acks, ACKS, acks);
        control.ack_count = piece;
        weir_relay_up_acks(self, &control);
        free(acks);
        at += piece;
    }
}

static void give_back_item(struct relay *self, struct item *item)
{
    uint32_t count = 0;
    struct weir_lease_ref *leases;
    if (item->order) {
        leases = weir_relay_order_left(item, &count);
    } else {
        leases = weir_alloc(item->slice_count * sizeof *leases);
        for (uint32_t i = item->slice_at; i < item->slice_count; i++)
            leases[count++] = (struct weir_lease_ref){item->incarnation, item->delivery,
                                                      item->slices[i].index, item->slices[i].count};
    }
    weir_relay_give_back(self, item, leases, count);
    free(leases);
    item_destroy(self, item);
}

void weir_relay_queue_release(struct relay *self, struct relay_group *group)
{
    while (group->suspects)
        give_back_item(self, group->suspects);
    while (group->queue)
        give_back_item(self, group->queue);
}

void weir_relay_queue_fini(struct relay *self, struct relay_group *group)
{
    while (group->suspects)
        item_destroy(self, group->suspects);
    while (group->queue)
        item_destroy(self, group->queue);
}

/* ---- the turn ---- */

static void pump(struct relay *self, struct item *queue)
{
    struct item *item, *next;
    DL_FOREACH_SAFE(queue, item, next)
    {
        bool room = place(self, item);
        if (item->messages == 0)
            item_destroy(self, item);
        if (!room)
            break;
    }
}

void weir_relay_pump(struct relay *self, struct relay_group *group)
{
    if (!group->suspects && !group->queue)
        return;
    if (weir_dispatch_servers(self->down, group->name, NULL) == 0) {
        weir_relay_queue_release(self, group);
        return;
    }
    pump(self, group->suspects);
    pump(self, group->queue);
}

void weir_relay_queue_tick(struct relay *self)
{
    while (weir_heap_next(&self->deadlines) <= self->now.mono_ns) {
        struct item *item =
            WEIR_CONTAINER_OF(weir_heap_first(&self->deadlines), struct item, deadline);
        struct relay_group *group = item->group;
        give_back_item(self, item);
        weir_relay_lend(self, group);
    }
}
