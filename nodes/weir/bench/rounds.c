#include "rounds.h"

#include "bodies.h"
#include "load.h"
#include "meter.h"

#include <base/alloc.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_MESSAGES 10000u
#define SYNCS 500u
#define LEAD_NS (20 * WEIR_NS_PER_MS) /* from the word to begin to the first message at a rate */
#define SLOWEST_PER_MS 10
#define POLL_MS 2
#define WATCH_MS 1 /* while acks are watched */
#define ASK_MS 20  /* while only the ventilator knows how far handlers are */

struct bench {
    const struct weir_bench_plan *plan;
    struct weir_bench_stage *stage;
    struct weir_bench_crew *crew;
    struct weir_bench_figures *figures;
    struct weir_bench_load load;
    struct weir_bench_meter meter;
    struct weir_bench_worker *workers;
    struct weir_bench_producer *producers;
    int64_t *acked_ns, *other_ns; /* one a message at the rate; other_ns is shared */
    uint64_t other_bytes;
};

static void tick(void *arg)
{
    weir_bench_meter_sample(arg);
}

/* ---- Workers ----------------------------------------------------------------------------------
 */

static int start_workers(struct bench *self, struct weir_error *error)
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

struct stretch {
    uint64_t count;
    uint32_t rate;
    bool watch;     /* note when each message is acked: costs the ventilator a little */
    uint32_t first; /* its first producer in the crew */
    struct weir_bench_asker asker;
    struct weir_bench_counts before, after;
    struct weir_bench_cpu cpu; /* used */
    int64_t took_ns;           /* from the first send until all are acked */
    uint64_t progress;         /* a sum that grows when anything goes on … */
    int64_t progress_ns;       /* … as it has done then last */
};

static int start_producers(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    struct weir_bench_part *part;

    stretch->first = self->crew->count;
    for (uint32_t i = 0; i < self->plan->producers; i++) {
        self->producers[i] = (struct weir_bench_producer){
            .load = &self->load, .submit = self->stage->ventilator->submit, .index = i};
        if (weir_bench_crew_start(self->crew, "producer", SIGKILL, weir_bench_produce,
                                  &self->producers[i], &part, error) != 0)
            return error->code;
        weir_bench_meter_add(&self->meter, WEIR_BENCH_PRODUCER, part->pid);
    }
    return weir_bench_crew_await(self->crew, stretch->first, WEIR_BENCH_READY,
                                 self->plan->patience_ms, error);
}

static void go(const struct bench *self, uint32_t first)
{
    for (uint32_t i = first; i < self->crew->count; i++)
        weir_bench_crew_go(&self->crew->parts[i]);
}

/* Ask the ventilator; `answered` says whether it told. On a busy machine it may be late, and when
 * it is gone for good others find out. */
static int ask(struct stretch *stretch, bool *answered, struct weir_error *error)
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
static int linger(struct bench *self, struct stretch *stretch, struct weir_error *error)
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
        status = ask(stretch, &answered, error);
        if (status == 0 && !answered)
            status = linger(self, stretch, error);
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

            status = ask(stretch, &answered, error);
            if (status == 0 && answered && stretch->watch)
                note_acked(self, stretch, done_before);
            over = stretch->after.done >= stretch->before.done + stretch->count &&
                   weir_bench_crew_all(self->crew, stretch->first, WEIR_BENCH_DONE);
        }
        if (status == 0 && !over)
            status = linger(self, stretch, error);
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

