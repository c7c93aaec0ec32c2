/* Leases, overheard: ventilators give them with DELIVER and keep them alive with the echoes of
 * beats, workers run handlers under them and end them with acks. */
#include "sim.h"
#include <string.h>
#include <uthash.h>
#include <wire/batch.h>
#include <wire/control.h>

/* Who was out of reach for less is not taken for lost: what a server waits is a little more. */
#define AWAY_NS (200 * WEIR_NS_PER_MS)
/* A worker remembers a few beats of each way, and these are among them. */
#define BEATS_REMEMBERED 8u

struct sim_lease {
    UT_hash_handle hh;
    struct {
        uint64_t incarnation, delivery;
    } name;
    struct sim_process *ventilator;
    uint64_t epoch; /* of the ventilator's lives */
    int64_t lease_ns, given_ns;
    uint32_t count;  /* indexes */
    uint64_t *acked; /* of each: in which life of its ventilator, last; 0: in none */
    bool *forgotten; /* of each: its ventilator has started without knowing of it */
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
        free(lease->forgotten);
        free(lease);
    }
    for (uint32_t i = 0; i < sim->process_count; i++) {
        free(sim->processes[i].held);
        sim->processes[i].held = NULL;
    }
}

/* ---- the messages of a slice ---- */

struct walk {
    const struct weir_bytes *frames;
    uint32_t width, at;
    size_t offset;
};

static bool walk_init(struct walk *walk, const struct weir_bytes *frames)
{
    struct weir_batch_header header;
    if (weir_batch_header_decode(&frames[0], &header, NULL) != 0)
        return false; /* whoever runs it will say so */
    *walk = (struct walk){.frames = frames, .width = weir_index_width(header.flags)};
    return true;
}

/* The next one; NULL: nobody has sent that. */
static const struct sim_message *walk_next(struct sim *sim, struct walk *walk)
{
    const uint32_t length = weir_index_length(&walk->frames[1], walk->width, walk->at++);
    struct weir_message_view view;
    const struct sim_message *message = NULL;
    if (weir_message_decode(walk->frames[2].data + walk->offset, length, &view, NULL) == 0)
        message = sim_message_of(sim, view.payload, view.payload_bytes);
    walk->offset += length;
    return message;
}

/* ---- what ventilators say ---- */

static void check_given(struct sim_process *process, const struct sim_lease *lease, uint32_t group,
                        const struct sim_message *message, uint64_t sequence);

void sim_lease_given(struct sim_process *process, const struct weir_control *control,
                     const struct weir_frames *frames)
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
    lease->epoch = process->epoch;
    lease->given_ns = sim->now_ns;
    lease->lease_ns = (int64_t)control->lease_ms * WEIR_NS_PER_MS;
    lease->count = last->index + last->count;
    lease->acked = weir_zalloc(lease->count, sizeof *lease->acked);
    lease->forgotten = weir_zalloc(lease->count, sizeof *lease->forgotten);
    HASH_ADD(hh, sim->leases, name, sizeof lease->name, lease);
    const uint32_t group = sim_group_of(sim, control->group.data, control->group.bytes);
    for (uint32_t i = 0; i < control->slice_count && 3 * i + 3 < frames->count; i++) {
        struct walk walk;
        const uint32_t count =
            walk_init(&walk, &frames->at[3 * i + 1]) ? control->slices[i].count : 0;
        for (uint32_t n = 0; n < count; n++)
            check_given(process, lease, group, walk_next(sim, &walk),
                        control->slices[i].sequence + n);
    }
}

