/* A ventilator's side of dispatch in a scripted world: workers and routers that say what the test
 * wants. */
#ifndef TEST_SERVER_FIXTURE_H
#define TEST_SERVER_FIXTURE_H

#include "script.h"

#include <core/dispatch.h>

#define GROUP "email"
#define PORT WEIR_PORT_DISPATCH

/* A server whose owner writes down what it is told. */
struct server {
    struct script script;
    struct weir_dispatch *dispatch;
    char told[4096]; /* "room email\nlost 7 kate 5/0+3\n…" */
    uint64_t delivery;
    uint64_t sequence;
    bool unknown; /* the owner knows no group */
};

int server_set_up(void **state);
int server_tear_down(void **state);
void server_say(struct server *server, uint64_t peer, const struct weir_control *control);
void server_gone(struct server *server, uint64_t peer);
int64_t server_tick(struct server *server);
/* So much time passes, then a tick. */
void server_wait(struct server *server, int64_t ms);

/* READY of a worker, or of a router (0); the WELCOME must come. */
void server_ready(struct server *server, uint64_t peer, uint64_t worker);
void server_ready_with(struct server *server, uint64_t peer, uint64_t worker,
                       struct weir_lease_ref *leases, uint32_t count);
void server_credit(struct server *server, uint64_t peer, uint64_t messages, uint64_t bytes);
/* A worker with credit, and nothing noted of how it came. */
void server_worker(struct server *server, uint64_t peer, uint64_t number, uint64_t messages);
bool server_offer(struct server *server, bool alone, struct weir_offer *offered);
/* Deliver to a peer; returns the delivery's number. */
uint64_t server_deliver(struct server *server, uint64_t peer, uint32_t count, bool alone);
void server_ack(struct server *server, uint64_t peer, uint64_t delivery, uint32_t first,
                uint32_t count, uint32_t outcome);

/* All that the owner was told since the last look. */
void server_assert_told(struct server *server, const char *expected);
void server_expect_error(struct server *server, uint64_t peer, const char *code);

#endif
