#include <core/roles.h>
#include <holder/holder_main.h>
#include <stdlib.h>

static int serve(struct weir_process *process, enum weir_role_kind kind, weir_holder_open *open,
                 struct weir_error *error)
{
    const struct weir_node *node = process->node;
    struct weir_holder_opened opened = {.next_sequence = 1};
    int status = open(node, &opened, error);
    if (status != 0)
        return status;
    struct weir_store *store = weir_hold_store_new(&opened.writer, error);
    if (store) {
        const struct weir_holder_config config = {.name = process->label,
                                                  .role = weir_role_name(kind),
                                                  .tag = node->tag,
                                                  .fsync = WEIR_FSYNC_ALWAYS,
                                                  .spools = opened.spools,
                                                  .spool_count = opened.spool_count};
        struct weir_role *role =
            weir_holder_new(&config, opened.producers, opened.producer_count, opened.next_sequence,
                            weir_reactor_host(process->reactor), process->seed);
        weir_reactor_attach_store(process->reactor, store);
        status = weir_process_run(process, &role);
        weir_store_destroy(&store);
    } else {
        status = error->code;
    }
    free(opened.producers);
    free(opened.spools);
    return status;
}

int weir_holder_main(enum weir_role_kind role, weir_holder_open *open, int argc, char **argv)
{
    struct weir_process process;
    struct weir_error error = {0};
    int status;
    if (!weir_process_start(&process, role, argc, argv, &status))
        return status;
    status = serve(&process, role, open, &error);
    if (status < 0)
        status = weir_process_fail(&error);
    weir_process_end(&process);
    return status;
}
