#include "admin_zmq.h"

#include "msgpack_json.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define AT_ONCE_MAX 256u /* sockets; libzmq has 1023 */
#define ANSWER_BYTES_MAX (64 << 20)

struct weir_admin {
    void *context;
};

struct weir_admin *weir_admin_new(void)
{
    struct weir_admin *self = weir_zalloc(1, sizeof *self);

    self->context = zmq_ctx_new();
    WEIR_ASSERT(self->context != NULL);
    return self;
}

void weir_admin_destroy(struct weir_admin **self)
{
    if (*self == NULL)
        return;
    zmq_ctx_term((*self)->context);
    free(*self);
    *self = NULL;
}

/* libzmq would try for ever to reach a socket that nobody listens on. */
static bool listened_to(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = endpoint + strlen("ipc://");
    bool there;

    if (strlen(path) >= sizeof address.sun_path)
        return false;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return false;
    there = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    return there;
}

static void *open_socket(struct weir_admin *self, const char *endpoint)
{
    void *socket = zmq_socket(self->context, ZMQ_DEALER);
    const int linger = 0, first_ms = 20, later_ms = 1000;
    const int64_t bytes_max = ANSWER_BYTES_MAX;

    if (socket == NULL)
        return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &first_ms, sizeof first_ms);
    zmq_setsockopt(socket, ZMQ_RECONNECT_IVL_MAX, &later_ms, sizeof later_ms);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max);
    if (zmq_connect(socket, endpoint) != 0) {
        zmq_close(socket);
        return NULL;
    }
    return socket;
}

static bool send_request(void *socket, const struct weir_control *request)
{
    struct weir_bytes frame = weir_control_encode(request);
    bool sent = zmq_send(socket, frame.data, frame.size, ZMQ_DONTWAIT) >= 0;

    weir_bytes_drop(&frame);
    return sent;
}

static void close_socket(struct weir_admin_call *call)
{
    zmq_close(call->socket);
    call->socket = NULL;
}

static int start(struct weir_admin *self, struct weir_admin_call *call)
{
    const char *path = call->endpoint + strlen("ipc://");

    json_decref(call->answer);
    call->answer = NULL;
    call->error = (struct weir_error){0};
    if (call->socket != NULL && send_request(call->socket, &call->request))
        return 0;
    if (!listened_to(call->endpoint))
        return weir_error_set(&call->error, WEIR_EUNREACHABLE,
                              "nobody answers at %s: is the topology up, and is this the directory "
                              "it was started in?",
                              path);
    if (call->socket == NULL)
        call->socket = open_socket(self, call->endpoint);
    if (call->socket == NULL || !send_request(call->socket, &call->request))
        return weir_error_set(&call->error, WEIR_EIO, "cannot connect to %s: %s", path,
                              zmq_strerror(errno));
    return 0;
}

static void understand(struct weir_admin_call *call, zmq_msg_t *head, zmq_msg_t *body)
{
    struct weir_bytes frame = weir_bytes_borrow(zmq_msg_data(head), zmq_msg_size(head));
    struct weir_control control;

    if (weir_control_decode(&frame, &control, &call->error) != 0)
        return;
    if (control.verb == WEIR_VERB_ERROR)
        weir_error_set(&call->error, WEIR_EREFUSED, "%.*s", (int)control.text.bytes,
                       control.text.data);
    else if (control.verb != WEIR_VERB_ANSWER)
        weir_error_set(&call->error, WEIR_EPROTO, "unexpected answer %s",
                       weir_verb_name(control.verb));
    else if (weir_msgpack_to_json(zmq_msg_data(body), zmq_msg_size(body), &call->answer,
                                  &call->error) == 0 &&
             !json_is_object(call->answer)) {
        json_decref(call->answer);
        call->answer = NULL;
        weir_error_set(&call->error, WEIR_EPROTO, "the answer is not a map");
    }
    weir_control_fini(&control);
}

/* Take one message. One that is empty is a probe, and says nothing. */
static void receive(struct weir_admin_call *call)
{
    zmq_msg_t frames[2];
    int count = 0, more = 1;

    while (more) {
        zmq_msg_t extra, *frame = count < 2 ? &frames[count] : &extra;

        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, call->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            break;
        }
        more = zmq_msg_more(frame);
        if (frame == &extra)
            zmq_msg_close(frame);
        else
            count++;
    }
    if (count == 0)
        return;
    if (count == 1)
        zmq_msg_init(&frames[1]);
    if (zmq_msg_size(&frames[0]) > 0)
        understand(call, &frames[0], &frames[1]);
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
}

static bool settled(const struct weir_admin_call *call)
{
    return call->answer != NULL || call->error.code != 0;
}

static void ask_some(struct weir_admin *self, struct weir_admin_call *calls, uint32_t count,
                     int64_t timeout_ms)
{
    zmq_pollitem_t items[AT_ONCE_MAX];
    uint32_t asked[AT_ONCE_MAX];
    int64_t until_ns = weir_clock_now().mono_ns + timeout_ms * WEIR_NS_PER_MS;

    for (uint32_t i = 0; i < count; i++)
        (void)start(self, &calls[i]);
    while (true) {
        int open = 0;
        int64_t left_ms = (until_ns - weir_clock_now().mono_ns) / WEIR_NS_PER_MS;

        for (uint32_t i = 0; i < count; i++) {
            if (settled(&calls[i]))
                continue;
            asked[open] = i;
            items[open++] =
                (zmq_pollitem_t){.socket = calls[i].socket, .fd = -1, .events = ZMQ_POLLIN};
        }
        if (open == 0 || left_ms <= 0)
            break;
        if (zmq_poll(items, open, (long)left_ms) < 0 && errno != EINTR)
            break;
        for (int i = 0; i < open; i++) {
            if (items[i].revents & ZMQ_POLLIN)
                receive(&calls[asked[i]]);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!settled(&calls[i]))
            weir_error_set(&calls[i].error, WEIR_ETIMEDOUT,
                           "%s does not answer within %lld ms: it is busy, or hangs",
                           calls[i].endpoint + strlen("ipc://"), (long long)timeout_ms);
        if (calls[i].socket != NULL && !(calls[i].stay && calls[i].answer != NULL))
            close_socket(&calls[i]);
    }
}

void weir_admin_ask(struct weir_admin *self, struct weir_admin_call *calls, uint32_t count,
                    int64_t timeout_ms)
{
    for (uint32_t at = 0; at < count; at += AT_ONCE_MAX)
        ask_some(self, calls + at, count - at < AT_ONCE_MAX ? count - at : AT_ONCE_MAX, timeout_ms);
}

void weir_admin_call_fini(struct weir_admin_call *call)
{
    if (call->socket != NULL)
        close_socket(call);
    free(call->endpoint);
    json_decref(call->answer);
    *call = (struct weir_admin_call){0};
}

struct weir_admin_call weir_admin_call_to(const struct weir_topology *topology,
                                          const struct weir_node *node, uint32_t instance,
                                          enum weir_verb verb)
{
    return (struct weir_admin_call){.endpoint = weir_node_admin_endpoint(topology, node, instance),
                                    .request = {.verb = verb}};
}

void *weir_admin_probe(struct weir_admin *self, const char *endpoint)
{
    const struct weir_control request = {.verb = WEIR_VERB_STATS};
    void *socket = open_socket(self, endpoint);

    if (socket != NULL)
        (void)send_request(socket, &request);
    return socket;
}
