/* xoshiro256** by Blackman and Vigna, seeded through splitmix64 as they advise. */
#include <base/error.h>
#include <base/random.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void weir_random_seed(struct weir_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t mixed = seed += UINT64_C(0x9e3779b97f4a7c15);

        mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
        random->state[i] = mixed ^ (mixed >> 31);
    }
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

uint64_t weir_random_u64(struct weir_random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t weir_random_below(struct weir_random *random, uint64_t limit)
{
    uint64_t value, unfair;

    WEIR_ASSERT(limit > 0);
    /* The lowest 2^64 mod limit values would make small results likelier: draw again on them. */
    unfair = (0 - limit) % limit;
    do
        value = weir_random_u64(random);
    while (value < unfair);
    return value % limit;
}

void weir_random_fill(struct weir_random *random, void *data, size_t bytes)
{
    uint8_t *at = data;

    while (bytes > 0) {
        uint64_t value = weir_random_u64(random);
        size_t part = bytes < sizeof value ? bytes : sizeof value;

        memcpy(at, &value, part);
        at += part;
        bytes -= part;
    }
}

void weir_entropy(void *data, size_t bytes)
{
    uint8_t *at = data;

    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            /* Names must not repeat; there is no safe way on without entropy. */
            fprintf(stderr, "weir: the kernel gives no random bytes: %s\n", strerror(errno));
            abort();
        }
        at += got;
        bytes -= (size_t)got;
    }
}
