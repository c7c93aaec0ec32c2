/* The store's contract in memory: requests wait until a step carries them out, in the order of
 * their submission. The log is cut into small segments, so that what pins and frees the real ones
 * can be seen in tests as well. */
#include "memory_state.h"
#include "store.h"

#include <base/alloc.h>
#include <base/limits.h>

#include <stdlib.h>

struct pending {
    struct weir_store_request request;
    uint64_t age; /* how many EFULLs had been taken when it was handed over */
    struct pending *next;
};

struct done {
    struct weir_store_result result;
    struct done *next;
};

struct weir_memory_store {
    struct weir_store store;
    uint16_t tag;
    uint64_t bytes_max;
    struct weir_record *records; /* ascending; from `head` on */
    uint64_t *segment;           /* of each record: which segment it lies in */
    uint32_t head, tail, capacity;
    uint64_t last_segment;       /* the one being filled */
    uint64_t last_segment_bytes; /* how full it is */
    uint64_t log_bytes;
    uint64_t log_next;  /* no append may be below it */
    uint64_t trim_mark; /* records wholly below it are not needed */
    bool blocked;       /* there was no room for an append: the last segment takes no more */
    int failed;         /* an append ended with this for good */
    struct weir_memory_state *state;
    struct pending *first_pending, **pending_end;
    struct done *first_done, **done_end;
    uint32_t outstanding;
    uint64_t full_taken; /* EFULL results of APPEND that were taken */
    uint64_t full_until; /* appends of an age below it end EFULL */
};

static struct weir_memory_store *from_store(const struct weir_store *store)
{
    return (struct weir_memory_store *)(uintptr_t)store;
}

static uint64_t record_bytes(const struct weir_record *record)
{
    return WEIR_MEMORY_RECORD_BYTES + record->skip_count * sizeof *record->skips +
           record->header.size + record->index.size + record->body.size;
}

static uint64_t record_last(const struct weir_record *record)
{
    return record->first + record->count - 1;
}

static uint64_t used_bytes(const struct weir_memory_store *self)
{
    return self->log_bytes + weir_memory_state_bytes(self->state);
}

/* The last sequence of the oldest segment that takes no more records; 0: there is none. */
static uint64_t oldest_segment_last(const struct weir_memory_store *self)
{
    uint32_t at = self->head;

    if (at == self->tail || (self->segment[at] == self->last_segment && !self->blocked))
        return 0;
    while (at + 1 < self->tail && self->segment[at + 1] == self->segment[self->head])
        at++;
    return record_last(&self->records[at]);
}

static void free_first_segment(struct weir_memory_store *self)
{
    uint64_t segment = self->segment[self->head];

    while (self->head < self->tail && self->segment[self->head] == segment) {
        self->log_bytes -= record_bytes(&self->records[self->head]);
        weir_record_fini(&self->records[self->head++]);
    }
}

static void trim(struct weir_memory_store *self, uint64_t sequence)
{
    uint64_t absorbed = weir_memory_state_absorbed(self->state);
    uint64_t limit = sequence <= absorbed ? sequence : absorbed + 1;

    if (limit > self->trim_mark)
        self->trim_mark = limit;
    for (;;) {
        uint64_t last = oldest_segment_last(self);

        if (last == 0 || last >= self->trim_mark)
            return;
        free_first_segment(self);
    }
}

static bool has_room(struct weir_memory_store *self, uint64_t bytes)
{
    if (self->bytes_max != 0 && used_bytes(self) + bytes > self->bytes_max && !self->blocked) {
        self->blocked = true;
        trim(self, self->trim_mark);
    }
    return self->bytes_max == 0 || used_bytes(self) + bytes <= self->bytes_max;
}

static void make_place(struct weir_memory_store *self)
{
    if (self->tail < self->capacity)
        return;
    if (self->head > self->capacity / 2) {
        for (uint32_t i = self->head; i < self->tail; i++) {
            self->records[i - self->head] = self->records[i];
            self->segment[i - self->head] = self->segment[i];
        }
        self->tail -= self->head;
        self->head = 0;
        return;
    }
    self->capacity = self->capacity > 0 ? 2 * self->capacity : 64;
    self->records = weir_realloc(self->records, self->capacity, sizeof *self->records);
    self->segment = weir_realloc(self->segment, self->capacity, sizeof *self->segment);
}

static struct weir_bytes keep_bytes(struct weir_bytes *bytes)
{
    struct weir_bytes kept = *bytes;

