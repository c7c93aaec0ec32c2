/* Coprocesses that answer JSON lines. Each has up to WEIR_SERVE_WINDOW messages in work.
 *
 * When a coprocess ends, what it had in work may be what killed it. One message alone: its attempt
 * has failed. Several: nobody can tell which, so none of them counts; they become suspects and are
 * given out anew, each alone to a coprocess that has nothing else. Nobody knows how far they had
 * come: at most once they have all failed.
 *
 *             given out             answered
 *   WAITING ────────────► IN WORK ────────────► ended
 *      ▲                   │   │ the coprocess ended, several in work
 *      │ killed because of │   ▼
 *      └──── another ──────┘  SUSPECT ──► IN WORK, alone ──► ended, whatever happens
 */
#include <executor/slots.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>
#include <base/log.h>
#include <core/job_lease.h>
#include <executor/coprocess.h>
#include <executor/serve_lines.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define RESTART_FIRST_MS 100
#define RESTART_MAX_MS 10000
/* So many starts in a row that failed: what waits is given back. */
#define FAILED_STARTS_MAX 3u
/* Requests written ahead of the pipe; a larger one goes alone. */
#define OUT_BYTES_MAX 65536u
/* How long coprocesses may take to end after their input has, before they are killed. */
#define END_MS 2000
/* How long one that closed a pipe may take to end, so that its own end is what is told of it. */
#define CLOSED_MS 500

struct task {
    struct weir_job job;
    char id[WEIR_ID_TEXT_BYTES];
    bool told;      /* that it has started */
    bool killed;    /* the worker has no use for it any more */
    bool timed_out; /* its coprocess was killed for it */
    struct task *prev, *next;
};

struct slot {
    struct weir_coprocess coprocess;
    struct task *tasks; /* in work, oldest first */
    uint32_t task_count;
    bool alone;         /* the one in work is a suspect */
    int64_t oldest_ns;  /* since when the oldest is the oldest: from then on it is timed */
    char *verdict;      /* why it was killed; NULL: it was not */
    bool blamed;        /* whose fault that was is known; the others in work go on waiting */
    bool proven;        /* it has answered since it was started */
    uint32_t failed;    /* starts in a row without an answer */
    int64_t restart_ns; /* when not alive */
    int64_t closed_ns;  /* it closed a pipe: when to kill it if it has not ended by itself */
};

struct weir_slots {
    const struct weir_program *program;
    struct weir_mailbox *mailbox;
    struct slot *slots;
    uint32_t slot_count;
    struct task *waiting;
    struct task *suspects;
    bool closing;
    int64_t close_ns; /* when those that have not ended are killed */
    uint64_t garbage; /* answers that were none */
    int64_t now_ns;
    bool answered; /* in this turn */
};

/* ---- Tasks ---------------------------------------------------------------------------------- */

static void task_end(struct weir_slots *self, struct task *task, struct weir_job_outcome *outcome)
{
    weir_mailbox_end(self->mailbox, task->job.id, outcome);
    weir_job_fini(&task->job);
    free(task);
}

static void task_fail(struct weir_slots *self, struct task *task, enum weir_outcome how,
                      struct weir_bytes error)
{
    struct weir_job_outcome outcome = {.count = 1, .outcome = how, .delay_ms = -1, .error = error};
    task_end(self, task, &outcome);
}

void weir_slots_take(struct weir_slots *self, struct weir_job *job)
{
    struct task *task = weir_zalloc(1, sizeof *task);
    task->job = *job;
    struct weir_id id = {.time_ms = job->time_ms, .tag = job->tag, .sequence = job->sequence};
    weir_id_format(&id, task->id);
    DL_APPEND(self->waiting, task);
}

static struct task *slot_find(const struct slot *slot, const char *id)
{
    struct task *task;
    DL_FOREACH (slot->tasks, task) {
        if (strcmp(task->id, id) == 0)
            return task;
    }
    return NULL;
}

/* The first in the line is the one that is timed, and that counts as running. */
static void time_oldest(struct weir_slots *self, struct slot *slot)
{
    struct task *oldest = slot->tasks;
    slot->oldest_ns = self->now_ns;
    if (oldest == NULL || oldest->told)
        return;
    oldest->told = true;
    weir_mailbox_started(self->mailbox, oldest->job.id);
}

