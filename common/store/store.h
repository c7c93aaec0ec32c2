/* A ventilator's spool: the log by hand, the state on SQLite, behind contract/store.h. */
#ifndef WEIR_STORE_STORE_H
#define WEIR_STORE_STORE_H

#include <base/error.h>
#include <contract/backend.h>
#include <contract/store.h>

struct weir_spool_config {
    const char *directory; /* made if missing, mode 0700 */
    uint16_t tag;          /* checked against the one in the spool */
    enum weir_fsync fsync;
    uint64_t bytes_max;     /* log + state + WAL; 0: unbounded. Appends above it end EFULL */
    uint64_t segment_bytes; /* 0: 64 MiB; tests make it small */
};

/* Open or make a spool, recover it, start its threads. The errors: WEIR_ELOCKED (names the holder's
 * pid), WEIR_EIO (names path and cause), WEIR_EBUSY (another program keeps the state locked),
 * WEIR_EFULL, WEIR_EDAMAGED (state or segment headers beyond use; damaged records are kept aside
 * and reported in recovered->damage instead), WEIR_EINVAL (another tag, another format version). */
int weir_spool_open(const struct weir_spool_config *config, struct weir_store **store,
                    struct weir_recovered **recovered, struct weir_error *error);

/* The same contract in memory: deterministic, without threads. Every request is completed by
 * weir_memory_store_step, so that a test or the simulator decides when. What a crash keeps is what
 * had completed. */
struct weir_memory_store;
struct weir_memory_store *weir_memory_store_new(uint16_t tag, uint64_t bytes_max);
void weir_memory_store_destroy(struct weir_memory_store **self);
struct weir_store *weir_memory_store_store(struct weir_memory_store *self);
/* Carry out and complete at most `requests` of what was handed over; returns how many. */
uint32_t weir_memory_store_step(struct weir_memory_store *self, uint32_t requests);
/* The process crashed: forget what was handed over and not completed, and all results not polled.
 */
void weir_memory_store_crash(struct weir_memory_store *self);
/* What the next start sees. */
struct weir_recovered *weir_memory_store_recover(struct weir_memory_store *self);

#endif
