/* Runs pipelines for callgrind, which writes down what each took; test_instructions.py reads it. */
#include "pipeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

#define WARM_BATCHES 50u
#define BACKLOG_MESSAGES 2000000u

static const struct scenario {
    const char *name;
    uint32_t producers, workers, batch, batches;
    uint64_t backlog;
} scenarios[] = {
    {"one", 1, 1, 1000, 100, 0},          {"4 producers", 4, 1, 1000, 100, 0},
    {"8 workers", 1, 8, 1000, 100, 0},    {"2 million waiting", 1, 1, 1000, 100, BACKLOG_MESSAGES},
    {"small batches", 1, 1, 10, 1000, 0},
};

static void run(const struct scenario *scenario)
{
    const uint64_t messages = (uint64_t)scenario->batches * scenario->batch;
    struct pipeline *pipeline =
        pipeline_new(scenario->producers, scenario->workers, scenario->batch);
    if (scenario->backlog > 0)
        pipeline_fill(pipeline, scenario->backlog);
    pipeline_connect(pipeline);
    pipeline_flow(pipeline, (uint64_t)WARM_BATCHES * scenario->batch);
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    pipeline_flow(pipeline, messages);
    CALLGRIND_DUMP_STATS_AT(scenario->name);
    CALLGRIND_STOP_INSTRUMENTATION;
    printf("%" PRIu64 " %s\n", messages, scenario->name);
    pipeline_destroy(&pipeline);
}

int main(void)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
        run(&scenarios[i]);
    return EXIT_SUCCESS;
}
