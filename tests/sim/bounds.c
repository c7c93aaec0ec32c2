/* Invariant 5: what processes keep is bounded. What a worker has at hand is overheard; the lengths
 * of queues are looked up where nothing else here may look. */
#include "sim.h"
#include <core/relay_state.h>
#include <core/ventilator.h>
#include <string.h>

/* A batch is taken while there is room for one message, others may be on their way then, and what a
 * full group turns away is looked at batch by batch. */
#define BATCH_MESSAGES_MAX 12u
#define BATCHES_ON_THEIR_WAY WEIR_PRODUCER_WINDOW /* of one producer */

void sim_check_bound(struct sim_process *process, const char *what, uint64_t value, uint64_t limit)
{
    if (value > limit)
        sim_fail(process->sim, SIM_CHECK_BOUNDS, "%s has %llu %s, the bound is %llu", process->name,
                 (unsigned long long)value, what, (unsigned long long)limit);
}

/* What waits here was sent for credit that workers gave, in this life of the router. */
static void check_relay(struct sim_process *process)
{
    const struct relay *relay = (const struct relay *)(const void *)process->role;
    struct sim *sim = process->sim;
    for (uint32_t g = 0; g < sim->group_count; g++) {
        const char *name = sim->groups[g].policy.name;
        const struct relay_group *group = weir_relay_group(relay, name, strlen(name));
        if (group)
            sim_check_bound(process, "messages of a group that wait", group->queued_messages,
                            WEIR_CREDIT_MESSAGES_MAX);
    }
}

static void check_backlog(struct sim_process *process, const struct weir_group *group)
{
    const struct weir_group_policy *policy = &group->row.policy;
    /* what was handed out and comes back, and what is sent back by hand, comes on top */
    if (policy->max_backlog > 0)
        sim_check_bound(process, "messages that nobody had yet",
                        group->row.totals.matched - group->row.totals.passed,
                        policy->max_backlog + BATCH_MESSAGES_MAX * BATCHES_ON_THEIR_WAY *
                                                  process->sim->params.producers);
}

static void check_ventilator(struct sim_process *process)
{
    const struct weir_ventilator *v =
        WEIR_CONTAINER_OF(process->role, struct weir_ventilator, role);
    sim_check_bound(process, "frames that wait for its recovery", v->stash_count,
                    WEIR_STASH_MESSAGES_MAX);
    sim_check_bound(process, "dead letters in memory", v->dying.count, WEIR_DYING_MAX);
    sim_check_bound(process, "replays", v->replay_count, WEIR_REPLAYS_MAX);
    sim_check_bound(process, "joins", v->join_count, WEIR_JOINS_MAX);
    sim_check_bound(process, "storage requests", v->asked_count, WEIR_STORE_REQUESTS_MAX);
    for (uint32_t i = 0; i < v->group_count; i++) {
        const struct weir_group *group = v->groups[i];
        sim_check_bound(process, "ranges given back", group->returned.count,
                        WEIR_RETURNED_RANGES_MAX);
        sim_check_bound(process, "keys", group->keys.count, WEIR_BLOCKED_KEYS_MAX);
        if (v->state == WEIR_VENTILATOR_OPEN)
            check_backlog(process, group);
    }
}

void sim_check_bounds(struct sim_process *process)
{
    if (process->kind == SIM_WORKER)
        sim_check_worker_bounds(process);
    else if (process->kind == SIM_RELAY)
        check_relay(process);
    else if (process->kind == SIM_VENTILATOR)
        check_ventilator(process);
}
