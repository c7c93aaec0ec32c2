/* The three threads of a spool: each takes what came for it and serves it (spool_serve.c).
 *
 *   log writer   APPEND: writes all that came during the last sync, syncs once, completes them
 *   state        APPLY, QUERY, TRIM: one SQLite connection; neighbouring APPLYs share a transaction
 *   reader       READ
 *
 * Reading has a thread of its own: behind the log writer a long read of a backlog would hold up
 * every producer's commit, and behind the state thread each read would wait for the state's fsync,
 * so a backlog could not be read faster than it is acked. */
#include "spool.h"

#include <base/clock.h>

#include <signal.h>

static void *log_main(void *arg)
{
    struct weir_spool *spool = arg;
    bool closed = false;

    pthread_setname_np(pthread_self(), "weir-log");
    while (!closed) {
        struct weir_task *tasks =
            weir_task_queue_take(&spool->appends, spool->sync_due_ns, &closed);

        weir_spool_serve_appends(spool, tasks);
        weir_spool_sync_when_due(spool);
    }
    return NULL;
}

static void *state_main(void *arg)
{
    struct weir_spool *spool = arg;
    bool closed = false;

    pthread_setname_np(pthread_self(), "weir-state");
    while (!closed)
        weir_spool_serve_states(spool,
                                weir_task_queue_take(&spool->states, WEIR_TIME_NEVER, &closed));
    return NULL;
}

static void *read_main(void *arg)
{
    struct weir_spool *spool = arg;
    bool closed = false;

    pthread_setname_np(pthread_self(), "weir-read");
    while (!closed)
        weir_spool_serve_reads(spool,
                               weir_task_queue_take(&spool->reads, WEIR_TIME_NEVER, &closed));
    return NULL;
}

int weir_spool_start(struct weir_spool *spool, struct weir_error *error)
{
    sigset_t all, before;
    int number;

    /* Signals are the reactor's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    number = pthread_create(&spool->log_thread, NULL, log_main, spool);
    if (number == 0) {
        number = pthread_create(&spool->state_thread, NULL, state_main, spool);
        if (number == 0) {
            number = pthread_create(&spool->read_thread, NULL, read_main, spool);
            if (number != 0) {
                weir_task_queue_close(&spool->states);
                pthread_join(spool->state_thread, NULL);
            }
        }
        if (number != 0) {
            weir_task_queue_close(&spool->appends);
            pthread_join(spool->log_thread, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number == 0 ? 0 : weir_io_error(error, number, "start", "the spool's threads");
}

void weir_spool_stop(struct weir_spool *spool)
{
    weir_task_queue_close(&spool->states);
    pthread_join(spool->state_thread, NULL);
    /* Only now: the state thread may pass something on to it. */
    weir_task_queue_close(&spool->appends);
    weir_task_queue_close(&spool->reads);
    pthread_join(spool->log_thread, NULL);
    pthread_join(spool->read_thread, NULL);
}
