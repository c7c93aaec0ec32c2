/* Bugs of who gets what, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void credit(struct stage *s, uint64_t peer, uint64_t messages, uint64_t bytes)
{
    struct weir_control control = {.verb = WEIR_VERB_CREDIT};
    WEIR_SET(&control, group, GROUP, weir_text_of("g"));
    WEIR_SET(&control, messages, MESSAGES, messages);
    WEIR_SET(&control, bytes, BYTES, bytes);
    WEIR_SET(&control, serial, SERIAL, ++s->serial);
    stage_control(s, WEIR_PORT_DISPATCH, peer, &control);
    stage_run(s);
}

/* 1: the worker with the most credit for messages had too little for the bytes of the next one. It
 * was chosen again and again, and the group stood still until that worker had finished what it had,
 * however long that took, while others had room (seen in sim_small --seed 487). */
static void a_worker_without_bytes_holds_up_no_other(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, 5, 0xa);
    credit(s, 5, 3, 1 << 20);
    stage_fill(s, "roomy", 1);
    assert_int_equal(stage_expect(s, "roomy0")->peer, 5);
    stage_worker(s, 6, 0xb);
    credit(s, 6, 50, 20);
    stage_fill(s, "tight", 1);
    const struct got *tight = stage_expect(s, "tight0"); /* it held nothing */
    assert_int_equal(tight->peer, 6);
    stage_fill(s, "next", 1);
    const struct got *next = stage_expect(s, "next0");
    assert_int_equal(next->peer, 5);
    stage_ack(s, next, WEIR_RETRY, "again"); /* a row goes the same way */
    stage_pass(s, 2000);
    next = stage_expect(s, "next0");
    assert_int_equal(next->peer, 5);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_without_bytes_holds_up_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
