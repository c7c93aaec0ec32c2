/* The reactor's side of a producer: when a batch leaves, and what its answer means. */
#include <base/alloc.h>
#include <base/random.h>
#include <client/producer.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_NS (WEIR_PACE_BATCH_MS * WEIR_NS_PER_MS)
#define STEP_NS (WEIR_PACE_BATCH_STEP_MS * WEIR_NS_PER_MS)

/* Latency asks for a batch to leave at once, throughput for large ones. With two on their way the
 * other side always has one to write while the next is gathered. And where messages come closely
 * one after another and nobody waits for one of them, batches are spaced. */
static struct batch *next_to_leave(struct weir_producer *self, int64_t now_ns)
{
    struct batch *batch = TAILQ_FIRST(&self->waiting);
    self->held_until_ns = 0;
    if (!weir_submit_room(self->submit))
        return NULL;
    if (batch != NULL && (batch->full || TAILQ_NEXT(batch, in_line) != NULL))
        return batch;
    if (self->in_flight >= WEIR_PRODUCER_IN_FLIGHT_EAGER)
        return NULL;
    if (batch == NULL || batch->serial > self->hurried)
        self->held_until_ns = weir_pace_hold(&self->pace, batch != NULL ? batch->count : 0,
                                             WINDOW_NS, STEP_NS, now_ns);
    return self->held_until_ns == 0 ? batch : NULL;
}

static void pump(struct weir_producer *self, const struct weir_now *now)
{
    pthread_mutex_lock(&self->mutex);
    self->woken = false;
    for (struct batch *batch; (batch = next_to_leave(self, now->mono_ns)) != NULL;) {
        TAILQ_REMOVE(&self->waiting, batch, in_line);
        weir_pace_leave(&self->pace, batch->count, WINDOW_NS, now->mono_ns);
        self->in_flight++;
        pthread_mutex_unlock(&self->mutex);
        weir_submit_send(self->submit, batch->builder, 0, batch, now);
        weir_batch_builder_destroy(&batch->builder);
        pthread_mutex_lock(&self->mutex);
    }
    const int64_t held_until_ns = self->held_until_ns;
    pthread_mutex_unlock(&self->mutex);
    const int64_t tick_ns = weir_submit_tick(self->submit, now);
    const bool held = held_until_ns != 0 && held_until_ns < tick_ns;
    self->host->wake_at(self->host->self, held ? held_until_ns : tick_ns);
}

static void pump_posted(void *arg)
{
    struct weir_now now = weir_clock_now();
    pump(arg, &now);
}

void weir_producer_wake(struct weir_producer *self)
{
    if (self->woken)
        return;
    self->woken = true;
    weir_reactor_post(self->reactor, pump_posted, self);
}

static void note_accepted(struct batch *batch, const struct weir_control *answer)
{
    batch->first = (struct weir_id){
        .time_ms = answer->time_ms, .tag = (uint16_t)answer->tag, .sequence = answer->first};
    /* A durability that this version does not know is not taken for a promise. */
    batch->durability = WEIR_FSYNC_NEVER;
    for (int mode = WEIR_FSYNC_ALWAYS; mode <= WEIR_FSYNC_NEVER; mode++)
        if (weir_text_is(&answer->durability, weir_fsync_name((enum weir_fsync)mode)))
            batch->durability = (enum weir_fsync)mode;
    if (answer->duplicate_count == 0)
        return;
    batch->duplicates = weir_zalloc(answer->duplicate_count, sizeof *batch->duplicates);
    memcpy(batch->duplicates, answer->duplicates,
           answer->duplicate_count * sizeof *batch->duplicates);
    for (uint32_t i = 0; i < answer->duplicate_count; i++)
        if (batch->duplicates[i].index < batch->count)
            batch->entries[batch->duplicates[i].index].duplicate = i + 1;
}

