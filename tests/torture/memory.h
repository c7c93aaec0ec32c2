/* The C library's memory, which fails on demand: for Weir's own code and for the libraries alike. A
 * program that links memory.c has malloc, calloc and realloc of its own. */
#ifndef WEIR_TESTS_MEMORY_H
#define WEIR_TESTS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* From now on the `nth` allocation of this thread (from 1) fails, and with `for_good` all behind
 * it. 0: none. */
void memory_fail(uint64_t nth, bool for_good);
bool memory_failed(void);

/* From now on each `every`-th allocation that Weir's code makes, on any thread, fails in a process
 * of its own: a fork that is made there. It must end at once, with SIGABRT and a word about it. In
 * the process itself nothing fails; but `seen` is called there each time, without any lock of
 * memory.c. 0: no more. Returns how many there were, and how many were tried. */
struct memory_counts {
    uint64_t calls, tried, silent; /* silent: ended in another way, or without a word */
};
void memory_end_each(uint64_t every, void (*seen)(void));
struct memory_counts memory_ended(void);

#endif
