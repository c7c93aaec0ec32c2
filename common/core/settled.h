/* Which sequences of a group are settled: done, dropped, passed over, or accounted for by a row.
 * Everything below `low` is; above it a bitmap says which, in chunks as the state keeps them. Takes
 * one bit a sequence of the span between low and the highest settled one, and nothing where a chunk
 * is all settled or not at all. */
#ifndef WEIR_CORE_SETTLED_H
#define WEIR_CORE_SETTLED_H

#include <contract/store.h>

struct weir_settled_chunk {
    uint64_t *bits; /* NULL: all alike, as `set` says */
    uint32_t set;   /* how many */
    bool dirty;     /* changed since it was last taken */
};

struct weir_settled {
    uint64_t low;
    uint64_t base; /* the number of the first chunk kept: that of `low` while there are any */
    struct weir_settled_chunk *chunks;
    size_t head, count, capacity;
};

void weir_settled_init(struct weir_settled *self, uint64_t low);
void weir_settled_fini(struct weir_settled *self);
/* Settle [first, first + count). Returns how many of them were not settled before. */
uint64_t weir_settled_add(struct weir_settled *self, uint64_t first, uint64_t count);
bool weir_settled_has(const struct weir_settled *self, uint64_t sequence);
/* How many sequences from `first` on, below `end` (> first), are all settled or all not. */
uint64_t weir_settled_run(const struct weir_settled *self, uint64_t first, uint64_t end,
                          bool *settled);
/* How many in [low, end) are not settled. */
uint64_t weir_settled_open(const struct weir_settled *self, uint64_t end);
/* A chunk as the state has it (recovery). */
void weir_settled_load(struct weir_settled *self, uint64_t chunk, const uint8_t *bits);
/* The next chunk that changed, as the state keeps it; false: there is none. */
bool weir_settled_take(struct weir_settled *self, uint64_t *chunk, uint8_t bits[WEIR_CHUNK_BYTES]);

#endif
