/* The work that every peer is measured by, and what their clients share: one producer sends
 * messages, each confirmed; one consumer takes and acknowledges each. The clock runs from the first
 * send until the server has taken the last ack. A tenth as many messages go through before that, so
 * that nobody is measured while it starts.
 *
 * A client is a program of its own for each peer. Whatever goes wrong ends it with an error: there
 * is nothing to save, and a figure got by skipping over an error would be false. */
#ifndef WEIR_BENCH_WORK_H
#define WEIR_BENCH_WORK_H

#include <stddef.h>
#include <stdint.h>

struct work {
    uint16_t port;       /* of the peer's server, on loopback */
    uint32_t size_bytes; /* of a message */
    uint64_t messages;   /* to send, and to take */
    uint32_t
        window;     /* messages under way at most: sent and not confirmed, or taken and not acked */
    uint64_t taken; /* how many messages the consumer has seen */
    char *outgoing; /* the producer's next message */
    char *expected; /* what the consumer's next message must be */
};

struct work_client {
    const char *peer; /* its name, in errors and in the result */
    uint32_t window;  /* the default: more makes it no faster */
    /* Connects producer and consumer and makes the queue between them. The state it returns is what
     * the others get; it lives until the process ends. */
    void *(*open)(const struct work *work);
    /* Sends every message, in order; returns when each is confirmed. Called twice: to warm up, and
     * to be measured; so is consume. */
    void (*produce)(void *state, struct work *work);
    /* Takes and acks every message; returns when the server has taken the last ack. Runs on a
     * thread of its own beside produce. */
    void (*consume)(void *state, struct work *work);
};

/* The whole program: reads the command line, does the work, prints the result as one line of JSON.
 * Returns the exit status. */
int work_main(int argc, char **argv, const struct work_client *client);

/* The message with this number (from 0), size_bytes long; valid until the next call. No two are
 * equal, and no byte is easier to compress than another. For the producer only. */
const char *work_message(struct work *work, uint64_t number);

/* The consumer has got this message: counts it. Ends the process unless it is the next one, whole.
 */
void work_take(struct work *work, const void *message, size_t bytes);

/* How many confirmations the producer waits for once its window is full, after `sent` messages:
 * half a window stays with the server while the next half is packed; at the end all of them. */
uint64_t work_confirm_until(const struct work *work, uint64_t sent);

/* Zeroed memory. Never NULL. */
void *work_alloc(size_t bytes);

/* Prints the peer's name and the text, and ends the process with status 1. From any thread. */
_Noreturn void work_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
