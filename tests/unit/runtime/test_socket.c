/* Endpoints over real sockets: what is sent arrives unchanged, and what breaks is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/limits.h>
#include <net/socket.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define PATIENCE_MS 10000

extern char **environ;

struct fixture {
    void *context;
    struct weir_socket *server;
    struct weir_socket *client;
};

static struct weir_socket *serve(void *context, const char *endpoint)
{
    struct weir_socket *socket;
    struct weir_error error;
    if (weir_socket_serve(context, endpoint, &socket, &error) != 0)
        fail_msg("%s", error.text);
    return socket;
}

static struct weir_socket *dial(void *context, const char *endpoint)
{
    struct weir_socket *socket;
    struct weir_error error;
    if (weir_socket_connect(context, endpoint, &socket, &error) != 0)
        fail_msg("%s", error.text);
    return socket;
}

static void await_news(struct weir_socket *socket)
{
    zmq_pollitem_t items[] = {
        {.socket = weir_socket_handle(socket), .events = ZMQ_POLLIN},
        {.socket = weir_socket_monitor(socket), .events = ZMQ_POLLIN},
    };
    int64_t due = weir_socket_due(socket);
    long timeout = PATIENCE_MS;
    if (due != WEIR_TIME_NEVER) {
        int64_t left_ns = due - weir_clock_now().mono_ns;
        timeout = left_ns <= 0 ? 0 : (long)(left_ns / WEIR_NS_PER_MS + 1);
    }
    assert_true(zmq_poll(items, 2, timeout) > 0 || due != WEIR_TIME_NEVER);
}

/* The next message or change, whichever comes first; messages are taken before changes. */
static enum weir_link_change next(struct weir_socket *socket, uint64_t *peer,
                                  struct weir_frames *frames)
{
    for (;;) {
        enum weir_received received;
        do {
            received = weir_socket_receive(socket, peer, frames);
            if (received == WEIR_RECEIVED_MESSAGE)
                return WEIR_LINK_SAME;
        } while (received == WEIR_RECEIVED_IGNORED);
        enum weir_link_change change = weir_socket_change(socket, weir_clock_now().mono_ns, peer);
        if (change != WEIR_LINK_SAME)
            return change;
        await_news(socket);
    }
}

static void expect_change(struct weir_socket *socket, enum weir_link_change expected,
                          uint64_t expected_peer)
{
    struct weir_frames frames = {0};
    uint64_t peer;
    assert_int_equal(next(socket, &peer, &frames), expected);
    assert_int_equal(peer, expected_peer);
}

/* Expects a message of one frame with this text; returns the peer. */
static uint64_t expect_text(struct weir_socket *socket, const char *text)
{
    struct weir_frames frames = {0};
    uint64_t peer;
    assert_int_equal(next(socket, &peer, &frames), WEIR_LINK_SAME);
    assert_int_equal(frames.count, 1);
    assert_true(weir_bytes_equal(&frames.at[0], text, strlen(text)));
    weir_frames_drop(&frames);
    return peer;
}

static int send_text(struct weir_socket *socket, uint64_t peer, const char *text)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_copy(text, strlen(text)));
    int status = weir_socket_send(socket, peer, &frames);
    assert_int_equal(frames.count, 0);
    assert_null(frames.at);
    return status;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->context = zmq_ctx_new();
    fixture->server = serve(fixture->context, "tcp://127.0.0.1:*");
    fixture->client = dial(fixture->context, weir_socket_endpoint(fixture->server));
    expect_change(fixture->client, WEIR_LINK_CONNECTED, 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    weir_socket_destroy(&fixture->client);
    weir_socket_destroy(&fixture->server);
    zmq_ctx_term(fixture->context);
    free(fixture);
    return 0;
}

static void peers_are_numbered_and_answered(void **state)
{
    struct fixture *fixture = *state;
    struct weir_socket *other = dial(fixture->context, weir_socket_endpoint(fixture->server));
    expect_change(other, WEIR_LINK_CONNECTED, 0);
    assert_int_equal(send_text(fixture->client, 0, "one"), 0);
    uint64_t first = expect_text(fixture->server, "one");
    assert_int_equal(send_text(other, 0, "two"), 0);
    uint64_t second = expect_text(fixture->server, "two");
    assert_true(first != 0 && second != 0 && first != second);
    assert_int_equal(send_text(fixture->client, 0, "three"), 0);
    assert_int_equal(expect_text(fixture->server, "three"), first);

    assert_int_equal(send_text(fixture->server, second, "to two"), 0);
    assert_int_equal(send_text(fixture->server, first, "to one"), 0);
    assert_int_equal(expect_text(fixture->client, "to one"), 0);
    assert_int_equal(expect_text(other, "to two"), 0);
    assert_int_equal(send_text(fixture->server, second + 1, "to nobody"), WEIR_EUNREACHABLE);
    weir_socket_destroy(&other);
}

