#include "stage.h"

#include "../run_lock_file.h"
#include "../supervisor.h"
#include "bodies.h"

#include <arpa/inet.h>
#include <base/alloc.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/random.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILE_NAME "topology.yaml"
#define PORTS 4
#define COPROCESS_FILE "serve.py"
#define END_MS 5000 /* for what is to end at once */

/* ---- The directory ----------------------------------------------------------------------------
 */

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

static void remove_directory(const char *path)
{
    (void)chdir("/");
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_directory(struct weir_bench_stage *self, struct weir_error *error)
{
    uint64_t unlike_others;

    weir_entropy(&unlike_others, sizeof unlike_others);
    char *path = weir_asprintf("%s/weir-bench-%016llx", self->plan->above,
                               (unsigned long long)unlike_others);

    if (mkdir(path, 0700) != 0) {
        weir_error_set(error, WEIR_EINVAL,
                       "cannot make a directory in %s: %s; name another place with --dir",
                       self->plan->above, strerror(errno));
        free(path);
        return error->code;
    }
    self->directory = realpath(path, NULL);
    free(path);
    if (self->directory == NULL || chdir(self->directory) != 0)
        return weir_error_set(error, WEIR_EINVAL, "cannot go to a directory in %s: %s",
                              self->plan->above, strerror(errno));
    return 0;
}

bool weir_bench_stage_in_memory(const struct weir_bench_stage *self)
{
    struct statfs about;

    return statfs(self->directory, &about) == 0 &&
           (about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC);
}

/* ---- The topology -----------------------------------------------------------------------------
 */

/* Ports of 127.0.0.1 that nobody has now. They are all held until all are found, so that no two are
 * the same. */
static int find_ports(uint16_t ports[PORTS], struct weir_error *error)
{
    int fds[PORTS], count = 0, status = 0;

    while (count < PORTS && status == 0) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
        socklen_t bytes = sizeof address;
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0)
            fds[count++] = fd;
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
            getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
            status = weir_error_set(error, WEIR_EIO, "no port on 127.0.0.1: %s", strerror(errno));
        else
            ports[count - 1] = ntohs(address.sin_port);
    }
    while (count > 0)
        close(fds[--count]);
    return status;
}

/* As docs/handlers.md has it: its answer's result is what it was asked. */
static const char coprocess[] = "import json, sys\n"
                                "\n"
                                "for line in sys.stdin:\n"
                                "    message = json.loads(line)\n"
                                "    answer = {\"id\": message[\"id\"], \"outcome\": \"done\", "
                                "\"result\": message[\"payload\"]}\n"
                                "    print(json.dumps(answer), flush=True)\n";

static int write_coprocess(struct weir_error *error)
{
    FILE *file = fopen(COPROCESS_FILE, "we");
    const bool written = file != NULL && fputs(coprocess, file) >= 0;

    if ((file != NULL && fclose(file) != 0) || !written)
        return weir_error_set(error, WEIR_EIO, "cannot write " COPROCESS_FILE ": %s",
                              strerror(errno));
    return 0;
}

/* Handlers that are programs are run by Weir's own workers. */
static void write_workers(const struct weir_bench_plan *plan, FILE *out)
{
    for (uint32_t i = 0; i < plan->groups; i++) {
        char name[WEIR_BENCH_GROUP_BYTES];

        weir_bench_group_name(i, name);
        fprintf(
            out,
            "  worker-%s: { role: worker, from: [%s], group: %s, count: %u, concurrency: %u%s, ",
            name, plan->direct ? "ventilator" : "router", name, plan->workers, plan->at_once,
            plan->sink ? ", to: sink" : "");
        if (plan->prefetch > 0)
            fprintf(out, "prefetch: %u, ", plan->prefetch);
        fprintf(out, plan->handlers == WEIR_BENCH_RUN ? "run: [" WEIR_BENCH_PROGRAM "] }\n"
                                                      : "serve: [python3, " COPROCESS_FILE "] }\n");
    }
}

static void write_topology(const struct weir_bench_plan *plan, const uint16_t ports[PORTS],
                           FILE *out)
{
    fprintf(out,
            "topology: bench\n"
            "nodes:\n"
            "  ventilator:\n"
            "    role: ventilator\n"
            "    submit: tcp://127.0.0.1:%u\n"
            "    dispatch: tcp://127.0.0.1:%u\n"
            "    spool: { dir: spool, fsync: %s, max: unlimited }\n"
            "    groups:\n",
            ports[0], ports[1], weir_bench_fsync_name(plan->fsync));
    for (uint32_t i = 0; i < plan->groups; i++) {
        char name[WEIR_BENCH_GROUP_BYTES];

        weir_bench_group_name(i, name);
        fprintf(out, "      %s: { topics: [" WEIR_BENCH_TOPIC "], order: %s, external: true }\n",
                name, plan->keys > 0 ? "key" : "none");
    }
    if (!plan->direct)
        fprintf(
            out,
            "  router: { role: router, from: [ventilator], dispatch: \"tcp://127.0.0.1:%u\" }\n",
            ports[2]);
    if (plan->sink)
        fprintf(out,
                "  sink: { role: sink, submit: \"tcp://127.0.0.1:%u\", write: { jsonl: "
                "" WEIR_BENCH_RESULTS " } }\n",
                ports[3]);
    if (plan->handlers != WEIR_BENCH_FUNCTION)
        write_workers(plan, out);
}

