/* What a worker holds: leases by name, and under each the lots of messages that came with it. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/worker.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- leases ---- */

struct weir_worker_lease *weir_worker_lease_find(const struct weir_worker *self,
                                                 const struct weir_lease_name *name)
{
    struct weir_worker_lease *lease;
    HASH_FIND(hh, self->leases, name, sizeof *name, lease);
    return lease;
}

static bool came_by(const struct weir_worker_lease *lease, uint32_t upstream)
{
    for (uint32_t i = 0; i < lease->way_count; i++)
        if (lease->ways[i] == upstream)
            return true;
    return false;
}

void weir_worker_note_way(struct weir_worker_lease *lease, uint32_t upstream)
{
    if (came_by(lease, upstream))
        return;
    lease->ways = weir_realloc(lease->ways, lease->way_count + 1, sizeof *lease->ways);
    lease->ways[lease->way_count++] = upstream;
}

static struct weir_worker_lease *lease_take(struct weir_worker *self, uint32_t upstream,
                                            const struct weir_control *control,
                                            const struct weir_now *now)
{
    const struct weir_lease_name name = {control->incarnation, control->delivery};
    struct weir_worker_lease *lease = weir_worker_lease_find(self, &name);
    if (!lease) {
        lease = weir_zalloc(1, sizeof *lease);
        lease->name = name;
        lease->lease_ms = control->lease_ms < INT32_MAX ? (int64_t)control->lease_ms : INT32_MAX;
        lease->deadline_ns = WEIR_CANARY(LEASE_END_IGNORED)
                                 ? WEIR_TIME_NEVER
                                 : now->mono_ns + lease->lease_ms * WEIR_NS_PER_MS;
        lease->timeout_ms =
            control->timeout_ms < INT32_MAX ? (int64_t)control->timeout_ms : INT32_MAX;
        lease->ordered = control->ordered;
        lease->once = control->once;
        lease->alone = control->alone;
        lease->has_spool = WEIR_HAS(control, UUID);
        memcpy(lease->spool, control->uuid, sizeof lease->spool);
        HASH_ADD(hh, self->leases, name, sizeof lease->name, lease);
    }
    lease->upstream = upstream;
    weir_worker_note_way(lease, upstream);
    return lease;
}

static void lease_destroy(struct weir_worker *self, struct weir_worker_lease *lease)
{
    if (self->alone == lease) {
        self->alone = NULL;
        self->begun = false;
    }
    HASH_DELETE(hh, self->leases, lease);
    weir_rangeset_fini(&lease->held);
    weir_rangeset_fini(&lease->echoed);
    free(lease->failed_keys);
    free(lease->ways);
    free(lease);
}

/* Nothing may be held under it any more: the sweep at the end of the turn will see. */
static void lease_settle(struct weir_worker *self, struct weir_worker_lease *lease)
{
    if (lease->settling || lease->lots || lease->held.count)
        return;
    lease->settling = true;
    LL_PREPEND2(self->settling, lease, settling_next);
}

/* The range that holds `number`, or the first one above it. */
static size_t range_from(const struct weir_rangeset *set, uint64_t number)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->at[middle].last < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool weir_worker_held_part(const struct weir_worker_lease *lease, uint64_t end, uint64_t *first,
                           uint64_t *count)
{
    size_t i = range_from(&lease->held, *first);
    if (i == lease->held.count || lease->held.at[i].first >= end)
        return false;
    const struct weir_range range = lease->held.at[i];
    if (*first < range.first)
        *first = range.first;
    *count = (range.last < end - 1 ? range.last : end - 1) - *first + 1;
    return true;
}

void weir_worker_unhold(struct weir_worker *self, struct weir_worker_lease *lease, uint64_t first,
                        uint64_t count)
{
    self->held -= weir_rangeset_remove(&lease->held, first, first + count - 1);
    lease_settle(self, lease);
}

struct weir_worker_upstream *weir_worker_way(struct weir_worker *self,
                                             const struct weir_worker_lease *lease)
{
    struct weir_worker_upstream *own = &self->upstreams[lease->upstream];
    if (weir_session_open(own->session))
        return own;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct weir_worker_upstream *other = &self->upstreams[i];
        if (weir_session_open(other->session) && weir_worker_leads(other, lease->name.incarnation))
            return other;
    }
    return NULL;
}

