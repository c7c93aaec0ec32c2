/* STATUS: what became of one message, group by group. The state is asked for its rows, the log for
 * the message itself; what has no row is told by the groups' cursors. */
#include <base/alloc.h>
#include <core/admin.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

struct weir_status {
    uint64_t serial;
    uint64_t peer;
    struct weir_id id;
    bool loaded; /* the rows are here; the batch is being read */
    struct weir_row *rows;
    uint32_t row_count;
};

static void status_fini(struct weir_status *status)
{
    for (uint32_t i = 0; i < status->row_count; i++)
        weir_row_fini(&status->rows[i]);
    free(status->rows);
}

void weir_status_fini(struct weir_ventilator *v)
{
    for (uint32_t i = 0; i < v->status_count; i++)
        status_fini(&v->statuses[i]);
    free(v->statuses);
}

/* ---- one group ---- */

struct told {
    const char *state;
    const char *note;     /* what is to be said of that, for people; NULL: nothing */
    bool attempt_unknown; /* nothing of it is left but how it ended */
    bool trimmed;         /* or not even that, only that it has ended */
    uint32_t attempt, death;
    int64_t due_ms, since_ms; /* 0: not told */
    const struct weir_lease *lease;
    const struct weir_row *row;
};

static const struct weir_row *row_of(const struct weir_status *status,
                                     const struct weir_group *group)
{
    for (uint32_t i = 0; i < status->row_count; i++)
        if (status->rows[i].group == group->row.number)
            return &status->rows[i];
    return NULL;
}

static const struct weir_lease *lease_of(const struct weir_ventilator *v,
                                         const struct weir_group *group, uint64_t sequence,
                                         const struct weir_lease_slice **slice)
{
    for (const struct weir_lease *lease = v->leases.table; lease; lease = lease->hh.next) {
        if (lease->group != group)
            continue;
        for (uint32_t i = 0; i < lease->slice_count; i++) {
            *slice = &lease->slices[i];
            if (sequence < (*slice)->sequence || sequence - (*slice)->sequence >= (*slice)->count)
                continue;
            uint32_t first = (*slice)->index + (uint32_t)(sequence - (*slice)->sequence);
            uint32_t count = 1;
            if (weir_lease_open_run(lease, &first, &count))
                return lease;
        }
    }
    return NULL;
}

static void tell_row(const struct weir_row *row, struct told *told)
{
    told->row = row;
    told->attempt = row->attempt;
    told->death = row->death;
    switch (row->state) {
    case WEIR_ROW_PARKED:
        told->state = "waiting";
        break;
    case WEIR_ROW_DEFERRED:
    case WEIR_ROW_LEASED: /* to nobody yet: due, and in memory */
        told->state = "deferred";
        told->due_ms = row->due_ms;
        break;
    case WEIR_ROW_DYING:
    case WEIR_ROW_DEAD:
        told->state = "dead";
        told->since_ms = row->due_ms;
        break;
    case WEIR_ROW_DONE:
        told->state = "done";
        told->since_ms = row->due_ms;
        break;
    }
}

/* What has ended and has no row. */
static void tell_ended(const struct weir_group *group, uint64_t sequence, struct told *told)
{
    const struct weir_ended *ended = &group->row.ended;
    const struct weir_ended_range *range = weir_ended_find(ended, sequence);
    told->state = "done";
    told->attempt_unknown = true;
    if (range && range->fate == WEIR_FATE_LOST) {
        told->state = "lost";
        told->note = "gone with a damaged part of the log";
    } else if (range) {
        told->state = "dropped";
        told->note = weir_group_final(group) ? "sent at most once, and not done"
                                             : "the group's backlog was full";
    } else if (sequence < ended->known_from) {
        told->trimmed = true;
        told->note = "only that it has ended is still known";
    }
}

static struct told tell(const struct weir_ventilator *v, const struct weir_status *status,
                        const struct weir_group *group)
{
    const uint64_t sequence = status->id.sequence;
    const struct weir_lease_slice *slice;
    const struct weir_row *row = row_of(status, group);
    struct told told = {.state = "waiting"};
    told.lease = lease_of(v, group, sequence, &slice);
    if (told.lease) {
        told.state = "in-flight";
        told.row = slice->row;
        told.attempt = slice->row ? slice->row->attempt + 1 : 1;
        told.death = slice->row ? slice->row->death : 0;
        told.since_ms = told.lease->made_ms;
    } else if (row) {
        tell_row(row, &told);
    } else if (weir_settled_has(&group->settled, sequence)) {
        tell_ended(group, sequence, &told);
    }
    return told;
}

