/* The idempotency keys of the newest messages, as hashes: a window bounded in time and in count.
 * Beyond it a repeat is a new message. */
#ifndef WEIR_CORE_IDEMPOTENCY_H
#define WEIR_CORE_IDEMPOTENCY_H

#include <contract/store.h>

struct weir_idempotency {
    struct weir_idem_row *ring; /* oldest first, from `head` */
    size_t head, count, capacity;
    uint32_t *slots; /* open addressing; place in the ring + 1; 0: empty */
    size_t slot_count;
    uint32_t count_max;
    uint64_t forgotten; /* because of count_max, before their time */
    bool trimmed;       /* old ones went: for who keeps the same window elsewhere, and resets it */
};

void weir_idempotency_init(struct weir_idempotency *self, uint32_t count_max);
void weir_idempotency_fini(struct weir_idempotency *self);
const struct weir_idem_row *weir_idempotency_find(const struct weir_idempotency *self,
                                                  const uint8_t hash[WEIR_HASH_BYTES]);
/* Sequences ascend: one below the newest is left out. A key that is known already is not added.
 * When the window is full the oldest one gives way. */
void weir_idempotency_add(struct weir_idempotency *self, const struct weir_idem_row *row);
/* Take back those at or above this sequence: their messages were not stored. */
void weir_idempotency_withdraw(struct weir_idempotency *self, uint64_t sequence);
/* Forget those accepted before. */
void weir_idempotency_expire(struct weir_idempotency *self, int64_t before_ms);
/* The lowest sequence in the window; UINT64_MAX when it is empty. */
uint64_t weir_idempotency_lowest(const struct weir_idempotency *self);

#endif
