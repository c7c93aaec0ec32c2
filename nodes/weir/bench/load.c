#include "load.h"

#include "crew.h"

#include <base/alloc.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define A_IN_EACH UINT64_C(0x6161616161616161)
#define LOW_NIBBLES UINT64_C(0x0f0f0f0f0f0f0f0f)

/* A bit a message, of the longest stretch. */
static uint64_t words_of(const struct weir_bench_plan *plan)
{
    const uint64_t paced = weir_bench_paced_messages(plan);

    uint64_t most = plan->messages + plan->waiting;

    most = paced > most ? paced : most;
    most = plan->burst > most ? plan->burst : most;
    return (most + 63) / 64;
}

static uint64_t rounded(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

#define PARTS 6

/* How large its parts are, each on cache lines of its own. */
static void lay_out(const struct weir_bench_plan *plan, uint64_t bytes[PARTS])
{
    const uint64_t paced = weir_bench_paced_messages(plan), groups = plan->groups;
    const uint64_t rows[PARTS] = {
        sizeof(struct weir_bench_stretch),
        groups * plan->workers * sizeof(struct weir_bench_tally),
        groups * words_of(plan) * sizeof(uint64_t),
        groups * plan->producers * plan->keys * sizeof(uint64_t),
        groups * paced * sizeof(int64_t),
        paced * sizeof(int64_t),
    };

    for (int i = 0; i < PARTS; i++)
        bytes[i] = rounded(rows[i]);
}

uint64_t weir_bench_load_bytes(const struct weir_bench_plan *plan)
{
    uint64_t bytes[PARTS], sum = 0;

    lay_out(plan, bytes);
    for (int i = 0; i < PARTS; i++)
        sum += bytes[i];
    return sum;
}

int weir_bench_load_init(struct weir_bench_load *self, const struct weir_bench_plan *plan,
                         struct weir_error *error)
{
    uint64_t bytes[PARTS];
    char *parts[PARTS], *at;

    *self = (struct weir_bench_load){
        .plan = plan, .words = words_of(plan), .memory_bytes = weir_bench_load_bytes(plan)};
    if (weir_bench_share(self->memory_bytes, &self->memory, error) != 0)
        return error->code;
    lay_out(plan, bytes);
    at = self->memory;
    for (int i = 0; i < PARTS; at += bytes[i++])
        parts[i] = at;
    self->stretch = (void *)parts[0];
    self->tallies = (void *)parts[1];
    self->seen = (void *)parts[2];
    self->last_of_key = (void *)parts[3];
    self->handler_ns = (void *)parts[4];
    self->ok_ns = (void *)parts[5];
    return 0;
}

void weir_bench_load_fini(struct weir_bench_load *self)
{
    weir_bench_unshare(self->memory, self->memory_bytes);
}

void weir_bench_load_begin(struct weir_bench_load *self, uint64_t count, uint32_t rate)
{
    const uint64_t base = self->stretch->base + self->stretch->count;
    char *const after = (char *)self->memory + rounded(sizeof *self->stretch);

    memset(after, 0, self->memory_bytes - rounded(sizeof *self->stretch));
    self->stretch->base = base;
    self->stretch->count = count;
    self->stretch->rate = rate;
    atomic_store(&self->stretch->handler_ns, 0);
}

struct weir_bench_sums weir_bench_load_sums(const struct weir_bench_load *self)
{
    struct weir_bench_sums sums = {0};

    for (uint32_t i = 0; i < self->plan->groups * self->plan->workers; i++) {
        const struct weir_bench_tally *tally = &self->tallies[i];

        sums.handled += atomic_load_explicit(&tally->handled, memory_order_relaxed);
        sums.repeated += atomic_load_explicit(&tally->repeated, memory_order_relaxed);
        sums.disordered += atomic_load_explicit(&tally->disordered, memory_order_relaxed);
        sums.strange += atomic_load_explicit(&tally->strange, memory_order_relaxed);
    }
    return sums;
}

/* ---- Payloads ---------------------------------------------------------------------------------
 *
 * Letters, so that a result stands in a line of JSON as it is; four bits each, so that a number is
 * made in a few instructions and does not count in what is measured. */

/* 32 bits, four in each byte. */
static uint64_t spread(uint64_t bits)
{
    bits = (bits | bits << 16) & UINT64_C(0x0000ffff0000ffff);
    bits = (bits | bits << 8) & UINT64_C(0x00ff00ff00ff00ff);
    return (bits | bits << 4) & LOW_NIBBLES;
}

static uint64_t gather(uint64_t bits)
{
    bits = (bits | bits >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    bits = (bits | bits >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (bits | bits >> 16) & UINT32_MAX;
}

char *weir_bench_payload_new(uint32_t bytes)
{
    char *payload = weir_alloc(bytes);

    for (uint32_t i = 0; i < bytes; i++)
        payload[i] = (char)('a' + i % 26);
    return payload;
}

void weir_bench_payload_number(char *payload, uint64_t number)
{
    const uint64_t halves[] = {spread(number & UINT32_MAX) + A_IN_EACH,
                               spread(number >> 32) + A_IN_EACH};

    memcpy(payload, halves, sizeof halves);
}

bool weir_bench_payload_parse(const char *payload, uint64_t *number)
{
    uint64_t halves[2];

    memcpy(halves, payload, sizeof halves);
    halves[0] -= A_IN_EACH;
    halves[1] -= A_IN_EACH;
    *number = gather(halves[0]) | gather(halves[1]) << 32;
    return ((halves[0] | halves[1]) & ~LOW_NIBBLES) == 0;
}

bool weir_bench_wait_until(int64_t due_ns, int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    const int64_t left_ns = due_ns - weir_clock_now().mono_ns;

    if (left_ns <= 0)
        return false;
    const struct timespec timeout = {.tv_sec = left_ns / WEIR_NS_PER_S,
                                     .tv_nsec = left_ns % WEIR_NS_PER_S};

    return ppoll(&item, 1, &timeout, NULL) > 0;
}
