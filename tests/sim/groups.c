/* Which groups a ventilator has, and so which messages are whose, told from outside: from what its
 * topology says when it starts, from what workers ask for and are told, and from what the operator
 * orders.
 *
 * A message is owed to a group that was surely there when it was sent, and not a group's that was
 * surely absent until it was confirmed. In between it may be the group's or not, until somebody who
 * joins is told where the group begins: from there on all is its own. */
#include "sim.h"
#include <stdio.h>
#include <wire/control.h>

static struct sim_place *place_of(const struct sim_process *process, uint32_t group)
{
    return &process->sim->groups[group].at[process->index];
}

bool sim_has_group(const struct sim_process *process, uint32_t group)
{
    return process->kind == SIM_VENTILATOR && place_of(process, group)->presence != SIM_ABSENT;
}

bool sim_is_second(const struct sim *sim, uint32_t group)
{
    return sim->params.stages && group == sim->params.groups;
}

/* Whether its topics, as they are just now, leave the message out. */
static bool leaves_out(const struct sim_group *group, const struct sim_message *message)
{
    if (message->made) /* of the second stage's group it is said elsewhere */
        return true;
    return message->rare && group->edit == SIM_EDIT_TOPICS && group->at[message->stream].edited;
}

void sim_groups_claim(struct sim *sim, struct sim_message *message)
{
    static const enum sim_claim claims[] = {
        [SIM_ABSENT] = SIM_NOT_ITS, [SIM_UNSURE] = SIM_PERHAPS, [SIM_THERE] = SIM_OWED};
    for (uint32_t g = 0; g < sim->group_count; g++) {
        const struct sim_group *group = &sim->groups[g];
        message->in[g].claim =
            leaves_out(group, message) ? SIM_NOT_ITS : claims[group->at[message->stream].presence];
    }
}

enum sim_claim sim_claim_of(const struct sim *sim, const struct sim_message *message,
                            uint32_t group)
{
    const struct sim_place *place = &sim->groups[group].at[message->stream];
    const enum sim_claim claim = message->in[group].claim;
    if (claim != SIM_PERHAPS || place->presence != SIM_THERE || place->start == 0 ||
        !message->placed)
        return claim;
    if (message->sequence >= place->start)
        return SIM_OWED;
    return message->delayed || place->removed ? SIM_PERHAPS : SIM_NOT_ITS;
}

/* From now on it may be there. What is confirmed lies before its start. */
static void appears(struct sim_process *process, uint32_t group)
{
    struct sim *sim = process->sim;
    struct sim_place *place = place_of(process, group);
    const bool earliest = sim->groups[group].policy.start == WEIR_START_EARLIEST;
    if (place->presence != SIM_ABSENT)
        return;
    place->presence = SIM_UNSURE;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *message = &sim->messages[i];
        if (message->stream == process->index && message->in[group].claim == SIM_NOT_ITS &&
            !leaves_out(&sim->groups[group], message) &&
            (earliest || message->delayed || !message->confirmed))
            message->in[group].claim = SIM_PERHAPS;
    }
}

/* It is there. A delayed message that was not due yet is its own, too, wherever it begins. */
static void is_there(struct sim_process *process, uint32_t group)
{
    struct sim *sim = process->sim;
    struct sim_place *place = place_of(process, group);
    const int64_t wall_ms = sim_now(process).wall_ms;
    place->presence = SIM_THERE;
    for (uint32_t i = 0; i < sim->message_count && !place->removed && !sim->params.jumps; i++) {
        struct sim_message *message = &sim->messages[i];
        if (message->stream == process->index && message->in[group].claim == SIM_PERHAPS &&
            message->confirmed && message->delayed && message->due_ms > wall_ms)
            message->in[group].claim = SIM_OWED;
    }
}

/* ---- the topology ---- */

/* Other topics hold from the next delivery on, so what was sent before may go either way. */
static void topics_change(struct sim_process *process, uint32_t group)
{
    struct sim *sim = process->sim;
    for (uint32_t i = 0; i < sim->message_count; i++)
        if (sim->messages[i].stream == process->index && sim->messages[i].rare)
            sim->messages[i].in[group].claim = SIM_PERHAPS;
}

static void edit(struct sim_process *process, uint32_t group)
{
    struct sim *sim = process->sim;
    struct sim_place *place = place_of(process, group);
    const bool first = sim->now_ns == 0;
    if (sim->groups[group].edit == SIM_NO_EDIT || (!first && sim->now_ns >= sim->faults_end_ns) ||
        weir_random_below(&sim->random, first ? 2 : 3) > 0)
        return;
    place->edited = !place->edited;
    if (first)
        return;
    sim_count(sim, SIM_COUNT_EDITS);
    sim_log(sim, process->name, "has another topology: %s is %s", sim->groups[group].policy.name,
            place->edited ? "changed" : "as ever");
    if (sim->groups[group].edit == SIM_EDIT_TOPICS)
        topics_change(process, group);
}

uint32_t sim_groups_listed(struct sim_process *process, struct weir_group_policy *policies)
{
    struct sim *sim = process->sim;
    uint32_t count = 0;
    for (uint32_t g = 0; g < sim->group_count; g++) {
        const struct sim_group *group = &sim->groups[g];
        if (group->joins || sim_is_second(sim, g) != (process->index == sim->params.ventilators))
            continue;
        edit(process, g);
        const bool edited = place_of(process, g)->edited;
        if (edited && group->edit == SIM_EDIT_LISTED) /* if it is there it stays */
            continue;
        appears(process, g);
        struct weir_group_policy *policy = &policies[count++];
        *policy = group->policy;
        if (group->edit == SIM_EDIT_ORDER)
            policy->order = edited ? WEIR_ORDER_NONE : WEIR_ORDER_KEY;
        if (edited && group->edit == SIM_EDIT_TOPICS)
            snprintf(policy->topics[0], sizeof policy->topics[0], "%s", SIM_TOPIC);
    }
    return count;
}

