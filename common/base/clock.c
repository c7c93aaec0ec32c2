#include <base/clock.h>

#include <limits.h>
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

int64_t weir_clock_tick_ns(void)
{
    struct timespec mono;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &mono);
    return (int64_t)mono.tv_sec * WEIR_NS_PER_S + mono.tv_nsec;
}

int weir_clock_ms_until(int64_t mono_ns)
{
    if (mono_ns == WEIR_TIME_NEVER)
        return -1;
    int64_t left_ns = mono_ns - weir_clock_now().mono_ns;
    if (left_ns <= 0)
        return 0;
    int64_t left_ms = (left_ns - 1) / WEIR_NS_PER_MS + 1;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}
