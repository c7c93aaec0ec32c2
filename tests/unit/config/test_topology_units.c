/* Durations, sizes, rates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <config/config.h>
#include <string.h>

static void test_duration(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},       {"0s", 0},       {"1ms", 1},       {"1500ms", 1500}, {"30s", 30000},
                {"5m", 300000}, {"2h", 7200000}, {"1d", 86400000}, {"007s", 7000}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "1 s",
                                      "-1s",
                                      "+1s",
                                      "1S",
                                      "1.5s",
                                      "1sx",
                                      " 1s",
                                      "99999999999999999999s",
                                      "9999999999999999d"};
    struct weir_error error;
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(weir_duration_parse(good[i].text, &ms, &error), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ms = -7;
        assert_int_equal(weir_duration_parse(bad[i], &ms, &error), WEIR_EINVAL);
        assert_int_equal(ms, -7);
    }
    weir_duration_parse("5", &ms, &error);
    assert_string_equal(error.text, "'5' is not a duration; expected a whole number and one of ms, "
                                    "s, m, h, d, such as 1500ms or 30s");
}

static void test_size(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"100B", 100},
                {"1KB", 1000},
                {"1MB", 1000000},
                {"64KiB", 65536},
                {"4GiB", UINT64_C(4) << 30},
                {"2TiB", UINT64_C(2) << 40}};
    static const char *const bad[] = {"", "100", "4G", "4gib", "1.5GiB", "9999999999TiB", "-1B"};
    uint64_t bytes;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(weir_size_parse(good[i].text, &bytes, NULL), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(weir_size_parse(bad[i], &bytes, NULL), WEIR_EINVAL);
}

static void test_rate(void **state)
{
    static const struct {
        const char *text;
        uint32_t permille;
    } good[] = {{"200/s", 200000}, {"1/s", 1000}, {"60/m", 1000},
                {"10/m", 166},     {"4/h", 1},    {"4000000/s", 4000000000u}};
    static const char *const bad[] = {"", "200", "0/s", "1/h", "200/d", "-1/s", "5000000/s", "/s"};
    uint32_t permille;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(weir_rate_parse(good[i].text, &permille, NULL), 0);
        assert_int_equal(permille, good[i].permille);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(weir_rate_parse(bad[i], &permille, NULL), WEIR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
