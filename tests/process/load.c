/* What the tests of capacity do to a ventilator at speed, through libweir.
 *
 *     load fill ENDPOINT MESSAGES KEYS     send messages of 100 bytes, of so many keys (0: none)
 *     load probe ENDPOINT                  send one
 *     load work ENDPOINT GROUP COUNT done|retry|hold
 *         take COUNT messages: finish them, have each tried again in an hour (every fifth is
 *         finished, or a breaker would open), or keep them until stdin ends
 *
 * Each says "ok" on a line when that is so, and ends; hold says it when it has them. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir.h>

#define TOPIC "work"
#define PAYLOAD_BYTES 100
#define HOUR_MS (3600 * 1000)
#define WAIT_MS 600000

static int fail(const struct weir_error *error)
{
    fprintf(stderr, "load: %s\n", error->text);
    return EXIT_FAILURE;
}

static int say_ok(void)
{
    printf("ok\n");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- sending ---- */

static int send_all(weir_producer_t *producer, uint64_t messages, uint64_t keys,
                    struct weir_error *error)
{
    char payload[PAYLOAD_BYTES + 1], key[24];
    weir_message_t *message = weir_message_new(TOPIC, NULL, 0);
    int status = 0;
    for (uint64_t i = 0; i < messages && status == 0; i++) {
        snprintf(payload, sizeof payload, "%-*llu", PAYLOAD_BYTES, (unsigned long long)i);
        weir_message_set_payload(message, payload, PAYLOAD_BYTES);
        if (keys > 0) {
            snprintf(key, sizeof key, "k%llu", (unsigned long long)(i % keys));
            weir_message_set_key(message, key);
        }
        status = weir_producer_send_async(producer, message, NULL, NULL, error);
    }
    weir_message_destroy(&message);
    return status == 0 ? weir_producer_flush(producer, WAIT_MS, error) : status;
}

static int fill(const char *endpoint, uint64_t messages, uint64_t keys)
{
    struct weir_error error;
    weir_producer_options_t *options = weir_producer_options_new(endpoint);
    weir_producer_options_set_timeout_ms(options, WAIT_MS);
    weir_producer_t *producer = weir_producer_new(options, &error);
    weir_producer_options_destroy(&options);
    if (producer == NULL)
        return fail(&error);
    const int status = send_all(producer, messages, keys, &error);
    weir_producer_destroy(&producer);
    return status == 0 ? say_ok() : fail(&error);
}

/* ---- working ---- */

enum deed { DEED_DONE, DEED_RETRY, DEED_HOLD };

struct work {
    enum deed deed;
    uint64_t count; /* wanted */
    uint64_t taken, spared;
    bool released;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* Messages beyond `count` are given back. */
static int handle(weir_job_t *job, void *arg)
{
    struct work *work = arg;
    int outcome = work->deed == DEED_DONE ? WEIR_DONE : WEIR_RETRY;
    pthread_mutex_lock(&work->lock);
    if (work->taken == work->count) {
        outcome = WEIR_RELEASE;
    } else if (work->deed == DEED_RETRY && work->spared < work->taken / 4) {
        work->spared++;
        outcome = WEIR_DONE;
    } else {
        work->taken++;
        pthread_cond_broadcast(&work->changed);
    }
    while (work->deed == DEED_HOLD && !work->released)
        pthread_cond_wait(&work->changed, &work->lock);
    pthread_mutex_unlock(&work->lock);
    if (outcome == WEIR_RETRY) {
        weir_job_error(job, "the test wants it again");
        weir_job_delay(job, HOUR_MS);
    }
    return outcome;
}

static void wait_for_count(struct work *work, uint64_t count)
{
    pthread_mutex_lock(&work->lock);
    while (work->taken < count)
        pthread_cond_wait(&work->changed, &work->lock);
    pthread_mutex_unlock(&work->lock);
}

static void wait_for_end_of_stdin(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
}

static int take(const char *endpoint, const char *group, struct work *work)
{
    struct weir_error error;
    weir_worker_options_t *options = weir_worker_options_new(group, handle, work);
    weir_worker_options_add_from(options, endpoint);
    weir_worker_options_set_prefetch(
        options, work->deed == DEED_HOLD ? (uint32_t)work->count : 4096, 64u << 20);
    weir_worker_t *worker = weir_worker_start(options, &error);
    weir_worker_options_destroy(&options);
    if (worker == NULL)
        return fail(&error);
    /* One handler is enough to hold them: the others wait behind it, in the same worker. */
    wait_for_count(work, work->deed == DEED_HOLD ? 1 : work->count);
    int status = EXIT_SUCCESS;
    if (work->deed == DEED_HOLD) {
        status = say_ok();
        wait_for_end_of_stdin();
        pthread_mutex_lock(&work->lock);
        work->released = true;
        pthread_cond_broadcast(&work->changed);
        pthread_mutex_unlock(&work->lock);
    }
    weir_worker_stop(&worker);
    return work->deed == DEED_HOLD ? status : say_ok();
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "probe") == 0)
        return fill(argv[2], 1, 0);
    if (argc == 6 && strcmp(argv[1], "work") == 0) {
        struct work work = {.deed = strcmp(argv[5], "done") == 0    ? DEED_DONE
                                    : strcmp(argv[5], "retry") == 0 ? DEED_RETRY
                                                                    : DEED_HOLD,
                            .count = strtoull(argv[4], NULL, 10),
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER};
        return take(argv[2], argv[3], &work);
    }
    fprintf(stderr, "usage: load fill|probe|work ENDPOINT …\n");
    return 64;
}
