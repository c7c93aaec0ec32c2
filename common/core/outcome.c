/* What an outcome does to a message: settled, deferred, dying, or given back.
 *
 *   outcome       counts   then
 *   DONE          -        settled; a tombstone stays of what was dead once
 *   RETRY         yes      deferred with backoff, or dead when the attempts are used up
 *   timed out     yes      the same
 *   worker lost   yes      the same, and goes alone; only of a suspect that had begun
 *   lost, else    no       back as RELEASE the first time; deferred, due now, and goes alone, then
 *   REJECT        yes      dead
 *   UNAVAILABLE   no       deferred, longer each time
 *   RELEASE       no       back to where it was the first time; deferred, longer each time, then
 */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

struct weir_row *weir_row_new(const struct weir_group *group, uint64_t sequence, int64_t time_ms)
{
    struct weir_row *row = weir_zalloc(1, sizeof *row);
    row->group = group->row.number;
    row->sequence = sequence;
    row->time_ms = time_ms;
    return row;
}

struct weir_row *weir_row_move(struct weir_row *from)
{
    struct weir_row *row = weir_alloc(sizeof *row);
    *row = *from;
    *from = (struct weir_row){0};
    return row;
}

void weir_row_destroy(struct weir_row **row)
{
    if (*row)
        weir_row_fini(*row);
    free(*row);
    *row = NULL;
}

/* ---- the key's queue ---- */

static void key_ends(struct weir_group *group, uint64_t key, uint64_t sequence)
{
    if (weir_group_ordered(group) && key)
        weir_keys_drop(&group->keys, key, sequence);
}

/* ---- death ---- */

static void note(struct weir_row *row, const struct weir_ventilator *v, uint32_t outcome,
                 const struct weir_verdict *verdict)
{
    struct weir_attempt_note entry = {
        .attempt = row->attempt, .time_ms = v->now.wall_ms, .outcome = outcome};
    if (verdict) {
        entry.worker = verdict->worker;
        entry.worker_bytes = verdict->worker_bytes;
        entry.error = verdict->error;
        entry.error_bytes = verdict->error_bytes;
    }
    struct weir_bytes history = weir_history_add(&row->history, &entry);
    weir_bytes_drop(&row->history);
    row->history = history;
}

void weir_outcome_die(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row,
                      enum weir_reason reason)
{
    key_ends(group, row->key_hash, row->sequence);
    if (reason == WEIR_REASON_EXPIRED) {
        group->row.totals.expired++;
        note(row, v, WEIR_NOTE_EXPIRED, NULL);
    }
    if (reason == WEIR_REASON_BACKLOG)
        group->row.totals.dropped++;
    group->row.totals.dead++;
    group->dying++;
    v->dying.rows++;
    row->state = WEIR_ROW_DYING;
    row->reason = reason;
    row->death++;
    row->due_ms = v->now.wall_ms;
    row->releases = 0;
    row->suspect = false;
    row->key_hash = 0;
    row->incarnation = row->delivery = 0;
    weir_flush_row(v, row, false);
    weir_group_settle(group, row->sequence, 1);
    weir_flush_group(v, group);
    weir_dying_put(v);
    weir_row_destroy(&row);
}

void weir_outcome_die_unsent(struct weir_ventilator *v, struct weir_group *group, uint64_t sequence,
                             int64_t time_ms, enum weir_reason reason)
{
    weir_outcome_die(v, group, weir_row_new(group, sequence, time_ms), reason);
}

/* ---- outcomes that end a message ---- */

static void row_done(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row)
{
    key_ends(group, row->key_hash, row->sequence);
    /* Of one from before the group's start no cursor says that it was for the group at all. */
    if (row->death == 0 && row->sequence >= group->row.start) {
        weir_flush_row_drop(v, row->group, row->sequence);
    } else {
        row->state = WEIR_ROW_DONE;
        row->due_ms = v->now.wall_ms;
        row->key_hash = 0;
        weir_flush_row(v, row, false);
        group->tombstones++;
    }
    weir_row_destroy(&row);
}

