/* sim_canary: the simulator with a bug planted (base/canary.h, canaries.def).
 *
 *   sim_canary [--seeds A..B] [--every]        every canary, each until the check that must find it
 *                                              has; or, with --every, over all seeds
 *   sim_canary --canary NAME --seeds A..B      one, with what it violates
 *   sim_canary --canary NAME --seed N --trace
 *
 * Some are planted where limits are small: these are played by sim_canary_small, which is this
 * program with other limits and reports to this one.
 *
 * Without a name it prints which check found which canary, and fails when one was not found by the
 * check that must, when a check has no canary that it found, or when something is found where no
 * canary is. Each canary has a process of its own, so one that crashes is a find as well. */
#include "sim.h"
#include <base/canary.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define INVARIANTS 12u
#define JOBS_MAX 2u
#define SEEDS_MAX 200u /* the budget */
#define SET_MAX 6u

#ifdef WEIR_LIMITS_SMALL
#define LIMITS_SMALL true
#else
#define LIMITS_SMALL false
#endif

enum weir_canary weir_canary = WEIR_CANARY_NONE;

static const struct {
    const char *name;
    enum sim_check_name check; /* that must find it */
    const char *text;
    bool small; /* it is planted where limits are small: in sim_canary_small */
    struct {
        const char *name, *value;
    } set[SET_MAX]; /* parameters of its scenarios */
} canaries[] = {
    {.name = "(none)", .check = SIM_CHECKS, .text = "no bug is planted: nothing may be found"},
#define X(NAME, CHECK, ...) {.name = #NAME, .check = SIM_CHECK_##CHECK, .text = __VA_ARGS__},
#include "canaries.def"
#undef X
};

#define CANARIES (sizeof canaries / sizeof canaries[0])

struct finds {
    uint64_t first[SIM_CHECKS]; /* the first seed with it; 0: none */
    uint32_t count[SIM_CHECKS];
    uint64_t next_seed;
    bool over;
};

struct hunt {
    uint64_t from, to;
    bool every; /* all seeds, whatever was found */
    struct finds finds[CANARIES];
};

struct report { /* of one seed, from the process that played it */
    uint64_t seed;
    enum sim_check_name failed; /* SIM_CHECKS: nothing was */
};

/* ---- one seed ---- */

static enum sim_check_name play(uint64_t seed, bool trace, bool tell)
{
    struct sim *sim = weir_zalloc(1, sizeof *sim);
    sim->seed = seed;
    sim->trace = trace;
    for (uint32_t i = 0; i < SET_MAX && canaries[weir_canary].set[i].name; i++)
        WEIR_ASSERT(sim_params_set(sim, canaries[weir_canary].set[i].name,
                                   canaries[weir_canary].set[i].value) == 0);
    const enum sim_check_name failed = sim_play(sim) ? SIM_CHECKS : sim->failed;
    if (tell && failed != SIM_CHECKS)
        printf("seed %" PRIu64 ": %s: %s\n", seed, sim_check_of(failed)->name, sim->failure);
    sim_world_fini(sim);
    free(sim);
    return failed;
}

static int play_all(uint64_t from, uint64_t to, bool trace)
{
    uint64_t found = 0;
    for (uint64_t seed = from; seed <= to; seed++)
        found += play(seed, trace, true) != SIM_CHECKS;
    printf("%" PRIu64 " seeds, %" PRIu64 " with a violation\n", to - from + 1, found);
    return found > 0;
}

/* ---- a process for each ---- */

struct job {
    uint32_t canary;
    pid_t pid;
    int fd; /* its reports */
};

/* The program that was built with small limits lies beside this one. */
static void small_path(char path[PATH_MAX])
{
    const ssize_t bytes = readlink("/proc/self/exe", path, PATH_MAX - sizeof "_small");
    memcpy(path + (bytes > 0 ? bytes : 0), "_small", sizeof "_small");
}

static _Noreturn void exec_failed(const char *path)
{
    fprintf(stderr, "sim_canary: cannot run %s: %s; build it\n", path, strerror(errno));
    _exit(70);
}

/* In the child: report each seed, until it is killed or all are played. */
static _Noreturn void report_seeds(uint32_t canary, uint64_t from, uint64_t to, int fd)
{
    weir_canary = (enum weir_canary)canary;
    if (canaries[canary].small && !LIMITS_SMALL) {
        char path[PATH_MAX], seeds[48], report[16];
        snprintf(seeds, sizeof seeds, "%" PRIu64 "..%" PRIu64, from, to);
        snprintf(report, sizeof report, "%d", fd);
        small_path(path);
        execl(path, path, "--canary", canaries[canary].name, "--seeds", seeds, "--report", report,
              (char *)NULL);
        exec_failed(path);
    }
    for (uint64_t seed = from; seed <= to; seed++) {
        const struct report report = {seed, play(seed, false, false)};
        if (write(fd, &report, sizeof report) != (ssize_t)sizeof report)
            break;
    }
    _exit(0);
}

