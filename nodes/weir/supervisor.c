#include "supervisor.h"

#include "output.h"
#include "run_state_file.h"
#include "supervised_process.h"

#include <base/alloc.h>
#include <base/log.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <zmq.h>

#define STAGE_MS (WEIR_DRAIN_MS + WEIR_LEAVE_MS + 5000) /* a node's own limit, and time to end */
#define KILL_MS 2000                                    /* after a second signal */

/* The order of draining. Workers end first: they finish what runs, hand their results to a sink
 * that is still there, and ack through routers to ventilators that are still there. Then the
 * routers, which nobody needs any more. Then the ventilators, which have heard every ack, and hand
 * their dead letters to a collector that is still there. Sinks and collectors are last. A process
 * that crashes before its turn is started again: those before it may need it. */
static const int stages[] = {
    [WEIR_ROLE_WORKER] = 0, [WEIR_ROLE_ROUTER] = 1, [WEIR_ROLE_VENTILATOR] = 2,
    [WEIR_ROLE_SINK] = 3,   [WEIR_ROLE_DLQ] = 3,
};
#define STAGE_COUNT 4

struct supervisor {
    const struct weir_supervisor_options *options;
    struct weir_admin *admin;
    struct weir_supervised *processes;
    uint32_t process_count;
    struct weir_child_output own; /* this one's lines have the same form */
    int signal_fd;
    struct weir_now started, now;
    bool told; /* options->started was called */
    bool draining;
    int stage; /* draining: this one and those before it were asked to end */
    int64_t stage_deadline_ns;
    int64_t kill_at_ns; /* after a second signal; 0: none came */
    int exit_status;
    bool changed; /* the state file is to be written */
};

static void say(struct supervisor *self, enum weir_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct supervisor *self, enum weir_log_level level, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (self->options->to_log_files) {
        weir_log(level, "%s", text);
        return;
    }
    printf("%s%s\n", self->own.prefix, text);
    fflush(stdout);
}

static void tell_started(struct supervisor *self, int status, const char *text)
{
    if (!self->told)
        self->options->started(self->options->arg, status, text);
    self->told = true;
}

static void write_state(struct supervisor *self)
{
    const struct weir_topology *topology = self->options->topology;
    json_t *processes = json_array();
    struct weir_error error;

    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct weir_supervised *process = &self->processes[i];
        json_t *row = json_pack(
            "{s:s, s:i, s:s, s:i}", "node", process->node->name, "instance", (int)process->instance,
            "state", weir_process_state_name(process->state), "restarts", (int)process->restarts);

        json_object_set_new(row, "pid", process->pid ? json_integer(process->pid) : json_null());
        if (process->pid != 0)
            json_object_set_new(row, "started_ms", json_integer(process->started.wall_ms));
        json_array_append_new(processes, row);
    }
    json_t *state =
        json_pack("{s:s, s:i, s:I, s:o}", "topology", topology->name, "supervisor", (int)getpid(),
                  "started_ms", (json_int_t)self->started.wall_ms, "processes", processes);

    if (weir_run_state_write(topology, state, &error) != 0)
        say(self, WEIR_LOG_WARNING, "%s; 'weir ps' tells old news", error.text);
    self->changed = false;
}

static void remove_state(struct supervisor *self)
{
    char *path = weir_asprintf("%s/state.json", self->options->topology->run_dir);

    unlink(path);
    free(path);
}

/* ---- Draining ---------------------------------------------------------------------------------
 */

static bool of_stage(const struct weir_supervised *process, int stage)
{
    return stages[process->node->role] == stage;
}

static void enter_stage(struct supervisor *self, int stage)
{
    self->stage = stage;
    self->stage_deadline_ns = self->now.mono_ns + STAGE_MS * WEIR_NS_PER_MS;
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];

        if (!of_stage(process, stage))
            continue;
        weir_supervised_drain(process);
        if (process->state == WEIR_PROCESS_RESTARTING)
            process->state = WEIR_PROCESS_STOPPED;
    }
    self->changed = true;
}

static bool stage_is_over(const struct supervisor *self)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        if (stages[self->processes[i].node->role] <= self->stage && self->processes[i].pid != 0)
            return false;
    }
    return true;
}

static void begin_drain(struct supervisor *self, int exit_status)
{
    if (self->draining)
        return;
    self->draining = true;
    self->exit_status = exit_status;
    enter_stage(self, 0);
}

