/* Answers as JSON, and asking: nodes that answer, refuse, are silent, are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <admin_zmq.h>
#include <base/alloc.h>
#include <cmocka.h>
#include <msgpack_json.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wire/control.h>
#include <zmq.h>

static void expect_json(const void *data, size_t bytes, const char *expected)
{
    struct weir_error error;
    json_t *value;
    char *text;

    assert_int_equal(weir_msgpack_to_json(data, bytes, &value, &error), 0);
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void test_values(void **state)
{
    (void)state;
    expect_json("\xc0", 1, "null");
    expect_json("\xc3", 1, "true");
    expect_json("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9, "-9223372036854775808");
    expect_json("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", 9, "9223372036854775807");
    expect_json("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, "1.8446744073709552e19");
    expect_json("\xa2hi", 3, "\"hi\"");
    expect_json("\xa0", 1, "\"\"");
    expect_json("\xa2\xff\xfe", 3, "{\"base64\":\"//4=\"}");
    expect_json("\xc4\x02ok", 4, "\"ok\"");
    expect_json("\x82\xa1x\x93\x01\x02\x03\xa1y\x80", 10, "{\"x\":[1,2,3],\"y\":{}}");
}

static void expect_refused(const void *data, size_t bytes)
{
    struct weir_error error;
    json_t *value;

    assert_int_equal(weir_msgpack_to_json(data, bytes, &value, &error), WEIR_EPROTO);
    assert_null(value);
}

static void test_not_values(void **state)
{
    char deep[40];

    (void)state;
    expect_refused("", 0);
    expect_refused("\x92\x01", 2);             /* too short */
    expect_refused("\x01\x02", 2);             /* too long */
    expect_refused("\x81\x01\x02", 3);         /* a key that is no text */
    expect_refused("\xd4\x05\x00", 3);         /* an extension */
    expect_refused("\xdd\xff\xff\xff\xff", 5); /* four thousand million elements, and none there */
    memset(deep, '\x91', sizeof deep);
    deep[sizeof deep - 1] = '\xc0';
    expect_refused(deep, sizeof deep);
}

/* A node that answers so many requests, as told by `kind`. */
struct node {
    void *context;
    char endpoint[128];
    enum { ANSWERS, REFUSES, BABBLES, SILENT } kind;
    void *socket;
    pthread_t thread;
};

static void reply(void *socket, const struct weir_control *control, const char *body)
{
    struct weir_bytes frame = weir_control_encode(control);

    zmq_send(socket, frame.data, frame.size, body ? ZMQ_SNDMORE : 0);
    if (body != NULL)
        zmq_send(socket, body, strlen(body), 0);
    weir_bytes_drop(&frame);
}

static void *serve(void *arg)
{
    struct node *node = arg;
    struct weir_control control = {.verb = WEIR_VERB_ANSWER};
    char identity[256], request[512];
    int identity_bytes = zmq_recv(node->socket, identity, sizeof identity, 0);

    zmq_recv(node->socket, request, sizeof request, 0);
    if (node->kind == SILENT)
        return NULL;
    zmq_send(node->socket, identity, (size_t)identity_bytes, ZMQ_SNDMORE);
    zmq_send(node->socket, "", 0, 0); /* a probe */
    zmq_send(node->socket, identity, (size_t)identity_bytes, ZMQ_SNDMORE);
    if (node->kind == REFUSES) {
        control.verb = WEIR_VERB_ERROR;
        WEIR_SET(&control, code, CODE, weir_text_of("group"));
        WEIR_SET(&control, text, TEXT, weir_text_of("no such group"));
        reply(node->socket, &control, NULL);
    } else {
        reply(node->socket, &control, node->kind == ANSWERS ? "\x81\xa4node\xa1x" : "\xc1");
    }
    return NULL;
}

static void start_node(struct node *node, void *context, const char *directory, int kind)
{
    const int linger = 0;

    node->context = context;
    node->kind = kind;
    snprintf(node->endpoint, sizeof node->endpoint, "ipc://%s/%d", directory, kind);
    node->socket = zmq_socket(context, ZMQ_ROUTER);
    zmq_setsockopt(node->socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_bind(node->socket, node->endpoint), 0);
    assert_int_equal(pthread_create(&node->thread, NULL, serve, node), 0);
}

static void test_asking(void **state)
{
    char directory[] = "/tmp/weir-admin-XXXXXX";
    void *context = zmq_ctx_new();
    struct weir_admin *admin = weir_admin_new();
    struct weir_admin_call calls[5] = {0};
    struct node nodes[4];

    (void)state;
    assert_non_null(mkdtemp(directory));
    for (int kind = ANSWERS; kind <= SILENT; kind++) {
        start_node(&nodes[kind], context, directory, kind);
        calls[kind].endpoint = weir_strdup(nodes[kind].endpoint);
        calls[kind].request.verb = WEIR_VERB_STATS;
    }
    calls[4].endpoint = weir_asprintf("ipc://%s/nobody", directory);
    calls[4].request.verb = WEIR_VERB_STATS;
    weir_admin_ask(admin, calls, 5, 1500);
    assert_string_equal(json_string_value(json_object_get(calls[ANSWERS].answer, "node")), "x");
    assert_null(calls[REFUSES].answer);
    assert_int_equal(calls[REFUSES].error.code, WEIR_EREFUSED);
    assert_string_equal(calls[REFUSES].error.text, "no such group");
    assert_int_equal(calls[BABBLES].error.code, WEIR_EPROTO);
    assert_int_equal(calls[SILENT].error.code, WEIR_ETIMEDOUT);
    assert_int_equal(calls[4].error.code, WEIR_EUNREACHABLE);
    for (int i = 0; i < 5; i++)
        weir_admin_call_fini(&calls[i]);
    for (int kind = ANSWERS; kind <= SILENT; kind++) {
        pthread_join(nodes[kind].thread, NULL);
        zmq_close(nodes[kind].socket);
        unlink(nodes[kind].endpoint + strlen("ipc://"));
    }
    weir_admin_destroy(&admin);
    zmq_ctx_term(context);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_not_values),
        cmocka_unit_test(test_asking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
