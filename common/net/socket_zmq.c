#include <net/socket_zmq.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>
#include <base/log.h>
#include <errno.h>
#include <net/frame_zmq.h>
#include <net/ipc_lock.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

/* Days: who connects again is weir_socket_change, with another handle. */
#define RECONNECT_NEVER_MS (1 << 29)

static const struct {
    int option;
    int value;
} socket_options[] = {
    /* Reading stops when a connection has this many messages unread, and TCP holds the sender back;
     * nothing is dropped. What goes out is bounded by credit, windows and request-answer pairs long
     * before it reaches its mark; a peer that does reach it does not read, and is treated as gone.
     */
    {ZMQ_RCVHWM, WEIR_RECEIVE_QUEUE_MESSAGES_MAX},
    {ZMQ_SNDHWM, WEIR_SEND_QUEUE_MESSAGES_MAX},
    /* The last acks and the BYE still leave, and the end of the process does not wait for ever. */
    {ZMQ_LINGER, WEIR_LINGER_MS},
    {ZMQ_RECONNECT_IVL, RECONNECT_NEVER_MS},
    {ZMQ_CONNECT_TIMEOUT, WEIR_CONNECT_TIMEOUT_MS},
    {ZMQ_BACKLOG, WEIR_LISTEN_BACKLOG},
    /* A host that vanished without a word: found by keepalive when idle, by MAXRT when not. */
    {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, 10},
    {ZMQ_TCP_KEEPALIVE_INTVL, 5},
    {ZMQ_TCP_KEEPALIVE_CNT, 3},
    {ZMQ_TCP_MAXRT, WEIR_CONNECT_TIMEOUT_MS * 3},
};

static void set_option(void *handle, int option, int value)
{
    int rc = zmq_setsockopt(handle, option, &value, sizeof value);
    WEIR_ASSERT(rc == 0);
}

int weir_socket_open(struct weir_socket *self)
{
    self->handle = zmq_socket(self->context, self->server ? ZMQ_ROUTER : ZMQ_DEALER);
    WEIR_ASSERT(self->handle != NULL);
    for (size_t i = 0; i < sizeof socket_options / sizeof *socket_options; i++)
        set_option(self->handle, socket_options[i].option, socket_options[i].value);
    int64_t frame_bytes_max = WEIR_FRAME_BYTES_MAX;
    int rc = zmq_setsockopt(self->handle, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max);
    WEIR_ASSERT(rc == 0);
    set_option(self->handle, ZMQ_IPV6, strchr(self->endpoint, '[') != NULL);
    if (self->server) /* else a message that cannot be routed vanishes without a word */
        set_option(self->handle, ZMQ_ROUTER_MANDATORY, 1);
    weir_socket_watch(self);
    self->touched = true;
    rc = self->server ? zmq_bind(self->handle, self->endpoint)
                      : zmq_connect(self->handle, self->endpoint);
    return rc == 0 ? 0 : errno;
}

void weir_socket_close(struct weir_socket *self)
{
    weir_socket_observe(self);
    if (!self->server && !self->up) /* nobody is there to take what is queued */
        set_option(self->handle, ZMQ_LINGER, 0);
    weir_socket_unwatch(self);
    zmq_close(self->handle);
    self->handle = self->monitor = NULL;
}

static struct weir_socket *make(void *context, const char *endpoint, bool server)
{
    struct weir_socket *self = weir_zalloc(1, sizeof *self);
    self->context = context;
    self->server = server;
    self->ipc_lock = -1;
    self->endpoint = weir_strdup(endpoint);
    self->retry_ns = self->away_ns = WEIR_TIME_NEVER;
    return self;
}

static int refuse_bind(const char *endpoint, int cause, struct weir_error *error)
{
    switch (cause) {
    case EADDRINUSE:
        return weir_error_set(
            error, WEIR_ELOCKED,
            "cannot bind %s: the address is in use by another process (`ss -lntp` "
            "names it); end that one, or choose another endpoint",
            endpoint);
    case EINVAL:
    case EPROTONOSUPPORT:
    case ENOCOMPATPROTO:
        return weir_error_set(error, WEIR_EINVAL,
                              "cannot bind %s: not an endpoint; expected tcp://HOST:PORT or "
                              "ipc://PATH",
                              endpoint);
    case ENODEV:
    case EADDRNOTAVAIL:
        return weir_error_set(error, WEIR_EINVAL,
                              "cannot bind %s: this machine has no such address; expected one of "
                              "its own, or 0.0.0.0",
                              endpoint);
    default:
        return weir_error_set(error, WEIR_EIO, "cannot bind %s: %s", endpoint, zmq_strerror(cause));
    }
}

