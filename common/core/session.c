/* Client side of the dispatch protocol.
 *
 *          LINK_UP: READY            WELCOME
 *   DOWN ─────────────────► GREETING ───────► OPEN
 *    ▲ ▲                       │ ▲              │
 *    │ └───────────────────────┘ └──────────────┤ not-ready, or silence: READY again
 *    │         LINK_DOWN                        │
 *    └──────────────────────────────────────────┘
 *
 * Credit belongs to the time between two WELCOMEs. What arrives while GREETING was sent before the
 * server saw READY, and is taken as it stands: the connection never broke. */
#include <base/alloc.h>
#include <base/hash_table.h>
#include <base/topic.h>
#include <core/port_name.h>
#include <core/session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wire/batch.h>

#define HEARTBEAT_MS_MIN 100
#define SILENCE_NS (WEIR_PEER_SILENCE_MS * WEIR_NS_PER_MS)

enum session_state { SESSION_DOWN, SESSION_GREETING, SESSION_OPEN };

struct group {
    UT_hash_handle hh;
    char name[WEIR_NAME_BYTES_MAX + 1];
    struct weir_credit credit;
    bool said;              /* CREDIT, in this session: so that the server knows we serve it */
    bool withheld;          /* the limit was raised and is not said yet: JOINED has not come */
    bool held;              /* no CREDIT before JOINED */
    uint64_t serial;        /* of the last CREDIT that lowered … */
    uint64_t credit_serial; /* … and of the last one */
};

struct weir_session {
    struct weir_session_owner owner;
    struct weir_host host;
    uint32_t port;
    char name[WEIR_NAME_BYTES_MAX + 1];
    char role[WEIR_NAME_BYTES_MAX + 1];
    uint64_t worker;
    enum session_state state;
    int64_t heard_ns, said_ns, ready_ns, beat_ns;
    bool said; /* something, since the last tick */
    int64_t heartbeat_ns;
    uint64_t serial; /* the last one: odd, if that was a JOIN's */
    struct group *groups;
    uint64_t errors;
    bool warned; /* about them, on this connection */
};

struct weir_session *weir_session_new(const struct weir_session_config *config,
                                      const struct weir_session_owner *owner,
                                      const struct weir_host *host)
{
    struct weir_session *self = weir_zalloc(1, sizeof *self);
    self->owner = *owner;
    self->host = *host;
    self->port = config->port;
    self->worker = config->worker;
    self->heartbeat_ns = WEIR_HEARTBEAT_MS * WEIR_NS_PER_MS;
    snprintf(self->name, sizeof self->name, "%s", config->name);
    snprintf(self->role, sizeof self->role, "%s", config->role);
    return self;
}

void weir_session_destroy(struct weir_session **self_p)
{
    struct weir_session *self = *self_p;
    if (!self)
        return;
    struct group *group, *next;
    HASH_ITER (hh, self->groups, group, next) {
        HASH_DEL(self->groups, group);
        free(group);
    }
    free(self);
    *self_p = NULL;
}

bool weir_session_open(const struct weir_session *self)
{
    return self->state == SESSION_OPEN;
}

uint64_t weir_session_errors(const struct weir_session *self)
{
    return self->errors;
}

/* Something that the server must not do. Counted, and told once a connection. */
static void complain(struct weir_session *self, const char *what)
{
    self->errors++;
    if (self->warned)
        return;
    self->warned = true;
    const struct weir_port_name name = weir_port_name(&self->host, self->port);
    char text[WEIR_ERROR_TEXT_BYTES + sizeof name.text + 64];
    snprintf(text, sizeof text, "%s sends what it should not (ignored): %s", name.text, what);
    self->host.log(self->host.self, WEIR_LOG_WARNING, text);
}

/* ---- sending ---- */

void weir_session_send(struct weir_session *self, const struct weir_control *control)
{
    if (self->state == SESSION_DOWN)
        return;
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    self->said = true;
    self->host.send(self->host.self, self->port, 0, &frames);
}