/* ---- the answer ---- */

static void pack_history(struct weir_packer *packer, const struct weir_attempt_note *notes,
                         uint32_t count)
{
    static const char *const outcomes[] = {"done",        "retry", "reject",  "release",
                                           "unavailable", "lost",  "timeout", "expired"};
    weir_pack_text(packer, "history");
    weir_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        weir_pack_map(packer, 5);
        weir_pack_text(packer, "attempt");
        weir_pack_u64(packer, notes[i].attempt);
        weir_pack_text(packer, "time_ms");
        weir_pack_i64(packer, notes[i].time_ms);
        weir_pack_text(packer, "outcome");
        weir_pack_text(packer, notes[i].outcome <= WEIR_NOTE_EXPIRED ? outcomes[notes[i].outcome]
                                                                     : "unknown");
        weir_pack_text(packer, "worker");
        weir_pack_text_n(packer, notes[i].worker, notes[i].worker_bytes);
        weir_pack_text(packer, "error");
        weir_pack_text_n(packer, notes[i].error, notes[i].error_bytes);
    }
}

static void pack_known(struct weir_packer *packer, bool known, uint64_t number)
{
    if (known)
        weir_pack_u64(packer, number);
    else
        weir_pack_nil(packer);
}

static void pack_group(struct weir_packer *packer, const struct weir_group *group,
                       const struct told *told)
{
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    const bool dead = strcmp(told->state, "dead") == 0;
    const bool out = told->lease && told->lease->worker_name;
    int count = 0;
    if (told->row && told->row->history.size)
        count = weir_history_decode(&told->row->history, notes, WEIR_HISTORY_ENTRIES_MAX);
    if (count < 0)
        count = 0;
    weir_pack_text(packer, group->row.policy.name);
    weir_pack_map(packer, 3 + (told->note != NULL) + told->trimmed + (told->due_ms != 0) +
                              (told->since_ms != 0) + dead + out + 2 * (count > 0));
    weir_pack_text(packer, "state");
    weir_pack_text(packer, told->state);
    weir_pack_text(packer, "attempt");
    pack_known(packer, !told->attempt_unknown, told->attempt);
    weir_pack_text(packer, "death");
    pack_known(packer, !told->trimmed, told->death);
    if (told->note) {
        weir_pack_text(packer, "note");
        weir_pack_text(packer, told->note);
    }
    if (told->trimmed) {
        weir_pack_text(packer, "trimmed");
        weir_pack_bool(packer, true);
    }
    if (told->due_ms) {
        weir_pack_text(packer, "due_ms");
        weir_pack_i64(packer, told->due_ms);
    }
    if (told->since_ms) {
        weir_pack_text(packer, "since_ms");
        weir_pack_i64(packer, told->since_ms);
    }
    if (out) {
        weir_pack_text(packer, "worker");
        weir_pack_text(packer, told->lease->worker_name);
    }
    if (dead) {
        weir_pack_text(packer, "reason");
        weir_pack_text(packer, weir_reason_name(told->row->reason));
    }
    if (count > 0) {
        weir_pack_text(packer, "error");
        weir_pack_text_n(packer, notes[count - 1].error, notes[count - 1].error_bytes);
        pack_history(packer, notes, (uint32_t)count);
    }
}

/* Whether the message is, or was, for this group. When nothing but cursors is known of it any more,
 * every group that existed then is told of. */
static bool concerns(const struct weir_status *status, const struct weir_group *group,
                     const struct weir_batch_header *header)
{
    if (row_of(status, group))
        return true;
    return group->row.start <= status->id.sequence &&
           (!header || weir_group_matches(group, header));
}

