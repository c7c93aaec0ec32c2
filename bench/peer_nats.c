/* NATS JetStream: asynchronous publishing with a window of acknowledgements, and a pull consumer
 * that acks each message. */
#include "work.h"

#include <inttypes.h>
#include <nats/nats.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "WORK"
#define SUBJECT "work"
#define CONSUMER "worker"

enum {
    FETCH_MAX = 500,           /* messages that one pull asks for */
    FETCH_TIMEOUT_MS = 300000, /* how long it waits for them */
    STALL_MS = 300000,         /* how long a full window may stay full */
};

struct nats {
    natsConnection *producer, *consumer;
    jsCtx *publish, *pull;
    natsSubscription *subscription;
    atomic_uint_fast64_t refused;
};

static void must(natsStatus status, const char *what)
{
    if (status != NATS_OK)
        work_fail("%s: %s: %s", what, natsStatus_GetText(status), nats_GetLastError(NULL));
}

static void publish_failed(jsCtx *js, jsPubAckErr *error, void *state)
{
    struct nats *nats = state;

    (void)js;
    if (atomic_fetch_add(&nats->refused, 1) == 0)
        fprintf(stderr, "nats: publish: %s\n", error->ErrText);
}

static natsConnection *new_connection(uint16_t port)
{
    natsConnection *connection = NULL;
    natsOptions *options = NULL;
    char url[64];

    snprintf(url, sizeof url, "nats://127.0.0.1:%u", port);
    must(natsOptions_Create(&options), "options");
    must(natsOptions_SetURL(options, url), "address");
    must(natsOptions_SetAllowReconnect(options, false), "options");
    must(natsConnection_Connect(&connection, options), "connect");
    natsOptions_Destroy(options);
    return connection;
}

static void *open_nats(const struct work *work)
{
    struct nats *nats = work_alloc(sizeof *nats);
    jsOptions options;
    jsStreamConfig stream;
    jsSubOptions subscribe;
    const char *subjects[] = {SUBJECT};

    nats->producer = new_connection(work->port);
    nats->consumer = new_connection(work->port);

    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = work->window;
    options.PublishAsync.StallWait = STALL_MS;
    options.PublishAsync.ErrHandler = publish_failed;
    options.PublishAsync.ErrHandlerClosure = nats;
    must(natsConnection_JetStream(&nats->publish, nats->producer, &options), "JetStream");
    must(natsConnection_JetStream(&nats->pull, nats->consumer, NULL), "JetStream");

    jsStreamConfig_Init(&stream);
    stream.Name = STREAM;
    stream.Subjects = subjects;
    stream.SubjectsLen = 1;
    stream.Storage = js_FileStorage;
    stream.Retention = js_WorkQueuePolicy; /* what is acked is gone, as with a queue */
    must(js_AddStream(NULL, nats->pull, &stream, NULL, NULL), "stream");

    jsSubOptions_Init(&subscribe);
    subscribe.Stream = STREAM;
    subscribe.Config.AckPolicy = js_AckExplicit;
    subscribe.Config.MaxAckPending = 2 * (int64_t)FETCH_MAX;
    must(js_PullSubscribe(&nats->subscription, nats->pull, SUBJECT, CONSUMER, NULL, &subscribe,
                          NULL),
         "consumer");
    return nats;
}

static void produce(void *state, struct work *work)
{
    struct nats *nats = state;
    jsPubOptions until_all;

    for (uint64_t sent = 0; sent < work->messages; sent++)
        must(js_PublishAsync(nats->publish, SUBJECT, work_message(work, sent),
                             (int)work->size_bytes, NULL),
             "publish");
    jsPubOptions_Init(&until_all);
    until_all.MaxWait = STALL_MS;
    must(js_PublishAsyncComplete(nats->publish, &until_all), "publish");
    if (atomic_load(&nats->refused) > 0)
        work_fail("publish: %" PRIuFAST64 " messages were refused", atomic_load(&nats->refused));
}

static void consume(void *state, struct work *work)
{
    struct nats *nats = state;

    while (work->taken < work->messages) {
        uint64_t left = work->messages - work->taken;
        natsMsgList list;

        must(natsSubscription_Fetch(&list, nats->subscription,
                                    left < FETCH_MAX ? (int)left : FETCH_MAX, FETCH_TIMEOUT_MS,
                                    NULL),
             "fetch");
        for (int i = 0; i < list.Count; i++) {
            natsMsg *message = list.Msgs[i];

            work_take(work, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message));
            /* Acks have no answer. Only the last one asks for it, and comes behind all others. */
            if (work->taken < work->messages)
                must(natsMsg_Ack(message, NULL), "ack");
            else
                must(natsMsg_AckSync(message, NULL, NULL), "the last ack");
        }
        natsMsgList_Destroy(&list);
    }
}

int main(int argc, char **argv)
{
    static const struct work_client client = {
        .peer = "nats", .window = 4000, .open = open_nats, .produce = produce, .consume = consume};

    return work_main(argc, argv, &client);
}
