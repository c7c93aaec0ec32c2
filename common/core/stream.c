#include <base/alloc.h>
#include <base/clock.h>
#include <core/stream.h>
#include <stdlib.h>
#include <string.h>

/* ---- a batch ---- */

int weir_stream_batch_init(struct weir_stream_batch *batch, struct weir_record *record)
{
    *batch = (struct weir_stream_batch){.record = *record};
    *record = (struct weir_record){0};
    int rc = weir_batch_header_decode(&batch->record.header, &batch->header, NULL);
    if (rc == 0) {
        batch->width = weir_index_width(batch->header.flags);
        if (batch->record.index.size == (size_t)batch->width * batch->record.count &&
            weir_index_span(&batch->record.index, batch->width, 0, batch->record.count) ==
                batch->record.body.size)
            return 0;
        rc = WEIR_EPROTO;
    }
    weir_stream_batch_fini(batch);
    return rc;
}

void weir_stream_batch_fini(struct weir_stream_batch *batch)
{
    weir_record_fini(&batch->record);
}

uint64_t weir_stream_batch_bytes(const struct weir_stream_batch *batch)
{
    return batch->record.header.size + batch->record.index.size + batch->record.body.size;
}

uint64_t weir_stream_batch_end(const struct weir_stream_batch *batch)
{
    return batch->record.first + batch->record.count;
}

uint64_t weir_stream_batch_offset(struct weir_stream_batch *batch, uint32_t entry)
{
    if (entry < batch->known_entry) {
        batch->known_entry = 0;
        batch->known_offset = 0;
    }
    batch->known_offset += weir_index_span(&batch->record.index, batch->width, batch->known_entry,
                                           entry - batch->known_entry);
    batch->known_entry = entry;
    return batch->known_offset;
}

uint64_t weir_stream_batch_key(const struct weir_stream_batch *batch, uint64_t sequence)
{
    return weir_index_key_hash(&batch->record.index, batch->width, batch->header.flags,
                               (uint32_t)(sequence - batch->record.first));
}

uint64_t weir_stream_batch_run(const struct weir_stream_batch *batch, uint64_t first, uint64_t end,
                               bool *skipped)
{
    const struct weir_record *record = &batch->record;
    uint32_t low = 0, high = record->skip_count;
    *skipped = false;
    while (low < high) { /* the first skip that ends above `first` */
        const uint32_t middle = low + (high - low) / 2;
        const struct weir_skip *skip = &record->skips[middle];
        if (record->first + skip->first + skip->count <= first)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == record->skip_count)
        return end - first;
    const uint64_t from = record->first + record->skips[low].first;
    uint64_t to = from;
    if (from <= first) {
        *skipped = true;
        to = from + record->skips[low].count;
    }
    return (to < end ? to : end) - first;
}

void weir_stream_batch_cut(struct weir_stream_batch *batch, uint64_t sequence, uint32_t count,
                           struct weir_bytes *index, struct weir_bytes *body)
{
    const uint32_t entry = (uint32_t)(sequence - batch->record.first);
    weir_slice_cut(&batch->record.index, &batch->record.body, batch->width, entry, count,
                   weir_stream_batch_offset(batch, entry), index, body);
}

/* ---- the tail ---- */

void weir_stream_init(struct weir_stream *self, uint64_t next,
                      void (*read)(void *arg, uint64_t sequence, uint32_t bytes), void *arg)
{
    *self = (struct weir_stream){
        .next = next, .end = next, .tail_from = next, .read = read, .arg = arg};
}

static struct weir_stream_batch *tail_at(struct weir_stream *self, uint32_t i)
{
    return &self->tail[(self->head + i) & (self->capacity - 1)];
}

static void chunk_fini(struct weir_stream *self, uint32_t i)
{
    struct weir_stream_chunk *chunk = &self->chunks[i];
    for (uint32_t b = 0; b < chunk->count; b++)
        weir_stream_batch_fini(&chunk->batches[b]);
    free(chunk->batches);
    self->chunk_bytes -= chunk->bytes;
    self->chunks[i] = self->chunks[--self->chunk_count];
}

