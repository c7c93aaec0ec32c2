#include <base/alloc.h>
#include <base/error.h>
#include <base/rangeset.h>

#include <stdlib.h>
#include <string.h>

void weir_rangeset_fini(struct weir_rangeset *set)
{
    free(set->at);
    *set = (struct weir_rangeset){NULL, 0, 0};
}

/* The index of the first range that ends at or after `number`. */
static size_t find(const struct weir_rangeset *set, uint64_t number)
{
    size_t low = 0, high = set->count;

    /* Numbers mostly arrive in order: look at the end first. */
    if (high > 0 && set->at[high - 1].last < number)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->at[middle].last < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Put `count` ranges in the place of [from, to). */
static void splice(struct weir_rangeset *set, size_t from, size_t to,
                   const struct weir_range *ranges, size_t count)
{
    size_t total = set->count - (to - from) + count;

    if (total > set->capacity) {
        set->capacity = total > 8 ? 2 * total : 8;
        set->at = weir_realloc(set->at, set->capacity, sizeof *set->at);
    }
    if (set->count > to)
        memmove(set->at + from + count, set->at + to, (set->count - to) * sizeof *set->at);
    if (count > 0)
        memcpy(set->at + from, ranges, count * sizeof *ranges);
    set->count = total;
}

uint64_t weir_rangeset_add(struct weir_rangeset *set, uint64_t first, uint64_t last)
{
    struct weir_range joined = {first, last};
    uint64_t present = 0;
    size_t from, to;

    WEIR_ASSERT(first <= last);
    /* A range that ends just below `first` is adjacent and joins, too. */
    from = to = find(set, first > 0 ? first - 1 : 0);
    while (to < set->count && (last == UINT64_MAX || set->at[to].first <= last + 1)) {
        const struct weir_range *range = &set->at[to++];
        uint64_t low = range->first > first ? range->first : first;
        uint64_t high = range->last < last ? range->last : last;

        if (low <= high)
            present += high - low + 1;
        if (range->first < joined.first)
            joined.first = range->first;
        if (range->last > joined.last)
            joined.last = range->last;
    }
    splice(set, from, to, &joined, 1);
    return last - first + 1 - present;
}

uint64_t weir_rangeset_remove(struct weir_rangeset *set, uint64_t first, uint64_t last)
{
    struct weir_range rest[2];
    size_t from, to, rests = 0;
    uint64_t removed = 0;

    WEIR_ASSERT(first <= last);
    from = to = find(set, first);
    while (to < set->count && set->at[to].first <= last) {
        const struct weir_range *range = &set->at[to++];
        uint64_t low = range->first > first ? range->first : first;
        uint64_t high = range->last < last ? range->last : last;

        removed += high - low + 1;
        if (range->first < first)
            rest[rests++] = (struct weir_range){range->first, first - 1};
        if (range->last > last)
            rest[rests++] = (struct weir_range){last + 1, range->last};
    }
    if (to > from)
        splice(set, from, to, rest, rests);
    return removed;
}

bool weir_rangeset_has(const struct weir_rangeset *set, uint64_t number)
{
    size_t index = find(set, number);

    return index < set->count && set->at[index].first <= number;
}

uint64_t weir_rangeset_size(const struct weir_rangeset *set)
{
    uint64_t size = 0;

    for (size_t i = 0; i < set->count; i++)
        size += set->at[i].last - set->at[i].first + 1;
    return size;
}
