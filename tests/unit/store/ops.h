/* The operations of a state's transactions, with a value in every field. Whoever applies one owns
 * what it holds. */
#ifndef WEIR_TESTS_OPS_H
#define WEIR_TESTS_OPS_H

#include <contract/store.h>

/* Its topics are "user.<name>" and "order.*". */
struct weir_op group_op(uint32_t number, const char *name, enum weir_order order);
/* Without a payload. */
struct weir_op row_op(uint32_t group, uint64_t sequence, enum weir_row_state state, int64_t due_ms);
/* The row's, with this body. */
struct weir_op with_payload(struct weir_op op, const char *text);
struct weir_op row_drop_op(uint32_t group, uint64_t sequence);
/* All its bytes are this one. */
struct weir_op chunk_op(uint32_t group, uint64_t chunk, uint8_t fill_byte);
/* All bytes of its id are `name`. */
struct weir_op producer_op(uint8_t name, uint64_t number, int64_t time_ms);
/* All bytes of its hash are `name`. */
struct weir_op idem_op(uint8_t name, uint64_t sequence);
struct weir_op absorbed_op(uint64_t sequence);

#endif
