/* Outcomes on their way back, as ranges: collected during a turn, sent at its end. An ack that no
 * upstream can take now waits; what it names stays held, and so within the prefetch. An ack that
 * was sent is kept until the echo of a later beat shows that it arrived; when a connection is made
 * first, it is said again there. Twice said, it is stale the second time and does nothing. */
#include <base/alloc.h>
#include <core/worker.h>
#include <stdlib.h>

#define ENTRY_BYTES 64u /* of an ack without its error's text, at most */
#define FRAME_BYTES (WEIR_CONTROL_BYTES_MAX / 2)

static bool continues(const struct weir_worker_ack *ack, const struct weir_lease_name *name,
                      uint64_t first, enum weir_outcome outcome, int64_t delay_ms,
                      const struct weir_bytes *error)
{
    return ack->name.incarnation == name->incarnation && ack->name.delivery == name->delivery &&
           ack->first + ack->count == first && ack->outcome == outcome &&
           ack->delay_ms == delay_ms && !ack->error.size && !(error && error->size);
}

void weir_worker_ack(struct weir_worker *self, const struct weir_worker_lease *lease,
                     uint64_t first, uint64_t count, enum weir_outcome outcome, int64_t delay_ms,
                     struct weir_bytes *error)
{
    if (self->ack_count > 0) {
        struct weir_worker_ack *last = &self->acks[self->ack_count - 1];
        if (continues(last, &lease->name, first, outcome, delay_ms, error)) {
            last->count += count;
            return;
        }
    }
    if (self->ack_count == self->ack_capacity) {
        self->ack_capacity = self->ack_capacity ? 2 * self->ack_capacity : 64;
        self->acks = weir_realloc(self->acks, self->ack_capacity, sizeof *self->acks);
    }
    struct weir_worker_ack *ack = &self->acks[self->ack_count++];
    *ack = (struct weir_worker_ack){.name = lease->name,
                                    .first = first,
                                    .count = count,
                                    .outcome = outcome,
                                    .delay_ms = delay_ms};
    if (error) {
        ack->error = *error;
        *error = WEIR_BYTES_NONE;
    }
}

/* One ACK frame while it is filled. */
struct frame {
    struct weir_worker *worker;
    struct weir_worker_upstream *upstream;
    uint32_t count; /* in worker->ack_out */
    size_t bytes;
};

static void frame_send(struct frame *frame)
{
    struct weir_control control = {.verb = WEIR_VERB_ACK, .ack_count = frame->count};
    if (frame->count == 0)
        return;
    WEIR_SET(&control, group, GROUP, weir_text_of(frame->worker->group));
    WEIR_SET(&control, acks, ACKS, frame->worker->ack_out);
    WEIR_SET(&control, worker, WORKER, frame->worker->number);
    WEIR_SET(&control, name, NAME, weir_text_of(frame->worker->name));
    weir_session_send(frame->upstream->session, &control);
    frame->count = 0;
    frame->bytes = 0;
}

static void frame_add(struct frame *frame, const struct weir_worker_ack *ack, uint64_t first,
                      uint64_t count)
{
    uint32_t error_bytes =
        (uint32_t)(ack->error.size < WEIR_ERROR_BYTES_MAX ? ack->error.size : WEIR_ERROR_BYTES_MAX);
    if (frame->count == WEIR_ACKS_MAX || frame->bytes + ENTRY_BYTES + error_bytes > FRAME_BYTES)
        frame_send(frame);
    struct weir_worker *self = frame->worker;
    if (frame->count == self->ack_out_capacity) {
        self->ack_out_capacity = self->ack_out_capacity ? 2 * self->ack_out_capacity : 64;
        self->ack_out = weir_realloc(self->ack_out, self->ack_out_capacity, sizeof *self->ack_out);
    }
    frame->bytes += ENTRY_BYTES + error_bytes;
    self->ack_out[frame->count++] =
        (struct weir_ack){.lease = {.incarnation = ack->name.incarnation,
                                    .delivery = ack->name.delivery,
                                    .first = (uint32_t)first,
                                    .count = (uint32_t)count},
                          .outcome = ack->outcome,
                          .delay_ms = ack->delay_ms < 0 ? -1 : ack->delay_ms,
                          .error = error_bytes ? (const char *)ack->error.data : NULL,
                          .error_bytes = error_bytes};
}

/* ---- acks that may have been lost ---- */

static struct weir_worker_kept *kept_at(const struct weir_worker_upstream *upstream, uint32_t i)
{
    return &upstream->kept[(upstream->kept_head + i) % upstream->kept_capacity];
}

static void kept_drop(struct weir_worker_upstream *upstream)
{
    weir_bytes_drop(&kept_at(upstream, 0)->ack.error);
    upstream->kept_head = (upstream->kept_head + 1) % upstream->kept_capacity;
    upstream->kept_count--;
}

static void kept_grow(struct weir_worker_upstream *upstream)
{
    const uint32_t capacity = upstream->kept_capacity ? 2 * upstream->kept_capacity : 64;
    struct weir_worker_kept *kept = weir_zalloc(capacity, sizeof *kept);
    for (uint32_t i = 0; i < upstream->kept_count; i++)
        kept[i] = *kept_at(upstream, i);
    free(upstream->kept);
    upstream->kept = kept;
    upstream->kept_head = 0;
    upstream->kept_capacity = capacity;
}

