/* SQLite's own memory, which fails on demand. */
#ifndef WEIR_TESTS_SQLITE_MEMORY_H
#define WEIR_TESTS_SQLITE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Before SQLite is used for the first time. */
void sqlite_memory_use(void);
/* From now on the `nth` allocation (from 1) fails, and with `for_good` all behind it. 0: none. */
void sqlite_memory_fail(uint64_t nth, bool for_good);
/* Whether one has failed since. */
bool sqlite_memory_failed(void);

#endif
