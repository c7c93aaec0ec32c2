#include "ventilator_fixture.h"

#include <base/alloc.h>
#include <core/roles.h>
#include <dirent.h>
#include <pthread.h>
#include <runtime/reactor.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <store/store.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ANY_PORT "tcp://127.0.0.1:*"

struct ventilator {
    char *directory;
    struct weir_reactor *reactor;
    struct weir_store *store;
    struct weir_role *role;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct ventilator *self = arg;
    weir_reactor_run(self->reactor, self->role);
    return NULL;
}

static void serve(struct ventilator *self, uint32_t port)
{
    struct weir_error error = {0};
    if (weir_reactor_serve(self->reactor, port, ANY_PORT, &error) != 0)
        fail_msg("%s", error.text);
}

struct ventilator *ventilator_new(const struct weir_group_policy *groups, uint32_t group_count,
                                  bool dynamic_groups)
{
    struct ventilator *self = weir_zalloc(1, sizeof *self);
    const char *base = getenv("TMPDIR");
    self->directory = weir_asprintf("%s/weir-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(self->directory));
    const struct weir_spool_config spool = {
        .directory = self->directory, .tag = 7, .segment_bytes = 1u << 20};
    const struct weir_ventilator_config config = {.name = "intake",
                                                  .groups = groups,
                                                  .group_count = group_count,
                                                  .dynamic_groups = dynamic_groups,
                                                  .idempotency_window_ms = 60000,
                                                  .idempotency_count_max = 1000};
    struct weir_recovered *recovered = NULL;
    struct weir_error error = {0};
    if (weir_spool_open(&spool, &self->store, &recovered, &error) != 0)
        fail_msg("%s", error.text);
    self->reactor = weir_reactor_new();
    serve(self, WEIR_PORT_SUBMIT);
    serve(self, WEIR_PORT_DISPATCH);
    weir_reactor_attach_store(self->reactor, self->store);
    self->role = weir_ventilator_new(&config, &recovered, weir_reactor_host(self->reactor), 1);
    assert_int_equal(pthread_create(&self->thread, NULL, run, self), 0);
    return self;
}

static void directory_remove(char *path)
{
    DIR *directory = opendir(path);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *file = weir_asprintf("%s/%s", path, entry->d_name);
        if (unlink(file) != 0)
            directory_remove(file);
        free(file);
    }
    closedir(directory);
    rmdir(path);
}

void ventilator_destroy(struct ventilator **self_pointer)
{
    struct ventilator *self = *self_pointer;
    weir_reactor_drain(self->reactor);
    pthread_join(self->thread, NULL);
    weir_role_destroy(&self->role);
    weir_reactor_destroy(&self->reactor);
    weir_store_destroy(&self->store);
    directory_remove(self->directory);
    free(self->directory);
    free(self);
    *self_pointer = NULL;
}

const char *ventilator_submit(const struct ventilator *self)
{
    return weir_reactor_endpoint(self->reactor, WEIR_PORT_SUBMIT);
}

const char *ventilator_dispatch(const struct ventilator *self)
{
    return weir_reactor_endpoint(self->reactor, WEIR_PORT_DISPATCH);
}
