/* The worker of the public API: from a producer through a ventilator to a handler in C and on to a
 * sink, all over TCP in one process. */
#include "holder_fixture.h"
#include "ventilator_fixture.h"

#include <base/alloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir.h>

#include <cmocka.h>

#define MESSAGES 500u

struct world {
    struct ventilator *ventilator;
    struct holder *sink;
    weir_producer_t *producer;
    weir_worker_t *worker;
    struct weir_error error;
    /* What the handler notes. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t handled, attempts[MESSAGES], running, running_most;
    char last_id[WEIR_ID_TEXT_BYTES];
    bool wait, rejected, in_order;
    int64_t last_of_key[10];
};

static void producer_start(struct world *world)
{
    weir_producer_options_t *options =
        weir_producer_options_new(ventilator_submit(world->ventilator));
    world->producer = weir_producer_new(options, &world->error);
    weir_producer_options_destroy(&options);
    assert_non_null(world->producer);
}

static struct weir_group_policy policy(const char *name, const char *topic)
{
    struct weir_group_policy group = weir_group_policy_default();
    memcpy(group.name, name, strlen(name) + 1);
    memcpy(group.topics[0], topic, strlen(topic) + 1);
    group.topic_count = 1;
    group.attempts = 3;
    group.backoff.first_ms = 10;
    group.backoff.max_ms = 20;
    return group;
}

static int setup_groups(void **state, enum weir_order order)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    struct weir_group_policy *group = weir_zalloc(1, sizeof *group);
    *group = policy("work", "task.*");
    group->order = order;
    pthread_mutex_init(&world->mutex, NULL);
    pthread_cond_init(&world->changed, NULL);
    world->ventilator = ventilator_new(group, 1, true);
    world->sink = holder_new("tcp://127.0.0.1:*");
    world->in_order = true;
    producer_start(world);
    free(group);
    *state = world;
    return 0;
}

static int setup(void **state)
{
    return setup_groups(state, WEIR_ORDER_NONE);
}

static int setup_ordered(void **state)
{
    return setup_groups(state, WEIR_ORDER_KEY);
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_producer_destroy(&world->producer);
    weir_worker_stop(&world->worker);
    ventilator_destroy(&world->ventilator);
    holder_destroy(&world->sink);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->mutex);
    free(world);
    return 0;
}

/* Payload "N": the N-th message; "N fail": the first attempt fails. Gives "N done" as the result.
 */
static int handler(weir_job_t *job, void *arg)
{
    struct world *world = arg;
    size_t bytes;
    const char *payload = weir_job_payload(job, &bytes);
    char text[64], result[64];
    snprintf(text, sizeof text, "%.*s", (int)bytes, payload);
    uint32_t number = (uint32_t)strtoul(text, NULL, 10);
    const char *key = weir_job_key(job);
    pthread_mutex_lock(&world->mutex);
    world->running++;
    if (world->running > world->running_most)
        world->running_most = world->running;
    pthread_cond_broadcast(&world->changed);
    while (world->wait)
        pthread_cond_wait(&world->changed, &world->mutex);
    world->running--;
    world->attempts[number]++;
    memcpy(world->last_id, weir_job_id_text(job), WEIR_ID_TEXT_BYTES);
    bool fail = strstr(text, "fail") != NULL && weir_job_attempt(job) == 1;
    if (key != NULL && !fail) {
        int64_t *last = &world->last_of_key[key[0] - '0'];
        world->in_order &= *last < (int64_t)number + 1;
        *last = (int64_t)number + 1;
    }
    world->handled += !fail;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->mutex);
    if (fail) {
        weir_job_error(job, "not on the first attempt");
        weir_job_delay(job, 1);
        return WEIR_RETRY;
    }
    int length = snprintf(result, sizeof result, "%u done", number);
    weir_job_result(job, result, (size_t)length);
    return WEIR_DONE;
}

static weir_worker_options_t *worker_options(struct world *world, const char *group)
{
    weir_worker_options_t *options = weir_worker_options_new(group, handler, world);
    weir_worker_options_add_from(options, ventilator_dispatch(world->ventilator));
    return options;
}

static void worker_start(struct world *world, weir_worker_options_t *options)
{
    world->worker = weir_worker_start(options, &world->error);
    weir_worker_options_destroy(&options);
    if (world->worker == NULL)
        fail_msg("%s", world->error.text);
}

static void await(struct world *world, const uint32_t *count, uint32_t expected)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&world->mutex);
    while (*count < expected)
        if (pthread_cond_timedwait(&world->changed, &world->mutex, &until) != 0)
            fail_msg("%u of %u", *count, expected);
    pthread_mutex_unlock(&world->mutex);
}

static void send(struct world *world, const char *topic, const char *key, const char *payload,
                 struct weir_receipt *receipt)
{
    weir_message_t *message = weir_message_new(topic, payload, strlen(payload));
    weir_message_set_key(message, key);
    if (receipt != NULL)
        assert_int_equal(weir_producer_send(world->producer, message, receipt, &world->error), 0);
    else
        assert_int_equal(
            weir_producer_send_async(world->producer, message, NULL, NULL, &world->error), 0);
    weir_message_destroy(&message);
}

