#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/limits.h>
#include <base/pace.h>

#define START_NS (1000 * WEIR_NS_PER_S)
#define WINDOW_NS (10 * WEIR_NS_PER_MS)
#define STEP_NS (2 * WEIR_NS_PER_MS)
#define REST_NS (WEIR_PACE_REST_MS * WEIR_NS_PER_MS)

static void few_are_never_held(void **state)
{
    struct weir_pace pace = {0};
    int64_t now_ns = START_NS;

    (void)state;
    assert_int_equal(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns), 0);
    for (uint32_t i = 0; i < 100000; i++) { /* a few less in each window than would be many */
        weir_pace_leave(&pace, 1, WINDOW_NS, now_ns);
        now_ns += WINDOW_NS / (WEIR_PACE_MESSAGES - 2);
        assert_int_equal(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns), 0);
    }
}

/* A flow: one leaves each window, though some come all the time. */
static void many_leave_once_a_window(void **state)
{
    struct weir_pace pace = {0};
    int64_t now_ns = START_NS, left_ns = START_NS;
    uint64_t waiting = 0;

    (void)state;
    weir_pace_leave(&pace, WEIR_PACE_MESSAGES, WINDOW_NS, now_ns);
    for (uint32_t i = 0; i < 100000; i++) {
        now_ns += WINDOW_NS / 200;
        waiting++;
        const int64_t at_ns = weir_pace_hold(&pace, waiting, WINDOW_NS, STEP_NS, now_ns);
        if (now_ns - left_ns < WINDOW_NS) {
            assert_true(at_ns > now_ns && at_ns <= left_ns + WINDOW_NS);
            assert_true(at_ns <= now_ns + STEP_NS);
        } else {
            assert_int_equal(at_ns, 0);
            assert_int_equal(waiting, 200);
            weir_pace_leave(&pace, waiting, WINDOW_NS, now_ns);
            left_ns = now_ns;
            waiting = 0;
        }
    }
}

static void what_leaves_early_is_of_the_same_window(void **state)
{
    struct weir_pace pace = {0};
    const int64_t now_ns = START_NS + WINDOW_NS / 2;

    (void)state;
    weir_pace_leave(&pace, WEIR_PACE_MESSAGES / 2, WINDOW_NS, START_NS);
    assert_int_equal(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns), 0);
    weir_pace_leave(&pace, WEIR_PACE_MESSAGES / 2, WINDOW_NS, now_ns);
    assert_int_equal(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns), now_ns + STEP_NS);
    assert_int_equal(weir_pace_hold(&pace, 2, WINDOW_NS, STEP_NS, START_NS + WINDOW_NS), 0);
}

static void nothing_is_held_in_vain(void **state)
{
    struct weir_pace pace = {0};
    int64_t now_ns = START_NS;

    (void)state;
    weir_pace_leave(&pace, WEIR_PACE_MESSAGES, WINDOW_NS, now_ns);
    assert_int_equal(weir_pace_hold(&pace, 5, WINDOW_NS, STEP_NS, now_ns), now_ns + STEP_NS);
    assert_int_equal(weir_pace_hold(&pace, 5, WINDOW_NS, STEP_NS, now_ns + 1), now_ns + STEP_NS);
    now_ns += STEP_NS;
    assert_int_equal(weir_pace_hold(&pace, 6, WINDOW_NS, STEP_NS, now_ns), now_ns + STEP_NS);
    now_ns += STEP_NS;
    assert_int_equal(weir_pace_hold(&pace, 6, WINDOW_NS, STEP_NS, now_ns), 0);
    const int64_t rest_ns = now_ns + REST_NS;
    for (; now_ns < rest_ns; now_ns += STEP_NS) {
        weir_pace_leave(&pace, WEIR_PACE_MESSAGES, WINDOW_NS, now_ns);
        assert_int_equal(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns), 0);
    }
    weir_pace_leave(&pace, WEIR_PACE_MESSAGES, WINDOW_NS, now_ns);
    assert_true(weir_pace_hold(&pace, 1, WINDOW_NS, STEP_NS, now_ns) > now_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_are_never_held),
        cmocka_unit_test(many_leave_once_a_window),
        cmocka_unit_test(what_leaves_early_is_of_the_same_window),
        cmocka_unit_test(nothing_is_held_in_vain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
