#include "worker_fixture.h"

#include <base/alloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct worker *worker_new(void)
{
    struct worker *self = weir_zalloc(1, sizeof *self);
    self->script = script_new();
    self->config = (struct weir_worker_config){.name = "email.1",
                                               .group = "email",
                                               .upstream_count = 1,
                                               .concurrency = 2,
                                               .prefetch = 8,
                                               .prefetch_bytes = 1 << 20,
                                               .job_messages_max = 1};
    return self;
}

void worker_destroy(struct worker **self)
{
    weir_role_destroy(&(*self)->role);
    script_destroy(&(*self)->script);
    free(*self);
    *self = NULL;
}

void worker_event(struct worker *self, enum weir_event_type type, uint32_t port)
{
    struct weir_event event = script_event(self->script, type, port, 0);
    weir_role_step(self->role, &event);
}

void worker_begin(struct worker *self)
{
    self->role = weir_worker_new(&self->config, &self->script->host, 4711);
    worker_event(self, WEIR_EVENT_START, 0);
}

void worker_up(struct worker *self)
{
    worker_begin(self);
    for (uint32_t i = 0; i < self->config.upstream_count; i++) {
        worker_event(self, WEIR_EVENT_LINK_UP, UP(i));
        const struct said *ready = script_find(self->script, WEIR_VERB_READY);
        assert_non_null(ready);
        self->number = ready->control.worker;
        worker_welcome(self, i, INCARNATION + i);
    }
    script_skip(self->script);
}

void worker_message(struct worker *self, uint32_t port, struct weir_frames *frames)
{
    struct weir_event event = script_event(self->script, WEIR_EVENT_MESSAGE, port, 0);
    event.frames = frames;
    weir_role_step(self->role, &event);
    weir_frames_drop(frames);
}

void worker_feed(struct worker *self, uint32_t port, const struct weir_control *control)
{
    struct weir_frames frames = script_frames(control);
    worker_message(self, port, &frames);
}

void worker_welcome(struct worker *self, uint32_t upstream, uint64_t incarnation)
{
    struct weir_control control = {.verb = WEIR_VERB_WELCOME};
    WEIR_SET(&control, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&control, heartbeat_ms, HEARTBEAT_MS, WEIR_HEARTBEAT_MS);
    WEIR_SET(&control, role, ROLE, weir_text_of(incarnation ? "ventilator" : "router"));
    WEIR_SET(&control, name, NAME, weir_text_of("intake"));
    if (incarnation)
        WEIR_SET(&control, incarnation, INCARNATION, incarnation);
    worker_feed(self, UP(upstream), &control);
}

void worker_waiting(struct worker *self, uint32_t upstream)
{
    struct weir_control control = {.verb = WEIR_VERB_WAITING};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    worker_feed(self, UP(upstream), &control);
}

void worker_credited(struct worker *self, uint32_t upstream, uint64_t serial, uint64_t messages,
                     uint64_t bytes)
{
    struct weir_control control = {.verb = WEIR_VERB_CREDITED};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, messages, MESSAGES, messages);
    WEIR_SET(&control, bytes, BYTES, bytes);
    WEIR_SET(&control, serial, SERIAL, serial);
    worker_feed(self, UP(upstream), &control);
}

void worker_echo(struct worker *self, uint32_t upstream, uint64_t serial, uint64_t incarnation,
                 struct weir_lease_ref *live, uint32_t count)
{
    struct weir_control control = {.verb = WEIR_VERB_HEARTBEAT, .lease_count = count};
    WEIR_SET(&control, serial, SERIAL, serial);
    WEIR_SET(&control, worker, WORKER, self->number);
    WEIR_SET(&control, incarnation, INCARNATION, incarnation);
    if (count > 0)
        WEIR_SET(&control, leases, LEASES, live);
    worker_feed(self, UP(upstream), &control);
}

void worker_results_held(struct worker *self, uint64_t number, uint32_t count)
{
    struct weir_control ok = {.verb = WEIR_VERB_OK};
    WEIR_SET(&ok, number, NUMBER, number);
    WEIR_SET(&ok, first, FIRST, 1);
    WEIR_SET(&ok, count, COUNT, count);
    WEIR_SET(&ok, tag, TAG, 9);
    WEIR_SET(&ok, time_ms, TIME, 1);
    WEIR_SET(&ok, durability, DURABILITY, weir_text_of("always"));
    worker_feed(self, WEIR_PORT_TO, &ok);
}

void worker_confirm(struct worker *self, uint32_t upstream)
{
    const uint32_t count = self->script->said_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct said *said = &self->script->said[i];
        const struct weir_control *control = &said->control;
        if (said->port != UP(upstream))
            continue;
        if (control->verb == WEIR_VERB_CREDIT)
            worker_credited(self, upstream, control->serial, control->messages, control->bytes);
        else if (control->verb == WEIR_VERB_HEARTBEAT)
            worker_echo(self, upstream, control->serial, INCARNATION + upstream, control->leases,
                        control->lease_count);
    }
}

void worker_pass_ms(struct worker *self, int64_t ms)
{
    script_pass_ms(self->script, ms);
    worker_event(self, WEIR_EVENT_TIMER, 0);
}

