/* The event loop that drives one role: sockets, a store's or an executor's completions, one timer,
 * signals. It is the host (contract/host.h) that the role calls. One thread: that of
 * weir_reactor_run; only weir_reactor_post and weir_reactor_drain may be called from others. */
#ifndef WEIR_RUNTIME_REACTOR_H
#define WEIR_RUNTIME_REACTOR_H

#include <base/error.h>
#include <contract/backend.h>
#include <contract/host.h>

struct weir_reactor;

struct weir_reactor *weir_reactor_new(void);
void weir_reactor_destroy(struct weir_reactor **self);
/* The host table to give to the role's _new. Lives as long as the reactor. */
const struct weir_host *weir_reactor_host(struct weir_reactor *self);

/* Bind a ROUTER for a server port. With port 0 (tcp://127.0.0.1:*) the endpoint that was bound is
 * told by weir_reactor_endpoint. WEIR_EINVAL, WEIR_ELOCKED (another process holds it), WEIR_EIO:
 * names the endpoint. */
int weir_reactor_serve(struct weir_reactor *self, uint32_t port, const char *endpoint,
                       struct weir_error *error);
/* Connect a DEALER for a client port. Success says nothing of the peer: LINK_UP does. */
int weir_reactor_connect(struct weir_reactor *self, uint32_t port, const char *endpoint,
                         struct weir_error *error);
/* The endpoint a server port is bound to; NULL: not bound. Lives as long as the reactor. */
const char *weir_reactor_endpoint(const struct weir_reactor *self, uint32_t port);

/* Where store requests and jobs go. Not owned; destroy them after the run. */
void weir_reactor_attach_store(struct weir_reactor *self, struct weir_store *store);
void weir_reactor_attach_executor(struct weir_reactor *self, struct weir_executor *executor);

/* SIGTERM and SIGINT become DRAIN, and the second one ends the run at once with status 128 +
 * signal. For programs, not for a library inside somebody else's process. Call before threads are
 * started. */
int weir_reactor_signals(struct weir_reactor *self, struct weir_error *error);

/* START, then turns until the role says stopped. Returns its status. */
int weir_reactor_run(struct weir_reactor *self, struct weir_role *role);

/* Any thread: have `call (arg)` called within the next turn, on the reactor's thread. The caller
 * bounds how many are outstanding; those that the run did not get to are not called. */
void weir_reactor_post(struct weir_reactor *self, void (*call)(void *arg), void *arg);
/* Any thread: as SIGTERM; once more changes nothing. */
void weir_reactor_drain(struct weir_reactor *self);

#endif
