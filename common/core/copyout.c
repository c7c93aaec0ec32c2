/* Freeing the log. A segment goes when every group is past it and the state has absorbed it. A few
 * unfinished messages do not pin it: their payloads are copied into the state first.
 *
 *   look ──► every group past the oldest segment? ──► rows in it whose payload is in the log?
 *              │ no: copy out what waits for keys,       │ some: read and copy them, look again
 *              │ or of full backlogs; look later         │ none: TRIM
 */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

void weir_copyout_seen(struct weir_ventilator *v, const struct weir_store_result *result)
{
    struct weir_copyout *c = &v->copyout;
    if (result->oldest_segment_last != c->oldest_last)
        c->at_ns = v->now.mono_ns;
    c->oldest_last = result->oldest_segment_last;
    c->in_state = result->payload_bytes;
}

/* Looked at in this turn: by the next one the groups that lag may have read so much that it is
 * pushed out again, turn after turn, as long as they lag. */
void weir_copyout_loaded(struct weir_ventilator *v, uint64_t sequence)
{
    struct weir_copyout *c = &v->copyout;
    if (c->wanted == 0 || c->wanted != sequence)
        return;
    c->wanted = 0;
    c->at_ns = v->now.mono_ns;
}

static bool want(struct weir_ventilator *v, uint64_t sequence, uint32_t bytes)
{
    v->copyout.wanted = sequence;
    return weir_stream_want(&v->stream, sequence, bytes);
}

/* Only the state knows what became of a payload: its row may have ended while it was copied, it may
 * be inherited, or come with a replay. */
uint64_t weir_copyout_bytes(const struct weir_ventilator *v)
{
    return v->copyout.in_state + v->copyout.on_way;
}

void weir_copyout_arrived(struct weir_ventilator *v, uint64_t bytes)
{
    v->copyout.on_way -= bytes;
}

static bool at_limit(struct weir_ventilator *v)
{
    const uint64_t bytes = weir_copyout_bytes(v);
    if (bytes < WEIR_COPIED_BYTES_MAX) {
        v->copyout.warned = false;
        return false;
    }
    if (!v->copyout.warned)
        weir_ventilator_log(v, WEIR_LOG_WARNING,
                            "unfinished messages hold %llu MiB in the state, which is the limit; "
                            "the log is not freed until some of them are done",
                            (unsigned long long)(bytes >> 20));
    v->copyout.warned = true;
    return true;
}

/* One message's payload, from its batch. */
static void take_payload(struct weir_row *row, struct weir_stream_batch *batch)
{
    row->header = weir_bytes_ref(&batch->record.header);
    weir_stream_batch_cut(batch, row->sequence, 1, &row->index_entry, &row->body);
}

/* The same, on its way into the state. */
static void copy(struct weir_ventilator *v, struct weir_row *row, struct weir_stream_batch *batch)
{
    take_payload(row, batch);
    const uint64_t bytes = row->header.size + row->index_entry.size + row->body.size;
    v->copyout.on_way += bytes;
    v->flush.copied += bytes;
}

/* ---- messages without a row ---- */

/* It waits in memory for its key, or to go out again: from now on it waits in the state. */
static void wait_in_state(struct weir_ventilator *v, struct weir_group *group,
                          struct weir_stream_batch *batch, uint64_t sequence, uint64_t key)
{
    struct weir_row *row = weir_row_new(group, sequence, batch->record.time_ms);
    copy(v, row, batch);
    row->key_hash = key;
    row->state = key ? WEIR_ROW_PARKED : WEIR_ROW_DEFERRED;
    row->due_ms = v->now.wall_ms;
    weir_flush_row(v, row, true);
    if (!key) {
        weir_deferred_put(v, group, row, v->now.wall_ms);
        return;
    }
    weir_group_settle(group, sequence, 1);
    weir_keys_set(&group->keys, key, sequence, WEIR_KEY_PARKED, 0);
    weir_row_destroy(&row);
}

/* One that is not settled, below `next`. What is out needs nothing: it gets a row within a second.
 * False: there is no room for it beside what waits for keys. */
static bool copy_open(struct weir_ventilator *v, struct weir_group *group,
                      struct weir_stream_batch *batch, uint64_t sequence)
{
    struct weir_keys *keys = &group->keys;
    const uint64_t hash = weir_group_ordered(group) ? weir_stream_batch_key(batch, sequence) : 0;
    if (hash == 0) {
        if (weir_rangeset_remove(&group->returned, sequence, sequence))
            wait_in_state(v, group, batch, sequence, 0);
        return true;
    }
    enum weir_key_place place;
    if (weir_keys_unlisted(keys, hash, sequence)) {
        if (!weir_keys_may_wait(keys, hash))
            return false;
        wait_in_state(v, group, batch, sequence, hash);
        weir_keys_found(keys, hash, sequence); /* those below it were looked at before */
    } else if (weir_keys_at(keys, hash, sequence, &place) && place == WEIR_KEY_LISTED) {
        wait_in_state(v, group, batch, sequence, hash);
    }
    return true;
}

