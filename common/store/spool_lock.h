/* Only one process may hold a spool. */
#ifndef WEIR_STORE_SPOOL_LOCK_H
#define WEIR_STORE_SPOOL_LOCK_H

#include <base/error.h>

/* Lock the directory's file "lock" and write the process's number into it. *fd holds the lock until
 * it is closed. WEIR_ELOCKED: names the holder's pid. WEIR_EINVAL: the file is of another version.
 * WEIR_EIO, WEIR_EFULL. */
int weir_spool_lock(const char *directory, int *fd, struct weir_error *error);

#endif