    if (bytes->block == NULL && bytes->size > 0)
        kept = weir_bytes_copy(bytes->data, bytes->size);
    *bytes = WEIR_BYTES_NONE;
    return kept;
}

static int append(struct weir_memory_store *self, struct pending *pending,
                  struct weir_store_result *result)
{
    struct weir_record *record = &pending->request.record;
    uint64_t bytes = record_bytes(record);

    if (record->count == 0 || record->first < self->log_next)
        return self->failed = weir_error_set(
                   &result->error, WEIR_EINVAL,
                   "append of sequence %llu: the log goes on at %llu; sequences must "
                   "ascend",
                   (unsigned long long)record->first, (unsigned long long)self->log_next);
    if (pending->age < self->full_until || !has_room(self, bytes)) {
        self->full_until = pending->age + 1;
        return weir_error_set(&result->error, WEIR_EFULL,
                              "the spool is full: %llu of %llu bytes are in use; wait until "
                              "messages are done, or raise spool.max",
                              (unsigned long long)used_bytes(self),
                              (unsigned long long)self->bytes_max);
    }
    make_place(self);
    if (self->blocked || (self->last_segment_bytes > 0 &&
                          self->last_segment_bytes + bytes > WEIR_MEMORY_SEGMENT_BYTES)) {
        self->last_segment++;
        self->last_segment_bytes = 0;
        self->blocked = false;
    }
    self->last_segment_bytes += bytes;
    self->log_bytes += bytes;
    self->log_next = record_last(record) + 1;
    record->header = keep_bytes(&record->header);
    record->index = keep_bytes(&record->index);
    record->body = keep_bytes(&record->body);
    self->segment[self->tail] = self->last_segment;
    self->records[self->tail++] = *record;
    *record = (struct weir_record){0};
    return 0;
}

static struct weir_record copy_record(const struct weir_record *record)
{
    struct weir_record copy = *record;

    copy.header = weir_bytes_ref(&record->header);
    copy.index = weir_bytes_ref(&record->index);
    copy.body = weir_bytes_ref(&record->body);
    copy.skips = NULL;
    if (record->skip_count > 0) {
        copy.skips = weir_alloc(record->skip_count * sizeof *copy.skips);
        for (uint32_t i = 0; i < record->skip_count; i++)
            copy.skips[i] = record->skips[i];
    }
    return copy;
}

static void read_records(const struct weir_memory_store *self,
                         const struct weir_store_request *request, struct weir_store_result *result)
{
    uint32_t low = self->head, high = self->tail;
    uint64_t bytes = 0;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (record_last(&self->records[middle]) < request->sequence)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < self->tail; low++) {
        bytes += record_bytes(&self->records[low]);
        if (bytes > request->bytes_max && result->record_count > 0)
            return;
        result->records =
            weir_realloc(result->records, result->record_count + 1, sizeof *result->records);
        result->records[result->record_count++] = copy_record(&self->records[low]);
    }
}

static bool is_refused(const struct weir_memory_store *self, enum weir_store_kind kind)
{
    return self->failed != 0 && (kind == WEIR_STORE_APPEND || kind == WEIR_STORE_APPLY);
}

static void carry_out(struct weir_memory_store *self, struct pending *pending,
                      struct weir_store_result *result)
{
    struct weir_store_request *request = &pending->request;

    if (is_refused(self, request->kind)) {
        result->status = weir_error_set(&result->error, self->failed,
                                        "an append has failed before; nothing more is accepted");
        return;
    }
    switch (request->kind) {
    case WEIR_STORE_APPEND:
        result->status = append(self, pending, result);
        break;
    case WEIR_STORE_READ:
        read_records(self, request, result);
        break;
    case WEIR_STORE_APPLY:
        weir_memory_state_apply(self->state, request->ops, request->op_count, result);
        break;
    case WEIR_STORE_QUERY:
        weir_memory_state_query(self->state, request, result);
        break;
    case WEIR_STORE_TRIM:
        trim(self, request->sequence);
        break;
    case WEIR_STORE_HOLD:
        result->status = weir_error_set(&result->error, WEIR_EINVAL,
                                        "HOLD is for sinks and collectors; a spool has APPEND");
        break;
    }
    result->used_bytes = used_bytes(self);
    result->payload_bytes = weir_memory_state_bytes(self->state);
    result->oldest_segment_last = oldest_segment_last(self);
}

