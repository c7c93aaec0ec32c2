#include "work.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SIZE_BYTES_MAX = 1000000, /* JetStream's servers take no more without being told to */
    WINDOW_BYTES_MAX = 4 << 20,
    WINDOW_MIN = 16,
    WARM_SHARE = 10, /* one message in so many goes through before the clock runs */
    EXIT_USAGE = 64,
};

static const char *peer_name = "bench";

void work_fail(const char *format, ...)
{
    va_list arguments;

    flockfile(stderr);
    fprintf(stderr, "%s: ", peer_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    _Exit(1); /* the other thread may be anywhere */
}

void *work_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes);

    if (memory == NULL)
        work_fail("no memory for %zu bytes", bytes);
    return memory;
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The bytes behind a message's number: the same in each, and noise. */
static char *new_message(uint32_t size_bytes)
{
    char *message = work_alloc(size_bytes);
    uint64_t noise = 0x9e3779b97f4a7c15;

    for (uint32_t at = 0; at < size_bytes; at++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        message[at] = (char)noise;
    }
    return message;
}

const char *work_message(struct work *work, uint64_t number)
{
    memcpy(work->outgoing, &number, sizeof number);
    return work->outgoing;
}

void work_take(struct work *work, const void *message, size_t bytes)
{
    uint64_t number = 0;

    if (work->taken == work->messages)
        work_fail("got a message more than the %" PRIu64 " that were sent", work->messages);
    memcpy(work->expected, &work->taken, sizeof work->taken);
    if (bytes != work->size_bytes || memcmp(message, work->expected, bytes) != 0) {
        memcpy(&number, message, bytes < sizeof number ? bytes : sizeof number);
        work_fail("got %zu bytes that begin with the number %" PRIu64 " where message %" PRIu64
                  " of %" PRIu32 " bytes was expected",
                  bytes, number, work->taken, work->size_bytes);
    }
    work->taken++;
}

uint64_t work_confirm_until(const struct work *work, uint64_t sent)
{
    return sent == work->messages ? sent : sent - work->window / 2;
}

static uint64_t number_argument(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;

    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < min || value > max) {
        fprintf(stderr, "%s: --%s is %s; expected a number from %" PRIu64 " to %" PRIu64 "\n",
                peer_name, option, text, min, max);
        exit(EXIT_USAGE);
    }
    return value;
}

static void read_arguments(struct work *work, int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"size", required_argument, NULL, 's'},
                                            {"messages", required_argument, NULL, 'm'},
                                            {"window", required_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    uint32_t fits;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p')
            work->port = (uint16_t)number_argument("port", optarg, 1, UINT16_MAX);
        else if (option == 's')
            work->size_bytes =
                (uint32_t)number_argument("size", optarg, sizeof(uint64_t), SIZE_BYTES_MAX);
        else if (option == 'm')
            work->messages = number_argument("messages", optarg, 1, UINT32_MAX);
        else if (option == 'w')
            work->window = (uint32_t)number_argument("window", optarg, 1, UINT16_MAX);
        else
            exit(EXIT_USAGE);
    }
    if (work->port == 0 || work->size_bytes == 0 || work->messages == 0 || optind < argc) {
        fprintf(stderr, "usage: %s --port PORT --size BYTES --messages COUNT [--window COUNT]\n",
                argv[0]);
        exit(EXIT_USAGE);
    }
    fits = WINDOW_BYTES_MAX / work->size_bytes;
    if (work->window > fits)
        work->window = fits > WINDOW_MIN ? fits : WINDOW_MIN;
}

struct consumer {
    const struct work_client *client;
    struct work *work;
    void *state;
    double end_s;
};

static void *consume(void *argument)
{
    struct consumer *consumer = argument;

    consumer->client->consume(consumer->state, consumer->work);
    consumer->end_s = now_s();
    return NULL;
}

struct times {
    double confirmed_s,
        all_s; /* from the first send until the last confirmation; until all is done */
};

static struct times carry(struct consumer *consumer)
{
    struct work *work = consumer->work;
    struct times times;
    pthread_t thread;

    work->taken = 0;
    int rc = pthread_create(&thread, NULL, consume, consumer);
    if (rc != 0)
        work_fail("no thread for the consumer: %s", strerror(rc));
    double start_s = now_s();
    consumer->client->produce(consumer->state, work);
    times.confirmed_s = now_s() - start_s;
    pthread_join(thread, NULL);
    if (work->taken != work->messages)
        work_fail("took %" PRIu64 " of %" PRIu64 " messages", work->taken, work->messages);
    times.all_s = consumer->end_s - start_s;
    if (times.all_s < times.confirmed_s) /* the last ack overtook the last confirmation */
        times.all_s = times.confirmed_s;
    return times;
}

int work_main(int argc, char **argv, const struct work_client *client)
{
    struct work work = {.window = client->window};
    struct consumer consumer = {.client = client, .work = &work};

    peer_name = client->peer;
    read_arguments(&work, argc, argv);
    work.outgoing = new_message(work.size_bytes);
    work.expected = new_message(work.size_bytes);
    consumer.state = client->open(&work);

    const uint64_t messages = work.messages;
    work.messages = messages / WARM_SHARE + 1;
    carry(&consumer);
    work.messages = messages;
    const struct times times = carry(&consumer);

    printf("{\"peer\": \"%s\", \"size\": %" PRIu32 ", \"messages\": %" PRIu64
           ", \"window\": %" PRIu32 ", \"confirmed_s\": %.6f, \"seconds\": %.6f, "
           "\"msgs_per_s\": %.1f}\n",
           client->peer, work.size_bytes, messages, work.window, times.confirmed_s, times.all_s,
           (double)messages / times.all_s);
    free(work.outgoing);
    free(work.expected);
    return 0;
}
