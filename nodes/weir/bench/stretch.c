/* Workers, and one stretch of messages through the pipeline. */
#include "rounds_inside.h"

#include <base/clock.h>
#include <inttypes.h>
#include <signal.h>

#define LEAD_NS (20 * WEIR_NS_PER_MS) /* from the word to begin to the first message at a rate */
#define POLL_MS 2
#define WATCH_MS 1 /* while acks are watched */
#define ASK_MS 20  /* while only the ventilator knows how far handlers are */

/* ---- Workers ----------------------------------------------------------------------------------
 */

int weir_bench_start_workers(struct bench *self, struct weir_error *error)
{
    const struct weir_bench_plan *plan = self->plan;
    const int64_t until_ns = weir_clock_now().mono_ns + plan->patience_ms * WEIR_NS_PER_MS;
    struct weir_bench_part *part;
    int status = 0;

    const uint32_t own = plan->handlers == WEIR_BENCH_FUNCTION ? plan->groups * plan->workers : 0;
    for (uint32_t i = 0; i < own && status == 0; i++) {
        self->workers[i] = (struct weir_bench_worker){
            .load = &self->load,
            .from = weir_bench_stage_dispatch(self->stage),
            .to = self->stage->sink != NULL ? self->stage->sink->submit : NULL,
            .group = i / plan->workers,
            .index = i % plan->workers};
        status = weir_bench_crew_start(self->crew, "worker", SIGKILL, weir_bench_work,
                                       &self->workers[i], &part, error);
        if (status == 0)
            weir_bench_meter_add(&self->meter, WEIR_BENCH_WORKER, part->pid);
    }
    while (status == 0 && !weir_bench_stage_joined(self->stage)) {
        status = weir_bench_crew_turn(self->crew, 10, error);
        if (status == 0 && weir_clock_now().mono_ns > until_ns)
            status = weir_error_set(error, WEIR_ETIMEDOUT,
                                    "the workers are not all connected within %" PRId64 " ms",
                                    plan->patience_ms);
    }
    return status;
}

/* ---- One stretch through the pipeline ---------------------------------------------------------
 */

static int start_producers(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    struct weir_bench_part *part;

    const uint32_t producers = self->plan->producers;
    stretch->first = self->crew->count;
    stretch->second = stretch->first + producers;
    for (uint32_t i = 0; i < (stretch->ahead > 0 ? 2 * producers : producers); i++) {
        const bool later = i >= producers;
        self->producers[i] = (struct weir_bench_producer){
            .load = &self->load,
            .submit = self->stage->ventilator->submit,
            .index = later ? stretch->ahead + i - producers : i,
            .end = later || stretch->ahead == 0 ? stretch->count : stretch->ahead};
        if (weir_bench_crew_start(self->crew, "producer", SIGKILL, weir_bench_produce,
                                  &self->producers[i], &part, error) != 0)
            return error->code;
        weir_bench_meter_add(&self->meter, WEIR_BENCH_PRODUCER, part->pid);
    }
    return weir_bench_crew_await(self->crew, stretch->first, WEIR_BENCH_READY,
                                 self->plan->patience_ms, error);
}

void weir_bench_go(const struct bench *self, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        weir_bench_crew_go(&self->crew->parts[i]);
}

/* Ask the ventilator; `answered` says whether it told. On a busy machine it may be late, and when
 * it is gone for good others find out. */
int weir_bench_count(struct stretch *stretch, bool *answered, struct weir_error *error)
{
    struct weir_bench_counts counts;
    const int status = weir_bench_ask(&stretch->asker, &counts, error);

    *answered = status == 0;
    if (status == 0)
        stretch->after = counts;
    return status == WEIR_ETIMEDOUT || status == WEIR_EUNREACHABLE ? 0 : status;
}

/* Note, for the messages that the ventilator calls done since it was asked last, that they are:
 * those of a group are taken to end in the order in which they were sent. */
static void note_acked(const struct bench *self, const struct stretch *stretch,
                       uint64_t done_before)
{
    const int64_t now_ns = weir_clock_now().mono_ns;

    for (uint64_t done = done_before; done < stretch->after.done; done++) {
        const uint64_t at = done - stretch->before.done;

        if (at >= stretch->count)
            break; /* account() finds out why */
        self->acked_ns[at] = now_ns - weir_bench_due_ns(self->load.stretch, at);
    }
}

/* Whether the bench may wait on: all are there, and not all of its patience was in vain. */
static int be_patient(const struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const int64_t now_ns = weir_clock_now().mono_ns;
    const uint64_t handled = weir_bench_load_sums(&self->load).handled;

    if (self->meter.gone != NULL)
        return weir_error_set(error, WEIR_EIO, "the %s has ended amidst its work",
                              self->meter.gone);
    if (handled + stretch->after.done != stretch->progress || stretch->progress_ns == 0) {
        stretch->progress = handled + stretch->after.done;
        stretch->progress_ns = now_ns;
    }
    if (now_ns - stretch->progress_ns < self->plan->patience_ms * WEIR_NS_PER_MS)
        return 0;
    return weir_error_set(error, WEIR_ETIMEDOUT,
                          "nothing has gone on for %" PRId64 " ms: of %" PRIu64
                          " messages for %u groups %" PRIu64 " were handled",
                          self->plan->patience_ms, self->load.stretch->count, self->plan->groups,
                          handled);
}

