#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <base/random.h>
#include <wire/batch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_batch_header any_header = {.topic = "user.signed_up", .topic_bytes = 14};

/* Encode one message as a batch's body. */
static struct weir_bytes encode(const struct weir_message_view *message)
{
    struct weir_batch_builder *builder = weir_batch_builder_new(&any_header);
    struct weir_bytes header, index, body;

    assert_int_equal(weir_batch_builder_add(builder, message, NULL), 0);
    weir_batch_builder_finish(builder, 1, 0, 0, &header, &index, &body);
    weir_bytes_drop(&header);
    weir_bytes_drop(&index);
    weir_batch_builder_destroy(&builder);
    return body;
}

static int try_add(const struct weir_message_view *message, struct weir_error *error)
{
    struct weir_batch_builder *builder = weir_batch_builder_new(&any_header);
    int rc = weir_batch_builder_add(builder, message, error);

    assert_int_equal(weir_batch_builder_count(builder), rc == 0);
    weir_batch_builder_destroy(&builder);
    return rc;
}

/* A message with everything. */
static void fill(struct weir_message_view *message, struct weir_bytes history)
{
    *message = (struct weir_message_view){
        .payload = (const uint8_t *)"{\"user\":7}",
        .payload_bytes = 10,
        .key = "customer-7",
        .key_bytes = 10,
        .headers = {{"traceparent", 11, "00-abc", 6}, {"raw", 3, "\xff\x00", 2}},
        .header_count = 2,
        .idempotency_key = "signup/7",
        .idempotency_key_bytes = 8,
        .has_origin = true,
        .origin = {.id = {1, 2, 3},
                   .topic = "user",
                   .topic_bytes = 4,
                   .group = "email",
                   .group_bytes = 5,
                   .death = 2,
                   .attempt = 5,
                   .reason = 1,
                   .history = history},
    };
}

static void assert_same(const struct weir_message_view *a, const struct weir_message_view *b)
{
    assert_int_equal(a->payload_bytes, b->payload_bytes);
    assert_memory_equal(a->payload, b->payload, a->payload_bytes);
    assert_int_equal(a->key_bytes, b->key_bytes);
    assert_memory_equal(a->key, b->key, a->key_bytes);
    assert_int_equal(a->header_count, b->header_count);
    for (uint32_t i = 0; i < a->header_count; i++) {
        assert_int_equal(a->headers[i].name_bytes, b->headers[i].name_bytes);
        assert_memory_equal(a->headers[i].name, b->headers[i].name, a->headers[i].name_bytes);
        assert_int_equal(a->headers[i].value_bytes, b->headers[i].value_bytes);
        assert_memory_equal(a->headers[i].value, b->headers[i].value, a->headers[i].value_bytes);
    }
    assert_int_equal(a->idempotency_key_bytes, b->idempotency_key_bytes);
    assert_memory_equal(a->idempotency_key, b->idempotency_key, a->idempotency_key_bytes);
    assert_int_equal(a->has_origin, b->has_origin);
    assert_memory_equal(a->origin.id, b->origin.id, WEIR_ID_BYTES);
    assert_int_equal(a->origin.topic_bytes, b->origin.topic_bytes);
    assert_memory_equal(a->origin.topic, b->origin.topic, a->origin.topic_bytes);
    assert_int_equal(a->origin.group_bytes, b->origin.group_bytes);
    assert_memory_equal(a->origin.group, b->origin.group, a->origin.group_bytes);
    assert_int_equal(a->origin.death, b->origin.death);
    assert_int_equal(a->origin.attempt, b->origin.attempt);
    assert_int_equal(a->origin.reason, b->origin.reason);
    assert_true(
        weir_bytes_equal(&a->origin.history, b->origin.history.data, b->origin.history.size));
}

static void all_parts_come_back(void **state)
{
    struct weir_attempt_note note = {1, 99, 1, "w.1", 3, "boom", 4};
    struct weir_bytes none = WEIR_BYTES_NONE, history = weir_history_add(&none, &note), body;
    struct weir_message_view sent, got;

    (void)state;
    fill(&sent, history);
    body = encode(&sent);
    assert_int_equal(weir_message_decode(body.data, body.size, &got, NULL), 0);
    assert_same(&sent, &got);
    weir_bytes_drop(&body);
    weir_bytes_drop(&history);
}

