/* What of a group goes out next: rows that are due, then suspects, each alone, then what was given
 * back untouched, then the log from `next` on. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <utlist.h>

enum handed {
    HANDED_NOTHING, /* there is nothing of this kind that could go now */
    HANDED_SENT,
    HANDED_NO_ROOM, /* nobody takes any more: `room` will be said */
};

bool weir_handout_expired(const struct weir_ventilator *v, const struct weir_batch_header *header,
                          int64_t time_ms)
{
    return header->ttl_ms > 0 && v->now.wall_ms - time_ms >= header->ttl_ms;
}

/* ---- rows ---- */

enum payload { PAYLOAD_HERE, PAYLOAD_LATER, PAYLOAD_MISSING };

/* Where a row's payload is: with it, or in *batch. */
static enum payload find_payload(struct weir_ventilator *v, const struct weir_row *row,
                                 struct weir_stream_batch **batch)
{
    *batch = NULL;
    if (row->body.size)
        return PAYLOAD_HERE;
    switch (weir_stream_find(&v->stream, row->sequence, batch)) {
    case WEIR_STREAM_HERE:
        return (*batch)->record.first <= row->sequence ? PAYLOAD_HERE : PAYLOAD_MISSING;
    case WEIR_STREAM_UNKNOWN:
        weir_stream_want(&v->stream, row->sequence, WEIR_READ_ONE_BYTES);
        return PAYLOAD_LATER;
    default:
        return PAYLOAD_MISSING;
    }
}

static bool row_expired(const struct weir_ventilator *v, const struct weir_row *row,
                        const struct weir_stream_batch *batch)
{
    struct weir_batch_header header;
    if (batch)
        header = batch->header;
    else if (weir_batch_header_decode(&row->header, &header, NULL) != 0)
        return false;
    return weir_handout_expired(v, &header, row->time_ms);
}

/* Its payload is neither in the state nor in the log: it was there when it was handed out. What is
 * sent at most once keeps no log, so that may have been freed before the message was given back;
 * of any other, only damage does that. Returns whether it is damage. */
static bool lose(struct weir_ventilator *v, struct weir_group *group, uint64_t sequence)
{
    if (weir_group_final(group) && sequence < v->oldest) {
        weir_group_drop(group, sequence, 1);
        group->row.totals.dropped++;
        return false;
    }
    v->count.missing++;
    weir_ended_add(&group->row.ended, sequence, sequence, WEIR_FATE_LOST);
    return true;
}

static void give_up(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row)
{
    if (lose(v, group, row->sequence))
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "message %llu of group %s is gone from a damaged log; it cannot be "
                            "delivered",
                            (unsigned long long)row->sequence, group->row.policy.name);
    weir_keys_drop(&group->keys, row->key_hash, row->sequence);
    weir_flush_row_drop(v, row->group, row->sequence);
    weir_flush_group(v, group);
    weir_row_destroy(&row);
}

/* After a restart the log is gone through anew from where not all is settled: a row that lies ahead
 * of that place may have something unfinished of its key before it, which is not known yet. */
static bool key_known(const struct weir_group *group, const struct weir_row *row)
{
    return !weir_group_ordered(group) || row->key_hash == 0 || row->sequence < group->row.next;
}

/* Whether this row, which is due, can go now; *batch holds its payload, or it is with the row. What
 * cannot ever go is taken off the list. */
static bool row_ready(struct weir_ventilator *v, struct weir_group *group, struct weir_ready *ready,
                      struct weir_stream_batch **batch)
{
    if (ready->after > v->flush.done || !key_known(group, ready->row))
        return false;
    const enum payload payload = find_payload(v, ready->row, batch);
    if (payload == PAYLOAD_LATER) {
        group->reading = true;
        return false;
    }
    if (payload == PAYLOAD_MISSING || row_expired(v, ready->row, *batch)) {
        struct weir_row *row = weir_deferred_take(group, ready);
        group->deferred.rows--;
        if (payload == PAYLOAD_MISSING)
            give_up(v, group, row);
        else
            weir_outcome_die(v, group, row, WEIR_REASON_EXPIRED);
        return false;
    }
    if (!weir_group_ordered(group) || weir_handout_order_row(v, group, ready->row))
        return true;
    struct weir_row *row = weir_deferred_take(group, ready);
    group->deferred.rows--;
    weir_row_destroy(&row);
    return false;
}

