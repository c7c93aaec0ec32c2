#include "supervised_process.h"

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

void weir_supervised_init(struct weir_supervised *self, const struct weir_topology *topology,
                          const struct weir_node *node, uint32_t instance)
{
    *self = (struct weir_supervised){.topology = topology,
                                     .node = node,
                                     .instance = instance,
                                     .state = WEIR_PROCESS_RESTARTING,
                                     .out_fd = -1,
                                     .err_fd = -1};
    self->label =
        node->count == 1 ? weir_strdup(node->name) : weir_asprintf("%s.%u", node->name, instance);
    self->admin = weir_node_admin_endpoint(topology, node, instance);
}

void weir_supervised_fini(struct weir_supervised *self)
{
    weir_supervised_end_probe(self);
    weir_supervised_close_output(self);
    weir_child_output_fini(&self->out);
    weir_child_output_fini(&self->err);
    free(self->label);
    free(self->admin);
}

struct child_files {
    int in, out, err;
    pid_t parent;
};

/* In the child, between fork and exec: only what is safe while the parent has threads. Not
 * posix_spawn, because that cannot ask for the parent-death signal. */
_Noreturn static void become(const char *program, char *const *words,
                             const struct child_files *files)
{
    static const char failed[] = "weir: the program cannot be executed\n";
    sigset_t none;

    /* Ctrl-C is for the supervisor, which drains in order. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != files->parent)
        _exit(EXIT_FAILURE); /* it ended before the line above */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(files->in, STDIN_FILENO) < 0 || dup2(files->out, STDOUT_FILENO) < 0 ||
        dup2(files->err, STDERR_FILENO) < 0)
        _exit(126);
    execv(program, words);
    (void)!write(STDERR_FILENO, failed, sizeof failed - 1);
    _exit(127);
}

static int open_log(const struct weir_supervised *self, struct weir_error *error)
{
    char *directory = weir_asprintf("%s/log", self->topology->run_dir);
    char *path = weir_asprintf("%s/%s.log", directory, self->label);
    int fd = -1;

    if (mkdir(directory, 0777) == 0 || errno == EEXIST)
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        weir_error_set(error, WEIR_EIO, "cannot open %s: %s", path, strerror(errno));
    free(directory);
    free(path);
    return fd;
}

/* The ends that the child gets go to `files`; the others to out_fd and err_fd. */
static int open_files(struct weir_supervised *self, bool to_log_file, struct child_files *files,
                      struct weir_error *error)
{
    int out[2], err[2];

    if (to_log_file) {
        files->out = files->err = open_log(self, error);
        return files->out < 0 ? error->code : 0;
    }
    if (pipe2(out, O_CLOEXEC) != 0)
        return weir_error_set(error, WEIR_EIO, "no pipe for %s: %s", self->label, strerror(errno));
    if (pipe2(err, O_CLOEXEC) != 0) {
        int status =
            weir_error_set(error, WEIR_EIO, "no pipe for %s: %s", self->label, strerror(errno));

        close(out[0]);
        close(out[1]);
        return status;
    }
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    self->out_fd = out[0];
    self->err_fd = err[0];
    files->out = out[1];
    files->err = err[1];
    return 0;
}

int weir_supervised_start(struct weir_supervised *self, const char *program_directory,
                          bool to_log_file, struct weir_admin *admin, struct weir_error *error)
{
    char *program = weir_asprintf("%s/%s", program_directory, weir_role_program(self->node->role));
    char *instance = weir_asprintf("%u", self->instance);
    char *const words[] = {program,
                           (char *)"--topology",
                           self->topology->file,
                           (char *)"--node",
                           self->node->name,
                           (char *)"--instance",
                           instance,
                           NULL};
    struct child_files files = {
        .in = open("/dev/null", O_RDONLY | O_CLOEXEC), .out = -1, .err = -1, .parent = getpid()};
    int status;

    weir_supervised_close_output(self);
    status = open_files(self, to_log_file, &files, error);
    if (status == 0) {
        self->pid = fork();
        if (self->pid == 0)
            become(program, words, &files);
        if (self->pid < 0) {
            self->pid = 0;
            status = weir_error_set(error, WEIR_EIO, "cannot start %s: %s", self->label,
                                    strerror(errno));
        }
    }
    if (files.in >= 0)
        close(files.in);
    if (files.out >= 0)
        close(files.out);
    if (files.err >= 0 && files.err != files.out)
        close(files.err);
    if (status == 0) {
        self->state = WEIR_PROCESS_STARTING;
        self->started = weir_clock_now();
        weir_supervised_end_probe(self);
        self->probe = weir_admin_probe(admin, self->admin);
    }
    free(program);
    free(instance);
    return status;
}

bool weir_supervised_reap(struct weir_supervised *self)
{
    if (self->pid == 0 || waitpid(self->pid, &self->wait_status, WNOHANG) != self->pid)
        return false;
    self->pid = 0;
    weir_supervised_end_probe(self);
    weir_supervised_read(self);
    return true;
}

void weir_supervised_drain(struct weir_supervised *self)
{
    if (self->pid == 0)
        return;
    kill(self->pid, SIGTERM);
    self->state = WEIR_PROCESS_DRAINING;
    weir_supervised_end_probe(self);
}

void weir_supervised_signal(const struct weir_supervised *self, int signal_number)
{
    if (self->pid == 0)
        return;
    if (signal_number == SIGKILL)
        kill(-self->pid, SIGKILL); /* a handler that it started is of its group, or ends with it */
    kill(self->pid, signal_number);
}

void weir_supervised_read(struct weir_supervised *self)
{
    if (self->out_fd >= 0 && !weir_child_output_read(&self->out, self->out_fd)) {
        close(self->out_fd);
        self->out_fd = -1;
    }
    if (self->err_fd >= 0 && !weir_child_output_read(&self->err, self->err_fd)) {
        close(self->err_fd);
        self->err_fd = -1;
    }
}

/* At most what a pipe can hold: the writer is gone, but something it started may write on. */
void weir_supervised_close_output(struct weir_supervised *self)
{
    for (int i = 0; i < 16 && (self->out_fd >= 0 || self->err_fd >= 0); i++)
        weir_supervised_read(self);
    if (self->out_fd >= 0)
        close(self->out_fd);
    if (self->err_fd >= 0)
        close(self->err_fd);
    self->out_fd = self->err_fd = -1;
}

void weir_supervised_end_probe(struct weir_supervised *self)
{
    if (self->probe != NULL)
        zmq_close(self->probe);
    self->probe = NULL;
}
