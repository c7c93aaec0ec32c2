/* Results on their way on. A message with a result stays held, lease and all, until whoever is next
 * has the result durably; then it is acked. Results that come while others are on their way travel
 * together, in one parcel: a batch of one topic. A parcel that is refused is taken apart, so that
 * only what is refused by itself is rejected. */
#include <base/alloc.h>
#include <base/canary.h>
#include <base/topic.h>
#include <core/worker.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define FLOWING_PARCELS 2u /* with so many unanswered, only a full one is sent */

struct weir_worker_parcel {
    struct weir_worker_parcel *prev, *next;
    uint64_t bytes;
    uint32_t count;
    struct weir_worker_result of[]; /* their payloads are in the batch */
};

/* Takes the payload over. */
static void queue_push(struct weir_worker *self, const struct weir_worker_result *result)
{
    if (self->queue_count == self->queue_capacity) {
        uint32_t capacity = self->queue_capacity ? 2 * self->queue_capacity : 64;
        struct weir_worker_result *queue = weir_alloc(capacity * sizeof *queue);
        for (uint32_t i = 0; i < self->queue_count; i++)
            queue[i] = self->queue[(self->queue_head + i) % self->queue_capacity];
        free(self->queue);
        self->queue = queue;
        self->queue_head = 0;
        self->queue_capacity = capacity;
    }
    self->queue[(self->queue_head + self->queue_count++) % self->queue_capacity] = *result;
    self->queue_bytes += result->payload.size;
}

void weir_worker_result_add(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t at,
                            const uint8_t *message, uint32_t message_bytes,
                            struct weir_bytes *payload)
{
    const struct weir_worker_result result = {.lot = lot,
                                              .at = at,
                                              .message = message,
                                              .message_bytes = message_bytes,
                                              .payload = *payload};
    *payload = WEIR_BYTES_NONE;
    queue_push(self, &result);
}

static struct weir_worker_result *queue_head(struct weir_worker *self)
{
    return &self->queue[self->queue_head];
}

static void queue_pop(struct weir_worker *self)
{
    struct weir_worker_result *result = queue_head(self);
    self->queue_bytes -= result->payload.size;
    weir_bytes_drop(&result->payload);
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
}

bool weir_worker_result_flows(const struct weir_worker *self)
{
    return !self->submit || (weir_submit_linked(self->submit) && !self->sink_busy);
}

uint64_t weir_worker_results_waiting(const struct weir_worker *self)
{
    return self->queue_count + self->parcel_messages;
}

/* No more than the prefetch: when a worker is killed, all that it held goes out again. */
uint64_t weir_worker_results_ahead(const struct weir_worker *self)
{
    const uint64_t waiting = weir_worker_results_waiting(self);
    const uint64_t prefetch = weir_worker_prefetch(self);
    const uint64_t most = prefetch < WEIR_RESULTS_AHEAD_MAX ? prefetch : WEIR_RESULTS_AHEAD_MAX;
    return waiting < most ? waiting : most;
}

/* ---- packing ---- */

static void end_message(struct weir_worker *self, struct weir_worker_lot *lot, uint32_t at,
                        enum weir_outcome outcome, const char *text)
{
    struct weir_bytes error = text ? weir_bytes_copy(text, strlen(text)) : WEIR_BYTES_NONE;
    if (outcome == WEIR_DONE)
        self->counts.done++;
    else if (outcome == WEIR_REJECT)
        self->counts.rejected++;
    else
        self->counts.released++;
    if (outcome == WEIR_RELEASE)
        weir_worker_fail_key(self, lot, at);
    weir_worker_ack(self, lot->lease, (uint64_t)lot->info.index + at, 1, outcome, -1, &error);
    weir_worker_lot_finish(self, lot, 1);
}

static struct weir_text topic_of(const struct weir_worker *self,
                                 const struct weir_worker_result *result)
{
    if (self->result_topic)
        return weir_text_of(self->result_topic);
    const struct weir_batch_header *batch = &result->lot->batch;
    return (struct weir_text){batch->topic, batch->topic_bytes};
}

/* Add one result to the batch: it inherits the key and the trace, and its origin is its idempotency
 * key, so that whoever is next knows a repeat, whichever worker sends it. */
