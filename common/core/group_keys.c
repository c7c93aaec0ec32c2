#include <base/alloc.h>
#include <base/error.h>
#include <core/group_keys.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- the table. A slot's content is a struct's address, or, with bit 0 set, the key's only
 * message: its sequence from bit 2 on, and in bit 1 whether it is DEFERRED or LEASED. ---- */

#define SMALL 1u
#define SMALL_DEFERRED 2u
#define SMALL_SEQUENCE_SHIFT 2
#define SLOTS_MIN 64u

_Static_assert(_Alignof(struct weir_key) > SMALL, "an address leaves bit 0 free");

static bool is_small(const struct weir_key_slot *slot)
{
    return slot->content & SMALL;
}

static uint64_t small_sequence(const struct weir_key_slot *slot)
{
    return slot->content >> SMALL_SEQUENCE_SHIFT;
}

static enum weir_key_place small_place(const struct weir_key_slot *slot)
{
    return slot->content & SMALL_DEFERRED ? WEIR_KEY_DEFERRED : WEIR_KEY_LEASED;
}

static struct weir_key *key_of(const struct weir_key_slot *slot)
{
    return (struct weir_key *)(uintptr_t)slot->content;
}

static uint32_t slot_home(uint64_t hash, uint32_t slot_count)
{
    const uint64_t mixed = hash * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(((mixed >> 32) * slot_count) >> 32);
}

/* Where the key is, or would be put. */
static uint32_t slot_at(const struct weir_keys *self, uint64_t hash)
{
    uint32_t at = slot_home(hash, self->slot_count);
    while (self->slots[at].content && self->slots[at].hash != hash)
        at = at + 1 < self->slot_count ? at + 1 : 0;
    return at;
}

static struct weir_key_slot *slot_find(const struct weir_keys *self, uint64_t hash)
{
    if (self->count == 0)
        return NULL;
    struct weir_key_slot *slot = &self->slots[slot_at(self, hash)];
    return slot->content ? slot : NULL;
}

static void resize(struct weir_keys *self, uint32_t slot_count)
{
    struct weir_key_slot *old = self->slots;
    const uint32_t count = self->slot_count;
    self->slot_count = slot_count;
    self->slots = weir_zalloc(slot_count, sizeof *self->slots);
    for (uint32_t i = 0; i < count; i++)
        if (old[i].content)
            self->slots[slot_at(self, old[i].hash)] = old[i];
    free(old);
}

/* A slot for a new key; the caller fills its content. At most four fifths are in use, and what is
 * grown to is half as much again: 20 to 30 bytes a key. */
static struct weir_key_slot *slot_add(struct weir_keys *self, uint64_t hash)
{
    if (self->slot_count == 0)
        resize(self, SLOTS_MIN);
    else if (self->count >= self->slot_count / 5 * 4)
        resize(self, self->slot_count + self->slot_count / 2);
    struct weir_key_slot *slot = &self->slots[slot_at(self, hash)];
    slot->hash = hash;
    self->count++;
    return slot;
}

/* What was pushed on by the one that goes moves up, so that no search ends too early. */
static void slot_remove(struct weir_keys *self, struct weir_key_slot *slot)
{
    uint32_t gap = (uint32_t)(slot - self->slots), at = gap;
    for (;;) {
        at = at + 1 < self->slot_count ? at + 1 : 0;
        if (self->slots[at].content == 0)
            break;
        const uint32_t home = slot_home(self->slots[at].hash, self->slot_count);
        const bool stays = gap < at ? gap < home && home <= at : gap < home || home <= at;
        if (stays)
            continue;
        self->slots[gap] = self->slots[at];
        gap = at;
    }
    self->slots[gap] = (struct weir_key_slot){0};
    if (--self->count < self->slot_count / 8 && self->slot_count > SLOTS_MIN)
        resize(self, self->slot_count / 2); /* what many keys once needed is not kept */
}

void weir_keys_fini(struct weir_keys *self)
{
    for (uint32_t i = 0; i < self->slot_count; i++) {
        if (self->slots[i].content == 0 || is_small(&self->slots[i]))
            continue;
        free(key_of(&self->slots[i])->at);
        free(key_of(&self->slots[i]));
    }
    free(self->slots);
    *self = (struct weir_keys){0};
}

bool weir_keys_each(const struct weir_keys *self, uint32_t *i, uint64_t *hash, uint64_t *first)
{
    for (; *i < self->slot_count; (*i)++) {
        const struct weir_key_slot *slot = &self->slots[*i];
        if (slot->content == 0)
            continue;
        const struct weir_key_entry *front = is_small(slot) ? NULL : weir_key_front(key_of(slot));
        *hash = slot->hash;
        *first = is_small(slot) ? small_sequence(slot) : front ? front->sequence : 0;
        (*i)++;
        return true;
    }
    return false;
}

bool weir_keys_has(const struct weir_keys *self, uint64_t hash)
{
    return slot_find(self, hash) != NULL;
}

