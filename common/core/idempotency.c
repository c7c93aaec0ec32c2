#include <base/alloc.h>
#include <core/idempotency.h>
#include <stdlib.h>
#include <string.h>

void weir_idempotency_init(struct weir_idempotency *self, uint32_t count_max)
{
    *self = (struct weir_idempotency){.count_max = count_max};
}

void weir_idempotency_fini(struct weir_idempotency *self)
{
    free(self->ring);
    free(self->slots);
    *self = (struct weir_idempotency){0};
}

/* The hashes are SHA-256, so any eight bytes of one are as good as a hash of it. */
static size_t home_of(const struct weir_idempotency *self, const uint8_t *hash)
{
    uint64_t value;
    memcpy(&value, hash, sizeof value);
    return value & (self->slot_count - 1);
}

static bool same(const struct weir_idempotency *self, size_t slot, const uint8_t *hash)
{
    return memcmp(self->ring[self->slots[slot] - 1].hash, hash, WEIR_HASH_BYTES) == 0;
}

/* Where the key is, or the empty slot where it would be. */
static size_t slot_of(const struct weir_idempotency *self, const uint8_t *hash)
{
    size_t slot = home_of(self, hash);
    while (self->slots[slot] && !same(self, slot, hash))
        slot = (slot + 1) & (self->slot_count - 1);
    return slot;
}

const struct weir_idem_row *weir_idempotency_find(const struct weir_idempotency *self,
                                                  const uint8_t hash[WEIR_HASH_BYTES])
{
    if (self->count == 0)
        return NULL;
    const uint32_t place = self->slots[slot_of(self, hash)];
    return place ? &self->ring[place - 1] : NULL;
}

static void grow(struct weir_idempotency *self)
{
    const size_t capacity = self->capacity ? 2 * self->capacity : 1024;
    struct weir_idem_row *ring = weir_alloc(capacity * sizeof *ring);
    for (size_t i = 0; i < self->count; i++)
        ring[i] = self->ring[(self->head + i) & (self->capacity - 1)];
    free(self->ring);
    free(self->slots);
    self->ring = ring;
    self->head = 0;
    self->capacity = capacity;
    self->slot_count = 2 * capacity;
    self->slots = weir_zalloc(self->slot_count, sizeof *self->slots);
    for (size_t i = 0; i < self->count; i++)
        self->slots[slot_of(self, ring[i].hash)] = (uint32_t)i + 1;
}

/* Empty a slot, and close the gap, so that whatever had to move on past it is still found. */
static void slot_clear(struct weir_idempotency *self, size_t slot)
{
    const size_t mask = self->slot_count - 1;
    size_t next = slot;
    self->slots[slot] = 0;
    for (;;) {
        next = (next + 1) & mask;
        if (!self->slots[next])
            return;
        const size_t home = home_of(self, self->ring[self->slots[next] - 1].hash);
        if (((next - home) & mask) < ((next - slot) & mask))
            continue;
        self->slots[slot] = self->slots[next];
        self->slots[next] = 0;
        slot = next;
    }
}

static struct weir_idem_row *oldest(const struct weir_idempotency *self)
{
    return &self->ring[self->head & (self->capacity - 1)];
}

static const struct weir_idem_row *newest(const struct weir_idempotency *self)
{
    return &self->ring[(self->head + self->count - 1) & (self->capacity - 1)];
}

static void drop_oldest(struct weir_idempotency *self)
{
    slot_clear(self, slot_of(self, oldest(self)->hash));
    self->head = (self->head + 1) & (self->capacity - 1);
    self->count--;
    self->trimmed = true;
}

void weir_idempotency_add(struct weir_idempotency *self, const struct weir_idem_row *row)
{
    if (self->count_max == 0 || weir_idempotency_find(self, row->hash))
        return;
    /* Ascending, whatever comes: a batch that has become durable names its keys again, and where
     * more than fit are on their way they may have been forgotten since. */
    if (self->count > 0 && newest(self)->sequence > row->sequence)
        return;
    if (self->count >= self->count_max) {
        drop_oldest(self);
        self->forgotten++;
    }
    if (self->count == self->capacity)
        grow(self);
    const size_t place = (self->head + self->count++) & (self->capacity - 1);
    self->ring[place] = *row;
    self->slots[slot_of(self, row->hash)] = (uint32_t)place + 1;
}

void weir_idempotency_withdraw(struct weir_idempotency *self, uint64_t sequence)
{
    while (self->count > 0) {
        const size_t place = (self->head + self->count - 1) & (self->capacity - 1);
        if (self->ring[place].sequence < sequence)
            return;
        slot_clear(self, slot_of(self, self->ring[place].hash));
        self->count--;
    }
}

void weir_idempotency_expire(struct weir_idempotency *self, int64_t before_ms)
{
    while (self->count > 0 && oldest(self)->time_ms < before_ms)
        drop_oldest(self);
}

uint64_t weir_idempotency_lowest(const struct weir_idempotency *self)
{
    return self->count ? oldest(self)->sequence : UINT64_MAX;
}
