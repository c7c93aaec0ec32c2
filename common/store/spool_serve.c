/* What a spool does with the requests that its threads take from their queues, a turn at a time. No
 * thread and no waiting is in here: the threads call it (spool_threads.c), and so does whoever
 * drives a spool without threads. */
#include "spool.h"

#include <base/alloc.h>
#include <base/canary.h>
#include <base/clock.h>
#include <base/log.h>

#include <string.h>

#define SHRINK_STEPS_MAX 16u /* of the state, in one TRIM */

/* --- failure, completion ------------------------------------------------------------------- */

static int failed(struct weir_spool *spool, struct weir_error *error)
{
    pthread_mutex_lock(&spool->failure_lock);
    if (spool->failure.code != 0)
        *error = spool->failure;
    pthread_mutex_unlock(&spool->failure_lock);
    return error->code;
}

/* The first failure is the one that everybody is told. */
static void fail(struct weir_spool *spool, const struct weir_error *error)
{
    pthread_mutex_lock(&spool->failure_lock);
    if (spool->failure.code == 0)
        spool->failure = *error;
    pthread_mutex_unlock(&spool->failure_lock);
}

static void finish(struct weir_spool *spool, struct weir_task *task, int status)
{
    task->result.id = task->request.id;
    task->result.kind = task->request.kind;
    task->result.status = status;
    task->result.used_bytes = weir_log_used_bytes(spool->log);
    task->result.payload_bytes = atomic_load_explicit(&spool->payload_bytes, memory_order_relaxed);
    task->result.oldest_segment_last = weir_log_oldest_segment_last(spool->log);
    task->result.log_syncs = atomic_load_explicit(&spool->log->syncs, memory_order_relaxed);
    weir_store_request_fini(&task->request);
}

static void finish_and_push(struct weir_spool *spool, struct weir_task *task, int status)
{
    finish(spool, task, status);
    task->next = NULL;
    weir_done_queue_push(&spool->done, task, NULL, NULL);
}

/* Those before `end` that must go down with an EFULL whose result nobody had taken when they came:
 * they were made by somebody who believed that what is before them had been carried out. Returns
 * the first that need not. */
static struct weir_task *refuse_wave(struct weir_task *task, const struct weir_task *end,
                                     uint64_t full_until, const char *why)
{
    while (task != end && task->age < full_until) {
        weir_error_set(&task->result.error, WEIR_EFULL, "%s", why);
        task = task->next;
    }
    return task;
}

/* --- the log writer ------------------------------------------------------------------------ */

/* Why nothing may be appended now, whatever it is; 0: it may. */
static int closed_to_appends(struct weir_spool *spool, struct weir_error *error)
{
    int status = failed(spool, error);

    if (status == 0 && !weir_reserve_take(spool->reserve))
        status = weir_error_set(error, WEIR_EFULL,
                                "the disk is full: what is left of it is kept for finishing work; "
                                "free space on this file system");
    return status;
}

static void append_tasks(struct weir_spool *spool, struct weir_task *first)
{
    struct weir_error error = {0};
    int status = closed_to_appends(spool, &error);
    uint32_t count = 0, at = 0;

    for (struct weir_task *task = first; task != NULL; task = task->next) {
        if (count == spool->group_capacity) {
            spool->group_capacity = spool->group_capacity > 0 ? 2 * spool->group_capacity : 64;
            spool->group = weir_realloc(spool->group, spool->group_capacity, sizeof *spool->group);
        }
        spool->group[count++] =
            (struct weir_append){.record = &task->request.record, .status = status, .error = error};
    }
    if (status == 0) {
        int log_status =
            weir_log_append(spool->log, spool->group, count, spool->fsync == WEIR_FSYNC_ALWAYS);

        if (log_status != 0)
            fail(spool, &spool->log->failure);
    }
    for (struct weir_task *task = first; task != NULL; task = task->next, at++) {
        task->result.error = spool->group[at].error;
        if (spool->group[at].status == WEIR_EFULL)
            spool->full_until = task->age + 1;
    }
}

