/* What is told of messages that ended without being done or dead: lost, dropped. The newest ranges
 * are kept; of the rest only that they have ended. */
#ifndef WEIR_CORE_ENDED_H
#define WEIR_CORE_ENDED_H

#include <contract/store.h>

/* [first, last] ended so. What was said of any of them before stays. */
void weir_ended_add(struct weir_ended *self, uint64_t first, uint64_t last, enum weir_fate fate);
/* The range that holds the sequence; NULL: none. */
const struct weir_ended_range *weir_ended_find(const struct weir_ended *self, uint64_t sequence);
/* From now on nothing is told of what lies below. */
void weir_ended_forget(struct weir_ended *self, uint64_t below);

#endif
