#include "bodies.h"

#include <stdio.h>
#include <string.h>

#define LATE_NS (100 * WEIR_NS_PER_MS)

struct hand {
    const struct weir_bench_worker *what;
    struct weir_bench_tally *tally;
    int64_t free_ns; /* when the handler that takes its time has taken it */
};

void weir_bench_group_name(uint32_t group, char name[WEIR_BENCH_GROUP_BYTES])
{
    snprintf(name, WEIR_BENCH_GROUP_BYTES, "g%u", group + 1);
}

/* One thread writes it; whoever reads it sees it soon. */
static void count_one(atomic_uint_fast64_t *number)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Whether it comes for the first time to this group, whichever of its workers has it. */
static bool see(const struct weir_bench_load *load, uint32_t group, uint64_t at)
{
    const uint64_t bit = UINT64_C(1) << (at % 64);
    atomic_uint_fast64_t *word = &load->seen[group * load->words + at / 64];

    return (atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit) == 0;
}

/* Whether those of its key that came before were sent before: by the same producer, since nothing
 * is promised between two of them. */
static bool in_order(const struct weir_bench_load *load, uint32_t group, uint64_t at)
{
    const uint64_t keys = load->plan->keys, producers = load->plan->producers;
    const uint64_t number = load->stretch->base + at;
    const uint64_t row = group * producers + at % producers;
    atomic_uint_fast64_t *last = &load->last_of_key[row * keys + number % keys];

    return atomic_exchange_explicit(last, number + 1, memory_order_relaxed) <= number;
}

/* On a timetable, so that what the wait takes too long does not add up. */
static void take_time(struct hand *self, int64_t take_ns)
{
    const int64_t now_ns = weir_clock_now().mono_ns;

    if (self->free_ns < now_ns - LATE_NS)
        self->free_ns = now_ns;
    self->free_ns += take_ns;
    weir_bench_wait_until(self->free_ns, -1);
}

static int handle(weir_job_t *job, void *arg)
{
    struct hand *hand = arg;
    const struct weir_bench_load *load = hand->what->load;
    const struct weir_bench_stretch *stretch = load->stretch;
    const uint32_t group = hand->what->group;
    size_t bytes;
    const char *payload = weir_job_payload(job, &bytes);
    uint64_t number;

    if (bytes != load->plan->size || !weir_bench_payload_parse(payload, &number) ||
        number >= stretch->base + stretch->count) {
        count_one(&hand->tally->strange);
        return WEIR_DONE;
    }
    if (number < stretch->base) {
        count_one(&hand->tally->repeated); /* of a stretch that was over */
        return WEIR_DONE;
    }
    const uint64_t at = number - stretch->base;

    const int64_t take_ns = atomic_load_explicit(&stretch->handler_ns, memory_order_relaxed);

    if (take_ns > 0)
        take_time(hand, take_ns);
    if (stretch->rate > 0)
        load->handler_ns[group * stretch->count + at] =
            weir_clock_now().mono_ns - weir_bench_due_ns(stretch, at);
    if (!see(load, group, at)) {
        count_one(&hand->tally->repeated);
    } else {
        if (load->plan->keys > 0 && !in_order(load, group, at))
            count_one(&hand->tally->disordered);
        count_one(&hand->tally->handled);
    }
    if (hand->what->to != NULL)
        weir_job_result(job, payload, bytes);
    return WEIR_DONE;
}

int weir_bench_work(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_worker *what = argument;
    const struct weir_bench_plan *plan = what->load->plan;
    struct hand hand = {.what = what,
                        .tally = &what->load->tallies[what->group * plan->workers + what->index]};
    char group[WEIR_BENCH_GROUP_BYTES];
    struct weir_error error;

    weir_bench_group_name(what->group, group);
    weir_worker_options_t *options = weir_worker_options_new(group, handle, &hand);

    weir_worker_options_add_from(options, what->from);
    weir_worker_options_set_to(options, what->to);
    if (plan->prefetch > 0)
        weir_worker_options_set_prefetch(options, plan->prefetch, 64u << 20);
    weir_worker_t *worker = weir_worker_start(options, &error);

    weir_worker_options_destroy(&options);
    if (worker == NULL)
        return weir_bench_part_fail(self, "%s", error.text);
    weir_bench_part_tell(self, WEIR_BENCH_READY);
    weir_bench_part_wait(self);
    weir_worker_stop(&worker);
    return 0;
}
