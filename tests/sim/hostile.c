/* Somebody who may connect and should not: frames of real traffic, broken in one way or other, and
 * plain noise, for every port that listens. Each must be answered with an error, and hurt nobody.
 *
 * What still parses is made harmless first, as a peer that speaks the protocol correctly is
 * trusted: names of leases and workers become others, and batches are sent only when they are
 * wrong. Here are also acks that come a second time, changed. */
#include "sim.h"
#include <string.h>
#include <wire/batch.h>
#include <wire/control.h>

#define FRAMES_MOST 8u

void sim_hostile_listen(struct sim *sim, uint32_t port, const struct weir_frames *frames)
{
    struct sim_stolen *stolen = &sim->stolen[sim->stolen_count++ % SIM_STOLEN_MAX];
    weir_frames_drop(&stolen->frames);
    stolen->port = port;
    for (uint32_t i = 0; i < frames->count && i < FRAMES_MOST; i++)
        weir_frames_push(&stolen->frames, weir_bytes_ref(&frames->at[i]));
}

void sim_hostile_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_STOLEN_MAX; i++)
        weir_frames_drop(&sim->stolen[i].frames);
    for (uint32_t i = 0; i < SIM_STOLEN_MAX; i++)
        weir_bytes_drop(&sim->old_acks[i].frame);
}

static uint64_t below(struct sim *sim, uint64_t limit)
{
    return weir_random_below(&sim->random, limit);
}

static void scramble(struct sim *sim, struct weir_lease_ref *leases, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        leases[i].incarnation = weir_random_u64(&sim->random);
}

/* The control frame with nothing in it that fits what is really there; no data: it had no sense. */
static struct weir_bytes harmless(struct sim *sim, const struct weir_bytes *frame)
{
    struct weir_control control;
    if (weir_control_decode(frame, &control, NULL) != 0)
        return WEIR_BYTES_NONE;
    scramble(sim, control.leases, control.lease_count);
    scramble(sim, control.running, control.running_count);
    for (uint32_t i = 0; i < control.ack_count; i++)
        scramble(sim, &control.acks[i].lease, 1);
    control.worker = 1 + weir_random_u64(&sim->random) / 2;
    if (WEIR_HAS(&control, GROUP))
        control.group = weir_text_of("nobody");
    const bool joins = control.verb == WEIR_VERB_JOIN; /* it would be right to */
    struct weir_bytes encoded = joins ? WEIR_BYTES_NONE : weir_control_encode(&control);
    weir_control_fini(&control);
    return encoded;
}

static struct weir_bytes noise(struct sim *sim)
{
    uint8_t bytes[64];
    const size_t count = 1 + below(sim, sizeof bytes);
    weir_random_fill(&sim->random, bytes, count);
    return weir_bytes_copy(bytes, count);
}

/* The same bytes with one thing wrong. */
static struct weir_bytes broken(struct sim *sim, const struct weir_bytes *frame)
{
    if (frame->size == 0 || below(sim, 8) == 0)
        return noise(sim);
    struct weir_bytes copy = weir_bytes_copy(frame->data, frame->size);
    uint8_t *data = (uint8_t *)(uintptr_t)copy.data;
    const uint64_t how = below(sim, 4);
    if (how == 0)
        copy.size = below(sim, frame->size);
    else if (how == 1)
        data[below(sim, frame->size)] ^= (uint8_t)(1u << below(sim, 8));
    else if (how == 2)
        data[below(sim, frame->size)] = 0xff;
    else
        weir_random_fill(&sim->random, data, 1 + below(sim, frame->size));
    return copy;
}

