/* `run`: one process a message. Handlers here are small shell scripts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job_fixture.h"
#include <base/clock.h>
#include <errno.h>
#include <executor/executor.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct weir_executor *shell(const char *script, char *const *env)
{
    char program[] = "sh", flag[] = "-c";
    char *argv[] = {program, flag, (char *)(uintptr_t)script, NULL};
    struct weir_handler_program handler = {.argv = argv, .env = env};
    struct weir_executor *executor;
    struct weir_error error;
    if (weir_run_executor_new(&handler, &executor, &error) != 0)
        fail_msg("%s", error.text);
    return executor;
}

static void run_text(struct weir_executor *executor, uint64_t id, const char *payload)
{
    struct weir_job job = job_of_text(id, payload);
    executor->run(executor, &job);
    assert_int_equal(job.id, 0);
}

static void exit_statuses_are_outcomes(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        enum weir_outcome outcome;
        const char *error;
    } cases[] = {
        {"exit 0", WEIR_DONE, NULL},
        {"exit 65", WEIR_REJECT, "exit status 65"},
        {"exit 69", WEIR_UNAVAILABLE, "exit status 69"},
        {"exit 75", WEIR_RETRY, "exit status 75"},
        {"exit 1", WEIR_RETRY, "exit status 1"},
        {"exit 127", WEIR_RETRY, "exit status 127"},
        {"kill -9 $$", WEIR_RETRY, "killed by signal 9 (Killed)"},
        {"kill -15 $$", WEIR_RETRY, "killed by signal 15 (Terminated)"},
        {"echo out; echo why >&2; exit 3", WEIR_RETRY, "why"},
    };
    struct weir_executor *executor = shell("eval \"$(cat)\"", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_text(executor, i + 1, cases[i].payload);
        expect_end(executor, i + 1, cases[i].outcome, cases[i].outcome == WEIR_DONE ? "" : NULL,
                   cases[i].error);
    }
    weir_executor_destroy(&executor);
}

static void the_environment_tells_of_the_message(void **state)
{
    (void)state;
    setenv("WEIR_HEADER_STALE", "from outside", 1);
    setenv("WEIR_KEY", "from outside", 1);
    setenv("INHERITED", "yes", 1);
    setenv("OVERRIDDEN", "no", 1);
    char extra[] = "OVERRIDDEN=yes", own[] = "OWN=a b";
    char *env[] = {extra, own, NULL};
    struct weir_executor *executor =
        shell("echo \"$WEIR_ID|$WEIR_TOPIC|$WEIR_GROUP|$WEIR_ATTEMPT|$WEIR_KEY|"
              "$WEIR_HEADER_CONTENT_TYPE|$TRACEPARENT|$WEIR_HEADER_TRACEPARENT|"
              "${WEIR_HEADER_STALE-unset}|$INHERITED|$OVERRIDDEN|$OWN\"",
              env);
    struct weir_message_view message = {
        .key = "k 1",
        .key_bytes = 3,
        .headers = {{"content-type", 12, "text/plain; x=\"é\"", 18},
                    {"Content_Type", 12, "second", 6},
                    {"traceparent", 11, "00-ab-cd-01", 11}},
        .header_count = 3,
    };
    struct weir_job job = job_of(9, &message);
    job.attempt = 3;
    char expected[256];
    snprintf(
        expected, sizeof expected,
        "%s|test.topic|group|3|k 1|text/plain; x=\"é\"|00-ab-cd-01|00-ab-cd-01|unset|yes|yes|a "
        "b\n",
        job_message_id(&job));
    executor->run(executor, &job);
    expect_end(executor, 9, WEIR_DONE, expected, NULL);
    run_text(executor, 10, "");
    struct ended ended = await_end(executor);
    /* What the message has not, the worker's own environment does not give it either. */
    assert_non_null(memmem(ended.outcome.result.data, ended.outcome.result.size, "|1||||", 6));
    ended_fini(&ended);
    weir_executor_destroy(&executor);
}

static void a_large_payload_goes_in_and_out(void **state)
{
    (void)state;
    size_t size = WEIR_MESSAGE_BYTES_MAX - 1024;
    uint8_t *payload = malloc(size);
    assert_non_null(payload);
    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    struct weir_message_view message = {.payload = payload, .payload_bytes = size};
    struct weir_executor *executor = shell("cat", NULL);
    struct weir_job job = job_of(1, &message);
    executor->run(executor, &job);
    struct ended ended = await_end(executor);
    assert_int_equal(ended.outcome.outcome, WEIR_DONE);
    assert_true(weir_bytes_equal(&ended.outcome.result, payload, size));
    ended_fini(&ended);
    /* A handler that does not read its input is none the worse for it. */
    weir_executor_destroy(&executor);
    executor = shell("echo ignored", NULL);
    job = job_of(2, &message);
    executor->run(executor, &job);
    expect_end(executor, 2, WEIR_DONE, "ignored\n", NULL);
    weir_executor_destroy(&executor);
    free(payload);
}