static int add(struct weir_worker *self, const struct weir_worker_result *result,
               struct weir_batch_builder *builder, struct weir_error *error)
{
    const struct weir_worker_lot *lot = result->lot;
    struct weir_message_view task, out = {.has_origin = true};
    const struct weir_id id = {.time_ms = lot->info.time_ms,
                               .tag = (uint16_t)lot->lease->name.incarnation,
                               .sequence = lot->info.sequence + result->at};
    weir_id_encode(&id, out.origin.id);
    out.origin.topic = lot->batch.topic;
    out.origin.topic_bytes = lot->batch.topic_bytes;
    out.origin.group = self->group;
    out.origin.group_bytes = (uint32_t)strlen(self->group);
    out.origin.death = WEIR_CANARY(RESULT_NAMED_BY_ATTEMPT) ? lot->info.attempt : lot->info.death;
    out.origin.attempt = lot->info.attempt;
    char key[WEIR_ORIGIN_KEY_BYTES];
    out.idempotency_key_bytes = weir_origin_key(&out.origin, key);
    out.idempotency_key = key;
    out.payload = result->payload.data;
    out.payload_bytes = result->payload.size;
    if (weir_message_decode(result->message, result->message_bytes, &task, NULL) == 0) {
        out.key = task.key;
        out.key_bytes = task.key_bytes;
        for (uint32_t i = 0; i < task.header_count; i++)
            if (task.headers[i].name_bytes == strlen("traceparent") &&
                memcmp(task.headers[i].name, "traceparent", strlen("traceparent")) == 0)
                out.headers[out.header_count++] = task.headers[i];
    }
    return weir_batch_builder_add(builder, &out, error);
}

/* Which spool the message is of stands in the batch's header, once for all. */
static bool same_spool(const struct weir_worker_lease *left, const struct weir_worker_lease *right)
{
    return left->has_spool == right->has_spool &&
           memcmp(left->spool, right->spool, sizeof left->spool) == 0;
}

/* Move results of the head's topic and spool from the queue into the batch; or the head alone. */
static struct weir_worker_parcel *fill(struct weir_worker *self, struct weir_text topic,
                                       struct weir_batch_builder *builder)
{
    const uint32_t most = queue_head(self)->alone ? 1 : self->queue_count;
    struct weir_worker_parcel *parcel = weir_alloc(sizeof *parcel + most * sizeof parcel->of[0]);
    *parcel = (struct weir_worker_parcel){0};
    for (uint32_t i = 0; i < most; i++) {
        struct weir_worker_result *result = queue_head(self);
        struct weir_text other = topic_of(self, result);
        if (other.bytes != topic.bytes || memcmp(other.data, topic.data, topic.bytes) != 0 ||
            (result->alone && parcel->count > 0) ||
            (parcel->count > 0 && !same_spool(result->lot->lease, parcel->of[0].lot->lease)))
            break;
        struct weir_error error = {0};
        int rc = add(self, result, builder, &error);
        if (rc == WEIR_EFULL && parcel->count > 0)
            break;
        if (rc == 0) {
            parcel->of[parcel->count] = *result;
            parcel->of[parcel->count++].payload = WEIR_BYTES_NONE;
            parcel->bytes += result->payload.size;
        } else {
            weir_error_wrap(&error, "the result can never be sent on");
            end_message(self, result->lot, result->at, WEIR_REJECT, error.text);
        }
        queue_pop(self);
    }
    return parcel;
}

static void send_parcel(struct weir_worker *self, const struct weir_now *now)
{
    struct weir_text topic = topic_of(self, queue_head(self));
    struct weir_batch_header header = {.version = WEIR_BATCH_VERSION,
                                       .topic = topic.data,
                                       .topic_bytes = topic.bytes,
                                       .created_ms = now->wall_ms};
    const struct weir_worker_lease *lease = queue_head(self)->lot->lease;
    header.has_spool = lease->has_spool;
    memcpy(header.spool, lease->spool, sizeof header.spool);
    memcpy(header.producer, weir_submit_producer(self->submit), sizeof header.producer);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct weir_worker_parcel *parcel = fill(self, topic, builder);
    if (parcel->count > 0) {
        self->parcel_messages += parcel->count;
        self->parcel_bytes += parcel->bytes;
        DL_APPEND(self->parcels, parcel);
        weir_submit_send(self->submit, builder, 0, parcel, now);
    } else {
        free(parcel);
    }
    weir_batch_builder_destroy(&builder);
}

void weir_worker_result_flush(struct weir_worker *self, const struct weir_now *now)
{
    while (self->queue_count > 0 && weir_submit_room(self->submit) &&
           (weir_submit_outstanding(self->submit) < FLOWING_PARCELS ||
            self->queue_bytes >= WEIR_DELIVERY_BYTES_MAX ||
            self->queue_count >= WEIR_DELIVERY_MESSAGES_MAX))
        send_parcel(self, now);
}

