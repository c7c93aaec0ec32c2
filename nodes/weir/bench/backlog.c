/* Messages that come faster than they are done: a burst, and a backlog that stays. */
#include "rounds_inside.h"

#include <base/clock.h>

#define DRAIN_PER_S 500 /* of a group, during a burst */

/* Since the first of these parts of the crew began to send. */
static int64_t first_ns(const struct bench *self, uint32_t first, uint32_t end)
{
    int64_t least_ns = INT64_MAX;

    for (uint32_t i = first; i < end; i++)
        if (self->crew->parts[i].word->first_ns < least_ns)
            least_ns = self->crew->parts[i].word->first_ns;
    return least_ns;
}

/* When the last of them had the last of its messages confirmed. */
static int64_t last_ns(const struct bench *self, uint32_t first, uint32_t end)
{
    int64_t most_ns = 0;

    for (uint32_t i = first; i < end; i++)
        if (self->crew->parts[i].word->last_ns > most_ns)
            most_ns = self->crew->parts[i].word->last_ns;
    return most_ns;
}

static bool confirmed(const struct bench *self, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        if (atomic_load(&self->crew->parts[i].word->progress) != WEIR_BENCH_DONE)
            return false;
    return true;
}

/* ---- A burst ----------------------------------------------------------------------------------
 */

static int watch_burst(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const uint32_t end = stretch->second;
    const int64_t began_ns = weir_clock_now().mono_ns;
    const int64_t until_ns = began_ns + self->plan->duration_ms * WEIR_NS_PER_MS;
    struct weir_bench_round *round = stretch->round;
    bool over = false;
    int status = 0;

    round->burst_rss_before_bytes =
        (double)weir_bench_meter_rss(&self->meter, WEIR_BENCH_VENTILATOR);
    while (status == 0 && !over) {
        const double rss = (double)weir_bench_meter_rss(&self->meter, WEIR_BENCH_VENTILATOR);

        if (rss > round->burst_rss_max_bytes)
            round->burst_rss_max_bytes = rss;
        status = weir_bench_linger(self, stretch, error);
        over = weir_clock_now().mono_ns >= until_ns && confirmed(self, stretch->first, end);
    }
    if (status != 0)
        return status;
    const int64_t sent_ns = first_ns(self, stretch->first, end);

    round->burst_ms = (double)(last_ns(self, stretch->first, end) - sent_ns) / WEIR_NS_PER_MS;
    round->burst_drained_per_s = weir_bench_per_second(weir_bench_load_sums(&self->load).handled,
                                                       weir_clock_now().mono_ns - sent_ns);
    atomic_store(&self->load.stretch->handler_ns, 0); /* the rest takes no time */
    return 0;
}

int weir_bench_measure_burst(struct bench *self, struct weir_bench_round *round,
                             struct weir_error *error)
{
    struct stretch stretch = {.count = self->plan->burst,
                              .handler_ns = self->plan->workers * WEIR_NS_PER_S / DRAIN_PER_S,
                              .between = watch_burst,
                              .round = round};

    return weir_bench_run_stretch(self, &stretch, error);
}

/* ---- A backlog that stays ---------------------------------------------------------------------
 */

/* The backlog is there; then as many more come as go from its front. */
static int fill_and_flow(struct bench *self, struct stretch *stretch, struct weir_error *error)
{
    const uint32_t first = stretch->first, second = stretch->second, end = self->crew->count;
    const uint64_t more = stretch->count - stretch->ahead;
    struct weir_bench_round *round = stretch->round;
    bool answered, over = false;
    int status = 0;

    while (status == 0 && !confirmed(self, first, second)) {
        status = weir_bench_count(stretch, &answered, error); /* that something goes on */
        if (status == 0)
            status = weir_bench_linger(self, stretch, error);
    }
    if (status == 0)
        status = weir_bench_groups(self->stage, false, error);
    if (status != 0)
        return status;
    round->fill_msgs_per_s = weir_bench_per_second(
        stretch->ahead, last_ns(self, first, second) - first_ns(self, first, second));
    weir_bench_go(self, second, end);
    while (status == 0 && !over) {
        status = weir_bench_count(stretch, &answered, error);
        over = stretch->after.done >= stretch->before.done + more && confirmed(self, second, end);
        if (status == 0 && !over)
            status = weir_bench_linger(self, stretch, error);
    }
    if (status != 0)
        return status;
    const int64_t took_ns = weir_clock_now().mono_ns - first_ns(self, second, end);

    round->waiting_msgs_per_s = weir_bench_per_second(more, took_ns);
    round->waiting_acked_per_s =
        weir_bench_per_second(stretch->after.done - stretch->before.done, took_ns);
    round->waiting_ratio =
        round->pipeline_msgs_per_s > 0 ? round->waiting_msgs_per_s / round->pipeline_msgs_per_s : 0;
    return 0;
}

int weir_bench_measure_waiting(struct bench *self, struct weir_bench_round *round,
                               struct weir_error *error)
{
    struct stretch stretch = {.count = self->plan->waiting + self->plan->messages,
                              .ahead = self->plan->waiting,
                              .between = fill_and_flow,
                              .round = round};
    int status = weir_bench_groups(self->stage, true, error);

    if (status == 0)
        status = weir_bench_run_stretch(self, &stretch, error);
    return status;
}
