/* The JSON lines between a worker and its coprocesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <executor/serve_lines.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *request_of(const struct weir_message_view *view)
{
    struct weir_job_message message = {
        .id = "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        .topic = "user.signed_up and more",
        .topic_bytes = 14,
        .group = "email",
        .attempt = 2,
        .view = *view,
    };
    struct weir_buffer out = {0};
    weir_serve_request(&message, &out);
    weir_buffer_append(&out, "", 1);
    return (char *)out.data;
}

static void a_request_is_one_line_with_everything(void **state)
{
    (void)state;
    struct weir_message_view view = {
        .payload = (const uint8_t *)"two\nlines \"é\"",
        .payload_bytes = 14,
        .key = "k",
        .key_bytes = 1,
        .headers = {{"a", 1, "1", 1}, {"b\"", 2, "2", 1}, {"bad", 3, "\xff", 1}},
        .header_count = 3,
    };
    char *request = request_of(&view);
    assert_string_equal(request,
                        "{\"id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"topic\":\"user.signed_up\","
                        "\"group\":\"email\",\"attempt\":2,\"key\":\"k\","
                        "\"headers\":{\"a\":\"1\",\"b\\\"\":\"2\"},"
                        "\"payload\":\"two\\nlines \\\"é\\\"\"}\n");
    free(request);
}

static void what_is_not_text_goes_in_base_64(void **state)
{
    (void)state;
    struct weir_message_view view = {
        .payload = (const uint8_t *)"\xff\x00\x01",
        .payload_bytes = 3,
        .key = "\xfe",
        .key_bytes = 1,
    };
    char *request = request_of(&view);
    assert_non_null(strstr(request, "\"payload_base64\":\"/wAB\"}\n"));
    assert_non_null(strstr(request, "\"key_base64\":\"/g==\""));
    assert_null(strstr(request, "\"payload\":"));
    free(request);
    view = (struct weir_message_view){0};
    request = request_of(&view);
    assert_non_null(strstr(request, "\"headers\":{},\"payload\":\"\"}\n"));
    free(request);
}

static struct weir_serve_answer good(const char *line)
{
    struct weir_serve_answer answer;
    struct weir_error error;
    if (weir_serve_answer(line, strlen(line), &answer, &error) != 0)
        fail_msg("%s", error.text);
    return answer;
}

static void answers_are_read(void **state)
{
    (void)state;
    struct weir_serve_answer answer =
        good("{\"id\":\"x\",\"outcome\":\"done\",\"result\":\"é\\u0000\"}");
    assert_string_equal(answer.id, "x");
    assert_int_equal(answer.outcome, WEIR_DONE);
    assert_int_equal(answer.delay_ms, -1);
    assert_true(weir_bytes_equal(&answer.result, "é\0", 3));
    weir_serve_answer_fini(&answer);

    answer = good("{\"id\":\"x\",\"outcome\":\"done\",\"result_base64\":\"/wAB\"}");
    assert_true(weir_bytes_equal(&answer.result, "\xff\x00\x01", 3));
    weir_serve_answer_fini(&answer);

    answer = good("{\"id\":\"x\",\"outcome\":\"done\",\"result\":null,\"unknown\":[1]}");
    assert_null(answer.result.data);
    weir_serve_answer_fini(&answer);

    answer = good("{\"id\":\"x\",\"outcome\":\"retry\",\"error\":\"later\",\"delay_ms\":1500}\r");
    assert_int_equal(answer.outcome, WEIR_RETRY);
    assert_int_equal(answer.delay_ms, 1500);
    assert_true(weir_bytes_equal(&answer.error, "later", 5));
    weir_serve_answer_fini(&answer);

    answer = good("{\"id\":\"x\",\"extend\":true}");
    assert_true(answer.extend);
    weir_serve_answer_fini(&answer);
}

static void a_long_error_keeps_its_end(void **state)
{
    (void)state;
    char line[8192];
    int head = snprintf(line, sizeof line, "{\"id\":\"x\",\"outcome\":\"reject\",\"error\":\"");
    memset(line + head, 'a', 5000);
    snprintf(line + head + 5000, sizeof line - (size_t)head - 5000, "the end\"}");
    struct weir_serve_answer answer = good(line);
    assert_int_equal(answer.error.size, WEIR_ERROR_BYTES_MAX);
    assert_memory_equal(answer.error.data + answer.error.size - 7, "the end", 7);
    weir_serve_answer_fini(&answer);
}

static void bad_answers_say_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *id;
        const char *part;
    } cases[] = {
        {"", "", "not a JSON object"},
        {"hello", "", "not a JSON object in one line: hello"},
        {"[1]", "", "not a JSON object"},
        {"{\"id\":\"x\",\"outcome\":\"done\"} trailing", "", "not a JSON object"},
        {"{\"id\":\"x\",\"outcome\":\"do", "", "not a JSON object"},
        {"{\"outcome\":\"done\"}", "", "no \"id\""},
        {"{\"id\":7,\"outcome\":\"done\"}", "", "no \"id\""},
        {"{\"id\":\"an id that is longer than any\",\"outcome\":\"done\"}", "", "no \"id\""},
        {"{\"id\":\"x\"}", "x", "outcome"},
        {"{\"id\":\"x\",\"outcome\":\"fine\"}", "x", "expected done, retry, reject"},
        {"{\"id\":\"x\",\"outcome\":\"done\",\"result\":{}}", "x", "result that is no string"},
        {"{\"id\":\"x\",\"outcome\":\"done\",\"result_base64\":\"*\"}", "x", "base 64"},
        {"{\"id\":\"x\",\"outcome\":\"done\",\"result_base64\":\"/wA\"}", "x", "base 64"},
        {"{\"id\":\"x\",\"outcome\":\"done\",\"result_base64\":\"/wB=\"}", "x", "base 64"},
        {"{\"id\":\"x\",\"outcome\":\"retry\",\"error\":5}", "x", "error"},
        {"{\"id\":\"x\",\"outcome\":\"retry\",\"delay_ms\":-1}", "x", "delay_ms"},
        {"{\"id\":\"x\",\"outcome\":\"retry\",\"delay_ms\":\"1s\"}", "x", "delay_ms"},
        {"{\"id\":\"x\",\"outcome\":\"done\",\"result\":\"\xff\"}", "", "not a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_serve_answer answer;
        struct weir_error error;
        const char *line = cases[i].line;
        assert_int_equal(weir_serve_answer(line, strlen(line), &answer, &error), WEIR_EPROTO);
        assert_string_equal(answer.id, cases[i].id);
        if (strstr(error.text, cases[i].part) == NULL)
            fail_msg("'%s' gave '%s'", line, error.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_one_line_with_everything),
        cmocka_unit_test(what_is_not_text_goes_in_base_64),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(a_long_error_keeps_its_end),
        cmocka_unit_test(bad_answers_say_what_was_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
