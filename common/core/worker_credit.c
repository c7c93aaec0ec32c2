/* Credit for the upstreams: what the prefetch leaves free, lent out and never more. What is done
 * and waits for its result's OK is not counted, within a bound of its own: else handlers that are
 * faster than a sink's commits would stand still during each.
 *
 * One upstream gets it all. Several get equal shares; when one says that it has work and no credit,
 * those that have had none lately are asked to give theirs back, and those that have share it. */
#include <core/worker.h>

/* What is held at the pace of the handlers: enough for the deliveries to be large and for credit to
 * get round, and not so much that other workers have nothing while it waits here. */
#define PACE_NS (50 * WEIR_NS_PER_MS)
#define PACE_UNKNOWN_MESSAGES 64u /* a handler, until the first have ended */
#define PACE_MESSAGES_MIN 2u      /* a handler: one runs, one waits */

#define WORTH_A_FRAME 8u /* so much of the prefetch, a part of, is lent at once */

#define REFUSED_FIRST_MS 1000
#define REFUSED_MAX_MS 60000

struct loan { /* what stands, and what should stand, with one upstream */
    struct weir_worker_upstream *upstream;
    struct weir_credit credit;
    uint64_t lent;     /* under the limit that was last said */
    uint64_t reserved; /* at most so many may still come */
    uint64_t target;
};

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static bool lendable(const struct weir_worker_upstream *upstream)
{
    return weir_session_open(upstream->session) && !upstream->refused;
}

/* It has work, as far as we know. WAITING is said once, so it holds until something was lent. */
static bool wants(const struct weir_worker_upstream *upstream, const struct weir_now *now)
{
    return upstream->starved || upstream->eager_until_ns > now->mono_ns;
}

static struct loan look(struct weir_worker *self, uint32_t number)
{
    struct weir_worker_upstream *upstream = &self->upstreams[number];
    struct loan loan = {.upstream = upstream,
                        .credit = weir_session_credit(upstream->session, self->group)};
    loan.lent = minus(loan.credit.limit_messages, loan.credit.used_messages);
    loan.reserved = minus(loan.credit.ceiling_messages, loan.credit.used_messages);
    return loan;
}

/* ---- how much ---- */

void weir_worker_pace(struct weir_worker *self, struct weir_worker_job *job, uint64_t messages,
                      const struct weir_now *now)
{
    const int64_t took_ns = now->mono_ns - job->since_ns;
    job->since_ns = now->mono_ns;
    if (took_ns >= PACE_NS) { /* what was before says no more */
        self->pace_ns = 0;
        self->pace_messages = 0;
    }
    self->pace_ns += took_ns;
    self->pace_messages += messages;
    while (self->pace_ns > 2 * PACE_NS && self->pace_messages > 1) {
        self->pace_ns /= 2;
        self->pace_messages /= 2;
    }
}

uint64_t weir_worker_prefetch(const struct weir_worker *self)
{
    if (!self->paced)
        return self->prefetch;
    uint64_t each = PACE_UNKNOWN_MESSAGES;
    if (self->pace_messages > 0)
        each = self->pace_messages * PACE_NS / (uint64_t)(self->pace_ns + 1);
    if (each < PACE_MESSAGES_MIN)
        each = PACE_MESSAGES_MIN;
    return each < self->prefetch / self->concurrency ? each * self->concurrency : self->prefetch;
}

/* ---- to whom ---- */

/* Say the new limit where it differs enough to be worth a frame. */
static void settle(struct weir_worker *self, struct loan *loan, uint64_t *available)
{
    struct weir_worker_upstream *upstream = loan->upstream;
    const struct weir_credit *credit = &loan->credit;
    uint64_t messages = loan->target;
    uint64_t bytes = minus(self->prefetch_bytes / self->upstream_count, upstream->held_bytes);
    const uint64_t lent_bytes = minus(credit->limit_bytes, credit->used_bytes);
    if (messages < loan->lent) {
        weir_session_grant(upstream->session, self->group, messages, messages ? bytes : 0);
        return;
    }
    if (messages == 0) { /* none at all is said, too, once: here we are */
        weir_session_grant(upstream->session, self->group, 0, lent_bytes);
        return;
    }
    if (credit->withdrawing)
        return;
    if (messages - loan->lent > *available)
        messages = loan->lent + *available;
    /* While all handlers are busy there is no hurry: what little has become free would come back as
     * little, and its credit, deliveries and acks cost as much as those of a thousand. */
    const bool busy = self->running == self->concurrency;
    const uint64_t parts = (uint64_t)self->upstream_count * WORTH_A_FRAME;
    const uint64_t little = busy ? weir_worker_prefetch(self) / parts : 0;
    const uint64_t little_bytes = busy ? self->prefetch_bytes / parts : 0;
    const bool more =
        messages > loan->lent && loan->lent * 2 <= messages && messages - loan->lent >= little;
    const bool more_bytes =
        bytes > lent_bytes && lent_bytes * 2 <= bytes && bytes - lent_bytes >= little_bytes;
    if (!more && !more_bytes)
        return;
    *available -= messages - loan->lent;
    weir_session_grant(upstream->session, self->group, messages,
                       bytes > lent_bytes ? bytes : lent_bytes);
}

