/* The design's invariants, seen from the outside: what producers were told, what handlers saw, what
 * the sink and the collector keep. */
#include "sim.h"
#include <string.h>

uint32_t sim_group_of(const struct sim *sim, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < sim->group_count; i++) {
        const char *known = sim->groups[i].policy.name;
        if (strlen(known) == bytes && memcmp(known, name, bytes) == 0)
            return i;
    }
    return SIM_GROUPS_MAX;
}

static bool all_tried(const struct sim_message *message, uint32_t group, uint32_t attempts)
{
    const uint64_t all = (UINT64_C(2) << attempts) - 2;
    return (message->in[group].tried & all) == all;
}

/* May it have ended, or be a duplicate, without anybody having seen it? */
static bool unseen(const struct sim *sim, const struct sim_message *message, uint32_t group)
{
    const struct weir_group_policy *policy = &sim->groups[group].policy;
    return message->expires || message->duplicate || message->unsure ||
           (message->idempotency && !message->confirmed) ||
           (policy->max_backlog > 0 && policy->on_full != WEIR_ON_FULL_REFUSE);
}

/* Has the message ended in the group, as far as a handler can tell? */
static bool over(const struct sim *sim, const struct sim_message *message, uint32_t group)
{
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, group);
    uint32_t attempts = sim->groups[group].policy.attempts;
    if (message->in[group].handled || message->in[group].deaths > 0)
        return true;
    if (behaviour == SIM_REJECT)
        return message->in[group].failures > 0;
    return all_tried(message, group, attempts);
}

/* May it be missing, or be there twice? */
static bool is_excused(const struct sim_message *message)
{
    return message->damaged || message->unsynced || message->again;
}

/* As far as it is known: one producer's messages stand in the stream as it numbers them. */
static bool is_ahead(const struct sim_message *one, const struct sim_message *other)
{
    if (one->placed && other->placed)
        return one->sequence < other->sequence;
    return one->sender == other->sender && one->number < other->number;
}

/* Invariant 4: with `order: key` no handler starts a message before the one ahead with that key is
 * done or dead. One producer feeds one stream, so its numbering is the stream's order. */
void sim_check_start(struct sim_process *process, struct sim_message *message,
                     const struct weir_job *job, uint32_t index_in_job)
{
    struct sim *sim = process->sim;
    const uint32_t group = process->group;
    const uint64_t sequence = job->sequence + index_in_job;
    sim_message_place(sim, message, sequence);
    if (strcmp(job->group, sim->groups[group].policy.name) != 0)
        sim_fail(sim, SIM_CHECK_IDENTITY, "a worker of %s was given a message for %s",
                 sim->groups[group].policy.name, job->group);
    if (job->death > 0 && message->in[group].replays == 0)
        sim_fail(sim, SIM_CHECK_DEAD_LETTER_PLACE,
                 "message %u is started in %s as one that came back, and nobody sent it back there",
                 message->number, sim->groups[group].policy.name);
    if (job->death > 0) /* a replayed one goes when it comes */
        return;
    if (sim_claim_of(sim, message, group) == SIM_NOT_ITS)
        sim_fail(sim, SIM_CHECK_IDENTITY, "message %u is started in %s, whose it is not",
                 message->number, sim->groups[group].policy.name);
    /* A worker cannot know at once of a restart that forgot its lease and let the message die. One
     * that did not die goes out once more, under another lease. */
    if (message->in[group].passed && !sim_lease_forgotten(process, message))
        sim_fail(sim, SIM_CHECK_ORDER,
                 "order: in %s message %u (key %s) is started behind one that it was ahead of",
                 sim->groups[group].policy.name, message->number, message->key);
    if (sim->groups[group].policy.order != WEIR_ORDER_KEY || message->key[0] == '\0' ||
        message->again)
        return;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *ahead = &sim->messages[i];
        if (ahead->stream != message->stream || ahead->delayed || message->delayed ||
            !is_ahead(ahead, message) || strcmp(ahead->key, message->key) != 0 ||
            is_excused(ahead) || sim_claim_of(sim, ahead, group) != SIM_OWED ||
            over(sim, ahead, group))
            continue;
        if (unseen(sim, ahead, group)) { /* then it must not be started any more */
            ahead->in[group].passed = true;
            continue;
        }
        sim_fail(sim, SIM_CHECK_ORDER,
                 "order: in %s message %u (key %s) was started before %u was over",
                 sim->groups[group].policy.name, message->number, message->key, ahead->number);
    }
}

bool sim_may_lose(const struct sim *sim, uint32_t group)
{
    const struct weir_group_policy *policy = &sim->groups[group].policy;
    return policy->delivery == WEIR_AT_MOST_ONCE ||
           (policy->max_backlog > 0 && policy->on_full == WEIR_ON_FULL_DROP);
}

