/* The state of a spool, in memory: what state_sqlite.c keeps in a database. No I/O. */
#ifndef WEIR_STORE_MEMORY_STATE_H
#define WEIR_STORE_MEMORY_STATE_H

#include <contract/store.h>

struct weir_memory_state;

struct weir_memory_state *weir_memory_state_new(void);
void weir_memory_state_destroy(struct weir_memory_state **self);
/* Carry out all operations; what they own is copied or moved out, the rest stays the caller's. */
void weir_memory_state_apply(struct weir_memory_state *self, struct weir_op *ops, uint32_t count,
                             struct weir_store_result *result);
/* Fill rows, row_count and more. */
void weir_memory_state_query(const struct weir_memory_state *self,
                             const struct weir_store_request *request,
                             struct weir_store_result *result);
/* Fill everything but what the log knows; next_sequence is above what the state mentions. */
void weir_memory_state_recover(const struct weir_memory_state *self,
                               struct weir_recovered *recovered);
uint64_t weir_memory_state_absorbed(const struct weir_memory_state *self);
/* Bytes of the payloads it holds. */
uint64_t weir_memory_state_bytes(const struct weir_memory_state *self);

#endif
