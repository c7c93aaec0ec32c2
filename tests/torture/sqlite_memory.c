#include "sqlite_memory.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

static sqlite3_mem_methods original;
static atomic_uint_fast64_t calls, fail_at;
static atomic_bool fail_for_good, failed;

static bool fails(void)
{
    const uint64_t call = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);

    if (at == 0 || call < at || (call > at && !atomic_load(&fail_for_good)))
        return false;
    atomic_store(&failed, true);
    return true;
}

static void *allocate(int bytes)
{
    return fails() ? NULL : original.xMalloc(bytes);
}

static void *reallocate(void *memory, int bytes)
{
    return fails() ? NULL : original.xRealloc(memory, bytes);
}

void sqlite_memory_use(void)
{
    sqlite3_mem_methods methods;

    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &original) != SQLITE_OK)
        abort();
    methods = original;
    methods.xMalloc = allocate;
    methods.xRealloc = reallocate;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK)
        abort();
    sqlite3_initialize();
}

void sqlite_memory_fail(uint64_t nth, bool for_good)
{
    atomic_store(&calls, 0);
    atomic_store(&failed, false);
    atomic_store(&fail_for_good, for_good);
    atomic_store(&fail_at, nth);
}

bool sqlite_memory_failed(void)
{
    return atomic_load(&failed);
}
