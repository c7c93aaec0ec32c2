/* One process a message. The payload waits in a memfd, so that writing it never blocks however the
 * handler reads; stdout and stderr are read as they come. */
#include <executor/executor.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>
#include <core/job_lease.h>
#include <errno.h>
#include <executor/buffer.h>
#include <executor/child.h>
#include <executor/mailbox.h>
#include <executor/program.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* What a handler left running may still hold its stdout; its own output is waited for this long. */
#define OUTPUT_GRACE_MS 250
/* Read of one stream before the others have their turn. */
#define READ_BYTES 65536u

/* From one turn to the next while more processes run than there are CPUs: each end of one would
 * wake three processes of ours, which then do not run. */
#define FLOW_NS WEIR_NS_PER_MS

/* Why a process is being ended. */
enum fate {
    FATE_OWN, /* it ends by itself */
    FATE_TIMEOUT,
    FATE_TOO_LARGE, /* a result */
    FATE_ASKED,     /* the worker has no use for it any more */
};

struct running {
    struct weir_job job;
    struct weir_child child;
    int output; /* -1: at its end */
    int errors; /* likewise */
    enum fate fate;
    bool exited;
    struct weir_ending ending;
    struct weir_buffer result;
    struct weir_tail tail;
    int64_t timeout_ns; /* when to end it */
    int64_t grace_ns;   /* when to stop waiting for output, once it has ended */
};

struct run_executor {
    struct weir_executor executor; /* first */
    struct weir_program program;
    struct weir_mailbox *mailbox;
    pthread_t thread;
    /* of the thread */
    struct running **running;
    uint32_t count;
    uint32_t capacity;
    struct pollfd *polls;
    uint32_t cpus;
    bool closing;
};

/* ---- Starting ------------------------------------------------------------------------------- */

/* -1: cannot be had. */
static int payload_file(const struct weir_message_view *message, struct weir_error *error)
{
    size_t written = 0;
    int fd = memfd_create("payload", MFD_CLOEXEC);
    while (fd >= 0 && written < message->payload_bytes) {
        ssize_t size = write(fd, message->payload + written, message->payload_bytes - written);
        if (size < 0 && errno != EINTR)
            break;
        written += size > 0 ? (size_t)size : 0;
    }
    if (fd >= 0 && written == message->payload_bytes && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    weir_error_set(error, WEIR_EIO, "cannot hold the payload for the handler: %s", strerror(errno));
    weir_fd_close(&fd);
    return -1;
}

static int spawn(struct run_executor *self, struct running *running, struct weir_error *error)
{
    struct weir_job_message message;
    int stdio[3] = {-1, -1, -1};
    int status = weir_job_message_decode(&running->job, &message, error);
    if (status != 0)
        return status;
    stdio[0] = payload_file(&message.view, error);
    if (stdio[0] < 0)
        return WEIR_EIO;
    if (weir_pipe_from_child(&running->output, &stdio[1]) != 0 ||
        weir_pipe_from_child(&running->errors, &stdio[2]) != 0) {
        status = weir_error_set(error, WEIR_EIO, "cannot make a pipe for the handler: %s",
                                strerror(errno));
    } else {
        char **environment = weir_environment_of(self->program.environment, &message);
        status = weir_child_spawn(&running->child, self->program.path, self->program.argv,
                                  environment, stdio, error);
        weir_environment_free(self->program.environment, environment);
    }
    for (int i = 0; i < 3; i++)
        weir_fd_close(&stdio[i]);
    return status;
}

static void running_destroy(struct running *running)
{
    weir_fd_close(&running->output);
    weir_fd_close(&running->errors);
    weir_buffer_fini(&running->result);
    weir_job_fini(&running->job);
    free(running);
}

/* A message whose handler could not be started. What is wrong with the message itself will be so
 * the next time; anything else is this host's fault, and no attempt. */
static void end_unstarted(struct run_executor *self, struct running *running,
                          const struct weir_error *error)
{
    struct weir_job_outcome outcome = {
        .count = 1,
        .outcome = error->code == WEIR_EIO ? WEIR_UNAVAILABLE : WEIR_REJECT,
        .delay_ms = -1,
        .error = weir_bytes_copy(error->text, strlen(error->text)),
    };
    weir_mailbox_end(self->mailbox, running->job.id, &outcome);
    running_destroy(running);
}

static void start(struct run_executor *self, struct weir_job *job, int64_t now_ns)
{
    struct weir_error error;
    if (self->closing || now_ns > weir_job_start_until_ns(job)) {
        weir_mailbox_end(self->mailbox, job->id, NULL);
        weir_job_fini(job);
        return;
    }
    struct running *running = weir_zalloc(1, sizeof *running);
    running->job = *job;
    running->output = running->errors = -1;
    running->grace_ns = WEIR_TIME_NEVER;
    running->timeout_ns =
        job->timeout_ms > 0 ? now_ns + job->timeout_ms * WEIR_NS_PER_MS : WEIR_TIME_NEVER;
    if (spawn(self, running, &error) != 0) {
        end_unstarted(self, running, &error);
        return;
    }
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 16;
        self->running = weir_realloc(self->running, self->capacity, sizeof *self->running);
    }
    self->running[self->count++] = running;
    weir_mailbox_started(self->mailbox, running->job.id);
}

