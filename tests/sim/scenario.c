/* A topology and its faults, from the seed. */
#include "sim.h"
#include <stdio.h>
#include <string.h>

#define CLOCK_BACK_MS_MAX 900000
#define DRIFT_PPM_MAX 10000 /* far beyond what clocks do: what compares two of them shows */

static uint32_t roll(struct sim *sim, uint32_t from, uint32_t to)
{
    return from + (uint32_t)weir_random_below(&sim->random, to - from + 1);
}

/* What it is like nobody says but the ventilators: so its policy is what JOIN brings about, whose
 * bound of the backlog is far from here. */
static void group_join_make(struct sim *sim, uint32_t number)
{
    struct weir_group_policy *policy = &sim->groups[number].policy;
    *policy = weir_group_policy_default();
    snprintf(policy->name, sizeof policy->name, "joining%u", number);
    policy->topic_count = 1;
    snprintf(policy->topics[0], sizeof policy->topics[0], "work.>");
    policy->start = roll(sim, 0, 1) ? WEIR_START_NOW : WEIR_START_EARLIEST;
    sim->groups[number].joins = true;
}

/* A group of which the order is edited has none that could be relied on. */
static void edit_make(struct sim *sim, struct sim_group *group)
{
    group->edit = roll(sim, SIM_NO_EDIT, SIM_EDIT_LISTED);
    if (group->edit != SIM_EDIT_ORDER)
        return;
    if (group->policy.delivery == WEIR_AT_MOST_ONCE)
        group->edit = SIM_NO_EDIT;
    group->policy.order = WEIR_ORDER_NONE;
}

/* What it ends without a trace would be missing as a result of the first stage. */
static void second_make(struct sim_group *group)
{
    group->edit = SIM_NO_EDIT;
    group->policy.delivery = WEIR_AT_LEAST_ONCE;
    group->policy.on_full = WEIR_ON_FULL_REFUSE;
    snprintf(group->policy.topics[0], sizeof group->policy.topics[0], "made.*");
}

static void groups_make(struct sim *sim)
{
    const uint32_t declared = sim->params.groups + sim->params.stages;
    sim->group_count = declared + sim->params.joins;
    for (uint32_t i = declared; i < sim->group_count; i++)
        group_join_make(sim, i);
    for (uint32_t i = 0; i < declared; i++) {
        struct weir_group_policy *policy = &sim->groups[i].policy;
        *policy = weir_group_policy_default();
        snprintf(policy->name, sizeof policy->name, "group%u", i);
        policy->topic_count = 1;
        snprintf(policy->topics[0], sizeof policy->topics[0], "%s", i % 2 ? "work.*" : "work.>");
        policy->order = sim->params.ordered && roll(sim, 0, 1) ? WEIR_ORDER_KEY : WEIR_ORDER_NONE;
        policy->attempts = roll(sim, 2, 4);
        policy->backoff =
            (struct weir_backoff){.first_ms = 100, .factor_permille = 2000, .max_ms = 2000};
        policy->timeout_ms = 2000;
        policy->lease_ms = 6000;
        if (roll(sim, 0, 4) == 0)
            policy->rate_permille = 100000;
        if (sim->params.sparing && roll(sim, 0, 2) == 0)
            policy->delivery = WEIR_AT_MOST_ONCE;
        if (policy->delivery == WEIR_AT_MOST_ONCE)
            policy->order = WEIR_ORDER_NONE;
        if (sim->params.edits)
            edit_make(sim, &sim->groups[i]);
        if (sim->params.backlogs && roll(sim, 0, 2) == 0) {
            policy->max_backlog = roll(sim, 4, 40);
            policy->on_full = roll(sim, WEIR_ON_FULL_REFUSE, WEIR_ON_FULL_DROP);
        }
        if (sim_is_second(sim, i))
            second_make(&sim->groups[i]);
    }
}

static struct sim_process *pick(struct sim *sim, enum sim_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < sim->process_count; i++) {
        if (sim->processes[i].kind == kind && sim->processes[i].index == index)
            return &sim->processes[i];
    }
    return NULL;
}

