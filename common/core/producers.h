/* What a submit server keeps of its producers: how far each has come, the answers to its newest
 * batches, and which of its batches are on their way to the disk. Bounded: at most
 * WEIR_PRODUCERS_MAX, each with a window's worth of either. */
#ifndef WEIR_CORE_PRODUCERS_H
#define WEIR_CORE_PRODUCERS_H

#include <base/hash_table.h>
#include <contract/store.h>
#include <wire/control.h>

struct weir_intake_said { /* what an OK said */
    struct weir_producer_answer answer;
    struct weir_duplicate *duplicates; /* owned; NULL: none, or not in memory any more */
    uint32_t duplicate_count;
};

/* A batch that was accepted and is not answered yet. */
struct weir_intake_pending {
    UT_hash_handle hh;
    uint64_t ticket; /* the intake's name for it */
    struct weir_intake_producer *producer;
    struct weir_producer_answer said; /* first and time as far as accept told them */
};

struct weir_intake_producer {
    UT_hash_handle hh;
    struct weir_intake_producer *prev, *next;
    uint8_t id[WEIR_PRODUCER_BYTES];
    uint64_t peer;                                             /* where it was last heard */
    int64_t time_ms;                                           /* and when */
    uint64_t accepted;                                         /* newest number accepted */
    struct weir_intake_said answers[WEIR_PRODUCER_WINDOW_MAX]; /* by number, ascending */
    uint32_t answer_count;
    struct weir_intake_pending *pending[WEIR_PRODUCER_WINDOW_MAX]; /* by number, ascending */
    uint32_t pending_count;
};

struct weir_producers {
    struct weir_intake_producer *by_id;
    struct weir_intake_producer *by_silence; /* longest silent first, once sorted */
    bool unsorted;                           /* remembered ones stand in any order */
    uint32_t count;
    uint32_t duplicates_kept;
    uint64_t forgotten;
    /* There was no room for this one any more; may be NULL. */
    void (*forgot)(void *arg, const uint8_t *id);
    void *arg;
};

/* Nothing may be pending. */
void weir_producers_fini(struct weir_producers *self);
/* NULL: not known. */
struct weir_intake_producer *weir_producers_find(const struct weir_producers *self,
                                                 const uint8_t *id);
/* Make room for one more: the longest silent one of those that wait for nothing is forgotten.
 * False: all of them wait. */
bool weir_producers_room(struct weir_producers *self);
struct weir_intake_producer *weir_producers_add(struct weir_producers *self, const uint8_t *id,
                                                int64_t time_ms);
void weir_producers_drop(struct weir_producers *self, struct weir_intake_producer *producer);
/* It was heard, last of all. */
void weir_producers_touch(struct weir_producers *self, struct weir_intake_producer *producer,
                          int64_t time_ms);
/* Forget those silent since before. Returns how many. */
uint32_t weir_producers_expire(struct weir_producers *self, int64_t before_ms);

/* Keep an answer, for repeats; the lowest number gives way. */
void weir_producers_answered(struct weir_producers *self, struct weir_intake_producer *producer,
                             const struct weir_producer_answer *said,
                             const struct weir_duplicate *duplicates, uint32_t duplicate_count);
/* At start: a stored row, which replaces an earlier one; a batch found in the log. */
void weir_producers_remember(struct weir_producers *self, const struct weir_producer_row *row);
void weir_producers_replayed(struct weir_producers *self, const uint8_t *id,
                             const struct weir_producer_answer *said);

/* NULL: not kept (any more), not pending. */
const struct weir_intake_said *weir_intake_producer_answer(const struct weir_intake_producer *self,
                                                           uint64_t number);
struct weir_intake_pending *weir_intake_producer_pending(const struct weir_intake_producer *self,
                                                         uint64_t number);
/* Numbers ascend; there is room for one more. */
struct weir_intake_pending *weir_intake_pending_new(struct weir_intake_producer *producer,
                                                    uint64_t number, uint32_t count);
void weir_intake_pending_destroy(struct weir_intake_pending **self);

/* The row up to the newest answered batch with nothing pending ahead of it. */
void weir_intake_producer_settled_row(const struct weir_intake_producer *self,
                                      struct weir_producer_row *row);
/* The row as it will be once everything accepted is durable. */
void weir_intake_producer_accepted_row(const struct weir_intake_producer *self,
                                       struct weir_producer_row *row);

#endif