/* The processes that ignore their time to drain: whatever they hold is leased, and comes back. */
static void kill_late(struct supervisor *self)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];

        if (process->pid == 0 || stages[process->node->role] > self->stage)
            continue;
        say(self, WEIR_LOG_WARNING,
            "%s has not drained in time and is killed; what it held is "
            "handed out again",
            process->label);
        weir_supervised_signal(process, SIGKILL);
    }
    self->stage_deadline_ns = INT64_MAX;
}

static void end_at_once(struct supervisor *self, int signal_number)
{
    say(self, WEIR_LOG_WARNING, "second signal: ending at once");
    self->exit_status = 128 + signal_number;
    self->kill_at_ns = self->now.mono_ns + KILL_MS * WEIR_NS_PER_MS;
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];

        /* Two different ones, because two equal ones may count as one. */
        weir_supervised_signal(process, SIGTERM);
        weir_supervised_signal(process, SIGINT);
        process->state = process->pid ? WEIR_PROCESS_DRAINING : WEIR_PROCESS_STOPPED;
    }
    self->stage = STAGE_COUNT - 1;
    self->stage_deadline_ns = INT64_MAX;
}

/* SIGUSR1 is `weir down`, which may be said again without any harm. */
static void on_signal(struct supervisor *self, int signal_number)
{
    if (signal_number == SIGUSR1 && self->draining)
        return;
    if (!self->draining) {
        say(self, WEIR_LOG_INFO,
            "draining: workers finish what they run, then the others end; a "
            "second signal ends at once");
        tell_started(self, 128 + signal_number, "interrupted before all processes were ready");
        begin_drain(self, 0);
    } else if (self->kill_at_ns == 0) {
        end_at_once(self, signal_number);
    }
}

/* ---- Processes that end, and start again ------------------------------------------------------
 */

static void give_up(struct supervisor *self, struct weir_supervised *process, const char *ending)
{
    int status = WIFEXITED(process->wait_status) ? WEXITSTATUS(process->wait_status) : EX_SOFTWARE;
    const char *often = process->restart.storage_failures > 0 ? ", again and again" : "";
    char *where = self->options->to_log_files
                      ? weir_asprintf("%s/log/%s.log says why", self->options->topology->run_dir,
                                      process->label)
                      : weir_strdup("its last lines say why");
    char *text = weir_asprintf("%s %s%s and is not started any more: %s%s", process->label, ending,
                               often, where, self->told ? "" : "; the others end, too");

    process->state = WEIR_PROCESS_FAILED;
    say(self, WEIR_LOG_ERROR, "%s", text);
    if (!self->told) {
        tell_started(self, status, text);
        begin_drain(self, status);
    }
    free(where);
    free(text);
}

static void on_end(struct supervisor *self, struct weir_supervised *process)
{
    char ending[WEIR_ENDING_BYTES];
    int64_t lived_ms = (self->now.mono_ns - process->started.mono_ns) / WEIR_NS_PER_MS;
    bool asked = process->state == WEIR_PROCESS_DRAINING;

    self->changed = true;
    weir_format_ending(process->wait_status, ending, sizeof ending);
    if (asked || self->kill_at_ns != 0) {
        process->state = WEIR_PROCESS_STOPPED;
        if (process->wait_status != 0 && self->kill_at_ns == 0)
            say(self, WEIR_LOG_WARNING, "%s %s while it drained", process->label, ending);
        return;
    }
    int64_t delay_ms = weir_restart_after(&process->restart, process->wait_status, lived_ms);

    if (delay_ms < 0) {
        give_up(self, process, ending);
        return;
    }
    process->state = WEIR_PROCESS_RESTARTING;
    process->start_at_ns = self->now.mono_ns + delay_ms * WEIR_NS_PER_MS;
    process->restarts++;
    say(self, WEIR_LOG_WARNING, "%s %s; starting it again in %lld ms", process->label, ending,
        (long long)delay_ms);
}

static void start(struct supervisor *self, struct weir_supervised *process)
{
    struct weir_error error;

    self->changed = true;
    if (weir_supervised_start(process, self->options->program_directory,
                              self->options->to_log_files, self->admin, &error) == 0)
        return;
    process->start_at_ns = self->now.mono_ns + WEIR_RESTART_MAX_MS * WEIR_NS_PER_MS;
    say(self, WEIR_LOG_ERROR, "%s; trying again in %d ms", error.text, WEIR_RESTART_MAX_MS);
}

static void start_due(struct supervisor *self)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];

        if (process->state == WEIR_PROCESS_RESTARTING && process->start_at_ns <= self->now.mono_ns)
            start(self, process);
    }
}

