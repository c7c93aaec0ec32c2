/* A router in a scripted world: ventilators, or other routers, above it, workers below it. */
#ifndef TEST_ROUTER_FIXTURE_H
#define TEST_ROUTER_FIXTURE_H

#include "script.h"

#include <core/roles.h>

#define GROUP "email"
#define DOWN WEIR_PORT_DISPATCH
#define UP(i) (WEIR_PORT_FROM + (i))
#define KIB 1024u
/* Ventilators: the incarnation's low 16 bits are the tag. */
#define FIRST UINT64_C(0x1111000000000001)
#define SECOND UINT64_C(0x2222000000000002)
#define THIRD UINT64_C(0x3333000000000003)

struct router {
    struct script script;
    struct weir_role *role;
    uint64_t sequence; /* the last one delivered */
};

struct router *router_new(uint32_t upstreams);
void router_destroy(struct router *router);
void router_event(struct router *router, enum weir_event_type type, uint32_t port, uint64_t peer);
void router_say(struct router *router, uint32_t port, uint64_t peer,
                const struct weir_control *control);
/* So much time passes, then the timer goes off. */
void router_wait(struct router *router, int64_t ms);

/* An upstream is there: a ventilator of this incarnation, or a router (0). */
void router_above(struct router *router, uint32_t i, uint64_t incarnation);
/* A worker is there, or a router (0), with credit for so many messages of a KiB. */
void router_below(struct router *router, uint64_t peer, uint64_t worker, uint64_t messages);
void router_credit(struct router *router, uint64_t peer, uint64_t messages, uint64_t bytes);
/* The upstream has heard that credit, and had used so much of it. */
void router_credited(struct router *router, uint32_t i, const struct sent *sent, uint64_t used);

/* The next frame that went up; what went down is passed over. NULL: none. */
struct sent *router_next_up(struct router *router);
/* That frame must be this CREDIT. */
struct sent *router_expect_credit(struct router *router, uint32_t i, uint64_t messages);

struct delivery {
    uint64_t incarnation, number;
    uint32_t count;
    uint32_t pad;
    bool once, alone;
};

/* DELIVER from above, as one slice from index 10 on. */
void router_deliver(struct router *router, uint32_t i, struct delivery delivery);
/* This worker gets messages [first, first + count) of the delivery, and nothing about them has
 * changed. */
void router_expect_deliver(struct router *router, uint64_t peer, struct delivery delivery,
                           uint64_t first, uint32_t count);
void router_ack(struct router *router, uint64_t peer, uint64_t incarnation, uint64_t delivery,
                uint32_t first, uint32_t count);
/* The next ACK to this upstream must be of this range alone. */
void router_expect_ack(struct router *router, uint32_t i, uint64_t incarnation, uint64_t delivery,
                       uint32_t first, uint32_t count, uint32_t outcome);

#endif
