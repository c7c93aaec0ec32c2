/* sim --seed N [--trace] | --seeds A..B: run the simulator. Prints each seed that violates an
 * invariant, with the command that replays it; the exit status is 1 if any did. */
#include "sim.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool seed_run(uint64_t seed, bool trace)
{
    struct sim *sim = weir_zalloc(1, sizeof *sim);
    sim->seed = seed;
    sim->trace = trace;
    bool good = sim_play(sim);
    if (!good)
        printf("seed %" PRIu64 ": invariant %u (%s): %s\n  replay: sim --seed %" PRIu64
               " --trace\n",
               seed, sim_check_of(sim->failed)->invariant, sim_check_of(sim->failed)->name,
               sim->failure, seed);
    else if (trace)
        printf("seed %" PRIu64
               ": good; %u messages, %u groups, %u processes, %u crashes, %u breaks, "
               "%u drains, %u clock jumps, %u pauses, %" PRIu64 " events, %.1f s\n",
               seed, sim->message_count, sim->group_count, sim->process_count, sim->crashes,
               sim->breaks, sim->drains, sim->clock_jumps, sim->pauses, sim->event_count,
               (double)sim->now_ns / 1e9);
    sim_world_fini(sim);
    free(sim);
    return good;
}

static int usage(FILE *out)
{
    fputs("usage: sim --seed N [--trace]\n       sim --seeds A..B\n       sim --checks\n", out);
    return out == stdout ? 0 : 64;
}

static int checks_print(void)
{
    for (uint32_t i = 0; i < SIM_CHECKS; i++) {
        const struct sim_check *check = sim_check_of((enum sim_check_name)i);
        printf("%2u  %-22s %s\n", check->invariant, check->name, check->text);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'S'},
        {"trace", no_argument, NULL, 't'},      {"checks", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    uint64_t from = 1, to = 0;
    bool trace = false;
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 's' && sscanf(optarg, "%" SCNu64, &from) == 1)
            to = from;
        else if (option == 'S' && sscanf(optarg, "%" SCNu64 "..%" SCNu64, &from, &to) == 2)
            continue;
        else if (option == 't')
            trace = true;
        else if (option == 'c')
            return checks_print();
        else
            return usage(option == 'h' ? stdout : stderr);
    }
    if (to < from)
        return usage(stderr);
    uint64_t bad = 0;
    for (uint64_t seed = from; seed <= to; seed++)
        bad += !seed_run(seed, trace);
    printf("%" PRIu64 " seeds, %" PRIu64 " with a violation\n", to - from + 1, bad);
    return bad > 0;
}
