/* Tables, ages, sizes, the progress bar, and the lines of supervised processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <child_output.h>
#include <cmocka.h>
#include <fcntl.h>
#include <output.h>
#include <progress.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sheet { /* what was printed */
    FILE *out;
    char *text;
    size_t bytes;
};

static void open_sheet(struct sheet *sheet)
{
    sheet->out = open_memstream(&sheet->text, &sheet->bytes);
    assert_non_null(sheet->out);
}

static void expect_sheet(struct sheet *sheet, const char *expected)
{
    fclose(sheet->out);
    assert_string_equal(sheet->text, expected);
    free(sheet->text);
}

static void test_table(void **state)
{
    struct sheet sheet;
    struct weir_table *table = weir_table_new("NAME|>COUNT|");

    (void)state;
    weir_table_add(table, WEIR_PLAIN, "größe");
    weir_table_add(table, WEIR_RED, "%d", 7);
    weir_table_add(table, WEIR_PLAIN, "a\nb\033c");
    weir_table_add(table, WEIR_PLAIN, "x");
    weir_table_add(table, WEIR_PLAIN, "%d", 123456);
    weir_table_add(table, WEIR_PLAIN, "%s", "");
    open_sheet(&sheet);
    weir_table_print(&table, sheet.out, false);
    assert_null(table);
    expect_sheet(&sheet, "NAME    COUNT\n"
                         "größe       7  a b c\n"
                         "x      123456\n");
}

static void test_table_in_colour(void **state)
{
    struct sheet sheet;
    struct weir_table *table = weir_table_new("A|B");

    (void)state;
    weir_table_add(table, WEIR_GREEN, "ok");
    weir_table_add(table, WEIR_PLAIN, "z");
    open_sheet(&sheet);
    weir_table_print(&table, sheet.out, true);
    expect_sheet(&sheet, "\033[1mA\033[0m   \033[1mB\033[0m\n\033[32mok\033[0m  z\n");
}

static void test_age(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{-1, "-"},          {0, "0ms"},         {999, "999ms"},    {1000, "1s"},
                 {59999, "59s"},     {60000, "1m00s"},   {190000, "3m10s"}, {7500000, "2h05m"},
                 {86400000, "1d0h"}, {353000000, "4d2h"}};
    char text[WEIR_AGE_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_format_age(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_bytes_and_time(void **state)
{
    char text[WEIR_BYTES_BYTES];

    (void)state;
    weir_format_bytes(0, text);
    assert_string_equal(text, "0 B");
    weir_format_bytes(1536, text);
    assert_string_equal(text, "1.5 KiB");
    weir_format_bytes(UINT64_C(3) << 40, text);
    assert_string_equal(text, "3.0 TiB");
    setenv("TZ", "UTC", 1);
    weir_format_time(INT64_C(1795316244238), text);
    assert_string_equal(text, "2026-11-22 02:57:24.238");
    weir_format_time(-1, text);
    assert_string_equal(text, "-");
}

static void test_progress(void **state)
{
    struct weir_progress progress = {.bytes_all = 1000};
    char text[WEIR_PROGRESS_BYTES];

    (void)state;
    weir_progress_format(&progress, 50, 500, "", 2 * WEIR_NS_PER_S, text);
    assert_string_equal(text, "[###############               ]  50 %  50 messages, 25/s");
    weir_progress_format(&progress, 50, 5000, "full", 2 * WEIR_NS_PER_S, text);
    assert_string_equal(text, "[##############################] 100 %  50 messages, 25/s  full");
    progress.bytes_all = 0;
    weir_progress_format(&progress, 0, 10, "", 0, text);
    assert_string_equal(text, "0 messages, 0/s");
}

static void test_child_lines(void **state)
{
    struct weir_child_output output;
    struct sheet sheet;
    char *expected;
    int ends[2];

    (void)state;
    open_sheet(&sheet);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    weir_child_output_init(&output, sheet.out, "hub", 0, 5, false);
    assert_int_equal(write(ends[1], "one\ntw", 6), 6);
    assert_true(weir_child_output_read(&output, ends[0]));
    assert_true(weir_child_output_read(&output, ends[0])); /* nothing there: not the end */
    assert_string_equal(sheet.text, "hub   | one\n");
    assert_int_equal(write(ends[1], "o\n\nlast", 7), 7);
    assert_true(weir_child_output_read(&output, ends[0]));
    assert_true(weir_child_output_read(&output, ends[0])); /* nothing there: not the end */
    static const char log[] = "\n2026-11-22T05:29:04.067Z info hub: ready\n"
                              "2026-11-22T05:29:04.067Z info hubs: it\n"
                              "2026 info hub: says";

    assert_int_equal(write(ends[1], log, sizeof log - 1), sizeof log - 1);
    close(ends[1]);
    assert_true(weir_child_output_read(&output, ends[0]));
    assert_false(weir_child_output_read(&output, ends[0]));
    close(ends[0]);
    weir_child_output_fini(&output);
    expected = weir_strdup("hub   | one\nhub   | two\nhub   | \nhub   | last\n"
                           "hub   | 2026-11-22T05:29:04.067Z info: ready\n"
                           "hub   | 2026-11-22T05:29:04.067Z info hubs: it\n"
                           "hub   | 2026 info hub: says\n");
    expect_sheet(&sheet, expected);
    free(expected);
}

static void test_child_long_line(void **state)
{
    struct weir_child_output output;
    struct sheet sheet;
    char *line = weir_alloc(WEIR_LINE_BYTES_MAX);
    int ends[2];

    (void)state;
    memset(line, 'x', WEIR_LINE_BYTES_MAX);
    open_sheet(&sheet);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    weir_child_output_init(&output, sheet.out, NULL, 0, 0, false);
    assert_int_equal(write(ends[1], line, WEIR_LINE_BYTES_MAX), WEIR_LINE_BYTES_MAX);
    assert_int_equal(write(ends[1], "tail\n", 5), 5);
    assert_true(weir_child_output_read(&output, ends[0]));
    assert_true(weir_child_output_read(&output, ends[0]));
    fflush(sheet.out);
    assert_int_equal(sheet.bytes, WEIR_LINE_BYTES_MAX + 1 + 5);
    assert_memory_equal(sheet.text, line, WEIR_LINE_BYTES_MAX);
    assert_string_equal(sheet.text + WEIR_LINE_BYTES_MAX, "\ntail\n");
    close(ends[0]);
    close(ends[1]);
    weir_child_output_fini(&output);
    fclose(sheet.out);
    free(sheet.text);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_in_colour),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_bytes_and_time),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_child_lines),
        cmocka_unit_test(test_child_long_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
