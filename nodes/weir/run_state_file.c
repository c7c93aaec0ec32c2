#include "run_state_file.h"

#include <base/alloc.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *weir_process_state_name(enum weir_process_state state)
{
    static const char *const names[] = {"starting", "running", "restarting",
                                        "draining", "stopped", "failed"};

    return names[state];
}

int weir_run_state_write(const struct weir_topology *topology, json_t *state,
                         struct weir_error *error)
{
    char *path = weir_asprintf("%s/state.json", topology->run_dir);
    char *next = weir_asprintf("%s/state.json.new", topology->run_dir);
    int status = 0;

    if (json_dump_file(state, next, JSON_INDENT(1)) != 0 || rename(next, path) != 0)
        status = weir_error_set(error, WEIR_EIO, "cannot write %s: %s", path, strerror(errno));
    json_decref(state);
    free(path);
    free(next);
    return status;
}

json_t *weir_run_state_read(const struct weir_topology *topology)
{
    char *path = weir_asprintf("%s/state.json", topology->run_dir);
    json_t *state = json_load_file(path, 0, NULL);

    free(path);
    return state;
}
