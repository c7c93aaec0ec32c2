/* The submit client against a scripted server, and against the real one over a network that breaks.
 */
#include "script.h"

#include <base/alloc.h>
#include <base/random.h>
#include <core/intake.h>
#include <core/submit.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t producer[16] = "producer sixteen";

struct ended {
    uint64_t number;
    intptr_t arg;
    int status;
};

struct fixture {
    struct script *script;
    struct weir_submit *submit;
    struct ended ended[4096];
    uint32_t ended_count;
    uint32_t busy, free; /* how often it became so */
    intptr_t last_arg;
};

static void submitted(void *arg, const struct weir_submitted *what, const struct weir_now *now)
{
    struct fixture *self = arg;
    (void)now;
    self->ended[self->ended_count++] =
        (struct ended){what->number, (intptr_t)what->arg, what->status};
}

static void busy(void *arg, const struct weir_control *why, const struct weir_now *now)
{
    struct fixture *self = arg;
    (void)now;
    if (!why)
        self->free++;
    else if (self->busy == self->free)
        self->busy++;
}

static int setup(void **state)
{
    struct fixture *self = weir_zalloc(1, sizeof *self);
    const struct weir_submit_owner owner = {.self = self, .submitted = submitted, .busy = busy};
    self->script = script_new();
    self->submit = weir_submit_new(WEIR_PORT_TO, producer, 4, &owner, &self->script->host);
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *self = *state;
    weir_submit_destroy(&self->submit);
    script_destroy(&self->script);
    free(self);
    return 0;
}

static void link_is(struct fixture *self, bool up)
{
    struct weir_event event =
        script_event(self->script, up ? WEIR_EVENT_LINK_UP : WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO, 0);
    weir_submit_event(self->submit, &event);
}

static void send_batch(struct fixture *self)
{
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = "t", .topic_bytes = 1};
    memcpy(header.producer, producer, 16);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    intptr_t arg = ++self->last_arg;
    const struct weir_message_view message = {.payload = (const uint8_t *)&arg,
                                              .payload_bytes = sizeof arg};
    assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
    weir_submit_send(self->submit, builder, 0, (void *)arg, &self->script->now);
    weir_batch_builder_destroy(&builder);
}

static void feed(struct fixture *self, const struct weir_control *control)
{
    struct weir_frames frames = script_frames(control);
    struct weir_event event = script_event(self->script, WEIR_EVENT_MESSAGE, WEIR_PORT_TO, 0);
    event.frames = &frames;
    weir_submit_event(self->submit, &event);
    weir_frames_drop(&frames);
}

static void ok(struct fixture *self, uint64_t number)
{
    struct weir_control control = {.verb = WEIR_VERB_OK};
    WEIR_SET(&control, number, NUMBER, number);
    WEIR_SET(&control, first, FIRST, 10 * number);
    WEIR_SET(&control, count, COUNT, 1);
    WEIR_SET(&control, tag, TAG, 1);
    WEIR_SET(&control, time_ms, TIME, 5);
    WEIR_SET(&control, durability, DURABILITY, weir_text_of("always"));
    feed(self, &control);
}

static void refused(struct fixture *self, uint64_t number, const char *code, uint64_t expected)
{
    struct weir_control control = {.verb = WEIR_VERB_REFUSED};
    WEIR_SET(&control, number, NUMBER, number);
    WEIR_SET(&control, code, CODE, weir_text_of(code));
    WEIR_SET(&control, text, TEXT, weir_text_of("for a reason"));
    if (expected)
        WEIR_SET(&control, first, FIRST, expected);
    feed(self, &control);
}

static void say_busy(struct fixture *self, uint64_t number, uint64_t ms)
{
    struct weir_control control = {.verb = WEIR_VERB_BUSY};
    WEIR_SET(&control, number, NUMBER, number);
    WEIR_SET(&control, retry_ms, RETRY_MS, ms);
    feed(self, &control);
}

static void expect_put(struct fixture *self, uint64_t number, uint64_t floor)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_TO, WEIR_VERB_PUT);
    struct weir_batch_header header;
    assert_int_equal(said->frames.count, 4);
    assert_int_equal(weir_batch_check(&said->frames.at[1], &said->frames.at[2], &said->frames.at[3],
                                      &header, NULL),
                     0);
    assert_int_equal(header.number, number);
    assert_memory_equal(header.producer, producer, 16);
    assert_int_equal(said->control.first, floor);
}

static void expect_silence(struct fixture *self)
{
    assert_null(script_next(self->script));
}

static void expect_ended(struct fixture *self, uint32_t i, uint64_t number, int status)
{
    assert_true(i < self->ended_count);
    assert_int_equal(self->ended[i].number, number);
    assert_int_equal(self->ended[i].arg, number);
    assert_int_equal(self->ended[i].status, status);
}

