/* The simulator's command line. */
#include "sim.h"
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void usage(FILE *out)
{
    fputs("usage: sim --seed N [--trace | --shrink] [--PARAMETER VALUE ...]\n"
          "       sim --seeds A..B [--jobs J] [--PARAMETER VALUE ...]\n"
          "       sim --checks\n\n"
          "Runs a topology of the real role machines under a virtual clock, all of it from the\n"
          "seed: first faults, then quiet, then everything must have drained.\n\n"
          "  --seed N      run one seed\n"
          "  --seeds A..B  run many; the exit status is 1 if any violates an invariant\n"
          "  --jobs J      in so many processes (default 1)\n"
          "  --trace       print what happens\n"
          "  --shrink      look for a smaller scenario that violates the same\n"
          "  --checks      list what is checked\n\n"
          "Parameters (drawn from the seed unless set):\n",
          out);
    for (uint32_t i = 0; i < SIM_PARAMS; i++)
        fprintf(out, "  --%-12s %3" PRIu32 " to %3" PRIu32 "  %s\n", sim_param_of(i)->name,
                sim_param_of(i)->simplest, sim_param_of(i)->most, sim_param_of(i)->text);
}

static int wrong(const char *what, const char *text)
{
    fprintf(stderr, "sim: %s '%s'; see sim --help\n", what, text);
    return 64;
}

static int checks_print(void)
{
    for (uint32_t i = 0; i < SIM_CHECKS; i++) {
        const struct sim_check *check = sim_check_of((enum sim_check_name)i);
        printf("%2" PRIu32 "  %-22s %s\n", check->invariant, check->name, check->text);
    }
    return 0;
}

enum { OPTION_PARAM = 256 };

static void options_fill(struct option *options)
{
    static const struct option own[] = {
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'S'},
        {"jobs", required_argument, NULL, 'j'}, {"trace", no_argument, NULL, 't'},
        {"shrink", no_argument, NULL, 'z'},     {"checks", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'}};
    memcpy(options, own, sizeof own);
    struct option *option = options + sizeof own / sizeof *own;
    for (uint32_t i = 0; i < SIM_PARAMS; i++)
        *option++ =
            (struct option){sim_param_of(i)->name, required_argument, NULL, OPTION_PARAM + (int)i};
}

/* A whole number, and nothing else. */
static bool number_of(const char *text, uint64_t *value)
{
    char rest;
    return text[0] >= '0' && text[0] <= '9' && sscanf(text, "%" SCNu64 "%c", value, &rest) == 1;
}

static bool range_of(const char *text, uint64_t *from, uint64_t *to)
{
    char rest;
    return text[0] >= '0' && text[0] <= '9' &&
           sscanf(text, "%" SCNu64 "..%" SCNu64 "%c", from, to, &rest) == 2 && *from <= *to;
}

int main(int argc, char **argv)
{
    struct option options[7 + SIM_PARAMS + 1] = {0};
    static struct sim model;
    uint64_t from = 0, to = 0, jobs = 1;
    bool one = false, many = false, shrink = false;
    int option;
    options_fill(options);
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            usage(stdout);
            return 0;
        }
        if (option == 'c')
            return checks_print();
        if (option == 's' && !(one = number_of(optarg, &from)))
            return wrong("--seed takes a number, not", optarg);
        if (option == 'S' && !(many = range_of(optarg, &from, &to)))
            return wrong("--seeds takes a range such as 1..100, not", optarg);
        if (option == 'j' && (!number_of(optarg, &jobs) || jobs == 0 || jobs > SIM_JOBS_MAX))
            return wrong("--jobs takes a number from 1 to 64, not", optarg);
        if (option >= OPTION_PARAM &&
            sim_params_set(&model, sim_param_of((uint32_t)(option - OPTION_PARAM))->name, optarg))
            return 64;
        model.trace = model.trace || option == 't';
        shrink = shrink || option == 'z';
        if (option == '?') /* getopt has said what */
            return 64;
    }
    if (optind < argc)
        return wrong("nothing is expected here:", argv[optind]);
    if (one == many || (many && (shrink || model.trace)) || (shrink && model.trace)) {
        usage(stderr);
        return 64;
    }
    if (many)
        return sim_seeds(&model, from, to, (uint32_t)jobs);
    model.seed = from;
    if (shrink)
        return sim_shrink(&model);
    struct sim_outcome outcome;
    if (!sim_seed_play(&model, from, &outcome))
        return 1;
    printf("seed %" PRIu64 ": good\n", from);
    for (uint32_t i = 0; i < SIM_COUNTS && model.trace; i++)
        printf("%12" PRIu64 " %s\n", outcome.counts[i], sim_count_text(i));
    return 0;
}