static void note_refused(const struct weir_producer *self, struct batch *batch,
                         const struct weir_control *answer)
{
    weir_error_set(&batch->error, WEIR_EREFUSED, "%s refused the message (%.*s): %.*s",
                   self->options.endpoint, (int)(answer->code.bytes < 64 ? answer->code.bytes : 64),
                   answer->code.data, (int)(answer->text.bytes < 300 ? answer->text.bytes : 300),
                   answer->text.data);
}

/* Call with the mutex held. */
static void finish_waiters(struct batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct waiter *waiter = batch->entries[i].waiter;
        if (waiter == NULL)
            continue;
        batch->entries[i].waiter = NULL;
        if (waiter->abandoned) {
            free(waiter);
            continue;
        }
        waiter->status = batch->error.code;
        waiter->error = batch->error;
        if (waiter->status == 0)
            weir_producer_receipt(batch, i, &waiter->receipt);
        waiter->done = true;
    }
}

static void on_submitted(void *arg, const struct weir_submitted *submitted,
                         const struct weir_now *now)
{
    (void)now;
    struct weir_producer *self = arg;
    struct batch *batch = submitted->arg;
    if (submitted->status == 0)
        note_accepted(batch, submitted->answer);
    else
        note_refused(self, batch, submitted->answer);

    pthread_mutex_lock(&self->mutex);
    self->in_flight--;
    self->unconfirmed -= batch->count;
    if (batch->error.code != 0 && self->refused.code == 0)
        self->refused = batch->error;
    finish_waiters(batch);
    if (batch->called_back) {
        if (TAILQ_EMPTY(&self->finished)) {
            uint64_t one = 1;
            ssize_t written = write(self->fd, &one, sizeof one);
            WEIR_ASSERT(written == (ssize_t)sizeof one);
        }
        TAILQ_INSERT_TAIL(&self->finished, batch, in_line);
    } else {
        weir_producer_batch_end(self, batch);
    }
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

static void note_link(struct weir_producer *self)
{
    pthread_mutex_lock(&self->mutex);
    self->link = !weir_submit_linked(self->submit) ? WEIR_LINK_DOWN
                 : self->busy                      ? WEIR_LINK_BUSY
                                                   : WEIR_LINK_UP;
    pthread_mutex_unlock(&self->mutex);
}

static void on_busy(void *arg, const struct weir_control *why, const struct weir_now *now)
{
    (void)now;
    struct weir_producer *self = arg;
    pthread_mutex_lock(&self->mutex);
    self->busy = why != NULL;
    if (why && WEIR_HAS(why, TEXT))
        weir_error_set(&self->turned_away, WEIR_EBUSY, "%.*s", (int)why->text.bytes,
                       why->text.data);
    else
        self->turned_away = (struct weir_error){0};
    pthread_mutex_unlock(&self->mutex);
    note_link(self);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct weir_producer *self = (struct weir_producer *)(void *)role;
    switch (event->type) {
    case WEIR_EVENT_MESSAGE:
        weir_submit_event(self->submit, event);
        break;
    case WEIR_EVENT_LINK_UP:
    case WEIR_EVENT_LINK_DOWN:
        weir_submit_event(self->submit, event);
        note_link(self);
        break;
    case WEIR_EVENT_DRAIN:
        self->host->stopped(self->host->self, 0);
        return;
    default:
        break;
    }
    pump(self, &event->now);
}

void weir_producer_role_init(struct weir_producer *self)
{
    uint8_t id[WEIR_PRODUCER_BYTES];
    const struct weir_submit_owner owner = {self, on_submitted, on_busy};
    weir_entropy(id, sizeof id);
    self->role = (struct weir_role){.step = step};
    self->host = weir_reactor_host(self->reactor);
    self->submit = weir_submit_new(WEIR_PORT_TO, id, self->options.window, &owner, self->host);
}

void weir_producer_role_fini(struct weir_producer *self)
{
    weir_submit_destroy(&self->submit);
}
