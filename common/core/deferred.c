/* Rows that wait for their time. All of them are in the state; those that are due are fetched in
 * portions, and only when the portion before is handed out, so that what the state answers never
 * overlaps with what is in memory. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <utlist.h>

void weir_deferred_put(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row,
                       int64_t due_ms)
{
    struct weir_deferred *deferred = &group->deferred;
    row->state = WEIR_ROW_DEFERRED;
    row->due_ms = due_ms;
    row->incarnation = row->delivery = 0;
    row->worker = 0;
    weir_flush_row(v, row, false);
    weir_group_settle(group, row->sequence, 1);
    weir_flush_group(v, group);
    if (weir_group_ordered(group) && row->key_hash)
        weir_keys_set(&group->keys, row->key_hash, row->sequence, WEIR_KEY_DEFERRED, 0);
    deferred->rows++;
    if (due_ms < deferred->due_ms)
        deferred->due_ms = due_ms;
    weir_ventilator_stir(v, group);
    weir_row_destroy(&row);
}

void weir_deferred_push(struct weir_group *group, struct weir_row *row, uint64_t after)
{
    struct weir_ready *ready = weir_zalloc(1, sizeof *ready);
    ready->row = row;
    ready->after = after;
    if (row->suspect) {
        group->deferred.suspect_count++;
        DL_APPEND(group->deferred.suspects, ready);
    } else {
        DL_APPEND(group->deferred.ready, ready);
    }
}

struct weir_row *weir_deferred_take(struct weir_group *group, struct weir_ready *ready)
{
    struct weir_row *row = ready->row;
    if (row->suspect) {
        group->deferred.suspect_count--;
        DL_DELETE(group->deferred.suspects, ready);
    } else {
        DL_DELETE(group->deferred.ready, ready);
    }
    free(ready);
    return row;
}

/* A suspect may have to wait long for a worker that holds nothing else, and others shall not wait
 * behind it: the state calls it leased, to nobody, and does not answer with it again.
 * At most once: a row that is to be sent is out of the state before it is. */
static void take_in(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row)
{
    if (!weir_group_final(group)) {
        if (row->suspect) {
            row->state = WEIR_ROW_LEASED;
            row->incarnation = row->delivery = 0;
            weir_flush_row(v, row, false);
        }
        weir_deferred_push(group, row, 0);
        return;
    }
    weir_flush_row_drop(v, row->group, row->sequence);
    group->claim_flush = weir_flush_need(v);
    weir_deferred_push(group, row, group->claim_flush);
}

static void have_due(struct weir_ventilator *v, struct weir_store_result *result, uint64_t number,
                     void *pointer)
{
    (void)pointer;
    struct weir_group *group = weir_groups_number(v, (uint32_t)number);
    if (!group && !WEIR_CANARY(REMOVED_GROUP_USED))
        return;
    group->deferred.asking = false;
    if (v->state != WEIR_VENTILATOR_OPEN) /* it is about to end: they are well where they are */
        return;
    if (result->more) { /* there are more that are due */
        group->deferred.due_ms = v->now.wall_ms;
        group->deferred.known = true;
    }
    for (uint32_t i = 0; i < result->row_count; i++)
        take_in(v, group, weir_row_move(&result->rows[i]));
    weir_ventilator_stir(v, group);
}

static void have_first(struct weir_ventilator *v, struct weir_store_result *result, uint64_t number,
                       void *pointer)
{
    (void)pointer;
    struct weir_group *group = weir_groups_number(v, (uint32_t)number);
    if (!group)
        return;
    struct weir_deferred *deferred = &group->deferred;
    deferred->asking = false;
    deferred->known = true;
    if (result->row_count && result->rows[0].due_ms < deferred->due_ms)
        deferred->due_ms = result->rows[0].due_ms;
    weir_ventilator_stir(v, group);
}

/* At most once: what is fetched leaves the state, so only as much as can be sent now. */
static uint32_t wanted(struct weir_ventilator *v, const struct weir_group *group)
{
    uint64_t messages, bytes;
    if (!weir_group_final(group))
        return WEIR_CANARY(READY_UNBOUNDED) ? UINT32_MAX : WEIR_READY_MAX;
    weir_dispatch_room(v->dispatch, group->row.policy.name, &messages, &bytes);
    if (messages == 0)
        weir_dispatch_announce(v->dispatch, group->row.policy.name, &v->now);
    return messages < WEIR_READY_MAX ? (uint32_t)messages : WEIR_READY_MAX;
}