static void slot_remove(struct weir_slots *self, struct slot *slot, struct task *task)
{
    bool oldest = slot->tasks == task;
    DL_DELETE(slot->tasks, task);
    slot->task_count--;
    if (slot->task_count == 0)
        slot->alone = false;
    if (oldest)
        time_oldest(self, slot);
}

/* ---- Giving out ----------------------------------------------------------------------------- */

/* The task is out of its list already. False: it could not be given out, and has ended. */
static bool give(struct weir_slots *self, struct slot *slot, struct task *task)
{
    struct weir_job_message message;
    struct weir_error error;
    if (self->now_ns > weir_job_start_until_ns(&task->job)) {
        struct weir_job_outcome release = {.count = 1, .outcome = WEIR_RELEASE, .delay_ms = -1};
        task_end(self, task, task->told ? &release : NULL);
        return false;
    }
    if (weir_job_message_decode(&task->job, &message, &error) != 0) {
        task_fail(self, task, WEIR_REJECT, weir_bytes_copy(error.text, strlen(error.text)));
        return false;
    }
    weir_serve_request(&message, &slot->coprocess.out);
    DL_APPEND(slot->tasks, task);
    if (++slot->task_count == 1)
        time_oldest(self, slot);
    if (slot->coprocess.out.size >= OUT_BYTES_MAX) /* else at the turn's end, several at once */
        weir_coprocess_write(&slot->coprocess);
    return true;
}

static bool slot_ready(const struct slot *slot)
{
    return slot->coprocess.alive && slot->verdict == NULL && slot->coprocess.input >= 0 &&
           slot->coprocess.output >= 0;
}

static bool slot_has_room(const struct slot *slot, const struct task *task)
{
    return slot_ready(slot) && !slot->alone && slot->task_count < WEIR_SERVE_WINDOW &&
           slot->coprocess.out.size < OUT_BYTES_MAX && slot_find(slot, task->id) == NULL;
}

static void give_suspects(struct weir_slots *self)
{
    for (uint32_t i = 0; i < self->slot_count && self->suspects != NULL; i++) {
        struct slot *slot = &self->slots[i];
        while (slot_ready(slot) && slot->task_count == 0 && self->suspects != NULL) {
            struct task *task = self->suspects;
            DL_DELETE(self->suspects, task);
            slot->alone = give(self, slot, task);
        }
    }
}

static struct slot *least_busy(struct weir_slots *self, const struct task *task)
{
    struct slot *best = NULL;
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct slot *slot = &self->slots[i];
        if (slot_has_room(slot, task) && (best == NULL || slot->task_count < best->task_count))
            best = slot;
    }
    return best;
}

static void give_out(struct weir_slots *self)
{
    give_suspects(self);
    /* While there are suspects nothing else is begun, so that coprocesses become idle for them. */
    while (self->suspects == NULL && self->waiting != NULL) {
        struct task *task = self->waiting;
        struct slot *slot = least_busy(self, task);
        if (slot == NULL)
            return;
        DL_DELETE(self->waiting, task);
        (void)give(self, slot, task);
    }
}

/* ---- Coprocesses that start and end --------------------------------------------------------- */

static void plan_restart(struct weir_slots *self, struct slot *slot)
{
    int64_t delay_ms = 0;
    slot->failed = slot->proven ? 0 : slot->failed + 1;
    if (slot->failed > 0) {
        uint32_t doublings = slot->failed < 8 ? slot->failed - 1 : 7;
        delay_ms = (int64_t)RESTART_FIRST_MS << doublings;
        delay_ms = delay_ms < RESTART_MAX_MS ? delay_ms : RESTART_MAX_MS;
    }
    slot->proven = false;
    slot->restart_ns = self->now_ns + delay_ms * WEIR_NS_PER_MS;
}

