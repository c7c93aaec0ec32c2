/* Bugs of the worker machine, each with its number. */
#include <worker_fixture.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = worker_new();
    return 0;
}

static int teardown(void **state)
{
    struct worker *self = *state;
    worker_destroy(&self);
    return 0;
}

static void echo(struct worker *self, uint32_t upstream)
{
    for (const struct said *said; (said = script_next(self->script));) {
        if (said->control.verb != WEIR_VERB_HEARTBEAT || said->port != UP(upstream))
            continue;
        struct weir_control answer = said->control;
        WEIR_SET(&answer, incarnation, INCARNATION, INCARNATION + upstream);
        worker_feed(self, UP(upstream), &answer);
    }
}

static void say_waiting(struct worker *self, uint32_t upstream)
{
    struct weir_control waiting = {.verb = WEIR_VERB_WAITING};
    WEIR_SET(&waiting, group, GROUP, weir_text_of("email"));
    worker_feed(self, UP(upstream), &waiting);
}

/* 1: all upstreams had said WAITING while the worker had nothing to lend for longer than a second.
 * Then none of them counted as one with work, and nobody was ever lent anything again. */
static void who_has_waited_for_long_is_lent_to(void **state)
{
    struct worker *self = *state;
    uint64_t messages, bytes;
    self->config.upstream_count = 2;
    self->config.concurrency = 1;
    self->config.job_messages_max = 8;
    worker_up(self);
    worker_deliver(self, &(struct delivered){.delivery = 1, .count = 8});
    say_waiting(self, 0);
    say_waiting(self, 1);
    script_skip(self->script);
    for (int i = 0; i < 3; i++) {
        worker_pass_ms(self, WEIR_HEARTBEAT_MS);
        echo(self, 0);
        worker_pass_ms(self, 1);
    }
    script_skip(self->script);
    worker_job_is(self, 0, WEIR_DONE);
    const uint32_t said = self->script->said_seen;
    assert_true(worker_credit(self, 0, &messages, &bytes));
    assert_int_equal(messages, 8 + 4);
    self->script->said_seen = said;
    assert_true(worker_credit(self, 1, &messages, &bytes));
    assert_int_equal(messages, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_has_waited_for_long_is_lent_to, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
