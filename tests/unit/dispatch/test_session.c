#include "script.h"

#include <core/session.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "email"
#define PORT (WEIR_PORT_FROM + 1)

struct client {
    struct script script;
    struct weir_session *session;
    char told[1024];
    struct weir_lease_ref held[2];
    uint32_t held_count;
};

static void tell(struct client *client, const char *text)
{
    size_t used = strlen(client->told);
    snprintf(client->told + used, sizeof client->told - used, "%s\n", text);
}

static void on_welcome(void *self, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)control, (void)now;
    assert_int_equal(port, PORT);
    tell(self, "welcome");
}

static void on_deliver(void *self, uint32_t port, const struct weir_control *control,
                       struct weir_event *event)
{
    char text[64];
    (void)port;
    snprintf(text, sizeof text, "deliver %llu with %u frames",
             (unsigned long long)control->delivery, event->frames->count);
    tell(self, text);
}

static void on_control(void *self, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    (void)port, (void)now;
    tell(self, weir_verb_name(control->verb));
}

static void on_down(void *self, uint32_t port, const struct weir_now *now)
{
    (void)port, (void)now;
    tell(self, "down");
}

static void on_held(void *self, uint32_t port, struct weir_lease_ref **leases, uint32_t *count)
{
    struct client *client = self;
    (void)port;
    *leases = weir_realloc(*leases, *count + client->held_count + 1u, sizeof **leases);
    for (uint32_t i = 0; i < client->held_count; i++)
        (*leases)[(*count)++] = client->held[i];
}

static void take(void *arg, struct weir_event *event)
{
    weir_session_event(arg, event);
}

static int setup(void **state)
{
    struct client *client = weir_zalloc(1, sizeof *client);
    script_init(&client->script);
    const struct weir_session_owner owner = {.self = client,
                                             .welcome = on_welcome,
                                             .deliver = on_deliver,
                                             .control = on_control,
                                             .down = on_down,
                                             .held = on_held};
    const struct weir_session_config config = {
        .port = PORT, .name = "kate", .role = "worker", .worker = 0xa};
    client->session = weir_session_new(&config, &owner, &client->script.host);
    *state = client;
    return 0;
}

static int teardown(void **state)
{
    struct client *client = *state;
    weir_session_destroy(&client->session);
    script_fini(&client->script);
    free(client);
    return 0;
}

static void say(struct client *client, const struct weir_control *control,
                struct weir_frames *frames)
{
    script_say(&client->script, PORT, 0, control, frames, take, client->session);
}

static void link(struct client *client, bool up)
{
    script_event(&client->script, up ? WEIR_EVENT_LINK_UP : WEIR_EVENT_LINK_DOWN, PORT, 0, take,
                 client->session);
}

static int64_t tick(struct client *client)
{
    return weir_session_tick(client->session, &client->script.now);
}

static struct sent *expect(struct client *client, enum weir_verb verb)
{
    return script_expect(&client->script, PORT, 0, verb);
}

static void assert_told(struct client *client, const char *expected)
{
    assert_string_equal(client->told, expected);
    client->told[0] = '\0';
}

static void welcome(struct client *client)
{
    struct weir_control control = control_welcome("ventilator", INCARNATION);
    say(client, &control, NULL);
}

static void open_session(struct client *client)
{
    link(client, true);
    welcome(client);
    tick(client);
    script_forget(&client->script);
    client->told[0] = '\0';
}

static void credited(struct client *client, const struct sent *credit, uint64_t used)
{
    struct weir_control control = {.verb = WEIR_VERB_CREDITED};
    WEIR_SET(&control, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&control, messages, MESSAGES, used);
    WEIR_SET(&control, bytes, BYTES, 0);
    WEIR_SET(&control, serial, SERIAL, credit->control.serial);
    say(client, &control, NULL);
}

/* DELIVER `count` messages of 7 bytes each (index and body), from number 1 on. */
static void deliver(struct client *client, uint64_t delivery, uint32_t count)
{
    struct weir_slice_info slice = {
        .index = 0, .count = count, .sequence = 1, .time_ms = 1, .attempt = 1};
    struct weir_control control = control_deliver(GROUP, INCARNATION, delivery, &slice, 1);
    struct weir_frames frames = {0};
    script_slice(&frames, 1, count, 0, NULL);
    say(client, &control, &frames);
}