static void fill(uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (uint8_t)(seed >> 24);
    }
}

static void released(void *hint)
{
    /* On libzmq's thread: a pipe tells the test. */
    assert_int_equal(write(*(int *)hint, "x", 1), 1);
}

static void frames_of_every_size_arrive_unchanged(void **state)
{
    struct fixture *fixture = *state;
    static const size_t sizes[] = {
        1, 0, 33, 34, 1023, 1024, 1025, 8191, 8192, 8193, 70000, 5u << 20, WEIR_FRAME_BYTES_MAX};
    const uint32_t count = sizeof sizes / sizeof *sizes;
    struct weir_frames out = {0}, in = {0}, back = {0};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *data;
        struct weir_bytes bytes = weir_bytes_new(sizes[i], &data);
        fill(data, sizes[i], i);
        weir_frames_push(&out, bytes);
    }
    assert_int_equal(weir_socket_send(fixture->client, 0, &out), 0);
    uint64_t peer;
    assert_int_equal(next(fixture->server, &peer, &in), WEIR_LINK_SAME);
    /* Handed straight on, as a router does. */
    assert_int_equal(in.count, count);
    assert_int_equal(weir_socket_send(fixture->server, peer, &in), 0);
    assert_int_equal(next(fixture->client, &peer, &back), WEIR_LINK_SAME);
    assert_int_equal(back.count, count);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *expected = malloc(sizes[i] + 1);
        assert_non_null(expected);
        fill(expected, sizes[i], i);
        assert_true(weir_bytes_equal(&back.at[i], expected, sizes[i]));
        free(expected);
    }
    weir_frames_drop(&back);
}

static void a_large_frame_is_sent_from_its_own_memory(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t memory[100000];
    fill(memory, sizeof memory, 5);
    int tell[2];
    assert_int_equal(pipe(tell), 0);
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_wrap(memory, sizeof memory, released, &tell[1]));
    assert_int_equal(weir_socket_send(fixture->client, 0, &frames), 0);
    uint64_t peer;
    assert_int_equal(next(fixture->server, &peer, &frames), WEIR_LINK_SAME);
    assert_true(weir_bytes_equal(&frames.at[0], memory, sizeof memory));
    weir_frames_drop(&frames);
    char byte;
    assert_int_equal(read(tell[0], &byte, 1), 1);
    close(tell[0]);
    close(tell[1]);
}

static void a_frame_over_the_limit_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct weir_frames frames = {0};
    uint8_t *data;
    weir_frames_push(&frames, weir_bytes_new(WEIR_FRAME_BYTES_MAX + 1u, &data));
    assert_int_equal(weir_socket_send(fixture->client, 0, &frames), WEIR_ELIMIT);
    assert_int_equal(send_text(fixture->client, 0, "still connected"), 0);
    expect_text(fixture->server, "still connected");
}

static void too_many_frames_are_cut_off_where_it_shows(void **state)
{
    struct fixture *fixture = *state;
    struct weir_frames frames = {0};
    for (uint32_t i = 0; i < WEIR_FRAMES_MAX + 500u; i++)
        weir_frames_push(&frames, weir_bytes_copy(&i, sizeof i));
    assert_int_equal(weir_socket_send(fixture->client, 0, &frames), 0);
    uint64_t peer;
    assert_int_equal(next(fixture->server, &peer, &frames), WEIR_LINK_SAME);
    assert_int_equal(frames.count, WEIR_FRAMES_MAX + 1u);
    weir_frames_drop(&frames);
    assert_int_equal(send_text(fixture->client, 0, "next"), 0);
    assert_int_equal(expect_text(fixture->server, "next"), peer);
}

static void a_peers_last_messages_come_before_its_end(void **state)
{
    struct fixture *fixture = *state;
    uint64_t peer = 0;
    for (int i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(send_text(fixture->client, 0, text), 0);
    }
    weir_socket_destroy(&fixture->client);
    for (int i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        uint64_t from = expect_text(fixture->server, text);
        assert_true(peer == 0 || peer == from);
        peer = from;
    }
    expect_change(fixture->server, WEIR_LINK_PEER_GONE, peer);
    assert_int_equal(send_text(fixture->server, peer, "too late"), WEIR_EUNREACHABLE);
}

/* This program again, as a peer in a process of its own. */
static pid_t spawn_peer(const char *endpoint)
{
    char program[] = "/proc/self/exe", mode[] = "peer";
    char *arguments[] = {program, mode, (char *)(uintptr_t)endpoint, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, arguments, environ), 0);
    return pid;
}

