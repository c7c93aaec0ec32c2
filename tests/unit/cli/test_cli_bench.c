/* What a bench makes of what it has measured, and how its messages are told apart. */
#include "bench/figures.h"
#include "bench/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NEAR(a, b) assert_true((a) - (b) < 1e-9 && (b) - (a) < 1e-9)

static void quantiles_are_values_that_were_measured(void **state)
{
    int64_t values[1000];
    double us[WEIR_BENCH_QUANTILES];

    (void)state;
    for (int i = 0; i < 1000; i++)
        values[i] = (int64_t)((i * 7919) % 1000 + 1) * 1000; /* 1 … 1000 µs, shuffled */
    weir_bench_quantiles(values, 1000, us);
    NEAR(us[WEIR_BENCH_P50], 500);
    NEAR(us[WEIR_BENCH_P99], 990);
    NEAR(us[WEIR_BENCH_P999], 999);

    values[0] = 42000;
    weir_bench_quantiles(values, 1, us);
    NEAR(us[WEIR_BENCH_P50], 42);
    NEAR(us[WEIR_BENCH_P999], 42);
    weir_bench_quantiles(values, 0, us);
    NEAR(us[WEIR_BENCH_P50], 0);
}

static void a_spread_is_over_the_rounds(void **state)
{
    struct weir_bench_figures *figures = calloc(1, sizeof *figures);
    const size_t member = offsetof(struct weir_bench_round, ratio);

    (void)state;
    assert_non_null(figures);
    NEAR(weir_bench_spread(figures, member).median, 0);
    figures->rounds[0].ratio = 0.9;
    figures->rounds[1].ratio = 0.2;
    figures->rounds[2].ratio = 0.4;
    figures->rounds[3].ratio = 0.5;
    figures->count = 3;
    struct weir_bench_spread spread = weir_bench_spread(figures, member);

    NEAR(spread.median, 0.4);
    NEAR(spread.min, 0.2);
    NEAR(spread.max, 0.9);
    figures->count = 4;
    NEAR(weir_bench_spread(figures, member).median, 0.45);
    NEAR(figures->rounds[0].ratio, 0.9); /* they stay as they were */
    free(figures);
}

static void latency_is_held_against_chain_and_sync(void **state)
{
    struct weir_bench_figures *figures = calloc(1, sizeof *figures);
    struct weir_bench_plan plan = {.fsync = WEIR_FSYNC_ALWAYS};

    (void)state;
    assert_non_null(figures);
    figures->count = 1;
    NEAR(weir_bench_latency_ratio(figures, &plan, WEIR_BENCH_P99), 0);
    figures->rounds[0].latency_us[WEIR_BENCH_HANDLER][WEIR_BENCH_P99] = 900;
    figures->rounds[0].latency_us[WEIR_BENCH_CHAIN][WEIR_BENCH_P99] = 200;
    figures->rounds[0].latency_us[WEIR_BENCH_SYNC][WEIR_BENCH_P99] = 400;
    NEAR(weir_bench_latency_ratio(figures, &plan, WEIR_BENCH_P99), 1.5);
    plan.fsync = WEIR_FSYNC_NEVER;
    NEAR(weir_bench_latency_ratio(figures, &plan, WEIR_BENCH_P99), 4.5);
    free(figures);
}

static void a_payload_bears_its_number(void **state)
{
    static const uint64_t numbers[] = {0, 1, 15, 16, 0xfedcba9876543210, UINT64_MAX};
    char *payload = weir_bench_payload_new(20);
    uint64_t number;

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        weir_bench_payload_number(payload, numbers[i]);
        for (int at = 0; at < 20; at++)
            assert_in_range(payload[at], 'a', 'z'); /* a line of JSON takes it as it is */
        assert_true(weir_bench_payload_parse(payload, &number));
        assert_true(number == numbers[i]);
    }
    payload[3] = 'q';
    assert_false(weir_bench_payload_parse(payload, &number));
    payload[3] = '`';
    assert_false(weir_bench_payload_parse(payload, &number));
    free(payload);
}

static void messages_are_due_by_the_timetable(void **state)
{
    const struct weir_bench_stretch stretch = {.start_ns = 1000, .rate = 23000};
    const struct weir_bench_plan plan = {.rate = 23000, .duration_ms = 500};

    (void)state;
    assert_int_equal(weir_bench_due_ns(&stretch, 0), 1000);
    assert_int_equal(weir_bench_due_ns(&stretch, 23), 1000 + 1000000);
    assert_int_equal(weir_bench_due_ns(&stretch, 23000 * 3600u), 1000 + 3600 * WEIR_NS_PER_S);
    assert_int_equal(weir_bench_paced_messages(&plan), 11500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_values_that_were_measured),
        cmocka_unit_test(a_spread_is_over_the_rounds),
        cmocka_unit_test(latency_is_held_against_chain_and_sync),
        cmocka_unit_test(a_payload_bears_its_number),
        cmocka_unit_test(messages_are_due_by_the_timetable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
