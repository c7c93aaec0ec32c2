/* weir-router: a relay between ventilators and workers that keeps nothing which cannot be lost. */
#include <core/roles.h>
#include <runtime/node.h>

int main(int argc, char **argv)
{
    struct weir_process process;
    int status;
    if (!weir_process_start(&process, WEIR_ROLE_ROUTER, argc, argv, &status))
        return status;
    struct weir_relay_config config = {
        .name = process.label,
        .upstream_count = process.node->from_count,
    };
    struct weir_role *role =
        weir_relay_new(&config, weir_reactor_host(process.reactor), process.seed);
    status = weir_process_run(&process, &role);
    weir_process_end(&process);
    return status;
}