static void frames_make(struct sim *sim, uint32_t port, struct weir_frames *frames)
{
    const struct sim_stolen *stolen = NULL;
    for (uint32_t i = 0; i < 8 && !stolen && sim->stolen_count >= SIM_STOLEN_MAX; i++) {
        stolen = &sim->stolen[below(sim, SIM_STOLEN_MAX)];
        stolen = stolen->port == port ? stolen : NULL;
    }
    struct weir_bytes control = stolen ? harmless(sim, &stolen->frames.at[0]) : WEIR_BYTES_NONE;
    if (!control.data) {
        for (uint64_t i = below(sim, 4) + 1; i > 0; i--)
            weir_frames_push(frames, noise(sim));
        return;
    }
    const uint32_t count = stolen->frames.count, wrong = (uint32_t)below(sim, count + 1);
    weir_frames_push(frames, wrong == 0 ? broken(sim, &control) : weir_bytes_ref(&control));
    weir_bytes_drop(&control);
    for (uint32_t i = 1; i < count; i++)
        weir_frames_push(frames, wrong == i ? broken(sim, &stolen->frames.at[i])
                                            : weir_bytes_ref(&stolen->frames.at[i]));
    if (wrong == count && below(sim, 2) == 0)
        weir_frames_push(frames, noise(sim));
}

/* What is tested here must not be asked here, so this is looked at anew. */
static bool adds_up(const struct weir_batch_header *header, const struct weir_bytes *index,
                    const struct weir_bytes *body)
{
    const uint32_t width = weir_index_width(header->flags);
    uint64_t sum = 0;
    for (size_t at = 0; at < index->size; at += width)
        sum += index->data[at] | (uint32_t)index->data[at + 1] << 8 |
               (uint32_t)index->data[at + 2] << 16 | (uint32_t)index->data[at + 3] << 24;
    return sum == body->size;
}

enum sense { SENSELESS, WRONG_BATCH, RIGHT_BATCH, OTHER };

static enum sense sense_of(const struct weir_frames *frames)
{
    struct weir_control control;
    struct weir_batch_header header;
    if (frames->at[0].size == 0)
        return OTHER; /* a probe: says nothing */
    if (weir_control_decode(&frames->at[0], &control, NULL) != 0)
        return SENSELESS;
    const bool put = control.verb == WEIR_VERB_PUT;
    weir_control_fini(&control);
    if (!put)
        return OTHER;
    return frames->count == 4 &&
                   weir_batch_check(&frames->at[1], &frames->at[2], &frames->at[3], &header,
                                    NULL) == 0 &&
                   adds_up(&header, &frames->at[2], &frames->at[3])
               ? RIGHT_BATCH
               : WRONG_BATCH;
}

static void gone(struct sim *sim, struct sim_process *process, void *arg, uint64_t peer)
{
    (void)sim;
    uint32_t *port = arg;
    struct weir_event event = {.type = WEIR_EVENT_PEER_GONE, .port = *port, .peer = peer};
    if (process)
        sim_step(process, &event);
    free(port);
}

void sim_hostile_act(struct sim *sim, struct sim_process *process)
{
    static const uint32_t ports[] = {WEIR_PORT_SUBMIT, WEIR_PORT_DISPATCH, WEIR_PORT_ADMIN};
    const uint32_t port = ports[below(sim, 3)];
    const bool stores = process->kind == SIM_VENTILATOR || process->disk;
    const bool leases = process->kind == SIM_VENTILATOR || process->kind == SIM_RELAY;
    if (!process->role || process->stopping || process->kind >= SIM_PRODUCER ||
        (port == WEIR_PORT_SUBMIT && !stores) || (port == WEIR_PORT_DISPATCH && !leases))
        return;
    sim->hostile.process = process;
    sim->hostile.peer = ++sim->next_peer;
    for (uint64_t left = 1 + below(sim, 4); left > 0 && process->role; left--) {
        struct weir_frames frames = {0};
        frames_make(sim, port, &frames);
        const enum sense sense = sense_of(&frames);
        struct weir_event event = {
            .type = WEIR_EVENT_MESSAGE, .port = port, .peer = sim->hostile.peer, .frames = &frames};
        sim->hostile.answers = 0;
        if (sense != RIGHT_BATCH) {
            sim_count(sim, SIM_COUNT_HOSTILE);
            sim_step(process, &event);
        }
        /* a ventilator that is not open yet looks at it later */
        const bool open = process->kind != SIM_VENTILATOR || process->opened == process->epoch;
        if ((sense == SENSELESS || sense == WRONG_BATCH) && open && sim->hostile.answers == 0)
            sim_fail(sim, SIM_CHECK_BYTES, "%s has no answer to what makes no sense on port %u",
                     process->name, port);
        weir_frames_drop(&frames);
    }
    uint32_t *arg = weir_alloc(sizeof *arg);
    *arg = port;
    sim_at(sim, sim_delay(sim, WEIR_NS_PER_S), process, gone, arg, sim->hostile.peer);
    sim->hostile.process = NULL;
}

