/* The state in memory: sorted arrays, so that every answer has the order the database gives. */
#include "memory_state.h"

#include <base/alloc.h>
#include <base/clock.h>

#include <stdlib.h>
#include <string.h>

/* Pointers in ascending order of what `compare` sees. */
struct sorted {
    void **at;
    uint32_t count;
    uint32_t capacity;
    int (*compare)(const void *left, const void *right);
};

struct weir_memory_state {
    struct sorted groups;    /* struct weir_group_row, by number */
    struct sorted chunks;    /* struct weir_chunk_row, by group, chunk */
    struct sorted rows;      /* struct weir_row, by sequence, group */
    struct sorted producers; /* struct weir_producer_row, by id */
    struct sorted idems;     /* struct weir_idem_row, by sequence */
    uint64_t absorbed;
    uint64_t payload_bytes;
};

static int compare_u64(uint64_t left, uint64_t right)
{
    return (left > right) - (left < right);
}

static int compare_groups(const void *left, const void *right)
{
    const struct weir_group_row *a = left, *b = right;

    return compare_u64(a->number, b->number);
}

static int compare_chunks(const void *left, const void *right)
{
    const struct weir_chunk_row *a = left, *b = right;
    int order = compare_u64(a->group, b->group);

    return order != 0 ? order : compare_u64(a->chunk, b->chunk);
}

static int compare_rows(const void *left, const void *right)
{
    const struct weir_row *a = left, *b = right;
    int order = compare_u64(a->sequence, b->sequence);

    return order != 0 ? order : compare_u64(a->group, b->group);
}

static int compare_producers(const void *left, const void *right)
{
    const struct weir_producer_row *a = left, *b = right;

    return memcmp(a->id, b->id, sizeof a->id);
}

static int compare_idems(const void *left, const void *right)
{
    const struct weir_idem_row *a = left, *b = right;

    return compare_u64(a->sequence, b->sequence);
}

