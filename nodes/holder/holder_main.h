/* The main function of a holder (sink, dead-letter collector): open the store, take up what it
 * knows, run the holder's machine over it. A main reads as
 *
 *     return weir_holder_main(WEIR_ROLE_SINK, open_sink, argc, argv);
 */
#ifndef WEIR_HOLDER_MAIN_H
#define WEIR_HOLDER_MAIN_H

#include <hold/hold_store.h>
#include <runtime/node.h>

/* A store, and what it knew when it was opened. */
struct weir_holder_opened {
    struct weir_hold_writer writer;
    struct weir_producer_row *producers; /* owned */
    uint32_t producer_count;
    uint64_t next_sequence;
    struct weir_spool_row *spools; /* owned */
    uint32_t spool_count;
};

/* Open the node's store. Returns 0 or a WEIR_E…; nothing is open then. */
typedef int weir_holder_open(const struct weir_node *node, struct weir_holder_opened *opened,
                             struct weir_error *error);

/* Returns the exit status of the process. */
int weir_holder_main(enum weir_role_kind role, weir_holder_open *open, int argc, char **argv);

#endif
