/* Jobs on threads: what the machine is told of them, and when a message is not started. */
#include <base/alloc.h>
#include <base/clock.h>
#include <client/executor.h>
#include <core/job_lease.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wire/batch.h>

#include <cmocka.h>

/* A gate that handlers wait at: with it a test decides what runs. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t arrived, passes;
};

struct world {
    struct weir_executor *executor;
    struct gate gate;
    char seen[4096]; /* what the handlers saw */
    /* What was told, in order. */
    char told[4096];
    bool ended;
};

static void gate_wait(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->arrived++;
    pthread_cond_broadcast(&gate->changed);
    while (gate->passes == 0)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    gate->passes--;
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_await(struct gate *gate, uint32_t arrived)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->arrived < arrived)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate, uint32_t passes)
{
    pthread_mutex_lock(&gate->mutex);
    gate->passes += passes;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

/* The payload says what to do. */
static int handler(weir_job_t *job, void *arg)
{
    struct world *world = arg;
    size_t bytes;
    const char *payload = weir_job_payload(job, &bytes);
    switch (payload[0]) {
    case 'd':
        return WEIR_DONE;
    case 'r':
        weir_job_error(job, "code %d", 7);
        weir_job_delay(job, 250);
        return WEIR_RETRY;
    case 'j':
        weir_job_error(job, "never");
        return WEIR_REJECT;
    case 'u':
        return WEIR_UNAVAILABLE;
    case 'R':
        weir_job_result(job, "first", 5);
        weir_job_result(job, "second", 6);
        return WEIR_DONE;
    case 'E':
        weir_job_result(job, "", 0);
        return WEIR_DONE;
    case 'x':
        return 42;
    case 'g':
        gate_wait(&world->gate);
        return weir_job_cancelled(job) ? WEIR_RELEASE : WEIR_DONE;
    case 'e':
        weir_job_extend(job);
        gate_wait(&world->gate);
        return WEIR_DONE;
    case 's': {
        const char *value = NULL;
        const char *name = weir_job_header_at(job, 1, &value);
        snprintf(world->seen, sizeof world->seen, "%s %s %s %s %u %lld key=%s h1=%s %s=%s none=%s",
                 weir_job_id_text(job), weir_job_topic(job), weir_job_group(job), payload,
                 weir_job_attempt(job), (long long)weir_job_time_ms(job), weir_job_key(job),
                 weir_job_header(job, "h1"), name, value,
                 weir_job_header(job, "h3") == NULL ? "yes" : "no");
        return WEIR_DONE;
    }
    default:
        return WEIR_RELEASE;
    }
}

static int setup_threads(void **state, uint32_t threads)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    struct weir_error error = {0};
    pthread_mutex_init(&world->gate.mutex, NULL);
    pthread_cond_init(&world->gate.changed, NULL);
    world->executor = weir_function_executor_new(handler, world, threads, &error);
    assert_non_null(world->executor);
    *state = world;
    return 0;
}

static int setup(void **state)
{
    return setup_threads(state, 1);
}

static int setup_two(void **state)
{
    return setup_threads(state, 2);
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_executor_destroy(&world->executor);
    pthread_cond_destroy(&world->gate.changed);
    pthread_mutex_destroy(&world->gate.mutex);
    free(world);
    return 0;
}

/* One message a letter. */
static void run(struct world *world, uint64_t id, const char *payloads, bool ordered,
                struct weir_job_lease *lease)
{
    const struct weir_batch_header header = {.topic = "a.b", .topic_bytes = 3};
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct weir_job job = {.id = id,
                           .count = (uint32_t)strlen(payloads),
                           .sequence = 100,
                           .time_ms = 1600000000000,
                           .attempt = 3,
                           .tag = 7,
                           .group = "email",
                           .deadline_ns = WEIR_TIME_NEVER,
                           .ordered = ordered,
                           .lease = lease != NULL ? weir_job_lease_ref(lease)
                                                  : weir_job_lease_new(WEIR_TIME_NEVER)};
    for (uint32_t i = 0; i < job.count; i++) {
        char payload[2] = {payloads[i], '\0'};
        struct weir_message_view *view = weir_zalloc(1, sizeof *view);
        view->payload = (const uint8_t *)payload;
        view->payload_bytes = 2;
        view->key = "k";
        view->key_bytes = 1;
        view->headers[0] = (struct weir_header_pair){"h1", 2, "v1", 2};
        view->headers[1] = (struct weir_header_pair){"h2", 2, "v2", 2};
        view->header_count = 2;
        assert_int_equal(weir_batch_builder_add(builder, view, NULL), 0);
        free(view);
    }
    weir_batch_builder_finish(builder, 1, 0, 0, &job.header, &job.index, &job.body);
    weir_batch_builder_destroy(&builder);
    world->executor->run(world->executor, &job);
    assert_null(job.lease);
}

