/* Machines that lose power, and disks that fail, fill up, or are slow. */
#include "spool.h"
#include <errno.h>

#define FULL_NS (5 * WEIR_NS_PER_S)
#define SLOW_NS (5 * WEIR_NS_PER_S)
#define RECOVERY_CALLS 40

static uint32_t roll(struct sim *sim, uint32_t from, uint32_t to)
{
    return from + (uint32_t)weir_random_below(&sim->random, to - from + 1);
}

bool sim_storage_may_fail(const struct sim_process *process)
{
    if (process->spool)
        return sim_spool_may_fail(process);
    return process->disk && sim_disk_failed(process->disk);
}

/* --- power --- */

static void power_cut(struct sim *sim, uint32_t machine)
{
    sim_count(sim, SIM_COUNT_POWER_CUTS);
    for (uint32_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = &sim->processes[i];
        if (process->machine != machine || process->kind >= SIM_PRODUCER)
            continue;
        process->held_down = true;
        if (roll(sim, 0, 3) == 0)
            process->dies_at_start = roll(sim, 1, RECOVERY_CALLS);
        sim_end(process, SIM_POWER_LOST);
        sim_at(sim, sim_delay(sim, (roll(sim, 0, 3) ? 1 : 8) * WEIR_NS_PER_S), NULL, sim_come_back,
               process, 0);
    }
}

/* --- disks --- */

static void disk_heals(struct sim_process *process)
{
    process->disk_slow_ns = 0;
    process->dies_at_start = 0;
    if (process->disk)
        sim_disk_heal(process->disk);
    if (!process->spool)
        return;
    process->spool->files.bytes_max = 0;
    for (uint32_t kind = 0; kind < SIM_CALL_KINDS; kind++)
        process->spool->files.fail[kind].times = 0;
}

static void room_again(struct sim *sim, struct sim_process *none, void *arg, uint64_t number)
{
    struct sim_process *process = arg;
    (void)none;
    (void)number;
    if (sim->over)
        return;
    sim_log(sim, process->name, "has room on its disk again");
    if (process->disk)
        sim_disk_fill(process->disk, false);
    else
        process->spool->files.bytes_max = 0;
}

static void fast_again(struct sim *sim, struct sim_process *none, void *arg, uint64_t number)
{
    struct sim_process *process = arg;
    (void)sim;
    (void)none;
    (void)number;
    process->disk_slow_ns = 0;
}

static void disk_fills(struct sim *sim, struct sim_process *process)
{
    sim_count(sim, SIM_COUNT_DISKS_FULL);
    sim_log(sim, process->name, "has a full disk");
    if (process->disk)
        sim_disk_fill(process->disk, true);
    else
        process->spool->files.bytes_max =
            sim_filesystem_used(&process->spool->files) + roll(sim, 0, 4) * SIM_BLOCK_BYTES;
    sim_at(sim, sim_delay(sim, FULL_NS), NULL, room_again, process, 0);
}

static void disk_fails(struct sim *sim, struct sim_process *process)
{
    sim_count(sim, SIM_COUNT_DISK_FAILURES);
    static const char *const names[] = {"write", "read", "sync", "change of a name"};
    const enum sim_call_kind kind = (enum sim_call_kind)roll(sim, 0, SIM_CALL_KINDS - 1);
    const uint32_t after = roll(sim, 0, 6), times = roll(sim, 0, 2) ? 1 : roll(sim, 1, 5);
    if (process->disk) {
        sim_log(sim, process->name, "will fail to keep something");
        sim_disk_fail(process->disk, after);
        return;
    }
    sim_log(sim, process->name, "will fail a %s, after %u, %u times", names[kind], after, times);
    sim_filesystem_fail(&process->spool->files, kind, after, times, EIO);
}

static void disk_slows(struct sim *sim, struct sim_process *process)
{
    sim_log(sim, process->name, "has a slow disk");
    process->disk_slow_ns = roll(sim, 10, 1500) * WEIR_NS_PER_MS;
    sim_at(sim, sim_delay(sim, SLOW_NS), NULL, fast_again, process, 0);
}

/* One that stores something. */
static struct sim_process *pick(struct sim *sim)
{
    for (;;) {
        struct sim_process *process = &sim->processes[roll(sim, 0, sim->process_count - 1)];
        if (process->spool || process->disk)
            return process;
    }
}

static void fault(struct sim *sim, struct sim_process *none, void *arg, uint64_t number)
{
    (void)none;
    (void)arg;
    if (sim->over || sim->now_ns >= sim->faults_end_ns || number == 0)
        return;
    struct sim_process *process = pick(sim);
    const uint32_t kind = roll(sim, 0, 9);
    if (sim->params.disks == 0 || (kind < 4 && sim->params.power > 0))
        power_cut(sim, process->machine);
    else if (kind < 7)
        disk_fails(sim, process);
    else if (kind < 9)
        disk_fills(sim, process);
    else
        disk_slows(sim, process);
    sim_at(sim, sim_delay(sim, 1500 * WEIR_NS_PER_MS), NULL, fault, NULL, number - 1);
}

void sim_power_scenario(struct sim *sim)
{
    const uint32_t machines = roll(sim, 0, 2) == 0 ? roll(sim, 1, 4) : 0;
    for (uint32_t i = 0; i < sim->process_count; i++)
        sim->processes[i].machine = machines > 0 ? roll(sim, 1, machines) : i + 1;
    if (sim->params.fsync) /* what is missing then was not synced, and what was is not damaged */
        sim->params.damage = 0;
    if (sim->params.damage) /* with a damaged record its idempotency keys may be gone, too */
        sim->params.repeats = 0;
    if (sim->params.power + sim->params.disks > 0)
        sim_at(sim, sim_delay(sim, WEIR_NS_PER_S), NULL, fault, NULL, sim->params.faults);
}

void sim_power_heal(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->process_count; i++)
        disk_heals(&sim->processes[i]);
}
