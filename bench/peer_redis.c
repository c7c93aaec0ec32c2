/* Redis Streams: XADD, many in one write, and one consumer of a group: XREADGROUP, then XACK. What
 * is acked is trimmed, as a queue does. */
#include "work.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM "work"
#define GROUP "workers"

enum {
    READ_MAX = 1000,   /* messages that one XREADGROUP asks for */
    BLOCK_MS = 300000, /* how long it waits for one */
    ID_BYTES = 48,     /* two numbers of 64 bits and a hyphen */
    ACK_ARGUMENTS = 3, /* before the ids */
};

struct redis {
    redisContext *producer, *consumer;
    char ids[READ_MAX][ID_BYTES]; /* of the messages that the last XREADGROUP brought */
    size_t ids_bytes[READ_MAX];
};

static redisContext *new_connection(uint16_t port)
{
    redisContext *context = redisConnect("127.0.0.1", port);

    if (context == NULL || context->err != 0)
        work_fail("no connection to port %u: %s", port, context ? context->errstr : "no memory");
    return context;
}

/* The answer to the oldest command that has none; sends those that wait first. Free it. */
static redisReply *take_reply(redisContext *context, const char *command, int type)
{
    void *answer = NULL;

    if (redisGetReply(context, &answer) != REDIS_OK)
        work_fail("%s: %s", command, context->errstr);
    redisReply *reply = answer;
    if (reply->type != type)
        work_fail("%s: an answer of type %d where %d was expected: %s", command, reply->type, type,
                  reply->str ? reply->str : "");
    return reply;
}

static void *open_redis(const struct work *work)
{
    struct redis *redis = work_alloc(sizeof *redis);

    redis->producer = new_connection(work->port);
    redis->consumer = new_connection(work->port);
    redisAppendCommand(redis->consumer, "XGROUP CREATE " STREAM " " GROUP " $ MKSTREAM");
    freeReplyObject(take_reply(redis->consumer, "XGROUP", REDIS_REPLY_STATUS));
    return redis;
}

static void produce(void *state, struct work *work)
{
    redisContext *context = ((struct redis *)state)->producer;
    uint64_t sent = 0, confirmed = 0;

    while (confirmed < work->messages) {
        for (; sent < work->messages && sent - confirmed < work->window; sent++) {
            const char *arguments[] = {"XADD", STREAM, "*", "m", work_message(work, sent)};
            size_t bytes[] = {4, sizeof STREAM - 1, 1, 1, work->size_bytes};

            if (redisAppendCommandArgv(context, 5, arguments, bytes) != REDIS_OK)
                work_fail("XADD: %s", context->errstr);
        }
        for (uint64_t until = work_confirm_until(work, sent); confirmed < until; confirmed++)
            freeReplyObject(take_reply(context, "XADD", REDIS_REPLY_STRING));
    }
}

/* Takes the messages of an answer to XREADGROUP: [[stream, [[id, [field, message]], ...]]]. Returns
 * how many there are; their ids are in redis->ids. */
static size_t take_messages(struct redis *redis, struct work *work, const redisReply *reply)
{
    const redisReply *entries = reply->element[0]->element[1];

    if (entries->elements == 0 || entries->elements > READ_MAX)
        work_fail("XREADGROUP: %zu messages where 1 to %d were expected", entries->elements,
                  READ_MAX);
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *id = entries->element[i]->element[0];
        const redisReply *message = entries->element[i]->element[1]->element[1];

        if ((size_t)id->len >= ID_BYTES)
            work_fail("XREADGROUP: an id of %zu bytes", (size_t)id->len);
        memcpy(redis->ids[i], id->str, (size_t)id->len);
        redis->ids_bytes[i] = (size_t)id->len;
        work_take(work, message->str, (size_t)message->len);
    }
    return entries->elements;
}

static void append_ack(struct redis *redis, size_t count)
{
    const char *arguments[ACK_ARGUMENTS + READ_MAX] = {"XACK", STREAM, GROUP};
    size_t bytes[ACK_ARGUMENTS + READ_MAX] = {4, sizeof STREAM - 1, sizeof GROUP - 1};

    for (size_t i = 0; i < count; i++) {
        arguments[ACK_ARGUMENTS + i] = redis->ids[i];
        bytes[ACK_ARGUMENTS + i] = redis->ids_bytes[i];
    }
    if (redisAppendCommandArgv(redis->consumer, ACK_ARGUMENTS + (int)count, arguments, bytes) !=
            REDIS_OK ||
        redisAppendCommand(redis->consumer, "XTRIM " STREAM " MINID ~ %b", redis->ids[count - 1],
                           redis->ids_bytes[count - 1]) != REDIS_OK)
        work_fail("XACK: %s", redis->consumer->errstr);
}

static void take_ack(struct redis *redis, size_t count)
{
    redisReply *reply = take_reply(redis->consumer, "XACK", REDIS_REPLY_INTEGER);

    if (reply->integer != (long long)count)
        work_fail("XACK: %lld of %zu messages", reply->integer, count);
    freeReplyObject(reply);
    freeReplyObject(take_reply(redis->consumer, "XTRIM", REDIS_REPLY_INTEGER));
}

static void consume(void *state, struct work *work)
{
    struct redis *redis = state;
    size_t unacked = 0;

    while (work->taken < work->messages) {
        /* goes out together with the acks before it */
        redisAppendCommand(redis->consumer,
                           "XREADGROUP GROUP " GROUP " one COUNT %d BLOCK %d STREAMS " STREAM " >",
                           READ_MAX, BLOCK_MS);
        if (unacked > 0)
            take_ack(redis, unacked);
        redisReply *reply = take_reply(redis->consumer, "XREADGROUP", REDIS_REPLY_ARRAY);
        unacked = take_messages(redis, work, reply);
        freeReplyObject(reply);
        append_ack(redis, unacked);
    }
    take_ack(redis, unacked);
}

int main(int argc, char **argv)
{
    static const struct work_client client = {.peer = "redis",
                                              .window = 2000,
                                              .open = open_redis,
                                              .produce = produce,
                                              .consume = consume};

    return work_main(argc, argv, &client);
}