static void on_answer(struct supervisor *self, struct weir_supervised *process)
{
    uint32_t open = 0;

    weir_supervised_end_probe(process);
    process->state = WEIR_PROCESS_RUNNING;
    self->changed = true;
    for (uint32_t i = 0; i < self->process_count; i++)
        open += self->processes[i].state != WEIR_PROCESS_RUNNING;
    if (open > 0 || self->told || self->draining)
        return;
    write_state(self);
    say(self, WEIR_LOG_INFO, "ready: all %u processes of '%s' answer", self->process_count,
        self->options->topology->name);
    tell_started(self, 0, "");
}

static void check_ready_timeout(struct supervisor *self)
{
    int64_t limit_ms = self->options->ready_timeout_ms;
    char late[512] = "";
    size_t used = 0;

    if (self->told || limit_ms == 0 ||
        self->now.mono_ns - self->started.mono_ns < limit_ms * WEIR_NS_PER_MS)
        return;
    for (uint32_t i = 0; i < self->process_count && used < sizeof late; i++) {
        if (self->processes[i].state != WEIR_PROCESS_RUNNING)
            used += (size_t)snprintf(late + used, sizeof late - used, "%s%s", used ? ", " : "",
                                     self->processes[i].label);
    }
    char *text = weir_asprintf("not ready within %lld s: %s; the logs in %s/log say more",
                               (long long)limit_ms / 1000, late, self->options->topology->run_dir);

    say(self, WEIR_LOG_ERROR, "%s", text);
    tell_started(self, EX_UNAVAILABLE, text);
    begin_drain(self, EX_UNAVAILABLE);
    free(text);
}

/* ---- The loop ---------------------------------------------------------------------------------
 */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static long time_to_wait_ms(const struct supervisor *self)
{
    int64_t next = INT64_MAX;

    for (uint32_t i = 0; i < self->process_count; i++) {
        if (self->processes[i].state == WEIR_PROCESS_RESTARTING)
            next = earlier(next, self->processes[i].start_at_ns);
    }
    if (!self->told && self->options->ready_timeout_ms > 0)
        next =
            earlier(next, self->started.mono_ns + self->options->ready_timeout_ms * WEIR_NS_PER_MS);
    if (self->draining)
        next = earlier(next, self->stage_deadline_ns);
    if (self->kill_at_ns != 0)
        next = earlier(next, self->kill_at_ns);
    if (next == INT64_MAX)
        return -1;
    int64_t left_ns = next - self->now.mono_ns;

    return left_ns <= 0 ? 0 : (long)((left_ns + WEIR_NS_PER_MS - 1) / WEIR_NS_PER_MS);
}

static void take_signals(struct supervisor *self)
{
    struct signalfd_siginfo info;

    while (read(self->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD)
            on_signal(self, (int)info.ssi_signo);
    }
    for (uint32_t i = 0; i < self->process_count; i++) {
        if (weir_supervised_reap(&self->processes[i]))
            on_end(self, &self->processes[i]);
    }
}

/* Wait for the next event and handle what there is. `items` has room for 1 + 3 a process. */
static void turn(struct supervisor *self, zmq_pollitem_t *items)
{
    int count = 0;

    items[count++] = (zmq_pollitem_t){.fd = self->signal_fd, .events = ZMQ_POLLIN};
    for (uint32_t i = 0; i < self->process_count; i++) {
        const struct weir_supervised *process = &self->processes[i];

        if (process->out_fd >= 0)
            items[count++] = (zmq_pollitem_t){.fd = process->out_fd, .events = ZMQ_POLLIN};
        if (process->err_fd >= 0)
            items[count++] = (zmq_pollitem_t){.fd = process->err_fd, .events = ZMQ_POLLIN};
        if (process->probe != NULL)
            items[count++] =
                (zmq_pollitem_t){.socket = process->probe, .fd = -1, .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, count, time_to_wait_ms(self)) < 0 && errno != EINTR)
        WEIR_ASSERT(!"zmq_poll failed");
    self->now = weir_clock_now();
    /* Before the endings: what a process wrote last stands before the news that it ended. */
    int at = 1;

    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];
        bool lines = false, answer = false;

        if (process->out_fd >= 0)
            lines = items[at++].revents != 0;
        if (process->err_fd >= 0)
            lines = items[at++].revents != 0 || lines;
        if (process->probe != NULL)
            answer = items[at++].revents != 0;
        if (lines)
            weir_supervised_read(process);
        if (answer)
            on_answer(self, process);
    }
    if (items[0].revents != 0)
        take_signals(self);
}