/* One message: its id is the one the handler sees, its result is at the sink before it is done. */
static void test_one(void **state)
{
    struct world *world = *state;
    struct weir_receipt receipt;
    weir_worker_options_t *options = worker_options(world, "work");
    weir_worker_options_set_to(options, holder_endpoint(world->sink));
    weir_worker_options_set_result_topic(options, "result");
    worker_start(world, options);
    send(world, "task.a", "5", "7", &receipt);
    await(world, &world->handled, 1);
    assert_string_equal(world->last_id, receipt.id_text);
    weir_worker_stop(&world->worker);
    assert_null(world->worker);
    assert_int_equal(holder_message_count(world->sink), 1);
    char *held = holder_message(world->sink, 0);
    assert_string_equal(held, "result/5/7 done");
    free(held);
}

/* Many, with failures among them: each is handled to its end once, each result is there once. */
static void test_many(void **state)
{
    struct world *world = *state;
    weir_worker_options_t *options = worker_options(world, "work");
    weir_worker_options_set_to(options, holder_endpoint(world->sink));
    weir_worker_options_set_concurrency(options, 4);
    worker_start(world, options);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        char payload[32];
        snprintf(payload, sizeof payload, "%u%s", i, i % 10 == 3 ? " fail" : "");
        send(world, "task.b", NULL, payload, NULL);
    }
    send(world, "other", NULL, "0", NULL);
    assert_int_equal(weir_producer_flush(world->producer, 60000, &world->error), 0);
    await(world, &world->handled, MESSAGES);
    weir_worker_stop(&world->worker);
    for (uint32_t i = 0; i < MESSAGES; i++)
        assert_int_equal(world->attempts[i], i % 10 == 3 ? 2 : 1);
    assert_int_equal(holder_message_count(world->sink), MESSAGES);
    bool seen[MESSAGES] = {false};
    for (uint32_t i = 0; i < MESSAGES; i++) {
        char *held = holder_message(world->sink, i);
        assert_int_equal(strncmp(held, "task.b//", 8), 0);
        uint32_t number = (uint32_t)strtoul(held + 8, NULL, 10);
        assert_true(number < MESSAGES && !seen[number]);
        seen[number] = true;
        free(held);
    }
}

static void test_order(void **state)
{
    struct world *world = *state;
    weir_worker_options_t *options = worker_options(world, "work");
    weir_worker_options_set_concurrency(options, 4);
    worker_start(world, options);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        char payload[32], key[2] = {(char)('0' + i % 10), '\0'};
        snprintf(payload, sizeof payload, "%u%s", i, i % 50 == 3 ? " fail" : "");
        send(world, "task.c", key, payload, NULL);
    }
    await(world, &world->handled, MESSAGES);
    assert_true(world->in_order);
}

/* Stopping lets the running handlers finish and gives the rest back untouched. */
static void test_stop_drains(void **state)
{
    struct world *world = *state;
    weir_worker_options_t *options = worker_options(world, "work");
    weir_worker_options_set_concurrency(options, 2);
    world->wait = true;
    for (uint32_t i = 0; i < 20; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%u", i);
        send(world, "task.d", NULL, payload, NULL);
    }
    assert_int_equal(weir_producer_flush(world->producer, 60000, &world->error), 0);
    worker_start(world, options);
    await(world, &world->running_most, 2);
    pthread_mutex_lock(&world->mutex);
    world->wait = false;
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->mutex);
    weir_worker_stop(&world->worker);
    worker_start(world, worker_options(world, "work"));
    await(world, &world->handled, 20);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(world->attempts[i], 1);
}

static void test_dynamic_group(void **state)
{
    struct world *world = *state;
    struct weir_receipt receipt;
    send(world, "news.today", NULL, "1", &receipt);
    weir_worker_options_t *options = worker_options(world, "audit");
    weir_worker_options_add_topic(options, "news.*");
    weir_worker_options_set_earliest(options, true);
    worker_start(world, options);
    await(world, &world->handled, 1);
    assert_string_equal(world->last_id, receipt.id_text);
}

static void assert_no_worker(struct world *world, weir_worker_options_t **options,
                             const char *named)
{
    assert_null(weir_worker_start(*options, &world->error));
    assert_int_equal(world->error.code, WEIR_EINVAL);
    if (strstr(world->error.text, named) == NULL)
        fail_msg("\"%s\" does not name %s", world->error.text, named);
    weir_worker_options_destroy(options);
    *options = worker_options(world, "work");
}

static void test_bad_options(void **state)
{
    struct world *world = *state;
    weir_worker_options_t *options = weir_worker_options_new("work", handler, NULL);
    assert_no_worker(world, &options, "1 …");
    weir_worker_options_add_from(options, "nonsense");
    assert_no_worker(world, &options, "nonsense");
    weir_worker_options_set_concurrency(options, 0);
    assert_no_worker(world, &options, "1 … 256");
    weir_worker_options_set_prefetch(options, 0, 1);
    assert_no_worker(world, &options, "messages");
    weir_worker_options_set_name(options, "no name");
    assert_no_worker(world, &options, "no name");
    weir_worker_options_add_topic(options, "a..b");
    assert_no_worker(world, &options, "a..b");
    weir_worker_options_set_result_topic(options, "*");
    assert_no_worker(world, &options, "*");
    weir_worker_options_destroy(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup_ordered, teardown),
        cmocka_unit_test_setup_teardown(test_stop_drains, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dynamic_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
