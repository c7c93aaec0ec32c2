/* The two kinds of queue between the reactor and a spool's threads. Their bound is that of the
 * contract: WEIR_STORE_REQUESTS_MAX outstanding requests. */
#ifndef WEIR_STORE_SPOOL_QUEUE_H
#define WEIR_STORE_SPOOL_QUEUE_H

#include <contract/store.h>
#include <pthread.h>

/* A request on its way, and then its result. */
struct weir_task {
    struct weir_store_request request;
    struct weir_store_result result;
    uint64_t age; /* of an APPEND or APPLY: how many EFULLs of its kind had been taken by then */
    struct weir_task *next;
};

/* From the reactor to one thread. */
struct weir_task_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct weir_task *first, **end;
    bool closed;
};

void weir_task_queue_init(struct weir_task_queue *queue);
/* Destroys what is still in it. */
void weir_task_queue_fini(struct weir_task_queue *queue);
void weir_task_queue_push(struct weir_task_queue *queue, struct weir_task *task);
/* No more will come: the thread ends once it has done what is there. */
void weir_task_queue_close(struct weir_task_queue *queue);
/* All there are, in order; waits until there are some, or until `deadline_ns` (monotonic;
 * WEIR_TIME_NEVER), or the end. *closed: none will come any more. NULL: none now. */
struct weir_task *weir_task_queue_take(struct weir_task_queue *queue, int64_t deadline_ns,
                                       bool *closed);

/* From all threads back to the reactor. */
struct weir_done_queue {
    pthread_mutex_t lock;
    struct weir_task *first, **end;
    int fd; /* eventfd: readable while the queue has something */
};

/* Returns 0, or -1 with errno. */
int weir_done_queue_init(struct weir_done_queue *queue);
void weir_done_queue_fini(struct weir_done_queue *queue);
/* A chain of tasks, linked by `next`, in order. `with`, unless NULL, is called at the very moment
 * at which they become done: what another thread pushes because of it comes behind them. */
void weir_done_queue_push(struct weir_done_queue *queue, struct weir_task *tasks,
                          void (*with)(void *arg), void *arg);
struct weir_task *weir_done_queue_pop(struct weir_done_queue *queue);

void weir_task_destroy(struct weir_task **self);

#endif
