#include "rounds.h"

#include "rounds_inside.h"

#include <base/alloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_MESSAGES 10000u
#define SYNCS 500u
#define LEAD_NS (20 * WEIR_NS_PER_MS) /* from the word to begin to the first message at a rate */
#define SLOWEST_PER_MS 10

static void tick(void *arg)
{
    weir_bench_meter_sample(arg);
}

/* ---- The parts of a round ---------------------------------------------------------------------
 */

static int measure_pipeline(struct bench *self, struct weir_bench_round *round,
                            struct weir_error *error)
{
    struct stretch stretch = {.count = self->plan->messages};
    const int status = weir_bench_run_stretch(self, &stretch, error);

    if (status != 0)
        return status;
    round->pipeline_msgs_per_s = weir_bench_per_second(stretch.count, stretch.took_ns);
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
        weir_bench_per_second(pull_what.messages, pull->word->last_ns - push->word->first_ns);
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
    const int status = weir_bench_run_stretch(self, &stretch, error);

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
    round->spawns_per_s =
        weir_bench_per_second(what.count, part->word->last_ns - part->word->first_ns);
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
    if (status == 0 && self->plan->burst > 0)
        status = weir_bench_measure_burst(self, round, error);
    if (status == 0 && self->plan->waiting > 0)
        status = weir_bench_measure_waiting(self, round, error);
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
        status = weir_bench_start_workers(self, error);
    if (status == 0)
        status = weir_bench_run_stretch(self, &warm, error);
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
    weir_bench_go(self, first, self->crew->count);
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
    self->producers = weir_zalloc(2 * (size_t)plan->producers, sizeof *self->producers);
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