static void show_appended(void *arg)
{
    weir_log_show(arg);
}

static void append_all(struct weir_spool *spool, struct weir_task *tasks)
{
    struct weir_task *rest = refuse_wave(tasks, NULL, spool->full_until,
                                         "the spool was full for a batch before this one");

    if (rest != NULL)
        append_tasks(spool, rest);
    for (struct weir_task *task = tasks; task != NULL; task = task->next)
        finish(spool, task, task->result.error.code);
    /* A READ must not tell of an append before that has ended. */
    weir_done_queue_push(&spool->done, tasks, show_appended, spool->log);
}

void weir_spool_serve_appends(struct weir_spool *spool, struct weir_task *tasks)
{
    while (tasks != NULL) {
        struct weir_task *first = tasks, **end = &tasks;

        if (first->request.kind == WEIR_STORE_TRIM) {
            tasks = first->next;
            weir_log_unblock(spool->log);
            finish_and_push(spool, first, 0);
            continue;
        }
        while (*end != NULL && (*end)->request.kind == WEIR_STORE_APPEND)
            end = &(*end)->next;
        tasks = *end;
        *end = NULL;
        append_all(spool, first);
    }
}

void weir_spool_sync_when_due(struct weir_spool *spool)
{
    int64_t now_ns;

    if (spool->fsync != WEIR_FSYNC_INTERVAL || spool->log->failed != 0)
        return;
    now_ns = weir_clock_now().mono_ns;
    if (!spool->log->dirty) {
        spool->sync_due_ns = WEIR_TIME_NEVER;
    } else if (spool->sync_due_ns == WEIR_TIME_NEVER) {
        spool->sync_due_ns = now_ns + WEIR_SYNC_INTERVAL_MS * WEIR_NS_PER_MS;
    } else if (now_ns >= spool->sync_due_ns) {
        spool->sync_due_ns = WEIR_TIME_NEVER;
        if (weir_log_sync(spool->log) != 0)
            fail(spool, &spool->log->failure);
    }
}

/* --- the state thread ---------------------------------------------------------------------- */

void weir_spool_measure(struct weir_spool *spool)
{
    atomic_store_explicit(&spool->log->other_bytes,
                          weir_state_bytes(spool->state) + weir_reserve_bytes(spool->reserve),
                          memory_order_relaxed);
    atomic_store_explicit(&spool->payload_bytes, spool->state->payload_bytes, memory_order_relaxed);
    weir_log_shed_spares(spool->log);
}

/* The APPLYs from `first` up to `end`, in one transaction. */
static int transact(struct weir_spool *spool, struct weir_task *first, const struct weir_task *end,
                    struct weir_error *error)
{
    int status = 0;

    /* The state speaks of nothing that the log may still lose. */
    if (spool->fsync != WEIR_FSYNC_ALWAYS && !WEIR_CANARY(STATE_BEFORE_LOG))
        status = weir_log_sync_appended(spool->log, error);
    if (status == 0)
        status = weir_state_begin(spool->state, error);
    for (struct weir_task *task = first; task != end && status == 0; task = task->next)
        status = weir_state_apply(spool->state, task->request.ops, task->request.op_count,
                                  &task->result, error);
    return status == 0 ? weir_state_commit(spool->state, error) : status;
}

static void apply_tasks(struct weir_spool *spool, struct weir_task *first,
                        const struct weir_task *end)
{
    struct weir_error error = {0};
    int status = failed(spool, &error);

    if (status == 0)
        status = weir_state_check_wal(spool->state, &error);
    if (status == 0) {
        status = transact(spool, first, end, &error);
        if (status == WEIR_EFULL && weir_reserve_give(spool->reserve))
            status = transact(spool, first, end, &error);
        if (status == 0) {
            error = (struct weir_error){0};
        } else if (status != WEIR_EFULL) {
            weir_log(WEIR_LOG_ERROR, "%s; nothing more is accepted", error.text);
            fail(spool, &error);
        }
        weir_spool_measure(spool);
    }
    for (; first != end; first = first->next) {
        first->result.error = error;
        if (status == WEIR_EFULL)
            spool->full_applies_until = first->age + 1;
    }
}

