/* What goes between the reactor, which hands over jobs, and an executor's thread, which ends them.
 * Bounded by the worker machine: it never has more jobs out than its concurrency. */
#ifndef WEIR_WORKER_MAILBOX_H
#define WEIR_WORKER_MAILBOX_H

#include <contract/backend.h>
#include <pthread.h>

struct weir_mailbox;

struct weir_mailbox *weir_mailbox_new(void);
/* When the executor's thread has ended. */
void weir_mailbox_destroy(struct weir_mailbox **self);

/* Start an executor's thread, with every signal blocked: they are the main thread's, and SIGPIPE is
 * nobody's. */
void weir_executor_thread(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* Until then, which is less than a second from now: its thread does nothing. */
void weir_executor_pause(int64_t until_ns);

/* The reactor's side: the services of struct weir_executor. */
void weir_mailbox_run(struct weir_mailbox *self, struct weir_job *job);
void weir_mailbox_kill(struct weir_mailbox *self, uint64_t job);
bool weir_mailbox_poll(struct weir_mailbox *self, struct weir_handled *handled);
int weir_mailbox_fd(const struct weir_mailbox *self);
/* Have the executor's thread end. */
void weir_mailbox_close(struct weir_mailbox *self);

/* The executor's side. */
struct weir_orders {
    struct weir_job *jobs; /* owned; move what is kept out of it */
    uint32_t job_count;
    uint64_t *kills;
    uint32_t kill_count;
    bool close;
};
/* Readable while there are orders. */
int weir_mailbox_orders_fd(const struct weir_mailbox *self);
/* Take all there are; the caller frees both arrays. */
void weir_mailbox_take(struct weir_mailbox *self, struct weir_orders *orders);
/* What follows waits until weir_mailbox_tell, so that the reactor hears of all of it at once: an
 * executor's turn ends with it. */
/* The one message of a job is running; asks for its timeout anew. */
void weir_mailbox_started(struct weir_mailbox *self, uint64_t job);
void weir_mailbox_extend(struct weir_mailbox *self, uint64_t job);
/* The job is over. `outcome` is taken over; NULL: its message was never started. */
void weir_mailbox_end(struct weir_mailbox *self, uint64_t job, struct weir_job_outcome *outcome);
void weir_mailbox_tell(struct weir_mailbox *self);

#endif
