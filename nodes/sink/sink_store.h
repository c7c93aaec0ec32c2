/* Where a sink writes, each result once: lines of JSON with a ledger beside them, or rows of a
 * table with the ledger in the same database. */
#ifndef WEIR_SINK_STORE_H
#define WEIR_SINK_STORE_H

#include <config/config.h>
#include <contract/store.h>

struct weir_sink_config {
    enum weir_sink_kind kind;
    const char *path;        /* of the file or database; NULL for stdout */
    const char *ledger_path; /* NULL for SQLite */
    int stdout_fd;           /* for stdout */
    uint16_t tag;            /* names messages that come straight from a producer */
};

struct weir_sink;

/* Open what there is, or make it. The errors name the file and say what to do: WEIR_ELOCKED
 * (another sink writes there), WEIR_EINVAL, WEIR_EDAMAGED (nothing was changed), WEIR_EIO,
 * WEIR_EFULL. */
int weir_sink_open(const struct weir_sink_config *config, struct weir_sink **sink,
                   struct weir_error *error);
void weir_sink_destroy(struct weir_sink **self);
/* What the sink's machine starts with; *producers is the caller's to free. */
int weir_sink_recover(struct weir_sink *self, struct weir_producer_row **producers,
                      uint32_t *producer_count, uint64_t *next_sequence, struct weir_error *error);
/* The spools whose results it has; *spools is the caller's to free. */
int weir_sink_spools(struct weir_sink *self, struct weir_spool_row **spools, uint32_t *count,
                     struct weir_error *error);
/* As struct weir_hold_writer (hold/hold_store.h) asks. */
int weir_sink_hold(struct weir_sink *self, const struct weir_store_request *requests,
                   uint32_t count, uint32_t *duplicates, struct weir_error *error);

#endif