static void keep(struct weir_worker_upstream *upstream, uint64_t serial,
                 const struct weir_worker_ack *ack, uint64_t first, uint64_t count)
{
    if (upstream->kept_count == WEIR_ACKS_KEPT_MAX)
        kept_drop(upstream);
    if (upstream->kept_count == upstream->kept_capacity)
        kept_grow(upstream);
    struct weir_worker_kept *kept = kept_at(upstream, upstream->kept_count++);
    *kept = (struct weir_worker_kept){.serial = serial, .ack = *ack};
    kept->ack.first = first;
    kept->ack.count = count;
    kept->ack.error = weir_bytes_ref(&ack->error);
}

void weir_worker_ack_confirm(struct weir_worker_upstream *upstream, uint64_t serial)
{
    while (upstream->kept_count > 0 && kept_at(upstream, 0)->serial < serial)
        kept_drop(upstream);
}

bool weir_worker_ack_unasked(const struct weir_worker_upstream *upstream)
{
    return upstream->kept_count > 0 && kept_at(upstream, upstream->kept_count - 1)->serial >=
                                           upstream->beats[upstream->beat_newest].serial;
}

uint64_t weir_worker_ack_unconfirmed(const struct weir_worker_upstream *upstream)
{
    uint64_t messages = 0;
    for (uint32_t i = 0; i < upstream->kept_count; i++)
        messages += kept_at(upstream, i)->ack.count;
    return messages;
}

struct weir_worker_kept *weir_worker_ack_kept(const struct weir_worker *self,
                                              const struct weir_worker_upstream *upstream,
                                              struct weir_worker_kept_at *at)
{
    for (; at->upstream < self->upstream_count; at->upstream++, at->number = 0) {
        const struct weir_worker_upstream *sent_by = &self->upstreams[at->upstream];
        while (at->number < sent_by->kept_count) {
            struct weir_worker_kept *kept = kept_at(sent_by, at->number++);
            if (sent_by == upstream || weir_worker_leads(upstream, kept->ack.name.incarnation))
                return kept;
        }
    }
    return NULL;
}

/* What was sent another way is said here, too. The server may still count it as held by this way,
 * and gives back what is not named when its worker is back; and what was sent may wait there, with
 * a router that has just lost its own way up. */
void weir_worker_ack_repeat(struct weir_worker *self, struct weir_worker_upstream *upstream)
{
    struct frame frame = {.worker = self, .upstream = upstream};
    struct weir_worker_kept_at at = {0};
    struct weir_worker_kept *kept;
    while ((kept = weir_worker_ack_kept(self, upstream, &at))) {
        if (at.upstream == upstream->number)
            kept->serial = self->last_serial;
        frame_add(&frame, &kept->ack, kept->ack.first, kept->ack.count);
    }
    frame_send(&frame);
}

/* ---- sending ---- */

/* What of it is still ours goes into the frame. */
static void ack_send(struct weir_worker *self, struct weir_worker_lease *lease,
                     struct weir_worker_ack *ack, struct frame *frame)
{
    const uint64_t end = ack->first + ack->count;
    uint64_t first = ack->first, count, sent = 0;
    while (weir_worker_held_part(lease, end, &first, &count)) {
        frame_add(frame, ack, first, count);
        keep(frame->upstream, self->last_serial, ack, first, count);
        weir_worker_unhold(self, lease, first, count);
        sent += count;
        first += count;
    }
    self->counts.late += ack->count - sent;
    ack->sent = true;
}

static void send_over(struct weir_worker *self, struct weir_worker_upstream *upstream)
{
    struct frame frame = {.worker = self, .upstream = upstream};
    for (uint32_t i = 0; i < self->ack_count; i++) {
        struct weir_worker_ack *ack = &self->acks[i];
        if (ack->sent)
            continue;
        struct weir_worker_lease *lease = weir_worker_lease_find(self, &ack->name);
        if (lease && weir_worker_way(self, lease) != upstream)
            continue;
        if (lease) {
            ack_send(self, lease, ack, &frame);
        } else { /* the last of it was lost */
            self->counts.late += ack->count;
            ack->sent = true;
        }
    }
    frame_send(&frame);
}

void weir_worker_ack_flush(struct weir_worker *self)
{
    if (self->ack_count == 0)
        return;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (weir_session_open(self->upstreams[i].session))
            send_over(self, &self->upstreams[i]);
    uint32_t left = 0;
    for (uint32_t i = 0; i < self->ack_count; i++) {
        if (self->acks[i].sent)
            weir_bytes_drop(&self->acks[i].error);
        else
            self->acks[left++] = self->acks[i];
    }
    self->ack_count = left;
}

void weir_worker_ack_fini(struct weir_worker *self)
{
    for (uint32_t i = 0; i < self->ack_count; i++)
        weir_bytes_drop(&self->acks[i].error);
    free(self->acks);
    free(self->ack_out);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        while (self->upstreams[i].kept_count > 0)
            kept_drop(&self->upstreams[i]);
        free(self->upstreams[i].kept);
    }
}
