#include "stage.h"

#include <base/alloc.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRODUCER_PEER 1

static const uint8_t producer[WEIR_PRODUCER_BYTES] = "the producer";

/* ---- what the role says ---- */

static void text_copy(char *to, size_t size, struct weir_text text)
{
    snprintf(to, size, "%.*s", (int)text.bytes, text.data ? text.data : "");
}

static void payload_copy(char *to, size_t size, const struct weir_message_view *view)
{
    const size_t bytes = view->payload_bytes < size ? view->payload_bytes : size;
    snprintf(to, size, "%.*s", (int)bytes, (const char *)view->payload);
}

static void hear_deliver(struct stage *self, uint64_t peer, const struct weir_control *control,
                         const struct weir_frames *frames)
{
    assert_int_equal(frames->count, 1 + 3 * control->slice_count);
    assert_true(WEIR_HAS(control, UUID));
    assert_memory_equal(control->uuid, self->uuid, sizeof self->uuid);
    for (uint32_t s = 0; s < control->slice_count; s++) {
        const struct weir_slice_info *slice = &control->slices[s];
        const struct weir_bytes *index = &frames->at[1 + 3 * s + 1];
        const struct weir_bytes *body = &frames->at[1 + 3 * s + 2];
        struct weir_batch_header header;
        uint32_t width;
        uint64_t offset = 0;
        assert_int_equal(weir_batch_header_decode(&frames->at[1 + 3 * s], &header, NULL), 0);
        assert_int_equal(weir_slice_check(index, body, slice->count, &width, NULL), 0);
        for (uint32_t i = 0; i < slice->count; i++) {
            assert_true(self->got_count < STAGE_MAX);
            struct got *got = &self->got[self->got_count++];
            struct weir_message_view view;
            const uint32_t length = weir_index_length(index, width, i);
            assert_int_equal(weir_message_decode(body->data + offset, length, &view, NULL), 0);
            offset += length;
            *got = (struct got){.peer = peer,
                                .incarnation = control->incarnation,
                                .delivery = control->delivery,
                                .index = slice->index + i,
                                .sequence = slice->sequence + i,
                                .time_ms = slice->time_ms,
                                .attempt = slice->attempt,
                                .death = slice->death,
                                .once = control->once,
                                .alone = control->alone};
            text_copy(got->group, sizeof got->group, control->group);
            payload_copy(got->payload, sizeof got->payload, &view);
        }
    }
}

static void hear_answer(struct stage *self, const struct weir_control *control)
{
    assert_true(self->answered_count < STAGE_MAX);
    struct answered *answered = &self->answered[self->answered_count++];
    *answered = (struct answered){.verb = control->verb,
                                  .number = control->number,
                                  .first = control->first,
                                  .count = control->count,
                                  .time_ms = control->time_ms,
                                  .duplicate_count = control->duplicate_count};
    text_copy(answered->code, sizeof answered->code, control->code);
    for (uint32_t i = 0; i < control->duplicate_count && i < 8; i++) {
        struct weir_id id;
        weir_id_decode(control->duplicates[i].id, &id);
        answered->duplicate_of[i] = id.sequence;
    }
    if (self->on_answer)
        self->on_answer(self->watcher, answered);
}

static void send_to(struct stage *self, enum weir_event_type type, uint32_t port, uint64_t peer,
                    struct weir_frames *frames)
{
    struct weir_event event = {
        .type = type, .now = self->now, .port = port, .peer = peer, .frames = frames};
    if (!self->spool.directory || self->stopped == -1)
        weir_role_step(self->role, &event);
    if (frames)
        weir_frames_drop(frames);
}

