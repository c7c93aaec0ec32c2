/* What an operator sees of a ventilator, and may ask of it. */
#include <base/alloc.h>
#include <core/admin.h>
#include <core/ventilator.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- STATS ---- */

static void pack_number(struct weir_packer *packer, const char *name, uint64_t value)
{
    weir_pack_text(packer, name);
    weir_pack_u64(packer, value);
}

/* How old the oldest message is that nobody has yet, as far as memory knows. */
static int64_t oldest_age_ms(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_stream_batch *batch;
    const uint64_t oldest = group->returned.count ? group->returned.at[0].first : group->row.next;
    if (weir_group_waiting(group) == 0)
        return 0;
    if (weir_stream_find(&v->stream, oldest, &batch) == WEIR_STREAM_HERE)
        group->oldest_ms = batch->record.time_ms;
    return v->now.wall_ms > group->oldest_ms ? v->now.wall_ms - group->oldest_ms : 0;
}

static void pack_group(struct weir_ventilator *v, struct weir_packer *packer,
                       struct weir_group *group)
{
    const struct weir_group_totals *totals = &group->row.totals;
    const uint64_t numbers[] = {weir_group_waiting(group),
                                group->in_flight,
                                group->deferred.rows,
                                group->dead + group->dying,
                                group->dying,
                                totals->done,
                                totals->retried,
                                totals->rejected,
                                totals->expired,
                                totals->dropped,
                                totals->released,
                                totals->replayed,
                                totals->stale,
                                (uint64_t)oldest_age_ms(v, group),
                                weir_dispatch_servers(v->dispatch, group->row.policy.name, NULL)};
    static const char *const names[] = {"waiting", "in-flight",     "deferred", "dead",
                                        "dying",   "done",          "retried",  "rejected",
                                        "expired", "dropped",       "released", "replayed",
                                        "stale",   "oldest_age_ms", "peers"};
    const uint32_t count = sizeof names / sizeof *names;
    _Static_assert(sizeof numbers / sizeof *numbers == sizeof names / sizeof *names,
                   "each number has its name");
    weir_pack_map(packer, count + 2);
    for (uint32_t i = 0; i < count; i++)
        pack_number(packer, names[i], numbers[i]);
    weir_pack_text(packer, "paused");
    weir_pack_bool(packer, group->row.paused);
    weir_pack_text(packer, "listed");
    weir_pack_bool(packer, group->row.listed);
}

/* X (name, value): what the ventilator itself counts. */
#define COUNTERS(X)                                                                                \
    X("next", v->stream.next)                                                                      \
    X("accepted", v->count.accepted)                                                               \
    X("used_bytes", v->used_bytes)                                                                 \
    X("copied_bytes", weir_copyout_bytes(v))                                                       \
    X("in_flight", v->leases.messages)                                                             \
    X("log_syncs", v->log_syncs)                                                                   \
    X("flushes", v->count.flushes)                                                                 \
    X("stale_acks", v->count.acks_stale)                                                           \
    X("timed_out", v->count.timed_out)                                                             \
    X("deadlines_passed", v->count.deadlines)                                                      \
    X("workers_lost", v->count.lost_workers)                                                       \
    X("spool_full", v->count.full)                                                                 \
    X("missing", v->count.missing)                                                                 \
    X("dropped_while_starting", v->count.stashed_dropped)                                          \
    X("idempotency_keys", v->idempotency.count)                                                    \
    X("idempotency_forgotten", v->idempotency.forgotten)                                           \
    X("dead_letters_waiting", v->dying.rows)                                                       \
    X("dead_letters_refused", v->dying.refused)