/* The first of a list that can go. */
static struct weir_ready *first_ready(struct weir_ventilator *v, struct weir_group *group,
                                      struct weir_ready *list, struct weir_stream_batch **batch)
{
    struct weir_ready *ready, *next;
    DL_FOREACH_SAFE(list, ready, next)
    {
        if (row_ready(v, group, ready, batch))
            return ready;
    }
    return NULL;
}

/* A row that went into the delivery. */
static void row_leaves(struct weir_ventilator *v, struct weir_group *group,
                       struct weir_ready *ready, const struct weir_stream_batch *batch)
{
    struct weir_row *row = weir_deferred_take(group, ready);
    group->deferred.rows--;
    if (weir_group_ordered(group))
        weir_handout_order_leased(v, group, row, batch);
}

void weir_handout_at(struct weir_ventilator *v, struct weir_group *group, int64_t at_ns)
{
    if (group->timer.index == 0 || group->timer.at > at_ns)
        weir_heap_set(&v->group_timers, &group->timer, at_ns);
}

/* Who serves the group was told that work waits. Told again in a while: what was said may have come
 * at a moment when nothing could be made of it. */
static bool offered(struct weir_ventilator *v, struct weir_group *group, bool alone,
                    struct weir_offer *offer)
{
    if (weir_dispatch_offer(v->dispatch, group->row.policy.name, alone, &v->now, offer))
        return true;
    weir_handout_at(v, group, v->now.mono_ns + WEIR_WAITING_AGAIN_MS * WEIR_NS_PER_MS);
    return false;
}

static bool offered_larger(struct weir_ventilator *v, struct weir_group *group,
                           struct weir_offer *offer)
{
    return weir_dispatch_offer_larger(v->dispatch, group->row.policy.name, &v->now, offer);
}

static enum handed stuck(struct weir_ventilator *v, struct weir_group *group)
{
    /* There was room, but too little for the next message: acks will make more. */
    weir_handout_at(v, group, v->now.mono_ns + WEIR_STUCK_RETRY_MS * WEIR_NS_PER_MS);
    return HANDED_NO_ROOM;
}

static enum handed hand_rows(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    struct weir_offer offer;
    struct weir_ready *ready = first_ready(v, group, group->deferred.ready, &batch);
    if (!ready)
        return HANDED_NOTHING;
    if (!offered(v, group, false, &offer))
        return HANDED_NO_ROOM;
    do {
        weir_delivery_begin(v, group, &offer);
        while (ready && weir_delivery_add_row(v, batch, ready->row)) {
            row_leaves(v, group, ready, batch);
            ready = first_ready(v, group, group->deferred.ready, &batch);
        }
        if (weir_delivery_send(v, false))
            return HANDED_SENT;
    } while (offered_larger(v, group, &offer));
    return stuck(v, group);
}

static enum handed hand_suspect(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    struct weir_offer offer;
    struct weir_ready *ready = first_ready(v, group, group->deferred.suspects, &batch);
    if (!ready || !offered(v, group, true, &offer))
        return HANDED_NOTHING; /* no worker is free of other work; that does not hold these up */
    weir_delivery_begin(v, group, &offer);
    if (weir_delivery_add_row(v, batch, ready->row))
        row_leaves(v, group, ready, batch);
    return weir_delivery_send(v, true) ? HANDED_SENT : HANDED_NOTHING;
}

/* ---- the log ---- */

static void die_run(struct weir_ventilator *v, struct weir_group *group,
                    const struct weir_stream_batch *batch, uint64_t sequence, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        weir_outcome_die_unsent(v, group, sequence + i, batch->record.time_ms, WEIR_REASON_EXPIRED);
}

static void defer_run(struct weir_ventilator *v, struct weir_group *group,
                      const struct weir_stream_batch *batch, uint64_t sequence, uint64_t count)
{
    const int64_t due_ms = batch->record.time_ms + batch->header.delay_ms;
    for (uint64_t i = 0; i < count; i++)
        weir_deferred_put(v, group, weir_row_new(group, sequence + i, batch->record.time_ms),
                          due_ms);
}

/* The batch that holds `next`: pass over one stretch of it that is not to be handed out, or say how
 * long the stretch is that is. */
