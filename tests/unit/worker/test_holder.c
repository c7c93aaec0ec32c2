/* Sink and collector: the machine over a scripted store. */
#include "script.h"

#include <base/alloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PEER 3u

static const uint8_t one[16] = {1, 2, 3};

struct fixture {
    struct script *script;
    struct weir_role *role;
    uint32_t stored; /* requests that were completed */
};

static struct weir_role *holder_new(struct script *script, const struct weir_producer_row *rows,
                                    uint32_t count, uint64_t next)
{
    const struct weir_holder_config config = {
        .name = "results", .role = "sink", .tag = 77, .fsync = WEIR_FSYNC_ALWAYS};
    struct weir_role *role = weir_holder_new(&config, rows, count, next, &script->host, 1);
    struct weir_event start = script_event(script, WEIR_EVENT_START, 0, 0);
    weir_role_step(role, &start);
    return role;
}

static int setup(void **state)
{
    struct fixture *self = weir_zalloc(1, sizeof *self);
    self->script = script_new();
    self->role = holder_new(self->script, NULL, 0, 41);
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *self = *state;
    weir_role_destroy(&self->role);
    script_destroy(&self->script);
    free(self);
    return 0;
}

static void feed(struct fixture *self, uint32_t port, struct weir_frames *frames)
{
    struct weir_event event = script_event(self->script, WEIR_EVENT_MESSAGE, port, PEER);
    event.frames = frames;
    weir_role_step(self->role, &event);
    weir_frames_drop(frames);
}

static void put(struct fixture *self, uint64_t number, uint32_t count)
{
    const struct weir_control control = {.verb = WEIR_VERB_PUT};
    struct weir_frames frames = script_frames(&control);
    script_batch(one, number, count, NULL, &frames);
    feed(self, WEIR_PORT_SUBMIT, &frames);
}

static void ask(struct fixture *self, enum weir_verb verb)
{
    const struct weir_control control = {.verb = verb};
    struct weir_frames frames = script_frames(&control);
    feed(self, WEIR_PORT_ADMIN, &frames);
}

static void stored(struct fixture *self, int status, uint32_t duplicates)
{
    struct weir_store_result result = {.id = self->script->requests[self->stored++].id,
                                       .kind = WEIR_STORE_HOLD,
                                       .status = status,
                                       .duplicates = duplicates};
    weir_error_set(&result.error, status, "results.jsonl: no space left on device");
    struct weir_event event = script_event(self->script, WEIR_EVENT_STORED, 0, 0);
    event.result = &result;
    weir_role_step(self->role, &event);
}

static void expect_ok(struct fixture *self, uint64_t number, uint64_t first, uint32_t count)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_OK);
    assert_int_equal(said->peer, PEER);
    assert_int_equal(said->control.number, number);
    assert_int_equal(said->control.first, first);
    assert_int_equal(said->control.count, count);
    assert_int_equal(said->control.tag, 77);
}

static void ok_comes_after_the_store(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 3);
    put(self, 2, 2);
    assert_null(script_next(self->script));
    assert_int_equal(self->script->request_count, 2);
    const struct weir_store_request *request = &self->script->requests[1];
    assert_int_equal(request->kind, WEIR_STORE_HOLD);
    assert_int_equal(request->record.first, 44);
    assert_int_equal(request->record.count, 2);
    assert_int_equal(request->record.time_ms, self->script->now.wall_ms);
    struct weir_batch_header header;
    assert_int_equal(weir_batch_check(&request->record.header, &request->record.index,
                                      &request->record.body, &header, NULL),
                     0);
    assert_int_equal(header.number, 2);
    /* The row goes with it, as it will be once both are durable. */
    assert_memory_equal(request->producer.id, one, 16);
    assert_int_equal(request->producer.number, 2);
    assert_int_equal(request->producer.answer_count, 2);
    assert_int_equal(request->producer.answers[0].first, 41);
    assert_int_equal(request->producer.answers[0].count, 3);
    assert_int_equal(request->producer.answers[1].first, 44);
    stored(self, 0, 0);
    expect_ok(self, 1, 41, 3);
    assert_null(script_next(self->script));
    stored(self, 0, 0);
    expect_ok(self, 2, 44, 2);
}