/* The first position whose entry is not below `key`. */
static uint32_t lower_bound(const struct sorted *set, const void *key)
{
    uint32_t low = 0, high = set->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (set->compare(set->at[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void *find(const struct sorted *set, const void *key)
{
    uint32_t at = lower_bound(set, key);

    return at < set->count && set->compare(set->at[at], key) == 0 ? set->at[at] : NULL;
}

/* The entry equal to `key`; a new one is all zeroes, and the caller fills at once what is compared.
 */
static void *obtain(struct sorted *set, const void *key, size_t bytes)
{
    uint32_t at = lower_bound(set, key);

    if (at < set->count && set->compare(set->at[at], key) == 0)
        return set->at[at];
    if (set->count == set->capacity) {
        set->capacity = set->capacity > 0 ? 2 * set->capacity : 16;
        set->at = weir_realloc(set->at, set->capacity, sizeof *set->at);
    }
    memmove(&set->at[at + 1], &set->at[at], (set->count - at) * sizeof *set->at);
    set->at[at] = weir_zalloc(1, bytes);
    set->count++;
    return set->at[at];
}

/* Keep the entries for which `keep` is true; the others are given to `drop`. */
static void filter(struct sorted *set, struct weir_memory_state *self,
                   bool (*keep)(const void *entry, const struct weir_op *op),
                   const struct weir_op *op,
                   void (*drop)(struct weir_memory_state *self, void *entry))
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < set->count; i++) {
        if (keep(set->at[i], op))
            set->at[kept++] = set->at[i];
        else
            drop(self, set->at[i]);
    }
    set->count = kept;
}

static void drop_plain(struct weir_memory_state *self, void *entry)
{
    (void)self;
    free(entry);
}

static void drop_chunk(struct weir_memory_state *self, void *entry)
{
    struct weir_chunk_row *chunk = entry;

    (void)self;
    free(chunk->bits);
    free(chunk);
}

static bool has_payload(const struct weir_row *row)
{
    return row->body.size > 0;
}

static uint64_t payload_bytes(const struct weir_row *row)
{
    return row->header.size + row->index_entry.size + row->body.size;
}

static void drop_payload(struct weir_memory_state *self, struct weir_row *row)
{
    self->payload_bytes -= payload_bytes(row);
    weir_bytes_drop(&row->header);
    weir_bytes_drop(&row->index_entry);
    weir_bytes_drop(&row->body);
}

static void drop_row(struct weir_memory_state *self, void *entry)
{
    struct weir_row *row = entry;

    drop_payload(self, row);
    weir_row_fini(row);
    free(row);
}

static void remove_row(struct weir_memory_state *self, uint32_t at)
{
    drop_row(self, self->rows.at[at]);
    memmove(&self->rows.at[at], &self->rows.at[at + 1],
            (self->rows.count - at - 1) * sizeof *self->rows.at);
    self->rows.count--;
}

static bool keep_none(const void *entry, const struct weir_op *op)
{
    (void)entry;
    (void)op;
    return false;
}

static bool keep_other_number(const void *entry, const struct weir_op *op)
{
    return ((const struct weir_group_row *)entry)->number != op->number;
}

static bool keep_row_of_others(const void *entry, const struct weir_op *op)
{
    return ((const struct weir_row *)entry)->group != op->number;
}

static bool keep_chunk_of_others(const void *entry, const struct weir_op *op)
{
    return ((const struct weir_chunk_row *)entry)->group != op->number;
}

static bool keep_chunk_not_below(const void *entry, const struct weir_op *op)
{
    const struct weir_chunk_row *chunk = entry;

    return chunk->group != op->number || chunk->chunk >= op->chunk;
}

static bool keep_other_producer(const void *entry, const struct weir_op *op)
{
    return compare_producers(entry, op->producer) != 0;
}

static bool keep_producer_since(const void *entry, const struct weir_op *op)
{
    return ((const struct weir_producer_row *)entry)->time_ms >= op->time_ms;
}

static bool keep_idem_from(const void *entry, const struct weir_op *op)
{
    return ((const struct weir_idem_row *)entry)->sequence >= op->sequence;
}

static bool is_tombstone(const struct weir_row *row)
{
    return row->state == WEIR_ROW_DEAD || row->state == WEIR_ROW_DONE;
}

struct weir_memory_state *weir_memory_state_new(void)
{
    struct weir_memory_state *self = weir_zalloc(1, sizeof *self);

    self->groups.compare = compare_groups;
    self->chunks.compare = compare_chunks;
    self->rows.compare = compare_rows;
    self->producers.compare = compare_producers;
    self->idems.compare = compare_idems;
    return self;
}

void weir_memory_state_destroy(struct weir_memory_state **self)
{
    struct weir_memory_state *state = *self;

    if (state == NULL)
        return;
    *self = NULL;
    filter(&state->groups, state, keep_none, NULL, drop_plain);
    filter(&state->chunks, state, keep_none, NULL, drop_chunk);
    filter(&state->rows, state, keep_none, NULL, drop_row);
    filter(&state->producers, state, keep_none, NULL, drop_plain);
    filter(&state->idems, state, keep_none, NULL, drop_plain);
    free(state->groups.at);
    free(state->chunks.at);
    free(state->rows.at);
    free(state->producers.at);
    free(state->idems.at);
    free(state);
}

/* A reference that outlives the request: borrowed memory is copied. */
static struct weir_bytes keep_bytes(const struct weir_bytes *bytes)
{
    return bytes->block == NULL && bytes->size > 0 ? weir_bytes_copy(bytes->data, bytes->size)
                                                   : weir_bytes_ref(bytes);
}

static void keep_payload(struct weir_memory_state *self, struct weir_row *row,
                         const struct weir_row *given)
{
    drop_payload(self, row);
    row->header = keep_bytes(&given->header);
    row->index_entry = keep_bytes(&given->index_entry);
    row->body = keep_bytes(&given->body);
    self->payload_bytes += payload_bytes(row);
}

static void put_row(struct weir_memory_state *self, const struct weir_row *given)
{
    struct weir_row *row = obtain(&self->rows, given, sizeof *row);
    struct weir_row old = *row;

    weir_bytes_drop(&old.history);
    *row = *given;
    row->history = keep_bytes(&given->history);
    row->header = old.header;
    row->index_entry = old.index_entry;
    row->body = old.body;
    if (is_tombstone(row))
        drop_payload(self, row);
    else if (has_payload(given))
        keep_payload(self, row, given);
}

static void copy_row(struct weir_memory_state *self, const struct weir_row *given)
{
    struct weir_row *row = find(&self->rows, given);

    if (row != NULL && !is_tombstone(row) && !has_payload(row))
        keep_payload(self, row, given);
}

static void drop_one_row(struct weir_memory_state *self, const struct weir_op *op)
{
    struct weir_row key = {.group = op->number, .sequence = op->sequence};

    if (find(&self->rows, &key) != NULL)
        remove_row(self, lower_bound(&self->rows, &key));
}

static void put_chunk(struct weir_memory_state *self, const struct weir_op *op)
{
    struct weir_chunk_row key = {.group = op->number, .chunk = op->chunk};
    struct weir_chunk_row *chunk = obtain(&self->chunks, &key, sizeof *chunk);

    free(chunk->bits);
    *chunk = key;
    chunk->bits = weir_alloc(WEIR_CHUNK_BYTES);
    memcpy(chunk->bits, op->bits, WEIR_CHUNK_BYTES);
}

static void trim_tombstones(struct weir_memory_state *self, const struct weir_op *op)
{
    uint64_t left = op->count;

    for (uint32_t i = self->rows.count; i-- > 0;) {
        struct weir_row *row = self->rows.at[i];

        if (row->group != op->number || !is_tombstone(row))
            continue;
        if (left > 0) {
            left--;
            continue;
        }
        remove_row(self, i);
    }
}

static void drop_group(struct weir_memory_state *self, const struct weir_op *op)
{
    filter(&self->groups, self, keep_other_number, op, drop_plain);
    filter(&self->chunks, self, keep_chunk_of_others, op, drop_chunk);
    filter(&self->rows, self, keep_row_of_others, op, drop_row);
}

static void inherit(struct weir_memory_state *self, const struct weir_op *op,
                    struct weir_store_result *result)
{
    struct weir_row_counts counts = {.group = op->group->number, .due_ms = WEIR_TIME_NEVER};

    for (uint32_t i = 0; i < self->rows.count; i++) {
        const struct weir_row *kept = self->rows.at[i];
        struct weir_row row = {.group = op->group->number,
                               .sequence = kept->sequence,
                               .state = WEIR_ROW_DEFERRED,
                               .time_ms = kept->time_ms,
                               .due_ms = kept->due_ms,
                               .header = kept->header,
                               .index_entry = kept->index_entry,
                               .body = kept->body};

        if (kept->group != WEIR_GROUP_LATER || kept->sequence >= op->sequence ||
            kept->due_ms <= op->time_ms ||
            !weir_group_policy_wants(&op->group->policy, (const char *)kept->history.data,
                                     (uint32_t)kept->history.size))
            continue;
        put_row(self, &row); /* behind this one, and passed over there */
        counts.deferred++;
        if (row.due_ms < counts.due_ms)
            counts.due_ms = row.due_ms;
    }
    result->inherited = weir_realloc(result->inherited, result->inherited_count + 1, sizeof counts);
    result->inherited[result->inherited_count++] = counts;
}

static void apply_one(struct weir_memory_state *self, struct weir_op *op,
                      struct weir_store_result *result)
{
    switch (op->type) {
    case WEIR_OP_GROUP_PUT:
        *(struct weir_group_row *)obtain(&self->groups, op->group, sizeof *op->group) = *op->group;
        break;
    case WEIR_OP_GROUP_DROP:
        drop_group(self, op);
        break;
    case WEIR_OP_CHUNK_PUT:
        put_chunk(self, op);
        break;
    case WEIR_OP_CHUNK_TRIM:
        filter(&self->chunks, self, keep_chunk_not_below, op, drop_chunk);
        break;
    case WEIR_OP_ROW_PUT:
        put_row(self, op->row);
        break;
    case WEIR_OP_ROW_COPY:
        copy_row(self, op->row);
        break;
    case WEIR_OP_ROW_DROP:
        drop_one_row(self, op);
        break;
    case WEIR_OP_TOMBSTONE_TRIM:
        trim_tombstones(self, op);
        break;
    case WEIR_OP_PRODUCER_PUT:
        *(struct weir_producer_row *)obtain(&self->producers, op->producer, sizeof *op->producer) =
            *op->producer;
        break;
    case WEIR_OP_PRODUCER_DROP:
        filter(&self->producers, self, keep_other_producer, op, drop_plain);
        break;
    case WEIR_OP_PRODUCER_TRIM:
        filter(&self->producers, self, keep_producer_since, op, drop_plain);
        break;
    case WEIR_OP_IDEM_PUT:
        *(struct weir_idem_row *)obtain(&self->idems, &op->idem, sizeof op->idem) = op->idem;
        break;
    case WEIR_OP_IDEM_TRIM:
        filter(&self->idems, self, keep_idem_from, op, drop_plain);
        break;
    case WEIR_OP_ABSORBED:
        self->absorbed = op->sequence;
        break;
    case WEIR_OP_INHERIT:
        inherit(self, op, result);
        break;
    }
}

void weir_memory_state_apply(struct weir_memory_state *self, struct weir_op *ops, uint32_t count,
                             struct weir_store_result *result)
{
    for (uint32_t i = 0; i < count; i++)
        apply_one(self, &ops[i], result);
}

static bool matches(const struct weir_row *row, const struct weir_store_request *request)
{
    switch (request->query) {
    case WEIR_QUERY_DUE:
        return row->group == request->number && row->state == WEIR_ROW_DEFERRED &&
               row->due_ms <= request->time_ms;
    case WEIR_QUERY_DYING:
        return row->state == WEIR_ROW_DYING && row->due_ms <= request->time_ms;
    case WEIR_QUERY_MESSAGE:
        return row->sequence == request->sequence &&
               (request->number == 0 || row->group == request->number);
    case WEIR_QUERY_UNCOPIED:
        return row->sequence < request->sequence && !has_payload(row) &&
               (row->state == WEIR_ROW_DEFERRED || row->state == WEIR_ROW_PARKED ||
                row->state == WEIR_ROW_LEASED || row->state == WEIR_ROW_DYING);
    case WEIR_QUERY_LIST:
        return row->group == request->number && row->state == request->state &&
               row->sequence > request->sequence;
    }
    return false;
}

static int compare_due(const void *left, const void *right)
{
    const struct weir_row *a = *(void *const *)left, *b = *(void *const *)right;

    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    return compare_rows(a, b);
}

static struct weir_row copy_of(const struct weir_row *row, bool payload)
{
    struct weir_row copy = *row;

    copy.history = weir_bytes_ref(&row->history);
    copy.header = payload ? weir_bytes_ref(&row->header) : WEIR_BYTES_NONE;
    copy.index_entry = payload ? weir_bytes_ref(&row->index_entry) : WEIR_BYTES_NONE;
    copy.body = payload ? weir_bytes_ref(&row->body) : WEIR_BYTES_NONE;
    return copy;
}

void weir_memory_state_query(const struct weir_memory_state *self,
                             const struct weir_store_request *request,
                             struct weir_store_result *result)
{
    bool by_due = request->query == WEIR_QUERY_DUE || request->query == WEIR_QUERY_DYING;
    bool payload = request->query != WEIR_QUERY_LIST && request->query != WEIR_QUERY_UNCOPIED;
    void **found = weir_alloc(self->rows.count * sizeof *found);
    uint64_t bytes = 0;
    uint32_t count = 0;

    for (uint32_t i = 0; i < self->rows.count; i++) {
        if (matches(self->rows.at[i], request))
            found[count++] = self->rows.at[i];
    }
    if (by_due)
        qsort(found, count, sizeof *found, compare_due);
    result->rows =
        weir_zalloc(count < request->count ? count : request->count, sizeof *result->rows);
    for (uint32_t i = 0; i < count; i++) {
        struct weir_row copy = copy_of(found[i], payload);

        bytes += copy.history.size + payload_bytes(&copy);
        if (result->row_count == request->count ||
            (bytes > WEIR_QUERY_BYTES_MAX && result->row_count > 0)) {
            weir_row_fini(&copy);
            result->more = true;
            break;
        }
        result->rows[result->row_count++] = copy;
    }
    free(found);
}

static void raise_to(uint64_t *highest, uint64_t sequence)
{
    if (sequence > *highest)
        *highest = sequence;
}

/* The next sequence that nothing in the state mentions. */
static uint64_t next_unmentioned(const struct weir_memory_state *self)
{
    uint64_t next = self->absorbed + 1;

    for (uint32_t i = 0; i < self->groups.count; i++) {
        const struct weir_group_row *group = self->groups.at[i];

        raise_to(&next, group->start);
        raise_to(&next, group->low);
        raise_to(&next, group->next);
    }
    for (uint32_t i = 0; i < self->producers.count; i++) {
        const struct weir_producer_row *producer = self->producers.at[i];

        for (uint32_t a = 0; a < producer->answer_count; a++)
            raise_to(&next, producer->answers[a].first + producer->answers[a].count);
    }
    if (self->rows.count > 0)
        raise_to(&next, ((struct weir_row *)self->rows.at[self->rows.count - 1])->sequence + 1);
    if (self->idems.count > 0)
        raise_to(&next,
                 ((struct weir_idem_row *)self->idems.at[self->idems.count - 1])->sequence + 1);
    return next;
}

static struct weir_row_counts *counts_of(struct weir_recovered *recovered, uint32_t group)
{
    for (uint32_t i = 0; i < recovered->counts_count; i++) {
        if (recovered->counts[i].group == group)
            return &recovered->counts[i];
    }
    recovered->counts =
        weir_realloc(recovered->counts, recovered->counts_count + 1, sizeof *recovered->counts);
    recovered->counts[recovered->counts_count] =
        (struct weir_row_counts){.group = group, .due_ms = WEIR_TIME_NEVER};
    return &recovered->counts[recovered->counts_count++];
}

static int compare_counts(const void *left, const void *right)
{
    const struct weir_row_counts *a = left, *b = right;

    return compare_u64(a->group, b->group);
}

static void push_leased(struct weir_recovered *recovered, const struct weir_row *row)
{
    if (weir_leased_join(recovered, row))
        return;
    recovered->leased =
        weir_realloc(recovered->leased, recovered->leased_count + 1, sizeof *recovered->leased);
    recovered->leased[recovered->leased_count++] = (struct weir_leased){copy_of(row, false), 1};
}

static void push_keyed(struct weir_recovered *recovered, const struct weir_row *row)
{
    if (row->key_hash == 0)
        return;
    recovered->keyed =
        weir_realloc(recovered->keyed, recovered->keyed_count + 1, sizeof *recovered->keyed);
    recovered->keyed[recovered->keyed_count++] = (struct weir_keyed){
        .group = row->group,
        .state = row->state,
        .sequence = row->sequence,
        .key_hash = row->key_hash,
    };
}

static int compare_keyed(const void *left, const void *right)
{
    const struct weir_keyed *a = left, *b = right;

    if (a->group != b->group)
        return compare_u64(a->group, b->group);
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    return compare_u64(a->sequence, b->sequence);
}

static void recover_leased(const struct weir_memory_state *self, struct weir_recovered *recovered)
{
    for (uint32_t g = 0; g < self->groups.count; g++) {
        const struct weir_group_row *group = self->groups.at[g];

        for (uint32_t i = 0; i < self->rows.count; i++) {
            const struct weir_row *row = self->rows.at[i];

            if (row->state == WEIR_ROW_LEASED && row->group == group->number)
                push_leased(recovered, row);
        }
    }
}

static void recover_row(const struct weir_row *row, struct weir_recovered *recovered)
{
    struct weir_row_counts *counts = counts_of(recovered, row->group);

    switch (row->state) {
    case WEIR_ROW_DEFERRED:
        counts->deferred++;
        if (row->due_ms < counts->due_ms)
            counts->due_ms = row->due_ms;
        push_keyed(recovered, row);
        break;
    case WEIR_ROW_PARKED:
        push_keyed(recovered, row);
        break;
    case WEIR_ROW_LEASED:
        break;
    case WEIR_ROW_DYING:
        counts->dying++;
        break;
    case WEIR_ROW_DEAD:
        counts->dead++;
        break;
    case WEIR_ROW_DONE:
        break;
    }
}

void weir_memory_state_recover(const struct weir_memory_state *self,
                               struct weir_recovered *recovered)
{
    recovered->absorbed = self->absorbed;
    recovered->next_sequence = next_unmentioned(self);
    recovered->group_count = self->groups.count;
    recovered->groups = weir_zalloc(self->groups.count, sizeof *recovered->groups);
    for (uint32_t i = 0; i < self->groups.count; i++)
        recovered->groups[i] = *(struct weir_group_row *)self->groups.at[i];
    recovered->chunk_count = self->chunks.count;
    recovered->chunks = weir_zalloc(self->chunks.count, sizeof *recovered->chunks);
    for (uint32_t i = 0; i < self->chunks.count; i++) {
        recovered->chunks[i] = *(struct weir_chunk_row *)self->chunks.at[i];
        recovered->chunks[i].bits = weir_alloc(WEIR_CHUNK_BYTES);
        memcpy(recovered->chunks[i].bits, ((struct weir_chunk_row *)self->chunks.at[i])->bits,
               WEIR_CHUNK_BYTES);
    }
    for (uint32_t i = 0; i < self->rows.count; i++)
        recover_row(self->rows.at[i], recovered);
    if (recovered->keyed_count > 1)
        qsort(recovered->keyed, recovered->keyed_count, sizeof *recovered->keyed, compare_keyed);
    recover_leased(self, recovered);
    if (recovered->counts_count > 1)
        qsort(recovered->counts, recovered->counts_count, sizeof *recovered->counts,
              compare_counts);
    recovered->producer_count = self->producers.count;
    recovered->producers = weir_zalloc(self->producers.count, sizeof *recovered->producers);
    for (uint32_t i = 0; i < self->producers.count; i++)
        recovered->producers[i] = *(struct weir_producer_row *)self->producers.at[i];
    recovered->idem_count = self->idems.count;
    recovered->idems = weir_zalloc(self->idems.count, sizeof *recovered->idems);
    for (uint32_t i = 0; i < self->idems.count; i++)
        recovered->idems[i] = *(struct weir_idem_row *)self->idems.at[i];
}

uint64_t weir_memory_state_absorbed(const struct weir_memory_state *self)
{
    return self->absorbed;
}

uint64_t weir_memory_state_bytes(const struct weir_memory_state *self)
{
    return self->payload_bytes;
}
