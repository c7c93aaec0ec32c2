/* What every implementation of contract/store.h must do, as tests that run on any of them. */
#ifndef WEIR_TESTS_CONFORMANCE_H
#define WEIR_TESTS_CONFORMANCE_H

#include "ops.h"

#include <contract/backend.h>

/* An implementation under test. */
struct subject {
    /* Open what `close` (or nothing yet) left behind; fills `store` and `recovered`. */
    void (*open)(struct subject *self, uint64_t bytes_max);
    /* End it as a process would that is told to stop: all that was handed over is carried out. */
    void (*close)(struct subject *self);
    /* Let the store work, and take the next result. */
    void (*next)(struct subject *self, struct weir_store_result *result);
    /* Forget everything, so that the next open finds nothing. */
    void (*clear)(struct subject *self);
    uint64_t small_bytes_max; /* a `max` that a few hundred KiB of batches reach */
    struct weir_store *store;
    struct weir_recovered *recovered;
};

/* Runs the suite; returns the number of failed tests. */
int conformance_run(struct subject *subject);
int conformance_run_state(struct subject *subject); /* a part of it */
int conformance_set_up(void **state);
int conformance_tear_down(void **state);

/* Bytes that only this sequence has, so that a wrong offset cannot go unseen. */
struct weir_bytes pattern(uint64_t first, uint32_t salt, uint32_t size);
void assert_pattern(const struct weir_bytes *bytes, uint64_t first, uint32_t salt, uint32_t size);

/* Batches with known content. */
struct weir_store_request append_request(uint64_t id, uint64_t first, uint32_t count,
                                         uint32_t body_bytes);
void assert_record(const struct weir_record *record, uint64_t first, uint32_t count,
                   uint32_t body_bytes);
/* Submit one request and take its result, which must succeed. */
void perform(struct subject *subject, struct weir_store_request *request,
             struct weir_store_result *result);
/* As perform, for requests whose result holds nothing of interest. */
void perform_plain(struct subject *subject, struct weir_store_request *request);
void apply(struct subject *subject, const struct weir_op *ops, uint32_t count);
void reopen(struct subject *subject);
struct weir_store_request read_request(uint64_t id, uint64_t sequence, uint32_t bytes_max);
struct weir_store_request apply_request(uint64_t id, const struct weir_op *ops, uint32_t count);
struct weir_store_request trim_request(uint64_t id, uint64_t sequence);

#endif