static void a_session_opens(void **state)
{
    struct client *client = *state;
    static const char *const topics[] = {"user.*", "order.>"};
    client->held[0] = (struct weir_lease_ref){INCARNATION, 5, 1, 3};
    client->held_count = 1;
    assert_true(weir_session_join(client->session, GROUP, topics, 2, "earliest", true) == 0);
    script_expect_nothing(&client->script);
    assert_true(tick(client) == WEIR_TIME_NEVER);
    link(client, true);
    struct sent *ready = expect(client, WEIR_VERB_READY);
    assert_text(&ready->control.role, "worker");
    assert_text(&ready->control.name, "kate");
    assert_int_equal(ready->control.worker, 0xa);
    assert_int_equal(ready->control.lease_count, 1);
    assert_memory_equal(&ready->control.leases[0], &client->held[0], sizeof client->held[0]);
    assert_false(weir_session_open(client->session));
    welcome(client);
    assert_true(weir_session_open(client->session));
    const uint64_t serial = weir_session_join(client->session, GROUP, topics, 2, "earliest", true);
    struct sent *join = expect(client, WEIR_VERB_JOIN);
    assert_true(join->control.serial == serial && weir_session_of_join(serial));
    assert_text(&join->control.group, GROUP);
    assert_int_equal(join->control.topic_count, 2);
    assert_text(&join->control.topics[1], "order.>");
    assert_text(&join->control.from, "earliest");
    assert_told(client, "welcome\n");
    link(client, false);
    assert_told(client, "down\n");
    assert_false(weir_session_open(client->session));
}

static void credit_is_said_when_it_changes(void **state)
{
    struct client *client = *state;
    weir_session_grant(client->session, GROUP, 5, 100);
    script_expect_nothing(&client->script);
    open_session(client);
    weir_session_grant(client->session, GROUP, 0, 0); /* so that it knows who serves the group */
    assert_int_equal(expect(client, WEIR_VERB_CREDIT)->control.messages, 0);
    weir_session_grant(client->session, GROUP, 8, 100);
    struct sent *credit = expect(client, WEIR_VERB_CREDIT);
    assert_text(&credit->control.group, GROUP);
    assert_int_equal(credit->control.messages, 8);
    assert_int_equal(credit->control.bytes, 100);
    weir_session_grant(client->session, GROUP, 8, 100);
    script_expect_nothing(&client->script);
    deliver(client, 1, 3);
    assert_told(client, "deliver 1 with 4 frames\n");
    struct weir_credit is = weir_session_credit(client->session, GROUP);
    assert_int_equal(is.used_messages, 3);
    assert_int_equal(is.used_bytes, 21);
    assert_int_equal(is.limit_messages, 8);
    weir_session_grant(client->session, GROUP, 8, 100);
    credit = expect(client, WEIR_VERB_CREDIT);
    assert_int_equal(credit->control.messages, 11);
    assert_int_equal(credit->control.bytes, 121);
    /* A new session starts from zero. */
    link(client, false);
    open_session(client);
    is = weir_session_credit(client->session, GROUP);
    assert_int_equal(is.limit_messages + is.used_messages + is.used_bytes, 0);
}

static void a_lowered_limit_holds_until_confirmed(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 10, 1000);
    script_forget(&client->script);
    weir_session_grant(client->session, GROUP, 2, 1000);
    struct sent credit = *expect(client, WEIR_VERB_CREDIT);
    assert_int_equal(credit.control.messages, 2);
    struct weir_credit is = weir_session_credit(client->session, GROUP);
    assert_true(is.withdrawing);
    assert_int_equal(is.limit_messages, 2);
    assert_int_equal(is.ceiling_messages, 10);
    deliver(client, 1, 6); /* was on its way */
    assert_told(client, "deliver 1 with 4 frames\n");
    /* Raised again before the answer came: the answer to the first still counts. */
    weir_session_grant(client->session, GROUP, 1, 1000);
    assert_int_equal(expect(client, WEIR_VERB_CREDIT)->control.messages, 7);
    credited(client, &credit, 6);
    is = weir_session_credit(client->session, GROUP);
    assert_false(is.withdrawing);
    assert_int_equal(is.ceiling_messages, 7);
    deliver(client, 2, 2);
    assert_told(client, "CREDITED\n"); /* beyond: refused */
    assert_int_equal(weir_session_errors(client->session), 1);
}

