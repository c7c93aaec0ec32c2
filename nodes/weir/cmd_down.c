#include "command.h"
#include "run_lock_file.h"
#include "run_state_file.h"

#include <base/clock.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

static const char help[] =
    "usage: weir down [--now] [--timeout TIME] [FILE]\n"
    "\n"
    "Drain a topology that 'weir up' runs, and wait until its processes have ended. What was "
    "accepted\n"
    "stays in the spools.\n"
    "\n"
    "  -t, --topology FILE  the same as FILE (default: $WEIR_TOPOLOGY)\n"
    "      --now            end at once, without draining; what was being done is done again\n"
    "      --timeout TIME   how long to wait (default: 3m); it drains on afterwards\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 it has ended, or was not up; 64 usage; 75 it still drains; 78 the topology "
    "has\n"
    "errors.\n";

static void name_open_processes(const struct weir_topology *topology, char *text, size_t bytes)
{
    json_t *state = weir_run_state_read(topology), *process;
    size_t i, used = 0;

    text[0] = '\0';
    json_array_foreach(json_object_get(state, "processes"), i, process)
    {
        const char *node = json_string_value(json_object_get(process, "node"));

        if (node != NULL && json_is_integer(json_object_get(process, "pid")) && used < bytes)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s (%lld)", used ? ", " : "",
                                     node, json_integer_value(json_object_get(process, "pid")));
    }
    json_decref(state);
}

/* Wait until the process behind the descriptor has ended. */
static bool ended_within(int pid_fd, int64_t timeout_ms)
{
    struct pollfd item = {.fd = pid_fd, .events = POLLIN};
    int64_t until_ns = weir_clock_now().mono_ns + timeout_ms * WEIR_NS_PER_MS;

    while (true) {
        int64_t left_ms = (until_ns - weir_clock_now().mono_ns) / WEIR_NS_PER_MS;
        int got = poll(&item, 1, left_ms > 0 ? (int)left_ms : 0);

        if (got > 0)
            return true;
        if (got == 0 || errno != EINTR)
            return false;
    }
}

static int bring_down(const struct weir_command *self, const struct weir_topology *topology,
                      bool now, int64_t timeout_ms)
{
    pid_t holder = weir_run_lock_holder(topology);
    int pid_fd = holder > 0 ? pidfd_open(holder, 0) : -1;
    int status = 0;

    /* Asked again with the process in hand, so that the pid cannot have become another's. */
    if (pid_fd < 0 || weir_run_lock_holder(topology) != holder) {
        if (pid_fd >= 0)
            close(pid_fd);
        weir_command_note(self, "'%s' is not up here", topology->name);
        return 0;
    }
    /* Ending at once is a second signal; two different ones, because two equal ones may count as
     * one. */
    if (pidfd_send_signal(pid_fd, now ? SIGTERM : SIGUSR1, NULL, 0) != 0 ||
        (now && pidfd_send_signal(pid_fd, SIGINT, NULL, 0) != 0)) {
        if (errno != ESRCH)
            status = weir_command_failed(self, EX_NOPERM, "cannot signal the supervisor %d: %s",
                                         (int)holder, strerror(errno));
    } else if (!ended_within(pid_fd, timeout_ms)) {
        char open[512];

        name_open_processes(topology, open, sizeof open);
        status = weir_command_failed(self, EX_TEMPFAIL,
                                     "'%s' still drains: %s; wait with 'weir down', or end it with "
                                     "'weir down --now'",
                                     topology->name, open);
    }
    close(pid_fd);
    if (status == 0)
        printf("'%s' is down\n", topology->name);
    return status;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { TIMEOUT = 256, NOW };
    static const struct option options[] = {{"topology", required_argument, NULL, 't'},
                                            {"now", no_argument, NULL, NOW},
                                            {"timeout", required_argument, NULL, TIMEOUT},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct weir_topology *topology;
    struct weir_error error;
    const char *file = NULL;
    int64_t timeout_ms = 180000;
    bool now = false;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            file = optarg;
        else if (option == NOW)
            now = true;
        else if (weir_duration_parse(optarg, &timeout_ms, &error) != 0)
            return weir_command_misused(self, "--timeout: %s", error.text);
    }
    if (argc - optind > 1)
        return weir_command_misused(self, "one topology at a time");
    status = weir_command_topology(self, optind < argc ? argv[optind] : file, &topology);
    if (status != 0)
        return status;
    status = bring_down(self, topology, now, timeout_ms);
    weir_topology_destroy(&topology);
    return status;
}

const struct weir_command weir_command_down = {
    "down", "drain a topology and wait until it has ended", help, run};
