#include "bench/load.h"
#include "bench/report.h"
#include "bench/rounds.h"
#include "bench/stage.h"
#include "command.h"
#include "output.h"

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: weir bench [OPTION]…\n"
    "\n"
    "Measure what this machine can do. It starts a topology of its own (producer → ventilator →\n"
    "router → worker, over TCP on 127.0.0.1, in a temporary directory), sends messages through it "
    "and\n"
    "counts them outside of it: how many a second are confirmed, handled and acked, what CPU and\n"
    "memory they take, and, at a fixed rate, how long they take. In each round, libzmq does the "
    "same\n"
    "alone: PUSH → PULL at full speed, and a chain of as many hops at the fixed rate.\n"
    "\n"
    "      --size BYTES       of a message's payload (default: 100)\n"
    "      --messages N       in a round (default: 1000000, fewer when they are large)\n"
    "      --rounds N         of each, in turn; medians are told (default: 3)\n"
    "      --producers N      (default: 1)\n"
    "      --groups N         each gets every message (default: 1)\n"
    "      --workers N        of each group, a process each (default: 1)\n"
    "      --keyed            order by key, of 10000 keys\n"
    "      --keys N           order by key, of so many\n"
    "      --sink             workers hand on each message to a sink, which writes JSON lines\n"
    "      --run              handlers are processes of /bin/true; beside a loop of posix_spawn\n"
    "                         (5000 messages, 8 at once)\n"
    "      --serve            handlers are coprocesses in Python (100000 messages, 2 at once)\n"
    "      --at-once N        such processes in each worker (its `concurrency`)\n"
    "      --burst N          so many at once, while handlers do 500 a second\n"
    "      --waiting N        as many as --messages come and go while so many wait\n"
    "      --direct           without a router\n"
    "      --fsync WHEN       always, interval or never (default: always)\n"
    "      --prefetch N       what a worker holds at most (default: as libweir has it)\n"
    "      --rate N           messages a second for latencies; 0 leaves them out (default: 1000)\n"
    "      --duration TIME    for how long, in each round (default: 3s)\n"
    "      --dir DIR          where the temporary directory is made: on the disk to be measured\n"
    "                         (default: $TMPDIR, else /var/tmp)\n"
    "      --keep             do not remove it\n"
    "      --timeout TIME     give up when nothing goes on for so long (default: 30s)\n"
    "      --json             one object instead of tables\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 69 nothing went on any more; 70 a message was lost, or a process "
    "ended;\n"
    "73 no directory; 128 + N ended by signal N.\n";

#define DEFAULT_MESSAGES 1000000u
#define DEFAULT_BYTES                                                                              \
    (UINT64_C(1) << 30) /* of all messages of a round, unless a number is given                    \
                         */
#define DEFAULT_RATE 1000u
#define RATE_UNSAID UINT32_MAX
#define RUN_MESSAGES 5000u
#define RUN_AT_ONCE 8u
#define SERVE_MESSAGES 100000u
#define SERVE_AT_ONCE 2u
#define SIZE_MAX_BYTES (4u << 20)
#define MEMORY_BYTES_MAX (UINT64_C(1) << 30) /* to count in */

enum {
    SIZE = 256,
    MESSAGES,
    ROUNDS,
    PRODUCERS,
    GROUPS,
    WORKERS,
    KEYED,
    KEYS,
    SINK,
    RUN,
    SERVE,
    AT_ONCE,
    BURST,
    WAITING,
    DIRECT,
    FSYNC,
    PREFETCH,
    RATE,
    DURATION,
    DIRECTORY,
    KEEP,
    TIMEOUT,
    JSON,
};

struct words {
    struct weir_bench_plan plan;
    bool json;
};

