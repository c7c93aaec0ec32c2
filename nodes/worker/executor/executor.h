/* The two executors of weir-worker: they run handlers that are other programs. Each has one thread,
 * which waits for all its children at once; jobs have one message each (job_messages_max = 1). */
#ifndef WEIR_WORKER_EXECUTOR_H
#define WEIR_WORKER_EXECUTOR_H

#include <base/error.h>
#include <contract/backend.h>

/* What is to be run. Copied. */
struct weir_handler_program {
    char *const *argv; /* NULL-ended, at least the program */
    char *const *env;  /* "NAME=value", NULL-ended; NULL: nothing to add */
};

/* `run`: one process a message. WEIR_ECONFIG: there is no such program, or it cannot be executed.
 */
int weir_run_executor_new(const struct weir_handler_program *program,
                          struct weir_executor **executor, struct weir_error *error);

/* `serve`: `coprocesses` processes that answer JSON lines (docs/handlers.md), each with at most
 * WEIR_SERVE_WINDOW messages in work. Starts them at once. WEIR_ECONFIG likewise. */
int weir_serve_executor_new(const struct weir_handler_program *program, uint32_t coprocesses,
                            struct weir_executor **executor, struct weir_error *error);

#endif