static uint64_t peek_batch(struct weir_ventilator *v, struct weir_group *group,
                           struct weir_stream_batch *batch)
{
    const uint64_t next = group->row.next;
    const uint64_t end = weir_stream_batch_end(batch);
    bool settled = false, skipped = false;
    if (batch->record.first > next || !weir_group_matches(group, &batch->header)) {
        const bool hole = batch->record.first > next;
        uint64_t to = hole ? batch->record.first : end;
        to = to < v->stream.end ? to : v->stream.end;
        if (hole)
            weir_group_lose(group, next, to);
        weir_group_pass(group, to);
        return 0;
    }
    uint64_t run = weir_settled_run(&group->settled, next, end, &settled);
    if (!settled)
        run = weir_stream_batch_run(batch, next, next + run, &skipped);
    if (settled || skipped) {
        weir_group_pass(group, next + run);
        return 0;
    }
    const bool expired = weir_handout_expired(v, &batch->header, batch->record.time_ms);
    const bool early = batch->header.delay_ms > 0 &&
                       v->now.wall_ms - batch->record.time_ms < batch->header.delay_ms;
    if (!expired && !early)
        return run;
    if (run > WEIR_TURN_ROWS_MAX)
        run = WEIR_TURN_ROWS_MAX;
    group->row.totals.passed += run;
    if (expired)
        die_run(v, group, batch, next, run);
    else
        defer_run(v, group, batch, next, run);
    weir_group_pass(group, next + run);
    return 0;
}

/* What a full backlog turned away comes back if a crash takes that from the state, and would then
 * go out behind those of its key that came later. So until it is durable none of these goes. */
static bool overflow_ahead(struct weir_ventilator *v, const struct weir_group *group)
{
    const uint64_t durable = v->flush.durable;
    if (!weir_group_ordered(group) || group->overflowed <= durable || group->row.next <= durable)
        return false;
    if (v->flush.absorbed < group->overflowed)
        weir_flush_need(v);
    return true;
}

enum weir_peek weir_handout_peek(struct weir_ventilator *v, struct weir_group *group,
                                 struct weir_stream_batch **batch, uint32_t *run)
{
    for (uint32_t looks = 0; looks < WEIR_TURN_LOOKS_MAX; looks++) {
        if (group->row.next >= v->stream.end) {
            group->row.totals.passed = group->row.totals.matched;
            return WEIR_PEEK_END;
        }
        if (group->row.next - group->settled.low >= WEIR_SETTLED_SPAN_MAX)
            return WEIR_PEEK_END; /* until low rises */
        if (overflow_ahead(v, group))
            return WEIR_PEEK_END; /* until that is durable */
        if (v->flush.count >= WEIR_FLUSH_ROWS_MAX)
            return WEIR_PEEK_LATER;
        if (weir_settled_has(&group->settled, group->row.next)) { /* no need to read it */
            bool settled;
            weir_group_pass(group,
                            group->row.next + weir_settled_run(&group->settled, group->row.next,
                                                               v->stream.end, &settled));
            continue;
        }
        switch (weir_stream_find(&v->stream, group->row.next, batch)) {
        case WEIR_STREAM_UNKNOWN:
            return WEIR_PEEK_READ;
        case WEIR_STREAM_END: /* numbers that no batch has */
            weir_group_lose(group, group->row.next, v->stream.end);
            weir_group_pass(group, v->stream.end);
            break;
        case WEIR_STREAM_HERE:
            *run = (uint32_t)peek_batch(v, group, *batch);
            if (*run)
                return WEIR_PEEK_MESSAGES;
            break;
        }
    }
    return WEIR_PEEK_LATER;
}

/* Take from a set of ranges of messages in the log, lowest first. False: the delivery is full, or
 * something has to be read first. */
