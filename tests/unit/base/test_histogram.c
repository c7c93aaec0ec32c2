#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/histogram.h>
#include <base/random.h>

#include <stdlib.h>

static void empty_says_zero(void **state)
{
    static struct weir_histogram histogram;

    (void)state;
    assert_int_equal(weir_histogram_quantile(&histogram, 500), 0);
}

static void small_values_are_exact(void **state)
{
    static struct weir_histogram histogram;

    (void)state;
    for (uint64_t value = 1; value <= 31; value++)
        weir_histogram_add(&histogram, value);
    assert_int_equal(weir_histogram_quantile(&histogram, 0), 1);
    assert_int_equal(weir_histogram_quantile(&histogram, 500), 16);
    assert_int_equal(weir_histogram_quantile(&histogram, 1000), 31);
    assert_int_equal(histogram.total, 31);
    assert_int_equal(histogram.max, 31);
}

static void the_ends_of_the_range_have_buckets(void **state)
{
    static struct weir_histogram histogram;

    (void)state;
    weir_histogram_add(&histogram, 0);
    weir_histogram_add(&histogram, UINT64_MAX);
    assert_true(weir_histogram_quantile(&histogram, 500) == 0);
    assert_true(weir_histogram_quantile(&histogram, 1000) == UINT64_MAX);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static void quantiles_are_within_a_32nd(void **state)
{
    enum { VALUES = 10000 };
    static struct weir_histogram histogram;
    static uint64_t values[VALUES];
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 2);
    for (int i = 0; i < VALUES; i++) {
        values[i] = weir_random_u64(&random) >> weir_random_below(&random, 64);
        weir_histogram_add(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], compare);
    for (uint32_t permille = 1; permille <= 1000; permille++) {
        uint64_t exact = values[(uint64_t)VALUES * permille / 1000 - 1];
        uint64_t said = weir_histogram_quantile(&histogram, permille);

        assert_true(said >= exact);
        assert_true(said - exact <= exact / 32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_says_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(the_ends_of_the_range_have_buckets),
        cmocka_unit_test(quantiles_are_within_a_32nd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
