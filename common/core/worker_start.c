/* Which of the waiting messages are started next, and as which jobs.
 *
 * Without order a job is the front of what waits in the oldest lot. With order: key it is the first
 * run of messages of which none has a key that is being handled now or that is waiting further
 * ahead; messages with one key may follow each other inside a job, which handles them in turn. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/worker.h>
#include <utlist.h>

#define ORDER_WINDOW 256u /* waiting messages looked at for one ordered job */
#define ORDER_JOB_MAX 64u /* messages in one, when others run beside it */

struct pick {
    struct weir_worker_lot *lot;
    uint32_t first, count;
};

struct weir_worker_job *weir_worker_job_find(const struct weir_worker *self, uint64_t id)
{
    struct weir_worker_job *job = &self->jobs[id % self->concurrency];
    return job->id == id && id ? job : NULL;
}

void weir_worker_kill(struct weir_worker *self, struct weir_worker_job *job)
{
    if (!job->killed)
        self->host.kill(self->host.self, job->id);
    job->killed = true;
}

/* ---- picking ---- */

static uint32_t smaller(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

static struct pick pick_front(const struct weir_worker *self, struct weir_worker_lot *lot)
{
    const struct weir_range range = lot->waiting.at[0];
    const uint32_t idle = self->concurrency - self->running;
    const uint64_t share = (self->waiting + idle - 1) / idle;
    const uint32_t most =
        smaller(WEIR_CANARY(JOB_TOO_LARGE) ? UINT32_MAX : self->job_messages_max, share);
    return (struct pick){lot, (uint32_t)range.first, smaller(range.last - range.first + 1, most)};
}

static bool key_runs(const struct weir_worker *self, uint64_t key)
{
    uint32_t left = self->running;
    for (uint32_t i = 0; left > 0; i++) {
        const struct weir_worker_job *job = &self->jobs[i];
        if (!job->id)
            continue;
        left--;
        if (!job->lot->lease->ordered)
            continue;
        for (uint32_t at = job->first; at < job->first + job->count; at++)
            if (weir_worker_key(job->lot, at) == key)
                return true;
    }
    return false;
}

struct order { /* while looking for an ordered job */
    uint32_t looked_at;
    uint32_t blocked_count;
    uint64_t blocked[ORDER_WINDOW]; /* keys that wait further ahead */
};

static bool key_free(const struct weir_worker *self, const struct order *order, uint64_t key)
{
    if (!key)
        return true;
    for (uint32_t i = 0; i < order->blocked_count; i++)
        if (order->blocked[i] == key)
            return false;
    return !key_runs(self, key);
}

static bool pick_ordered(const struct weir_worker *self, struct weir_worker_lot *lot,
                         struct order *order, struct pick *pick)
{
    const uint32_t most = self->concurrency == 1 ? self->job_messages_max
                                                 : smaller(self->job_messages_max, ORDER_JOB_MAX);
    for (size_t r = 0; r < lot->waiting.count; r++) {
        const struct weir_range range = lot->waiting.at[r];
        for (uint32_t at = (uint32_t)range.first; at <= range.last; at++) {
            if (order->looked_at == ORDER_WINDOW) /* of all lots together */
                return false;
            order->looked_at++;
            const uint64_t key = weir_worker_key(lot, at);
            if (!key_free(self, order, key)) {
                order->blocked[order->blocked_count++] = key;
                continue;
            }
            *pick = (struct pick){lot, at, 1};
            while (pick->count < most && at + pick->count <= range.last &&
                   key_free(self, order, weir_worker_key(lot, at + pick->count)))
                pick->count++;
            return true;
        }
    }
    return false;
}

/* Its lease has ended on our own clock: whoever has these messages now, it is not us. */
static void forget_expired(struct weir_worker *self, struct weir_worker_lot *lot)
{
    while (lot->waiting.count) {
        const struct weir_range range = lot->waiting.at[0]; /* what waits is held */
        weir_worker_lose(self, lot->lease, lot->info.index + range.first,
                         range.last - range.first + 1);
    }
}

static void forget_all_expired(struct weir_worker *self, const struct weir_now *now)
{
    struct weir_worker_lot *lot, *next;
    DL_FOREACH_SAFE2(self->ready, lot, next, ready_next)
    {
        if (now->mono_ns < lot->lease->deadline_ns)
            continue;
        forget_expired(self, lot);
        next = self->ready; /* others of its delivery may have gone with it */
    }
}

static bool pick_next(struct weir_worker *self, struct pick *pick)
{
    struct order order = {0};
    struct weir_worker_lot *lot;
    DL_FOREACH2(self->ready, lot, ready_next)
    {
        if (lot->lease->alone && !lot->lease->go)
            continue;
        if (!lot->lease->ordered) {
            *pick = pick_front(self, lot);
            return true;
        }
        if (pick_ordered(self, lot, &order, pick))
            return true;
    }
    return false;
}

/* ---- starting ---- */

/* Where a message begins in the lot's body. Jobs mostly ascend, so the last answer is kept. */
static uint64_t body_offset(struct weir_worker_lot *lot, uint32_t at)
{
    if (at < lot->cursor) {
        lot->cursor = 0;
        lot->cursor_offset = 0;
    }
    lot->cursor_offset += weir_index_span(&lot->index, lot->width, lot->cursor, at - lot->cursor);
    lot->cursor = at;
    return lot->cursor_offset;
}

static void run(struct weir_worker *self, const struct pick *pick, const struct weir_now *now)
{
    struct weir_worker_lot *lot = pick->lot;
    const struct weir_worker_lease *lease = lot->lease;
    const uint32_t slot = self->free_slots[self->concurrency - ++self->running];
    struct weir_worker_job *job = &self->jobs[slot];
    *job = (struct weir_worker_job){.id = (++self->last_job) * self->concurrency + slot,
                                    .lot = lot,
                                    .first = pick->first,
                                    .count = pick->count,
                                    .lease = weir_job_lease_new(lease->deadline_ns),
                                    .since_ns = now->mono_ns};
    weir_rangeset_add(&job->unended, pick->first, (uint64_t)pick->first + pick->count - 1);

    job->cursor = pick->first;
    job->cursor_offset = body_offset(lot, pick->first);
    weir_worker_unwait(self, lot, pick->first, pick->count);
    lot->open++; /* the job itself, until its END */

    struct weir_job out = {.id = job->id,
                           .header = weir_bytes_ref(&lot->header),
                           .count = pick->count,
                           .sequence = lot->info.sequence + pick->first,
                           .time_ms = lot->info.time_ms,
                           .attempt = lot->info.attempt,
                           .death = lot->info.death,
                           .tag = (uint16_t)lease->name.incarnation,
                           .group = self->group,
                           .timeout_ms = lease->timeout_ms,
                           .deadline_ns = lease->deadline_ns,
                           .lease = weir_job_lease_ref(job->lease),
                           .ordered = lease->ordered,
                           .once = lease->once};
    weir_slice_cut(&lot->index, &lot->body, lot->width, pick->first, pick->count,
                   job->cursor_offset, &out.index, &out.body);
    self->host.run(self->host.self, &out);
}

static bool may_start(const struct weir_worker *self)
{
    return self->state == WEIR_WORKER_SERVING && self->ready && self->running < self->concurrency &&
           self->queue_bytes + self->parcel_bytes < WEIR_RESULTS_BYTES_MAX;
}

void weir_worker_start_ready(struct weir_worker *self, const struct weir_now *now)
{
    struct pick pick;
    if (!may_start(self))
        return;
    forget_all_expired(self, now);
    while (may_start(self) && pick_next(self, &pick))
        run(self, &pick, now);
}

/* ---- suspects ---- */

void weir_worker_begin(struct weir_worker *self)
{
    const struct weir_worker_lease *lease = self->alone;
    if (!lease || lease->go || self->begun || self->held > 1 || self->running || !self->waiting)
        return;
    struct weir_worker_upstream *way = weir_worker_way(self, lease);
    if (!way)
        return;
    struct weir_lease_ref ref = {.incarnation = lease->name.incarnation,
                                 .delivery = lease->name.delivery,
                                 .first = lease->lots->info.index,
                                 .count = 1};
    struct weir_control begin = {.verb = WEIR_VERB_BEGIN, .lease_count = 1};
    WEIR_SET(&begin, leases, LEASES, &ref);
    WEIR_SET(&begin, worker, WORKER, self->number);
    weir_session_send(way->session, &begin);
    self->begun = true;
}

void weir_worker_go(struct weir_worker *self, const struct weir_control *control)
{
    struct weir_worker_lease *lease = self->alone;
    for (uint32_t i = 0; lease && self->begun && i < control->lease_count; i++)
        if (control->leases[i].incarnation == lease->name.incarnation &&
            control->leases[i].delivery == lease->name.delivery)
            lease->go = true;
}
