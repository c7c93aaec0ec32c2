/* A delivery whose messages must stay in order by key, split between workers.
 *
 * All that a delivery has of one key goes to one worker, in one piece where it fits. Where it does
 * not, what is behind it waits here until all that is ahead of it has been acked as finished, and
 * is given back when any of that failed: the ventilator then knows what comes first. */
#include "relay_state.h"

#include <stdlib.h>
#include <wire/batch.h>

enum entry_state { ENTRY_LEFT, ENTRY_OUT, ENTRY_ENDED };

struct key {
    UT_hash_handle hh;
    uint64_t hash;
    uint32_t left, out; /* messages waiting here, and at a worker */
    bool failed;        /* one that was out did not finish */
    uint32_t pass;      /* when it was last looked at … */
    bool accepted;      /* … and whether it goes with that */
};

struct order { /* by index in the delivery, less `base` */
    uint32_t base, span;
    uint64_t *hashes;
    uint8_t *states;
    struct key *keys;
    uint32_t pass;
};

static uint64_t hash_at(const struct weir_bytes *index, uint32_t width, uint32_t entry)
{
    if (width == weir_index_width(WEIR_BATCH_KEYED))
        return weir_index_key_hash(index, width, WEIR_BATCH_KEYED, entry);
    if (width == weir_index_width(WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT))
        return weir_index_key_hash(index, width, WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT, entry);
    return 0;
}

static struct key *key_find(const struct order *order, uint64_t hash)
{
    struct key *key;
    HASH_FIND(hh, order->keys, &hash, sizeof hash, key);
    return key;
}

static void build(struct item *item)
{
    const struct weir_slice_info *last = &item->slices[item->slice_count - 1];
    struct order *order = weir_zalloc(1, sizeof *order);
    order->base = item->slices[0].index;
    order->span = last->index + last->count - order->base;
    order->hashes = weir_zalloc(order->span, sizeof *order->hashes);
    order->states = weir_alloc(order->span);
    for (uint32_t i = 0; i < order->span; i++)
        order->states[i] = ENTRY_ENDED;
    for (uint32_t i = 0; i < item->slice_count; i++) {
        const struct weir_slice_info *slice = &item->slices[i];
        const struct weir_bytes *index = &item->frames.at[3 * i + 1];
        uint32_t width = (uint32_t)(index->size / slice->count);
        for (uint32_t entry = 0; entry < slice->count; entry++) {
            uint32_t at = slice->index + entry - order->base;
            uint64_t hash = hash_at(index, width, entry);
            order->states[at] = ENTRY_LEFT;
            order->hashes[at] = hash;
            if (hash == 0)
                continue;
            struct key *key = key_find(order, hash);
            if (!key) {
                key = weir_zalloc(1, sizeof *key);
                key->hash = hash;
                HASH_ADD(hh, order->keys, hash, sizeof key->hash, key);
            }
            key->left++;
        }
    }
    item->order = order;
}

void weir_relay_order_free(struct item *item)
{
    struct order *order = item->order;
    if (!order)
        return;
    struct key *key, *next;
    HASH_ITER (hh, order->keys, key, next) {
        HASH_DEL(order->keys, key);
        free(key);
    }
    free(order->hashes);
    free(order->states);
    free(order);
    item->order = NULL;
}

/* ---- placing ---- */

/* May anything go now, or does all that is left wait for what is ahead of it? */
static bool any_ready(const struct order *order)
{
    for (uint32_t i = 0; i < order->span; i++) {
        if (order->states[i] != ENTRY_LEFT)
            continue;
        const struct key *key = order->hashes[i] ? key_find(order, order->hashes[i]) : NULL;
        if (!key || (key->out == 0 && !key->failed))
            return true;
    }
    return false;
}

struct pass {
    struct item *item;
    uint32_t room; /* messages */
    uint64_t bytes;
    bool whole;
    uint32_t taken, promised; /* promised: with what is still to come of keys that were accepted */
    uint64_t taken_bytes;
    bool full;
    struct weir_slice_info slices[WEIR_SLICES_MAX];
    uint32_t slice_count;
    struct weir_frames frames;
};

/* A key goes as a whole where it fits; in part only where nothing else was accepted, so that no
 * room stays unused. */
