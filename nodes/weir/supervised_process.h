/* One supervised process: an instance of a node. */
#ifndef WEIR_SUPERVISED_PROCESS_H
#define WEIR_SUPERVISED_PROCESS_H

#include "admin_zmq.h"
#include "child_output.h"
#include "restart_policy.h"
#include "run_state_file.h"

#include <base/clock.h>
#include <base/error.h>
#include <config/config.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct weir_supervised {
    const struct weir_topology *topology;
    const struct weir_node *node;
    uint32_t instance; /* from 1 */
    char *label;       /* "intake"; "email.2" where a node has several instances */
    char *admin;       /* endpoint */
    enum weir_process_state state;
    pid_t pid; /* 0: none runs */
    int wait_status;
    struct weir_restart restart;
    uint32_t restarts;
    struct weir_now started;
    int64_t start_at_ns; /* RESTARTING: when */
    int out_fd, err_fd;  /* its lines; -1: none */
    struct weir_child_output out, err;
    void *probe; /* a STATS request on its way; NULL: none */
};

/* Prepare, without starting it. */
void weir_supervised_init(struct weir_supervised *self, const struct weir_topology *topology,
                          const struct weir_node *node, uint32_t instance);
void weir_supervised_fini(struct weir_supervised *self);

/* Start it: STARTING. Its lines come over pipes or, with `to_log_file`, go to
 * var/<topology>/log/<label>.log. WEIR_EIO: the system has no more processes, files, … */
int weir_supervised_start(struct weir_supervised *self, const char *program_directory,
                          bool to_log_file, struct weir_admin *admin, struct weir_error *error);
/* Whether it has ended; then `wait_status` says how, and `pid` is 0. Does not wait. */
bool weir_supervised_reap(struct weir_supervised *self);
/* Ask it to end: SIGTERM, DRAINING. Nothing when it does not run. */
void weir_supervised_drain(struct weir_supervised *self);
/* End it and what it started in its process group. */
void weir_supervised_signal(const struct weir_supervised *self, int signal_number);
/* Print the lines it has written; closes the pipes that are at their end. */
void weir_supervised_read(struct weir_supervised *self);
/* Print what is left and close the pipes. */
void weir_supervised_close_output(struct weir_supervised *self);
/* Ask for an answer at its admin endpoint, or stop asking. */
void weir_supervised_end_probe(struct weir_supervised *self);

#endif
