/* Handing out with `order: key`: first the keys whose front may go, then what was not listed for
 * want of room (group_keys.h), then the log from `next` on. A message goes when nothing unfinished
 * of its key is ahead of it, or all that is goes out in the same delivery. */
#include <core/ventilator.h>
#include <utlist.h>

/* A rescan looks at everything from the lowest message that may be unlisted up to `next`, and may
 * find one. So it rests afterwards, in proportion to what it looked at: however rarely a key that
 * cannot be listed becomes free, looking for it takes a small part of the time, and those that
 * become free meanwhile share the next rescan. Under way it pauses when all lists are full and no
 * key needs it, and goes on from there: what it would leave would have to be looked at again. */
static bool rescan_due(struct weir_ventilator *v, struct weir_group *group)
{
    const struct weir_keys *keys = &group->keys;
    const bool starving = weir_keys_starving(keys);
    if (keys->rescan_at)
        return !group->rescan_paused || starving || keys->listed <= WEIR_PARKED_MAX / 2;
    if (!starving)
        return false;
    if (v->now.mono_ns >= group->rescan_ns)
        return true;
    weir_handout_at(v, group, group->rescan_ns);
    return false;
}

bool weir_handout_order_has(struct weir_ventilator *v, struct weir_group *group)
{
    const bool due = rescan_due(v, group);
    weir_keys_deliver(&group->keys, 0);
    return due || group->keys.hungry.count || group->keys.aside;
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
    TOOK_READING, /* it is being read */
    TOOK_NOTHING, /* it cannot go now */
    TOOK_FULL,    /* the delivery takes no more */
};

