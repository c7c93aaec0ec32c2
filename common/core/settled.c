#include <base/alloc.h>
#include <core/settled.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK WEIR_CHUNK_SEQUENCES
#define WORDS (WEIR_CHUNK_SEQUENCES / 64u)

_Static_assert(WEIR_CHUNK_BYTES % sizeof(uint64_t) == 0, "a chunk is whole words");

void weir_settled_init(struct weir_settled *self, uint64_t low)
{
    *self = (struct weir_settled){.low = low};
}

void weir_settled_fini(struct weir_settled *self)
{
    for (size_t i = 0; i < self->count; i++)
        free(self->chunks[self->head + i].bits);
    free(self->chunks);
    *self = (struct weir_settled){0};
}

/* ---- one chunk ---- */

static bool chunk_has(const struct weir_settled_chunk *chunk, uint32_t bit)
{
    if (!chunk->bits)
        return chunk->set != 0;
    return (chunk->bits[bit / 64] >> (bit % 64)) & 1u;
}

/* The first bit at or above `bit` that is not `state`; CHUNK: none. */
static uint32_t chunk_change(const struct weir_settled_chunk *chunk, uint32_t bit, bool state)
{
    if (!chunk->bits)
        return (chunk->set != 0) == state ? CHUNK : bit;
    uint32_t word = bit / 64;
    uint64_t mask = UINT64_MAX << (bit % 64);
    for (; word < WORDS; word++, mask = UINT64_MAX) {
        const uint64_t differs = (state ? ~chunk->bits[word] : chunk->bits[word]) & mask;
        if (differs)
            return word * 64 + (uint32_t)__builtin_ctzll(differs);
    }
    return CHUNK;
}

/* Set bits [from, to). Returns how many were clear. */
static uint32_t chunk_fill(struct weir_settled_chunk *chunk, uint32_t from, uint32_t to)
{
    if (!chunk->bits && chunk->set)
        return 0;
    if (!chunk->bits)
        chunk->bits = weir_zalloc(WORDS, sizeof *chunk->bits);
    uint32_t added = 0;
    for (uint32_t bit = from; bit < to;) {
        const uint32_t word = bit / 64;
        const uint32_t end = to < (word + 1) * 64 ? to : (word + 1) * 64;
        const uint64_t mask = (UINT64_MAX << (bit % 64)) & (UINT64_MAX >> ((64 - end % 64) % 64));
        added += (uint32_t)__builtin_popcountll(mask & ~chunk->bits[word]);
        chunk->bits[word] |= mask;
        bit = end;
    }
    chunk->set += added;
    chunk->dirty = chunk->dirty || added;
    if (chunk->set == CHUNK) {
        free(chunk->bits);
        chunk->bits = NULL;
    }
    return added;
}

/* ---- all of them ---- */

static struct weir_settled_chunk *chunk_get(struct weir_settled *self, uint64_t number)
{
    if (self->count == 0) {
        self->head = 0;
        self->base = self->low / CHUNK;
    }
    const uint64_t at = number - self->base;
    while (self->count <= at) {
        if (self->head + self->count == self->capacity && self->head > self->capacity / 2) {
            memmove(self->chunks, &self->chunks[self->head], self->count * sizeof *self->chunks);
            self->head = 0;
        }
        if (self->head + self->count == self->capacity) {
            self->capacity = self->capacity ? 2 * self->capacity : 8;
            self->chunks = weir_realloc(self->chunks, self->capacity, sizeof *self->chunks);
        }
        self->chunks[self->head + self->count++] = (struct weir_settled_chunk){0};
    }
    return &self->chunks[self->head + at];
}

static const struct weir_settled_chunk *chunk_find(const struct weir_settled *self, uint64_t number)
{
    if (self->count == 0 || number < self->base || number - self->base >= self->count)
        return NULL;
    return &self->chunks[self->head + (number - self->base)];
}

