/* A ventilator's spool under the simulator: the real log and the code of a spool's threads, on a
 * simulated file system and in virtual time. */
#ifndef SIM_SPOOL_H
#define SIM_SPOOL_H

#include "sim.h"
#include "state.h"
#include <store/spool.h>

#define SIM_SPOOL_DIRECTORY SIM_MOUNT "/spool"
#define SIM_DAMAGES_MAX 3u

/* A record of which a bit was turned over. */
struct sim_damage {
    char path[64]; /* of its segment, that has this salt */
    uint32_t salt;
    uint64_t offset;
    uint64_t first, last; /* the messages it holds */
    bool there;           /* when the last start began */
};

/* A spool's threads. */
enum sim_lane { SIM_LANE_LOG, SIM_LANE_STATE, SIM_LANE_READ, SIM_LANES };

struct sim_spool {
    struct sim_filesystem files;
    struct sim_state_disk state;
    struct weir_spool *open; /* NULL while its process is down */
    bool ticking[SIM_LANES];
    bool failed; /* a request has ended with a failure in this life */
    struct sim_damage damages[SIM_DAMAGES_MAX];
    uint32_t damage_count;
};

/* damage.c */
bool sim_is_segment(const char *path);
/* While its process is down: perhaps. */
void sim_damage_some(struct sim_process *process);
/* Which damages a start will meet; and, when it has ended well, whether it said so of those in
 * segments that it had to look at. */
void sim_damage_note(struct sim_process *process);
void sim_damage_check(struct sim_process *process, const char *report);
/* What was in the others is kept aside once they were read. */
void sim_damage_check_read(struct sim_process *process);

#endif
