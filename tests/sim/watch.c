/* What ventilators say to workers, overheard: which attempts may have been made. A suspect counts
 * as tried once GO was said, whether or not that came through before its worker was lost: nobody
 * can tell the two apart. */
#include "sim.h"
#include <stdlib.h>
#include <wire/batch.h>
#include <wire/control.h>

struct sim_suspect { /* a message that was delivered alone */
    uint64_t incarnation, delivery;
    uint32_t message, group, attempt;
};

void sim_tried(struct sim_message *message, uint32_t group, uint32_t attempt)
{
    if (attempt > 0 && attempt < 64)
        message->in[group].tried |= UINT64_C(1) << attempt;
}

static void suspect_out(struct sim *sim, const struct weir_control *control,
                        const struct weir_frames *frames)
{
    struct weir_message_view view;
    const uint32_t group = sim_group_of(sim, control->group.data, control->group.bytes);
    const struct sim_message *message = NULL;
    if (control->slice_count == 1 && control->slices[0].count == 1 && frames->count == 4 &&
        group < SIM_GROUPS_MAX &&
        weir_message_decode(frames->at[3].data, frames->at[3].size, &view, NULL) == 0)
        message = sim_message_of(sim, view.payload, view.payload_bytes);
    if (!message) {
        sim_fail(sim, SIM_CHECK_IDENTITY, "a suspect goes out in a way that nobody understands");
        return;
    }
    sim_count(sim, SIM_COUNT_SUSPECTS);
    sim->suspects = weir_realloc(sim->suspects, sim->suspect_count + 1, sizeof *sim->suspects);
    sim->suspects[sim->suspect_count++] =
        (struct sim_suspect){.incarnation = control->incarnation,
                             .delivery = control->delivery,
                             .message = message->number,
                             .group = group,
                             .attempt = control->slices[0].attempt};
}

/* A paused group sends nothing. */
static void check_paused(struct sim_process *process, const struct weir_control *control)
{
    const uint32_t group = sim_group_of(process->sim, control->group.data, control->group.bytes);
    if (group < SIM_GROUPS_MAX && process->paused[group] == process->epoch)
        sim_fail(process->sim, SIM_CHECK_PAUSED, "%s sends messages of %s, which is paused",
                 process->name, process->sim->groups[group].policy.name);
}

static void go_said(struct sim *sim, const struct weir_lease_ref *lease)
{
    for (uint32_t i = 0; i < sim->suspect_count; i++) {
        const struct sim_suspect *suspect = &sim->suspects[i];
        if (suspect->incarnation == lease->incarnation && suspect->delivery == lease->delivery)
            sim_tried(&sim->messages[suspect->message], suspect->group, suspect->attempt);
    }
}

void sim_watch(struct sim_process *process, const struct weir_frames *frames)
{
    struct weir_control control;
    if (process->kind != SIM_VENTILATOR || frames->count == 0 ||
        weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    if (control.verb == WEIR_VERB_DELIVER)
        check_paused(process, &control);
    if (control.verb == WEIR_VERB_JOINED)
        sim_group_joined(process, &control);
    if (control.verb == WEIR_VERB_DELIVER)
        sim_lease_given(process, &control, frames);
    if (control.verb == WEIR_VERB_DELIVER && WEIR_HAS(&control, ALONE) && control.alone)
        suspect_out(process->sim, &control, frames);
    for (uint32_t i = 0; control.verb == WEIR_VERB_GO && i < control.lease_count; i++)
        go_said(process->sim, &control.leases[i]);
    weir_control_fini(&control);
}

void sim_watch_turned_away(struct sim_process *process, const struct weir_frames *frames)
{
    struct weir_control control;
    if (frames->count == 0 || weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    process->busy_said += control.verb == WEIR_VERB_BUSY;
    process->refused_said += control.verb == WEIR_VERB_REFUSED || control.verb == WEIR_VERB_ERROR;
    process->sim->counts[SIM_COUNT_BUSY] += control.verb == WEIR_VERB_BUSY;
    weir_control_fini(&control);
}

void sim_watch_link(struct sim_link *link, const struct weir_frames *frames)
{
    struct weir_control control;
    if (frames->count == 0 || weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    sim_credit_used(link, &control, frames);
    weir_control_fini(&control);
}

/* What holders answer to those who submit. */
void sim_watch_answer(struct sim_process *process, const struct sim_process *to,
                      const struct weir_frames *frames)
{
    struct weir_control control;
    if (frames->count == 0 || weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    if (control.verb == WEIR_VERB_OK)
        sim_groups_opened(process);
    if (control.verb == WEIR_VERB_OK && process->kind == SIM_VENTILATOR && to->kind != SIM_REPLAYER)
        sim_spool_check_ok(process, control.first, control.count);
    if (control.verb == WEIR_VERB_OK && process->disk && sim_disk_failed(process->disk))
        sim_fail(process->sim, SIM_CHECK_STORAGE, "%s says OK after its storage has failed",
                 process->name);
    weir_control_fini(&control);
}