/* A result of this stream and spool (each byte of its UUID; 0: it is not said). */
static void put_result(struct fixture *self, uint64_t number, uint16_t tag, uint8_t spool)
{
    const struct weir_control control = {.verb = WEIR_VERB_PUT};
    const struct weir_id id = {.time_ms = 1700000000000, .tag = tag, .sequence = number};
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = "t", .topic_bytes = 1, .has_spool = spool != 0};
    struct weir_message_view view = {
        .payload = (const uint8_t *)"r",
        .payload_bytes = 1,
        .has_origin = true,
        .origin = {.topic = "t", .topic_bytes = 1, .group = "g", .group_bytes = 1}};
    struct weir_frames frames = script_frames(&control);
    struct weir_bytes parts[3];
    weir_id_encode(&id, view.origin.id);
    memcpy(header.producer, one, sizeof one);
    memset(header.spool, spool, sizeof header.spool);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    assert_int_equal(weir_batch_builder_add(builder, &view, NULL), 0);
    weir_batch_builder_finish(builder, number, 1, 0, &parts[0], &parts[1], &parts[2]);
    weir_batch_builder_destroy(&builder);
    for (uint32_t i = 0; i < 3; i++)
        weir_frames_push(&frames, parts[i]);
    feed(self, WEIR_PORT_SUBMIT, &frames);
}

static void expect_other_spool(struct fixture *self, uint64_t number, const char *stream)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_REFUSED);
    char text[WEIR_TEXT_BYTES_MAX + 1];
    assert_int_equal(said->control.number, number);
    assert_int_equal(said->control.code.bytes, strlen(WEIR_CODE_TAG));
    assert_memory_equal(said->control.code.data, WEIR_CODE_TAG, strlen(WEIR_CODE_TAG));
    snprintf(text, sizeof text, "%.*s", (int)said->control.text.bytes, said->control.text.data);
    assert_non_null(strstr(text, stream));
    assert_non_null(strstr(text, "give the ventilator its former spool back, or another tag"));
}

static void a_second_spool_under_a_tag_is_refused(void **state)
{
    struct fixture *self = *state;
    put_result(self, 1, 7, 0xa);
    stored(self, 0, 0);
    expect_ok(self, 1, 41, 1);
    put_result(self, 2, 7, 0xb);
    expect_other_spool(self, 2, "stream 7");
    put_result(self, 2, 8, 0xb); /* another stream */
    stored(self, 0, 0);
    expect_ok(self, 2, 42, 1);
    put_result(self, 3, 7, 0); /* it does not say so: nothing to be checked */
    stored(self, 0, 0);
    expect_ok(self, 3, 43, 1);
    put_result(self, 4, 7, 0xa);
    stored(self, 0, 0);
    expect_ok(self, 4, 44, 1);
    /* What the store remembers holds after a restart. */
    struct weir_spool_row spools[] = {{.tag = 9}};
    const struct weir_holder_config config = {.name = "results",
                                              .role = "sink",
                                              .tag = 77,
                                              .fsync = WEIR_FSYNC_ALWAYS,
                                              .spools = spools,
                                              .spool_count = 1};
    memset(spools[0].uuid, 0xc, sizeof spools[0].uuid);
    weir_role_destroy(&self->role);
    self->role = weir_holder_new(&config, NULL, 0, 45, &self->script->host, 1);
    put_result(self, 1, 9, 0xd);
    expect_other_spool(self, 1, "stream 9");
    put_result(self, 1, 9, 0xc);
    stored(self, 0, 0);
    expect_ok(self, 1, 45, 1);
}

static void repeats_over_a_restart(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 3);
    stored(self, 0, 0);
    put(self, 2, 2);
    const struct weir_producer_row row = self->script->requests[1].producer;
    weir_role_destroy(&self->role); /* after the write, before the OK */
    script_skip(self->script);
    self->role = holder_new(self->script, &row, 1, 46);
    put(self, 2, 2);
    expect_ok(self, 2, 44, 2);
    put(self, 1, 3);
    expect_ok(self, 1, 41, 3);
    assert_int_equal(self->script->request_count, 2);
    put(self, 3, 1);
    assert_int_equal(self->script->requests[2].record.first, 46);
}

static void a_failing_store_is_final(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 2, 1);
    stored(self, WEIR_EIO, 0);
    assert_int_equal(self->script->stopped, 74);
    assert_non_null(strstr(self->script->log, "no space left on device"));
    stored(self, WEIR_EIO, 0);
    assert_null(script_next(self->script));
    put(self, 3, 1);
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_REFUSED);
    assert_true(script_text_is(said->control.code, WEIR_CODE_STORAGE));
    assert_int_equal(self->script->request_count, 2);
}