static int run_stretch(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const uint32_t metered = self->meter.count;
    int status;

    weir_bench_load_begin(&self->load, stretch->count, stretch->rate);
    status = start_producers(self, stretch, error);
    if (status != 0)
        return status;
    weir_bench_asker_init(&stretch->asker, self->stage); /* from here on there are threads */
    status = ask_first(self, stretch, error);
    weir_bench_meter_sample(&self->meter);
    const struct weir_bench_cpu cpu = weir_bench_meter_cpu(&self->meter);

    self->load.stretch->start_ns = weir_clock_now().mono_ns + LEAD_NS;
    go(self, stretch->first);
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

/* ---- The parts of a round ---------------------------------------------------------------------
 */

static double per_second(uint64_t count, int64_t ns)
{
    return ns > 0 ? (double)count * (double)WEIR_NS_PER_S / (double)ns : 0;
}

static int measure_pipeline(struct bench *self, struct weir_bench_round *round,
                            struct weir_error *error)
{
    struct stretch stretch = {.count = self->plan->messages};
    const int status = run_stretch(self, &stretch, error);

    if (status != 0)
        return status;
    round->pipeline_msgs_per_s = per_second(stretch.count, stretch.took_ns);
    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++)
        round->cpu_us_per_message[kind] =
            (double)stretch.cpu.ns[kind] / 1000 / (double)stretch.count;
    round->log_syncs = (double)(stretch.after.log_syncs - stretch.before.log_syncs);
    round->state_writes = (double)(stretch.after.state_writes - stretch.before.state_writes);
    return 0;
}

/* What libzmq, the disk or the kernel does alone; as slow as it may ever be. */
static int until_done(struct bench *self, uint32_t first, uint64_t messages,
                      struct weir_error *error)
{
    const int64_t patience_ms = self->plan->patience_ms + self->plan->duration_ms;

    return weir_bench_crew_await(self->crew, first, WEIR_BENCH_DONE,
                                 patience_ms + (int64_t)(messages / SLOWEST_PER_MS), error);
}

static int measure_raw(struct bench *self, struct weir_bench_round *round, struct weir_error *error)
{
    const uint32_t first = self->crew->count;
    const int64_t patience_ms = self->plan->patience_ms;
    const struct weir_bench_raw pull_what = {.messages = self->plan->messages,
                                             .size = self->plan->size};
    struct weir_bench_part *pull, *push;
    int status = weir_bench_crew_start(self->crew, "bare-pull", SIGKILL, weir_bench_pull,
                                       (void *)(uintptr_t)&pull_what, &pull, error);

    if (status == 0)
        status = weir_bench_crew_await(self->crew, first, WEIR_BENCH_BOUND, patience_ms, error);
    if (status != 0)
        return status;
    const struct weir_bench_raw push_what = {
        .messages = pull_what.messages, .size = pull_what.size, .next = pull->word};

    status = weir_bench_crew_start(self->crew, "bare-push", SIGKILL, weir_bench_push,
                                   (void *)(uintptr_t)&push_what, &push, error);
    if (status == 0)
        status = weir_bench_crew_await(self->crew, first, WEIR_BENCH_READY, patience_ms, error);
    if (status != 0)
        return status;
    weir_bench_crew_go(push);
    status = until_done(self, first, pull_what.messages, error);
    if (status != 0)
        return status;
    round->raw_msgs_per_s =
        per_second(pull_what.messages, pull->word->last_ns - push->word->first_ns);
    round->ratio =
        round->raw_msgs_per_s > 0 ? round->pipeline_msgs_per_s / round->raw_msgs_per_s : 0;
    round->raw_cpu_us_per_message =
        (double)(pull->word->cpu_ns + push->word->cpu_ns) / 1000 / (double)pull_what.messages;
    return weir_bench_crew_forget(self->crew, first, patience_ms, error);
}

static int measure_paced(struct bench *self, struct weir_bench_round *round, bool watch,
                         struct weir_error *error)
{
    const uint64_t count = weir_bench_paced_messages(self->plan);
    struct stretch stretch = {.count = count, .rate = self->plan->rate, .watch = watch};
    const int status = run_stretch(self, &stretch, error);

