#include "report.h"

#include "../output.h"

#include <inttypes.h>
#include <stddef.h>
#include <unistd.h>

#define MEMBER(name) offsetof(struct weir_bench_round, name)
#define ELEMENT(name, at) (MEMBER(name) + (size_t)(at) * sizeof(double))

static bool takes_part(const struct weir_bench_plan *plan, enum weir_bench_kind kind)
{
    return !(kind == WEIR_BENCH_ROUTER && plan->direct) &&
           !(kind == WEIR_BENCH_SINK && !plan->sink);
}

static size_t latency_member(enum weir_bench_latency latency, enum weir_bench_quantile quantile)
{
    return ELEMENT(latency_us, latency * WEIR_BENCH_QUANTILES + quantile);
}

/* Of the median round of each kind; the sum. */
static double sum_of_medians(const struct weir_bench_figures *figures, size_t first)
{
    double sum = 0;

    for (size_t kind = 0; kind < WEIR_BENCH_KINDS; kind++)
        sum += weir_bench_spread(figures, first + kind * sizeof(double)).median;
    return sum;
}

/* ---- For programs -----------------------------------------------------------------------------
 */

/* Never negative; three places are more than a measurement has. */
static json_t *number(double value)
{
    return json_real((double)(int64_t)(value * 1000 + 0.5) / 1000);
}

static void set_median(json_t *object, const char *key, const struct weir_bench_figures *figures,
                       size_t member)
{
    json_object_set_new(object, key, number(weir_bench_spread(figures, member).median));
}

static void set_spread(json_t *object, const char *key, const struct weir_bench_figures *figures,
                       size_t member)
{
    const struct weir_bench_spread spread = weir_bench_spread(figures, member);
    json_t *both = json_array();

    json_array_append_new(both, number(spread.min));
    json_array_append_new(both, number(spread.max));
    json_object_set_new(object, key, both);
}

static json_t *plan_to_json(const struct weir_bench_plan *plan)
{
    json_t *object =
        json_pack("{s:i, s:I, s:i, s:i, s:i, s:i, s:i, s:i}", "size", (int)plan->size, "messages",
                  (json_int_t)plan->messages, "rounds", (int)plan->rounds, "producers",
                  (int)plan->producers, "groups", (int)plan->groups, "workers", (int)plan->workers,
                  "keys", (int)plan->keys, "rate", (int)plan->rate);

    json_object_set_new(object, "sink", json_boolean(plan->sink));
    json_object_set_new(object, "direct", json_boolean(plan->direct));
    json_object_set_new(object, "fsync", json_string(weir_bench_fsync_name(plan->fsync)));
    json_object_set_new(object, "handlers", json_string(weir_bench_handlers_name(plan->handlers)));
    json_object_set_new(object, "at_once", json_integer(plan->at_once));
    json_object_set_new(object, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    return object;
}

static json_t *by_kind(const struct weir_bench_plan *plan, const struct weir_bench_figures *figures,
                       size_t first)
{
    json_t *object = json_object();

    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++) {
        if (takes_part(plan, kind))
            set_median(object, weir_bench_kind_name(kind), figures,
                       first + (size_t)kind * sizeof(double));
    }
    json_object_set_new(object, "all", number(sum_of_medians(figures, first)));
    return object;
}

static json_t *latencies_to_json(const struct weir_bench_figures *figures,
                                 void (*set)(json_t *object, const char *key,
                                             const struct weir_bench_figures *figures,
                                             size_t member))
{
    json_t *object = json_object();

    for (int latency = 0; latency < WEIR_BENCH_LATENCIES; latency++) {
        json_t *quantiles = json_object();

        for (int quantile = 0; quantile < WEIR_BENCH_QUANTILES; quantile++)
            set(quantiles, weir_bench_quantile_name(quantile), figures,
                latency_member(latency, quantile));
        json_object_set_new(object, weir_bench_latency_name(latency), quantiles);
    }
    return object;
}

static void add_rate(json_t *object, const struct weir_bench_plan *plan,
                     const struct weir_bench_figures *figures, json_t *spread)
{
    json_t *ratios = json_object();

    for (int quantile = 0; quantile < WEIR_BENCH_QUANTILES; quantile++)
        json_object_set_new(ratios, weir_bench_quantile_name(quantile),
                            number(weir_bench_latency_ratio(figures, plan, quantile)));
    json_object_set_new(object, "latency_us", latencies_to_json(figures, set_median));
    json_object_set_new(object, "latency_ratio", ratios);
    json_object_set_new(object, "cpu_percent_at_rate",
                        by_kind(plan, figures, MEMBER(cpu_percent_at_rate)));
    json_object_set_new(spread, "latency_us", latencies_to_json(figures, set_spread));
}

