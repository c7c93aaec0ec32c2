#include "script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the host ---- */

static void on_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct script *script = arg;
    if (script->count == script->capacity) {
        script->capacity = script->capacity ? script->capacity * 2 : 64;
        script->sent = weir_realloc(script->sent, script->capacity, sizeof *script->sent);
    }
    struct sent *sent = &script->sent[script->count++];
    *sent = (struct sent){.port = port, .peer = peer, .frames = *frames};
    *frames = (struct weir_frames){0};
    struct weir_error error;
    if (weir_control_decode(&sent->frames.at[0], &sent->control, &error) != 0)
        fail_msg("sent a frame that does not parse: %s", error.text);
}

static void on_wake_at(void *arg, int64_t mono_ns)
{
    ((struct script *)arg)->wake_ns = mono_ns;
}

static void on_stopped(void *arg, int status)
{
    struct script *script = arg;
    assert_false(script->stopped);
    script->stopped = true;
    script->status = status;
}

static void on_log(void *arg, enum weir_log_level level, const char *text)
{
    struct script *script = arg;
    (void)level;
    size_t used = strlen(script->log);
    snprintf(script->log + used, sizeof script->log - used, "%s\n", text);
}

void script_init(struct script *script)
{
    *script = (struct script){.now = {.mono_ns = 1000 * WEIR_NS_PER_S, .wall_ms = 1700000000000},
                              .wake_ns = WEIR_TIME_NEVER};
    script->host = (struct weir_host){.self = script,
                                      .send = on_send,
                                      .wake_at = on_wake_at,
                                      .stopped = on_stopped,
                                      .log = on_log};
}

void script_forget(struct script *script)
{
    for (uint32_t i = 0; i < script->count; i++) {
        weir_control_fini(&script->sent[i].control);
        weir_frames_drop(&script->sent[i].frames);
    }
    script->at = script->count = 0;
}

void script_fini(struct script *script)
{
    script_forget(script);
    free(script->sent);
}

void script_wait(struct script *script, int64_t ms)
{
    script->now.mono_ns += ms * MS;
    script->now.wall_ms += ms;
}

/* ---- what was sent ---- */

struct sent *script_next(struct script *script)
{
    return script->at < script->count ? &script->sent[script->at++] : NULL;
}

struct sent *script_expect(struct script *script, uint32_t port, uint64_t peer, enum weir_verb verb)
{
    struct sent *sent = script_next(script);
    if (!sent)
        fail_msg("nothing was sent, expected %s to peer %llu", weir_verb_name(verb),
                 (unsigned long long)peer);
    if (sent->control.verb != verb || sent->peer != peer || sent->port != port)
        fail_msg("sent %s to %u/%llu, expected %s to %u/%llu", weir_verb_name(sent->control.verb),
                 sent->port, (unsigned long long)sent->peer, weir_verb_name(verb), port,
                 (unsigned long long)peer);
    return sent;
}

void script_expect_nothing(struct script *script)
{
    struct sent *sent = script_next(script);
    if (sent)
        fail_msg("sent %s to %u/%llu, expected nothing", weir_verb_name(sent->control.verb),
                 sent->port, (unsigned long long)sent->peer);
}

struct sent *script_find(struct script *script, uint32_t port, uint64_t peer, enum weir_verb verb)
{
    struct sent *sent;
    while ((sent = script_next(script)))
        if (sent->control.verb == verb && sent->peer == peer && sent->port == port)
            return sent;
    return NULL;
}

/* ---- what peers say ---- */

void script_say(struct script *script, uint32_t port, uint64_t peer,
                const struct weir_control *control, struct weir_frames *behind, script_take *take,
                void *arg)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    for (uint32_t i = 0; behind && i < behind->count; i++)
        weir_frames_push(&frames, behind->at[i]);
    if (behind) {
        behind->count = 0;
        weir_frames_drop(behind);
    }
    struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                               .now = script->now,
                               .port = port,
                               .peer = peer,
                               .frames = &frames};
    take(arg, &event);
    weir_frames_drop(&frames);
}

void script_event(struct script *script, enum weir_event_type type, uint32_t port, uint64_t peer,
                  script_take *take, void *arg)
{
    struct weir_event event = {.type = type, .now = script->now, .port = port, .peer = peer};
    take(arg, &event);
}

void script_slice(struct weir_frames *frames, uint64_t number, uint32_t count, uint32_t pad,
                  const uint64_t *keys)
{
    uint32_t width = keys ? 12 : 4;
    uint8_t *index, *body;
    char text[32];
    size_t body_bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        body_bytes +=
            (size_t)snprintf(text, sizeof text, "m%llu;", (unsigned long long)(number + i)) + pad;
    struct weir_bytes index_frame = weir_bytes_new((size_t)count * width, &index);
    struct weir_bytes body_frame = weir_bytes_new(body_bytes, &body);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes =
            (uint32_t)snprintf(text, sizeof text, "m%llu;", (unsigned long long)(number + i));
        memcpy(body, text, bytes);
        memset(body + bytes, '.', pad);
        body += bytes + pad;
        for (uint32_t b = 0; b < 4; b++)
            *index++ = (uint8_t)((bytes + pad) >> (8 * b));
        for (uint32_t b = 0; keys && b < 8; b++)
            *index++ = (uint8_t)(keys[i] >> (8 * b));
    }
    weir_frames_push(frames, weir_bytes_copy("header", 6));
    weir_frames_push(frames, index_frame);
    weir_frames_push(frames, body_frame);
}

