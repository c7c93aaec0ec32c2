#include <base/alloc.h>
#include <base/error.h>
#include <core/group_keys.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

void weir_keys_fini(struct weir_keys *self)
{
    struct weir_key *key, *next;
    HASH_ITER (hh, self->table, key, next) {
        HASH_DELETE(hh, self->table, key);
        free(key->at);
        free(key);
    }
    *self = (struct weir_keys){0};
}

struct weir_key *weir_keys_find(const struct weir_keys *self, uint64_t hash)
{
    struct weir_key *key;
    HASH_FIND(hh, self->table, &hash, sizeof hash, key);
    return key;
}

bool weir_keys_room(const struct weir_keys *self)
{
    return self->count < WEIR_BLOCKED_KEYS_MAX;
}

bool weir_keys_free(const struct weir_keys *self, uint64_t hash, uint64_t delivery)
{
    const struct weir_key *key = weir_keys_find(self, hash);
    if (!key)
        return weir_keys_room(self);
    return key->delivery == delivery && key->taken == key->count && key->unlisted == 0;
}

/* ---- what a key wants ---- */

static void leave(struct weir_keys *self, struct weir_key *key)
{
    if (key->wants == WEIR_KEY_HUNGRY)
        DL_DELETE(self->hungry, key);
    else if (key->wants == WEIR_KEY_STARVING)
        DL_DELETE(self->starving, key);
    key->wants = WEIR_KEY_QUIET;
}

static void review(struct weir_keys *self, struct weir_key *key)
{
    const struct weir_key_entry *front = weir_key_front(key);
    if (!front && key->unlisted == 0) {
        leave(self, key);
        HASH_DELETE(hh, self->table, key);
        self->count--;
        free(key->at);
        free(key);
        return;
    }
    const bool hungry =
        front && (front->place == WEIR_KEY_LISTED || front->place == WEIR_KEY_PARKED);
    if (key->wants == (hungry ? WEIR_KEY_HUNGRY : !front ? WEIR_KEY_STARVING : WEIR_KEY_QUIET))
        return;
    leave(self, key);
    if (hungry) {
        DL_APPEND(self->hungry, key);
        key->wants = WEIR_KEY_HUNGRY;
    } else if (!front) {
        DL_APPEND(self->starving, key);
        key->wants = WEIR_KEY_STARVING;
    }
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
        key->capacity = key->capacity ? 2 * key->capacity : 2;
        key->at = weir_realloc(key->at, key->capacity, sizeof *key->at);
    }
    memmove(entry_at(key, i) + 1, entry_at(key, i), (key->count - i) * sizeof *key->at);
    key->count++;
    return entry_at(key, i);
}

static struct weir_key *key_get(struct weir_keys *self, uint64_t hash)
{
    struct weir_key *key = weir_keys_find(self, hash);
    if (key)
        return key;
    key = weir_zalloc(1, sizeof *key);
    key->hash = hash;
    HASH_ADD(hh, self->table, hash, sizeof key->hash, key);
    self->count++;
    return key;
}

static void open_delivery(struct weir_key *key, uint64_t delivery)
{
    key->delivery = delivery;
    key->taken = 1;
}

void weir_keys_set(struct weir_keys *self, uint64_t hash, uint64_t sequence,
                   enum weir_key_place place, uint64_t delivery)
{
    struct weir_key *key = key_get(self, hash);
    const uint32_t i = entry_find(key, sequence);
    struct weir_key_entry *entry = entry_at(key, i);
    if (i < key->count && entry->sequence == sequence)
        account(self, entry->place, false);
    else
        entry = entry_insert(key, i);
    *entry = (struct weir_key_entry){sequence, place};
    account(self, place, true);
    if (place != WEIR_KEY_LEASED || delivery == 0)
        key->delivery = 0;
    else if (key->delivery == delivery)
        key->taken++;
    else
        open_delivery(key, delivery);
    review(self, key);
}

void weir_keys_drop(struct weir_keys *self, uint64_t hash, uint64_t sequence)
{
    struct weir_key *key = weir_keys_find(self, hash);
    if (!key)
        return;
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

const struct weir_key_entry *weir_keys_at(const struct weir_keys *self, uint64_t hash,
                                          uint64_t sequence)
{
    const struct weir_key *key = weir_keys_find(self, hash);
    if (!key)
        return NULL;
    const uint32_t i = entry_find(key, sequence);
    return i < key->count && entry_at(key, i)->sequence == sequence ? entry_at(key, i) : NULL;
}

bool weir_keys_may_go(const struct weir_keys *self, uint64_t hash, uint64_t sequence,
                      uint64_t delivery)
{
    const struct weir_key *key = weir_keys_find(self, hash);
    if (!key || key->count == 0)
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
