/* libweir: send messages to a Weir pipeline, and work on them, from a C or C++ program.
 *
 *     cc service.c $(pkg-config --cflags --libs weir)
 *
 * A producer hands messages to a ventilator (or a sink) and learns when they are durable there. A
 * worker takes messages of one group and calls a function of yours for each. Both do their input
 * and output on a thread of their own, install no signal handlers (weir_worker_run excepted, which
 * says so), and never write to stdout.
 *
 * Opaque things are called weir_…_t and are made and ended by the library; the only structs you see
 * are struct weir_error and struct weir_receipt, which will not change. Functions that can fail
 * return 0 or a negative WEIR_E… code (weir/errors.h) and, where they take a struct weir_error,
 * fill it with one line for a person; it may be NULL. Text is UTF-8 and ends with NUL unless a
 * length is given. When memory runs out the process ends. */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/errors.h>
#include <weir/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0

/* The version of the library that is loaded, such as "0.1.0". A static string. */
WEIR_API const char *weir_version(void);

/* ---- Messages ---------------------------------------------------------------------------------
 *
 * What is to be sent. A message is filled with the setters below and may then be sent, changed and
 * sent again; sending copies it. Setters copy what they are given (but for a payload that is lent)
 * and never fail: the first thing that was wrong (a topic that is none, a key over its limit, …) is
 * told by the send. A message belongs to one thread at a time. */
typedef struct weir_message weir_message_t;

/* A new message with a topic and a payload; `payload` may be NULL when `bytes` is 0.
 * Topics are words of letters, digits, '_' and '-', joined by dots: "user.signed_up". */
WEIR_API weir_message_t *weir_message_new(const char *topic, const void *payload, size_t bytes);
/* Ends the message and sets *self to NULL. NULL and *self == NULL are fine. */
WEIR_API void weir_message_destroy(weir_message_t **self);
/* Make it as new: no key, no headers, no payload; the topic stays. */
WEIR_API void weir_message_clear(weir_message_t *self);

WEIR_API void weir_message_set_topic(weir_message_t *self, const char *topic);
/* At most 8 MiB for the whole message. */
WEIR_API void weir_message_set_payload(weir_message_t *self, const void *payload, size_t bytes);
/* The same without a copy: the memory stays the caller's. Each send takes what stands there then,
 * and is done with it when it returns. It must not be released before the message has another
 * payload, or none, or has been sent for the last time. */
WEIR_API void weir_message_lend_payload(weir_message_t *self, const void *payload, size_t bytes);
/* Groups with `order: key` handle messages of one key in turn. At most 1024 bytes; NULL or "":
 * none. */
WEIR_API void weir_message_set_key(weir_message_t *self, const char *key);
/* A message with an idempotency key that the ventilator has accepted already, within its window, is
 * confirmed as a duplicate, with the first one's id, and not taken in again. At most 1024 bytes;
 * NULL or "": none. */
WEIR_API void weir_message_set_idempotency_key(weir_message_t *self, const char *key);
/* Add a header, or replace the one of that name; a NULL value removes it. At most 64 headers, names
 * of 128 and values of 8192 bytes, 64 KiB together. "traceparent" is handed on to results. */
WEIR_API void weir_message_set_header(weir_message_t *self, const char *name, const char *value);
/* Hand it out not before this many ms after its acceptance; 0: at once. */
WEIR_API void weir_message_set_delay_ms(weir_message_t *self, int64_t delay_ms);
/* Not handled within this many ms after its acceptance, it becomes a dead letter; 0: never. */
WEIR_API void weir_message_set_ttl_ms(weir_message_t *self, int64_t ttl_ms);

/* ---- Producer ---------------------------------------------------------------------------------
 *
 * Messages leave in the order in which they were given to the producer, in batches: a batch leaves
 * when fewer than two await their confirmation, or when it is full. So one message alone goes at
 * once, and a flood goes in large batches. Messages that come closely one after another, 64 within
 * 10 ms, are gathered for up to 10 ms, unless somebody waits: in weir_producer_send, in
 * weir_producer_flush, for room, or, as is taken from it that no message comes for 2 ms, for a
 * confirmation. A batch holds messages of one topic, delay and ttl.
 *
 * A confirmed message is durable at the ventilator. What is not confirmed is kept and sent again,
 * under its number and in its order, over lost connections and restarts of the ventilator, for as
 * long as the producer lives; the ventilator recognises repeats. When this process ends, what was
 * not confirmed may have been accepted, or not: an idempotency key makes sending it again safe.
 *
 * All functions of a producer but _destroy may be called from any thread. */
