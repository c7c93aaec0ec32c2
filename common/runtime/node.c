#include <runtime/node.h>

#include <base/alloc.h>
#include <base/directories.h>
#include <base/limits.h>
#include <base/log.h>
#include <base/random.h>
#include <core/roles.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <weir.h>

struct options {
    const char *topology;
    const char *node;
    uint32_t instance;
    bool verbose;
};

int weir_exit_status(int code)
{
    switch (code) {
    case 0:
        return EX_OK;
    case WEIR_EINVAL:
    case WEIR_ECONFIG:
    case WEIR_ENOTFOUND:
        return EX_CONFIG;
    case WEIR_EDAMAGED:
        return EX_DATAERR;
    case WEIR_EIO:
        return EX_IOERR;
    case WEIR_EFULL:
    case WEIR_ELOCKED:
    case WEIR_EBUSY:
        return EX_TEMPFAIL;
    case WEIR_EUNREACHABLE:
    case WEIR_ETIMEDOUT:
        return EX_UNAVAILABLE;
    case WEIR_EPROTO:
        return EX_PROTOCOL;
    default:
        return EX_SOFTWARE;
    }
}

int weir_process_fail(const struct weir_error *error)
{
    weir_log(WEIR_LOG_ERROR, "%s", error->text);
    return weir_exit_status(error->code);
}

/* ---- The command line ----------------------------------------------------------------------- */

static void print_help(const char *program)
{
    printf("usage: %s --topology FILE --node NAME [--instance N] [--verbose]\n"
           "\n"
           "Run one node of a topology in the foreground.\n"
           "\n"
           "  -t, --topology FILE  the topology (default: $WEIR_TOPOLOGY)\n"
           "  -n, --node NAME      which of its nodes\n"
           "  -i, --instance N     which instance of the node, from 1 (default: 1)\n"
           "  -v, --verbose        log more\n"
           "      --help, --version\n"
           "\n"
           "SIGTERM and SIGINT finish what is running, then end; the second one ends at once.\n"
           "Exit status: 0 ended as asked; 64 usage; 65 damaged data; 70 an error in the program;\n"
           "73 no run directory; 74 input/output; 75 locked or full; 78 configuration.\n",
           program);
}

static bool usage_error(const char *program, int *status)
{
    fprintf(stderr, "usage: %s --topology FILE --node NAME [--instance N]; see %s --help\n",
            program, program);
    *status = EX_USAGE;
    return false;
}

static bool parse_instance(const char *text, uint32_t *instance)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value == 0 ||
        value > UINT32_MAX)
        return false;
    *instance = (uint32_t)value;
    return true;
}

