/* Start: the state as it was flushed last, then the batches in the log that it has not absorbed.
 * Only then is the ventilator open for business. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_group_policy *configured(const struct weir_ventilator *v, const char *name)
{
    for (uint32_t i = 0; i < v->config.group_count; i++)
        if (strcmp(v->config.groups[i].name, name) == 0)
            return &v->config.groups[i];
    return NULL;
}

static void recover_group(struct weir_ventilator *v, const struct weir_group_row *row)
{
    struct weir_group *group = weir_group_new(row);
    const struct weir_group_policy *policy = configured(v, row->policy.name);
    v->groups = weir_realloc(v->groups, v->group_count + 1, sizeof(struct weir_group *));
    v->groups[v->group_count++] = group;
    if (row->number > v->last_group)
        v->last_group = row->number;
    group->row.listed = policy || row->policy.dynamic;
    if (policy)
        group->row.policy = *policy;
    for (uint32_t i = 0; i < v->recovered->chunk_count; i++)
        if (v->recovered->chunks[i].group == row->number)
            weir_settled_load(&group->settled, v->recovered->chunks[i].chunk,
                              v->recovered->chunks[i].bits);
    /* The log is freed only when every group is past it. */
    const uint64_t oldest = v->recovered->oldest_sequence;
    if (group->settled.low < oldest) {
        const uint64_t gone = weir_settled_open(&group->settled, oldest);
        v->count.missing += gone;
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "the spool is damaged: the log begins at message %llu, but up to %llu "
                            "messages before it were not finished in group %s; they are gone "
                            "unless their file is put back before the next start",
                            (unsigned long long)oldest, (unsigned long long)gone, row->policy.name);
    }
    /* What is not settled below `next` was out, or waited in memory: it is handed out again. */
    struct weir_group_totals *totals = &group->row.totals;
    const uint64_t open = weir_settled_open(&group->settled, row->next);
    totals->passed -= open < totals->passed ? open : totals->passed;
    group->row.next = group->settled.low;
    group->oldest_ms = v->now.wall_ms;
    group->idle_ns = v->now.mono_ns;
    group->dirty = true;
}

static void recover_counts(struct weir_ventilator *v)
{
    v->delayed.due_ms = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < v->recovered->counts_count; i++) {
        const struct weir_row_counts *counts = &v->recovered->counts[i];
        struct weir_group *group = weir_groups_number(v, counts->group);
        if (counts->group == WEIR_GROUP_LATER)
            v->delayed.due_ms = counts->due_ms;
        if (!group)
            continue;
        group->deferred.rows = counts->deferred;
        group->deferred.due_ms = counts->due_ms;
        group->dying = counts->dying;
        group->dead = counts->dead;
        group->tombstones = counts->dead;
        v->dying.rows += counts->dying;
    }
}

