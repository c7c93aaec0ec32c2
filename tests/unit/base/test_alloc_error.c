#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <base/error.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void copies_end_with_nul(void **state)
{
    char *text = weir_strndup("stream", 3);
    char *whole = weir_strndup("abc", 10);
    char *made = weir_asprintf("%s-%d", whole, 7);

    (void)state;
    assert_string_equal(text, "str");
    assert_string_equal(whole, "abc");
    assert_string_equal(made, "abc-7");
    free(text);
    free(whole);
    free(made);
}

static void zalloc_gives_zeros_and_nothing_is_null(void **state)
{
    static const uint8_t zeros[64];
    uint8_t *memory = weir_zalloc(8, 8);
    void *empty = weir_alloc(0);

    (void)state;
    assert_memory_equal(memory, zeros, sizeof zeros);
    assert_non_null(empty);
    free(memory);
    free(empty);
}

/* Run `act` in a child; give how that ended. */
static int status_of(void (*act)(void))
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void ask_for_too_much(void)
{
    free(weir_zalloc(SIZE_MAX / 2, 3));
}

/* More than any machine has, and not too much to be asked for. */
static void ask_for_what_is_not_there(void)
{
    volatile size_t bytes = SIZE_MAX / 4;
    free(weir_alloc(bytes));
}

static void assert_a_falsehood(void)
{
    WEIR_ASSERT(1 + 1 == 3);
}

static void impossible_sizes_end_the_process(void **state)
{
    int status = status_of(ask_for_too_much);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void no_memory_ends_the_process(void **state)
{
    int status = status_of(ask_for_what_is_not_there);

    (void)state;
    assert_false(WIFEXITED(status) &&
                 WEXITSTATUS(status) == 0); /* a sanitizer ends it its own way */
}

static void a_failed_assertion_ends_the_process(void **state)
{
    int status = status_of(assert_a_falsehood);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void errors_gather_context(void **state)
{
    struct weir_error error = {0};

    (void)state;
    assert_int_equal(weir_error_set(&error, WEIR_EIO, "%s: no space", "log"), WEIR_EIO);
    assert_int_equal(weir_error_wrap(&error, "spool %s", "var/x"), WEIR_EIO);
    assert_string_equal(error.text, "spool var/x: log: no space");
    assert_int_equal(error.code, WEIR_EIO);
    assert_int_equal(weir_error_set(NULL, WEIR_EFULL, "unheard"), WEIR_EFULL);
}

static void long_texts_are_cut(void **state)
{
    struct weir_error error = {0};
    char text[2 * WEIR_ERROR_TEXT_BYTES];

    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)weir_error_set(&error, WEIR_EINVAL, "%s", text);
    assert_int_equal(strlen(error.text), WEIR_ERROR_TEXT_BYTES - 1);
    (void)weir_error_wrap(&error, "%s", text);
    assert_int_equal(strlen(error.text), WEIR_ERROR_TEXT_BYTES - 1);
}

static void every_code_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(weir_strerror(WEIR_OK), "success");
    assert_string_equal(weir_strerror(WEIR_EPROTO), "protocol error");
    assert_string_equal(weir_strerror(WEIR_EFULL), "full");
    assert_string_equal(weir_strerror(-12345), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_end_with_nul),
        cmocka_unit_test(zalloc_gives_zeros_and_nothing_is_null),
        cmocka_unit_test(impossible_sizes_end_the_process),
        cmocka_unit_test(no_memory_ends_the_process),
        cmocka_unit_test(a_failed_assertion_ends_the_process),
        cmocka_unit_test(errors_gather_context),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(every_code_has_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
