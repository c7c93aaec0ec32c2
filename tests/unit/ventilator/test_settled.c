/* The settled bitmap, also against a plain array of flags. */
#include <base/random.h>
#include <core/settled.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_in_order_takes_no_memory(void **state)
{
    (void)state;
    struct weir_settled settled;
    weir_settled_init(&settled, 1);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(weir_settled_add(&settled, 1 + i * 1000, 1000), 1000);
    assert_int_equal(settled.low, 1000001);
    assert_int_equal(settled.count, 0);
    assert_null(settled.chunks);
    weir_settled_fini(&settled);
}

static void test_gap_holds_low(void **state)
{
    (void)state;
    struct weir_settled settled;
    weir_settled_init(&settled, 10);
    assert_int_equal(weir_settled_add(&settled, 12, 20000), 20000);
    assert_int_equal(settled.low, 10);
    assert_false(weir_settled_has(&settled, 10));
    assert_false(weir_settled_has(&settled, 11));
    assert_true(weir_settled_has(&settled, 12));
    assert_true(weir_settled_has(&settled, 20011));
    assert_false(weir_settled_has(&settled, 20012));
    assert_int_equal(weir_settled_open(&settled, 20020), 10);
    assert_int_equal(weir_settled_add(&settled, 11, 2), 1);
    assert_int_equal(weir_settled_add(&settled, 10, 1), 1);
    assert_int_equal(settled.low, 20012);
    assert_int_equal(weir_settled_add(&settled, 5, 3), 0);
    weir_settled_fini(&settled);
}

static void test_chunks_go_to_the_state_and_back(void **state)
{
    (void)state;
    struct weir_settled settled, again;
    uint64_t chunk;
    uint8_t bits[WEIR_CHUNK_BYTES];
    weir_settled_init(&settled, 100);
    weir_settled_init(&again, 100);
    weir_settled_add(&settled, 200, 3);
    weir_settled_add(&settled, WEIR_CHUNK_SEQUENCES, 2 * WEIR_CHUNK_SEQUENCES + 1);
    uint32_t chunks = 0;
    while (weir_settled_take(&settled, &chunk, bits)) {
        weir_settled_load(&again, chunk, bits);
        chunks++;
    }
    assert_int_equal(chunks, 4);
    assert_false(weir_settled_take(&settled, &chunk, bits));
    assert_false(weir_settled_take(&again, &chunk, bits));
    for (uint64_t i = 90; i < 4 * WEIR_CHUNK_SEQUENCES; i++)
        assert_int_equal(weir_settled_has(&again, i), weir_settled_has(&settled, i));
    weir_settled_add(&settled, 199, 1);
    assert_true(weir_settled_take(&settled, &chunk, bits));
    assert_int_equal(chunk, 0);
    assert_int_equal(bits[199 / 8] >> (199 % 8) & 1, 1);
    assert_int_equal(bits[198 / 8] >> (198 % 8) & 1, 0);
    weir_settled_fini(&settled);
    weir_settled_fini(&again);
}

#define SPAN 40000u

static void compare(const struct weir_settled *settled, const uint8_t *flags)
{
    uint64_t low = 1, open = 0;
    while (low < SPAN && flags[low])
        low++;
    assert_int_equal(settled->low, low);
    for (uint64_t i = 1; i < SPAN; i++) {
        assert_int_equal(weir_settled_has(settled, i), flags[i]);
        open += !flags[i];
    }
    assert_int_equal(weir_settled_open(settled, SPAN), open);
    for (uint64_t i = 1; i < SPAN;) {
        bool is;
        const uint64_t run = weir_settled_run(settled, i, SPAN, &is);
        assert_true(run > 0);
        for (uint64_t n = i; n < i + run; n++)
            assert_int_equal(flags[n], is);
        i += run;
        if (i < SPAN)
            assert_int_equal(flags[i], !is);
    }
}

static void test_at_random(void **state)
{
    (void)state;
    struct weir_random random;
    weir_random_seed(&random, 42);
    for (uint32_t round = 0; round < 5; round++) {
        static uint8_t flags[SPAN];
        struct weir_settled settled;
        memset(flags, 0, sizeof flags);
        weir_settled_init(&settled, 1);
        for (uint32_t i = 0; i < 60; i++) {
            const uint64_t most = i % 3 ? 200 : 12000;
            const uint64_t count = 1 + weir_random_below(&random, most);
            uint64_t first = i % 4 == 0 ? settled.low : 1 + weir_random_below(&random, SPAN - 1);
            if (first + count > SPAN)
                first = SPAN - count;
            uint64_t added = 0;
            for (uint64_t n = first; n < first + count; n++) {
                added += !flags[n];
                flags[n] = 1;
            }
            assert_int_equal(weir_settled_add(&settled, first, count), added);
            if (i % 6 == 0)
                compare(&settled, flags);
        }
        compare(&settled, flags);
        weir_settled_fini(&settled);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_takes_no_memory),
        cmocka_unit_test(test_gap_holds_low),
        cmocka_unit_test(test_chunks_go_to_the_state_and_back),
        cmocka_unit_test(test_at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