static int by_lease(const void *left, const void *right)
{
    const struct weir_row *a = &((const struct weir_leased *)left)->row;
    const struct weir_row *b = &((const struct weir_leased *)right)->row;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    if (a->incarnation != b->incarnation)
        return a->incarnation < b->incarnation ? -1 : 1;
    if (a->delivery != b->delivery)
        return a->delivery < b->delivery ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static bool same_lease(const struct weir_row *a, const struct weir_row *b)
{
    return a->group == b->group && a->incarnation == b->incarnation && a->delivery == b->delivery;
}

/* Whoever had it may have died of it. */
static void recover_ended(struct weir_ventilator *v, struct weir_group *group,
                          struct weir_leased *leased)
{
    weir_outcome_lost(&leased->row);
    for (uint32_t i = 1; i < leased->count; i++) {
        struct weir_row *row = weir_row_new(group, leased->row.sequence + i, leased->row.time_ms);
        weir_outcome_lost(row);
        weir_deferred_put(v, group, row, v->now.wall_ms);
    }
    weir_deferred_put(v, group, weir_row_move(&leased->row), v->now.wall_ms);
}

static struct weir_lease_slice recover_slice(struct weir_group *group, struct weir_leased *leased)
{
    struct weir_row *row = &leased->row;
    struct weir_lease_slice slice = {.index = row->index,
                                     .count = leased->count,
                                     .sequence = row->sequence,
                                     .time_ms = row->time_ms};
    if (weir_group_ordered(group) && row->key_hash)
        weir_keys_set(&group->keys, row->key_hash, row->sequence, WEIR_KEY_LEASED, 0);
    if (leased->count == 1)
        slice.row = weir_row_move(row);
    return slice;
}

/* A lease that outlived the ventilator's absence goes on under its old name; one that did not is
 * over like any other whose deadline passes: nothing is counted. */
static void recover_lease(struct weir_ventilator *v, struct weir_leased *leased, uint32_t count)
{
    const struct weir_row first = leased[0].row;
    struct weir_group *group = weir_groups_number(v, first.group);
    int64_t deadline_ms = 0;
    for (uint32_t i = 0; i < count; i++)
        if (leased[i].row.deadline_ms > deadline_ms)
            deadline_ms = leased[i].row.deadline_ms;
    if (!group)
        return;
    if (deadline_ms <= v->now.wall_ms || first.incarnation == 0) {
        for (uint32_t i = 0; i < count; i++)
            recover_ended(v, group, &leased[i]);
        return;
    }
    struct weir_lease_slice *slices = weir_zalloc(count, sizeof *slices);
    const struct weir_lease_name name = {first.incarnation, first.delivery};
    for (uint32_t i = 0; i < count; i++)
        slices[i] = recover_slice(group, &leased[i]);
    int64_t left_ms = deadline_ms - v->now.wall_ms;
    if (left_ms > weir_group_lease_ms(group))
        left_ms = weir_group_lease_ms(group);
    struct weir_lease *lease = weir_leases_add(&v->leases, &name, group, slices, count, &v->now,
                                               v->now.mono_ns + left_ms * WEIR_NS_PER_MS);
    free(slices);
    weir_leases_durable(&v->leases, lease);
    lease->stored_deadline_ms = deadline_ms;
    lease->worker = first.worker;
    lease->alone = first.suspect;
    group->in_flight += lease->open_count;
}

static void recover_leases(struct weir_ventilator *v)
{
    struct weir_leased *leased = v->recovered->leased;
    const uint32_t count = v->recovered->leased_count;
    if (count)
        qsort(leased, count, sizeof *leased, by_lease);
    for (uint32_t from = 0; from < count;) {
        uint32_t to = from + 1;
        while (to < count && same_lease(&leased[from].row, &leased[to].row) &&
               leased[to].row.index != leased[to - 1].row.index)
            to++;
        recover_lease(v, &leased[from], to - from);
        from = to;
    }
}

static void recover_keys(struct weir_ventilator *v)
{
    struct weir_group *group = NULL;
    for (uint32_t i = 0; i < v->recovered->keyed_count; i++) {
        const struct weir_keyed *keyed = &v->recovered->keyed[i];
        if (!group || group->row.number != keyed->group)
            group = weir_groups_number(v, keyed->group);
        if (!group)
            continue;
        if (weir_group_ordered(group))
            weir_keys_set(&group->keys, keyed->key_hash, keyed->sequence,
                          keyed->state == WEIR_ROW_PARKED ? WEIR_KEY_PARKED : WEIR_KEY_DEFERRED, 0);
        else if (keyed->state == WEIR_ROW_PARKED)
            group->unparking = true;
    }
}

static void recover_state(struct weir_ventilator *v)
{
    const struct weir_recovered *recovered = v->recovered;
    if (recovered->damage)
        weir_ventilator_log(v, WEIR_LOG_ERROR, "the spool is damaged: %s", recovered->damage);
    for (uint32_t i = 0; i < recovered->group_count; i++)
        recover_group(v, &recovered->groups[i]);
    recover_counts(v);
    recover_leases(v);
    recover_keys(v);
    for (uint32_t i = 0; i < recovered->producer_count; i++)
        weir_intake_remember(v->intake, &recovered->producers[i]);
    for (uint32_t i = 0; i < recovered->idem_count && !WEIR_CANARY(KEYS_FORGOTTEN_AT_START); i++)
        weir_idempotency_add(&v->idempotency, &recovered->idems[i]);
    v->flush.absorbed = v->flush.durable = v->accept.last = recovered->absorbed;
}

/* ---- rows that wait for keys in groups that have no order any more ---- */

static void unpark(struct weir_ventilator *v);

static void have_parked(struct weir_ventilator *v, struct weir_store_result *result,
                        uint64_t number, void *pointer)
{
    (void)pointer;
    struct weir_group *group = weir_groups_number(v, (uint32_t)number);
    group->unparking = result->row_count > 0;
    for (uint32_t i = 0; i < result->row_count; i++)
        weir_deferred_put(v, group, weir_row_move(&result->rows[i]), v->now.wall_ms);
    unpark(v);
}

/* Portion by portion, until none is left. */
static void unpark(struct weir_ventilator *v)
{
    for (uint32_t i = 0; i < v->group_count; i++) {
        if (!v->groups[i]->unparking)
            continue;
        const uint32_t number = v->groups[i]->row.number;
        struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                             .query = WEIR_QUERY_LIST,
                                             .number = number,
                                             .state = WEIR_ROW_PARKED,
                                             .count = WEIR_READY_MAX};
        weir_flush_now(v);
        weir_ventilator_ask(v, &request, have_parked, number, NULL);
        return;
    }
    weir_ventilator_recovered(v);
}

/* ---- the log above the absorbed mark ---- */

static void read_on(struct weir_ventilator *v, uint64_t from);

static void take_in(struct weir_ventilator *v, struct weir_record *record)
{
    struct weir_stream_batch batch;
    const uint64_t first = record->first;
    v->accept.last = first + record->count - 1;
    if (weir_stream_batch_init(&batch, record) != 0) {
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "the log's record at sequence %llu is not a batch; it is passed over",
                            (unsigned long long)first);
        v->count.missing++;
        return;
    }
    if (!WEIR_CANARY(REPEAT_FORGOTTEN_AT_START))
        weir_intake_replayed(v->intake, &batch.header, first, batch.record.count,
                             batch.record.time_ms);
    weir_flush_producer(v, batch.header.producer);
    weir_accept_absorb(v, &batch);
    weir_stream_batch_fini(&batch);
}

static void have_read(struct weir_ventilator *v, struct weir_store_result *result, uint64_t from,
                      void *pointer)
{
    (void)pointer;
    if (result->status != 0) {
        weir_ventilator_fail(v, &result->error, "log");
        return;
    }
    for (uint32_t i = 0; i < result->record_count; i++) {
        const struct weir_record *record = &result->records[i];
        const uint64_t end = record->first + record->count;
        if (record->first >= from)
            take_in(v, &result->records[i]);
        if (end > from)
            from = end;
    }
    if (result->record_count && from < v->stream.next) {
        read_on(v, from);
        return;
    }
    weir_recovered_destroy(&v->recovered);
    unpark(v);
}

static void read_on(struct weir_ventilator *v, uint64_t from)
{
    struct weir_store_request request = {
        .kind = WEIR_STORE_READ, .sequence = from, .bytes_max = WEIR_READ_BYTES};
    weir_ventilator_ask(v, &request, have_read, from, NULL);
}

void weir_recovery_start(struct weir_ventilator *v)
{
    recover_state(v);
    v->flush.dirty = true;
    read_on(v, v->recovered->absorbed + 1);
}