static void say_ready(struct weir_session *self, const struct weir_now *now)
{
    struct weir_lease_ref *leases = NULL;
    uint32_t count = 0;
    self->owner.held(self->owner.self, self->port, &leases, &count);
    WEIR_ASSERT(count <= WEIR_LEASES_MAX);
    struct weir_control ready = {.verb = WEIR_VERB_READY};
    WEIR_SET(&ready, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&ready, role, ROLE, weir_text_of(self->role));
    WEIR_SET(&ready, name, NAME, weir_text_of(self->name));
    if (self->worker) {
        WEIR_SET(&ready, worker, WORKER, self->worker);
        WEIR_SET(&ready, serial, SERIAL, (uint64_t)now->mono_ns); /* the same on all its ways */
    }
    if (count > 0) {
        WEIR_SET(&ready, leases, LEASES, leases);
        ready.lease_count = count;
    }
    self->state = SESSION_GREETING;
    self->ready_ns = now->mono_ns;
    weir_session_send(self, &ready);
    free(leases);
}

/* What answers a JOIN is told from what answers a CREDIT by the serial alone: a group may have any
 * number of both under way. */
static uint64_t serial_next(struct weir_session *self, bool join)
{
    return self->serial = ((self->serial >> 1) + 1) << 1 | join;
}

bool weir_session_of_join(uint64_t serial)
{
    return serial & 1;
}

static void say_credit(struct weir_session *self, struct group *group, bool lowers)
{
    struct weir_control credit = {.verb = WEIR_VERB_CREDIT};
    WEIR_SET(&credit, group, GROUP, weir_text_of(group->name));
    WEIR_SET(&credit, messages, MESSAGES, group->credit.limit_messages);
    WEIR_SET(&credit, bytes, BYTES, group->credit.limit_bytes);
    WEIR_SET(&credit, serial, SERIAL, group->credit_serial = serial_next(self, false));
    if (lowers)
        group->serial = group->credit_serial;
    group->said = true;
    group->withheld = false;
    weir_session_send(self, &credit);
}

static void beat(struct weir_session *self)
{
    struct weir_control beat = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&beat, serial, SERIAL, serial_next(self, false));
    if (self->worker)
        WEIR_SET(&beat, worker, WORKER, self->worker);
    weir_session_send(self, &beat);
}

/* ---- groups and their credit ---- */

static struct group *group_find(const struct weir_session *self, const char *name, size_t bytes)
{
    struct group *group;
    HASH_FIND(hh, self->groups, name, bytes, group);
    return group;
}

static struct group *group_get(struct weir_session *self, const char *name)
{
    size_t bytes = strlen(name);
    struct group *group = group_find(self, name, bytes);
    if (group)
        return group;
    WEIR_ASSERT(bytes <= WEIR_NAME_BYTES_MAX);
    group = weir_zalloc(1, sizeof *group);
    memcpy(group->name, name, bytes);
    HASH_ADD(hh, self->groups, name, (unsigned)bytes, group);
    return group;
}

static void credit_reset(struct weir_session *self)
{
    struct group *group, *next;
    HASH_ITER (hh, self->groups, group, next) {
        group->credit = (struct weir_credit){0};
        group->said = group->withheld = group->held = false;
    }
}

uint64_t weir_session_join(struct weir_session *self, const char *name, const char *const *patterns,
                           uint32_t topic_count, const char *from, bool hold)
{
    struct weir_text topics[WEIR_TOPIC_PATTERNS_MAX];
    WEIR_ASSERT(topic_count <= WEIR_TOPIC_PATTERNS_MAX);
    if (self->state != SESSION_OPEN)
        return 0;
    for (uint32_t i = 0; i < topic_count; i++)
        topics[i] = weir_text_of(patterns[i]);
    struct weir_control join = {.verb = WEIR_VERB_JOIN};
    WEIR_SET(&join, group, GROUP, weir_text_of(name));
    WEIR_SET(&join, topics, TOPICS, topics);
    join.topic_count = topic_count;
    if (from)
        WEIR_SET(&join, from, FROM, weir_text_of(from));
    WEIR_SET(&join, serial, SERIAL, serial_next(self, true));
    if (hold) {
        struct group *group = group_get(self, name);
        group->held = !group->said; /* it exists: its credit was taken */
    }
    weir_session_send(self, &join);
    return join.serial;
}