static enum took take_listed(struct weir_ventilator *v, struct weir_group *group, uint64_t key,
                             uint64_t sequence)
{
    struct weir_stream_batch *batch;
    const enum weir_stream_found found = weir_stream_find(&v->stream, sequence, &batch);
    if (found == WEIR_STREAM_UNKNOWN) {
        group->reading = true;
        return weir_stream_want(&v->stream, sequence, WEIR_READ_BYTES) ? TOOK_READING
                                                                       : TOOK_NOTHING;
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

/* Lowest first: so when a few have to be read, all behind them would most likely have to be, too,
 * and are looked at when that has come. False: the delivery takes no more. */
static bool take_hungry(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_key_entry entry;
    struct weir_key *key;
    const bool may_fetch =
        group->fetching == 0; /* in rounds: what was fetched together goes together */
    uint32_t looks = 0, reading = 0;
    while ((key = weir_keys_next(&group->keys, &entry)) && reading < WEIR_TURN_READING_MAX) {
        enum took took = TOOK_NOTHING;
        if (looks++ == WEIR_TURN_SCAN_MAX) {
            weir_ventilator_stir(v, group);
            return true;
        }
        if (entry.place == WEIR_KEY_LISTED)
            took = take_listed(v, group, key->hash, entry.sequence);
        else if (may_fetch && fetch_parked(v, group, key->hash))
            took = TOOK_ONE;
        if (took == TOOK_FULL)
            return false;
        if (took != TOOK_ONE)
            weir_keys_later(&group->keys, key);
        reading += took == TOOK_READING;
    }
    return true;
}

/* ---- unlisted ones ---- */

enum scan {
    SCAN_NEXT,
    SCAN_READ, /* it has to be read first */
    SCAN_FULL, /* the delivery takes no more */
};

/* The message at `rescan_at`. */
static enum scan scan_one(struct weir_ventilator *v, struct weir_group *group,
                          struct weir_stream_batch *batch)
{
    struct weir_keys *keys = &group->keys;
    const uint64_t sequence = keys->rescan_at;
    const uint64_t key = weir_stream_batch_key(batch, sequence);
    if (key == 0 || !weir_keys_unlisted(keys, key, sequence)) {
        keys->rescan_at++;
    } else if (!weir_keys_free(keys, key, sequence, v->delivery.number)) {
        weir_keys_found(keys, key, sequence);
        keys->rescan_at++;
        weir_keys_wait(keys, key, sequence);
    } else if (weir_handout_expired(v, &batch->header, batch->record.time_ms)) {
        weir_keys_found(keys, key, sequence);
        keys->rescan_at++;
        weir_outcome_die_unsent(v, group, sequence, batch->record.time_ms, WEIR_REASON_EXPIRED);
    } else {
        if (weir_delivery_add(v, batch, sequence, 1, false) == 0)
            return SCAN_FULL;
        weir_keys_set(keys, key, sequence, WEIR_KEY_LEASED, v->delivery.number);
        weir_keys_found(keys, key, sequence);
        keys->rescan_at++;
    }
    return SCAN_NEXT;
}

/* Nothing for this group up to there: damage (`hole`), or its topics are others now. */
static void pass_over(struct weir_group *group, uint64_t to, bool hole)
{
    uint64_t *at = &group->keys.rescan_at;
    if (to > group->row.next)
        to = group->row.next;
    if (hole)
        weir_group_lose(group, *at, to);
    else
        weir_group_settle(group, *at, to - *at);
    *at = to;
}

/* The next step of a rescan: a message, or a stretch that is passed over. */
static enum scan scan_next(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    const uint64_t at = group->keys.rescan_at;
    if (weir_settled_has(&group->settled, at)) { /* no need to read it */
        bool settled;
        group->keys.rescan_at += weir_settled_run(&group->settled, at, group->row.next, &settled);
        return SCAN_NEXT;
    }
    const enum weir_stream_found found = weir_stream_find(&v->stream, at, &batch);
    if (found == WEIR_STREAM_UNKNOWN) {
        weir_stream_want(&v->stream, at, WEIR_READ_BYTES);
        group->reading = true;
        return SCAN_READ;
    }
    if (found == WEIR_STREAM_END)
        pass_over(group, group->row.next, true);
    else if (batch->record.first > at)
        pass_over(group, batch->record.first, true);
    else if (!weir_group_matches(group, &batch->header))
        pass_over(group, weir_stream_batch_end(batch), false);
    else
        return scan_one(v, group, batch);
    return SCAN_NEXT;
}

/* Go through the log for what is unlisted. False: the delivery takes no more. */
static bool rescan(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_keys *keys = &group->keys;
    if (!rescan_due(v, group))
        return true;
    if (keys->rescan_at == 0)
        weir_keys_rescan(keys);
    group->rescan_paused = false;
    enum scan scan = SCAN_NEXT;
    for (uint32_t i = 0; i < WEIR_TURN_SCAN_MAX && scan == SCAN_NEXT; i++) {
        if (keys->rescan_at >= group->row.next) {
            group->rescan_ns =
                v->now.mono_ns +
                WEIR_RESCAN_REST_NS * (int64_t)(group->rescan_looks + keys->slot_count / 8);
            group->rescan_looks = 0;
            weir_keys_rescanned(keys);
            return true;
        }
        if (keys->listed >= WEIR_PARKED_MAX && !weir_keys_starving(keys)) {
            group->rescan_paused = true;
            group->rescan_looks = 0;
            return true;
        }
        group->rescan_looks++;
        scan = scan_next(v, group);
    }
    if (scan == SCAN_NEXT)
        weir_ventilator_stir(v, group);
    return scan != SCAN_FULL;
}

/* ---- the log ---- */

/* A key that is not known would be another, and nothing of it may go out without its being known.
 */
static void warn_full(struct weir_ventilator *v, struct weir_group *group)
{
    if (!group->keys_full)
        weir_ventilator_log(v, WEIR_LOG_WARNING,
                            "group %s has unfinished messages of %u keys, as many as can be kept; "
                            "it hands out no other key until one of them is done with",
                            group->row.policy.name, group->keys.count);
    group->keys_full = true;
}

/* What lies at `next`. False: no more now. */
static bool take_one(struct weir_ventilator *v, struct weir_group *group,
                     struct weir_stream_batch *batch)
{
    struct weir_keys *keys = &group->keys;
    const uint64_t sequence = group->row.next;
    const uint64_t key = weir_stream_batch_key(batch, sequence);
    if (key && !weir_keys_free(keys, key, sequence, v->delivery.number)) {
        if (!weir_keys_has(keys, key)) {
            warn_full(v, group);
            return false;
        }
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
    group->keys_full = group->keys_full && group->keys.count > WEIR_BLOCKED_KEYS_MAX / 8 * 7;
    weir_keys_deliver(&group->keys, v->delivery.number);
    weir_keys_again(&group->keys);
    if (take_hungry(v, group) && rescan(v, group))
        take_next(v, group);
}
