#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/heap.h>
#include <base/random.h>

struct waiter {
    int name;
    struct weir_heap_node node;
};

static void nodes_come_in_order_of_time(void **state)
{
    struct weir_heap heap = {0};
    struct waiter waiters[] = {{1, {0}}, {2, {0}}, {3, {0}}};
    struct weir_heap_node *first;

    (void)state;
    assert_null(weir_heap_first(&heap));
    assert_true(weir_heap_next(&heap) == WEIR_TIME_NEVER);
    weir_heap_set(&heap, &waiters[0].node, 30);
    weir_heap_set(&heap, &waiters[1].node, 10);
    weir_heap_set(&heap, &waiters[2].node, 20);
    first = weir_heap_first(&heap);
    assert_int_equal(WEIR_CONTAINER_OF(first, struct waiter, node)->name, 2);
    assert_int_equal(weir_heap_next(&heap), 10);

    weir_heap_set(&heap, &waiters[1].node, 40);
    first = weir_heap_first(&heap);
    assert_int_equal(WEIR_CONTAINER_OF(first, struct waiter, node)->name, 3);
    weir_heap_remove(&heap, first);
    assert_int_equal(waiters[2].node.index, 0);
    weir_heap_remove(&heap, first);
    assert_int_equal(weir_heap_next(&heap), 30);
    weir_heap_fini(&heap);
    assert_int_equal(waiters[0].node.index, 0);
}

/* Random inserts, moves and removals, against a plain search for the least. */
static void the_first_is_always_the_least(void **state)
{
    enum { WAITERS = 100 };
    struct weir_heap_node nodes[WAITERS] = {0};
    struct weir_heap heap = {0};
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 1);
    for (int turn = 0; turn < 20000; turn++) {
        struct weir_heap_node *node = &nodes[weir_random_below(&random, WAITERS)];
        int64_t least = WEIR_TIME_NEVER;
        size_t in = 0;

        if (weir_random_below(&random, 3) > 0)
            weir_heap_set(&heap, node, (int64_t)weir_random_below(&random, 1000));
        else
            weir_heap_remove(&heap, node);
        for (int i = 0; i < WAITERS; i++) {
            if (nodes[i].index == 0)
                continue;
            in++;
            least = nodes[i].at < least ? nodes[i].at : least;
            assert_ptr_equal(heap.nodes[nodes[i].index], &nodes[i]);
        }
        assert_int_equal(heap.count, in);
        assert_true(weir_heap_next(&heap) == least);
    }
    weir_heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_come_in_order_of_time),
        cmocka_unit_test(the_first_is_always_the_least),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
