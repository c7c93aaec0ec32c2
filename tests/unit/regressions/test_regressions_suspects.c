/* Bugs of suspects, which are delivered alone, each with its number. */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define A 50
#define B 60

/* 1: suspects were all that a group had left, and whoever served it had no credit to give. It was
 * told once that they waited. When that came to nothing (a router had lent its workers' credit to
 * another ventilator, and took the word for used up) they waited for ever. (Seed 401005 of
 * sim_small, --power 1 --delays 1 --spools 1 --replays 1 --joins 2 --removals 5 --edits 1
 * --stages 1.) */
static void that_suspects_wait_is_said_again(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_suspects(s, A, 1);
    stage_worker(s, B, 600);
    stage_credit(s, B, "g", 0);
    stage_run(s);
    const uint32_t said = s->waiting_said;
    stage_alive(s, B, 600, 5 * WEIR_WAITING_AGAIN_MS);
    assert_in_range(s->waiting_said - said, 4, 6);
    stage_credit(s, B, "g", 1);
    assert_true(stage_expect(s, "a0")->alone);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(that_suspects_wait_is_said_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
