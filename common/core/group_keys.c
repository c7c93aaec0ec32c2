#include <base/alloc.h>
#include <base/error.h>
#include <core/group_keys.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- the table. A slot's content is a struct's address, or, with bit 0 set, all there is to know
 * of the key: the sequence of the only message in its queue from bit 4 on (0: there is none),
 * whether that is DEFERRED or LEASED, whether unlisted ones lie behind it, and whether the rescan
 * has left one of them. ---- */

#define SMALL 1u
#define SMALL_DEFERRED 2u
#define SMALL_UNLISTED 4u
#define SMALL_LEFT 8u
#define SMALL_SEQUENCE_SHIFT 4
#define SMALL_SEQUENCE_MAX (UINT64_MAX >> SMALL_SEQUENCE_SHIFT)
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
static void slot_erase(struct weir_keys *self, uint32_t gap)
{
    uint32_t at = gap;
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
    self->count--;
}

/* What many keys once needed is not kept. */
static void shrink(struct weir_keys *self)
{
    uint32_t slot_count = self->slot_count;
    while (self->count < slot_count / 8 && slot_count > SLOTS_MIN)
        slot_count /= 2;
    if (slot_count < self->slot_count)
        resize(self, slot_count);
}

static void slot_remove(struct weir_keys *self, struct weir_key_slot *slot)
{
    slot_erase(self, (uint32_t)(slot - self->slots));
    shrink(self);
}

/* The key has nothing in its queue: it is gone, unless it has unlisted ones. */
static void slot_empty(struct weir_keys *self, struct weir_key_slot *slot, bool unlisted, bool left)
{
    if (!unlisted) {
        slot_remove(self, slot);
        return;
    }
    slot->content = SMALL | SMALL_UNLISTED | (left ? SMALL_LEFT : 0);
    self->empty++;
}

void weir_keys_fini(struct weir_keys *self)
{
    weir_heap_fini(&self->hungry);
    for (uint32_t i = 0; i < self->slot_count; i++) {
        if (self->slots[i].content == 0 || is_small(&self->slots[i]))
            continue;
        free(key_of(&self->slots[i])->at);
        free(key_of(&self->slots[i]));
    }
    free(self->slots);
    *self = (struct weir_keys){0};
}

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

bool weir_keys_each(const struct weir_keys *self, uint32_t *i, uint64_t *hash, uint64_t *first)
{
    for (; *i < self->slot_count; (*i)++) {
        const struct weir_key_slot *slot = &self->slots[*i];
        if (slot->content == 0)
            continue;
        *hash = slot->hash;
        *first = is_small(slot)            ? small_sequence(slot)
                 : key_of(slot)->count > 0 ? entry_at(key_of(slot), 0)->sequence
                                           : 0;
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
    const struct weir_key_slot *slot = slot_find(self, hash);
    if (slot && !is_small(slot))
        return true;
    return self->large < WEIR_LARGE_KEYS_MAX && (slot || weir_keys_room(self));
}

/* ---- what lies ahead ---- */

/* No unlisted message of the key lies lower; 0: it has none at all. */
static uint64_t unlisted_from(const struct weir_key_slot *slot)
{
    if (!is_small(slot))
        return key_of(slot)->unlisted_from;
    return slot->content & SMALL_UNLISTED ? small_sequence(slot) + 1 : 0;
}

static bool is_left(const struct weir_key_slot *slot)
{
    return is_small(slot) ? slot->content & SMALL_LEFT : key_of(slot)->left;
}

/* May an unlisted one lie ahead? What the rescan has come past it has either left or found. */
static bool unlisted_ahead(const struct weir_keys *self, const struct weir_key_slot *slot,
                           uint64_t sequence)
{
    const uint64_t from = unlisted_from(slot);
    const bool passed = self->rescan_at && sequence <= self->rescan_at && !is_left(slot);
    return from > 0 && from < sequence && !passed;
}

bool weir_keys_free(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                    uint64_t delivery)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return weir_keys_room(self);
    if (unlisted_ahead(self, slot, sequence))
        return false;
    if (is_small(slot)) /* what is known may lie behind it, after a restart */
        return small_sequence(slot) == 0 || sequence < small_sequence(slot);
    const struct weir_key *key = key_of(slot);
    const uint32_t ahead = entry_find(key, sequence);
    return ahead == 0 || (key->delivery == delivery && ahead <= key->taken);
}

const struct weir_key_entry *weir_key_entry(const struct weir_key *key, uint32_t i)
{
    if (i >= key->count)
        return NULL;
    const struct weir_key_entry *entry = entry_at(key, i);
    const bool hidden = key->unlisted_from && key->unlisted_from < entry->sequence;
    return hidden ? NULL : entry;
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
    const struct weir_key_entry *front = weir_key_entry(key, 0);
    if (front && front->sequence == sequence)
        return true;
    const struct weir_key_entry *next = weir_key_entry(key, key->taken);
    return delivery && key->delivery == delivery && next && next->sequence == sequence;
}