static void drain_waits_for_the_last_ok(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    struct weir_event drain = script_event(self->script, WEIR_EVENT_DRAIN, 0, 0);
    weir_role_step(self->role, &drain);
    assert_int_equal(self->script->stopped, -1);
    put(self, 2, 1);
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_REFUSED);
    assert_true(script_text_is(said->control.code, WEIR_CODE_DRAINING));
    stored(self, 0, 0);
    expect_ok(self, 1, 41, 1);
    assert_int_equal(self->script->stopped, 0);
}

static void drain_over_admin(void **state)
{
    struct fixture *self = *state;
    uint64_t draining = 0;
    ask(self, WEIR_VERB_DRAIN);
    const struct said *said = script_expect(self->script, WEIR_PORT_ADMIN, WEIR_VERB_ANSWER);
    assert_true(script_stat(said, "draining", &draining));
    assert_int_equal(self->script->stopped, 0);
}

static void stats_count_messages_and_duplicates(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 5);
    stored(self, 0, 2);
    script_skip(self->script);
    ask(self, WEIR_VERB_STATS);
    const struct said *said = script_expect(self->script, WEIR_PORT_ADMIN, WEIR_VERB_ANSWER);
    uint64_t value;
    assert_true(script_stat(said, "held", &value));
    assert_int_equal(value, 3);
    assert_true(script_stat(said, "duplicates", &value));
    assert_int_equal(value, 2);
    assert_true(script_stat(said, "accepted_messages", &value));
    assert_int_equal(value, 5);
    assert_true(script_stat(said, "node", &value));
    assert_true(script_stat(said, "role", &value));
}

static void admin_names_what_is_wrong(void **state)
{
    struct fixture *self = *state;
    ask(self, WEIR_VERB_PUT);
    const struct said *said = script_expect(self->script, WEIR_PORT_ADMIN, WEIR_VERB_ERROR);
    assert_true(script_text_is(said->control.code, WEIR_CODE_UNEXPECTED));
    struct weir_frames rubbish = {0};
    weir_frames_push(&rubbish, weir_bytes_copy("", 0));
    feed(self, WEIR_PORT_ADMIN, &rubbish);
    said = script_expect(self->script, WEIR_PORT_ADMIN, WEIR_VERB_ERROR);
    assert_true(script_text_is(said->control.code, WEIR_CODE_MALFORMED));
}

static void too_many_bytes_on_their_way_are_busy(void **state)
{
    struct fixture *self = *state;
    static const uint8_t many[16] = {42};
    const size_t payload_bytes = 7u << 20;
    uint8_t *payload = weir_zalloc(1, payload_bytes);
    uint64_t held = 0;
    for (uint64_t number = 1; number <= 10; number++) {
        struct weir_batch_header header = {
            .version = WEIR_BATCH_VERSION, .topic = "t", .topic_bytes = 1};
        memcpy(header.producer, many, 16);
        struct weir_batch_builder *builder = weir_batch_builder_new(&header);
        const struct weir_message_view message = {.payload = payload,
                                                  .payload_bytes = payload_bytes};
        assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
        struct weir_bytes parts[3];
        weir_batch_builder_finish(builder, number, 5, 0, &parts[0], &parts[1], &parts[2]);
        weir_batch_builder_destroy(&builder);
        const struct weir_control control = {.verb = WEIR_VERB_PUT};
        struct weir_frames frames = script_frames(&control);
        for (int i = 0; i < 3; i++)
            weir_frames_push(&frames, parts[i]);
        feed(self, WEIR_PORT_SUBMIT, &frames);
        if (script_find(self->script, WEIR_VERB_BUSY))
            break;
        held += payload_bytes;
    }
    free(payload);
    assert_int_equal(held, 9 * payload_bytes); /* 63 MiB of 64 */
    stored(self, 0, 0);
    assert_int_equal(self->script->request_count, 9);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ok_comes_after_the_store),
        TEST(a_second_spool_under_a_tag_is_refused),
        TEST(repeats_over_a_restart),
        TEST(a_failing_store_is_final),
        TEST(drain_waits_for_the_last_ok),
        TEST(drain_over_admin),
        TEST(stats_count_messages_and_duplicates),
        TEST(admin_names_what_is_wrong),
        TEST(too_many_bytes_on_their_way_are_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
