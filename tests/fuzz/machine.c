#include "machine.h"

#include <base/alloc.h>
#include <core/job_lease.h>
#include <stdlib.h>
#include <string.h>

#define TIMERS_MAX 64 /* in one move */

/* ---- the host ---- */

static void on_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct machine *self = arg;
    bool known = false;
    for (uint32_t i = 0; i < self->port_count; i++)
        known = known || (self->ports[i].port == port && self->ports[i].client == (peer == 0));
    WEIR_ASSERT(known);
    speech_heard(self, frames);
    weir_frames_drop(frames);
}

static void on_wake(void *arg, int64_t mono_ns)
{
    ((struct machine *)arg)->wake_ns = mono_ns;
}

static void on_store(void *arg, struct weir_store_request *request)
{
    struct machine *self = arg;
    if (self->store) {
        self->store->submit(self->store, request);
        return;
    }
    if (self->held_count == self->held_capacity) {
        self->held_capacity = self->held_capacity ? 2 * self->held_capacity : 16;
        self->held = weir_realloc(self->held, self->held_capacity, sizeof *self->held);
    }
    self->held[self->held_count++] = *request;
    *request = (struct weir_store_request){0};
}

static void on_run(void *arg, struct weir_job *job)
{
    struct machine *self = arg;
    WEIR_ASSERT(job->id != 0 && job->count > 0 && self->job_count < MACHINE_JOBS_MAX);
    self->ended[self->job_count] = 0;
    self->jobs[self->job_count++] = *job;
    *job = (struct weir_job){0};
}

static void on_kill(void *arg, uint64_t job)
{
    struct machine *self = arg;
    for (uint32_t i = 0; i < self->job_count; i++)
        if (self->jobs[i].id == job)
            return;
    WEIR_ASSERT(!"a job is killed that does not run");
}

static void on_stopped(void *arg, int status)
{
    struct machine *self = arg;
    (void)status;
    WEIR_ASSERT(!self->stopped);
    self->stopped = true;
}

static void on_log(void *arg, enum weir_log_level level, const char *text)
{
    (void)arg;
    (void)level;
    WEIR_ASSERT(text[0] != '\0');
}

/* ---- events ---- */

static void step(struct machine *self, struct weir_event *event)
{
    if (self->role && !self->stopped) {
        event->now = self->now;
        weir_role_step(self->role, event);
    }
}

static void pass_ms(struct machine *self, int64_t ms)
{
    const int64_t until_ns = self->now.mono_ns + ms * WEIR_NS_PER_MS;
    for (int i = 0; i < TIMERS_MAX && self->wake_ns <= until_ns; i++) {
        const int64_t to_ns = self->wake_ns > self->now.mono_ns ? self->wake_ns : self->now.mono_ns;
        self->now.wall_ms += (to_ns - self->now.mono_ns) / WEIR_NS_PER_MS;
        self->now.mono_ns = to_ns;
        self->wake_ns = WEIR_TIME_NEVER;
        step(self, &(struct weir_event){.type = WEIR_EVENT_TIMER});
    }
    if (self->now.mono_ns < until_ns) {
        self->now.wall_ms += (until_ns - self->now.mono_ns) / WEIR_NS_PER_MS;
        self->now.mono_ns = until_ns;
    }
}

static void stored(struct machine *self, struct weir_store_result *result)
{
    step(self, &(struct weir_event){.type = WEIR_EVENT_STORED, .result = result});
    weir_store_result_fini(result);
}

/* The oldest request of a holder ends. */
static void held_ends(struct machine *self, int status, uint32_t duplicates)
{
    struct weir_store_request request = self->held[0];
    memmove(self->held, self->held + 1, --self->held_count * sizeof *self->held);
    struct weir_store_result result = {.id = request.id, .kind = request.kind, .status = status};
    if (status == 0)
        result.duplicates = duplicates % (request.record.count + 1);
    else
        weir_error_set(&result.error, status, "the disk is of the fuzzer's making");
    weir_store_request_fini(&request);
    stored(self, &result);
}

static void store_some(struct machine *self, uint8_t how)
{
    struct weir_store_result result = {0};
    if (self->store) {
        self->store_step(self, 1 + how % 32);
        while (self->store->poll(self->store, &result)) {
            stored(self, &result);
            result = (struct weir_store_result){0};
        }
        return;
    }
    self->storage_failed = self->storage_failed || how >= 250;
    /* A full disk takes all with it that were handed over before. */
    uint32_t count = how < 220 ? 1u + how % 8u : self->held_count;
    const int status = self->storage_failed ? WEIR_EIO : how < 220 ? 0 : WEIR_EFULL;
    while (count-- > 0 && self->held_count > 0)
        held_ends(self, status, how);
}

