/* Sockets are polled by their descriptors, beside the eventfds of whatever has a thread of its own.
 * A turn reads the clock once, takes a bounded share from each source, and hands the role one event
 * at a time. What is left over is found again before the next poll, which then does not wait. */
#include <runtime/reactor.h>

#include <base/alloc.h>
#include <base/limits.h>
#include <core/roles.h>
#include <errno.h>
#include <net/socket.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#define PORTS_MAX (WEIR_PORT_FROM + WEIR_UPSTREAMS_MAX)
/* A connection's end waits for the messages before it, but not behind a flood of others' for ever.
 */
#define UNDRAINED_TURNS_MAX 16u

struct port {
    uint32_t number;
    struct weir_socket *socket;
    bool pending;             /* there is a message, whatever its descriptor says */
    uint32_t undrained_turns; /* in a row, in which it had more than its share to give */
};

struct post {
    void (*call)(void *arg);
    void *arg;
};

/* The sources of a poll, in the order of its items; after them come two items a port. */
enum source { SOURCE_POST, SOURCE_SIGNAL, SOURCE_STORE, SOURCE_EXECUTOR, SOURCE_COUNT };

struct weir_reactor {
    struct weir_host host;
    struct weir_role *role;
    struct weir_now now; /* of this turn */
    int64_t wake_at_ns;
    bool stopped;
    int status;
    bool draining;

    void *context;
    struct port *ports;
    uint32_t port_count;
    uint32_t *port_index; /* by number: 1 + its place in `ports`; 0: none */
    struct pollfd *items;
    uint32_t item_count; /* 0: to be made anew */

    struct weir_store *store;
    struct weir_executor *executor;
    int signal_fd; /* -1: signals are not ours */

    int post_fd;
    pthread_mutex_t post_lock; /* guards what follows */
    struct post *posts;
    uint32_t post_count;
    uint32_t post_capacity;
    bool drain_asked;
};

static struct port *port_of(const struct weir_reactor *self, uint32_t number)
{
    if (number >= PORTS_MAX || self->port_index[number] == 0)
        return NULL;
    return &self->ports[self->port_index[number] - 1];
}

/* ---- The host's services -------------------------------------------------------------------- */

static void host_send(void *host, uint32_t number, uint64_t peer, struct weir_frames *frames)
{
    struct weir_reactor *self = host;
    struct port *port = port_of(self, number);
    if (port == NULL) { /* such as the admin port of a worker that nobody declared */
        weir_frames_drop(frames);
        return;
    }
    if (weir_socket_send(port->socket, peer, frames) == WEIR_ELIMIT)
        weir_log(WEIR_LOG_ERROR, "%s: a frame over %u bytes was not sent",
                 weir_socket_endpoint(port->socket), WEIR_FRAME_BYTES_MAX);
}

static void host_wake_at(void *host, int64_t mono_ns)
{
    struct weir_reactor *self = host;
    self->wake_at_ns = mono_ns;
}

static void host_store(void *host, struct weir_store_request *request)
{
    struct weir_reactor *self = host;
    WEIR_ASSERT(self->store != NULL);
    self->store->submit(self->store, request);
}

static void host_run(void *host, struct weir_job *job)
{
    struct weir_reactor *self = host;
    WEIR_ASSERT(self->executor != NULL);
    self->executor->run(self->executor, job);
}

static void host_kill(void *host, uint64_t job)
{
    struct weir_reactor *self = host;
    WEIR_ASSERT(self->executor != NULL);
    self->executor->kill(self->executor, job);
}

static void host_stopped(void *host, int status)
{
    struct weir_reactor *self = host;
    self->stopped = true;
    self->status = status;
}

static void host_log(void *host, enum weir_log_level level, const char *text)
{
    (void)host;
    weir_log(level, "%s", text);
}

static const char *host_endpoint(void *host, uint32_t port)
{
    return weir_reactor_endpoint(host, port);
}

/* ---- Making and wiring ---------------------------------------------------------------------- */