/* A figure of each round: the median, and how far it spreads. */
static void add_figure(json_t *object, json_t *spread, const char *key,
                       const struct weir_bench_figures *figures, size_t member)
{
    set_median(object, key, figures, member);
    set_spread(spread, key, figures, member);
}

/* What the same work takes without Weir: libzmq alone, or starting the processes alone. */
static void add_bare(json_t *object, const struct weir_bench_plan *plan,
                     const struct weir_bench_figures *figures, json_t *spread)
{
    static const struct {
        enum weir_bench_handlers handlers;
        const char *key;
        size_t member;
    } bare[] = {
        {WEIR_BENCH_FUNCTION, "raw_msgs_per_s", MEMBER(raw_msgs_per_s)},
        {WEIR_BENCH_FUNCTION, "ratio", MEMBER(ratio)},
        {WEIR_BENCH_RUN, "spawns_per_s", MEMBER(spawns_per_s)},
        {WEIR_BENCH_RUN, "spawn_ratio", MEMBER(spawn_ratio)},
    };

    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        if (bare[i].handlers == plan->handlers)
            add_figure(object, spread, bare[i].key, figures, bare[i].member);
    }
}

static void add_backlogs(json_t *object, const struct weir_bench_plan *plan,
                         const struct weir_bench_figures *figures, json_t *spread)
{
    static const struct {
        bool waiting;
        const char *key;
        size_t member;
    } all[] = {
        {false, "burst_ms", MEMBER(burst_ms)},
        {false, "burst_drained_per_s", MEMBER(burst_drained_per_s)},
        {false, "burst_rss_before_bytes", MEMBER(burst_rss_before_bytes)},
        {false, "burst_rss_max_bytes", MEMBER(burst_rss_max_bytes)},
        {true, "fill_msgs_per_s", MEMBER(fill_msgs_per_s)},
        {true, "waiting_msgs_per_s", MEMBER(waiting_msgs_per_s)},
        {true, "waiting_acked_per_s", MEMBER(waiting_acked_per_s)},
        {true, "waiting_ratio", MEMBER(waiting_ratio)},
    };

    if (plan->burst > 0)
        json_object_set_new(object, "burst", json_integer((json_int_t)plan->burst));
    if (plan->waiting > 0)
        json_object_set_new(object, "waiting", json_integer((json_int_t)plan->waiting));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if ((all[i].waiting ? plan->waiting : plan->burst) > 0)
            add_figure(object, spread, all[i].key, figures, all[i].member);
    }
}

json_t *weir_bench_to_json(const struct weir_bench_plan *plan,
                           const struct weir_bench_figures *figures)
{
    const struct weir_bench_totals *totals = &figures->totals;
    json_t *object = plan_to_json(plan), *spread = json_object(), *rss = json_object();
    json_t *cpu = by_kind(plan, figures, MEMBER(cpu_us_per_message));

    add_figure(object, spread, "pipeline_msgs_per_s", figures, MEMBER(pipeline_msgs_per_s));
    json_object_set_new(
        object, "deliveries_per_s",
        number(plan->groups * weir_bench_spread(figures, MEMBER(pipeline_msgs_per_s)).median));
    add_bare(object, plan, figures, spread);
    add_backlogs(object, plan, figures, spread);
    if (plan->handlers == WEIR_BENCH_FUNCTION)
        set_median(cpu, "raw", figures, MEMBER(raw_cpu_us_per_message));
    json_object_set_new(object, "cpu_us_per_message", cpu);
    set_median(object, "log_syncs", figures, MEMBER(log_syncs));
    set_median(object, "state_writes", figures, MEMBER(state_writes));
    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++) {
        if (takes_part(plan, kind))
            json_object_set_new(rss, weir_bench_kind_name(kind),
                                json_integer((json_int_t)figures->rss_max_bytes[kind]));
    }
    json_object_set_new(object, "rss_max_bytes", rss);
    if (plan->rate > 0)
        add_rate(object, plan, figures, spread);
    json_object_set_new(object, "spread", spread);
    json_object_set_new(
        object, "counts",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sent", (json_int_t)totals->sent,
                  "accepted", (json_int_t)totals->accepted, "handled", (json_int_t)totals->handled,
                  "acked", (json_int_t)totals->acked, "repeated", (json_int_t)totals->repeated,
                  "disordered", (json_int_t)totals->disordered, "results",
                  (json_int_t)totals->results));
    return object;
}

/* ---- For people -------------------------------------------------------------------------------
 */

static void add_rates(struct weir_table *table, const char *what, enum weir_colour colour,
                      const struct weir_bench_figures *figures, size_t member, double factor,
                      int places)
{
    const struct weir_bench_spread spread = weir_bench_spread(figures, member);
    char text[3][32];

    snprintf(text[0], sizeof text[0], "%.*f", places, spread.median * factor);
    snprintf(text[1], sizeof text[1], "%.*f", places, spread.min * factor);
    snprintf(text[2], sizeof text[2], "%.*f", places, spread.max * factor);
    weir_table_add(table, WEIR_PLAIN, "%s", what);
    weir_table_add(table, colour, "%s", text[0]);
    weir_table_add(table, WEIR_DIM, "%s – %s", text[1], text[2]);
}

