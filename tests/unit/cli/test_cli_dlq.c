/* Words of `weir dlq`: reasons and moments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlq_selection.h>
#include <stdlib.h>

static void test_reasons(void **state)
{
    (void)state;
    assert_int_equal(weir_reason_parse("attempts"), WEIR_REASON_ATTEMPTS);
    assert_int_equal(weir_reason_parse("rejected"), WEIR_REASON_REJECTED);
    assert_int_equal(weir_reason_parse("expired"), WEIR_REASON_EXPIRED);
    assert_int_equal(weir_reason_parse("backlog"), WEIR_REASON_BACKLOG);
    assert_int_equal(weir_reason_parse("none"), WEIR_REASON_NONE);
    assert_int_equal(weir_reason_parse(""), WEIR_REASON_NONE);
}

static void test_moments(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"2h", 1000000000000 - 7200000},
                {"2026-11-22", INT64_C(1795305600000)},
                {"2026-11-22 10:00", INT64_C(1795341600000)},
                {"2026-11-22T10:00:30", INT64_C(1795341630000)}};
    static const char *const bad[] = {"", "yesterday", "2026-11-22 10:00 x", "2026-13-01", "10:00"};
    struct weir_error error;
    int64_t ms;

    (void)state;
    setenv("TZ", "UTC", 1);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(weir_moment_parse(good[i].text, 1000000000000, &ms, &error), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(weir_moment_parse(bad[i], 1000000000000, &ms, &error), WEIR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_moments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
