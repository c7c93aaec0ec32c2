/* A spool on the simulator's file system and without threads: it works when it is told to. */
#ifndef WEIR_TESTS_SIMULATED_H
#define WEIR_TESTS_SIMULATED_H

#include "conformance.h"

#include <sim/state.h>
#include <store/spool.h>

struct simulated {
    struct subject subject; /* first: perform() and the like take it */
    struct sim_filesystem files;
    struct sim_state_disk state;
    struct weir_spool *spool; /* NULL: closed */
    enum weir_fsync fsync;    /* of the next life … */
    uint64_t segment_bytes;   /* … as is this */
    uint32_t killed_at;       /* which call to the disk of the next life is its last; 0: none */
};

void simulated_init(struct simulated *self, uint64_t seed);
void simulated_fini(struct simulated *self);
/* Returns what weir_spool_open_quiet does. */
int simulated_open(struct simulated *self);
/* Carry out all that was handed over. */
void simulated_serve(struct simulated *self);
/* The process is gone at once; the page cache stays. */
void simulated_kill(struct simulated *self);
/* The same, and what was not synced is gone, too, or any part of it. */
void simulated_power_cut(struct simulated *self);
/* Append the single message `sequence`; returns its status. */
int simulated_append(struct simulated *self, uint64_t sequence);
/* READ from 1 on finds exactly the messages [first, last] of simulated_append. */
void simulated_assert_holds(struct simulated *self, uint64_t first, uint64_t last);

#endif
