/* Inside of a socket, for the two files that make it up: socket_zmq.c moves messages, links_zmq.c
 * follows connections. */
#ifndef WEIR_NET_SOCKET_ZMQ_H
#define WEIR_NET_SOCKET_ZMQ_H

#include <net/peers.h>
#include <net/socket.h>

/* A connection of a server that broke. Its peer is probed several times, because libzmq tells of
 * the end before it has ended. */
struct weir_lost_connection {
    int fd;
    uint32_t round;
    int64_t at_ns;
};

struct weir_socket {
    void *handle;
    void *monitor;
    char *endpoint;
    bool server;
    int ipc_lock; /* -1: none */
    /* server */
    struct weir_peers *peers;
    struct weir_lost_connection *lost;
    uint32_t lost_count;
    uint32_t lost_capacity;
    uint64_t *gone; /* peers found unreachable that have not been told yet */
    uint32_t gone_count;
    uint32_t gone_capacity;
    bool probe_all;       /* every peer is to be probed … */
    int64_t probe_all_ns; /* … not before */
    uint64_t turned_away; /* messages of peers over WEIR_PEERS_MAX */
    uint64_t unsent;      /* messages that nobody was there to take */
    /* client */
    bool up;         /* as the monitor says */
    bool broke;      /* … and it was down since `told` was set */
    bool told;       /* as the owner was told */
    int64_t away_ns; /* when it will be said that nobody answers; WEIR_TIME_NEVER: not again */
    bool away_said;
    uint64_t stale; /* messages of a connection that had ended */
};

/* Start to watch connections; before bind or connect. */
void weir_socket_watch(struct weir_socket *self, void *context);
void weir_socket_unwatch(struct weir_socket *self);
/* Take in what the monitor has to say. */
void weir_socket_observe(struct weir_socket *self);
/* Begin a message to a peer: sends its identity. False: it is gone, and noted as such. */
bool weir_socket_address(struct weir_socket *self, struct weir_peer *peer);

#endif
