/* What the tests of capacity do to a ventilator at speed, through libweir.
 *
 *     load fill ENDPOINT MESSAGES KEYS     send messages of 100 bytes, of so many keys (0: none)
 *     load probe ENDPOINT                  send one
 *     load work ENDPOINT GROUP COUNT done|retry|hold
 *         take COUNT messages: finish them, have each tried again in an hour (every fifth is
 *         finished, or a breaker would open), or hold so many; what comes beyond is held, too
 *
 * Each says "ok" on a line when that is so. Who works goes on holding what it has until stdin ends,
 * and gives it back. */
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
#define PREFETCH 4096

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

struct work {
    bool retry;
    uint64_t count; /* of messages to take */
    uint64_t taken, spared;
    bool holding, released;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static int hold(struct work *work)
{
    work->holding = true;
    pthread_cond_broadcast(&work->changed);
    while (!work->released)
        pthread_cond_wait(&work->changed, &work->lock);
    return WEIR_RELEASE;
}

static int take(struct work *work)
{
    if (work->retry && work->spared < work->taken / 4) {
        work->spared++;
        return WEIR_DONE;
    }
    work->taken++;
    pthread_cond_broadcast(&work->changed);
    return work->retry ? WEIR_RETRY : WEIR_DONE;
}

static int handle(weir_job_t *job, void *arg)
{
    struct work *work = arg;
    pthread_mutex_lock(&work->lock);
    const int outcome = work->taken == work->count ? hold(work) : take(work);
    pthread_mutex_unlock(&work->lock);
    if (outcome == WEIR_RETRY) {
        weir_job_error(job, "the test wants it again");
        weir_job_delay(job, HOUR_MS);
    }
    return outcome;
}

/* All taken; or the first of those to hold is: the others wait behind it, in the same worker. */
static void wait_until_busy(struct work *work)
{
    pthread_mutex_lock(&work->lock);
    while (work->count > 0 ? work->taken < work->count : !work->holding)
        pthread_cond_wait(&work->changed, &work->lock);
    pthread_mutex_unlock(&work->lock);
}

static void release(struct work *work)
{
    pthread_mutex_lock(&work->lock);
    work->released = true;
    pthread_cond_broadcast(&work->changed);
    pthread_mutex_unlock(&work->lock);
}

static void wait_for_end_of_stdin(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
}

static int run(const char *endpoint, const char *group, struct work *work, uint32_t prefetch)
{
    struct weir_error error;
    weir_worker_options_t *options = weir_worker_options_new(group, handle, work);
    weir_worker_options_add_from(options, endpoint);
    weir_worker_options_set_prefetch(options, prefetch, 64u << 20);
    weir_worker_t *worker = weir_worker_start(options, &error);
    weir_worker_options_destroy(&options);
    if (worker == NULL)
        return fail(&error);
    wait_until_busy(work);
    const int status = say_ok();
    wait_for_end_of_stdin();
    release(work);
    weir_worker_stop(&worker);
    return status;
}

static int work(const char *endpoint, const char *group, uint64_t count, const char *deed)
{
    const bool hold = strcmp(deed, "hold") == 0;
    struct work work = {.retry = strcmp(deed, "retry") == 0,
                        .count = hold ? 0 : count,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER};
    return run(endpoint, group, &work, hold ? (uint32_t)count : PREFETCH);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0)
        return fill(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "probe") == 0)
        return fill(argv[2], 1, 0);
    if (argc == 6 && strcmp(argv[1], "work") == 0)
        return work(argv[2], argv[3], strtoull(argv[4], NULL, 10), argv[5]);
    fprintf(stderr, "usage: load fill|probe|work ENDPOINT …\n");
    return 64;
}
