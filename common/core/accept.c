/* From PUT to OK: what is taken, and what a commit brings about. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define CROWDED_RETRY_MS 20 /* more than may be on its way to the disk */

struct weir_pending_put {
    struct weir_pending_put *prev, *next;
    uint64_t ticket;
    struct weir_stream_batch batch;
    uint64_t bytes;
    struct weir_duplicate *duplicates;
    uint32_t duplicate_count;
    bool withdrawn; /* the disk was full for one ahead of it: its own answer is to be ignored */
};

/* ---- may it be taken? ---- */

static int busy(struct weir_turned_away *away, uint64_t retry_ms, const char *text)
{
    away->retry_ms = retry_ms;
    return weir_error_set(&away->error, WEIR_EBUSY, "%s", text);
}

static int check_backlogs(struct weir_ventilator *v, const struct weir_put *put,
                          struct weir_turned_away *away)
{
    for (uint32_t i = 0; i < v->group_count; i++) {
        const struct weir_group *group = v->groups[i];
        const struct weir_group_policy *policy = &group->row.policy;
        if (policy->max_backlog == 0 || WEIR_CANARY(BACKLOG_UNBOUNDED))
            continue;
        const uint64_t backlog = weir_group_backlog(group);
        if (backlog < policy->max_backlog || !weir_group_matches(group, &put->header))
            continue;
        /* What a full group drops is noted in its bitmap, which is bounded, too. */
        if (policy->on_full != WEIR_ON_FULL_REFUSE &&
            v->stream.next - group->settled.low < WEIR_SETTLED_SPAN_MAX)
            continue;
        away->retry_ms = WEIR_BUSY_RETRY_MS;
        return weir_error_set(&away->error, WEIR_EBUSY,
                              "group %s has %" PRIu64 " messages waiting, its max-backlog is "
                              "%" PRIu64 "; more is taken when its workers have caught up",
                              policy->name, backlog, policy->max_backlog);
    }
    return 0;
}

static int check_room(struct weir_ventilator *v, const struct weir_put *put, uint64_t bytes,
                      struct weir_turned_away *away)
{
    /* What is in use now is known from the last result only: when nothing is on its way, the store
     * itself is asked. */
    const uint64_t max = v->accept.bytes ? v->config.spool_bytes_max : 0;
    if ((v->accept.bytes && v->accept.bytes + bytes > WEIR_INTAKE_BYTES_MAX) ||
        !weir_ventilator_may_ask(v) || v->flush.count >= WEIR_FLUSH_OPS_MAX)
        return busy(away, CROWDED_RETRY_MS, "more is on its way to the disk than is allowed");
    if (max && v->used_bytes + v->accept.bytes + bytes > max) {
        v->count.full++;
        v->copyout.full = true;
        away->retry_ms = WEIR_BUSY_RETRY_MS;
        return weir_error_set(&away->error, WEIR_EBUSY,
                              "the spool is full: %" PRIu64 " of %" PRIu64
                              " bytes are in use; wait until messages are done, or raise spool.max",
                              v->used_bytes, max);
    }
    return check_backlogs(v, put, away);
}

/* ---- idempotency ---- */

static const uint8_t *hash_of(const struct weir_batch_header *header,
                              const struct weir_bytes *index, uint32_t width, uint32_t entry)
{
    static const uint8_t none[WEIR_HASH_BYTES];
    const uint8_t *hash = weir_index_idem_hash(index, width, header->flags, entry);
    return hash && memcmp(hash, none, sizeof none) != 0 ? hash : NULL;
}

static void skip(struct weir_pending_put *pending, uint32_t entry)
{
    struct weir_record *record = &pending->batch.record;
    struct weir_skip *last = record->skip_count ? &record->skips[record->skip_count - 1] : NULL;
    if (last && last->first + last->count == entry) {
        last->count++;
        return;
    }
    if (record->skip_count % 16 == 0)
        record->skips = weir_realloc(record->skips, record->skip_count + 16, sizeof *record->skips);
    record->skips[record->skip_count++] = (struct weir_skip){entry, 1};
}

/* Find the messages whose key is known, from an earlier batch or from this one. */
static void find_duplicates(struct weir_ventilator *v, const struct weir_put *put,
                            struct weir_pending_put *pending)
{
    const uint32_t width = weir_index_width(put->header.flags);
    const struct weir_record *record = &pending->batch.record;
    if (!(put->header.flags & WEIR_BATCH_IDEMPOTENT) || v->idempotency.count_max == 0)
        return;
    weir_idempotency_expire(&v->idempotency, v->now.wall_ms - v->config.idempotency_window_ms);
    for (uint32_t i = 0; i < record->count; i++) {
        const uint8_t *hash = hash_of(&put->header, &put->index, width, i);
        if (!hash)
            continue;
        const struct weir_idem_row *known = weir_idempotency_find(&v->idempotency, hash);
        if (!known) {
            struct weir_idem_row row = {.sequence = record->first + i, .time_ms = record->time_ms};
            memcpy(row.hash, hash, sizeof row.hash);
            weir_idempotency_add(&v->idempotency, &row);
            continue;
        }
        const struct weir_id id = {known->time_ms, v->tag, known->sequence};
        if (pending->duplicate_count % 64 == 0)
            pending->duplicates = weir_realloc(pending->duplicates, pending->duplicate_count + 64,
                                               sizeof *pending->duplicates);
        struct weir_duplicate *duplicate = &pending->duplicates[pending->duplicate_count++];
        duplicate->index = i;
        weir_id_encode(&id, duplicate->id);
        skip(pending, i);
    }
}

