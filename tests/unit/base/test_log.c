#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/log.h>

#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What `weir_log` writes while stderr is a pipe. */
static void logged(enum weir_log_level level, const char *text, char *line, size_t bytes)
{
    int ends[2], kept = dup(STDERR_FILENO);
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    weir_log(level, "%s", text);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(ends[1]);
    (void)close(kept);
    got = read(ends[0], line, bytes - 1);
    assert_true(got >= 0);
    line[got] = '\0';
    (void)close(ends[0]);
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&regex);
}

static void a_line_has_time_level_and_name(void **state)
{
    char line[256];

    (void)state;
    weir_log_init("intake", WEIR_LOG_INFO);
    logged(WEIR_LOG_WARNING, "spool is full", line, sizeof line);
    assert_matches(line, "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z warning intake: "
                         "spool is full\n$");
}

static void levels_above_the_wanted_one_are_silent(void **state)
{
    char line[256];

    (void)state;
    weir_log_init("intake", WEIR_LOG_INFO);
    logged(WEIR_LOG_DEBUG, "detail", line, sizeof line);
    assert_string_equal(line, "");
    weir_log_init("intake", WEIR_LOG_DEBUG);
    logged(WEIR_LOG_DEBUG, "detail", line, sizeof line);
    assert_matches(line, " debug intake: detail\n$");
}

static void control_characters_cannot_forge_lines(void **state)
{
    char line[256];

    (void)state;
    weir_log_init("intake", WEIR_LOG_INFO);
    logged(WEIR_LOG_INFO, "a\nb\x1b[31m\x7f\xc3\xbc", line, sizeof line);
    assert_non_null(strstr(line, "a\\x0ab\\x1b[31m\\x7f\xc3\xbc\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_name),
        cmocka_unit_test(levels_above_the_wanted_one_are_silent),
        cmocka_unit_test(control_characters_cannot_forge_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