    if (status != 0)
        return status;
    if (watch) {
        weir_bench_quantiles(self->acked_ns, count, round->latency_us[WEIR_BENCH_ACKED]);
        return 0;
    }
    weir_bench_quantiles(self->load.ok_ns, count, round->latency_us[WEIR_BENCH_OK]);
    weir_bench_quantiles(self->load.handler_ns, count * self->plan->groups,
                         round->latency_us[WEIR_BENCH_HANDLER]);
    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++)
        round->cpu_percent_at_rate[kind] =
            100 * (double)stretch.cpu.ns[kind] / (double)stretch.took_ns;
    return 0;
}

/* The same number of processes with the same number of connections between them, back to front. */
static int measure_chain(struct bench *self, struct weir_bench_round *round,
                         struct weir_error *error)
{
    enum { LINKS_MAX = 4 };
    const uint32_t first = self->crew->count, hops = weir_bench_hops(self->plan);
    const uint64_t count = weir_bench_paced_messages(self->plan);
    struct weir_bench_link links[LINKS_MAX];
    struct weir_bench_part *part = NULL;
    int status = 0;

    weir_bench_load_begin(&self->load, count, self->plan->rate);
    for (uint32_t i = 0; i <= hops && status == 0; i++) {
        weir_bench_body *body = i == 0      ? weir_bench_chain_last
                                : i == hops ? weir_bench_chain_first
                                            : weir_bench_chain_middle;

        links[i] = (struct weir_bench_link){.stretch = self->load.stretch,
                                            .latency_ns = self->other_ns,
                                            .size = self->plan->size,
                                            .next = part != NULL ? part->word : NULL};
        status =
            weir_bench_crew_start(self->crew, "bare-chain", SIGKILL, body, &links[i], &part, error);
        if (status == 0)
            status = weir_bench_crew_await(self->crew, first, WEIR_BENCH_BOUND,
                                           self->plan->patience_ms, error);
    }
    if (status == 0)
        status = weir_bench_crew_await(self->crew, first, WEIR_BENCH_READY, self->plan->patience_ms,
                                       error);
    self->load.stretch->start_ns = weir_clock_now().mono_ns + LEAD_NS;
    if (status == 0) {
        weir_bench_crew_go(part);
        status = until_done(self, first, count, error);
    }
    if (status != 0)
        return status;
    weir_bench_quantiles(self->other_ns, count, round->latency_us[WEIR_BENCH_CHAIN]);
    return weir_bench_crew_forget(self->crew, first, self->plan->patience_ms, error);
}

static int measure_sync(struct bench *self, struct weir_bench_round *round,
                        struct weir_error *error)
{
    const uint32_t first = self->crew->count;
    const struct weir_bench_sync what = {
        .latency_ns = self->other_ns, .count = SYNCS, .size = self->plan->size};
    struct weir_bench_part *part;
    int status = weir_bench_crew_start(self->crew, "bare-sync", SIGKILL, weir_bench_sync,
                                       (void *)(uintptr_t)&what, &part, error);

    if (status == 0)
        status = until_done(self, first, SYNCS, error);
    if (status != 0)
        return status;
    weir_bench_quantiles(self->other_ns, SYNCS, round->latency_us[WEIR_BENCH_SYNC]);
    return weir_bench_crew_forget(self->crew, first, self->plan->patience_ms, error);
}

static int measure_spawn(struct bench *self, struct weir_bench_round *round,
                         struct weir_error *error)
{
    const struct weir_bench_plan *plan = self->plan;
    const uint32_t first = self->crew->count;
    const struct weir_bench_spawn what = {.count = plan->messages * plan->groups,
                                          .at_once = plan->groups * plan->workers * plan->at_once};
    struct weir_bench_part *part;
    int status = weir_bench_crew_start(self->crew, "bare-spawn", SIGKILL, weir_bench_spawn,
                                       (void *)(uintptr_t)&what, &part, error);

    if (status == 0)
        status = until_done(self, first, what.count * SLOWEST_PER_MS, error);
    if (status != 0)
        return status;
    round->spawns_per_s = per_second(what.count, part->word->last_ns - part->word->first_ns);
    round->spawn_ratio = round->spawns_per_s > 0
                             ? round->pipeline_msgs_per_s * plan->groups / round->spawns_per_s
                             : 0;
    return weir_bench_crew_forget(self->crew, first, plan->patience_ms, error);
}

