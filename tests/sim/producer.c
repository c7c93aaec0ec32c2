/* A producer on the submit client, and the record of what it sent and what was confirmed. */
#include "sim.h"
#include <stdio.h>
#include <string.h>

#define PAYLOAD_BYTES_MAX 1000

struct sim_producer {
    struct weir_role role;
    struct sim_process *process;
    struct weir_submit *submit;
    uint32_t last_key;
    uint32_t left;            /* messages still to be sent */
    int64_t next_ns, pace_ns; /* two batches are at most so far apart */
};

struct batch_note {
    int64_t delay_ms;
    uint32_t count;
    uint32_t numbers[];
};

struct sim_message *sim_message_of(struct sim *sim, const void *payload, size_t bytes)
{
    char text[PAYLOAD_BYTES_MAX + 1] = "";
    if (bytes == 0 || bytes >= sizeof text)
        return NULL;
    memcpy(text, payload, bytes);
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    return end[strspn(end, " ")] == '\0' && end > text && number < sim->message_count
               ? &sim->messages[number]
               : NULL;
}

void sim_message_place(struct sim *sim, struct sim_message *message, uint64_t sequence)
{
    if (message->again && message->confirmed)
        return; /* the other one of the two */
    if (message->placed && message->sequence != sequence && !message->again)
        sim_fail(sim, SIM_CHECK_IDENTITY, "message %u is sequence %llu and %llu", message->number,
                 (unsigned long long)message->sequence, (unsigned long long)sequence);
    message->placed = true;
    message->sequence = sequence;
}

static struct sim_message *message_new(struct sim *sim, uint32_t stream)
{
    if (sim->message_count == sim->message_capacity) {
        sim->message_capacity = sim->message_capacity ? sim->message_capacity * 2 : 256;
        sim->messages = weir_realloc(sim->messages, sim->message_capacity, sizeof *sim->messages);
    }
    struct sim_message *message = &sim->messages[sim->message_count];
    sim_count(sim, SIM_COUNT_MESSAGES);
    *message = (struct sim_message){.number = sim->message_count++, .stream = stream};
    return message;
}

const char *sim_topic_of(const struct sim_message *message)
{
    if (message->made)
        return SIM_TOPIC_MADE;
    return message->rare ? SIM_TOPIC_RARE : SIM_TOPIC;
}

struct sim_message *sim_made_of(struct sim *sim, uint32_t parent, uint32_t death)
{
    for (uint32_t i = parent; i < sim->message_count; i++) {
        struct sim_message *message = &sim->messages[i];
        if (message->made && message->parent == parent && message->parent_death == death)
            return message;
    }
    struct sim_message *made = message_new(sim, sim->params.ventilators);
    made->made = true;
    made->parent = parent;
    made->parent_death = death;
    made->sender = SIM_PROCESSES_MAX + made->number; /* nobody else sends it */
    memcpy(made->key, sim->messages[parent].key, sizeof made->key);
    /* Whether it was taken shows at its parent, which is owed a result. */
    made->in[sim->params.groups].claim = SIM_PERHAPS;
    return made;
}

/* The message that the stream took under this key, at this sequence (0: the last one before this
 * message); NULL: none is confirmed. */
static struct sim_message *original_of(const struct sim *sim, const struct sim_message *message,
                                       uint64_t sequence)
{
    struct sim_message *original = NULL;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *other = &sim->messages[i];
        if (other == message || !other->confirmed || other->duplicate ||
            other->stream != message->stream || other->idempotency != message->idempotency)
            continue;
        if (sequence ? other->sequence == sequence
                     : other->sequence < message->sequence &&
                           (!original || other->sequence > original->sequence))
            original = other;
    }
    return original;
}

/* How many other keys the stream has taken between them, at least. */
static uint32_t keys_between(const struct sim *sim, const struct sim_message *original,
                             const struct sim_message *message)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct sim_message *other = &sim->messages[i];
        count += other->stream == message->stream && other->idempotency && other->confirmed &&
                 !other->duplicate && !other->unsure && !other->unsynced &&
                 other->sequence > original->sequence && other->sequence < message->sequence;
    }
    return count;
}

/* Its key was remembered too long ago. What a clock that is set makes of that nobody can say. */
static bool is_forgotten(const struct sim *sim, const struct sim_message *original,
                         const struct sim_message *message)
{
    return sim->params.forget && !sim->params.jumps &&
           original->time_ms < message->time_ms - sim->params.forget;
}