static void worker_make(struct sim *sim, uint32_t number, struct sim_process *sink,
                        uint32_t ventilators, uint32_t relays)
{
    struct sim_process *worker = sim_process_add(sim, SIM_WORKER);
    worker->group = number < sim->group_count ? number : roll(sim, 0, sim->group_count - 1);
    worker->concurrency = roll(sim, 1, 3);
    worker->prefetch = roll(sim, 0, 3) ? roll(sim, 1, 16) : roll(sim, 1, 2);
    worker->prefetch_bytes = roll(sim, 0, 2) ? 1u << 20 : roll(sim, 20, 800);
    worker->job_messages_max = roll(sim, 0, 1) ? 1 : 8;
    worker->slow = sim->params.slow && roll(sim, 0, 2) == 0;
    worker->stubborn = sim->params.late && roll(sim, 0, 1) == 0;
    uint32_t upstreams = relays > 0 ? roll(sim, 1, relays) : ventilators;
    for (uint32_t u = 0; u < upstreams; u++)
        sim_link_add(worker, WEIR_PORT_FROM + u,
                     relays > 0 ? pick(sim, SIM_RELAY, (number + u) % relays)
                                : pick(sim, SIM_VENTILATOR, u),
                     WEIR_PORT_DISPATCH);
    if (sim->params.stages && worker->group == 0)
        sink = pick(sim, SIM_VENTILATOR, sim->params.ventilators);
    sim_link_add(worker, WEIR_PORT_TO, sink, WEIR_PORT_SUBMIT);
}

static void clock_make(struct sim_process *process)
{
    struct sim *sim = process->sim;
    process->clock_skew_ms = (int64_t)roll(sim, 0, 4000) - 2000;
    process->boot_ns = roll(sim, 1, 1000000) * WEIR_NS_PER_S;
    if (sim->params.drift)
        process->drift_ppm = (int64_t)roll(sim, 0, 2 * DRIFT_PPM_MAX) - DRIFT_PPM_MAX;
}

static void processes_make(struct sim *sim)
{
    const uint32_t first = sim->params.ventilators, ventilators = first + sim->params.stages;
    const uint32_t relays = sim->params.routers;
    const uint32_t behind = relays > 0 ? sim->params.behind : 0;
    const uint32_t workers =
        sim->params.workers > sim->group_count ? sim->params.workers : sim->group_count;
    struct sim_process *sink = sim_process_add(sim, SIM_SINK);
    struct sim_process *dlq = sim_process_add(sim, SIM_DLQ);
    sink->disk = sim_disk_new();
    dlq->disk = sim_disk_new();
    for (uint32_t i = 0; i < ventilators; i++) {
        struct sim_process *ventilator = sim_process_add(sim, SIM_VENTILATOR);
        if (sim->params.spools && roll(sim, 0, 1) == 0)
            ventilator->store_bytes_max = (6 + roll(sim, 4, 14)) * 8192;
        sim_spool_new(ventilator);
        sim_link_add(ventilator, WEIR_PORT_TO, dlq, WEIR_PORT_SUBMIT);
    }
    for (uint32_t i = 0; i < relays; i++) {
        struct sim_process *relay = sim_process_add(sim, SIM_RELAY);
        for (uint32_t v = 0; v < ventilators; v++)
            sim_link_add(relay, WEIR_PORT_FROM + v, pick(sim, SIM_VENTILATOR, v),
                         WEIR_PORT_DISPATCH);
    }
    for (uint32_t i = 0; i < behind; i++) { /* routers behind routers */
        struct sim_process *relay = sim_process_add(sim, SIM_RELAY);
        for (uint32_t u = 0; u < relays; u++)
            sim_link_add(relay, WEIR_PORT_FROM + u, pick(sim, SIM_RELAY, u), WEIR_PORT_DISPATCH);
    }
    for (uint32_t i = 0; i < workers; i++)
        worker_make(sim, i, sink, ventilators, relays + behind);
    for (uint32_t i = 0; i < first * sim->params.producers; i++) {
        struct sim_process *producer = sim_process_add(sim, SIM_PRODUCER);
        sim_link_add(producer, WEIR_PORT_TO, pick(sim, SIM_VENTILATOR, i % first),
                     WEIR_PORT_SUBMIT);
    }
    for (uint32_t i = 0; i < ventilators && sim->params.replays; i++) {
        struct sim_process *replayer = sim_process_add(sim, SIM_REPLAYER);
        sim_link_add(replayer, WEIR_PORT_TO, pick(sim, SIM_VENTILATOR, i), WEIR_PORT_SUBMIT);
    }
    for (uint32_t i = 0; i < sim->process_count; i++)
        clock_make(&sim->processes[i]);
}

static uint32_t upstreams_of(const struct sim_process *process)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < process->link_count; i++)
        count += process->links[i].client_port >= WEIR_PORT_FROM;
    return count;
}

static struct weir_role *ventilator_new(struct sim_process *process, uint64_t seed)
{
    struct weir_group_policy policies[SIM_GROUPS_MAX];
    struct sim *sim = process->sim;
    const uint32_t count = sim_groups_listed(process, policies);
    struct weir_ventilator_config config = {
        .name = process->name,
        .fsync = (enum weir_fsync)sim->params.fsync,
        .groups = policies,
        .group_count = count,
        .dynamic_groups = sim->params.joins > 0,
        .spool_bytes_max = process->store_bytes_max,
        .dead_letters = true,
        .idempotency_window_ms =
            sim->params.forget ? sim->params.forget : 30 * 24 * INT64_C(3600000),
        .idempotency_count_max = sim->params.window ? sim->params.window : 10000};
    struct weir_recovered *recovered = sim_spool_open(process);
    return !recovered ? NULL : weir_ventilator_new(&config, &recovered, &process->host, seed);
}

