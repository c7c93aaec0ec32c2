/* The spool of a simulated ventilator. Each of its threads takes a while for a turn, and then
 * carries out, at one instant, whatever was handed over by then. When the process ends, some of
 * what was on its way was carried out, up to any single call to the disk, and nobody was told. */
#include "spool.h"
#include "outside.h"
#include <errno.h>
#include <string.h>

#define TURN_NS (2 * WEIR_NS_PER_MS)

static void lane_kick(struct sim_process *process, enum sim_lane lane);

/* --- what the store says --- */

static void said(void *self, enum weir_log_level level, const char *text)
{
    struct sim_process *process = self;
    struct sim_spool *spool = process->spool;
    if (spool->files.dead)
        return; /* nobody is there any more to say it */
    if (level <= WEIR_LOG_INFO)
        sim_log(process->sim, process->name, "store says: %s", text);
    if (spool->damage_count == 0 && strstr(text, "damaged"))
        sim_fail(process->sim, SIM_CHECK_DAMAGE, "%s speaks of damage where there is none: %s",
                 process->name, text);
}

static void enter(struct sim_process *process)
{
    sim_outside_set(&(struct sim_outside){.now = sim_now(process),
                                          .random = &process->spool->files.random,
                                          .said = said,
                                          .self = process});
}

/* --- turns --- */

static struct weir_task_queue *queue_of(struct sim_spool *spool, enum sim_lane lane)
{
    if (lane == SIM_LANE_LOG)
        return &spool->open->appends;
    return lane == SIM_LANE_STATE ? &spool->open->states : &spool->open->reads;
}

static void lane_serve(struct sim_process *process, enum sim_lane lane)
{
    struct sim_spool *spool = process->spool;
    struct weir_task_queue *queue = queue_of(spool, lane);
    bool closed;
    if (!queue->first)
        return;
    struct weir_task *tasks = weir_task_queue_take(queue, WEIR_TIME_NEVER, &closed);
    enter(process);
    if (lane == SIM_LANE_LOG)
        weir_spool_serve_appends(spool->open, tasks);
    else if (lane == SIM_LANE_STATE)
        weir_spool_serve_states(spool->open, tasks);
    else
        weir_spool_serve_reads(spool->open, tasks);
    sim_damage_check_read(process);
}

/* Invariant 9: what could not be stored ends the process, and it says why. */
static void check_failed(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    if (!spool->failed)
        return;
    if (!process->stopping)
        sim_fail(process->sim, SIM_CHECK_STORAGE, "%s goes on although its storage has failed",
                 process->name);
    if (!process->said_why)
        sim_fail(process->sim, SIM_CHECK_STORAGE, "%s ends without a word, its storage has failed",
                 process->name);
}

static void deliver(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    struct weir_store *store = &spool->open->store;
    struct weir_store_result result = {0};
    while (store->poll(store, &result)) {
        if (result.status != 0 && result.kind != WEIR_STORE_READ &&
            !(result.kind == WEIR_STORE_APPEND && result.status == WEIR_EFULL))
            spool->failed = true;
        struct weir_event event = {.type = WEIR_EVENT_STORED, .result = &result};
        sim_step(process, &event);
        weir_store_result_fini(&result);
        result = (struct weir_store_result){0};
    }
    check_failed(process);
}

/* fsync: interval. The log's thread looks at the time after each turn, and when it is due. */
static void sync_tick(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)arg;
    (void)number;
    if (!process)
        return;
    struct sim_spool *spool = process->spool;
    enter(process);
    weir_spool_sync_when_due(spool->open);
    const int64_t due_ns = spool->open->sync_due_ns - sim_now(process).mono_ns;
    if (spool->open->sync_due_ns != WEIR_TIME_NEVER)
        sim_at(sim, due_ns > 0 ? due_ns : 1, process, sync_tick, NULL, 0);
}

static void lane_tick(struct sim *sim, struct sim_process *process, void *arg, uint64_t lane)
{
    (void)arg;
    if (!process)
        return;
    process->spool->ticking[lane] = false;
    lane_serve(process, (enum sim_lane)lane);
    if (lane == SIM_LANE_LOG && process->spool->open->sync_due_ns == WEIR_TIME_NEVER)
        sync_tick(sim, process, NULL, 0);
    deliver(process);
    for (uint32_t i = 0; i < SIM_LANES; i++)
        lane_kick(process, (enum sim_lane)i);
}

