#include "command.h"
#include "run_lock_file.h"
#include "supervisor.h"

#include <base/alloc.h>
#include <base/log.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: weir up [--detach] [FILE]\n"
    "\n"
    "Start every process of a topology and keep it running: what ends is started again, after 100 "
    "ms\n"
    "at first and after 5 s at most. SIGTERM and SIGINT (Ctrl-C) drain: workers finish what they "
    "run,\n"
    "then routers, ventilators, sinks and collectors end. A second signal ends everything at "
    "once.\n"
    "What was accepted stays in the spools, and goes on at the next 'up'.\n"
    "\n"
    "  -t, --topology FILE  the same as FILE (default: $WEIR_TOPOLOGY)\n"
    "  -d, --detach         go to the background, and return when every process answers\n"
    "      --timeout TIME   give up when they do not all answer by then (default: 60s with\n"
    "                       --detach, else never)\n"
    "  -h, --help\n"
    "\n"
    "Files at run time are in var/TOPOLOGY; with --detach the logs are in var/TOPOLOGY/log.\n"
    "\n"
    "Exit status: 0 drained (with --detach: all processes answer); 64 usage; 69 not ready in "
    "time;\n"
    "75 it is up already; 78 the topology has errors, or a process found some; 128 + N ended at "
    "once\n"
    "by signal N.\n";

static void started_in_front(void *arg, int status, const char *text)
{
    (void)arg;
    (void)status;
    (void)text; /* the supervisor has printed it */
}

/* ---- In the background ------------------------------------------------------------------------
 */

struct news { /* from the supervisor to the process that waits for it; fits into PIPE_BUF */
    int status;
    char text[512];
};

static void started_detached(void *arg, int status, const char *text)
{
    int fd = *(int *)arg;
    struct news news = {.status = status};

    snprintf(news.text, sizeof news.text, "%s", text);
    (void)!write(fd, &news, sizeof news);
    close(fd);
}

/* Leave the terminal: a session of its own, and a log file for what it says. */
static bool go_to_background(const struct weir_topology *topology, struct news *news)
{
    char *directory = weir_asprintf("%s/log", topology->run_dir);
    char *path = weir_asprintf("%s/weir.log", directory);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), log = -1;

    if (mkdir(directory, 0777) == 0 || errno == EEXIST)
        log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0) {
        news->status = EX_CANTCREAT;
        snprintf(news->text, sizeof news->text, "cannot open %s: %s", path, strerror(errno));
    } else {
        setsid();
        dup2(null, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close(log);
    }
    if (null >= 0)
        close(null);
    free(directory);
    free(path);
    return log >= 0;
}

_Noreturn static void run_detached(struct weir_supervisor_options *options, int news_fd)
{
    struct weir_error error;
    struct news news = {.status = EX_TEMPFAIL};
    int lock;

    if (weir_run_lock_take(options->topology, &lock, &error) != 0) {
        snprintf(news.text, sizeof news.text, "%s", error.text);
        (void)!write(news_fd, &news, sizeof news);
        _exit(EX_TEMPFAIL);
    }
    if (!go_to_background(options->topology, &news)) {
        (void)!write(news_fd, &news, sizeof news);
        _exit(EX_CANTCREAT);
    }
    weir_log_init("weir", WEIR_LOG_INFO);
    options->started = started_detached;
    options->arg = &news_fd;
    int status = weir_supervisor_run(options);

    exit(status);
}

static int detach(const struct weir_command *self, struct weir_supervisor_options *options)
{
    struct news news = {.status = EX_SOFTWARE};
    int ends[2];

    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return weir_command_failed(self, EX_OSERR, "no pipe: %s", strerror(errno));
    pid_t pid = fork();

    if (pid < 0)
        return weir_command_failed(self, EX_OSERR, "cannot fork: %s", strerror(errno));
    if (pid == 0) {
        close(ends[0]);
        run_detached(options, ends[1]);
    }
    close(ends[1]);
    ssize_t got;

    do
        got = read(ends[0], &news, sizeof news);
    while (got < 0 && errno == EINTR);
    close(ends[0]);
    if (got != (ssize_t)sizeof news)
        return weir_command_failed(self, EX_SOFTWARE,
                                   "the supervisor ended without a word; %s/log/"
                                   "weir.log may say more",
                                   options->topology->run_dir);
    if (news.status != 0)
        return weir_command_failed(self, news.status, "%s", news.text);
    printf("'%s' is up, supervised by process %d; logs are in %s/log\n", options->topology->name,
           (int)pid, options->topology->run_dir);
    return fflush(stdout) == 0 ? 0 : EX_IOERR;
}

static int run_in_front(const struct weir_command *self, struct weir_supervisor_options *options)
{
    struct weir_error error;
    int lock;

    if (weir_run_lock_take(options->topology, &lock, &error) != 0)
        return weir_command_failed(self, EX_TEMPFAIL, "%s", error.text);
    options->started = started_in_front;
    int status = weir_supervisor_run(options);

    close(lock);
    return status;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { TIMEOUT = 256 };
    static const struct option known[] = {{"topology", required_argument, NULL, 't'},
                                          {"detach", no_argument, NULL, 'd'},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct weir_supervisor_options options = {0};
    struct weir_topology *topology = NULL;
    struct weir_error error;
    const char *file = NULL;
    int64_t timeout_ms = -1;
    bool detached = false;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:dh", known, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            file = optarg;
        else if (option == 'd')
            detached = true;
        else if (weir_duration_parse(optarg, &timeout_ms, &error) != 0)
            return weir_command_misused(self, "--timeout: %s", error.text);
    }
    if (argc - optind > 1)
        return weir_command_misused(self, "one topology at a time");
    status = weir_command_topology(self, optind < argc ? argv[optind] : file, &topology);
    if (status != 0)
        return status;
    char *directory = weir_supervisor_program_directory();

    options.topology = topology;
    options.program_directory = directory;
    options.to_log_files = detached;
    options.ready_timeout_ms = timeout_ms >= 0 ? timeout_ms : detached ? 60000 : 0;
    if (weir_supervisor_check(&options, &error) != 0)
        status = weir_command_failed(self, EX_UNAVAILABLE, "%s", error.text);
    else
        status = detached ? detach(self, &options) : run_in_front(self, &options);
    free(directory);
    weir_topology_destroy(&topology);
    return status;
}

const struct weir_command weir_command_up = {
    "up", "start every process of a topology and keep it running", help, run};