uint32_t weir_memory_store_step(struct weir_memory_store *self, uint32_t requests)
{
    uint32_t count = 0;

    for (; count < requests && self->first_pending != NULL; count++) {
        struct pending *pending = self->first_pending;
        struct done *done = weir_zalloc(1, sizeof *done);

        self->first_pending = pending->next;
        if (self->first_pending == NULL)
            self->pending_end = &self->first_pending;
        done->result.id = pending->request.id;
        done->result.kind = pending->request.kind;
        carry_out(self, pending, &done->result);
        weir_store_request_fini(&pending->request);
        free(pending);
        *self->done_end = done;
        self->done_end = &done->next;
    }
    return count;
}

static void memory_submit(struct weir_store *store, struct weir_store_request *request)
{
    struct weir_memory_store *self = from_store(store);
    struct pending *pending = weir_zalloc(1, sizeof *pending);

    WEIR_ASSERT(self->outstanding < WEIR_STORE_REQUESTS_MAX);
    self->outstanding++;
    pending->request = *request;
    pending->age = self->full_taken;
    *request = (struct weir_store_request){0};
    *self->pending_end = pending;
    self->pending_end = &pending->next;
}

static bool memory_poll(struct weir_store *store, struct weir_store_result *result)
{
    struct weir_memory_store *self = from_store(store);
    struct done *done = self->first_done;

    if (done == NULL)
        return false;
    self->first_done = done->next;
    if (self->first_done == NULL)
        self->done_end = &self->first_done;
    *result = done->result;
    free(done);
    self->outstanding--;
    if (result->kind == WEIR_STORE_APPEND && result->status == WEIR_EFULL)
        self->full_taken++;
    return true;
}

/* There is nothing to wait for: who drives the steps knows when there are results. */
static int memory_fd(const struct weir_store *store)
{
    (void)store;
    return -1;
}

static void memory_destroy(struct weir_store *store)
{
    struct weir_memory_store *self = from_store(store);

    weir_memory_store_destroy(&self);
}

struct weir_memory_store *weir_memory_store_new(uint16_t tag, uint64_t bytes_max)
{
    struct weir_memory_store *self = weir_zalloc(1, sizeof *self);

    self->store.submit = memory_submit;
    self->store.poll = memory_poll;
    self->store.fd = memory_fd;
    self->store.destroy = memory_destroy;
    self->tag = tag;
    self->bytes_max = bytes_max;
    self->log_next = 1;
    self->state = weir_memory_state_new();
    self->pending_end = &self->first_pending;
    self->done_end = &self->first_done;
    return self;
}

struct weir_store *weir_memory_store_store(struct weir_memory_store *self)
{
    return &self->store;
}

void weir_memory_store_crash(struct weir_memory_store *self)
{
    while (self->first_pending != NULL) {
        struct pending *pending = self->first_pending;

        self->first_pending = pending->next;
        weir_store_request_fini(&pending->request);
        free(pending);
    }
    while (self->first_done != NULL) {
        struct done *done = self->first_done;

        self->first_done = done->next;
        weir_store_result_fini(&done->result);
        free(done);
    }
    self->pending_end = &self->first_pending;
    self->done_end = &self->first_done;
    self->outstanding = 0;
    self->full_taken = 0;
    self->full_until = 0;
    self->trim_mark = 0;
    self->blocked = false;
    self->failed = 0;
}

void weir_memory_store_destroy(struct weir_memory_store **self)
{
    struct weir_memory_store *store = *self;

    if (store == NULL)
        return;
    *self = NULL;
    weir_memory_store_crash(store);
    while (store->head < store->tail)
        free_first_segment(store);
    free(store->records);
    free(store->segment);
    weir_memory_state_destroy(&store->state);
    free(store);
}

struct weir_recovered *weir_memory_store_recover(struct weir_memory_store *self)
{
    struct weir_recovered *recovered = weir_zalloc(1, sizeof *recovered);

    weir_memory_state_recover(self->state, recovered);
    for (uint32_t i = 0; i < sizeof recovered->uuid; i++)
        recovered->uuid[i] = (uint8_t)(self->tag >> (8 * (i % 2)));
    recovered->tag = self->tag;
    if (self->log_next > recovered->next_sequence)
        recovered->next_sequence = self->log_next;
    recovered->oldest_sequence =
        self->head < self->tail ? self->records[self->head].first : recovered->next_sequence;
    recovered->used_bytes = used_bytes(self);
    return recovered;
}