static void print_throughput(const struct weir_bench_plan *plan,
                             const struct weir_bench_figures *figures, FILE *out, bool coloured)
{
    struct weir_table *table = weir_table_new("|>median|least – most");

    add_rates(table, "confirmed and acked, messages/s", WEIR_BOLD, figures,
              MEMBER(pipeline_msgs_per_s), 1, 0);
    if (plan->groups > 1)
        add_rates(table, "deliveries/s", WEIR_BOLD, figures, MEMBER(pipeline_msgs_per_s),
                  plan->groups, 0);
    if (plan->handlers == WEIR_BENCH_FUNCTION) {
        add_rates(table, "libzmq PUSH → PULL, messages/s", WEIR_PLAIN, figures,
                  MEMBER(raw_msgs_per_s), 1, 0);
        add_rates(table, "ratio", WEIR_BOLD, figures, MEMBER(ratio), 1, 2);
    }
    if (plan->handlers == WEIR_BENCH_RUN) {
        add_rates(table, "posix_spawn of " WEIR_BENCH_PROGRAM ", processes/s", WEIR_PLAIN, figures,
                  MEMBER(spawns_per_s), 1, 0);
        add_rates(table, "ratio", WEIR_BOLD, figures, MEMBER(spawn_ratio), 1, 2);
    }
    add_rates(table, "commits of the log", WEIR_PLAIN, figures, MEMBER(log_syncs), 1, 0);
    add_rates(table, "transactions of the state", WEIR_PLAIN, figures, MEMBER(state_writes), 1, 0);
    weir_table_print(&table, out, coloured);
}

static void print_backlogs(const struct weir_bench_plan *plan,
                           const struct weir_bench_figures *figures, FILE *out, bool coloured)
{
    struct weir_table *table = weir_table_new("|>median|least – most");
    char what[96];

    if (plan->burst > 0) {
        snprintf(what, sizeof what, "a burst of %" PRIu64 " confirmed, ms", plan->burst);
        add_rates(table, what, WEIR_BOLD, figures, MEMBER(burst_ms), 1, 1);
        add_rates(table, "meanwhile and then done, messages/s", WEIR_PLAIN, figures,
                  MEMBER(burst_drained_per_s), 1, 0);
        add_rates(table, "ventilator's memory before, KiB", WEIR_PLAIN, figures,
                  MEMBER(burst_rss_before_bytes), 1.0 / 1024, 0);
        add_rates(table, "and at most, KiB", WEIR_PLAIN, figures, MEMBER(burst_rss_max_bytes),
                  1.0 / 1024, 0);
    }
    if (plan->waiting > 0) {
        snprintf(what, sizeof what, "with %" PRIu64 " waiting, messages/s", plan->waiting);
        add_rates(table, what, WEIR_BOLD, figures, MEMBER(waiting_msgs_per_s), 1, 0);
        add_rates(table, "acked meanwhile, messages/s", WEIR_PLAIN, figures,
                  MEMBER(waiting_acked_per_s), 1, 0);
        add_rates(table, "by that with none", WEIR_BOLD, figures, MEMBER(waiting_ratio), 1, 2);
        add_rates(table, "only accepted, messages/s", WEIR_PLAIN, figures, MEMBER(fill_msgs_per_s),
                  1, 0);
    }
    weir_table_print(&table, out, coloured);
}

/* `percent`: "" where there is none. */
static void add_usage(struct weir_table *table, const char *name, double us, const char *percent,
                      const char *memory, bool paced)
{
    weir_table_add(table, WEIR_PLAIN, "%s", name);
    weir_table_add(table, WEIR_PLAIN, "%.3f", us);
    if (paced)
        weir_table_add(table, WEIR_PLAIN, "%s", percent);
    weir_table_add(table, WEIR_PLAIN, "%s", memory);
}

