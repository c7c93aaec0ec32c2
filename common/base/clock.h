/* Time. Machines never call this: time reaches them with each event. */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

/* One reading of both clocks, taken once a turn and passed on.
 * Timers run on `mono_ns`; what outlives the process is noted in `wall_ms` (Unix time). */
struct weir_now {
    int64_t mono_ns;
    int64_t wall_ms;
};

struct weir_now weir_clock_now(void);

/* The monotonic clock as of its last tick: up to WEIR_CLOCK_TICK_NS behind, and several times
 * cheaper to read. For what is asked for each message. */
int64_t weir_clock_tick_ns(void);

/* From now to `mono_ns` as poll(2) takes it: in ms, rounded up so that nothing wakes early and
 * polls again; 0 when it has passed, -1 for WEIR_TIME_NEVER. */
int weir_clock_ms_until(int64_t mono_ns);

#define WEIR_CLOCK_TICK_NS INT64_C(10000000) /* HZ=100 */
#define WEIR_NS_PER_MS INT64_C(1000000)
#define WEIR_NS_PER_S INT64_C(1000000000)
#define WEIR_TIME_NEVER INT64_MAX

#endif