static bool take_ranges(struct weir_ventilator *v, struct weir_group *group,
                        struct weir_rangeset *ranges)
{
    for (uint32_t looks = 0; ranges->count && looks < WEIR_TURN_LOOKS_MAX; looks++) {
        const struct weir_range range = ranges->at[0];
        struct weir_stream_batch *batch;
        const enum weir_stream_found found = weir_stream_find(&v->stream, range.first, &batch);
        if (found == WEIR_STREAM_UNKNOWN) {
            weir_stream_want(&v->stream, range.first, WEIR_READ_BYTES);
            group->reading = true;
            return false;
        }
        if (found == WEIR_STREAM_END || batch->record.first > range.first) {
            weir_rangeset_remove(ranges, range.first, range.first);
            lose(v, group, range.first);
            weir_group_settle(group, range.first, 1);
            continue;
        }
        const uint64_t end = weir_stream_batch_end(batch);
        uint64_t count = (range.last + 1 < end ? range.last + 1 : end) - range.first;
        if (weir_handout_expired(v, &batch->header, batch->record.time_ms)) {
            count = count < WEIR_TURN_ROWS_MAX ? count : WEIR_TURN_ROWS_MAX;
            die_run(v, group, batch, range.first, count);
        } else {
            count = weir_delivery_add(v, batch, range.first, (uint32_t)count, true);
        }
        if (count == 0)
            return false;
        weir_rangeset_remove(ranges, range.first, range.first + count - 1);
    }
    return ranges->count == 0;
}

static void take_log(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    uint32_t run;
    while (weir_handout_peek(v, group, &batch, &run) == WEIR_PEEK_MESSAGES) {
        const uint32_t count = weir_delivery_add(v, batch, group->row.next, run, false);
        if (count == 0)
            return;
        group->row.next += count;
        group->row.totals.passed += count;
    }
}

/* At most once: note as sent what there is room for. It goes out when that is durable. */
static void claim(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    uint32_t run;
    uint64_t messages, bytes;
    if (group->claimed.count || group->cleared.count)
        return;
    weir_dispatch_room(v->dispatch, group->row.policy.name, &messages, &bytes);
    if (messages > WEIR_CLAIM_MESSAGES_MAX)
        messages = WEIR_CLAIM_MESSAGES_MAX;
    const uint64_t rate = weir_group_rate_room(group, v->now.mono_ns);
    if (messages > rate)
        messages = rate;
    while (messages > 0 && weir_handout_peek(v, group, &batch, &run) == WEIR_PEEK_MESSAGES) {
        const uint64_t count = run < messages ? run : messages;
        const uint64_t first = group->row.next;
        weir_rangeset_add(&group->claimed, first, first + count - 1);
        group->row.totals.passed += count;
        weir_group_pass(group, first + count);
        messages -= count;
    }
    if (group->claimed.count)
        group->claim_flush = WEIR_CANARY(SENT_BEFORE_CURSOR) ? v->flush.done : weir_flush_need(v);
}

static void clear_claimed(struct weir_ventilator *v, struct weir_group *group)
{
    if (group->claim_flush == 0 || group->claim_flush > v->flush.done)
        return;
    group->claim_flush = 0;
    for (size_t i = 0; i < group->claimed.count; i++)
        weir_rangeset_add(&group->cleared, group->claimed.at[i].first, group->claimed.at[i].last);
    weir_rangeset_fini(&group->claimed);
}

/* This turn has done enough. */
static void later(struct weir_ventilator *v, struct weir_group *group)
{
    if (v->flush.count >= WEIR_FLUSH_ROWS_MAX)
        v->crowded = true; /* all are stirred when that is written */
    else
        weir_ventilator_stir(v, group);
}

/* Whether the log has anything for the group, as far as that is known without reading it. */
static bool log_has(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    uint32_t run;
    if (weir_group_final(group))
        clear_claimed(v, group);
    if (group->returned.count || group->cleared.count || weir_handout_order_has(v, group))
        return true;
    switch (weir_handout_peek(v, group, &batch, &run)) {
    case WEIR_PEEK_LATER:
        later(v, group);
        return false;
    case WEIR_PEEK_END:
        return false;
    default:
        return true;
    }
}

static void fill(struct weir_ventilator *v, struct weir_group *group)
{
    if (weir_group_final(group)) {
        take_ranges(v, group, &group->cleared);
        return;
    }
    const bool through = take_ranges(v, group, &group->returned);
    if (weir_group_ordered(group))
        weir_handout_order_fill(v, group);
    else if (through)
        take_log(v, group);
}

/* When messages come closely one after another, deliveries are spaced, unless the last one left
 * some behind or what waits is worth one already. An order by key, and at most once, have a pace of
 * their own: what goes next depends on what was acked, or noted. */
