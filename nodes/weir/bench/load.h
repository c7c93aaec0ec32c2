/* The messages of a bench, and what was seen of them, in memory that all its processes share: so
 * what is told is counted outside the product.
 *
 * A stretch is a row of messages that is sent at once, or at a fixed rate. Its messages have the
 * numbers from `base` on, which no other stretch has; a message bears its number as the first
 * sixteen letters of its payload. */
#ifndef WEIR_BENCH_LOAD_H
#define WEIR_BENCH_LOAD_H

#include "plan.h"

#include <base/clock.h>
#include <base/error.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIR_BENCH_TOPIC "bench"
#define WEIR_BENCH_NUMBER_BYTES 16u

struct weir_bench_stretch {
    uint64_t base, count;
    uint32_t rate;                  /* 0: as fast as it goes */
    int64_t start_ns;               /* mono; with a rate: when the first one is due */
    atomic_int_fast64_t handler_ns; /* so long does each handler take; 0: no time */
};

/* What one worker has seen in this stretch. Written by that worker alone. */
struct weir_bench_tally {
    _Alignas(64) atomic_uint_fast64_t handled; /* for the first time */
    atomic_uint_fast64_t repeated;
    atomic_uint_fast64_t disordered; /* after one of its key that was sent later */
    atomic_uint_fast64_t strange;    /* none of this stretch, or not as it was sent */
};

struct weir_bench_load {
    const struct weir_bench_plan *plan;
    struct weir_bench_stretch *stretch; /* shared, as all that follows */
    struct weir_bench_tally *tallies;   /* group × workers + worker */
    atomic_uint_fast64_t *seen;         /* a bit for each group and message */
    atomic_uint_fast64_t *last_of_key; /* (group × producers + producer) × keys + key: number + 1 */
    /* Of a stretch with a rate, in ns from when each message was due; 0: not yet. */
    int64_t *handler_ns; /* group × messages + message */
    int64_t *ok_ns;
    void *memory;
    uint64_t memory_bytes;
    uint64_t words; /* of `seen`, a group */
};

/* How much memory it takes. */
uint64_t weir_bench_load_bytes(const struct weir_bench_plan *plan);
/* WEIR_EIO: there is not so much memory. The plan is borrowed. */
int weir_bench_load_init(struct weir_bench_load *self, const struct weir_bench_plan *plan,
                         struct weir_error *error);
void weir_bench_load_fini(struct weir_bench_load *self);
/* The next stretch; what was seen of the last one is forgotten. No message may be on its way. */
void weir_bench_load_begin(struct weir_bench_load *self, uint64_t count, uint32_t rate);
/* The sum over all workers: each message once for each group. */
struct weir_bench_sums {
    uint64_t handled, repeated, disordered, strange;
};
struct weir_bench_sums weir_bench_load_sums(const struct weir_bench_load *self);

/* When the message at this place of its stretch is due. Mono. */
static inline int64_t weir_bench_due_ns(const struct weir_bench_stretch *stretch, uint64_t at)
{
    return stretch->start_ns + (int64_t)(at * (uint64_t)WEIR_NS_PER_S / stretch->rate);
}

/* A payload for messages of `bytes` bytes, WEIR_BENCH_NUMBER_BYTES at least; to be freed. */
char *weir_bench_payload_new(uint32_t bytes);
void weir_bench_payload_number(char *payload, uint64_t number);
/* False: these are no letters of ours. */
bool weir_bench_payload_parse(const char *payload, uint64_t *number);

/* Until then, on a timer that is as exact as the kernel has it. When `fd` becomes readable before,
 * true. -1: none. */
bool weir_bench_wait_until(int64_t due_ns, int fd);

#endif