static bool job_start(struct job *job, const struct hunt *hunt, uint32_t canary)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0)
        return false;
    const pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        /* What it says while it crashes is of no interest: that it does is a find. */
        if (canary != WEIR_CANARY_NONE && !freopen("/dev/null", "w", stderr))
            _exit(1);
        report_seeds(canary, hunt->finds[canary].next_seed, hunt->to, ends[1]);
    }
    close(ends[1]);
    *job = (struct job){.canary = canary, .pid = pid, .fd = ends[0]};
    if (pid < 0)
        close(ends[0]);
    return pid > 0;
}

/* What a seed has found. */
static void note(struct hunt *hunt, uint32_t canary, const struct report *report)
{
    struct finds *finds = &hunt->finds[canary];
    finds->next_seed = report->seed + 1;
    if (report->failed < SIM_CHECKS && finds->count[report->failed]++ == 0)
        finds->first[report->failed] = report->seed;
    finds->over = finds->next_seed > hunt->to || (!hunt->every && canary != WEIR_CANARY_NONE &&
                                                  finds->count[canaries[canary].check] > 0);
}

/* Its next report, or its end. True: it is still there. */
static bool job_read(struct job *job, struct hunt *hunt)
{
    struct finds *finds = &hunt->finds[job->canary];
    struct report report;
    const ssize_t got = read(job->fd, &report, sizeof report);
    if (got == (ssize_t)sizeof report) {
        note(hunt, job->canary, &report);
        if (!finds->over)
            return true;
        kill(job->pid, SIGKILL);
    }
    int status;
    close(job->fd);
    waitpid(job->pid, &status, 0);
    if (!finds->over) { /* it crashed */
        report = (struct report){finds->next_seed, SIM_CHECK_CRASH};
        note(hunt, job->canary, &report);
    }
    return false;
}

static bool hunt_all(struct hunt *hunt)
{
    struct job jobs[JOBS_MAX];
    struct pollfd polls[JOBS_MAX];
    uint32_t running = 0, next = 0;
    for (;;) {
        while (running < JOBS_MAX && next < CANARIES)
            if (!job_start(&jobs[running++], hunt, next++))
                return false;
        if (running == 0)
            return true;
        for (uint32_t i = 0; i < running; i++)
            polls[i] = (struct pollfd){.fd = jobs[i].fd, .events = POLLIN};
        if (poll(polls, running, -1) < 0)
            return false;
        for (uint32_t i = running; i-- > 0;) {
            const uint32_t canary = jobs[i].canary;
            if (polls[i].revents == 0 || job_read(&jobs[i], hunt))
                continue;
            jobs[i] = jobs[--running];
            if (!hunt->finds[canary].over && !job_start(&jobs[running++], hunt, canary))
                return false;
        }
    }
}

/* ---- the matrix ---- */

/* The first seed in which a check of this invariant found it, or how many seeds did; 0: none. */
static uint64_t cell(const struct hunt *hunt, uint32_t canary, uint32_t invariant)
{
    uint64_t value = 0;
    for (uint32_t c = 0; c < SIM_CHECKS; c++) {
        const struct finds *finds = &hunt->finds[canary];
        if (sim_check_of((enum sim_check_name)c)->invariant != invariant || finds->count[c] == 0)
            continue;
        if (hunt->every)
            value += finds->count[c];
        else if (value == 0 || finds->first[c] < value)
            value = finds->first[c];
    }
    return value;
}

static bool row_print(const struct hunt *hunt, uint32_t canary)
{
    const enum sim_check_name must = canaries[canary].check;
    const bool good = must < SIM_CHECKS && hunt->finds[canary].count[must] > 0;
    printf("%-31s", canaries[canary].name);
    for (uint32_t i = 1; i <= INVARIANTS + 1; i++) {
        const uint32_t invariant = i % (INVARIANTS + 1);
        const uint64_t value = cell(hunt, canary, invariant);
        const bool meant = must < SIM_CHECKS && sim_check_of(must)->invariant == invariant;
        if (value)
            printf(" %4" PRIu64 "%c", value, meant && good ? '*' : ' ');
        else
            printf("    %c ", meant ? '!' : '.');
    }
    printf("  %s\n", must < SIM_CHECKS ? sim_check_of(must)->name : "");
    return good;
}

