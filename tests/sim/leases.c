/* Leases, overheard: ventilators give them with DELIVER and keep them alive with the echoes of
 * beats, workers run handlers under them and end them with acks. */
#include "sim.h"
#include <string.h>
#include <uthash.h>
#include <wire/batch.h>
#include <wire/control.h>

struct sim_lease {
    UT_hash_handle hh;
    struct {
        uint64_t incarnation, delivery;
    } name;
    struct sim_process *ventilator;
    int64_t lease_ns, until_ns; /* when it ends, unless another echo leaves before */
    uint32_t count;             /* indexes */
    uint64_t *acked;            /* of each: in which life of its ventilator, last; 0: in none */
};

static struct sim_lease *find(const struct sim *sim, uint64_t incarnation, uint64_t delivery)
{
    const uint64_t name[2] = {incarnation, delivery};
    struct sim_lease *lease;
    HASH_FIND(hh, sim->leases, name, sizeof name, lease);
    return lease;
}

void sim_leases_fini(struct sim *sim)
{
    struct sim_lease *lease, *next;
    HASH_ITER (hh, sim->leases, lease, next) {
        HASH_DEL(sim->leases, lease);
        free(lease->acked);
        free(lease);
    }
    for (uint32_t i = 0; i < sim->process_count; i++) {
        free(sim->processes[i].leases);
        sim->processes[i].leases = NULL;
    }
}

/* ---- what ventilators say ---- */

void sim_lease_given(struct sim_process *process, const struct weir_control *control)
{
    struct sim *sim = process->sim;
    const struct weir_slice_info *last = &control->slices[control->slice_count - 1];
    if (find(sim, control->incarnation, control->delivery))
        sim_fail(sim, SIM_CHECK_ACK, "%s gives two leases one name: %llx, %llu", process->name,
                 (unsigned long long)control->incarnation, (unsigned long long)control->delivery);
    struct sim_lease *lease = weir_zalloc(1, sizeof *lease);
    lease->name.incarnation = control->incarnation;
    lease->name.delivery = control->delivery;
    lease->ventilator = process;
    lease->lease_ns = (int64_t)control->lease_ms * WEIR_NS_PER_MS;
    lease->until_ns = sim->now_ns + lease->lease_ns;
    lease->count = last->index + last->count;
    lease->acked = weir_zalloc(lease->count, sizeof *lease->acked);
    HASH_ADD(hh, sim->leases, name, sizeof lease->name, lease);
}

void sim_lease_echoed(struct sim_process *process, const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->lease_count; i++) {
        struct sim_lease *lease =
            find(process->sim, control->leases[i].incarnation, control->leases[i].delivery);
        if (lease)
            lease->until_ns = process->sim->now_ns + lease->lease_ns;
    }
}

/* ---- what arrives ---- */

/* From now on the worker has these messages under this lease. */
static void held(struct sim_process *process, struct sim_lease *lease,
                 const struct weir_bytes *frames, uint32_t count)
{
    struct sim *sim = process->sim;
    struct weir_batch_header header;
    if (weir_batch_header_decode(&frames[0], &header, NULL) != 0)
        return; /* whoever runs it will say so */
    const uint32_t width = weir_index_width(header.flags);
    size_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t length = weir_index_length(&frames[1], width, i);
        struct weir_message_view view;
        const struct sim_message *message = NULL;
        if (weir_message_decode(frames[2].data + offset, length, &view, NULL) == 0)
            message = sim_message_of(sim, view.payload, view.payload_bytes);
        offset += length;
        if (!message)
            continue;
        if (message->number >= process->lease_count) {
            const uint32_t capacity = sim->message_capacity;
            process->leases = weir_realloc(process->leases, capacity, sizeof(struct sim_lease *));
            memset(&process->leases[process->lease_count], 0,
                   (capacity - process->lease_count) * sizeof(struct sim_lease *));
            process->lease_count = capacity;
        }
        process->leases[message->number] = lease;
    }
}

static void delivered(struct sim_process *process, const struct weir_control *control,
                      const struct weir_frames *frames)
{
    struct sim_lease *lease = find(process->sim, control->incarnation, control->delivery);
    for (uint32_t i = 0; lease && i < control->slice_count && 3 * i + 3 < frames->count; i++)
        held(process, lease, &frames->at[3 * i + 1], control->slices[i].count);
}

/* The second ack of a message under one lease is stale, whatever the first one was. */
static void acked(struct sim_process *process, const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->ack_count; i++) {
        const struct weir_lease_ref *ref = &control->acks[i].lease;
        struct sim_lease *lease = find(process->sim, ref->incarnation, ref->delivery);
        for (uint32_t n = ref->first; lease && n < ref->first + ref->count; n++) {
            if (n >= lease->count)
                continue;
            process->stale_acks += lease->acked[n] == process->epoch;
            lease->acked[n] = process->epoch;
        }
    }
}

void sim_overhear(struct sim_process *to, const struct weir_frames *frames)
{
    struct weir_control control;
    if (!to->role || (to->kind != SIM_WORKER && to->kind != SIM_VENTILATOR) || frames->count == 0 ||
        weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    if (to->kind == SIM_WORKER && control.verb == WEIR_VERB_DELIVER)
        delivered(to, &control, frames);
    if (to->kind == SIM_VENTILATOR && control.verb == WEIR_VERB_ACK)
        acked(to, &control);
    weir_control_fini(&control);
}

/* ---- checks ---- */

void sim_check_lease(struct sim_process *process, const struct sim_message *message)
{
    struct sim *sim = process->sim;
    const struct sim_lease *lease =
        message->number < process->lease_count ? process->leases[message->number] : NULL;
    if (lease && sim->now_ns >= lease->until_ns)
        sim_fail(sim, SIM_CHECK_LEASE_ENDED_START,
                 "%s starts message %u under lease %llx, %llu, which ended %.3f s ago",
                 process->name, message->number, (unsigned long long)lease->name.incarnation,
                 (unsigned long long)lease->name.delivery,
                 (double)(sim->now_ns - lease->until_ns) / 1e9);
}

void sim_check_stale(struct sim_process *process)
{
    uint64_t counted;
    if (process->kind == SIM_VENTILATOR && sim_number(process, "stale_acks", &counted) &&
        counted < process->stale_acks)
        sim_fail(process->sim, SIM_CHECK_COUNTS,
                 "%s has counted %llu stale acks, and %llu came a second time", process->name,
                 (unsigned long long)counted, (unsigned long long)process->stale_acks);
}
