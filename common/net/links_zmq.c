/* What becomes of a socket's connections, from libzmq's monitor and from probes.
 *
 * A client's monitor tells all there is to know; when its connection is gone, or did not come
 * about, another handle tries a little later. A server's tells that a connection broke, and its
 * file descriptor, but not whose it was. So the peers whose messages came over that descriptor are
 * probed with an empty message: ROUTER refuses the identity of one that is gone. Probing is
 * repeated a few times, because the monitor speaks before the connection's queue has ended, and
 * because the last messages of a peer may come up after it; a peer that lives and has got the same
 * descriptor since then is sent a few empty messages, which it ignores. */
#include <net/socket_zmq.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>
#include <base/log.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static const int64_t probe_after_ns[] = {
    0, 2 * WEIR_NS_PER_MS, 10 * WEIR_NS_PER_MS, 50 * WEIR_NS_PER_MS, 250 * WEIR_NS_PER_MS,
};
#define PROBE_ROUNDS (sizeof probe_after_ns / sizeof *probe_after_ns)

/* For so long a server may be away (it is started again, say) before a word is said about it. */
#define AWAY_NS (5 * WEIR_NS_PER_S)

#define WATCHED_EVENTS                                                                             \
    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED |          \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)

void weir_socket_watch(struct weir_socket *self)
{
    char address[64];
    snprintf(address, sizeof address, "inproc://monitor-%p", self->handle);
    int rc = zmq_socket_monitor(self->handle, address, WATCHED_EVENTS);
    WEIR_ASSERT(rc == 0);
    self->monitor = zmq_socket(self->context, ZMQ_PAIR);
    WEIR_ASSERT(self->monitor != NULL);
    /* libzmq's I/O thread would block on a full one. Its events are as few as its connections. */
    int no_mark = 0;
    rc = zmq_setsockopt(self->monitor, ZMQ_RCVHWM, &no_mark, sizeof no_mark);
    WEIR_ASSERT(rc == 0);
    rc = zmq_connect(self->monitor, address);
    WEIR_ASSERT(rc == 0);
    weir_socket_observe(self); /* its ZMQ_FD tells nothing before it was found empty once */
}

void weir_socket_unwatch(struct weir_socket *self)
{
    zmq_socket_monitor(self->handle, NULL, 0);
    zmq_close(self->monitor);
}

/* False: no event there. */
static bool next_event(void *monitor, uint16_t *event, int *fd)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    int rc;
    do
        rc = zmq_msg_recv(&message, monitor, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        zmq_msg_close(&message);
        return false;
    }
    int32_t value = 0;
    *event = 0;
    if (zmq_msg_size(&message) == sizeof *event + sizeof value) {
        const char *data = zmq_msg_data(&message);
        memcpy(event, data, sizeof *event);
        memcpy(&value, data + sizeof *event, sizeof value);
    }
    *fd = value;
    while (zmq_msg_more(&message) && zmq_msg_recv(&message, monitor, ZMQ_DONTWAIT) >= 0)
        ;
    zmq_msg_close(&message);
    return true;
}

static void note_lost(struct weir_socket *self, int fd)
{
    for (uint32_t i = 0; i < self->lost_count; i++)
        if (self->lost[i].fd == fd) {
            self->lost[i] = (struct weir_lost_connection){.fd = fd};
            return;
        }
    if (self->lost_count == self->lost_capacity) {
        self->lost_capacity = self->lost_capacity ? 2 * self->lost_capacity : 8;
        self->lost = weir_realloc(self->lost, self->lost_capacity, sizeof *self->lost);
    }
    self->lost[self->lost_count++] = (struct weir_lost_connection){.fd = fd};
}

void weir_socket_observe(struct weir_socket *self)
{
    uint16_t event;
    int fd;
    while (next_event(self->monitor, &event, &fd)) {
        switch (event) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            self->up = true;
            break;
        case ZMQ_EVENT_DISCONNECTED:
            if (self->server)
                note_lost(self, fd);
            self->up = false;
            self->spent = true;
            break;
        case ZMQ_EVENT_CONNECT_RETRIED: /* it means to, and is not waited for */
            self->spent = true;
            break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self->spent = true;
            if (self->misread)
                break;
            self->misread = !self->server; /* a client's next try is the same again */
            weir_log(WEIR_LOG_WARNING, "%s: the other side does not speak ZMTP; is it a %s?",
                     self->endpoint,
                     self->server ? "ZeroMQ DEALER that connects" : "Weir node that listens there");
            break;
        default:
            break;
        }
    }
}

static void mark_gone(struct weir_socket *self, struct weir_peer *peer)
{
    peer->unreachable = true;
    if (self->gone_count == self->gone_capacity) {
        self->gone_capacity = self->gone_capacity ? 2 * self->gone_capacity : 8;
        self->gone = weir_realloc(self->gone, self->gone_capacity, sizeof *self->gone);
    }
    self->gone[self->gone_count++] = peer->number;
}

bool weir_socket_address(struct weir_socket *self, struct weir_peer *peer)
{
    if (peer->unreachable)
        return false;
    self->touched = true;
    int rc;
    do
        rc = zmq_send(self->handle, peer->identity, peer->identity_bytes,
                      ZMQ_SNDMORE | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc >= 0)
        return true;
    if (errno == EAGAIN)
        weir_log(WEIR_LOG_WARNING, "%s: peer %llu does not read what it is sent; given up",
                 self->endpoint, (unsigned long long)peer->number);
    mark_gone(self, peer);
    return false;
}

