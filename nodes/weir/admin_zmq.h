/* Asking nodes over their admin endpoints. */
#ifndef WEIR_ADMIN_ZMQ_H
#define WEIR_ADMIN_ZMQ_H

#include <base/error.h>
#include <config/config.h>
#include <jansson.h>
#include <stdbool.h>
#include <wire/control.h>

#define WEIR_ADMIN_TIMEOUT_MS 2000

struct weir_admin; /* the connections' context: one a process */

struct weir_admin_call {
    char *endpoint;              /* owned: see weir_admin_call_fini */
    struct weir_control request; /* texts are borrowed */
    json_t *answer;              /* NULL: see `error` */
    struct weir_error error;     /* WEIR_EUNREACHABLE: nobody is there; WEIR_ETIMEDOUT: it does not
                                    answer; WEIR_EREFUSED: it said no; WEIR_EPROTO: not understood */
    bool stay;                   /* keep the connection, for the next request of this call */
    void *socket;                /* while asking; with `stay` until weir_admin_call_fini */
};

struct weir_admin *weir_admin_new(void);
void weir_admin_destroy(struct weir_admin **self);

/* Ask all of them at once and wait for all answers, at most `timeout_ms`. Each call has either its
 * answer or its error afterwards; what it had before is gone. */
void weir_admin_ask(struct weir_admin *self, struct weir_admin_call *calls, uint32_t count,
                    int64_t timeout_ms);
void weir_admin_call_fini(struct weir_admin_call *call);

/* A call to one instance, and the most common request. */
struct weir_admin_call weir_admin_call_to(const struct weir_topology *topology,
                                          const struct weir_node *node, uint32_t instance,
                                          enum weir_verb verb);

/* For a program with a loop of its own: a socket that waits until somebody listens at the endpoint,
 * with a STATS request in it. Whatever comes means that somebody serves there. NULL: no
 * more sockets. The caller ends it with zmq_close. */
void *weir_admin_probe(struct weir_admin *self, const char *endpoint);

#endif
