/* The worker's end. In DRAINING nothing starts, what waits is given back, what runs may finish
 * until WEIR_DRAIN_MS have passed; then it is killed and given back. In LEAVING nothing runs any
 * more, and one thing is left to wait for, WEIR_LEAVE_MS at most: that every upstream has read the
 * last acks (the echo of a beat that followed them) and sends nothing more (its CREDITED). Whoever
 * closes a connection before that may take the last frames with it, and what they were for would be
 * out until its lease ends. */
#include <core/worker.h>
#include <inttypes.h>
#include <stdio.h>

void weir_worker_drain(struct weir_worker *self, const struct weir_now *now)
{
    if (self->state != WEIR_WORKER_SERVING)
        return;
    self->state = WEIR_WORKER_DRAINING;
    self->drain_until_ns = now->mono_ns + WEIR_DRAIN_MS * WEIR_NS_PER_MS;
    weir_worker_release_waiting(self, NULL);
}

void weir_worker_drain_tick(struct weir_worker *self, const struct weir_now *now)
{
    char text[WEIR_ERROR_TEXT_BYTES];
    if (self->state != WEIR_WORKER_DRAINING || self->drain_over ||
        now->mono_ns < self->drain_until_ns)
        return;
    snprintf(text, sizeof text,
             "still not finished after %d s: %" PRIu32 " running, %" PRIu64
             " results not taken; they are given back",
             WEIR_DRAIN_MS / 1000, self->running, weir_worker_results_waiting(self));
    self->host.log(self->host.self, WEIR_LOG_WARNING, text);
    self->drain_over = true;
    for (uint32_t i = 0; i < self->concurrency; i++)
        if (self->jobs[i].id)
            weir_worker_kill(self, &self->jobs[i]);
    if (self->submit)
        weir_worker_result_give_up(self);
}

/* ---- leaving ---- */

/* Its answers have shown that it has read all we said, and that nothing is on its way to us. One
 * that is away has only to come back for acks that it may not have read. */
static bool settled(const struct weir_worker *self, const struct weir_worker_upstream *upstream)
{
    if (upstream->kept_count > 0)
        return false;
    if (!weir_session_open(upstream->session))
        return true;
    const struct weir_credit credit = weir_session_credit(upstream->session, self->group);
    return !credit.withdrawing && credit.ceiling_messages <= credit.used_messages;
}

static bool all_settled(const struct weir_worker *self)
{
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (!settled(self, &self->upstreams[i]))
            return false;
    return self->held == 0;
}

/* Beat at once where no beat has followed the last acks. */
static void hasten(struct weir_worker *self, const struct weir_now *now)
{
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (weir_worker_ack_unasked(&self->upstreams[i]))
            self->upstreams[i].beat_next_ns = now->mono_ns;
}

static void complain_of_silence(const struct weir_worker *self)
{
    char text[WEIR_ERROR_TEXT_BYTES];
    uint64_t unconfirmed = self->held;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        unconfirmed += weir_worker_ack_unconfirmed(&self->upstreams[i]);
    snprintf(text, sizeof text,
             "ends, though not every upstream has answered within %d s: %" PRIu64
             " messages may be delivered again when their leases end",
             WEIR_LEAVE_MS / 1000, unconfirmed);
    self->host.log(self->host.self, WEIR_LOG_WARNING, text);
}

static void say_bye(struct weir_worker *self)
{
    struct weir_control bye = {.verb = WEIR_VERB_BYE};
    WEIR_SET(&bye, worker, WORKER, self->number);
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (weir_session_open(self->upstreams[i].session))
            weir_session_send(self->upstreams[i].session, &bye);
    self->state = WEIR_WORKER_STOPPED;
    self->host.stopped(self->host.self, 0);
}

void weir_worker_leave(struct weir_worker *self, const struct weir_now *now)
{
    if (self->state == WEIR_WORKER_DRAINING && self->running == 0 &&
        weir_worker_results_waiting(self) == 0) {
        self->state = WEIR_WORKER_LEAVING;
        self->leave_by_ns = now->mono_ns + WEIR_LEAVE_MS * WEIR_NS_PER_MS;
    }
    if (self->state != WEIR_WORKER_LEAVING)
        return;
    const bool confirmed = all_settled(self);
    if (!confirmed && now->mono_ns < self->leave_by_ns) {
        hasten(self, now);
        return;
    }
    if (!confirmed)
        complain_of_silence(self);
    say_bye(self);
}

int64_t weir_worker_drain_next(const struct weir_worker *self)
{
    if (self->state == WEIR_WORKER_LEAVING)
        return self->leave_by_ns;
    return self->state == WEIR_WORKER_DRAINING && !self->drain_over ? self->drain_until_ns
                                                                    : WEIR_TIME_NEVER;
}