static void done(struct weir_ventilator *v, struct weir_lease *lease,
                 struct weir_lease_slice *slice, uint32_t first, uint32_t count)
{
    struct weir_group *group = lease->group;
    const uint64_t sequence = slice->sequence + (first - slice->index);
    group->row.totals.done += count;
    if (slice->row) {
        struct weir_row *row = slice->row;
        slice->row = NULL;
        if (lease->final)
            weir_row_destroy(&row);
        else
            row_done(v, group, row);
        return;
    }
    if (lease->final)
        return;
    for (uint32_t i = 0; i < count && slice->keys.size; i++)
        key_ends(group, weir_lease_key(slice, first + i), sequence + i);
    /* What is from before the start has a row of its own, unless a start joined it to others. */
    for (uint32_t i = 0; i < count && lease->durable; i++)
        if (sequence + i < group->row.start)
            row_done(v, group, weir_row_new(group, sequence + i, slice->time_ms));
        else
            weir_flush_row_drop(v, group->row.number, sequence + i);
    if (!lease->durable)
        weir_group_settle(group, sequence, count);
}

/* ---- outcomes after which it comes again ---- */

static int64_t backoff_ms(struct weir_ventilator *v, const struct weir_group *group,
                          uint32_t attempt)
{
    const struct weir_backoff *backoff = &group->row.policy.backoff;
    int64_t cap = backoff->first_ms;
    for (uint32_t i = 1; i < attempt && cap < backoff->max_ms; i++) {
        if (backoff->factor_permille <= 1000)
            break;
        if (cap > INT64_MAX / backoff->factor_permille)
            cap = backoff->max_ms;
        else
            cap = cap * backoff->factor_permille / 1000 + 1;
    }
    if (backoff->max_ms > 0 && cap > backoff->max_ms)
        cap = backoff->max_ms;
    return cap > 0 ? (int64_t)weir_random_below(&v->random, (uint64_t)cap + 1) : 0;
}

/* Given back so many times in a row: each time twice as long, and no two at the same moment. */
static int64_t release_wait_ms(struct weir_ventilator *v, uint32_t releases)
{
    int64_t cap = WEIR_RELEASE_WAIT_MS;
    for (uint32_t i = 1; i < releases && cap < WEIR_RELEASE_WAIT_MAX_MS; i++)
        cap *= 2;
    if (cap > WEIR_RELEASE_WAIT_MAX_MS)
        cap = WEIR_RELEASE_WAIT_MAX_MS;
    return cap / 2 + (int64_t)weir_random_below(&v->random, (uint64_t)cap / 2 + 1);
}

static void failed(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row,
                   const struct weir_verdict *verdict)
{
    const uint32_t attempts = group->row.policy.attempts;
    row->attempt++;
    row->releases = 0;
    row->suspect = verdict->outcome == WEIR_NOTE_LOST;
    note(row, v, verdict->outcome, verdict);
    if (verdict->outcome == WEIR_REJECT) {
        group->row.totals.rejected++;
        weir_outcome_die(v, group, row, WEIR_REASON_REJECTED);
    } else if (attempts && row->attempt + WEIR_CANARY(ONE_ATTEMPT_FEWER) >= attempts) {
        weir_outcome_die(v, group, row, WEIR_REASON_ATTEMPTS);
    } else {
        int64_t wait_ms =
            verdict->delay_ms >= 0 ? verdict->delay_ms : backoff_ms(v, group, row->attempt);
        if (wait_ms > WEIR_DURATION_MS_MAX)
            wait_ms = WEIR_DURATION_MS_MAX;
        group->row.totals.retried++;
        if (WEIR_CANARY(KEY_FREED_BY_RETRY)) {
            key_ends(group, row->key_hash, row->sequence);
            row->key_hash = 0;
        }
        weir_deferred_put(v, group, row, v->now.wall_ms + wait_ms);
    }
}

/* A message that was given back without having been looked at. The first time it merely goes back
 * to where it was; nothing has to be written for that. */
static bool give_back(struct weir_ventilator *v, struct weir_lease *lease,
                      struct weir_lease_slice *slice, uint32_t index)
{
    struct weir_group *group = lease->group;
    const uint64_t sequence = slice->sequence + (index - slice->index);
    if (slice->row || lease->durable || slice->again)
        return false;
    const uint64_t key = weir_lease_key(slice, index);
    if (key)
        weir_keys_wait(&group->keys, key, sequence);
    else if (group->returned.count < WEIR_RETURNED_RANGES_MAX)
        weir_rangeset_add(&group->returned, sequence, sequence);
    else
        return false;
    weir_ventilator_stir(v, group);
    return true;
}

static struct weir_row *row_of(const struct weir_lease *lease, struct weir_lease_slice *slice,
                               uint32_t index)
{
    struct weir_row *row = slice->row;
    slice->row = NULL;
    if (row)
        return row;
    row = weir_row_new(lease->group, slice->sequence + (index - slice->index), slice->time_ms);
    row->key_hash = weir_lease_key(slice, index);
    return row;
}

