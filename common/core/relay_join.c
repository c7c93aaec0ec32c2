/* Groups that workers JOIN through a router.
 *
 * Whether a JOIN's topics are the group's is for the upstreams to say; a router does not know. The
 * first topics that one of them has taken are the group's here, for as long as somebody serves it:
 * they alone are said again in each session, and credit for the group goes to whoever has taken
 * them. What is asked beside them disturbs nobody: other topics are refused here, and while none
 * are known, each set of topics is asked for by itself and only those who asked hear the answer.
 *
 * Upstreams that know the group are asked first, since one that does not would make it anew. */
#include "relay_state.h"

#include <base/topic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct joiner { /* said JOIN, and has no answer */
    uint64_t peer;
    uint64_t serial;
    bool has_serial;
};

struct answer {      /* of an upstream, in this session */
    uint64_t serial; /* of the JOIN that it has not answered; 0: none */
    bool refused;
    bool barred; /* to accepted topics: what group there is has others, until it says JOINED */
};

struct ask {
    struct ask *prev, *next;
    char **topics;
    uint32_t topic_count;
    char *from;
    struct answer *answers; /* one an upstream */
    struct joiner *joiners;
    uint32_t joiner_count;
    int64_t taken_ns;              /* when joiners last heard that it is */
    char why[WEIR_TEXT_BYTES_MAX]; /* it is refused, by those who do */
};

/* ---- what is asked for ---- */

static bool has_topic(const struct ask *ask, const struct weir_text *topic)
{
    for (uint32_t i = 0; i < ask->topic_count; i++)
        if (weir_text_is(topic, ask->topics[i]))
            return true;
    return false;
}

static bool names_topic(const struct weir_control *join, const char *topic)
{
    for (uint32_t i = 0; i < join->topic_count; i++)
        if (weir_text_is(&join->topics[i], topic))
            return true;
    return false;
}

static bool same_topics(const struct ask *ask, const struct weir_control *join)
{
    for (uint32_t i = 0; i < join->topic_count; i++)
        if (!has_topic(ask, &join->topics[i]))
            return false;
    for (uint32_t i = 0; i < ask->topic_count; i++)
        if (!names_topic(join, ask->topics[i]))
            return false;
    return true;
}

static struct ask *ask_find(const struct relay_group *group, const struct weir_control *join)
{
    struct ask *ask;
    DL_FOREACH (group->asks, ask)
        if (same_topics(ask, join))
            return ask;
    return NULL;
}

static struct ask *ask_new(const struct relay *self, struct relay_group *group,
                           const struct weir_control *join)
{
    struct ask *ask = weir_zalloc(1, sizeof *ask);
    ask->topics = weir_zalloc(join->topic_count, sizeof *ask->topics);
    for (uint32_t i = 0; i < join->topic_count; i++)
        ask->topics[i] = weir_strndup(join->topics[i].data, join->topics[i].bytes);
    ask->topic_count = join->topic_count;
    ask->answers = weir_zalloc(self->upstream_count, sizeof *ask->answers);
    DL_APPEND(group->asks, ask);
    group->ask_count++;
    return ask;
}

static void ask_drop(struct relay_group *group, struct ask *ask)
{
    if (group->accepted == ask)
        group->accepted = NULL;
    DL_DELETE(group->asks, ask);
    group->ask_count--;
    for (uint32_t i = 0; i < ask->topic_count; i++)
        free(ask->topics[i]);
    free(ask->topics);
    free(ask->from);
    free(ask->answers);
    free(ask->joiners);
    free(ask);
}

void weir_relay_join_fini(struct relay_group *group)
{
    while (group->asks)
        ask_drop(group, group->asks);
}

bool weir_relay_joining(const struct relay_group *group)
{
    const struct ask *ask;
    DL_FOREACH (group->asks, ask)
        if (ask->joiner_count > 0)
            return true;
    return false;
}

/* ---- to whom ---- */

