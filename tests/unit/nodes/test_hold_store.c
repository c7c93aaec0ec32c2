/* The holders' writing thread: groups, order, and what a full disk takes with it. */
#include "held_fixture.h"

#include <base/alloc.h>
#include <hold/hold_store.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A writer that waits at a gate and does what it is told. */
struct world {
    struct weir_store *store;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t arrived, passes;
    int status; /* of the next group */
    bool destroyed;
    char groups[512]; /* the requests of each group that was written: "1 2,3 4 5," */
};

static int writer_hold(void *arg, const struct weir_store_request *requests, uint32_t count,
                       uint32_t *duplicates, struct weir_error *error)
{
    struct world *world = arg;
    pthread_mutex_lock(&world->mutex);
    world->arrived++;
    pthread_cond_broadcast(&world->changed);
    while (world->passes == 0)
        pthread_cond_wait(&world->changed, &world->mutex);
    world->passes--;
    int status = world->status;
    world->status = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t used = strlen(world->groups);
        duplicates[i] = (uint32_t)requests[i].id * 10;
        if (status == 0)
            snprintf(world->groups + used, sizeof world->groups - used, "%s%llu", i > 0 ? " " : "",
                     (unsigned long long)requests[i].id);
    }
    if (status == 0)
        strncat(world->groups, ",", sizeof world->groups - strlen(world->groups) - 1);
    pthread_mutex_unlock(&world->mutex);
    return status == 0 ? 0 : weir_error_set(error, status, "as told");
}

static void writer_destroy(void *arg)
{
    struct world *world = arg;
    world->destroyed = true;
}

static int setup(void **state)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    const struct weir_hold_writer writer = {world, writer_hold, writer_destroy};
    pthread_mutex_init(&world->mutex, NULL);
    pthread_cond_init(&world->changed, NULL);
    world->store = weir_hold_store_new(&writer, NULL);
    assert_non_null(world->store);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_store_destroy(&world->store);
    assert_true(world->destroyed);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->mutex);
    free(world);
    return 0;
}

static void submit(struct world *world, uint64_t id)
{
    struct weir_message_view view = {.payload = (const uint8_t *)"x", .payload_bytes = 1};
    struct weir_store_request request = fixture_hold(id, 1, id, "t", &view, 1);
    world->store->submit(world->store, &request);
    assert_null(request.record.body.block);
}

static void await_arrived(struct world *world, uint32_t arrived)
{
    pthread_mutex_lock(&world->mutex);
    while (world->arrived < arrived)
        pthread_cond_wait(&world->changed, &world->mutex);
    pthread_mutex_unlock(&world->mutex);
}

static void pass(struct world *world, uint32_t passes, int status)
{
    pthread_mutex_lock(&world->mutex);
    world->passes += passes;
    world->status = status;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->mutex);
}

static struct weir_store_result take(struct world *world)
{
    struct weir_store_result result;
    struct pollfd item = {.fd = world->store->fd(world->store), .events = POLLIN};
    while (!world->store->poll(world->store, &result))
        assert_int_equal(poll(&item, 1, 20000), 1);
    return result;
}

static void assert_taken(struct world *world, uint64_t id, int status)
{
    struct weir_store_result result = take(world);
    assert_int_equal(result.id, id);
    assert_int_equal(result.kind, WEIR_STORE_HOLD);
    assert_int_equal(result.status, status);
    assert_int_equal(result.duplicates, status == 0 ? id * 10 : 0);
    if (status != 0)
        assert_true(strlen(result.error.text) > 0);
    weir_store_result_fini(&result);
}

/* What comes while one group is written is the next group. */
static void test_groups(void **state)
{
    struct world *world = *state;
    submit(world, 1);
    await_arrived(world, 1);
    for (uint64_t id = 2; id <= 4; id++)
        submit(world, id);
    pass(world, 2, 0);
    for (uint64_t id = 1; id <= 4; id++)
        assert_taken(world, id, 0);
    assert_string_equal(world->groups, "1,2 3 4,");
    struct pollfd item = {.fd = world->store->fd(world->store), .events = POLLIN};
    struct weir_store_result none;
    assert_false(world->store->poll(world->store, &none));
    assert_int_equal(poll(&item, 1, 0), 0);
}

/* A group that found the disk full takes along all that was handed over before its result was
 * taken, and nothing that came after. */
static void test_full(void **state)
{
    struct world *world = *state;
    submit(world, 1);
    await_arrived(world, 1);
    submit(world, 2);
    pass(world, 1, WEIR_EFULL);
    struct pollfd item = {.fd = world->store->fd(world->store), .events = POLLIN};
    assert_int_equal(poll(&item, 1, 20000), 1);
    submit(world, 3);
    assert_taken(world, 1, WEIR_EFULL);
    submit(world, 4); /* 2 and 3 are not taken yet */
    assert_taken(world, 2, WEIR_EFULL);
    assert_taken(world, 3, WEIR_EFULL);
    assert_taken(world, 4, WEIR_EFULL);
    submit(world, 5);
    submit(world, 6);
    pass(world, 2, 0);
    assert_taken(world, 5, 0);
    assert_taken(world, 6, 0);
    assert_true(strcmp(world->groups, "5 6,") == 0 || strcmp(world->groups, "5,6,") == 0);
}

/* Any other failure is the end: nothing is written after it. */
static void test_failure_is_final(void **state)
{
    struct world *world = *state;
    submit(world, 1);
    await_arrived(world, 1);
    submit(world, 2);
    pass(world, 1, WEIR_EIO);
    assert_taken(world, 1, WEIR_EIO);
    assert_taken(world, 2, WEIR_EIO);
    submit(world, 3);
    assert_taken(world, 3, WEIR_EIO);
    assert_string_equal(world->groups, "");
    assert_int_equal(world->arrived, 1);
}

/* What was handed over is written before the end. */
static void test_destroy_writes(void **state)
{
    struct world *world = *state;
    submit(world, 1);
    await_arrived(world, 1);
    submit(world, 2);
    pass(world, 2, 0);
    weir_store_destroy(&world->store);
    assert_string_equal(world->groups, "1,2,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_final, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_writes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
