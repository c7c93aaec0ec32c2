/* The loop that drives a role, with a toy role that notes every event it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <contract/backend.h>
#include <core/roles.h>
#include <pthread.h>
#include <runtime/reactor.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* A role whose behaviour a test gives as one function; `trace` has a letter for each event. */
struct toy {
    struct weir_role role;
    struct weir_reactor *reactor;
    const struct weir_host *host;
    void (*react)(struct toy *toy, struct weir_event *event);
    char trace[256];
    uint32_t count;
    int64_t mark_ns;
    uint64_t peer;
    void *extra;
};

static void toy_step(struct weir_role *role, struct weir_event *event)
{
    static const char letters[] = "SMGUDTRHX"; /* in the order of enum weir_event_type */
    struct toy *toy = (struct toy *)role;
    size_t length = strlen(toy->trace);
    if (length + 1 < sizeof toy->trace)
        toy->trace[length] = letters[event->type];
    toy->react(toy, event);
}

static void send_text(struct toy *toy, uint32_t port, uint64_t peer, const char *text)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_copy(text, strlen(text)));
    toy->host->send(toy->host->self, port, peer, &frames);
    assert_int_equal(frames.count, 0);
}

static void stop(struct toy *toy, int status)
{
    toy->host->stopped(toy->host->self, status);
}

static int set_up(void **state)
{
    struct toy *toy = calloc(1, sizeof *toy);
    assert_non_null(toy);
    toy->role.step = toy_step;
    toy->reactor = weir_reactor_new();
    toy->host = weir_reactor_host(toy->reactor);
    *state = toy;
    return 0;
}

static int tear_down(void **state)
{
    struct toy *toy = *state;
    weir_reactor_destroy(&toy->reactor);
    assert_null(toy->reactor);
    free(toy);
    return 0;
}

static int run(struct toy *toy, void (*react)(struct toy *, struct weir_event *))
{
    toy->react = react;
    return weir_reactor_run(toy->reactor, &toy->role);
}

static void connect_to_itself(struct toy *toy)
{
    struct weir_error error;
    if (weir_reactor_serve(toy->reactor, WEIR_PORT_SUBMIT, "tcp://127.0.0.1:*", &error) != 0)
        fail_msg("%s", error.text);
    const char *endpoint = weir_reactor_endpoint(toy->reactor, WEIR_PORT_SUBMIT);
    if (weir_reactor_connect(toy->reactor, WEIR_PORT_TO, endpoint, &error) != 0)
        fail_msg("%s", error.text);
}

static void echo(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_LINK_UP) {
        assert_int_equal(event->port, WEIR_PORT_TO);
        send_text(toy, WEIR_PORT_TO, 0, "ping");
    } else if (event->type == WEIR_EVENT_MESSAGE && event->port == WEIR_PORT_SUBMIT) {
        assert_true(event->peer != 0);
        toy->host->send(toy->host->self, event->port, event->peer, event->frames);
    } else if (event->type == WEIR_EVENT_MESSAGE) {
        assert_int_equal(event->port, WEIR_PORT_TO);
        assert_int_equal(event->peer, 0);
        assert_int_equal(event->frames->count, 1);
        assert_true(weir_bytes_equal(&event->frames->at[0], "ping", 4));
        stop(toy, 7);
    }
}

static void a_message_goes_there_and_back(void **state)
{
    struct toy *toy = *state;
    connect_to_itself(toy);
    assert_int_equal(run(toy, echo), 7);
    assert_string_equal(toy->trace, "SUMM");
}

#define FLOOD 20000u

static void count_flood(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_LINK_UP)
        for (uint32_t i = 0; i < FLOOD; i++) {
            char text[16];
            snprintf(text, sizeof text, "%u", i);
            send_text(toy, WEIR_PORT_TO, 0, text);
        }
    if (event->type != WEIR_EVENT_MESSAGE)
        return;
    char expected[16];
    snprintf(expected, sizeof expected, "%u", toy->count);
    assert_true(weir_bytes_equal(&event->frames->at[0], expected, strlen(expected)));
    if (++toy->count == FLOOD)
        stop(toy, 0);
}

static void a_flood_arrives_whole_and_in_order(void **state)
{
    struct toy *toy = *state;
    connect_to_itself(toy);
    assert_int_equal(run(toy, count_flood), 0);
    assert_int_equal(toy->count, FLOOD);
}

/* A client in a reactor of its own that says one thing, and ends. */
static void say_and_end(struct toy *toy, struct weir_event *event)
{
    if (event->type != WEIR_EVENT_LINK_UP)
        return;
    send_text(toy, WEIR_PORT_TO, 0, "last words");
    stop(toy, 0);
}

