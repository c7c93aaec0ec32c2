/* A ventilator's spool under the simulator: the real log and the code of a spool's threads, on a
 * simulated file system and in virtual time. */
#ifndef SIM_SPOOL_H
#define SIM_SPOOL_H

#include "sim.h"
#include "state.h"
#include <store/spool.h>

/* A spool's threads. */
enum sim_lane { SIM_LANE_LOG, SIM_LANE_STATE, SIM_LANE_READ, SIM_LANES };

struct sim_spool {
    struct sim_filesystem files;
    struct sim_state_disk state;
    struct weir_spool *open; /* NULL while its process is down */
    bool ticking[SIM_LANES];
    bool failed;  /* a request has ended with a failure in this life */
    bool damaged; /* a bit of it was turned over */
};

#endif