/* Give each upstream its share of what is free; those that starve come first when it
 * does not go round, then it goes in turn. */
static void share(struct weir_worker *self, const struct weir_now *now)
{
    const uint64_t prefetch = weir_worker_prefetch(self) + weir_worker_results_ahead(self);
    const uint64_t free = minus(prefetch, self->held);
    const uint32_t count = self->upstream_count;
    bool starving = false;
    for (uint32_t i = 0; i < count; i++)
        starving = starving || (self->upstreams[i].starved && lendable(&self->upstreams[i]) &&
                                look(self, i).lent == 0);
    uint32_t among = 0;
    for (uint32_t i = 0; i < count; i++)
        among += lendable(&self->upstreams[i]) && (!starving || wants(&self->upstreams[i], now));
    if (among == 0)
        return;
    uint64_t rest = free % among, available = free;
    for (uint32_t i = 0; i < count; i++)
        if (!self->upstreams[i].refused)
            available = minus(available, look(self, i).reserved);
    for (uint32_t pass = 0; pass < 2; pass++) /* first those that starve */
        for (uint32_t i = 0; i < count; i++) {
            struct loan loan = look(self, (self->share_turn + i) % count);
            struct weir_worker_upstream *upstream = loan.upstream;
            if (!lendable(upstream) || upstream->starved != (pass == 0))
                continue;
            const bool in = !starving || wants(upstream, now);
            loan.target = in ? free / among + (rest > 0) : 0;
            rest -= in && rest > 0;
            if (!starving && loan.target < loan.lent && loan.lent <= 4 * prefetch)
                loan.target = loan.lent; /* it will be used, at the pace that it was lent for */
            settle(self, &loan, &available);
        }
    for (uint32_t i = 0; i < count; i++)
        if (look(self, i).lent > 0)
            self->upstreams[i].starved = false;
    self->share_turn = (self->share_turn + 1) % count;
}

void weir_worker_credit(struct weir_worker *self, const struct weir_now *now)
{
    if (self->state == WEIR_WORKER_SERVING && !self->alone && weir_worker_result_flows(self)) {
        share(self, now);
        return;
    }
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct loan loan = look(self, i);
        uint64_t none = 0;
        if (lendable(loan.upstream))
            settle(self, &loan, &none);
    }
}

/* ---- a group that is not known there ---- */

int64_t weir_worker_refused(struct weir_worker_upstream *upstream, const struct weir_now *now)
{
    if (upstream->refused) /* the same refusal, of another frame */
        return 0;
    int64_t wait_ms = upstream->refused_wait_ms ? 2 * upstream->refused_wait_ms : REFUSED_FIRST_MS;
    upstream->refused_wait_ms = wait_ms < REFUSED_MAX_MS ? wait_ms : REFUSED_MAX_MS;
    upstream->refused_until_ns = now->mono_ns + upstream->refused_wait_ms * WEIR_NS_PER_MS;
    upstream->refused = true;
    return upstream->refused_wait_ms;
}

int64_t weir_worker_refused_tick(struct weir_worker *self, const struct weir_now *now)
{
    int64_t next_ns = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct weir_worker_upstream *upstream = &self->upstreams[i];
        if (!upstream->refused || !weir_session_open(upstream->session))
            continue;
        if (now->mono_ns >= upstream->refused_until_ns) {
            upstream->refused = false; /* credit is granted anew, which asks */
            weir_worker_join(self, upstream);
        } else if (upstream->refused_until_ns < next_ns) {
            next_ns = upstream->refused_until_ns;
        }
    }
    return next_ns;
}
