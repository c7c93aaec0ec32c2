/* Somebody at the admin port of the ventilators: pauses groups, lets them go on, reads numbers. */
#include "sim.h"
#include <string.h>
#include <wire/control.h>
#include <wire/reader.h>

/* Ask, and give the answer's body; false: it did not answer, or with an error. */
static bool ask(struct sim_process *process, const struct weir_control *request,
                struct weir_bytes *body)
{
    struct weir_frames frames = {0}, answer = {0};
    weir_frames_push(&frames, weir_control_encode(request));
    struct weir_event event = {
        .type = WEIR_EVENT_MESSAGE, .port = WEIR_PORT_ADMIN, .peer = 1, .frames = &frames};
    process->answer = &answer;
    sim_step(process, &event);
    process->answer = NULL;
    weir_frames_drop(&frames);
    struct weir_control control;
    bool good = answer.count == 2 && weir_control_decode(&answer.at[0], &control, NULL) == 0;
    if (good) {
        good = control.verb == WEIR_VERB_ANSWER;
        weir_control_fini(&control);
    }
    *body = good ? weir_bytes_ref(&answer.at[1]) : WEIR_BYTES_NONE;
    weir_frames_drop(&answer);
    return good;
}

static bool ask_stats(struct sim_process *process, struct weir_bytes *body)
{
    const struct weir_control stats = {.verb = WEIR_VERB_STATS};
    return process->role && ask(process, &stats, body);
}

/* Go to the value of this name in the map that is next. */
static bool enter(struct weir_reader *reader, const char *name)
{
    uint32_t pairs, bytes;
    const char *text;
    if (!weir_read_map(reader, &pairs))
        return false;
    for (; pairs > 0; pairs--) {
        if (!weir_read_text(reader, &text, &bytes))
            return false;
        if (bytes == strlen(name) && memcmp(text, name, bytes) == 0)
            return true;
        if (!weir_read_skip(reader))
            return false;
    }
    return false;
}

bool sim_intake_numbers(struct sim_process *process, const char *const *names, uint64_t *values,
                        uint32_t count)
{
    struct weir_bytes body;
    if (!ask_stats(process, &body))
        return false;
    bool good = true;
    for (uint32_t i = 0; i < count && good; i++) {
        struct weir_reader reader = weir_reader_of(body.data, body.size);
        good = enter(&reader, "intake") && enter(&reader, names[i]) &&
               weir_read_u64(&reader, UINT64_MAX, &values[i]);
    }
    weir_bytes_drop(&body);
    return good;
}

bool sim_number(struct sim_process *process, const char *name, uint64_t *value)
{
    struct weir_bytes body;
    if (!ask_stats(process, &body))
        return false;
    struct weir_reader reader = weir_reader_of(body.data, body.size);
    const bool said = enter(&reader, name) && weir_read_u64(&reader, UINT64_MAX, value);
    weir_bytes_drop(&body);
    if (!said)
        sim_fail(process->sim, SIM_CHECK_COUNTS, "%s does not say %s", process->name, name);
    return said;
}

bool sim_group_numbers(struct sim_process *process, uint32_t group, const char *const *names,
                       uint64_t *values, uint32_t count)
{
    struct weir_bytes body;
    if (!ask_stats(process, &body))
        return false;
    bool good = true;
    for (uint32_t i = 0; i < count && good; i++) {
        struct weir_reader reader = weir_reader_of(body.data, body.size);
        good = enter(&reader, "groups") && enter(&reader, process->sim->groups[group].policy.name);
        if (good && !(enter(&reader, names[i]) && weir_read_u64(&reader, UINT64_MAX, &values[i])))
            sim_fail(process->sim, SIM_CHECK_COUNTS, "%s does not say %s of a group", process->name,
                     names[i]);
    }
    weir_bytes_drop(&body);
    return good;
}

/* ---- what is answered later ---- */

enum { OP_PAUSE, OP_RESUME, OP_REMOVE, OPS };
#define FIRST_PEER 16u /* above those that are answered at once */

static void order_give(struct sim_process *process, uint32_t group, uint32_t op)
{
    static const char *const actions[] = {"pause", "resume", "remove"};
    struct weir_control control = {.verb = WEIR_VERB_GROUP};
    WEIR_SET(&control, group, GROUP, weir_text_of(process->sim->groups[group].policy.name));
    WEIR_SET(&control, action, ACTION, weir_text_of(actions[op]));
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(&control));
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                               .port = WEIR_PORT_ADMIN,
                               .peer = FIRST_PEER + group * OPS + op,
                               .frames = &frames};
    sim_step(process, &event);
    weir_frames_drop(&frames);
}

void sim_group_pause(struct sim_process *process, uint32_t group, bool pause)
{
    process->paused[group] = 0;      /* what it does in answer to `resume` is right … */
    process->pausing[group] = pause; /* … also when that overtakes the answer to `pause` */
    order_give(process, group, pause ? OP_PAUSE : OP_RESUME);
}

void sim_group_remove(struct sim_process *process, uint32_t group)
{
    process->paused[group] = 0; /* whoever joins under this name is another */
    process->pausing[group] = false;
    sim_log(process->sim, process->name, "is to remove %s",
            process->sim->groups[group].policy.name);
    sim_group_goes(process, group);
    sim_leases_removed(process, group);
    order_give(process, group, OP_REMOVE);
}

void sim_operator_answered(struct sim_process *process, uint64_t peer,
                           const struct weir_frames *frames)
{
    const uint32_t group = (uint32_t)(peer - FIRST_PEER) / OPS;
    const uint32_t op = (uint32_t)(peer - FIRST_PEER) % OPS;
    static const char *const done[] = {"pauses", "resumes", "removes"};
    struct weir_control control;
    if (peer < FIRST_PEER || group >= process->sim->group_count || frames->count == 0 ||
        weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    const bool good = control.verb == WEIR_VERB_ANSWER;
    weir_control_fini(&control);
    if (!good)
        return;
    sim_log(process->sim, process->name, "%s %s", done[op],
            process->sim->groups[group].policy.name);
    if (op == OP_PAUSE) {
        process->paused[group] = process->pausing[group] ? process->epoch : 0;
        sim_count(process->sim, SIM_COUNT_PAUSES);
    } else if (op == OP_RESUME) {
        process->resumed[group] = true;
    } else {
        sim_group_gone(process, group);
    }
}

/* Whether every group of every ventilator says that it has nothing left to do. */
bool sim_groups_idle(struct sim *sim)
{
    static const char *const names[] = {"waiting", "in-flight", "deferred", "dying"};
    for (uint32_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = &sim->processes[i];
        for (uint32_t g = 0; g < sim->group_count && process->kind == SIM_VENTILATOR; g++) {
            uint64_t values[4] = {0};
            if (!sim_has_group(process, g))
                continue;
            if (!process->role)
                return false;
            if (!sim_group_numbers(process, g, names, values, 4)) { /* it may have been removed */
                if (sim->groups[g].at[process->index].presence == SIM_THERE)
                    return false;
                continue;
            }
            if (values[0] + values[1] + values[2] + values[3] > 0) {
                sim_log(sim, process->name,
                        "%s: waiting %llu, in flight %llu, deferred %llu, dying %llu",
                        sim->groups[g].policy.name, (unsigned long long)values[0],
                        (unsigned long long)values[1], (unsigned long long)values[2],
                        (unsigned long long)values[3]);
                return false;
            }
        }
    }
    return true;
}
