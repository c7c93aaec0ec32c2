/* The ventilator: takes batches in, keeps them, hands them out, and notes what became of them.
 *
 *                recovery over          DRAIN           nothing is out, or time is over
 *   RECOVERING ───────────────► OPEN ─────────► DRAINING ───────────────► CLOSING
 *        │                       │                 │                         │ all is durable
 *        └───────────────────────┴─────────────────┴─────────────────────────┴────► STOPPED
 *                          storage failed
 */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define STATUS_IO_ERROR 74 /* EX_IOERR */

struct weir_asked {
    UT_hash_handle hh;
    uint64_t id;
    weir_stored_fn *done;
    uint64_t arg;
    void *pointer;
};

struct weir_stashed {
    enum weir_event_type type;
    uint32_t port;
    uint64_t peer;
    struct weir_frames frames;
};

static void move(struct weir_ventilator *v, enum weir_ventilator_state to)
{
    static const unsigned allowed[] = {
        [WEIR_VENTILATOR_RECOVERING] = 1u << WEIR_VENTILATOR_OPEN | 1u << WEIR_VENTILATOR_STOPPED,
        [WEIR_VENTILATOR_OPEN] = 1u << WEIR_VENTILATOR_DRAINING | 1u << WEIR_VENTILATOR_STOPPED,
        [WEIR_VENTILATOR_DRAINING] = 1u << WEIR_VENTILATOR_CLOSING | 1u << WEIR_VENTILATOR_STOPPED,
        [WEIR_VENTILATOR_CLOSING] = 1u << WEIR_VENTILATOR_STOPPED,
        [WEIR_VENTILATOR_STOPPED] = 0,
    };
    WEIR_ASSERT((allowed[v->state] >> to) & 1u);
    v->state = to;
}