static const struct option known[] = {{"size", required_argument, NULL, SIZE},
                                      {"messages", required_argument, NULL, MESSAGES},
                                      {"rounds", required_argument, NULL, ROUNDS},
                                      {"producers", required_argument, NULL, PRODUCERS},
                                      {"groups", required_argument, NULL, GROUPS},
                                      {"workers", required_argument, NULL, WORKERS},
                                      {"keyed", no_argument, NULL, KEYED},
                                      {"keys", required_argument, NULL, KEYS},
                                      {"sink", no_argument, NULL, SINK},
                                      {"run", no_argument, NULL, RUN},
                                      {"serve", no_argument, NULL, SERVE},
                                      {"at-once", required_argument, NULL, AT_ONCE},
                                      {"burst", required_argument, NULL, BURST},
                                      {"waiting", required_argument, NULL, WAITING},
                                      {"direct", no_argument, NULL, DIRECT},
                                      {"fsync", required_argument, NULL, FSYNC},
                                      {"prefetch", required_argument, NULL, PREFETCH},
                                      {"rate", required_argument, NULL, RATE},
                                      {"duration", required_argument, NULL, DURATION},
                                      {"dir", required_argument, NULL, DIRECTORY},
                                      {"keep", no_argument, NULL, KEEP},
                                      {"timeout", required_argument, NULL, TIMEOUT},
                                      {"json", no_argument, NULL, JSON},
                                      {"help", no_argument, NULL, 'h'},
                                      {NULL, 0, NULL, 0}};

static const char *name_of(int option)
{
    const struct option *at = known;

    while (at->val != option)
        at++;
    return at->name;
}

/* ---- Options ----------------------------------------------------------------------------------
 */

/* Those whose argument is a number. */
static int take_number(const struct weir_command *self, int option, struct weir_bench_plan *plan)
{
    const struct {
        int option;
        uint32_t *value;
        uint64_t min, max;
    } numbers[] = {
        {ROUNDS, &plan->rounds, 1, WEIR_BENCH_ROUNDS_MAX},
        {PRODUCERS, &plan->producers, 1, 64},
        {GROUPS, &plan->groups, 1, 128},
        {WORKERS, &plan->workers, 1, 128},
        {KEYS, &plan->keys, 1, 1000000},
        {AT_ONCE, &plan->at_once, 1, 128},
        {PREFETCH, &plan->prefetch, 1, 65536},
        {RATE, &plan->rate, 0, 1000000},
    };
    uint64_t number, *large = option == MESSAGES  ? &plan->messages
                              : option == BURST   ? &plan->burst
                              : option == WAITING ? &plan->waiting
                                                  : NULL;

    if (large != NULL) {
        if (!weir_command_number(optarg, 1, 1000000000, large))
            return weir_command_misused(self, "--%s: expected a number from 1 to 1000000000",
                                        name_of(option));
        return 0;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].option != option)
            continue;
        if (!weir_command_number(optarg, numbers[i].min, numbers[i].max, &number))
            return weir_command_misused(self, "--%s: expected a number from %llu to %llu, not '%s'",
                                        name_of(option), (unsigned long long)numbers[i].min,
                                        (unsigned long long)numbers[i].max, optarg);
        *numbers[i].value = (uint32_t)number;
    }
    return 0;
}

static int take_fsync(const struct weir_command *self, struct weir_bench_plan *plan)
{
    for (int fsync = WEIR_FSYNC_ALWAYS; fsync <= WEIR_FSYNC_NEVER; fsync++) {
        if (strcmp(optarg, weir_bench_fsync_name(fsync)) == 0) {
            plan->fsync = fsync;
            return 0;
        }
    }
    return weir_command_misused(self, "--fsync: expected always, interval or never, not '%s'",
                                optarg);
}

static int take_size(const struct weir_command *self, struct weir_bench_plan *plan)
{
    uint64_t bytes;

    if (weir_command_number(optarg, WEIR_BENCH_NUMBER_BYTES, SIZE_MAX_BYTES, &bytes) ||
        (weir_size_parse(optarg, &bytes, NULL) == 0 && bytes >= WEIR_BENCH_NUMBER_BYTES &&
         bytes <= SIZE_MAX_BYTES)) {
        plan->size = (uint32_t)bytes;
        return 0;
    }
    return weir_command_misused(self, "--size: expected %u to %u bytes, such as 100 or 16KiB",
                                WEIR_BENCH_NUMBER_BYTES, SIZE_MAX_BYTES);
}

static int take_time(const struct weir_command *self, int option, int64_t *ms)
{
    struct weir_error error;

    if (weir_duration_parse(optarg, ms, &error) != 0)
        return weir_command_misused(self, "--%s: %s", name_of(option), error.text);
    if (*ms < 100 || *ms > 3600000)
        return weir_command_misused(self, "--%s: expected a time from 100ms to 1h, not '%s'",
                                    name_of(option), optarg);
    return 0;
}