static void answer_stats(struct weir_ventilator *v, const struct weir_event *event)
{
    static const char *const states[] = {"recovering", "open", "draining", "closing", "stopped"};
    struct weir_packer *packer = weir_packer_new();
    char incarnation[17];
#define X(name, value) +1
    weir_pack_map(packer, 8 COUNTERS(X));
#undef X
    weir_pack_text(packer, "node");
    weir_pack_text(packer, v->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, "ventilator");
    weir_pack_text(packer, "state");
    weir_pack_text(packer, states[v->state]);
    snprintf(incarnation, sizeof incarnation, "%016" PRIx64, v->incarnation);
    weir_pack_text(packer, "incarnation"); /* JSON's numbers end at 2^53 */
    weir_pack_text(packer, incarnation);
    pack_number(packer, "tag", v->tag);
#define X(name, value) pack_number(packer, name, value);
    COUNTERS(X)
#undef X
    weir_pack_text(packer, "intake");
    weir_pack_map(packer, weir_intake_stats_count());
    weir_intake_stats(v->intake, packer);
    weir_pack_text(packer, "dispatch");
    weir_pack_map(packer, weir_dispatch_stats_count());
    weir_dispatch_stats(v->dispatch, packer, &v->now);
    weir_pack_text(packer, "groups");
    weir_pack_map(packer, v->group_count);
    for (uint32_t i = 0; i < v->group_count; i++) {
        weir_pack_text(packer, v->groups[i]->row.policy.name);
        pack_group(v, packer, v->groups[i]);
    }
    weir_admin_answer(&v->host, event, &packer);
}

/* ---- LIST ---- */

struct listed {
    uint64_t sequence;
    int64_t time_ms;
    uint32_t attempt, death;
    int64_t due_ms, since_ms; /* 0: not told */
    const char *reason, *worker;
};

static void pack_listed(struct weir_ventilator *v, struct weir_packer *packer,
                        const struct listed *listed)
{
    char text[WEIR_ID_TEXT_BYTES];
    const struct weir_id id = {listed->time_ms, v->tag, listed->sequence};
    weir_id_format(&id, text);
    weir_pack_map(packer, 4 + (listed->due_ms != 0) + (listed->since_ms != 0) +
                              (listed->reason != NULL) + (listed->worker != NULL));
    weir_pack_text(packer, "id");
    weir_pack_text(packer, text);
    pack_number(packer, "sequence", listed->sequence);
    pack_number(packer, "attempt", listed->attempt);
    pack_number(packer, "death", listed->death);
    if (listed->due_ms) {
        weir_pack_text(packer, "due_ms");
        weir_pack_i64(packer, listed->due_ms);
    }
    if (listed->since_ms) {
        weir_pack_text(packer, "since_ms");
        weir_pack_i64(packer, listed->since_ms);
    }
    if (listed->reason) {
        weir_pack_text(packer, "reason");
        weir_pack_text(packer, listed->reason);
    }
    if (listed->worker) {
        weir_pack_text(packer, "worker");
        weir_pack_text(packer, listed->worker);
    }
}

static struct weir_packer *listing_begin(const struct weir_group *group, const char *state,
                                         bool more, uint32_t count)
{
    struct weir_packer *packer = weir_packer_new();
    weir_pack_map(packer, 4);
    weir_pack_text(packer, "group");
    weir_pack_text(packer, group->row.policy.name);
    weir_pack_text(packer, "state");
    weir_pack_text(packer, state);
    weir_pack_text(packer, "more");
    weir_pack_bool(packer, more);
    weir_pack_text(packer, "messages");
    weir_pack_array(packer, count);
    return packer;
}

static const struct {
    const char *word;
    enum weir_row_state state;
} row_states[] = {
    {"deferred", WEIR_ROW_DEFERRED}, {"dying", WEIR_ROW_DYING}, {"dead", WEIR_ROW_DEAD}};
#define ROW_STATES (sizeof row_states / sizeof *row_states)