/* ---- commit ---- */

static void pending_destroy(struct weir_ventilator *v, struct weir_pending_put *pending)
{
    DL_DELETE(v->accept.pending, pending);
    if (!pending->withdrawn)
        v->accept.bytes -= pending->bytes;
    weir_stream_batch_fini(&pending->batch);
    free(pending->duplicates);
    free(pending);
}

static uint32_t unskipped(const struct weir_record *record)
{
    uint32_t count = record->count;
    for (uint32_t i = 0; i < record->skip_count; i++)
        count -= record->skips[i].count;
    return count;
}

static void absorb_key(struct weir_ventilator *v, const struct weir_stream_batch *batch,
                       uint64_t sequence)
{
    const uint8_t *hash = hash_of(&batch->header, &batch->record.index, batch->width,
                                  (uint32_t)(sequence - batch->record.first));
    if (!hash)
        return;
    struct weir_idem_row row = {.sequence = sequence, .time_ms = batch->record.time_ms};
    memcpy(row.hash, hash, sizeof row.hash);
    weir_idempotency_add(&v->idempotency, &row);
    weir_flush_op(v, WEIR_OP_IDEM_PUT)->idem = row;
}

void weir_accept_absorb(struct weir_ventilator *v, const struct weir_stream_batch *batch)
{
    const struct weir_record *record = &batch->record;
    const uint32_t count = unskipped(record);
    v->accept.last = weir_stream_batch_end(batch) - 1;
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        if (group->row.start > record->first || !weir_group_matches(group, &batch->header))
            continue;
        group->row.totals.matched += count;
        weir_flush_group(v, group);
    }
    weir_delayed_absorb(v, batch);
    if (!(batch->header.flags & WEIR_BATCH_IDEMPOTENT) || v->idempotency.count_max == 0)
        return;
    const uint64_t end = weir_stream_batch_end(batch);
    for (uint64_t at = record->first, run; at < end; at += run) {
        bool skipped;
        run = weir_stream_batch_run(batch, at, end, &skipped);
        for (uint64_t i = at; !skipped && i < at + run; i++)
            absorb_key(v, batch, i);
    }
}

/* A group's backlog is full: what came last of this batch is not for it. */
static void overflow(struct weir_ventilator *v, struct weir_group *group,
                     const struct weir_stream_batch *batch)
{
    const struct weir_group_policy *policy = &group->row.policy;
    const struct weir_record *record = &batch->record;
    if (policy->max_backlog == 0 || policy->on_full == WEIR_ON_FULL_REFUSE)
        return;
    const uint64_t backlog = weir_group_backlog(group);
    if (backlog <= policy->max_backlog || group->row.next > record->first)
        return;
    const uint64_t over = backlog - policy->max_backlog;
    const uint32_t count = unskipped(record);
    uint64_t keep = over < count ? count - over : 0;
    const uint64_t end = weir_stream_batch_end(batch);
    group->overflowed = end - 1;
    for (uint64_t at = record->first; at < end;) {
        bool skipped;
        uint64_t run = weir_stream_batch_run(batch, at, end, &skipped);
        if (!skipped && keep > 0) {
            run = run < keep ? run : keep;
            keep -= run;
        } else if (!skipped && policy->on_full == WEIR_ON_FULL_DROP) {
            weir_group_settle(group, at, run);
            weir_group_drop(group, at, run);
            group->row.totals.dropped += WEIR_CANARY(DROP_NOT_COUNTED) ? 0 : run;
            group->row.totals.passed += run;
        } else if (!skipped) {
            for (uint64_t i = 0; i < run; i++)
                weir_outcome_die_unsent(v, group, at + i, record->time_ms, WEIR_REASON_BACKLOG);
            group->row.totals.passed += run;
        }
        at += run;
    }
}

/* The batch is durable: only now does any group see it, and only now is it confirmed. */
static void commit(struct weir_ventilator *v, struct weir_pending_put *pending)
{
    struct weir_stream_batch *batch = &pending->batch;
    const uint64_t first = batch->record.first, before = v->stream.end;
    const uint64_t end = weir_stream_batch_end(batch);
    weir_flush_producer(v, batch->header.producer);
    weir_accept_absorb(v, batch);
    weir_intake_answer(v->intake, pending->ticket, first, batch->record.count,
                       batch->record.time_ms, pending->duplicates, pending->duplicate_count);
    v->count.accepted += unskipped(&batch->record);
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        const bool caught_up = group->row.next >= before && group->row.next <= first;
        const bool matches = group->row.start <= first && weir_group_matches(group, &batch->header);
        if (caught_up)
            weir_group_pass(group, matches ? first : end);
        if (!matches && group->dropped_to + 1 == first)
            group->dropped_to = end - 1;
        if (!matches)
            continue;
        if (caught_up)
            group->oldest_ms = batch->record.time_ms;
        overflow(v, group, batch);
        weir_ventilator_stir(v, group);
    }
    weir_stream_push(&v->stream, batch);
}