uint32_t script_numbers(const struct sent *sent, uint64_t *numbers, uint32_t max)
{
    const struct weir_control *control = &sent->control;
    uint32_t found = 0;
    assert_int_equal(control->verb, WEIR_VERB_DELIVER);
    assert_int_equal(sent->frames.count, 1 + 3 * control->slice_count);
    for (uint32_t s = 0; s < control->slice_count; s++) {
        const struct weir_bytes *frames = &sent->frames.at[1 + 3 * s];
        uint32_t width;
        struct weir_error error = {0};
        assert_true(weir_bytes_equal(&frames[0], "header", 6));
        if (weir_slice_check(&frames[1], &frames[2], control->slices[s].count, &width, &error) != 0)
            fail_msg("%s", error.text);
        const uint8_t *body = frames[2].data;
        for (uint32_t i = 0; i < control->slices[s].count; i++) {
            unsigned long long number = 0;
            assert_int_equal(body[0], 'm');
            for (const uint8_t *c = body + 1; *c != ';'; c++)
                number = number * 10 + (unsigned)(*c - '0');
            assert_true(found < max);
            /* The tests number messages by their sequence. */
            assert_int_equal(number, control->slices[s].sequence + i);
            numbers[found++] = number;
            body += weir_index_length(&frames[1], width, i);
        }
    }
    return found;
}

/* ---- frames ---- */

struct weir_control control_ready(const char *role, uint64_t worker, const char *name)
{
    struct weir_control control = {.verb = WEIR_VERB_READY};
    WEIR_SET(&control, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&control, role, ROLE, weir_text_of(role));
    WEIR_SET(&control, name, NAME, weir_text_of(name));
    if (worker)
        WEIR_SET(&control, worker, WORKER, worker);
    return control;
}

struct weir_control control_credit(const char *group, uint64_t messages, uint64_t bytes)
{
    struct weir_control control = {.verb = WEIR_VERB_CREDIT};
    WEIR_SET(&control, group, GROUP, weir_text_of(group));
    WEIR_SET(&control, messages, MESSAGES, messages);
    WEIR_SET(&control, bytes, BYTES, bytes);
    return control;
}

struct weir_control control_ack(const char *group, struct weir_ack *acks, uint32_t count)
{
    struct weir_control control = {.verb = WEIR_VERB_ACK};
    WEIR_SET(&control, group, GROUP, weir_text_of(group));
    WEIR_SET(&control, acks, ACKS, acks);
    control.ack_count = count;
    return control;
}

struct weir_control control_leases(enum weir_verb verb, uint64_t worker,
                                   struct weir_lease_ref *leases, uint32_t count)
{
    struct weir_control control = {.verb = verb};
    if (worker)
        WEIR_SET(&control, worker, WORKER, worker);
    WEIR_SET(&control, leases, LEASES, leases);
    control.lease_count = count;
    if (verb == WEIR_VERB_HEARTBEAT)
        WEIR_SET(&control, serial, SERIAL, 1);
    return control;
}

struct weir_control control_deliver(const char *group, uint64_t incarnation, uint64_t delivery,
                                    struct weir_slice_info *slices, uint32_t count)
{
    struct weir_control control = {.verb = WEIR_VERB_DELIVER};
    WEIR_SET(&control, group, GROUP, weir_text_of(group));
    WEIR_SET(&control, incarnation, INCARNATION, incarnation);
    WEIR_SET(&control, delivery, DELIVERY, delivery);
    WEIR_SET(&control, lease_ms, LEASE_MS, WEIR_LEASE_MS);
    WEIR_SET(&control, slices, SLICES, slices);
    control.slice_count = count;
    memset(control.uuid, (int)(incarnation & 0xff), sizeof control.uuid);
    WEIR_MARK(&control, UUID);
    return control;
}

struct weir_control control_welcome(const char *role, uint64_t incarnation)
{
    struct weir_control control = {.verb = WEIR_VERB_WELCOME};
    WEIR_SET(&control, version, VERSION, WEIR_PROTOCOL_VERSION);
    WEIR_SET(&control, heartbeat_ms, HEARTBEAT_MS, WEIR_HEARTBEAT_MS);
    WEIR_SET(&control, role, ROLE, weir_text_of(role));
    WEIR_SET(&control, name, NAME, weir_text_of("above"));
    if (incarnation) {
        WEIR_SET(&control, incarnation, INCARNATION, incarnation);
        memset(control.uuid, (int)(incarnation & 0xff), sizeof control.uuid);
        WEIR_MARK(&control, UUID);
    }
    return control;
}

struct weir_ack ack_of(uint64_t incarnation, uint64_t delivery, uint32_t first, uint32_t count,
                       uint32_t outcome)
{
    return (struct weir_ack){
        .lease = {incarnation, delivery, first, count}, .outcome = outcome, .delay_ms = -1};
}

void assert_text(const struct weir_text *text, const char *expected)
{
    assert_int_equal(text->bytes, strlen(expected));
    assert_memory_equal(text->data, expected, text->bytes);
}