void sim_groups_opened(struct sim_process *process)
{
    struct sim *sim = process->sim;
    if (process->opened == process->epoch)
        return;
    process->opened = process->epoch;
    for (uint32_t g = 0; g < sim->group_count && process->kind == SIM_VENTILATOR; g++) {
        const struct sim_group *group = &sim->groups[g];
        const struct sim_place *place = place_of(process, g);
        if (group->joins || place->presence != SIM_UNSURE ||
            (group->edit == SIM_EDIT_LISTED && place->edited))
            continue;
        is_there(process, g);
        /* What was sent since this life began was taken by it, if at all. */
        for (uint32_t i = 0; i < sim->message_count; i++) {
            struct sim_message *message = &sim->messages[i];
            if (message->stream == process->index && message->sent_epoch == process->epoch &&
                message->in[g].claim == SIM_PERHAPS)
                message->in[g].claim = SIM_OWED;
        }
    }
}

/* ---- who joins ---- */

static uint32_t named(const struct sim_process *process, const struct weir_control *control)
{
    const uint32_t group = sim_group_of(process->sim, control->group.data, control->group.bytes);
    return group < SIM_GROUPS_MAX && process->sim->groups[group].joins ? group : SIM_GROUPS_MAX;
}

void sim_group_asked(struct sim_process *process, const struct weir_control *control)
{
    const uint32_t group = named(process, control);
    if (group == SIM_GROUPS_MAX)
        return;
    place_of(process, group)->asked_since = true;
    appears(process, group);
}

/* What was said just before a crash is what may be lost in it. */
static void crashes(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)arg;
    (void)number;
    if (process && process->role && sim->now_ns < sim->faults_end_ns)
        sim_crash_awhile(sim, process);
}

static void ends_soon(struct sim_process *process)
{
    struct sim *sim = process->sim;
    if (sim->params.crashes && weir_random_below(&sim->random, 4) == 0)
        sim_at(sim, sim_delay(sim, 50 * WEIR_NS_PER_MS), process, crashes, NULL, 0);
}

void sim_group_joined(struct sim_process *process, const struct weir_control *control)
{
    const uint32_t group = named(process, control);
    if (group == SIM_GROUPS_MAX)
        return;
    struct sim_place *place = place_of(process, group);
    if (place->presence == SIM_THERE && place->start != control->start)
        sim_fail(process->sim, SIM_CHECK_LOST, "%s says that %s begins at %llu, and at %llu before",
                 process->name, process->sim->groups[group].policy.name,
                 (unsigned long long)control->start, (unsigned long long)place->start);
    if (place->presence != SIM_THERE) {
        sim_count(process->sim, SIM_COUNT_JOINS);
        ends_soon(process);
    }
    place->start = control->start;
    is_there(process, group);
}

bool sim_groups_joined(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->process_count; i++)
        for (uint32_t g = 0; g < sim->group_count; g++) {
            const struct sim_process *process = &sim->processes[i];
            if (process->kind == SIM_VENTILATOR && sim->groups[g].joins &&
                place_of(process, g)->presence != SIM_THERE && !place_of(process, g)->removed)
                return false;
        }
    return true;
}

/* ---- who is removed ---- */

void sim_group_goes(struct sim_process *process, uint32_t group)
{
    struct sim *sim = process->sim;
    struct sim_place *place = place_of(process, group);
    sim_disturb(process);
    place->presence = SIM_UNSURE;
    place->removed = true;
    place->asked_since = false;
    for (uint32_t i = 0; i < sim->message_count; i++)
        if (sim->messages[i].stream == process->index &&
            sim->messages[i].in[group].claim == SIM_OWED)
            sim->messages[i].in[group].claim = SIM_PERHAPS;
}

void sim_group_gone(struct sim_process *process, uint32_t group)
{
    struct sim_place *place = place_of(process, group);
    sim_count(process->sim, SIM_COUNT_REMOVALS);
    if (place->presence == SIM_UNSURE && !place->asked_since)
        place->presence = SIM_ABSENT;
}

bool sim_group_countable(const struct sim *sim, uint32_t stream, uint32_t group)
{
    if (sim->groups[group].at[stream].removed)
        return false;
    for (uint32_t i = 0; i < sim->message_count; i++)
        if (sim->messages[i].stream == stream &&
            (sim_claim_of(sim, &sim->messages[i], group) == SIM_PERHAPS ||
             sim->messages[i].unsynced || sim->messages[i].again))
            return false;
    return true;
}

static void remove_one(struct sim *sim, struct sim_process *none, void *arg, uint64_t left)
{
    (void)none;
    (void)arg;
    if (sim->over || sim->now_ns >= sim->faults_end_ns || left == 0)
        return;
    struct sim_process *process =
        &sim->processes[weir_random_below(&sim->random, sim->process_count)];
    const uint32_t group = (uint32_t)weir_random_below(&sim->random, sim->group_count);
    const bool there = process->kind == SIM_VENTILATOR && process->opened == process->epoch &&
                       !process->stopping && place_of(process, group)->presence == SIM_THERE &&
                       !sim_is_second(sim, group);
    if (there)
        sim_group_remove(process, group);
    sim_at(sim, sim_delay(sim, (there ? 5 : 1) * WEIR_NS_PER_S), NULL, remove_one, NULL,
           left - there);
}

void sim_groups_scenario(struct sim *sim)
{
    if (sim->params.removals)
        sim_at(sim, sim_delay(sim, 3 * WEIR_NS_PER_S), NULL, remove_one, NULL,
               sim->params.removals);
}
