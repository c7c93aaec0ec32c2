/* The producer of the public API against a holder over TCP. */
#include "holder_fixture.h"

#include <base/alloc.h>
#include <base/limits.h>
#include <base/message_id.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

#include <cmocka.h>

#define ANY_PORT "tcp://127.0.0.1:*"

struct world {
    struct holder *holder;
    weir_producer_options_t *options;
    weir_producer_t *producer;
    struct weir_error error;
};

static int setup(void **state)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    world->holder = holder_new(ANY_PORT);
    world->options = weir_producer_options_new(holder_endpoint(world->holder));
    weir_producer_options_set_timeout_ms(world->options, 20000);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_producer_destroy(&world->producer);
    weir_producer_options_destroy(&world->options);
    if (world->holder != NULL)
        holder_destroy(&world->holder);
    free(world);
    return 0;
}

static void start(struct world *world)
{
    world->producer = weir_producer_new(world->options, &world->error);
    if (world->producer == NULL)
        fail_msg("%s", world->error.text);
}

static void assert_held(struct world *world, uint32_t at, const char *expected)
{
    char *held = holder_message(world->holder, at);
    assert_string_equal(held, expected);
    free(held);
}

static void test_send(void **state)
{
    struct world *world = *state;
    struct weir_receipt receipt;
    struct weir_id id;
    start(world);
    weir_message_t *message = weir_message_new("user.signed_up", "anna", 4);
    weir_message_set_key(message, "k1");
    assert_int_equal(weir_producer_send(world->producer, message, &receipt, &world->error), 0);
    assert_held(world, 0, "user.signed_up/k1/anna");
    assert_int_equal(receipt.durability, WEIR_FSYNC_ALWAYS);
    assert_false(receipt.duplicate);
    assert_int_equal(weir_id_parse(receipt.id_text, &id), 0);
    assert_int_equal(id.tag, 9);
    assert_int_equal(id.sequence, 1);
    assert_int_equal(id.time_ms, receipt.time_ms);
    struct weir_id from_bytes;
    weir_id_decode(receipt.id, &from_bytes);
    assert_int_equal(from_bytes.sequence, 1);

    weir_message_clear(message);
    weir_message_set_payload(message, "bert", 4);
    assert_int_equal(weir_producer_send(world->producer, message, &receipt, &world->error), 0);
    assert_held(world, 1, "user.signed_up//bert");
    assert_int_equal(weir_id_parse(receipt.id_text, &id), 0);
    assert_int_equal(id.sequence, 2);
    weir_message_destroy(&message);
    assert_null(message);
    assert_int_equal(weir_producer_outstanding(world->producer), 0);
    assert_int_equal(weir_producer_link(world->producer), WEIR_LINK_UP);
}

/* A payload that is lent is read by each send, while it lasts, and by nothing else. */
static void test_lent_payload(void **state)
{
    struct world *world = *state;
    start(world);
    char *lent = weir_strdup("anna");
    weir_message_t *message = weir_message_new("t", "its own", 7);
    weir_message_lend_payload(message, lent, 4);
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     0);
    memcpy(lent, "bert", 4);
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     0);
    memset(lent, 'x', 4);
    weir_message_set_payload(message, "clara", 5);
    free(lent);
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     0);
    weir_message_lend_payload(message, "never", 5);
    weir_message_clear(message);
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     0);
    weir_message_lend_payload(message, NULL, 0);
    assert_int_equal(weir_producer_send(world->producer, message, NULL, &world->error), 0);
    const char *expected[] = {"t//anna", "t//bert", "t//clara", "t//", "t//"};
    for (uint32_t i = 0; i < 5; i++)
        assert_held(world, i, expected[i]);
    weir_message_destroy(&message);
}

struct confirmations {
    uint64_t last_sequence;
    uint32_t count, in_order, failed;
    pthread_t thread;
};

static void on_confirm(void *arg, const struct weir_receipt *receipt,
                       const struct weir_error *error)
{
    struct confirmations *confirmations = arg;
    confirmations->thread = pthread_self();
    confirmations->count++;
    if (error != NULL) {
        confirmations->failed++;
        return;
    }
    struct weir_id id;
    weir_id_decode(receipt->id, &id);
    confirmations->in_order += id.sequence == confirmations->last_sequence + 1;
    confirmations->last_sequence = id.sequence;
}

