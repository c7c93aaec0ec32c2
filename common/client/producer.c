/* The callers' side of a producer: messages are encoded on the caller's thread, straight into the
 * batch that is being gathered. */
#include <base/alloc.h>
#include <client/message.h>
#include <client/producer.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- New and destroy ------------------------------------------------------------------------ */

static int options_check(const struct weir_producer_options *options, struct weir_error *error)
{
    if (options->window < 1 || options->window > WEIR_PRODUCER_WINDOW_MAX)
        return weir_error_set(error, WEIR_EINVAL, "a producer's window is 1 … %u batches, not %u",
                              WEIR_PRODUCER_WINDOW_MAX, options->window);
    if (options->batch_messages_max < 1 || options->batch_messages_max > WEIR_BATCH_MESSAGES_MAX)
        return weir_error_set(error, WEIR_EINVAL, "a batch has 1 … %u messages, not %u",
                              WEIR_BATCH_MESSAGES_MAX, options->batch_messages_max);
    if (options->batch_bytes_max < 1 || options->batch_bytes_max > WEIR_BATCH_BYTES_MAX)
        return weir_error_set(error, WEIR_EINVAL, "a batch has 1 … %u bytes, not %u",
                              WEIR_BATCH_BYTES_MAX, options->batch_bytes_max);
    if (options->queue_messages_max < 1 || options->queue_bytes_max < 1)
        return weir_error_set(error, WEIR_EINVAL,
                              "a producer's queue holds at least 1 message and 1 byte");
    if (options->timeout_ms < -1)
        return weir_error_set(error, WEIR_EINVAL,
                              "a timeout is -1 (for ever) or at least 0 ms, not %lld",
                              (long long)options->timeout_ms);
    if (options->when_full != WEIR_WHEN_FULL_BLOCK && options->when_full != WEIR_WHEN_FULL_FAIL)
        return weir_error_set(error, WEIR_EINVAL, "there is no such way as %d when full",
                              (int)options->when_full);
    return 0;
}

static void *reactor_main(void *arg)
{
    struct weir_producer *self = arg;
    weir_reactor_run(self->reactor, &self->role);
    return NULL;
}

/* Signals are the host program's business, on its own threads. */
static int thread_start(pthread_t *thread, void *(*run)(void *), void *arg,
                        struct weir_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0)
        return 0;
    return weir_error_set(error, WEIR_EIO, "cannot start a thread: %s", strerror(status));
}

static void producer_free(struct weir_producer *self)
{
    for (struct batch *batch; (batch = TAILQ_FIRST(&self->all)) != NULL;) {
        for (uint32_t i = 0; i < batch->count; i++)
            free(batch->entries[i].waiter); /* abandoned: nobody is in a call any more */
        weir_producer_batch_end(self, batch);
    }
    weir_producer_role_fini(self);
    weir_reactor_destroy(&self->reactor);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    if (self->fd >= 0)
        close(self->fd);
    free(self->options.endpoint);
    free(self);
}

weir_producer_t *weir_producer_new(const weir_producer_options_t *options, struct weir_error *error)
{
    if (options_check(options, error) != 0)
        return NULL;
    struct weir_producer *self = weir_zalloc(1, sizeof *self);
    pthread_condattr_t monotonic;
    self->options = *options;
    self->options.endpoint = weir_strdup(options->endpoint);
    TAILQ_INIT(&self->all);
    TAILQ_INIT(&self->waiting);
    TAILQ_INIT(&self->finished);
    pthread_mutex_init(&self->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    self->reactor = weir_reactor_new();
    weir_producer_role_init(self);
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->fd < 0) {
        weir_error_set(error, WEIR_EIO, "cannot make an eventfd: %s", strerror(errno));
        goto cleanup;
    }
    if (weir_reactor_connect(self->reactor, WEIR_PORT_TO, options->endpoint, error) != 0)
        goto cleanup;
    if (thread_start(&self->thread, reactor_main, self, error) != 0)
        goto cleanup;
    return self;
cleanup:
    producer_free(self);
    return NULL;
}

void weir_producer_destroy(weir_producer_t **self)
{
    if (self == NULL || *self == NULL)
        return;
    weir_reactor_drain((*self)->reactor);
    pthread_join((*self)->thread, NULL);
    producer_free(*self);
    *self = NULL;
}

/* ---- Batches -------------------------------------------------------------------------------- */

void weir_producer_batch_release(struct weir_producer *self, struct batch *batch)
{
    self->held_messages -= batch->held_messages;
    self->held_bytes -= batch->held_bytes;
    batch->held_messages = 0;
    batch->held_bytes = 0;
}

