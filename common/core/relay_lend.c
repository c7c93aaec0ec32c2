/* The workers' credit, lent to the upstreams.
 *
 * What may be lent for a group is what its workers have room for, less what waits here. Equal parts
 * at first. An upstream that says WAITING is hungry, and from then on the hungry have seven eighths
 * between them and the others the rest, so that an idle one never starves a busy one and yet sends
 * its next message without asking. A hungry one that has credit and sends nothing for a while is
 * sated. Credit is taken back by a lower limit, and lent again only when the upstream has confirmed
 * it: so the sum of what all may send never exceeds what the workers asked for. */
#include "relay_state.h"

#include <stdlib.h>

struct share {
    bool usable, hungry;
    uint64_t unused_messages, unused_bytes; /* as last said */
    uint64_t held_messages, held_bytes;     /* as the upstream may still believe */
    uint64_t target_messages, target_bytes;
    bool withdrawing;
};

struct sum {
    uint64_t messages, bytes; /* may be lent in all */
    uint64_t held_messages, held_bytes;
    uint32_t usable, hungry;
};

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void look(struct relay *self, struct relay_group *group, uint32_t i, struct sum *sum)
{
    struct share *share = &self->shares[i];
    struct weir_credit credit = weir_session_credit(self->upstreams[i].session, group->name);
    *share = (struct share){.usable = weir_relay_lendable(self, group, i),
                            .unused_messages = less(credit.limit_messages, credit.used_messages),
                            .unused_bytes = less(credit.limit_bytes, credit.used_bytes),
                            .held_messages = less(credit.ceiling_messages, credit.used_messages),
                            .held_bytes = less(credit.ceiling_bytes, credit.used_bytes),
                            .withdrawing = credit.withdrawing};
    share->hungry = share->usable && group->loans[i].hungry;
    sum->usable += share->usable;
    sum->hungry += share->hungry;
    sum->held_messages += share->held_messages;
    sum->held_bytes += share->held_bytes;
}

/* Divide among those that are hungry (or not), beginning with whose turn it is. */
static void divide(struct relay *self, const struct relay_group *group, bool hungry,
                   uint64_t messages, uint64_t bytes, uint32_t among)
{
    for (uint32_t n = 0; n < self->upstream_count && among > 0; n++) {
        struct share *share = &self->shares[(group->turn + n) % self->upstream_count];
        if (!share->usable || share->hungry != hungry)
            continue;
        share->target_messages = (messages + among - 1) / among;
        share->target_bytes =
            messages ? (uint64_t)((double)bytes / (double)messages * (double)share->target_messages)
                     : 0;
        share->target_bytes = least(share->target_bytes, bytes);
        messages -= share->target_messages;
        bytes -= share->target_bytes;
        among--;
    }
}

static void aim(struct relay *self, const struct relay_group *group, const struct sum *sum)
{
    uint32_t idle = sum->usable - sum->hungry;
    if (sum->hungry == 0 || idle == 0) {
        divide(self, group, sum->hungry > 0, sum->messages, sum->bytes, sum->usable);
        return;
    }
    uint64_t messages = sum->messages / 8 / idle * idle;
    uint64_t bytes = messages ? sum->bytes / 8 : 0;
    divide(self, group, false, messages, bytes, idle);
    divide(self, group, true, sum->messages - messages, sum->bytes - bytes, sum->hungry);
}

/* Would somebody hungry, with all that is free, still have far too little? Bytes left over by one
 * whose messages are used up are worth less trouble than messages. */
static bool wanted(const struct relay *self, const struct sum *sum)
{
    uint64_t free_messages = less(sum->messages, sum->held_messages);
    uint64_t free_bytes = less(sum->bytes, sum->held_bytes);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        const struct share *share = &self->shares[i];
        if (share->hungry && ((share->held_messages + free_messages) * 2 < share->target_messages ||
                              (share->held_bytes + free_bytes) * 8 < share->target_bytes))
            return true;
    }
    return false;
}

static void lower(struct relay *self, struct relay_group *group)
{
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct share *share = &self->shares[i];
        if (!share->usable || (share->unused_messages <= share->target_messages &&
                               share->unused_bytes <= share->target_bytes))
            continue;
        share->unused_messages = least(share->unused_messages, share->target_messages);
        share->unused_bytes = least(share->unused_bytes, share->target_bytes);
        share->withdrawing = true;
        weir_session_grant(self->upstreams[i].session, group->name, share->unused_messages,
                           share->unused_bytes);
    }
}

