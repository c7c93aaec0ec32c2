/* The executor of a simulated worker, and what its handlers do. */
#include "sim.h"
#include <core/job_lease.h>
#include <stdio.h>
#include <string.h>
#include <wire/batch.h>

struct sim_job {
    struct sim_job *next;
    struct weir_job job;
    uint32_t at;       /* the message in work */
    size_t offset;     /* of its body */
    uint32_t handling; /* the number of the message in work, and one; 0: none */
    bool killed;
    bool lost;        /* killed, as the message in work is not this worker's any more */
    int64_t began_ns; /* the message in work */
    uint64_t tried;   /* as it was of the message in work before this start */
    uint32_t starts;  /* likewise, with this one */
};

enum sim_behaviour sim_behaviour_of(const struct sim *sim, uint32_t message, uint32_t group)
{
    struct weir_random dice;
    weir_random_seed(&dice, sim->seed * 1000003u + message * 31u + group);
    uint64_t roll = sim->params.failures ? weir_random_below(&dice, 100) : 0;
    if (roll < 80)
        return SIM_OK;
    if (roll < 88)
        return SIM_FAIL_ONCE;
    if (roll < 90)
        return SIM_FAIL_ALWAYS;
    if (roll < 92)
        return SIM_REJECT;
    if (roll < 94)
        return SIM_HANG_ONCE;
    if (roll < 95)
        return SIM_CRASH_ONCE;
    if (roll < 96)
        return SIM_CRASH_ALWAYS;
    return roll < 98 ? SIM_UNAVAILABLE_ONCE : SIM_UNAVAILABLE_THEN_FAIL;
}

static struct sim_job *job_find(struct sim_process *process, uint64_t id)
{
    for (struct sim_job *job = process->jobs; job; job = job->next) {
        if (job->job.id == id)
            return job;
    }
    return NULL;
}

/* `more`: another one follows at once. */
static void job_tell(struct sim_process *process, struct weir_handled handled, bool more)
{
    struct weir_event event = {.type = WEIR_EVENT_HANDLED, .handled = &handled, .more = more};
    sim_step(process, &event);
    for (uint32_t i = 0; handled.outcomes && i < handled.outcome_count; i++) {
        weir_bytes_drop(&handled.outcomes[i].error);
        weir_bytes_drop(&handled.outcomes[i].result);
    }
    free(handled.outcomes);
}

static void job_free(struct sim_process *process, struct sim_job *job)
{
    for (struct sim_job **at = &process->jobs; *at; at = &(*at)->next) {
        if (*at == job) {
            *at = job->next;
            break;
        }
    }
    process->running--;
    weir_job_fini(&job->job);
    free(job);
}

static void job_end(struct sim_process *process, struct sim_job *job)
{
    uint64_t id = job->job.id;
    job_free(process, job);
    job_tell(process, (struct weir_handled){.type = WEIR_HANDLED_END, .job = id}, false);
}

static void message_end(struct sim *sim, struct sim_process *process, void *arg, uint64_t number);

static struct sim_message *job_message(struct sim_process *process, struct sim_job *job,
                                       struct weir_message_view *view)
{
    struct sim *sim = process->sim;
    uint32_t width = (uint32_t)(job->job.index.size / job->job.count);
    uint32_t length = weir_index_length(&job->job.index, width, job->at);
    struct weir_error error = {0};
    if (weir_message_decode(job->job.body.data + job->offset, length, view, &error) != 0) {
        sim_fail(sim, SIM_CHECK_IDENTITY, "%s was given a message that does not parse: %s",
                 process->name, error.text);
        return NULL;
    }
    struct sim_message *message = sim_message_of(sim, view->payload, view->payload_bytes);
    if (!message)
        sim_fail(sim, SIM_CHECK_IDENTITY, "%s was given a message that nobody sent", process->name);
    return message;
}

/* The ventilator may have taken back what runs for longer than an attempt may. */
static bool is_overdue(const struct sim_job *job, int64_t now_ns)
{
    const int64_t timeout_ns = job->job.timeout_ms * WEIR_NS_PER_MS;
    return timeout_ns > 0 && now_ns - job->began_ns > timeout_ns;
}

static bool handles(const struct sim_process *process, const struct sim_message *message)
{
    const int64_t now_ns = process->sim->now_ns;
    for (const struct sim_job *job = process->jobs; job; job = job->next)
        if (job->handling == message->number + 1 && !job->killed && !is_overdue(job, now_ns) &&
            weir_job_lease_deadline(job->job.lease) > sim_now(process).mono_ns)
            return true;
    return false;
}

/* Has anything happened since then, but the loss of routers, that may be a reason to run a job of
 * this worker anew? */
