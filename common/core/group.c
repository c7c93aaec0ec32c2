#include <base/alloc.h>
#include <core/group.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct weir_group *weir_group_new(const struct weir_group_row *row)
{
    struct weir_group *self = weir_zalloc(1, sizeof *self);
    self->row = *row;
    weir_settled_init(&self->settled, row->low);
    self->deferred.due_ms = WEIR_TIME_NEVER;
    self->deferred.known = true;
    return self;
}

static void ready_fini(struct weir_ready **list)
{
    struct weir_ready *ready, *next;
    DL_FOREACH_SAFE(*list, ready, next)
    {
        DL_DELETE(*list, ready);
        weir_row_fini(ready->row);
        free(ready->row);
        free(ready);
    }
}

void weir_group_destroy(struct weir_group **self)
{
    struct weir_group *group = *self;
    *self = NULL;
    if (!group)
        return;
    weir_settled_fini(&group->settled);
    weir_keys_fini(&group->keys);
    weir_rangeset_fini(&group->returned);
    weir_rangeset_fini(&group->claimed);
    weir_rangeset_fini(&group->cleared);
    ready_fini(&group->deferred.ready);
    ready_fini(&group->deferred.suspects);
    ready_fini(&group->deferred.fetched);
    free(group);
}

bool weir_group_matches(const struct weir_group *self, const struct weir_batch_header *header)
{
    return weir_group_policy_wants(&self->row.policy, header->topic, header->topic_bytes);
}

bool weir_group_ordered(const struct weir_group *self)
{
    return self->row.policy.order == WEIR_ORDER_KEY;
}

bool weir_group_final(const struct weir_group *self)
{
    return self->row.policy.delivery == WEIR_AT_MOST_ONCE;
}

void weir_group_settle(struct weir_group *self, uint64_t first, uint64_t count)
{
    if (count == 0)
        return;
    weir_settled_add(&self->settled, first, count);
    if (self->row.next < self->settled.low)
        self->row.next = self->settled.low;
    self->dirty = true;
}

void weir_group_lose(struct weir_group *self, uint64_t first, uint64_t end)
{
    for (uint64_t at = first, run; at < end; at += run) {
        bool settled;
        run = weir_settled_run(&self->settled, at, end, &settled);
        if (!settled)
            weir_ended_add(&self->row.ended, at, at + run - 1, WEIR_FATE_LOST);
    }
    if (first < end)
        weir_group_settle(self, first, end - first);
}

void weir_group_drop(struct weir_group *self, uint64_t first, uint64_t count)
{
    /* As long as only what is not for it lies between, what is dropped stays one range. */
    struct weir_ended *ended = &self->row.ended;
    const struct weir_ended_range *last = ended->count ? &ended->at[ended->count - 1] : NULL;
    const bool goes_on = last && self->dropped_to + 1 == first && last->last < first &&
                         last->fate == WEIR_FATE_DROPPED;
    weir_ended_add(ended, goes_on ? last->last + 1 : first, first + count - 1, WEIR_FATE_DROPPED);
    self->dropped_to = first + count - 1;
    self->dirty = true;
}

void weir_group_pass(struct weir_group *self, uint64_t to)
{
    const uint64_t from = self->row.next;
    if (to <= from)
        return;
    self->row.next = to;
    weir_group_settle(self, from, to - from);
}

uint64_t weir_group_waiting(const struct weir_group *self)
{
    const struct weir_group_totals *totals = &self->row.totals;
    const uint64_t ahead = totals->matched > totals->passed ? totals->matched - totals->passed : 0;
    return ahead + self->keys.waiting + weir_rangeset_size(&self->returned) +
           weir_rangeset_size(&self->claimed) + weir_rangeset_size(&self->cleared);
}

uint64_t weir_group_backlog(const struct weir_group *self)
{
    return weir_group_waiting(self) + self->deferred.rows;
}

static uint64_t lowest_of(const struct weir_rangeset *set)
{
    return set->count ? set->at[0].first : UINT64_MAX;
}

uint64_t weir_group_needs(const struct weir_group *self)
{
    uint64_t lowest = self->settled.low;
    if (lowest_of(&self->claimed) < lowest)
        lowest = lowest_of(&self->claimed);
    if (lowest_of(&self->cleared) < lowest)
        lowest = lowest_of(&self->cleared);
    if (!weir_group_final(self))
        return lowest;
    const struct weir_ready *ready; /* these have left the state */
    DL_FOREACH (self->deferred.ready, ready)
        if (!ready->row->body.size && ready->row->sequence < lowest)
            lowest = ready->row->sequence;
    return lowest;
}

/* ---- rate: a message may go when the one before it is an interval old; what was not used in the
 * last moment may be made up for ---- */

static int64_t interval_ns(const struct weir_group *self)
{
    const int64_t interval = INT64_C(1000) * WEIR_NS_PER_S / self->row.policy.rate_permille;
    return interval > 0 ? interval : 1;
}

static int64_t rate_from(const struct weir_group *self, int64_t now_ns)
{
    const int64_t interval = interval_ns(self);
    const int64_t burst = WEIR_RATE_BURST_MS * WEIR_NS_PER_MS;
    const int64_t earliest = now_ns - (interval > burst ? interval : burst);
    return self->rate_ns > earliest ? self->rate_ns : earliest;
}

uint64_t weir_group_rate_room(const struct weir_group *self, int64_t now_ns)
{
    if (self->row.policy.rate_permille == 0)
        return UINT64_MAX;
    const int64_t from = rate_from(self, now_ns);
    return from < now_ns ? (uint64_t)((now_ns - from) / interval_ns(self)) : 0;
}

void weir_group_rate_take(struct weir_group *self, uint64_t messages, int64_t now_ns)
{
    if (self->row.policy.rate_permille)
        self->rate_ns = rate_from(self, now_ns) + (int64_t)messages * interval_ns(self);
}

int64_t weir_group_rate_next(const struct weir_group *self)
{
    return self->rate_ns + interval_ns(self);
}

int64_t weir_group_lease_ms(const struct weir_group *self)
{
    return self->row.policy.lease_ms > 0 ? self->row.policy.lease_ms : WEIR_LEASE_MS;
}

static bool has_topic(const struct weir_group_policy *policy, const char *topic)
{
    for (uint32_t i = 0; i < policy->topic_count; i++)
        if (strcmp(policy->topics[i], topic) == 0)
            return true;
    return false;
}

bool weir_policy_same_topics(const struct weir_group_policy *left,
                             const struct weir_group_policy *right)
{
    for (uint32_t i = 0; i < left->topic_count; i++)
        if (!has_topic(right, left->topics[i]))
            return false;
    for (uint32_t i = 0; i < right->topic_count; i++)
        if (!has_topic(left, right->topics[i]))
            return false;
    return true;
}