/* Everything of the group that lies at or below `last`. False: come again. */
static bool copy_group(struct weir_ventilator *v, struct weir_group *group, uint64_t last,
                       uint32_t *budget)
{
    const uint64_t end = group->row.next <= last ? group->row.next : last + 1;
    uint64_t at = group->settled.low;
    while (at < end) {
        struct weir_stream_batch *batch;
        bool settled;
        const uint64_t run = weir_settled_run(&group->settled, at, end, &settled);
        if (settled) {
            at += run;
            continue;
        }
        if (*budget == 0 || at_limit(v))
            return false;
        const enum weir_stream_found found = weir_stream_find(&v->stream, at, &batch);
        if (found == WEIR_STREAM_UNKNOWN) {
            want(v, at, WEIR_READ_BYTES);
            return false;
        }
        if (found == WEIR_STREAM_HERE && batch->record.first <= at &&
            !copy_open(v, group, batch, at))
            return false;
        (*budget)--;
        at++;
    }
    return group->settled.low > last;
}

/* ---- a backlog that is full ---- */

/* The group drops what comes while its backlog is full, so what it keeps is bounded, and may be
 * copied: a group without workers must not pin the log for all the others. */
static bool may_copy_backlog(const struct weir_group *group)
{
    return group->row.policy.max_backlog && group->row.policy.on_full != WEIR_ON_FULL_REFUSE;
}

static bool copy_backlog(struct weir_ventilator *v, struct weir_group *group, uint64_t last,
                         uint32_t *budget)
{
    struct weir_stream_batch *batch;
    uint32_t run;
    while (group->row.next <= last) {
        if (*budget == 0 || at_limit(v))
            return false;
        const enum weir_peek peek = weir_handout_peek(v, group, &batch, &run);
        if (peek == WEIR_PEEK_READ)
            want(v, group->row.next, WEIR_READ_BYTES);
        if (peek != WEIR_PEEK_MESSAGES)
            return group->row.next > last;
        const uint64_t sequence = group->row.next;
        const uint64_t key = weir_group_ordered(group) ? weir_stream_batch_key(batch, sequence) : 0;
        if (key && !weir_keys_may_wait(&group->keys, key))
            return false;
        group->row.next++;
        group->row.totals.passed++;
        wait_in_state(v, group, batch, sequence, key);
        (*budget)--;
    }
    return true;
}

/* ---- rows ---- */

static void copy_row(struct weir_ventilator *v, const struct weir_row *row,
                     struct weir_stream_batch *batch)
{
    struct weir_lease *lease = weir_leases_find(&v->leases, row->incarnation, row->delivery);
    struct weir_group *group = weir_groups_number(v, row->group);
    if ((!group && row->group != WEIR_GROUP_LATER) ||
        (row->state == WEIR_ROW_LEASED && row->incarnation && !lease))
        return; /* something else has become of it meanwhile */
    struct weir_row *copied = weir_zalloc(1, sizeof *copied);
    copied->group = row->group;
    copied->sequence = row->sequence;
    copied->time_ms = row->time_ms;
    copy(v, copied, batch);
    if (group)
        weir_deferred_copied(group, copied);
    weir_dying_copied(v, copied);
    weir_flush_op(v, WEIR_OP_ROW_COPY)->row = copied;
}

static void trimmed(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                    void *pointer)
{
    (void)result;
    (void)arg;
    (void)pointer;
    v->copyout.busy = false;
}

static void trim(struct weir_ventilator *v, uint64_t last)
{
    struct weir_store_request request = {.kind = WEIR_STORE_TRIM, .sequence = last + 1};
    if (v->oldest < last + 1)
        v->oldest = last + 1;
    v->copyout.busy = true;
    weir_ventilator_ask(v, &request, trimmed, 0, NULL);
}

/* Of a group with delivery at-most-once rows may have left the state meanwhile. */
static uint64_t lowest_needed(const struct weir_ventilator *v)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < v->group_count; i++)
        if (weir_group_needs(v->groups[i]) < lowest)
            lowest = weir_group_needs(v->groups[i]);
    return lowest;
}

/* Rows in memory that came with an answer which the state gave before their payloads were copied:
 * they get them from the log while it is there. False: it has to be read first. */
static bool complete(struct weir_ventilator *v, struct weir_row *row, uint64_t last)
{
    struct weir_stream_batch *batch;
    if (row->sequence > last || row->body.size)
        return true;
    const enum weir_stream_found found = weir_stream_find(&v->stream, row->sequence, &batch);
    if (found == WEIR_STREAM_UNKNOWN) {
        want(v, row->sequence, WEIR_READ_ONE_BYTES);
        return false;
    }
    if (found == WEIR_STREAM_HERE && batch->record.first <= row->sequence)
        take_payload(row, batch);
    return true; /* else damage: whoever needs it gives it up */
}