static bool reachable(const struct relay *self, uint32_t upstream)
{
    return weir_session_open(self->upstreams[upstream].session) &&
           !self->upstreams[upstream].refused;
}

static bool barred(const struct relay_group *group, uint32_t upstream)
{
    return group->accepted && group->accepted->answers[upstream].barred;
}

/* The group is there: it takes credit for it. */
static bool knows(const struct relay *self, const struct relay_group *group, uint32_t upstream)
{
    return reachable(self, upstream) && !group->loans[upstream].absent &&
           !barred(group, upstream) &&
           weir_session_serves(self->upstreams[upstream].session, group->name);
}

bool weir_relay_lendable(const struct relay *self, const struct relay_group *group,
                         uint32_t upstream)
{
    const bool waits = group->accepted && group->accepted->answers[upstream].serial;
    return knows(self, group, upstream) ||
           (reachable(self, upstream) && !group->loans[upstream].absent &&
            !barred(group, upstream) && !waits);
}

/* Somebody relies on the accepted topics, or is about to: the credit comes after JOINED. */
static bool served(const struct relay *self, const struct relay_group *group)
{
    const struct ask *ask = group->accepted;
    return ask->joiner_count > 0 || weir_dispatch_servers(self->down, group->name, NULL) > 0 ||
           self->now.mono_ns < ask->taken_ns + WEIR_LOSS_GRACE_MS * WEIR_NS_PER_MS;
}

/* Workers rely on upstreams that know the group, and these have been asked. */
static bool asked_who_knows(const struct relay *self, const struct relay_group *group,
                            const struct ask *ask)
{
    if (weir_dispatch_servers(self->down, group->name, NULL) == 0)
        return false;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (knows(self, group, i) && (ask->answers[i].serial || ask->answers[i].refused))
            return true;
    return false;
}

static void say(struct relay *self, const struct relay_group *group, struct ask *ask,
                uint32_t upstream)
{
    struct answer *answer = &ask->answers[upstream];
    if (!reachable(self, upstream) || answer->serial ||
        (ask != group->accepted && !knows(self, group, upstream) &&
         asked_who_knows(self, group, ask)))
        return;
    answer->refused = false;
    answer->serial =
        weir_session_join(self->upstreams[upstream].session, group->name,
                          (const char *const *)ask->topics, ask->topic_count, ask->from, false);
}

static void say_all(struct relay *self, const struct relay_group *group, struct ask *ask)
{
    ask->why[0] = '\0';
    for (uint32_t i = 0; i < self->upstream_count; i++)
        ask->answers[i].refused = false;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (knows(self, group, i))
            say(self, group, ask, i);
    for (uint32_t i = 0; i < self->upstream_count; i++)
        say(self, group, ask, i);
}

/* ---- answers to those who asked ---- */

static void refuse(struct relay *self, const struct relay_group *group, struct ask *ask,
                   const char *text)
{
    for (uint32_t i = 0; i < ask->joiner_count; i++) {
        const struct joiner *joiner = &ask->joiners[i];
        weir_dispatch_error(self->down, joiner->peer, WEIR_CODE_GROUP, text, group->name,
                            joiner->has_serial ? &joiner->serial : NULL);
    }
    ask->joiner_count = 0;
}

static void say_joined(struct relay *self, const struct relay_group *group, struct ask *ask,
                       const struct weir_control *control)
{
    for (uint32_t i = 0; i < ask->joiner_count; i++) {
        struct weir_control joined = {.verb = WEIR_VERB_JOINED};
        WEIR_SET(&joined, group, GROUP, weir_text_of(group->name));
        if (self->upstream_count == 1 && WEIR_HAS(control, START))
            WEIR_SET(&joined, start, START, control->start);
        if (ask->joiners[i].has_serial)
            WEIR_SET(&joined, serial, SERIAL, ask->joiners[i].serial);
        weir_dispatch_send(self->down, ask->joiners[i].peer, &joined);
    }
    ask->joiner_count = 0;
    ask->taken_ns = self->now.mono_ns;
}