/* ---- answers ---- */

static void parcel_destroy(struct weir_worker *self, struct weir_worker_parcel *parcel)
{
    DL_DELETE(self->parcels, parcel);
    self->parcel_messages -= parcel->count;
    self->parcel_bytes -= parcel->bytes;
    free(parcel);
}

/* One of them may be what is refused, and the others innocent: each is sent again, alone. */
static void take_apart(struct weir_worker *self, const struct weir_worker_parcel *parcel,
                       const struct weir_submitted *submitted)
{
    const uint32_t width = (uint32_t)(submitted->index->size / parcel->count);
    size_t offset = 0;
    for (uint32_t i = 0; i < parcel->count; i++) {
        const uint32_t length = weir_index_length(submitted->index, width, i);
        struct weir_message_view sent;
        const int rc = weir_message_decode(submitted->body->data + offset, length, &sent, NULL);
        WEIR_ASSERT(rc == 0); /* it was packed here */
        const size_t at = (size_t)((const uint8_t *)sent.payload - submitted->body->data);
        struct weir_worker_result result = parcel->of[i];
        result.alone = true;
        result.payload = weir_bytes_cut(submitted->body, at, sent.payload_bytes);
        queue_push(self, &result);
        offset += length;
    }
}

static void on_submitted(void *arg, const struct weir_submitted *submitted,
                         const struct weir_now *now)
{
    struct weir_worker *self = arg;
    struct weir_worker_parcel *parcel = submitted->arg;
    char text[WEIR_ERROR_TEXT_BYTES] = "";
    (void)now;
    if (submitted->status == 0) {
        self->counts.results += parcel->count;
    } else if (parcel->count > 1) {
        take_apart(self, parcel, submitted);
        parcel_destroy(self, parcel);
        return;
    } else {
        const struct weir_text *code = &submitted->answer->code, *why = &submitted->answer->text;
        snprintf(text, sizeof text, "the result was refused (%.*s): %.*s",
                 (int)(code->bytes < 64 ? code->bytes : 64), code->data,
                 (int)(why->bytes < 400 ? why->bytes : 400), why->data);
        self->counts.results_refused += parcel->count;
        self->host.log(self->host.self, WEIR_LOG_ERROR, text);
    }
    for (uint32_t i = 0; i < parcel->count; i++)
        end_message(self, parcel->of[i].lot, parcel->of[i].at,
                    submitted->status == 0 ? WEIR_DONE : WEIR_REJECT, *text ? text : NULL);
    parcel_destroy(self, parcel);
}

static void on_busy(void *arg, const struct weir_control *why, const struct weir_now *now)
{
    struct weir_worker *self = arg;
    const bool busy = why != NULL;
    (void)now;
    if (busy == self->sink_busy)
        return;
    self->sink_busy = busy;
    self->host.log(self->host.self, busy ? WEIR_LOG_WARNING : WEIR_LOG_INFO,
                   busy ? "results are not taken now; they are kept, and no new work is asked for"
                        : "results are taken again");
}

void weir_worker_result_init(struct weir_worker *self, struct weir_random *random)
{
    const struct weir_submit_owner owner = {
        .self = self, .submitted = on_submitted, .busy = on_busy};
    uint8_t producer[WEIR_PRODUCER_BYTES];
    weir_random_fill(random, producer, sizeof producer);
    self->submit =
        weir_submit_new(WEIR_PORT_TO, producer, WEIR_PRODUCER_WINDOW, &owner, &self->host);
}

void weir_worker_result_give_up(struct weir_worker *self)
{
    struct weir_worker_parcel *parcel, *next;
    DL_FOREACH_SAFE(self->parcels, parcel, next)
    {
        for (uint32_t i = 0; i < parcel->count; i++)
            end_message(self, parcel->of[i].lot, parcel->of[i].at,
                        weir_worker_back(parcel->of[i].lot->lease), NULL);
        parcel_destroy(self, parcel);
    }
    weir_submit_destroy(&self->submit);
    while (self->queue_count > 0) {
        end_message(self, queue_head(self)->lot, queue_head(self)->at,
                    weir_worker_back(queue_head(self)->lot->lease), NULL);
        queue_pop(self);
    }
}

void weir_worker_result_fini(struct weir_worker *self)
{
    struct weir_worker_parcel *parcel, *next;
    DL_FOREACH_SAFE(self->parcels, parcel, next)
    parcel_destroy(self, parcel);
    while (self->queue_count > 0)
        queue_pop(self);
    free(self->queue);
    weir_submit_destroy(&self->submit);
}
