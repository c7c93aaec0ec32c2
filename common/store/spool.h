/* A spool from the inside: its parts, its threads, and the door for tests. */
#ifndef WEIR_STORE_SPOOL_H
#define WEIR_STORE_SPOOL_H

#include "log.h"
#include "reserve.h"
#include "spool_queue.h"
#include "state.h"
#include "store.h"

struct weir_spool {
    struct weir_store store;
    enum weir_fsync fsync;
    int lock_fd;
    struct weir_reserve *reserve;
    struct weir_state *state;       /* state thread */
    struct weir_log *log;           /* see log.h */
    struct weir_log_reader *reader; /* reader thread */
    struct weir_task_queue appends;
    struct weir_task_queue states;
    struct weir_task_queue reads;
    struct weir_done_queue done;
    atomic_uint_fast64_t payload_bytes; /* in the state, as the state thread sees them */
    bool threads;                       /* they run */
    pthread_t log_thread, state_thread, read_thread;
    /* Once something is wrong with the storage, all threads refuse alike. */
    pthread_mutex_t failure_lock;
    struct weir_error failure; /* code 0: none */
    /* The reactor's own. */
    uint32_t outstanding;
    uint64_t full_taken;         /* EFULL results of APPENDs that were taken */
    uint64_t full_applies_taken; /* the same of APPLYs */
    /* The log writer's own. */
    struct weir_append *group;
    uint32_t group_capacity;
    uint64_t full_until; /* appends of an age below it end EFULL */
    int64_t sync_due_ns; /* fsync: interval */
    /* The state thread's own. */
    uint64_t full_applies_until; /* APPLYs of an age below it end EFULL */
};

/* As weir_spool_open, with other system calls. */
int weir_spool_open_with(const struct weir_spool_config *config, const struct weir_io *io,
                         struct weir_store **store, struct weir_recovered **recovered,
                         struct weir_error *error);

/* As weir_spool_open_with, but without threads, and `bytes_max` may be tiny: whoever opens it takes
 * what was submitted from the three queues and serves it. What is still in them when the store is
 * destroyed is forgotten. */
int weir_spool_open_quiet(const struct weir_spool_config *config, const struct weir_io *io,
                          struct weir_spool **self, struct weir_recovered **recovered,
                          struct weir_error *error);

/* --- spool_serve.c: a turn of each thread, with the chain of tasks it has taken (or NULL) ----- */

/* APPENDs, and TRIMs that the state thread passed on: one write and one sync where that will do. */
void weir_spool_serve_appends(struct weir_spool *spool, struct weir_task *tasks);
/* fsync: interval. To be called after each turn of the log writer. */
void weir_spool_sync_when_due(struct weir_spool *spool);
/* APPLY, QUERY, TRIM. A TRIM may end up in `appends`. */
void weir_spool_serve_states(struct weir_spool *spool, struct weir_task *tasks);
void weir_spool_serve_reads(struct weir_spool *spool, struct weir_task *tasks);

/* --- spool_threads.c ------------------------------------------------------------------------ */

/* Start and end the threads. Ending finishes what was handed over. */
int weir_spool_start(struct weir_spool *spool, struct weir_error *error);
void weir_spool_stop(struct weir_spool *spool);
/* Tell the log how much of the disk the other files take, and the others what payloads do. */
void weir_spool_measure(struct weir_spool *spool);

#endif