static void answer(struct weir_ventilator *v, const struct weir_status *status,
                   const struct weir_batch_header *header, bool trimmed)
{
    const struct weir_event event = {.port = WEIR_PORT_ADMIN, .peer = status->peer};
    struct weir_packer *packer = weir_packer_new();
    char text[WEIR_ID_TEXT_BYTES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->group_count; i++)
        count += concerns(status, v->groups[i], header);
    weir_id_format(&status->id, text);
    weir_pack_map(packer, 6);
    weir_pack_text(packer, "id");
    weir_pack_text(packer, text);
    weir_pack_text(packer, "stream");
    weir_pack_text(packer, v->name);
    weir_pack_text(packer, "topic");
    if (header)
        weir_pack_text_n(packer, header->topic, header->topic_bytes);
    else
        weir_pack_nil(packer);
    weir_pack_text(packer, "accepted_at");
    weir_pack_i64(packer, status->id.time_ms);
    weir_pack_text(packer, "trimmed");
    weir_pack_bool(packer, trimmed);
    weir_pack_text(packer, "groups");
    weir_pack_map(packer, count);
    for (uint32_t i = 0; i < v->group_count; i++) {
        if (!concerns(status, v->groups[i], header))
            continue;
        const struct told told = tell(v, status, v->groups[i]);
        pack_group(packer, v->groups[i], &told);
    }
    weir_admin_answer(&v->host, &event, &packer);
}

static void unknown(struct weir_ventilator *v, uint64_t peer)
{
    const struct weir_event event = {.port = WEIR_PORT_ADMIN, .peer = peer};
    weir_admin_error(&v->host, &event, WEIR_CODE_UNKNOWN,
                     "this ventilator has never taken in a message with this id");
}

/* Answer if everything needed is there. False: the batch is being read. */
static bool finish(struct weir_ventilator *v, struct weir_status *status)
{
    struct weir_stream_batch *batch;
    const uint64_t sequence = status->id.sequence;
    const enum weir_stream_found found = weir_stream_find(&v->stream, sequence, &batch);
    /* Where it cannot be read the answer is what the state knows. */
    if (found == WEIR_STREAM_UNKNOWN && weir_stream_want(&v->stream, sequence, WEIR_READ_ONE_BYTES))
        return false;
    if (found == WEIR_STREAM_HERE && batch->record.first <= sequence) {
        bool skipped;
        weir_stream_batch_run(batch, sequence, sequence + 1, &skipped);
        if (batch->record.time_ms != status->id.time_ms || skipped)
            unknown(v, status->peer);
        else
            answer(v, status, &batch->header, false);
        return true;
    }
    struct weir_batch_header header;
    bool known = false;
    for (uint32_t i = 0; i < status->row_count && !known; i++)
        known = status->rows[i].header.size > 0 &&
                weir_batch_header_decode(&status->rows[i].header, &header, NULL) == 0;
    answer(v, status, known ? &header : NULL, true);
    return true;
}

/* ---- asking ---- */

static void have_rows(struct weir_ventilator *v, struct weir_store_result *result, uint64_t serial,
                      void *pointer)
{
    (void)pointer;
    for (uint32_t i = 0; i < v->status_count; i++) {
        struct weir_status *status = &v->statuses[i];
        if (status->serial != serial)
            continue;
        status->loaded = true;
        status->rows = result->rows;
        status->row_count = result->row_count;
        result->rows = NULL;
        result->row_count = 0;
    }
    weir_status_loaded(v);
}

void weir_status_loaded(struct weir_ventilator *v)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < v->status_count; i++) {
        struct weir_status *status = &v->statuses[i];
        if (status->loaded && finish(v, status))
            status_fini(status);
        else
            v->statuses[kept++] = *status;
    }
    v->status_count = kept;
}

void weir_status_ask(struct weir_ventilator *v, const struct weir_event *event,
                     const struct weir_control *control)
{
    struct weir_id id;
    weir_id_decode(control->id, &id);
    if (id.tag != v->tag) {
        weir_admin_error(&v->host, event, WEIR_CODE_TAG, "this id is of another stream");
        return;
    }
    if (id.sequence == 0 || id.sequence >= v->stream.end) {
        unknown(v, event->peer);
        return;
    }
    if (v->status_count == WEIR_ASKED_MAX) {
        weir_admin_error(&v->host, event, WEIR_CODE_LIMIT,
                         "too many messages are being looked up; try again");
        return;
    }
    v->statuses = weir_realloc(v->statuses, v->status_count + 1, sizeof *v->statuses);
    const struct weir_status status = {.serial = ++v->last_status, .peer = event->peer, .id = id};
    v->statuses[v->status_count++] = status;
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_MESSAGE,
                                         .sequence = id.sequence,
                                         .count = WEIR_GROUPS_MAX};
    weir_flush_now(v); /* what happened just now counts */
    weir_ventilator_ask(v, &request, have_rows, status.serial, NULL);
}
