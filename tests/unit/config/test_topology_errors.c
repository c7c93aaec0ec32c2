/* What a file full of mistakes gets: every error at once, to the letter. The expected text stands
 * beside the file; print it anew with  test_topology_errors FILE.  */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/alloc.h>
#include <cmocka.h>
#include <config/config.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *report_of(const char *file, bool warn, int expected_status, uint32_t *warnings)
{
    struct weir_topology *topology;
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    int status = weir_topology_load(file, out, warn, &topology, warnings);

    fclose(out);
    assert_int_equal(status, expected_status);
    assert_true((status == 0) == (topology != NULL));
    weir_topology_destroy(&topology);
    return text;
}

static char *contents(const char *file)
{
    char *text = weir_zalloc(1 << 16, 1);
    FILE *in = fopen(file, "re");

    assert_non_null(in);
    assert_true(fread(text, 1, (1 << 16) - 1, in) > 0);
    fclose(in);
    return text;
}

static void test_mistakes(void **state)
{
    char *report = report_of("mistakes.yaml", false, WEIR_ECONFIG, NULL);
    char *expected = contents("mistakes.expected");

    (void)state;
    assert_string_equal(report, expected);
    free(report);
    free(expected);
}

static void test_warnings(void **state)
{
    uint32_t warnings;
    char *report = report_of("unwise.yaml", true, 0, &warnings);
    char *expected = contents("unwise.expected");

    (void)state;
    assert_string_equal(report, expected);
    assert_int_equal(warnings, 7);
    free(report);
    free(expected);
    report = report_of("unwise.yaml", false, 0, &warnings);
    assert_string_equal(report, "");
    assert_int_equal(warnings, 0);
    free(report);
}

/* A file of this text; its report must be exactly that. */
static void expect(const char *text, size_t bytes, const char *report)
{
    char directory[] = "/tmp/weir-config-XXXXXX", *file, *got;

    assert_non_null(mkdtemp(directory));
    assert_int_equal(chdir(directory), 0);
    file = weir_strdup("t.yaml");
    FILE *out = fopen(file, "we");

    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, bytes, out), bytes);
    fclose(out);
    got = report_of(file, true, WEIR_ECONFIG, NULL);
    assert_string_equal(got, report);
    free(got);
    unlink(file);
    free(file);
    assert_int_equal(chdir(FILES_DIR), 0);
    rmdir(directory);
}

static void test_not_yaml(void **state)
{
    (void)state;
    expect("", 0,
           "t.yaml: error: is empty\n      = expected 'topology: NAME' and 'nodes:'\n"
           "t.yaml: 1 error\n");
    expect("a: [1,\n", 7,
           "t.yaml:2:1: error: not valid YAML: did not find expected node content\n"
           "    2 | \n      | ^\nt.yaml: 1 error\n");
    expect("a: \xff", 4,
           "t.yaml:1:4: error: this byte is not text\n    1 | a: \xff\n      |    ^\n"
           "      = expected a file in UTF-8\nt.yaml: 1 error\n");
    expect("a\0b", 3,
           "t.yaml:1:2: error: this byte is not text\n    1 | a?b\n      |  ^\n"
           "      = expected a file in UTF-8\nt.yaml: 1 error\n");
}

/* It was taken, and nothing waited: what is sent at most once goes past the queues of the keys. */
static void test_order_at_most_once(void **state)
{
    const char *text = "topology: t\n"
                       "nodes:\n"
                       "  v:\n"
                       "    role: ventilator\n"
                       "    submit: tcp://127.0.0.1:7400\n"
                       "    dispatch: tcp://127.0.0.1:7401\n"
                       "    spool: { dir: v }\n"
                       "    groups:\n"
                       "      g: { topics: [a], delivery: at-most-once, order: key }\n"
                       "      h: { topics: [a], delivery: at-most-once }\n"
                       "      i: { topics: [a], order: key }\n";

    (void)state;
    expect(text, strlen(text),
           "t.yaml:9:56: error: order: group 'g' delivers at most once, and waits for nothing "
           "that it has sent\n"
           "    9 |       g: { topics: [a], delivery: at-most-once, order: key }\n"
           "      |                                                        ^~~\n"
           "      = expected 'delivery: at-least-once' beside it; or leave 'order' out\n"
           "t.yaml: 1 error\n");
}

static void test_no_file(void **state)
{
    char *report = report_of("nothing.yaml", false, WEIR_ECONFIG, NULL);

    (void)state;
    assert_string_equal(report, "nothing.yaml: error: cannot open: No such file or directory\n"
                                "      = expected a topology file\nnothing.yaml: 1 error\n");
    free(report);
    report = report_of(".", false, WEIR_ECONFIG, NULL);
    assert_string_equal(report, ".: error: is a directory\n      = expected a topology file in it\n"
                                ".: 1 error\n");
    free(report);
}

static void test_deep_and_circular(void **state)
{
    char text[256];
    const char *circle = "topology: &a [*a]\nnodes: &n { x: *n }\n";

    (void)state;
    memset(text, '[', 70);
    expect(text, 70,
           "t.yaml:1:64: error: not valid YAML: Max depth (64) exceeded\n"
           "    1 | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n"
           "      |                                                                ^\n"
           "t.yaml: 1 error\n");
    expect(circle, strlen(circle),
           "t.yaml:1:1: error: 'topology' of the file has no plain value\n"
           "    1 | topology: &a [*a]\n      | ^~~~~~~~\n      = expected a name\n"
           "t.yaml:2:13: error: node 'x' has no role\n"
           "    2 | nodes: &n { x: *n }\n      |             ^\n"
           "      = expected role: ventilator, router, worker, sink or dlq\n"
           "t.yaml: 2 errors\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_not_yaml), cmocka_unit_test(test_order_at_most_once),
        cmocka_unit_test(test_no_file),  cmocka_unit_test(test_deep_and_circular),
    };
    struct weir_topology *topology;

    if (chdir(FILES_DIR) != 0)
        return 1;
    if (argc == 2)
        return weir_topology_load(argv[1], stdout, true, &topology, NULL) != 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
