/* A sink's machine over storage that may be full, or fail for good. */
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine machine;
    machine_init(&machine, data, size);
    machine_port(&machine, WEIR_PORT_SUBMIT, false);
    machine_port(&machine, WEIR_PORT_ADMIN, false);
    const struct weir_holder_config config = {
        .name = "results", .role = "sink", .tag = 9, .fsync = WEIR_FSYNC_ALWAYS};
    machine_play(&machine, weir_holder_new(&config, NULL, 0, 1, &machine.host, 1));
    machine_fini(&machine);
    return 0;
}
