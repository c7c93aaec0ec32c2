/* The keys of a group with `order: key` that have anything unfinished, and what of each is known:
 * a queue in the order of the sequences, of which only the front may be leased.
 *
 *   LEASED    out
 *   DEFERRED  a row that was attempted, or given back, and waits for its time or in the ready list
 *   PARKED    a row that waits for those ahead of it
 *   LISTED    in the log, not settled; waits for those ahead of it
 *
 * Where there is no room for that, a message that waits is in no queue (unlisted), and its key is
 * merely marked. Whatever lies below the group's `next`, is not settled and in no queue is
 * unlisted, so the log's index arrays tell it: once nothing goes ahead of what a key has unlisted
 * (the key is starving), a rescan goes from the lowest one that may be unlisted up to `next`. It
 * meets those of each key in their order, so the first it meets is the key's lowest. It leases it,
 * lists it, or leaves it, and then all behind it of that key.
 *
 *   rescan_from ........ rescan_at .................. next
 *   what was left here  | what is unlisted here      |
 *   is for another      | is still to be met         |
 *
 * A key with nothing unfinished is not kept. Delayed messages before their time and replayed ones
 * are in no queue.
 *
 * Most keys have one message that is out or deferred, and nothing listed behind it, or have only
 * unlisted ones. Such a key is its slot in the table, 16 bytes, so that there can be many of them;
 * only the others are a struct weir_key of their own. */
#ifndef WEIR_CORE_GROUP_KEYS_H
#define WEIR_CORE_GROUP_KEYS_H

#include <base/hash_table.h>
#include <base/heap.h>
#include <base/limits.h>
#include <stdbool.h>
#include <stdint.h>

enum weir_key_place { WEIR_KEY_LEASED, WEIR_KEY_DEFERRED, WEIR_KEY_PARKED, WEIR_KEY_LISTED };

struct weir_key_entry {
    uint64_t sequence;
    enum weir_key_place place;
};

struct weir_key {
    uint64_t hash;
    struct weir_key_entry *at; /* from `head`, ascending */
    uint32_t head, count, capacity;
    uint32_t taken;               /* how many from the front on went into `delivery` */
    uint64_t delivery;            /* the one being built, that its front went into; 0: none */
    uint64_t unlisted_from;       /* none that lies lower is unlisted; 0: none at all */
    bool left;                    /* the rescan under way has left one unlisted */
    struct weir_heap_node turn;   /* in `hungry`, at the sequence of its next that may go */
    struct weir_key *prev, *next; /* in `aside`, `starving` or `going` */
    enum {
        WEIR_KEY_QUIET,
        WEIR_KEY_HUNGRY, /* its front may go */
        WEIR_KEY_ASIDE,  /* the same, but not now */
        WEIR_KEY_STARVING,
        WEIR_KEY_GOING,
    } wants;
};

struct weir_key_slot {
    uint64_t hash;
    uint64_t content; /* group_keys.c; 0: the slot is empty */
};

struct weir_keys {
    struct weir_key_slot *slots; /* open addressing, linear probing */
    uint32_t slot_count;
    uint32_t count; /* of keys … */
    uint32_t large; /* … that are a struct */
    uint32_t listed;
    uint32_t empty;            /* keys that are a slot with nothing but unlisted ones */
    struct weir_heap hungry;   /* keys of which a LISTED or PARKED one may go, the lowest first */
    struct weir_key *aside;    /* those that were put aside */
    struct weir_key *starving; /* an unlisted one lies ahead of all that is known */
    struct weir_key *going;    /* in the delivery being built, number `delivery` */
    uint64_t delivery;
    uint64_t waiting;     /* LISTED, PARKED and unlisted */
    uint64_t unlisted;    /* of them */
    uint64_t rescan_from; /* none that lies lower is unlisted */
    uint64_t rescan_at;   /* where the rescan under way goes on; 0: there is none */
    uint64_t left;        /* messages that it left unlisted … */
    uint64_t left_from;   /* … from here on */
};

void weir_keys_fini(struct weir_keys *self);
/* Has the key anything unfinished? */
bool weir_keys_has(const struct weir_keys *self, uint64_t hash);
/* The key, if it is a struct; else NULL. It lives until the next call that changes the key, or
 * that begins another delivery. */
struct weir_key *weir_keys_find(const struct weir_keys *self, uint64_t hash);
/* May the message at `next`, or the key's lowest unlisted one, which a rescan has met, go into this
 * delivery? Nothing unfinished is ahead of it, or all that is went into the same. */
bool weir_keys_free(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                    uint64_t delivery);
/* May this message, which is in the queue, go? It is the front, or everything ahead of it goes out
 * in the delivery that is being built (0: none is). */
bool weir_keys_may_go(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                      uint64_t delivery);
/* Room for another key? */
bool weir_keys_room(const struct weir_keys *self);
/* Room to put a message that waits into this key's queue? */
bool weir_keys_may_wait(const struct weir_keys *self, uint64_t hash);
/* Put a message into its key's queue, or change its place there. A new key must have room unless
 * the message is known from elsewhere (recovery). `delivery`: with LEASED, the one being built,
 * when everything ahead of the message went into it; else 0. */
void weir_keys_set(struct weir_keys *self, uint64_t hash, uint64_t sequence,
                   enum weir_key_place place, uint64_t delivery);
/* It is done or dead. */
void weir_keys_drop(struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* The message, in the log and not settled, waits for those ahead of it: list it, or mark its key
 * when there is no room. It lies at `next`, was met by the rescan, or is out and comes back. */
void weir_keys_wait(struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* The i-th of the key's queue; NULL: it has no so many, or an unlisted one may lie ahead. */
const struct weir_key_entry *weir_key_entry(const struct weir_key *key, uint32_t i);
/* Another delivery is being built (0: none is): what went into the one before is merely out. */
void weir_keys_deliver(struct weir_keys *self, uint64_t delivery);
/* The key of which the lowest message may go that may go at all, and that message in *entry: the
 * front, or, LISTED, the one behind those that went into the delivery being built. Lowest first,
 * whatever its key: so what goes together lies together in the log. NULL: none may go. */
struct weir_key *weir_keys_next(const struct weir_keys *self, struct weir_key_entry *entry);
/* This key, which is the next, cannot go now; it is not looked at before weir_keys_again. */
void weir_keys_later(struct weir_keys *self, struct weir_key *key);
void weir_keys_again(struct weir_keys *self);
/* Whether the message is in its key's queue; where it stands in *place (may be NULL). */
bool weir_keys_at(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                  enum weir_key_place *place);
/* The message with the lowest sequence of each key, in no order: call with *i = 0 first. False: no
 * more. 0 in *first: none of the key's is known. */
bool weir_keys_each(const struct weir_keys *self, uint32_t *i, uint64_t *hash, uint64_t *first);

/* ---- unlisted messages ---- */

/* Does any key starve? */
bool weir_keys_starving(const struct weir_keys *self);
/* Is this message, which is below `next` and not settled, unlisted? */
bool weir_keys_unlisted(const struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* This message, its key's lowest unlisted one, has been put into the queue, or it has ended. */
void weir_keys_found(struct weir_keys *self, uint64_t hash, uint64_t sequence);
/* Begin a rescan. */
void weir_keys_rescan(struct weir_keys *self);
/* It has come up to `next`: unlisted is what it left, and nothing else. */
void weir_keys_rescanned(struct weir_keys *self);

#endif