static void ask(struct weir_ventilator *v, struct weir_group *group, int64_t until_ms,
                uint32_t count, weir_stored_fn *have)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_DUE,
                                         .number = group->row.number,
                                         .time_ms = until_ms,
                                         .count = count};
    group->deferred.asking = true;
    weir_flush_now(v); /* what was deferred or leased just now counts */
    weir_ventilator_ask(v, &request, have, group->row.number, NULL);
}

int64_t weir_deferred_look(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_deferred *deferred = &group->deferred;
    if (deferred->asking || (deferred->ready && !WEIR_CANARY(DUE_FETCHED_TWICE)) ||
        deferred->suspect_count >= WEIR_READY_MAX)
        return WEIR_TIME_NEVER; /* looked at again when these are gone */
    if (deferred->rows <= deferred->suspect_count)
        return WEIR_TIME_NEVER;
    if (!weir_ventilator_may_ask(v))
        return v->now.wall_ms + WEIR_FLUSH_MS;
    if (deferred->due_ms <= v->now.wall_ms) {
        const uint32_t count = wanted(v, group);
        if (count == 0) /* said again in a while, as where a delivery finds no room */
            return v->now.wall_ms + WEIR_WAITING_AGAIN_MS;
        deferred->due_ms = WEIR_TIME_NEVER;
        deferred->known = false;
        ask(v, group, v->now.wall_ms, count, have_due);
        return WEIR_TIME_NEVER;
    }
    if (!deferred->known) {
        ask(v, group, WEIR_TIME_NEVER, 1, have_first);
        return WEIR_TIME_NEVER;
    }
    return deferred->due_ms;
}

/* ---- parked rows ---- */

/* Rows that were fetched together may go out together: they become ready when all are here. */
static void have_parked(struct weir_ventilator *v, struct weir_store_result *result,
                        uint64_t number, void *pointer)
{
    (void)pointer;
    struct weir_group *group = weir_groups_number(v, (uint32_t)number);
    if (!group)
        return;
    struct weir_deferred *deferred = &group->deferred;
    if (result->row_count && result->rows[0].state == WEIR_ROW_PARKED) {
        struct weir_ready *ready = weir_zalloc(1, sizeof *ready);
        ready->row = weir_row_move(&result->rows[0]);
        DL_APPEND(deferred->fetched, ready);
    } else { /* only damage does that */
        deferred->rows--;
    }
    if (--group->fetching > 0)
        return;
    while (deferred->fetched) {
        struct weir_ready *ready = deferred->fetched;
        DL_DELETE(deferred->fetched, ready);
        weir_deferred_push(group, ready->row, 0);
        free(ready);
    }
    weir_ventilator_stir(v, group);
}

void weir_deferred_fetch(struct weir_ventilator *v, struct weir_group *group, uint64_t sequence)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_MESSAGE,
                                         .number = group->row.number,
                                         .sequence = sequence,
                                         .count = 1};
    group->fetching++;
    group->deferred.rows++; /* from now on it counts as one that is due */
    weir_flush_now(v);
    weir_ventilator_ask(v, &request, have_parked, group->row.number, NULL);
}

/* ---- copy-out ---- */

static bool give(struct weir_ready *list, const struct weir_row *copy)
{
    struct weir_ready *ready;
    DL_FOREACH (list, ready) {
        if (ready->row->sequence != copy->sequence || ready->row->body.size)
            continue;
        ready->row->header = weir_bytes_ref(&copy->header);
        ready->row->index_entry = weir_bytes_ref(&copy->index_entry);
        ready->row->body = weir_bytes_ref(&copy->body);
        return true;
    }
    return false;
}

void weir_deferred_copied(struct weir_group *group, const struct weir_row *copy)
{
    if (!give(group->deferred.ready, copy) && !give(group->deferred.suspects, copy))
        give(group->deferred.fetched, copy);
}
