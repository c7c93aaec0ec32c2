/* When a process that ended is started again, and how its end is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <restart_policy.h>
#include <sysexits.h>

#define EXITED(status) ((status) << 8)
#define KILLED(signal) (signal)

static void test_backoff_doubles_and_is_bounded(void **state)
{
    static const int64_t delays[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000};
    struct weir_restart restart = {0};

    (void)state;
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++)
        assert_int_equal(weir_restart_after(&restart, KILLED(9), 50), delays[i]);
}

static void test_long_life_starts_afresh(void **state)
{
    struct weir_restart restart = {0};

    (void)state;
    for (int i = 0; i < 5; i++)
        weir_restart_after(&restart, EXITED(1), 0);
    assert_int_equal(weir_restart_after(&restart, EXITED(1), WEIR_RESTART_LIFE_MS - 1), 3200);
    assert_int_equal(weir_restart_after(&restart, EXITED(1), WEIR_RESTART_LIFE_MS), 100);
    assert_int_equal(weir_restart_after(&restart, EXITED(0), 0), 200);
}

static void test_configuration_is_final(void **state)
{
    struct weir_restart restart = {0};

    (void)state;
    assert_int_equal(weir_restart_after(&restart, EXITED(EX_CONFIG), 999999), -1);
    assert_int_equal(weir_restart_after(&restart, EXITED(EX_USAGE), 0), -1);
    assert_int_equal(weir_restart_after(&restart, EXITED(127), 0), -1);
}

static void test_storage_is_given_up(void **state)
{
    struct weir_restart restart = {0};

    (void)state;
    for (uint32_t i = 1; i < WEIR_RESTART_STORAGE_MAX; i++)
        assert_true(weir_restart_after(&restart, EXITED(EX_IOERR), 0) > 0);
    assert_int_equal(weir_restart_after(&restart, EXITED(EX_CANTCREAT), 0), -1);
    /* Another end in between: it was not the storage alone. */
    restart = (struct weir_restart){.storage_failures = WEIR_RESTART_STORAGE_MAX - 1};
    assert_true(weir_restart_after(&restart, KILLED(11), 0) > 0);
    assert_true(weir_restart_after(&restart, EXITED(EX_IOERR), 0) > 0);
    /* So did a long life, but not one that is just long enough to start at once. */
    restart = (struct weir_restart){.storage_failures = WEIR_RESTART_STORAGE_MAX - 1};
    assert_true(weir_restart_after(&restart, EXITED(EX_IOERR), WEIR_RESTART_STORAGE_LIFE_MS) > 0);
    restart = (struct weir_restart){.storage_failures = WEIR_RESTART_STORAGE_MAX - 1};
    assert_int_equal(weir_restart_after(&restart, EXITED(EX_IOERR), WEIR_RESTART_LIFE_MS), -1);
}

static void test_endings(void **state)
{
    char text[WEIR_ENDING_BYTES];

    (void)state;
    weir_format_ending(EXITED(EX_CONFIG), text, sizeof text);
    assert_string_equal(text, "ended with status 78 (configuration error)");
    weir_format_ending(EXITED(3), text, sizeof text);
    assert_string_equal(text, "ended with status 3");
    weir_format_ending(KILLED(9), text, sizeof text);
    assert_string_equal(text, "was killed by signal 9 (Killed)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_doubles_and_is_bounded),
        cmocka_unit_test(test_long_life_starts_afresh),
        cmocka_unit_test(test_configuration_is_final),
        cmocka_unit_test(test_storage_is_given_up),
        cmocka_unit_test(test_endings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