void weir_ventilator_log(struct weir_ventilator *v, enum weir_log_level level, const char *format,
                         ...)
{
    char text[WEIR_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    v->host.log(v->host.self, level, text);
}

void weir_ventilator_stir(struct weir_ventilator *v, struct weir_group *group)
{
    if (group->stirred)
        return;
    group->stirred = true;
    DL_APPEND(v->stirred, group);
}

int64_t weir_ventilator_mono_of(const struct weir_ventilator *v, int64_t wall_ms)
{
    const int64_t far_ms = WEIR_HOUSEKEEPING_MS; /* look again by then: the wall clock may jump */
    int64_t wait_ms = wall_ms > v->now.wall_ms ? wall_ms - v->now.wall_ms : 0;
    if (wait_ms > far_ms)
        wait_ms = far_ms;
    return v->now.mono_ns + wait_ms * WEIR_NS_PER_MS;
}

/* ---- storage ---- */

bool weir_ventilator_may_ask(const struct weir_ventilator *v)
{
    return v->asked_count < WEIR_STORE_REQUESTS_MAX / 2;
}

void weir_ventilator_ask(struct weir_ventilator *v, struct weir_store_request *request,
                         weir_stored_fn *done, uint64_t arg, void *pointer)
{
    struct weir_asked *asked = weir_zalloc(1, sizeof *asked);
    asked->id = request->id = ++v->last_request;
    asked->done = done;
    asked->arg = arg;
    asked->pointer = pointer;
    HASH_ADD(hh, v->asked, id, sizeof asked->id, asked);
    v->asked_count++;
    v->host.store(v->host.self, request);
}

void weir_ventilator_fail(struct weir_ventilator *v, const struct weir_error *error,
                          const char *what)
{
    if (v->state == WEIR_VENTILATOR_STOPPED)
        return;
    weir_ventilator_log(v, WEIR_LOG_ERROR,
                        "the spool cannot be written (%s): %s; nothing is confirmed from now on, "
                        "see to the disk and start again",
                        what, error->text);
    weir_intake_close(v->intake, WEIR_CODE_STORAGE, "the spool cannot be written");
    move(v, WEIR_VENTILATOR_STOPPED);
    v->host.stopped(v->host.self, STATUS_IO_ERROR);
}

static void stored(struct weir_ventilator *v, struct weir_store_result *result)
{
    struct weir_asked *asked;
    HASH_FIND(hh, v->asked, &result->id, sizeof result->id, asked);
    if (!asked)
        return;
    HASH_DELETE(hh, v->asked, asked);
    v->asked_count--;
    v->used_bytes = result->used_bytes;
    if (result->log_syncs > v->log_syncs) /* the log writer's and the state's come as they like */
        v->log_syncs = result->log_syncs;
    weir_copyout_seen(v, result);
    const bool full = result->kind == WEIR_STORE_APPEND && result->status == WEIR_EFULL &&
                      !WEIR_CANARY(FULL_SPOOL_ENDS);
    if (result->status != 0 && !full && !WEIR_CANARY(STORAGE_FAILURE_IGNORED)) {
        /* A state that cannot be read answers for no message any more. The log may be damaged in
         * one place and well in all others: see read_done. */
        if (result->kind != WEIR_STORE_READ && result->kind != WEIR_STORE_TRIM)
            weir_ventilator_fail(v, &result->error,
                                 result->kind == WEIR_STORE_APPEND ? "log" : "state");
    }
    if (v->state != WEIR_VENTILATOR_STOPPED)
        asked->done(v, result, asked->arg, asked->pointer);
    free(asked);
}

/* ---- events ---- */

/* Until recovery is over frames wait here; what does not fit is dropped, and its sender repeats. */
static void stash(struct weir_ventilator *v, struct weir_event *event)
{
    const size_t bytes = event->frames ? weir_frames_size(event->frames) : 0;
    if (v->stash_count == WEIR_STASH_MESSAGES_MAX ||
        v->stash_bytes + bytes > WEIR_STASH_BYTES_MAX) {
        v->count.stashed_dropped++;
        return;
    }
    if (v->stash_count % 64 == 0)
        v->stash = weir_realloc(v->stash, v->stash_count + 64, sizeof *v->stash);
    struct weir_stashed *stashed = &v->stash[v->stash_count++];
    *stashed = (struct weir_stashed){event->type, event->port, event->peer, {0}};
    if (event->frames) {
        stashed->frames = *event->frames;
        *event->frames = (struct weir_frames){0};
    }
    v->stash_bytes += bytes;
}

static void from_peers(struct weir_ventilator *v, struct weir_event *event)
{
    if (v->state == WEIR_VENTILATOR_RECOVERING) {
        stash(v, event);
    } else if (event->port == WEIR_PORT_SUBMIT) {
        if (event->type == WEIR_EVENT_MESSAGE)
            weir_intake_event(v->intake, event);
    } else if (event->port == WEIR_PORT_DISPATCH) {
        if (event->type == WEIR_EVENT_MESSAGE)
            weir_dispatch_event(v->dispatch, event);
        else
            weir_dispatch_gone(v->dispatch, event->peer, &event->now);
    }
}

static void route(struct weir_ventilator *v, struct weir_event *event)
{
    if (event->type == WEIR_EVENT_START) {
        weir_recovery_start(v);
    } else if (event->type == WEIR_EVENT_STORED) {
        stored(v, event->result);
    } else if (event->type == WEIR_EVENT_DRAIN) {
        weir_ventilator_drain(v);
    } else if (event->type == WEIR_EVENT_TIMER || event->type == WEIR_EVENT_HANDLED) {
        return;
    } else if (event->port == WEIR_PORT_TO) {
        if (v->submit)
            weir_submit_event(v->submit, event);
    } else if (event->port == WEIR_PORT_ADMIN) {
        if (event->type == WEIR_EVENT_MESSAGE)
            weir_ventilator_admin(v, event);
    } else if (event->type == WEIR_EVENT_MESSAGE || event->type == WEIR_EVENT_PEER_GONE) {
        from_peers(v, event);
    }
}

void weir_ventilator_recovered(struct weir_ventilator *v)
{
    if (!weir_groups_configure(v)) {
        weir_ventilator_open(v);
        return;
    }
    v->opening_flush = weir_flush_need(v);
    weir_flush_now(v);
}

void weir_ventilator_open(struct weir_ventilator *v)
{
    move(v, WEIR_VENTILATOR_OPEN);
    weir_ventilator_log(v, WEIR_LOG_INFO, "open: next sequence %llu, %u groups",
                        (unsigned long long)v->stream.next, v->group_count);
    for (uint32_t i = 0; i < v->group_count; i++)
        weir_ventilator_stir(v, v->groups[i]);
    for (uint32_t i = 0; i < v->stash_count; i++) {
        struct weir_stashed *stashed = &v->stash[i];
        struct weir_event event = {.type = stashed->type,
                                   .now = v->now,
                                   .port = stashed->port,
                                   .peer = stashed->peer,
                                   .frames = &stashed->frames};
        from_peers(v, &event);
        weir_frames_drop(&stashed->frames);
    }
    free(v->stash);
    v->stash = NULL;
    v->stash_count = 0;
    v->stash_bytes = 0;
    if (v->drain_until_ns)
        weir_ventilator_drain(v);
}

/* ---- draining ---- */

void weir_ventilator_drain(struct weir_ventilator *v)
{
    v->drain_until_ns = v->now.mono_ns + WEIR_DRAIN_MS * WEIR_NS_PER_MS;
    if (v->state != WEIR_VENTILATOR_OPEN)
        return; /* recovery ends first; or it is draining already */
    move(v, WEIR_VENTILATOR_DRAINING);
    weir_intake_close(v->intake, WEIR_CODE_DRAINING, "the ventilator is being stopped");
}

/* These go back into the state, with the time at which they were accepted: it is part of their id.
 * False: the log has to be read for that; not waited for when it is `late`. */
static bool unclaim(struct weir_ventilator *v, struct weir_group *group, struct weir_rangeset *set,
                    bool late)
{
    while (set->count) {
        const uint64_t sequence = set->at[0].first;
        struct weir_stream_batch *batch;
        const enum weir_stream_found found = weir_stream_find(&v->stream, sequence, &batch);
        if (found == WEIR_STREAM_UNKNOWN && !late) {
            weir_stream_want(&v->stream, sequence, WEIR_READ_BYTES);
            return false;
        }
        const bool here = found == WEIR_STREAM_HERE && batch->record.first <= sequence;
        const int64_t time_ms = here ? batch->record.time_ms : v->now.wall_ms;
        weir_rangeset_remove(set, sequence, sequence);
        weir_deferred_put(v, group, weir_row_new(group, sequence, time_ms), v->now.wall_ms);
    }
    return true;
}

/* What was noted as sent and is not goes back, so that stopping in good order loses nothing. */
static bool unclaim_all(struct weir_ventilator *v, bool late)
{
    bool all = true;
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        all = unclaim(v, group, &group->claimed, late) && all;
        all = unclaim(v, group, &group->cleared, late) && all;
        while (weir_group_final(group) && group->deferred.ready) {
            struct weir_row *row = weir_deferred_take(group, group->deferred.ready);
            row->state = WEIR_ROW_DEFERRED;
            weir_flush_row(v, row, true);
            weir_row_destroy(&row);
        }
    }
    return all;
}

