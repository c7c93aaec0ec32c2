/* `serve`: coprocesses that answer JSON lines. The coprocess here does what its payload says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job_fixture.h"
#include <base/clock.h>
#include <executor/executor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char script[] =
    "import sys, json, os, signal\n"
    "held = []\n"
    "def say(m, **answer):\n"
    "    print(json.dumps({'id': m['id'], **answer}), flush=True)\n"
    "for line in sys.stdin:\n"
    "    m = json.loads(line)\n"
    "    what, _, rest = m.get('payload', '').partition(' ')\n"
    "    if what == 'hold':\n"
    "        held.append(m)\n"
    "        if len(held) == int(rest):\n"
    "            while held: say(held[-1], outcome='done', result=held.pop()['id'])\n"
    "    elif what == 'die':\n"
    "        print('about to die', file=sys.stderr, flush=True)\n"
    "        os._exit(3)\n"
    "    elif what == 'kill': os.kill(os.getpid(), signal.SIGKILL)\n"
    "    elif what == 'hang': signal.pause()\n"
    "    elif what == 'garbage': print('no json', flush=True)\n"
    "    elif what == 'stranger': print(json.dumps({'id': 'x', 'outcome': 'done'}), flush=True)\n"
    "    elif what == 'wrong': say(m, outcome='perfect')\n"
    "    elif what == 'close': sys.stdout.flush(); os.close(1); signal.pause()\n"
    "    elif what == 'long':\n"
    "        sys.stdout.write('x' * (17 << 20)); sys.stdout.flush(); signal.pause()\n"
    "    elif what == 'extend': say(m, extend=True); say(m, outcome='done')\n"
    "    elif what == 'echo': say(m, outcome='done', result=rest)\n"
    "    elif what == 'base64': say(m, outcome='done', result_base64='/wAB')\n"
    "    elif what == 'delay': say(m, outcome='retry', error='later', delay_ms=int(rest))\n"
    "    elif 'payload_base64' in m: say(m, outcome='done', result_base64=m['payload_base64'])\n"
    "    else: say(m, outcome=what, error=rest)\n";

static struct weir_executor *serve(uint32_t coprocesses, const char *program)
{
    char python[] = "python3", flag[] = "-c";
    char *argv[] = {python, flag, (char *)(uintptr_t)program, NULL};
    struct weir_handler_program handler = {.argv = argv};
    struct weir_executor *executor;
    struct weir_error error;
    if (weir_serve_executor_new(&handler, coprocesses, &executor, &error) != 0)
        fail_msg("%s", error.text);
    return executor;
}

static int set_up(void **state)
{
    *state = serve(1, script);
    return 0;
}

static int tear_down(void **state)
{
    struct weir_executor *executor = *state;
    weir_executor_destroy(&executor);
    return 0;
}

static void ask(struct weir_executor *executor, uint64_t id, const char *payload)
{
    struct weir_job job = job_of_text(id, payload);
    executor->run(executor, &job);
}

static void every_outcome_is_passed_on(void **state)
{
    struct weir_executor *executor = *state;
    ask(executor, 1, "echo hello\nthere");
    expect_end(executor, 1, WEIR_DONE, "hello\nthere", "");
    ask(executor, 2, "done");
    expect_end(executor, 2, WEIR_DONE, NULL, "");
    ask(executor, 3, "retry it failed");
    expect_end(executor, 3, WEIR_RETRY, NULL, "it failed");
    ask(executor, 4, "reject never");
    expect_end(executor, 4, WEIR_REJECT, NULL, "never");
    ask(executor, 5, "release");
    expect_end(executor, 5, WEIR_RELEASE, NULL, "");
    ask(executor, 6, "unavailable provider down");
    expect_end(executor, 6, WEIR_UNAVAILABLE, NULL, "provider down");
    ask(executor, 7, "delay 1500");
    struct ended ended = await_end(executor);
    assert_int_equal(ended.outcome.outcome, WEIR_RETRY);
    assert_int_equal(ended.outcome.delay_ms, 1500);
    ended_fini(&ended);
    ask(executor, 8, "extend");
    ended = await_end(executor);
    assert_int_equal(ended.extended, 1);
    assert_int_equal(ended.outcome.outcome, WEIR_DONE);
    ended_fini(&ended);
}

static void large_and_binary_payloads_go_both_ways(void **state)
{
    struct weir_executor *executor = *state;
    size_t size = 6u << 20;
    uint8_t *payload = malloc(size);
    assert_non_null(payload);
    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 11);
    struct weir_message_view message = {.payload = payload, .payload_bytes = size};
    struct weir_job job = job_of(1, &message);
    executor->run(executor, &job);
    struct ended ended = await_end(executor);
    assert_int_equal(ended.outcome.outcome, WEIR_DONE);
    assert_true(weir_bytes_equal(&ended.outcome.result, payload, size));
    ended_fini(&ended);
    free(payload);
}

static void several_are_in_work_and_answered_in_any_order(void **state)
{
    struct weir_executor *executor = *state;
    /* Answered only when the window is full, last one first. */
    assert_int_equal(WEIR_SERVE_WINDOW, 32);
    for (uint64_t id = 1; id <= WEIR_SERVE_WINDOW; id++)
        ask(executor, id, "hold 32");
    for (uint64_t id = WEIR_SERVE_WINDOW; id > 0; id--) {
        struct weir_job job = job_of_text(id, "");
        expect_end(executor, id, WEIR_DONE, job_message_id(&job), NULL);
        weir_bytes_drop(&job.header);
        weir_bytes_drop(&job.index);
        weir_bytes_drop(&job.body);
    }
    for (uint64_t id = 100; id < 1100; id++)
        ask(executor, id, "done");
    for (uint64_t id = 100; id < 1100; id++)
        expect_end(executor, id, WEIR_DONE, NULL, NULL);
}