typedef struct weir_producer weir_producer_t;
typedef struct weir_producer_options weir_producer_options_t;

/* What a send does while the producer holds as much as it may. */
enum weir_when_full {
    WEIR_WHEN_FULL_BLOCK, /* wait for room, at most the timeout */
    WEIR_WHEN_FULL_FAIL,  /* return WEIR_EFULL at once */
};

/* What the other side is doing. */
enum weir_link {
    WEIR_LINK_DOWN, /* no connection: the ventilator is away, or was not there yet */
    WEIR_LINK_UP,
    WEIR_LINK_BUSY, /* it answers that it takes nothing now, such as with a full spool */
};

/* The endpoint of a ventilator's or sink's `submit`, such as "tcp://127.0.0.1:7400". */
WEIR_API weir_producer_options_t *weir_producer_options_new(const char *endpoint);
WEIR_API void weir_producer_options_destroy(weir_producer_options_t **self);
/* Batches that may await their confirmation: 1 … 16. Default: 8. */
WEIR_API void weir_producer_options_set_window(weir_producer_options_t *self, uint32_t batches);
/* When a batch is full: 1 … 65536 messages, 1 … 16 MiB. Default: 4096 messages, 512 KiB. One
 * message larger than that goes alone. */
WEIR_API void weir_producer_options_set_batch(weir_producer_options_t *self, uint32_t messages_max,
                                              uint32_t bytes_max);
/* What the producer holds at most, from send until its confirmation was handed over; at least 1.
 * One message may always be held. Default: 65536 messages, 64 MiB. */
WEIR_API void weir_producer_options_set_queue(weir_producer_options_t *self, uint32_t messages_max,
                                              uint64_t bytes_max);
/* Default: WEIR_WHEN_FULL_BLOCK. */
WEIR_API void weir_producer_options_set_when_full(weir_producer_options_t *self,
                                                  enum weir_when_full when_full);
/* How long weir_producer_send waits for its confirmation, and either send for room, in ms; -1 waits
 * for ever. Default: 30000. */
WEIR_API void weir_producer_options_set_timeout_ms(weir_producer_options_t *self,
                                                   int64_t timeout_ms);

/* Start a producer. It connects in the background: success says nothing of the other side, which
 * may come up later. The options are copied and stay the caller's.
 * NULL on failure: WEIR_EINVAL (an option is out of its range, the endpoint does not parse),
 * WEIR_EIO (no more file descriptors or threads). */
WEIR_API weir_producer_t *weir_producer_new(const weir_producer_options_t *options,
                                            struct weir_error *error);
/* End it, without waiting: what was not confirmed may have been accepted or not, its callbacks are
 * not called. To lose nothing call weir_producer_flush first. Sets *self to NULL. No other thread
 * may be in a call of this producer, nor may a callback call this. */
WEIR_API void weir_producer_destroy(weir_producer_t **self);

/* What was accepted. */
struct weir_receipt {
    uint8_t id[WEIR_ID_BYTES];
    char id_text[WEIR_ID_TEXT_BYTES];
    bool duplicate; /* its idempotency key was known: the id is the first one's */
    enum weir_fsync durability;
    int64_t time_ms; /* when: Unix time in ms, on the ventilator's clock */
};

/* Send one message and wait until it is durable. `receipt` may be NULL.
 * The errors: WEIR_EINVAL and WEIR_ELIMIT (the message can never be sent: it names the field and
 * the limit), WEIR_EFULL, WEIR_EREFUSED (the ventilator says why), WEIR_ETIMEDOUT (it may yet be
 * accepted, so a repeat wants an idempotency key).
 * Blocks up to the timeout. Runs no callbacks. */
WEIR_API int weir_producer_send(weir_producer_t *self, const weir_message_t *message,
                                struct weir_receipt *receipt, struct weir_error *error);

/* Called once for each message sent with it: either `receipt` or `error` is not NULL, and valid
 * during the call. It runs on a thread of yours: within weir_producer_dispatch,
 * weir_producer_flush, or a weir_producer_send_async that waits for room. It may send (which then
 * never waits for room: full is WEIR_EFULL), but neither flush nor destroy. */