/* `arg`: the group's number and, above it, which state; `pointer`: the peer that asked. */
static void listed_rows(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                        void *pointer)
{
    const struct weir_group *group = weir_groups_number(v, (uint32_t)arg);
    const struct weir_event event = {.port = WEIR_PORT_ADMIN, .peer = (uintptr_t)pointer};
    v->listing_count--;
    if (!group) {
        weir_admin_error(&v->host, &event, WEIR_CODE_GROUP, "the group cannot be listed now");
        return;
    }
    struct weir_packer *packer =
        listing_begin(group, row_states[arg >> 32].word, result->more, result->row_count);
    for (uint32_t i = 0; i < result->row_count; i++) {
        const struct weir_row *row = &result->rows[i];
        const bool dead = row->state != WEIR_ROW_DEFERRED;
        const struct listed listed = {.sequence = row->sequence,
                                      .time_ms = row->time_ms,
                                      .attempt = row->attempt,
                                      .death = row->death,
                                      .due_ms = dead ? 0 : row->due_ms,
                                      .since_ms = dead ? row->due_ms : 0,
                                      .reason = dead ? weir_reason_name(row->reason) : NULL};
        pack_listed(v, packer, &listed);
    }
    weir_admin_answer(&v->host, &event, &packer);
}

static int by_sequence(const void *left, const void *right)
{
    const struct listed *a = left, *b = right;
    return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

/* What is out is known in memory: all of it is bounded by the workers' credit. */
static void list_leased(struct weir_ventilator *v, const struct weir_event *event,
                        const struct weir_group *group, uint64_t after, uint32_t limit)
{
    struct listed *all = weir_alloc((group->in_flight + 1) * sizeof *all);
    uint64_t count = 0;
    for (const struct weir_lease *lease = v->leases.table; lease; lease = lease->hh.next) {
        for (size_t r = 0; lease->group == group && r < lease->open.count; r++) {
            for (uint64_t i = lease->open.at[r].first; i <= lease->open.at[r].last; i++) {
                const struct weir_lease_slice *slice = weir_lease_slice_of(lease, (uint32_t)i);
                const uint64_t sequence = slice->sequence + (i - slice->index);
                if (sequence <= after || count == group->in_flight)
                    continue;
                all[count++] = (struct listed){.sequence = sequence,
                                               .time_ms = slice->time_ms,
                                               .attempt = slice->row ? slice->row->attempt + 1 : 1,
                                               .death = slice->row ? slice->row->death : 0,
                                               .since_ms = lease->made_ms,
                                               .worker = lease->worker_name};
            }
        }
    }
    qsort(all, count, sizeof *all, by_sequence);
    const uint32_t shown = count < limit ? (uint32_t)count : limit;
    struct weir_packer *packer = listing_begin(group, "in-flight", shown < count, shown);
    for (uint32_t i = 0; i < shown; i++)
        pack_listed(v, packer, &all[i]);
    free(all);
    weir_admin_answer(&v->host, event, &packer);
}

static void answer_list(struct weir_ventilator *v, const struct weir_event *event,
                        const struct weir_control *control, struct weir_group *group)
{
    const uint64_t after = WEIR_HAS(control, AFTER) ? control->after : 0;
    uint32_t limit = WEIR_ADMIN_LIST_MAX;
    if (WEIR_HAS(control, LIMIT) && control->limit < limit)
        limit = control->limit ? (uint32_t)control->limit : 1;
    if (weir_text_is(&control->state, "in-flight")) {
        list_leased(v, event, group, after, limit);
        return;
    }
    for (uint64_t i = 0; i < ROW_STATES; i++) {
        if (!weir_text_is(&control->state, row_states[i].word))
            continue;
        if (v->listing_count == WEIR_ASKED_MAX) {
            weir_admin_error(&v->host, event, WEIR_CODE_LIMIT,
                             "too many listings are being made; try again");
            return;
        }
        struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                             .query = WEIR_QUERY_LIST,
                                             .state = row_states[i].state,
                                             .number = group->row.number,
                                             .sequence = after,
                                             .count = limit};
        v->listing_count++;
        weir_flush_now(v);
        weir_ventilator_ask(v, &request, listed_rows, i << 32 | group->row.number,
                            (void *)(uintptr_t)event->peer);
        return;
    }
    weir_admin_error(&v->host, event, WEIR_CODE_MALFORMED,
                     "LIST: state is \"deferred\", \"in-flight\", \"dying\" or \"dead\"");
}

