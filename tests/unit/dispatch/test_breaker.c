#include "script.h"

#include <core/breaker.h>

/* One step of a story: at this second so many end so; afterwards the breaker is so. */
struct row {
    int64_t ms;
    enum weir_outcome outcome;
    uint32_t count;
    enum weir_breaker_state state;
};

static void play(const struct row *rows, uint32_t count, struct weir_breaker *breaker)
{
    weir_breaker_init(breaker);
    for (uint32_t i = 0; i < count; i++) {
        enum weir_breaker_state before = breaker->state;
        bool changed = weir_breaker_note(breaker, rows[i].outcome, rows[i].count, rows[i].ms * MS);
        if (breaker->state != rows[i].state)
            fail_msg("row %u: state %d, expected %d", i, (int)breaker->state, (int)rows[i].state);
        assert_int_equal(changed, before != breaker->state);
    }
}

#define PLAY(rows, breaker) play(rows, sizeof(rows) / sizeof(rows)[0], breaker)

static void opens_at_nine_of_ten_of_twenty(void **state)
{
    (void)state;
    struct weir_breaker breaker;
    const struct row few[] = {{1000, WEIR_RETRY, 19, WEIR_BREAKER_CLOSED},
                              {1000, WEIR_RETRY, 1, WEIR_BREAKER_OPEN}};
    const struct row mixed[] = {{1000, WEIR_DONE, 3, WEIR_BREAKER_CLOSED},
                                {1000, WEIR_REJECT, 26, WEIR_BREAKER_CLOSED},
                                {1000, WEIR_UNAVAILABLE, 1, WEIR_BREAKER_OPEN}};
    const struct row released[] = {{1000, WEIR_RELEASE, 100, WEIR_BREAKER_CLOSED}};
    PLAY(few, &breaker);
    PLAY(mixed, &breaker); /* 27 of 30 */
    PLAY(released, &breaker);
}

static void forgets_after_ten_seconds(void **state)
{
    (void)state;
    struct weir_breaker breaker;
    const struct row slow[] = {{1000, WEIR_RETRY, 19, WEIR_BREAKER_CLOSED},
                               {11000, WEIR_RETRY, 19, WEIR_BREAKER_CLOSED},
                               {20999, WEIR_RETRY, 1, WEIR_BREAKER_OPEN}};
    const struct row successes_age_too[] = {{1000, WEIR_DONE, 1000, WEIR_BREAKER_CLOSED},
                                            {5000, WEIR_RETRY, 500, WEIR_BREAKER_CLOSED},
                                            {11000, WEIR_RETRY, 1, WEIR_BREAKER_OPEN}};
    PLAY(slow, &breaker);
    PLAY(successes_age_too, &breaker);
}

static void probes_at_growing_intervals(void **state)
{
    (void)state;
    struct weir_breaker breaker;
    bool probe;
    int64_t now_ns = 1000 * MS;
    weir_breaker_init(&breaker);
    assert_true(weir_breaker_allows(&breaker, now_ns, &probe));
    assert_false(probe);
    assert_true(weir_breaker_note(&breaker, WEIR_RETRY, 20, now_ns));
    static const int64_t intervals_ms[] = {500, 1000, 2000, 4000, 8000, 10000, 10000};
    for (uint32_t i = 0; i < sizeof intervals_ms / sizeof intervals_ms[0]; i++) {
        assert_false(weir_breaker_allows(&breaker, now_ns + intervals_ms[i] * MS - 1, &probe));
        now_ns += intervals_ms[i] * MS;
        assert_true(weir_breaker_allows(&breaker, now_ns, &probe));
        assert_true(probe);
        weir_breaker_probe(&breaker);
        assert_false(weir_breaker_allows(&breaker, now_ns, &probe));
        assert_true(weir_breaker_note(&breaker, i % 2 ? WEIR_RETRY : WEIR_UNAVAILABLE, 1, now_ns));
        assert_int_equal(breaker.state, WEIR_BREAKER_OPEN);
    }
}

static void a_lost_probe_waits_the_same_time(void **state)
{
    (void)state;
    struct weir_breaker breaker;
    bool probe;
    weir_breaker_init(&breaker);
    weir_breaker_note(&breaker, WEIR_RETRY, 20, 0);
    weir_breaker_probe(&breaker);
    weir_breaker_probe_lost(&breaker, 600 * MS);
    assert_false(weir_breaker_allows(&breaker, 1099 * MS, &probe));
    assert_true(weir_breaker_allows(&breaker, 1100 * MS, &probe));
}

static void a_success_closes_and_forgets(void **state)
{
    (void)state;
    struct weir_breaker breaker;
    bool probe;
    weir_breaker_init(&breaker);
    weir_breaker_note(&breaker, WEIR_RETRY, 500, 0);
    /* What was sent before it opened is no news. */
    assert_false(weir_breaker_note(&breaker, WEIR_DONE, 500, 1));
    assert_int_equal(breaker.state, WEIR_BREAKER_OPEN);
    weir_breaker_probe(&breaker);
    assert_true(weir_breaker_note(&breaker, WEIR_DONE, 1, 600 * MS));
    assert_true(weir_breaker_allows(&breaker, 600 * MS, &probe));
    assert_false(probe);
    assert_false(weir_breaker_note(&breaker, WEIR_RETRY, 19, 700 * MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_at_nine_of_ten_of_twenty),
        cmocka_unit_test(forgets_after_ten_seconds),
        cmocka_unit_test(probes_at_growing_intervals),
        cmocka_unit_test(a_lost_probe_waits_the_same_time),
        cmocka_unit_test(a_success_closes_and_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
