/* A job runs on one thread; the reactor learns of it through `poll`. What a thread has to tell is
 * told at once when a job ends or a handler asks for more time; what merely goes on (a message was
 * started, some have ended) is told together, a few milliseconds later, so that handlers that take
 * microseconds are not slowed by news of each message. For the same reason a thread notes how far
 * it is in two counts, takes a lock only where there is more to say than `done`, and reads the
 * clock's last tick. */
#include <base/alloc.h>
#include <base/clock.h>
#include <base/heap.h>
#include <client/executor.h>
#include <client/job.h>
#include <core/job_lease.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEWS_DELAY_NS (10 * WEIR_NS_PER_MS)
/* After so long a job gives back what it has not started, if another thread has nothing to do. */
#define SHARE_AFTER_NS (10 * WEIR_NS_PER_MS)

struct executor;

struct slot { /* a thread and its job */
    struct executor *executor;
    pthread_t thread;
    struct weir_job_handle handle;
    struct weir_job job; /* set while `job.id` is not 0, by the thread; cleared by poll */

    /* Messages of the job that were started, and that have ended: at most one less. Only the thread
     * writes them, so neither needs a lock. */
    atomic_uint started, finished;

    pthread_mutex_t mutex; /* guards what follows */
    uint64_t job_id;
    struct weir_job_outcome *outcomes; /* that are more than `done`; of the untold, in order */
    uint32_t outcome_count, outcome_capacity;
    uint32_t told_started, told_finished;
    uint32_t extend; /* the started-th message asks for more time; 0: none does */
    bool ended;
    bool news; /* to be told with the next poll */
};

struct queued {
    struct weir_job job;
    bool killed;
};

struct executor {
    struct weir_executor executor; /* first */
    weir_handler_fn *handler;
    void *arg;
    int epoll_fd, event_fd, timer_fd;
    _Atomic int64_t
        timer_ns; /* when the timer fires, and what goes on is told; 0: it is not armed */
    atomic_bool draining;
    atomic_uint idle;   /* threads that wait for a job */
    uint32_t next_slot; /* of poll: the reactor's thread alone */

    pthread_mutex_t mutex; /* guards what follows, and every slot's job.id */
    pthread_cond_t work;
    bool ending;
    struct queued *queue; /* as many as there are slots at most */
    uint32_t queue_count;
    uint32_t slot_count;
    struct slot slots[];
};

/* ---- Telling the reactor -------------------------------------------------------------------- */

static void tell_now(struct executor *self)
{
    uint64_t one = 1;
    ssize_t written = write(self->event_fd, &one, sizeof one);
    WEIR_ASSERT(written == (ssize_t)sizeof one || errno == EAGAIN);
}

/* After `started` was raised. Either this sees that the timer is not armed, or whoever takes the
 * timer sees the message: neither order of the two can hide it. */
static void tell_soon(struct executor *self, int64_t tick_ns)
{
    int64_t unarmed = 0;
    if (atomic_load(&self->timer_ns) != 0 ||
        !atomic_compare_exchange_strong(&self->timer_ns, &unarmed, tick_ns + NEWS_DELAY_NS))
        return;
    const struct itimerspec once = {.it_value = {.tv_nsec = NEWS_DELAY_NS}};
    int status = timerfd_settime(self->timer_fd, 0, &once, NULL);
    WEIR_ASSERT(status == 0);
}

static void on_extend(struct weir_job_handle *handle)
{
    struct slot *slot = WEIR_CONTAINER_OF(handle, struct slot, handle);
    pthread_mutex_lock(&slot->mutex);
    slot->extend = atomic_load_explicit(&slot->started, memory_order_relaxed);
    slot->news = true;
    pthread_mutex_unlock(&slot->mutex);
    tell_now(slot->executor);
}

/* ---- Running -------------------------------------------------------------------------------- */

static bool joins(const struct weir_job_outcome *last, const struct weir_job_outcome *next)
{
    return last->outcome == next->outcome && last->delay_ms == next->delay_ms &&
           last->first + last->count == next->first && last->error.size == 0 &&
           next->error.size == 0 && last->result.block == NULL && next->result.block == NULL;
}

static bool plain(const struct weir_job_outcome *outcome)
{
    return outcome->outcome == WEIR_DONE && outcome->error.size == 0 &&
           outcome->result.block == NULL && outcome->result.data == NULL;
}