static void *be_a_short_client(void *endpoint)
{
    struct toy toy = {.role.step = toy_step, .react = say_and_end};
    struct weir_error error;
    toy.reactor = weir_reactor_new();
    toy.host = weir_reactor_host(toy.reactor);
    assert_int_equal(weir_reactor_connect(toy.reactor, WEIR_PORT_TO, endpoint, &error), 0);
    assert_int_equal(weir_reactor_run(toy.reactor, &toy.role), 0);
    weir_reactor_destroy(&toy.reactor);
    return NULL;
}

static void watch_peer(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_MESSAGE) {
        assert_true(weir_bytes_equal(&event->frames->at[0], "last words", 10));
        toy->peer = event->peer;
    } else if (event->type == WEIR_EVENT_PEER_GONE) {
        assert_int_equal(event->port, WEIR_PORT_DISPATCH);
        assert_int_equal(event->peer, toy->peer);
        send_text(toy, WEIR_PORT_DISPATCH, event->peer, "dropped in silence");
        stop(toy, 0);
    }
}

static void the_last_words_of_a_peer_come_before_its_end(void **state)
{
    struct toy *toy = *state;
    struct weir_error error;
    assert_int_equal(
        weir_reactor_serve(toy->reactor, WEIR_PORT_DISPATCH, "tcp://127.0.0.1:*", &error), 0);
    pthread_t thread;
    char *endpoint = strdup(weir_reactor_endpoint(toy->reactor, WEIR_PORT_DISPATCH));
    assert_int_equal(pthread_create(&thread, NULL, be_a_short_client, endpoint), 0);
    assert_int_equal(run(toy, watch_peer), 0);
    assert_string_equal(toy->trace, "SMG");
    assert_int_equal(pthread_join(thread, NULL), 0);
    free(endpoint);
}

static void wake(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_START) {
        toy->mark_ns = event->now.mono_ns + 20 * WEIR_NS_PER_MS + 1;
        toy->host->wake_at(toy->host->self, event->now.mono_ns + 3600 * WEIR_NS_PER_S);
        toy->host->wake_at(toy->host->self, toy->mark_ns);
    } else if (toy->count++ == 0) {
        assert_true(event->now.mono_ns >= toy->mark_ns);
        toy->host->wake_at(toy->host->self, event->now.mono_ns - 1);
    } else {
        stop(toy, 0);
    }
}

static void the_last_wish_for_a_timer_counts_and_once(void **state)
{
    struct toy *toy = *state;
    assert_int_equal(run(toy, wake), 0);
    assert_string_equal(toy->trace, "STT");
}

static int64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void idle(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_LINK_UP) {
        toy->mark_ns = cpu_us();
        toy->host->wake_at(toy->host->self, event->now.mono_ns + 500 * WEIR_NS_PER_MS);
    } else if (event->type == WEIR_EVENT_TIMER) {
        toy->mark_ns = cpu_us() - toy->mark_ns;
        stop(toy, 0);
    }
}

static void an_idle_loop_uses_no_processor(void **state)
{
    struct toy *toy = *state;
    connect_to_itself(toy);
    assert_int_equal(run(toy, idle), 0);
    assert_string_equal(toy->trace, "SUT");
    assert_true(toy->mark_ns < 20000); /* of 500,000 us */
}

static void signal_itself(struct toy *toy, struct weir_event *event)
{
    (void)toy;
    if (event->type == WEIR_EVENT_START)
        assert_int_equal(kill(getpid(), SIGINT), 0);
    if (event->type == WEIR_EVENT_DRAIN)
        assert_int_equal(kill(getpid(), SIGTERM), 0);
}

static void the_first_signal_drains_and_the_second_ends(void **state)
{
    struct toy *toy = *state;
    struct weir_error error;
    assert_int_equal(weir_reactor_signals(toy->reactor, &error), 0);
    assert_int_equal(run(toy, signal_itself), 128 + SIGTERM);
    assert_string_equal(toy->trace, "SX");
}

static void count_call(void *arg)
{
    struct toy *toy = arg;
    if (++toy->count == 3)
        weir_reactor_drain(toy->reactor);
}

static void *post_from_a_thread(void *arg)
{
    struct toy *toy = arg;
    for (int i = 0; i < 3; i++)
        weir_reactor_post(toy->reactor, count_call, toy);
    return NULL;
}

static void end_when_drained(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_DRAIN) {
        weir_reactor_drain(toy->reactor); /* once more changes nothing */
        toy->host->wake_at(toy->host->self, event->now.mono_ns + 5 * WEIR_NS_PER_MS);
    } else if (event->type == WEIR_EVENT_TIMER) {
        stop(toy, 0);
    }
}

