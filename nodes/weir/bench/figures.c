#include "figures.h"

#include <stdlib.h>
#include <string.h>

const char *weir_bench_quantile_name(enum weir_bench_quantile quantile)
{
    static const char *const names[] = {
        [WEIR_BENCH_P50] = "p50", [WEIR_BENCH_P99] = "p99", [WEIR_BENCH_P999] = "p999"};

    return names[quantile];
}

const char *weir_bench_latency_name(enum weir_bench_latency latency)
{
    static const char *const names[] = {
        [WEIR_BENCH_OK] = "ok",          [WEIR_BENCH_HANDLER] = "handler",
        [WEIR_BENCH_ACKED] = "acked",    [WEIR_BENCH_CHAIN] = "chain",
        [WEIR_BENCH_SYNC] = "fdatasync",
    };

    return names[latency];
}

static int compare_integers(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static int compare_doubles(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static int64_t nth(const int64_t *sorted, uint64_t count, uint32_t permille)
{
    const uint64_t rank = (count * permille + 999) / 1000;

    return count == 0 ? 0 : sorted[rank > 0 ? rank - 1 : 0];
}

void weir_bench_quantiles(int64_t *values_ns, uint64_t count,
                          double quantiles_us[WEIR_BENCH_QUANTILES])
{
    static const uint32_t permilles[] = {
        [WEIR_BENCH_P50] = 500, [WEIR_BENCH_P99] = 990, [WEIR_BENCH_P999] = 999};

    qsort(values_ns, count, sizeof *values_ns, compare_integers);
    for (int i = 0; i < WEIR_BENCH_QUANTILES; i++)
        quantiles_us[i] = (double)nth(values_ns, count, permilles[i]) / 1000;
}

struct weir_bench_spread weir_bench_spread(const struct weir_bench_figures *self, size_t member)
{
    double values[WEIR_BENCH_ROUNDS_MAX];
    const uint32_t count = self->count;

    if (count == 0)
        return (struct weir_bench_spread){0};
    for (uint32_t i = 0; i < count; i++)
        memcpy(&values[i], (const char *)&self->rounds[i] + member, sizeof values[i]);
    qsort(values, count, sizeof *values, compare_doubles);
    return (struct weir_bench_spread){
        .median = (values[(count - 1) / 2] + values[count / 2]) / 2,
        .min = values[0],
        .max = values[count - 1],
    };
}

static double median_us(const struct weir_bench_figures *self, enum weir_bench_latency latency,
                        enum weir_bench_quantile quantile)
{
    return weir_bench_spread(self, offsetof(struct weir_bench_round, latency_us) +
                                       (latency * WEIR_BENCH_QUANTILES + quantile) * sizeof(double))
        .median;
}

double weir_bench_latency_ratio(const struct weir_bench_figures *self,
                                const struct weir_bench_plan *plan,
                                enum weir_bench_quantile quantile)
{
    double floor_us = median_us(self, WEIR_BENCH_CHAIN, quantile);

    if (plan->fsync == WEIR_FSYNC_ALWAYS)
        floor_us += median_us(self, WEIR_BENCH_SYNC, quantile);
    return floor_us > 0 ? median_us(self, WEIR_BENCH_HANDLER, quantile) / floor_us : 0;
}
