/* A DELIVER being put together: slices cut from batches by their index alone. */
#include <base/alloc.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

static uint64_t least(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

void weir_delivery_begin(struct weir_ventilator *v, struct weir_group *group,
                         const struct weir_offer *offer)
{
    struct weir_delivery *d = &v->delivery;
    d->group = group;
    d->offer = *offer;
    d->number = v->last_delivery + 1;
    d->messages = d->bytes = 0;
    d->messages_max = least(offer->messages, WEIR_DELIVERY_MESSAGES_MAX);
    d->messages_max = least(d->messages_max, weir_group_rate_room(group, v->now.mono_ns));
    d->bytes_max = least(offer->bytes, WEIR_DELIVERY_BYTES_MAX);
    d->slice_count = 0;
    d->last = NULL;
    d->frames = (struct weir_frames){0};
}

/* May another message of so many bytes come in? The first one may be larger than the target, and
 * where nothing is outstanding larger than the offer. */
static bool fits(const struct weir_delivery *d, uint64_t bytes)
{
    if (d->messages >= d->messages_max)
        return false;
    if (d->bytes + bytes <= d->bytes_max)
        return true;
    return d->messages == 0 && (bytes <= d->offer.bytes || d->offer.whole);
}

/* How many of these `count` messages fit, and what they take. */
static uint32_t fitting(struct weir_delivery *d, const struct weir_stream_batch *batch,
                        uint32_t entry, uint64_t offset, uint32_t count, uint64_t *bytes)
{
    count = (uint32_t)least(count, d->messages_max - d->messages);
    *bytes = 0;
    if (entry + count == batch->record.count) {
        const uint64_t rest = batch->record.body.size - offset + (uint64_t)count * batch->width;
        if (d->bytes + rest <= d->bytes_max) {
            *bytes = rest;
            return count;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t one =
            weir_index_length(&batch->record.index, batch->width, entry + i) + batch->width;
        const bool first = d->messages == 0 && i == 0;
        if (first ? !fits(d, one) : d->bytes + *bytes + one > d->bytes_max)
            return i;
        *bytes += one;
    }
    return count;
}

static struct weir_lease_slice *new_slice(struct weir_delivery *d, uint64_t sequence,
                                          uint32_t count, int64_t time_ms, uint32_t attempt,
                                          uint32_t death)
{
    const uint32_t index = (uint32_t)d->messages;
    d->info[d->slice_count] = (struct weir_slice_info){.index = index,
                                                       .count = count,
                                                       .sequence = sequence,
                                                       .time_ms = time_ms,
                                                       .attempt = attempt,
                                                       .death = death};
    struct weir_lease_slice *slice = &d->slices[d->slice_count++];
    *slice = (struct weir_lease_slice){
        .index = index, .count = count, .sequence = sequence, .time_ms = time_ms};
    return slice;
}

/* The last slice has all its messages: make it frames. */
static void close_last(struct weir_delivery *d)
{
    if (!d->last)
        return;
    const struct weir_lease_slice *slice = &d->slices[d->slice_count - 1];
    const struct weir_record *record = &d->last->record;
    const size_t entry = slice->sequence - record->first, width = slice->width;
    weir_frames_push(&d->frames, weir_bytes_ref(&record->header));
    weir_frames_push(&d->frames,
                     weir_bytes_cut(&record->index, entry * width, slice->count * width));
    weir_frames_push(&d->frames, weir_bytes_cut(&record->body, d->last_offset, d->last_bytes));
    d->last = NULL;
}

/* Does the last slice go on with this message? */
static bool goes_on(const struct weir_delivery *d, const struct weir_stream_batch *batch,
                    uint64_t sequence, bool again)
{
    if (d->last != batch)
        return false;
    const struct weir_lease_slice *slice = &d->slices[d->slice_count - 1];
    return slice->sequence + slice->count == sequence && slice->again == again;
}

uint32_t weir_delivery_add(struct weir_ventilator *v, struct weir_stream_batch *batch,
                           uint64_t sequence, uint32_t count, bool again)
{
    struct weir_delivery *d = &v->delivery;
    const uint32_t entry = (uint32_t)(sequence - batch->record.first);
    const uint64_t offset = weir_stream_batch_offset(batch, entry);
    uint64_t bytes;
    if (d->messages >= d->messages_max)
        return 0;
    count = fitting(d, batch, entry, offset, count, &bytes);
    if (count == 0)
        return 0;
    if (goes_on(d, batch, sequence, again)) {
        d->slices[d->slice_count - 1].count += count;
        d->info[d->slice_count - 1].count += count;
    } else {
        if (d->slice_count == WEIR_SLICES_MAX)
            return 0;
        close_last(d);
        struct weir_lease_slice *slice = new_slice(d, sequence, count, batch->record.time_ms, 1, 0);
        slice->again = again;
        slice->width = batch->width;
        slice->flags = batch->header.flags;
        d->last = batch;
        d->last_offset = offset;
        d->last_bytes = 0;
    }
    d->last_bytes += bytes - (uint64_t)count * batch->width;
    d->messages += count;
    d->bytes += bytes;
    return count;
}

bool weir_delivery_add_row(struct weir_ventilator *v, struct weir_stream_batch *batch,
                           struct weir_row *row)
{
    struct weir_delivery *d = &v->delivery;
    struct weir_bytes header, index, body;
    if (d->slice_count == WEIR_SLICES_MAX)
        return false;
    if (row->body.size) {
        header = weir_bytes_ref(&row->header);
        index = weir_bytes_ref(&row->index_entry);
        body = weir_bytes_ref(&row->body);
    } else {
        header = weir_bytes_ref(&batch->record.header);
        weir_stream_batch_cut(batch, row->sequence, 1, &index, &body);
    }
    const uint64_t bytes = index.size + body.size;
    if (!fits(d, bytes)) {
        weir_bytes_drop(&header);
        weir_bytes_drop(&index);
        weir_bytes_drop(&body);
        return false;
    }
    close_last(d);
    struct weir_lease_slice *slice =
        new_slice(d, row->sequence, 1, row->time_ms, row->attempt + 1, row->death);
    slice->row = row;
    weir_frames_push(&d->frames, header);
    weir_frames_push(&d->frames, index);
    weir_frames_push(&d->frames, body);
    d->messages++;
    d->bytes += bytes;
    return true;
}

/* Redeliveries are leased in the state, too, from the start: it must not offer them again. */
static void store_rows(struct weir_ventilator *v, struct weir_lease *lease)
{
    const int64_t deadline_ms = v->now.wall_ms + weir_group_lease_ms(lease->group);
    for (uint32_t i = 0; i < lease->slice_count; i++) {
        struct weir_row *row = lease->slices[i].row;
        if (!row)
            continue;
        row->state = WEIR_ROW_LEASED;
        row->incarnation = lease->name.incarnation;
        row->delivery = lease->name.delivery;
        row->index = lease->slices[i].index;
        row->deadline_ms = deadline_ms;
        weir_flush_row(v, row, false);
        lease->stored_deadline_ms = deadline_ms;
    }
}

/* Copied: a reference would hold all that was read from the log with it, as long as the lease
 * lives. */
static void keep_keys(struct weir_delivery *d)
{
    if (!weir_group_ordered(d->group))
        return;
    for (uint32_t i = 0; i < d->slice_count; i++) {
        const struct weir_bytes *index = &d->frames.at[3 * i + 1];
        if (!d->slices[i].row)
            d->slices[i].keys = weir_bytes_copy(index->data, index->size);
    }
}

uint64_t weir_delivery_send(struct weir_ventilator *v, bool alone)
{
    struct weir_delivery *d = &v->delivery;
    struct weir_group *group = d->group;
    if (d->messages == 0) {
        d->number = 0;
        return 0;
    }
    close_last(d);
    const int64_t lease_ms = weir_group_lease_ms(group);
    const struct weir_lease_name name = {v->incarnation, d->number};
    v->last_delivery = d->number;
    keep_keys(d);
    struct weir_lease *lease = weir_leases_add(&v->leases, &name, group, d->slices, d->slice_count,
                                               &v->now, v->now.mono_ns + lease_ms * WEIR_NS_PER_MS);
    lease->alone = alone;
    lease->final = weir_group_final(group);
    if (!lease->final)
        store_rows(v, lease);
    group->in_flight += d->messages;
    weir_group_rate_take(group, d->messages, v->now.mono_ns);
    weir_flush_group(v, group);

    struct weir_control control = {.verb = WEIR_VERB_DELIVER};
    WEIR_SET(&control, group, GROUP, weir_text_of(group->row.policy.name));
    WEIR_SET(&control, incarnation, INCARNATION, v->incarnation);
    WEIR_SET(&control, delivery, DELIVERY, d->number);
    WEIR_SET(&control, lease_ms, LEASE_MS, (uint64_t)lease_ms);
    WEIR_SET(&control, timeout_ms, TIMEOUT_MS, (uint64_t)group->row.policy.timeout_ms);
    WEIR_SET(&control, ordered, ORDERED, weir_group_ordered(group));
    WEIR_SET(&control, alone, ALONE, alone);
    if (lease->final)
        WEIR_SET(&control, once, ONCE, 1);
    memcpy(control.uuid, v->uuid, sizeof control.uuid);
    WEIR_MARK(&control, UUID);
    WEIR_SET(&control, slices, SLICES, d->info);
    control.slice_count = d->slice_count;
    weir_dispatch_deliver(v->dispatch, d->offer.peer, &control, &d->frames, &v->now);
    weir_frames_drop(&d->frames);
    d->number = 0;
    return d->messages;
}