/* No coprocess can be started: whoever waits for one is better off elsewhere. */
static void give_back_waiting(struct weir_slots *self, const char *why)
{
    struct task *task, *next;
    for (uint32_t i = 0; i < self->slot_count; i++)
        if (self->slots[i].coprocess.alive || self->slots[i].failed < FAILED_STARTS_MAX)
            return;
    DL_CONCAT(self->waiting, self->suspects);
    self->suspects = NULL;
    DL_FOREACH_SAFE(self->waiting, task, next)
    {
        DL_DELETE(self->waiting, task);
        task_fail(self, task, WEIR_UNAVAILABLE, weir_bytes_copy(why, strlen(why)));
    }
}

static void start_due(struct weir_slots *self)
{
    for (uint32_t i = 0; i < self->slot_count && !self->closing; i++) {
        struct slot *slot = &self->slots[i];
        struct weir_error error;
        if (slot->coprocess.alive || slot->restart_ns > self->now_ns)
            continue;
        slot->closed_ns = WEIR_TIME_NEVER;
        if (weir_coprocess_start(&slot->coprocess, self->program, &error) == 0)
            continue;
        plan_restart(self, slot);
        weir_log(WEIR_LOG_ERROR, "coprocess %u: %s", slot->coprocess.number, error.text);
        give_back_waiting(self, error.text);
    }
}

/* Have the coprocess end; what becomes of its messages is decided when it has. */
static void condemn(struct slot *slot, const char *why, bool blamed)
{
    if (!slot->coprocess.alive || slot->verdict != NULL)
        return;
    slot->verdict = weir_strdup(why);
    slot->blamed = blamed;
    weir_child_kill(&slot->coprocess.child);
    weir_fd_close(&slot->coprocess.output); /* nothing that it says counts any more */
}

static void settle(struct weir_slots *self, struct slot *slot, const char *why)
{
    struct task *task, *next, *innocent = NULL;
    uint32_t accused = 0;
    DL_FOREACH (slot->tasks, task) {
        accused += !task->killed;
    }
    DL_FOREACH_SAFE(slot->tasks, task, next)
    {
        DL_DELETE(slot->tasks, task);
        if (task->killed)
            task_fail(self, task, WEIR_RELEASE, WEIR_BYTES_NONE);
        else if (task->timed_out || (!slot->blamed && accused == 1) || task->job.once)
            task_fail(self, task, WEIR_RETRY, weir_tail_error(&slot->coprocess.tail, why));
        else if (slot->blamed)
            DL_APPEND(innocent, task);
        else
            DL_APPEND(self->suspects, task);
    }
    DL_CONCAT(innocent, self->waiting);
    self->waiting = innocent;
}