/* ---- what a key wants ---- */

static struct weir_key **list_of(struct weir_keys *self, const struct weir_key *key)
{
    switch (key->wants) {
    case WEIR_KEY_ASIDE:
        return &self->aside;
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

static bool is_going(const struct weir_keys *self, const struct weir_key *key)
{
    return key->delivery && key->delivery == self->delivery;
}

static int wants(const struct weir_keys *self, const struct weir_key *key)
{
    const struct weir_key_entry *front = weir_key_entry(key, 0);
    if (!front)
        return WEIR_KEY_STARVING;
    if (front->place == WEIR_KEY_LISTED || front->place == WEIR_KEY_PARKED)
        return WEIR_KEY_HUNGRY;
    return is_going(self, key) ? WEIR_KEY_GOING : WEIR_KEY_QUIET;
}

/* The key's next message, if it may go. */
static const struct weir_key_entry *next_of(const struct weir_key *key)
{
    if (key->wants == WEIR_KEY_HUNGRY)
        return weir_key_entry(key, 0);
    const struct weir_key_entry *entry =
        key->wants == WEIR_KEY_GOING ? weir_key_entry(key, key->taken) : NULL;
    return entry && entry->place == WEIR_KEY_LISTED ? entry : NULL;
}

/* The key becomes a mere slot, or is gone. */
static void demote(struct weir_keys *self, struct weir_key *key)
{
    struct weir_key_slot *slot = slot_find(self, key->hash);
    leave(self, key);
    weir_heap_remove(&self->hungry, &key->turn);
    if (key->count == 0) {
        slot_empty(self, slot, key->unlisted_from != 0, key->left);
    } else {
        const struct weir_key_entry *only = entry_at(key, 0);
        slot->content = only->sequence << SMALL_SEQUENCE_SHIFT | SMALL |
                        (only->place == WEIR_KEY_DEFERRED ? SMALL_DEFERRED : 0) |
                        (key->unlisted_from ? SMALL_UNLISTED : 0) | (key->left ? SMALL_LEFT : 0);
    }
    self->large--;
    free(key->at);
    free(key);
}

/* After a change: the key goes where it belongs now. */
static void review(struct weir_keys *self, struct weir_key *key)
{
    const int now = wants(self, key);
    if (key->count == 0 || (key->count == 1 && now == WEIR_KEY_QUIET &&
                            entry_at(key, 0)->sequence <= SMALL_SEQUENCE_MAX)) {
        demote(self, key);
        return;
    }
    if (now != (int)key->wants) {
        leave(self, key);
        key->wants = now;
        struct weir_key **list = list_of(self, key);
        if (list)
            DL_APPEND(*list, key);
    }
    const struct weir_key_entry *next = next_of(key);
    if (next)
        weir_heap_set(&self->hungry, &key->turn, (int64_t)next->sequence);
    else
        weir_heap_remove(&self->hungry, &key->turn);
}

static void review_all(struct weir_keys *self, struct weir_key *list)
{
    struct weir_key *key, *next;
    DL_FOREACH_SAFE(list, key, next)
    review(self, key);
}

void weir_keys_deliver(struct weir_keys *self, uint64_t delivery)
{
    if (delivery == self->delivery)
        return;
    self->delivery = delivery;
    review_all(self, self->going);
}

struct weir_key *weir_keys_next(const struct weir_keys *self, struct weir_key_entry *entry)
{
    struct weir_heap_node *first = weir_heap_first(&self->hungry);
    if (!first)
        return NULL;
    struct weir_key *key = WEIR_CONTAINER_OF(first, struct weir_key, turn);
    *entry = *next_of(key);
    return key;
}

/* A key that is going is reviewed with the next delivery anyway. */
void weir_keys_later(struct weir_keys *self, struct weir_key *key)
{
    weir_heap_remove(&self->hungry, &key->turn);
    if (key->wants != WEIR_KEY_HUNGRY)
        return;
    key->wants = WEIR_KEY_ASIDE;
    DL_APPEND(self->aside, key);
}

void weir_keys_again(struct weir_keys *self)
{
    review_all(self, self->aside);
}

/* ---- the queue ---- */

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
    if (slot) {
        key->unlisted_from = unlisted_from(slot);
        key->left = is_left(slot);
        if (small_sequence(slot))
            *entry_insert(key, 0) =
                (struct weir_key_entry){small_sequence(slot), small_place(slot)};
        else
            self->empty--;
    } else {
        slot = slot_add(self, hash);
    }
    slot->content = (uintptr_t)key;
    self->large++;
    return key;
}

void weir_keys_set(struct weir_keys *self, uint64_t hash, uint64_t sequence,
                   enum weir_key_place place, uint64_t delivery)
{
    if (delivery)
        weir_keys_deliver(self, delivery);
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

/* Take the message out of the queue, if it is there. */
static bool entry_remove(struct weir_keys *self, struct weir_key *key, uint64_t sequence)
{
    const uint32_t i = entry_find(key, sequence);
    if (i == key->count || entry_at(key, i)->sequence != sequence)
        return false;
    account(self, entry_at(key, i)->place, false);
    if (i == 0)
        key->head++;
    else
        memmove(entry_at(key, i), entry_at(key, i) + 1, (key->count - i - 1) * sizeof *key->at);
    key->count--;
    key->delivery = 0;
    return true;
}

void weir_keys_drop(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot)
        return;
    if (is_small(slot)) {
        if (small_sequence(slot) == sequence)
            slot_empty(self, slot, slot->content & SMALL_UNLISTED, slot->content & SMALL_LEFT);
    } else if (entry_remove(self, key_of(slot), sequence)) {
        review(self, key_of(slot));
    }
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

/* ---- unlisted messages ---- */

static void lower(uint64_t *mark, uint64_t sequence)
{
    if (*mark == 0 || sequence < *mark)
        *mark = sequence;
}

/* Mark the key: this message, which is not in its queue (any more), waits. */
static void unlist(struct weir_keys *self, struct weir_key_slot *slot, uint64_t sequence)
{
    const bool left = sequence < self->rescan_at;
    self->unlisted++;
    self->waiting++;
    lower(&self->rescan_from, sequence);
    if (left) {
        self->left++;
        lower(&self->left_from, sequence);
    }
    if (is_small(slot) && sequence > small_sequence(slot)) {
        slot->content |= SMALL_UNLISTED | (left ? SMALL_LEFT : 0);
        return;
    }
    /* It lies ahead of what is known, which only a struct can say. After a restart there are such,
     * at most one struct a key. */
    struct weir_key *key = key_get(self, slot->hash);
    lower(&key->unlisted_from, sequence);
    key->left = key->left || left;
    key->delivery = 0;
    review(self, key);
}

void weir_keys_wait(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    struct weir_key_slot *slot = slot_find(self, hash);
    if (!slot || (self->listed < WEIR_PARKED_MAX && weir_keys_may_wait(self, hash) &&
                  !unlisted_ahead(self, slot, sequence))) {
        weir_keys_set(self, hash, sequence, WEIR_KEY_LISTED, 0);
        return;
    }
    if (!is_small(slot)) {
        entry_remove(self, key_of(slot), sequence);
    } else if (small_sequence(slot) == sequence) {
        slot_empty(self, slot, true, slot->content & SMALL_LEFT);
    }
    unlist(self, slot, sequence);
}

bool weir_keys_starving(const struct weir_keys *self)
{
    return self->starving || self->empty;
}

bool weir_keys_unlisted(const struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    const struct weir_key_slot *slot = slot_find(self, hash);
    return slot && unlisted_from(slot) && !weir_keys_at(self, hash, sequence, NULL);
}

void weir_keys_found(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    self->unlisted--;
    self->waiting--;
    self->left -= sequence < self->rescan_at;
    struct weir_key *key = weir_keys_find(self, hash);
    if (!key || key->left || key->unlisted_from > sequence)
        return;
    key->unlisted_from = sequence + 1;
    review(self, key);
}

void weir_keys_rescan(struct weir_keys *self)
{
    self->rescan_at = self->rescan_from;
    self->left = self->left_from = 0;
}

void weir_keys_rescanned(struct weir_keys *self)
{
    self->waiting -= self->unlisted - self->left;
    self->unlisted = self->left;
    self->rescan_from = self->left_from;
    self->rescan_at = 0;
    for (uint32_t i = 0; i < self->slot_count; i++) {
        struct weir_key_slot *slot = &self->slots[i];
        const bool left = slot->content && is_left(slot);
        if (slot->content == 0)
            continue;
        if (is_small(slot)) {
            slot->content &= ~(uint64_t)(SMALL_UNLISTED | SMALL_LEFT);
            slot->content |= left ? SMALL_UNLISTED : 0;
        } else {
            key_of(slot)->unlisted_from = left ? key_of(slot)->unlisted_from : 0;
            key_of(slot)->left = false;
        }
    }
    /* What moves up into a place that was looked at has been looked at, too. */
    for (uint32_t i = 0; i < self->slot_count && self->empty; i++)
        while (self->slots[i].content == SMALL) {
            slot_erase(self, i);
            self->empty--;
        }
    shrink(self);
    review_all(self, self->starving);
}