static int make_topology(struct weir_bench_stage *self, struct weir_error *error)
{
    uint16_t ports[PORTS];
    FILE *file;

    if (find_ports(ports, error) != 0 ||
        (self->plan->handlers == WEIR_BENCH_SERVE && write_coprocess(error) != 0))
        return error->code;
    file = fopen(FILE_NAME, "we");
    if (file != NULL)
        write_topology(self->plan, ports, file);
    if (file == NULL || fclose(file) != 0)
        return weir_error_set(error, WEIR_EIO, "cannot write to %s: %s", self->directory,
                              strerror(errno));
    if (weir_topology_load(FILE_NAME, stderr, false, &self->topology, NULL) != 0)
        return weir_error_set(error, WEIR_ECONFIG, "the topology of the bench is no good");
    self->ventilator = weir_topology_node(self->topology, "ventilator");
    self->router = weir_topology_node(self->topology, "router");
    self->sink = weir_topology_node(self->topology, "sink");
    return 0;
}

const char *weir_bench_stage_dispatch(const struct weir_bench_stage *self)
{
    return self->router != NULL ? self->router->dispatch : self->ventilator->dispatch;
}

int weir_bench_stage_init(struct weir_bench_stage *self, const struct weir_bench_plan *plan,
                          struct weir_error *error)
{
    *self = (struct weir_bench_stage){.plan = plan};
    if (make_directory(self, error) != 0)
        return error->code;
    return make_topology(self, error);
}

/* ---- Its processes ----------------------------------------------------------------------------
 */

static void on_started(void *arg, int status, const char *text)
{
    struct weir_bench_part *part = arg;

    if (status == 0)
        weir_bench_part_tell(part, WEIR_BENCH_READY);
    else
        weir_bench_part_fail(part, "%s", text);
}

/* The supervisor's process. When the bench was killed, this is who removes its directory. */
static int supervise(struct weir_bench_part *part, void *argument)
{
    const struct weir_bench_stage *stage = argument;
    const pid_t bench = getppid();
    const int log = open("supervisor.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    char *programs = weir_supervisor_program_directory();
    const struct weir_supervisor_options options = {.topology = stage->topology,
                                                    .program_directory = programs,
                                                    .to_log_files = true,
                                                    .ready_timeout_ms = stage->plan->patience_ms,
                                                    .started = on_started,
                                                    .arg = part};
    struct weir_error error;
    int lock, status;

    if (log < 0 || dup2(log, STDERR_FILENO) < 0)
        return weir_bench_part_fail(part, "cannot write to %s: %s", stage->directory,
                                    strerror(errno));
    weir_log_init("weir", WEIR_LOG_INFO);
    if (weir_supervisor_check(&options, &error) != 0 ||
        weir_run_lock_take(stage->topology, &lock, &error) != 0)
        return weir_bench_part_fail(part, "%s", error.text);
    status = weir_supervisor_run(&options);
    free(programs);
    if (getppid() != bench && !stage->plan->keep)
        remove_directory(stage->directory);
    return status;
}

int weir_bench_stage_up(struct weir_bench_stage *self, struct weir_bench_crew *crew,
                        struct weir_error *error)
{
    struct weir_bench_part *part;

    self->supervisor = crew->count;
    /* Its processes end when it does, and it ends them when the bench is gone. */
    if (weir_bench_crew_start(crew, "supervisor", SIGTERM, supervise, self, &part, error) != 0)
        return error->code;
    return weir_bench_crew_await(crew, self->supervisor, WEIR_BENCH_READY,
                                 self->plan->patience_ms + END_MS, error);
}

int weir_bench_stage_down(struct weir_bench_stage *self, struct weir_bench_crew *crew,
                          struct weir_error *error)
{
    if (crew->parts[self->supervisor].pid != 0)
        kill(crew->parts[self->supervisor].pid, SIGTERM);
    return weir_bench_crew_forget(crew, self->supervisor, self->plan->patience_ms, error);
}

/* A second signal, which is not the first again, tells the supervisor not to wait for anything. */
static void end_now(struct weir_bench_stage *self, struct weir_bench_crew *crew)
{
    struct weir_bench_part *part = &crew->parts[self->supervisor];
    const int64_t until_ns = weir_clock_now().mono_ns + END_MS * WEIR_NS_PER_MS;
    struct weir_error ignored;

    part->ending = true;
    kill(part->pid, SIGTERM);
    kill(part->pid, SIGINT);
    while (part->pid != 0 && weir_clock_now().mono_ns < until_ns)
        (void)weir_bench_crew_turn(crew, 10, &ignored);
}

void weir_bench_stage_fini(struct weir_bench_stage *self, struct weir_bench_crew *crew, bool keep)
{
    if (self->topology != NULL && self->supervisor < crew->count &&
        crew->parts[self->supervisor].pid != 0)
        end_now(self, crew);
    weir_topology_destroy(&self->topology);
    if (self->directory != NULL && !keep)
        remove_directory(self->directory);
    free(self->directory);
    self->directory = NULL;
}