static void letter_add(struct stage *self, const struct weir_batch_header *header,
                       const uint8_t *data, size_t bytes)
{
    assert_true(self->letter_count < 256);
    struct letter *letter = &self->letters[self->letter_count++];
    struct weir_message_view view;
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    struct weir_id id;
    *letter = (struct letter){.body = weir_bytes_copy(data, bytes)};
    assert_int_equal(weir_message_decode(letter->body.data, bytes, &view, NULL), 0);
    assert_true(view.has_origin);
    weir_id_decode(view.origin.id, &id);
    assert_int_equal(id.tag, STAGE_TAG);
    letter->sequence = id.sequence;
    letter->death = view.origin.death;
    letter->attempt = view.origin.attempt;
    letter->reason = view.origin.reason;
    snprintf(letter->group, sizeof letter->group, "%.*s", (int)view.origin.group_bytes,
             view.origin.group);
    snprintf(letter->topic, sizeof letter->topic, "%.*s", (int)header->topic_bytes, header->topic);
    payload_copy(letter->payload, sizeof letter->payload, &view);
    letter->history = view.origin.history;
    int count = weir_history_decode(&view.origin.history, notes, WEIR_HISTORY_ENTRIES_MAX);
    assert_true(count >= 0);
    letter->notes = (uint32_t)count;
    for (int i = 0; i < count && i < 8; i++) {
        letter->outcomes[i] = notes[i].outcome;
        snprintf(letter->errors[i], sizeof letter->errors[i], "%.*s", (int)notes[i].error_bytes,
                 notes[i].error);
    }
    if (self->on_letter)
        self->on_letter(self->watcher, letter);
}

static void hear_collected(struct stage *self, const struct weir_frames *frames)
{
    struct weir_batch_header header;
    assert_int_equal(frames->count, 4);
    assert_int_equal(
        weir_batch_check(&frames->at[1], &frames->at[2], &frames->at[3], &header, NULL), 0);
    assert_true(header.has_spool);
    assert_memory_equal(header.spool, self->uuid, sizeof self->uuid);
    const bool takes = self->collector <= COLLECTOR_TAKES_UNSEEN;
    struct weir_control answer = {.verb = takes ? WEIR_VERB_OK : WEIR_VERB_REFUSED};
    WEIR_SET(&answer, number, NUMBER, header.number);
    if (self->collector == COLLECTOR_SILENT)
        return;
    if (takes) {
        uint64_t offset = 0;
        for (uint32_t i = 0; i < header.count && self->collector == COLLECTOR_TAKES; i++) {
            const uint32_t length =
                weir_index_length(&frames->at[2], weir_index_width(header.flags), i);
            letter_add(self, &header, frames->at[3].data + offset, length);
            offset += length;
        }
        WEIR_SET(&answer, first, FIRST, 1);
        WEIR_SET(&answer, count, COUNT, header.count);
        WEIR_SET(&answer, tag, TAG, 1);
        WEIR_SET(&answer, time_ms, TIME, self->now.wall_ms);
        WEIR_SET(&answer, durability, DURABILITY, weir_text_of("always"));
    } else {
        WEIR_SET(&answer, code, CODE, weir_text_of("limit"));
        WEIR_SET(&answer, text, TEXT, weir_text_of("not today"));
    }
    for (uint32_t i = 0; i < 64; i++) { /* said when the role's turn is over */
        if (self->pending[i].size)
            continue;
        self->pending[i] = weir_control_encode(&answer);
        return;
    }
    fail_msg("too many answers of the collector are pending");
}

static void on_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct stage *self = arg;
    struct weir_control control;
    struct weir_error error = {0};
    if (weir_control_decode(&frames->at[0], &control, &error) != 0)
        fail_msg("the role sent what does not parse: %s", error.text);
    switch (control.verb) {
    case WEIR_VERB_DELIVER:
        hear_deliver(self, peer, &control, frames);
        break;
    case WEIR_VERB_OK:
    case WEIR_VERB_BUSY:
    case WEIR_VERB_REFUSED:
        hear_answer(self, &control);
        break;
    case WEIR_VERB_PUT:
        hear_collected(self, frames);
        break;
    case WEIR_VERB_ANSWER:
        weir_bytes_drop(&self->admin);
        self->admin = weir_bytes_ref(&frames->at[1]);
        break;
    case WEIR_VERB_ERROR:
        text_copy(self->admin_error, sizeof self->admin_error, control.code);
        text_copy(self->group_error, sizeof self->group_error, control.text);
        break;
    case WEIR_VERB_HEARTBEAT:
        self->echoed = control.lease_count;
        break;
    case WEIR_VERB_GO:
        self->go_said++;
        break;
    case WEIR_VERB_JOINED:
        self->joined++;
        break;
    case WEIR_VERB_WAITING:
        self->waiting_said++;
        break;
    default:
        break;
    }
    weir_control_fini(&control);
    weir_frames_drop(frames);
    (void)port;
}

static void on_wake(void *arg, int64_t mono_ns)
{
    ((struct stage *)arg)->wake_ns = mono_ns;
}

