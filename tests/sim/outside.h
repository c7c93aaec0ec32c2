/* What the store takes from outside of its tables, put in the simulator's hands by the linker: the
 * clocks, the kernel's random bytes, the log's lines, the lock of a directory. */
#ifndef SIM_OUTSIDE_H
#define SIM_OUTSIDE_H

#include <base/clock.h>
#include <base/log.h>
#include <base/random.h>

/* For whom the store works now. */
struct sim_outside {
    struct weir_now now;
    struct weir_random *random;
    void (*said)(void *self, enum weir_log_level level, const char *text);
    void *self;
};

void sim_outside_set(const struct sim_outside *outside);

#endif
