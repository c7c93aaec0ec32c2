/* Values below 32 have a bucket each; above, every power of two is cut into 32 equal buckets. */
#include <base/histogram.h>

#define SUB_BITS 5
#define SUB_COUNT (1u << SUB_BITS)

_Static_assert(WEIR_HISTOGRAM_BUCKETS == (64 - SUB_BITS + 1) * SUB_COUNT, "one bucket a value");

static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift;

    if (value < SUB_COUNT)
        return (uint32_t)value;
    shift = 63u - (uint32_t)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUB_COUNT + (uint32_t)((value >> shift) - SUB_COUNT);
}

static uint64_t highest_in(uint32_t bucket)
{
    uint32_t shift;

    if (bucket < SUB_COUNT)
        return bucket;
    shift = bucket / SUB_COUNT - 1;
    return ((uint64_t)(bucket % SUB_COUNT + SUB_COUNT) << shift) + ((UINT64_C(1) << shift) - 1);
}

void weir_histogram_add(struct weir_histogram *histogram, uint64_t value)
{
    histogram->total++;
    histogram->buckets[bucket_of(value)]++;
    if (value > histogram->max)
        histogram->max = value;
}

uint64_t weir_histogram_quantile(const struct weir_histogram *histogram, uint32_t permille)
{
    uint64_t rank, seen = 0;

    if (histogram->total == 0)
        return 0;
    if (permille > 1000)
        permille = 1000;
    /* total × permille ÷ 1000, rounded up, without leaving 64 bits. */
    rank = histogram->total / 1000 * permille + (histogram->total % 1000 * permille + 999) / 1000;
    for (uint32_t bucket = 0; bucket < WEIR_HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank && seen > 0) {
            uint64_t value = highest_in(bucket);

            return value < histogram->max ? value : histogram->max;
        }
    }
    return histogram->max;
}