void weir_producer_batch_end(struct weir_producer *self, struct batch *batch)
{
    weir_producer_batch_release(self, batch);
    TAILQ_REMOVE(&self->all, batch, in_all);
    weir_batch_builder_destroy(&batch->builder);
    free(batch->entries);
    free(batch->duplicates);
    free(batch);
}

static struct batch *batch_new(struct weir_producer *self, const struct weir_message *message)
{
    const struct batch *before = TAILQ_LAST(&self->all, batches);
    struct batch *batch = weir_zalloc(1, sizeof *batch);
    struct weir_batch_header header = {.topic = message->topic.data,
                                       .topic_bytes = (uint32_t)message->topic.bytes,
                                       .delay_ms = message->delay_ms,
                                       .ttl_ms = message->ttl_ms};
    memcpy(header.producer, weir_submit_producer(self->submit), sizeof header.producer);
    batch->builder = weir_batch_builder_new(&header);
    batch->serial = ++self->last_serial;
    batch->topic_bytes = message->topic.bytes;
    memcpy(batch->topic, message->topic.data, message->topic.bytes);
    batch->delay_ms = message->delay_ms;
    batch->ttl_ms = message->ttl_ms;
    if (before != NULL && before->full) { /* a flood: this one is going to be as large */
        weir_batch_builder_expect(batch->builder, before->count, before->held_bytes);
        batch->capacity = before->count;
        batch->entries = weir_realloc(NULL, batch->capacity, sizeof *batch->entries);
    }
    TAILQ_INSERT_TAIL(&self->all, batch, in_all);
    TAILQ_INSERT_TAIL(&self->waiting, batch, in_line);
    return batch;
}

/* The batch that the message may be added to; NULL: it needs a new one. */
static struct batch *batch_open(const struct weir_producer *self,
                                const struct weir_message *message)
{
    struct batch *batch = TAILQ_LAST(&self->waiting, batches);
    if (batch == NULL || batch->full || batch->delay_ms != message->delay_ms ||
        batch->ttl_ms != message->ttl_ms || batch->topic_bytes != message->topic.bytes ||
        memcmp(batch->topic, message->topic.data, batch->topic_bytes) != 0)
        return NULL;
    return batch;
}

static int batch_try(struct weir_producer *self, struct batch *batch,
                     const struct weir_message_view *view, const struct entry *entry,
                     struct weir_error *error)
{
    const struct weir_producer_options *options = &self->options;
    const size_t size_before = weir_batch_builder_size(batch->builder);
    if (batch->count > 0 && size_before + view->payload_bytes > options->batch_bytes_max)
        return WEIR_EFULL;
    int status = weir_batch_builder_add(batch->builder, view, error);
    if (status != 0)
        return status;
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity > 0 ? 2 * batch->capacity : 4;
        batch->entries = weir_realloc(batch->entries, batch->capacity, sizeof *batch->entries);
    }
    const size_t size = weir_batch_builder_size(batch->builder);
    batch->entries[batch->count++] = *entry;
    batch->called_back |= entry->confirm != NULL;
    batch->held_messages++;
    batch->held_bytes += size - size_before;
    batch->full = batch->count >= options->batch_messages_max || size >= options->batch_bytes_max;
    self->held_messages++;
    self->held_bytes += size - size_before;
    self->unconfirmed++;
    return 0;
}

/* Somebody waits for what there is. Call with the mutex held. */
static void hurry(struct weir_producer *self)
{
    self->hurried = self->last_serial;
    if (self->held_until_ns != 0)
        weir_producer_wake(self);
}

/* Add one message to what waits. Call with the mutex held. */
static int batch_add(struct weir_producer *self, const struct weir_message *message,
                     const struct weir_message_view *view, const struct entry *entry,
                     struct weir_error *error)
{
    struct batch *batch = batch_open(self, message);
    int status = batch != NULL ? batch_try(self, batch, view, entry, error) : WEIR_EFULL;
    if (status == WEIR_EFULL) {
        if (batch != NULL)
            batch->full = true;
        batch = batch_new(self, message);
        status = batch_try(self, batch, view, entry, error);
        if (status != 0) {
            TAILQ_REMOVE(&self->waiting, batch, in_line);
            weir_producer_batch_end(self, batch);
        }
    }
    if (status != 0)
        return status;
    if (entry->waiter != NULL)
        hurry(self);
    const bool open = !batch->full && TAILQ_FIRST(&self->waiting) == batch;
    if (!open || (self->in_flight < WEIR_PRODUCER_IN_FLIGHT_EAGER && self->held_until_ns == 0))
        weir_producer_wake(self);
    return 0;
}