void weir_stream_fini(struct weir_stream *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        weir_stream_batch_fini(tail_at(self, i));
    free(self->tail);
    while (self->chunk_count)
        chunk_fini(self, 0);
    free(self->chunks);
    *self = (struct weir_stream){0};
}

static void tail_grow(struct weir_stream *self)
{
    const uint32_t capacity = self->capacity ? 2 * self->capacity : 64;
    struct weir_stream_batch *tail = weir_alloc(capacity * sizeof *tail);
    for (uint32_t i = 0; i < self->count; i++)
        tail[i] = *tail_at(self, i);
    free(self->tail);
    self->tail = tail;
    self->head = 0;
    self->capacity = capacity;
}

static void tail_pop(struct weir_stream *self)
{
    struct weir_stream_batch *oldest = tail_at(self, 0);
    self->tail_from = weir_stream_batch_end(oldest);
    self->tail_bytes -= weir_stream_batch_bytes(oldest);
    weir_stream_batch_fini(oldest);
    self->head = (self->head + 1) & (self->capacity - 1);
    self->count--;
}

void weir_stream_push(struct weir_stream *self, struct weir_stream_batch *batch)
{
    if (self->count == self->capacity)
        tail_grow(self);
    self->end = weir_stream_batch_end(batch);
    self->tail_bytes += weir_stream_batch_bytes(batch);
    self->pushed_bytes += weir_stream_batch_bytes(batch);
    *tail_at(self, self->count++) = *batch;
    *batch = (struct weir_stream_batch){0};
    while (self->count > 1 &&
           (self->tail_bytes > WEIR_TAIL_BYTES_MAX || self->count > WEIR_TAIL_BATCHES_MAX))
        tail_pop(self);
}

/* ---- finding ---- */

static enum weir_stream_found tail_find(struct weir_stream *self, uint64_t sequence,
                                        struct weir_stream_batch **batch)
{
    uint32_t low = 0, high = self->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (weir_stream_batch_end(tail_at(self, middle)) <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == self->count)
        return WEIR_STREAM_END;
    *batch = tail_at(self, low);
    return WEIR_STREAM_HERE;
}