/* ---- All of it --------------------------------------------------------------------------------
 */

static int run_round(struct bench *self, struct weir_bench_round *round, struct weir_error *error)
{
    int status = measure_pipeline(self, round, error);

    if (status == 0 && self->plan->handlers == WEIR_BENCH_RUN)
        status = measure_spawn(self, round, error);
    if (status == 0 && self->plan->handlers == WEIR_BENCH_FUNCTION)
        status = measure_raw(self, round, error);
    if (status == 0 && self->plan->rate > 0)
        status = measure_paced(self, round, false, error);
    if (status == 0 && self->plan->rate > 0)
        status = measure_chain(self, round, error);
    if (status == 0 && self->plan->rate > 0)
        status = measure_paced(self, round, true, error);
    if (status == 0 && self->plan->rate > 0)
        status = measure_sync(self, round, error);
    return status;
}

static int run_all(struct bench *self, void (*say)(const char *what), struct weir_error *error)
{
    struct stretch warm = {.count = self->plan->messages < WARM_MESSAGES ? self->plan->messages
                                                                         : WARM_MESSAGES};
    char what[64];
    int status;

    say("starting");
    status = weir_bench_meter_add_stage(&self->meter, self->stage, error);
    if (status == 0)
        status = start_workers(self, error);
    if (status == 0)
        status = run_stretch(self, &warm, error);
    for (uint32_t i = 0; i < self->plan->rounds && status == 0; i++) {
        snprintf(what, sizeof what, "round %u of %u", i + 1, self->plan->rounds);
        say(what);
        status = run_round(self, &self->figures->rounds[i], error);
        self->figures->count = i + 1;
    }
    if (status == 0)
        status = weir_bench_stage_sound(self->stage, error);
    return status;
}

/* The workers drain, so that nothing is left to be told when the topology does. */
static int end_workers(struct bench *self, uint32_t first, struct weir_error *error)
{
    go(self, first);
    return weir_bench_crew_forget(self->crew, first, self->plan->patience_ms, error);
}

int weir_bench_rounds(const struct weir_bench_plan *plan, struct weir_bench_stage *stage,
                      struct weir_bench_crew *crew, void (*say)(const char *what),
                      struct weir_bench_figures *figures, struct weir_error *error)
{
    const uint64_t paced = weir_bench_paced_messages(plan);
    const uint32_t first = crew->count;
    struct bench *self = weir_zalloc(1, sizeof *self);
    void *shared = NULL;
    int status;

    *self = (struct bench){.plan = plan, .stage = stage, .crew = crew, .figures = figures};
    self->workers = weir_zalloc((size_t)plan->groups * plan->workers, sizeof *self->workers);
    self->producers = weir_zalloc(plan->producers, sizeof *self->producers);
    self->acked_ns = weir_zalloc(paced + 1, sizeof *self->acked_ns);
    self->other_bytes = (paced > SYNCS ? paced : SYNCS) * sizeof *self->other_ns;
    status = weir_bench_load_init(&self->load, plan, error);
    if (status == 0)
        status = weir_bench_share(self->other_bytes, &shared, error);
    self->other_ns = shared;
    crew->tick = tick;
    crew->arg = &self->meter;
    if (status == 0)
        status = run_all(self, say, error);
    if (status == 0)
        status = end_workers(self, first, error);
    memcpy(figures->rss_max_bytes, self->meter.rss_max_bytes, sizeof figures->rss_max_bytes);
    crew->tick = NULL;
    crew->arg = NULL;
    weir_bench_unshare(shared, self->other_bytes);
    weir_bench_load_fini(&self->load);
    free(self->acked_ns);
    free(self->producers);
    free(self->workers);
    free(self);
    return status;
}