/* Small raises are not worth a frame while there is something left to use. */
static bool worth_saying(const struct share *share, uint64_t messages, uint64_t bytes)
{
    return (messages > 0 &&
            (share->unused_messages == 0 || messages * 4 >= share->target_messages)) ||
           (bytes > 0 && (share->unused_bytes == 0 || bytes * 4 >= share->target_bytes));
}

static void raise(struct relay *self, struct relay_group *group, struct sum *sum, bool hungry)
{
    uint64_t free_messages = less(sum->messages, sum->held_messages);
    uint64_t free_bytes = less(sum->bytes, sum->held_bytes);
    for (uint32_t n = 0; n < self->upstream_count; n++) {
        uint32_t i = (group->turn + n) % self->upstream_count;
        struct share *share = &self->shares[i];
        if (!share->usable || share->withdrawing || share->hungry != hungry)
            continue;
        uint64_t messages =
            least(less(share->target_messages, share->unused_messages), free_messages);
        uint64_t bytes = least(less(share->target_bytes, share->unused_bytes), free_bytes);
        if (!worth_saying(share, messages, bytes))
            messages = bytes = 0;
        /* Even nothing: it must know that we serve the group, so that it can say WAITING. */
        weir_session_grant(self->upstreams[i].session, group->name,
                           share->unused_messages + messages, share->unused_bytes + bytes);
        if (messages > 0)
            group->loans[i].stirred_ns = self->now.mono_ns;
        free_messages -= messages;
        free_bytes -= bytes;
        sum->held_messages += messages;
        sum->held_bytes += bytes;
    }
}

/* Look again when a hungry upstream may have turned out to be sated, if another would gain. */
static void set_idle(struct relay *self, struct relay_group *group, const struct sum *sum)
{
    int64_t at = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->upstream_count && sum->usable > 1; i++) {
        struct weir_credit credit = weir_session_credit(self->upstreams[i].session, group->name);
        int64_t sated_ns = group->loans[i].stirred_ns + WEIR_LEND_IDLE_MS * WEIR_NS_PER_MS;
        if (self->shares[i].hungry && credit.limit_messages > credit.used_messages && sated_ns < at)
            at = sated_ns;
    }
    if (at == WEIR_TIME_NEVER)
        weir_heap_remove(&self->idle, &group->idle);
    else
        weir_heap_set(&self->idle, &group->idle, at);
}

void weir_relay_lend(struct relay *self, struct relay_group *group)
{
    struct sum sum = {0};
    if (weir_dispatch_servers(self->down, group->name, NULL) == 0 &&
        weir_relay_lent(self, group) == 0)
        return; /* no upstream need hear of it */
    if (!self->shares)
        self->shares = weir_zalloc(self->upstream_count, sizeof *self->shares);
    for (uint32_t i = 0; i < self->upstream_count; i++)
        look(self, group, i, &sum);
    weir_dispatch_room(self->down, group->name, &sum.messages, &sum.bytes);
    sum.messages = self->draining ? 0 : less(sum.messages, group->queued_messages);
    sum.bytes = self->draining ? 0 : less(sum.bytes, group->queued_bytes);
    aim(self, group, &sum);
    if (sum.held_messages > sum.messages || sum.held_bytes > sum.bytes || wanted(self, &sum))
        lower(self, group);
    if (!self->draining) {
        raise(self, group, &sum, true);
        raise(self, group, &sum, false);
    }
    set_idle(self, group, &sum);
}

void weir_relay_lend_all(struct relay *self)
{
    struct relay_group *group, *next;
    HASH_ITER (hh, self->groups, group, next)
        weir_relay_lend(self, group);
}

void weir_relay_lend_tick(struct relay *self)
{
    int64_t now_ns = self->now.mono_ns;
    while (weir_heap_next(&self->idle) <= now_ns) {
        struct relay_group *group =
            WEIR_CONTAINER_OF(weir_heap_first(&self->idle), struct relay_group, idle);
        weir_heap_remove(&self->idle, &group->idle);
        for (uint32_t i = 0; i < self->upstream_count; i++) {
            struct loan *loan = &group->loans[i];
            struct weir_credit credit =
                weir_session_credit(self->upstreams[i].session, group->name);
            if (loan->hungry && credit.limit_messages > credit.used_messages &&
                loan->stirred_ns + WEIR_LEND_IDLE_MS * WEIR_NS_PER_MS <= now_ns)
                loan->hungry = false;
        }
        weir_relay_lend(self, group);
    }
}

uint64_t weir_relay_lent(const struct relay *self, const struct relay_group *group)
{
    uint64_t lent = 0;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        struct weir_credit credit = weir_session_credit(self->upstreams[i].session, group->name);
        lent += less(credit.ceiling_messages, credit.used_messages);
    }
    return lent;
}
