/* The state transaction: operations on rows are gathered as they happen; what changes often
 * (cursors, bitmaps, producers, keys, the absorbed mark) is put in once, when it is handed over.
 * That is so about every WEIR_FLUSH_MS while anything changes, or at once when somebody waits.
 * Everything in one transaction agrees, because it is gathered between two events. */
#include <base/alloc.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct weir_flush_producer {
    UT_hash_handle hh;
    uint8_t id[WEIR_PRODUCER_BYTES];
};

void weir_flush_init(struct weir_ventilator *v)
{
    v->flush.serial = 1;
    v->flush.trim = v->recovered->oldest_sequence;
}

static void forget_producers(struct weir_flush *flush)
{
    struct weir_flush_producer *producer, *next;
    HASH_ITER (hh, flush->producers, producer, next) {
        HASH_DELETE(hh, flush->producers, producer);
        free(producer);
    }
}

void weir_flush_fini(struct weir_ventilator *v)
{
    forget_producers(&v->flush);
    weir_ops_destroy(v->flush.ops, v->flush.count);
    v->flush.ops = NULL;
    v->flush.count = 0;
}

/* ---- gathering ---- */

static void touch(struct weir_ventilator *v)
{
    if (!v->flush.dirty)
        v->flush.since_ns = v->now.mono_ns;
    v->flush.dirty = true;
}

struct weir_op *weir_flush_op(struct weir_ventilator *v, enum weir_op_type type)
{
    struct weir_flush *flush = &v->flush;
    touch(v);
    if (flush->count == flush->capacity) {
        flush->capacity = flush->capacity ? 2 * flush->capacity : 64;
        flush->ops = weir_realloc(flush->ops, flush->capacity, sizeof *flush->ops);
    }
    struct weir_op *op = &flush->ops[flush->count++];
    memset(op, 0, sizeof *op);
    op->type = type;
    return op;
}

void weir_flush_row(struct weir_ventilator *v, const struct weir_row *row, bool payload)
{
    struct weir_row *copy = weir_alloc(sizeof *copy);
    *copy = *row;
    copy->history = weir_bytes_ref(&row->history);
    copy->header = payload ? weir_bytes_ref(&row->header) : WEIR_BYTES_NONE;
    copy->index_entry = payload ? weir_bytes_ref(&row->index_entry) : WEIR_BYTES_NONE;
    copy->body = payload ? weir_bytes_ref(&row->body) : WEIR_BYTES_NONE;
    weir_flush_op(v, WEIR_OP_ROW_PUT)->row = copy;
}

void weir_flush_row_drop(struct weir_ventilator *v, uint32_t group, uint64_t sequence)
{
    struct weir_op *op = weir_flush_op(v, WEIR_OP_ROW_DROP);
    op->number = group;
    op->sequence = sequence;
}

void weir_flush_group(struct weir_ventilator *v, struct weir_group *group)
{
    group->dirty = true;
    touch(v);
}

void weir_flush_producer(struct weir_ventilator *v, const uint8_t id[WEIR_PRODUCER_BYTES])
{
    struct weir_flush_producer *producer;
    touch(v);
    HASH_FIND(hh, v->flush.producers, id, WEIR_PRODUCER_BYTES, producer);
    if (producer)
        return;
    producer = weir_zalloc(1, sizeof *producer);
    memcpy(producer->id, id, WEIR_PRODUCER_BYTES);
    HASH_ADD(hh, v->flush.producers, id, WEIR_PRODUCER_BYTES, producer);
}

uint64_t weir_flush_need(struct weir_ventilator *v)
{
    touch(v);
    v->flush.hurry = true;
    return v->flush.serial;
}

/* ---- leases ---- */