struct weir_role *sim_role_new(struct sim_process *process)
{
    struct sim *sim = process->sim;
    uint64_t seed = weir_random_u64(&sim->random);
    if (process->kind == SIM_VENTILATOR)
        return ventilator_new(process, seed);
    if (process->kind == SIM_RELAY) {
        struct weir_relay_config config = {.name = process->name,
                                           .upstream_count = upstreams_of(process)};
        return weir_relay_new(&config, &process->host, seed);
    }
    if (process->kind == SIM_WORKER) {
        const struct sim_group *group = &sim->groups[process->group];
        const char *const topics[] = {group->policy.topics[0]};
        struct weir_worker_config config = {
            .name = process->name,
            .group = group->policy.name,
            .topics = group->joins ? topics : NULL,
            .topic_count = group->policy.topic_count,
            .from = group->policy.start == WEIR_START_EARLIEST ? "earliest" : "now",
            .upstream_count = upstreams_of(process),
            .results = true,
            .result_topic = sim->params.stages && process->group == 0 ? SIM_TOPIC_MADE : NULL,
            .concurrency = process->concurrency,
            .prefetch = process->prefetch,
            .prefetch_bytes = process->prefetch_bytes,
            .paced = process->prefetch % 2 == 0,
            .job_messages_max = process->job_messages_max};
        return weir_worker_new(&config, &process->host, seed);
    }
    if (process->kind == SIM_PRODUCER)
        return sim_producer_new(process);
    if (process->kind == SIM_REPLAYER)
        return sim_replayer_new(process);
    struct weir_holder_config config = {.name = process->name,
                                        .role = process->kind == SIM_SINK ? "sink" : "dlq",
                                        .tag = (uint16_t)(process->kind == SIM_SINK ? 900 : 901)};
    uint32_t count;
    const struct weir_producer_row *producers = sim_disk_producers(process->disk, &count);
    return weir_holder_new(&config, producers, count, sim_disk_next(process->disk), &process->host,
                           seed);
}

void sim_come_back(struct sim *sim, struct sim_process *none, void *arg, uint64_t number)
{
    (void)sim;
    (void)none;
    (void)number;
    struct sim_process *process = arg;
    process->held_down = false;
    sim_start(process);
}

void sim_crash_awhile(struct sim *sim, struct sim_process *process)
{
    sim_count(sim, SIM_COUNT_CRASHES);
    process->held_down = true;
    sim_crash(process);
    sim_at(sim, sim_delay(sim, roll(sim, 0, 3) ? 200 * WEIR_NS_PER_MS : 9 * WEIR_NS_PER_S), NULL,
           sim_come_back, process, 0);
}

/* It is told to stop, and starts anew when it has. */
static void drain(struct sim *sim, struct sim_process *process)
{
    struct weir_event event = {.type = WEIR_EVENT_DRAIN};
    sim_count(sim, SIM_COUNT_DRAINS);
    process->told_to_stop = true;
    sim_log(sim, process->name, "is told to stop");
    sim_step(process, &event);
}

/* Somebody sets the wall clock. Far back only so far that what then waits still ends in time. */
static void clock_jump(struct sim *sim, struct sim_process *process)
{
    const int64_t most_ms = roll(sim, 0, 3) ? 5000 : 600000;
    const int64_t by_ms = (int64_t)weir_random_below(&sim->random, 2 * (uint64_t)most_ms) - most_ms;
    if (process->clock_skew_ms + by_ms < -CLOCK_BACK_MS_MAX)
        return;
    sim_count(sim, SIM_COUNT_JUMPS);
    process->clock_skew_ms += by_ms;
    sim_log(sim, process->name, "has its clock set by %lld ms", (long long)by_ms);
}

/* It stands still, as with SIGSTOP; what comes meanwhile waits. */
static void stall(struct sim *sim, struct sim_process *process)
{
    if (!process->role || sim->now_ns < process->stalled_until_ns)
        return;
    const int64_t ns = sim_delay(sim, (roll(sim, 0, 2) ? 1 : 20) * WEIR_NS_PER_S);
    sim_count(sim, SIM_COUNT_STALLS);
    sim_disturb(process);
    process->stalled_until_ns = sim->now_ns + ns;
    process->stalled_count = 0;
    sim_log(sim, process->name, "stands still for %.3f s", (double)ns / 1e9);
}