void worker_deliver(struct worker *self, const struct delivered *what)
{
    static const uint8_t producer[16] = {1};
    struct weir_slice_info slice = {.index = what->first,
                                    .count = what->count,
                                    .sequence = 1000 * what->delivery + what->first,
                                    .time_ms = 1700000000000,
                                    .attempt = 2,
                                    .death = 1};
    struct weir_control control = {.verb = WEIR_VERB_DELIVER, .slice_count = 1};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, incarnation, INCARNATION,
             INCARNATION + (what->relayed ? 0 : what->upstream));
    WEIR_SET(&control, delivery, DELIVERY, what->delivery);
    WEIR_SET(&control, lease_ms, LEASE_MS, what->lease_ms ? what->lease_ms : 30000);
    WEIR_SET(&control, timeout_ms, TIMEOUT_MS, 9000);
    WEIR_SET(&control, slices, SLICES, &slice);
    if (what->ordered)
        WEIR_SET(&control, ordered, ORDERED, 1);
    if (what->once)
        WEIR_SET(&control, once, ONCE, 1);
    if (what->alone)
        WEIR_SET(&control, alone, ALONE, 1);
    memset(control.uuid, what->spool, sizeof control.uuid);
    if (what->spool)
        WEIR_MARK(&control, UUID);
    struct weir_frames frames = script_frames(&control);
    script_batch(producer, what->delivery, what->count, what->keys, &frames);
    worker_message(self, UP(what->upstream), &frames);
}

const struct weir_job *worker_job(const struct worker *self, uint32_t job)
{
    assert_true(job < self->script->job_count);
    return &self->script->jobs[job];
}

void worker_handled(struct worker *self, struct weir_handled *what)
{
    struct weir_event event = script_event(self->script, WEIR_EVENT_HANDLED, 0, 0);
    event.handled = what;
    event.more = self->more;
    weir_role_step(self->role, &event);
    for (uint32_t i = 0; i < what->outcome_count; i++) {
        weir_bytes_drop(&what->outcomes[i].error);
        weir_bytes_drop(&what->outcomes[i].result);
    }
}

void worker_started(struct worker *self, uint32_t job, uint32_t first)
{
    struct weir_handled what = {
        .type = WEIR_HANDLED_STARTED, .job = worker_job(self, job)->id, .first = first};
    worker_handled(self, &what);
}

void worker_outcome(struct worker *self, uint32_t job, uint32_t first, uint32_t count,
                    enum weir_outcome outcome, const char *error, const char *result)
{
    struct weir_job_outcome one = {
        .first = first, .count = count, .outcome = outcome, .delay_ms = -1};
    if (error)
        one.error = weir_bytes_copy(error, strlen(error));
    if (result)
        one.result = weir_bytes_copy(result, strlen(result));
    struct weir_handled what = {.type = WEIR_HANDLED_OUTCOMES,
                                .job = worker_job(self, job)->id,
                                .outcome_count = 1,
                                .outcomes = &one};
    worker_handled(self, &what);
}

void worker_job_end(struct worker *self, uint32_t job)
{
    struct weir_handled what = {.type = WEIR_HANDLED_END, .job = worker_job(self, job)->id};
    worker_handled(self, &what);
}

void worker_job_is(struct worker *self, uint32_t job, enum weir_outcome outcome)
{
    worker_outcome(self, job, 0, worker_job(self, job)->count, outcome, NULL, NULL);
    worker_job_end(self, job);
}

const struct said *worker_expect_ack(struct worker *self, uint64_t delivery, uint32_t first,
                                     uint32_t count, enum weir_outcome outcome)
{
    const struct said *said = script_find(self->script, WEIR_VERB_ACK);
    assert_non_null(said);
    assert_true(script_text_is(said->control.group, "email"));
    assert_int_equal(said->control.worker, self->number);
    assert_int_equal(said->control.ack_count, 1);
    const struct weir_ack *ack = &said->control.acks[0];
    assert_int_equal(ack->lease.delivery, delivery);
    assert_int_equal(ack->lease.first, first);
    assert_int_equal(ack->lease.count, count);
    assert_int_equal(ack->outcome, outcome);
    return said;
}

bool worker_credit(struct worker *self, uint32_t upstream, uint64_t *messages, uint64_t *bytes)
{
    bool found = false;
    for (const struct said *said; (said = script_next(self->script));)
        if (said->control.verb == WEIR_VERB_CREDIT && said->port == UP(upstream)) {
            found = true;
            *messages = said->control.messages;
            *bytes = said->control.bytes;
        }
    return found;
}

uint64_t worker_stat(struct worker *self, const char *name)
{
    const struct weir_control stats = {.verb = WEIR_VERB_STATS};
    uint64_t value = 0;
    const uint32_t seen = self->script->said_seen;
    script_skip(self->script);
    worker_feed(self, WEIR_PORT_ADMIN, &stats);
    const struct said *answer = script_find(self->script, WEIR_VERB_ANSWER);
    assert_non_null(answer);
    if (!script_stat(answer, name, &value))
        fail_msg("no %s in the stats", name);
    self->script->said_seen = seen;
    return value;
}
