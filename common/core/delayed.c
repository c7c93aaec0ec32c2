/* Delayed messages, for groups that do not exist yet: one that is made before a message is due gets
 * it, too. So each has a row of its own, of WEIR_GROUP_LATER, from its batch's commit until it is
 * due; the log is freed without it only when its payload is in the state, as with any other row. */
#include <base/alloc.h>
#include <core/ventilator.h>

static int64_t due_ms(const struct weir_stream_batch *batch)
{
    return batch->record.time_ms + batch->header.delay_ms;
}

/* The group was made while the batch was on its way to the disk: it does not find it in the log. */
static void give(struct weir_ventilator *v, struct weir_group *group,
                 const struct weir_stream_batch *batch, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++)
        weir_deferred_put(v, group, weir_row_new(group, i, batch->record.time_ms), due_ms(batch));
    group->row.totals.matched += count;
    group->row.totals.passed += count;
}

static void lower_due(struct weir_ventilator *v, int64_t to_ms)
{
    if (to_ms < v->delayed.due_ms)
        v->delayed.due_ms = to_ms;
}

static void keep(struct weir_ventilator *v, const struct weir_stream_batch *batch, uint64_t first,
                 uint64_t count, const struct weir_bytes *topic)
{
    struct weir_row row = {.group = WEIR_GROUP_LATER,
                           .state = WEIR_ROW_DEFERRED,
                           .time_ms = batch->record.time_ms,
                           .due_ms = due_ms(batch),
                           .history = *topic};
    lower_due(v, row.due_ms);
    for (row.sequence = first; row.sequence < first + count; row.sequence++)
        weir_flush_row(v, &row, false);
}

void weir_delayed_absorb(struct weir_ventilator *v, const struct weir_stream_batch *batch)
{
    const struct weir_batch_header *header = &batch->header;
    const uint64_t end = weir_stream_batch_end(batch);
    if (header->delay_ms <= 0)
        return;
    struct weir_bytes topic = weir_bytes_copy(header->topic, header->topic_bytes);
    for (uint64_t at = batch->record.first, run; at < end; at += run) {
        bool skipped;
        run = weir_stream_batch_run(batch, at, end, &skipped);
        if (skipped)
            continue;
        if (due_ms(batch) > v->now.wall_ms)
            keep(v, batch, at, run, &topic);
        for (uint32_t i = 0; i < v->group_count; i++)
            if (v->groups[i]->row.start > at && weir_group_matches(v->groups[i], header))
                give(v, v->groups[i], batch, at, run);
    }
    weir_bytes_drop(&topic);
}

void weir_delayed_inherit(struct weir_ventilator *v, const struct weir_group *group)
{
    struct weir_op *op = weir_flush_op(v, WEIR_OP_INHERIT);
    op->group = weir_alloc(sizeof *op->group);
    *op->group = group->row;
    op->sequence = group->row.start; /* from there on it finds them in the log */
    op->time_ms = v->now.wall_ms;
}

void weir_delayed_flushed(struct weir_ventilator *v, const struct weir_store_result *result)
{
    for (uint32_t i = 0; i < result->inherited_count; i++) {
        const struct weir_row_counts *counts = &result->inherited[i];
        struct weir_group *group = weir_groups_number(v, counts->group);
        if (!group || counts->deferred == 0)
            continue;
        group->deferred.rows += counts->deferred;
        if (counts->due_ms < group->deferred.due_ms)
            group->deferred.due_ms = counts->due_ms;
        group->row.totals.matched += counts->deferred;
        group->row.totals.passed += counts->deferred;
        weir_flush_group(v, group);
        weir_ventilator_stir(v, group);
    }
}

void weir_delayed_drop(struct weir_ventilator *v, uint64_t sequence)
{
    weir_flush_row_drop(v, WEIR_GROUP_LATER, sequence);
}

static void have_earliest(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                          void *pointer)
{
    (void)arg;
    (void)pointer;
    v->delayed.asking = false;
    for (uint32_t i = 0; i < result->row_count; i++) {
        const struct weir_row *row = &result->rows[i];
        if (row->due_ms > v->now.wall_ms) {
            lower_due(v, row->due_ms);
            return;
        }
        weir_delayed_drop(v, row->sequence);
    }
    if (result->more) {
        lower_due(v, v->now.wall_ms);
        weir_delayed_tick(v);
    }
}

void weir_delayed_tick(struct weir_ventilator *v)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_DUE,
                                         .number = WEIR_GROUP_LATER,
                                         .time_ms = WEIR_TIME_NEVER,
                                         .count = WEIR_READY_MAX};
    if (v->delayed.due_ms > v->now.wall_ms || v->delayed.asking || !weir_ventilator_may_ask(v))
        return;
    v->delayed.asking = true;
    v->delayed.due_ms = WEIR_TIME_NEVER; /* the answer says, and what is kept meanwhile */
    weir_flush_now(v);                   /* what was dropped just now is not due again */
    weir_ventilator_ask(v, &request, have_earliest, 0, NULL);
}
