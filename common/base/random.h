/* Random numbers. The state lives in the object that uses it, seeded by its owner, so that a run
 * from the same seed is the same run. */
#ifndef WEIR_BASE_RANDOM_H
#define WEIR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct weir_random {
    uint64_t state[4]; /* xoshiro256** */
};

void weir_random_seed(struct weir_random *random, uint64_t seed);
uint64_t weir_random_u64(struct weir_random *random);
/* Uniform in [0, limit); limit > 0. */
uint64_t weir_random_below(struct weir_random *random, uint64_t limit);
void weir_random_fill(struct weir_random *random, void *data, size_t bytes);

/* Real entropy from the kernel, for seeds and names. Not for machines. */
void weir_entropy(void *data, size_t bytes);

#endif
