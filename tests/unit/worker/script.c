#include "script.h"

#include <base/alloc.h>
#include <core/job_lease.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct script *self = arg;
    assert_true(self->said_count < SCRIPT_MAX);
    struct said *said = &self->said[self->said_count++];
    said->port = port;
    said->peer = peer;
    said->frames = *frames;
    *frames = (struct weir_frames){0};
    struct weir_error error = {0};
    if (weir_control_decode(&said->frames.at[0], &said->control, &error) != 0)
        fail_msg("the machine sent what does not parse: %s", error.text);
}

static void on_wake(void *arg, int64_t mono_ns)
{
    ((struct script *)arg)->wake_ns = mono_ns;
}

static void on_store(void *arg, struct weir_store_request *request)
{
    struct script *self = arg;
    self->requests[self->request_count++] = *request;
    *request = (struct weir_store_request){0};
}

static void on_run(void *arg, struct weir_job *job)
{
    struct script *self = arg;
    self->jobs[self->job_count++] = *job;
    *job = (struct weir_job){0};
}

static void on_kill(void *arg, uint64_t job)
{
    struct script *self = arg;
    self->killed[self->killed_count++] = job;
}

static void on_stopped(void *arg, int status)
{
    struct script *self = arg;
    assert_int_equal(self->stopped, -1);
    self->stopped = status;
}

static void on_log(void *arg, enum weir_log_level level, const char *text)
{
    struct script *self = arg;
    (void)level;
    snprintf(self->log, sizeof self->log, "%s", text);
}

struct script *script_new(void)
{
    struct script *self = weir_zalloc(1, sizeof *self);
    self->now = (struct weir_now){.mono_ns = WEIR_NS_PER_S, .wall_ms = 1800000000000};
    self->stopped = -1;
    self->wake_ns = WEIR_TIME_NEVER;
    self->host = (struct weir_host){.self = self,
                                    .send = on_send,
                                    .wake_at = on_wake,
                                    .store = on_store,
                                    .run = on_run,
                                    .kill = on_kill,
                                    .stopped = on_stopped,
                                    .log = on_log};
    return self;
}

void script_forget(struct script *self)
{
    for (uint32_t i = 0; i < self->said_count; i++) {
        weir_control_fini(&self->said[i].control);
        weir_frames_drop(&self->said[i].frames);
    }
    self->said_count = self->said_seen = 0;
}

void script_destroy(struct script **self_p)
{
    struct script *self = *self_p;
    script_forget(self);
    for (uint32_t i = 0; i < self->job_count; i++)
        weir_job_fini(&self->jobs[i]);
    for (uint32_t i = 0; i < self->request_count; i++)
        weir_store_request_fini(&self->requests[i]);
    free(self);
    *self_p = NULL;
}

void script_pass_ms(struct script *self, int64_t ms)
{
    self->now.mono_ns += ms * WEIR_NS_PER_MS;
    self->now.wall_ms += ms;
}

struct said *script_next(struct script *self)
{
    return self->said_seen < self->said_count ? &self->said[self->said_seen++] : NULL;
}

struct said *script_expect(struct script *self, uint32_t port, enum weir_verb verb)
{
    struct said *said = script_next(self);
    if (!said)
        fail_msg("nothing was sent, expected %s", weir_verb_name(verb));
    if (said->control.verb != verb)
        fail_msg("%s was sent, expected %s", weir_verb_name(said->control.verb),
                 weir_verb_name(verb));
    assert_int_equal(said->port, port);
    return said;
}

struct said *script_find(struct script *self, enum weir_verb verb)
{
    for (struct said *said; (said = script_next(self));)
        if (said->control.verb == verb)
            return said;
    return NULL;
}

void script_skip(struct script *self)
{
    self->said_seen = self->said_count;
}

struct weir_event script_event(const struct script *self, enum weir_event_type type, uint32_t port,
                               uint64_t peer)
{
    return (struct weir_event){.type = type, .now = self->now, .port = port, .peer = peer};
}

struct weir_frames script_frames(const struct weir_control *control)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    return frames;
}

void script_batch(const uint8_t producer[16], uint64_t number, uint32_t count,
                  const char *const *keys, struct weir_frames *frames)
{
    struct weir_batch_header header = {.version = WEIR_BATCH_VERSION,
                                       .topic = "user.signed_up",
                                       .topic_bytes = strlen("user.signed_up")};
    memcpy(header.producer, producer, 16);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    for (uint32_t i = 0; i < count; i++) {
        char payload[64];
        struct weir_message_view message = {
            .payload = (const uint8_t *)payload,
            .header_count = 1,
            .headers = {{"traceparent", strlen("traceparent"), "00-ab-cd-01", 11}}};
        message.payload_bytes =
            (size_t)snprintf(payload, sizeof payload, "%llu.%u", (unsigned long long)number, i);
        if (keys && keys[i]) {
            message.key = keys[i];
            message.key_bytes = (uint32_t)strlen(keys[i]);
        }
        assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
    }
    struct weir_bytes parts[3];
    weir_batch_builder_finish(builder, number, 1800000000000, 0, &parts[0], &parts[1], &parts[2]);
    for (int i = 0; i < 3; i++)
        weir_frames_push(frames, parts[i]);
    weir_batch_builder_destroy(&builder);
}

bool script_text_is(struct weir_text text, const char *expected)
{
    return text.bytes == strlen(expected) && memcmp(text.data, expected, text.bytes) == 0;
}

bool script_stat(const struct said *answer, const char *name, uint64_t *value)
{
    bool found = false;
    assert_int_equal(answer->control.verb, WEIR_VERB_ANSWER);
    assert_int_equal(answer->frames.count, 2);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)answer->frames.at[1].data,
                                         answer->frames.at[1].size, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_MAP);
    const msgpack_object_map *map = &unpacked.data.via.map;
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object_str *key = &map->ptr[i].key.via.str;
        if (key->size != strlen(name) || memcmp(key->ptr, name, key->size) != 0)
            continue;
        assert_false(found); /* a name stands once */
        found = true;
        *value = map->ptr[i].val.via.u64;
    }
    msgpack_unpacked_destroy(&unpacked);
    return found;
}