static int64_t drain_tick(struct weir_ventilator *v)
{
    if (v->state == WEIR_VENTILATOR_DRAINING) {
        const bool late = v->now.mono_ns >= v->drain_until_ns;
        const bool quiet = v->leases.messages == 0 && v->replay_count == 0;
        /* What the storage is doing ends with an event, however late it is. */
        if (!weir_accept_idle(v) || (!quiet && !late) || !unclaim_all(v, late))
            return late ? WEIR_TIME_NEVER : v->drain_until_ns;
        if (v->leases.messages)
            weir_ventilator_log(v, WEIR_LOG_WARNING,
                                "%llu messages are still out; their leases are kept, and their "
                                "acks count when this ventilator is back",
                                (unsigned long long)v->leases.messages);
        weir_flush_leases(v);
        v->closing_flush = weir_flush_need(v);
        move(v, WEIR_VENTILATOR_CLOSING);
        weir_flush_tick(v);
    }
    if (v->state == WEIR_VENTILATOR_CLOSING && v->flush.done >= v->closing_flush &&
        v->flush.under_way == 0) {
        move(v, WEIR_VENTILATOR_STOPPED);
        v->host.stopped(v->host.self, 0);
    }
    return WEIR_TIME_NEVER;
}

/* ---- the end of a turn ---- */

