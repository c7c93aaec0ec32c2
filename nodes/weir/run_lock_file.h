/* Who supervises a topology: var/<topology>/up.lock, locked by the kernel for as long as the
 * supervisor lives. So a lock is never stale, and the pid it names is never somebody else's. */
#ifndef WEIR_RUN_LOCK_FILE_H
#define WEIR_RUN_LOCK_FILE_H

#include <base/error.h>
#include <config/config.h>
#include <sys/types.h>

/* Make the run directory and take the lock. 0 and the descriptor, which is to stay open;
 * WEIR_ELOCKED names the holder's pid; WEIR_EIO. */
int weir_run_lock_take(const struct weir_topology *topology, int *fd, struct weir_error *error);
/* The supervisor's pid; 0: nobody supervises this topology. */
pid_t weir_run_lock_holder(const struct weir_topology *topology);

#endif