static int take_option(const struct weir_command *self, int option, struct words *words)
{
    struct weir_bench_plan *plan = &words->plan;

    switch (option) {
    case SIZE:
        return take_size(self, plan);
    case FSYNC:
        return take_fsync(self, plan);
    case DURATION:
        return take_time(self, option, &plan->duration_ms);
    case TIMEOUT:
        return take_time(self, option, &plan->patience_ms);
    case KEYED:
        plan->keys = plan->keys > 0 ? plan->keys : 10000;
        return 0;
    case SINK:
        plan->sink = true;
        return 0;
    case RUN:
    case SERVE:
        plan->handlers = option == RUN ? WEIR_BENCH_RUN : WEIR_BENCH_SERVE;
        return 0;
    case DIRECT:
        plan->direct = true;
        return 0;
    case DIRECTORY:
        plan->above = optarg;
        return 0;
    case KEEP:
        plan->keep = true;
        return 0;
    case JSON:
        words->json = true;
        return 0;
    default:
        return take_number(self, option, plan);
    }
}

/* A handler that is a program tells nobody when it starts. */
static int settle_handlers(const struct weir_command *self, struct weir_bench_plan *plan)
{
    if (plan->handlers == WEIR_BENCH_FUNCTION) {
        if (plan->at_once > 0)
            return weir_command_misused(self, "--at-once is for --run and --serve");
        plan->rate = plan->rate == RATE_UNSAID ? DEFAULT_RATE : plan->rate;
        return 0;
    }
    if (plan->rate != RATE_UNSAID && plan->rate > 0)
        return weir_command_misused(self, "--rate is not for --%s",
                                    weir_bench_handlers_name(plan->handlers));
    if (plan->burst > 0 || plan->waiting > 0)
        return weir_command_misused(self, "--burst and --waiting are not for --%s",
                                    weir_bench_handlers_name(plan->handlers));
    plan->rate = 0;
    if (plan->at_once == 0)
        plan->at_once = plan->handlers == WEIR_BENCH_RUN ? RUN_AT_ONCE : SERVE_AT_ONCE;
    if (plan->messages == 0)
        plan->messages = plan->handlers == WEIR_BENCH_RUN ? RUN_MESSAGES : SERVE_MESSAGES;
    return 0;
}

/* What the options together come to. */
static int settle(const struct weir_command *self, struct weir_bench_plan *plan)
{
    if (plan->groups * plan->workers + plan->producers > WEIR_BENCH_PARTS_MAX / 2)
        return weir_command_misused(self, "%u workers and %u producers are more than %u processes",
                                    plan->groups * plan->workers, plan->producers,
                                    WEIR_BENCH_PARTS_MAX / 2);
    if (settle_handlers(self, plan) != 0)
        return EX_USAGE;
    if (plan->messages == 0 && DEFAULT_BYTES / plan->size < DEFAULT_MESSAGES)
        plan->messages = DEFAULT_BYTES / plan->size;
    else if (plan->messages == 0)
        plan->messages = DEFAULT_MESSAGES;
    if (plan->rate > 0 && weir_bench_paced_messages(plan) == 0)
        return weir_command_misused(self, "at --rate %u there is no message within --duration",
                                    plan->rate);
    if (weir_bench_load_bytes(plan) > MEMORY_BYTES_MAX)
        return weir_command_misused(self,
                                    "counting so much takes %llu MiB of memory, and %llu are "
                                    "allowed; take less of --messages, --groups, --keys, --rate or "
                                    "--duration",
                                    (unsigned long long)weir_bench_load_bytes(plan) >> 20,
                                    (unsigned long long)MEMORY_BYTES_MAX >> 20);
    return 0;
}

/* ---- Running ----------------------------------------------------------------------------------
 */

static bool on_terminal;

static void say(const char *what)
{
    if (on_terminal)
        fprintf(stderr, "weir bench: %s\n", what);
}

static int status_of(const struct weir_error *error, int signal_number)
{
    switch (error->code) {
    case WEIR_EINVAL:
        return EX_CANTCREAT;
    case WEIR_ECLOSED:
        return 128 + signal_number;
    case WEIR_ETIMEDOUT:
        return EX_UNAVAILABLE;
    default:
        return EX_SOFTWARE;
    }
}

