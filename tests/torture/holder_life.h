/* A sink or a collector at work: batches of results or dead letters are held, some of them twice,
 * and the collector's are removed again. What the outside saw stands on the tape. */
#ifndef WEIR_TESTS_HOLDER_LIFE_H
#define WEIR_TESTS_HOLDER_LIFE_H

#include "tape.h"

#include <base/error.h>
#include <dlq/dlq_store.h>
#include <sink/sink_store.h>

enum holder_kind { HOLDER_LINES, HOLDER_ROWS, HOLDER_LETTERS, HOLDER_KINDS };

#define HOLDER_BATCHES 24u
#define HOLDER_PER_BATCH 4u
/* Neighbouring batches of a group share one message. */
#define HOLDER_MESSAGES (HOLDER_BATCHES * (HOLDER_PER_BATCH - 1u) + 2u)

enum holder_note {
    HOLDER_HELD = 1, /* number: of the batch */
    HOLDER_REMOVING, /* number: of the message; it may be gone from now on */
    HOLDER_REMOVED,  /* … and now it is */
};

struct holder_truth {
    bool held[HOLDER_BATCHES];
    bool removing[HOLDER_MESSAGES], removed[HOLDER_MESSAGES];
};

void holder_truth_step(struct holder_truth *self, const struct tape_entry *entry);

struct holder {
    enum holder_kind kind;
    const char *directory;
    char *path, *ledger_path;
    struct weir_sink *sink;
    struct weir_dlq_store *letters;
    struct weir_error error; /* of the last call that failed */
};

/* The files are in this directory. A WEIR_E… when it does not open. */
int holder_open(struct holder *self, enum holder_kind kind, const char *directory);
void holder_close(struct holder *self);
/* Hold these batches, three at a time; again, where the disk is full. Stops at the first failure.
 */
int holder_hold(struct holder *self, struct holder_truth *truth, uint32_t first, uint32_t last);
/* Remove every seventh message that is held, of these batches. Letters only. */
int holder_remove(struct holder *self, struct holder_truth *truth, uint32_t first, uint32_t last);
/* So many batches, with a restart in the middle. */
int holder_live(enum holder_kind kind, const char *directory, uint32_t batches,
                struct holder_truth *truth, struct weir_error *error);
/* Each message is there at most once, as it was; what was held and not removed is there. `all`: and
 * so is everything else that was not removed. Fails the test otherwise, saying `where`. */
void holder_check(struct holder *self, const struct holder_truth *truth, bool all,
                  const char *where);

#endif