/* The operator pauses a group for a while. */
static void resume(struct sim *sim, struct sim_process *none, void *arg, uint64_t group)
{
    (void)none;
    struct sim_process *process = arg;
    if (sim->over)
        return;
    if (process->resumed[group] || !sim_has_group(process, (uint32_t)group))
        return;
    if (process->role)
        sim_group_pause(process, (uint32_t)group, false);
    sim_at(sim, 100 * WEIR_NS_PER_MS, NULL, resume, process, group);
}

static void pause_one(struct sim *sim, struct sim_process *process)
{
    const uint32_t group = roll(sim, 0, sim->group_count - 1);
    if (process->kind != SIM_VENTILATOR || !process->role)
        return;
    process->resumed[group] = false;
    sim_group_pause(process, group, true);
    sim_at(sim, sim_delay(sim, 5 * WEIR_NS_PER_S), NULL, resume, process, group);
}

static void break_one(struct sim *sim, struct sim_process *process)
{
    sim_disturb(process);
    sim_break(&process->links[weir_random_below(&sim->random, process->link_count)]);
}

static void snap(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    struct sim_link *link = arg;
    (void)number;
    if (!process || sim->now_ns >= sim->faults_end_ns)
        return;
    sim_disturb(process);
    sim_break(link);
}

void sim_snap(struct sim_link *link)
{
    struct sim *sim = link->client->sim;
    if (sim->params.snaps && weir_random_below(&sim->random, 16) == 0)
        sim_at(sim, sim_delay(sim, WEIR_NS_PER_MS), link->client, snap, link, 0);
}

/* What cannot be done now, or to this process, is not. */
static void fault(struct sim *sim, struct sim_process *none, void *arg, uint64_t number)
{
    (void)none;
    (void)arg;
    if (sim->over || sim->now_ns >= sim->faults_end_ns || number == 0)
        return;
    struct sim_process *process =
        &sim->processes[weir_random_below(&sim->random, sim->process_count)];
    const struct sim_params *params = &sim->params;
    const bool is_role = process->kind < SIM_PRODUCER && process->role;
    const uint32_t kind = roll(sim, 0, 15);
    if (kind < 4 && params->crashes && is_role)
        sim_crash_awhile(sim, process);
    else if (kind < 6 && params->drains && is_role)
        drain(sim, process);
    else if (kind == 6 && params->jumps)
        clock_jump(sim, process);
    else if (kind == 7 && params->pauses)
        pause_one(sim, process);
    else if (kind == 8 && params->stalls)
        stall(sim, process);
    else if (kind == 9 && params->hostile)
        sim_hostile_act(sim, process);
    else if (kind > 9 && params->breaks && process->link_count > 0)
        break_one(sim, process);
    for (uint32_t i = 0; i < sim->process_count && params->hostile; i++)
        if (sim->processes[i].kind == SIM_VENTILATOR && roll(sim, 0, 1))
            sim_ack_again(sim, &sim->processes[i]);
    sim_at(sim, sim_delay(sim, 800 * WEIR_NS_PER_MS), NULL, fault, NULL, number - 1);
}

/* Who brings a group may come later. */
static void start_or_wait(struct sim *sim, struct sim_process *process)
{
    process->held_down = process->kind == SIM_WORKER && sim->groups[process->group].joins &&
                         sim->params.seconds > 0 && roll(sim, 0, 2) > 0;
    if (process->held_down)
        sim_at(sim, sim_delay(sim, sim->faults_end_ns), NULL, sim_come_back, process, 0);
    else
        sim_start(process);
}

void sim_scenario(struct sim *sim)
{
    weir_random_seed(&sim->random, sim->seed * 1000003u + sim->params.salt);
    if (sim->params.alike)
        sim->params.keys = sim->params.delays = sim->params.lifetimes = sim->params.repeats = 0;
    if (sim->params.stages) /* who forgets what it has taken takes a result twice */
        sim->params.fsync = sim->params.damage = sim->params.window = sim->params.forget = 0;
    groups_make(sim);
    processes_make(sim);
    sim->faults_end_ns = sim->params.seconds * WEIR_NS_PER_S;
    for (uint32_t i = 0; i < sim->process_count; i++)
        start_or_wait(sim, &sim->processes[i]);
    sim_at(sim, sim_delay(sim, WEIR_NS_PER_S), NULL, fault, NULL, sim->params.faults);
    sim_power_scenario(sim);
    sim_groups_scenario(sim);
}

void sim_heal(struct sim *sim)
{
    sim_power_heal(sim);
    for (uint32_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = &sim->processes[i];
        process->held_down = false;
        sim_start(process);
        /* A crash right after the answer takes back what the operator had said. */
        for (uint32_t g = 0; g < sim->group_count && process->kind == SIM_VENTILATOR; g++) {
            process->resumed[g] = false;
            sim_at(sim, WEIR_NS_PER_S, NULL, resume, process, g);
        }
    }
}