static void an_old_answer_confirms_nothing(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 10, 1000);
    weir_session_grant(client->session, GROUP, 5, 1000);
    weir_session_grant(client->session, GROUP, 2, 1000);
    script_next(&client->script);
    struct sent first = *expect(client, WEIR_VERB_CREDIT);
    struct sent second = *expect(client, WEIR_VERB_CREDIT);
    credited(client, &first, 0);
    assert_int_equal(weir_session_credit(client->session, GROUP).ceiling_messages, 10);
    credited(client, &second, 0);
    assert_int_equal(weir_session_credit(client->session, GROUP).ceiling_messages, 2);
}

static void lies_are_given_back(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 100, 10000);
    script_forget(&client->script);
    struct weir_slice_info slices[2] = {
        {.index = 0, .count = 3, .sequence = 1, .time_ms = 1, .attempt = 1},
        {.index = 3, .count = 2, .sequence = 9, .time_ms = 1, .attempt = 1}};
    struct weir_control control = control_deliver(GROUP, INCARNATION, 4, slices, 2);
    for (uint32_t lie = 0; lie < 4; lie++) {
        struct weir_frames frames = {0};
        slices[1].index = lie == 2 ? 2 : 3;
        script_slice(&frames, 1, lie == 1 ? 2 : 3, 0, NULL); /* fewer than it says */
        if (lie != 0)                                        /* a slice is missing */
            script_slice(&frames, 9, 2, 0, NULL);
        if (lie == 3) { /* bodies shorter than the index says */
            weir_bytes_drop(&frames.at[5]);
            frames.at[5] = weir_bytes_copy("m", 1);
        }
        say(client, &control, &frames);
        assert_told(client, "");
        assert_int_equal(weir_session_errors(client->session), lie + 1);
        struct sent *ack = expect(client, WEIR_VERB_ACK);
        assert_int_equal(ack->control.ack_count, 2);
        assert_int_equal(ack->control.acks[0].outcome, WEIR_RELEASE);
        assert_int_equal(ack->control.acks[1].lease.first, slices[1].index);
        assert_int_equal(ack->control.acks[1].lease.count, 2);
        assert_int_equal(ack->control.acks[1].lease.delivery, 4);
        /* The server counted them as sent. */
        assert_int_equal(weir_session_credit(client->session, GROUP).used_messages, 5 * (lie + 1));
    }
    assert_non_null(strstr(client->script.log, "upstream 1 sends what it should not"));
    assert_int_equal(strchr(client->script.log, '\n')[1], '\0'); /* told once */
}

static void rubbish_is_counted(void **state)
{
    struct client *client = *state;
    open_session(client);
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_bytes_copy("rubbish", 7));
    struct weir_event event = {
        .type = WEIR_EVENT_MESSAGE, .now = client->script.now, .port = PORT, .frames = &frames};
    weir_session_event(client->session, &event);
    weir_frames_drop(&frames);
    weir_session_event(client->session, &event);
    struct weir_control control = control_ready("worker", 1, "x");
    say(client, &control, NULL);
    deliver(client, 1, 1); /* of a group without credit */
    assert_int_equal(weir_session_errors(client->session), 4);
    assert_told(client, "");
}

static void not_ready_and_silence_say_ready_again(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 10, 1000);
    script_forget(&client->script);
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_NOT_READY));
    WEIR_SET(&error, text, TEXT, weir_text_of("say READY"));
    say(client, &error, NULL);
    expect(client, WEIR_VERB_READY);
    say(client, &error, NULL); /* several frames were on their way */
    script_expect_nothing(&client->script);
    deliver(client, 1, 1); /* was on its way */
    assert_told(client, "ERROR\nERROR\ndeliver 1 with 4 frames\n");
    weir_session_grant(client->session, GROUP, 20, 1000); /* not before WELCOME */
    script_expect_nothing(&client->script);
    welcome(client);
    welcome(client);
    assert_told(client, "welcome\n");
    assert_int_equal(weir_session_credit(client->session, GROUP).used_messages, 0);
    tick(client);
    for (int64_t ms = 0; ms < WEIR_PEER_SILENCE_MS; ms += WEIR_HEARTBEAT_MS) {
        script_wait(&client->script, WEIR_HEARTBEAT_MS);
        tick(client);
        if (ms + WEIR_HEARTBEAT_MS < WEIR_PEER_SILENCE_MS)
            expect(client, WEIR_VERB_HEARTBEAT);
    }
    expect(client, WEIR_VERB_READY);
    script_expect_nothing(&client->script);
}

