/* Runs every process of a topology: starts them, starts them again when they end, and drains them
 * in the order in which nothing has to wait for something that is gone. */
#ifndef WEIR_SUPERVISOR_H
#define WEIR_SUPERVISOR_H

#include <base/error.h>
#include <config/config.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_supervisor_options {
    const struct weir_topology *topology;
    const char *program_directory; /* where weir-ventilator and the others are */
    bool to_log_files;             /* each process's lines to var/<topology>/log/, else prefixed */
    int64_t ready_timeout_ms;      /* give up when not all answer by then; 0: wait for ever */
    /* Told once: all processes answered (0), or the start failed and everything ends (a status). */
    void (*started)(void *arg, int status, const char *text);
    void *arg;
};

/* Where the roles' programs are: beside this one. To be freed. */
char *weir_supervisor_program_directory(void);
/* Check that the roles' programs are there. WEIR_ENOTFOUND names the one that is not. */
int weir_supervisor_check(const struct weir_supervisor_options *options, struct weir_error *error);

/* Run until SIGTERM or SIGINT has drained everything. Call before any thread exists: it blocks
 * these signals. Returns the exit status: 0 drained; 128 + signal after a second one; that of a
 * process that could not be started at all. */
int weir_supervisor_run(const struct weir_supervisor_options *options);

#endif
