#include <base/alloc.h>
#include <base/error.h>
#include <core/lease.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <wire/batch.h>

struct weir_lease *weir_leases_add(struct weir_leases *self, const struct weir_lease_name *name,
                                   struct weir_group *group, struct weir_lease_slice *slices,
                                   uint32_t slice_count, const struct weir_now *now,
                                   int64_t deadline_ns)
{
    struct weir_lease *lease = weir_zalloc(1, sizeof *lease);
    lease->name = *name;
    lease->group = group;
    lease->slices = weir_alloc(slice_count * sizeof *slices);
    memcpy(lease->slices, slices, slice_count * sizeof *slices);
    lease->slice_count = slice_count;
    for (uint32_t i = 0; i < slice_count; i++) {
        lease->open_count += slices[i].count;
        weir_rangeset_add(&lease->open, slices[i].index,
                          (uint64_t)slices[i].index + slices[i].count - 1);
    }
    lease->made_ns = now->mono_ns;
    lease->made_ms = now->wall_ms;
    HASH_ADD(hh, self->table, name, sizeof lease->name, lease);
    DL_APPEND(self->young, lease);
    weir_heap_set(&self->deadlines, &lease->deadline, deadline_ns);
    self->messages += lease->open_count;
    return lease;
}

static void slice_fini(struct weir_lease_slice *slice)
{
    if (slice->row) {
        weir_row_fini(slice->row);
        free(slice->row);
    }
    weir_bytes_drop(&slice->keys);
}

void weir_leases_durable(struct weir_leases *self, struct weir_lease *lease)
{
    if (lease->durable)
        return;
    lease->durable = true;
    DL_DELETE(self->young, lease);
}

void weir_leases_remove(struct weir_leases *self, struct weir_lease *lease)
{
    if (!lease->durable)
        DL_DELETE(self->young, lease);
    HASH_DELETE(hh, self->table, lease);
    weir_heap_remove(&self->deadlines, &lease->deadline);
    weir_heap_remove(&self->timeouts, &lease->timeout);
    self->messages -= lease->open_count;
    for (uint32_t i = 0; i < lease->slice_count; i++)
        slice_fini(&lease->slices[i]);
    weir_rangeset_fini(&lease->open);
    free(lease->slices);
    free(lease->running);
    free(lease->worker_name);
    free(lease);
}

struct weir_lease *weir_leases_find(const struct weir_leases *self, uint64_t incarnation,
                                    uint64_t delivery)
{
    const struct weir_lease_name name = {incarnation, delivery};
    struct weir_lease *lease;
    HASH_FIND(hh, self->table, &name, sizeof name, lease);
    return lease;
}

void weir_leases_fini(struct weir_leases *self)
{
    struct weir_lease *lease, *next;
    HASH_ITER (hh, self->table, lease, next)
        weir_leases_remove(self, lease);
    weir_heap_fini(&self->deadlines);
    weir_heap_fini(&self->timeouts);
}

bool weir_lease_open_run(const struct weir_lease *lease, uint32_t *first, uint32_t *count)
{
    const uint64_t end = (uint64_t)*first + *count;
    size_t low = 0, high = lease->open.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (lease->open.at[middle].last < *first)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == lease->open.count || lease->open.at[low].first >= end)
        return false;
    const struct weir_range *range = &lease->open.at[low];
    if (range->first > *first)
        *first = (uint32_t)range->first;
    *count = (uint32_t)((range->last + 1 < end ? range->last + 1 : end) - *first);
    return true;
}

void weir_lease_close(struct weir_leases *self, struct weir_lease *lease, uint32_t first,
                      uint32_t count)
{
    const uint64_t closed = weir_rangeset_remove(&lease->open, first, (uint64_t)first + count - 1);
    WEIR_ASSERT(closed == count);
    lease->open_count -= count;
    self->messages -= count;
    for (uint32_t i = 0; i < lease->running_count;) {
        const uint32_t index = lease->running[i].index;
        if (index >= first && index - first < count)
            weir_lease_stop(self, lease, index);
        else
            i++;
    }
}

struct weir_lease_slice *weir_lease_slice_of(const struct weir_lease *lease, uint32_t index)
{
    uint32_t low = 0, high = lease->slice_count - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low + 1) / 2;
        if (lease->slices[middle].index <= index)
            low = middle;
        else
            high = middle - 1;
    }
    return &lease->slices[low];
}

uint64_t weir_lease_key(const struct weir_lease_slice *slice, uint32_t index)
{
    if (slice->row)
        return slice->row->key_hash;
    if (slice->keys.size == 0)
        return 0;
    return weir_index_key_hash(&slice->keys, slice->width, slice->flags, index - slice->index);
}

/* ---- attempts that run ---- */

static void set_timeout(struct weir_leases *self, struct weir_lease *lease)
{
    int64_t at = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < lease->running_count; i++)
        if (lease->running[i].until_ns < at)
            at = lease->running[i].until_ns;
    if (at == WEIR_TIME_NEVER)
        weir_heap_remove(&self->timeouts, &lease->timeout);
    else
        weir_heap_set(&self->timeouts, &lease->timeout, at);
}

void weir_lease_run(struct weir_leases *self, struct weir_lease *lease, uint32_t index,
                    int64_t until_ns, bool anew, uint64_t beat)
{
    uint32_t i = 0;
    while (i < lease->running_count && lease->running[i].index != index)
        i++;
    if (i < lease->running_count && !anew) {
        lease->running[i].beat = beat;
        return;
    }
    if (i == lease->running_count) {
        lease->running = weir_realloc(lease->running, i + 1, sizeof *lease->running);
        lease->running_count++;
    }
    lease->running[i] = (struct weir_lease_running){index, until_ns, beat};
    set_timeout(self, lease);
}

void weir_lease_stop(struct weir_leases *self, struct weir_lease *lease, uint32_t index)
{
    for (uint32_t i = 0; i < lease->running_count; i++) {
        if (lease->running[i].index != index)
            continue;
        lease->running[i] = lease->running[--lease->running_count];
        set_timeout(self, lease);
        return;
    }
}