static void outcome_append(struct slot *slot, const struct weir_job_outcome *outcome)
{
    struct weir_job_outcome *last =
        slot->outcome_count > 0 ? &slot->outcomes[slot->outcome_count - 1] : NULL;
    if (last != NULL && joins(last, outcome)) {
        last->count += outcome->count;
        return;
    }
    if (slot->outcome_count == slot->outcome_capacity) {
        slot->outcome_capacity = slot->outcome_capacity > 0 ? 2 * slot->outcome_capacity : 4;
        slot->outcomes =
            weir_realloc(slot->outcomes, slot->outcome_capacity, sizeof *slot->outcomes);
    }
    slot->outcomes[slot->outcome_count++] = *outcome;
}

static void note_outcome(struct slot *slot, const struct weir_job_outcome *outcome)
{
    if (plain(outcome)) {
        atomic_store_explicit(&slot->finished, outcome->first + 1, memory_order_release);
        return;
    }
    pthread_mutex_lock(&slot->mutex);
    outcome_append(slot, outcome);
    atomic_store_explicit(&slot->finished, outcome->first + 1, memory_order_release);
    pthread_mutex_unlock(&slot->mutex);
}

static void note_running(struct slot *slot, uint32_t at, int64_t tick_ns)
{
    atomic_store(&slot->started, at + 1);
    tell_soon(slot->executor, tick_ns);
}

/* `tick_ns` may be a little behind the time, and no message is started after its lease. */
static bool may_start(const struct slot *slot, int64_t tick_ns)
{
    int64_t deadline_ns =
        slot->job.lease != NULL ? weir_job_lease_deadline(slot->job.lease) : slot->job.deadline_ns;
    return tick_ns < deadline_ns - WEIR_CLOCK_TICK_NS && !atomic_load(&slot->handle.cancelled) &&
           !atomic_load(&slot->executor->draining);
}

static void handle_one(struct slot *slot, uint32_t at, const struct weir_bytes *body,
                       int64_t tick_ns, struct weir_job_outcome *outcome)
{
    struct weir_error error; /* half a KiB, which is not cleared for each message */
    /* The whole of its time, and a tick more at most. */
    if (weir_job_handle_begin(&slot->handle, at, body, tick_ns + WEIR_CLOCK_TICK_NS, &error) != 0)
        *outcome = weir_job_handle_reject(at, &error);
    else
        weir_job_handle_end(&slot->handle,
                            slot->executor->handler(&slot->handle, slot->executor->arg), outcome);
}

static void run_job(struct slot *slot)
{
    const struct weir_job *job = &slot->job;
    const uint32_t width = (uint32_t)(job->index.size / job->count);
    size_t offset = 0;
    int64_t begun_ns = 0;
    pthread_mutex_lock(&slot->mutex);
    slot->job_id = job->id;
    slot->told_started = slot->told_finished = slot->extend = 0;
    atomic_store(&slot->finished, 0);
    atomic_store(&slot->started, 0);
    pthread_mutex_unlock(&slot->mutex);
    weir_job_handle_init(&slot->handle, job, on_extend);
    for (uint32_t at = 0; at < job->count; at++) {
        const int64_t tick_ns = weir_clock_tick_ns();
        const size_t length = weir_index_length(&job->index, width, at);
        const struct weir_bytes body = weir_bytes_borrow(job->body.data + offset, length);
        if (!may_start(slot, tick_ns))
            break;
        if (at == 0)
            begun_ns = tick_ns;
        else if (tick_ns - begun_ns > SHARE_AFTER_NS && atomic_load(&slot->executor->idle) > 0)
            break;
        note_running(slot, at, tick_ns);
        struct weir_job_outcome outcome;
        handle_one(slot, at, &body, tick_ns, &outcome);
        note_outcome(slot, &outcome);
        if (job->ordered && outcome.outcome != WEIR_DONE)
            break;
        offset += length;
    }
    pthread_mutex_lock(&slot->mutex);
    slot->ended = slot->news = true;
    pthread_mutex_unlock(&slot->mutex);
    tell_now(slot->executor);
}