static void outcome(struct machine *self, struct weir_handled *handled)
{
    const uint8_t how = input_byte(&self->in);
    struct weir_job_outcome *outcome = weir_zalloc(1, sizeof *outcome);
    *outcome = (struct weir_job_outcome){
        .first = handled->first, .count = 1, .outcome = how % 5, .delay_ms = (how >> 4) - 1};
    if (how >= 252) /* a handler's wish has no bounds */
        outcome->delay_ms = INT64_MAX;
    if (how & 8)
        outcome->error = weir_bytes_copy("no", 2);
    if (outcome->outcome == WEIR_DONE && how >= 64)
        outcome->result = weir_bytes_copy("result", how % 7);
    handled->outcomes = outcome;
    handled->outcome_count = 1;
}

/* What the handler of the job's next message does. */
static void handled(struct machine *self, uint32_t at, enum weir_handled_type type)
{
    struct weir_job *job = &self->jobs[at];
    struct weir_handled handled = {.type = type, .job = job->id, .first = self->ended[at]};
    if (self->ended[at] == job->count)
        handled.type = type = WEIR_HANDLED_END;
    if (type == WEIR_HANDLED_OUTCOMES) {
        outcome(self, &handled);
        self->ended[at]++;
    } else if (type == WEIR_HANDLED_END) {
        weir_job_fini(job);
        self->job_count--;
        self->jobs[at] = self->jobs[self->job_count];
        self->ended[at] = self->ended[self->job_count];
    }
    step(self, &(struct weir_event){.type = WEIR_EVENT_HANDLED, .handled = &handled});
    weir_handled_fini(&handled);
}

static void link_turns(struct machine *self, uint32_t at)
{
    self->ports[at].linked = !self->ports[at].linked;
    step(self, &(struct weir_event){.type = self->ports[at].linked ? WEIR_EVENT_LINK_UP
                                                                   : WEIR_EVENT_LINK_DOWN,
                                    .port = self->ports[at].port});
}

static void message(struct machine *self, uint32_t at)
{
    const uint32_t port = self->ports[at].port;
    const uint64_t peer = self->ports[at].client ? 0 : 1 + input_below(&self->in, MACHINE_PEERS);
    struct weir_frames frames = {0};
    if (self->ports[at].client && !self->ports[at].linked)
        link_turns(self, at);
    speech_message(self, &frames);
    step(self, &(struct weir_event){
                   .type = WEIR_EVENT_MESSAGE, .port = port, .peer = peer, .frames = &frames});
    weir_frames_drop(&frames);
}

static void move(struct machine *self)
{
    const uint8_t what = input_byte(&self->in);
    const uint32_t at = input_below(&self->in, self->port_count);
    if (what < 150)
        message(self, at);
    else if (what < 190)
        store_some(self, input_byte(&self->in));
    else if (what < 220 && self->job_count > 0)
        handled(self, input_below(&self->in, self->job_count),
                (enum weir_handled_type)input_below(&self->in, 4));
    else if (what < 235)
        pass_ms(self, (int64_t)input_byte(&self->in) << input_below(&self->in, 10));
    else if (what < 245 && self->ports[at].client)
        link_turns(self, at);
    else if (what < 254 && !self->ports[at].client)
        step(self, &(struct weir_event){.type = WEIR_EVENT_PEER_GONE,
                                        .port = self->ports[at].port,
                                        .peer = 1 + input_below(&self->in, MACHINE_PEERS)});
    else if (what == 255)
        step(self, &(struct weir_event){.type = WEIR_EVENT_DRAIN});
}

/* ---- for the fuzzers ---- */

void machine_init(struct machine *self, const uint8_t *data, size_t size)
{
    *self = (struct machine){.now = {.mono_ns = WEIR_NS_PER_S, .wall_ms = 1800000000000},
                             .wake_ns = WEIR_TIME_NEVER,
                             .in = {data, size}};
    self->host = (struct weir_host){.self = self,
                                    .send = on_send,
                                    .wake_at = on_wake,
                                    .store = on_store,
                                    .run = on_run,
                                    .kill = on_kill,
                                    .stopped = on_stopped,
                                    .log = on_log};
    for (uint32_t i = 0; i < MACHINE_SEEN; i++)
        self->seen[i] = (struct weir_lease_ref){7, 1, i, 1};
}

void machine_port(struct machine *self, uint32_t port, bool client)
{
    WEIR_ASSERT(self->port_count < MACHINE_PORTS_MAX);
    self->ports[self->port_count].port = port;
    self->ports[self->port_count++].client = client;
}

void machine_play(struct machine *self, struct weir_role *role)
{
    self->role = role;
    step(self, &(struct weir_event){.type = WEIR_EVENT_START});
    while (self->in.size > 0 && !self->stopped)
        move(self);
    step(self, &(struct weir_event){.type = WEIR_EVENT_DRAIN});
    for (int i = 0; i < 16 && !self->stopped; i++) {
        store_some(self, 31);
        while (self->job_count > 0)
            handled(self, 0, WEIR_HANDLED_END);
        pass_ms(self, 60000);
    }
    weir_role_destroy(&self->role);
}

void machine_fini(struct machine *self)
{
    for (uint32_t i = 0; i < self->job_count; i++)
        weir_job_fini(&self->jobs[i]);
    for (uint32_t i = 0; i < self->held_count; i++)
        weir_store_request_fini(&self->held[i]);
    free(self->held);
}
