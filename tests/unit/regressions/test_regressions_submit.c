/* Bugs of the submit protocol's client, each with its number. */
#include <script.h>

#include <core/submit.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t producer[16] = "producer sixteen";

static void submitted(void *arg, const struct weir_submitted *what, const struct weir_now *now)
{
    (void)arg;
    (void)what;
    (void)now;
}

static void send_batch(struct weir_submit *submit, const struct script *script)
{
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = "t", .topic_bytes = 1};
    memcpy(header.producer, producer, sizeof producer);
    const struct weir_message_view message = {.payload = (const uint8_t *)"x", .payload_bytes = 1};
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
    weir_submit_send(submit, builder, 0, NULL, &script->now);
    weir_batch_builder_destroy(&builder);
}

static void refuse_order(struct weir_submit *submit, struct script *script, uint64_t number,
                         uint64_t expected)
{
    struct weir_control control = {.verb = WEIR_VERB_REFUSED};
    WEIR_SET(&control, number, NUMBER, number);
    WEIR_SET(&control, code, CODE, weir_text_of(WEIR_CODE_ORDER));
    WEIR_SET(&control, text, TEXT, weir_text_of("another one first"));
    WEIR_SET(&control, first, FIRST, expected);
    struct weir_frames frames = script_frames(&control);
    struct weir_event event = script_event(script, WEIR_EVENT_MESSAGE, WEIR_PORT_TO, 0);
    event.frames = &frames;
    weir_submit_event(submit, &event);
    weir_frames_drop(&frames);
}

static void expect_put(struct script *script, uint64_t number)
{
    const struct said *said = script_expect(script, WEIR_PORT_TO, WEIR_VERB_PUT);
    struct weir_batch_header header;
    assert_int_equal(weir_batch_header_decode(&said->frames.at[1], &header, NULL), 0);
    assert_int_equal(header.number, number);
}

/* 1: a batch was dropped on its way, by a ventilator that was still recovering and had no more room
 * for what waits, or its BUSY went to a connection that had ended. The batch behind it was refused
 * as out of order and sent again at once, and refused again, for ever; each answer was taken for a
 * sign that all was well, so the one that was expected was never repeated. */
static void a_lost_batch_is_repeated_when_the_next_is_refused(void **state)
{
    (void)state;
    struct script *script = script_new();
    const struct weir_submit_owner owner = {.submitted = submitted};
    struct weir_submit *submit = weir_submit_new(WEIR_PORT_TO, producer, 4, &owner, &script->host);
    struct weir_event up = script_event(script, WEIR_EVENT_LINK_UP, WEIR_PORT_TO, 0);
    weir_submit_event(submit, &up);
    for (int i = 0; i < 3; i++)
        send_batch(submit, script);
    script_skip(script);
    refuse_order(submit, script, 2, 1);
    expect_put(script, 1);
    expect_put(script, 2);
    /* That of the third was said before the repetition came there: it is no reason for another. */
    refuse_order(submit, script, 3, 1);
    expect_put(script, 3);
    assert_null(script_next(script));
    weir_submit_destroy(&submit);
    script_destroy(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_batch_is_repeated_when_the_next_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