/* A batch that is held for others leaves by itself; one that somebody waits for is not held. */
static void test_a_held_batch_leaves(void **state)
{
    struct world *world = *state;
    struct confirmations confirmations = {0};
    struct weir_receipt receipt;
    struct weir_id id;
    start(world);
    weir_message_t *message = weir_message_new("a", "x", 1);
    for (uint32_t i = 0; i < 20 * WEIR_PACE_MESSAGES; i++) {
        assert_int_equal(weir_producer_send_async(world->producer, message, on_confirm,
                                                  &confirmations, &world->error),
                         0);
        if (i % WEIR_PACE_MESSAGES < WEIR_PACE_MESSAGES - 10) /* they come closely … */
            continue;
        while (confirmations.count < i + 1) { /* … and then one by one */
            struct pollfd item = {.fd = weir_producer_fd(world->producer), .events = POLLIN};
            assert_int_equal(poll(&item, 1, 20000), 1);
            weir_producer_dispatch(world->producer);
        }
    }
    assert_int_equal(confirmations.in_order, 20 * WEIR_PACE_MESSAGES);
    for (uint32_t i = 0; i < WEIR_PACE_MESSAGES; i++)
        weir_producer_send_async(world->producer, message, NULL, NULL, &world->error);
    assert_int_equal(weir_producer_send(world->producer, message, &receipt, &world->error), 0);
    weir_id_decode(receipt.id, &id);
    assert_int_equal(id.sequence, 21 * WEIR_PACE_MESSAGES + 1);
    weir_message_destroy(&message);
}

/* Order over three topics and small batches; every callback once, on the flushing thread. */
static void test_async_order(void **state)
{
    struct world *world = *state;
    struct confirmations confirmations = {0};
    const char *topics[] = {"a", "b", "c.d"};
    weir_producer_options_set_batch(world->options, 7, 1 << 20);
    weir_producer_options_set_queue(world->options, 50, 1 << 20);
    start(world);
    weir_message_t *message = weir_message_new("a", NULL, 0);
    for (uint32_t i = 0; i < 2000; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%u", i);
        weir_message_set_topic(message, topics[i / 5 % 3]);
        weir_message_set_payload(message, payload, strlen(payload));
        assert_int_equal(weir_producer_send_async(world->producer, message, on_confirm,
                                                  &confirmations, &world->error),
                         0);
    }
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(confirmations.count, 2000);
    assert_int_equal(confirmations.in_order, 2000);
    assert_true(pthread_equal(confirmations.thread, pthread_self()));
    for (uint32_t i = 0; i < 2000; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "%s//%u", topics[i / 5 % 3], i);
        assert_held(world, i, expected);
    }
    assert_true(holder_batch_count(world->holder) >= 400);
    weir_message_destroy(&message);
}

static void send_number(struct world *world, uint32_t number, struct confirmations *confirmations)
{
    char payload[16];
    snprintf(payload, sizeof payload, "%u", number);
    weir_message_t *message = weir_message_new("t", payload, strlen(payload));
    assert_int_equal(weir_producer_send_async(world->producer, message,
                                              confirmations ? on_confirm : NULL, confirmations,
                                              &world->error),
                     0);
    weir_message_destroy(&message);
}

/* One alone goes at once; while two are on their way the rest gathers in one batch. */
static void test_batching_rule(void **state)
{
    struct world *world = *state;
    start(world);
    send_number(world, 0, NULL);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(holder_batch_count(world->holder), 1);
    holder_hold_back(world->holder, true);
    send_number(world, 1, NULL);
    holder_await_waiting(world->holder, 1);
    for (uint32_t i = 2; i < 1000; i++)
        send_number(world, i, NULL);
    holder_hold_back(world->holder, false);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(holder_message_count(world->holder), 1000);
    /* The first, the one that was held back, one that left while that was the only one, and the
     * rest, of which a second may have left before the rest had come. */
    assert_true(holder_batch_count(world->holder) <= 5);
}

static void test_foreign_loop(void **state)
{
    struct world *world = *state;
    struct confirmations confirmations = {0};
    start(world);
    struct pollfd item = {.fd = weir_producer_fd(world->producer), .events = POLLIN};
    assert_int_equal(poll(&item, 1, 0), 0);
    assert_int_equal(weir_producer_dispatch(world->producer), 0);
    for (uint32_t i = 0; i < 300; i++)
        send_number(world, i, &confirmations);
    while (confirmations.count < 300) {
        assert_int_equal(poll(&item, 1, 20000), 1);
        weir_producer_dispatch(world->producer);
    }
    assert_int_equal(poll(&item, 1, 0), 0);
    assert_int_equal(confirmations.in_order, 300);
}

