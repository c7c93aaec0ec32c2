/* Which groups there are: declared in the topology, joined at run time, left over, removed. */
#include <base/alloc.h>
#include <base/canary.h>
#include <base/topic.h>
#include <core/ventilator.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct weir_join { /* said JOIN, and waits for its group to be durable */
    uint64_t peer;
    uint64_t serial;
    bool has_serial;
    uint32_t number;
    uint64_t flush;
};

struct weir_group *weir_groups_find(const struct weir_ventilator *v, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < v->group_count; i++) {
        const char *other = v->groups[i]->row.policy.name;
        if (strlen(other) == bytes && memcmp(other, name, bytes) == 0)
            return v->groups[i];
    }
    return NULL;
}

struct weir_group *weir_groups_number(const struct weir_ventilator *v, uint32_t number)
{
    for (uint32_t i = 0; i < v->group_count; i++)
        if (v->groups[i]->row.number == number)
            return v->groups[i];
    return NULL;
}

static struct weir_group *create(struct weir_ventilator *v, const struct weir_group_policy *policy)
{
    struct weir_group_row row = {.number = ++v->last_group,
                                 .policy = *policy,
                                 .created_ms = v->now.wall_ms,
                                 .active_ms = v->now.wall_ms,
                                 .listed = true};
    row.start = v->stream.next;
    if (policy->start == WEIR_START_EARLIEST && v->oldest < row.start) {
        row.start = v->oldest;
        /* How many of the older ones match shows when they are passed: until the group has caught
         * up, its backlog is an upper bound. */
        row.totals.matched = v->stream.next - row.start;
    }
    row.low = row.next = row.start;
    struct weir_group *group = weir_group_new(&row);
    group->dirty = true;
    group->oldest_ms = v->now.wall_ms;
    group->idle_ns = v->now.mono_ns;
    v->groups = weir_realloc(v->groups, v->group_count + 1, sizeof(struct weir_group *));
    v->groups[v->group_count++] = group;
    weir_flush_group(v, group);
    weir_delayed_inherit(v, group);
    weir_ventilator_stir(v, group);
    return group;
}

bool weir_groups_configure(struct weir_ventilator *v)
{
    bool made = false;
    for (uint32_t i = 0; i < v->config.group_count; i++) {
        const struct weir_group_policy *policy = &v->config.groups[i];
        if (weir_groups_find(v, policy->name, strlen(policy->name)))
            continue;
        create(v, policy);
        made = true;
    }
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        if (group->row.listed)
            continue;
        weir_ventilator_log(
            v, WEIR_LOG_WARNING,
            "group %s is no longer in the topology and holds %llu messages, since %lld s ago; "
            "serve it, or remove it with: weir group rm %s",
            group->row.policy.name, (unsigned long long)weir_group_backlog(group),
            (long long)((v->now.wall_ms - group->row.active_ms) / 1000), group->row.policy.name);
    }
    free(v->policies);
    v->policies = NULL;
    v->config.groups = NULL;
    v->config.group_count = 0;
    return made;
}

/* ---- JOIN ---- */

static void say_joined(struct weir_ventilator *v, uint64_t peer, const struct weir_group *group,
                       bool has_serial, uint64_t serial)
{
    struct weir_control joined = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&joined, group, GROUP, weir_text_of(group->row.policy.name));
    WEIR_SET(&joined, start, START, group->row.start);
    if (has_serial)
        WEIR_SET(&joined, serial, SERIAL, serial);
    weir_dispatch_send(v->dispatch, peer, &joined);
}

/* What JOIN asks for, with the defaults of a group that nobody declared: its backlog is bounded and
 * it ends by itself, because nobody else may know of it. */
static bool policy_of(const struct weir_control *control, struct weir_group_policy *policy)
{
    *policy = weir_group_policy_default();
    memcpy(policy->name, control->group.data, control->group.bytes);
    if (control->topic_count == 0 || control->topic_count > WEIR_TOPIC_PATTERNS_MAX)
        return false;
    for (uint32_t i = 0; i < control->topic_count; i++) {
        const struct weir_text *topic = &control->topics[i];
        if (topic->bytes > WEIR_TOPIC_BYTES_MAX ||
            !weir_topic_pattern_valid(topic->data, topic->bytes))
            return false;
        memcpy(policy->topics[i], topic->data, topic->bytes);
    }
    policy->topic_count = control->topic_count;
    const bool earliest = WEIR_HAS(control, FROM) && weir_text_is(&control->from, "earliest");
    policy->start = earliest ? WEIR_START_EARLIEST : WEIR_START_NOW;
    policy->max_backlog = WEIR_DYNAMIC_BACKLOG_MAX;
    policy->on_full = WEIR_ON_FULL_DROP;
    policy->expire_idle_ms = WEIR_DYNAMIC_EXPIRE_MS;
    policy->dynamic = true;
    return true;
}

