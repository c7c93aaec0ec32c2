/* The keys of a group with `order: key` that have anything unfinished, and what of each is known:
 * a queue in the order of the sequences, of which only the front may be leased.
 *
 *   LEASED    out
 *   DEFERRED  a row that was attempted, or given back, and waits for its time or in the ready list
 *   PARKED    a row that waits for those ahead of it
 *   LISTED    in the log, not settled; waits for those ahead of it
 *
 * When the lists have no room, messages behind are only counted (`unlisted`): from `rescan_from`
 * on they are found again through the log's index arrays, once the queue is empty (`starving`).
 * A key with nothing unfinished is not kept. Delayed messages before their time and replayed ones
 * are in no queue. */
#ifndef WEIR_CORE_GROUP_KEYS_H
#define WEIR_CORE_GROUP_KEYS_H

#include <base/hash_table.h>
#include <base/limits.h>
#include <stdbool.h>
#include <stdint.h>

enum weir_key_place { WEIR_KEY_LEASED, WEIR_KEY_DEFERRED, WEIR_KEY_PARKED, WEIR_KEY_LISTED };

struct weir_key_entry {
    uint64_t sequence;
    enum weir_key_place place;
};

struct weir_key {
    UT_hash_handle hh;
    uint64_t hash;
    struct weir_key_entry *at; /* from `head`, ascending */
    uint32_t head, count, capacity;
    uint64_t unlisted;
    uint64_t rescan_from;
    uint64_t delivery;            /* the one being built, that its front went into; 0: none */
    uint32_t taken;               /* how many from the front on went into it */
    uint64_t stuck;               /* the rescan in which one had to stay unlisted */
    struct weir_key *prev, *next; /* in `hungry` or `starving` */
    enum { WEIR_KEY_QUIET, WEIR_KEY_HUNGRY, WEIR_KEY_STARVING } wants;
};

struct weir_keys {
    struct weir_key *table;
    struct weir_key *hungry;   /* the front is LISTED or PARKED: it may go */
    struct weir_key *starving; /* the queue is empty, but there are unlisted ones */
    uint32_t count;
    uint32_t listed;
    uint64_t waiting; /* LISTED, PARKED and unlisted */
};

void weir_keys_fini(struct weir_keys *self);
struct weir_key *weir_keys_find(const struct weir_keys *self, uint64_t hash);
/* May the next message of this key, behind all that is known of it, go into this delivery? */
bool weir_keys_free(const struct weir_keys *self, uint64_t hash, uint64_t delivery);
/* May this message, which is in the queue, go? It is the front, or everything ahead of it goes out
 * in the delivery that is being built (0: none is). */
bool weir_keys_may_go(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                      uint64_t delivery);
/* Room for another key? */
bool weir_keys_room(const struct weir_keys *self);
/* Put a message into its key's queue, or change its place there. A new key must have room unless
 * the message is known from elsewhere (recovery). `delivery`: with LEASED, the one being built,
 * when everything ahead of the message went into it; else 0. */
void weir_keys_set(struct weir_keys *self, uint64_t hash, uint64_t sequence,
                   enum weir_key_place place, uint64_t delivery);
/* It is done or dead. */
void weir_keys_drop(struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* The key has something ahead: list the message, or merely count it when there is no room. */
void weir_keys_wait(struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* The i-th of the key's queue; NULL: it has no so many. */
const struct weir_key_entry *weir_key_entry(const struct weir_key *key, uint32_t i);
/* Let other hungry keys go first. */
void weir_keys_later(struct weir_keys *self, struct weir_key *key);
/* The front of the key's queue; NULL: it is empty. */
const struct weir_key_entry *weir_key_front(const struct weir_key *key);
/* Where it stands; NULL: it is not in the queue. */
const struct weir_key_entry *weir_keys_at(const struct weir_keys *self, uint64_t hash,
                                          uint64_t sequence);
/* An unlisted message was found again: take it off that account. It is set next, unless it `ended`.
 */
void weir_keys_found(struct weir_keys *self, struct weir_key *key, uint64_t sequence, bool ended);
/* A rescan from `from` on has come to its end: what a starving key still counts is not there. */
void weir_keys_rescanned(struct weir_keys *self, uint64_t from, uint64_t rescan);
/* The lowest sequence from which a starving key is to be looked for; UINT64_MAX: none starves. */
uint64_t weir_keys_rescan_from(const struct weir_keys *self);

#endif