struct weir_reactor *weir_reactor_new(void)
{
    struct weir_reactor *self = weir_zalloc(1, sizeof *self);
    self->host = (struct weir_host){
        .self = self,
        .send = host_send,
        .wake_at = host_wake_at,
        .store = host_store,
        .run = host_run,
        .kill = host_kill,
        .stopped = host_stopped,
        .log = host_log,
        .endpoint = host_endpoint,
    };
    self->wake_at_ns = WEIR_TIME_NEVER;
    self->signal_fd = -1;
    self->port_index = weir_zalloc(PORTS_MAX, sizeof *self->port_index);
    self->context = zmq_ctx_new();
    WEIR_ASSERT(self->context != NULL);
    /* A port takes three of libzmq's sockets: its own and both ends of its monitor. */
    int rc = zmq_ctx_set(self->context, ZMQ_MAX_SOCKETS, 3 * PORTS_MAX);
    WEIR_ASSERT(rc == 0);
    self->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    WEIR_ASSERT(self->post_fd >= 0);
    pthread_mutex_init(&self->post_lock, NULL);
    return self;
}

void weir_reactor_destroy(struct weir_reactor **self)
{
    struct weir_reactor *reactor = *self;
    if (reactor == NULL)
        return;
    for (uint32_t i = 0; i < reactor->port_count; i++)
        weir_socket_destroy(&reactor->ports[i].socket);
    while (zmq_ctx_term(reactor->context) != 0 && errno == EINTR)
        ;
    if (reactor->signal_fd >= 0)
        close(reactor->signal_fd);
    close(reactor->post_fd);
    pthread_mutex_destroy(&reactor->post_lock);
    free(reactor->posts);
    free(reactor->items);
    free(reactor->port_index);
    free(reactor->ports);
    free(reactor);
    *self = NULL;
}

const struct weir_host *weir_reactor_host(struct weir_reactor *self)
{
    return &self->host;
}

static int add_port(struct weir_reactor *self, uint32_t number, const char *endpoint,
                    int (*open)(void *, const char *, struct weir_socket **, struct weir_error *),
                    struct weir_error *error)
{
    if (number >= PORTS_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "%s: more than %u upstreams; put a router in between", endpoint,
                              WEIR_UPSTREAMS_MAX);
    WEIR_ASSERT(number > 0 && port_of(self, number) == NULL);
    struct port port = {.number = number};
    int status = open(self->context, endpoint, &port.socket, error);
    if (status != 0)
        return status;
    self->ports = weir_realloc(self->ports, self->port_count + 1, sizeof *self->ports);
    self->ports[self->port_count++] = port;
    self->port_index[number] = self->port_count;
    self->item_count = 0;
    return 0;
}

int weir_reactor_serve(struct weir_reactor *self, uint32_t port, const char *endpoint,
                       struct weir_error *error)
{
    return add_port(self, port, endpoint, weir_socket_serve, error);
}

int weir_reactor_connect(struct weir_reactor *self, uint32_t port, const char *endpoint,
                         struct weir_error *error)
{
    return add_port(self, port, endpoint, weir_socket_connect, error);
}

const char *weir_reactor_endpoint(const struct weir_reactor *self, uint32_t port)
{
    const struct port *bound = port_of(self, port);
    return bound == NULL ? NULL : weir_socket_endpoint(bound->socket);
}

void weir_reactor_attach_store(struct weir_reactor *self, struct weir_store *store)
{
    self->store = store;
    self->item_count = 0;
}

void weir_reactor_attach_executor(struct weir_reactor *self, struct weir_executor *executor)
{
    self->executor = executor;
    self->item_count = 0;
}

int weir_reactor_signals(struct weir_reactor *self, struct weir_error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    /* A connection or a file's size limit (ulimit -f) ends a write with an error, not the process.
     */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return weir_error_set(error, WEIR_EIO, "cannot block signals: %s", strerror(errno));
    self->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self->signal_fd < 0)
        return weir_error_set(error, WEIR_EIO, "cannot make a signalfd: %s", strerror(errno));
    self->item_count = 0;
    return 0;
}

/* ---- Turns ---------------------------------------------------------------------------------- */

static void deliver(struct weir_reactor *self, struct weir_event *event)
{
    event->now = self->now;
    weir_role_step(self->role, event);
}

static void deliver_drain(struct weir_reactor *self)
{
    if (self->draining || self->stopped)
        return;
    self->draining = true;
    struct weir_event event = {.type = WEIR_EVENT_DRAIN};
    deliver(self, &event);
}