static void one_alone_that_kills_its_coprocess_has_failed(void **state)
{
    struct weir_executor *executor = *state;
    ask(executor, 1, "die");
    expect_end(executor, 1, WEIR_RETRY, NULL, "the coprocess ended: exit status 3: about to die");
    ask(executor, 2, "kill");
    expect_end(executor, 2, WEIR_RETRY, NULL, "the coprocess ended: killed by signal 9 (Killed)");
    ask(executor, 3, "echo alive again");
    expect_end(executor, 3, WEIR_DONE, "alive again", NULL);
}

static void of_several_only_the_one_that_kills_fails(void **state)
{
    struct weir_executor *executor = *state;
    /* The first waits for company, so all of them are in work when the coprocess dies. */
    ask(executor, 1, "hold 2");
    ask(executor, 2, "die");
    for (uint64_t id = 3; id <= 6; id++)
        ask(executor, id, "echo fine");
    /* Alone, 1 waits for ever; that it is given out alone shows that 2 was not blamed with it. */
    uint32_t fine = 0, died = 0;
    struct weir_job hold = job_of_text(7, "hold 1");
    executor->kill(executor, 1);
    executor->run(executor, &hold);
    for (int i = 0; i < 7; i++) {
        struct ended ended = await_end(executor);
        if (ended.job == 2) {
            assert_int_equal(ended.outcome.outcome, WEIR_RETRY);
            died++;
        } else if (ended.job >= 3) {
            assert_int_equal(ended.outcome.outcome, WEIR_DONE);
            fine++;
        } else {
            assert_true(!ended.has_outcome || ended.outcome.outcome == WEIR_RELEASE);
        }
        ended_fini(&ended);
    }
    assert_int_equal(died, 1);
    assert_int_equal(fine, 5);
}

static void a_timeout_costs_only_the_oldest(void **state)
{
    struct weir_executor *executor = *state;
    ask(executor, 1, "done"); /* it is up, so that its start is not part of the time */
    expect_end(executor, 1, WEIR_DONE, NULL, NULL);
    struct weir_job hang = job_of_text(2, "hang");
    hang.timeout_ms = 400;
    executor->run(executor, &hang);
    ask(executor, 3, "echo waited behind it");
    expect_end(executor, 2, WEIR_RETRY, NULL, "timed out after 400 ms…");
    expect_end(executor, 3, WEIR_DONE, "waited behind it", NULL);
}

/* A coprocess that never answers well is taken for broken after some restarts; this one is not. */
static void expect_recovered(struct weir_executor *executor)
{
    ask(executor, 999, "echo fine");
    expect_end(executor, 999, WEIR_DONE, "fine", NULL);
}