struct weir_credit weir_session_credit(const struct weir_session *self, const char *name)
{
    const struct group *group = group_find(self, name, strlen(name));
    return group ? group->credit : (struct weir_credit){0};
}

void weir_session_grant(struct weir_session *self, const char *name, uint64_t messages,
                        uint64_t bytes)
{
    if (self->state != SESSION_OPEN)
        return;
    struct group *group = group_get(self, name);
    struct weir_credit *credit = &group->credit;
    uint64_t limit_messages = credit->used_messages + messages;
    uint64_t limit_bytes = credit->used_bytes + bytes;
    if (group->said && limit_messages == credit->limit_messages &&
        limit_bytes == credit->limit_bytes)
        return;
    /* What was never said need not be taken back. */
    bool lowers = !group->withheld &&
                  (limit_messages < credit->limit_messages || limit_bytes < credit->limit_bytes);
    credit->withdrawing = credit->withdrawing || lowers;
    credit->limit_messages = limit_messages;
    credit->limit_bytes = limit_bytes;
    if (!credit->withdrawing || credit->ceiling_messages < limit_messages)
        credit->ceiling_messages = limit_messages;
    if (!credit->withdrawing || credit->ceiling_bytes < limit_bytes)
        credit->ceiling_bytes = limit_bytes;
    if (group->held)
        group->withheld = true;
    else
        say_credit(self, group, lowers);
}

bool weir_session_serves(const struct weir_session *self, const char *name)
{
    const struct group *group = group_find(self, name, strlen(name));
    return group && group->said;
}

bool weir_session_forget(struct weir_session *self, const char *name)
{
    struct group *group = group_find(self, name, strlen(name));
    if (!group)
        return true;
    if (group->credit.used_messages > 0 || group->credit.ceiling_messages > 0)
        return false;
    HASH_DEL(self->groups, group);
    free(group);
    return true;
}

/* ---- DELIVER ---- */

/* Do the slices and the frames behind them agree? Gives the totals in any case, as far as they are
 * there: the server counts them as sent. */
static int deliver_check(const struct weir_control *control, const struct weir_frames *frames,
                         uint64_t *messages, uint64_t *bytes, struct weir_error *error)
{
    uint32_t end = 0, width;
    int rc = 0;
    *messages = *bytes = 0;
    for (uint32_t i = 0; i < control->slice_count; i++)
        *messages += control->slices[i].count;
    for (uint32_t i = 1; i < frames->count; i++)
        *bytes += i % 3 == 1 ? 0 : frames->at[i].size;
    if (frames->count != 1 + 3 * control->slice_count)
        return weir_error_set(error, WEIR_EPROTO, "DELIVER: %u frames for %u slices, expected %u",
                              frames->count, control->slice_count, 1 + 3 * control->slice_count);
    for (uint32_t i = 0; i < control->slice_count && rc == 0; i++) {
        const struct weir_slice_info *slice = &control->slices[i];
        if (slice->index < end)
            return weir_error_set(error, WEIR_EPROTO,
                                  "DELIVER: slice %u begins at index %u, expected %u or more", i,
                                  slice->index, end);
        end = slice->index + slice->count;
        rc = weir_slice_check(&frames->at[2 + 3 * i], &frames->at[3 + 3 * i], slice->count, &width,
                              error);
    }
    return rc;
}

/* Give back what cannot be used. */
static void deliver_refuse(struct weir_session *self, const struct weir_control *control)
{
    struct weir_ack acks[WEIR_SLICES_MAX] = {0};
    for (uint32_t i = 0; i < control->slice_count; i++)
        acks[i] = (struct weir_ack){.lease = {control->incarnation, control->delivery,
                                              control->slices[i].index, control->slices[i].count},
                                    .outcome = WEIR_RELEASE,
                                    .delay_ms = -1};
    struct weir_control ack = {.verb = WEIR_VERB_ACK};
    WEIR_SET(&ack, group, GROUP, control->group);
    WEIR_SET(&ack, acks, ACKS, acks);
    ack.ack_count = control->slice_count;
    if (self->worker)
        WEIR_SET(&ack, worker, WORKER, self->worker);
    weir_session_send(self, &ack);
}

