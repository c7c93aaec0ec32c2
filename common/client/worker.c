/* The worker of the public API: the worker machine, a reactor on a thread of its own, and handlers
 * on others. */
#include <base/alloc.h>
#include <base/limits.h>
#include <base/random.h>
#include <base/topic.h>
#include <client/executor.h>
#include <core/roles.h>
#include <pthread.h>
#include <runtime/reactor.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct names { /* grows */
    char **at;
    uint32_t count;
};

struct weir_worker_options {
    char *group, *name, *to, *result_topic;
    weir_handler_fn *handler;
    void *arg;
    struct names from, topics;
    bool earliest;
    uint32_t concurrency, prefetch; /* prefetch 0: the default */
    uint64_t prefetch_bytes;
};

struct weir_worker_handle {
    struct weir_role role; /* first: passes events on to the machine */
    struct weir_role *machine;
    struct weir_reactor *reactor;
    struct weir_executor *executor;
    pthread_t thread;
    int status;
};

/* ---- Options -------------------------------------------------------------------------------- */

static void names_add(struct names *names, const char *name)
{
    names->at = weir_realloc(names->at, names->count + 1, sizeof *names->at);
    names->at[names->count++] = weir_strdup(name != NULL ? name : "");
}

static void names_fini(struct names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->at[i]);
    free(names->at);
}

static void name_set(char **name, const char *value)
{
    free(*name);
    *name = value != NULL ? weir_strdup(value) : NULL;
}

weir_worker_options_t *weir_worker_options_new(const char *group, weir_handler_fn *handler,
                                               void *arg)
{
    struct weir_worker_options *self = weir_zalloc(1, sizeof *self);
    name_set(&self->group, group != NULL ? group : "");
    self->handler = handler;
    self->arg = arg;
    self->concurrency = 1;
    self->prefetch_bytes = WEIR_FUNCTION_PREFETCH_BYTES;
    return self;
}

void weir_worker_options_destroy(weir_worker_options_t **self_pointer)
{
    if (self_pointer == NULL || *self_pointer == NULL)
        return;
    struct weir_worker_options *self = *self_pointer;
    names_fini(&self->from);
    names_fini(&self->topics);
    free(self->group);
    free(self->name);
    free(self->to);
    free(self->result_topic);
    free(self);
    *self_pointer = NULL;
}

void weir_worker_options_add_from(weir_worker_options_t *self, const char *endpoint)
{
    names_add(&self->from, endpoint);
}

void weir_worker_options_set_name(weir_worker_options_t *self, const char *name)
{
    name_set(&self->name, name);
}

void weir_worker_options_add_topic(weir_worker_options_t *self, const char *pattern)
{
    names_add(&self->topics, pattern);
}

void weir_worker_options_set_earliest(weir_worker_options_t *self, bool earliest)
{
    self->earliest = earliest;
}

void weir_worker_options_set_to(weir_worker_options_t *self, const char *endpoint)
{
    name_set(&self->to, endpoint);
}

void weir_worker_options_set_result_topic(weir_worker_options_t *self, const char *topic)
{
    name_set(&self->result_topic, topic);
}

void weir_worker_options_set_concurrency(weir_worker_options_t *self, uint32_t handlers)
{
    self->concurrency = handlers;
}

void weir_worker_options_set_prefetch(weir_worker_options_t *self, uint32_t messages,
                                      uint64_t bytes)
{
    self->prefetch = messages > 0 ? messages : UINT32_MAX; /* 0 is out of range, not the default */
    self->prefetch_bytes = bytes;
}

static int names_check(const struct weir_worker_options *options, struct weir_error *error)
{
    const char *name = options->name != NULL ? options->name : options->group;
    if (!weir_name_valid(options->group, strlen(options->group)))
        return weir_error_set(
            error, WEIR_EINVAL,
            "\"%.100s\" is no group's name: 1 … %u letters, digits, '_', '-', '.'", options->group,
            WEIR_NAME_BYTES_MAX);
    if (!weir_name_valid(name, strlen(name)))
        return weir_error_set(error, WEIR_EINVAL,
                              "\"%.100s\" is no worker's name: 1 … %u letters, digits, '_', '-', "
                              "'.'",
                              name, WEIR_NAME_BYTES_MAX);
    if (options->topics.count > WEIR_TOPIC_PATTERNS_MAX)
        return weir_error_set(error, WEIR_EINVAL, "a group has %u topics at most, not %u",
                              WEIR_TOPIC_PATTERNS_MAX, options->topics.count);
    for (uint32_t i = 0; i < options->topics.count; i++)
        if (!weir_topic_pattern_valid(options->topics.at[i], strlen(options->topics.at[i])))
            return weir_error_set(error, WEIR_EINVAL,
                                  "\"%.100s\" is no topic's pattern: such as \"user.*\" or "
                                  "\"order.>\"",
                                  options->topics.at[i]);
    if (options->result_topic != NULL &&
        !weir_topic_valid(options->result_topic, strlen(options->result_topic)))
        return weir_error_set(error, WEIR_EINVAL, "\"%.100s\" is no topic for results",
                              options->result_topic);
    return 0;
}

static uint32_t prefetch_of(const struct weir_worker_options *options)
{
    return options->prefetch > 0 ? options->prefetch : WEIR_FUNCTION_PREFETCH_MESSAGES;
}