static void test_full(void **state)
{
    struct world *world = *state;
    struct confirmations confirmations = {0};
    weir_producer_options_set_queue(world->options, 3, 1 << 20);
    weir_producer_options_set_when_full(world->options, WEIR_WHEN_FULL_FAIL);
    holder_hold_back(world->holder, true);
    start(world);
    for (uint32_t i = 0; i < 3; i++)
        send_number(world, i, &confirmations);
    weir_message_t *message = weir_message_new("t", "x", 1);
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     WEIR_EFULL);
    assert_non_null(strstr(world->error.text, "full with 3 messages"));
    assert_int_equal(weir_producer_outstanding(world->producer), 3);
    assert_int_equal(weir_producer_flush(world->producer, 0, &world->error), WEIR_ETIMEDOUT);
    holder_hold_back(world->holder, false);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(confirmations.count, 3);
    assert_int_equal(weir_producer_send(world->producer, message, NULL, &world->error), 0);
    weir_message_destroy(&message);
}

static void test_times_out(void **state)
{
    struct world *world = *state;
    weir_producer_options_set_timeout_ms(world->options, 20);
    holder_hold_back(world->holder, true);
    start(world);
    weir_message_t *message = weir_message_new("t", "late", 4);
    assert_int_equal(weir_producer_send(world->producer, message, NULL, &world->error),
                     WEIR_ETIMEDOUT);
    assert_non_null(strstr(world->error.text, "may yet be accepted"));
    holder_hold_back(world->holder, false);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_held(world, 0, "t//late");
    weir_message_destroy(&message);
}

static void assert_refused(struct world *world, const weir_message_t *message, int code,
                           const char *named)
{
    world->error = (struct weir_error){0};
    assert_int_equal(weir_producer_send_async(world->producer, message, NULL, NULL, &world->error),
                     code);
    if (strstr(world->error.text, named) == NULL)
        fail_msg("\"%s\" does not name %s", world->error.text, named);
}

static void test_bad_messages(void **state)
{
    struct world *world = *state;
    start(world);
    char *big = weir_zalloc(9, 1 << 20);
    memset(big, 'k', 9u << 20);
    weir_message_t *message = weir_message_new("no topic", "x", 1);
    assert_refused(world, message, WEIR_EINVAL, "\"no topic\"");
    weir_message_set_topic(message, NULL);
    assert_refused(world, message, WEIR_EINVAL, "no topic");
    weir_message_set_topic(message, "t");
    weir_message_set_payload(message, big, 9u << 20);
    assert_refused(world, message, WEIR_ELIMIT, "8388608");
    weir_message_set_payload(message, "x", 1);
    big[1025] = '\0';
    weir_message_set_key(message, big);
    assert_refused(world, message, WEIR_ELIMIT, "1024");
    weir_message_set_key(message, NULL);
    weir_message_set_idempotency_key(message, big);
    assert_refused(world, message, WEIR_ELIMIT, "1024");
    weir_message_set_idempotency_key(message, "");
    weir_message_set_header(message, "", "value");
    assert_refused(world, message, WEIR_EINVAL, "header");
    weir_message_clear(message);
    for (uint32_t i = 0; i < 65; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%u", i);
        weir_message_set_header(message, name, "v");
    }
    assert_refused(world, message, WEIR_ELIMIT, "64");
    weir_message_set_header(message, "h64", NULL);
    weir_message_set_delay_ms(message, -1);
    assert_refused(world, message, WEIR_EINVAL, "-1");
    weir_message_set_delay_ms(message, 0);
    assert_int_equal(weir_producer_send(world->producer, message, NULL, &world->error), 0);
    assert_int_equal(holder_message_count(world->holder), 1);
    weir_message_destroy(&message);
    free(big);
}

static void test_bad_options(void **state)
{
    struct world *world = *state;
    weir_producer_options_t *bad = weir_producer_options_new("nonsense");
    assert_null(weir_producer_new(bad, &world->error));
    assert_int_equal(world->error.code, WEIR_EINVAL);
    assert_non_null(strstr(world->error.text, "nonsense"));
    weir_producer_options_destroy(&bad);
    weir_producer_options_set_window(world->options, 17);
    assert_null(weir_producer_new(world->options, &world->error));
    assert_non_null(strstr(world->error.text, "1 … 16"));
}

/* The holder goes away and comes back on the same endpoint: nothing is lost, nothing doubled by
 * this producer, and the order stands. */
static void test_holder_returns(void **state)
{
    struct world *world = *state;
    start(world);
    weir_message_t *message = weir_message_new("t", "1", 1);
    assert_int_equal(weir_producer_send(world->producer, message, NULL, &world->error), 0);
    char *endpoint = weir_strdup(holder_endpoint(world->holder));
    holder_destroy(&world->holder);
    for (uint32_t i = 0; i < 100; i++)
        send_number(world, i, NULL);
    assert_int_equal(weir_producer_flush(world->producer, 0, &world->error), WEIR_ETIMEDOUT);
    assert_int_equal(weir_producer_outstanding(world->producer), 100);
    world->holder = holder_new(endpoint);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(holder_message_count(world->holder), 100);
    assert_held(world, 0, "t//0");
    assert_held(world, 99, "t//99");
    weir_message_destroy(&message);
    free(endpoint);
}

