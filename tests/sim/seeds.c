/* Many seeds, over several processes; what happened in them is added up. Each seed runs in a child,
 * so that one which brings the program down is named like any other. */
#include "sim.h"
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct job { /* what a child has done so far, where its parent can see it */
    pid_t pid;
    uint64_t seed; /* that it runs now; 0: none */
    uint64_t bad;
    uint64_t counts[SIM_COUNTS], seeds_with[SIM_COUNTS];
    uint64_t full[SIM_BOUNDS]; /* in so many seeds */
    uint64_t found[SIM_CHECKS];
};

struct shared {
    _Atomic uint64_t next;
    struct job jobs[SIM_JOBS_MAX];
};

static struct sim *sim_of(const struct sim *model, uint64_t seed)
{
    struct sim *sim = weir_zalloc(1, sizeof *sim);
    *sim = *model;
    sim->seed = seed;
    return sim;
}

static void violation_print(struct sim *sim)
{
    const struct sim_check *check = sim_check_of(sim->failed);
    printf("seed %" PRIu64 ": invariant %" PRIu32 " (%s): %s\n  replay: %s --seed %" PRIu64,
           sim->seed, check->invariant, check->name, sim->failure, program_invocation_short_name,
           sim->seed);
    sim_params_print(sim, stdout);
    puts(" --trace");
    fflush(stdout);
}

bool sim_seed_play(const struct sim *model, uint64_t seed, struct sim_outcome *outcome)
{
    struct sim *sim = sim_of(model, seed);
    *outcome = (struct sim_outcome){.good = sim_play(sim), .failed = sim->failed};
    snprintf(outcome->failure, sizeof outcome->failure, "%s", sim->failure);
    memcpy(outcome->counts, sim->counts, sizeof outcome->counts);
    memcpy(outcome->full, sim->full, sizeof outcome->full);
    outcome->params = sim->params;
    if (!outcome->good) {
        sim->fixed = model->fixed;
        violation_print(sim);
    }
    sim_world_fini(sim);
    free(sim);
    return outcome->good;
}

static void job_run(struct shared *shared, struct job *job, const struct sim *model, uint64_t to)
{
    uint64_t seed;
    while ((seed = atomic_fetch_add(&shared->next, 1)) <= to) {
        struct sim_outcome outcome;
        job->seed = seed;
        if (!sim_seed_play(model, seed, &outcome)) {
            job->bad++;
            job->found[outcome.failed]++;
        }
        for (uint32_t i = 0; i < SIM_COUNTS; i++) {
            job->counts[i] += outcome.counts[i];
            job->seeds_with[i] += outcome.counts[i] > 0;
        }
        for (uint32_t i = 0; i < SIM_BOUNDS; i++)
            job->full[i] += outcome.full[i];
        job->seed = 0;
    }
}

static void job_fork(struct shared *shared, struct job *job, const struct sim *model, uint64_t to)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        job_run(shared, job, model, to);
        exit(0);
    }
    if (pid < 0) {
        perror("sim: fork");
        exit(70);
    }
    job->pid = pid;
}

/* Only those that were reached at all: with limits as they are, few are. */
static void bounds_print(const struct shared *shared, uint32_t jobs)
{
    for (uint32_t i = 0; i < SIM_BOUNDS; i++) {
        const struct sim_bound *bound = sim_bound_of((enum sim_bound_name)i);
        uint64_t full = 0;
        for (uint32_t j = 0; j < jobs; j++)
            full += shared->jobs[j].full[i];
        if (full > 0)
            printf("%12s %-48s in %" PRIu64 " seeds\n", "at its limit", bound->text, full);
    }
}

static void summary_print(const struct shared *shared, uint32_t jobs, uint64_t seeds)
{
    uint64_t bad = 0;
    for (uint32_t i = 0; i < SIM_COUNTS; i++) {
        uint64_t count = 0, with = 0;
        for (uint32_t j = 0; j < jobs; j++) {
            count += shared->jobs[j].counts[i];
            with += shared->jobs[j].seeds_with[i];
        }
        printf("%12" PRIu64 " %-48s in %" PRIu64 " seeds\n", count, sim_count_text(i), with);
    }
    bounds_print(shared, jobs);
    for (uint32_t i = 0; i < SIM_CHECKS; i++) {
        uint64_t found = 0;
        for (uint32_t j = 0; j < jobs; j++)
            found += shared->jobs[j].found[i];
        if (found > 0)
            printf("%12" PRIu64 " violations of %s\n", found,
                   sim_check_of((enum sim_check_name)i)->name);
    }
    for (uint32_t j = 0; j < jobs; j++)
        bad += shared->jobs[j].bad;
    printf("%" PRIu64 " seeds, %" PRIu64 " with a violation\n", seeds, bad);
}

void sim_end_describe(int status, char *text, size_t bytes)
{
    if (WIFSIGNALED(status))
        snprintf(text, bytes, "the program died of signal %d", WTERMSIG(status));
    else
        snprintf(text, bytes, "the program ended with status %d", WEXITSTATUS(status));
}

int sim_seeds(const struct sim *model, uint64_t from, uint64_t to, uint32_t jobs)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("sim: mmap");
        return 70;
    }
    atomic_store(&shared->next, from);
    uint64_t bad = 0;
    for (uint32_t i = 0; i < jobs; i++)
        job_fork(shared, &shared->jobs[i], model, to);
    for (uint32_t running = jobs; running > 0;) {
        int status;
        const pid_t pid = waitpid(-1, &status, 0);
        struct job *job = shared->jobs;
        while (job < shared->jobs + jobs && job->pid != pid)
            job++;
        WEIR_ASSERT(pid > 0 && job < shared->jobs + jobs);
        running--;
        if (status == 0)
            continue;
        struct sim *sim = sim_of(model, job->seed);
        sim->failed = SIM_CHECK_CRASH;
        sim_end_describe(status, sim->failure, sizeof sim->failure);
        violation_print(sim);
        free(sim);
        job->bad++;
        job->found[SIM_CHECK_CRASH]++;
        if (job->seed != 0) { /* else it was at its end */
            job->seed = 0;
            job_fork(shared, job, model, to);
            running++;
        }
    }
    summary_print(shared, jobs, to - from + 1);
    for (uint32_t i = 0; i < jobs; i++)
        bad += shared->jobs[i].bad;
    munmap(shared, sizeof *shared);
    return bad > 0;
}