static void lane_kick(struct sim_process *process, enum sim_lane lane)
{
    struct sim_spool *spool = process->spool;
    if (spool->ticking[lane] || !queue_of(spool, lane)->first)
        return;
    spool->ticking[lane] = true;
    sim_at(process->sim,
           sim_delay(process->sim, process->disk_slow_ns ? process->disk_slow_ns : TURN_NS),
           process, lane_tick, NULL, lane);
}

void sim_spool_submit(struct sim_process *process, struct weir_store_request *request)
{
    struct sim_spool *spool = process->spool;
    spool->open->store.submit(&spool->open->store, request);
    for (uint32_t i = 0; i < SIM_LANES; i++)
        lane_kick(process, (enum sim_lane)i);
}

void sim_spool_query(struct sim_process *process, struct weir_store_request *request,
                     struct weir_store_result *result)
{
    weir_memory_state_query(process->spool->state.memory, request, result);
}

/* --- lives --- */

void sim_spool_new(struct sim_process *process)
{
    struct sim_spool *spool = weir_zalloc(1, sizeof *spool);
    sim_filesystem_init(&spool->files, weir_random_u64(&process->sim->random));
    sim_state_disk_init(&spool->state, &spool->files);
    process->spool = spool;
}

void sim_spool_destroy(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    if (!spool)
        return;
    if (spool->open) {
        sim_filesystem_die(&spool->files);
        enter(process);
        spool->open->store.destroy(&spool->open->store);
    }
    sim_state_disk_fini(&spool->state);
    sim_filesystem_fini(&spool->files);
    free(spool);
    process->spool = NULL;
}

static bool is_excused(const struct sim_filesystem *files)
{
    bool excused = files->dead || files->full > 0;
    for (uint32_t i = 0; i < SIM_CALL_KINDS; i++)
        excused = excused || files->failed[i] > 0;
    return excused;
}

bool sim_spool_may_fail(const struct sim_process *process)
{
    return is_excused(&process->spool->files);
}

struct weir_recovered *sim_spool_open(struct sim_process *process)
{
    static const enum weir_fsync modes[] = {WEIR_FSYNC_ALWAYS, WEIR_FSYNC_INTERVAL,
                                            WEIR_FSYNC_NEVER};
    struct sim_spool *spool = process->spool;
    struct weir_recovered *recovered = NULL;
    struct weir_error error = {0};
    struct weir_spool_config config = {.directory = SIM_SPOOL_DIRECTORY,
                                       .tag = (uint16_t)(process->index + 1),
                                       .fsync = modes[process->sim->params.fsync],
                                       .bytes_max = process->store_bytes_max,
                                       .segment_bytes = SIM_SEGMENT_BYTES};
    sim_filesystem_reopen(&spool->files);
    spool->files.calls_left = process->dies_at_start;
    process->dies_at_start = 0;
    spool->failed = false;
    memset(spool->ticking, 0, sizeof spool->ticking);
    enter(process);
    sim_damage_note(process);
    sim_state_mount(&spool->state);
    const int status =
        weir_spool_open_quiet(&config, &spool->files.io, &spool->open, &recovered, &error);
    if (status == 0 && !spool->files.dead) {
        spool->files.calls_left = 0;
        sim_damage_check(process, recovered->damage);
        sim_leases_recovered(process, recovered);
        return recovered;
    }
    if (status == 0) { /* it ended just when it was done */
        spool->open->store.destroy(&spool->open->store);
        spool->open = NULL;
        weir_recovered_destroy(&recovered);
    } else if (!is_excused(&spool->files)) {
        sim_fail(process->sim, SIM_CHECK_CONDUCT, "%s does not start: %s", process->name,
                 error.text);
    }
    if (!spool->files.dead)
        sim_log(process->sim, process->name, "does not start: %s", error.text);
    return NULL;
}

/* The process is killed, or loses its power: some of what was on its way was carried out. */
static void cut_short(struct sim_process *process)
{
    struct sim_spool *spool = process->spool;
    struct weir_random *random = &process->sim->random;
    const uint32_t from = (uint32_t)weir_random_below(random, SIM_LANES);
    for (uint32_t i = 0; i < SIM_LANES; i++) {
        const uint64_t how = weir_random_below(random, 3);
        if (how == 1)
            spool->files.calls_left = 1 + (uint32_t)weir_random_below(random, 8);
        if (how > 0)
            lane_serve(process, (enum sim_lane)((from + i) % SIM_LANES));
        spool->files.calls_left = 0;
    }
    sim_filesystem_die(&spool->files);
}