static void what_is_not_there_is_not_there(void **state)
{
    struct weir_message_view sent = {.payload = (const uint8_t *)"x", .payload_bytes = 1}, got;
    struct weir_bytes body = encode(&sent);

    (void)state;
    assert_true(weir_bytes_equal(&body, "\x91\xc4\x01x", 4));
    memset(&got, 0x5a, sizeof got);
    assert_int_equal(weir_message_decode(body.data, body.size, &got, NULL), 0);
    assert_int_equal(got.payload_bytes, 1);
    assert_null(got.key);
    assert_int_equal(got.key_bytes, 0);
    assert_int_equal(got.header_count, 0);
    assert_null(got.idempotency_key);
    assert_false(got.has_origin);
    weir_bytes_drop(&body);
}

static void strangers_encodings_are_understood(void **state)
{
    /* A str as payload, an empty key, nil for the rest, and a sixth part of a later version. */
    static const char bytes[] = "\x96\xa2hi\xa0\xc0\xc0\xc0\x92\x01\x02";
    struct weir_message_view got;

    (void)state;
    assert_int_equal(weir_message_decode(bytes, sizeof bytes - 1, &got, NULL), 0);
    assert_int_equal(got.payload_bytes, 2);
    assert_memory_equal(got.payload, "hi", 2);
    assert_null(got.key);
    assert_false(got.has_origin);
}

static void a_message_cut_anywhere_is_refused(void **state)
{
    struct weir_attempt_note note = {1, 99, 1, "w.1", 3, "boom", 4};
    struct weir_bytes none = WEIR_BYTES_NONE, history = weir_history_add(&none, &note), body;
    struct weir_message_view sent, got;
    struct weir_error error;

    (void)state;
    fill(&sent, history);
    body = encode(&sent);
    for (size_t size = 0; size < body.size; size++) {
        /* A copy of its own, so that a read past the end is seen. */
        uint8_t *cut = weir_alloc(size);

        memcpy(cut, body.data, size);
        assert_int_equal(weir_message_decode(cut, size, &got, &error), WEIR_EPROTO);
        assert_int_equal(error.code, WEIR_EPROTO);
        free(cut);
    }
    weir_bytes_drop(&body);
    weir_bytes_drop(&history);
}

static void wrong_parts_are_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *said;
    } wrong[] = {
        {"\x90", 1, "expected an array"},
        {"\x81\xc0\xc0", 3, "expected an array"},
        {"\x91\xc0", 2, "expected a payload"},
        {"\x92\xa0\x05", 3, "expected a key"},
        {"\x93\xa0\xc0\x05", 4, "expected headers"},
        {"\x93\xa0\xc0\x81\xa0\xa0", 6, "expected a header's name"},
        {"\x93\xa0\xc0\x81\xa1=\xa0", 7, "expected a header's name"},
        {"\x93\xa0\xc0\x81\xa1n\x05", 7, "expected a header's value"},
        {"\x94\xa0\xc0\xc0\x05", 5, "expected a key"},
        {"\x95\xa0\xc0\xc0\xc0\x90", 6, "expected an origin"},
        {"\x91\xa0\xc0", 3, "to end here"},
        {"\x96\xa0\xc0\xc0\xc0\xc0\xc1", 7, "expected a msgpack value"},
    };
    struct weir_message_view got;
    struct weir_error error;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(weir_message_decode(wrong[i].bytes, wrong[i].size, &got, &error),
                         WEIR_EPROTO);
        if (strstr(error.text, wrong[i].said) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.text, wrong[i].said);
    }
}

