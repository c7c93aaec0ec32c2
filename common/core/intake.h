/* The server side of the submit protocol: producers, the order of their numbers, repeats, and the
 * answers. Shared by the ventilator and the holders (sink, dlq), which say what accepting means.
 *
 * A producer's next number is the one after the last accepted, or what its PUT names as the oldest
 * it has no answer for (`first`), whichever is higher; for a producer not known here, that or 1.
 * Any other number that is not a repeat gets REFUSED order with the number expected. */
#ifndef WEIR_CORE_INTAKE_H
#define WEIR_CORE_INTAKE_H

#include <contract/host.h>
#include <wire/batch.h>
#include <wire/control.h>

struct weir_intake;

/* A batch that was checked and is next in its producer's order. */
struct weir_put {
    uint64_t ticket;                             /* names it until it is answered */
    struct weir_batch_header header;             /* points into header_frame */
    struct weir_bytes header_frame, index, body; /* owned by the put; may be moved out */
    /* For weir_intake_row: accept may say here what the OK will say. */
    uint64_t first;
    int64_t time_ms;
};

/* What accept says when it does not take a batch. */
struct weir_turned_away {
    uint64_t retry_ms;       /* for BUSY */
    const char *code;        /* for REFUSED: WEIR_CODE_… */
    struct weir_error error; /* the text of either */
};

struct weir_intake_owner {
    void *self;
    /* Take the batch: return 0, and call weir_intake_answer with its ticket once it is durable
     * (from within accept, too, when it is already); or WEIR_EBUSY or WEIR_EREFUSED with `away`
     * filled: its number then counts as not accepted. */
    int (*accept)(void *self, struct weir_put *put, struct weir_turned_away *away,
                  const struct weir_now *now);
    /* There are too many producers, and this one was silent for longest: nothing is known of it any
     * more. May be NULL. */
    void (*forgot)(void *self, const uint8_t *id);
};

struct weir_intake *weir_intake_new(uint32_t port, uint16_t tag, enum weir_fsync durability,
                                    const struct weir_intake_owner *owner,
                                    const struct weir_host *host);
void weir_intake_destroy(struct weir_intake **self);
/* A producer that storage remembers: at start. Later rows of one producer replace earlier ones. */
void weir_intake_remember(struct weir_intake *self, const struct weir_producer_row *row);
/* A batch found in the log above the absorbed position: as if accepted and answered. */
void weir_intake_replayed(struct weir_intake *self, const struct weir_batch_header *header,
                          uint64_t first, uint32_t count, int64_t time_ms);

/* A message on the submit port. That a peer is gone need not be said: nothing is kept for it, since
 * its producers are known by their own ids and may be on their way back. */
void weir_intake_event(struct weir_intake *self, struct weir_event *event);
/* The batch is durable: say OK to its producer, wherever that is connected now. `duplicates` may be
 * NULL. Tickets are answered in any order. */
void weir_intake_answer(struct weir_intake *self, uint64_t ticket, uint64_t first, uint32_t count,
                        int64_t time_ms, const struct weir_duplicate *duplicates,
                        uint32_t duplicate_count);
/* An accepted batch could not be stored after all, and nothing of it was (EFULL): its number counts
 * as not accepted again, and its producer is told BUSY. To be called for everything accepted behind
 * it, too. */
void weir_intake_withdraw(struct weir_intake *self, uint64_t ticket, uint64_t retry_ms,
                          const char *text);
/* The producer's row as of its newest answered batch with nothing unanswered ahead of it: what may
 * be stored apart from the batches, at any time; false: not known. */
bool weir_intake_producer(const struct weir_intake *self, const uint8_t id[WEIR_PRODUCER_BYTES],
                          struct weir_producer_row *row);
/* From within accept, when batch and row become durable together, in the order of acceptance: the
 * row as it will be with this batch and everything accepted before it. Needs `first` and `time_ms`
 * in every put. */
void weir_intake_row(const struct weir_intake *self, const struct weir_put *put,
                     struct weir_producer_row *row);
/* Forget producers silent since before. Returns how many. */
uint32_t weir_intake_expire(struct weir_intake *self, int64_t before_ms);
/* From now on everything is answered REFUSED with this code and text (draining, storage failed). */
void weir_intake_close(struct weir_intake *self, const char *code, const char *text);
/* Batches accepted and not answered yet. */
uint32_t weir_intake_outstanding(const struct weir_intake *self);
/* Counters, as pairs into a map that the caller has opened. */
uint32_t weir_intake_stats_count(void);
void weir_intake_stats(const struct weir_intake *self, struct weir_packer *packer);

#endif
