/* A smaller scenario that violates the same: parameter by parameter, as far as a greedy search
 * takes it. */
#include "sim.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES_MAX 1500
#define SALTS 4

/* Run it in a child that says nothing. */
static struct sim_outcome outcome_of(const struct sim *model, struct sim_outcome *shared)
{
    *shared = (struct sim_outcome){.failed = SIM_CHECK_CRASH};
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        struct sim_outcome outcome;
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(70);
        sim_seed_play(model, model->seed, &outcome);
        *shared = outcome;
        _exit(0);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        perror("sim: fork");
        exit(70);
    }
    if (status != 0)
        sim_end_describe(status, shared->failure, sizeof shared->failure);
    return *shared;
}

struct shrinking {
    struct sim best; /* the smallest so far that fails in the same way */
    struct sim_outcome found, *shared;
    uint32_t tries;
};

/* Does it still fail with this one set to `value`? The course is another one then, so a few are
 * tried. */
static bool smaller(struct shrinking *self, uint32_t param, uint32_t value)
{
    for (uint32_t salt = 0; salt < SALTS && self->tries < TRIES_MAX; salt++) {
        struct sim candidate = self->best;
        self->tries++;
        *sim_param_value(&candidate.params, param) = value;
        if (salt > 0)
            candidate.params.salt += salt;
        const struct sim_outcome outcome = outcome_of(&candidate, self->shared);
        if (outcome.good || outcome.failed != self->found.failed)
            continue;
        self->best = candidate;
        self->found = outcome;
        printf("  %s %" PRIu32 ": %s\n", sim_param_of(param)->name, value, outcome.failure);
        return true;
    }
    return false;
}

/* Bring one parameter down: all the way, else by halves, else by one. */
static bool param_shrink(struct shrinking *self, uint32_t param)
{
    const uint32_t least = sim_param_of(param)->simplest;
    bool any = false;
    for (;;) {
        const uint32_t now = *sim_param_value(&self->best.params, param);
        if (now <= least)
            return any;
        const uint32_t half = least + (now - least) / 2;
        if (!smaller(self, param, least) && !(half > least && smaller(self, param, half)) &&
            !(now - 1 > half && smaller(self, param, now - 1)))
            return any;
        any = true;
    }
}

int sim_shrink(const struct sim *model)
{
    struct shrinking *self = weir_zalloc(1, sizeof *self);
    self->shared =
        mmap(NULL, sizeof *self->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self->shared == MAP_FAILED) {
        perror("sim: mmap");
        exit(70);
    }
    self->best = *model;
    sim_params_draw(&self->best);
    self->best.fixed = SIM_PARAMS == 64 ? UINT64_MAX : (UINT64_C(1) << SIM_PARAMS) - 1;
    self->found = outcome_of(&self->best, self->shared);
    int status = 0;
    if (self->found.good) {
        printf("seed %" PRIu64 " violates nothing\n", model->seed);
    } else {
        status = 1;
        printf("seed %" PRIu64 " violates %s: %s\n", model->seed,
               sim_check_of(self->found.failed)->name, self->found.failure);
        for (bool any = true; any && self->tries < TRIES_MAX;) {
            any = false;
            for (uint32_t i = 0; i < SIM_PARAMS; i++)
                any = (strcmp(sim_param_of(i)->name, "salt") != 0 && param_shrink(self, i)) || any;
        }
        printf("after %" PRIu32 " runs: invariant %" PRIu32
               " (%s): %s\n  replay: sim --seed %" PRIu64,
               self->tries, sim_check_of(self->found.failed)->invariant,
               sim_check_of(self->found.failed)->name, self->found.failure, model->seed);
        sim_params_print(&self->best, stdout);
        puts(" --trace");
    }
    munmap(self->shared, sizeof *self->shared);
    free(self);
    return status;
}