static void told_duplicate(struct sim *sim, struct sim_message *message,
                           const struct weir_duplicate *duplicate)
{
    struct weir_id id;
    weir_id_decode(duplicate->id, &id);
    struct sim_message *original =
        message->idempotency ? original_of(sim, message, id.sequence) : NULL;
    message->duplicate = true;
    if (original) /* it is there: this one relies on it */
        original->unsynced = false;
    sim_count(sim, SIM_COUNT_DUPLICATES);
    if (!message->idempotency)
        sim_fail(sim, SIM_CHECK_DUPLICATE, "message %u is called a duplicate, and has no key",
                 message->number);
    else if (!original)
        sim_fail(sim, SIM_CHECK_DUPLICATE,
                 "message %u is called a duplicate of %llu, which does not have its key",
                 message->number, (unsigned long long)id.sequence);
    else if (sim->params.window && !sim->params.damage &&
             keys_between(sim, original, message) >= sim->params.window)
        sim_fail(sim, SIM_CHECK_DUPLICATE,
                 "message %u is called a duplicate of %llu, with %u keys between them, and the "
                 "window has %u",
                 message->number, (unsigned long long)id.sequence,
                 keys_between(sim, original, message), sim->params.window);
    else if (is_forgotten(sim, original, message))
        sim_fail(sim, SIM_CHECK_DUPLICATE,
                 "message %u is called a duplicate of %llu, which is %lld ms older, and a key is "
                 "remembered for %u ms",
                 message->number, (unsigned long long)id.sequence,
                 (long long)(message->time_ms - original->time_ms), sim->params.forget);
}

/* An OK that is said again after a restart names no duplicates. What it does not name may be new
 * all the same, when its key was forgotten: then groups have it. */
static void not_told(struct sim *sim, struct sim_message *message)
{
    const struct sim_message *original = message->idempotency ? original_of(sim, message, 0) : NULL;
    if (!original || message->duplicate || is_forgotten(sim, original, message))
        return;
    if (sim->params.window || original->unsure || original->unsynced ||
        (sim->params.forget && sim->params.jumps))
        message->unsure = true;
    else
        message->duplicate = true;
}

static void submitted(void *self_pointer, const struct weir_submitted *submitted,
                      const struct weir_now *now)
{
    (void)now;
    struct sim_producer *self = self_pointer;
    struct sim *sim = self->process->sim;
    struct batch_note *batch = submitted->arg;
    if (submitted->status != 0) {
        sim_fail(sim, SIM_CHECK_CONDUCT, "%s: a batch was refused: %.*s", self->process->name,
                 (int)submitted->answer->text.bytes, submitted->answer->text.data);
    } else {
        if (submitted->answer->count != batch->count)
            sim_fail(sim, SIM_CHECK_IDENTITY, "%s: OK says %llu messages, sent were %u",
                     self->process->name, (unsigned long long)submitted->answer->count,
                     batch->count);
        for (uint32_t i = 0; i < batch->count; i++) {
            struct sim_message *message = &sim->messages[batch->numbers[i]];
            message->time_ms = submitted->answer->time_ms;
            message->due_ms = message->time_ms + batch->delay_ms;
            sim_message_place(sim, message, submitted->answer->first + i);
            message->confirmed = true;
        }
        const char *durability = weir_fsync_name((enum weir_fsync)sim->params.fsync);
        if (submitted->answer->durability.bytes != strlen(durability) ||
            memcmp(submitted->answer->durability.data, durability, strlen(durability)) != 0)
            sim_fail(sim, SIM_CHECK_STORAGE, "%s: an OK says that it is as durable as %.*s",
                     self->process->name, (int)submitted->answer->durability.bytes,
                     submitted->answer->durability.data);
        for (uint32_t i = 0; i < submitted->answer->duplicate_count; i++) {
            const struct weir_duplicate *duplicate = &submitted->answer->duplicates[i];
            told_duplicate(sim, &sim->messages[batch->numbers[duplicate->index]], duplicate);
        }
        for (uint32_t i = 0; i < batch->count; i++)
            not_told(sim, &sim->messages[batch->numbers[i]]);
        sim_log(sim, self->process->name, "confirmed %u messages from sequence %llu", batch->count,
                (unsigned long long)submitted->answer->first);
    }
    free(batch);
}

/* Mostly a new one, sometimes one of the last twenty, sometimes none. */
static uint32_t key_pick(struct sim_producer *self)
{
    struct sim *sim = self->process->sim;
    const uint32_t base = 10000 * (uint32_t)(self->process - sim->processes); /* its own keys */
    if (sim->params.repeats == 0 || weir_random_below(&sim->random, 4) == 0)
        return 0;
    if (self->last_key > 20 && weir_random_below(&sim->random, 100) < sim->params.repeats)
        return base + self->last_key - (uint32_t)weir_random_below(&sim->random, 20);
    return base + ++self->last_key;
}