static void check_times(struct supervisor *self)
{
    start_due(self);
    check_ready_timeout(self);
    if (self->kill_at_ns != 0 && self->now.mono_ns >= self->kill_at_ns) {
        for (uint32_t i = 0; i < self->process_count; i++)
            weir_supervised_signal(&self->processes[i], SIGKILL);
        self->kill_at_ns = INT64_MAX;
    }
    if (self->draining && self->now.mono_ns >= self->stage_deadline_ns)
        kill_late(self);
    while (self->draining && self->stage < STAGE_COUNT - 1 && stage_is_over(self))
        enter_stage(self, self->stage + 1);
}

static void make_processes(struct supervisor *self)
{
    const struct weir_topology *topology = self->options->topology;
    bool coloured = weir_output_coloured(stdout);
    uint32_t width = 4, number = 0;

    for (uint32_t i = 0; i < topology->node_count; i++)
        self->process_count += topology->nodes[i].count;
    self->processes = weir_zalloc(self->process_count, sizeof *self->processes);
    for (uint32_t i = 0; i < topology->node_count; i++) {
        for (uint32_t n = 1; n <= topology->nodes[i].count; n++) {
            struct weir_supervised *process = &self->processes[number++];

            weir_supervised_init(process, topology, &topology->nodes[i], n);
            if (strlen(process->label) > width)
                width = (uint32_t)strlen(process->label);
        }
    }
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct weir_supervised *process = &self->processes[i];
        /* A sink's rows go on as they are where a program reads them. */
        bool rows = process->node->role == WEIR_ROLE_SINK &&
                    process->node->sink == WEIR_SINK_STDOUT && !isatty(STDOUT_FILENO);

        weir_child_output_init(&process->out, stdout, rows ? NULL : process->label, i, width,
                               coloured);
        weir_child_output_init(&process->err, stdout, process->label, i, width, coloured);
    }
    weir_child_output_init(&self->own, stdout, "weir", 0, width, false);
}

static void open_signals(struct supervisor *self)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* whoever reads our lines may leave */
    self->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    WEIR_ASSERT(self->signal_fd >= 0);
}

static bool all_gone(const struct supervisor *self)
{
    for (uint32_t i = 0; i < self->process_count; i++) {
        if (self->processes[i].pid != 0)
            return false;
    }
    return self->stage == STAGE_COUNT - 1;
}

int weir_supervisor_run(const struct weir_supervisor_options *options)
{
    struct supervisor self = {.options = options, .started = weir_clock_now()};

    open_signals(&self);
    self.admin = weir_admin_new();
    self.now = self.started;
    make_processes(&self);
    zmq_pollitem_t *items = weir_zalloc(1 + 3 * (size_t)self.process_count, sizeof *items);

    while (!(self.draining && all_gone(&self))) {
        check_times(&self);
        if (self.changed)
            write_state(&self);
        if (!(self.draining && all_gone(&self)))
            turn(&self, items);
    }
    for (uint32_t i = 0; i < self.process_count; i++)
        weir_supervised_close_output(&self.processes[i]);
    say(&self, WEIR_LOG_INFO, "ended: all processes of '%s' are gone", options->topology->name);
    remove_state(&self);
    for (uint32_t i = 0; i < self.process_count; i++)
        weir_supervised_fini(&self.processes[i]);
    free(self.processes);
    free(items);
    weir_child_output_fini(&self.own);
    weir_admin_destroy(&self.admin);
    close(self.signal_fd);
    return self.exit_status;
}

char *weir_supervisor_program_directory(void)
{
    char path[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof path - 1);

    if (bytes <= 0)
        return weir_strdup("/usr/bin");
    path[bytes] = '\0';
    *strrchr(path, '/') = '\0';
    return weir_strdup(path);
}

int weir_supervisor_check(const struct weir_supervisor_options *options, struct weir_error *error)
{
    const struct weir_topology *topology = options->topology;
    uint32_t process_count = 0;
    int status = 0;

    for (uint32_t i = 0; i < topology->node_count && status == 0; i++) {
        const char *name = weir_role_program(topology->nodes[i].role);
        char *path = weir_asprintf("%s/%s", options->program_directory, name);

        process_count += topology->nodes[i].count;
        if (access(path, X_OK) != 0)
            status =
                weir_error_set(error, WEIR_ENOTFOUND, "the program %s is not beside weir in %s: %s",
                               name, options->program_directory, strerror(errno));
        free(path);
    }
    if (status == 0 && process_count > WEIR_PROCESSES_MAX)
        status = weir_error_set(error, WEIR_ELIMIT,
                                "%u processes are more than the %u that one 'weir up' runs",
                                process_count, WEIR_PROCESSES_MAX);
    return status;
}