static int64_t tick(struct fixture *self)
{
    return weir_submit_tick(self->submit, &self->script->now);
}

static void waits_for_the_link(void **state)
{
    struct fixture *self = *state;
    send_batch(self);
    expect_silence(self);
    assert_false(weir_submit_linked(self->submit));
    assert_int_equal(tick(self), WEIR_TIME_NEVER);
    link_is(self, true);
    assert_true(weir_submit_linked(self->submit));
    expect_put(self, 1, 1);
    expect_silence(self);
}

static void the_window_is_kept(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    for (int i = 0; i < 4; i++) {
        assert_true(weir_submit_room(self->submit));
        send_batch(self);
    }
    assert_false(weir_submit_room(self->submit));
    assert_int_equal(weir_submit_outstanding(self->submit), 4);
    script_skip(self->script);
    ok(self, 1);
    expect_ended(self, 0, 1, 0);
    assert_true(weir_submit_room(self->submit));
    send_batch(self);
    expect_put(self, 5, 2);
}

static void answers_reach_the_owner_in_order(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    for (int i = 0; i < 3; i++)
        send_batch(self);
    ok(self, 3);
    ok(self, 2);
    assert_int_equal(self->ended_count, 0);
    assert_int_equal(weir_submit_outstanding(self->submit), 3);
    ok(self, 1);
    assert_int_equal(self->ended_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        expect_ended(self, i, i + 1, 0);
    ok(self, 1); /* repeated answers of old batches are nobody's */
    ok(self, 99);
    assert_int_equal(self->ended_count, 3);
}

static void a_new_link_repeats_what_is_unanswered(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    for (int i = 0; i < 3; i++)
        send_batch(self);
    ok(self, 1);
    script_skip(self->script);
    link_is(self, false);
    send_batch(self);
    expect_silence(self);
    link_is(self, true);
    expect_put(self, 2, 2);
    expect_put(self, 3, 2);
    expect_put(self, 4, 2);
    expect_silence(self);
}

static void busy_is_waited_out(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    send_batch(self);
    script_skip(self->script);
    say_busy(self, 1, 200);
    assert_int_equal(self->busy, 1);
    refused(self, 2, WEIR_CODE_ORDER, 1);
    expect_silence(self);
    send_batch(self); /* not past the waiting ones */
    expect_silence(self);
    assert_int_equal(tick(self), self->script->now.mono_ns + 200 * WEIR_NS_PER_MS);
    script_pass_ms(self->script, 199);
    tick(self);
    expect_silence(self);
    script_pass_ms(self->script, 1);
    tick(self);
    expect_put(self, 1, 1);
    expect_put(self, 2, 1);
    expect_put(self, 3, 1);
    expect_silence(self);
    assert_int_equal(self->free, 0);
    ok(self, 1);
    assert_int_equal(self->busy, 1);
    assert_int_equal(self->free, 1);
}

static void each_refusal_repeats_one_batch(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    for (int i = 0; i < 4; i++)
        send_batch(self);
    script_skip(self->script);
    refused(self, 1, WEIR_CODE_LIMIT, 0); /* for good */
    expect_ended(self, 0, 1, WEIR_EREFUSED);
    for (uint64_t number = 2; number <= 4; number++) {
        refused(self, number, WEIR_CODE_ORDER, 1);
        expect_put(self, number, 2);
        expect_silence(self);
    }
}

static void what_the_server_has_left_behind_ends(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    refused(self, 1, WEIR_CODE_ORDER, 7);
    expect_ended(self, 0, 1, WEIR_EREFUSED);
}

static void a_deaf_server_is_not_hammered(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    refused(self, 1, WEIR_CODE_LIMIT, 0);
    send_batch(self);
    script_skip(self->script);
    refused(self, 2, WEIR_CODE_ORDER, 1); /* although 2 was named as the oldest */
    expect_silence(self);
    script_pass_ms(self->script, 1000);
    tick(self);
    expect_put(self, 2, 2);
}

static void draining_and_storage_are_not_final(void **state)
{
    struct fixture *self = *state;
    const char *const codes[] = {WEIR_CODE_DRAINING, WEIR_CODE_STORAGE};
    for (int i = 0; i < 2; i++) {
        link_is(self, true);
        if (i == 0)
            send_batch(self);
        script_skip(self->script);
        refused(self, 1, codes[i], 0);
        assert_int_equal(self->ended_count, 0);
        assert_int_equal(self->busy, 1);
        link_is(self, false);
    }
    link_is(self, true);
    expect_put(self, 1, 1);
}

static void an_error_with_a_number_ends_the_batch(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    struct weir_control control = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&control, code, CODE, weir_text_of(WEIR_CODE_MALFORMED));
    WEIR_SET(&control, text, TEXT, weir_text_of("what is this?"));
    feed(self, &control);
    assert_int_equal(self->ended_count, 0);
    assert_non_null(strstr(self->script->log, "what is this?"));
    WEIR_SET(&control, number, NUMBER, 1);
    feed(self, &control);
    expect_ended(self, 0, 1, WEIR_EREFUSED);
}

