/* Keeping an ipc:// path to one process. libzmq removes whatever lies at the path it binds, so that
 * a second bind silently steals the endpoint of a process that lives. */
#ifndef WEIR_NET_IPC_LOCK_H
#define WEIR_NET_IPC_LOCK_H

#include <base/error.h>

/* Lock the path of an ipc:// endpoint before binding it. `*fd` holds the lock until it is closed;
 * -1 when the endpoint has no path (another transport, a wildcard, an abstract name). WEIR_EINVAL:
 * the path is too long for a socket; WEIR_ELOCKED: another process lives there, named by its pid
 * where that is known; WEIR_EIO. */
int weir_ipc_lock(const char *endpoint, int *fd, struct weir_error *error);

#endif