static int64_t sooner(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

static void handout_stirred(struct weir_ventilator *v)
{
    for (struct weir_heap_node *node = weir_heap_first(&v->group_timers);
         node && node->at <= v->now.mono_ns; node = weir_heap_first(&v->group_timers)) {
        weir_heap_remove(&v->group_timers, node);
        weir_ventilator_stir(v, WEIR_CONTAINER_OF(node, struct weir_group, timer));
    }
    struct weir_group *stirred = v->stirred;
    v->stirred = NULL;
    while (stirred) { /* whatever is stirred meanwhile has its turn next time */
        struct weir_group *group = stirred;
        DL_DELETE(stirred, group);
        group->stirred = false;
        weir_handout(v, group);
    }
    v->again = v->again || v->stirred;
}

static int64_t housekeeping(struct weir_ventilator *v)
{
    if (v->now.mono_ns >= v->housekeeping_ns) {
        v->housekeeping_ns = v->now.mono_ns + WEIR_HOUSEKEEPING_MS * WEIR_NS_PER_MS;
        weir_groups_housekeeping(v);
        weir_accept_expire(v);
        weir_delayed_tick(v);
    }
    return v->housekeeping_ns;
}

static void turn(struct weir_ventilator *v)
{
    int64_t at = WEIR_TIME_NEVER;
    if (v->state == WEIR_VENTILATOR_STOPPED || v->state == WEIR_VENTILATOR_RECOVERING)
        return;
    at = sooner(at, weir_dispatch_tick(v->dispatch, &v->now));
    at = sooner(at, weir_holders_tick(v));
    handout_stirred(v);
    if (v->submit)
        at = sooner(at, weir_submit_tick(v->submit, &v->now));
    at = sooner(at, weir_dying_tick(v));
    at = sooner(at, weir_copyout_tick(v));
    at = sooner(at, housekeeping(v));
    at = sooner(at, weir_flush_tick(v));
    at = sooner(at, drain_tick(v));
    at = sooner(at, weir_heap_next(&v->group_timers));
    if (v->state != WEIR_VENTILATOR_STOPPED)
        v->host.wake_at(v->host.self, v->again ? v->now.mono_ns : at);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct weir_ventilator *v = WEIR_CONTAINER_OF(role, struct weir_ventilator, role);
    if (v->state == WEIR_VENTILATOR_STOPPED)
        return;
    v->now = event->now;
    v->stream.now_ns = event->now.mono_ns;
    v->again = false;
    route(v, event);
    turn(v);
}

/* ---- beginning and end ---- */

static void destroy(struct weir_role *role)
{
    struct weir_ventilator *v = WEIR_CONTAINER_OF(role, struct weir_ventilator, role);
    struct weir_asked *asked, *next;
    HASH_ITER (hh, v->asked, asked, next) {
        HASH_DELETE(hh, v->asked, asked);
        free(asked);
    }
    for (uint32_t i = 0; i < v->stash_count; i++)
        weir_frames_drop(&v->stash[i].frames);
    free(v->stash);
    weir_accept_fini(v);
    weir_replay_fini(v);
    weir_status_fini(v);
    weir_dying_fini(v);
    weir_flush_fini(v);
    weir_leases_fini(&v->leases);
    weir_heap_fini(&v->group_timers);
    for (uint32_t i = 0; i < v->group_count; i++)
        weir_group_destroy(&v->groups[i]);
    free(v->groups);
    free(v->joins);
    free(v->changes);
    free(v->policies);
    weir_stream_fini(&v->stream);
    weir_idempotency_fini(&v->idempotency);
    weir_submit_destroy(&v->submit);
    weir_dispatch_destroy(&v->dispatch);
    weir_intake_destroy(&v->intake);
    weir_recovered_destroy(&v->recovered);
    free(v);
}

static void read_done(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                      void *pointer)
{
    (void)pointer;
    if (!weir_stream_loaded(&v->stream, arg, result))
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "the log cannot be read from message %llu on: %s; it is tried again, "
                            "and what lies there waits",
                            (unsigned long long)arg, result->error.text);
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        if (group->reading && result->status == 0)
            weir_ventilator_stir(v, group);
        else if (group->reading) /* not at once: it would most likely fail again */
            weir_handout_at(v, group, v->now.mono_ns + WEIR_READ_AGAIN_MS * WEIR_NS_PER_MS);
    }
    if (result->status == 0)
        weir_copyout_loaded(v, arg);
    weir_status_loaded(v);
}