static void long_silence_repeats_ever_more_seldom(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    expect_put(self, 1, 1);
    int64_t start_ns = self->script->now.mono_ns;
    assert_int_equal(tick(self), start_ns + WEIR_SUBMIT_REPEAT_MS * WEIR_NS_PER_MS);
    script_pass_ms(self->script, WEIR_SUBMIT_REPEAT_MS);
    int64_t next_ns = tick(self);
    expect_put(self, 1, 1);
    assert_int_equal(next_ns - self->script->now.mono_ns,
                     2 * WEIR_SUBMIT_REPEAT_MS * WEIR_NS_PER_MS);
    for (int i = 0; i < 10; i++) {
        script_pass_ms(self->script, WEIR_SUBMIT_REPEAT_MAX_MS);
        next_ns = tick(self);
    }
    assert_int_equal(next_ns - self->script->now.mono_ns,
                     WEIR_SUBMIT_REPEAT_MAX_MS * WEIR_NS_PER_MS);
    ok(self, 1);
    assert_int_equal(tick(self), WEIR_TIME_NEVER);
}

static void nonsense_is_ignored(void **state)
{
    struct fixture *self = *state;
    link_is(self, true);
    send_batch(self);
    struct weir_frames rubbish = {0};
    weir_frames_push(&rubbish, weir_bytes_copy("\xc1", 1));
    struct weir_event event = script_event(self->script, WEIR_EVENT_MESSAGE, WEIR_PORT_TO, 0);
    event.frames = &rubbish;
    weir_submit_event(self->submit, &event);
    weir_frames_drop(&rubbish);
    struct weir_control lie = {.verb = WEIR_VERB_OK};
    WEIR_SET(&lie, number, NUMBER, 1);
    WEIR_SET(&lie, first, FIRST, 1);
    WEIR_SET(&lie, count, COUNT, 2); /* the batch has one */
    WEIR_SET(&lie, tag, TAG, 1);
    WEIR_SET(&lie, time_ms, TIME, 5);
    WEIR_SET(&lie, durability, DURABILITY, weir_text_of("always"));
    feed(self, &lie);
    assert_int_equal(self->ended_count, 0);
    assert_int_equal(weir_submit_outstanding(self->submit), 1);
}

/* ---- both ends ---- */

#define BATCHES 300
#define IN_FLIGHT 256

/* One connection's frames on their way, in order. */
struct pipe {
    struct weir_frames at[IN_FLIGHT];
    uint32_t count;
};

struct joined {
    struct fixture *client;
    struct script *server_script;
    struct weir_intake *intake;
    struct weir_random random;
    struct pipe up, down;
    uint64_t peer;
    uint32_t said_up, said_down; /* of what the two scripts noted, so much is on its way */
    uint64_t pending[64];
    uint64_t pending_first[64];
    uint32_t pending_count;
    intptr_t stored[4096]; /* the payloads, in the order of acceptance */
    uint32_t stored_count;
    uint64_t refuse_every; /* batches whose payload it divides are refused for good */
};

static int joined_accept(void *arg, struct weir_put *put, struct weir_turned_away *away,
                         const struct weir_now *now)
{
    struct joined *self = arg;
    struct weir_message_view message;
    intptr_t payload;
    (void)now;
    assert_int_equal(weir_message_decode(put->body.data, put->body.size, &message, NULL), 0);
    memcpy(&payload, message.payload, sizeof payload);
    if ((uint64_t)payload % self->refuse_every == 0) {
        away->code = WEIR_CODE_LIMIT;
        return weir_error_set(&away->error, WEIR_EREFUSED, "that one never");
    }
    if (weir_random_below(&self->random, 8) == 0) {
        away->retry_ms = 1 + weir_random_below(&self->random, 50);
        return weir_error_set(&away->error, WEIR_EBUSY, "not now");
    }
    self->pending[self->pending_count] = put->ticket;
    self->pending_first[self->pending_count++] = self->stored_count + 1;
    self->stored[self->stored_count++] = payload;
    return 0;
}

static void pipe_clear(struct pipe *pipe)
{
    for (uint32_t i = 0; i < pipe->count; i++)
        weir_frames_drop(&pipe->at[i]);
    pipe->count = 0;
}

