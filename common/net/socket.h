/* One ZeroMQ endpoint: a server's ROUTER or a client's DEALER, with what happens to its
 * connections.
 *
 * libzmq hides connections: it queues to nobody, drops for the unknown, reconnects in silence. Here
 * they show. A server learns which peer is gone; a client sends only while its link stands, and
 * nothing that was queued for one connection is ever sent on the next.
 *
 * Sockets belong to one thread, and none of these functions blocks. */
#ifndef WEIR_NET_SOCKET_H
#define WEIR_NET_SOCKET_H

#include <base/bytes.h>
#include <base/error.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_socket;

/* Bind a ROUTER. `context` is libzmq's. WEIR_EINVAL: no such endpoint can be; WEIR_ELOCKED:
 * somebody else holds it; WEIR_EIO. The error names the endpoint. */
int weir_socket_serve(void *context, const char *endpoint, struct weir_socket **socket,
                      struct weir_error *error);
/* Connect a DEALER, and again whenever the connection breaks. WEIR_EINVAL. */
int weir_socket_connect(void *context, const char *endpoint, struct weir_socket **socket,
                        struct weir_error *error);
/* What was sent still has a second to leave, while libzmq's context is being ended. */
void weir_socket_destroy(struct weir_socket **self);

/* What it is bound to (a port 0 resolved) or connects to. Lives as long as the socket. */
const char *weir_socket_endpoint(const struct weir_socket *self);
/* libzmq's sockets: one has messages, the other news of connections. A client's are others after
 * weir_socket_change. Their ZMQ_FD tells that something came; but whoever sends or receives may
 * have taken that sign in passing, so ask weir_socket_pending, too, before waiting for it. */
void *weir_socket_handle(const struct weir_socket *self);
void *weir_socket_monitor(const struct weir_socket *self);
/* Whether there is a message that the descriptor may not tell of. Costs a look only when there was
 * sending or receiving since the last one. */
bool weir_socket_pending(struct weir_socket *self);

enum weir_received {
    WEIR_RECEIVED_NOTHING, /* there is none now */
    WEIR_RECEIVED_IGNORED, /* one was read that is for nobody: a probe, or a peer too many */
    WEIR_RECEIVED_MESSAGE,
};

/* Take one message. On a server `*peer` is the sender's number, on a client 0. `frames` must be
 * empty. Of a message with more than WEIR_FRAMES_MAX frames only WEIR_FRAMES_MAX + 1 are given, so
 * that whoever reads it can tell. */
enum weir_received weir_socket_receive(struct weir_socket *self, uint64_t *peer,
                                       struct weir_frames *frames);

/* Queue one message; takes the frames over in any case, and clears the struct. Returns 0, or after
 * dropping it: WEIR_EUNREACHABLE (the peer is gone, or has let WEIR_SEND_QUEUE_MESSAGES_MAX
 * messages pile up unread, which counts as gone: weir_socket_change will say so; the link is down),
 * WEIR_ELIMIT (a frame over WEIR_FRAME_BYTES_MAX, for which the other side would disconnect us). */
int weir_socket_send(struct weir_socket *self, uint64_t peer, struct weir_frames *frames);

enum weir_link_change {
    WEIR_LINK_SAME,
    WEIR_LINK_PEER_GONE, /* server: `*peer` cannot be reached any more */
    WEIR_LINK_CONNECTED, /* client */
    WEIR_LINK_BROKEN,    /* client */
};

/* What has become of the connections, one change a call, until WEIR_LINK_SAME. Call it when
 * weir_socket_receive has just said WEIR_RECEIVED_NOTHING, so that what a peer sent comes before
 * its end. */
enum weir_link_change weir_socket_change(struct weir_socket *self, int64_t mono_ns, uint64_t *peer);
/* When to call weir_socket_change even if nothing is readable; WEIR_TIME_NEVER. */
int64_t weir_socket_due(const struct weir_socket *self);

#endif