void weir_outcome_lost(struct weir_row *row)
{
    row->suspect = row->suspect || row->releases > 0;
    row->releases++;
}

static void come_again(struct weir_ventilator *v, struct weir_lease *lease,
                       struct weir_lease_slice *slice, uint32_t index,
                       const struct weir_verdict *verdict)
{
    struct weir_group *group = lease->group;
    struct weir_row *row;
    switch (verdict->outcome) {
    case WEIR_RELEASE:
        group->row.totals.released++;
        if (give_back(v, lease, slice, index))
            return;
        row = row_of(lease, slice, index);
        row->releases++;
        row->attempt += WEIR_CANARY(RELEASE_COUNTS);
        weir_deferred_put(v, group, row,
                          v->now.wall_ms +
                              (row->releases > 1 ? release_wait_ms(v, row->releases - 1) : 0));
        return;
    case WEIR_UNAVAILABLE:
        group->row.totals.released++;
        row = row_of(lease, slice, index);
        row->releases++;
        row->attempt += WEIR_CANARY(UNAVAILABLE_COUNTS);
        weir_deferred_put(v, group, row, v->now.wall_ms + release_wait_ms(v, row->releases));
        return;
    case WEIR_OUTCOME_LOST:
        /* That a message of a key has come back once is known from its row alone. */
        if (weir_lease_key(slice, index) == 0 && give_back(v, lease, slice, index))
            return;
        row = row_of(lease, slice, index);
        row->releases += slice->again;
        weir_outcome_lost(row);
        weir_deferred_put(v, group, row, v->now.wall_ms);
        return;
    default:
        failed(v, group, row_of(lease, slice, index), verdict);
    }
}

/* At most once: whatever was not done does not come again, but what nobody has looked at is still
 * to be sent. */
static void end_final(struct weir_ventilator *v, struct weir_lease *lease,
                      struct weir_lease_slice *slice, uint32_t index,
                      const struct weir_verdict *verdict)
{
    struct weir_group *group = lease->group;
    const uint64_t sequence = slice->sequence + (index - slice->index);
    if (verdict->outcome == WEIR_RELEASE) {
        group->row.totals.released++;
        if (slice->row) {
            weir_deferred_push(group, slice->row, 0);
            group->deferred.rows++;
            slice->row = NULL;
        } else {
            weir_rangeset_add(&group->cleared, sequence, sequence);
        }
        weir_ventilator_stir(v, group);
    } else {
        weir_group_drop(group, sequence, 1);
        if (verdict->outcome == WEIR_REJECT)
            group->row.totals.rejected++;
        else
            group->row.totals.dropped++;
    }
}

static void apply_slice(struct weir_ventilator *v, struct weir_lease *lease,
                        struct weir_lease_slice *slice, uint32_t first, uint32_t count,
                        const struct weir_verdict *verdict)
{
    if (verdict->outcome == WEIR_DONE) {
        done(v, lease, slice, first, count);
        return;
    }
    for (uint32_t i = first; i < first + count; i++) {
        if (lease->final)
            end_final(v, lease, slice, i, verdict);
        else
            come_again(v, lease, slice, i, verdict);
    }
}

uint64_t weir_outcome_apply(struct weir_ventilator *v, struct weir_lease *lease, uint32_t first,
                            uint32_t count, const struct weir_verdict *verdict)
{
    struct weir_group *group = lease->group;
    const uint64_t end = (uint64_t)first + count;
    uint64_t ended = 0;
    uint32_t run_first = first, run_count = count;
    while (run_count > 0 && weir_lease_open_run(lease, &run_first, &run_count)) {
        /* Within one slice at a time. */
        struct weir_lease_slice *slice = weir_lease_slice_of(lease, run_first);
        const uint32_t slice_left = slice->index + slice->count - run_first;
        if (run_count > slice_left)
            run_count = slice_left;
        weir_lease_close(&v->leases, lease, run_first, run_count);
        group->in_flight -= run_count;
        apply_slice(v, lease, slice, run_first, run_count, verdict);
        ended += run_count;
        run_first += run_count;
        run_count = (uint32_t)(end - run_first);
    }
    if (ended) {
        weir_flush_group(v, group);
        weir_ventilator_stir(v, group);
    }
    if (lease->open_count == 0)
        weir_leases_remove(&v->leases, lease);
    return ended;
}
