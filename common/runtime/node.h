/* What the main function of every node shares: the command line, the topology, the admin endpoint,
 * the pid file, the reactor, and the exit status of whatever goes wrong. A main reads as
 *
 *     if (!weir_process_start(&process, WEIR_ROLE_SINK, argc, argv, &status))
 *         return status;
 *     … open the store, make the role with weir_reactor_host(process.reactor) …
 *     status = weir_process_run(&process, &role);
 *     weir_process_end(&process);
 *
 * All functions belong to the main thread. */
#ifndef WEIR_RUNTIME_NODE_H
#define WEIR_RUNTIME_NODE_H

#include <config/config.h>
#include <runtime/reactor.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_process {
    struct weir_topology *topology; /* NULL for a worker that was not declared in one */
    const struct weir_node *node;   /* points into the topology; NULL likewise */
    uint32_t instance;              /* from 1 */
    char *label;                    /* "intake"; "email.2" where a node has several instances */
    char *admin;                    /* endpoint; NULL: none */
    char *pid_path;                 /* NULL: no pid file was written */
    struct weir_reactor *reactor;
    uint64_t seed; /* from the kernel, for the role */
    bool wired;
};

/* Parse `--topology FILE --node NAME [--instance N] [--verbose]` (FILE also from $WEIR_TOPOLOGY),
 * load the topology, check that the node has this role and so many instances, start the log, make
 * the run directory, block the signals and make the reactor. False: the process is to end with
 * `*status`: 0 after --help and --version, 64 (EX_USAGE), 78 (EX_CONFIG), 73 (EX_CANTCREAT); the
 * reason has been written to stderr. Call first in main, before any thread exists. */
bool weir_process_start(struct weir_process *self, enum weir_role_kind role, int argc, char **argv,
                        int *status);

/* The same without a topology: a log under `label`, signals and a reactor, no admin endpoint. */
bool weir_process_start_bare(struct weir_process *self, const char *label, int *status);

/* Bind and connect every wire that the topology gives the node: admin, submit, dispatch, each
 * upstream (WEIR_PORT_FROM + i), and `to` or `dead-letters` (WEIR_PORT_TO). WEIR_EIO, WEIR_ELOCKED,
 * WEIR_EINVAL: names the endpoint. Called by weir_process_run when it was not called before. */
int weir_process_wire(struct weir_process *self, struct weir_error *error);

/* Wire, write the pid file, say "ready" in the log with the bound endpoints, and run the role until
 * it stops; then destroy it. Returns the exit status. */
int weir_process_run(struct weir_process *self, struct weir_role **role);

/* Say what went wrong and return the exit status for it. */
int weir_process_fail(const struct weir_error *error);

/* Let the last frames leave (a second at most), remove the pid file, free everything. */
void weir_process_end(struct weir_process *self);

/* The exit status, by sysexits.h, for an error code. */
int weir_exit_status(int code);

#endif
