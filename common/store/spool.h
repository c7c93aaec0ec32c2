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
    pthread_t log_thread, state_thread, read_thread;
    /* Once something is wrong with the storage, all threads refuse alike. */
    pthread_mutex_t failure_lock;
    struct weir_error failure; /* code 0: none */
    /* The reactor's own. */
    uint32_t outstanding;
    uint64_t full_taken; /* EFULL results of APPENDs that were taken */
    /* The log writer's own. */
    struct weir_append *group;
    uint32_t group_capacity;
    uint64_t full_until; /* appends of an age below it end EFULL */
    int64_t sync_due_ns; /* fsync: interval */
};

/* As weir_spool_open, with other system calls. */
int weir_spool_open_with(const struct weir_spool_config *config, const struct weir_io *io,
                         struct weir_store **store, struct weir_recovered **recovered,
                         struct weir_error *error);

/* Start and end the threads (spool_threads.c). Ending finishes what was handed over. */
int weir_spool_start(struct weir_spool *spool, struct weir_error *error);
void weir_spool_stop(struct weir_spool *spool);
/* Tell the log how much of the disk the other files take. */
void weir_spool_measure(struct weir_spool *spool);

#endif