static void tell(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct world *world, const char *format, ...)
{
    size_t used = strlen(world->told);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->told + used, sizeof world->told - used, format, arguments);
    va_end(arguments);
}

/* Whether anything was told. Starts are not noted: whether one is told is a matter of time. */
static bool take_one(struct world *world)
{
    struct weir_handled handled;
    if (!world->executor->poll(world->executor, &handled))
        return false;
    for (uint32_t i = 0; i < handled.outcome_count; i++) {
        const struct weir_job_outcome *outcome = &handled.outcomes[i];
        tell(world, "%u+%u %s", outcome->first, outcome->count,
             weir_outcome_name(outcome->outcome));
        if (outcome->delay_ms >= 0)
            tell(world, " in %lld", (long long)outcome->delay_ms);
        if (outcome->error.size > 0)
            tell(world, " (%.*s)", (int)outcome->error.size, (const char *)outcome->error.data);
        if (outcome->result.block != NULL)
            tell(world, " -> \"%.*s\"", (int)outcome->result.size,
                 (const char *)outcome->result.data);
        tell(world, "; ");
    }
    if (handled.type == WEIR_HANDLED_EXTEND)
        tell(world, "extend %u; ", handled.first);
    if (handled.type == WEIR_HANDLED_END) {
        tell(world, "end %llu", (unsigned long long)handled.job);
        world->ended = true;
    }
    weir_handled_fini(&handled);
    return true;
}

static void await(struct world *world)
{
    struct pollfd item = {.fd = world->executor->fd(world->executor), .events = POLLIN};
    assert_int_equal(poll(&item, 1, 20000), 1);
}

static void until_end(struct world *world)
{
    world->ended = false;
    while (!world->ended) {
        await(world);
        while (!world->ended && take_one(world))
            ;
    }
}

static void test_outcomes(void **state)
{
    struct world *world = *state;
    run(world, 5, "dddrRdjuxEdd", false, NULL);
    until_end(world);
    assert_string_equal(world->told,
                        "0+3 done; 3+1 retry in 250 (code 7); 4+1 done -> \"second\"; 5+1 done; "
                        "6+1 reject (never); 7+1 unavailable; "
                        "8+1 retry (the handler returned 42, which is no outcome); "
                        "9+1 done -> \"\"; 10+2 done; end 5");
    assert_false(take_one(world));
}

static void test_accessors(void **state)
{
    struct world *world = *state;
    run(world, 5, "ds", false, NULL);
    until_end(world);
    char id[WEIR_ID_TEXT_BYTES], expected[512];
    weir_id_format(&(struct weir_id){1600000000000, 7, 101}, id);
    snprintf(expected, sizeof expected, "%s a.b email s 3 1600000000000 key=k h1=v1 h2=v2 none=yes",
             id);
    assert_string_equal(world->seen, expected);
}

static void test_ordered_stops(void **state)
{
    struct world *world = *state;
    run(world, 5, "ddrdd", true, NULL);
    until_end(world);
    assert_string_equal(world->told, "0+2 done; 2+1 retry in 250 (code 7); end 5");
}