void sim_leases_recovered(struct sim_process *process, const struct weir_recovered *recovered)
{
    struct sim_lease *lease, *next;
    HASH_ITER (hh, process->sim->leases, lease, next) {
        if (lease->ventilator != process)
            continue;
        bool *kept = weir_zalloc(lease->count, sizeof *kept);
        for (uint32_t i = 0; i < recovered->leased_count; i++) {
            const struct weir_leased *leased = &recovered->leased[i];
            if (leased->row.incarnation != lease->name.incarnation ||
                leased->row.delivery != lease->name.delivery)
                continue;
            for (uint32_t n = 0; n < leased->count && leased->row.index + n < lease->count; n++)
                kept[leased->row.index + n] = true;
        }
        for (uint32_t i = 0; i < lease->count; i++)
            lease->forgotten[i] = lease->forgotten[i] || !kept[i];
        free(kept);
    }
}

/* ---- what arrives ---- */

/* A message as a worker has it, by the worker's own clock. */
struct sim_held {
    struct sim_lease *lease;
    uint32_t index;
    uint64_t sequence;
    int64_t until_ns;  /* 0: it was said to be lost */
    int64_t sure_ns;   /* until when its ventilator does not take it back for want of beats */
    int64_t before_ns; /* until when it may have it under a lease that came before this one … */
    const struct sim_lease *before; /* … the first of those … */
    uint32_t before_index;
    const struct sim_link *link; /* by which it came; NULL: it is acked … */
    bool done;                   /* … as done, and the worker says so again until it was heard */
    uint64_t named;              /* in which of the beats that are kept, a bit each: it has several
                                  * ways, and the echo that comes may not be that of the last */
    bool lapsed; /* nobody can say whether both sides count it: it was over when it was echoed, the
                  * worker may not have known which beat that answers, or its group was removed */
};

/* It may have it under this lease, too, until then. */
static void held_before(struct sim_held *held, const struct sim_lease *lease, uint32_t index,
                        int64_t until_ns, int64_t now_ns)
{
    if (now_ns >= held->before_ns || lease->given_ns < held->before->given_ns) {
        held->before = lease;
        held->before_index = index;
    }
    held->before_ns = until_ns > held->before_ns ? until_ns : held->before_ns;
}

/* From now on the worker has these messages under this lease. */
static void held(struct sim_process *process, const struct sim_link *link, struct sim_lease *lease,
                 const struct weir_bytes *frames, const struct weir_slice_info *slice)
{
    struct sim *sim = process->sim;
    const int64_t now_ns = sim_now(process).mono_ns, until_ns = now_ns + lease->lease_ns;
    struct walk walk;
    const uint32_t count = walk_init(&walk, frames) ? slice->count : 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_message *message = walk_next(sim, &walk);
        if (!message)
            continue;
        if (message->number >= process->held_count) {
            const uint32_t capacity = sim->message_capacity;
            process->held = weir_realloc(process->held, capacity, sizeof *process->held);
            memset(&process->held[process->held_count], 0,
                   (capacity - process->held_count) * sizeof *process->held);
            process->held_count = capacity;
        }
        struct sim_held *old = &process->held[message->number];
        if (old->lease && old->until_ns != 0 && old->lease->given_ns > lease->given_ns) {
            /* It was long on its way, and is not what the ventilator goes by. */
            held_before(old, lease, slice->index + i, until_ns, now_ns);
            continue;
        }
        if (old->lease)
            held_before(old, old->lease, old->index, old->until_ns, now_ns);
        *old = (struct sim_held){.lease = lease,
                                 .index = slice->index + i,
                                 .sequence = slice->sequence + i,
                                 .link = link,
                                 .before_ns = old->before_ns,
                                 .before = old->before,
                                 .before_index = old->before_index,
                                 .until_ns = until_ns,
                                 .sure_ns = until_ns - (sim->now_ns - lease->given_ns)};
    }
}

static void delivered(struct sim_process *process, const struct sim_link *link,
                      const struct weir_control *control, const struct weir_frames *frames)
{
    struct sim_lease *lease = find(process->sim, control->incarnation, control->delivery);
    for (uint32_t i = 0; lease && i < control->slice_count && 3 * i + 3 < frames->count; i++)
        held(process, link, lease, &frames->at[3 * i + 1], &control->slices[i]);
}

