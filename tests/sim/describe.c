/* What a ventilator's insides say of a message that is stuck: for whoever reads a trace. It looks
 * where nothing else here may, and checks nothing. */
#include "sim.h"
#include <core/ventilator.h>

static const char *const row_states[] = {"?",     "deferred", "parked", "leased",
                                         "dying", "dead",     "done"};
static const char *const places[] = {"leased", "deferred", "parked", "listed"};

static struct weir_group *group_of(const struct weir_ventilator *v, const char *name)
{
    return weir_groups_find(v, name, strlen(name));
}

static void describe_lease(struct sim *sim, const struct weir_lease *lease, uint64_t sequence)
{
    for (uint32_t i = 0; i < lease->slice_count; i++) {
        const struct weir_lease_slice *slice = &lease->slices[i];
        if (sequence < slice->sequence || sequence - slice->sequence >= slice->count)
            continue;
        uint32_t index = slice->index + (uint32_t)(sequence - slice->sequence);
        if (!weir_rangeset_has(&lease->open, index))
            continue;
        sim_log(sim, "open",
                "  leased: delivery %llu, made at %.6f, deadline %.6f, worker %llx %s%s%s%s",
                (unsigned long long)lease->name.delivery, (double)lease->made_ns / 1e9,
                (double)lease->deadline.at / 1e9, (unsigned long long)lease->worker,
                lease->worker_name ? lease->worker_name : "", lease->alone ? " alone" : "",
                lease->begun ? " begun" : "", lease->durable ? " durable" : "");
    }
}

static void describe_list(struct sim *sim, const struct weir_ready *list, const char *name,
                          uint64_t sequence)
{
    for (; list; list = list->next)
        if (list->row->sequence == sequence)
            sim_log(sim, "open", "  in memory, %s", name);
}

static void describe_rows(struct sim *sim, struct sim_process *process, uint32_t group,
                          uint64_t sequence)
{
    struct weir_store_request request = {.id = UINT64_MAX,
                                         .kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_MESSAGE,
                                         .sequence = sequence,
                                         .count = SIM_GROUPS_MAX};
    struct weir_store_result result = {0};
    sim_spool_query(process, &request, &result);
    for (uint32_t i = 0; i < result.row_count; i++) {
        const struct weir_row *row = &result.rows[i];
        if (row->group == group)
            sim_log(sim, "open",
                    "  row: %s, attempt %u, releases %u, death %u,%s due in %lld ms, delivery %llu",
                    row_states[row->state], row->attempt, row->releases, row->death,
                    row->suspect ? " suspect," : "",
                    (long long)(row->due_ms - sim_now(process).wall_ms),
                    (unsigned long long)row->delivery);
    }
    weir_store_result_fini(&result);
}

void sim_describe_group(struct sim *sim, struct sim_process *process, uint32_t number)
{
    const struct weir_ventilator *v =
        WEIR_CONTAINER_OF(process->role, struct weir_ventilator, role);
    const struct weir_group *group = group_of(v, sim->groups[number].policy.name);
    if (!group)
        return;
    sim_log(
        sim, process->name,
        "state %d, %s: low %llu, next %llu of %llu, in flight %llu, returned %zu, deferred %llu "
        "(known %d, due in %lld ms, asking %d), dying %llu, keys %u (%s%s), timer %.6f",
        (int)v->state, group->row.policy.name, (unsigned long long)group->settled.low,
        (unsigned long long)group->row.next, (unsigned long long)v->stream.end,
        (unsigned long long)group->in_flight, group->returned.count,
        (unsigned long long)group->deferred.rows, group->deferred.known,
        (long long)(group->deferred.due_ms - v->now.wall_ms), group->deferred.asking,
        (unsigned long long)group->dying, group->keys.count,
        group->keys.hungry.count ? "hungry" : "",
        weir_keys_starving(&group->keys) ? "starving" : "",
        group->timer.index ? (double)group->timer.at / 1e9 : -1.0);
    sim_log(sim, process->name,
            "dying: %u letters, %llu rows, asking %d, at %lld ms; submit outstanding %u",
            v->dying.count, (unsigned long long)v->dying.rows, v->dying.asking,
            (long long)(v->dying.at_ms - v->now.wall_ms),
            v->submit ? (unsigned)weir_submit_outstanding(v->submit) : 0);
    sim_describe_dispatch(sim, process->name, v->dispatch, group->row.policy.name);
}

void sim_describe_message(struct sim *sim, struct sim_process *process, uint32_t number,
                          uint64_t sequence)
{
    const struct weir_ventilator *v =
        WEIR_CONTAINER_OF(process->role, struct weir_ventilator, role);
    const struct weir_group *group = group_of(v, sim->groups[number].policy.name);
    if (!group)
        return;
    if (weir_settled_has(&group->settled, sequence))
        sim_log(sim, "open", "  settled");
    if (weir_rangeset_has(&group->returned, sequence))
        sim_log(sim, "open", "  returned");
    uint64_t hash, first;
    enum weir_key_place place;
    for (uint32_t i = 0; weir_keys_each(&group->keys, &i, &hash, &first);)
        if (weir_keys_at(&group->keys, hash, sequence, &place))
            sim_log(sim, "open", "  key: %s; its first is %llu", places[place],
                    (unsigned long long)first);
    for (const struct weir_lease *lease = v->leases.table; lease; lease = lease->hh.next)
        if (lease->group == group)
            describe_lease(sim, lease, sequence);
    describe_list(sim, group->deferred.ready, "ready", sequence);
    describe_list(sim, group->deferred.suspects, "a suspect", sequence);
    describe_rows(sim, process, group->row.number, sequence);
}
