#include "bodies.h"

#include <base/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define KEY_BYTES 12
#define LINK_POLL_NS (1 * WEIR_NS_PER_MS)
#define TICK_NS (WEIR_NS_PER_MS / 4) /* between two looks at which are due */

struct key {
    char text[KEY_BYTES];
};

struct sending {
    const struct weir_bench_producer *what;
    struct weir_bench_part *part;
    weir_producer_t *producer;
    weir_message_t *message;
    char *payload;
    struct key *keys; /* NULL: none */
};

static struct key *make_keys(uint32_t count)
{
    struct key *keys = count > 0 ? weir_zalloc(count, sizeof *keys) : NULL;

    for (uint32_t i = 0; i < count; i++)
        snprintf(keys[i].text, sizeof keys[i].text, "k%u", i);
    return keys;
}

/* `arg` is where the message's time stands: until now, when it was due. */
static void on_confirm(void *arg, const struct weir_receipt *receipt,
                       const struct weir_error *error)
{
    int64_t *ns = arg;

    (void)error; /* weir_producer_flush tells of it */
    if (receipt != NULL)
        *ns = weir_clock_now().mono_ns - *ns;
}

static int send_one(struct sending *self, uint64_t at, weir_confirm_fn *confirm, void *arg,
                    struct weir_error *error)
{
    const struct weir_bench_load *load = self->what->load;
    const uint64_t number = load->stretch->base + at;

    weir_bench_payload_number(self->payload, number);
    weir_message_lend_payload(self->message, self->payload, load->plan->size);
    if (self->keys != NULL)
        weir_message_set_key(self->message, self->keys[number % load->plan->keys].text);
    return weir_producer_send_async(self->producer, self->message, confirm, arg, error);
}

static int send_fast(struct sending *self, struct weir_error *error)
{
    int status = 0;

    for (uint64_t at = self->what->index; at < self->what->end && status == 0;
         at += self->what->load->plan->producers)
        status = send_one(self, at, NULL, NULL, error);
    return status;
}

/* Each when it is due, whether the ones before it are confirmed or not; one that goes late was due
 * when it was due. At a high rate so do a few, for a sleep before each of them would cost more than
 * what is measured. */
static int send_paced(struct sending *self, struct weir_error *error)
{
    const struct weir_bench_load *load = self->what->load;
    const int fd = weir_producer_fd(self->producer);
    int64_t tick_ns = 0;
    int status = 0;

    prctl(PR_SET_TIMERSLACK, 1);
    for (uint64_t at = self->what->index; at < self->what->end && status == 0;
         at += load->plan->producers) {
        const int64_t due_ns = weir_bench_due_ns(load->stretch, at);

        if (due_ns > tick_ns) {
            const int64_t until_ns = due_ns > tick_ns + TICK_NS ? due_ns : tick_ns + TICK_NS;

            do
                weir_producer_dispatch(self->producer);
            while (weir_bench_wait_until(until_ns, fd));
            tick_ns = weir_clock_now().mono_ns;
        }
        load->ok_ns[at] = due_ns;
        status = send_one(self, at, on_confirm, &load->ok_ns[at], error);
    }
    return status;
}

static int send_all(struct sending *self)
{
    struct weir_bench_part *part = self->part;
    struct weir_error error;
    int status;

    while (weir_producer_link(self->producer) != WEIR_LINK_UP)
        weir_bench_wait_until(weir_clock_now().mono_ns + LINK_POLL_NS, -1);
    weir_bench_part_tell(part, WEIR_BENCH_READY);
    weir_bench_part_wait(part);
    const int64_t cpu_ns = weir_bench_part_cpu_ns();

    part->word->first_ns = weir_clock_now().mono_ns;
    if (self->what->load->stretch->rate > 0)
        status = send_paced(self, &error);
    else
        status = send_fast(self, &error);
    if (status == 0)
        status = weir_producer_flush(self->producer, -1, &error);
    if (status != 0)
        return weir_bench_part_fail(part, "%s", error.text);
    part->word->last_ns = weir_clock_now().mono_ns;
    part->word->cpu_ns = weir_bench_part_cpu_ns() - cpu_ns;
    weir_bench_part_tell(part, WEIR_BENCH_DONE);
    return 0;
}

int weir_bench_produce(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_producer *what = argument;
    const struct weir_bench_plan *plan = what->load->plan;
    struct sending sending = {.what = what, .part = self};
    struct weir_error error;
    weir_producer_options_t *options = weir_producer_options_new(what->submit);

    weir_producer_options_set_timeout_ms(options, -1); /* the bench has the patience */
    sending.producer = weir_producer_new(options, &error);
    weir_producer_options_destroy(&options);
    if (sending.producer == NULL)
        return weir_bench_part_fail(self, "%s", error.text);
    sending.message = weir_message_new(WEIR_BENCH_TOPIC, NULL, 0);
    sending.payload = weir_bench_payload_new(plan->size);
    sending.keys = make_keys(plan->keys);
    const int status = send_all(&sending);

    free(sending.keys);
    free(sending.payload);
    weir_message_destroy(&sending.message);
    weir_producer_destroy(&sending.producer);
    return status;
}