/* It may be a duplicate, and nobody has seen it in any group: then it is one. */
static bool is_phantom(const struct sim *sim, const struct sim_message *message)
{
    uint32_t traces = 0;
    for (uint32_t g = 0; g < sim->group_count; g++)
        traces += message->in[g].starts + message->in[g].results + message->in[g].deaths;
    return message->unsure && traces == 0;
}

static bool is_open(const struct sim *sim, const struct sim_message *message, uint32_t group)
{
    /* What was sent back to a group goes with it. */
    const uint32_t replays =
        sim->groups[group].at[message->stream].removed ? 0 : message->in[group].replays;
    return !sim_may_lose(sim, group) && !message->duplicate && !message->damaged &&
           !message->unsynced && sim_claim_of(sim, message, group) == SIM_OWED &&
           !is_phantom(sim, message) &&
           message->in[group].results + message->in[group].deaths <= replays;
}

/* All that was sent has come to its end, and the ventilators say so, too. */
bool sim_settled(struct sim *sim)
{
    if (sim->now_ns < sim->idle_asked_ns + 50 * WEIR_NS_PER_MS)
        return false;
    sim->idle_asked_ns = sim->now_ns;
    if (!sim_producers_done(sim) || !sim_replayers_done(sim) || !sim_groups_joined(sim))
        return false;
    for (uint32_t i = 0; i < sim->message_count; i++)
        for (uint32_t g = 0; g < sim->group_count; g++)
            if (is_open(sim, &sim->messages[i], g))
                return false;
    return sim_groups_idle(sim);
}

static struct sim_process *ventilator_of(struct sim *sim, uint32_t stream)
{
    for (uint32_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = &sim->processes[i];
        if (process->kind == SIM_VENTILATOR && process->index == stream && process->role)
            return process;
    }
    return NULL;
}

/* Of the groups that have anything open. */
static void describe_processes(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->group_count; g++) {
        uint32_t m = 0;
        while (m < sim->message_count && !is_open(sim, &sim->messages[m], g))
            m++;
        for (uint32_t i = 0; i < sim->process_count && m < sim->message_count; i++) {
            struct sim_process *process = &sim->processes[i];
            if (!process->role)
                continue;
            if (process->kind == SIM_VENTILATOR)
                sim_describe_group(sim, process, g);
            else if (process->kind == SIM_RELAY)
                sim_describe_relay(sim, process, sim->groups[g].policy.name);
            else if (process->kind == SIM_WORKER && process->group == g)
                sim_describe_worker(sim, process);
        }
    }
}

void sim_describe_open(struct sim *sim, uint32_t most)
{
    if (sim->trace)
        describe_processes(sim);
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct sim_message *message = &sim->messages[i];
        for (uint32_t g = 0; g < sim->group_count && most > 0; g++) {
            if (!is_open(sim, message, g))
                continue;
            most--;
            sim_log(sim, "open",
                    "message %u, sequence %llu of stream %u, key '%s', group %u, behaviour %d, "
                    "%s%s%u starts",
                    message->number, (unsigned long long)message->sequence, message->stream,
                    message->key, g, (int)sim_behaviour_of(sim, message->number, g),
                    message->confirmed ? "" : "unconfirmed, ", message->delayed ? "delayed, " : "",
                    message->in[g].starts);
            struct sim_process *process = ventilator_of(sim, message->stream);
            if (sim->trace && process)
                sim_describe_message(sim, process, g, message->sequence);
        }
    }
}