static void other_topics(const struct relay_group *group, char *text, size_t size)
{
    const struct ask *ask = group->accepted;
    char topics[WEIR_TOPICS_TEXT_BYTES];
    weir_topics_text(topics, (const char *const *)ask->topics, ask->topic_count);
    snprintf(text, size,
             "group %s is served here with the topics %s: join it with these, or use another name",
             group->name, topics);
}

/* Whoever asked hears the reason when all who can be reached have refused. */
static void settle(struct relay *self, struct relay_group *group, struct ask *ask)
{
    bool refused = false;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        if (reachable(self, i) && ask->answers[i].serial)
            return;
        refused = refused || ask->answers[i].refused;
    }
    if (!refused)
        return;
    refuse(self, group, ask, ask->why);
    ask->why[0] = '\0';
    if (ask != group->accepted)
        ask_drop(group, ask);
}

/* ---- JOIN ---- */

static void add_joiner(struct ask *ask, uint64_t peer, const struct weir_control *join)
{
    struct joiner joiner = {peer, join->serial, WEIR_HAS(join, SERIAL)};
    for (uint32_t i = 0; i < ask->joiner_count; i++) {
        if (ask->joiners[i].peer == peer) {
            ask->joiners[i] = joiner;
            return;
        }
    }
    if (ask->joiner_count == WEIR_PEERS_MAX)
        return; /* its peers are gone, or it would have found itself */
    ask->joiners = weir_realloc(ask->joiners, ask->joiner_count + 1u, sizeof *ask->joiners);
    ask->joiners[ask->joiner_count++] = joiner;
}

void weir_relay_join(struct relay *self, struct relay_group *group, uint64_t peer,
                     const struct weir_control *join)
{
    char text[WEIR_TEXT_BYTES_MAX];
    const uint64_t *serial = WEIR_HAS(join, SERIAL) ? &join->serial : NULL;
    struct ask *ask = ask_find(group, join);
    if (!ask && group->accepted && served(self, group)) {
        other_topics(group, text, sizeof text);
        weir_dispatch_error(self->down, peer, WEIR_CODE_GROUP, text, group->name, serial);
        return;
    }
    if (!ask && group->ask_count == WEIR_ASKS_MAX) {
        snprintf(text, sizeof text,
                 "group %s is being joined with %u other sets of topics: try again later",
                 group->name, WEIR_ASKS_MAX);
        weir_dispatch_error(self->down, peer, WEIR_CODE_LIMIT, text, group->name, serial);
        return;
    }
    const bool under_way = ask && ask != group->accepted;
    if (!ask)
        ask = ask_new(self, group, join);
    free(ask->from);
    ask->from = WEIR_HAS(join, FROM) ? weir_strndup(join->from.data, join->from.bytes) : NULL;
    add_joiner(ask, peer, join);
    if (!under_way)
        say_all(self, group, ask);
}

/* ---- from above ---- */

static struct ask *ask_answered(const struct relay_group *group, uint32_t upstream,
                                const struct weir_control *control)
{
    struct ask *ask;
    DL_FOREACH (group->asks, ask)
        if (ask->answers[upstream].serial &&
            (!WEIR_HAS(control, SERIAL) || control->serial == ask->answers[upstream].serial))
            return ask;
    return NULL;
}

/* Where the former topics hold, credit waits until these do. */
static void accept(struct relay *self, struct relay_group *group, struct ask *ask)
{
    const bool others = group->accepted != NULL;
    if (others)
        ask_drop(group, group->accepted);
    group->accepted = ask;
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        ask->answers[i].barred = others || (ask->answers[i].refused && !knows(self, group, i));
        if (others && weir_session_serves(self->upstreams[i].session, group->name))
            weir_session_grant(self->upstreams[i].session, group->name, 0, 0);
        if (!ask->answers[i].refused)
            say(self, group, ask, i);
    }
}