static void limits_are_named_before_anything_is_sent(void **state)
{
    static uint8_t big[WEIR_MESSAGE_BYTES_MAX];
    struct weir_message_view message;
    struct weir_error error;

    (void)state;
    memset(big, 'x', sizeof big);
    message = (struct weir_message_view){.payload = big, .payload_bytes = sizeof big};
    assert_int_equal(try_add(&message, &error), WEIR_ELIMIT);
    assert_non_null(strstr(error.text, "8388608"));
    message.payload_bytes -= 64;
    assert_int_equal(try_add(&message, NULL), 0);
    /* Whatever was accepted can also die: its origin and history come on top. */
    message.has_origin = true;
    message.origin = (struct weir_origin){.topic = "a.b",
                                          .topic_bytes = 3,
                                          .group = "work",
                                          .group_bytes = 4,
                                          .death = 1,
                                          .attempt = 5};
    message.idempotency_key = (char *)big;
    message.idempotency_key_bytes = WEIR_IDEMPOTENCY_KEY_BYTES_MAX;
    assert_int_equal(try_add(&message, &error), 0);

    message = (struct weir_message_view){.key = (char *)big, .key_bytes = WEIR_KEY_BYTES_MAX + 1};
    assert_int_equal(try_add(&message, &error), WEIR_ELIMIT);
    assert_non_null(strstr(error.text, "1025"));
    message.key_bytes--;
    assert_int_equal(try_add(&message, NULL), 0);

    message = (struct weir_message_view){.header_count = WEIR_HEADERS_MAX + 1};
    assert_int_equal(try_add(&message, &error), WEIR_ELIMIT);
    message = (struct weir_message_view){.header_count = 1, .headers = {{"a b", 3, "", 0}}};
    assert_int_equal(try_add(&message, &error), WEIR_EINVAL);
    message.headers[0] =
        (struct weir_header_pair){"big", 3, (char *)big, WEIR_HEADER_VALUE_BYTES_MAX + 1};
    assert_int_equal(try_add(&message, &error), WEIR_ELIMIT);
    assert_non_null(strstr(error.text, "header big"));
    message = (struct weir_message_view){.header_count = 9};
    for (int i = 0; i < 9; i++)
        message.headers[i] =
            (struct weir_header_pair){"n", 1, (char *)big, WEIR_HEADER_VALUE_BYTES_MAX};
    assert_int_equal(try_add(&message, &error), WEIR_ELIMIT);
    message.header_count = 7;
    assert_int_equal(try_add(&message, NULL), 0);
}

static void an_origin_names_its_death(void **state)
{
    struct weir_origin origin = {.group = "email", .group_bytes = 5, .death = 2};
    struct weir_id id = {1, 1, 1};
    char text[WEIR_ORIGIN_KEY_BYTES];

    (void)state;
    weir_id_encode(&id, origin.id);
    assert_int_equal(weir_origin_key(&origin, text), 34);
    assert_string_equal(text, "0000000001000G000000000001/email/2");

    const uint32_t deaths[] = {0, 9, 10, 4294967295};
    char group[WEIR_NAME_BYTES_MAX + 1] = "", expected[WEIR_ORIGIN_KEY_BYTES];
    memset(group, 'g', WEIR_NAME_BYTES_MAX);
    origin.group = group;
    for (uint32_t i = 0; i < 8; i++) {
        origin.group_bytes = i < 4 ? 0 : WEIR_NAME_BYTES_MAX;
        origin.death = deaths[i % 4];
        int bytes = snprintf(expected, sizeof expected, "0000000001000G000000000001/%.*s/%u",
                             (int)origin.group_bytes, group, origin.death);
        assert_int_equal(weir_origin_key(&origin, text), bytes);
        assert_string_equal(text, expected);
    }
}

static void random_bytes_are_survived(void **state)
{
    struct weir_attempt_note note = {1, 99, 1, "w.1", 3, "boom", 4};
    struct weir_bytes none = WEIR_BYTES_NONE, history = weir_history_add(&none, &note), body;
    struct weir_message_view sent, got;
    struct weir_random random;

    (void)state;
    fill(&sent, history);
    body = encode(&sent);
    weir_random_seed(&random, 9);
    for (int i = 0; i < 100000; i++) {
        uint8_t *bytes = weir_alloc(body.size);
        struct weir_bytes again;

        memcpy(bytes, body.data, body.size);
        for (uint64_t k = 0; k <= weir_random_below(&random, 4); k++)
            bytes[weir_random_below(&random, body.size)] = (uint8_t)weir_random_u64(&random);
        /* What is accepted must be fit to be sent on. */
        if (weir_message_decode(bytes, body.size, &got, NULL) == 0) {
            again = encode(&got);
            assert_true(again.size > 0);
            weir_bytes_drop(&again);
        }
        free(bytes);
    }
    weir_bytes_drop(&body);
    weir_bytes_drop(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_come_back),
        cmocka_unit_test(what_is_not_there_is_not_there),
        cmocka_unit_test(strangers_encodings_are_understood),
        cmocka_unit_test(a_message_cut_anywhere_is_refused),
        cmocka_unit_test(wrong_parts_are_named),
        cmocka_unit_test(limits_are_named_before_anything_is_sent),
        cmocka_unit_test(an_origin_names_its_death),
        cmocka_unit_test(random_bytes_are_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