static void a_result_over_the_limit_is_rejected(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("cat /dev/zero", NULL);
    run_text(executor, 1, "");
    expect_end(executor, 1, WEIR_REJECT, NULL, "the result is larger than 8388608 bytes");
    weir_executor_destroy(&executor);
}

static void the_end_of_stderr_is_the_error(void **state)
{
    (void)state;
    struct weir_executor *executor =
        shell("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i + 1)); done >&2; "
              "printf 'the end\\n\\n' >&2; exit 1",
              NULL);
    run_text(executor, 1, "");
    struct ended ended = await_end(executor);
    assert_int_equal(ended.outcome.outcome, WEIR_RETRY);
    const struct weir_bytes *error = &ended.outcome.error;
    assert_true(error->size <= WEIR_ERROR_BYTES_MAX && error->size > WEIR_ERROR_BYTES_MAX - 4);
    static const char end[] = "line 4998\nline 4999\nthe end";
    assert_memory_equal(error->data + error->size - strlen(end), end, strlen(end));
    ended_fini(&ended);
    weir_executor_destroy(&executor);
}

/* Wait for a fifo's only writer: its end shows that every process that held it is gone. */
static void expect_all_gone(int fifo)
{
    struct pollfd item = {.fd = fifo, .events = POLLIN};
    char buffer[64];
    ssize_t size;
    do {
        assert_int_equal(poll(&item, 1, 10000), 1);
        size = read(fifo, buffer, sizeof buffer);
    } while (size > 0 || (size < 0 && errno == EAGAIN));
    assert_int_equal(size, 0);
}

static void a_timeout_kills_the_whole_group(void **state)
{
    (void)state;
    char directory[] = "/tmp/weir-test-XXXXXX", fifo[64], script[256];
    assert_non_null(mkdtemp(directory));
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int watch = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(watch >= 0);
    /* A grandchild that ignores what is polite, and holds the fifo open. */
    snprintf(script, sizeof script,
             "exec 3>%s; echo x >&3; (trap '' TERM HUP; while :; do sleep 100; done) & "
             "echo started >&2; wait",
             fifo);
    struct weir_executor *executor = shell(script, NULL);
    struct weir_job job = job_of_text(1, "");
    job.timeout_ms = 300;
    int64_t before_ns = weir_clock_now().mono_ns;
    executor->run(executor, &job);
    expect_end(executor, 1, WEIR_RETRY, NULL, "timed out after 300 ms: started");
    int64_t took_ns = weir_clock_now().mono_ns - before_ns;
    assert_true(took_ns >= 300 * WEIR_NS_PER_MS && took_ns < 5 * WEIR_NS_PER_S);
    expect_all_gone(watch);
    close(watch);
    unlink(fifo);
    assert_int_equal(rmdir(directory), 0);
    weir_executor_destroy(&executor);
}

static void a_kill_ends_and_releases(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("sleep 100", NULL);
    run_text(executor, 5, "");
    await_start(executor, 5);
    executor->kill(executor, 5);
    executor->kill(executor, 99); /* unknown: nothing */
    expect_end(executor, 5, WEIR_RELEASE, NULL, "ended by the worker");
    weir_executor_destroy(&executor);
}

static void a_message_past_its_deadline_is_not_started(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("echo started", NULL);
    struct weir_job job = job_of_text(1, "");
    job.deadline_ns = weir_clock_now().mono_ns - 1;
    executor->run(executor, &job);
    struct ended ended = await_end(executor);
    assert_int_equal(ended.job, 1);
    assert_false(ended.started);
    assert_false(ended.has_outcome);
    weir_executor_destroy(&executor);
}

static void a_daemon_left_behind_does_not_hold_up_the_outcome(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("sleep 30 & echo $!", NULL);
    int64_t before_ns = weir_clock_now().mono_ns;
    run_text(executor, 1, "");
    struct ended ended = await_end(executor);
    assert_int_equal(ended.outcome.outcome, WEIR_DONE);
    assert_true(weir_clock_now().mono_ns - before_ns < 10 * WEIR_NS_PER_S);
    char pid[32] = "";
    assert_true(ended.outcome.result.size < sizeof pid);
    memcpy(pid, ended.outcome.result.data, ended.outcome.result.size);
    assert_int_equal(kill((pid_t)strtol(pid, NULL, 10), SIGKILL), 0);
    ended_fini(&ended);
    weir_executor_destroy(&executor);
}

