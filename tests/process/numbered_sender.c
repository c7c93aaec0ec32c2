/* Sends numbered messages and writes down which were confirmed: the first half of what
 * verifier.py accounts from.
 *
 *     numbered_sender ENDPOINT FIRST STEP COUNT RATE SECONDS FILE
 *
 * Messages FIRST, FIRST + STEP, … leave at RATE a second until there are COUNT of them (0: no end)
 * or SECONDS are over (0: no end), or SIGTERM comes; then it waits until the last one is confirmed.
 * FILE gets a line "NUMBER ID" for each confirmation. What a message of a number looks like is also
 * said in numbered.py. Ends with 0 when everything was confirmed, and with 1 when anything was
 * refused. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weir.h>

#define TOPIC "storm.number"
#define KEYS 500
#define TURN_MS 20
#define LARGE_BYTES 100000

struct sender {
    weir_producer_t *producer;
    weir_message_t *message;
    char *payload;
    FILE *confirmed;
    int failed;
};

/* One for each message on its way. */
struct pending {
    struct sender *sender;
    uint64_t number;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void on_confirmed(void *arg, const struct weir_receipt *receipt,
                         const struct weir_error *error)
{
    struct pending *pending = arg;
    struct sender *sender = pending->sender;

    if (receipt != NULL) {
        fprintf(sender->confirmed, "%" PRIu64 " %s\n", pending->number, receipt->id_text);
    } else {
        fprintf(stderr, "message %" PRIu64 " was refused: %s\n", pending->number, error->text);
        sender->failed = 1;
    }
    free(pending);
}

static int send_number(struct sender *sender, uint64_t number)
{
    struct pending *pending = malloc(sizeof *pending);
    struct weir_error error = {0};
    char key[32];
    size_t filler = number % 1000 == 0 ? LARGE_BYTES : number % 200;
    int bytes = snprintf(sender->payload, 32, "%" PRIu64 " ", number);

    if (pending == NULL)
        abort();
    *pending = (struct pending){.sender = sender, .number = number};
    memset(sender->payload + bytes, 'x', filler);
    snprintf(key, sizeof key, "k%" PRIu64, number % KEYS);
    weir_message_set_payload(sender->message, sender->payload, (size_t)bytes + filler);
    weir_message_set_key(sender->message, key);
    if (weir_producer_send_async(sender->producer, sender->message, on_confirmed, pending,
                                 &error) == 0)
        return 0;
    fprintf(stderr, "message %" PRIu64 " was not taken: %s\n", number, error.text);
    free(pending);
    return -1;
}

static int run(struct sender *sender, uint64_t first, uint64_t step, uint64_t count, double rate,
               double seconds)
{
    struct pollfd item = {.fd = weir_producer_fd(sender->producer), .events = POLLIN};
    struct weir_error error = {0};
    const double start = now_s();
    uint64_t sent = 0;

    while (!stopping && (count == 0 || sent < count)) {
        double elapsed = now_s() - start;
        uint64_t due = (uint64_t)(elapsed * rate);

        if (seconds > 0 && elapsed >= seconds)
            break;
        if (count > 0 && due > count)
            due = count;
        for (; sent < due; sent++) {
            if (send_number(sender, first + sent * step) != 0)
                return -1;
        }
        if (poll(&item, 1, TURN_MS) < 0 && errno != EINTR)
            return -1;
        weir_producer_dispatch(sender->producer);
        fflush(sender->confirmed);
    }
    if (weir_producer_flush(sender->producer, -1, &error) == 0)
        return 0;
    fprintf(stderr, "%s\n", error.text);
    return -1;
}

int main(int argc, char **argv)
{
    struct sender sender = {0};
    struct weir_error error = {0};

    if (argc != 8) {
        fprintf(stderr, "usage: numbered_sender ENDPOINT FIRST STEP COUNT RATE SECONDS FILE\n");
        return 64;
    }
    sender.confirmed = fopen(argv[7], "w");
    sender.payload = malloc(LARGE_BYTES + 32);
    if (sender.confirmed == NULL || sender.payload == NULL) {
        perror(argv[7]);
        return 1;
    }
    const struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    weir_producer_options_t *options = weir_producer_options_new(argv[1]);

    weir_producer_options_set_timeout_ms(options, -1); /* the ventilator may be away for long */
    sender.producer = weir_producer_new(options, &error);
    weir_producer_options_destroy(&options);
    if (sender.producer == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    sender.message = weir_message_new(TOPIC, NULL, 0);
    int status = run(&sender, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10),
                     strtoull(argv[4], NULL, 10), strtod(argv[5], NULL), strtod(argv[6], NULL));

    weir_producer_destroy(&sender.producer);
    weir_message_destroy(&sender.message);
    free(sender.payload);
    if (fclose(sender.confirmed) != 0) {
        perror(argv[7]);
        return 1;
    }
    return status == 0 && !sender.failed ? 0 : 1;
}