/* ---- Ending --------------------------------------------------------------------------------- */

static void end_process(struct running *running, enum fate fate)
{
    if (running->exited || running->fate != FATE_OWN)
        return;
    running->fate = fate;
    weir_child_kill(&running->child);
}

static void describe_failure(const struct running *running, char lead[WEIR_ENDING_TEXT_BYTES])
{
    switch (running->fate) {
    case FATE_TIMEOUT:
        snprintf(lead, WEIR_ENDING_TEXT_BYTES, "timed out after %lld ms",
                 (long long)running->job.timeout_ms);
        break;
    case FATE_TOO_LARGE:
        snprintf(lead, WEIR_ENDING_TEXT_BYTES, "the result is larger than %u bytes",
                 WEIR_MESSAGE_BYTES_MAX);
        break;
    case FATE_ASKED:
        snprintf(lead, WEIR_ENDING_TEXT_BYTES, "ended by the worker");
        break;
    case FATE_OWN:
        weir_ending_describe(running->ending, lead);
        break;
    }
}

static enum weir_outcome outcome_of(const struct running *running)
{
    switch (running->fate) {
    case FATE_TIMEOUT:
        return WEIR_RETRY;
    case FATE_TOO_LARGE:
        return WEIR_REJECT;
    case FATE_ASKED:
        return WEIR_RELEASE;
    case FATE_OWN:
        break;
    }
    return weir_ending_outcome(running->ending);
}

static void finish(struct run_executor *self, struct running *running)
{
    struct weir_job_outcome outcome = {.count = 1, .outcome = outcome_of(running), .delay_ms = -1};
    if (outcome.outcome == WEIR_DONE) {
        outcome.result = weir_buffer_finish(&running->result);
    } else {
        char lead[WEIR_ENDING_TEXT_BYTES];
        describe_failure(running, lead);
        /* What a handler says for itself is the error; how it ended, only where it said nothing. */
        bool spoke = running->fate == FATE_OWN && running->tail.size > 0;
        outcome.error = weir_tail_error(&running->tail, spoke ? NULL : lead);
        if (outcome.error.size == 0)
            outcome.error = weir_bytes_copy(lead, strlen(lead));
    }
    weir_mailbox_end(self->mailbox, running->job.id, &outcome);
    running_destroy(running);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* What there is, at most READ_BYTES. Closes the stream at its end. */
static size_t read_stream(int *fd, char buffer[READ_BYTES])
{
    if (*fd < 0)
        return 0;
    ssize_t size;
    do
        size = read(*fd, buffer, READ_BYTES);
    while (size < 0 && errno == EINTR);
    if (size > 0)
        return (size_t)size;
    if (size == 0 || errno != EAGAIN)
        weir_fd_close(fd);
    return 0;
}

static void read_output(struct running *running)
{
    char buffer[READ_BYTES];
    size_t size = read_stream(&running->output, buffer);
    if (running->result.size + size > WEIR_MESSAGE_BYTES_MAX) {
        end_process(running, FATE_TOO_LARGE);
        if (running->fate == FATE_OWN) /* it has ended already */
            running->fate = FATE_TOO_LARGE;
        weir_fd_close(&running->output);
        weir_buffer_fini(&running->result);
        return;
    }
    weir_buffer_append(&running->result, buffer, size);
}

static void read_errors(struct running *running)
{
    char buffer[READ_BYTES];
    size_t size = read_stream(&running->errors, buffer);
    weir_tail_append(&running->tail, buffer, size);
}

/* ---- The thread ----------------------------------------------------------------------------- */

static void take_orders(struct run_executor *self, int64_t now_ns)
{
    struct weir_orders orders;
    weir_mailbox_take(self->mailbox, &orders);
    self->closing = orders.close;
    for (uint32_t i = 0; i < orders.job_count; i++)
        start(self, &orders.jobs[i], now_ns);
    for (uint32_t i = 0; i < orders.kill_count; i++)
        for (uint32_t j = 0; j < self->count; j++)
            if (self->running[j]->job.id == orders.kills[i])
                end_process(self->running[j], FATE_ASKED);
    for (uint32_t i = 0; self->closing && i < self->count; i++)
        end_process(self->running[i], FATE_ASKED);
    free(orders.jobs);
    free(orders.kills);
}

/* The streams and the process of each, three items after the orders' one. */
static void fill_polls(struct run_executor *self)
{
    self->polls = weir_realloc(self->polls, 1 + 3 * self->count, sizeof *self->polls);
    self->polls[0] = (struct pollfd){.fd = weir_mailbox_orders_fd(self->mailbox), .events = POLLIN};
    for (uint32_t i = 0; i < self->count; i++) {
        const struct running *running = self->running[i];
        struct pollfd *polls = &self->polls[1 + 3 * i];
        polls[0] = (struct pollfd){.fd = running->output, .events = POLLIN};
        polls[1] = (struct pollfd){.fd = running->errors, .events = POLLIN};
        polls[2] =
            (struct pollfd){.fd = running->exited ? -1 : running->child.pidfd, .events = POLLIN};
    }
}

static int64_t next_ns(const struct run_executor *self)
{
    int64_t next = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->count; i++) {
        const struct running *running = self->running[i];
        int64_t at = running->exited ? running->grace_ns : running->timeout_ns;
        if (running->fate != FATE_OWN && !running->exited)
            continue; /* killed: its end will tell */
        next = at < next ? at : next;
    }
    return next;
}