static void on_deliver(struct weir_session *self, const struct weir_control *control,
                       struct weir_event *event)
{
    struct group *group = group_find(self, control->group.data, control->group.bytes);
    struct weir_error error;
    uint64_t messages, bytes;
    int rc = deliver_check(control, event->frames, &messages, &bytes, &error);
    if (!group) {
        rc = weir_error_set(&error, WEIR_EPROTO, "DELIVER for a group that was given no credit");
    } else {
        struct weir_credit *credit = &group->credit;
        credit->used_messages += messages;
        credit->used_bytes += bytes;
        bool over_bytes = credit->used_bytes > credit->ceiling_bytes && messages > 1;
        if (rc == 0 && (credit->used_messages > credit->ceiling_messages || over_bytes))
            rc = weir_error_set(&error, WEIR_EPROTO, "DELIVER beyond the credit of group %s",
                                group->name);
    }
    if (rc != 0) {
        complain(self, error.text);
        deliver_refuse(self, control);
        return;
    }
    self->owner.deliver(self->owner.self, self->port, control, event);
}

/* ---- frames in ---- */

static void on_welcome(struct weir_session *self, const struct weir_control *control,
                       const struct weir_now *now)
{
    if (control->version != WEIR_PROTOCOL_VERSION) {
        complain(self, "WELCOME of another protocol version: update the older of the two nodes");
        return;
    }
    if (self->state == SESSION_OPEN) /* the answer to a READY that was repeated */
        return;
    self->state = SESSION_OPEN;
    credit_reset(self);
    uint64_t ms = control->heartbeat_ms;
    if (ms < HEARTBEAT_MS_MIN)
        ms = HEARTBEAT_MS_MIN;
    if (ms > WEIR_HEARTBEAT_MS)
        ms = WEIR_HEARTBEAT_MS;
    self->heartbeat_ns = (int64_t)ms * WEIR_NS_PER_MS;
    self->owner.welcome(self->owner.self, self->port, control, now);
}

static void on_credited(struct weir_session *self, const struct weir_control *control)
{
    struct group *group = group_find(self, control->group.data, control->group.bytes);
    /* An older answer says nothing of the limit that was lowered again since. */
    if (!group || (WEIR_HAS(control, SERIAL) && control->serial != group->serial))
        return;
    group->credit.withdrawing = false;
    group->credit.ceiling_messages = group->credit.limit_messages;
    group->credit.ceiling_bytes = group->credit.limit_bytes;
}

static void on_joined(struct weir_session *self, const struct weir_control *control)
{
    struct group *group = group_find(self, control->group.data, control->group.bytes);
    /* While GREETING it answers a JOIN of the session before: a CREDIT now would be the next one's,
     * which WELCOME begins with none. */
    if (!group || self->state != SESSION_OPEN)
        return;
    group->held = false;
    if (group->withheld)
        say_credit(self, group, false);
}

/* The server has no such group (any more): what it was granted is void, and so is what waited for
 * this JOIN. An answer to an older CREDIT than the last says nothing of that: it has one of its
 * own. False: this was such a one. */
static bool on_group_error(struct weir_session *self, const struct weir_control *control)
{
    struct group *group = group_find(self, control->group.data, control->group.bytes);
    if (!group)
        return true;
    if (WEIR_HAS(control, SERIAL) && control->serial != group->credit_serial &&
        !(weir_session_of_join(control->serial) && group->withheld))
        return weir_session_of_join(control->serial);
    group->credit.limit_messages = group->credit.ceiling_messages = group->credit.used_messages;
    group->credit.limit_bytes = group->credit.ceiling_bytes = group->credit.used_bytes;
    group->credit.withdrawing = false;
    group->said = group->withheld = false;
    return true;
}

bool weir_session_about_group(const struct weir_control *error)
{
    return WEIR_HAS(error, GROUP) && (weir_text_is(&error->code, WEIR_CODE_GROUP) ||
                                      weir_text_is(&error->code, WEIR_CODE_LIMIT));
}