static void an_idle_session_beats(void **state)
{
    struct client *client = *state;
    open_session(client);
    int64_t next = tick(client);
    assert_int_equal(next - client->script.now.mono_ns, WEIR_HEARTBEAT_MS * MS);
    script_wait(&client->script, WEIR_HEARTBEAT_MS);
    next = tick(client);
    struct sent *beat = expect(client, WEIR_VERB_HEARTBEAT);
    assert_int_equal(beat->control.worker, 0xa);
    assert_int_equal(beat->control.lease_count, 0);
    assert_int_equal(next - client->script.now.mono_ns, WEIR_HEARTBEAT_MS * MS);
    /* While both sides talk there is nothing to prove. */
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    WEIR_SET(&echo, serial, SERIAL, 1);
    for (uint32_t i = 1; i <= 5; i++) {
        script_wait(&client->script, WEIR_HEARTBEAT_MS - 1);
        say(client, &echo, NULL);
        weir_session_grant(client->session, GROUP, i, 1);
        expect(client, WEIR_VERB_CREDIT);
        tick(client);
        script_expect_nothing(&client->script);
    }
}

static void credit_of_a_new_group_waits_for_joined(void **state)
{
    struct client *client = *state;
    static const char *const topics[] = {"user.*"};
    open_session(client);
    weir_session_join(client->session, GROUP, topics, 1, NULL, true);
    expect(client, WEIR_VERB_JOIN);
    weir_session_grant(client->session, GROUP, 5, 100);
    weir_session_grant(client->session, GROUP, 3, 100);
    script_expect_nothing(&client->script);
    struct weir_credit is = weir_session_credit(client->session, GROUP);
    assert_int_equal(is.limit_messages, 3);
    assert_false(is.withdrawing);
    struct weir_control joined = {.verb = WEIR_VERB_JOINED};
    WEIR_SET(&joined, group, GROUP, weir_text_of(GROUP));
    say(client, &joined, NULL);
    assert_int_equal(expect(client, WEIR_VERB_CREDIT)->control.messages, 3);
    assert_told(client, "JOINED\n");
    /* And again in the next session. */
    link(client, false);
    link(client, true);
    expect(client, WEIR_VERB_READY);
    welcome(client);
    weir_session_join(client->session, GROUP, topics, 1, NULL, true);
    expect(client, WEIR_VERB_JOIN);
    weir_session_grant(client->session, GROUP, 5, 100);
    script_expect_nothing(&client->script);
}

static void a_group_that_is_not_there_voids_its_credit(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 5, 100);
    expect(client, WEIR_VERB_CREDIT);
    assert_false(weir_session_forget(client->session, GROUP));
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&error, text, TEXT, weir_text_of("no such group"));
    WEIR_SET(&error, group, GROUP, weir_text_of(GROUP));
    say(client, &error, NULL);
    assert_int_equal(weir_session_credit(client->session, GROUP).ceiling_messages, 0);
    assert_told(client, "ERROR\n");
    assert_true(weir_session_forget(client->session, GROUP));
}

static void a_refusal_of_an_older_credit_voids_nothing(void **state)
{
    struct client *client = *state;
    open_session(client);
    weir_session_grant(client->session, GROUP, 5, 100);
    const uint64_t serial = expect(client, WEIR_VERB_CREDIT)->control.serial;
    weir_session_grant(client->session, GROUP, 7, 100);
    const uint64_t newest = expect(client, WEIR_VERB_CREDIT)->control.serial;
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_GROUP));
    WEIR_SET(&error, text, TEXT, weir_text_of("no such group"));
    WEIR_SET(&error, group, GROUP, weir_text_of(GROUP));
    WEIR_SET(&error, serial, SERIAL, serial);
    say(client, &error, NULL);
    assert_int_equal(weir_session_credit(client->session, GROUP).ceiling_messages, 7);
    assert_told(client, "");
    WEIR_SET(&error, serial, SERIAL, newest);
    say(client, &error, NULL);
    assert_int_equal(weir_session_credit(client->session, GROUP).ceiling_messages, 0);
    assert_told(client, "ERROR\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_opens),
        TEST(credit_is_said_when_it_changes),
        TEST(a_lowered_limit_holds_until_confirmed),
        TEST(an_old_answer_confirms_nothing),
        TEST(lies_are_given_back),
        TEST(rubbish_is_counted),
        TEST(not_ready_and_silence_say_ready_again),
        TEST(an_idle_session_beats),
        TEST(credit_of_a_new_group_waits_for_joined),
        TEST(a_group_that_is_not_there_voids_its_credit),
        TEST(a_refusal_of_an_older_credit_voids_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