/* What the script noted goes onto the pipe. */
static void collect(struct script *script, uint32_t *from, struct pipe *pipe, bool standing)
{
    for (; *from < script->said_count; (*from)++) {
        struct said *said = &script->said[*from];
        if (standing && pipe->count < IN_FLIGHT) {
            pipe->at[pipe->count++] = said->frames;
            said->frames = (struct weir_frames){0};
        }
        weir_control_fini(&said->control);
        said->control = (struct weir_control){0};
        weir_frames_drop(&said->frames);
    }
    script->said_count = *from = 0;
}

static void step(struct joined *self, bool server)
{
    struct pipe *pipe = server ? &self->up : &self->down;
    if (pipe->count == 0)
        return;
    struct weir_frames frames = pipe->at[0];
    memmove(&pipe->at[0], &pipe->at[1], --pipe->count * sizeof pipe->at[0]);
    struct script *script = server ? self->server_script : self->client->script;
    struct weir_event event =
        script_event(script, WEIR_EVENT_MESSAGE, server ? WEIR_PORT_SUBMIT : WEIR_PORT_TO,
                     server ? self->peer : 0);
    event.frames = &frames;
    if (server)
        weir_intake_event(self->intake, &event);
    else
        weir_submit_event(self->client->submit, &event);
    weir_frames_drop(&frames);
}

static void commit(struct joined *self)
{
    if (self->pending_count == 0)
        return;
    weir_intake_answer(self->intake, self->pending[0], self->pending_first[0], 1, 5, NULL, 0);
    self->pending_count--;
    memmove(&self->pending[0], &self->pending[1], self->pending_count * sizeof(uint64_t));
    memmove(&self->pending_first[0], &self->pending_first[1],
            self->pending_count * sizeof(uint64_t));
}

static void reconnect(struct joined *self)
{
    link_is(self->client, false);
    pipe_clear(&self->up);
    pipe_clear(&self->down);
    self->peer++;
    collect(self->server_script, &self->said_down, &self->down, false);
    link_is(self->client, true);
}

static void run_joined(struct fixture *client, uint64_t seed)
{
    struct joined *self = weir_zalloc(1, sizeof *self);
    const struct weir_intake_owner owner = {.self = self, .accept = joined_accept};
    self->client = client;
    self->server_script = script_new();
    self->intake =
        weir_intake_new(WEIR_PORT_SUBMIT, 1, WEIR_FSYNC_ALWAYS, &owner, &self->server_script->host);
    self->peer = 1;
    self->refuse_every = 7;
    weir_random_seed(&self->random, seed);
    link_is(client, true);
    const uint32_t rounds_max = 400000;
    uint32_t round = 0;
    for (; client->ended_count < BATCHES && round < rounds_max; round++) {
        const uint64_t dice = weir_random_below(&self->random, 100);
        if (dice < 20 && client->last_arg < BATCHES && weir_submit_room(client->submit))
            send_batch(client);
        else if (dice < 50)
            step(self, true);
        else if (dice < 75)
            step(self, false);
        else if (dice < 90)
            commit(self);
        else if (dice < 91)
            reconnect(self);
        else
            script_pass_ms(client->script, 5);
        tick(client);
        collect(client->script, &self->said_up, &self->up, true);
        collect(self->server_script, &self->said_down, &self->down, true);
    }
    if (round == rounds_max)
        fail_msg("seed %llu: stuck after %u batches", (unsigned long long)seed,
                 client->ended_count);
    /* All answered, in order; accepted exactly once, in order, but for those refused. */
    uint32_t stored = 0;
    for (uint32_t i = 0; i < BATCHES; i++) {
        const intptr_t payload = i + 1;
        const bool refused_one = (uint64_t)payload % self->refuse_every == 0;
        expect_ended(client, i, (uint64_t)payload, refused_one ? WEIR_EREFUSED : 0);
        if (!refused_one)
            assert_int_equal(self->stored[stored++], payload);
    }
    assert_int_equal(self->stored_count, stored);
    pipe_clear(&self->up);
    pipe_clear(&self->down);
    weir_intake_destroy(&self->intake);
    script_destroy(&self->server_script);
    free(self);
}

static void both_ends_over_a_network_that_breaks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        void *fixture;
        setup(&fixture);
        run_joined(fixture, seed);
        teardown(&fixture);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(waits_for_the_link),
        TEST(the_window_is_kept),
        TEST(answers_reach_the_owner_in_order),
        TEST(a_new_link_repeats_what_is_unanswered),
        TEST(busy_is_waited_out),
        TEST(each_refusal_repeats_one_batch),
        TEST(what_the_server_has_left_behind_ends),
        TEST(a_deaf_server_is_not_hammered),
        TEST(draining_and_storage_are_not_final),
        TEST(an_error_with_a_number_ends_the_batch),
        TEST(long_silence_repeats_ever_more_seldom),
        TEST(nonsense_is_ignored),
        cmocka_unit_test(both_ends_over_a_network_that_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