/* Lines of the sink's file, complete ones. */
static int count_results(uint64_t *lines, struct weir_error *error)
{
    enum { CHUNK = 1 << 18 };
    const int fd = open(WEIR_BENCH_RESULTS, O_RDONLY | O_CLOEXEC);
    char *chunk = weir_alloc(CHUNK);
    ssize_t got;

    *lines = 0;
    while (fd >= 0 && (got = read(fd, chunk, CHUNK)) > 0) {
        for (const char *at = chunk; (at = memchr(at, '\n', (size_t)(chunk + got - at))); at++)
            (*lines)++;
    }
    free(chunk);
    if (fd < 0)
        return weir_error_set(error, WEIR_EIO, "cannot read the sink's file: %s", strerror(errno));
    close(fd);
    return 0;
}

static int check_results(const struct weir_bench_plan *plan, struct weir_bench_totals *totals,
                         struct weir_error *error)
{
    if (!plan->sink)
        return 0;
    if (count_results(&totals->results, error) != 0)
        return error->code;
    if (totals->results != totals->handled)
        return weir_error_set(error, WEIR_EDAMAGED,
                              "%llu messages were handled, and the sink has %llu results: this "
                              "must not be",
                              (unsigned long long)totals->handled,
                              (unsigned long long)totals->results);
    return 0;
}

static int measure(const struct weir_command *self, const struct weir_bench_plan *plan,
                   struct weir_bench_figures *figures)
{
    struct weir_bench_stage stage = {0};
    struct weir_bench_crew crew;
    struct weir_error error = {0};
    int status = weir_bench_crew_init(&crew, &error);

    if (status == 0)
        status = weir_bench_stage_init(&stage, plan, &error);
    if (status == 0) {
        figures->in_memory = weir_bench_stage_in_memory(&stage);
        status = weir_bench_stage_up(&stage, &crew, &error);
    }
    if (status == 0)
        status = weir_bench_rounds(plan, &stage, &crew, say, figures, &error);
    if (status == 0)
        status = weir_bench_stage_down(&stage, &crew, &error);
    if (status == 0)
        status = check_results(plan, &figures->totals, &error);
    /* What failed can be looked at. */
    const bool keep = plan->keep || (status != 0 && status != WEIR_ECLOSED);

    if (status != 0)
        status = weir_command_failed(self, status_of(&error, crew.signal_number), "%s", error.text);
    if (keep && stage.directory != NULL)
        weir_command_note(self, "the spool and the logs are kept in %s", stage.directory);
    weir_bench_stage_fini(&stage, &crew, keep);
    weir_bench_crew_fini(&crew);
    return status;
}

static void print(const struct weir_command *self, const struct words *words,
                  const struct weir_bench_figures *figures)
{
    if (figures->in_memory && words->plan.fsync != WEIR_FSYNC_NEVER)
        weir_command_note(self,
                          "note: %s is memory, where a sync costs nothing; name a directory on a "
                          "disk with --dir",
                          words->plan.above);
    if (!words->json) {
        weir_bench_print(&words->plan, figures, stdout, weir_output_coloured(stdout));
        return;
    }
    json_t *object = weir_bench_to_json(&words->plan, figures);

    weir_print_json_line(object, stdout);
    json_decref(object);
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    const char *temporary = getenv("TMPDIR");
    struct words words = {
        .plan = {.size = 100,
                 .rounds = 3,
                 .producers = 1,
                 .groups = 1,
                 .workers = 1,
                 .rate = RATE_UNSAID,
                 .duration_ms = 3000,
                 .patience_ms = 30000,
                 .above = temporary != NULL && temporary[0] != '\0' ? temporary : "/var/tmp"}};
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "h", known, &status)) != -1) {
        if (option != WEIR_OPTION_END)
            status = take_option(self, option, &words);
        if (option == WEIR_OPTION_END || status != 0)
            return status;
    }
    if (optind < argc)
        return weir_command_misused(self, "unexpected argument '%s'", argv[optind]);
    status = settle(self, &words.plan);
    if (status != 0)
        return status;
    struct weir_bench_figures *figures = weir_zalloc(1, sizeof *figures);

    on_terminal = isatty(STDERR_FILENO);
    status = measure(self, &words.plan, figures);
    if (status == 0)
        print(self, &words, figures);
    free(figures);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

const struct weir_command weir_command_bench = {
    "bench", "measure what this machine can do, against libzmq alone", help, run};
