/* A histogram with bounded relative error (1/32) and fixed memory, for latencies and ages. */
#ifndef WEIR_BASE_HISTOGRAM_H
#define WEIR_BASE_HISTOGRAM_H

#include <stdint.h>

#define WEIR_HISTOGRAM_BUCKETS 1920

struct weir_histogram {
    uint64_t total;
    uint64_t max;
    uint64_t buckets[WEIR_HISTOGRAM_BUCKETS];
};

void weir_histogram_add(struct weir_histogram *histogram, uint64_t value);
/* The value below which `permille` / 1000 of all values lie; 0 when empty. */
uint64_t weir_histogram_quantile(const struct weir_histogram *histogram, uint32_t permille);

#endif