/* Handlers that are programs note nothing: how many have ended is what the ventilator says. */
static bool foreign(const struct bench *self)
{
    return self->plan->handlers != WEIR_BENCH_FUNCTION;
}

/* Let the crew go on for a moment. */
int weir_bench_linger(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const int wait_ms = stretch->watch ? WATCH_MS : foreign(self) ? ASK_MS : POLL_MS;
    const int status = weir_bench_crew_turn(self->crew, wait_ms, error);

    return status == 0 ? be_patient(self, stretch, error) : status;
}

/* What the ventilator counts before anything is sent. */
static int ask_first(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    bool answered = false;
    int status = 0;

    while (status == 0 && !answered) {
        status = weir_bench_count(stretch, &answered, error);
        if (status == 0 && !answered)
            status = weir_bench_linger(self, stretch, error);
    }
    stretch->before = stretch->after;
    return status;
}

/* Until every message is confirmed, handled and acked in each group. */
static int until_acked(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const uint64_t wanted = stretch->count * self->plan->groups;
    bool answered, over = false;
    int status = 0;

    while (status == 0 && !over) {
        if (stretch->watch || foreign(self) ||
            weir_bench_load_sums(&self->load).handled == wanted) {
            const uint64_t done_before = stretch->after.done;

            status = weir_bench_count(stretch, &answered, error);
            if (status == 0 && answered && stretch->watch)
                note_acked(self, stretch, done_before);
            over = stretch->after.done >= stretch->before.done + stretch->count &&
                   weir_bench_crew_all(self->crew, stretch->first, WEIR_BENCH_DONE);
        }
        if (status == 0 && !over)
            status = weir_bench_linger(self, stretch, error);
    }
    return status;
}

static void note_times(const struct bench *self, struct stretch *stretch,
                       const struct weir_bench_cpu *before, int64_t ended_ns)
{
    const struct weir_bench_cpu now = weir_bench_meter_cpu(&self->meter);
    int64_t first_ns = INT64_MAX;

    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++)
        stretch->cpu.ns[kind] = now.ns[kind] - before->ns[kind];
    stretch->cpu.ns[WEIR_BENCH_PRODUCER] = 0; /* without the start of the processes */
    for (uint32_t i = stretch->first; i < self->crew->count; i++) {
        const struct weir_bench_word *word = self->crew->parts[i].word;

        stretch->cpu.ns[WEIR_BENCH_PRODUCER] += word->cpu_ns;
        if (word->first_ns < first_ns)
            first_ns = word->first_ns;
    }
    stretch->took_ns = ended_ns - first_ns;
}

/* What was seen outside and what the ventilator says: all of them, each once, none out of order. */
static int account(struct bench *self, const struct stretch *stretch, struct weir_error *error)
{
    struct weir_bench_sums sums = weir_bench_load_sums(&self->load);
    const uint64_t accepted = stretch->after.accepted - stretch->before.accepted;
    const uint64_t done = stretch->after.done - stretch->before.done;
    struct weir_bench_totals *totals = &self->figures->totals;

    if (foreign(self))
        sums.handled = done * self->plan->groups;
    totals->sent += stretch->count;
    totals->accepted += accepted;
    totals->acked += done;
    totals->handled += sums.handled;
    totals->repeated += sums.repeated;
    totals->disordered += sums.disordered;
    totals->strange += sums.strange;
    if (sums.handled != stretch->count * self->plan->groups || sums.strange > 0 ||
        sums.disordered > 0 || accepted != stretch->count || done != stretch->count) {
        if (weir_bench_stage_sound(self->stage, error) != 0)
            return error->code; /* a ventilator that began anew counts anew */
        return weir_error_set(error, WEIR_EDAMAGED,
                              "of %" PRIu64 " messages for %u groups the ventilator has accepted "
                              "%" PRIu64 " and every group has done %" PRIu64 "; %" PRIu64
                              " were handled, %" PRIu64
                              " came out of their key's order, and %" PRIu64
                              " are none that were sent: this must not be",
                              stretch->count, self->plan->groups, accepted, done, sums.handled,
                              sums.disordered, sums.strange);
    }
    return 0;
}

int weir_bench_run_stretch(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const uint32_t metered = self->meter.count;
    int status;

    weir_bench_load_begin(&self->load, stretch->count, stretch->rate);
    atomic_store(&self->load.stretch->handler_ns, stretch->handler_ns);
    status = start_producers(self, stretch, error);
    if (status != 0)
        return status;
    weir_bench_asker_init(&stretch->asker, self->stage); /* from here on there are threads */
    status = ask_first(self, stretch, error);
    weir_bench_meter_sample(&self->meter);
    const struct weir_bench_cpu cpu = weir_bench_meter_cpu(&self->meter);

    self->load.stretch->start_ns = weir_clock_now().mono_ns + LEAD_NS;
    weir_bench_go(self, stretch->first, stretch->second);
    if (status == 0 && stretch->between != NULL)
        status = stretch->between(self, stretch, error);
    if (status == 0)
        status = until_acked(self, stretch, error);
    const int64_t ended_ns = weir_clock_now().mono_ns;

    weir_bench_asker_fini(&stretch->asker);
    if (status == 0) {
        note_times(self, stretch, &cpu, ended_ns);
        weir_bench_meter_sample(&self->meter);
        status = account(self, stretch, error);
    }
    weir_bench_meter_cut(&self->meter, metered);
    if (status == 0)
        status = weir_bench_crew_forget(self->crew, stretch->first, self->plan->patience_ms, error);
    return status;
}