/* It was told to end: all that was handed over is finished. */
static void finish(struct sim_process *process)
{
    for (uint32_t i = 0; i < SIM_LANES;) {
        if (queue_of(process->spool, (enum sim_lane)i)->first) {
            lane_serve(process, (enum sim_lane)i);
            i = 0;
        } else {
            i++;
        }
    }
}

/* --- what is confirmed is on the disk --- */

/* Does the segment hold all of these? `content` is what of it is in the cache, or on the disk. */
static bool segment_holds(const struct sim_inode *inode, const uint8_t *content, uint64_t first,
                          uint64_t last)
{
    struct weir_segment_header segment;
    if (inode->held < WEIR_SEGMENT_HEADER_BYTES ||
        weir_segment_header_decode(content, &segment, &(struct weir_error){0}) != 0)
        return false;
    uint32_t crc = segment.salt;
    for (uint64_t at = WEIR_SEGMENT_HEADER_BYTES; at + WEIR_RECORD_HEADER_BYTES <= inode->held;) {
        struct weir_record_header header;
        const uint8_t *bytes = content + at;
        if (!weir_record_header_decode(bytes, segment.salt, &header) || header.seed != crc ||
            at + weir_record_content_bytes(&header) > inode->held)
            return false;
        crc = weir_record_header_crc(bytes, crc);
        crc = weir_crc32c(crc, bytes + WEIR_RECORD_HEADER_BYTES,
                          weir_record_content_bytes(&header) - WEIR_RECORD_HEADER_BYTES);
        if (crc != header.crc)
            return false;
        if (header.count > 0 && header.first <= first && last <= weir_record_last(&header))
            return true;
        at += weir_record_bytes(&header);
    }
    return false;
}

/* Does the log hold them: as a power cut would leave it, or as the next process would find it? */
static bool log_holds(const struct sim_spool *spool, bool after_power_cut, uint64_t first,
                      uint64_t last)
{
    for (uint32_t i = 0; i < spool->files.name_count; i++) {
        const struct sim_name *name = spool->files.names[i];
        const struct sim_inode *inode = after_power_cut ? name->disk : name->cache;
        if (inode && sim_is_segment(name->path) &&
            segment_holds(inode, after_power_cut ? inode->disk : inode->cache, first, last))
            return true;
    }
    return false;
}

void sim_spool_check_ok(struct sim_process *process, uint64_t first, uint64_t count)
{
    struct sim_spool *spool = process->spool;
    const bool synced = process->sim->params.fsync == 0;
    if (spool->failed)
        sim_fail(process->sim, SIM_CHECK_STORAGE, "%s says OK after its storage has failed",
                 process->name);
    /* What the state has absorbed may be done and gone from the log. */
    if (spool->damage_count > 0 ||
        first + count <= weir_memory_state_absorbed(spool->state.memory) + 1 ||
        log_holds(spool, synced, first, first + count - 1))
        return;
    sim_fail(process->sim,
             spool->files.failed[SIM_CALL_SYNC] > 0 ? SIM_CHECK_STORAGE : SIM_CHECK_LOST,
             "%s confirms %llu messages from sequence %llu, and they are not on the disk",
             process->name, (unsigned long long)count, (unsigned long long)first);
}

/* The power fails, or a sync has: what was not synced may be lost, and nothing else. What is not
 * confirmed will be sent again, although workers may have it. */
static void note_unsynced(struct sim_process *process)
{
    struct sim *sim = process->sim;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct sim_message *message = &sim->messages[i];
        const uint64_t sequence = message->sequence;
        if (message->stream != process->index || message->unsynced || message->duplicate)
            continue;
        if (!message->confirmed) {
            message->again = true;
            message->placed = false;
        } else if (log_holds(process->spool, false, sequence, sequence) &&
                   !log_holds(process->spool, true, sequence, sequence)) {
            sim_count(sim, SIM_COUNT_UNSYNCED);
            message->unsynced = true;
        }
    }
}

/* --- the end of a life --- */

void sim_spool_end(struct sim_process *process, enum sim_ending how)
{
    struct sim_spool *spool = process->spool;
    if (spool->open) {
        if (how == SIM_STOPPED)
            finish(process);
        else
            cut_short(process);
        enter(process);
        spool->open->store.destroy(&spool->open->store);
        spool->open = NULL;
    }
    if (process->sim->params.fsync &&
        (how == SIM_POWER_LOST || spool->files.failed[SIM_CALL_SYNC] > 0))
        note_unsynced(process);
    if (how == SIM_POWER_LOST)
        sim_filesystem_power_cut(&spool->files);
    sim_damage_some(process);
}