int weir_socket_serve(void *context, const char *endpoint, struct weir_socket **socket,
                      struct weir_error *error)
{
    *socket = NULL;
    struct weir_socket *self = make(context, endpoint, true);
    self->peers = weir_peers_new();
    int status = weir_ipc_lock(endpoint, &self->ipc_lock, error);
    const int cause = status == 0 ? weir_socket_open(self) : 0;
    if (cause != 0)
        status = refuse_bind(endpoint, cause, error);
    if (status != 0) {
        weir_socket_destroy(&self);
        return status;
    }
    char bound[512];
    size_t bound_bytes = sizeof bound;
    if (zmq_getsockopt(self->handle, ZMQ_LAST_ENDPOINT, bound, &bound_bytes) == 0) {
        free(self->endpoint);
        self->endpoint = weir_strdup(bound);
    }
    *socket = self;
    return 0;
}

int weir_socket_connect(void *context, const char *endpoint, struct weir_socket **socket,
                        struct weir_error *error)
{
    *socket = NULL;
    struct weir_socket *self = make(context, endpoint, false);
    weir_socket_await(self, weir_clock_now().mono_ns);
    const int cause = weir_socket_open(self);
    if (cause != 0) {
        int status = weir_error_set(error, WEIR_EINVAL,
                                    "cannot connect to %s: %s; expected tcp://HOST:PORT or "
                                    "ipc://PATH",
                                    endpoint, zmq_strerror(cause));
        weir_socket_destroy(&self);
        return status;
    }
    *socket = self;
    return 0;
}

void weir_socket_destroy(struct weir_socket **self)
{
    struct weir_socket *socket = *self;
    if (socket == NULL)
        return;
    if (socket->unsent > 0)
        weir_log(WEIR_LOG_DEBUG, "%s: dropped %llu messages to nobody", socket->endpoint,
                 (unsigned long long)socket->unsent);
    if (socket->handle != NULL)
        weir_socket_close(socket);
    if (socket->ipc_lock >= 0)
        close(socket->ipc_lock);
    weir_peers_destroy(&socket->peers);
    free(socket->lost);
    free(socket->gone);
    free(socket->endpoint);
    free(socket);
    *self = NULL;
}

const char *weir_socket_endpoint(const struct weir_socket *self)
{
    return self->endpoint;
}

void *weir_socket_handle(const struct weir_socket *self)
{
    return self->handle;
}

void *weir_socket_monitor(const struct weir_socket *self)
{
    return self->monitor;
}

/* What the socket is ready for. Asking has it look at its commands. */
static int events_of(const struct weir_socket *self)
{
    int events = 0;
    size_t bytes = sizeof events;
    return zmq_getsockopt(self->handle, ZMQ_EVENTS, &events, &bytes) == 0 ? events : 0;
}

bool weir_socket_pending(struct weir_socket *self)
{
    if (self->touched)
        self->touched = (events_of(self) & ZMQ_POLLIN) && (self->server || self->told);
    return self->touched;
}