static void read_log(void *self, uint64_t sequence, uint32_t bytes)
{
    struct weir_store_request request = {
        .kind = WEIR_STORE_READ, .sequence = sequence, .bytes_max = bytes};
    weir_ventilator_ask(self, &request, read_done, sequence, NULL);
}

static void forgot_producer(void *self, const uint8_t *id)
{
    weir_flush_producer(self, id);
}

static void open_servers(struct weir_ventilator *v)
{
    const struct weir_intake_owner intake_owner = {
        .self = v, .accept = weir_accept_put, .forgot = forgot_producer};
    v->intake = weir_intake_new(WEIR_PORT_SUBMIT, v->tag, v->config.fsync, &intake_owner, &v->host);
    struct weir_dispatch_owner dispatch_owner = weir_holders_owner;
    dispatch_owner.self = v;
    struct weir_dispatch_config config = {.name = v->name,
                                          .role = "ventilator",
                                          .incarnation = v->incarnation,
                                          .port = WEIR_PORT_DISPATCH};
    memcpy(config.uuid, v->uuid, sizeof config.uuid);
    v->dispatch =
        weir_dispatch_new(&config, &dispatch_owner, &v->host, weir_random_u64(&v->random));
}

struct weir_role *weir_ventilator_new(const struct weir_ventilator_config *config,
                                      struct weir_recovered **recovered,
                                      const struct weir_host *host, uint64_t seed)
{
    struct weir_ventilator *v = weir_zalloc(1, sizeof *v);
    v->role = (struct weir_role){.step = step, .destroy = destroy};
    v->host = *host;
    snprintf(v->name, sizeof v->name, "%s", config->name);
    v->config = *config;
    v->policies = weir_alloc((config->group_count + 1) * sizeof *v->policies);
    if (config->group_count)
        memcpy(v->policies, config->groups, config->group_count * sizeof *v->policies);
    v->config.name = v->name;
    v->config.groups = v->policies;
    v->recovered = *recovered;
    *recovered = NULL;
    memcpy(v->uuid, v->recovered->uuid, sizeof v->uuid);
    v->tag = v->recovered->tag;
    v->oldest = v->recovered->oldest_sequence;
    v->used_bytes = v->recovered->used_bytes;
    weir_random_seed(&v->random, seed);
    v->incarnation =
        ((WEIR_CANARY(INCARNATION_REUSED) ? 1 : weir_random_u64(&v->random)) << 16) | v->tag;
    weir_idempotency_init(&v->idempotency,
                          config->idempotency_window_ms > 0 ? config->idempotency_count_max : 0);
    weir_stream_init(&v->stream, v->recovered->next_sequence, read_log, v);
    weir_flush_init(v);
    open_servers(v);
    weir_dying_init(v); /* now: the collector's link may come up while the log is still read */
    return &v->role;
}