bool weir_worker_counted(const struct weir_worker *self, const struct weir_worker_lease *lease,
                         uint32_t upstream)
{
    if (came_by(lease, upstream))
        return true;
    for (uint32_t i = 0; i < lease->way_count; i++)
        if (weir_session_open(self->upstreams[lease->ways[i]].session))
            return false;
    return weir_worker_leads(&self->upstreams[upstream], lease->name.incarnation);
}

void weir_worker_reaches(struct weir_worker_upstream *upstream, uint64_t incarnation)
{
    const uint16_t tag = (uint16_t)incarnation;
    upstream->reaches[tag / 64] |= UINT64_C(1) << (tag % 64);
}

bool weir_worker_leads(const struct weir_worker_upstream *upstream, uint64_t incarnation)
{
    const uint16_t tag = (uint16_t)incarnation;
    return upstream->reaches[tag / 64] >> (tag % 64) & 1;
}

/* ---- lots ---- */

static void lot_destroy(struct weir_worker *self, struct weir_worker_lot *lot)
{
    struct weir_worker_lease *lease = lot->lease;
    const uint64_t bytes = lot->index.size + lot->body.size;
    WEIR_ASSERT(lot->waiting.count == 0);
    self->held_bytes -= bytes;
    self->upstreams[lot->upstream].held_bytes -= bytes;
    DL_DELETE(lease->lots, lot);
    weir_bytes_drop(&lot->header);
    weir_bytes_drop(&lot->index);
    weir_bytes_drop(&lot->body);
    weir_rangeset_fini(&lot->waiting);
    free(lot);
    lease_settle(self, lease);
}

void weir_worker_sweep(struct weir_worker *self)
{
    while (self->spent) {
        struct weir_worker_lot *lot = self->spent;
        LL_DELETE2(self->spent, lot, ready_next);
        lot_destroy(self, lot);
    }
    while (self->settling) {
        struct weir_worker_lease *lease = self->settling;
        LL_DELETE2(self->settling, lease, settling_next);
        lease->settling = false;
        if (!lease->lots && lease->held.count == 0)
            lease_destroy(self, lease);
    }
}

void weir_worker_lot_finish(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t count)
{
    WEIR_ASSERT(lot->open >= count);
    lot->open -= count;
    if (count && lot->open == 0)
        LL_PREPEND2(self->spent, lot, ready_next);
}

void weir_worker_unwait(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t first,
                        uint32_t count)
{
    if (lot->waiting.count == 0)
        return;
    self->waiting -= weir_rangeset_remove(&lot->waiting, first, (uint64_t)first + count - 1);
    if (lot->waiting.count == 0)
        DL_DELETE2(self->ready, lot, ready_prev, ready_next);
}

void weir_worker_rewait(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t first,
                        uint32_t count)
{
    if (lot->waiting.count == 0) {
        struct weir_worker_lot *behind = self->ready;
        while (behind && behind->arrival < lot->arrival)
            behind = behind->ready_next;
        if (behind)
            DL_PREPEND_ELEM2(self->ready, behind, lot, ready_prev, ready_next);
        else
            DL_APPEND2(self->ready, lot, ready_prev, ready_next);
    }
    self->waiting += weir_rangeset_add(&lot->waiting, first, (uint64_t)first + count - 1);
}

enum weir_outcome weir_worker_back(const struct weir_worker_lease *lease)
{
    return lease->once ? WEIR_UNAVAILABLE : WEIR_RELEASE;
}

/* Messages of a lot that wait are given back. */
static void release(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t first,
                    uint32_t count)
{
    weir_worker_unwait(self, lot, first, count);
    weir_worker_ack(self, lot->lease, (uint64_t)lot->info.index + first, count, WEIR_RELEASE, -1,
                    NULL);
    weir_worker_lot_finish(self, lot, count);
}

static void release_lot(struct weir_worker *self, struct weir_worker_lot *lot)
{
    while (lot->waiting.count) {
        const struct weir_range range = lot->waiting.at[0];
        release(self, lot, (uint32_t)range.first, (uint32_t)(range.last - range.first + 1));
    }
}

void weir_worker_release_waiting(struct weir_worker *self, const struct weir_worker_lease *but)
{
    struct weir_worker_lot *lot, *next;
    DL_FOREACH_SAFE2(self->ready, lot, next, ready_next)
    {
        if (lot->lease != but)
            release_lot(self, lot);
    }
}

