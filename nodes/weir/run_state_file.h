/* What the supervisor does, for whoever asks: var/<topology>/state.json, replaced as a whole at
 * each change. */
#ifndef WEIR_RUN_STATE_FILE_H
#define WEIR_RUN_STATE_FILE_H

#include <base/error.h>
#include <config/config.h>
#include <jansson.h>
#include <sys/types.h>

/* A process as the supervisor sees it. */
enum weir_process_state {
    WEIR_PROCESS_STARTING,   /* runs, has not answered its admin endpoint yet */
    WEIR_PROCESS_RUNNING,    /* runs and answered */
    WEIR_PROCESS_RESTARTING, /* ended, and waits to be started again */
    WEIR_PROCESS_DRAINING,   /* was asked to end */
    WEIR_PROCESS_STOPPED,    /* ended as asked */
    WEIR_PROCESS_FAILED,     /* ended, and is not started again */
};

const char *weir_process_state_name(enum weir_process_state state);

/* Replace the file by this object (taken over). A failure is told, but changes nothing else. */
int weir_run_state_write(const struct weir_topology *topology, json_t *state,
                         struct weir_error *error);
/* The file's object, or NULL: it is not there, or not JSON. The caller's. */
json_t *weir_run_state_read(const struct weir_topology *topology);

#endif
