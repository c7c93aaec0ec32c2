#include "server_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(struct server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct server *server, const char *format, ...)
{
    size_t used = strlen(server->told);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(server->told + used, sizeof server->told - used, format, arguments);
    va_end(arguments);
}

static void tell_leases(struct server *server, const struct weir_lease_ref *leases, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tell(server, " %llu/%u+%u", (unsigned long long)leases[i].delivery, leases[i].first,
             leases[i].count);
    tell(server, "\n");
}

static void on_room(void *self, const char *group, const struct weir_now *now)
{
    (void)now;
    tell(self, "room %s\n", group);
}

static void on_ack(void *self, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now)
{
    (void)now;
    tell(self, "ack %llu by %llx\n", (unsigned long long)peer, (unsigned long long)control->worker);
}

static void on_beat(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    tell(self, "beat %llu by %llx", (unsigned long long)peer, (unsigned long long)control->worker);
    tell_leases(self, control->leases, control->lease_count);
}

static void on_begin(void *self, uint64_t peer, const struct weir_control *control,
                     const struct weir_now *now)
{
    (void)now, (void)control;
    tell(self, "begin %llu\n", (unsigned long long)peer);
}

static void on_extend(void *self, uint64_t peer, const struct weir_control *control,
                      const struct weir_now *now)
{
    (void)now, (void)control;
    tell(self, "extend %llu\n", (unsigned long long)peer);
}

static void on_lost(void *self, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    (void)now;
    tell(self, "lost %llx %s", (unsigned long long)worker, name);
    tell_leases(self, leases, count);
}

static void on_released(void *self, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    (void)now;
    tell(self, "released");
    tell_leases(self, leases, count);
}

static void on_join(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    tell(self, "join %llu %.*s\n", (unsigned long long)peer, (int)control->group.bytes,
         control->group.data);
}

static bool on_known(void *self, const char *group)
{
    (void)group;
    return !((struct server *)self)->unknown;
}

static void take(void *arg, struct weir_event *event)
{
    weir_dispatch_event(arg, event);
}

int server_set_up(void **state)
{
    struct server *server = weir_zalloc(1, sizeof *server);
    script_init(&server->script);
    const struct weir_dispatch_owner owner = {.self = server,
                                              .room = on_room,
                                              .ack = on_ack,
                                              .beat = on_beat,
                                              .begin = on_begin,
                                              .extend = on_extend,
                                              .lost = on_lost,
                                              .released = on_released,
                                              .join = on_join,
                                              .known = on_known};
    const struct weir_dispatch_config config = {.name = "intake",
                                                .role = "ventilator",
                                                .incarnation = INCARNATION,
                                                .uuid = "0123456789abcde",
                                                .port = PORT};
    server->dispatch = weir_dispatch_new(&config, &owner, &server->script.host, 1);
    *state = server;
    return 0;
}

int server_tear_down(void **state)
{
    struct server *server = *state;
    weir_dispatch_destroy(&server->dispatch);
    script_fini(&server->script);
    free(server);
    return 0;
}

void server_say(struct server *server, uint64_t peer, const struct weir_control *control)
{
    script_say(&server->script, PORT, peer, control, NULL, take, server->dispatch);
}

void server_gone(struct server *server, uint64_t peer)
{
    script_event(&server->script, WEIR_EVENT_PEER_GONE, PORT, peer, take, server->dispatch);
}

int64_t server_tick(struct server *server)
{
    return weir_dispatch_tick(server->dispatch, &server->script.now);
}

void server_wait(struct server *server, int64_t ms)
{
    script_wait(&server->script, ms);
    server_tick(server);
}

void server_assert_told(struct server *server, const char *expected)
{
    assert_string_equal(server->told, expected);
    server->told[0] = '\0';
}

void server_ready(struct server *server, uint64_t peer, uint64_t worker)
{
    struct weir_control control = control_ready(worker ? "worker" : "router", worker, "kate");
    server_say(server, peer, &control);
    script_expect(&server->script, PORT, peer, WEIR_VERB_WELCOME);
}

void server_ready_with(struct server *server, uint64_t peer, uint64_t worker,
                       struct weir_lease_ref *leases, uint32_t count)
{
    struct weir_control control = control_ready("worker", worker, "kate");
    WEIR_SET(&control, leases, LEASES, leases);
    control.lease_count = count;
    server_say(server, peer, &control);
    script_expect(&server->script, PORT, peer, WEIR_VERB_WELCOME);
}

void server_credit(struct server *server, uint64_t peer, uint64_t messages, uint64_t bytes)
{
    struct weir_control control = control_credit(GROUP, messages, bytes);
    server_say(server, peer, &control);
}

void server_worker(struct server *server, uint64_t peer, uint64_t number, uint64_t messages)
{
    server_ready(server, peer, number);
    server_credit(server, peer, messages, 1 << 20);
    server->told[0] = '\0';
}

bool server_offer(struct server *server, bool alone, struct weir_offer *offered)
{
    return weir_dispatch_offer(server->dispatch, GROUP, alone, &server->script.now, offered);
}

uint64_t server_deliver(struct server *server, uint64_t peer, uint32_t count, bool alone)
{
    struct weir_slice_info slice = {
        .index = 0, .count = count, .sequence = server->sequence + 1, .time_ms = 1, .attempt = 1};
    struct weir_control control =
        control_deliver(GROUP, INCARNATION, ++server->delivery, &slice, 1);
    if (alone)
        WEIR_SET(&control, alone, ALONE, 1);
    struct weir_frames frames = {0};
    script_slice(&frames, server->sequence + 1, count, 0, NULL);
    server->sequence += count;
    weir_dispatch_deliver(server->dispatch, peer, &control, &frames, &server->script.now);
    struct sent *sent = script_find(&server->script, PORT, peer, WEIR_VERB_DELIVER);
    assert_non_null(sent);
    uint64_t numbers[WEIR_DELIVERY_MESSAGES_MAX];
    assert_int_equal(script_numbers(sent, numbers, WEIR_DELIVERY_MESSAGES_MAX), count);
    assert_int_equal(sent->control.delivery, server->delivery);
    return server->delivery;
}

void server_ack(struct server *server, uint64_t peer, uint64_t delivery, uint32_t first,
                uint32_t count, uint32_t outcome)
{
    struct weir_ack entry = ack_of(INCARNATION, delivery, first, count, outcome);
    struct weir_control control = control_ack(GROUP, &entry, 1);
    server_say(server, peer, &control);
}

void server_expect_error(struct server *server, uint64_t peer, const char *code)
{
    struct sent *sent = script_expect(&server->script, PORT, peer, WEIR_VERB_ERROR);
    assert_text(&sent->control.code, code);
}