/* The disk was full: nothing of this batch was written, nor of any behind it. */
static void withdraw(struct weir_ventilator *v, struct weir_pending_put *from, const char *text)
{
    struct weir_pending_put *pending;
    if (!WEIR_CANARY(KEYS_OF_REFUSED_KEPT))
        weir_idempotency_withdraw(&v->idempotency, from->batch.record.first);
    v->stream.next = from->batch.record.first;
    v->count.full++;
    v->copyout.full = true;
    for (pending = from; pending; pending = pending->next) {
        if (pending->withdrawn)
            continue;
        weir_intake_withdraw(v->intake, pending->ticket, WEIR_BUSY_RETRY_MS, text);
        v->accept.bytes -= pending->bytes;
        pending->withdrawn = true;
    }
}

static void appended(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                     void *pointer)
{
    (void)arg;
    struct weir_pending_put *pending = pointer;
    if (!pending->withdrawn && result->status == WEIR_EFULL && !WEIR_CANARY(FULL_DISK_CONFIRMED))
        withdraw(v, pending, result->error.text);
    else if (!pending->withdrawn)
        commit(v, pending);
    pending_destroy(v, pending);
}

/* ---- accept ---- */

static void append(struct weir_ventilator *v, struct weir_pending_put *pending)
{
    const struct weir_record *record = &pending->batch.record;
    struct weir_store_request request = {.kind = WEIR_STORE_APPEND, .record = *record};
    request.record.header = weir_bytes_ref(&record->header);
    request.record.index = weir_bytes_ref(&record->index);
    request.record.body = weir_bytes_ref(&record->body);
    if (record->skip_count) {
        request.record.skips = weir_alloc(record->skip_count * sizeof *record->skips);
        memcpy(request.record.skips, record->skips, record->skip_count * sizeof *record->skips);
    }
    weir_ventilator_ask(v, &request, appended, 0, pending);
}

static int64_t accept_time(const struct weir_ventilator *v)
{
    if (v->now.wall_ms < 0)
        return 0;
    return v->now.wall_ms < WEIR_TIME_MS_MAX ? v->now.wall_ms : WEIR_TIME_MS_MAX;
}

static void take(struct weir_put *put, struct weir_pending_put *pending)
{
    struct weir_stream_batch *batch = &pending->batch;
    batch->header = put->header;
    batch->width = weir_index_width(put->header.flags);
    batch->record.header = put->header_frame;
    batch->record.index = put->index;
    batch->record.body = put->body;
    put->header_frame = put->index = put->body = WEIR_BYTES_NONE;
}

int weir_accept_put(void *self, struct weir_put *put, struct weir_turned_away *away,
                    const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    const uint64_t bytes = put->header_frame.size + put->index.size + put->body.size;
    if (put->header.flags & WEIR_BATCH_REPLAY)
        return weir_replay_put(v, put, away);
    int rc = check_room(v, put, bytes, away);
    if (rc)
        return rc;
    struct weir_pending_put *pending = weir_zalloc(1, sizeof *pending);
    struct weir_record *record = &pending->batch.record;
    pending->ticket = put->ticket;
    put->first = record->first = v->stream.next;
    put->time_ms = record->time_ms = accept_time(v);
    record->count = put->header.count;
    v->stream.next += record->count;
    find_duplicates(v, put, pending);
    DL_APPEND(v->accept.pending, pending);
    /* What is all duplicates is appended, too: the log says that this number was taken. */
    take(put, pending);
    pending->bytes = bytes;
    v->accept.bytes += bytes;
    append(v, pending);
    return 0;
}

bool weir_accept_idle(const struct weir_ventilator *v)
{
    return v->accept.pending == NULL;
}

void weir_accept_expire(struct weir_ventilator *v)
{
    const int64_t before_ms = v->now.wall_ms - WEIR_PRODUCER_EXPIRE_MS;
    if (v->idempotency.count_max)
        weir_idempotency_expire(&v->idempotency, v->now.wall_ms - v->config.idempotency_window_ms);
    /* Once after a start in any case: the state may have more than are kept in memory. */
    if (weir_intake_expire(v->intake, before_ms) > 0 || !v->accept.trimmed)
        weir_flush_op(v, WEIR_OP_PRODUCER_TRIM)->time_ms = before_ms;
    v->accept.trimmed = true;
}

void weir_accept_fini(struct weir_ventilator *v)
{
    struct weir_pending_put *pending, *next;
    DL_FOREACH_SAFE(v->accept.pending, pending, next)
    pending_destroy(v, pending);
}
