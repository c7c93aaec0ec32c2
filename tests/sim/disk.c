/* The storage of a sink or a collector: keeps each (id, group, death) once, with the producers, and
 * loses on a crash what it had not carried out. */
#include "sim.h"
#include <stdio.h>
#include <string.h>
#include <uthash.h>
#include <wire/batch.h>

#define TURN_NS (2 * WEIR_NS_PER_MS)

struct sim_entry {
    char key[WEIR_ORIGIN_KEY_BYTES];
    UT_hash_handle hh;
};

struct sim_disk {
    struct sim_entry *entries;
    struct weir_producer_row *producers;
    uint32_t producer_count;
    uint64_t next;
    struct weir_store_request *queue;
    uint32_t queued;
    bool ticking;
    uint32_t fails_in; /* so many are kept, and then one is not; 0: it does not fail */
    bool failed;       /* nothing more is kept in this life */
    bool full;
};

struct sim_disk *sim_disk_new(void)
{
    struct sim_disk *self = weir_zalloc(1, sizeof *self);
    self->next = 1;
    return self;
}

static void queue_drop(struct sim_disk *self)
{
    for (uint32_t i = 0; i < self->queued; i++)
        weir_store_request_fini(&self->queue[i]);
    self->queued = 0;
}

void sim_disk_destroy(struct sim_disk **self_pointer)
{
    struct sim_disk *self = *self_pointer;
    if (!self)
        return;
    struct sim_entry *entry, *next;
    HASH_ITER (hh, self->entries, entry, next) {
        HASH_DEL(self->entries, entry);
        free(entry);
    }
    queue_drop(self);
    free(self->queue);
    free(self->producers);
    free(self);
    *self_pointer = NULL;
}

const struct weir_producer_row *sim_disk_producers(const struct sim_disk *self, uint32_t *count)
{
    *count = self->producer_count;
    return self->producers;
}

uint64_t sim_disk_next(const struct sim_disk *self)
{
    return self->next;
}

static void note(struct sim_process *process, const struct weir_message_view *view)
{
    struct sim *sim = process->sim;
    struct sim_message *message = sim_message_of(sim, view->payload, view->payload_bytes);
    uint32_t group = sim_group_of(sim, view->origin.group, view->origin.group_bytes);
    if (!message || group == SIM_GROUPS_MAX) {
        sim_fail(sim, SIM_CHECK_IDENTITY, "%s got a message that nobody sent", process->name);
        return;
    }
    struct weir_id id;
    weir_id_decode(view->origin.id, &id);
    if (sim_claim_of(sim, message, group) == SIM_NOT_ITS)
        sim_fail(sim, SIM_CHECK_IDENTITY, "%s got message %u of %s, whose it is not", process->name,
                 message->number, sim->groups[group].policy.name);
    if (message->confirmed && id.sequence != message->sequence && !message->again)
        sim_fail(sim, SIM_CHECK_IDENTITY, "message %u has sequence %llu, but arrived as %llu",
                 message->number, (unsigned long long)message->sequence,
                 (unsigned long long)id.sequence);
    if (process->kind == SIM_SINK) {
        message->in[group].results++;
        sim_count(sim, SIM_COUNT_RESULTS);
    } else {
        message->in[group].deaths++;
        sim_count(sim, SIM_COUNT_DEATHS);
        sim->letters = weir_realloc(sim->letters, sim->letter_count + 1, sizeof *sim->letters);
        struct sim_letter *letter = &sim->letters[sim->letter_count++];
        *letter = (struct sim_letter){.message = message->number,
                                      .group = group,
                                      .death = view->origin.death,
                                      .attempt = view->origin.attempt,
                                      .reason = view->origin.reason};
        memcpy(letter->id, view->origin.id, sizeof letter->id);
        message->in[group].reason = view->origin.reason;
        message->in[group].dead_attempt = view->origin.attempt;
    }
    if (message->made && message->in[group].results + message->in[group].deaths == 1)
        sim->messages[message->parent].in[0].results++; /* it has come to its end */
    sim_log(sim, process->name, "keeps %u of group %u", message->number, group);
}

static void producer_put(struct sim_disk *self, const struct weir_producer_row *row)
{
    for (uint32_t i = 0; i < self->producer_count; i++) {
        if (memcmp(self->producers[i].id, row->id, sizeof row->id) == 0) {
            self->producers[i] = *row;
            return;
        }
    }
    self->producers = weir_realloc(self->producers, self->producer_count + 1, sizeof *row);
    self->producers[self->producer_count++] = *row;
}

/* A sink knows a result by its sequence alone, so that what it knows is ranges. */
static void origin_key(const struct sim_process *process, const struct weir_origin *origin,
                       char key[WEIR_ORIGIN_KEY_BYTES])
{
    struct weir_id id;
    weir_origin_key(origin, key);
    weir_id_decode(origin->id, &id);
    if (process->kind == SIM_SINK)
        snprintf(key, WEIR_ORIGIN_KEY_BYTES, "%u/%llu/%.*s/%u", id.tag,
                 (unsigned long long)id.sequence, (int)origin->group_bytes, origin->group,
                 origin->death);
}