static struct weir_stream_batch *chunk_find(struct weir_stream_chunk *chunk, uint64_t sequence)
{
    uint32_t low = 0, high = chunk->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (weir_stream_batch_end(&chunk->batches[middle]) <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low < chunk->count ? &chunk->batches[low] : NULL;
}

enum weir_stream_found weir_stream_find(struct weir_stream *self, uint64_t sequence,
                                        struct weir_stream_batch **batch)
{
    for (;;) {
        if (sequence >= self->tail_from)
            return tail_find(self, sequence, batch);
        struct weir_stream_chunk *chunk = NULL;
        for (uint32_t i = 0; i < self->chunk_count && !chunk; i++)
            if (self->chunks[i].from <= sequence && sequence < self->chunks[i].to)
                chunk = &self->chunks[i];
        if (!chunk)
            return WEIR_STREAM_UNKNOWN;
        chunk->used = ++self->clock;
        *batch = chunk_find(chunk, sequence);
        if (*batch)
            return WEIR_STREAM_HERE;
        sequence = chunk->to; /* a hole up to there */
    }
}

/* ---- READs that fail ---- */

static struct weir_stream_failed *failed_find(struct weir_stream *self, uint64_t sequence)
{
    for (uint32_t i = 0; i < self->failed_count; i++)
        if (self->failed[i].sequence == sequence)
            return &self->failed[i];
    return NULL;
}

static void failed_forget(struct weir_stream *self, uint64_t sequence)
{
    struct weir_stream_failed *failed = failed_find(self, sequence);
    if (failed)
        *failed = self->failed[--self->failed_count];
}

/* A new one; where there are too many, in the place of the one that would be tried first. */
static struct weir_stream_failed *failed_add(struct weir_stream *self, uint64_t sequence)
{
    uint32_t at = 0;
    if (self->failed_count < WEIR_READS_MAX)
        at = self->failed_count++;
    else
        for (uint32_t i = 1; i < self->failed_count; i++)
            if (self->failed[i].again_ns < self->failed[at].again_ns)
                at = i;
    self->failed[at] = (struct weir_stream_failed){.sequence = sequence};
    return &self->failed[at];
}

/* False: it is to be said. */
static bool note_failed(struct weir_stream *self, uint64_t sequence)
{
    struct weir_stream_failed *failed = failed_find(self, sequence);
    const bool known = failed != NULL;
    if (!known)
        failed = failed_add(self, sequence);
    failed->wait_ns = known ? 2 * failed->wait_ns : (int64_t)WEIR_READ_AGAIN_MS * WEIR_NS_PER_MS;
    const int64_t most_ns = (int64_t)WEIR_READ_AGAIN_MAX_MS * WEIR_NS_PER_MS;
    const bool long_since = failed->wait_ns > most_ns;
    if (long_since)
        failed->wait_ns = most_ns;
    failed->again_ns = self->now_ns + failed->wait_ns;
    return known && !long_since;
}

/* ---- reading ---- */

bool weir_stream_want(struct weir_stream *self, uint64_t sequence, uint32_t bytes)
{
    /* What is known to be a hole needs no second look: ask for what lies behind it. */
    for (uint32_t i = 0; i < self->chunk_count; i++) {
        if (self->chunks[i].from > sequence || sequence >= self->chunks[i].to)
            continue;
        if (chunk_find(&self->chunks[i], sequence))
            return true;
        sequence = self->chunks[i].to;
        i = UINT32_MAX; /* from the first chunk on again */
    }
    for (uint32_t i = 0; i < self->read_count; i++)
        if (self->reads[i].sequence <= sequence && sequence < self->reads[i].expected)
            return true;
    if (self->read_count == WEIR_READS_MAX || sequence >= self->tail_from)
        return true;
    const struct weir_stream_failed *failed = failed_find(self, sequence);
    if (failed && failed->again_ns > self->now_ns)
        return false;
    const uint64_t messages = self->message_bytes ? bytes / self->message_bytes : 0;
    self->reads[self->read_count++] =
        (struct weir_stream_read){sequence, sequence + 1 + messages, self->end};
    self->read(self->arg, sequence, bytes);
    return true;
}

static void make_room(struct weir_stream *self, uint64_t bytes)
{
    while (self->chunk_count > 0 && (self->chunk_count == WEIR_READ_CHUNKS_MAX ||
                                     self->chunk_bytes + bytes > WEIR_READ_CACHE_BYTES_MAX)) {
        uint32_t oldest = 0;
        for (uint32_t i = 1; i < self->chunk_count; i++)
            if (self->chunks[i].used < self->chunks[oldest].used)
                oldest = i;
        chunk_fini(self, oldest);
    }
}

bool weir_stream_loaded(struct weir_stream *self, uint64_t sequence,
                        struct weir_store_result *result)
{
    uint32_t i = 0;
    while (i < self->read_count && self->reads[i].sequence != sequence)
        i++;
    if (i == self->read_count)
        return true;
    struct weir_stream_chunk chunk = {.from = sequence, .to = self->reads[i].end};
    self->reads[i] = self->reads[--self->read_count];
    if (result->status != 0)
        return note_failed(self, sequence);
    failed_forget(self, sequence);
    if (result->record_count) {
        if (result->records[0].first < sequence)
            chunk.from = result->records[0].first;
        const struct weir_record *last = &result->records[result->record_count - 1];
        chunk.to = last->first + last->count;
        chunk.batches = weir_alloc(result->record_count * sizeof *chunk.batches);
    }
    for (uint32_t r = 0; r < result->record_count; r++) {
        struct weir_stream_batch *batch = &chunk.batches[chunk.count];
        if (weir_stream_batch_init(batch, &result->records[r]) == 0) {
            chunk.bytes += weir_stream_batch_bytes(batch);
            chunk.count++;
        }
    }
    if (chunk.count)
        self->message_bytes = chunk.bytes / (chunk.to - chunk.from) + 1;
    make_room(self, chunk.bytes);
    chunk.used = ++self->clock;
    self->chunks = weir_realloc(self->chunks, self->chunk_count + 1, sizeof *self->chunks);
    self->chunks[self->chunk_count++] = chunk;
    self->chunk_bytes += chunk.bytes;
    return true;
}
