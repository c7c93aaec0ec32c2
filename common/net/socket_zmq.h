/* Inside of a socket, for the two files that make it up: socket_zmq.c moves messages, links_zmq.c
 * follows connections.
 *
 * A client has a socket of libzmq's for each connection. Left to reconnect by itself, libzmq would
 * send what was queued for one connection on the next; and where it is told not to (ZMQ_IMMEDIATE),
 * it ends the process when a connection breaks while a message of several frames is being read. */
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
    void *context;
    void *handle;
    void *monitor;
    char *endpoint;
    bool server;
    int ipc_lock; /* -1: none */
    bool touched; /* its descriptor may be silent about messages that are there: ask for them */
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
    bool up;          /* as the monitor says */
    bool spent;       /* it was, or could not be: this handle connects no more */
    bool told;        /* as the owner was told */
    int64_t retry_ns; /* when another handle tries; WEIR_TIME_NEVER: this one does */
    int64_t retry_ms; /* after how long it did the last time; 0: not since a connection stood */
    int64_t away_ns;  /* when it will be said that nobody answers; WEIR_TIME_NEVER: not again */
    bool away_said;
    bool misread; /* the other side does not speak ZMTP, and that was said */
};

/* Open a handle for the endpoint; a client's tries to connect once. 0, or libzmq's errno. */
int weir_socket_open(struct weir_socket *self);
void weir_socket_close(struct weir_socket *self);

/* Start to watch connections; before bind or connect. */
void weir_socket_watch(struct weir_socket *self);
void weir_socket_unwatch(struct weir_socket *self);
/* From now on somebody should answer soon, or it is said that nobody does. */
void weir_socket_await(struct weir_socket *self, int64_t mono_ns);
/* Take in what the monitor has to say. */
void weir_socket_observe(struct weir_socket *self);
/* Begin a message to a peer: sends its identity. False: it is gone, and noted as such. */
bool weir_socket_address(struct weir_socket *self, struct weir_peer *peer);

#endif