static void take_posts(struct weir_reactor *self)
{
    uint64_t count;
    while (read(self->post_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&self->post_lock);
    struct post *posts = self->posts;
    uint32_t post_count = self->post_count;
    bool drain = self->drain_asked;
    self->posts = NULL;
    self->post_count = self->post_capacity = 0;
    self->drain_asked = false;
    pthread_mutex_unlock(&self->post_lock);
    for (uint32_t i = 0; i < post_count; i++)
        posts[i].call(posts[i].arg);
    free(posts);
    if (drain)
        deliver_drain(self);
}

static void take_signals(struct weir_reactor *self)
{
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (!self->draining) {
            weir_log(WEIR_LOG_INFO, "signal %u: finishing what is running; once more ends at once",
                     info.ssi_signo);
            deliver_drain(self);
        } else {
            host_stopped(self, 128 + (int)info.ssi_signo);
        }
    }
}

/* Returns whether the port had no more to give. */
static bool take_messages(struct weir_reactor *self, uint32_t index)
{
    for (uint32_t i = 0; i < WEIR_TURN_MESSAGES_MAX; i++) {
        struct weir_frames frames = {0};
        struct port *port = &self->ports[index];
        struct weir_event event = {
            .type = WEIR_EVENT_MESSAGE, .port = port->number, .frames = &frames};
        enum weir_received received = weir_socket_receive(port->socket, &event.peer, &frames);
        if (received == WEIR_RECEIVED_NOTHING)
            return true;
        if (received == WEIR_RECEIVED_IGNORED)
            continue;
        deliver(self, &event);
        weir_frames_drop(&frames);
        if (self->stopped)
            return false;
    }
    return false;
}

static void take_changes(struct weir_reactor *self, uint32_t index)
{
    static const enum weir_event_type types[] = {
        [WEIR_LINK_PEER_GONE] = WEIR_EVENT_PEER_GONE,
        [WEIR_LINK_CONNECTED] = WEIR_EVENT_LINK_UP,
        [WEIR_LINK_BROKEN] = WEIR_EVENT_LINK_DOWN,
    };
    while (!self->stopped) {
        const struct port *port = &self->ports[index];
        struct weir_event event = {.port = port->number};
        enum weir_link_change change =
            weir_socket_change(port->socket, self->now.mono_ns, &event.peer);
        if (change == WEIR_LINK_SAME)
            return;
        event.type = types[change];
        if (change != WEIR_LINK_PEER_GONE)
            weir_log(WEIR_LOG_DEBUG, "%s: %s", weir_socket_endpoint(port->socket),
                     change == WEIR_LINK_CONNECTED ? "connected" : "the connection broke");
        deliver(self, &event);
    }
}

static int descriptor(void *socket)
{
    int fd = -1;
    size_t bytes = sizeof fd;
    int rc = zmq_getsockopt(socket, ZMQ_FD, &fd, &bytes);
    WEIR_ASSERT(rc == 0);
    return fd;
}

static void make_port_items(struct weir_reactor *self, uint32_t index)
{
    struct pollfd *items = &self->items[SOURCE_COUNT + 2 * index];
    const struct weir_socket *socket = self->ports[index].socket;
    items[0] = (struct pollfd){.fd = descriptor(weir_socket_handle(socket)), .events = POLLIN};
    items[1] = (struct pollfd){.fd = descriptor(weir_socket_monitor(socket)), .events = POLLIN};
}

/* News of connections come after the messages that came before them. */
static void take_port(struct weir_reactor *self, uint32_t index, bool news)
{
    bool drained = take_messages(self, index);
    struct port *port = &self->ports[index];
    if (!news || (!drained && ++port->undrained_turns < UNDRAINED_TURNS_MAX))
        return;
    port->undrained_turns = 0;
    take_changes(self, index);
    make_port_items(self, index);
}

static void take_stored(struct weir_reactor *self)
{
    for (uint32_t i = 0; i < WEIR_TURN_COMPLETIONS_MAX && !self->stopped; i++) {
        struct weir_store_result result;
        if (!self->store->poll(self->store, &result))
            return;
        struct weir_event event = {.type = WEIR_EVENT_STORED, .result = &result};
        deliver(self, &event);
        weir_store_result_fini(&result);
    }
}

