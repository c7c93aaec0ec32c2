/* Lines are written without jansson: they are byte for byte what it would write, whatever is in
 * them. */
#include <base/alloc.h>
#include <base/utf8.h>
#include <hold/message_json.h>
#include <jansson.h>
#include <setjmp.h>
#include <sink/result_json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The string as jansson has it; NULL: it is no UTF-8. */
static char *expected_string(const void *data, size_t bytes)
{
    json_t *json = json_stringn(bytes > 0 ? data : "", bytes);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(json);
    return text;
}

static void check_string(const void *data, size_t bytes)
{
    struct weir_json_text text = {0};
    char *expected = expected_string(data, bytes);
    WEIR_JSON_TEXT(&text, "before");
    assert_int_equal(weir_json_text_string(&text, data, bytes), expected != NULL);
    assert_int_equal(weir_utf8_valid(data, bytes), expected != NULL);
    assert_int_equal(text.bytes, strlen("before") + (expected ? strlen(expected) : 0));
    assert_memory_equal(text.data, "before", strlen("before"));
    if (expected)
        assert_memory_equal(text.data + strlen("before"), expected, strlen(expected));
    free(expected);
    free(text.data);
}

static void test_strings(void **state)
{
    (void)state;
    check_string(NULL, 0);
    check_string("\xe2\x80\xa8 and \xe2\x80\xa9", 11); /* line ends of JavaScript's */
    check_string("\xed\x9f\xbf\xee\x80\x80", 6);       /* around the surrogates */
    check_string("\xed\xa0\x80", 3);
    check_string("\xed\xbf\xbf", 3);
    check_string("\xf4\x8f\xbf\xbf", 4); /* the last character, and what follows it */
    check_string("\xf4\x90\x80\x80", 4);
    check_string("\xf0\x8f\xbf\xbf", 4); /* in more bytes than needed */
    check_string("\xe0\x9f\xbf", 3);
    check_string("\xc1\xbf", 2);
    check_string("a\0b", 3);
}

static void test_every_two_bytes(void **state)
{
    (void)state;
    for (uint32_t pair = 0; pair < 0x10000; pair++) {
        const uint8_t bytes[] = {(uint8_t)pair, (uint8_t)(pair >> 8)};
        check_string(bytes, 2);
    }
}

/* Sequences of the bytes at which something begins or ends. */
static void test_bytes_at_the_edges(void **state)
{
    static const uint8_t edges[] = {0x00, 0x08, 0x1f, 0x20, '"',  '\\', 'a',  0x7f, 0x80,
                                    0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0,
                                    0xe1, 0xed, 0xef, 0xf0, 0xf3, 0xf4, 0xf5, 0xff};
    const uint32_t count = sizeof edges;
    (void)state;
    for (uint32_t i = 0; i < count * count * count * count; i++) {
        const uint8_t bytes[] = {edges[i % count], edges[i / count % count],
                                 edges[i / count / count % count],
                                 edges[i / count / count / count]};
        if (bytes[0] >= 0xe0) /* the others have had their turn */
            check_string(bytes, 4);
        if (i % count == 0)
            check_string(&bytes[1], 3);
    }
}

/* ---- whole lines ---- */

static void set_bytes(json_t *object, const char *name, const void *data, size_t bytes)
{
    json_t *text = data == NULL ? json_null() : json_stringn(bytes > 0 ? data : "", bytes);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    json_t *coded = weir_json_bytes(data, bytes);
    char *coded_name = weir_asprintf("%s_base64", name);
    json_object_set(object, coded_name, json_object_get(coded, "base64"));
    json_decref(coded);
    free(coded_name);
}

