#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/random.h>

#include <string.h>

/* As another implementation computes it: splitmix64 from 0, then xoshiro256**. */
static void the_sequence_is_that_of_the_reference(void **state)
{
    static const uint64_t seeded[4] = {UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f4),
                                       UINT64_C(0x06c45d188009454f), UINT64_C(0xf88bb8a8724c81ec)};
    static const uint64_t expected[3] = {UINT64_C(0x99ec5f36cb75f2b4), UINT64_C(0xbf6e1f784956452a),
                                         UINT64_C(0x1a5f849d4933e6e0)};
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 0);
    assert_memory_equal(random.state, seeded, sizeof seeded);
    for (int i = 0; i < 3; i++)
        assert_true(weir_random_u64(&random) == expected[i]);
}

static void below_reaches_every_number_and_none_above(void **state)
{
    struct weir_random random;
    int seen[7] = {0};

    (void)state;
    weir_random_seed(&random, 4);
    for (int i = 0; i < 7000; i++)
        seen[weir_random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(weir_random_below(&random, 1), 0);
}

static void fill_repeats_from_a_seed_and_stays_inside(void **state)
{
    struct weir_random random;
    uint8_t once[13], again[14];

    (void)state;
    again[13] = 0x5a;
    weir_random_seed(&random, 5);
    weir_random_fill(&random, once, sizeof once);
    weir_random_seed(&random, 5);
    weir_random_fill(&random, again, 13);
    assert_memory_equal(once, again, 13);
    assert_int_equal(again[13], 0x5a);
}

static void entropy_differs(void **state)
{
    uint8_t once[16], again[16];

    (void)state;
    weir_entropy(once, sizeof once);
    weir_entropy(again, sizeof again);
    assert_memory_not_equal(once, again, sizeof once);
}

static void clocks_run(void **state)
{
    struct weir_now first = weir_clock_now(), second = weir_clock_now();

    (void)state;
    assert_true(second.mono_ns >= first.mono_ns);
    assert_true(first.wall_ms > INT64_C(1500000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_that_of_the_reference),
        cmocka_unit_test(below_reaches_every_number_and_none_above),
        cmocka_unit_test(fill_repeats_from_a_seed_and_stays_inside),
        cmocka_unit_test(entropy_differs),
        cmocka_unit_test(clocks_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
