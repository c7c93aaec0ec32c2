/* Handing out with `order: key`: first the keys whose front may go, then what was not listed for
 * want of room, then the log from `next` on. A message goes when nothing unfinished of its key is
 * ahead of it, or all that is goes out in the same delivery. */
#include <core/ventilator.h>
#include <utlist.h>

#define RESCAN_FOLLOW                                                                              \
    8192u /* looked at beyond the last key that starved, for those that follow                     \
           */

bool weir_handout_order_has(const struct weir_group *group)
{
    return weir_group_ordered(group) &&
           (group->keys.hungry || group->keys.starving || group->rescan_at);
}

bool weir_handout_order_row(struct weir_ventilator *v, struct weir_group *group,
                            struct weir_row *row)
{
    const uint64_t key = row->key_hash;
    if (key == 0 || weir_keys_may_go(&group->keys, key, row->sequence, v->delivery.number) ||
        !weir_keys_at(&group->keys, key, row->sequence, NULL))
        return true;
    row->state = WEIR_ROW_PARKED;
    row->incarnation = row->delivery = 0;
    weir_flush_row(v, row, false);
    weir_keys_set(&group->keys, key, row->sequence, WEIR_KEY_PARKED, 0);
    return false;
}

void weir_handout_order_leased(struct weir_ventilator *v, struct weir_group *group,
                               struct weir_row *row, const struct weir_stream_batch *batch)
{
    struct weir_batch_header header;
    if (row->key_hash && weir_keys_at(&group->keys, row->key_hash, row->sequence, NULL)) {
        weir_keys_set(&group->keys, row->key_hash, row->sequence, WEIR_KEY_LEASED,
                      v->delivery.number);
        return;
    }
    /* A delayed message holds its key up from now on; a replayed one never does. */
    if (row->key_hash == 0 && row->death == 0) {
        if (batch)
            row->key_hash = weir_stream_batch_key(batch, row->sequence);
        else if (weir_batch_header_decode(&row->header, &header, NULL) == 0)
            row->key_hash = weir_index_key_hash(&row->index_entry, weir_index_width(header.flags),
                                                header.flags, 0);
        if (!weir_keys_has(&group->keys, row->key_hash) && !weir_keys_room(&group->keys))
            row->key_hash = 0;
    }
    if (row->key_hash)
        weir_keys_set(&group->keys, row->key_hash, row->sequence, WEIR_KEY_LEASED, 0);
}

/* ---- listed ones ---- */

enum took {
    TOOK_ONE,     /* into the delivery, or it has ended */
    TOOK_WAITING, /* it has to be read first */
    TOOK_FULL,    /* the delivery takes no more */
};

static enum took take_listed(struct weir_ventilator *v, struct weir_group *group, uint64_t key,
                             uint64_t sequence)
{
    struct weir_stream_batch *batch;
    const enum weir_stream_found found = weir_stream_find(&v->stream, sequence, &batch);
    if (found == WEIR_STREAM_UNKNOWN) {
        weir_stream_want(&v->stream, sequence, WEIR_READ_ONE_BYTES);
        group->reading = true;
        return TOOK_WAITING;
    }
    if (found == WEIR_STREAM_END || batch->record.first > sequence) {
        v->count.missing++; /* damage: it was there when it was listed */
        weir_keys_drop(&group->keys, key, sequence);
        weir_group_lose(group, sequence, sequence + 1);
        return TOOK_ONE;
    }
    if (weir_handout_expired(v, &batch->header, batch->record.time_ms)) {
        weir_keys_drop(&group->keys, key, sequence);
        weir_outcome_die_unsent(v, group, sequence, batch->record.time_ms, WEIR_REASON_EXPIRED);
        return TOOK_ONE;
    }
    if (weir_delivery_add(v, batch, sequence, 1, false) == 0)
        return TOOK_FULL;
    weir_keys_set(&group->keys, key, sequence, WEIR_KEY_LEASED, v->delivery.number);
    return TOOK_ONE;
}