static void put_leased(struct weir_ventilator *v, struct weir_lease *lease,
                       struct weir_lease_slice *slice, uint32_t index, int64_t deadline_ms)
{
    const struct weir_group *group = lease->group;
    struct weir_row fresh = {.group = group->row.number,
                             .sequence = slice->sequence + (index - slice->index),
                             .time_ms = slice->time_ms};
    struct weir_row *row = slice->row ? slice->row : &fresh;
    if (!slice->row)
        fresh.key_hash = weir_lease_key(slice, index);
    row->state = WEIR_ROW_LEASED;
    row->incarnation = lease->name.incarnation;
    row->delivery = lease->name.delivery;
    row->index = index;
    row->worker = lease->worker;
    row->deadline_ms = deadline_ms;
    weir_flush_row(v, row, false);
}

void weir_flush_lease(struct weir_ventilator *v, struct weir_lease *lease)
{
    const int64_t left_ns = lease->deadline.at - v->now.mono_ns;
    const int64_t deadline_ms = v->now.wall_ms + left_ns / WEIR_NS_PER_MS;
    for (size_t r = 0; r < lease->open.count; r++) {
        for (uint64_t i = lease->open.at[r].first; i <= lease->open.at[r].last; i++) {
            struct weir_lease_slice *slice = weir_lease_slice_of(lease, (uint32_t)i);
            put_leased(v, lease, slice, (uint32_t)i, deadline_ms);
            if (!lease->durable && !slice->row)
                weir_group_settle(lease->group, slice->sequence + (i - slice->index), 1);
        }
    }
    lease->stored_deadline_ms = deadline_ms;
    weir_leases_durable(&v->leases, lease);
}

void weir_flush_leases(struct weir_ventilator *v)
{
    while (v->leases.young) {
        if (v->leases.young->final)
            weir_leases_durable(&v->leases, v->leases.young);
        else
            weir_flush_lease(v, v->leases.young);
    }
}

/* Those that are older than a second. */
static void old_leases(struct weir_ventilator *v)
{
    uint64_t messages = 0;
    struct weir_lease *lease = v->leases.young;
    while (lease && messages < WEIR_FLUSH_LEASED_MAX &&
           v->now.mono_ns - lease->made_ns >= WEIR_LEASE_DURABLE_MS * WEIR_NS_PER_MS) {
        messages += lease->open_count;
        if (lease->final) /* what is sent at most once leaves no lease */
            weir_leases_durable(&v->leases, lease);
        else
            weir_flush_lease(v, lease);
        lease = v->leases.young;
    }
}

/* ---- handing over ---- */

static void gather_group(struct weir_ventilator *v, struct weir_group *group)
{
    uint64_t chunk;
    uint8_t bits[WEIR_CHUNK_BYTES];
    const uint64_t lowest = group->settled.low / WEIR_CHUNK_SEQUENCES;
    while (weir_settled_take(&group->settled, &chunk, bits)) {
        struct weir_op *op = weir_flush_op(v, WEIR_OP_CHUNK_PUT);
        op->number = group->row.number;
        op->chunk = chunk;
        op->bits = weir_alloc(sizeof bits);
        memcpy(op->bits, bits, sizeof bits);
    }
    if (lowest > group->trimmed_chunk) {
        struct weir_op *op = weir_flush_op(v, WEIR_OP_CHUNK_TRIM);
        op->number = group->row.number;
        op->chunk = group->trimmed_chunk = lowest;
    }
    if (group->tombstones > WEIR_TOMBSTONES_MAX + WEIR_TOMBSTONES_MAX / 16) {
        struct weir_op *op = weir_flush_op(v, WEIR_OP_TOMBSTONE_TRIM);
        op->number = group->row.number;
        op->count = group->tombstones = WEIR_TOMBSTONES_MAX;
        group->tombstones_trimmed = true;
    }
    group->row.low = group->settled.low;
    struct weir_group_row *row = weir_alloc(sizeof *row);
    *row = group->row;
    weir_flush_op(v, WEIR_OP_GROUP_PUT)->group = row;
    group->dirty = false;
}