static bool is_in(const struct weir_lease_ref *ref, const struct sim_held *held)
{
    return ref->incarnation == held->lease->name.incarnation &&
           ref->delivery == held->lease->name.delivery && held->index >= ref->first &&
           held->index - ref->first < ref->count;
}

static bool names(const struct weir_control *control, const struct sim_held *held)
{
    for (uint32_t i = 0; i < control->lease_count; i++)
        if (is_in(&control->leases[i], held))
            return true;
    return false;
}

/* A worker beats: its leases will last from now, if the echo says that they live. */
static void beaten(struct sim_process *process, struct sim_link *way,
                   const struct weir_control *control)
{
    const uint32_t slot = process->beat_count++ % SIM_BEATS_KEPT;
    const uint64_t bit = UINT64_C(1) << slot;
    process->beats[slot] = (struct sim_beat){control->serial, sim_now(process).mono_ns, way};
    for (uint32_t i = 0; i < process->held_count; i++) {
        struct sim_held *held = &process->held[i];
        held->named &= ~bit;
        if (held->lease && names(control, held))
            held->named |= bit;
    }
}

void sim_way_ends(struct sim_link *link)
{
    for (uint32_t i = 0; i < SIM_BEATS_KEPT; i++)
        if (link->client->beats[i].way == link)
            link->client->beats[i].way = NULL;
}

/* How many beats went the same way after this one. */
static uint32_t beats_since(const struct sim_process *process, const struct sim_beat *beat)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SIM_BEATS_KEPT; i++)
        count += process->beats[i].way == beat->way && process->beats[i].serial > beat->serial;
    return count;
}

/* A ventilator's echo: of what the beat named, this lives, and nothing else. It may come another
 * way than the beat went, and when that one has ended, the worker does not know of the beat. */
