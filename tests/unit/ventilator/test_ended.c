/* What is still told of messages that were lost or dropped. */
#include <core/ended.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum weir_fate fate_of(const struct weir_ended *ended, uint64_t sequence)
{
    const struct weir_ended_range *range = weir_ended_find(ended, sequence);
    return range ? range->fate : 0;
}

static void test_what_was_said_first_stays(void **state)
{
    (void)state;
    struct weir_ended ended = {0};
    weir_ended_add(&ended, 10, 19, WEIR_FATE_DROPPED);
    weir_ended_add(&ended, 5, 24, WEIR_FATE_LOST);
    assert_int_equal(ended.count, 3);
    for (uint64_t i = 1; i < 30; i++) {
        const enum weir_fate expected = i < 5 || i > 24     ? 0
                                        : i < 10 || i >= 20 ? WEIR_FATE_LOST
                                                            : WEIR_FATE_DROPPED;
        assert_int_equal(fate_of(&ended, i), expected);
    }
}

static void test_neighbours_are_one(void **state)
{
    (void)state;
    struct weir_ended ended = {0};
    weir_ended_add(&ended, 1, 2, WEIR_FATE_LOST);
    weir_ended_add(&ended, 5, 6, WEIR_FATE_LOST);
    weir_ended_add(&ended, 3, 4, WEIR_FATE_LOST); /* between */
    weir_ended_add(&ended, 7, 7, WEIR_FATE_LOST);
    assert_int_equal(ended.count, 1);
    weir_ended_add(&ended, 8, 8, WEIR_FATE_DROPPED);
    weir_ended_add(&ended, 20, 21, WEIR_FATE_DROPPED);
    weir_ended_add(&ended, 19, 19, WEIR_FATE_DROPPED); /* before */
    assert_int_equal(ended.count, 3);
    assert_int_equal(ended.at[0].last, 7);
    assert_int_equal(ended.at[2].first, 19);
}

static void test_the_oldest_are_forgotten(void **state)
{
    (void)state;
    struct weir_ended ended = {0};
    for (uint64_t i = 1; i <= WEIR_ENDED_RANGES_MAX + 2; i++)
        weir_ended_add(&ended, 10 * i, 10 * i + 1, WEIR_FATE_LOST);
    assert_int_equal(ended.count, WEIR_ENDED_RANGES_MAX);
    assert_int_equal(ended.known_from, 22);
    assert_int_equal(fate_of(&ended, 21), 0);
    assert_int_equal(fate_of(&ended, 30), WEIR_FATE_LOST);
    weir_ended_add(&ended, 5, 23, WEIR_FATE_LOST); /* older than all that there are */
    assert_int_equal(ended.count, WEIR_ENDED_RANGES_MAX);
    assert_int_equal(ended.known_from, 24);
    weir_ended_forget(&ended, 41);
    assert_int_equal(ended.count, WEIR_ENDED_RANGES_MAX - 1);
    assert_int_equal(fate_of(&ended, 40), 0);
    assert_int_equal(fate_of(&ended, 41), WEIR_FATE_LOST);
}

/* Against a plain array. */
static void test_any_order(void **state)
{
    (void)state;
    enum weir_fate plain[400] = {0};
    struct weir_ended ended = {0};
    srand(7);
    for (uint32_t i = 0; i < 200; i++) {
        const uint64_t first = 1 + (uint64_t)rand() % 380, last = first + (uint64_t)rand() % 12;
        const enum weir_fate fate = rand() % 2 ? WEIR_FATE_LOST : WEIR_FATE_DROPPED;
        weir_ended_add(&ended, first, last, fate);
        for (uint64_t at = first; at <= last; at++)
            plain[at] = plain[at] ? plain[at] : fate;
        for (uint64_t at = 0; at < 400; at++)
            assert_int_equal(fate_of(&ended, at), plain[at]);
        for (uint32_t r = 1; r < ended.count; r++)
            assert_true(ended.at[r - 1].last < ended.at[r].first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_said_first_stays),
        cmocka_unit_test(test_neighbours_are_one),
        cmocka_unit_test(test_the_oldest_are_forgotten),
        cmocka_unit_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
