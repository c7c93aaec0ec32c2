#include <executor/mailbox.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/error.h>
#include <core/job_lease.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct weir_mailbox {
    pthread_mutex_t lock; /* guards everything but the descriptors */
    int orders_fd;
    int handled_fd;
    struct weir_orders orders;
    uint32_t job_capacity;
    uint32_t kill_capacity;
    struct weir_handled *handled; /* [first, first + count) of the array wait */
    uint32_t handled_first;
    uint32_t handled_count;
    uint32_t handled_capacity;
    bool untold; /* some of these */
};

static int new_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    WEIR_ASSERT(fd >= 0);
    return fd;
}

static void ring(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void silence(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

struct weir_mailbox *weir_mailbox_new(void)
{
    struct weir_mailbox *self = weir_zalloc(1, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
    self->orders_fd = new_eventfd();
    self->handled_fd = new_eventfd();
    return self;
}

void weir_executor_thread(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, run, arg);
    WEIR_ASSERT(rc == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void weir_executor_pause(int64_t until_ns)
{
    const int64_t rest_ns = until_ns - weir_clock_now().mono_ns;
    const struct timespec rest = {.tv_nsec = rest_ns};
    if (rest_ns > 0)
        (void)ppoll(NULL, 0, &rest, NULL);
}

void weir_mailbox_destroy(struct weir_mailbox **self)
{
    struct weir_mailbox *mailbox = *self;
    struct weir_handled handled;
    if (mailbox == NULL)
        return;
    while (weir_mailbox_poll(mailbox, &handled))
        weir_handled_fini(&handled);
    for (uint32_t i = 0; i < mailbox->orders.job_count; i++)
        weir_job_fini(&mailbox->orders.jobs[i]);
    free(mailbox->orders.jobs);
    free(mailbox->orders.kills);
    free(mailbox->handled);
    close(mailbox->orders_fd);
    close(mailbox->handled_fd);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
    *self = NULL;
}

static void grow(void *array, uint32_t count, uint32_t *capacity, size_t bytes)
{
    void **memory = array;
    if (count < *capacity)
        return;
    *capacity = *capacity ? 2 * *capacity : 16;
    *memory = weir_realloc(*memory, *capacity, bytes);
}

void weir_mailbox_run(struct weir_mailbox *self, struct weir_job *job)
{
    struct weir_orders *orders = &self->orders;
    pthread_mutex_lock(&self->lock);
    grow(&orders->jobs, orders->job_count, &self->job_capacity, sizeof *orders->jobs);
    orders->jobs[orders->job_count++] = *job;
    if (orders->job_count == 1) /* who takes them takes all */
        ring(self->orders_fd);
    pthread_mutex_unlock(&self->lock);
    *job = (struct weir_job){0};
}

void weir_mailbox_kill(struct weir_mailbox *self, uint64_t job)
{
    struct weir_orders *orders = &self->orders;
    pthread_mutex_lock(&self->lock);
    grow(&orders->kills, orders->kill_count, &self->kill_capacity, sizeof *orders->kills);
    orders->kills[orders->kill_count++] = job;
    pthread_mutex_unlock(&self->lock);
    ring(self->orders_fd);
}

void weir_mailbox_close(struct weir_mailbox *self)
{
    pthread_mutex_lock(&self->lock);
    self->orders.close = true;
    pthread_mutex_unlock(&self->lock);
    ring(self->orders_fd);
}

int weir_mailbox_orders_fd(const struct weir_mailbox *self)
{
    return self->orders_fd;
}

void weir_mailbox_take(struct weir_mailbox *self, struct weir_orders *orders)
{
    silence(self->orders_fd);
    pthread_mutex_lock(&self->lock);
    *orders = self->orders;
    self->orders = (struct weir_orders){.close = orders->close};
    self->job_capacity = self->kill_capacity = 0;
    pthread_mutex_unlock(&self->lock);
}

bool weir_mailbox_poll(struct weir_mailbox *self, struct weir_handled *handled)
{
    pthread_mutex_lock(&self->lock);
    bool there = self->handled_count > 0;
    if (there) {
        *handled = self->handled[self->handled_first++];
        self->handled_count--;
    }
    if (self->handled_count == 0) {
        self->untold = false;
        self->handled_first = 0;
        silence(self->handled_fd);
    }
    pthread_mutex_unlock(&self->lock);
    return there;
}

int weir_mailbox_fd(const struct weir_mailbox *self)
{
    return self->handled_fd;
}

/* Under the lock. */
static void push(struct weir_mailbox *self, const struct weir_handled *handled)
{
    uint32_t end = self->handled_first + self->handled_count;
    grow(&self->handled, end, &self->handled_capacity, sizeof *self->handled);
    self->handled[end] = *handled;
    self->handled_count++;
    self->untold = true;
}

/* The bell is under the lock, too, so that the descriptor and the array always agree. */
void weir_mailbox_tell(struct weir_mailbox *self)
{
    pthread_mutex_lock(&self->lock);
    if (self->untold)
        ring(self->handled_fd);
    self->untold = false;
    pthread_mutex_unlock(&self->lock);
}

static void push_alone(struct weir_mailbox *self, enum weir_handled_type type, uint64_t job)
{
    pthread_mutex_lock(&self->lock);
    push(self, &(struct weir_handled){.type = type, .job = job});
    pthread_mutex_unlock(&self->lock);
}

void weir_mailbox_started(struct weir_mailbox *self, uint64_t job)
{
    push_alone(self, WEIR_HANDLED_STARTED, job);
}

void weir_mailbox_extend(struct weir_mailbox *self, uint64_t job)
{
    push_alone(self, WEIR_HANDLED_EXTEND, job);
}

void weir_mailbox_end(struct weir_mailbox *self, uint64_t job, struct weir_job_outcome *outcome)
{
    struct weir_handled ended = {.type = WEIR_HANDLED_OUTCOMES, .job = job, .outcome_count = 1};
    if (outcome != NULL) {
        ended.outcomes = weir_alloc(sizeof *ended.outcomes);
        *ended.outcomes = *outcome;
        *outcome = (struct weir_job_outcome){0};
    }
    pthread_mutex_lock(&self->lock);
    if (ended.outcomes != NULL)
        push(self, &ended);
    push(self, &(struct weir_handled){.type = WEIR_HANDLED_END, .job = job});
    pthread_mutex_unlock(&self->lock);
}