static void print_usage(const struct weir_bench_plan *plan,
                        const struct weir_bench_figures *figures, FILE *out, bool coloured)
{
    const bool paced = plan->rate > 0;
    struct weir_table *table = weir_table_new(paced ? "|>CPU µs/message|>at the rate|>memory"
                                                    : "|>CPU µs/message|>memory");
    char percent[32], memory[WEIR_BYTES_BYTES];

    for (int kind = 0; kind < WEIR_BENCH_KINDS; kind++) {
        if (!takes_part(plan, kind))
            continue;
        snprintf(percent, sizeof percent, "%.1f %%",
                 weir_bench_spread(figures, ELEMENT(cpu_percent_at_rate, kind)).median);
        weir_format_bytes(figures->rss_max_bytes[kind], memory);
        add_usage(table, weir_bench_kind_name(kind),
                  weir_bench_spread(figures, ELEMENT(cpu_us_per_message, kind)).median, percent,
                  memory, paced);
    }
    snprintf(percent, sizeof percent, "%.1f %%",
             sum_of_medians(figures, MEMBER(cpu_percent_at_rate)));
    add_usage(table, "all", sum_of_medians(figures, MEMBER(cpu_us_per_message)), percent, "",
              paced);
    if (plan->handlers == WEIR_BENCH_FUNCTION)
        add_usage(table, "libzmq PUSH → PULL",
                  weir_bench_spread(figures, MEMBER(raw_cpu_us_per_message)).median, "", "", paced);
    weir_table_print(&table, out, coloured);
}

static void print_latencies(const struct weir_bench_plan *plan,
                            const struct weir_bench_figures *figures, FILE *out, bool coloured)
{
    static const char *const words[] = {
        [WEIR_BENCH_OK] = "send → OK",        [WEIR_BENCH_HANDLER] = "send → handler",
        [WEIR_BENCH_ACKED] = "send → acked",  [WEIR_BENCH_CHAIN] = "bare libzmq, as many hops",
        [WEIR_BENCH_SYNC] = "bare fdatasync",
    };
    struct weir_table *table = weir_table_new("µs|>p50|least – most|>p99|least – most|>p99.9");

    for (int latency = 0; latency < WEIR_BENCH_LATENCIES; latency++) {
        weir_table_add(table, WEIR_PLAIN, "%s", words[latency]);
        for (int quantile = 0; quantile < WEIR_BENCH_QUANTILES; quantile++) {
            const struct weir_bench_spread spread =
                weir_bench_spread(figures, latency_member(latency, quantile));

            weir_table_add(table, WEIR_BOLD, "%.0f", spread.median);
            if (quantile != WEIR_BENCH_P999)
                weir_table_add(table, WEIR_DIM, "%.0f – %.0f", spread.min, spread.max);
        }
    }
    weir_table_add(table, WEIR_PLAIN,
                   plan->fsync == WEIR_FSYNC_ALWAYS ? "handler ÷ (libzmq + fdatasync)"
                                                    : "handler ÷ libzmq");
    for (int quantile = 0; quantile < WEIR_BENCH_QUANTILES; quantile++) {
        weir_table_add(table, WEIR_BOLD, "%.2f", weir_bench_latency_ratio(figures, plan, quantile));
        if (quantile != WEIR_BENCH_P999)
            weir_table_add(table, WEIR_PLAIN, "%s", "");
    }
    weir_table_print(&table, out, coloured);
}

void weir_bench_print(const struct weir_bench_plan *plan, const struct weir_bench_figures *figures,
                      FILE *out, bool coloured)
{
    char keys[48] = "", handlers[48] = "";

    if (plan->handlers != WEIR_BENCH_FUNCTION)
        snprintf(handlers, sizeof handlers, ", %s %u at once in each",
                 weir_bench_handlers_name(plan->handlers), plan->at_once);
    if (plan->keys > 0)
        snprintf(keys, sizeof keys, ", order by %u keys", plan->keys);
    fprintf(out,
            "%" PRIu64 " messages of %u bytes, %u %s, fsync %s, %u producer%s%s, %u group%s of %u "
            "worker%s%s%s%s, %ld CPUs\n\n",
            plan->messages, plan->size, plan->rounds, plan->rounds == 1 ? "round" : "rounds",
            weir_bench_fsync_name(plan->fsync), plan->producers, plan->producers == 1 ? "" : "s",
            plan->direct ? ", no router" : "", plan->groups, plan->groups == 1 ? "" : "s",
            plan->workers, plan->workers == 1 ? "" : "s", handlers,
            plan->sink ? ", with a sink" : "", keys, sysconf(_SC_NPROCESSORS_ONLN));
    print_throughput(plan, figures, out, coloured);
    fputc('\n', out);
    if (plan->burst > 0 || plan->waiting > 0) {
        print_backlogs(plan, figures, out, coloured);
        fputc('\n', out);
    }
    print_usage(plan, figures, out, coloured);
    if (plan->rate > 0) {
        fprintf(out, "\nat %u messages/s, from when each was due:\n", plan->rate);
        print_latencies(plan, figures, out, coloured);
    }
    fprintf(out,
            "\n%" PRIu64 " sent, %" PRIu64 " handled, %" PRIu64 " more than once, %" PRIu64
            " lost\n",
            figures->totals.sent, figures->totals.handled, figures->totals.repeated,
            figures->totals.sent * plan->groups - figures->totals.handled);
}