void weir_relay_joined(struct relay *self, uint32_t upstream, struct relay_group *group,
                       const struct weir_control *control)
{
    struct ask *ask = ask_answered(group, upstream, control);
    if (!ask)
        return;
    if (group->accepted && group->accepted != ask && served(self, group)) {
        /* Made there with other topics than elsewhere, before anybody knew. */
        char text[WEIR_TEXT_BYTES_MAX];
        other_topics(group, text, sizeof text);
        refuse(self, group, ask, text);
        ask_drop(group, ask);
        return;
    }
    say_joined(self, group, ask, control);
    if (group->accepted != ask)
        accept(self, group, ask);
    ask->answers[upstream] = (struct answer){0};
    group->loans[upstream].absent = false;
    weir_relay_lend(self, group);
}

/* No upstream has the group any more: all who serve it hear of it, and may ask for it anew. */
static void end_if_gone(struct relay *self, struct relay_group *group, const char *text)
{
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (!group->loans[i].absent && !barred(group, i))
            return;
    weir_dispatch_refuse(self->down, group->name, text);
    if (!group->accepted)
        return;
    refuse(self, group, group->accepted, text);
    ask_drop(group, group->accepted);
}

static void note_why(const struct relay *self, uint32_t upstream, struct ask *ask, const char *text)
{
    char line[sizeof ask->why];
    const size_t bytes = strlen(ask->why);
    if (self->upstream_count == 1)
        snprintf(line, sizeof line, "%s", text);
    else
        snprintf(line, sizeof line, "%s says: %s", self->upstreams[upstream].name, text);
    if (!strstr(ask->why, line))
        snprintf(ask->why + bytes, sizeof ask->why - bytes, "%s%s", bytes ? "; " : "", line);
}

void weir_relay_refused(struct relay *self, uint32_t upstream, struct relay_group *group,
                        const struct weir_control *error)
{
    struct ask *ask = ask_answered(group, upstream, error);
    if (!ask && WEIR_HAS(error, SERIAL) && weir_session_of_join(error->serial))
        return; /* nobody waits for it any more */
    char *text = weir_strndup(error->text.data, error->text.bytes);
    if (ask) {
        ask->answers[upstream].serial = 0;
        ask->answers[upstream].refused = true;
        note_why(self, upstream, ask, text);
    }
    /* Where it takes credit it is, whatever it does not want to hear again just now. */
    if (!ask || (ask == group->accepted && !knows(self, group, upstream))) {
        group->loans[upstream].absent = true;
        if (ask)
            ask->answers[upstream].barred = true;
    }
    if (ask)
        settle(self, group, ask);
    end_if_gone(self, group, text);
    free(text);
    weir_relay_lend(self, group);
}

void weir_relay_ask_again(struct relay *self, struct relay_group *group)
{
    uint64_t messages, bytes;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        if (!group->loans[i].absent)
            return;
    weir_dispatch_room(self->down, group->name, &messages, &bytes);
    for (uint32_t i = 0; i < self->upstream_count && messages > 0; i++)
        group->loans[i].absent = false;
}

void weir_relay_join_welcome(struct relay *self, uint32_t upstream)
{
    struct relay_group *group, *next_group;
    struct ask *ask, *next;
    HASH_ITER (hh, self->groups, group, next_group) {
        DL_FOREACH_SAFE(group->asks, ask, next)
        {
            ask->answers[upstream] = (struct answer){0};
            if (ask != group->accepted || served(self, group)) /* else who comes asks anew */
                say(self, group, ask, upstream);
            settle(self, group, ask);
        }
    }
}

void weir_relay_join_down(struct relay *self, uint32_t upstream)
{
    struct relay_group *group, *next_group;
    struct ask *ask, *next;
    HASH_ITER (hh, self->groups, group, next_group)
        DL_FOREACH_SAFE(group->asks, ask, next)
        {
            ask->answers[upstream].serial = 0;
            settle(self, group, ask);
        }
}
