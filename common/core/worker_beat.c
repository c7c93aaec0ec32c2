/* Heartbeats name what is held; their echoes name what of it lives.
 *
 * A lease's time counts from when the echoed beat was sent, on this worker's clock. What a beat
 * named and its echo does not is lost. A router's upstreams each echo for their own stream, so an
 * echo judges only the leases of its own incarnation's tag. */
#include <base/alloc.h>
#include <core/worker.h>
#include <stdlib.h>
#include <string.h>

struct naming { /* one beat while it is filled */
    struct weir_lease_ref *named;
    struct weir_lease_ref *running;
    uint32_t named_count, running_count, most;
};

static void name(struct weir_lease_ref *refs, uint32_t *count,
                 const struct weir_worker_lease *lease, uint64_t first, uint64_t messages)
{
    refs[(*count)++] = (struct weir_lease_ref){.incarnation = lease->name.incarnation,
                                               .delivery = lease->name.delivery,
                                               .first = (uint32_t)first,
                                               .count = (uint32_t)messages};
}

/* ---- beating ---- */

static void remember(struct weir_worker_upstream *upstream, struct naming *naming, uint64_t serial,
                     const struct weir_now *now)
{
    upstream->beat_newest = (upstream->beat_newest + 1) % WEIR_WORKER_BEATS_KEPT;
    struct weir_worker_beat *beat = &upstream->beats[upstream->beat_newest];
    free(beat->named);
    *beat = (struct weir_worker_beat){.serial = serial, .sent_ns = now->mono_ns};
    if (naming->named_count > 0) {
        beat->named = weir_alloc(naming->named_count * sizeof *beat->named);
        memcpy(beat->named, naming->named, naming->named_count * sizeof *beat->named);
        beat->named_count = naming->named_count;
    }
}

static void send_beat(struct weir_worker *self, struct weir_worker_upstream *upstream,
                      struct naming *naming, const struct weir_now *now)
{
    struct weir_control beat = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&beat, serial, SERIAL, ++self->last_serial);
    WEIR_SET(&beat, worker, WORKER, self->number);
    WEIR_SET(&beat, name, NAME, weir_text_of(self->name));
    if (naming->named_count > 0) {
        beat.lease_count = naming->named_count;
        WEIR_SET(&beat, leases, LEASES, naming->named);
    }
    if (naming->running_count > 0) {
        beat.running_count = naming->running_count;
        WEIR_SET(&beat, running, RUNNING, naming->running);
    }
    remember(upstream, naming, beat.serial, now);
    weir_session_send(upstream->session, &beat);
    naming->named_count = naming->running_count = 0;
}

static void name_running(const struct weir_worker *self, const struct weir_worker_lease *lease,
                         struct naming *naming)
{
    for (uint32_t i = 0; i < self->concurrency; i++) {
        const struct weir_worker_job *job = &self->jobs[i];
        if (!job->id || !job->running || job->lot->lease != lease)
            continue;
        const uint64_t index = (uint64_t)job->lot->info.index + job->at;
        if (naming->running_count < naming->most && weir_rangeset_has(&lease->held, index))
            name(naming->running, &naming->running_count, lease, index, 1);
    }
}

static void beat_upstream(struct weir_worker *self, struct weir_worker_upstream *upstream,
                          const struct weir_now *now)
{
    const uint32_t most = self->held < WEIR_LEASES_MAX ? (uint32_t)self->held : WEIR_LEASES_MAX;
    struct naming naming = {.named = weir_zalloc(most + 1, sizeof *naming.named),
                            .running = weir_zalloc(most + 1, sizeof *naming.running),
                            .most = most};
    for (struct weir_worker_lease *lease = self->leases; lease; lease = lease->hh.next) {
        /* As READY does: who counts it as held, and does not hear so again, counts it no more. */
        if (lease->held.count == 0 || !weir_worker_counted(self, lease, upstream->number))
            continue;
        for (size_t r = 0; r < lease->held.count; r++) {
            const struct weir_range range = lease->held.at[r];
            if (naming.named_count == most)
                send_beat(self, upstream, &naming, now);
            name(naming.named, &naming.named_count, lease, range.first,
                 range.last - range.first + 1);
        }
        name_running(self, lease, &naming);
    }
    send_beat(self, upstream, &naming, now);
    free(naming.named);
    free(naming.running);
}

int64_t weir_worker_beat(struct weir_worker *self, const struct weir_now *now)
{
    int64_t next_ns = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct weir_worker_upstream *upstream = &self->upstreams[i];
        if (!weir_session_open(upstream->session))
            continue;
        if (now->mono_ns >= upstream->beat_next_ns) {
            beat_upstream(self, upstream, now);
            upstream->beat_next_ns = now->mono_ns + upstream->beat_every_ns;
            self->begun = false; /* a suspect's BEGIN, or its GO, may have been lost: ask again */
        }
        if (upstream->beat_next_ns < next_ns)
            next_ns = upstream->beat_next_ns;
    }
    return next_ns;
}

void weir_worker_beats_forget(struct weir_worker_upstream *upstream)
{
    for (uint32_t i = 0; i < WEIR_WORKER_BEATS_KEPT; i++) {
        free(upstream->beats[i].named);
        upstream->beats[i] = (struct weir_worker_beat){0};
    }
}

/* ---- echoes ---- */

