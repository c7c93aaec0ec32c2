/* The client side of the submit protocol: a window of numbered batches over one client port. Used
 * by the producer library, a worker's results and a ventilator's dead letters.
 *
 * A batch stays here until it is answered; it is sent again, in order and under its number, after a
 * reconnect, after BUSY, after REFUSED order, draining or storage (nothing is wrong with the batch
 * then), and after long silence. Any other REFUSED, and an ERROR that names its number, ends it. */
#ifndef WEIR_CORE_SUBMIT_H
#define WEIR_CORE_SUBMIT_H

#include <contract/host.h>
#include <wire/batch.h>
#include <wire/control.h>

struct weir_submit;

/* How one batch ended. */
struct weir_submitted {
    uint64_t number;
    void *arg;                             /* as given to weir_submit_send */
    int status;                            /* 0, or WEIR_EREFUSED */
    const struct weir_control *answer;     /* OK; else REFUSED or ERROR. Valid during the call */
    const struct weir_bytes *index, *body; /* of what was refused, as it was sent; likewise */
};

struct weir_submit_owner {
    void *self;
    /* In the order of the numbers. May send the next batch; must not destroy the submit. */
    void (*submitted)(void *self, const struct weir_submitted *submitted,
                      const struct weir_now *now);
    /* `why` turned a batch away for now (BUSY or REFUSED; valid during the call), or work goes on
     * (NULL): for messages to a person. May be NULL. */
    void (*busy)(void *self, const struct weir_control *why, const struct weir_now *now);
};

struct weir_submit *weir_submit_new(uint32_t port, const uint8_t producer[16], uint32_t window,
                                    const struct weir_submit_owner *owner,
                                    const struct weir_host *host);
/* Drops what is unanswered, without a word: the args are the owner's to look after. */
void weir_submit_destroy(struct weir_submit **self);
const uint8_t *weir_submit_producer(const struct weir_submit *self);

/* Room for another batch in the window? */
bool weir_submit_room(const struct weir_submit *self);
uint32_t weir_submit_outstanding(const struct weir_submit *self);
/* Whether a connection stands: not so for a holder that is away. */
bool weir_submit_linked(const struct weir_submit *self);
/* Finish the builder's batch under the next number and send it. There must be room. */
void weir_submit_send(struct weir_submit *self, struct weir_batch_builder *builder,
                      uint32_t extra_flags, void *arg, const struct weir_now *now);

/* MESSAGE, LINK_UP and LINK_DOWN of its port. */
void weir_submit_event(struct weir_submit *self, struct weir_event *event);
/* Repeats after BUSY, and after long silence on a standing link. Returns when to be called next. */
int64_t weir_submit_tick(struct weir_submit *self, const struct weir_now *now);

#endif
