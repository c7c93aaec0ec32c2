#include "holder_fixture.h"

#include <base/alloc.h>
#include <core/roles.h>
#include <hold/held_message.h>
#include <hold/hold_store.h>
#include <pthread.h>
#include <runtime/reactor.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct holder {
    struct weir_reactor *reactor;
    struct weir_store *store;
    struct weir_role *role;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool hold_back, full;
    uint32_t waiting;
    char **messages;
    uint32_t message_count, batch_count;
};

static void keep(struct holder *self, const struct weir_record *record)
{
    struct weir_held_walk walk;
    int status = weir_held_walk_init(&walk, record, 9, NULL);
    assert_int_equal(status, 0);
    while (weir_held_walk_next(&walk)) {
        const struct weir_held_message *message = &walk.message;
        assert_true(message->readable);
        self->messages =
            weir_realloc(self->messages, self->message_count + 1, sizeof *self->messages);
        self->messages[self->message_count++] =
            weir_asprintf("%.*s/%.*s/%.*s", (int)message->topic_bytes, message->topic,
                          (int)message->view.key_bytes, message->view.key ? message->view.key : "",
                          (int)message->view.payload_bytes, (const char *)message->view.payload);
    }
    self->batch_count++;
}

static int hold(void *arg, const struct weir_store_request *requests, uint32_t count,
                uint32_t *duplicates, struct weir_error *error)
{
    struct holder *self = arg;
    (void)duplicates;
    pthread_mutex_lock(&self->mutex);
    self->waiting = count;
    pthread_cond_broadcast(&self->changed);
    while (self->hold_back)
        pthread_cond_wait(&self->changed, &self->mutex);
    self->waiting = 0;
    int status = self->full ? weir_error_set(error, WEIR_EFULL, "the test's disk is full") : 0;
    for (uint32_t i = 0; i < count && status == 0; i++)
        keep(self, &requests[i].record);
    pthread_mutex_unlock(&self->mutex);
    return status;
}

static void writer_destroy(void *arg)
{
    (void)arg;
}

static void *run(void *arg)
{
    struct holder *self = arg;
    weir_reactor_run(self->reactor, self->role);
    return NULL;
}

struct holder *holder_new(const char *endpoint)
{
    struct holder *self = weir_zalloc(1, sizeof *self);
    struct weir_error error = {0};
    const struct weir_hold_writer writer = {self, hold, writer_destroy};
    const struct weir_holder_config config = {
        .name = "holder", .role = "sink", .tag = 9, .fsync = WEIR_FSYNC_ALWAYS};
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->changed, NULL);
    self->store = weir_hold_store_new(&writer, &error);
    assert_non_null(self->store);
    self->reactor = weir_reactor_new();
    if (weir_reactor_serve(self->reactor, WEIR_PORT_SUBMIT, endpoint, &error) != 0)
        fail_msg("%s", error.text);
    weir_reactor_attach_store(self->reactor, self->store);
    self->role = weir_holder_new(&config, NULL, 0, 1, weir_reactor_host(self->reactor), 1);
    assert_int_equal(pthread_create(&self->thread, NULL, run, self), 0);
    return self;
}

void holder_destroy(struct holder **self_pointer)
{
    struct holder *self = *self_pointer;
    holder_hold_back(self, false);
    weir_reactor_drain(self->reactor);
    pthread_join(self->thread, NULL);
    weir_role_destroy(&self->role);
    weir_reactor_destroy(&self->reactor);
    weir_store_destroy(&self->store);
    for (uint32_t i = 0; i < self->message_count; i++)
        free(self->messages[i]);
    free(self->messages);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->mutex);
    free(self);
    *self_pointer = NULL;
}

const char *holder_endpoint(const struct holder *self)
{
    return weir_reactor_endpoint(self->reactor, WEIR_PORT_SUBMIT);
}

void holder_hold_back(struct holder *self, bool hold_back)
{
    pthread_mutex_lock(&self->mutex);
    self->hold_back = hold_back;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->mutex);
}

void holder_fill(struct holder *self, bool full)
{
    pthread_mutex_lock(&self->mutex);
    self->full = full;
    pthread_mutex_unlock(&self->mutex);
}

void holder_await_waiting(struct holder *self, uint32_t batches)
{
    pthread_mutex_lock(&self->mutex);
    while (self->waiting < batches)
        pthread_cond_wait(&self->changed, &self->mutex);
    pthread_mutex_unlock(&self->mutex);
}

uint32_t holder_message_count(struct holder *self)
{
    pthread_mutex_lock(&self->mutex);
    uint32_t count = self->message_count;
    pthread_mutex_unlock(&self->mutex);
    return count;
}

uint32_t holder_batch_count(struct holder *self)
{
    pthread_mutex_lock(&self->mutex);
    uint32_t count = self->batch_count;
    pthread_mutex_unlock(&self->mutex);
    return count;
}

char *holder_message(struct holder *self, uint32_t at)
{
    pthread_mutex_lock(&self->mutex);
    char *copy = weir_strdup(at < self->message_count ? self->messages[at] : "none");
    pthread_mutex_unlock(&self->mutex);
    return copy;
}