/* Invariants 1, 2, 3 and 8 for one message of one group, after all has drained. */
static void check_message(struct sim *sim, const struct sim_message *message, uint32_t group)
{
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, group);
    const struct weir_group_policy *policy = &sim->groups[group].policy;
    uint32_t attempts = policy->attempts;
    uint32_t results = message->in[group].results, deaths = message->in[group].deaths;
    if (message->duplicate) {
        if (message->in[group].starts + results + deaths > 0)
            sim_fail(sim, SIM_CHECK_DUPLICATE,
                     "message %u is a duplicate, and was started %u times", message->number,
                     message->in[group].starts);
        return;
    }
    if (results + deaths == 0 && !message->damaged && !message->unsynced &&
        !sim_may_lose(sim, group) && sim_claim_of(sim, message, group) == SIM_OWED)
        sim_fail(sim, SIM_CHECK_LOST, "message %u (sequence %llu) is lost in group %u",
                 message->number, (unsigned long long)message->sequence, group);
    else if (message->again) /* it may have come to its end twice */
        return;
    else if (is_open(sim, message, group))
        sim_fail(sim, SIM_CHECK_DEAD_LETTER_PLACE,
                 "message %u: %u results, %u deaths in group %u after %u replays: one came to "
                 "nothing",
                 message->number, results, deaths, group, message->in[group].replays);
    else if (results > 1 + message->in[group].replays || deaths > 1 + message->in[group].replays)
        sim_fail(sim, SIM_CHECK_ONCE, "message %u: %u results, %u deaths in group %u",
                 message->number, results, deaths, group);
    else if (results == 1 && !message->in[group].handled)
        sim_fail(sim, SIM_CHECK_IDENTITY, "message %u has a result that no handler gave",
                 message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_REJECTED &&
             behaviour != SIM_REJECT)
        sim_fail(sim, SIM_CHECK_DEAD_WITHOUT_CAUSE,
                 "message %u died rejected, and nobody rejected it", message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_EXPIRED && !message->expires)
        sim_fail(sim, SIM_CHECK_DEAD_WITHOUT_CAUSE, "message %u expired without a time to live",
                 message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_ATTEMPTS &&
             (message->in[group].dead_attempt < attempts || !all_tried(message, group, attempts)))
        sim_fail(sim, SIM_CHECK_DEAD_WITHOUT_CAUSE,
                 "message %u died after attempt %u, of %u, with %u starts; tried were %llx",
                 message->number, message->in[group].dead_attempt, attempts,
                 message->in[group].starts, (unsigned long long)message->in[group].tried);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_BACKLOG &&
             (policy->max_backlog == 0 || policy->on_full != WEIR_ON_FULL_DEAD_LETTER))
        sim_fail(sim, SIM_CHECK_DEAD_WITHOUT_CAUSE,
                 "message %u died of a backlog that is not bounded so", message->number);
    else if (policy->delivery == WEIR_AT_MOST_ONCE && message->in[group].starts > 1)
        sim_fail(sim, SIM_CHECK_AT_MOST_ONCE, "message %u was started %u times, at most once",
                 message->number, message->in[group].starts);
    else if (policy->delivery == WEIR_AT_MOST_ONCE && deaths == 1 &&
             message->in[group].reason != WEIR_REASON_EXPIRED &&
             message->in[group].reason != WEIR_REASON_BACKLOG)
        sim_fail(sim, SIM_CHECK_DEAD_WITHOUT_CAUSE,
                 "message %u was to be delivered at most once, and died", message->number);
    else if (deaths == 1 && results == 1 && message->in[group].reason == WEIR_REASON_REJECTED)
        sim_fail(sim, SIM_CHECK_DEAD_LETTER_PLACE, "message %u is both done and rejected",
                 message->number);
}

/* Invariant 12: what a group dropped is what is missing. */
static void check_dropped(struct sim *sim, uint32_t group)
{
    static const char *const names[] = {"dropped"};
    const struct weir_group_policy *policy = &sim->groups[group].policy;
    uint64_t missing = 0, dropped = 0, phantoms = 0;
    if (!sim_may_lose(sim, group) || policy->delivery == WEIR_AT_MOST_ONCE || sim->params.damage)
        return;
    for (uint32_t stream = 0; stream < sim->params.ventilators; stream++)
        if (!sim_group_countable(sim, stream, group))
            return;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        phantoms += sim->messages[i].unsure && sim->messages[i].duplicate;
        missing += !sim->messages[i].duplicate &&
                   sim_claim_of(sim, &sim->messages[i], group) == SIM_OWED &&
                   sim->messages[i].in[group].results + sim->messages[i].in[group].deaths == 0;
    }
    for (uint32_t i = 0; i < sim->process_count; i++) {
        uint64_t one = 0;
        if (sim->processes[i].kind == SIM_VENTILATOR)
            sim_group_numbers(&sim->processes[i], group, names, &one, 1);
        dropped += one;
    }
    if (missing > dropped || missing + phantoms < dropped) /* those may have been dropped */
        sim_fail(sim, SIM_CHECK_COUNTS,
                 "%s dropped %llu messages by its own count, and %llu are missing", policy->name,
                 (unsigned long long)dropped, (unsigned long long)missing);
}

static void check_process(struct sim_process *process)
{
    sim_check_stale(process);
    sim_check_answers(process);
    sim_check_totals(process);
}

void sim_check_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *message = &sim->messages[i];
        if (is_phantom(sim, message))
            message->duplicate = true;
        else if (message->unsure)
            sim_count(sim, SIM_COUNT_FORGOTTEN);
    }
    for (uint32_t g = 0; g < sim->group_count; g++)
        check_dropped(sim, g);
    for (uint32_t i = 0; i < sim->process_count; i++)
        check_process(&sim->processes[i]);
    for (uint32_t i = 0; i < sim->message_count; i++) {
        if (!sim->messages[i].confirmed && !sim->messages[i].made)
            sim_fail(sim, SIM_CHECK_DRAIN, "message %u was never confirmed", i);
        for (uint32_t g = 0; g < sim->group_count; g++)
            check_message(sim, &sim->messages[i], g);
    }
}

void sim_check_stuck(struct sim *sim)
{
    /* what no ventilator knows of any more does not wait for anything */
    if (sim_producers_done(sim) && sim_replayers_done(sim) && sim_groups_joined(sim) &&
        sim_groups_idle(sim))
        sim_check_end(sim);
    sim_fail(sim, SIM_CHECK_DRAIN, "it did not drain after the faults had ended");
}
