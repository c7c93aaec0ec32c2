/* A handler's program as an executor keeps it: found, checked, with its environment. */
#ifndef WEIR_WORKER_PROGRAM_H
#define WEIR_WORKER_PROGRAM_H

#include <executor/environment.h>
#include <executor/executor.h>

struct weir_program {
    char *path;
    char **argv; /* NULL-ended */
    struct weir_environment *environment;
};

int weir_program_init(struct weir_program *self, const struct weir_handler_program *handler,
                      struct weir_error *error);
void weir_program_fini(struct weir_program *self);

#endif
