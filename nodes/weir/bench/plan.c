#include "plan.h"

uint64_t weir_bench_paced_messages(const struct weir_bench_plan *plan)
{
    return (uint64_t)plan->rate * (uint64_t)plan->duration_ms / 1000;
}

uint32_t weir_bench_hops(const struct weir_bench_plan *plan)
{
    return plan->direct ? 2 : 3;
}

const char *weir_bench_fsync_name(enum weir_fsync fsync)
{
    static const char *const names[] = {[WEIR_FSYNC_ALWAYS] = "always",
                                        [WEIR_FSYNC_INTERVAL] = "interval",
                                        [WEIR_FSYNC_NEVER] = "never"};

    return names[fsync];
}

const char *weir_bench_handlers_name(enum weir_bench_handlers handlers)
{
    static const char *const names[] = {
        [WEIR_BENCH_FUNCTION] = "function", [WEIR_BENCH_RUN] = "run", [WEIR_BENCH_SERVE] = "serve"};

    return names[handlers];
}