/* Those behind the front may follow it into the same delivery, as long as nothing lies between. */
static enum took take_followers(struct weir_ventilator *v, struct weir_group *group, uint64_t hash)
{
    for (;;) {
        const struct weir_key *key = weir_keys_find(&group->keys, hash);
        if (!key || key->delivery != v->delivery.number)
            return TOOK_ONE;
        const struct weir_key_entry *entry = weir_key_entry(key, key->taken);
        if (!entry || entry->place != WEIR_KEY_LISTED)
            return TOOK_ONE;
        const enum took took = take_listed(v, group, hash, entry->sequence);
        if (took != TOOK_ONE)
            return took;
    }
}

/* Fetch the front, which is parked, and those behind it that may follow it into one delivery. */
static bool fetch_parked(struct weir_ventilator *v, struct weir_group *group, uint64_t hash)
{
    uint32_t fetched = 0;
    while (fetched < WEIR_FETCHING_MAX / 4 && group->fetching < WEIR_FETCHING_MAX &&
           weir_ventilator_may_ask(v)) {
        const struct weir_key *key = weir_keys_find(&group->keys, hash);
        const struct weir_key_entry *entry = key ? weir_key_entry(key, fetched) : NULL;
        if (!entry || entry->place != WEIR_KEY_PARKED)
            break;
        const uint64_t sequence = entry->sequence;
        weir_keys_set(&group->keys, hash, sequence, WEIR_KEY_DEFERRED, 0);
        weir_deferred_fetch(v, group, sequence);
        fetched++;
    }
    return fetched > 0;
}

/* False: the delivery takes no more. */
static bool take_hungry(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_keys *keys = &group->keys;
    struct weir_key *first_waiting = NULL;
    const bool may_fetch =
        group->fetching == 0; /* in rounds: what was fetched together goes together */
    for (uint32_t looks = 0; keys->hungry && looks < WEIR_TURN_SCAN_MAX; looks++) {
        struct weir_key *key = keys->hungry;
        const uint64_t hash = key->hash;
        const struct weir_key_entry front = *weir_key_front(key);
        enum took took = TOOK_WAITING;
        if (key == first_waiting)
            return true; /* all that are left wait */
        if (front.place == WEIR_KEY_LISTED) {
            took = take_listed(v, group, hash, front.sequence);
            if (took == TOOK_ONE)
                took = take_followers(v, group, hash);
            if (took == TOOK_FULL)
                return false;
            /* What waits behind a front that goes out is not hungry any more. */
            key = weir_keys_find(keys, hash);
            if (!key || key->wants != WEIR_KEY_HUNGRY)
                continue;
        } else if (may_fetch && fetch_parked(v, group, hash)) {
            continue;
        }
        if (took != TOOK_WAITING)
            continue;
        weir_keys_later(keys, key);
        if (!first_waiting)
            first_waiting = key;
    }
    return true;
}

/* ---- unlisted ones ---- */

enum scan { SCAN_NEXT, SCAN_FULL };

static enum scan scan_one(struct weir_ventilator *v, struct weir_group *group,
                          struct weir_stream_batch *batch, uint64_t sequence)
{
    struct weir_keys *keys = &group->keys;
    const uint64_t hash = weir_stream_batch_key(batch, sequence);
    struct weir_key *key = hash ? weir_keys_find(keys, hash) : NULL;
    /* A key whose first one lies below where this rescan began has to wait for another. */
    if (!key || key->unlisted == 0 || sequence < key->rescan_from ||
        key->rescan_from < group->rescan_from || key->stuck == group->rescan_number ||
        weir_settled_has(&group->settled, sequence))
        return SCAN_NEXT;
    const bool free =
        key->count == 0 || (key->delivery == v->delivery.number && key->taken == key->count);
    if (free && weir_handout_expired(v, &batch->header, batch->record.time_ms)) {
        weir_keys_found(keys, key, sequence, true);
        weir_outcome_die_unsent(v, group, sequence, batch->record.time_ms, WEIR_REASON_EXPIRED);
    } else if (free) {
        if (weir_delivery_add(v, batch, sequence, 1, false) == 0)
            return SCAN_FULL;
        weir_keys_found(keys, key, sequence, false);
        weir_keys_set(keys, hash, sequence, WEIR_KEY_LEASED, v->delivery.number);
    } else if (keys->listed < WEIR_PARKED_MAX) {
        weir_keys_found(keys, key, sequence, false);
        weir_keys_set(keys, hash, sequence, WEIR_KEY_LISTED, 0);
    } else {
        key->stuck = group->rescan_number;
        key->rescan_from = sequence;
    }
    return SCAN_NEXT;
}

