#include "spool_queue.h"

#include <base/clock.h>

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void weir_task_destroy(struct weir_task **self)
{
    struct weir_task *task = *self;

    *self = NULL;
    weir_store_request_fini(&task->request);
    weir_store_result_fini(&task->result);
    free(task);
}

static void destroy_all(struct weir_task *task)
{
    while (task != NULL) {
        struct weir_task *next = task->next;

        weir_task_destroy(&task);
        task = next;
    }
}

void weir_task_queue_init(struct weir_task_queue *queue)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->filled, &attributes);
    pthread_condattr_destroy(&attributes);
    queue->first = NULL;
    queue->end = &queue->first;
    queue->closed = false;
}

void weir_task_queue_fini(struct weir_task_queue *queue)
{
    destroy_all(queue->first);
    pthread_cond_destroy(&queue->filled);
    pthread_mutex_destroy(&queue->lock);
}

void weir_task_queue_push(struct weir_task_queue *queue, struct weir_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&queue->lock);
    *queue->end = task;
    queue->end = &task->next;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

void weir_task_queue_close(struct weir_task_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

struct weir_task *weir_task_queue_take(struct weir_task_queue *queue, int64_t deadline_ns,
                                       bool *closed)
{
    struct timespec deadline = {.tv_sec = deadline_ns / WEIR_NS_PER_S,
                                .tv_nsec = deadline_ns % WEIR_NS_PER_S};
    struct weir_task *tasks;
    int expired = 0;

    pthread_mutex_lock(&queue->lock);
    while (queue->first == NULL && !queue->closed && expired == 0) {
        if (deadline_ns == WEIR_TIME_NEVER)
            pthread_cond_wait(&queue->filled, &queue->lock);
        else
            expired = pthread_cond_timedwait(&queue->filled, &queue->lock, &deadline);
    }
    tasks = queue->first;
    queue->first = NULL;
    queue->end = &queue->first;
    *closed = queue->closed;
    pthread_mutex_unlock(&queue->lock);
    return tasks;
}

int weir_done_queue_init(struct weir_done_queue *queue)
{
    queue->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (queue->fd < 0)
        return -1;
    pthread_mutex_init(&queue->lock, NULL);
    queue->first = NULL;
    queue->end = &queue->first;
    return 0;
}

void weir_done_queue_fini(struct weir_done_queue *queue)
{
    destroy_all(queue->first);
    pthread_mutex_destroy(&queue->lock);
    close(queue->fd);
}

void weir_done_queue_push(struct weir_done_queue *queue, struct weir_task *tasks,
                          void (*with)(void *arg), void *arg)
{
    struct weir_task *last = tasks;

    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&queue->lock);
    if (queue->first == NULL)
        eventfd_write(queue->fd, 1);
    *queue->end = tasks;
    queue->end = &last->next;
    if (with != NULL)
        with(arg);
    pthread_mutex_unlock(&queue->lock);
}

struct weir_task *weir_done_queue_pop(struct weir_done_queue *queue)
{
    struct weir_task *task;
    eventfd_t count;

    pthread_mutex_lock(&queue->lock);
    task = queue->first;
    if (task != NULL) {
        queue->first = task->next;
        if (queue->first == NULL) {
            queue->end = &queue->first;
            eventfd_read(queue->fd, &count);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return task;
}
