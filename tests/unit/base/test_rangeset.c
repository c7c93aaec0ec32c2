#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/random.h>
#include <base/rangeset.h>

#include <stdbool.h>

static void neighbours_join(void **state)
{
    struct weir_rangeset set = {0};

    (void)state;
    assert_int_equal(weir_rangeset_add(&set, 10, 19), 10);
    assert_int_equal(weir_rangeset_add(&set, 30, 39), 10);
    assert_int_equal(set.count, 2);
    assert_int_equal(weir_rangeset_add(&set, 20, 29), 10);
    assert_int_equal(set.count, 1);
    assert_int_equal(set.at[0].first, 10);
    assert_int_equal(set.at[0].last, 39);
    assert_int_equal(weir_rangeset_add(&set, 5, 45), 11);
    assert_int_equal(weir_rangeset_add(&set, 12, 20), 0);
    assert_int_equal(weir_rangeset_size(&set), 41);
    weir_rangeset_fini(&set);
}

static void removal_splits(void **state)
{
    struct weir_rangeset set = {0};

    (void)state;
    (void)weir_rangeset_add(&set, 1, 10);
    assert_int_equal(weir_rangeset_remove(&set, 4, 6), 3);
    assert_int_equal(set.count, 2);
    assert_int_equal(set.at[0].last, 3);
    assert_int_equal(set.at[1].first, 7);
    assert_int_equal(weir_rangeset_remove(&set, 4, 6), 0);
    assert_int_equal(weir_rangeset_remove(&set, 0, 100), 7);
    assert_int_equal(set.count, 0);
    weir_rangeset_fini(&set);
}

static void the_ends_of_u64_are_numbers_like_others(void **state)
{
    struct weir_rangeset set = {0};

    (void)state;
    assert_int_equal(weir_rangeset_add(&set, UINT64_MAX, UINT64_MAX), 1);
    assert_int_equal(weir_rangeset_add(&set, 0, 0), 1);
    assert_int_equal(set.count, 2);
    assert_true(weir_rangeset_has(&set, UINT64_MAX));
    assert_true(weir_rangeset_has(&set, 0));
    assert_false(weir_rangeset_has(&set, 1));
    assert_true(weir_rangeset_add(&set, 1, UINT64_MAX - 1) == UINT64_MAX - 1);
    assert_int_equal(set.count, 1);
    assert_true(weir_rangeset_remove(&set, 5, UINT64_MAX) == UINT64_MAX - 4);
    assert_int_equal(set.at[0].last, 4);
    weir_rangeset_fini(&set);
}

/* Random operations, against an array of flags. */
static void it_is_what_a_plain_array_says(void **state)
{
    enum { NUMBERS = 300 };
    struct weir_rangeset set = {0};
    bool in[NUMBERS] = {false};
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 6);
    for (int turn = 0; turn < 5000; turn++) {
        uint64_t first = weir_random_below(&random, NUMBERS);
        uint64_t last = first + weir_random_below(&random, NUMBERS - first) / 4;
        bool add = weir_random_below(&random, 2) == 0;
        uint64_t changed = 0, size = 0;

        for (uint64_t i = first; i <= last; i++) {
            changed += in[i] != add;
            in[i] = add;
        }
        assert_int_equal(add ? weir_rangeset_add(&set, first, last)
                             : weir_rangeset_remove(&set, first, last),
                         changed);
        for (uint64_t i = 0; i < NUMBERS; i++) {
            size += in[i];
            assert_int_equal(weir_rangeset_has(&set, i), in[i]);
        }
        assert_int_equal(weir_rangeset_size(&set), size);
        for (size_t i = 1; i < set.count; i++)
            assert_true(set.at[i].first > set.at[i - 1].last + 1);
    }
    weir_rangeset_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_join),
        cmocka_unit_test(removal_splits),
        cmocka_unit_test(the_ends_of_u64_are_numbers_like_others),
        cmocka_unit_test(it_is_what_a_plain_array_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
