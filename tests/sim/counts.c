/* Invariant 12: what a ventilator counts is what was seen from outside. */
#include "sim.h"

void sim_check_answers(struct sim_process *process)
{
    static const char *const names[] = {"busy", "refused", "out_of_order", "malformed"};
    uint64_t values[4] = {0};
    if (process->kind != SIM_VENTILATOR || !sim_intake_numbers(process, names, values, 4))
        return;
    if (values[0] != process->busy_said)
        sim_fail(process->sim, SIM_CHECK_COUNTS, "%s has said BUSY %llu times, and counted %llu",
                 process->name, (unsigned long long)process->busy_said,
                 (unsigned long long)values[0]);
    if (values[1] + values[2] + values[3] != process->refused_said)
        sim_fail(process->sim, SIM_CHECK_COUNTS, "%s has refused %llu times, and counted %llu",
                 process->name, (unsigned long long)process->refused_said,
                 (unsigned long long)(values[1] + values[2] + values[3]));
}

struct seen { /* of a group of one stream, from outside */
    uint64_t runs, damaged, deaths, expired, rejected, replays;
};

static struct seen seen_of(const struct sim *sim, uint32_t stream, uint32_t group)
{
    struct seen seen = {0};
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct sim_message *message = &sim->messages[i];
        if (message->stream != stream || message->duplicate ||
            sim_claim_of(sim, message, group) != SIM_OWED)
            continue;
        seen.runs += 1 + message->in[group].replays;
        seen.damaged += message->damaged; /* they may be missing, which is told of elsewhere */
        seen.deaths += message->in[group].deaths;
        seen.replays += message->in[group].replays;
    }
    for (uint32_t i = 0; i < sim->letter_count; i++) {
        const struct sim_letter *letter = &sim->letters[i];
        if (letter->group != group || sim->messages[letter->message].stream != stream)
            continue;
        seen.expired += letter->reason == WEIR_REASON_EXPIRED;
        seen.rejected += letter->reason == WEIR_REASON_REJECTED;
    }
    return seen;
}

void sim_check_totals(struct sim_process *process)
{
    static const char *const names[] = {"done", "expired", "rejected", "replayed"};
    struct sim *sim = process->sim;
    for (uint32_t g = 0; g < sim->group_count; g++) {
        uint64_t values[4] = {0};
        if (process->kind != SIM_VENTILATOR || !sim_has_group(process, g) || sim_may_lose(sim, g) ||
            !sim_group_countable(sim, process->index, g) ||
            !sim_group_numbers(process, g, names, values, 4))
            continue;
        const struct seen seen = seen_of(sim, process->index, g);
        /* A replay that is said again after its message's tombstone was forgotten counts anew. */
        if (seen.deaths > WEIR_TOMBSTONES_MAX)
            continue;
        const uint64_t expected[4] = {seen.runs - seen.deaths, seen.expired, seen.rejected,
                                      seen.replays};
        for (uint32_t i = 0; i < 4; i++)
            /* Damage may take what is to be done, and a dead letter on its way. */
            if (values[i] > expected[i] + (i == 1 || i == 2 ? seen.damaged : 0) ||
                values[i] + (i == 0 ? seen.damaged : 0) < expected[i])
                sim_fail(sim, SIM_CHECK_COUNTS,
                         "%s counts %llu messages of %s as %s, seen were %llu", process->name,
                         (unsigned long long)values[i], sim->groups[g].policy.name, names[i],
                         (unsigned long long)expected[i]);
    }
}