static void take_handled(struct weir_reactor *self)
{
    struct weir_handled handled, next;
    bool there = self->executor->poll(self->executor, &handled);
    for (uint32_t i = 1; there; i++) {
        const bool more =
            i < WEIR_TURN_COMPLETIONS_MAX && self->executor->poll(self->executor, &next);
        struct weir_event event = {.type = WEIR_EVENT_HANDLED, .handled = &handled, .more = more};
        if (!self->stopped)
            deliver(self, &event);
        weir_handled_fini(&handled);
        handled = next;
        there = more;
    }
}

static void make_items(struct weir_reactor *self)
{
    const int fds[SOURCE_COUNT] = {
        [SOURCE_POST] = self->post_fd,
        [SOURCE_SIGNAL] = self->signal_fd,
        [SOURCE_STORE] = self->store ? self->store->fd(self->store) : -1,
        [SOURCE_EXECUTOR] = self->executor ? self->executor->fd(self->executor) : -1,
    };
    self->item_count = SOURCE_COUNT + 2 * self->port_count;
    self->items = weir_realloc(self->items, self->item_count, sizeof *self->items);
    /* poll(2) passes over a descriptor of -1. */
    for (uint32_t i = 0; i < SOURCE_COUNT; i++)
        self->items[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    for (uint32_t i = 0; i < self->port_count; i++)
        make_port_items(self, i);
}

static int wait_ms(struct weir_reactor *self)
{
    int64_t next = self->wake_at_ns;
    for (uint32_t i = 0; i < self->port_count; i++) {
        struct port *port = &self->ports[i];
        port->pending = weir_socket_pending(port->socket);
        if (port->pending)
            next = 0;
        int64_t due = weir_socket_due(self->ports[i].socket);
        next = due < next ? due : next;
    }
    return weir_clock_ms_until(next);
}

static void turn(struct weir_reactor *self)
{
    /* A posted call may add ports; they have their first turn after the next poll. */
    const struct pollfd *items = self->items;
    uint32_t polled_ports = (self->item_count - SOURCE_COUNT) / 2;
    self->now = weir_clock_now();
    if (items[SOURCE_POST].revents)
        take_posts(self);
    if (items[SOURCE_SIGNAL].revents)
        take_signals(self);
    for (uint32_t i = 0; i < polled_ports && !self->stopped; i++) {
        const struct pollfd *item = &items[SOURCE_COUNT + 2 * i];
        const bool news =
            item[1].revents || weir_socket_due(self->ports[i].socket) <= self->now.mono_ns;
        if (item[0].revents || self->ports[i].pending || news)
            take_port(self, i, news);
    }
    if (items[SOURCE_STORE].revents)
        take_stored(self);
    if (items[SOURCE_EXECUTOR].revents)
        take_handled(self);
    if (self->wake_at_ns <= self->now.mono_ns && !self->stopped) {
        self->wake_at_ns = WEIR_TIME_NEVER;
        struct weir_event event = {.type = WEIR_EVENT_TIMER};
        deliver(self, &event);
    }
}

int weir_reactor_run(struct weir_reactor *self, struct weir_role *role)
{
    self->role = role;
    self->now = weir_clock_now();
    struct weir_event start = {.type = WEIR_EVENT_START};
    deliver(self, &start);
    while (!self->stopped) {
        if (self->item_count == 0)
            make_items(self);
        if (poll(self->items, self->item_count, wait_ms(self)) < 0) {
            WEIR_ASSERT(errno == EINTR);
            continue;
        }
        turn(self);
    }
    return self->status;
}

/* ---- From other threads --------------------------------------------------------------------- */

static void ring(struct weir_reactor *self)
{
    uint64_t one = 1;
    while (write(self->post_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void weir_reactor_post(struct weir_reactor *self, void (*call)(void *arg), void *arg)
{
    pthread_mutex_lock(&self->post_lock);
    if (self->post_count == self->post_capacity) {
        self->post_capacity = self->post_capacity ? 2 * self->post_capacity : 8;
        self->posts = weir_realloc(self->posts, self->post_capacity, sizeof *self->posts);
    }
    self->posts[self->post_count++] = (struct post){call, arg};
    pthread_mutex_unlock(&self->post_lock);
    ring(self);
}

void weir_reactor_drain(struct weir_reactor *self)
{
    pthread_mutex_lock(&self->post_lock);
    self->drain_asked = true;
    pthread_mutex_unlock(&self->post_lock);
    ring(self);
}