static struct weir_store *store_of(struct stage *self)
{
    return self->files ? self->files : weir_memory_store_store(self->memory);
}

static void on_store(void *arg, struct weir_store_request *request)
{
    struct stage *self = arg;
    self->requests++;
    self->outstanding++;
    store_of(self)->submit(store_of(self), request);
}

static void on_stopped(void *arg, int status)
{
    struct stage *self = arg;
    assert_int_equal(self->stopped, -1);
    self->stopped = status;
}

static void on_log(void *arg, enum weir_log_level level, const char *text)
{
    struct stage *self = arg;
    self->errors_logged += level == WEIR_LOG_ERROR;
    snprintf(self->log, sizeof self->log, "%s", text);
}

/* ---- the stage ---- */

struct weir_group_policy stage_policy(const char *name)
{
    struct weir_group_policy policy = weir_group_policy_default();
    snprintf(policy.name, sizeof policy.name, "%s", name);
    snprintf(policy.topics[0], sizeof policy.topics[0], "t.>");
    policy.topic_count = 1;
    policy.attempts = 3;
    policy.backoff = (struct weir_backoff){1000, 2000, 1000};
    return policy;
}

static struct weir_recovered *recover(struct stage *self)
{
    struct weir_recovered *recovered = NULL;
    if (!self->spool.directory)
        return weir_memory_store_recover(self->memory);
    free(self->damage);
    self->damage = NULL;
    self->open_error = (struct weir_error){0};
    if (weir_spool_open(&self->spool, &self->files, &recovered, &self->open_error) == 0 &&
        recovered->damage)
        self->damage = weir_strdup(recovered->damage);
    return recovered;
}

void stage_start(struct stage *self)
{
    struct weir_recovered *recovered = recover(self);
    self->outstanding = 0;
    self->stopped = recovered ? -1 : 1;
    if (!recovered)
        return;
    self->crashed = false;
    self->wake_ns = WEIR_TIME_NEVER;
    memcpy(self->uuid, recovered->uuid, sizeof self->uuid);
    self->role = weir_ventilator_new(&self->config, &recovered, &self->host, ++self->seed);
    send_to(self, WEIR_EVENT_START, 0, 0, NULL);
    send_to(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO, 0, NULL);
}

static struct stage *stage_make(const struct weir_group_policy *policies, uint32_t count,
                                uint64_t bytes_max)
{
    struct stage *self = weir_zalloc(1, sizeof *self);
    self->host = (struct weir_host){.self = self,
                                    .send = on_send,
                                    .wake_at = on_wake,
                                    .store = on_store,
                                    .stopped = on_stopped,
                                    .log = on_log};
    memcpy(self->policies, policies, count * sizeof *policies);
    self->config = (struct weir_ventilator_config){.name = "intake",
                                                   .fsync = WEIR_FSYNC_ALWAYS,
                                                   .spool_bytes_max = bytes_max,
                                                   .groups = self->policies,
                                                   .group_count = count,
                                                   .dynamic_groups = true,
                                                   .dead_letters = true,
                                                   .idempotency_window_ms = 60000,
                                                   .idempotency_count_max = 100};
    self->now = (struct weir_now){.mono_ns = 1000 * WEIR_NS_PER_S, .wall_ms = STAGE_START_MS};
    self->steps_left = UINT64_MAX;
    return self;
}

struct stage *stage_new(const struct weir_group_policy *policies, uint32_t count,
                        uint64_t bytes_max)
{
    struct stage *self = stage_make(policies, count, bytes_max);
    self->memory = weir_memory_store_new(STAGE_TAG, bytes_max);
    stage_start(self);
    stage_run(self);
    return self;
}

struct stage *stage_new_on_files(const struct weir_group_policy *policies, uint32_t count,
                                 const struct weir_spool_config *spool, int64_t after_ms)
{
    struct stage *self = stage_make(policies, count, spool->bytes_max);
    self->spool = *spool;
    self->now.wall_ms += after_ms;
    return self;
}

void stage_crash(struct stage *self)
{
    if (self->role)
        weir_role_destroy(&self->role);
    if (self->memory)
        weir_memory_store_crash(self->memory);
    if (self->files)
        weir_store_destroy(&self->files);
    for (uint32_t i = 0; i < 64; i++)
        weir_bytes_drop(&self->pending[i]);
}