static bool complete_all(struct weir_ventilator *v, uint64_t last)
{
    bool all = true;
    for (uint32_t i = 0; i < v->group_count; i++) {
        const struct weir_deferred *deferred = &v->groups[i]->deferred;
        struct weir_ready *const lists[] = {deferred->ready, deferred->suspects, deferred->fetched};
        for (uint32_t l = 0; l < 3; l++)
            for (struct weir_ready *ready = lists[l]; ready; ready = ready->next)
                all = complete(v, ready->row, last) && all;
    }
    for (uint32_t i = 0; i < v->dying.count; i++)
        all = complete(v, weir_dying_row(v, i), last) && all;
    return all;
}

static void have_uncopied(struct weir_ventilator *v, struct weir_store_result *result,
                          uint64_t last, void *pointer)
{
    (void)pointer;
    struct weir_copyout *c = &v->copyout;
    c->busy = false;
    if (result->row_count && at_limit(v))
        return;
    if (result->row_count == 0 || WEIR_CANARY(TRIM_BEFORE_COPY)) {
        if (c->last_group != v->last_group)
            c->at_ns = v->now.mono_ns; /* one made since may begin below, or have rows there */
        else if (!complete_all(v, last))
            c->at_ns = v->now.mono_ns + WEIR_FLUSH_MS * WEIR_NS_PER_MS;
        else if (v->flush.trim > last && lowest_needed(v) > last)
            trim(v, last);
        return;
    }
    c->at_ns = v->now.mono_ns; /* copy these, and look again */
    for (uint32_t i = 0; i < result->row_count; i++) {
        const struct weir_row *row = &result->rows[i];
        struct weir_stream_batch *batch;
        const enum weir_stream_found found = weir_stream_find(&v->stream, row->sequence, &batch);
        if (found == WEIR_STREAM_HERE && batch->record.first <= row->sequence) {
            copy_row(v, row, batch);
        } else if (found == WEIR_STREAM_UNKNOWN) {
            const bool comes = want(v, row->sequence, WEIR_READ_ONE_BYTES);
            c->at_ns = v->now.mono_ns + (comes ? WEIR_FLUSH_MS : WEIR_COPYOUT_MS) * WEIR_NS_PER_MS;
        } else if (row->group == WEIR_GROUP_LATER) {
            weir_delayed_drop(v, row->sequence);
        } else { /* damage: whoever needs it next gives it up, with all that counts it */
            c->at_ns = v->now.mono_ns + WEIR_COPYOUT_MS * WEIR_NS_PER_MS;
        }
    }
}

static void ask_uncopied(struct weir_ventilator *v, uint64_t last)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_UNCOPIED,
                                         .sequence = last + 1,
                                         .count = WEIR_COPY_ROWS_MAX};
    v->copyout.busy = true;
    v->copyout.last_group = v->last_group;
    weir_flush_now(v);
    weir_ventilator_ask(v, &request, have_uncopied, last, NULL);
}

/* ---- the pass ---- */

/* Whether every group is past `last`, with nothing of it in memory only. */
static bool groups_past(struct weir_ventilator *v, uint64_t last)
{
    uint32_t budget = WEIR_TURN_ROWS_MAX;
    const uint32_t before = v->flush.count;
    bool past = true;
    for (uint32_t i = 0; i < v->group_count; i++)
        if (v->groups[i]->row.next <= last && !may_copy_backlog(v->groups[i]))
            return false; /* it is simply behind */
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        if (group->row.next <= last && !copy_backlog(v, group, last, &budget))
            past = false;
        else if (!copy_group(v, group, last, &budget))
            past = false;
    }
    if (budget == 0 && v->flush.count > before) /* go on; what is merely out has to come back */
        v->copyout.at_ns = v->now.mono_ns;
    return past;
}

int64_t weir_copyout_tick(struct weir_ventilator *v)
{
    struct weir_copyout *c = &v->copyout;
    /* The segment being filled is of interest only when there is no room for another. */
    const uint64_t last = c->oldest_last || !c->full ? c->oldest_last : v->accept.last;
    if (c->busy || last == 0 || v->state != WEIR_VENTILATOR_OPEN)
        return WEIR_TIME_NEVER;
    if (v->now.mono_ns < c->at_ns)
        return c->at_ns;
    c->at_ns = v->now.mono_ns + WEIR_COPYOUT_MS * WEIR_NS_PER_MS;
    if (last < v->stream.end && groups_past(v, last)) {
        c->full = false;
        if (v->flush.trim <= last || v->flush.absorbed < last)
            weir_flush_now(v);
        if (v->flush.trim > last && v->flush.absorbed >= last)
            ask_uncopied(v, last);
    }
    return c->busy ? WEIR_TIME_NEVER : c->at_ns;
}
