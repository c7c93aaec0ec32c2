/* libzmq without anything around it: what a pipeline is held against. */
#include "bodies.h"

#include <base/alloc.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <zmq.h>

/* As much as libzmq takes: with its default, 1000 messages of 100 bytes, it is slower. */
#define WATERMARK 100000

struct bare {
    void *context, *from, *to; /* NULL: none */
};

static void *open_socket(struct bare *self, int type)
{
    const int watermark = WATERMARK, linger_ms = -1;
    void *socket = zmq_socket(self->context, type);

    WEIR_ASSERT(socket != NULL);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &watermark, sizeof watermark);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &watermark, sizeof watermark);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    return socket;
}

/* Where others connect to, told as BOUND; and where this one connects to, which is BOUND. */
static int bare_init(struct bare *self, struct weir_bench_part *part, bool receives,
                     const struct weir_bench_word *next)
{
    size_t bytes = sizeof part->word->endpoint;

    *self = (struct bare){.context = zmq_ctx_new()};
    WEIR_ASSERT(self->context != NULL);
    if (receives) {
        self->from = open_socket(self, ZMQ_PULL);
        if (zmq_bind(self->from, "tcp://127.0.0.1:*") != 0 ||
            zmq_getsockopt(self->from, ZMQ_LAST_ENDPOINT, part->word->endpoint, &bytes) != 0)
            return weir_bench_part_fail(part, "no port on 127.0.0.1: %s", zmq_strerror(errno));
        weir_bench_part_tell(part, WEIR_BENCH_BOUND);
    }
    if (next != NULL) {
        self->to = open_socket(self, ZMQ_PUSH);
        if (zmq_connect(self->to, next->endpoint) != 0)
            return weir_bench_part_fail(part, "cannot connect to %s: %s", next->endpoint,
                                        zmq_strerror(errno));
    }
    return 0;
}

static void bare_fini(struct bare *self)
{
    if (self->from != NULL)
        zmq_close(self->from);
    if (self->to != NULL)
        zmq_close(self->to);
    zmq_ctx_term(self->context);
}

static void begin_work(struct weir_bench_part *part)
{
    part->word->cpu_ns = weir_bench_part_cpu_ns();
    part->word->first_ns = weir_clock_now().mono_ns;
}

static void end_work(struct weir_bench_part *part)
{
    part->word->last_ns = weir_clock_now().mono_ns;
    part->word->cpu_ns = weir_bench_part_cpu_ns() - part->word->cpu_ns;
    weir_bench_part_tell(part, WEIR_BENCH_DONE);
}

static void send_payload(const struct bare *self, const char *payload, uint32_t size)
{
    const int sent = zmq_send(self->to, payload, size, 0);

    WEIR_ASSERT(sent == (int)size);
}

static uint64_t receive_number(const struct bare *self, zmq_msg_t *message)
{
    uint64_t number = UINT64_MAX;
    const int got = zmq_msg_recv(message, self->from, 0);

    WEIR_ASSERT(got >= (int)WEIR_BENCH_NUMBER_BYTES);
    (void)weir_bench_payload_parse(zmq_msg_data(message), &number);
    return number;
}

/* Connect, and wait to be told to begin. `*payload` is for end_sending. */
static int begin_sending(struct bare *self, struct weir_bench_part *part,
                         const struct weir_bench_word *next, uint32_t size, char **payload)
{
    int status = bare_init(self, part, false, next);

    if (status != 0)
        return status;
    *payload = weir_bench_payload_new(size);
    send_payload(self, *payload, size); /* when it has arrived, the connection stands */
    weir_bench_part_tell(part, WEIR_BENCH_READY);
    weir_bench_part_wait(part);
    begin_work(part);
    return 0;
}

static void end_sending(struct bare *self, struct weir_bench_part *part, char *payload)
{
    end_work(part);
    free(payload);
    bare_fini(self);
}

/* ---- One hop, as fast as it goes --------------------------------------------------------------
 */

int weir_bench_push(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_raw *what = argument;
    struct bare bare;
    char *payload;
    int status = begin_sending(&bare, self, what->next, what->size, &payload);

    if (status != 0)
        return status;
    for (uint64_t i = 0; i < what->messages; i++) {
        weir_bench_payload_number(payload, i);
        send_payload(&bare, payload, what->size);
    }
    end_sending(&bare, self, payload);
    return 0;
}

int weir_bench_pull(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_raw *what = argument;
    struct bare bare;
    zmq_msg_t message;
    int status = bare_init(&bare, self, true, NULL);

    if (status != 0)
        return status;
    zmq_msg_init(&message);
    receive_number(&bare, &message);
    weir_bench_part_tell(self, WEIR_BENCH_READY);
    begin_work(self);
    for (uint64_t i = 0; i < what->messages && status == 0; i++) {
        const uint64_t number = receive_number(&bare, &message);

        if (number != i)
            status = weir_bench_part_fail(self, "message %llu came in place of %llu",
                                          (unsigned long long)number, (unsigned long long)i);
    }
    if (status == 0)
        end_work(self);
    zmq_msg_close(&message);
    bare_fini(&bare);
    return status;
}

/* ---- A chain, at a fixed rate -----------------------------------------------------------------
 */

int weir_bench_chain_first(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_link *what = argument;
    struct bare bare;
    char *payload;

    prctl(PR_SET_TIMERSLACK, 1);
    int status = begin_sending(&bare, self, what->next, what->size, &payload);

    if (status != 0)
        return status;
    for (uint64_t at = 0; at < what->stretch->count; at++) {
        weir_bench_wait_until(weir_bench_due_ns(what->stretch, at), -1);
        weir_bench_payload_number(payload, what->stretch->base + at);
        send_payload(&bare, payload, what->size);
    }
    end_sending(&bare, self, payload);
    return 0;
}

int weir_bench_chain_middle(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_link *what = argument;
    struct bare bare;
    zmq_msg_t message;
    int status = bare_init(&bare, self, true, what->next);

    if (status != 0)
        return status;
    zmq_msg_init(&message);
    for (uint64_t left = 1 + what->stretch->count; left > 0; left--) {
        receive_number(&bare, &message);
        const int sent = zmq_msg_send(&message, bare.to, 0);

        WEIR_ASSERT(sent >= 0);
        if (left == 1 + what->stretch->count)
            weir_bench_part_tell(self, WEIR_BENCH_READY);
    }
    weir_bench_part_tell(self, WEIR_BENCH_DONE);
    zmq_msg_close(&message);
    bare_fini(&bare);
    return 0;
}

int weir_bench_chain_last(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_link *what = argument;
    const struct weir_bench_stretch *stretch = what->stretch;
    struct bare bare;
    zmq_msg_t message;
    int status = bare_init(&bare, self, true, NULL);

    if (status != 0)
        return status;
    zmq_msg_init(&message);
    receive_number(&bare, &message);
    weir_bench_part_tell(self, WEIR_BENCH_READY);
    for (uint64_t left = stretch->count; left > 0 && status == 0; left--) {
        const uint64_t at = receive_number(&bare, &message) - stretch->base;

        if (at < stretch->count)
            what->latency_ns[at] = weir_clock_now().mono_ns - weir_bench_due_ns(stretch, at);
        else
            status = weir_bench_part_fail(self, "a message came that nobody sent");
    }
    if (status == 0)
        weir_bench_part_tell(self, WEIR_BENCH_DONE);
    zmq_msg_close(&message);
    bare_fini(&bare);
    return status;
}