static int compare_fds(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;
    return (left > right) - (left < right);
}

struct probe {
    struct weir_socket *socket;
    const int *fds; /* sorted */
    uint32_t fd_count;
    bool all;
};

static void probe_peer(void *arg, struct weir_peer *peer)
{
    const struct probe *probe = arg;
    bool suspected = probe->all || peer->fd < 0 ||
                     bsearch(&peer->fd, probe->fds, probe->fd_count, sizeof peer->fd, compare_fds);
    if (!suspected || !weir_socket_address(probe->socket, peer))
        return;
    int rc;
    do
        rc = zmq_send(probe->socket->handle, "", 0, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
}

static void probe_due(struct weir_socket *self, int64_t mono_ns)
{
    bool all = self->probe_all && mono_ns >= self->probe_all_ns;
    if (self->lost_count == 0 && !all)
        return;
    int *fds = weir_alloc((self->lost_count + 1) * sizeof *fds);
    struct probe probe = {.socket = self, .fds = fds, .all = all};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->lost_count; i++) {
        struct weir_lost_connection lost = self->lost[i];
        if (lost.at_ns <= mono_ns) {
            fds[probe.fd_count++] = lost.fd;
            if (++lost.round == PROBE_ROUNDS)
                continue;
            lost.at_ns = mono_ns + probe_after_ns[lost.round];
        }
        self->lost[kept++] = lost;
    }
    self->lost_count = kept;
    if (all) {
        self->probe_all = false;
        self->probe_all_ns = mono_ns + WEIR_NS_PER_S;
    }
    if (probe.fd_count > 0 || all) {
        self->touched = true;
        int events;
        size_t bytes = sizeof events;
        zmq_getsockopt(self->handle, ZMQ_EVENTS, &events, &bytes); /* looks at its commands */
        qsort(fds, probe.fd_count, sizeof *fds, compare_fds);
        weir_peers_each(self->peers, probe_peer, &probe);
    }
    free(fds);
}

static enum weir_link_change server_change(struct weir_socket *self, int64_t mono_ns,
                                           uint64_t *peer)
{
    if (self->gone_count == 0)
        probe_due(self, mono_ns);
    if (self->gone_count == 0)
        return WEIR_LINK_SAME;
    *peer = self->gone[--self->gone_count];
    weir_peers_remove(self->peers, *peer);
    return WEIR_LINK_PEER_GONE;
}

void weir_socket_await(struct weir_socket *self, int64_t mono_ns)
{
    self->away_ns = mono_ns + AWAY_NS;
}

/* Twice as long each time, and not all clients of a server at once. */
static int64_t retry_after_ms(struct weir_socket *self, int64_t mono_ns)
{
    self->retry_ms = self->retry_ms ? 2 * self->retry_ms : WEIR_RECONNECT_MS;
    if (self->retry_ms > WEIR_RECONNECT_MAX_MS)
        self->retry_ms = WEIR_RECONNECT_MAX_MS;
    return self->retry_ms + mono_ns / 1000 % WEIR_RECONNECT_MS;
}

/* The connection is gone, the owner knows, and has had what came by it. */
static void try_again(struct weir_socket *self, int64_t mono_ns)
{
    if (self->retry_ns == WEIR_TIME_NEVER)
        self->retry_ns = mono_ns + retry_after_ms(self, mono_ns) * WEIR_NS_PER_MS;
    if (self->retry_ns > mono_ns)
        return;
    weir_socket_close(self);
    self->up = self->spent = false;
    self->retry_ns = WEIR_TIME_NEVER;
    if (weir_socket_open(self) != 0) /* a name that is not known just now, say */
        self->spent = true;
}

static enum weir_link_change client_change(struct weir_socket *self, int64_t mono_ns)
{
    if (self->told && self->spent) {
        self->told = false;
        self->retry_ms = 0;
        weir_socket_await(self, mono_ns);
        return WEIR_LINK_BROKEN;
    }
    if (self->spent)
        try_again(self, mono_ns);
    if (!self->told && self->up) {
        self->told = self->touched = true;
        if (self->away_said)
            weir_log(WEIR_LOG_INFO, "%s: connected", self->endpoint);
        self->away_said = self->misread = false;
        self->away_ns = WEIR_TIME_NEVER;
        return WEIR_LINK_CONNECTED;
    }
    if (self->away_ns <= mono_ns) {
        weir_log(WEIR_LOG_WARNING,
                 "%s: nobody has answered for %d s; trying on. Is this the endpoint of a node, and "
                 "is that one up?",
                 self->endpoint, (int)(AWAY_NS / WEIR_NS_PER_S));
        self->away_said = true;
        self->away_ns = WEIR_TIME_NEVER;
    }
    return WEIR_LINK_SAME;
}

enum weir_link_change weir_socket_change(struct weir_socket *self, int64_t mono_ns, uint64_t *peer)
{
    *peer = 0;
    weir_socket_observe(self);
    return self->server ? server_change(self, mono_ns, peer) : client_change(self, mono_ns);
}

int64_t weir_socket_due(const struct weir_socket *self)
{
    if (self->gone_count > 0)
        return 0;
    int64_t due = self->probe_all ? self->probe_all_ns : self->away_ns;
    if (self->retry_ns < due)
        due = self->retry_ns;
    for (uint32_t i = 0; i < self->lost_count; i++)
        if (self->lost[i].at_ns < due)
            due = self->lost[i].at_ns;
    return due;
}
