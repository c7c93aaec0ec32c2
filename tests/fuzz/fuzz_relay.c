/* A router between two upstreams and whatever calls itself a worker. */
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine machine;
    machine_init(&machine, data, size);
    machine_port(&machine, WEIR_PORT_DISPATCH, false);
    machine_port(&machine, WEIR_PORT_FROM, true);
    machine_port(&machine, WEIR_PORT_FROM + 1, true);
    machine_port(&machine, WEIR_PORT_ADMIN, false);
    const struct weir_relay_config config = {.name = "hub", .upstream_count = 2};
    machine_play(&machine, weir_relay_new(&config, &machine.host, 1));
    machine_fini(&machine);
    return 0;
}