void weir_producer_receipt(const struct batch *batch, uint32_t at, struct weir_receipt *receipt)
{
    struct weir_id id = batch->first;
    uint32_t duplicate = batch->entries[at].duplicate;
    id.sequence += at;
    *receipt = (struct weir_receipt){
        .duplicate = duplicate > 0, .durability = batch->durability, .time_ms = id.time_ms};
    if (duplicate > 0)
        weir_id_decode(batch->duplicates[duplicate - 1].id, &id);
    weir_id_encode(&id, receipt->id);
    weir_id_format(&id, receipt->id_text);
}

/* ---- Waiting -------------------------------------------------------------------------------- */

static int64_t deadline_of(int64_t timeout_ms)
{
    int64_t now_ns = weir_clock_now().mono_ns;
    if (timeout_ms < 0 || timeout_ms > (INT64_MAX - now_ns) / WEIR_NS_PER_MS)
        return WEIR_TIME_NEVER;
    return now_ns + timeout_ms * WEIR_NS_PER_MS;
}

/* Until something changed; false: the deadline has passed. Call with the mutex held. */
static bool wait_for_change(struct weir_producer *self, int64_t deadline_ns)
{
    if (deadline_ns == WEIR_TIME_NEVER)
        return pthread_cond_wait(&self->changed, &self->mutex) == 0;
    const struct timespec until = {.tv_sec = deadline_ns / WEIR_NS_PER_S,
                                   .tv_nsec = deadline_ns % WEIR_NS_PER_S};
    return pthread_cond_timedwait(&self->changed, &self->mutex, &until) != ETIMEDOUT;
}

static const char *link_text(enum weir_link link)
{
    switch (link) {
    case WEIR_LINK_DOWN:
        return "there is no connection: is it running, and is this its endpoint?";
    case WEIR_LINK_BUSY:
        return "it answers that it takes nothing now";
    case WEIR_LINK_UP:
        break;
    }
    return "it is connected and has not answered yet";
}

/* Whose callbacks this thread is running. A send from within them never waits for room: what makes
 * room may be the callback itself, or those behind it. */
static _Thread_local const struct weir_producer *dispatching;

/* Run the callbacks of the oldest finished batch; returns how many. Call with the mutex held, which
 * is released meanwhile. */
static uint32_t dispatch_one(struct weir_producer *self)
{
    struct batch *batch = TAILQ_FIRST(&self->finished);
    uint32_t ran = 0;
    TAILQ_REMOVE(&self->finished, batch, in_line);
    if (TAILQ_EMPTY(&self->finished)) {
        uint64_t count;
        ssize_t got = read(self->fd, &count, sizeof count);
        WEIR_ASSERT(got == (ssize_t)sizeof count);
    }
    weir_producer_batch_release(self, batch); /* a callback may send again */
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
    const struct weir_producer *outer = dispatching;
    dispatching = self;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct entry *entry = &batch->entries[i];
        struct weir_receipt receipt;
        if (entry->confirm == NULL)
            continue;
        if (batch->error.code == 0) {
            weir_producer_receipt(batch, i, &receipt);
            entry->confirm(entry->arg, &receipt, NULL);
        } else {
            entry->confirm(entry->arg, NULL, &batch->error);
        }
        ran++;
    }
    dispatching = outer;
    pthread_mutex_lock(&self->mutex);
    weir_producer_batch_end(self, batch);
    pthread_cond_broadcast(&self->changed);
    return ran;
}

/* Wait for room for so many bytes more. Call with the mutex held. */
static int make_room(struct weir_producer *self, uint64_t bytes, bool dispatch, int64_t deadline_ns,
                     struct weir_error *error)
{
    const struct weir_producer_options *options = &self->options;
    hurry(self);
    while (self->held_messages > 0 && (self->held_messages >= options->queue_messages_max ||
                                       self->held_bytes + bytes > options->queue_bytes_max)) {
        if (dispatch && dispatching != self && !TAILQ_EMPTY(&self->finished))
            dispatch_one(self);
        else if (options->when_full == WEIR_WHEN_FULL_FAIL || dispatching == self)
            return weir_error_set(error, WEIR_EFULL,
                                  "the producer for %s is full with %u messages; %s",
                                  options->endpoint, self->held_messages, link_text(self->link));
        else if (!wait_for_change(self, deadline_ns))
            return weir_error_set(error, WEIR_ETIMEDOUT,
                                  "no room for %lld ms in the producer for %s, full with %u "
                                  "messages; %s",
                                  (long long)options->timeout_ms, options->endpoint,
                                  self->held_messages, link_text(self->link));
    }
    return 0;
}

/* ---- What callers see ----------------------------------------------------------------------- */