static void other_threads_can_post_and_drain(void **state)
{
    struct toy *toy = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, post_from_a_thread, toy), 0);
    assert_int_equal(run(toy, end_when_drained), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(toy->count, 3);
    assert_string_equal(toy->trace, "SXT");
}

/* A store and an executor that complete at once what they are given. */
struct backend {
    struct weir_store store;
    struct weir_executor executor;
    int fd;
    uint64_t stored, handled; /* ids to be given back; 0: none */
    uint64_t killed;
};

#define OF(pointer, member)                                                                        \
    ((struct backend *)(void *)((char *)(uintptr_t)(pointer)-offsetof(struct backend, member)))

static void ring(const struct backend *backend)
{
    uint64_t one = 1;
    assert_int_equal(write(backend->fd, &one, sizeof one), sizeof one);
}

static void unring(const struct backend *backend)
{
    uint64_t count;
    (void)!read(backend->fd, &count, sizeof count);
}

static void store_submit(struct weir_store *store, struct weir_store_request *request)
{
    struct backend *backend = OF(store, store);
    backend->stored = request->id;
    weir_store_request_fini(request);
    ring(backend);
}

static bool store_poll(struct weir_store *store, struct weir_store_result *result)
{
    struct backend *backend = OF(store, store);
    *result = (struct weir_store_result){.id = backend->stored};
    backend->stored = 0;
    unring(backend);
    return result->id != 0;
}

static int store_fd(const struct weir_store *store)
{
    return OF(store, store)->fd;
}

static void executor_run(struct weir_executor *executor, struct weir_job *job)
{
    struct backend *backend = OF(executor, executor);
    backend->handled = job->id;
    ring(backend);
}

static void executor_kill(struct weir_executor *executor, uint64_t job)
{
    OF(executor, executor)->killed = job;
}

static bool executor_poll(struct weir_executor *executor, struct weir_handled *handled)
{
    struct backend *backend = OF(executor, executor);
    *handled = (struct weir_handled){.type = WEIR_HANDLED_END, .job = backend->handled};
    backend->handled = 0;
    unring(backend);
    return handled->job != 0;
}

static int executor_fd(const struct weir_executor *executor)
{
    return OF(executor, executor)->fd;
}

static void use_backends(struct toy *toy, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_START) {
        struct weir_store_request request = {.id = 41, .kind = WEIR_STORE_TRIM};
        toy->host->store(toy->host->self, &request);
    } else if (event->type == WEIR_EVENT_STORED) {
        assert_int_equal(event->result->id, 41);
        struct weir_job job = {.id = 42};
        toy->host->run(toy->host->self, &job);
        toy->host->kill(toy->host->self, 42);
    } else if (event->type == WEIR_EVENT_HANDLED) {
        assert_int_equal(event->handled->job, 42);
        stop(toy, 0);
    }
}

static void completions_of_store_and_executor_become_events(void **state)
{
    struct toy *toy = *state;
    struct backend backend = {
        .store = {.submit = store_submit, .poll = store_poll, .fd = store_fd},
        .executor = {.run = executor_run,
                     .kill = executor_kill,
                     .poll = executor_poll,
                     .fd = executor_fd},
        .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
    };
    weir_reactor_attach_store(toy->reactor, &backend.store);
    weir_reactor_attach_executor(toy->reactor, &backend.executor);
    assert_int_equal(run(toy, use_backends), 0);
    assert_string_equal(toy->trace, "SRH");
    assert_int_equal(backend.killed, 42);
    close(backend.fd);
}

static void an_endpoint_that_cannot_be_is_told(void **state)
{
    struct toy *toy = *state;
    struct weir_error error;
    assert_int_equal(weir_reactor_serve(toy->reactor, WEIR_PORT_SUBMIT, "tcp://nonsense", &error),
                     WEIR_EINVAL);
    assert_non_null(strstr(error.text, "tcp://nonsense"));
    assert_null(weir_reactor_endpoint(toy->reactor, WEIR_PORT_SUBMIT));
    assert_int_equal(weir_reactor_connect(toy->reactor, WEIR_PORT_FROM + WEIR_UPSTREAMS_MAX,
                                          "tcp://127.0.0.1:1", &error),
                     WEIR_EINVAL);
}

#define WITH_TOY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TOY(a_message_goes_there_and_back),
        WITH_TOY(a_flood_arrives_whole_and_in_order),
        WITH_TOY(the_last_words_of_a_peer_come_before_its_end),
        WITH_TOY(the_last_wish_for_a_timer_counts_and_once),
        WITH_TOY(an_idle_loop_uses_no_processor),
        WITH_TOY(the_first_signal_drains_and_the_second_ends),
        WITH_TOY(other_threads_can_post_and_drain),
        WITH_TOY(completions_of_store_and_executor_become_events),
        WITH_TOY(an_endpoint_that_cannot_be_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