static bool disturbed(struct sim *sim, const struct sim_process *worker, uint32_t stream,
                      int64_t since_ns)
{
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_process *process = &sim->processes[i];
        const bool concerned = process == worker || process->kind == SIM_RELAY ||
                               (process->kind == SIM_VENTILATOR && process->index == stream);
        if (concerned &&
            (process->disturbed_ns >= since_ns || process->stalled_until_ns >= since_ns))
            return true;
    }
    return false;
}

/* Invariants 6 and 7: nobody else runs it, under a lease that lives, unless something was lost. */
static void check_alone(struct sim_process *process, const struct sim_message *message)
{
    struct sim *sim = process->sim;
    for (uint32_t i = 0; i < sim->process_count; i++) {
        const struct sim_process *other = &sim->processes[i];
        if (other == process || other->kind != SIM_WORKER || other->group != process->group ||
            !handles(other, message))
            continue;
        int64_t mine_ns = sim_held_since(process, message);
        int64_t since_ns = sim_held_since(other, message);
        /* A ventilator that has forgotten a lease may give out anew what it was for, and the worker
         * cannot know before its next beat is answered. */
        if (mine_ns < 0)
            mine_ns = sim_held_before(process, message);
        if (mine_ns >= 0 && mine_ns < since_ns) /* it may have been long on its way */
            since_ns = mine_ns;
        if (since_ns < 0 || disturbed(sim, other, message->stream, since_ns))
            continue;
        sim_fail(sim, sim->router_died_ns >= since_ns ? SIM_CHECK_ROUTER : SIM_CHECK_ONE_LEASE,
                 "%s starts message %u, which %s has run since %.6f", process->name,
                 message->number, other->name, (double)since_ns / 1e9);
    }
}

static void message_start(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)arg;
    struct sim_job *job = process ? job_find(process, number) : NULL;
    if (!job)
        return;
    if (job->at == job->job.count || job->killed ||
        weir_job_lease_deadline(job->job.lease) <= sim_now(process).mono_ns) {
        job_end(process, job);
        return;
    }
    struct weir_message_view view;
    struct sim_message *message = job_message(process, job, &view);
    if (!message)
        return;
    sim_check_lease(process, message);
    sim_check_start(process, message, &job->job, job->at);
    check_alone(process, message);
    job->handling = message->number + 1;
    job->began_ns = sim->now_ns;
    sim_count(sim, SIM_COUNT_STARTS);
    if (message->in[process->group].starts++ > 0)
        sim_count(sim, SIM_COUNT_REPEATS);
    job->tried = message->in[process->group].tried;
    job->starts = message->in[process->group].starts;
    sim_tried(message, process->group, job->job.attempt);
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, process->group);
    bool crashes = behaviour == SIM_CRASH_ALWAYS ||
                   (behaviour == SIM_CRASH_ONCE && message->in[process->group].starts == 1);
    sim_log(sim, process->name, "handles %u (sequence %llu, attempt %u, behaviour %d)",
            message->number, (unsigned long long)(job->job.sequence + job->at), job->job.attempt,
            (int)behaviour);
    job_tell(process,
             (struct weir_handled){.type = WEIR_HANDLED_STARTED, .job = number, .first = job->at},
             false);
    if (process->stubborn && weir_random_below(&sim->random, 16) == 0) { /* long past its time */
        sim_at(sim, 3 * WEIR_NS_PER_S + sim_delay(sim, 12 * WEIR_NS_PER_S), process, message_end,
               NULL, number * 4 + (crashes ? 1 : 0));
        return;
    }
    bool hangs = behaviour == SIM_HANG_ONCE && job->job.attempt == 1 && job->job.timeout_ms > 0;
    int64_t delay = hangs ? job->job.timeout_ms * WEIR_NS_PER_MS
                          : sim_delay(sim, process->slow ? WEIR_NS_PER_S : 20 * WEIR_NS_PER_MS);
    sim_at(sim, delay, process, message_end, NULL,
           number * 4 + (crashes ? 1 : 0) + (hangs ? 2 : 0));
}

static void come_back(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)process;
    (void)number;
    (void)sim;
    struct sim_process *worker = arg;
    if (!worker->held_down)
        sim_start(worker);
}

static struct weir_bytes result_of(struct sim *sim, const struct sim_process *process,
                                   const struct sim_message *message, const struct sim_job *job,
                                   const struct weir_message_view *view)
{
    char text[16];
    if (!sim->params.stages || process->group != 0)
        return weir_bytes_copy(view->payload, view->payload_bytes);
    const struct sim_message *made = sim_made_of(sim, message->number, job->job.death);
    return weir_bytes_copy(text, (size_t)snprintf(text, sizeof text, "%u", made->number));
}