void stage_restart(struct stage *self)
{
    stage_crash(self);
    stage_start(self);
    stage_run(self);
}

void stage_destroy(struct stage **self)
{
    struct stage *stage = *self;
    stage_crash(stage);
    if (stage->memory)
        weir_memory_store_destroy(&stage->memory);
    free(stage->damage);
    for (uint32_t i = 0; i < stage->letter_count; i++)
        weir_bytes_drop(&stage->letters[i].body);
    weir_bytes_drop(&stage->admin);
    free(stage);
    *self = NULL;
}

/* ---- time ---- */

/* The next result of the store, which is there whenever anything is outstanding. */
static bool take_result(struct stage *self, struct weir_store_result *result)
{
    struct weir_store *store = store_of(self);
    if (!self->files)
        return weir_memory_store_step(self->memory, 1) > 0 && store->poll(store, result);
    if (self->outstanding == 0)
        return false;
    struct pollfd wait = {.fd = store->fd(store), .events = POLLIN};
    while (!store->poll(store, result))
        assert_int_equal(poll(&wait, 1, 30000), 1);
    self->outstanding--;
    return true;
}

static bool complete_one(struct stage *self)
{
    struct weir_store_result result;
    if (!take_result(self, &result))
        return false;
    struct weir_event event = {.type = WEIR_EVENT_STORED, .now = self->now, .result = &result};
    weir_role_step(self->role, &event);
    weir_store_result_fini(&result);
    return true;
}

static bool answer_collected(struct stage *self)
{
    for (uint32_t i = 0; i < 64; i++) {
        if (!self->pending[i].size)
            continue;
        struct weir_frames frames = {0};
        weir_frames_push(&frames, self->pending[i]);
        self->pending[i] = WEIR_BYTES_NONE;
        send_to(self, WEIR_EVENT_MESSAGE, WEIR_PORT_TO, 0, &frames);
        return true;
    }
    return false;
}

void stage_run(struct stage *self)
{
    for (uint32_t turns = 0; turns < 200000; turns++) {
        if (self->crashed || (self->spool.directory && self->stopped != -1))
            return;
        if (self->steps_left == 0) {
            self->crashed = true;
            return;
        }
        if (answer_collected(self))
            continue;
        if (complete_one(self)) {
            self->steps_left -= self->steps_left != UINT64_MAX;
            continue;
        }
        if (self->wake_ns > self->now.mono_ns)
            return;
        self->wake_ns = WEIR_TIME_NEVER;
        send_to(self, WEIR_EVENT_TIMER, 0, 0, NULL);
    }
    fail_msg("the role does not come to rest");
}

void stage_pass(struct stage *self, int64_t ms)
{
    const int64_t until_ns = self->now.mono_ns + ms * WEIR_NS_PER_MS;
    stage_run(self);
    while (!self->crashed && self->wake_ns < until_ns &&
           !(self->spool.directory && self->stopped != -1)) {
        const int64_t step_ms =
            (self->wake_ns - self->now.mono_ns + WEIR_NS_PER_MS - 1) / WEIR_NS_PER_MS;
        self->now.mono_ns += step_ms * WEIR_NS_PER_MS;
        self->now.wall_ms += step_ms;
        stage_run(self);
    }
    if (self->now.mono_ns < until_ns) {
        self->now.wall_ms += (until_ns - self->now.mono_ns) / WEIR_NS_PER_MS;
        self->now.mono_ns = until_ns;
    }
    stage_run(self);
}

/* ---- producers ---- */

const struct answered *stage_answer(const struct stage *self, uint64_t number)
{
    for (uint32_t i = self->answered_count; i-- > 0;)
        if (self->answered[i].number == number)
            return &self->answered[i];
    return NULL;
}

static void put_frames(struct stage *self, struct weir_batch_builder *builder, uint64_t number,
                       uint32_t flags)
{
    struct weir_control control = {.verb = WEIR_VERB_PUT};
    uint64_t oldest = 1;
    while (oldest < number && stage_answer(self, oldest))
        oldest++;
    WEIR_SET(&control, first, FIRST, oldest);
    struct weir_frames frames = {0};
    struct weir_bytes header, index, body;
    weir_batch_builder_finish(builder, number, self->now.wall_ms, flags, &header, &index, &body);
    weir_batch_builder_destroy(&builder);
    weir_frames_push(&frames, weir_control_encode(&control));
    weir_frames_push(&frames, header);
    weir_frames_push(&frames, index);
    weir_frames_push(&frames, body);
    send_to(self, WEIR_EVENT_MESSAGE, WEIR_PORT_SUBMIT, PRODUCER_PEER, &frames);
}

