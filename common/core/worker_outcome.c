/* What comes of the jobs: outcomes become acks, or results that are handed on first. */
#include <base/canary.h>
#include <core/worker.h>
#include <string.h>

static struct weir_lease_ref ref_of(const struct weir_worker_lot *lot, uint32_t at)
{
    return (struct weir_lease_ref){.incarnation = lot->lease->name.incarnation,
                                   .delivery = lot->lease->name.delivery,
                                   .first = lot->info.index + at,
                                   .count = 1};
}

static void extend(struct weir_worker *self, const struct weir_worker_job *job, uint32_t at)
{
    struct weir_worker_upstream *way = weir_worker_way(self, job->lot->lease);
    if (!way || job->killed)
        return;
    struct weir_lease_ref ref = ref_of(job->lot, at);
    struct weir_control control = {.verb = WEIR_VERB_EXTEND, .lease_count = 1};
    WEIR_SET(&control, leases, LEASES, &ref);
    WEIR_SET(&control, worker, WORKER, self->number);
    weir_session_send(way->session, &control);
}

static void count(struct weir_worker_counts *counts, enum weir_outcome outcome, uint64_t messages)
{
    switch (outcome) {
    case WEIR_DONE:
        counts->done += messages;
        break;
    case WEIR_RETRY:
        counts->failed += messages;
        break;
    case WEIR_REJECT:
        counts->rejected += messages;
        break;
    case WEIR_RELEASE:
        counts->released += messages;
        break;
    case WEIR_UNAVAILABLE:
        counts->unavailable += messages;
        break;
    }
}

static void keep_result(struct weir_worker *self, struct weir_worker_job *job, uint32_t at,
                        struct weir_bytes *payload)
{
    struct weir_worker_lot *lot = job->lot;
    if (at < job->cursor) {
        job->cursor = 0;
        job->cursor_offset = 0;
    }
    job->cursor_offset += weir_index_span(&lot->index, lot->width, job->cursor, at - job->cursor);
    job->cursor = at;
    weir_worker_result_add(self, lot, at, lot->body.data + job->cursor_offset,
                           weir_index_length(&lot->index, lot->width, at), payload);
}

static bool is_held(const struct weir_worker_lot *lot, uint32_t at)
{
    return weir_rangeset_has(&lot->lease->held, (uint64_t)lot->info.index + at);
}

/* Messages [first, first + messages) of the lot have ended. */
static void ended(struct weir_worker *self, struct weir_worker_job *job, uint32_t first,
                  uint32_t messages, struct weir_job_outcome *outcome)
{
    struct weir_worker_lot *lot = job->lot;
    enum weir_outcome how = outcome->outcome;
    /* Killed by our own drain: the attempt was not given its time. */
    if (job->killed && self->drain_over && how != WEIR_DONE)
        how = weir_worker_back(lot->lease);
    if (how != WEIR_DONE && how != WEIR_REJECT) /* those are over: the next of the key may go */
        for (uint32_t at = first; at < first + messages; at++)
            weir_worker_fail_key(self, lot, at);
    const bool result = how == WEIR_DONE && self->results && outcome->result.data;
    WEIR_ASSERT(!result || messages == 1);
    if (result && self->submit && is_held(lot, first)) {
        keep_result(self, job, first, &outcome->result);
        if (WEIR_CANARY(ACK_BEFORE_RESULT))
            weir_worker_ack(self, lot->lease, (uint64_t)lot->info.index + first, 1, WEIR_DONE, -1,
                            NULL);
        return; /* the lot keeps the message open until the result is handed over */
    }
    if (result && !self->submit) /* given up in a drain: nobody will have the result */
        how = weir_worker_back(lot->lease);
    count(&self->counts, how, messages);
    int64_t delay_ms = how == WEIR_RETRY ? outcome->delay_ms : -1;
    if (delay_ms > WEIR_DURATION_MS_MAX) /* no wire carries more, and no handler waits for it */
        delay_ms = WEIR_DURATION_MS_MAX;
    weir_worker_ack(self, lot->lease, (uint64_t)lot->info.index + first, messages, how, delay_ms,
                    &outcome->error);
    weir_worker_lot_finish(self, lot, messages);
}

static void outcomes(struct weir_worker *self, struct weir_worker_job *job,
                     struct weir_handled *handled, const struct weir_now *now)
{
    uint64_t messages = 0;
    for (uint32_t i = 0; i < handled->outcome_count; i++) {
        struct weir_job_outcome *outcome = &handled->outcomes[i];
        WEIR_ASSERT(outcome->count > 0 && outcome->first < job->count &&
                    outcome->count <= job->count - outcome->first);
        const uint32_t first = job->first + outcome->first;
        uint64_t fresh =
            weir_rangeset_remove(&job->unended, first, (uint64_t)first + outcome->count - 1);
        WEIR_ASSERT(fresh == outcome->count);
        if (job->running && job->at >= first && job->at - first < outcome->count)
            job->running = false;
        messages += outcome->count;
        ended(self, job, first, outcome->count, outcome);
    }
    weir_worker_pace(self, job, messages, now);
}

/* The job is over. What was never started waits again, unless it may not be started here. A
 * message that was cut off while it ran has no outcome either. */
static void end(struct weir_worker *self, struct weir_worker_job *job)
{
    struct weir_worker_lot *lot = job->lot;
    const bool again = self->state == WEIR_WORKER_SERVING && !self->alone;
    for (size_t r = 0; r < job->unended.count; r++) {
        const struct weir_range range = job->unended.at[r];
        for (uint32_t at = (uint32_t)range.first; at <= range.last; at++) {
            const bool begun = job->running && job->at == at;
            if (again && is_held(lot, at) && !weir_worker_key_failed(lot, at) &&
                !(begun && lot->lease->once)) {
                weir_worker_rewait(self, lot, at, 1);
                continue;
            }
            weir_worker_ack(self, lot->lease, (uint64_t)lot->info.index + at, 1,
                            begun ? weir_worker_back(lot->lease) : WEIR_RELEASE, -1, NULL);
            weir_worker_lot_finish(self, lot, 1);
        }
    }
    weir_worker_lot_finish(self, lot, 1); /* the job itself */
    self->free_slots[self->concurrency - self->running--] = (uint32_t)(job->id % self->concurrency);
    weir_rangeset_fini(&job->unended);
    weir_job_lease_drop(&job->lease);
    *job = (struct weir_worker_job){0};
}

void weir_worker_handled(struct weir_worker *self, struct weir_event *event)
{
    struct weir_handled *handled = event->handled;
    struct weir_worker_job *job = weir_worker_job_find(self, handled->job);
    WEIR_ASSERT(job);
    WEIR_ASSERT(handled->type == WEIR_HANDLED_OUTCOMES || handled->type == WEIR_HANDLED_END ||
                handled->first < job->count);
    switch (handled->type) {
    case WEIR_HANDLED_STARTED:
        job->running = true;
        job->at = job->first + handled->first;
        break;
    case WEIR_HANDLED_EXTEND:
        extend(self, job, job->first + handled->first);
        break;
    case WEIR_HANDLED_OUTCOMES:
        outcomes(self, job, handled, &event->now);
        break;
    case WEIR_HANDLED_END:
        end(self, job);
        break;
    }
}
