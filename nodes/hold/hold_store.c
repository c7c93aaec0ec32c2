#include <base/alloc.h>
#include <base/limits.h>
#include <errno.h>
#include <hold/hold_store.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Both queues are bounded by WEIR_STORE_REQUESTS_MAX, which the machine keeps to. */
struct requests {
    struct weir_store_request *at;
    uint32_t count, capacity;
    uint32_t doomed; /* the first so many end as full: see `full` */
};

struct results {
    struct weir_store_result *at;
    uint32_t first, count, capacity;
};

struct hold_store {
    struct weir_store store;
    struct weir_hold_writer writer;
    pthread_t thread;
    int fd;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool ending;
    struct requests waiting;
    struct results finished;
    /* A request that ended full takes with it whatever was handed over before its result was taken:
     * else a producer's later batch could be durable while an earlier one is not. */
    uint32_t full; /* so ended, or doomed to, and their results not taken yet */
    /* The writer's thread alone: */
    int failed; /* the first final failure; nothing is written after it */
    struct weir_error failure;
};

static void requests_push(struct requests *self, struct weir_store_request *request)
{
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->at = weir_realloc(self->at, self->capacity, sizeof *self->at);
    }
    self->at[self->count++] = *request;
    *request = (struct weir_store_request){0};
}

static void results_push(struct results *self, const struct weir_store_result *result)
{
    if (self->first == self->count)
        self->first = self->count = 0;
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->at = weir_realloc(self->at, self->capacity, sizeof *self->at);
    }
    self->at[self->count++] = *result;
}

static void fd_signal(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    WEIR_ASSERT(written == (ssize_t)sizeof one || errno == EAGAIN);
}

static void fd_clear(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof count);
    WEIR_ASSERT(got == (ssize_t)sizeof count || errno == EAGAIN);
}

static void hold_submit(struct weir_store *store, struct weir_store_request *request)
{
    struct hold_store *self = (struct hold_store *)store;
    WEIR_ASSERT(request->kind == WEIR_STORE_HOLD);
    pthread_mutex_lock(&self->mutex);
    requests_push(&self->waiting, request);
    if (self->full > 0) {
        self->waiting.doomed = self->waiting.count;
        self->full++;
    }
    pthread_cond_signal(&self->work);
    pthread_mutex_unlock(&self->mutex);
}

static bool hold_poll(struct weir_store *store, struct weir_store_result *result)
{
    struct hold_store *self = (struct hold_store *)store;
    pthread_mutex_lock(&self->mutex);
    bool any = self->finished.first < self->finished.count;
    if (any) {
        *result = self->finished.at[self->finished.first++];
        if (result->status == WEIR_EFULL)
            self->full--;
    } else {
        fd_clear(self->fd);
    }
    pthread_mutex_unlock(&self->mutex);
    return any;
}

static int hold_fd(const struct weir_store *store)
{
    return ((const struct hold_store *)store)->fd;
}

static void hold_destroy(struct weir_store *store)
{
    struct hold_store *self = (struct hold_store *)store;
    pthread_mutex_lock(&self->mutex);
    self->ending = true;
    pthread_cond_signal(&self->work);
    pthread_mutex_unlock(&self->mutex);
    pthread_join(self->thread, NULL);
    self->writer.destroy(self->writer.self);
    for (uint32_t i = self->finished.first; i < self->finished.count; i++)
        weir_store_result_fini(&self->finished.at[i]);
    free(self->finished.at);
    free(self->waiting.at);
    close(self->fd);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

/* How many requests, from `first` on, are written together. */
static uint32_t group_size(const struct requests *requests, uint32_t first)
{
    size_t bytes = 0;
    uint32_t count = 0;
    while (first + count < requests->count && count < WEIR_HOLD_GROUP_MAX) {
        bytes += requests->at[first + count].record.body.size;
        if (count > 0 && bytes > WEIR_HOLD_GROUP_BYTES_MAX)
            break;
        count++;
    }
    return count;
}

/* Give the results of a group. */
static void finish_group(struct hold_store *self, struct weir_store_request *requests,
                         uint32_t count, int status, const uint32_t *duplicates,
                         const struct weir_error *error)
{
    pthread_mutex_lock(&self->mutex);
    for (uint32_t i = 0; i < count; i++) {
        struct weir_store_result result = {
            .id = requests[i].id, .kind = WEIR_STORE_HOLD, .status = status};
        if (status == 0)
            result.duplicates = duplicates[i];
        else
            result.error = *error;
        results_push(&self->finished, &result);
    }
    fd_signal(self->fd);
    pthread_mutex_unlock(&self->mutex);
    for (uint32_t i = 0; i < count; i++)
        weir_store_request_fini(&requests[i]);
}

/* `count` requests end as full, and all that waits behind them. */
static void doom(struct hold_store *self, uint32_t count)
{
    pthread_mutex_lock(&self->mutex);
    self->full += count + self->waiting.count - self->waiting.doomed;
    self->waiting.doomed = self->waiting.count;
    pthread_mutex_unlock(&self->mutex);
}

static void write_all(struct hold_store *self, struct requests *taken)
{
    static const struct weir_error doomed = {WEIR_EFULL,
                                             "not tried: a batch ahead of it found the disk full"};
    if (taken->doomed > 0)
        finish_group(self, taken->at, taken->doomed, WEIR_EFULL, NULL, &doomed);
    for (uint32_t first = taken->doomed; first < taken->count;) {
        uint32_t count = group_size(taken, first);
        uint32_t duplicates[WEIR_HOLD_GROUP_MAX] = {0};
        struct weir_error error = {0};
        int status = self->failed;
        if (status == 0)
            status =
                self->writer.hold(self->writer.self, &taken->at[first], count, duplicates, &error);
        else
            error = self->failure;
        if (status == WEIR_EFULL) {
            doom(self, taken->count - first);
            finish_group(self, &taken->at[first], taken->count - first, status, NULL, &error);
            return;
        }
        if (status != 0) {
            self->failed = status;
            self->failure = error;
        }
        finish_group(self, &taken->at[first], count, status, duplicates, &error);
        first += count;
    }
}

static void *writer_main(void *arg)
{
    struct hold_store *self = arg;
    struct requests taken = {0};
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (self->waiting.count == 0 && !self->ending)
            pthread_cond_wait(&self->work, &self->mutex);
        if (self->waiting.count == 0)
            break;
        struct requests empty = taken;
        taken = self->waiting;
        self->waiting = empty;
        pthread_mutex_unlock(&self->mutex);
        write_all(self, &taken);
        taken.count = taken.doomed = 0;
        pthread_mutex_lock(&self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    free(taken.at);
    return NULL;
}

struct weir_store *weir_hold_store_new(const struct weir_hold_writer *writer,
                                       struct weir_error *error)
{
    struct hold_store *self = weir_zalloc(1, sizeof *self);
    self->writer = *writer;
    self->store = (struct weir_store){
        .submit = hold_submit, .poll = hold_poll, .fd = hold_fd, .destroy = hold_destroy};
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->fd < 0) {
        weir_error_set(error, WEIR_EIO, "cannot make an eventfd: %s", strerror(errno));
        goto cleanup;
    }
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work, NULL);
    /* Signals are the reactor's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&self->thread, NULL, writer_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0)
        return &self->store;
    weir_error_set(error, WEIR_EIO, "cannot start the writing thread: %s", strerror(status));
    close(self->fd);
cleanup:
    writer->destroy(writer->self);
    free(self);
    return NULL;
}
