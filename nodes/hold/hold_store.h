/* The store of a holder (sink, dead-letter collector): HOLD requests on a thread of their own, all
 * that are waiting written together, so that many batches cost one sync. */
#ifndef WEIR_HOLD_STORE_H
#define WEIR_HOLD_STORE_H

#include <contract/backend.h>

/* What writing means for this holder. Called on the store's thread. */
struct weir_hold_writer {
    void *self;
    /* Write the requests, all or none; durable when it returns 0. duplicates[i] is how many
     * messages of request i were there already. WEIR_EFULL: nothing was written, and the same may
     * be asked again. Anything else is final. */
    int (*hold)(void *self, const struct weir_store_request *requests, uint32_t count,
                uint32_t *duplicates, struct weir_error *error);
    void (*destroy)(void *self);
};

/* Starts the thread. The store owns the writer from now on. NULL: no thread to be had. */
struct weir_store *weir_hold_store_new(const struct weir_hold_writer *writer,
                                       struct weir_error *error);

#endif