static bool accept_key(struct pass *pass, struct key *key)
{
    uint32_t number = pass->item->order->pass;
    if (key->pass == number)
        return key->accepted;
    key->pass = number;
    key->accepted = false;
    if (key->out > 0 || key->failed)
        return false;
    bool fits = key->left <= pass->room - pass->promised;
    if (!fits && pass->promised > 0)
        return false;
    pass->promised = fits ? pass->promised + key->left : pass->room;
    return key->accepted = true;
}

static bool take(struct pass *pass, uint32_t at, uint32_t cost)
{
    struct order *order = pass->item->order;
    if (order->states[at] != ENTRY_LEFT || pass->taken == pass->room)
        return false;
    struct key *key = order->hashes[at] ? key_find(order, order->hashes[at]) : NULL;
    if (key ? !accept_key(pass, key) : pass->promised == pass->room)
        return false;
    if (cost > pass->bytes && !(pass->taken == 0 && pass->whole)) {
        pass->full = true; /* what is behind of this key must not overtake it */
        return false;
    }
    if (cost > pass->bytes)
        pass->full = true;
    pass->bytes -= cost < pass->bytes ? cost : pass->bytes;
    pass->taken++;
    pass->taken_bytes += cost;
    order->states[at] = ENTRY_OUT;
    if (key) {
        key->left--;
        key->out++;
    } else {
        pass->promised++;
    }
    return true;
}

/* The run of entries [first, end) of a slice goes on. */
static void add_run(struct pass *pass, uint32_t slice_at, uint32_t first, uint32_t end,
                    uint64_t body_offset)
{
    if (first == end)
        return;
    struct item *item = pass->item;
    const struct weir_bytes *frames = &item->frames.at[3 * slice_at];
    const struct weir_slice_info *slice = &item->slices[slice_at];
    uint32_t width = (uint32_t)(frames[1].size / slice->count);
    struct weir_bytes index, body;
    weir_slice_cut(&frames[1], &frames[2], width, first, end - first, body_offset, &index, &body);
    weir_frames_push(&pass->frames, weir_bytes_ref(&frames[0]));
    weir_frames_push(&pass->frames, index);
    weir_frames_push(&pass->frames, body);
    struct weir_slice_info *run = &pass->slices[pass->slice_count++];
    *run = *slice;
    run->index += first;
    run->sequence += first;
    run->count = end - first;
    pass->full = pass->full || pass->slice_count == WEIR_SLICES_MAX;
}

static void take_slice(struct pass *pass, uint32_t slice_at)
{
    const struct item *item = pass->item;
    const struct weir_slice_info *slice = &item->slices[slice_at];
    const struct weir_bytes *index = &item->frames.at[3 * slice_at + 1];
    uint32_t width = (uint32_t)(index->size / slice->count);
    uint32_t run = 0, entry = 0;
    uint64_t offset = 0, run_offset = 0;
    for (; entry < slice->count && !pass->full; entry++) {
        uint32_t length = weir_index_length(index, width, entry);
        if (!take(pass, slice->index + entry - item->order->base, width + length)) {
            add_run(pass, slice_at, run, entry, run_offset);
            run = entry + 1;
            run_offset = offset + length;
        }
        offset += length;
    }
    add_run(pass, slice_at, run, entry, run_offset);
}

static bool place_once(struct relay *self, struct item *item, const struct weir_offer *offer)
{
    struct pass pass = {
        .item = item, .room = offer->messages, .bytes = offer->bytes, .whole = offer->whole};
    item->order->pass++;
    for (uint32_t i = 0; i < item->slice_count && !pass.full && pass.taken < pass.room; i++)
        take_slice(&pass, i);
    if (pass.taken == 0)
        return false;
    item->messages -= pass.taken;
    item->bytes -= pass.taken_bytes;
    item->group->queued_messages -= pass.taken;
    item->group->queued_bytes -= pass.taken_bytes;
    self->count.split++;
    weir_relay_send(self, item, offer->peer, pass.slices, pass.slice_count, &pass.frames);
    return true;
}