/* Nothing for this group up to there: damage (`hole`), or its topics are others now. */
static void pass_over(struct weir_group *group, uint64_t to, bool hole)
{
    if (to > group->row.next)
        to = group->row.next;
    if (hole)
        weir_group_lose(group, group->rescan_at, to);
    else
        weir_group_settle(group, group->rescan_at, to - group->rescan_at);
    group->rescan_at = to;
}

/* Go through the log for what was not listed. False: the delivery takes no more. */
static bool rescan(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_keys *keys = &group->keys;
    if (group->rescan_at == 0 && keys->starving) {
        group->rescan_at = group->rescan_from = weir_keys_rescan_from(keys);
        group->rescan_number++;
    }
    uint32_t looks = 0, beyond = 0;
    while (group->rescan_at && looks < WEIR_TURN_SCAN_MAX) {
        struct weir_stream_batch *batch;
        const uint64_t at = group->rescan_at;
        if (at >= group->row.next) {
            weir_keys_rescanned(keys, group->rescan_from, group->rescan_number);
            group->rescan_at = 0;
            break;
        }
        if (!keys->starving && beyond > RESCAN_FOLLOW) {
            group->rescan_at = 0;
            break;
        }
        const enum weir_stream_found found = weir_stream_find(&v->stream, at, &batch);
        if (found == WEIR_STREAM_UNKNOWN) {
            weir_stream_want(&v->stream, at, WEIR_READ_BYTES);
            group->reading = true;
            return true;
        }
        looks++;
        beyond += !keys->starving;
        if (found == WEIR_STREAM_END)
            pass_over(group, group->row.next, true);
        else if (batch->record.first > at)
            pass_over(group, batch->record.first, true);
        else if (!weir_group_matches(group, &batch->header))
            pass_over(group, weir_stream_batch_end(batch), false);
        else if (scan_one(v, group, batch, at) == SCAN_FULL)
            return false;
        else
            group->rescan_at++;
    }
    if (group->rescan_at || keys->starving)
        weir_ventilator_stir(v, group);
    return true;
}

/* ---- the log ---- */

/* What lies at `next`. False: no more now. */
static bool take_one(struct weir_ventilator *v, struct weir_group *group,
                     struct weir_stream_batch *batch)
{
    struct weir_keys *keys = &group->keys;
    const uint64_t sequence = group->row.next;
    const uint64_t key = weir_stream_batch_key(batch, sequence);
    if (key && !weir_keys_free(keys, key, v->delivery.number)) {
        if (!weir_keys_has(keys, key) || !weir_keys_may_wait(keys, key))
            return false; /* no room for it, or behind it: `next` stays until a key is done with */
        weir_keys_wait(keys, key, sequence);
    } else {
        if (weir_delivery_add(v, batch, sequence, 1, false) == 0)
            return false;
        if (key)
            weir_keys_set(keys, key, sequence, WEIR_KEY_LEASED, v->delivery.number);
    }
    group->row.next++;
    group->row.totals.passed++;
    return true;
}

static void take_next(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    uint32_t run, looks = 0;
    while (looks < WEIR_TURN_SCAN_MAX) {
        const enum weir_peek peek = weir_handout_peek(v, group, &batch, &run);
        if (peek == WEIR_PEEK_READ) {
            weir_stream_want(&v->stream, group->row.next, WEIR_READ_BYTES);
            group->reading = true;
        }
        if (peek != WEIR_PEEK_MESSAGES)
            return;
        for (; run > 0; run--, looks++)
            if (!take_one(v, group, batch))
                return;
    }
    weir_ventilator_stir(v, group);
}

void weir_handout_order_fill(struct weir_ventilator *v, struct weir_group *group)
{
    if (take_hungry(v, group) && rescan(v, group))
        take_next(v, group);
}