/* Returns whether the process and its output have ended. */
static bool attend(struct running *running, const struct pollfd polls[3], int64_t now_ns)
{
    if (polls[0].revents)
        read_output(running);
    if (polls[1].revents)
        read_errors(running);
    if (polls[2].revents) {
        running->ending = weir_child_reap(&running->child);
        running->exited = true;
        running->grace_ns = now_ns + OUTPUT_GRACE_MS * WEIR_NS_PER_MS;
    }
    if (!running->exited && now_ns >= running->timeout_ns)
        end_process(running, FATE_TIMEOUT);
    if (!running->exited)
        return false;
    return (running->output < 0 && running->errors < 0) || now_ns >= running->grace_ns;
}

/* Those that were polled; whether any has ended. */
static bool attend_all(struct run_executor *self, uint32_t polled, int64_t now_ns)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->count; i++) {
        struct running *running = self->running[i];
        if (i < polled && attend(running, &self->polls[1 + 3 * i], now_ns))
            finish(self, running);
        else
            self->running[kept++] = running;
    }
    const bool ended = kept < self->count;
    self->count = kept;
    return ended;
}

static void *run_thread(void *arg)
{
    struct run_executor *self = arg;
    while (!self->closing || self->count > 0) {
        fill_polls(self);
        int rc = poll(self->polls, 1 + 3 * self->count, weir_clock_ms_until(next_ns(self)));
        WEIR_ASSERT(rc >= 0 || errno == EINTR);
        if (rc < 0)
            continue;
        const int64_t now_ns = weir_clock_now().mono_ns;
        const uint32_t polled = self->count;
        if (self->polls[0].revents)
            take_orders(self, now_ns);
        const bool ended = attend_all(self, polled, now_ns);
        weir_mailbox_tell(self->mailbox);
        if (ended && self->count > self->cpus)
            weir_executor_pause(now_ns + FLOW_NS);
    }
    return NULL;
}

/* ---- The executor's face -------------------------------------------------------------------- */

static struct run_executor *of(const struct weir_executor *executor)
{
    return (struct run_executor *)(uintptr_t)executor;
}

static void run_run(struct weir_executor *executor, struct weir_job *job)
{
    weir_mailbox_run(of(executor)->mailbox, job);
}

static void run_kill(struct weir_executor *executor, uint64_t job)
{
    weir_mailbox_kill(of(executor)->mailbox, job);
}

static bool run_poll(struct weir_executor *executor, struct weir_handled *handled)
{
    return weir_mailbox_poll(of(executor)->mailbox, handled);
}

static int run_fd(const struct weir_executor *executor)
{
    return weir_mailbox_fd(of(executor)->mailbox);
}

static void run_destroy(struct weir_executor *executor)
{
    struct run_executor *self = of(executor);
    weir_mailbox_close(self->mailbox);
    pthread_join(self->thread, NULL);
    weir_mailbox_destroy(&self->mailbox);
    weir_program_fini(&self->program);
    free(self->running);
    free(self->polls);
    free(self);
}

int weir_run_executor_new(const struct weir_handler_program *program,
                          struct weir_executor **executor, struct weir_error *error)
{
    struct run_executor *self = weir_zalloc(1, sizeof *self);
    *executor = NULL;
    int status = weir_program_init(&self->program, program, error);
    if (status != 0) {
        free(self);
        return status;
    }
    self->executor = (struct weir_executor){
        .run = run_run,
        .kill = run_kill,
        .poll = run_poll,
        .fd = run_fd,
        .destroy = run_destroy,
    };
    self->mailbox = weir_mailbox_new();
    self->cpus = (uint32_t)get_nprocs();
    weir_executor_thread(&self->thread, run_thread, self);
    *executor = &self->executor;
    return 0;
}