/* Whether the owner is to know of it. */
static bool on_error(struct weir_session *self, const struct weir_control *control,
                     const struct weir_now *now)
{
    if (weir_text_is(&control->code, WEIR_CODE_NOT_READY) && self->state == SESSION_OPEN)
        say_ready(self, now);
    return !weir_session_about_group(control) || on_group_error(self, control);
}

static void on_control(struct weir_session *self, const struct weir_control *control,
                       const struct weir_now *now)
{
    switch (control->verb) {
    case WEIR_VERB_CREDITED:
        on_credited(self, control);
        break;
    case WEIR_VERB_JOINED:
        on_joined(self, control);
        break;
    case WEIR_VERB_ERROR:
        if (!on_error(self, control, now))
            return;
        break;
    case WEIR_VERB_WAITING:
    case WEIR_VERB_GO:
    case WEIR_VERB_HEARTBEAT:
        break;
    case WEIR_VERB_BYE: /* it is about to close the connection */
        return;
    default:
        complain(self, weir_verb_name(control->verb));
        return;
    }
    self->owner.control(self->owner.self, self->port, control, now);
}

static void on_message(struct weir_session *self, struct weir_event *event)
{
    struct weir_control control;
    struct weir_error error;
    if (event->frames->count == 0 ||
        weir_control_decode(&event->frames->at[0], &control, &error) != 0) {
        complain(self, event->frames->count ? error.text : "an empty message");
        return;
    }
    self->heard_ns = event->now.mono_ns;
    /* The owner may move the frames out; the control's texts point into the first. */
    struct weir_bytes frame = weir_bytes_ref(&event->frames->at[0]);
    if (control.verb == WEIR_VERB_DELIVER)
        on_deliver(self, &control, event);
    else if (event->frames->count != 1)
        complain(self, "frames that do not belong to the verb");
    else if (control.verb == WEIR_VERB_WELCOME)
        on_welcome(self, &control, &event->now);
    else
        on_control(self, &control, &event->now);
    weir_control_fini(&control);
    weir_bytes_drop(&frame);
}

/* ---- the turn ---- */

void weir_session_event(struct weir_session *self, struct weir_event *event)
{
    switch (event->type) {
    case WEIR_EVENT_LINK_UP:
        if (self->state != SESSION_DOWN)
            self->owner.down(self->owner.self, self->port, &event->now);
        self->heard_ns = event->now.mono_ns;
        self->warned = false;
        credit_reset(self);
        say_ready(self, &event->now);
        break;
    case WEIR_EVENT_LINK_DOWN:
        if (self->state == SESSION_DOWN)
            break;
        self->state = SESSION_DOWN;
        credit_reset(self);
        self->owner.down(self->owner.self, self->port, &event->now);
        break;
    case WEIR_EVENT_MESSAGE:
        /* What an ended connection left behind belongs to no session. */
        if (self->state != SESSION_DOWN)
            on_message(self, event);
        break;
    default:
        break;
    }
}

int64_t weir_session_tick(struct weir_session *self, const struct weir_now *now)
{
    int64_t now_ns = now->mono_ns;
    if (self->state == SESSION_DOWN)
        return WEIR_TIME_NEVER;
    int64_t last_ns = self->heard_ns > self->ready_ns ? self->heard_ns : self->ready_ns;
    if (self->state == SESSION_GREETING)
        last_ns = self->ready_ns;
    if (now_ns >= last_ns + SILENCE_NS) {
        say_ready(self, now);
        last_ns = now_ns;
    }
    if (self->said)
        self->said_ns = now_ns;
    self->said = false;
    if (self->state == SESSION_GREETING)
        return last_ns + SILENCE_NS;
    /* Beats of our own only where the owner is silent, or hears nothing. */
    int64_t quiet_ns = self->said_ns < self->heard_ns ? self->said_ns : self->heard_ns;
    int64_t due_ns = (quiet_ns > self->beat_ns ? quiet_ns : self->beat_ns) + self->heartbeat_ns;
    if (now_ns >= due_ns) {
        beat(self);
        self->said = false;
        self->said_ns = self->beat_ns = now_ns;
        due_ns = now_ns + self->heartbeat_ns;
    }
    return due_ns < last_ns + SILENCE_NS ? due_ns : last_ns + SILENCE_NS;
}