static char *expected_line(const struct weir_held_message *message, const char *time)
{
    const struct weir_message_view *view = &message->view;
    char id[WEIR_ID_TEXT_BYTES];
    json_t *line = json_object();
    weir_id_format(&message->id, id);
    json_object_set_new(line, "id", json_string(id));
    set_bytes(line, "topic", message->topic, message->topic_bytes);
    set_bytes(line, "group", view->origin.group, view->origin.group_bytes);
    set_bytes(line, "key", view->key, view->key_bytes);
    json_object_set_new(line, "attempt", json_integer(view->origin.attempt));
    if (view->origin.death > 0)
        json_object_set_new(line, "death", json_integer(view->origin.death));
    set_bytes(line, "result", view->payload, view->payload_bytes);
    if (view->header_count > 0) {
        json_t *headers = json_object();
        for (uint32_t i = 0; i < view->header_count; i++)
            json_object_setn_new(
                headers, view->headers[i].name, view->headers[i].name_bytes,
                weir_json_bytes(view->headers[i].value, view->headers[i].value_bytes));
        json_object_set_new(line, "headers", headers);
    }
    if (!message->readable)
        json_object_set_new(line, "unreadable", json_true());
    json_object_set_new(line, "time", json_string(time));
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    return text;
}

static void check_line(const struct weir_held_message *message)
{
    static const char time[] = "2023-11-14T22:13:20.003Z";
    struct weir_json_text lines = {0};
    char *expected = expected_line(message, time);
    weir_result_line(&lines, message, time);
    assert_int_equal(lines.bytes, strlen(expected) + 1);
    assert_memory_equal(lines.data, expected, lines.bytes - 1);
    assert_int_equal(lines.data[lines.bytes - 1], '\n');
    free(expected);
    free(lines.data);
}

static struct weir_header_pair pair(const char *name, const char *value, uint32_t value_bytes)
{
    return (struct weir_header_pair){name, (uint32_t)strlen(name), value, value_bytes};
}

static void test_lines(void **state)
{
    struct weir_held_message *message = weir_zalloc(1, sizeof *message);
    struct weir_message_view *view = &message->view;
    (void)state;
    message->topic = "user.signed_up";
    message->topic_bytes = 14;
    message->readable = true;
    message->id = (struct weir_id){1600000000000, 7, UINT64_MAX};
    view->payload = (const uint8_t *)"direct";
    view->payload_bytes = 6;
    check_line(message);

    view->origin = (struct weir_origin){
        .group = "email", .group_bytes = 5, .attempt = UINT32_MAX, .death = 10};
    view->key = "anna \"the\" \x01";
    view->key_bytes = 12;
    view->headers[0] = pair("traceparent", "00-ab", 5);
    view->header_count = 1;
    check_line(message);

    view->headers[1] = pair("odd", "\xff\0", 2);
    view->headers[2] = pair("none", "", 0);
    view->headers[3] = pair("traceparent", "the last one", 12);
    view->headers[4] = pair("quo\"te\\", "\xe2\x82\xac", 3);
    view->headers[5] = pair("odd", "even", 4);
    view->header_count = 6;
    view->payload = (const uint8_t *)"\xff\xfe\0x";
    for (view->payload_bytes = 0; view->payload_bytes <= 4; view->payload_bytes++)
        check_line(message);
    view->key = "\xe9";
    view->key_bytes = 1;
    message->readable = false;
    check_line(message);
    free(message);
}

/* One byte after another, so that the buffer grows at every place. */
static void test_long_payloads(void **state)
{
    struct weir_held_message *message = weir_zalloc(1, sizeof *message);
    uint8_t *payload = weir_alloc(40000);
    (void)state;
    for (size_t i = 0; i < 40000; i++)
        payload[i] = (uint8_t)(i % 7 == 0 ? i % 0x20 : i % 11 == 0 ? '"' : 'a' + i % 26);
    message->topic = "t";
    message->topic_bytes = 1;
    message->view.payload = payload;
    for (size_t bytes = 0; bytes < 40000; bytes += 1 + bytes / 3) {
        message->view.payload_bytes = bytes;
        check_line(message);
    }
    payload[39999] = 0xff;
    message->view.payload_bytes = 40000;
    check_line(message);
    free(payload);
    free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_every_two_bytes),
        cmocka_unit_test(test_bytes_at_the_edges),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_payloads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