int weir_producer_send(weir_producer_t *self, const weir_message_t *message,
                       struct weir_receipt *receipt, struct weir_error *error)
{
    struct weir_message_view view;
    int64_t deadline_ns = deadline_of(self->options.timeout_ms);
    int status = weir_message_view_of(message, &view, error);
    if (status != 0)
        return status;
    struct waiter *waiter = weir_zalloc(1, sizeof *waiter);
    const struct entry entry = {.waiter = waiter};
    pthread_mutex_lock(&self->mutex);
    status = make_room(self, view.payload_bytes, false, deadline_ns, error);
    if (status == 0)
        status = batch_add(self, message, &view, &entry, error);
    if (status != 0)
        goto cleanup;
    while (!waiter->done && wait_for_change(self, deadline_ns))
        ;
    if (!waiter->done) {
        waiter->abandoned = true;
        waiter = NULL;
        status = weir_error_set(
            error, WEIR_ETIMEDOUT,
            "no answer from %s for %lld ms; %s. The message may yet be accepted",
            self->options.endpoint, (long long)self->options.timeout_ms, link_text(self->link));
        goto cleanup;
    }
    status = waiter->status;
    if (status != 0 && error != NULL)
        *error = waiter->error;
    if (status == 0 && receipt != NULL)
        *receipt = waiter->receipt;
cleanup:
    pthread_mutex_unlock(&self->mutex);
    free(waiter);
    return status;
}

int weir_producer_send_async(weir_producer_t *self, const weir_message_t *message,
                             weir_confirm_fn *confirm, void *arg, struct weir_error *error)
{
    struct weir_message_view view;
    const struct entry entry = {.confirm = confirm, .arg = arg};
    int status = weir_message_view_of(message, &view, error);
    if (status != 0)
        return status;
    pthread_mutex_lock(&self->mutex);
    if (self->held_messages >= self->options.queue_messages_max ||
        self->held_bytes + view.payload_bytes > self->options.queue_bytes_max)
        status =
            make_room(self, view.payload_bytes, true, deadline_of(self->options.timeout_ms), error);
    if (status == 0)
        status = batch_add(self, message, &view, &entry, error);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

int weir_producer_flush(weir_producer_t *self, int64_t timeout_ms, struct weir_error *error)
{
    int64_t deadline_ns = deadline_of(timeout_ms);
    int status = 0;
    pthread_mutex_lock(&self->mutex);
    uint64_t last = self->last_serial;
    hurry(self);
    for (;;) {
        const struct batch *oldest = TAILQ_FIRST(&self->all);
        if (oldest == NULL || oldest->serial > last)
            break;
        if (!TAILQ_EMPTY(&self->finished)) {
            dispatch_one(self);
        } else if (!wait_for_change(self, deadline_ns)) {
            status = weir_error_set(
                error, WEIR_ETIMEDOUT, "%u messages await their confirmation from %s; %s",
                self->unconfirmed, self->options.endpoint, link_text(self->link));
            break;
        }
    }
    if (status == 0 && self->refused.code != 0) {
        status = self->refused.code;
        if (error != NULL)
            *error = self->refused;
        self->refused.code = 0;
    }
    pthread_mutex_unlock(&self->mutex);
    return status;
}

int weir_producer_fd(const weir_producer_t *self)
{
    return self->fd;
}

uint32_t weir_producer_dispatch(weir_producer_t *self)
{
    uint32_t ran = 0;
    pthread_mutex_lock(&self->mutex);
    /* What the callbacks send may finish meanwhile: that is for the next call. */
    uint64_t last = self->last_serial;
    while (!TAILQ_EMPTY(&self->finished) && TAILQ_FIRST(&self->finished)->serial <= last)
        ran += dispatch_one(self);
    pthread_mutex_unlock(&self->mutex);
    return ran;
}

uint32_t weir_producer_outstanding(const weir_producer_t *self)
{
    struct weir_producer *own = (struct weir_producer *)self;
    pthread_mutex_lock(&own->mutex);
    uint32_t outstanding = own->unconfirmed;
    pthread_mutex_unlock(&own->mutex);
    return outstanding;
}

enum weir_link weir_producer_link(const weir_producer_t *self)
{
    struct weir_producer *own = (struct weir_producer *)self;
    pthread_mutex_lock(&own->mutex);
    enum weir_link link = own->link;
    pthread_mutex_unlock(&own->mutex);
    return link;
}

bool weir_producer_turned_away(const weir_producer_t *self, struct weir_error *why)
{
    struct weir_producer *own = (struct weir_producer *)self;
    pthread_mutex_lock(&own->mutex);
    if (why != NULL)
        *why = own->turned_away;
    bool turned_away = own->turned_away.code != 0;
    pthread_mutex_unlock(&own->mutex);
    return turned_away;
}