static void gather_producers(struct weir_ventilator *v)
{
    struct weir_flush_producer *producer, *next;
    HASH_ITER (hh, v->flush.producers, producer, next) {
        struct weir_producer_row *row = weir_alloc(sizeof *row);
        const bool known = weir_intake_producer(v->intake, producer->id, row);
        memcpy(row->id, producer->id, sizeof row->id);
        weir_flush_op(v, known ? WEIR_OP_PRODUCER_PUT : WEIR_OP_PRODUCER_DROP)->producer = row;
    }
    forget_producers(&v->flush);
}

static void gather(struct weir_ventilator *v)
{
    uint64_t needs = v->stream.end;
    old_leases(v);
    for (uint32_t i = 0; i < v->group_count; i++) {
        if (v->groups[i]->dirty)
            gather_group(v, v->groups[i]);
        const uint64_t low = weir_group_needs(v->groups[i]);
        if (low < needs)
            needs = low;
    }
    gather_producers(v);
    if (v->idempotency.trimmed) {
        const uint64_t lowest = weir_idempotency_lowest(&v->idempotency);
        weir_flush_op(v, WEIR_OP_IDEM_TRIM)->sequence =
            lowest < v->stream.end ? lowest : v->stream.end;
        v->idempotency.trimmed = false;
    }
    const uint64_t absorbed = v->accept.last;
    if (absorbed != v->flush.absorbed) {
        weir_flush_op(v, WEIR_OP_ABSORBED)->sequence = absorbed;
        v->flush.absorbed = absorbed;
    }
    v->flush.trim = needs;
}

static void applied(struct weir_ventilator *v, struct weir_store_result *result, uint64_t absorbed,
                    void *pointer)
{
    const uint64_t serial = v->flush.done + 1, before = v->flush.durable;
    weir_copyout_arrived(v, (uintptr_t)pointer);
    v->flush.under_way--;
    v->flush.done = serial;
    v->flush.durable = absorbed;
    v->count.flushes++;
    weir_delayed_flushed(v, result);
    weir_groups_flushed(v);
    weir_replay_flushed(v);
    weir_ventilator_admin_flushed(v);
    if (v->state == WEIR_VENTILATOR_RECOVERING && serial == v->opening_flush)
        weir_ventilator_open(v);
    for (uint32_t i = 0; i < v->group_count; i++)
        if (v->crowded || v->groups[i]->overflowed > before ||
            (v->groups[i]->claim_flush && v->groups[i]->claim_flush <= serial))
            weir_ventilator_stir(v, v->groups[i]);
    v->crowded = false;
}

void weir_flush_now(struct weir_ventilator *v)
{
    struct weir_flush *flush = &v->flush;
    if (!flush->dirty)
        return;
    gather(v);
    flush->dirty = flush->hurry = false;
    struct weir_store_request request = {
        .kind = WEIR_STORE_APPLY, .ops = flush->ops, .op_count = flush->count};
    flush->ops = NULL;
    flush->count = flush->capacity = 0;
    flush->under_way++;
    flush->serial++;
    weir_ventilator_ask(v, &request, applied, flush->absorbed, (void *)(uintptr_t)flush->copied);
    flush->copied = 0;
}

int64_t weir_flush_tick(struct weir_ventilator *v)
{
    struct weir_flush *flush = &v->flush;
    if (v->leases.young && !flush->dirty) { /* their second ends */
        const int64_t at = v->leases.young->made_ns + WEIR_LEASE_DURABLE_MS * WEIR_NS_PER_MS;
        if (v->now.mono_ns < at)
            return at;
        touch(v);
    }
    if (!flush->dirty)
        return WEIR_TIME_NEVER;
    const int64_t at = flush->since_ns + WEIR_FLUSH_MS * WEIR_NS_PER_MS;
    const bool crowded = flush->count >= WEIR_FLUSH_ROWS_MAX / 2;
    /* In a hurry or not: one at a time, so that a slow disk makes larger transactions. */
    if (flush->under_way > 0)
        return WEIR_TIME_NEVER; /* its end is an event */
    if (!flush->hurry && !crowded && v->now.mono_ns < at)
        return at;
    weir_flush_now(v);
    return WEIR_TIME_NEVER;
}
