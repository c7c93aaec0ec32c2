#include <base/clock.h>

#include <time.h>

struct weir_now weir_clock_now(void)
{
    struct timespec mono, wall;

    /* Neither clock can fail on Linux with these arguments. */
    (void)clock_gettime(CLOCK_MONOTONIC, &mono);
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    return (struct weir_now){
        .mono_ns = (int64_t)mono.tv_sec * WEIR_NS_PER_S + mono.tv_nsec,
        .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / WEIR_NS_PER_MS,
    };
}