static void *slot_main(void *arg)
{
    struct slot *slot = arg;
    struct executor *self = slot->executor;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (!self->ending && (self->queue_count == 0 || slot->job.id != 0)) {
            const bool idle = slot->job.id == 0;
            atomic_fetch_add(&self->idle, idle);
            pthread_cond_wait(&self->work, &self->mutex);
            atomic_fetch_sub(&self->idle, idle);
        }
        if (self->ending)
            break;
        slot->job = self->queue[0].job;
        atomic_store(&slot->handle.cancelled, self->queue[0].killed);
        self->queue_count--;
        memmove(&self->queue[0], &self->queue[1], self->queue_count * sizeof *self->queue);
        pthread_mutex_unlock(&self->mutex);
        run_job(slot);
        pthread_mutex_lock(&self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

/* ---- The reactor's side --------------------------------------------------------------------- */

static void executor_run(struct weir_executor *executor, struct weir_job *job)
{
    struct executor *self = (struct executor *)executor;
    WEIR_ASSERT(job->count > 0 && job->index.size % job->count == 0);
    pthread_mutex_lock(&self->mutex);
    WEIR_ASSERT(self->queue_count < self->slot_count);
    self->queue[self->queue_count++] = (struct queued){.job = *job};
    pthread_mutex_unlock(&self->mutex);
    /* All of them: the thread that is woken may be one whose last job has not been told yet. And
     * after the mutex, or they would wake to wait for it. */
    pthread_cond_broadcast(&self->work);
    *job = (struct weir_job){0};
}

static void executor_kill(struct weir_executor *executor, uint64_t job)
{
    struct executor *self = (struct executor *)executor;
    pthread_mutex_lock(&self->mutex);
    for (uint32_t i = 0; i < self->queue_count; i++)
        if (self->queue[i].job.id == job)
            self->queue[i].killed = true;
    for (uint32_t i = 0; i < self->slot_count; i++)
        if (self->slots[i].job.id == job)
            atomic_store(&self->slots[i].handle.cancelled, true);
    pthread_mutex_unlock(&self->mutex);
}

/* What has ended and was not told: what is listed, and between it what was merely done. */
static void take_outcomes(struct slot *slot, uint32_t finished, struct weir_handled *handled)
{
    struct weir_job_outcome *listed = slot->outcomes;
    const uint32_t listed_count = slot->outcome_count;
    uint32_t at = slot->told_finished;
    slot->outcomes = NULL;
    slot->outcome_count = slot->outcome_capacity = 0;
    for (uint32_t i = 0; i <= listed_count; i++) {
        const uint32_t to = i < listed_count ? listed[i].first : finished;
        const struct weir_job_outcome done = {
            .first = at, .count = to - at, .outcome = WEIR_DONE, .delay_ms = -1};
        if (done.count > 0)
            outcome_append(slot, &done);
        if (i == listed_count)
            break;
        at = listed[i].first + listed[i].count;
        outcome_append(slot, &listed[i]);
    }
    free(listed);
    handled->type = WEIR_HANDLED_OUTCOMES;
    handled->outcomes = slot->outcomes;
    handled->outcome_count = slot->outcome_count;
    slot->outcomes = NULL;
    slot->outcome_count = slot->outcome_capacity = 0;
    slot->told_finished = finished;
}

/* What this slot has to tell next. A job's end comes last, and frees the slot. */
static bool slot_poll(struct slot *slot, struct weir_handled *handled)
{
    bool any = true, over = false;
    pthread_mutex_lock(&slot->mutex);
    const uint32_t finished = atomic_load_explicit(&slot->finished, memory_order_acquire);
    const uint32_t started = atomic_load(&slot->started);
    *handled = (struct weir_handled){.job = slot->job_id, .first = started > 0 ? started - 1 : 0};
    if (!slot->news) {
        any = false;
    } else if (finished > slot->told_finished) {
        take_outcomes(slot, finished, handled);
    } else if (started > finished && started > slot->told_started) {
        handled->type = WEIR_HANDLED_STARTED;
        slot->told_started = started;
    } else if (slot->extend > finished) {
        handled->type = WEIR_HANDLED_EXTEND;
        slot->extend = 0;
    } else if (slot->ended) {
        handled->type = WEIR_HANDLED_END;
        slot->ended = slot->news = false;
        over = true;
    } else {
        any = slot->news = false;
    }
    pthread_mutex_unlock(&slot->mutex);
    if (over) {
        pthread_mutex_lock(&slot->executor->mutex);
        weir_job_fini(&slot->job);
        slot->job = (struct weir_job){0};
        if (slot->executor->queue_count > 0) /* which this thread may take now */
            pthread_cond_broadcast(&slot->executor->work);
        pthread_mutex_unlock(&slot->executor->mutex);
    }
    return any;
}

/* The time for what merely goes on has come: every slot has news. */
static void take_timer(struct executor *self)
{
    uint64_t expirations;
    const int64_t timer_ns = atomic_load(&self->timer_ns);
    if (timer_ns == 0 || timer_ns > weir_clock_now().mono_ns ||
        read(self->timer_fd, &expirations, sizeof expirations) != (ssize_t)sizeof expirations)
        return;
    atomic_store(&self->timer_ns, 0);
    for (uint32_t i = 0; i < self->slot_count; i++) {
        pthread_mutex_lock(&self->slots[i].mutex);
        self->slots[i].news = true;
        pthread_mutex_unlock(&self->slots[i].mutex);
    }
}

static bool slots_poll(struct executor *self, struct weir_handled *handled)
{
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct slot *slot = &self->slots[self->next_slot];
        if (slot_poll(slot, handled))
            return true;
        self->next_slot = (self->next_slot + 1) % self->slot_count;
    }
    return false;
}

static bool executor_poll(struct weir_executor *executor, struct weir_handled *handled)
{
    struct executor *self = (struct executor *)executor;
    uint64_t count;
    take_timer(self);
    if (slots_poll(self, handled))
        return true;
    /* Cleared first and looked again, so that no news between the two is forgotten. */
    ssize_t got = read(self->event_fd, &count, sizeof count);
    WEIR_ASSERT(got == (ssize_t)sizeof count || errno == EAGAIN);
    if (!slots_poll(self, handled))
        return false;
    tell_now(self); /* there may be more */
    return true;
}

static int executor_fd(const struct weir_executor *executor)
{
    return ((const struct executor *)executor)->epoll_fd;
}

void weir_function_executor_drain(struct weir_executor *executor)
{
    atomic_store(&((struct executor *)executor)->draining, true);
}

/* ---- New and destroy ------------------------------------------------------------------------ */

static void slot_fini(struct slot *slot)
{
    for (uint32_t i = 0; i < slot->outcome_count; i++) {
        weir_bytes_drop(&slot->outcomes[i].error);
        weir_bytes_drop(&slot->outcomes[i].result);
    }
    free(slot->outcomes);
    weir_job_fini(&slot->job);
    pthread_mutex_destroy(&slot->mutex);
}

static void executor_free(struct executor *self, uint32_t thread_count)
{
    pthread_mutex_lock(&self->mutex);
    self->ending = true;
    for (uint32_t i = 0; i < self->slot_count; i++)
        atomic_store(&self->slots[i].handle.cancelled, true);
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    for (uint32_t i = 0; i < thread_count; i++)
        pthread_join(self->slots[i].thread, NULL);
    for (uint32_t i = 0; i < self->slot_count; i++)
        slot_fini(&self->slots[i]);
    for (uint32_t i = 0; i < self->queue_count; i++)
        weir_job_fini(&self->queue[i].job);
    const int fds[] = {self->epoll_fd, self->event_fd, self->timer_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(self->queue);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

static void executor_destroy(struct weir_executor *executor)
{
    struct executor *self = (struct executor *)executor;
    executor_free(self, self->slot_count);
}

static int fds_open(struct executor *self, struct weir_error *error)
{
    struct epoll_event readable = {.events = EPOLLIN};
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    self->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->epoll_fd >= 0 && self->event_fd >= 0 && self->timer_fd >= 0 &&
        epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->event_fd, &readable) == 0 &&
        epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->timer_fd, &readable) == 0)
        return 0;
    return weir_error_set(error, WEIR_EIO, "cannot make file descriptors for handlers: %s",
                          strerror(errno));
}