static void apply_all(struct weir_spool *spool, struct weir_task *tasks,
                      const struct weir_task *end)
{
    struct weir_task *rest = refuse_wave(tasks, end, spool->full_applies_until,
                                         "the disk was full for a transaction before this one");

    if (rest != end)
        apply_tasks(spool, rest, end);
    while (tasks != end) {
        struct weir_task *next = tasks->next;

        finish_and_push(spool, tasks, tasks->result.error.code);
        tasks = next;
    }
}

/* The log wants another segment, and there is no room for it: what the state does not need any more
 * is room, too. */
static void give_back(struct weir_spool *spool)
{
    struct weir_error error = {0};

    for (uint32_t i = 0; i < SHRINK_STEPS_MAX && failed(spool, &error) == 0; i++) {
        const uint64_t before = weir_state_bytes(spool->state);
        const uint64_t wanted =
            atomic_load_explicit(&spool->log->wanted_bytes, memory_order_relaxed);
        const uint64_t least = spool->log->segment_bytes; /* a large batch needs more */

        if (weir_log_has_room(spool->log, wanted > least ? wanted : least))
            return;
        if (weir_state_shrink(spool->state, &error) != 0 && error.code != WEIR_EFULL) {
            weir_log(WEIR_LOG_ERROR, "%s; nothing more is accepted", error.text);
            fail(spool, &error);
        }
        weir_spool_measure(spool);
        if (weir_state_bytes(spool->state) >= before)
            return;
    }
}

static void trim(struct weir_spool *spool, struct weir_task *task)
{
    uint64_t sequence = task->request.sequence;
    uint64_t limit = spool->state->absorbed + 1;

    /* What a start would have to read again is not freed, whoever asks. */
    weir_log_trim(spool->log, sequence < limit ? sequence : limit);
    give_back(spool);
    /* The segment that is being written is the log writer's to free. */
    if (weir_log_is_blocked(spool->log))
        weir_task_queue_push(&spool->appends, task);
    else
        finish_and_push(spool, task, 0);
}

static void serve_state(struct weir_spool *spool, struct weir_task *task)
{
    struct weir_store_result *result = &task->result;
    int status;

    if (task->request.kind == WEIR_STORE_TRIM) {
        trim(spool, task);
        return;
    }
    if (task->request.kind == WEIR_STORE_QUERY)
        status = weir_state_query(spool->state, &task->request, result, &result->error);
    else
        status = weir_error_set(&result->error, WEIR_EINVAL,
                                "HOLD is for sinks and collectors; a spool has APPEND");
    finish_and_push(spool, task, status);
}

void weir_spool_serve_states(struct weir_spool *spool, struct weir_task *task)
{
    while (task != NULL) {
        struct weir_task *end = task;

        while (end != NULL && end->request.kind == WEIR_STORE_APPLY)
            end = end->next;
        if (end != task) {
            apply_all(spool, task, end);
        } else {
            end = task->next;
            serve_state(spool, task);
        }
        task = end;
    }
}

/* --- the reader ---------------------------------------------------------------------------- */

void weir_spool_serve_reads(struct weir_spool *spool, struct weir_task *task)
{
    while (task != NULL) {
        struct weir_task *next = task->next;
        struct weir_store_result *result = &task->result;
        int status = weir_log_read(spool->reader, task->request.sequence, task->request.bytes_max,
                                   &result->records, &result->record_count, &result->error);

        finish_and_push(spool, task, status);
        task = next;
    }
}