static int be_a_peer(const char *endpoint)
{
    void *context = zmq_ctx_new();
    struct weir_socket *socket;
    if (weir_socket_connect(context, endpoint, &socket, NULL) != 0)
        return 1;
    uint64_t peer;
    struct weir_frames frames = {0};
    next(socket, &peer, &frames);
    weir_frames_push(&frames, weir_bytes_copy("here", 4));
    weir_socket_send(socket, 0, &frames);
    for (;;)
        pause();
}

static void a_killed_process_is_found_gone_fast_and_others_are_not(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(send_text(fixture->client, 0, "I stay"), 0);
    uint64_t stays = expect_text(fixture->server, "I stay");
    for (int i = 0; i < 5; i++) {
        pid_t child = spawn_peer(weir_socket_endpoint(fixture->server));
        uint64_t doomed = expect_text(fixture->server, "here");
        int64_t killed_ns = weir_clock_now().mono_ns;
        assert_int_equal(kill(child, SIGKILL), 0);
        expect_change(fixture->server, WEIR_LINK_PEER_GONE, doomed);
        assert_true(weir_clock_now().mono_ns - killed_ns < 500 * WEIR_NS_PER_MS);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    assert_int_equal(send_text(fixture->server, stays, "you do"), 0);
    expect_text(fixture->client, "you do");
}

static void many_peers_that_end_at_once_are_all_told(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 40 };
    struct weir_socket *clients[COUNT];
    uint64_t sum = 0;
    for (int i = 0; i < COUNT; i++) {
        clients[i] = dial(fixture->context, weir_socket_endpoint(fixture->server));
        expect_change(clients[i], WEIR_LINK_CONNECTED, 0);
        assert_int_equal(send_text(clients[i], 0, "hello"), 0);
        sum += expect_text(fixture->server, "hello");
    }
    for (int i = 0; i < COUNT; i++)
        weir_socket_destroy(&clients[i]);
    for (int i = 0; i < COUNT; i++) {
        struct weir_frames frames = {0};
        uint64_t peer;
        assert_int_equal(next(fixture->server, &peer, &frames), WEIR_LINK_PEER_GONE);
        sum -= peer;
    }
    assert_int_equal(sum, 0);
}

static void a_client_hears_of_its_link_and_nothing_old_reaches_the_next_server(void **state)
{
    struct fixture *fixture = *state;
    char *endpoint = strdup(weir_socket_endpoint(fixture->server));
    assert_non_null(endpoint);
    weir_socket_destroy(&fixture->server);
    expect_change(fixture->client, WEIR_LINK_BROKEN, 0);
    assert_int_equal(send_text(fixture->client, 0, "to nobody"), WEIR_EUNREACHABLE);

    fixture->server = serve(fixture->context, endpoint);
    /* Between the new connection and the news of it nothing is sent either. */
    assert_int_equal(send_text(fixture->client, 0, "still to nobody"), WEIR_EUNREACHABLE);
    expect_change(fixture->client, WEIR_LINK_CONNECTED, 0);
    assert_int_equal(send_text(fixture->client, 0, "ready"), 0);
    expect_text(fixture->server, "ready");
    free(endpoint);
}

/* What the socket says on stderr when it is asked for changes at that time; then it is free()d. */
static char *said_at(struct weir_socket *socket, int64_t mono_ns)
{
    char *text = calloc(1, 1024);
    int ends[2], kept = dup(STDERR_FILENO);
    uint64_t peer;
    assert_non_null(text);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    enum weir_link_change change = weir_socket_change(socket, mono_ns, &peer);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(ends[1]);
    close(kept);
    assert_true(read(ends[0], text, 1023) >= 0);
    close(ends[0]);
    assert_int_equal(change, WEIR_LINK_SAME);
    return text;
}

static void it_is_said_once_that_nobody_answers(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(weir_socket_due(fixture->client), WEIR_TIME_NEVER); /* this one is answered */
    weir_socket_destroy(&fixture->client);
    fixture->client = dial(fixture->context, "ipc:///nobody/listens/here");
    const int64_t due = weir_socket_due(fixture->client);
    assert_true(due > weir_clock_now().mono_ns);

    zmq_pollitem_t refused = {.socket = weir_socket_monitor(fixture->client), .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&refused, 1, PATIENCE_MS), 1);
    char *before = said_at(fixture->client, due - 1), *then = said_at(fixture->client, due);
    assert_string_equal(before, "");
    assert_non_null(strstr(then, "ipc:///nobody/listens/here: nobody has answered for 5 s"));
    free(before);
    free(then);
    assert_true(weir_socket_due(fixture->client) > due); /* its next try, and no more words */
    char *later = said_at(fixture->client, due + 60 * WEIR_NS_PER_S);
    assert_string_equal(later, "");
    free(later);
}