static bool held_back(struct weir_ventilator *v, struct weir_group *group,
                      const struct weir_offer *offer)
{
    const uint64_t waiting = weir_group_waiting(group);
    const uint64_t bytes = v->stream.pushed_bytes - group->pace_bytes;
    if (!group->paced || weir_group_ordered(group) || weir_group_final(group) ||
        group->returned.count || waiting >= offer->messages ||
        2 * waiting >= WEIR_DELIVERY_MESSAGES_MAX || bytes >= offer->bytes ||
        2 * bytes >= WEIR_DELIVERY_BYTES_MAX)
        return false;
    const int64_t at_ns =
        weir_pace_hold(&group->pace, waiting, WEIR_PACE_DELIVERY_MS * WEIR_NS_PER_MS,
                       WEIR_PACE_DELIVERY_STEP_MS * WEIR_NS_PER_MS, v->now.mono_ns);
    if (at_ns != 0)
        weir_handout_at(v, group, at_ns);
    return at_ns != 0;
}

static bool send_log(struct weir_ventilator *v, struct weir_group *group)
{
    const uint64_t messages = weir_delivery_send(v, false);
    if (messages == 0)
        return false;
    weir_pace_leave(&group->pace, messages, WEIR_PACE_DELIVERY_MS * WEIR_NS_PER_MS, v->now.mono_ns);
    group->paced = group->row.next >= v->stream.end;
    group->pace_bytes = v->stream.pushed_bytes;
    return true;
}

static enum handed hand_log(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    struct weir_offer offer;
    uint32_t run;
    if (!log_has(v, group))
        return HANDED_NOTHING;
    if (!offered(v, group, false, &offer))
        return HANDED_NO_ROOM;
    if (held_back(v, group, &offer))
        return HANDED_NOTHING;
    const bool reads = weir_handout_peek(v, group, &batch, &run) == WEIR_PEEK_READ;
    if (reads) {
        group->reading = true;
        weir_stream_want(&v->stream, group->row.next, WEIR_READ_BYTES);
    }
    do {
        weir_delivery_begin(v, group, &offer);
        fill(v, group);
        if (send_log(v, group))
            return HANDED_SENT;
        if (group->reading || group->stirred)
            break;
    } while (offered_larger(v, group, &offer));
    if (weir_group_final(group)) {
        claim(v, group); /* what is sent is accounted for by now */
        return HANDED_NOTHING;
    }
    return group->reading || group->stirred ? HANDED_NOTHING : stuck(v, group);
}

/* ---- one group, one turn ---- */

/* Everything that may go, in portions. False: wait for an event. */
static bool hand_one(struct weir_ventilator *v, struct weir_group *group)
{
    enum handed handed = HANDED_NOTHING;
    if (group->deferred.ready)
        handed = hand_rows(v, group);
    if (handed == HANDED_NOTHING && group->deferred.suspects)
        handed = hand_suspect(v, group);
    if (handed == HANDED_NOTHING)
        handed = hand_log(v, group);
    return handed == HANDED_SENT;
}

void weir_handout(struct weir_ventilator *v, struct weir_group *group)
{
    if (v->state != WEIR_VENTILATOR_OPEN || (group->row.paused && !WEIR_CANARY(PAUSE_IGNORED)))
        return;
    group->reading = false;
    if (v->flush.count >= WEIR_FLUSH_ROWS_MAX) {
        later(v, group);
        return;
    }
    const uint64_t next = group->row.next;
    uint32_t sent = 0;
    bool more = true;
    while (more && sent < WEIR_TURN_DELIVERIES_MAX) {
        if (weir_group_rate_room(group, v->now.mono_ns) == 0) {
            weir_handout_at(v, group, weir_group_rate_next(group));
            break;
        }
        more = hand_one(v, group);
        sent++;
    }
    const bool rows_wait = group->deferred.ready || group->deferred.suspects;
    if ((more && sent == WEIR_TURN_DELIVERIES_MAX) ||
        (rows_wait && group->row.next > next && weir_group_ordered(group)))
        weir_ventilator_stir(v, group); /* there may be rows among those that were passed */
    if (group->reading && v->stream.failed_count) /* no READ may be under way that would end */
        weir_handout_at(v, group, v->now.mono_ns + WEIR_READ_AGAIN_MS * WEIR_NS_PER_MS);
    if (group->dirty)
        weir_flush_group(v, group);
    const int64_t due_ms = weir_deferred_look(v, group);
    if (due_ms != WEIR_TIME_NEVER)
        weir_handout_at(v, group, weir_ventilator_mono_of(v, due_ms));
}