/* False: nothing there, and libzmq has just looked. */
static bool receive_frame(struct weir_socket *self, zmq_msg_t *message)
{
    int rc;
    do
        rc = zmq_msg_recv(message, self->handle, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    WEIR_ASSERT(rc >= 0 || errno == EAGAIN);
    self->touched = rc >= 0;
    return rc >= 0;
}

/* The rest of a message whose first part has come: libzmq gives whole messages only. */
static void receive_rest(struct weir_socket *self, struct weir_frames *frames)
{
    zmq_msg_t message;
    bool more = true;
    while (more) {
        zmq_msg_init(&message);
        bool there = receive_frame(self, &message);
        WEIR_ASSERT(there);
        more = zmq_msg_more(&message);
        if (frames->count <= WEIR_FRAMES_MAX)
            weir_frames_push(frames, weir_frame_take(&message));
        zmq_msg_close(&message);
    }
}

static struct weir_peer *know_peer(struct weir_socket *self, zmq_msg_t *identity)
{
    const void *data = zmq_msg_data(identity);
    size_t bytes = zmq_msg_size(identity);
    struct weir_peer *peer = weir_peers_identified(self->peers, data, bytes);
    if (peer != NULL)
        return peer;
    if (weir_peers_count(self->peers) < WEIR_PEERS_MAX)
        return weir_peers_add(self->peers, data, bytes, zmq_msg_get(identity, ZMQ_SRCFD));
    self->probe_all = true; /* some of them may be gone without our having heard of it */
    self->turned_away++;
    if ((self->turned_away & (self->turned_away - 1)) == 0)
        weir_log(WEIR_LOG_WARNING,
                 "%s: more than %u connections; %llu messages of new ones were dropped so far; add "
                 "routers, or end some clients",
                 self->endpoint, WEIR_PEERS_MAX, (unsigned long long)self->turned_away);
    return NULL;
}

/* A message of a single empty frame says nothing: it is how a server finds out who is gone. */
static bool is_probe(const struct weir_frames *frames)
{
    return frames->count == 1 && frames->at[0].size == 0;
}

static enum weir_received receive_from_peer(struct weir_socket *self, uint64_t *peer,
                                            struct weir_frames *frames)
{
    zmq_msg_t identity;
    zmq_msg_init(&identity);
    if (!receive_frame(self, &identity)) {
        zmq_msg_close(&identity);
        return WEIR_RECEIVED_NOTHING;
    }
    const struct weir_peer *known = know_peer(self, &identity);
    if (zmq_msg_more(&identity))
        receive_rest(self, frames);
    zmq_msg_close(&identity);
    if (known == NULL || frames->count == 0 || is_probe(frames)) {
        weir_frames_drop(frames);
        return WEIR_RECEIVED_IGNORED;
    }
    *peer = known->number;
    return WEIR_RECEIVED_MESSAGE;
}

static enum weir_received receive_from_server(struct weir_socket *self, struct weir_frames *frames)
{
    if (!self->told) { /* first the owner is told of the connection */
        (void)events_of(self);
        return WEIR_RECEIVED_NOTHING;
    }
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (!receive_frame(self, &message)) {
        zmq_msg_close(&message);
        return WEIR_RECEIVED_NOTHING;
    }
    bool more = zmq_msg_more(&message);
    weir_frames_push(frames, weir_frame_take(&message));
    zmq_msg_close(&message);
    if (more)
        receive_rest(self, frames);
    if (is_probe(frames)) {
        weir_frames_drop(frames);
        return WEIR_RECEIVED_IGNORED;
    }
    return WEIR_RECEIVED_MESSAGE;
}

enum weir_received weir_socket_receive(struct weir_socket *self, uint64_t *peer,
                                       struct weir_frames *frames)
{
    *peer = 0;
    return self->server ? receive_from_peer(self, peer, frames) : receive_from_server(self, frames);
}

/* False: `message` was not sent and is as before. */
static bool send_frame(void *handle, zmq_msg_t *message, bool more)
{
    int rc;
    do
        rc = zmq_msg_send(message, handle, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

static int send_frames(struct weir_socket *self, struct weir_frames *frames)
{
    self->touched = true;
    for (uint32_t i = 0; i < frames->count; i++) {
        zmq_msg_t message;
        bool more = i + 1 < frames->count;
        weir_frame_give(&frames->at[i], &message);
        bool sent = send_frame(self->handle, &message, more);
        if (!sent && i == 0 && !self->server)
            /* Without asking, it may not have seen yet that there is room again. */
            sent = (events_of(self) & ZMQ_POLLOUT) && send_frame(self->handle, &message, more);
        if (sent)
            continue;
        zmq_msg_close(&message);
        if (i == 0 && !self->server)
            return WEIR_EUNREACHABLE;
        /* Past the first frame: the connection ended in between. libzmq swallows the rest of the
         * message, and must be given it for that. */
    }
    return 0;
}

int weir_socket_send(struct weir_socket *self, uint64_t peer, struct weir_frames *frames)
{
    int status = frames->count == 0 ? WEIR_EINVAL : 0;
    for (uint32_t i = 0; i < frames->count; i++)
        if (frames->at[i].size > WEIR_FRAME_BYTES_MAX)
            status = WEIR_ELIMIT;
    if (status == 0 && self->server) {
        struct weir_peer *to = weir_peers_numbered(self->peers, peer);
        if (to == NULL || !weir_socket_address(self, to))
            status = WEIR_EUNREACHABLE;
    } else if (status == 0 && (!self->told || self->spent)) {
        status = WEIR_EUNREACHABLE;
    }
    if (status == 0)
        status = send_frames(self, frames);
    weir_frames_drop(frames);
    self->unsent += status == WEIR_EUNREACHABLE;
    return status;
}