static bool parse(const char *program, int argc, char **argv, struct options *options, int *status)
{
    enum { OPTION_HELP = 256, OPTION_VERSION };
    static const struct option known[] = {
        {"topology", required_argument, NULL, 't'},
        {"node", required_argument, NULL, 'n'},
        {"instance", required_argument, NULL, 'i'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.topology = getenv("WEIR_TOPOLOGY"), .instance = 1};
    int option;
    while ((option = getopt_long(argc, argv, "t:n:i:v", known, NULL)) != -1) {
        switch (option) {
        case 't':
            options->topology = optarg;
            break;
        case 'n':
            options->node = optarg;
            break;
        case 'i':
            if (!parse_instance(optarg, &options->instance)) {
                fprintf(stderr, "%s: --instance %s: expected a number from 1\n", program, optarg);
                return usage_error(program, status);
            }
            break;
        case 'v':
            options->verbose = true;
            break;
        case OPTION_HELP:
            print_help(program);
            *status = 0;
            return false;
        case OPTION_VERSION:
            printf("%s %d.%d.%d\n", program, WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR,
                   WEIR_VERSION_PATCH);
            *status = 0;
            return false;
        default:
            return usage_error(program, status);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument %s\n", program, argv[optind]);
        return usage_error(program, status);
    }
    if (options->topology == NULL || options->topology[0] == '\0' || options->node == NULL) {
        fprintf(stderr, "%s: %s is missing\n", program,
                options->node == NULL ? "--node" : "--topology (or $WEIR_TOPOLOGY)");
        return usage_error(program, status);
    }
    return true;
}

/* ---- The run directory ---------------------------------------------------------------------- */

static int make_run_directory(const struct weir_topology *topology, struct weir_error *error)
{
    char *path = weir_asprintf("%s/", topology->run_dir);
    int status = weir_make_directories(path, 0755, error);
    free(path);
    return status;
}

static int write_pid(struct weir_process *self, struct weir_error *error)
{
    if (self->topology == NULL)
        return 0;
    char *path =
        weir_asprintf("%s/%s.%u.pid", self->topology->run_dir, self->node->name, self->instance);
    FILE *file = fopen(path, "we");
    bool written = file != NULL && fprintf(file, "%ld\n", (long)getpid()) > 0;
    if (file != NULL && fclose(file) != 0)
        written = false;
    if (!written) {
        int status = weir_error_set(error, WEIR_EIO, "cannot write %s: %s", path, strerror(errno));
        free(path);
        return status;
    }
    self->pid_path = path;
    return 0;
}

/* ---- The process ---------------------------------------------------------------------------- */

/* Whoever started us may have closed them; a file that got such a number would be written to. */
static void open_standard_streams(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd >= 0)
        close(fd);
}

static bool start_reactor(struct weir_process *self, int *status)
{
    struct weir_error error;
    weir_entropy(&self->seed, sizeof self->seed);
    self->reactor = weir_reactor_new();
    if (weir_reactor_signals(self->reactor, &error) != 0) {
        *status = weir_process_fail(&error);
        weir_process_end(self);
        return false;
    }
    return true;
}

static bool find_node(struct weir_process *self, enum weir_role_kind role,
                      const struct options *options)
{
    const char *program = weir_role_program(role);
    self->node = weir_topology_node(self->topology, options->node);
    if (self->node == NULL) {
        fprintf(stderr, "%s: %s has no node %s; its nodes of this role are:", program,
                self->topology->file, options->node);
        for (uint32_t i = 0; i < self->topology->node_count; i++)
            if (self->topology->nodes[i].role == role)
                fprintf(stderr, " %s", self->topology->nodes[i].name);
        fputc('\n', stderr);
        return false;
    }
    if (self->node->role != role) {
        fprintf(stderr, "%s: node %s of %s is a %s; start it with %s\n", program, options->node,
                self->topology->file, weir_role_name(self->node->role),
                weir_role_program(self->node->role));
        return false;
    }
    if (options->instance > self->node->count) {
        fprintf(stderr, "%s: node %s of %s has %u instances; raise its count to start number %u\n",
                program, options->node, self->topology->file, self->node->count, options->instance);
        return false;
    }
    self->instance = options->instance;
    return true;
}

/* What is freed goes back to the system. glibc would raise both by itself, as far as 64 MiB, once
 * blocks of the sizes of our batches and reads have been freed. */
static void bound_heap(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
}

bool weir_process_start(struct weir_process *self, enum weir_role_kind role, int argc, char **argv,
                        int *status)
{
    struct options options;
    *self = (struct weir_process){.instance = 1};
    bound_heap();
    open_standard_streams();
    if (!parse(weir_role_program(role), argc, argv, &options, status))
        return false;
    *status = EX_CONFIG;
    if (weir_topology_load(options.topology, stderr, false, &self->topology, NULL) != 0)
        return false;
    if (!find_node(self, role, &options)) {
        weir_process_end(self);
        return false;
    }
    self->label = self->node->count == 1 ? weir_strdup(self->node->name)
                                         : weir_asprintf("%s.%u", self->node->name, self->instance);
    self->admin = weir_node_admin_endpoint(self->topology, self->node, self->instance);
    weir_log_init(self->label, options.verbose ? WEIR_LOG_DEBUG : WEIR_LOG_INFO);
    struct weir_error error;
    if (make_run_directory(self->topology, &error) != 0) {
        (void)weir_process_fail(&error);
        *status = EX_CANTCREAT;
        weir_process_end(self);
        return false;
    }
    return start_reactor(self, status);
}

bool weir_process_start_bare(struct weir_process *self, const char *label, int *status)
{
    *self = (struct weir_process){.instance = 1};
    open_standard_streams();
    self->label = weir_strdup(label);
    weir_log_init(label, WEIR_LOG_INFO);
    return start_reactor(self, status);
}

int weir_process_wire(struct weir_process *self, struct weir_error *error)
{
    const struct weir_node *node = self->node;
    struct weir_reactor *reactor = self->reactor;
    int status = 0;
    self->wired = true;
    if (self->admin != NULL)
        status = weir_reactor_serve(reactor, WEIR_PORT_ADMIN, self->admin, error);
    if (node == NULL)
        return status;
    if (status == 0 && node->submit != NULL)
        status = weir_reactor_serve(reactor, WEIR_PORT_SUBMIT, node->submit, error);
    if (status == 0 && node->dispatch != NULL)
        status = weir_reactor_serve(reactor, WEIR_PORT_DISPATCH, node->dispatch, error);
    for (uint32_t i = 0; status == 0 && i < node->from_count; i++)
        status = weir_reactor_connect(reactor, WEIR_PORT_FROM + i, node->from[i]->dispatch, error);
    const struct weir_node *to = node->role == WEIR_ROLE_VENTILATOR ? node->dead_letters : node->to;
    if (status == 0 && to != NULL)
        status = weir_reactor_connect(reactor, WEIR_PORT_TO, to->submit, error);
    return status;
}

static void say_ready(const struct weir_process *self)
{
    static const struct {
        enum weir_port port;
        const char *name;
    } bound[] = {
        {WEIR_PORT_SUBMIT, "submit"}, {WEIR_PORT_DISPATCH, "dispatch"}, {WEIR_PORT_ADMIN, "admin"}};
    char text[1024] = "";
    size_t length = 0;
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++) {
        const char *endpoint = weir_reactor_endpoint(self->reactor, bound[i].port);
        if (endpoint == NULL || length >= sizeof text)
            continue;
        int added = snprintf(text + length, sizeof text - length, "%s%s %s", length ? ", " : ": ",
                             bound[i].name, endpoint);
        length += added > 0 ? (size_t)added : 0;
    }
    weir_log(WEIR_LOG_INFO, "ready%s", text);
}

int weir_process_run(struct weir_process *self, struct weir_role **role)
{
    struct weir_error error;
    int status;
    if ((!self->wired && weir_process_wire(self, &error) != 0) || write_pid(self, &error) != 0) {
        status = weir_process_fail(&error);
    } else {
        say_ready(self);
        status = weir_reactor_run(self->reactor, *role);
        weir_log(WEIR_LOG_INFO, "ended, status %d", status);
    }
    weir_role_destroy(role);
    return status;
}

void weir_process_end(struct weir_process *self)
{
    weir_reactor_destroy(&self->reactor);
    if (self->pid_path != NULL)
        (void)unlink(self->pid_path);
    weir_topology_destroy(&self->topology);
    free(self->pid_path);
    free(self->admin);
    free(self->label);
    *self = (struct weir_process){0};
}
