/* RabbitMQ: a quorum queue; publisher confirms with a window; a consumer with prefetch that acks
 * many messages at once. */
#include "work.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#define QUEUE "work"
#define CONSUMER "worker"

enum {
    CHANNEL = 1,
    FRAME_BYTES_MAX = 131072,
    ACKS_A_WINDOW = 4, /* an ack for each quarter of what may be taken without one */
    PERSISTENT = 2,
};

struct rabbitmq {
    amqp_connection_state_t producer, consumer;
    uint64_t sent;      /* the last delivery tag of the producer's channel, which counts from 1 */
    uint64_t confirmed; /* up to this one, without a gap */
    bool *beyond; /* those beyond it that are confirmed, too: by delivery tag, modulo the window */
};

static void must(amqp_rpc_reply_t reply, const char *what)
{
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        work_fail("%s: %s", what, amqp_error_string2(reply.library_error));
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
        work_fail("%s: the server says %s", what, amqp_method_name(reply.reply.id));
}

static void must_status(int status, const char *what)
{
    if (status != AMQP_STATUS_OK)
        work_fail("%s: %s", what, amqp_error_string2(status));
}

static amqp_connection_state_t new_connection(uint16_t port)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = connection ? amqp_tcp_socket_new(connection) : NULL;

    if (socket == NULL)
        work_fail("no memory");
    must_status(amqp_socket_open(socket, "127.0.0.1", port), "connect");
    must(amqp_login(connection, "/", 0, FRAME_BYTES_MAX, 0, AMQP_SASL_METHOD_PLAIN, "guest",
                    "guest"),
         "login");
    amqp_channel_open(connection, CHANNEL);
    must(amqp_get_rpc_reply(connection), "channel");
    return connection;
}

static void *open_rabbitmq(const struct work *work)
{
    struct rabbitmq *rabbitmq = work_alloc(sizeof *rabbitmq);
    amqp_bytes_t queue = amqp_cstring_bytes(QUEUE);
    amqp_table_entry_t quorum = {
        .key = amqp_cstring_bytes("x-queue-type"),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")}};
    amqp_table_t arguments = {.num_entries = 1, .entries = &quorum};

    rabbitmq->beyond = work_alloc(work->window * sizeof(bool));
    rabbitmq->producer = new_connection(work->port);
    rabbitmq->consumer = new_connection(work->port);

    amqp_queue_declare(rabbitmq->producer, CHANNEL, queue, 0, 1, 0, 0, arguments);
    must(amqp_get_rpc_reply(rabbitmq->producer), "queue");
    amqp_confirm_select(rabbitmq->producer, CHANNEL);
    must(amqp_get_rpc_reply(rabbitmq->producer), "confirms");

    amqp_basic_qos(rabbitmq->consumer, CHANNEL, 0, (uint16_t)work->window, 0);
    must(amqp_get_rpc_reply(rabbitmq->consumer), "prefetch");
    return rabbitmq;
}

/* Waits for one confirmation, which may be of many messages and need not come in their order. */
static void take_confirm(struct rabbitmq *rabbitmq, uint32_t window)
{
    amqp_frame_t frame;

    amqp_maybe_release_buffers(rabbitmq->producer);
    must_status(amqp_simple_wait_frame(rabbitmq->producer, &frame), "confirm");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        work_fail("confirm: the server sent %s", frame.frame_type == AMQP_FRAME_METHOD
                                                     ? amqp_method_name(frame.payload.method.id)
                                                     : "what is no method");
    const amqp_basic_ack_t *ack = frame.payload.method.decoded;
    if (ack->delivery_tag <= rabbitmq->confirmed || ack->delivery_tag > rabbitmq->sent)
        work_fail("confirm: of message %" PRIu64 ", when %" PRIu64 " were sent and %" PRIu64
                  " confirmed",
                  ack->delivery_tag, rabbitmq->sent, rabbitmq->confirmed);
    for (uint64_t tag = ack->multiple ? rabbitmq->confirmed + 1 : ack->delivery_tag;
         tag <= ack->delivery_tag; tag++)
        rabbitmq->beyond[tag % window] = true;
    for (; rabbitmq->beyond[(rabbitmq->confirmed + 1) % window]; rabbitmq->confirmed++)
        rabbitmq->beyond[(rabbitmq->confirmed + 1) % window] = false;
}

static void produce(void *state, struct work *work)
{
    struct rabbitmq *rabbitmq = state;
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
                                          .delivery_mode = PERSISTENT};
    const uint64_t before = rabbitmq->sent;

    while (rabbitmq->confirmed - before < work->messages) {
        for (; rabbitmq->sent - before < work->messages &&
               rabbitmq->sent - rabbitmq->confirmed < work->window;
             rabbitmq->sent++) {
            amqp_bytes_t body = {
                .len = work->size_bytes,
                .bytes = (char *)(uintptr_t)work_message(work, rabbitmq->sent - before)};

            must_status(amqp_basic_publish(rabbitmq->producer, CHANNEL, amqp_empty_bytes,
                                           amqp_cstring_bytes(QUEUE), 0, 0, &properties, body),
                        "publish");
        }
        uint64_t until = before + work_confirm_until(work, rabbitmq->sent - before);
        while (rabbitmq->confirmed < until)
            take_confirm(rabbitmq, work->window);
    }
}

static void consume(void *state, struct work *work)
{
    amqp_connection_state_t connection = ((struct rabbitmq *)state)->consumer;
    uint64_t acked = 0, together = work->window / ACKS_A_WINDOW;

    amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes(QUEUE), amqp_cstring_bytes(CONSUMER),
                       0, 0, 0, amqp_empty_table);
    must(amqp_get_rpc_reply(connection), "consume");
    while (work->taken < work->messages) {
        amqp_envelope_t envelope;

        amqp_maybe_release_buffers(connection);
        must(amqp_consume_message(connection, &envelope, NULL, 0), "delivery");
        work_take(work, envelope.message.body.bytes, envelope.message.body.len);
        if (work->taken - acked >= together || work->taken == work->messages) {
            must_status(amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 1), "ack");
            acked = work->taken;
        }
        amqp_destroy_envelope(&envelope);
    }
    /* Acks have no answer. The end of the consumer has one, and passes through the queue's log
     * behind them. */
    amqp_basic_cancel(connection, CHANNEL, amqp_cstring_bytes(CONSUMER));
    must(amqp_get_rpc_reply(connection), "the end of the consumer");
}

int main(int argc, char **argv)
{
    static const struct work_client client = {.peer = "rabbitmq",
                                              .window = 2000,
                                              .open = open_rabbitmq,
                                              .produce = produce,
                                              .consume = consume};

    return work_main(argc, argv, &client);
}