/* ---- acks that come again ---- */

void sim_ack_note(struct sim_process *process, const struct weir_bytes *frame)
{
    struct sim *sim = process->sim;
    struct sim_old_ack *old = &sim->old_acks[sim->old_ack_count++ % SIM_STOLEN_MAX];
    weir_bytes_drop(&old->frame);
    *old = (struct sim_old_ack){process, process->epoch, weir_bytes_ref(frame)};
}

/* Somebody with a session at this process; who is ending may have said BYE already. */
static const struct sim_link *client_of(const struct sim_process *process)
{
    struct sim *sim = process->sim;
    for (uint32_t p = 0; p < sim->process_count; p++)
        for (uint32_t i = 0; i < sim->processes[p].link_count; i++) {
            const struct sim_link *link = &sim->processes[p].links[i];
            if (link->server == process && link->server_port == WEIR_PORT_DISPATCH &&
                link->session && link->peer != 0 && link->client->role && !link->client->stopping)
                return link;
        }
    return NULL;
}

struct numbers {
    uint64_t stale, ended;
};

/* How often something has ended with an ack here, and how many of them were stale. */
static bool numbers_of(struct sim_process *process, struct numbers *numbers)
{
    static const char *const names[] = {"done", "retried", "rejected"};
    *numbers = (struct numbers){0};
    for (uint32_t g = 0; g < process->sim->group_count; g++) {
        uint64_t values[3] = {0};
        if (sim_has_group(process, g) && !sim_group_numbers(process, g, names, values, 3))
            return false;
        numbers->ended += values[0] + values[1] + values[2];
    }
    return sim_number(process, "stale_acks", &numbers->stale);
}

/* One that this ventilator has taken already, with other outcomes, or another delivery. */
void sim_ack_again(struct sim *sim, struct sim_process *process)
{
    const struct sim_old_ack *old = &sim->old_acks[below(sim, SIM_STOLEN_MAX)];
    const struct sim_link *link = client_of(process);
    struct weir_control control;
    struct numbers before, after;
    if (!process->role || process->stopping || old->process != process ||
        old->epoch != process->epoch || !link ||
        !numbers_of(process, &before) || /* a turn for its timers, which are due as well */
        !numbers_of(process, &before) || weir_control_decode(&old->frame, &control, NULL) != 0)
        return;
    const bool forged = below(sim, 3) == 0;
    uint64_t count = 0;
    for (uint32_t i = 0; i < control.ack_count; i++) {
        count += control.acks[i].lease.count;
        control.acks[i].outcome = (uint32_t)below(sim, WEIR_UNAVAILABLE + 1);
        control.acks[i].lease.delivery += forged ? UINT64_C(1) << 40 : 0;
    }
    struct weir_frames frames = {0};
    control.has &= ~(UINT64_C(1) << WEIR_FIELD_WORKER | UINT64_C(1) << WEIR_FIELD_NAME);
    if (link->client->kind == SIM_RELAY) { /* it has to name one */
        WEIR_SET(&control, worker, WORKER, 1);
        WEIR_SET(&control, name, NAME, weir_text_of("nobody"));
    }
    weir_frames_push(&frames, weir_control_encode(&control));
    weir_control_fini(&control);
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                               .port = WEIR_PORT_DISPATCH,
                               .peer = link->peer,
                               .frames = &frames};
    sim_step(process, &event);
    weir_frames_drop(&frames);
    sim_count(sim, SIM_COUNT_STALE);
    if (!numbers_of(process, &after))
        return;
    process->stale_acks += forged ? 0 : count;
    if (after.ended != before.ended)
        sim_fail(sim, SIM_CHECK_ACK, "%s takes %llu messages for ended by a stale ack",
                 process->name, (unsigned long long)(after.ended - before.ended));
    if (after.stale != before.stale + count)
        sim_fail(sim, SIM_CHECK_ACK, "%s counts %llu stale acks more after %llu of them",
                 process->name, (unsigned long long)(after.stale - before.stale),
                 (unsigned long long)count);
}