static void garbage_is_told_and_restarts(void **state)
{
    struct weir_executor *executor = *state;
    ask(executor, 1, "garbage");
    expect_end(executor, 1, WEIR_RETRY, NULL,
               "the coprocess's answer is not a JSON object in one line: no json…");
    ask(executor, 2, "stranger");
    expect_end(executor, 2, WEIR_RETRY, NULL, "the coprocess's answer has the id x…");
    expect_recovered(executor);
    ask(executor, 3, "wrong");
    expect_end(executor, 3, WEIR_RETRY, NULL, "the coprocess's answer has no known \"outcome\"…");
    ask(executor, 4, "long");
    expect_end(executor, 4, WEIR_RETRY, NULL, "the coprocess answered with a line over 16 MiB…");
    expect_recovered(executor);
    ask(executor, 5, "close");
    expect_end(executor, 5, WEIR_RETRY, NULL, "the coprocess closed its stdin or stdout…");
    expect_recovered(executor);
}

static void a_kill_releases_one_and_spares_the_others(void **state)
{
    struct weir_executor *executor = *state;
    ask(executor, 1, "hang");
    await_start(executor, 1);
    ask(executor, 2, "echo spared");
    executor->kill(executor, 1);
    expect_end(executor, 1, WEIR_RELEASE, NULL, NULL);
    expect_end(executor, 2, WEIR_DONE, "spared", NULL);
}

static void a_message_past_its_deadline_is_not_started(void **state)
{
    struct weir_executor *executor = *state;
    struct weir_job job = job_of_text(1, "echo late");
    job.deadline_ns = weir_clock_now().mono_ns - 1;
    executor->run(executor, &job);
    struct ended ended = await_end(executor);
    assert_int_equal(ended.job, 1);
    assert_false(ended.started || ended.has_outcome);
}

static void coprocesses_share_the_work(void **state)
{
    (void)state;
    struct weir_executor *executor = serve(2, script);
    /* Each of the two answers when it has four. */
    for (uint64_t id = 1; id <= 8; id++)
        ask(executor, id, "hold 4");
    for (int i = 0; i < 8; i++) {
        struct ended ended = await_end(executor);
        assert_int_equal(ended.outcome.outcome, WEIR_DONE);
        ended_fini(&ended);
    }
    weir_executor_destroy(&executor);
}

static void a_coprocess_that_cannot_stay_up_gives_its_work_back(void **state)
{
    (void)state;
    struct weir_executor *executor = serve(1, "import sys; sys.exit('broken')");
    /* Never answered, never in work long: some fail alone, the rest is given back. */
    for (uint64_t id = 1; id <= 5; id++)
        ask(executor, id, "done");
    uint32_t given_back = 0;
    for (int i = 0; i < 5; i++) {
        struct ended ended = await_end(executor);
        assert_true(ended.outcome.outcome == WEIR_UNAVAILABLE ||
                    ended.outcome.outcome == WEIR_RETRY);
        given_back += ended.outcome.outcome == WEIR_UNAVAILABLE;
        assert_non_null(
            memmem(ended.outcome.error.data, ended.outcome.error.size, "exit status 1", 13));
        ended_fini(&ended);
    }
    assert_true(given_back >= 2);
    weir_executor_destroy(&executor);
}

static void one_that_ignores_the_end_of_its_input_is_killed(void **state)
{
    (void)state;
    struct weir_executor *executor =
        serve(1, "import sys, signal, json\n"
                 "m = json.loads(sys.stdin.readline())\n"
                 "print(json.dumps({'id': m['id'], 'outcome': 'done'}), flush=True)\n"
                 "signal.pause()\n");
    ask(executor, 1, "");
    expect_end(executor, 1, WEIR_DONE, NULL, NULL);
    int64_t before_ns = weir_clock_now().mono_ns;
    weir_executor_destroy(&executor);
    assert_true(weir_clock_now().mono_ns - before_ns < 10 * WEIR_NS_PER_S);
}

#define WITH_ONE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ONE(every_outcome_is_passed_on),
        WITH_ONE(large_and_binary_payloads_go_both_ways),
        WITH_ONE(several_are_in_work_and_answered_in_any_order),
        WITH_ONE(one_alone_that_kills_its_coprocess_has_failed),
        WITH_ONE(of_several_only_the_one_that_kills_fails),
        WITH_ONE(a_timeout_costs_only_the_oldest),
        WITH_ONE(garbage_is_told_and_restarts),
        WITH_ONE(a_kill_releases_one_and_spares_the_others),
        WITH_ONE(a_message_past_its_deadline_is_not_started),
        cmocka_unit_test(coprocesses_share_the_work),
        cmocka_unit_test(a_coprocess_that_cannot_stay_up_gives_its_work_back),
        cmocka_unit_test(one_that_ignores_the_end_of_its_input_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
