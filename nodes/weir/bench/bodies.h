/* What the processes of a bench do. Each is a body for weir_bench_crew_start, and its argument must
 * live until the process has ended. */
#ifndef WEIR_BENCH_BODIES_H
#define WEIR_BENCH_BODIES_H

#include "crew.h"
#include "load.h"

/* A producer of libweir: the messages index, index + producers, … of the stretch, before number
 * `end`, as fast as it goes or when they are due. READY when connected, DONE when all are
 * confirmed. */
struct weir_bench_producer {
    const struct weir_bench_load *load;
    const char *submit; /* endpoint */
    uint64_t index, end;
};
weir_bench_body weir_bench_produce;

/* A worker of libweir that notes what it sees in the load, until it is told to end. */
struct weir_bench_worker {
    const struct weir_bench_load *load;
    const char *from, *to; /* endpoints; `to` NULL: there is no sink */
    uint32_t group, index; /* from 0 */
};
weir_bench_body weir_bench_work;

/* The name of a group, from 0: "g1" … */
#define WEIR_BENCH_GROUP_BYTES 16
void weir_bench_group_name(uint32_t group, char name[WEIR_BENCH_GROUP_BYTES]);

/* libzmq alone: PUSH → PULL over TCP, the limit that a pipeline is held against. `next` is the part
 * that it sends to. READY when the connection stands. */
struct weir_bench_raw {
    uint64_t messages;
    uint32_t size;
    const struct weir_bench_word *next; /* NULL for who receives */
};
weir_bench_body weir_bench_push;
weir_bench_body weir_bench_pull;

/* libzmq alone: a chain of processes, PUSH → PULL → PUSH → PULL …, whose first sends at a fixed
 * rate and whose last notes when each message came, from when it was due. */
struct weir_bench_link {
    const struct weir_bench_stretch *stretch; /* shared */
    int64_t *latency_ns;                      /* shared: one a message */
    uint32_t size;
    const struct weir_bench_word *next; /* NULL for the last */
};
weir_bench_body weir_bench_chain_first;
weir_bench_body weir_bench_chain_middle;
weir_bench_body weir_bench_chain_last;

/* One write and fdatasync after the other, in a file that has its blocks already, as the log's
 * segments do: how long each fdatasync takes. */
struct weir_bench_sync {
    int64_t *latency_ns; /* shared */
    uint32_t count;
    uint32_t size;
};
weir_bench_body weir_bench_sync;

/* posix_spawn alone: so many processes of WEIR_BENCH_PROGRAM, so many of them at once, each waited
 * for. */
struct weir_bench_spawn {
    uint64_t count;
    uint32_t at_once;
};
weir_bench_body weir_bench_spawn;

#endif