static void coprocess_ended(struct weir_slots *self, struct slot *slot)
{
    char text[WEIR_ENDING_TEXT_BYTES], why[WEIR_ERROR_TEXT_BYTES];
    struct weir_ending ending = weir_coprocess_end(&slot->coprocess);
    weir_ending_describe(ending, text);
    if (slot->verdict != NULL)
        snprintf(why, sizeof why, "%s", slot->verdict);
    else
        snprintf(why, sizeof why, "the coprocess ended: %s", text);
    if (!self->closing)
        weir_log(WEIR_LOG_WARNING, "coprocess %u, with %u messages in work: %s",
                 slot->coprocess.number, slot->task_count, why);
    settle(self, slot, why);
    slot->task_count = 0;
    slot->alone = slot->blamed = false;
    free(slot->verdict);
    slot->verdict = NULL;
    plan_restart(self, slot);
    give_back_waiting(self, why);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static void take_answer(struct weir_slots *self, struct slot *slot, const char *line, size_t size)
{
    struct weir_serve_answer answer;
    struct weir_error error;
    int status = weir_serve_answer(line, size, &answer, &error);
    struct task *task = slot_find(slot, answer.id);
    if (status == 0 && task == NULL)
        status = weir_error_set(&error, WEIR_EPROTO,
                                "the coprocess's answer has the id %s, which it has not in work",
                                answer.id);
    if (status != 0) {
        self->garbage++;
        weir_log(WEIR_LOG_ERROR, "coprocess %u: %s (%llu such so far)", slot->coprocess.number,
                 error.text, (unsigned long long)self->garbage);
        if (task != NULL) {
            slot_remove(self, slot, task);
            task_fail(self, task, WEIR_RETRY, weir_bytes_copy(error.text, strlen(error.text)));
        }
        condemn(slot, error.text, task != NULL);
        weir_serve_answer_fini(&answer);
        return;
    }
    slot->proven = true;
    if (answer.extend) {
        if (task == slot->tasks)
            slot->oldest_ns = self->now_ns;
        weir_mailbox_extend(self->mailbox, task->job.id);
        return;
    }
    struct weir_job_outcome outcome = {
        .count = 1,
        .outcome = answer.outcome,
        .delay_ms = answer.delay_ms,
        .error = answer.error,
        .result = answer.outcome == WEIR_DONE ? answer.result : WEIR_BYTES_NONE,
    };
    if (answer.outcome != WEIR_DONE)
        weir_bytes_drop(&answer.result);
    slot_remove(self, slot, task);
    task_end(self, task, &outcome);
    self->answered = true;
}

static void take_answers(struct weir_slots *self, struct slot *slot)
{
    const char *line;
    size_t size;
    while (slot->verdict == NULL && weir_coprocess_line(&slot->coprocess, &line, &size)) {
        take_answer(self, slot, line, size);
        weir_coprocess_line_done(&slot->coprocess, size);
    }
}

static void check_time(struct weir_slots *self, struct slot *slot)
{
    struct task *oldest = slot->tasks;
    if (!slot_ready(slot) || oldest == NULL || oldest->job.timeout_ms <= 0 ||
        self->now_ns < slot->oldest_ns + oldest->job.timeout_ms * WEIR_NS_PER_MS)
        return;
    char why[64];
    snprintf(why, sizeof why, "timed out after %lld ms", (long long)oldest->job.timeout_ms);
    oldest->timed_out = true;
    condemn(slot, why, true);
}

static void check_pipes(struct weir_slots *self, struct slot *slot)
{
    if (!slot->coprocess.alive || slot->verdict != NULL || slot_ready(slot) || self->closing)
        return;
    if (slot->closed_ns == WEIR_TIME_NEVER)
        slot->closed_ns = self->now_ns + CLOSED_MS * WEIR_NS_PER_MS;
    else if (self->now_ns >= slot->closed_ns)
        condemn(slot, "the coprocess closed its stdin or stdout and did not end", false);
}

static void attend(struct weir_slots *self, struct slot *slot,
                   const struct pollfd polls[WEIR_COPROCESS_POLLS])
{
    struct weir_coprocess *coprocess = &slot->coprocess;
    if (!coprocess->alive)
        return;
    if (polls[0].revents)
        weir_coprocess_write(coprocess);
    bool ended = polls[3].revents != 0;
    if (ended)
        weir_child_kill(&coprocess->child); /* what it started may hold its pipes */
    /* What it said before it ended still counts, so its output is read to the end first. */
    while (polls[1].revents || polls[2].revents || ended) {
        bool in_bounds = weir_coprocess_read(coprocess);
        take_answers(self, slot);
        if (!in_bounds)
            condemn(slot, "the coprocess answered with a line over 16 MiB", false);
        if (!ended || !weir_coprocess_more(coprocess))
            break;
    }
    if (ended)
        coprocess_ended(self, slot);
}

/* ---- From outside ---------------------------------------------------------------------------- */

/* One that is in no coprocess is given back. */
static void drop(struct weir_slots *self, struct task **list, struct task *task)
{
    struct weir_job_outcome release = {.count = 1, .outcome = WEIR_RELEASE, .delay_ms = -1};
    DL_DELETE(*list, task);
    task_end(self, task, task->told ? &release : NULL);
}

static void drop_all(struct weir_slots *self, struct task **list)
{
    while (*list != NULL)
        drop(self, list, *list);
}

static bool drop_job(struct weir_slots *self, struct task **list, uint64_t job)
{
    struct task *task;
    DL_FOREACH (*list, task) {
        if (task->job.id == job) {
            drop(self, list, task);
            return true;
        }
    }
    return false;
}

void weir_slots_kill(struct weir_slots *self, uint64_t job)
{
    if (drop_job(self, &self->waiting, job) || drop_job(self, &self->suspects, job))
        return;
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct task *task;
        DL_FOREACH (self->slots[i].tasks, task) {
            if (task->job.id != job)
                continue;
            task->killed = true;
            self->slots[i].proven = true; /* its end says nothing of the coprocess */
            condemn(&self->slots[i], "ended by the worker, which has no use for a message any more",
                    true);
            return;
        }
    }
}

