/* Bugs of the router, each with its number. */
#include <router_fixture.h>

/* 1: the worker with the most credit for messages had too little for the bytes of the next one. It
 * was chosen again and again, and all that waited in the router stood still until that worker had
 * finished what it had, while others had room (seen in sim_small --seed 487). */
static void a_worker_without_bytes_holds_up_no_other(void **state)
{
    (void)state;
    struct router *router = router_new(1);
    router_above(router, 0, FIRST);
    router_below(router, 5, 0xa, 3);
    const struct delivery roomy = {.incarnation = FIRST, .number = 1, .count = 1};
    router_deliver(router, 0, roomy);
    router_expect_deliver(router, 5, roomy, 1, 1);
    router_below(router, 6, 0xb, 0);
    router_credit(router, 6, 50, 20);
    const struct delivery tight = {.incarnation = FIRST, .number = 2, .count = 1, .pad = 10};
    router_deliver(router, 0, tight);
    router_expect_deliver(router, 6, tight, 2, 1);
    const struct delivery next = {.incarnation = FIRST, .number = 3, .count = 1, .pad = 100};
    router_deliver(router, 0, next);
    router_expect_deliver(router, 5, next, 3, 1);
    router_destroy(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_without_bytes_holds_up_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