bool weir_relay_order_place(struct relay *self, struct item *item)
{
    if (!item->order)
        build(item);
    while (item->messages > 0 && any_ready(item->order)) {
        struct weir_offer offer;
        if (!weir_dispatch_offer(self->down, item->group->name, item->alone, &self->now, &offer))
            return false;
        while (!place_once(self, item, &offer))
            if (!weir_relay_offer_larger(self, item, &offer))
                return false;
    }
    return true;
}

/* ---- what became of those that were placed ---- */

static bool note(struct item *item, const struct weir_lease_ref *lease, bool finished)
{
    struct order *order = item->order;
    bool noted = false;
    if (!order || lease->incarnation != item->incarnation || lease->delivery != item->delivery)
        return false;
    for (uint32_t i = 0; i < lease->count; i++) {
        uint32_t at = lease->first + i - order->base; /* wraps to what is out of range */
        if (at >= order->span || order->states[at] != ENTRY_OUT)
            continue;
        order->states[at] = ENTRY_ENDED;
        struct key *key = order->hashes[at] ? key_find(order, order->hashes[at]) : NULL;
        if (!key)
            continue;
        key->out--;
        key->failed = key->failed || !finished;
        noted = true;
    }
    return noted;
}

/* Ranges of what waits; all of it, or what is behind a failed one, which is taken off. */
static struct weir_lease_ref *waiting(struct item *item, bool failed, uint32_t *count,
                                      uint64_t *bytes)
{
    struct order *order = item->order;
    struct weir_lease_ref *leases = weir_alloc(order->span * sizeof *leases);
    *count = 0;
    *bytes = 0;
    for (uint32_t i = 0; i < item->slice_count; i++) {
        const struct weir_slice_info *slice = &item->slices[i];
        const struct weir_bytes *index = &item->frames.at[3 * i + 1];
        uint32_t width = (uint32_t)(index->size / slice->count);
        for (uint32_t entry = 0; entry < slice->count; entry++) {
            uint32_t at = slice->index + entry - order->base;
            struct key *key = order->hashes[at] ? key_find(order, order->hashes[at]) : NULL;
            if (order->states[at] != ENTRY_LEFT || (failed && !(key && key->failed)))
                continue;
            if (failed) {
                order->states[at] = ENTRY_ENDED;
                key->left--;
            }
            *bytes += width + weir_index_length(index, width, entry);
            struct weir_lease_ref *last = *count ? &leases[*count - 1] : NULL;
            if (last && last->first + last->count == slice->index + entry)
                last->count++;
            else
                leases[(*count)++] = (struct weir_lease_ref){item->incarnation, item->delivery,
                                                             slice->index + entry, 1};
        }
    }
    return leases;
}

struct weir_lease_ref *weir_relay_order_left(struct item *item, uint32_t *count)
{
    uint64_t bytes;
    return waiting(item, false, count, &bytes);
}

static void give_back_failed(struct relay *self, struct item *item)
{
    uint32_t count;
    uint64_t bytes, messages = 0;
    struct weir_lease_ref *leases = waiting(item, true, &count, &bytes);
    for (uint32_t i = 0; i < count; i++)
        messages += leases[i].count;
    item->messages -= messages;
    item->bytes -= bytes;
    item->group->queued_messages -= messages;
    item->group->queued_bytes -= bytes;
    weir_relay_give_back(self, item, leases, count);
    free(leases);
}

void weir_relay_order_acks(struct relay *self, const struct weir_control *control)
{
    struct relay_group *group = weir_relay_group(self, control->group.data, control->group.bytes);
    struct item *item;
    if (!group)
        return;
    DL_FOREACH (group->queue, item) {
        bool noted = false;
        for (uint32_t i = 0; i < control->ack_count && item->order; i++) {
            uint32_t outcome = control->acks[i].outcome;
            bool finished = outcome == WEIR_DONE || outcome == WEIR_REJECT;
            noted = note(item, &control->acks[i].lease, finished) || noted;
        }
        if (noted)
            give_back_failed(self, item);
    }
}

void weir_relay_order_lost(struct relay *self, const struct weir_lease_ref *leases, uint32_t count)
{
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next) {
        struct item *item;
        DL_FOREACH (group->queue, item) {
            bool noted = false;
            for (uint32_t i = 0; i < count && item->order; i++)
                noted = note(item, &leases[i], false) || noted;
            if (noted)
                give_back_failed(self, item);
        }
    }
}
