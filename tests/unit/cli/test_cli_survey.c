/* What `weir ps` prints of what processes told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/clock.h>
#include <cmocka.h>
#include <output.h>
#include <stdlib.h>
#include <string.h>
#include <survey_table.h>

static struct weir_node intake = {
    .name = (char *)"intake", .role = WEIR_ROLE_VENTILATOR, .count = 1};
static struct weir_node email = {.name = (char *)"email", .role = WEIR_ROLE_WORKER, .count = 2};

static json_t *json(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    return value;
}

static struct weir_survey make_survey(struct weir_seen seen[3])
{
    seen[0] = (struct weir_seen){
        .node = &intake, .instance = 1, .label = "intake", .pid = 100, .state = "running"};
    seen[0].stats = json(
        "{\"node\":\"intake\",\"state\":\"open\",\"accepted\":7,\"used_bytes\":2048,"
        "\"dispatch\":{\"peer_count\":4,\"peers\":["
        "{\"name\":\"hub\",\"worker\":\"\",\"state\":\"live\",\"breaker\":\"closed\","
        "\"groups\":[{\"group\":\"email\"}]},"
        "{\"worker\":\"1\",\"state\":\"live\",\"breaker\":\"open\",\"groups\":[{\"group\":"
        "\"email\"}]},"
        "{\"worker\":\"2\",\"state\":\"live\",\"breaker\":\"closed\",\"groups\":[{\"group\":"
        "\"email\"}]},"
        "{\"worker\":\"3\",\"state\":\"gone\",\"breaker\":\"open\",\"groups\":[{\"group\":"
        "\"old\"}]}]},\"groups\":{"
        "\"email\":{\"waiting\":3,\"in-flight\":1,\"deferred\":2,\"dead\":1,\"dying\":1,\"done\":9,"
        "\"oldest_age_ms\":190000,\"paused\":true,\"listed\":true,\"peers\":3},"
        "\"old\":{\"waiting\":4,\"listed\":false}}}");
    seen[1] = (struct weir_seen){.node = &email,
                                 .instance = 1,
                                 .label = "email.1",
                                 .pid = 101,
                                 .restarts = 2,
                                 .state = "running"};
    seen[1].stats = json("{\"running\":1,\"done\":8,\"failed\":0}");
    seen[2] = (struct weir_seen){
        .node = &email, .instance = 2, .label = "email.2", .restarts = -1, .state = "silent"};
    weir_error_set(&seen[2].error, WEIR_ETIMEDOUT, "does not answer");
    return (struct weir_survey){.at = seen, .count = 3, .alive = 2};
}

static void drop(struct weir_survey *survey)
{
    for (uint32_t i = 0; i < survey->count; i++)
        json_decref(survey->at[i].stats);
}

static void test_tables(void **state)
{
    struct weir_seen seen[3];
    struct weir_survey survey = make_survey(seen);
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    weir_survey_print_processes(&survey, out, false);
    weir_survey_print_groups(&survey, out, false);
    fclose(out);
    assert_string_equal(
        text, "NODE     ROLE        PID  STATE    RESTARTS  UP\n"
              "intake   ventilator  100  running         0   -  7 accepted, 2.0 KiB, 4 clients\n"
              "email.1  worker      101  running         2   -  1 running, 8 done\n"
              "email.2  worker        -  silent          -   -  does not answer\n"
              "GROUP  VENTILATOR  WAITING  IN FLIGHT  DEFERRED  DEAD  DONE  OLDEST  WORKERS\n"
              "email  intake            3          1         2     1     9   3m10s        2  "
              "1 of 2 breakers open, paused, dead letters wait for the collector\n"
              "old    intake            4          -         -     -     -       -        0  left "
              "over\n");
    free(text);
    drop(&survey);
}

static void test_rates(void **state)
{
    struct weir_seen seen[3], before[3];
    struct weir_survey survey = make_survey(seen), earlier = make_survey(before);
    json_t *group = json_object_get(weir_seen_groups(&before[0]), "email");

    (void)state;
    survey.earlier = &earlier;
    earlier.made_ns = 1000 * WEIR_NS_PER_MS;
    survey.made_ns = 1500 * WEIR_NS_PER_MS;
    json_object_set_new(group, "done", json_integer(4));
    json_object_set_new(before[1].stats, "done", json_integer(9)); /* it was started anew */
    assert_int_equal(weir_survey_rate(&survey, &seen[0], "email", "done"), 10);
    assert_int_equal(weir_survey_rate(&survey, &seen[0], NULL, "accepted"), 0);
    assert_int_equal(weir_survey_rate(&survey, &seen[0], "old", "done"), -1);
    assert_int_equal(weir_survey_rate(&survey, &seen[1], NULL, "done"), -1);
    assert_int_equal(weir_survey_rate(&survey, &seen[2], NULL, "done"), -1);

    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    weir_survey_print_processes(&survey, out, false);
    weir_survey_print_groups(&survey, out, false);
    fclose(out);
    assert_non_null(strstr(text, "  7 accepted (0/s), 2.0 KiB, 4 clients\n"));
    assert_non_null(strstr(text, "  DONE  DONE/S  OLDEST"));
    assert_non_null(strstr(text, "     9      10   3m10s"));
    free(text);
    drop(&survey);
    drop(&earlier);
}

static void expect_json(const struct weir_seen *seen, const char *expected)
{
    json_t *row = weir_seen_to_json(seen);
    char *text = json_dumps(row, JSON_COMPACT);

    assert_string_equal(text, expected);
    free(text);
    json_decref(row);
}

static void test_json(void **state)
{
    struct weir_seen seen[3];
    struct weir_survey survey = make_survey(seen);

    (void)state;
    json_object_del(json_object_get(seen[0].stats, "groups"), "email");
    json_object_del(json_object_get(seen[0].stats, "dispatch"), "peers");
    expect_json(&seen[0], "{\"node\":\"intake\",\"role\":\"ventilator\",\"instance\":1,\"pid\":100,"
                          "\"state\":\"running\",\"restarts\":0,"
                          "\"groups\":{\"old\":{\"waiting\":4,\"listed\":false}},"
                          "\"stats\":{\"node\":\"intake\",\"state\":\"open\",\"accepted\":7,"
                          "\"used_bytes\":2048,\"dispatch\":{\"peer_count\":4}}}");
    expect_json(
        &seen[2],
        "{\"node\":\"email\",\"role\":\"worker\",\"instance\":2,\"pid\":null,"
        "\"state\":\"silent\",\"restarts\":null,\"groups\":{},\"error\":\"does not answer\"}");
    /* What was told is not changed by being printed. */
    assert_non_null(json_object_get(seen[0].stats, "groups"));
    drop(&survey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