/* ---- keys in their order ---- */

uint64_t weir_worker_key(const struct weir_worker_lot *lot, uint32_t at)
{
    return weir_index_key_hash(&lot->index, lot->width, lot->batch.flags, at);
}

static bool has_failed(const struct weir_worker_lease *lease, uint64_t key)
{
    for (uint32_t i = 0; i < lease->failed_count; i++)
        if (lease->failed_keys[i] == key)
            return true;
    return false;
}

bool weir_worker_key_failed(const struct weir_worker_lot *lot, uint32_t at)
{
    const uint64_t key = lot->lease->failed_count ? weir_worker_key(lot, at) : 0;
    return key && has_failed(lot->lease, key);
}

void weir_worker_fail_key(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t at)
{
    struct weir_worker_lease *lease = lot->lease;
    const uint64_t key = weir_worker_key(lot, at);
    if (!lease->ordered || !key || has_failed(lease, key))
        return;
    lease->failed_keys =
        weir_realloc(lease->failed_keys, lease->failed_count + 1, sizeof *lease->failed_keys);
    lease->failed_keys[lease->failed_count++] = key;
    /* Whatever waits with this key is behind it: else it would not have been started. */
    struct weir_worker_lot *other;
    DL_FOREACH (lease->lots, other)
        for (uint32_t i = 0; other->waiting.count && i < other->info.count; i++)
            if (weir_worker_key(other, i) == key && weir_rangeset_has(&other->waiting, i))
                release(self, other, i, 1);
}

/* ---- losing ---- */

static void lose_lot(struct weir_worker *self, struct weir_worker_lot *lot, uint64_t first,
                     uint64_t end)
{
    const uint64_t base = lot->info.index;
    const uint32_t from = (uint32_t)(first > base ? first - base : 0);
    const uint32_t to = (uint32_t)(end - base < lot->info.count ? end - base : lot->info.count);
    const uint64_t before = self->waiting;
    weir_worker_unwait(self, lot, from, to - from);
    weir_worker_lot_finish(self, lot, (uint32_t)(before - self->waiting));
    if (lot->lease->ordered) /* somebody else may run these: none behind them may start here */
        for (uint32_t at = from; at < to; at++)
            weir_worker_fail_key(self, lot, at);
}

static bool loses(const struct weir_worker_job *job, uint64_t first, uint64_t end)
{
    const uint64_t base = job->lot->info.index;
    for (size_t r = 0; r < job->unended.count; r++)
        if (job->unended.at[r].first + base < end && job->unended.at[r].last + base >= first)
            return true;
    return false;
}

/* What runs is killed, but not a message that is still ours. */
static void lose_jobs(struct weir_worker *self, const struct weir_worker_lease *lease,
                      uint64_t first, uint64_t end)
{
    for (uint32_t i = 0; self->running && i < self->concurrency; i++) {
        struct weir_worker_job *job = &self->jobs[i];
        if (!job->id || job->lot->lease != lease || !loses(job, first, end))
            continue;
        const uint64_t at = (uint64_t)job->lot->info.index + job->at;
        job->stopped = true;
        weir_job_lease_push(job->lease, 0);
        if (!job->running || (at >= first && at < end))
            weir_worker_kill(self, job);
    }
}

void weir_worker_lose(struct weir_worker *self, struct weir_worker_lease *lease, uint64_t first,
                      uint64_t count)
{
    const uint64_t end = first + count;
    for (; weir_worker_held_part(lease, end, &first, &count); first += count) {
        self->counts.lost += count;
        weir_worker_unhold(self, lease, first, count);
        lose_jobs(self, lease, first, first + count);
        struct weir_worker_lot *lot;
        DL_FOREACH (lease->lots, lot)
            if (lot->info.index < first + count &&
                (uint64_t)lot->info.index + lot->info.count > first)
                lose_lot(self, lot, first, first + count);
    }
}

/* ---- DELIVER ---- */

/* Why nothing more can be taken now; false: it can. */
static bool refuses(const struct weir_worker *self, const struct weir_control *control)
{
    return self->state != WEIR_WORKER_SERVING || self->alone ||
           self->held >=
               2 * (uint64_t)self->prefetch + WEIR_RESULTS_AHEAD_MAX + WEIR_DELIVERY_MESSAGES_MAX ||
           (control->alone && (control->slice_count != 1 || control->slices[0].count != 1));
}