static void test_no_start_after_lease(void **state)
{
    struct world *world = *state;
    struct weir_job_lease *lease = weir_job_lease_new(WEIR_TIME_NEVER);
    run(world, 5, "dgdd", false, lease);
    gate_await(&world->gate, 1);
    weir_job_lease_push(lease, 0);
    gate_open(&world->gate, 1);
    until_end(world);
    assert_string_equal(world->told, "0+1 done; 1+1 release; end 5");
    weir_job_lease_drop(&lease);
}

static void test_kill(void **state)
{
    struct world *world = *state;
    run(world, 5, "g", false, NULL);
    run(world, 6, "gdd", false, NULL);
    gate_await(&world->gate, 2);
    world->executor->kill(world->executor, 6);
    world->executor->kill(world->executor, 99);
    gate_open(&world->gate, 2);
    until_end(world);
    until_end(world);
    assert_non_null(strstr(world->told, "0+1 done; end 5"));
    assert_non_null(strstr(world->told, "0+1 release; end 6"));
}

/* A long message is told as started, with what ended before it, while it still runs. */
static void test_news_of_long_ones(void **state)
{
    struct world *world = *state;
    struct weir_handled handled = {0};
    run(world, 5, "ddrg", false, NULL);
    bool started = false;
    while (!started) {
        await(world);
        while (world->executor->poll(world->executor, &handled)) {
            started |= handled.type == WEIR_HANDLED_STARTED && handled.first == 3;
            for (uint32_t i = 0; i < handled.outcome_count; i++)
                tell(world, "%u+%u ", handled.outcomes[i].first, handled.outcomes[i].count);
            weir_handled_fini(&handled);
        }
    }
    assert_string_equal(world->told, "0+2 2+1 ");
    gate_open(&world->gate, 1);
    until_end(world);
    assert_string_equal(world->told, "0+2 2+1 3+1 done; end 5");
}

static void test_extend(void **state)
{
    struct world *world = *state;
    run(world, 5, "de", false, NULL);
    gate_await(&world->gate, 1);
    while (strstr(world->told, "extend 1; ") == NULL) {
        await(world);
        take_one(world);
    }
    gate_open(&world->gate, 1);
    until_end(world);
    assert_non_null(strstr(world->told, "1+1 done; end 5"));
}

static void test_drain(void **state)
{
    struct world *world = *state;
    run(world, 5, "gddd", false, NULL);
    gate_await(&world->gate, 1);
    weir_function_executor_drain(world->executor);
    gate_open(&world->gate, 1);
    until_end(world);
    assert_string_equal(world->told, "0+1 done; end 5");
}

/* While a thread has nothing to do, a job of long messages gives back those it has not begun. */
static void test_shares(void **state)
{
    struct world *world = *state;
    run(world, 5, "ggdd", false, NULL);
    gate_await(&world->gate, 1);
    int64_t until_ns = weir_clock_now().mono_ns + 30 * WEIR_NS_PER_MS;
    while (weir_clock_now().mono_ns < until_ns)
        ;
    gate_open(&world->gate, 2);
    until_end(world);
    assert_string_equal(world->told, "0+1 done; end 5");
}

/* Many jobs over two threads: every message ends once. */
static void test_many(void **state)
{
    struct world *world = *state;
    uint64_t next = 1, ended = 0, messages = 0;
    while (ended < 500) {
        while (next - 1 - ended < 2 && next <= 500)
            run(world, next++, "d", false, NULL);
        await(world);
        struct weir_handled handled;
        while (world->executor->poll(world->executor, &handled)) {
            for (uint32_t i = 0; i < handled.outcome_count; i++)
                messages += handled.outcomes[i].count;
            ended += handled.type == WEIR_HANDLED_END;
            weir_handled_fini(&handled);
        }
    }
    assert_int_equal(messages, 500);
}

static void test_destroy_waits(void **state)
{
    struct world *world = *state;
    run(world, 5, "gd", false, NULL);
    run(world, 6, "gd", false, NULL);
    gate_await(&world->gate, 2);
    gate_open(&world->gate, 2);
    weir_executor_destroy(&world->executor);
    assert_null(world->executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accessors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ordered_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_start_after_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup_two, teardown),
        cmocka_unit_test_setup_teardown(test_news_of_long_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup_two, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup_two, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_waits, setup_two, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
