/* A ventilator over the store in memory: hostile producers, workers, collector and operator. When
 * it has ended it is started once more from what it left, and must come up. */
#include "machine.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct weir_memory_store *memory;

static uint32_t store_step(struct machine *self, uint32_t requests)
{
    (void)self;
    return weir_memory_store_step(memory, requests);
}

static void play(struct weir_ventilator_config *config, const uint8_t *data, size_t size)
{
    struct machine machine;
    machine_init(&machine, data, size);
    machine.store = weir_memory_store_store(memory);
    machine.store_step = store_step;
    machine_port(&machine, WEIR_PORT_SUBMIT, false);
    machine_port(&machine, WEIR_PORT_DISPATCH, false);
    machine_port(&machine, WEIR_PORT_ADMIN, false);
    if (config->dead_letters)
        machine_port(&machine, WEIR_PORT_TO, true);
    struct weir_recovered *recovered = weir_memory_store_recover(memory);
    machine_play(&machine, weir_ventilator_new(config, &recovered, &machine.host, 1));
    machine_fini(&machine);
    weir_memory_store_crash(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weir_group_policy groups[2];
    if (size < 2)
        return 0;
    for (uint32_t i = 0; i < 2; i++) {
        groups[i] = weir_group_policy_default();
        snprintf(groups[i].name, sizeof groups[i].name, "%s", speech_groups[i]);
        snprintf(groups[i].topics[0], sizeof groups[i].topics[0], "%s", i ? "user.*" : "*.>");
        groups[i].topic_count = 1;
        groups[i].attempts = 2;
        groups[i].lease_ms = 6000;
        groups[i].timeout_ms = 2000;
        groups[i].order = data[0] >> i & 1 ? WEIR_ORDER_KEY : WEIR_ORDER_NONE;
    }
    if (data[0] & 4)
        groups[0].delivery = WEIR_AT_MOST_ONCE, groups[0].order = WEIR_ORDER_NONE;
    if (data[0] & 8) {
        groups[1].max_backlog = 4;
        groups[1].on_full = (enum weir_on_full)(data[1] % 3);
    }
    struct weir_ventilator_config config = {.name = "intake",
                                            .fsync = WEIR_FSYNC_ALWAYS,
                                            .spool_bytes_max = data[0] & 16 ? 4096 : 0,
                                            .groups = groups,
                                            .group_count = 2,
                                            .dynamic_groups = data[0] & 32,
                                            .dead_letters = data[0] & 64,
                                            .idempotency_window_ms = 60000,
                                            .idempotency_count_max = 4};
    memory = weir_memory_store_new(5, config.spool_bytes_max);
    const size_t half = 2 + (data[0] & 128 ? (size - 2) / 2 : size - 2);
    play(&config, data + 2, half - 2);
    play(&config, data + half, size - half);
    weir_memory_store_destroy(&memory);
    return 0;
}
