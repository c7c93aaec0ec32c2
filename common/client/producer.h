/* Inside of a producer, for the two files that make it up: producer.c is what callers see,
 * producer_role.c drives the submit protocol on the reactor's thread. */
#ifndef WEIR_CLIENT_PRODUCER_H
#define WEIR_CLIENT_PRODUCER_H

#include <base/pace.h>
#include <core/submit.h>
#include <pthread.h>
#include <runtime/reactor.h>
#include <sys/queue.h>
#include <weir.h>

struct weir_producer_options {
    char *endpoint;
    uint32_t window;
    uint32_t batch_messages_max, batch_bytes_max;
    uint32_t queue_messages_max;
    uint64_t queue_bytes_max;
    enum weir_when_full when_full;
    int64_t timeout_ms;
};

/* So many batches on their way, and the next one is gathered until it is full. */
#define WEIR_PRODUCER_IN_FLIGHT_EAGER 2u

/* Whoever waits for one message in weir_producer_send. */
struct waiter {
    bool done;
    bool abandoned; /* nobody waits any more: whoever finishes it frees it */
    int status;
    struct weir_receipt receipt;
    struct weir_error error;
};

struct entry { /* one message of a batch */
    weir_confirm_fn *confirm;
    void *arg;
    struct waiter *waiter;
    uint32_t duplicate; /* 1 + its place in the batch's duplicates; 0: none */
};

/* A batch's way: open (the last one of `waiting`, to which messages are added) → waiting → in
 * flight → finished, if it has callbacks to run → gone. `all` has every one of them, oldest first.
 */
struct batch {
    TAILQ_ENTRY(batch)
    in_all;
    TAILQ_ENTRY(batch)
    in_line; /* of `waiting`, then of `finished` */
    uint64_t serial;
    struct weir_batch_builder *builder; /* until it leaves */
    char topic[WEIR_TOPIC_BYTES_MAX + 1];
    size_t topic_bytes;
    int64_t delay_ms, ttl_ms;
    bool full;
    bool called_back; /* any entry has a confirm */
    struct entry *entries;
    uint32_t count, capacity;
    uint32_t held_messages; /* of these, as far as they count against the queue's limits */
    uint64_t held_bytes;
    /* How it ended. */
    struct weir_error error; /* code 0: accepted */
    struct weir_id first;
    enum weir_fsync durability;
    struct weir_duplicate *duplicates;
};

TAILQ_HEAD(batches, batch);

struct weir_producer {
    struct weir_role role; /* first: the reactor knows the producer by it */
    struct weir_producer_options options;
    struct weir_reactor *reactor;
    pthread_t thread;
    int fd; /* readable while `finished` is not empty */

    /* The reactor's thread alone. */
    const struct weir_host *host;
    struct weir_submit *submit;

    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t changed; /* room, a batch gone, a waiter done */
    struct batches all, waiting, finished;
    uint64_t last_serial;
    uint32_t in_flight;    /* batches */
    bool woken;            /* the reactor will look at `waiting` … */
    int64_t held_until_ns; /* … by itself then, and a batch that is open waits for that; 0: none */
    struct weir_pace pace;
    uint64_t hurried; /* batches up to this one are waited for, and not held */
    uint32_t held_messages;
    uint64_t held_bytes;
    uint32_t unconfirmed;
    enum weir_link link;
    bool busy;
    struct weir_error turned_away; /* what it said when it was busy; code 0: nothing */
    struct weir_error refused;     /* the first one since the last flush */
};

/* Makes the submit machine; before the reactor runs. */
void weir_producer_role_init(struct weir_producer *self);
void weir_producer_role_fini(struct weir_producer *self);
/* Have the reactor look at `waiting`. Call with the mutex held. */
void weir_producer_wake(struct weir_producer *self);

/* It counts against the queue's limits no more. Call with the mutex held. */
void weir_producer_batch_release(struct weir_producer *self, struct batch *batch);
/* Take a batch out of `all`, and free it. Call with the mutex held. */
void weir_producer_batch_end(struct weir_producer *self, struct batch *batch);
/* What message `at` of an accepted batch got. */
void weir_producer_receipt(const struct batch *batch, uint32_t at, struct weir_receipt *receipt);

#endif