static struct weir_job_outcome outcome_of(struct sim *sim, struct sim_process *process,
                                          struct sim_message *message, const struct sim_job *job,
                                          const struct weir_message_view *view, bool hung)
{
    static const char failure[] = "it did not work";
    enum sim_behaviour behaviour = sim_behaviour_of(sim, message->number, process->group);
    struct weir_job_outcome outcome = {.count = 1, .outcome = WEIR_DONE, .delay_ms = -1};
    const bool unavailable =
        (behaviour == SIM_UNAVAILABLE_ONCE || behaviour == SIM_UNAVAILABLE_THEN_FAIL) &&
        message->in[process->group].starts == 1;
    if (unavailable)
        outcome.outcome = WEIR_UNAVAILABLE;
    else if (hung || (behaviour == SIM_FAIL_ONCE && job->job.attempt == 1) ||
             behaviour == SIM_FAIL_ALWAYS || behaviour == SIM_UNAVAILABLE_THEN_FAIL)
        outcome.outcome = WEIR_RETRY;
    else if (behaviour == SIM_REJECT)
        outcome.outcome = WEIR_REJECT;
    if (outcome.outcome == WEIR_DONE) {
        outcome.result = result_of(sim, process, message, job, view);
        if (!job->lost) /* else nothing may come of it */
            message->in[process->group].handled = true;
    } else {
        outcome.error = weir_bytes_borrow(failure, sizeof failure - 1);
        message->in[process->group].failures += outcome.outcome != WEIR_UNAVAILABLE && !job->lost;
        sim_count(sim, SIM_COUNT_FAILURES);
    }
    return outcome;
}

static void message_end(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)arg;
    struct sim_job *job = process ? job_find(process, number / 4) : NULL;
    if (!job)
        return;
    if (number & 1) {
        sim_log(sim, process->name, "is killed by its handler");
        sim_crash(process);
        sim_at(sim, 500 * WEIR_NS_PER_MS, NULL, come_back, process, 0);
        return;
    }
    const bool makes = sim->params.stages && process->group == 0;
    if (makes && job->handling)
        sim_made_of(sim, job->handling - 1, job->job.death);
    struct weir_message_view view;
    struct sim_message *message = job_message(process, job, &view);
    if (!message)
        return;
    job->handling = 0;
    if (job->killed)
        sim_count(sim, SIM_COUNT_LATE);
    struct weir_job_outcome *outcome = weir_zalloc(1, sizeof *outcome);
    *outcome = outcome_of(sim, process, message, job, &view, (number & 2) != 0);
    outcome->first = job->at;
    if (outcome->outcome == WEIR_UNAVAILABLE && message->in[process->group].starts == job->starts &&
        !is_overdue(job, sim->now_ns)) /* else it may have counted before this answer */
        message->in[process->group].tried = job->tried; /* that was no attempt */
    const bool stop = job->job.ordered && outcome->outcome != WEIR_DONE;
    uint32_t width = (uint32_t)(job->job.index.size / job->job.count);
    job->offset += weir_index_length(&job->job.index, width, job->at);
    job->at++;
    const bool over = stop || job->at == job->job.count;
    job_tell(process,
             (struct weir_handled){.type = WEIR_HANDLED_OUTCOMES,
                                   .job = number / 4,
                                   .outcomes = outcome,
                                   .outcome_count = 1},
             over);
    job = job_find(process, number / 4);
    if (job && over)
        job_end(process, job);
    else if (job)
        sim_at(sim, 1, process, message_start, NULL, number / 4);
}

void sim_handler_run(struct sim_process *process, struct weir_job *job)
{
    struct sim_job *entry = weir_zalloc(1, sizeof *entry);
    entry->job = *job;
    *job = (struct weir_job){0};
    entry->next = process->jobs;
    process->jobs = entry;
    if (++process->running > process->concurrency)
        sim_fail(process->sim, SIM_CHECK_EXECUTOR, "%s runs %u jobs at once, of at most %u",
                 process->name, process->running, process->concurrency);
    if (entry->job.count == 0 || entry->job.count > process->job_messages_max)
        sim_fail(process->sim, SIM_CHECK_EXECUTOR, "%s was given a job of %u messages",
                 process->name, entry->job.count);
    sim_at(process->sim, 1, process, message_start, NULL, entry->job.id);
}

void sim_handler_kill(struct sim_process *process, uint64_t id)
{
    struct sim_job *job = job_find(process, id);
    if (!job || job->killed)
        return;
    job->killed = true;
    job->lost = weir_job_lease_deadline(job->job.lease) == 0 && !process->told_to_stop;
    if (process->stubborn && job->handling)
        return; /* it goes on, and says what it likes */
    /* what runs is cut off: no outcome, and the job ends */
    sim_at(process->sim, WEIR_NS_PER_MS, process, message_start, NULL, id);
}

void sim_handlers_fini(struct sim_process *process)
{
    while (process->jobs)
        job_free(process, process->jobs);
    process->running = 0;
}