typedef void weir_confirm_fn(void *arg, const struct weir_receipt *receipt,
                             const struct weir_error *error);

/* Send one message without waiting for its confirmation: `confirm (arg, …)` follows. `confirm` may
 * be NULL: then weir_producer_flush tells whether all went well.
 * The errors: WEIR_EINVAL, WEIR_ELIMIT, WEIR_EFULL, WEIR_ETIMEDOUT (waited for room); after any of
 * them the message was not taken and there will be no callback.
 * Blocks only while full, and only under WEIR_WHEN_FULL_BLOCK. */
WEIR_API int weir_producer_send_async(weir_producer_t *self, const weir_message_t *message,
                                      weir_confirm_fn *confirm, void *arg,
                                      struct weir_error *error);

/* Wait until everything that was sent before is confirmed, and run the callbacks, at most
 * `timeout_ms` (-1: for ever). 0 when all were accepted; WEIR_EREFUSED when any message since the
 * last flush was refused (the first one's reason); WEIR_ETIMEDOUT, saying how many are left. */
WEIR_API int weir_producer_flush(weir_producer_t *self, int64_t timeout_ms,
                                 struct weir_error *error);

/* For an event loop of yours: this descriptor is readable while confirmations wait; then call
 * weir_producer_dispatch, which runs their callbacks and returns how many it ran. Do not read the
 * descriptor, nor close it. It lives as long as the producer. Neither call blocks. */
WEIR_API int weir_producer_fd(const weir_producer_t *self);
WEIR_API uint32_t weir_producer_dispatch(weir_producer_t *self);

/* Messages sent and not confirmed yet. */
WEIR_API uint32_t weir_producer_outstanding(const weir_producer_t *self);
/* What the other side is doing now. */
WEIR_API enum weir_link weir_producer_link(const weir_producer_t *self);
/* Whether it said why it takes nothing now, such as a full spool or a group at its max-backlog, in
 * *why (may be NULL): WEIR_EBUSY, with its words. */
WEIR_API bool weir_producer_turned_away(const weir_producer_t *self, struct weir_error *why);

/* ---- Worker -----------------------------------------------------------------------------------
 *
 * Takes messages of one group from routers or ventilators and calls a handler for each, on as many
 * threads as `concurrency` says. Heartbeats go out on another thread, so a handler may take hours.
 */
typedef struct weir_worker_handle weir_worker_t;
typedef struct weir_worker_options weir_worker_options_t;
typedef struct weir_job_handle weir_job_t; /* one message, while its handler runs */

/* Handles one message and returns an enum weir_outcome; anything else counts as WEIR_RETRY. It is
 * called on several threads at once when concurrency is above 1. It can be called again for a
 * message that it has finished (a crash before the ack was noted), so it must bear that. The job,
 * and all that its accessors return, live until the handler returns, and belong to its thread. */
typedef int weir_handler_fn(weir_job_t *job, void *arg);

WEIR_API weir_worker_options_t *weir_worker_options_new(const char *group, weir_handler_fn *handler,
                                                        void *arg);
WEIR_API void weir_worker_options_destroy(weir_worker_options_t **self);
/* Add the `dispatch` endpoint of a router or ventilator: 1 … 1024 of them. */
WEIR_API void weir_worker_options_add_from(weir_worker_options_t *self, const char *endpoint);
/* The worker's name in logs and in a message's history. Default: the group's name. */
WEIR_API void weir_worker_options_set_name(weir_worker_options_t *self, const char *name);
/* A group that no topology declares: add its topics ("user.*", "order.>"), and it is made when the
 * worker joins (where the topology allows dynamic groups). It begins with what comes from now on
 * or, when `earliest`, with what is still kept. */
WEIR_API void weir_worker_options_add_topic(weir_worker_options_t *self, const char *pattern);
WEIR_API void weir_worker_options_set_earliest(weir_worker_options_t *self, bool earliest);
/* Where results go: the `submit` endpoint of a sink or of the next ventilator. NULL, the default:
 * results are dropped. A result is durable there before its message is acked. */
