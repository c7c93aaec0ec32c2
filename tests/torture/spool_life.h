/* A ventilator over the real spool, at work: a producer hands batches over, a worker handles what
 * it gets, and a collector takes the dead letters. What the outside saw is a `truth`, which goes on
 * from one life of the ventilator to the next; it stands on the tape, too. */
#ifndef WEIR_TESTS_SPOOL_LIFE_H
#define WEIR_TESTS_SPOOL_LIFE_H

#include "stage.h"
#include "tape.h"

#define LIFE_BATCHES 10u
#define LIFE_PER_BATCH 5u
#define LIFE_MESSAGES (LIFE_BATCHES * LIFE_PER_BATCH)
#define LIFE_NUMBERS_MAX 256u
#define LIFE_GROUPS 2u

/* Notes on the tape. */
enum life_note {
    LIFE_NUMBERED = 1, /* number: the producer's; value: of the batch that it is given to */
    LIFE_REFUSED,      /* number: the producer's; it is not used again */
    LIFE_CONFIRMED,    /* number: the producer's; value: the batch's first sequence */
    LIFE_FAILED,       /* number: group and message */
    LIFE_DONE,         /* number: group and message; value: its name to a sink */
    LIFE_DEAD,         /* the same; the collector has it */
};

/* What the outside knows. A name is what a sink knows a message by, within its group: sequence and
 * death; 0: not there. */
struct truth {
    uint64_t first[LIFE_BATCHES + 1];    /* 0: not confirmed */
    uint32_t batch_of[LIFE_NUMBERS_MAX]; /* what the producer's number was given to; 0: not yet */
    bool answered[LIFE_NUMBERS_MAX];
    uint32_t numbers; /* the last one given */
    uint64_t done[LIFE_GROUPS][LIFE_MESSAGES];
    uint64_t dead[LIFE_GROUPS][LIFE_MESSAGES];
    bool failed[LIFE_GROUPS][LIFE_MESSAGES]; /* once, at least */
};

/* The truth after one more entry of a tape. */
void truth_step(struct truth *self, const struct tape_entry *entry);

struct weir_spool_config life_spool(const char *directory);
/* Start the ventilator, so long after the beginning, before a crowd that knows this much and goes
 * on learning. */
struct stage *life_start(const char *directory, struct truth *truth, int64_t after_ms);
/* Hand over what is not confirmed of the batches up to this one, two at a time, and work. */
void life_produce(struct stage *stage, struct truth *truth, uint32_t last);
/* Until nothing is left to do, and everything is as it must be: all that was confirmed is done or
 * dead in each group, nothing has two names. Fails the test otherwise, saying `where`. */
void life_drain(struct stage *stage, struct truth *truth, const char *where);
/* So many batches, with a clean end and a new start in the middle. Gives back the stage as it is at
 * the end, or when the ventilator does not open, or stops by itself (then its `stopped` is not -1).
 */
struct stage *life_live(const char *directory, struct truth *truth, uint32_t batches);

#endif