static void wait_for_flush(struct weir_ventilator *v, uint64_t peer,
                           const struct weir_control *control, const struct weir_group *group)
{
    if (WEIR_CANARY(JOINED_BEFORE_DURABLE)) {
        say_joined(v, peer, group, WEIR_HAS(control, SERIAL), control->serial);
        return;
    }
    v->joins = weir_realloc(v->joins, v->join_count + 1, sizeof *v->joins);
    v->joins[v->join_count++] = (struct weir_join){.peer = peer,
                                                   .serial = control->serial,
                                                   .has_serial = WEIR_HAS(control, SERIAL),
                                                   .number = group->row.number,
                                                   .flush = weir_flush_need(v)};
}

static const char *other_topics(const struct weir_group *group, char *text, size_t size)
{
    const struct weir_group_policy *policy = &group->row.policy;
    const char *patterns[WEIR_TOPIC_PATTERNS_MAX];
    char topics[WEIR_TOPICS_TEXT_BYTES];
    for (uint32_t i = 0; i < policy->topic_count; i++)
        patterns[i] = policy->topics[i];
    weir_topics_text(topics, patterns, policy->topic_count);
    snprintf(text, size,
             "group %s exists with the topics %s: join it with these, or use another name",
             policy->name, topics);
    return text;
}

/* Why the group cannot be had; NULL: it can, or is there. `text` is room for it. */
static const char *objection(const struct weir_ventilator *v, const struct weir_group *group,
                             const struct weir_group_policy *policy, char *text, size_t size)
{
    if (group && !weir_policy_same_topics(&group->row.policy, policy))
        return other_topics(group, text, size);
    if (v->join_count == WEIR_JOINS_MAX || v->state != WEIR_VENTILATOR_OPEN)
        return "the ventilator cannot take a new group now; try again later";
    if (!group && !v->config.dynamic_groups)
        return "there is no such group, and this ventilator does not allow dynamic-groups: declare "
               "it in the topology, or allow them";
    if (!group && v->group_count == WEIR_GROUPS_MAX)
        return "the ventilator has as many groups as it can; remove one";
    return NULL;
}

void weir_groups_join(struct weir_ventilator *v, uint64_t peer, const struct weir_control *control)
{
    char name[WEIR_NAME_BYTES_MAX + 1], text[WEIR_TEXT_BYTES_MAX];
    struct weir_group_policy policy;
    if (control->group.bytes > WEIR_NAME_BYTES_MAX ||
        !weir_name_valid(control->group.data, control->group.bytes))
        return;
    snprintf(name, sizeof name, "%.*s", (int)control->group.bytes, control->group.data);
    struct weir_group *group = weir_groups_find(v, name, strlen(name));
    const char *wrong = policy_of(control, &policy)
                            ? objection(v, group, &policy, text, sizeof text)
                            : "JOIN names no topics, or a topic pattern that is not valid";
    if (wrong) {
        weir_dispatch_error(v->dispatch, peer, WEIR_CODE_GROUP, wrong, name,
                            WEIR_HAS(control, SERIAL) ? &control->serial : NULL);
        return;
    }
    if (!group) {
        group = create(v, &policy);
        weir_ventilator_log(v, WEIR_LOG_INFO, "group %s has joined, from sequence %llu on", name,
                            (unsigned long long)group->row.start);
    }
    wait_for_flush(v, peer, control, group);
}

void weir_groups_flushed(struct weir_ventilator *v)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < v->join_count; i++) {
        const struct weir_join join = v->joins[i];
        const struct weir_group *group = weir_groups_number(v, join.number);
        if (join.flush > v->flush.done)
            v->joins[kept++] = join;
        else if (group)
            say_joined(v, join.peer, group, join.has_serial, join.serial);
    }
    v->join_count = kept;
}

/* ---- the end of a group ---- */

/* Whoever waits to hear that it is there hears that it is not. */
static void joins_end(struct weir_ventilator *v, const struct weir_group *group, const char *text)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < v->join_count; i++) {
        const struct weir_join join = v->joins[i];
        if (join.number != group->row.number)
            v->joins[kept++] = join;
        else
            weir_dispatch_error(v->dispatch, join.peer, WEIR_CODE_GROUP, text,
                                group->row.policy.name, join.has_serial ? &join.serial : NULL);
    }
    v->join_count = kept;
}

