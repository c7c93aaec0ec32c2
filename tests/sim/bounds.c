/* Invariant 5: what processes keep is bounded. What a worker has at hand is overheard; the lengths
 * of queues are looked up where nothing else here may look. bounds.def says which; what a bound
 * leaves open — it is looked at before something is let in, not after — stands here. */
#include "sim.h"
#include <core/ventilator.h>
#include <utlist.h>

/* What a producer of the simulator sends at once; a batch is taken while there is room for one
 * message, others may be on their way then, and what a full group turns away is looked at batch by
 * batch. */
#define BATCH_MESSAGES_MAX 12u
#define BATCH_BYTES_MAX (BATCH_MESSAGES_MAX * 1300u)
#define BATCHES_ON_THEIR_WAY WEIR_PRODUCER_WINDOW /* of one producer */

static const struct sim_bound bounds[] = {
#define X(NAME, limit, text) {text, limit},
#include "bounds.def"
#undef X
};

const struct sim_bound *sim_bound_of(enum sim_bound_name name)
{
    return &bounds[name];
}

void sim_check_bound(struct sim_process *process, enum sim_bound_name name, uint64_t value,
                     uint64_t limit, uint64_t beyond)
{
    if (value >= limit && limit > 0)
        process->sim->full[name] = true;
    if (value > limit + beyond)
        sim_fail(process->sim, SIM_CHECK_BOUNDS, "%s has %llu %s, the bound is %llu", process->name,
                 (unsigned long long)value, bounds[name].text, (unsigned long long)limit + beyond);
}

#define CHECK(process, NAME, value, beyond)                                                        \
    sim_check_bound(process, SIM_BOUND_##NAME, value, bounds[SIM_BOUND_##NAME].limit, beyond)

static void check_backlog(struct sim_process *process, const struct weir_group *group)
{
    const struct weir_group_policy *policy = &group->row.policy;
    const struct weir_group_totals *totals = &group->row.totals;
    /* what was handed out and comes back, and what is sent back by hand, comes on top */
    if (policy->max_backlog > 0 && totals->matched > totals->passed) /* topics were edited */
        sim_check_bound(process, SIM_BOUND_BACKLOG, totals->matched - totals->passed,
                        policy->max_backlog,
                        BATCH_MESSAGES_MAX * BATCHES_ON_THEIR_WAY * process->sim->params.producers);
}

static uint64_t messages_of(const struct weir_rangeset *ranges)
{
    uint64_t count = 0;
    for (size_t i = 0; i < ranges->count; i++)
        count += ranges->at[i].last - ranges->at[i].first + 1;
    return count;
}

static uint64_t length_of(const struct weir_ready *list)
{
    uint64_t count = 0;
    for (; list; list = list->next)
        count++;
    return count;
}

/* What is out may come back at once, and each of it be a row. */
static uint64_t messages_out(const struct sim *sim)
{
    uint64_t messages = 0;
    for (uint32_t i = 0; i < sim->process_count; i++)
        if (sim->processes[i].kind == SIM_WORKER)
            messages += sim->processes[i].prefetch + WEIR_RESULTS_AHEAD_MAX;
    return messages;
}

/* What is not synced before it is confirmed costs each start sequences that are never given. */
static uint64_t passed_over(const struct sim_process *process)
{
    return process->sim->params.fsync ? process->epoch * WEIR_UNSYNCED_MESSAGES_MAX : 0;
}

static void check_group(struct sim_process *process, const struct weir_ventilator *v,
                        const struct weir_group *group)
{
    const uint64_t batches = BATCH_MESSAGES_MAX * BATCHES_ON_THEIR_WAY *
                             process->sim->params.producers; /* may be dropped at once */
    CHECK(process, RETURNED, group->returned.count, 1);      /* one that is taken in part is two */
    CHECK(process, CLAIMED, messages_of(&group->claimed) + messages_of(&group->cleared),
          messages_out(process->sim)); /* given back, and still to be sent */
    CHECK(process, READY, length_of(group->deferred.ready), WEIR_FETCHING_MAX);
    CHECK(process, SUSPECTS, length_of(group->deferred.suspects),
          WEIR_READY_MAX + WEIR_FETCHING_MAX);
    CHECK(process, FETCHING, group->fetching + length_of(group->deferred.fetched), 0);
    CHECK(process, KEYS, group->keys.count, 0);
    /* those in the delivery being built come on top */
    CHECK(process, LARGE_KEYS, group->keys.large, WEIR_DELIVERY_MESSAGES_MAX);
    CHECK(process, LISTED, group->keys.listed, 0);
    CHECK(process, SPAN, group->row.next - group->settled.low, batches + passed_over(process));
    CHECK(process, ENDED, group->row.ended.count, 0);
    CHECK(process, TOMBSTONES, group->tombstones, WEIR_TOMBSTONES_MAX / 16 + WEIR_FLUSH_OPS_MAX);
    if (v->state == WEIR_VENTILATOR_OPEN)
        check_backlog(process, group);
}

static void check_stream(struct sim_process *process, const struct weir_stream *stream)
{
    CHECK(process, TAIL, stream->count, 0);
    /* one batch is kept, however large, and so is one that was read */
    CHECK(process, TAIL_BYTES, stream->count > 1 ? stream->tail_bytes : 0, 0);
    CHECK(process, CHUNKS, stream->chunk_count, 0);
    CHECK(process, CHUNK_BYTES, stream->chunk_count > 1 ? stream->chunk_bytes : 0, 0);
    CHECK(process, READS, stream->read_count, 0);
}

static void check_ventilator(struct sim_process *process)
{
    const struct weir_ventilator *v =
        WEIR_CONTAINER_OF(process->role, struct weir_ventilator, role);
    CHECK(process, STASH, v->stash_count, 0);
    CHECK(process, STASH_BYTES, v->stash_bytes, 0);
    CHECK(process, INTAKE, v->accept.bytes, BATCH_BYTES_MAX); /* one goes alone */
    CHECK(process, REQUESTS, v->asked_count, 0);
    CHECK(process, FLUSH, v->flush.count, WEIR_FLUSH_OPS_MAX + messages_out(process->sim));
    /* what a replay brings is in the state from the start */
    CHECK(process, COPIED, process->sim->params.replays ? v->copyout.on_way : weir_copyout_bytes(v),
          (WEIR_TURN_ROWS_MAX + WEIR_COPY_ROWS_MAX) * BATCH_BYTES_MAX);
    CHECK(process, DYING, v->dying.count, 0);
    CHECK(process, REPLAYS, v->replay_count, 0);
    CHECK(process, JOINS, v->join_count, 0);
    check_stream(process, &v->stream);
    for (uint32_t i = 0; i < v->group_count; i++)
        check_group(process, v, v->groups[i]);
    sim_check_dispatch_bounds(process, v->dispatch);
}

void sim_check_bounds(struct sim_process *process)
{
    if (!process->role)
        return;
    if (process->kind == SIM_WORKER)
        sim_check_worker_bounds(process);
    else if (process->kind == SIM_RELAY)
        sim_check_relay_bounds(process);
    else if (process->kind == SIM_VENTILATOR)
        check_ventilator(process);
}