static void echoed(struct sim_process *process, const struct weir_control *control)
{
    const struct sim_beat *beat = NULL;
    uint64_t bit = 0;
    const int64_t now_ns = sim_now(process).mono_ns;
    for (uint32_t i = 0; i < SIM_BEATS_KEPT; i++)
        if (process->beats[i].serial == control->serial) {
            beat = &process->beats[i];
            bit = UINT64_C(1) << i;
        }
    const bool known = beat && beat->way && beats_since(process, beat) < BEATS_REMEMBERED;
    for (uint32_t i = 0; beat && i < process->held_count; i++) {
        struct sim_held *held = &process->held[i];
        if (!held->lease || ((held->lease->name.incarnation ^ control->incarnation) & 0xffff) != 0)
            continue;
        const int64_t until_ns = beat->sent_ns + held->lease->lease_ns;
        if (!names(control, held)) {
            if (held->named & bit && known)
                held->until_ns = 0;
            held->lapsed = held->lapsed || (held->named & bit);
        } else if (beat->way && held->until_ns < until_ns && held->until_ns != 0) {
            held->lapsed = held->lapsed || now_ns >= held->until_ns;
            held->until_ns = until_ns;
            held->sure_ns = until_ns > held->sure_ns ? until_ns : held->sure_ns;
        }
    }
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

/* Who was away for long may have been taken for lost. */
static bool is_long(const struct sim_link *link)
{
    return link->broken_ns && link->client->sim->now_ns - link->broken_ns > AWAY_NS;
}

static void ready(struct sim_link *link)
{
    if (is_long(link))
        link->away_ns = link->client->sim->now_ns;
    link->broken_ns = 0;
}

void sim_overhear(struct sim_process *to, struct sim_link *link, const struct weir_frames *frames)
{
    struct weir_control control;
    if (!to->role || frames->count == 0 || weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    if (to->kind == SIM_VENTILATOR && control.verb == WEIR_VERB_JOIN)
        sim_group_asked(to, &control);
    if (to == link->server && control.verb == WEIR_VERB_READY)
        ready(link);
    if (to->kind == SIM_WORKER && control.verb == WEIR_VERB_DELIVER)
        delivered(to, link, &control, frames);
    if (to == link->server)
        sim_credit_arrives(link, &control);
    else if (control.verb == WEIR_VERB_DELIVER)
        sim_credit_landed(link, &control);
    if (to->kind == SIM_WORKER && control.verb == WEIR_VERB_HEARTBEAT &&
        WEIR_HAS(&control, INCARNATION))
        echoed(to, &control);
    if (to->kind == SIM_VENTILATOR && control.verb == WEIR_VERB_ACK) {
        acked(to, &control);
        sim_ack_note(to, &frames->at[0]);
    }
    weir_control_fini(&control);
}

static struct sim_link *way_of(struct sim_process *process, uint32_t port)
{
    uint32_t i = 0;
    while (process->links[i].client_port != port)
        i++;
    return &process->links[i];
}

/* It keeps each ack until it was heard, but not more of them than it may. */
static void acks(struct sim_process *process, const struct weir_ack *ack)
{
    for (uint32_t i = 0; i < process->held_count; i++) {
        struct sim_held *held = &process->held[i];
        if (!held->link || !is_in(&ack->lease, held))
            continue;
        held->link = NULL;
        held->done = ack->outcome == WEIR_DONE && process->held_count <= WEIR_ACKS_KEPT_MAX;
    }
}

void sim_overhear_worker(struct sim_process *process, uint32_t port,
                         const struct weir_frames *frames)
{
    struct weir_control control;
    if (frames->count == 0 || weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return;
    if (control.verb == WEIR_VERB_HEARTBEAT)
        beaten(process, way_of(process, port), &control);
    for (uint32_t a = 0; control.verb == WEIR_VERB_ACK && a < control.ack_count; a++)
        acks(process, &control.acks[a]);
    if (control.verb == WEIR_VERB_ACK)
        sim_snap(way_of(process, port));
    weir_control_fini(&control);
}

/* ---- checks ---- */

/* Since then, the worker was out of this ventilator's reach for so long, or is, that what it has
 * may count as lost: its connection was broken, or it, or a router, stood still. */
static bool was_away(const struct sim_process *worker, const struct sim_process *ventilator,
                     int64_t since_ns)
{
    const struct sim *sim = worker->sim;
    for (uint32_t i = 0; i < worker->link_count; i++) {
        const struct sim_link *link = &worker->links[i];
        const bool leads = link->client_port >= WEIR_PORT_FROM &&
                           (link->server->kind == SIM_RELAY || link->server == ventilator);
        if (leads && (is_long(link) || link->away_ns >= since_ns))
            return true;
    }
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_process *process = &sim->processes[i];
        if ((process == worker || process->kind == SIM_RELAY) &&
            process->stalled_until_ns >= since_ns)
            return true;
    }
    return false;
}

/* Invariants 6 and 7: what a worker has, or has done and says so, is nobody else's while its lease
 * lives. A ventilator may take it back when it was not heard of for the lease's time, when the
 * worker was away or ends, or when the time for an attempt is over, which only who is stubborn lets
 * come to that; and what it knows may be lost when it ends itself. */
static void check_given(struct sim_process *process, const struct sim_lease *lease, uint32_t group,
                        const struct sim_message *message, uint64_t sequence)
{
    struct sim *sim = process->sim;
    if (!message || group == SIM_GROUPS_MAX || sim->groups[group].at[process->index].removed)
        return;
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_process *worker = &sim->processes[i];
        if (worker->kind != SIM_WORKER || worker->group != group || !worker->role ||
            worker->told_to_stop || worker->stubborn || message->number >= worker->held_count)
            continue;
        const struct sim_held *held = &worker->held[message->number];
        if ((!held->link && !held->done) || held->sequence != sequence || held->until_ns == 0 ||
            held->lease->ventilator != process || held->lease->epoch != process->epoch ||
            held->sure_ns - held->lease->lease_ns / 16 <= sim_now(worker).mono_ns ||
            was_away(worker, process, held->lease->given_ns))
            continue;
        sim_fail(sim,
                 sim->router_died_ns >= held->lease->given_ns ? SIM_CHECK_ROUTER
                                                              : SIM_CHECK_GIVEN_AGAIN,
                 "%s hands out message %u as lease %llx, %llu, and %s %s it under lease %llx, %llu",
                 process->name, message->number, (unsigned long long)lease->name.incarnation,
                 (unsigned long long)lease->name.delivery, worker->name,
                 held->done ? "has done" : "has", (unsigned long long)held->lease->name.incarnation,
                 (unsigned long long)held->lease->name.delivery);
    }
}

void sim_check_lease(struct sim_process *process, const struct sim_message *message)
{
    struct sim *sim = process->sim;
    const struct sim_held *held =
        message->number < process->held_count ? &process->held[message->number] : NULL;
    const int64_t now_ns = sim_now(process).mono_ns;
    if (held && held->lease && now_ns >= held->until_ns && now_ns >= held->before_ns)
        sim_fail(sim, SIM_CHECK_LEASE_ENDED_START,
                 "%s starts message %u under lease %llx, %llu, %s", process->name, message->number,
                 (unsigned long long)held->lease->name.incarnation,
                 (unsigned long long)held->lease->name.delivery,
                 held->until_ns == 0 ? "which was lost" : "which has ended");
}

bool sim_lease_forgotten(const struct sim_process *process, const struct sim_message *message)
{
    const struct sim_held *held =
        message->number < process->held_count ? &process->held[message->number] : NULL;
    return held && held->lease && held->lease->forgotten[held->index];
}

uint32_t sim_holds(const struct sim_process *process)
{
    const int64_t now_ns = sim_now(process).mono_ns;
    uint32_t count = 0;
    for (uint32_t i = 0; i < process->held_count; i++)
        /* A part of a lease that came late lasts no longer than the part that came first. */
        count += process->held[i].link && process->held[i].until_ns != 0 &&
                 process->held[i].sure_ns > now_ns && !process->held[i].lapsed;
    return count;
}

void sim_leases_removed(struct sim_process *process, uint32_t group)
{
    for (uint32_t i = 0; i < process->sim->process_count; i++) {
        struct sim_process *worker = &process->sim->processes[i];
        if (worker->kind != SIM_WORKER || worker->group != group)
            continue;
        for (uint32_t n = 0; n < worker->held_count; n++)
            if (worker->held[n].lease && worker->held[n].lease->ventilator == process)
                worker->held[n].lapsed = true;
    }
}

bool sim_holds_from(const struct sim_process *process, const struct sim_link *link)
{
    const int64_t now_ns = sim_now(process).mono_ns;
    for (uint32_t i = 0; i < process->held_count; i++) {
        const struct sim_held *held = &process->held[i];
        /* near its end the server may have taken it back already, also of what was long on its way
         */
        if (held->link == link && !held->lapsed &&
            held->until_ns > now_ns + held->lease->lease_ns / 4 &&
            process->sim->now_ns - held->lease->given_ns < held->lease->lease_ns / 2)
            return true;
    }
    return false;
}

int64_t sim_held_since(const struct sim_process *process, const struct sim_message *message)
{
    const struct sim_held *held =
        message->number < process->held_count ? &process->held[message->number] : NULL;
    const bool has = held && held->link && held->until_ns > sim_now(process).mono_ns;
    return has ? held->lease->given_ns : -1;
}

int64_t sim_held_before(const struct sim_process *process, const struct sim_message *message)
{
    const struct sim_held *held =
        message->number < process->held_count ? &process->held[message->number] : NULL;
    const bool had =
        held && held->lease && !held->link && held->before_ns > sim_now(process).mono_ns;
    return had && held->before->forgotten[held->before_index] ? held->before->given_ns : -1;
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