static void a_probe_is_ignored_on_both_sides(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(send_text(fixture->client, 0, ""), 0);
    assert_int_equal(send_text(fixture->client, 0, "real"), 0);
    uint64_t peer = expect_text(fixture->server, "real");
    assert_int_equal(send_text(fixture->server, peer, ""), 0);
    assert_int_equal(send_text(fixture->server, peer, "real too"), 0);
    expect_text(fixture->client, "real too");
}

static void a_second_bind_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct weir_socket *second;
    struct weir_error error;
    const char *endpoint = weir_socket_endpoint(fixture->server);
    assert_int_equal(weir_socket_serve(fixture->context, endpoint, &second, &error), WEIR_ELOCKED);
    assert_null(second);
    assert_non_null(strstr(error.text, endpoint));
}

static void an_endpoint_that_is_none_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {"",
                                      "7400",
                                      "tcp://",
                                      "tcp://127.0.0.1",
                                      "tcp://127.0.0.1:x",
                                      "udp://127.0.0.1:1",
                                      "tcp://192.0.2.77:7400"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weir_socket *socket;
        struct weir_error error;
        assert_int_equal(weir_socket_serve(fixture->context, bad[i], &socket, &error), WEIR_EINVAL);
        assert_non_null(strstr(error.text, bad[i]));
    }
}

static void an_ipc_path_belongs_to_one(void **state)
{
    struct fixture *fixture = *state;
    char directory[] = "/tmp/weir-test-XXXXXX", path[64], lock[80], endpoint[80], pid[32];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    snprintf(lock, sizeof lock, "%s.lock", path);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());

    /* A stale file, as a killed process leaves it, is no obstacle. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof address), 0);
    close(stale);

    struct weir_socket *first = serve(fixture->context, endpoint), *second;
    struct weir_error error;
    assert_int_equal(weir_socket_serve(fixture->context, endpoint, &second, &error), WEIR_ELOCKED);
    assert_non_null(strstr(error.text, pid));
    struct weir_socket *client = dial(fixture->context, endpoint);
    expect_change(client, WEIR_LINK_CONNECTED, 0);
    assert_int_equal(send_text(client, 0, "hello"), 0);
    expect_text(first, "hello");
    weir_socket_destroy(&first);
    weir_socket_destroy(&client);

    /* A program that knows nothing of the lock is not robbed either. */
    unlink(path);
    int stranger = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stranger, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(stranger, 1), 0);
    assert_int_equal(weir_socket_serve(fixture->context, endpoint, &second, &error), WEIR_ELOCKED);
    close(stranger);
    unlink(path);
    unlink(lock);
    assert_int_equal(rmdir(directory), 0);
}

static void an_ipc_path_that_cannot_be_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char endpoint[256] = "ipc:///tmp/";
    memset(endpoint + strlen(endpoint), 'x', 108);
    struct weir_socket *socket;
    struct weir_error error;
    assert_int_equal(weir_socket_serve(fixture->context, endpoint, &socket, &error), WEIR_EINVAL);
    assert_non_null(strstr(error.text, "107"));
    assert_int_equal(
        weir_socket_serve(fixture->context, "ipc:///nonexistent/dir/s", &socket, &error), WEIR_EIO);
    assert_non_null(strstr(error.text, "/nonexistent/dir/s"));
}

#define WITH_SOCKETS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "peer") == 0)
        return be_a_peer(argv[2]);
    const struct CMUnitTest tests[] = {
        WITH_SOCKETS(peers_are_numbered_and_answered),
        WITH_SOCKETS(frames_of_every_size_arrive_unchanged),
        WITH_SOCKETS(a_large_frame_is_sent_from_its_own_memory),
        WITH_SOCKETS(a_frame_over_the_limit_is_not_sent),
        WITH_SOCKETS(too_many_frames_are_cut_off_where_it_shows),
        WITH_SOCKETS(a_peers_last_messages_come_before_its_end),
        WITH_SOCKETS(a_killed_process_is_found_gone_fast_and_others_are_not),
        WITH_SOCKETS(many_peers_that_end_at_once_are_all_told),
        WITH_SOCKETS(a_client_hears_of_its_link_and_nothing_old_reaches_the_next_server),
        WITH_SOCKETS(it_is_said_once_that_nobody_answers),
        WITH_SOCKETS(a_probe_is_ignored_on_both_sides),
        WITH_SOCKETS(a_second_bind_is_refused),
        WITH_SOCKETS(an_endpoint_that_is_none_is_refused),
        WITH_SOCKETS(an_ipc_path_belongs_to_one),
        WITH_SOCKETS(an_ipc_path_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