static int options_check(const struct weir_worker_options *options, struct weir_error *error)
{
    if (options->handler == NULL)
        return weir_error_set(error, WEIR_EINVAL, "a worker needs a handler");
    if (options->from.count < 1 || options->from.count > WEIR_UPSTREAMS_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "a worker takes work from 1 … %u endpoints, not %u: add the "
                              "`dispatch` endpoint of a router or ventilator",
                              WEIR_UPSTREAMS_MAX, options->from.count);
    if (options->concurrency < 1 || options->concurrency > WEIR_FUNCTION_THREADS_MAX)
        return weir_error_set(error, WEIR_EINVAL, "a worker runs 1 … %u handlers at once, not %u",
                              WEIR_FUNCTION_THREADS_MAX, options->concurrency);
    if (prefetch_of(options) < options->concurrency ||
        prefetch_of(options) > WEIR_CREDIT_MESSAGES_MAX || options->prefetch_bytes < 1 ||
        options->prefetch_bytes > WEIR_CREDIT_BYTES_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "a worker holds %u … %u messages (its concurrency at least) and 1 … "
                              "%u bytes",
                              options->concurrency, WEIR_CREDIT_MESSAGES_MAX,
                              WEIR_CREDIT_BYTES_MAX);
    return names_check(options, error);
}

/* ---- The worker ----------------------------------------------------------------------------- */

static void step(struct weir_role *role, struct weir_event *event)
{
    struct weir_worker_handle *self = (struct weir_worker_handle *)(void *)role;
    /* The machine waits for jobs; a job is many messages, and only the running one shall end. */
    if (event->type == WEIR_EVENT_DRAIN)
        weir_function_executor_drain(self->executor);
    weir_role_step(self->machine, event);
}

static void worker_free(struct weir_worker_handle *self)
{
    /* The executor first: its jobs' leases belong to the machine, too, but not the other way. */
    weir_executor_destroy(&self->executor);
    weir_role_destroy(&self->machine);
    weir_reactor_destroy(&self->reactor);
    free(self);
}

static int connect_all(struct weir_worker_handle *self, const struct weir_worker_options *options,
                       struct weir_error *error)
{
    for (uint32_t i = 0; i < options->from.count; i++) {
        int status =
            weir_reactor_connect(self->reactor, WEIR_PORT_FROM + i, options->from.at[i], error);
        if (status != 0)
            return status;
    }
    if (options->to == NULL)
        return 0;
    return weir_reactor_connect(self->reactor, WEIR_PORT_TO, options->to, error);
}

static struct weir_worker_handle *worker_new(const struct weir_worker_options *options,
                                             bool signals, struct weir_error *error)
{
    if (options_check(options, error) != 0)
        return NULL;
    const struct weir_worker_config config = {
        .name = options->name != NULL ? options->name : options->group,
        .group = options->group,
        .topics = options->topics.count > 0 ? (const char *const *)options->topics.at : NULL,
        .topic_count = options->topics.count,
        .from = options->earliest ? "earliest" : "now",
        .upstream_count = options->from.count,
        .results = options->to != NULL,
        .result_topic = options->result_topic,
        .concurrency = options->concurrency,
        .prefetch = prefetch_of(options),
        .prefetch_bytes = options->prefetch_bytes,
        .paced = options->prefetch == 0,
        .job_messages_max = WEIR_FUNCTION_JOB_MESSAGES,
    };
    uint64_t seed;
    weir_entropy(&seed, sizeof seed);
    struct weir_worker_handle *self = weir_zalloc(1, sizeof *self);
    self->role = (struct weir_role){.step = step};
    self->reactor = weir_reactor_new();
    if (signals && weir_reactor_signals(self->reactor, error) != 0)
        goto cleanup;
    if (connect_all(self, options, error) != 0)
        goto cleanup;
    self->executor =
        weir_function_executor_new(options->handler, options->arg, options->concurrency, error);
    if (self->executor == NULL)
        goto cleanup;
    weir_reactor_attach_executor(self->reactor, self->executor);
    self->machine = weir_worker_new(&config, weir_reactor_host(self->reactor), seed);
    return self;
cleanup:
    worker_free(self);
    return NULL;
}

static void *reactor_main(void *arg)
{
    struct weir_worker_handle *self = arg;
    self->status = weir_reactor_run(self->reactor, &self->role);
    return NULL;
}

weir_worker_t *weir_worker_start(const weir_worker_options_t *options, struct weir_error *error)
{
    struct weir_worker_handle *self = worker_new(options, false, error);
    if (self == NULL)
        return NULL;
    /* Signals are the host program's business, on its own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&self->thread, NULL, reactor_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == 0)
        return self;
    weir_error_set(error, WEIR_EIO, "cannot start a thread: %s", strerror(status));
    worker_free(self);
    return NULL;
}

void weir_worker_stop(weir_worker_t **self)
{
    if (self == NULL || *self == NULL)
        return;
    weir_reactor_drain((*self)->reactor);
    pthread_join((*self)->thread, NULL);
    worker_free(*self);
    *self = NULL;
}

int weir_worker_run(const weir_worker_options_t *options, struct weir_error *error)
{
    struct weir_error local = {0};
    struct weir_worker_handle *self = worker_new(options, true, &local);
    if (self == NULL) {
        if (error != NULL)
            *error = local;
        return local.code;
    }
    int status = weir_reactor_run(self->reactor, &self->role);
    if (status > 128) /* the second signal: handlers may never return, so do not wait for them */
        _exit(status);
    worker_free(self);
    return 0;
}