static struct weir_worker_lease *lease_of(const struct weir_worker *self,
                                          const struct weir_lease_ref *ref)
{
    const struct weir_lease_name key = {ref->incarnation, ref->delivery};
    return ref->count ? weir_worker_lease_find(self, &key) : NULL;
}

static void renew(struct weir_worker *self, const struct weir_worker_beat *beat,
                  const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->lease_count; i++) {
        const struct weir_lease_ref *ref = &control->leases[i];
        struct weir_worker_lease *lease = lease_of(self, ref);
        if (!lease)
            continue;
        if (lease->echo_serial != beat->serial) {
            lease->echo_serial = beat->serial;
            lease->echoed.count = 0;
            int64_t deadline_ns = beat->sent_ns + lease->lease_ms * WEIR_NS_PER_MS;
            if (deadline_ns > lease->deadline_ns)
                lease->deadline_ns = deadline_ns;
        }
        weir_rangeset_add(&lease->echoed, ref->first, (uint64_t)ref->first + ref->count - 1);
    }
    for (uint32_t i = 0; self->running && i < self->concurrency; i++) {
        const struct weir_worker_job *job = &self->jobs[i];
        if (job->id && !job->stopped && job->lot->lease->echo_serial == beat->serial)
            weir_job_lease_push(job->lease, job->lot->lease->deadline_ns);
    }
}

/* Lose what of this range the echo does not name. */
static void judge(struct weir_worker *self, const struct weir_worker_beat *beat,
                  const struct weir_lease_ref *ref)
{
    struct weir_worker_lease *lease = lease_of(self, ref);
    if (!lease)
        return;
    uint64_t at = ref->first;
    const uint64_t end = at + ref->count;
    if (lease->echo_serial == beat->serial)
        for (size_t r = 0; r < lease->echoed.count && at < end; r++) {
            const struct weir_range echoed = lease->echoed.at[r];
            if (echoed.last < at)
                continue;
            if (echoed.first > at)
                weir_worker_lose(self, lease, at, (echoed.first < end ? echoed.first : end) - at);
            at = echoed.last + 1;
        }
    if (at < end)
        weir_worker_lose(self, lease, at, end - at);
}

/* The beat with this serial; *upstream: where it was sent. Serials are the worker's, not an
 * upstream's: where routers stand in rows, an echo may come back another way than its beat went. */
static const struct weir_worker_beat *beat_of(struct weir_worker *self, uint64_t serial,
                                              struct weir_worker_upstream **upstream)
{
    for (uint32_t u = 0; u < self->upstream_count && serial; u++) {
        *upstream = &self->upstreams[u];
        for (uint32_t i = 0; i < WEIR_WORKER_BEATS_KEPT; i++)
            if ((*upstream)->beats[i].serial == serial)
                return &(*upstream)->beats[i];
    }
    return NULL;
}

void weir_worker_echo(struct weir_worker *self, const struct weir_control *control)
{
    struct weir_worker_upstream *upstream;
    const struct weir_worker_beat *beat = beat_of(self, control->serial, &upstream);
    if (!beat)
        return;
    weir_worker_ack_confirm(upstream, beat->serial);
    renew(self, beat, control);
    if (!WEIR_HAS(control, INCARNATION))
        return;
    weir_worker_reaches(upstream, control->incarnation);
    for (uint32_t i = 0; i < beat->named_count; i++)
        if ((uint16_t)beat->named[i].incarnation == (uint16_t)control->incarnation)
            judge(self, beat, &beat->named[i]);
}

/* ---- READY ---- */

struct held { /* the list while it grows */
    struct weir_lease_ref *refs;
    uint32_t count, capacity;
};

static void held_add(struct held *held, const struct weir_lease_name *of, uint64_t first,
                     uint64_t count)
{
    if (held->count == WEIR_LEASES_MAX)
        return;
    if (held->count == held->capacity) {
        held->capacity = held->capacity ? 2 * held->capacity : 64;
        held->refs = weir_realloc(held->refs, held->capacity, sizeof *held->refs);
    }
    held->refs[held->count++] = (struct weir_lease_ref){.incarnation = of->incarnation,
                                                        .delivery = of->delivery,
                                                        .first = (uint32_t)first,
                                                        .count = (uint32_t)count};
}

void weir_worker_held(struct weir_worker *self, uint32_t number, struct weir_lease_ref **leases,
                      uint32_t *count)
{
    struct held held = {0};
    WEIR_ASSERT(*count == 0 && !*leases);
    for (struct weir_worker_lease *lease = self->leases; lease; lease = lease->hh.next) {
        const bool reached = weir_worker_counted(self, lease, number);
        if (reached && lease->held.count > 0) /* what is not named there again is released */
            weir_worker_note_way(lease, number);
        for (size_t r = 0; reached && r < lease->held.count; r++)
            held_add(&held, &lease->name, lease->held.at[r].first,
                     lease->held.at[r].last - lease->held.at[r].first + 1);
    }
    /* An ack that may have been lost is about to be repeated: until then it is held. */
    struct weir_worker_kept_at at = {0};
    const struct weir_worker_kept *kept;
    while ((kept = weir_worker_ack_kept(self, &self->upstreams[number], &at)))
        held_add(&held, &kept->ack.name, kept->ack.first, kept->ack.count);
    *leases = held.refs;
    *count = held.count;
}