static uint32_t hold(struct sim_process *process, const struct weir_store_request *request)
{
    struct sim_disk *self = process->disk;
    const struct weir_record *record = &request->record;
    struct weir_batch_header header;
    uint32_t duplicates = 0;
    if (weir_batch_check(&record->header, &record->index, &record->body, &header, NULL) != 0) {
        sim_fail(process->sim, SIM_CHECK_IDENTITY, "%s was given a batch that does not parse",
                 process->name);
        return 0;
    }
    uint32_t width = weir_index_width(header.flags);
    size_t offset = 0;
    for (uint32_t i = 0; i < record->count; i++) {
        uint32_t length = weir_index_length(&record->index, width, i);
        struct weir_message_view view;
        if (weir_message_decode(record->body.data + offset, length, &view, NULL) != 0 ||
            !view.has_origin) {
            sim_fail(process->sim, SIM_CHECK_IDENTITY, "%s was given a message without origin",
                     process->name);
            return duplicates;
        }
        offset += length;
        struct sim_entry *entry = NULL;
        char key[WEIR_ORIGIN_KEY_BYTES];
        origin_key(process, &view.origin, key);
        HASH_FIND_STR(self->entries, key, entry);
        if (entry) {
            duplicates++;
            continue;
        }
        entry = weir_zalloc(1, sizeof *entry);
        snprintf(entry->key, sizeof entry->key, "%s", key);
        HASH_ADD_STR(self->entries, key, entry);
        note(process, &view);
    }
    if (record->first + record->count > self->next)
        self->next = record->first + record->count;
    producer_put(self, &request->producer);
    return duplicates;
}

static struct weir_store_request queue_take(struct sim_disk *self)
{
    struct weir_store_request request = self->queue[0];
    self->queued--;
    memmove(self->queue, self->queue + 1, self->queued * sizeof *self->queue);
    return request;
}

static void tick_soon(struct sim_process *process);

/* The first of those that wait, and its answer. */
static void carry_out(struct sim_process *process)
{
    struct sim_disk *self = process->disk;
    struct weir_store_request request = queue_take(self);
    struct weir_store_result result = {.id = request.id, .kind = request.kind};
    if (!self->full && self->fails_in > 0 && --self->fails_in == 0) {
        self->failed = true;
        if (weir_random_below(&process->sim->random, 2) == 0) /* the next start finds it */
            hold(process, &request);
    }
    if (self->failed)
        result.status = weir_error_set(&result.error, WEIR_EIO, "cannot write: Input/output error");
    else if (self->full)
        result.status = weir_error_set(&result.error, WEIR_EFULL, "the disk is full");
    else
        result.duplicates = hold(process, &request);
    weir_store_request_fini(&request);
    struct weir_event event = {.type = WEIR_EVENT_STORED, .result = &result};
    sim_step(process, &event);
    weir_store_result_fini(&result);
}

static void disk_tick(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)arg;
    (void)number;
    if (!process || process->disk->queued == 0)
        return;
    struct sim_disk *self = process->disk;
    self->ticking = false;
    /* Where there is no room, those that were handed over until then go down together. */
    uint32_t count = self->full ? self->queued : 1;
    while (count-- > 0 && self->queued > 0)
        carry_out(process);
    if (self->failed && !process->stopping)
        sim_fail(sim, SIM_CHECK_STORAGE, "%s goes on although its storage has failed",
                 process->name);
    if (self->failed && !process->said_why)
        sim_fail(sim, SIM_CHECK_STORAGE, "%s ends without a word, its storage has failed",
                 process->name);
    if (self->queued > 0)
        tick_soon(process);
}

static void tick_soon(struct sim_process *process)
{
    struct sim_disk *self = process->disk;
    const int64_t most_ns = process->disk_slow_ns ? process->disk_slow_ns : TURN_NS;
    if (self->ticking)
        return;
    self->ticking = true;
    sim_at(process->sim, sim_delay(process->sim, most_ns), process, disk_tick, NULL, 0);
}

void sim_disk_submit(struct sim_process *process, struct weir_store_request *request)
{
    struct sim_disk *self = process->disk;
    WEIR_ASSERT(request->kind == WEIR_STORE_HOLD);
    self->queue = weir_realloc(self->queue, self->queued + 1, sizeof *self->queue);
    self->queue[self->queued++] = *request;
    *request = (struct weir_store_request){0};
    tick_soon(process);
}

void sim_disk_fail(struct sim_disk *self, uint32_t after)
{
    self->fails_in = after + 1;
}

void sim_disk_fill(struct sim_disk *self, bool full)
{
    self->full = full;
}

void sim_disk_heal(struct sim_disk *self)
{
    self->fails_in = 0;
    self->full = false;
}

bool sim_disk_failed(const struct sim_disk *self)
{
    return self->failed;
}

void sim_disk_crash(struct sim_process *process)
{
    struct sim_disk *self = process->disk;
    uint64_t kept = self->failed ? 0 : weir_random_below(&process->sim->random, 3);
    while (kept-- > 0 && self->queued > 0) {
        struct weir_store_request request = queue_take(self);
        hold(process, &request);
        weir_store_request_fini(&request);
    }
    queue_drop(self);
    self->ticking = false;
    self->failed = false;
}
