/* Workers, as a test plays them. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void stage_worker(struct stage *self, uint64_t peer, uint64_t worker)
{
    struct weir_control ready = {.verb = WEIR_VERB_READY};
    WEIR_SET(&ready, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&ready, role, ROLE, weir_text_of("worker"));
    WEIR_SET(&ready, name, NAME, weir_text_of("w"));
    WEIR_SET(&ready, worker, WORKER, worker);
    stage_control(self, WEIR_PORT_DISPATCH, peer, &ready);
}

void stage_credit(struct stage *self, uint64_t peer, const char *group, uint64_t messages)
{
    struct weir_control credit = {.verb = WEIR_VERB_CREDIT};
    WEIR_SET(&credit, group, GROUP, weir_text_of(group));
    WEIR_SET(&credit, messages, MESSAGES, messages);
    WEIR_SET(&credit, bytes, BYTES, messages ? UINT64_C(1) << 30 : 0);
    WEIR_SET(&credit, serial, SERIAL, ++self->serial);
    stage_control(self, WEIR_PORT_DISPATCH, peer, &credit);
}

const struct got *stage_next(struct stage *self)
{
    return self->got_seen < self->got_count ? &self->got[self->got_seen++] : NULL;
}

const struct got *stage_expect(struct stage *self, const char *payload)
{
    const struct got *got = stage_next(self);
    assert_non_null(got);
    assert_string_equal(got->payload, payload);
    return got;
}

static void ack(struct stage *self, const struct got *got, uint32_t count, uint32_t outcome,
                int64_t delay_ms, const char *error)
{
    struct weir_control control = {.verb = WEIR_VERB_ACK};
    struct weir_ack one = {.lease = {got->incarnation, got->delivery, got->index, count},
                           .outcome = outcome,
                           .delay_ms = delay_ms,
                           .error = error,
                           .error_bytes = error ? (uint32_t)strlen(error) : 0};
    WEIR_SET(&control, group, GROUP, weir_text_of(got->group));
    WEIR_SET(&control, acks, ACKS, &one);
    control.ack_count = 1;
    stage_control(self, WEIR_PORT_DISPATCH, got->peer, &control);
}

void stage_ack(struct stage *self, const struct got *got, uint32_t outcome, const char *error)
{
    ack(self, got, 1, outcome, -1, error);
}

void stage_ack_range(struct stage *self, const struct got *first, uint32_t count, uint32_t outcome,
                     int64_t delay_ms)
{
    ack(self, first, count, outcome, delay_ms, NULL);
}

static void name_lease(struct stage *self, const struct got *got, uint64_t worker,
                       enum weir_verb verb, bool running)
{
    struct weir_lease_ref lease = {got->incarnation, got->delivery, got->index, 1};
    struct weir_lease_ref same = lease;
    struct weir_control control = {.verb = verb};
    WEIR_SET(&control, worker, WORKER, worker);
    WEIR_SET(&control, leases, LEASES, &lease);
    control.lease_count = 1;
    if (verb == WEIR_VERB_HEARTBEAT)
        WEIR_SET(&control, serial, SERIAL, ++self->serial);
    if (running) {
        WEIR_SET(&control, running, RUNNING, &same);
        control.running_count = 1;
    }
    stage_control(self, WEIR_PORT_DISPATCH, got->peer, &control);
}

void stage_begin(struct stage *self, const struct got *got, uint64_t worker)
{
    name_lease(self, got, worker, WEIR_VERB_BEGIN, false);
}

void stage_beat(struct stage *self, const struct got *got, uint64_t worker, bool running)
{
    name_lease(self, got, worker, WEIR_VERB_HEARTBEAT, running);
}

void stage_alive(struct stage *self, uint64_t peer, uint64_t worker, int64_t ms)
{
    for (; ms > 0; ms -= 2000) {
        struct weir_control beat = {.verb = WEIR_VERB_HEARTBEAT};
        WEIR_SET(&beat, serial, SERIAL, ++self->serial);
        WEIR_SET(&beat, worker, WORKER, worker);
        stage_control(self, WEIR_PORT_DISPATCH, peer, &beat);
        stage_pass(self, ms < 2000 ? ms : 2000);
    }
}

static void put_and_finish(struct stage *self, uint32_t count, uint32_t payload_bytes)
{
    stage_put(self,
              &(struct stage_batch){.prefix = "m", .count = count, .payload_bytes = payload_bytes});
    stage_pass(self, WEIR_PACE_DELIVERY_MS); /* it may be held so long */
    for (const struct got *got; (got = stage_next(self));)
        stage_ack(self, got, WEIR_DONE, NULL);
}

void stage_turn_log_over(struct stage *self, uint64_t peer, uint64_t worker)
{
    for (uint32_t i = 0; i < 100; i++)
        put_and_finish(self, 5, 1000);
    stage_alive(self, peer, worker, 5000);
}

void stage_forget_batches(struct stage *self)
{
    for (uint64_t bytes = 0; bytes <= WEIR_TAIL_BYTES_MAX; bytes += 1000000)
        put_and_finish(self, 10, 100000);
}

void stage_gone(struct stage *self, uint64_t peer)
{
    stage_peer_gone(self, peer);
    stage_pass(self, WEIR_LOSS_DOUBT_MS + 1);
}

void stage_suspects(struct stage *self, uint64_t peer, uint32_t count)
{
    stage_fill(self, "a", count);
    for (uint32_t losses = 0; losses < 2; losses++) {
        const uint64_t worker = peer + 1000 * losses;
        stage_worker(self, worker, worker);
        stage_credit(self, worker, "g", count);
        for (uint32_t i = 0; i < count; i++) {
            char payload[16];
            snprintf(payload, sizeof payload, "a%u", i);
            const struct got *got = stage_expect(self, payload);
            assert_false(got->alone);
        }
        stage_gone(self, worker);
    }
}
