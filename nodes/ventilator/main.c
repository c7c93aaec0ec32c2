/* weir-ventilator: takes messages in, keeps them in its spool, and hands them out until they are
 * done. */
#include <core/roles.h>
#include <runtime/node.h>
#include <store/store.h>

static struct weir_role *make_role(struct weir_process *process, struct weir_recovered **recovered)
{
    const struct weir_node *node = process->node;
    struct weir_ventilator_config config = {
        .name = process->label,
        .fsync = node->fsync,
        .spool_bytes_max = node->spool_bytes_max,
        .groups = node->groups,
        .group_count = node->group_count,
        .dynamic_groups = node->dynamic_groups,
        .dead_letters = node->dead_letters != NULL,
        .idempotency_window_ms = node->idempotency_window_ms,
        .idempotency_count_max = node->idempotency_count_max,
    };
    return weir_ventilator_new(&config, recovered, weir_reactor_host(process->reactor),
                               process->seed);
}

int main(int argc, char **argv)
{
    struct weir_process process;
    int status;
    if (!weir_process_start(&process, WEIR_ROLE_VENTILATOR, argc, argv, &status))
        return status;

    struct weir_spool_config config = {
        .directory = process.node->spool_dir,
        .tag = process.node->tag,
        .fsync = process.node->fsync,
        .bytes_max = process.node->spool_bytes_max,
    };
    struct weir_store *store = NULL;
    struct weir_recovered *recovered = NULL;
    struct weir_error error;
    if (weir_spool_open(&config, &store, &recovered, &error) != 0) {
        status = weir_process_fail(&error);
        goto cleanup;
    }
    weir_reactor_attach_store(process.reactor, store);
    struct weir_role *role = make_role(&process, &recovered);
    status = weir_process_run(&process, &role);
cleanup:
    weir_store_destroy(&store);
    weir_process_end(&process);
    return status;
}
