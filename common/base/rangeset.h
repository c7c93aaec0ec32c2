/* A set of u64 numbers kept as sorted, disjoint, non-adjacent ranges. */
#ifndef WEIR_BASE_RANGESET_H
#define WEIR_BASE_RANGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_range {
    uint64_t first;
    uint64_t last; /* inclusive */
};

struct weir_rangeset {
    struct weir_range *at;
    size_t count;
    size_t capacity;
};

void weir_rangeset_fini(struct weir_rangeset *set);
/* Add [first, last]. Returns how many of them were new. */
uint64_t weir_rangeset_add(struct weir_rangeset *set, uint64_t first, uint64_t last);
/* Remove [first, last]. Returns how many of them were in. */
uint64_t weir_rangeset_remove(struct weir_rangeset *set, uint64_t first, uint64_t last);
bool weir_rangeset_has(const struct weir_rangeset *set, uint64_t number);
/* The sum of the ranges' sizes. */
uint64_t weir_rangeset_size(const struct weir_rangeset *set);

#endif