static int judge(const struct hunt *hunt)
{
    bool caught[SIM_CHECKS] = {false};
    uint32_t wrong = 0;
    printf("Seeds %" PRIu64 "..%" PRIu64 ". By the checks of which invariant a canary was found: ",
           hunt->from, hunt->to);
    printf("%s; * is the one that must,\n! says that it did not. The column 0 is for what is "
           "promised elsewhere.\n\n%-31s",
           hunt->every ? "in how many seeds" : "in which seed first", "canary");
    for (uint32_t i = 1; i <= INVARIANTS + 1; i++)
        printf("%5u ", i % (INVARIANTS + 1));
    printf("  found by\n");
    for (uint32_t canary = 1; canary < CANARIES; canary++) {
        const bool good = row_print(hunt, canary);
        caught[canaries[canary].check] |= good;
        wrong += !good;
    }
    row_print(hunt, WEIR_CANARY_NONE);
    printf("\n");
    for (uint32_t c = 0; c < SIM_CHECKS; c++) {
        const struct finds *none = &hunt->finds[WEIR_CANARY_NONE];
        const char *name = sim_check_of((enum sim_check_name)c)->name;
        if (!caught[c])
            printf("The check %s found no canary that it must find.\n", name);
        if (none->count[c] > 0)
            printf("Without a canary, %s is violated in seed %" PRIu64 ".\n", name, none->first[c]);
        wrong += !caught[c] + (none->count[c] > 0);
    }
    printf("%u canaries, %s\n", (uint32_t)CANARIES - 1,
           wrong == 0 ? "every one found by the check that must" : "NOT all as it must be");
    return wrong > 0;
}

/* ---- the command line ---- */

static int usage(FILE *out)
{
    fputs("usage: sim_canary [--seeds A..B] [--every]\n"
          "       sim_canary --canary NAME [--seeds A..B | --seed N [--trace]]\n"
          "       sim_canary --list\n",
          out);
    return out == stdout ? 0 : 64;
}

static int list(void)
{
    for (uint32_t i = 1; i < CANARIES; i++)
        printf("%-31s %-22s %s%s\n", canaries[i].name, sim_check_of(canaries[i].check)->name,
               canaries[i].text, canaries[i].small ? " (small limits)" : "");
    return 0;
}

static bool choose(const char *name)
{
    for (uint32_t i = 1; i < CANARIES; i++) {
        if (strcmp(canaries[i].name, name) == 0) {
            weir_canary = (enum weir_canary)i;
            return true;
        }
    }
    fprintf(stderr, "sim_canary: there is no canary %s; --list names those there are\n", name);
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"canary", required_argument, NULL, 'c'},
                                            {"seeds", required_argument, NULL, 'S'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"trace", no_argument, NULL, 't'},
                                            {"every", no_argument, NULL, 'e'},
                                            {"list", no_argument, NULL, 'l'},
                                            {"report", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    static struct hunt hunt = {.from = 1, .to = SEEDS_MAX};
    bool trace = false;
    int option, report = -1;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'l')
            return list();
        if (option == 'c' && !choose(optarg))
            return 64;
        if (option == 'c' ||
            (option == 'S' && sscanf(optarg, "%" SCNu64 "..%" SCNu64, &hunt.from, &hunt.to) == 2))
            continue;
        if (option == 's' && sscanf(optarg, "%" SCNu64, &hunt.from) == 1)
            hunt.to = hunt.from;
        else if (option == 'r' && sscanf(optarg, "%d", &report) == 1)
            continue;
        else if (option == 't')
            trace = true;
        else if (option == 'e')
            hunt.every = true;
        else
            return usage(option == 'h' ? stdout : stderr);
    }
    if (hunt.from == 0 || hunt.to < hunt.from || optind < argc)
        return usage(stderr);
    if (canaries[weir_canary].small && !LIMITS_SMALL) {
        char path[PATH_MAX];
        small_path(path);
        execv(path, argv);
        exec_failed(path);
    }
    if (report >= 0)
        report_seeds(weir_canary, hunt.from, hunt.to, report);
    if (weir_canary != WEIR_CANARY_NONE || trace)
        return play_all(hunt.from, hunt.to, trace);
    for (uint32_t i = 0; i < CANARIES; i++)
        hunt.finds[i].next_seed = hunt.from;
    if (!hunt_all(&hunt)) {
        perror("sim_canary: a process could not be started");
        return 70;
    }
    return judge(&hunt);
}