struct weir_key *weir_keys_find(const struct weir_keys *self, uint64_t hash)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    return slot && !is_small(slot) ? key_of(slot) : NULL;
}

bool weir_keys_room(const struct weir_keys *self)
{
    return self->count < WEIR_BLOCKED_KEYS_MAX;
}

bool weir_keys_may_wait(const struct weir_keys *self, uint64_t hash)
{
    return self->large < WEIR_LARGE_KEYS_MAX || weir_keys_find(self, hash);
}

bool weir_keys_free(const struct weir_keys *self, uint64_t hash, uint64_t delivery)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return weir_keys_room(self);
    if (is_small(slot))
        return false;
    const struct weir_key *key = key_of(slot);
    return key->delivery == delivery && key->taken == key->count && key->unlisted == 0;
}

/* ---- what a key wants ---- */

static struct weir_key **list_of(struct weir_keys *self, const struct weir_key *key)
{
    switch (key->wants) {
    case WEIR_KEY_HUNGRY:
        return &self->hungry;
    case WEIR_KEY_STARVING:
        return &self->starving;
    case WEIR_KEY_GOING:
        return &self->going;
    default:
        return NULL;
    }
}

static void leave(struct weir_keys *self, struct weir_key *key)
{
    struct weir_key **list = list_of(self, key);
    if (list)
        DL_DELETE(*list, key);
    key->wants = WEIR_KEY_QUIET;
}

static int wants(const struct weir_keys *self, const struct weir_key *key)
{
    const struct weir_key_entry *front = weir_key_front(key);
    if (!front)
        return WEIR_KEY_STARVING;
    if (front->place == WEIR_KEY_LISTED || front->place == WEIR_KEY_PARKED)
        return WEIR_KEY_HUNGRY;
    return key->delivery && key->delivery == self->delivery ? WEIR_KEY_GOING : WEIR_KEY_QUIET;
}

/* After a change: the key goes where it belongs now, becomes a mere slot, or is gone. */
static void review(struct weir_keys *self, struct weir_key *key)
{
    const struct weir_key_entry *front = weir_key_front(key);
    const int now = wants(self, key);
    if (key->unlisted == 0 && (!front || (now == WEIR_KEY_QUIET && key->count == 1 &&
                                          front->sequence <= UINT64_MAX >> SMALL_SEQUENCE_SHIFT))) {
        struct weir_key_slot *slot = slot_find(self, key->hash);
        leave(self, key);
        if (front)
            slot->content = front->sequence << SMALL_SEQUENCE_SHIFT |
                            (front->place == WEIR_KEY_DEFERRED ? SMALL_DEFERRED : 0) | SMALL;
        else
            slot_remove(self, slot);
        self->large--;
        free(key->at);
        free(key);
        return;
    }
    if (now == (int)key->wants)
        return;
    leave(self, key);
    key->wants = now;
    struct weir_key **list = list_of(self, key);
    if (list)
        DL_APPEND(*list, key);
}

/* Another delivery is being built: what went into the one before is merely out. */
static void begin_delivery(struct weir_keys *self, uint64_t delivery)
{
    struct weir_key *key, *next;
    self->delivery = delivery;
    DL_FOREACH_SAFE(self->going, key, next)
    review(self, key);
}

/* ---- the queue ---- */

static struct weir_key_entry *entry_at(const struct weir_key *key, uint32_t i)
{
    return &key->at[key->head + i];
}