static uint32_t threads_start(struct executor *self, struct weir_error *error)
{
    sigset_t all, before;
    uint32_t started = 0;
    int status = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < self->slot_count && status == 0) {
        struct slot *slot = &self->slots[started];
        status = pthread_create(&slot->thread, NULL, slot_main, slot);
        started += status == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0)
        weir_error_set(error, WEIR_EIO, "cannot start thread %u of %u for handlers: %s",
                       started + 1, self->slot_count, strerror(status));
    return started;
}

struct weir_executor *weir_function_executor_new(weir_handler_fn *handler, void *arg,
                                                 uint32_t threads, struct weir_error *error)
{
    struct executor *self = weir_zalloc(1, sizeof *self + threads * sizeof *self->slots);
    uint32_t started = 0;
    self->executor = (struct weir_executor){.run = executor_run,
                                            .kill = executor_kill,
                                            .poll = executor_poll,
                                            .fd = executor_fd,
                                            .destroy = executor_destroy};
    self->handler = handler;
    self->arg = arg;
    self->slot_count = threads;
    self->queue = weir_zalloc(threads, sizeof *self->queue);
    self->epoll_fd = self->event_fd = self->timer_fd = -1;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work, NULL);
    for (uint32_t i = 0; i < threads; i++) {
        self->slots[i].executor = self;
        pthread_mutex_init(&self->slots[i].mutex, NULL);
    }
    if (fds_open(self, error) == 0)
        started = threads_start(self, error);
    if (started == threads)
        return &self->executor;
    executor_free(self, started);
    return NULL;
}
