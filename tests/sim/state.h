/* The state of a simulated spool: what common/store/state.h promises, on the state in memory
 * instead of a database. The simulator is linked with these functions in the place of those on
 * SQLite.
 *
 * It is always what the last transaction has committed: SQLite with synchronous=FULL keeps exactly
 * that. A transaction that was being committed when the process ended is there or is not. */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include "filesystem.h"
#include <store/memory_state.h>

struct sim_state_disk {
    struct sim_filesystem *files;
    struct weir_memory_state *memory; /* NULL before the first start */
    uint64_t database_bytes, wal_bytes;
};

void sim_state_disk_init(struct sim_state_disk *self, struct sim_filesystem *files);
void sim_state_disk_fini(struct sim_state_disk *self);
/* The next weir_state_open opens this one. */
void sim_state_mount(struct sim_state_disk *self);

#endif