static struct weir_worker_lot *lot_new(struct weir_worker *self, struct weir_worker_lease *lease,
                                       const struct weir_slice_info *info,
                                       struct weir_bytes *frames)
{
    struct weir_worker_lot *lot = weir_zalloc(1, sizeof *lot);
    lot->lease = lease;
    lot->arrival = ++self->arrivals;
    lot->upstream = lease->upstream;
    lot->header = frames[0];
    lot->index = frames[1];
    lot->body = frames[2];
    frames[0] = frames[1] = frames[2] = WEIR_BYTES_NONE;
    lot->info = *info;
    lot->open = info->count;
    const uint64_t bytes = lot->index.size + lot->body.size;
    self->held_bytes += bytes;
    self->upstreams[lot->upstream].held_bytes += bytes;
    DL_APPEND(lease->lots, lot);
    return lot;
}

/* A batch whose header does not fit its index can never be handled. */
static bool lot_readable(struct weir_worker_lot *lot, struct weir_error *error)
{
    if (weir_batch_header_decode(&lot->header, &lot->batch, error) != 0 ||
        weir_slice_check(&lot->index, &lot->body, lot->info.count, &lot->width, error) != 0)
        return false;
    if (lot->width == weir_index_width(lot->batch.flags))
        return true;
    weir_error_set(error, WEIR_EPROTO, "the batch's flags ask for another index");
    return false;
}

static void take_slice(struct weir_worker *self, struct weir_worker_lease *lease,
                       const struct weir_slice_info *info, struct weir_bytes *frames)
{
    self->held +=
        weir_rangeset_add(&lease->held, info->index, (uint64_t)info->index + info->count - 1);
    struct weir_worker_lot *lot = lot_new(self, lease, info, frames);
    struct weir_error error = {0};
    if (!lot_readable(lot, &error)) {
        struct weir_bytes text = weir_bytes_copy(error.text, strlen(error.text));
        weir_worker_ack(self, lease, info->index, info->count, WEIR_REJECT, -1, &text);
        weir_worker_lot_finish(self, lot, info->count);
        return;
    }
    weir_worker_rewait(self, lot, 0, info->count);
    if (lease->failed_count == 0)
        return;
    for (uint32_t at = 0; at < info->count; at++)
        if (weir_worker_key_failed(lot, at))
            release(self, lot, at, 1);
}

void weir_worker_take(struct weir_worker *self, uint32_t upstream,
                      const struct weir_control *control, struct weir_event *event)
{
    const bool refused = refuses(self, control);
    weir_worker_reaches(&self->upstreams[upstream], control->incarnation);
    for (uint32_t i = 0; i < control->slice_count; i++) {
        const struct weir_slice_info *info = &control->slices[i];
        struct weir_worker_lease *lease = lease_take(self, upstream, control, &event->now);
        uint64_t first = info->index, count;
        if (info->count == 0 || weir_worker_held_part(lease, first + info->count, &first, &count)) {
            weir_worker_complain(self, WEIR_LOG_WARNING, &event->now,
                                 "delivery %" PRIu64 " of incarnation %" PRIu64
                                 " names messages that are held already: ignored",
                                 control->delivery, control->incarnation);
            lease_settle(self, lease);
        } else if (refused) {
            self->held += weir_rangeset_add(&lease->held, info->index,
                                            (uint64_t)info->index + info->count - 1);
            weir_worker_ack(self, lease, info->index, info->count, WEIR_RELEASE, -1, NULL);
        } else {
            if (lease->alone) {
                self->alone = lease;
                self->begun = false;
                weir_worker_release_waiting(self, lease);
            }
            take_slice(self, lease, info, &event->frames->at[1 + 3 * i]);
        }
    }
}

void weir_worker_hold_fini(struct weir_worker *self)
{
    struct weir_worker_lease *lease, *next_lease;
    HASH_ITER (hh, self->leases, lease, next_lease) {
        struct weir_worker_lot *lot, *next;
        weir_rangeset_fini(&lease->held);
        DL_FOREACH_SAFE(lease->lots, lot, next)
        {
            weir_worker_unwait(self, lot, 0, lot->info.count);
            lot_destroy(self, lot);
        }
        lease_settle(self, lease);
    }
    self->spent = NULL;
    weir_worker_sweep(self);
}