void weir_slots_close(struct weir_slots *self, int64_t now_ns)
{
    if (self->closing)
        return;
    self->closing = true;
    self->close_ns = now_ns + END_MS * WEIR_NS_PER_MS;
    drop_all(self, &self->waiting);
    drop_all(self, &self->suspects);
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct slot *slot = &self->slots[i];
        struct task *task;
        DL_FOREACH (slot->tasks, task) {
            task->killed = true;
        }
        if (slot->tasks != NULL)
            condemn(slot, "ended by the worker, which ends", true);
        else if (slot->coprocess.alive)
            weir_fd_close(&slot->coprocess.input);
    }
}

struct weir_slots *weir_slots_new(const struct weir_program *program, uint32_t count,
                                  struct weir_mailbox *mailbox)
{
    struct weir_slots *self = weir_zalloc(1, sizeof *self);
    self->program = program;
    self->mailbox = mailbox;
    self->slot_count = count;
    self->slots = weir_zalloc(count, sizeof *self->slots);
    for (uint32_t i = 0; i < count; i++)
        self->slots[i].coprocess.number = i + 1;
    return self;
}

void weir_slots_destroy(struct weir_slots **self)
{
    drop_all(*self, &(*self)->waiting);
    free((*self)->slots);
    free(*self);
    *self = NULL;
}

void weir_slots_turn(struct weir_slots *self, int64_t now_ns, const struct pollfd *polls)
{
    self->now_ns = now_ns;
    self->answered = false;
    for (uint32_t i = 0; polls != NULL && i < self->slot_count; i++)
        attend(self, &self->slots[i], &polls[WEIR_COPROCESS_POLLS * i]);
    start_due(self);
    give_out(self);
    for (uint32_t i = 0; i < self->slot_count; i++) {
        weir_coprocess_write(&self->slots[i].coprocess);
        check_pipes(self, &self->slots[i]);
        check_time(self, &self->slots[i]);
        if (self->closing && now_ns >= self->close_ns)
            condemn(&self->slots[i], "did not end with its input", true);
    }
}

bool weir_slots_flow(const struct weir_slots *self)
{
    bool flow = self->answered && !self->closing;
    for (uint32_t i = 0; i < self->slot_count; i++)
        flow = flow && self->slots[i].task_count > 0;
    return flow;
}

uint32_t weir_slots_poll_count(const struct weir_slots *self)
{
    return WEIR_COPROCESS_POLLS * self->slot_count;
}

void weir_slots_polls(const struct weir_slots *self, struct pollfd *polls)
{
    for (uint32_t i = 0; i < self->slot_count; i++)
        weir_coprocess_polls(&self->slots[i].coprocess, &polls[WEIR_COPROCESS_POLLS * i]);
}

static int64_t slot_next_ns(const struct weir_slots *self, const struct slot *slot)
{
    if (!slot->coprocess.alive)
        return self->closing ? WEIR_TIME_NEVER : slot->restart_ns;
    if (slot->verdict != NULL)
        return WEIR_TIME_NEVER; /* killed: its end will tell */
    if (self->closing)
        return self->close_ns;
    if (!slot_ready(slot))
        return slot->closed_ns;
    if (slot->tasks != NULL && slot->tasks->job.timeout_ms > 0)
        return slot->oldest_ns + slot->tasks->job.timeout_ms * WEIR_NS_PER_MS;
    return WEIR_TIME_NEVER;
}

int64_t weir_slots_next_ns(const struct weir_slots *self)
{
    int64_t next = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->slot_count; i++) {
        int64_t at = slot_next_ns(self, &self->slots[i]);
        next = at < next ? at : next;
    }
    return next;
}

bool weir_slots_ended(const struct weir_slots *self)
{
    for (uint32_t i = 0; i < self->slot_count; i++)
        if (self->slots[i].coprocess.alive)
            return false;
    return self->closing;
}
