/* A holder in this process, on a thread of its own and a port of its own: the real machine and the
 * real reactor over a store that keeps what it is given in memory. */
#ifndef WEIR_HOLDER_FIXTURE_H
#define WEIR_HOLDER_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

struct holder;

/* Bind `endpoint` ("tcp://127.0.0.1:*" for any free port). */
struct holder *holder_new(const char *endpoint);
/* Drains it, ends it. */
void holder_destroy(struct holder **self);
const char *holder_endpoint(const struct holder *self);

/* Let batches wait at the store, or go on. */
void holder_hold_back(struct holder *self, bool hold_back);
/* Let its disk be full, or have room. */
void holder_fill(struct holder *self, bool full);
/* Wait until so many batches are waiting at the store. */
void holder_await_waiting(struct holder *self, uint32_t batches);

/* What was held, in order. */
uint32_t holder_message_count(struct holder *self);
uint32_t holder_batch_count(struct holder *self);
/* "topic/key/payload" of the message at that place; the caller's to free. */
char *holder_message(struct holder *self, uint32_t at);

#endif