static void batch_send(struct sim_producer *self, const struct weir_now *now)
{
    struct sim *sim = self->process->sim;
    struct weir_random *random = &sim->random;
    uint32_t count = sim->params.alike ? 1 : 1 + (uint32_t)weir_random_below(random, 12);
    if (count > self->left)
        count = self->left;
    self->left -= count;
    const bool rare = sim->params.edits && weir_random_below(random, 3) == 0;
    struct weir_batch_header header = {.topic = rare ? SIM_TOPIC_RARE : SIM_TOPIC,
                                       .topic_bytes = sizeof SIM_TOPIC - 1};
    memcpy(header.producer, weir_submit_producer(self->submit), sizeof header.producer);
    if (sim->params.delays && weir_random_below(random, 8) == 0)
        header.delay_ms = 1 + (int64_t)weir_random_below(random, 3000);
    if (sim->params.lifetimes && weir_random_below(random, 10) == 0)
        header.ttl_ms = 1 + (int64_t)weir_random_below(random, 3000);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct batch_note *batch = weir_alloc(sizeof *batch + count * sizeof batch->numbers[0]);
    batch->count = count;
    batch->delay_ms = header.delay_ms;
    for (uint32_t i = 0; i < count; i++) {
        const struct sim_process *ventilator = self->process->links[0].server;
        struct sim_message *message = message_new(sim, ventilator->index);
        message->rare = rare;
        message->sent_epoch = ventilator->epoch;
        sim_groups_claim(sim, message);
        message->sender = (uint32_t)(self->process - sim->processes);
        message->delayed = header.delay_ms > 0;
        message->expires = header.ttl_ms > 0;
        if (sim->params.keys && weir_random_below(random, 3) != 0)
            snprintf(message->key, sizeof message->key, "k%u",
                     (unsigned)weir_random_below(random, 6));
        char payload[PAYLOAD_BYTES_MAX + 1];
        const int width =
            sim->params.alike ? 8 : 1 + (int)weir_random_below(random, sim->params.bytes);
        int bytes = snprintf(payload, sizeof payload, "%-*u", width, message->number);
        struct weir_message_view view = {.payload = (const uint8_t *)payload,
                                         .payload_bytes = (size_t)bytes};
        if (message->key[0] != '\0') {
            view.key = message->key;
            view.key_bytes = (uint32_t)strlen(message->key);
        }
        char key[16];
        message->idempotency = key_pick(self);
        if (message->idempotency) {
            view.idempotency_key = key;
            view.idempotency_key_bytes =
                (uint32_t)snprintf(key, sizeof key, "once-%u", message->idempotency);
        }
        WEIR_ASSERT(weir_batch_builder_add(builder, &view, NULL) == 0);
        batch->numbers[i] = message->number;
    }
    weir_submit_send(self->submit, builder, 0, batch, now);
    weir_batch_builder_destroy(&builder);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct sim_producer *self = (struct sim_producer *)role;
    const struct weir_host *host = &self->process->host;
    if (event->type == WEIR_EVENT_MESSAGE || event->type == WEIR_EVENT_LINK_UP ||
        event->type == WEIR_EVENT_LINK_DOWN)
        weir_submit_event(self->submit, event);
    while (self->left > 0 && event->now.mono_ns >= self->next_ns &&
           weir_submit_room(self->submit)) {
        batch_send(self, &event->now);
        self->next_ns = event->now.mono_ns + sim_delay(self->process->sim, self->pace_ns);
    }
    int64_t wake = weir_submit_tick(self->submit, &event->now);
    if (self->left > 0 && weir_submit_room(self->submit) && self->next_ns < wake)
        wake = self->next_ns;
    host->wake_at(host->self, wake);
}

static void destroy(struct weir_role *role)
{
    struct sim_producer *self = (struct sim_producer *)role;
    weir_submit_destroy(&self->submit);
    self->process->producer = NULL;
    free(self);
}

struct weir_role *sim_producer_new(struct sim_process *process)
{
    struct sim_producer *self = weir_zalloc(1, sizeof *self);
    self->role = (struct weir_role){.step = step, .destroy = destroy};
    self->process = process;
    uint8_t id[WEIR_PRODUCER_BYTES];
    weir_random_fill(&process->sim->random, id, sizeof id);
    static const struct weir_submit_owner owner = {.submitted = submitted};
    struct weir_submit_owner mine = owner;
    mine.self = self;
    self->submit = weir_submit_new(WEIR_PORT_TO, id, WEIR_PRODUCER_WINDOW, &mine, &process->host);
    self->left = process->sim->params.messages;
    self->pace_ns = (INT64_C(30) << weir_random_below(&process->sim->random, 6)) * WEIR_NS_PER_MS;
    process->producer = self;
    return &self->role;
}

bool sim_producers_done(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_producer *producer = sim->processes[i].producer;
        if (producer && (producer->left > 0 || weir_submit_outstanding(producer->submit) > 0))
            return false;
    }
    return true;
}
