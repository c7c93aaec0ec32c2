/* A worker with two upstreams, a sink, and handlers that do what the input says. */
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine machine;
    machine_init(&machine, data, size);
    const uint8_t how = input_byte(&machine.in);
    const char *const topics[] = {"user.*"};
    machine_port(&machine, WEIR_PORT_FROM, true);
    machine_port(&machine, WEIR_PORT_FROM + 1, true);
    machine_port(&machine, WEIR_PORT_ADMIN, false);
    machine_port(&machine, WEIR_PORT_TO, true);
    const struct weir_worker_config config = {.name = "mail.1",
                                              .group = speech_groups[0],
                                              .topics = how & 1 ? topics : NULL,
                                              .topic_count = how & 1,
                                              .from = "now",
                                              .upstream_count = 2,
                                              .results = how & 2,
                                              .concurrency = 1 + (how >> 2 & 3),
                                              .prefetch = 8,
                                              .prefetch_bytes = 1 << 16,
                                              .job_messages_max = how & 16 ? 4 : 1};
    if (!config.results)
        machine.port_count--;
    machine_play(&machine, weir_worker_new(&config, &machine.host, 1));
    machine_fini(&machine);
    return 0;
}