struct chain {
    struct world *world;
    uint32_t left, full;
};

static void send_next(void *arg, const struct weir_receipt *receipt, const struct weir_error *error)
{
    struct chain *chain = arg;
    assert_non_null(receipt);
    assert_null(error);
    /* Two for one: the second finds the queue full at last, and says so at once. */
    for (uint32_t i = 0; i < 2 && chain->left > 0; i++) {
        weir_message_t *message = weir_message_new("t", "next", 4);
        int status = weir_producer_send_async(chain->world->producer, message, send_next, chain,
                                              &chain->world->error);
        assert_true(status == 0 || status == WEIR_EFULL);
        chain->left -= status == 0;
        chain->full += status == WEIR_EFULL;
        weir_message_destroy(&message);
    }
}

/* Callbacks that send: a chain goes on, and what is full neither waits nor recurses. */
static void test_callbacks_send(void **state)
{
    struct world *world = *state;
    struct chain chain = {.world = world, .left = 500};
    weir_producer_options_set_queue(world->options, 4, 1 << 20);
    start(world);
    weir_message_t *message = weir_message_new("t", "first", 5);
    assert_int_equal(
        weir_producer_send_async(world->producer, message, send_next, &chain, &world->error), 0);
    while (chain.left > 0 || weir_producer_outstanding(world->producer) > 0)
        assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(chain.left, 0);
    assert_true(chain.full > 0);
    assert_int_equal(holder_message_count(world->holder), 501);
    weir_message_destroy(&message);
}

/* A holder whose disk is full says BUSY; when there is room, all goes on, in order. */
static void test_holder_full(void **state)
{
    struct world *world = *state;
    weir_producer_options_set_batch(world->options, 2, 1 << 20);
    holder_fill(world->holder, true);
    start(world);
    for (uint32_t i = 0; i < 20; i++)
        send_number(world, i, NULL);
    while (weir_producer_link(world->producer) != WEIR_LINK_BUSY)
        assert_int_equal(weir_producer_flush(world->producer, 1, &world->error), WEIR_ETIMEDOUT);
    assert_int_equal(weir_producer_flush(world->producer, 0, &world->error), WEIR_ETIMEDOUT);
    assert_non_null(strstr(world->error.text, "takes nothing now"));
    /* Of the batches in flight some are turned away for those ahead of them: the reason comes with
     * the first, again and again. */
    struct weir_error why = {0};
    while (!weir_producer_turned_away(world->producer, &why) ||
           !strstr(why.text, "the test's disk is full"))
        assert_int_equal(weir_producer_flush(world->producer, 1, &world->error), WEIR_ETIMEDOUT);
    assert_int_equal(why.code, WEIR_EBUSY);
    assert_int_equal(holder_message_count(world->holder), 0);
    holder_fill(world->holder, false);
    assert_int_equal(weir_producer_flush(world->producer, 20000, &world->error), 0);
    assert_int_equal(holder_message_count(world->holder), 20);
    for (uint32_t i = 0; i < 20; i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "t//%u", i);
        assert_held(world, i, expected);
    }
    assert_int_equal(weir_producer_link(world->producer), WEIR_LINK_UP);
    assert_false(weir_producer_turned_away(world->producer, NULL));
}

struct sender {
    weir_producer_t *producer;
    uint32_t accepted;
};

static void *send_many(void *arg)
{
    struct sender *sender = arg;
    weir_message_t *message = weir_message_new("t", "x", 1);
    for (uint32_t i = 0; i < 50; i++)
        sender->accepted += weir_producer_send(sender->producer, message, NULL, NULL) == 0;
    weir_message_destroy(&message);
    return NULL;
}

static void test_many_threads(void **state)
{
    struct world *world = *state;
    struct sender senders[4];
    pthread_t threads[4];
    start(world);
    for (uint32_t i = 0; i < 4; i++) {
        senders[i] = (struct sender){world->producer, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &senders[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(senders[i].accepted, 50);
    }
    assert_int_equal(holder_message_count(world->holder), 200);
}

/* Ending a producer that holds unconfirmed messages neither hangs nor calls back. */
static void test_destroy_unconfirmed(void **state)
{
    struct world *world = *state;
    struct confirmations confirmations = {0};
    holder_hold_back(world->holder, true);
    start(world);
    for (uint32_t i = 0; i < 10; i++)
        send_number(world, i, &confirmations);
    weir_producer_destroy(&world->producer);
    assert_null(world->producer);
    assert_int_equal(confirmations.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_send, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_held_batch_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lent_payload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_async_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batching_rule, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_callbacks_send, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holder_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holder_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_unconfirmed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