/* Move low up to the first sequence that is not settled, and let go of what lies below it. */
static void rise(struct weir_settled *self)
{
    while (self->count > 0) {
        struct weir_settled_chunk *chunk = &self->chunks[self->head];
        const uint64_t first = self->base * CHUNK;
        if (self->low < first + CHUNK) {
            self->low = first + chunk_change(chunk, (uint32_t)(self->low - first), true);
            if (self->low < first + CHUNK)
                return;
        }
        free(chunk->bits);
        self->head++;
        self->count--;
        self->base++;
    }
}

uint64_t weir_settled_add(struct weir_settled *self, uint64_t first, uint64_t count)
{
    const uint64_t end = first + count;
    if (first < self->low)
        first = self->low;
    if (first >= end)
        return 0;
    if (first == self->low && self->count == 0) { /* in order, as it mostly is */
        self->low = end;
        return end - first;
    }
    const bool rises = first == self->low;
    uint64_t added = 0;
    while (first < end) {
        const uint64_t number = first / CHUNK;
        const uint64_t chunk_end = (number + 1) * CHUNK;
        const uint64_t to = end < chunk_end ? end : chunk_end;
        added += chunk_fill(chunk_get(self, number), (uint32_t)(first % CHUNK),
                            (uint32_t)(to - number * CHUNK));
        first = to;
    }
    if (rises)
        rise(self);
    return added;
}

bool weir_settled_has(const struct weir_settled *self, uint64_t sequence)
{
    if (sequence < self->low)
        return true;
    const struct weir_settled_chunk *chunk = chunk_find(self, sequence / CHUNK);
    return chunk && chunk_has(chunk, (uint32_t)(sequence % CHUNK));
}

uint64_t weir_settled_run(const struct weir_settled *self, uint64_t first, uint64_t end,
                          bool *settled)
{
    *settled = weir_settled_has(self, first);
    uint64_t at = first;
    if (at < self->low)
        at = self->low < end ? self->low : end;
    while (at < end) {
        const struct weir_settled_chunk *chunk = chunk_find(self, at / CHUNK);
        const uint64_t base = at / CHUNK * CHUNK;
        uint32_t change = CHUNK;
        if (chunk)
            change = chunk_change(chunk, (uint32_t)(at - base), *settled);
        else if (*settled)
            change = (uint32_t)(at - base);
        at = base + change;
        if (change < CHUNK)
            break;
    }
    return (at < end ? at : end) - first;
}

uint64_t weir_settled_open(const struct weir_settled *self, uint64_t end)
{
    uint64_t open = 0;
    for (uint64_t at = self->low; at < end;) {
        bool settled;
        const uint64_t run = weir_settled_run(self, at, end, &settled);
        open += settled ? 0 : run;
        at += run;
    }
    return open;
}

void weir_settled_load(struct weir_settled *self, uint64_t chunk, const uint8_t *bits)
{
    if (chunk < self->low / CHUNK)
        return;
    for (uint32_t bit = 0; bit < CHUNK; bit++) {
        uint32_t end = bit;
        while (end < CHUNK && (bits[end / 8] >> (end % 8)) & 1u)
            end++;
        if (end > bit) {
            weir_settled_add(self, chunk * CHUNK + bit, end - bit);
            bit = end;
        }
    }
    for (size_t i = 0; i < self->count; i++)
        self->chunks[self->head + i].dirty = false;
}

bool weir_settled_take(struct weir_settled *self, uint64_t *chunk, uint8_t bits[WEIR_CHUNK_BYTES])
{
    for (size_t i = 0; i < self->count; i++) {
        struct weir_settled_chunk *at = &self->chunks[self->head + i];
        if (!at->dirty)
            continue;
        at->dirty = false;
        *chunk = self->base + i;
        memset(bits, at->set == CHUNK ? 0xff : 0, WEIR_CHUNK_BYTES);
        for (uint32_t word = 0; at->bits && word < WORDS; word++) {
            const uint64_t little = htole64(at->bits[word]);
            memcpy(&bits[word * sizeof little], &little, sizeof little);
        }
        return true;
    }
    return false;
}