static struct weir_batch_builder *builder_new(const char *topic, int64_t delay_ms, int64_t ttl_ms)
{
    struct weir_batch_header header = {.version = WEIR_BATCH_VERSION,
                                       .topic = topic,
                                       .topic_bytes = (uint32_t)strlen(topic),
                                       .delay_ms = delay_ms,
                                       .ttl_ms = ttl_ms};
    memcpy(header.producer, producer, sizeof producer);
    return weir_batch_builder_new(&header);
}

uint64_t stage_put_later(struct stage *self, const struct stage_batch *batch)
{
    struct weir_batch_builder *builder =
        builder_new(batch->topic ? batch->topic : "t.a", batch->delay_ms, batch->ttl_ms);
    const uint64_t number = batch->number ? batch->number : self->number + 1;
    if (number > self->number)
        self->number = number;
    for (uint32_t i = 0; i < batch->count; i++) {
        const size_t room = batch->payload_bytes > 64 ? batch->payload_bytes : 64;
        char *payload = weir_zalloc(1, room + 1);
        int bytes = snprintf(payload, room, "%s%u", batch->prefix, i);
        if (batch->payload_bytes) {
            memset(payload + bytes, '.', batch->payload_bytes - (uint32_t)bytes);
            bytes = (int)batch->payload_bytes;
        }
        struct weir_message_view view = {.payload = (uint8_t *)payload,
                                         .payload_bytes = (size_t)bytes};
        if (batch->keys && batch->keys[i]) {
            view.key = batch->keys[i];
            view.key_bytes = (uint32_t)strlen(batch->keys[i]);
        }
        if (batch->once && batch->once[i]) {
            view.idempotency_key = batch->once[i];
            view.idempotency_key_bytes = (uint32_t)strlen(batch->once[i]);
        }
        assert_int_equal(weir_batch_builder_add(builder, &view, NULL), 0);
        free(payload);
    }
    put_frames(self, builder, number, 0);
    return number;
}

struct answered stage_put(struct stage *self, const struct stage_batch *batch)
{
    const uint64_t number = stage_put_later(self, batch);
    stage_run(self);
    const struct answered *answered = stage_answer(self, number);
    assert_non_null(answered);
    return *answered;
}

uint64_t stage_fill(struct stage *self, const char *prefix, uint32_t count)
{
    const struct stage_batch batch = {.prefix = prefix, .count = count};
    const struct answered answered = stage_put(self, &batch);
    assert_int_equal(answered.verb, WEIR_VERB_OK);
    assert_int_equal(answered.count, count);
    return answered.first;
}

uint64_t stage_replay_as(struct stage *self, const struct letter *letter, const struct weir_id *id,
                         const char *group)
{
    struct weir_batch_builder *builder = builder_new(letter->topic, 0, 0);
    struct weir_message_view view;
    const uint64_t number = ++self->number;
    assert_int_equal(weir_message_decode(letter->body.data, letter->body.size, &view, NULL), 0);
    if (id)
        weir_id_encode(id, view.origin.id);
    if (group) {
        view.origin.group = group;
        view.origin.group_bytes = (uint32_t)strlen(group);
    }
    assert_int_equal(weir_batch_builder_add(builder, &view, NULL), 0);
    put_frames(self, builder, number, WEIR_BATCH_REPLAY);
    stage_run(self);
    return number;
}

struct answered stage_replay(struct stage *self, const struct letter *letter)
{
    const struct answered *answered = stage_answer(self, stage_replay_as(self, letter, NULL, NULL));
    assert_non_null(answered);
    return *answered;
}

/* ---- anybody ---- */

void stage_control(struct stage *self, uint32_t port, uint64_t peer,
                   const struct weir_control *control)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    send_to(self, WEIR_EVENT_MESSAGE, port, peer, &frames);
    stage_run(self);
}

void stage_peer_gone(struct stage *self, uint64_t peer)
{
    send_to(self, WEIR_EVENT_PEER_GONE, WEIR_PORT_DISPATCH, peer, NULL);
}