/* The place of the first entry at or above the sequence. */
static uint32_t entry_find(const struct weir_key *key, uint64_t sequence)
{
    if (key->count == 0 || entry_at(key, key->count - 1)->sequence < sequence)
        return key->count;
    uint32_t low = 0, high = key->count - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (entry_at(key, middle)->sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void account(struct weir_keys *self, enum weir_key_place place, bool add)
{
    const uint32_t listed = place == WEIR_KEY_LISTED;
    const uint32_t waiting = place == WEIR_KEY_LISTED || place == WEIR_KEY_PARKED;
    self->listed += add ? listed : -listed;
    if (add)
        self->waiting += waiting;
    else
        self->waiting -= waiting;
}

static struct weir_key_entry *entry_insert(struct weir_key *key, uint32_t i)
{
    if (key->head + key->count == key->capacity && key->head > key->capacity / 2) {
        memmove(key->at, entry_at(key, 0), key->count * sizeof *key->at);
        key->head = 0;
    }
    if (key->head + key->count == key->capacity) {
        key->capacity = key->capacity ? 2 * key->capacity : 1;
        key->at = weir_realloc(key->at, key->capacity, sizeof *key->at);
    }
    memmove(entry_at(key, i) + 1, entry_at(key, i), (key->count - i) * sizeof *key->at);
    key->count++;
    return entry_at(key, i);
}

/* The key as a struct, made when it is new or was a mere slot. */
static struct weir_key *key_get(struct weir_keys *self, uint64_t hash)
{
    struct weir_key_slot *slot = slot_find(self, hash);
    if (slot && !is_small(slot))
        return key_of(slot);
    struct weir_key *key = weir_zalloc(1, sizeof *key);
    key->hash = hash;
    if (slot)
        *entry_insert(key, 0) = (struct weir_key_entry){small_sequence(slot), small_place(slot)};
    else
        slot = slot_add(self, hash);
    slot->content = (uintptr_t)key;
    self->large++;
    return key;
}

void weir_keys_set(struct weir_keys *self, uint64_t hash, uint64_t sequence,
                   enum weir_key_place place, uint64_t delivery)
{
    if (delivery && delivery != self->delivery)
        begin_delivery(self, delivery);
    struct weir_key *key = key_get(self, hash);
    const uint32_t i = entry_find(key, sequence);
    struct weir_key_entry *entry = entry_at(key, i);
    if (i < key->count && entry->sequence == sequence)
        account(self, entry->place, false);
    else
        entry = entry_insert(key, i);
    *entry = (struct weir_key_entry){sequence, place};
    account(self, place, true);
    if (place != WEIR_KEY_LEASED || delivery == 0) {
        key->delivery = 0;
    } else if (key->delivery == delivery) {
        key->taken++;
    } else {
        key->delivery = delivery;
        key->taken = 1;
    }
    review(self, key);
}

void weir_keys_drop(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return;
    if (is_small(slot)) {
        if (small_sequence(slot) == sequence)
            slot_remove(self, slot);
        return;
    }
    struct weir_key *key = key_of(slot);
    const uint32_t i = entry_find(key, sequence);
    if (i == key->count || entry_at(key, i)->sequence != sequence)
        return;
    account(self, entry_at(key, i)->place, false);
    if (i == 0)
        key->head++;
    else
        memmove(entry_at(key, i), entry_at(key, i) + 1, (key->count - i - 1) * sizeof *key->at);
    key->count--;
    key->delivery = 0;
    review(self, key);
}

void weir_keys_wait(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    struct weir_key *key = key_get(self, hash);
    if (key->unlisted == 0 && self->listed < WEIR_PARKED_MAX) {
        weir_keys_set(self, hash, sequence, WEIR_KEY_LISTED, 0);
        return;
    }
    if (key->unlisted++ == 0)
        key->rescan_from = sequence;
    self->waiting++;
    key->delivery = 0;
    review(self, key);
}

const struct weir_key_entry *weir_key_entry(const struct weir_key *key, uint32_t i)
{
    return i < key->count ? entry_at(key, i) : NULL;
}

void weir_keys_later(struct weir_keys *self, struct weir_key *key)
{
    WEIR_ASSERT(key->wants == WEIR_KEY_HUNGRY);
    DL_DELETE(self->hungry, key);
    DL_APPEND(self->hungry, key);
}

const struct weir_key_entry *weir_key_front(const struct weir_key *key)
{
    return key->count ? entry_at(key, 0) : NULL;
}

bool weir_keys_at(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                  enum weir_key_place *place)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return false;
    if (is_small(slot)) {
        if (small_sequence(slot) == sequence && place)
            *place = small_place(slot);
        return small_sequence(slot) == sequence;
    }
    const struct weir_key *key = key_of(slot);
    const uint32_t i = entry_find(key, sequence);
    if (i == key->count || entry_at(key, i)->sequence != sequence)
        return false;
    if (place)
        *place = entry_at(key, i)->place;
    return true;
}

bool weir_keys_may_go(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                      uint64_t delivery)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return false;
    if (is_small(slot))
        return small_sequence(slot) == sequence;
    const struct weir_key *key = key_of(slot);
    if (key->count == 0)
        return false;
    if (entry_at(key, 0)->sequence == sequence)
        return true;
    return delivery && key->delivery == delivery && key->taken < key->count &&
           entry_at(key, key->taken)->sequence == sequence;
}

void weir_keys_found(struct weir_keys *self, struct weir_key *key, uint64_t sequence, bool ended)
{
    WEIR_ASSERT(key->unlisted > 0);
    key->unlisted--;
    key->rescan_from = sequence + 1;
    self->waiting--;
    if (ended)
        review(self, key);
}

uint64_t weir_keys_rescan_from(const struct weir_keys *self)
{
    uint64_t from = UINT64_MAX;
    const struct weir_key *key;
    DL_FOREACH (self->starving, key)
        if (key->rescan_from < from)
            from = key->rescan_from;
    return from;
}

void weir_keys_rescanned(struct weir_keys *self, uint64_t from, uint64_t rescan)
{
    struct weir_key *key, *next;
    DL_FOREACH_SAFE(self->starving, key, next)
    {
        if (key->rescan_from < from || key->stuck == rescan)
            continue;
        self->waiting -= key->unlisted;
        key->unlisted = 0;
        review(self, key);
    }
}