/* ---- GROUP ---- */

struct weir_change { /* made in memory; to be answered when it is durable */
    uint64_t peer;
    uint64_t flush;
    const char *done; /* the word of the answer */
};

static void answer_when_durable(struct weir_ventilator *v, const struct weir_event *event,
                                const char *done)
{
    v->changes = weir_realloc(v->changes, v->change_count + 1, sizeof *v->changes);
    v->changes[v->change_count++] =
        (struct weir_change){.peer = event->peer, .flush = weir_flush_need(v), .done = done};
}

void weir_ventilator_admin_flushed(struct weir_ventilator *v)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < v->change_count; i++) {
        const struct weir_change change = v->changes[i];
        const struct weir_event event = {.port = WEIR_PORT_ADMIN, .peer = change.peer};
        if (change.flush > v->flush.done)
            v->changes[kept++] = change;
        else
            weir_admin_done(&v->host, &event, change.done);
    }
    v->change_count = kept;
}

static void answer_group(struct weir_ventilator *v, const struct weir_event *event,
                         const struct weir_control *control, struct weir_group *group)
{
    const bool pause = weir_text_is(&control->action, "pause");
    if (v->state == WEIR_VENTILATOR_CLOSING) {
        weir_admin_error(&v->host, event, WEIR_CODE_DRAINING,
                         "the ventilator is about to end: say it again when it is back");
    } else if (v->change_count == WEIR_ASKED_MAX) {
        weir_admin_error(&v->host, event, WEIR_CODE_LIMIT,
                         "too many changes of groups are being written; try again");
    } else if (pause || weir_text_is(&control->action, "resume")) {
        group->row.paused = pause;
        weir_flush_group(v, group);
        weir_ventilator_stir(v, group);
        answer_when_durable(v, event, pause ? "paused" : "resumed");
    } else if (weir_text_is(&control->action, "remove")) {
        const unsigned long long held = weir_group_backlog(group) + group->in_flight;
        weir_ventilator_log(v, WEIR_LOG_WARNING, "group %s is removed with %llu messages",
                            group->row.policy.name, held);
        weir_groups_remove(v, group);
        answer_when_durable(v, event, "removed");
    } else {
        weir_admin_error(&v->host, event, WEIR_CODE_MALFORMED,
                         "GROUP: action is \"pause\", \"resume\" or \"remove\"");
    }
}

/* ---- who asks what ---- */

static void answer_of_group(struct weir_ventilator *v, const struct weir_event *event,
                            const struct weir_control *control)
{
    struct weir_group *group = weir_groups_find(v, control->group.data, control->group.bytes);
    if (!group)
        weir_admin_error(&v->host, event, WEIR_CODE_GROUP, "this ventilator has no such group");
    else if (control->verb == WEIR_VERB_LIST)
        answer_list(v, event, control, group);
    else
        answer_group(v, event, control, group);
}

void weir_ventilator_admin(struct weir_ventilator *v, struct weir_event *event)
{
    struct weir_control control;
    if (!weir_admin_decode(&v->host, event, &control))
        return;
    if (control.verb == WEIR_VERB_STATS) {
        answer_stats(v, event);
    } else if (v->state == WEIR_VENTILATOR_RECOVERING && control.verb != WEIR_VERB_DRAIN) {
        weir_admin_error(&v->host, event, WEIR_CODE_NOT_READY,
                         "the ventilator is reading its log; try again in a moment");
    } else if (control.verb == WEIR_VERB_STATUS) {
        weir_status_ask(v, event, &control);
    } else if (control.verb == WEIR_VERB_LIST || control.verb == WEIR_VERB_GROUP) {
        answer_of_group(v, event, &control);
    } else if (control.verb == WEIR_VERB_DRAIN) {
        weir_admin_done(&v->host, event, "draining");
        weir_ventilator_drain(v);
    } else {
        weir_admin_unknown(&v->host, event, control.verb);
    }
    weir_control_fini(&control);
}
