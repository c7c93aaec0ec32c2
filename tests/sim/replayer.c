/* Somebody who sends dead letters back to the ventilator of their stream; some of them twice. */
#include "sim.h"
#include <stdio.h>
#include <string.h>

#define DEATHS_MAX 2 /* replayed at most so often: what always fails must come to an end */
#define QUIET_AFTER_NS (5 * WEIR_NS_PER_S)

struct sim_replayer {
    struct weir_role role;
    struct sim_process *process;
    struct weir_submit *submit;
    int64_t next_ns;
};

/* With a group that is removed goes what died in it. */
static bool is_removed(const struct sim_replayer *self, uint32_t group)
{
    const struct sim_process *ventilator = self->process->links[0].server;
    return self->process->sim->groups[group].at[ventilator->index].removed;
}

static void submitted(void *self_pointer, const struct weir_submitted *submitted,
                      const struct weir_now *now)
{
    struct sim_replayer *self = self_pointer;
    (void)now;
    const struct sim_letter *letter = &self->process->sim->letters[(uintptr_t)submitted->arg];
    const struct sim_message *message = &self->process->sim->messages[letter->message];
    if (submitted->status != 0 && !is_removed(self, letter->group) && !message->unsynced &&
        !message->again)
        sim_fail(self->process->sim, SIM_CHECK_CONDUCT, "%s: a replay was refused: %.*s",
                 self->process->name, (int)submitted->answer->text.bytes,
                 submitted->answer->text.data);
}

/* A letter of this stream that may go back: one that did not, or, when `again`, one that did. */
static struct sim_letter *pick(struct sim_replayer *self, bool again)
{
    struct sim *sim = self->process->sim;
    struct sim_letter *picked = NULL;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < sim->letter_count; i++) {
        struct sim_letter *letter = &sim->letters[i];
        if (sim->messages[letter->message].stream != self->process->links[0].server->index ||
            letter->death > DEATHS_MAX || letter->replayed != again ||
            sim_may_lose(sim, letter->group) || is_removed(self, letter->group))
            continue;
        if (weir_random_below(&sim->random, ++seen) == 0)
            picked = letter;
    }
    return picked;
}

static void replay(struct sim_replayer *self, struct sim_letter *letter, const struct weir_now *now)
{
    struct sim *sim = self->process->sim;
    const char *group = sim->groups[letter->group].policy.name;
    struct weir_batch_header header = {.topic = sim_topic_of(&sim->messages[letter->message]),
                                       .topic_bytes = sizeof SIM_TOPIC - 1};
    memcpy(header.producer, weir_submit_producer(self->submit), sizeof header.producer);
    char payload[16];
    struct weir_message_view view = {
        .payload = (const uint8_t *)payload,
        .payload_bytes = (size_t)snprintf(payload, sizeof payload, "%u", letter->message),
        .has_origin = true,
        .origin = {.topic = header.topic,
                   .topic_bytes = header.topic_bytes,
                   .group = group,
                   .group_bytes = (uint32_t)strlen(group),
                   .death = letter->death,
                   .attempt = letter->attempt,
                   .reason = letter->reason}};
    memcpy(view.origin.id, letter->id, sizeof letter->id);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    WEIR_ASSERT(weir_batch_builder_add(builder, &view, NULL) == 0);
    sim_log(sim, self->process->name, "replays %u of group %u, death %u%s", letter->message,
            letter->group, letter->death, letter->replayed ? ", again" : "");
    if (!letter->replayed)
        sim->messages[letter->message].in[letter->group].replays++;
    letter->replayed = true;
    sim_count(sim, SIM_COUNT_REPLAYS);
    weir_submit_send(self->submit, builder, WEIR_BATCH_REPLAY,
                     (void *)(uintptr_t)(letter - sim->letters), now);
    weir_batch_builder_destroy(&builder);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct sim_replayer *self = (struct sim_replayer *)role;
    struct sim *sim = self->process->sim;
    const struct weir_host *host = &self->process->host;
    if (event->type == WEIR_EVENT_MESSAGE || event->type == WEIR_EVENT_LINK_UP ||
        event->type == WEIR_EVENT_LINK_DOWN)
        weir_submit_event(self->submit, event);
    const bool goes_on = sim->now_ns < sim->faults_end_ns + QUIET_AFTER_NS;
    if (goes_on && event->now.mono_ns >= self->next_ns && weir_submit_room(self->submit)) {
        struct sim_letter *letter = pick(self, weir_random_below(&sim->random, 4) == 0);
        if (letter)
            replay(self, letter, &event->now);
        self->next_ns = event->now.mono_ns + sim_delay(sim, WEIR_NS_PER_S);
    }
    int64_t wake = weir_submit_tick(self->submit, &event->now);
    if (goes_on && weir_submit_room(self->submit) && self->next_ns < wake)
        wake = self->next_ns;
    host->wake_at(host->self, wake);
}

static void destroy(struct weir_role *role)
{
    struct sim_replayer *self = (struct sim_replayer *)role;
    weir_submit_destroy(&self->submit);
    self->process->replayer = NULL;
    free(self);
}

struct weir_role *sim_replayer_new(struct sim_process *process)
{
    struct sim_replayer *self = weir_zalloc(1, sizeof *self);
    self->role = (struct weir_role){.step = step, .destroy = destroy};
    self->process = process;
    uint8_t id[WEIR_PRODUCER_BYTES];
    weir_random_fill(&process->sim->random, id, sizeof id);
    const struct weir_submit_owner owner = {.self = self, .submitted = submitted};
    self->submit = weir_submit_new(WEIR_PORT_TO, id, WEIR_PRODUCER_WINDOW, &owner, &process->host);
    process->replayer = self;
    return &self->role;
}

bool sim_replayers_done(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_replayer *replayer = sim->processes[i].replayer;
        if (replayer && (sim->now_ns < sim->faults_end_ns + QUIET_AFTER_NS ||
                         weir_submit_outstanding(replayer->submit) > 0))
            return false;
    }
    return true;
}
