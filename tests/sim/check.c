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

/* Has the message ended in the group, as far as a handler can tell? */
static bool over(const struct sim *sim, const struct sim_message *message, uint32_t group)
{
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, group);
    uint32_t attempts = sim->groups[group].policy.attempts;
    if (message->in[group].handled || message->in[group].deaths > 0 || message->expires)
        return true;
    if (behaviour == SIM_REJECT)
        return message->in[group].failures > 0;
    return message->in[group].starts >= attempts;
}

/* Invariant 4: with `order: key` no handler starts a message before the one ahead with that key is
 * done or dead. One producer feeds one stream, so its numbering is the stream's order. */
void sim_check_start(struct sim *sim, uint32_t group, struct sim_message *message,
                     const struct weir_job *job, uint32_t index_in_job)
{
    uint64_t sequence = job->sequence + index_in_job;
    if (message->confirmed && message->sequence != sequence)
        sim_fail(sim, "message %u is %llu to its producer and %llu to a worker", message->number,
                 (unsigned long long)message->sequence, (unsigned long long)sequence);
    if (strcmp(job->group, sim->groups[group].policy.name) != 0)
        sim_fail(sim, "a worker of %s was given a message for %s", sim->groups[group].policy.name,
                 job->group);
    if (sim->groups[group].policy.order != WEIR_ORDER_KEY || message->key[0] == '\0')
        return;
    for (uint32_t i = 0; i < message->number; i++) {
        const struct sim_message *ahead = &sim->messages[i];
        if (ahead->stream != message->stream || ahead->delayed || message->delayed ||
            strcmp(ahead->key, message->key) != 0 || over(sim, ahead, group))
            continue;
        sim_fail(sim, "order: in %s message %u (key %s) was started before %u was over",
                 sim->groups[group].policy.name, message->number, message->key, ahead->number);
    }
}

bool sim_settled(const struct sim *sim)
{
    if (!sim_producers_done(sim))
        return false;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct sim_message *message = &sim->messages[i];
        for (uint32_t g = 0; g < sim->group_count; g++) {
            if (message->in[g].results + message->in[g].deaths == 0)
                return false;
        }
    }
    return true;
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
        while (m < sim->message_count &&
               sim->messages[m].in[g].results + sim->messages[m].in[g].deaths > 0)
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
            if (message->in[g].results + message->in[g].deaths > 0)
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

static bool all_tried(const struct sim_message *message, uint32_t group, uint32_t attempts)
{
    const uint64_t all = (UINT64_C(2) << attempts) - 2;
    return (message->in[group].tried & all) == all;
}

/* Invariants 1, 2, 3 and 8 for one message of one group, after all has drained. */
static void check_message(struct sim *sim, const struct sim_message *message, uint32_t group)
{
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, group);
    uint32_t attempts = sim->groups[group].policy.attempts;
    uint32_t results = message->in[group].results, deaths = message->in[group].deaths;
    if (results + deaths == 0)
        sim_fail(sim, "message %u (sequence %llu) is lost in group %u", message->number,
                 (unsigned long long)message->sequence, group);
    else if (results > 1 || deaths > 1)
        sim_fail(sim, "message %u: %u results, %u deaths in group %u", message->number, results,
                 deaths, group);
    else if (results == 1 && !message->in[group].handled)
        sim_fail(sim, "message %u has a result that no handler gave", message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_REJECTED &&
             behaviour != SIM_REJECT)
        sim_fail(sim, "message %u died rejected, and nobody rejected it", message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_EXPIRED && !message->expires)
        sim_fail(sim, "message %u expired without a time to live", message->number);
    else if (deaths == 1 && message->in[group].reason == WEIR_REASON_ATTEMPTS &&
             (message->in[group].dead_attempt < attempts || !all_tried(message, group, attempts)))
        sim_fail(sim, "message %u died after attempt %u, of %u, with %u starts; tried were %llx",
                 message->number, message->in[group].dead_attempt, attempts,
                 message->in[group].starts, (unsigned long long)message->in[group].tried);
    else if (deaths == 1 && results == 1 && message->in[group].reason == WEIR_REASON_REJECTED)
        sim_fail(sim, "message %u is both done and rejected", message->number);
}

void sim_check_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->message_count; i++) {
        if (!sim->messages[i].confirmed)
            sim_fail(sim, "message %u was never confirmed", i);
        for (uint32_t g = 0; g < sim->group_count; g++)
            check_message(sim, &sim->messages[i], g);
    }
}