WEIR_API void weir_worker_options_set_to(weir_worker_options_t *self, const char *endpoint);
/* The topic of results. Default: that of the message they come from. */
WEIR_API void weir_worker_options_set_result_topic(weir_worker_options_t *self, const char *topic);
/* Handlers at once, each on a thread: 1 … 256. Default: 1. */
WEIR_API void weir_worker_options_set_concurrency(weir_worker_options_t *self, uint32_t handlers);
/* Messages and bytes held at most, those being handled included; at least `concurrency` messages
 * and 1 byte; one message of any size may always be held. Messages that are done, and wait until
 * their results are taken, are counted by their bytes only. Default: as many messages as keep the
 * handlers busy for 50 ms at the pace that they show, 2 a handler at least, 65536 and 16 MiB at
 * most. */
WEIR_API void weir_worker_options_set_prefetch(weir_worker_options_t *self, uint32_t messages,
                                               uint64_t bytes);

/* Start a worker in the background. The options are copied and stay the caller's.
 * NULL on failure: WEIR_EINVAL (an option), WEIR_EIO (no more file descriptors or threads). */
WEIR_API weir_worker_t *weir_worker_start(const weir_worker_options_t *options,
                                          struct weir_error *error);
/* Drain and end it: handlers that run may finish, what waits is given back and does not count as an
 * attempt, then *self is NULL. Blocks until the last handler has returned, then until the routers
 * and ventilators have confirmed the last outcomes, so that nothing that is done is delivered
 * again; 10 s at most, should one of them not answer. Results that nobody has taken 30 s after the
 * call are given up, and their messages given back. Not to be called from a handler. */
WEIR_API void weir_worker_stop(weir_worker_t **self);
/* For a program that is a worker and nothing else: start one, and return once SIGTERM or SIGINT
 * came and it has drained, as weir_worker_stop does; a second signal ends the process at once. Call
 * it from the main thread before there are others: it takes over these two signals. 0, or as
 * weir_worker_start. */
WEIR_API int weir_worker_run(const weir_worker_options_t *options, struct weir_error *error);

/* What the handler was given. */
WEIR_API const void *weir_job_payload(const weir_job_t *job, size_t *bytes);
/* NULL: it has none. */
WEIR_API const char *weir_job_key(const weir_job_t *job);
/* NULL: there is none of this name. */
WEIR_API const char *weir_job_header(const weir_job_t *job, const char *name);
/* Walk all headers: 0 … weir_job_header_count - 1. *value may be NULL where it does not matter. */
WEIR_API uint32_t weir_job_header_count(const weir_job_t *job);
WEIR_API const char *weir_job_header_at(const weir_job_t *job, uint32_t at, const char **value);
WEIR_API const char *weir_job_topic(const weir_job_t *job);
WEIR_API const char *weir_job_group(const weir_job_t *job);
/* The message's id, as text and as bytes. */
WEIR_API const char *weir_job_id_text(const weir_job_t *job);
WEIR_API const uint8_t *weir_job_id(const weir_job_t *job);
/* From 1; with the id it is a fencing token: a later attempt has a higher one. */
WEIR_API uint32_t weir_job_attempt(const weir_job_t *job);
/* When the message was accepted: Unix time in ms. */
WEIR_API int64_t weir_job_time_ms(const weir_job_t *job);

/* The handler needs longer than the group's `timeout`: the time for this attempt begins anew. */
WEIR_API void weir_job_extend(weir_job_t *job);
/* Whether this attempt is over its time, or was lost or given up meanwhile: what the handler
 * returns may not count any more, so it may as well stop. Nothing stops it otherwise: a handler
 * that never returns keeps its thread. */
WEIR_API bool weir_job_cancelled(const weir_job_t *job);
/* The result to hand on when the handler returns WEIR_DONE; copied; the last one counts. At most
 * 8 MiB with the message's headers: a larger one makes the attempt a WEIR_REJECT. */
WEIR_API void weir_job_result(weir_job_t *job, const void *result, size_t bytes);
/* Why it failed, for people: kept in the message's history, cut off at 2048 bytes. */
WEIR_API void weir_job_error(weir_job_t *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* With WEIR_RETRY: try again after this many ms instead of the group's backoff. */
WEIR_API void weir_job_delay(weir_job_t *job, int64_t delay_ms);

#ifdef __cplusplus
}
#endif
#endif
