/* The peers of one server socket: libzmq's identity and our number for each connection. No I/O. */
#ifndef WEIR_NET_PEERS_H
#define WEIR_NET_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection's identity as ROUTER gives it: 5 bytes, or up to 255 that the peer chose itself. */
struct weir_peer {
    uint64_t number; /* 1, 2, 3 …; never used again */
    int fd;          /* of its connection; -1: unknown */
    bool unreachable;
    uint8_t identity_bytes;
    uint8_t identity[];
};

struct weir_peers;

struct weir_peers *weir_peers_new(void);
void weir_peers_destroy(struct weir_peers **self);

/* The peer of this identity; NULL: none yet. Lives until weir_peers_remove. */
struct weir_peer *weir_peers_identified(struct weir_peers *self, const void *identity,
                                        size_t bytes);
struct weir_peer *weir_peers_numbered(struct weir_peers *self, uint64_t number);
/* Add a peer; `bytes` is at most 255. */
struct weir_peer *weir_peers_add(struct weir_peers *self, const void *identity, size_t bytes,
                                 int fd);
void weir_peers_remove(struct weir_peers *self, uint64_t number);
uint32_t weir_peers_count(const struct weir_peers *self);
/* Call `each` for every peer; it must not add or remove any. */
void weir_peers_each(struct weir_peers *self, void (*each)(void *arg, struct weir_peer *peer),
                     void *arg);

#endif
