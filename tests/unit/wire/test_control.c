#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "full_control.h"

#include <string.h>

static void round_trip(const struct weir_control *sent)
{
    struct weir_bytes frame = weir_control_encode(sent);
    struct weir_control got;
    struct weir_error error = {0};

    if (weir_control_decode(&frame, &got, &error) != 0)
        fail_msg("%s", error.text);
    assert_same_control(sent, &got);
    weir_control_fini(&got);
    weir_bytes_drop(&frame);
}

static void every_verb_comes_back_with_all_its_fields(void **state)
{
    (void)state;
    for (enum weir_verb verb = 1; verb < WEIR_VERB_COUNT; verb++) {
        struct weir_control all = full_control_of(verb, true);
        struct weir_control least = full_control_of(verb, false);

        round_trip(&all);
        round_trip(&least);
    }
}

static void the_table_knows_every_verb_and_field(void **state)
{
    (void)state;
    for (enum weir_verb verb = 1; verb < WEIR_VERB_COUNT; verb++) {
        const struct weir_verb_info *info = &weir_verb_infos[verb];

        assert_non_null(info->name);
        assert_int_equal(weir_verb_find(info->name, (uint32_t)strlen(info->name)), verb);
        assert_string_equal(weir_verb_name(verb), info->name);
        assert_true((info->required & info->optional) == 0);
    }
    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++) {
        const struct weir_field_info *info = &weir_field_infos[field];

        assert_int_equal(weir_field_find(info->key, info->key_bytes), field);
    }
    assert_int_equal(weir_verb_find("NOPE", 4), WEIR_VERB_COUNT);
    assert_int_equal(weir_field_find("", 0), WEIR_FIELDS_END);
    assert_string_equal(weir_verb_name(WEIR_VERB_COUNT), "?");
}

static void the_bytes_are_those_of_the_document(void **state)
{
    struct weir_control credit = {.verb = WEIR_VERB_CREDIT};
    struct weir_bytes frame;

    (void)state;
    WEIR_SET(&credit, group, GROUP, weir_text_of("email"));
    WEIR_SET(&credit, messages, MESSAGES, 8);
    WEIR_SET(&credit, bytes, BYTES, 65536);
    frame = weir_control_encode(&credit);
    assert_true(weir_bytes_equal(&frame,
                                 "\x92\xa6"
                                 "CREDIT\x83\xa8messages\x08\xa5"
                                 "bytes\xce\x00\x01\x00\x00\xa5group\xa5"
                                 "email",
                                 42));
    weir_bytes_drop(&frame);
}

static void the_frames_that_follow_are_known(void **state)
{
    struct weir_control control = {.verb = WEIR_VERB_PUT};

    (void)state;
    assert_int_equal(weir_control_frames(&control), 3);
    control.verb = WEIR_VERB_ACK;
    assert_int_equal(weir_control_frames(&control), 0);
    control.verb = WEIR_VERB_ANSWER;
    assert_int_equal(weir_control_frames(&control), 1);
    control.verb = WEIR_VERB_DELIVER;
    control.slice_count = 5;
    assert_int_equal(weir_control_frames(&control), 15);
}

static void texts_that_are_too_long_are_cut(void **state)
{
    static char text[5000];
    struct weir_ack ack = {{1, 1, 0, 1}, 1, -1, text, sizeof text};
    struct weir_control error = {.verb = WEIR_VERB_ERROR}, acks = {.verb = WEIR_VERB_ACK}, got;
    struct weir_bytes frame;

    (void)state;
    memset(text, 't', sizeof text);
    WEIR_SET(&error, code, CODE, weir_text_of(WEIR_CODE_LIMIT));
    WEIR_SET(&error, text, TEXT, ((struct weir_text){text, sizeof text}));
    frame = weir_control_encode(&error);
    assert_int_equal(weir_control_decode(&frame, &got, NULL), 0);
    assert_int_equal(got.text.bytes, WEIR_TEXT_BYTES_MAX);
    weir_control_fini(&got);
    weir_bytes_drop(&frame);

    WEIR_SET(&acks, group, GROUP, weir_text_of("g"));
    acks.acks = &ack;
    acks.ack_count = 1;
    WEIR_MARK(&acks, ACKS);
    frame = weir_control_encode(&acks);
    assert_int_equal(weir_control_decode(&frame, &got, NULL), 0);
    assert_int_equal(got.acks[0].error_bytes, WEIR_ERROR_BYTES_MAX);
    weir_control_fini(&got);
    weir_bytes_drop(&frame);
}

static void the_fullest_frames_fit(void **state)
{
    static struct weir_lease_ref leases[WEIR_LEASES_MAX];
    static struct weir_ack acks[WEIR_ACKS_MAX];
    static struct weir_duplicate duplicates[WEIR_BATCH_MESSAGES_MAX];
    static char text[WEIR_ERROR_BYTES_MAX];
    struct weir_control beat = full_control_of(WEIR_VERB_HEARTBEAT, true);
    struct weir_control ack = full_control_of(WEIR_VERB_ACK, true);
    struct weir_control ok = full_control_of(WEIR_VERB_OK, true);

    (void)state;
    memset(text, 't', sizeof text);
    for (uint32_t i = 0; i < WEIR_LEASES_MAX; i++)
        leases[i] = (struct weir_lease_ref){UINT64_MAX, UINT64_MAX - i, 4000, 96};
    for (uint32_t i = 0; i < WEIR_ACKS_MAX; i++)
        acks[i] = (struct weir_ack){leases[i], 1, 1000, text, sizeof text};
    for (uint32_t i = 0; i < WEIR_BATCH_MESSAGES_MAX; i++)
        duplicates[i].index = i;
    beat.leases = beat.running = leases;
    beat.lease_count = beat.running_count = WEIR_LEASES_MAX;
    round_trip(&beat);
    ack.acks = acks;
    ack.ack_count = WEIR_ACKS_MAX;
    round_trip(&ack);
    ok.duplicates = duplicates;
    ok.duplicate_count = WEIR_BATCH_MESSAGES_MAX;
    round_trip(&ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_comes_back_with_all_its_fields),
        cmocka_unit_test(the_table_knows_every_verb_and_field),
        cmocka_unit_test(the_bytes_are_those_of_the_document),
        cmocka_unit_test(the_frames_that_follow_are_known),
        cmocka_unit_test(texts_that_are_too_long_are_cut),
        cmocka_unit_test(the_fullest_frames_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