static void handlers_run_beside_each_other(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    /* Each waits for a byte from a fifo, which the test writes once all are running. */
    char directory[] = "/tmp/weir-test-XXXXXX", fifo[64], script[128];
    assert_non_null(mkdtemp(directory));
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    snprintf(script, sizeof script, "dd bs=1 count=1 status=none <%s >/dev/null; cat", fifo);
    int hold = open(fifo, O_RDWR | O_CLOEXEC);
    assert_true(hold >= 0);
    struct weir_executor *executor = shell(script, NULL);
    for (uint64_t id = 1; id <= COUNT; id++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", (int)id);
        run_text(executor, id, payload);
        await_start(executor, id);
    }
    assert_int_equal(write(hold, "xxxxxxxxxxxxxxxxxxxx", COUNT), COUNT);
    uint64_t seen = 0;
    for (int i = 0; i < COUNT; i++) {
        struct ended ended = await_end(executor);
        char expected[16];
        snprintf(expected, sizeof expected, "%d", (int)ended.job);
        assert_int_equal(ended.outcome.outcome, WEIR_DONE);
        assert_true(weir_bytes_equal(&ended.outcome.result, expected, strlen(expected)));
        seen |= UINT64_C(1) << ended.job;
        ended_fini(&ended);
    }
    assert_int_equal(seen, ((UINT64_C(1) << COUNT) - 1) << 1);
    close(hold);
    unlink(fifo);
    assert_int_equal(rmdir(directory), 0);
    weir_executor_destroy(&executor);
}

static void what_runs_at_the_end_is_ended(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("sleep 100", NULL);
    run_text(executor, 1, "");
    await_start(executor, 1);
    int64_t before_ns = weir_clock_now().mono_ns;
    weir_executor_destroy(&executor);
    assert_true(weir_clock_now().mono_ns - before_ns < 5 * WEIR_NS_PER_S);
}

static void handlers_hold_no_descriptor_of_ours(void **state)
{
    (void)state;
    int leaked = open("/dev/null", O_RDONLY); /* not close-on-exec, as a library may do it */
    assert_true(leaked > 2);
    struct weir_executor *executor = shell("ls /proc/$$/fd; true", NULL);
    run_text(executor, 1, "");
    expect_end(executor, 1, WEIR_DONE, "0\n1\n2\n", NULL);
    close(leaked);
    weir_executor_destroy(&executor);
}

static void a_message_that_is_none_is_rejected(void **state)
{
    (void)state;
    struct weir_executor *executor = shell("echo never", NULL);
    struct weir_job job = job_of_text(1, "payload");
    weir_bytes_drop(&job.body);
    job.body = weir_bytes_copy("\xc1garbage", 8);
    executor->run(executor, &job);
    expect_end(executor, 1, WEIR_REJECT, NULL, "the message cannot be decoded: …");
    weir_executor_destroy(&executor);
}

static void a_program_that_is_none_is_told_at_the_start(void **state)
{
    (void)state;
    static const struct {
        char name[32];
        const char *part;
    } cases[] = {
        {"/nonexistent/handler", "No such file"},
        {"/etc/passwd", "chmod +x /etc/passwd"},
        {"/tmp", "is not a file"},
        {"no-such-program-anywhere", "$PATH"},
        {"", "$PATH"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *argv[] = {(char *)(uintptr_t)cases[i].name, NULL};
        struct weir_handler_program handler = {.argv = argv};
        struct weir_executor *executor;
        struct weir_error error;
        assert_int_equal(weir_run_executor_new(&handler, &executor, &error), WEIR_ECONFIG);
        assert_null(executor);
        assert_non_null(strstr(error.text, cases[i].name));
        assert_non_null(strstr(error.text, cases[i].part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_statuses_are_outcomes),
        cmocka_unit_test(the_environment_tells_of_the_message),
        cmocka_unit_test(a_large_payload_goes_in_and_out),
        cmocka_unit_test(a_result_over_the_limit_is_rejected),
        cmocka_unit_test(the_end_of_stderr_is_the_error),
        cmocka_unit_test(a_timeout_kills_the_whole_group),
        cmocka_unit_test(a_kill_ends_and_releases),
        cmocka_unit_test(a_message_past_its_deadline_is_not_started),
        cmocka_unit_test(a_daemon_left_behind_does_not_hold_up_the_outcome),
        cmocka_unit_test(handlers_run_beside_each_other),
        cmocka_unit_test(what_runs_at_the_end_is_ended),
        cmocka_unit_test(handlers_hold_no_descriptor_of_ours),
        cmocka_unit_test(a_message_that_is_none_is_rejected),
        cmocka_unit_test(a_program_that_is_none_is_told_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