void weir_groups_remove(struct weir_ventilator *v, struct weir_group *group)
{
    static const char text[] = "the group was removed";
    struct weir_lease *lease, *next;
    joins_end(v, group, text);
    weir_dispatch_refuse(v->dispatch, group->row.policy.name, text);
    HASH_ITER (hh, v->leases.table, lease, next) {
        if (lease->group != group)
            continue;
        for (size_t i = 0; i < lease->open.count; i++) {
            const struct weir_range *range = &lease->open.at[i];
            const struct weir_lease_ref ref = {.incarnation = lease->name.incarnation,
                                               .delivery = lease->name.delivery,
                                               .first = (uint32_t)range->first,
                                               .count = (uint32_t)(range->last - range->first + 1)};
            weir_dispatch_forget(v->dispatch, &ref);
        }
        weir_leases_remove(&v->leases, lease);
    }
    v->dying.rows -= group->dying;
    weir_dying_removed(v, group->row.number);
    struct weir_op *op = weir_flush_op(v, WEIR_OP_GROUP_DROP);
    op->number = group->row.number + WEIR_CANARY(REMOVAL_NOT_WRITTEN);
    weir_flush_need(v);
    if (group->stirred)
        DL_DELETE(v->stirred, group);
    weir_heap_remove(&v->group_timers, &group->timer);
    for (uint32_t i = 0; i < v->group_count; i++)
        if (v->groups[i] == group)
            v->groups[i] = v->groups[--v->group_count];
    weir_group_destroy(&group);
}

/* Where the oldest message that waits lies; v->stream.end: nothing waits. */
static uint64_t oldest_waiting(const struct weir_group *group)
{
    return group->returned.count ? group->returned.at[0].first : group->row.next;
}

/* The lowest tombstone that is left: of what lies below it is only known that it has ended. */
static void have_tombstone(struct weir_ventilator *v, struct weir_store_result *result,
                           uint64_t number, void *pointer)
{
    (void)pointer;
    struct weir_group *group = weir_groups_number(v, (uint32_t)number);
    if (!group || result->row_count == 0)
        return;
    weir_ended_forget(&group->row.ended, result->rows[0].sequence);
    weir_flush_group(v, group);
}

static void ask_for_tombstone(struct weir_ventilator *v, struct weir_group *group)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_LIST,
                                         .state = WEIR_ROW_DEAD,
                                         .number = group->row.number,
                                         .count = 1};
    group->tombstones_trimmed = false;
    weir_flush_now(v);
    weir_ventilator_ask(v, &request, have_tombstone, group->row.number, NULL);
}

void weir_groups_housekeeping(struct weir_ventilator *v)
{
    for (uint32_t i = 0; i < v->group_count; i++) {
        struct weir_group *group = v->groups[i];
        struct weir_group_row *row = &group->row;
        int64_t seen_ms = 0;
        if (weir_dispatch_servers(v->dispatch, row->policy.name, &seen_ms) > 0)
            seen_ms = v->now.wall_ms;
        if (seen_ms == v->now.wall_ms || seen_ms > row->active_ms)
            group->idle_ns = v->now.mono_ns;
        if (seen_ms > row->active_ms + WEIR_HOUSEKEEPING_MS / 2) {
            row->active_ms = seen_ms;
            weir_flush_group(v, group);
        }
        if (group->tombstones_trimmed && weir_ventilator_may_ask(v))
            ask_for_tombstone(v, group);
        struct weir_stream_batch *batch;
        const uint64_t oldest = oldest_waiting(group);
        const enum weir_stream_found found = weir_stream_find(&v->stream, oldest, &batch);
        if (found == WEIR_STREAM_HERE)
            group->oldest_ms = batch->record.time_ms;
        else if (found == WEIR_STREAM_UNKNOWN)
            weir_stream_want(&v->stream, oldest, WEIR_READ_ONE_BYTES);
        /* By the clock that does not jump, and counted anew from each start: while there is no
         * ventilator no worker can be at it. */
        const bool may_expire = row->policy.dynamic || !row->listed;
        const int64_t idle_ms = (v->now.mono_ns - group->idle_ns) / WEIR_NS_PER_MS;
        if (may_expire && row->policy.expire_idle_ms > 0 && group->in_flight == 0 &&
            idle_ms > row->policy.expire_idle_ms) {
            weir_ventilator_log(v, WEIR_LOG_WARNING,
                                "group %s had no worker for %lld s and is removed with %llu "
                                "messages",
                                row->policy.name, (long long)(idle_ms / 1000),
                                (unsigned long long)weir_group_backlog(group));
            weir_groups_remove(v, group);
            i--;
        }
    }
}
