/* Time, processes, the network, and the hosts that the roles call. */
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sim_event {
    struct weir_heap_node node;
    struct sim_process *process; /* NULL: of the world */
    uint64_t epoch;
    sim_call *call;
    void *arg;
    uint64_t number;
    bool waited; /* for its process to go on */
};

void sim_log(struct sim *sim, const char *who, const char *format, ...)
{
    if (!sim->trace)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%12.6f %-14s ", (double)sim->now_ns / 1e9, who);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

const struct sim_check *sim_check_of(enum sim_check_name check)
{
    static const struct sim_check checks[] = {
#define X(NAME, invariant, name, text) {name, text, invariant},
#include "checks.def"
#undef X
    };
    return &checks[check];
}

void sim_count(struct sim *sim, enum sim_count_name what)
{
    sim->counts[what]++;
}

const char *sim_count_text(uint32_t what)
{
    static const char *const texts[] = {
#define X(NAME, text) text,
#include "counts.def"
#undef X
    };
    return texts[what];
}

void sim_fail(struct sim *sim, enum sim_check_name check, const char *format, ...)
{
    if (sim->failure[0] != '\0')
        return;
    sim->failed = check;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, arguments);
    va_end(arguments);
    sim_log(sim, "VIOLATION", "%s: %s", sim_check_of(check)->name, sim->failure);
}

void sim_at(struct sim *sim, int64_t delay_ns, struct sim_process *process, sim_call *call,
            void *arg, uint64_t number)
{
    struct sim_event *event = weir_zalloc(1, sizeof *event);
    event->process = process;
    event->epoch = process ? process->epoch : 0;
    event->call = call;
    event->arg = arg;
    event->number = number;
    weir_heap_set(&sim->events, &event->node, sim->now_ns + delay_ns);
}

int64_t sim_delay(struct sim *sim, int64_t max_ns)
{
    return 1 + (int64_t)weir_random_below(&sim->random, (uint64_t)max_ns);
}

struct weir_now sim_now(const struct sim_process *process)
{
    const int64_t now_ns = process->sim->now_ns;
    const int64_t ran_ns = now_ns + now_ns / 1000000 * process->drift_ppm;
    return (struct weir_now){.mono_ns = process->boot_ns + ran_ns,
                             .wall_ms = SIM_WALL_START_MS + ran_ns / WEIR_NS_PER_MS +
                                        process->clock_skew_ms};
}

static bool is_stalled(const struct sim_process *process)
{
    return process->role && process->stalled_until_ns > 0 &&
           process->sim->now_ns <= process->stalled_until_ns + process->stalled_count;
}

/* Whatever waits keeps its order. */
static int64_t stall_end(struct sim_process *process)
{
    return process->stalled_until_ns + ++process->stalled_count;
}

bool sim_run(struct sim *sim, int64_t until_ns, bool (*done)(struct sim *sim))
{
    while (sim->failure[0] == '\0') {
        if (done && done(sim))
            return true;
        struct weir_heap_node *node = weir_heap_first(&sim->events);
        if (!node || node->at > until_ns) {
            sim->now_ns = until_ns;
            return !done;
        }
        struct sim_event *event = WEIR_CONTAINER_OF(node, struct sim_event, node);
        weir_heap_remove(&sim->events, node);
        sim->now_ns = node->at > sim->now_ns ? node->at : sim->now_ns;
        sim->event_count++;
        if (event->process && event->process->epoch == event->epoch && !event->waited &&
            is_stalled(event->process)) {
            event->waited = true;
            weir_heap_set(&sim->events, &event->node, stall_end(event->process));
            continue;
        }
        if (!event->process || event->process->epoch == event->epoch)
            event->call(sim, event->process, event->arg, event->number);
        else
            event->call(sim, NULL, event->arg, event->number); /* only to release arg */
        free(event);
    }
    return false;
}

void sim_step(struct sim_process *process, struct weir_event *event)
{
    if (!process->role)
        return;
    event->now = sim_now(process);
    weir_role_step(process->role, event);
    sim_check_bounds(process);
}

/* --- the network --- */

struct sim_packet {
    struct sim_link *link;
    uint64_t generation;
    bool upwards; /* client to server */
    bool waited;  /* for its reader to go on */
    struct weir_frames frames;
};

static void packet_arrives(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)process;
    (void)number;
    struct sim_packet *packet = arg;
    struct sim_link *link = packet->link;
    struct sim_process *reader = packet->upwards ? link->server : link->client;
    if (link->generation == packet->generation && !packet->waited && is_stalled(reader) &&
        !sim->over) {
        packet->waited = true;
        sim_at(sim, stall_end(reader) - sim->now_ns, NULL, packet_arrives, packet, 0);
        return;
    }
    if (link->peer != 0 && link->generation == packet->generation) {
        struct sim_process *to = packet->upwards ? link->server : link->client;
        struct weir_event event = {.type = WEIR_EVENT_MESSAGE,
                                   .port = packet->upwards ? link->server_port : link->client_port,
                                   .peer = packet->upwards ? link->peer : 0,
                                   .frames = &packet->frames};
        if (sim->trace && packet->frames.count > 0) {
            char verb[12] = "";
            const struct weir_bytes *control = &packet->frames.at[0];
            for (size_t i = 2;
                 i < control->size && i < 11 && control->data[i] >= 'A' && control->data[i] <= 'Z';
                 i++)
                verb[i - 2] = (char)control->data[i];
            sim_log(sim, to->name, "gets %s, %u frames, from %s", verb, packet->frames.count,
                    packet->upwards ? link->client->name : link->server->name);
        }
        sim_overhear(to, link, &packet->frames);
        sim_step(to, &event);
    }
    weir_frames_drop(&packet->frames);
    free(packet);
}

static void packet_send(struct sim_link *link, bool upwards, struct weir_frames *frames)
{
    struct sim *sim = link->client->sim;
    struct sim_packet *packet = weir_zalloc(1, sizeof *packet);
    packet->link = link;
    packet->generation = link->generation;
    packet->upwards = upwards;
    if (upwards && sim->params.hostile && weir_random_below(&sim->random, 16) == 0)
        sim_hostile_listen(sim, link->server_port, frames);
    if (!upwards && link->server_port == WEIR_PORT_DISPATCH)
        sim_watch_link(link, frames);
    packet->frames = *frames;
    *frames = (struct weir_frames){0};
    int64_t *last = upwards ? &link->last_up_ns : &link->last_down_ns;
    int64_t slow = weir_random_below(&sim->random, 50) == 0 ? 50 * WEIR_NS_PER_MS : WEIR_NS_PER_MS;
    int64_t at = sim->now_ns + sim_delay(sim, slow);
    if (at <= *last)
        at = *last + 1;
    *last = at;
    sim_at(sim, at - sim->now_ns, NULL, packet_arrives, packet, 0);
}

static void link_connect(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)process;
    (void)number;
    struct sim_link *link = arg;
    if (!sim->over && (is_stalled(link->client) || is_stalled(link->server))) {
        sim_at(sim, 10 * WEIR_NS_PER_MS, NULL, link_connect, link, 0);
        return;
    }
    link->connecting = false;
    if (link->peer != 0 || !link->client->role || !link->server->role)
        return;
    link->peer = ++sim->next_peer;
    link->generation++;
    link->session = false;
    memset(link->credit, 0, sizeof link->credit);
    sim_log(sim, link->client->name, "connected to %s as %llu", link->server->name,
            (unsigned long long)link->peer);
    sim_way_ends(link);
    struct weir_event event = {.type = WEIR_EVENT_LINK_UP, .port = link->client_port};
    sim_step(link->client, &event);
}

static void link_connect_soon(struct sim_link *link)
{
    struct sim *sim = link->client->sim;
    if (link->peer != 0 || link->connecting || !link->client->role || !link->server->role)
        return;
    link->connecting = true;
    sim_at(sim, sim_delay(sim, 20 * WEIR_NS_PER_MS), NULL, link_connect, link, 0);
}

struct link_end {
    struct sim_link *link;
    uint64_t peer;
    bool server;
};

/* Each end notices on its own. */
static void link_end_notices(struct sim *sim, struct sim_process *process, void *arg,
                             uint64_t number)
{
    (void)sim;
    (void)number;
    struct link_end *end = arg;
    if (process) {
        struct weir_event event = {
            .type = end->server ? WEIR_EVENT_PEER_GONE : WEIR_EVENT_LINK_DOWN,
            .port = end->server ? end->link->server_port : end->link->client_port,
            .peer = end->server ? end->peer : 0};
        const bool still = end->server || end->link->peer == 0;
        if (still && !end->server)
            sim_way_ends(end->link);
        if (still)
            sim_step(process, &event);
    }
    free(end);
}

static void link_notice(struct sim_link *link, uint64_t peer, bool server, int64_t delay_ns)
{
    struct sim_process *process = server ? link->server : link->client;
    if (!process->role)
        return;
    struct link_end *end = weir_zalloc(1, sizeof *end);
    *end = (struct link_end){.link = link, .peer = peer, .server = server};
    sim_at(process->sim, delay_ns, process, link_end_notices, end, 0);
}

void sim_disturb(struct sim_process *process)
{
    process->disturbed_ns = process->sim->now_ns;
}

void sim_break(struct sim_link *link)
{
    struct sim *sim = link->client->sim;
    if (link->peer == 0)
        return;
    uint64_t peer = link->peer;
    link->peer = 0;
    link->generation++;
    link->broken_ns = link->broken_ns ? link->broken_ns : sim->now_ns;
    sim_count(sim, SIM_COUNT_BREAKS);
    sim_log(sim, link->client->name, "connection to %s breaks", link->server->name);
    link_notice(link, peer, true, sim_delay(sim, 5 * WEIR_NS_PER_MS));
    link_notice(link, peer, false, 1);
    link_connect_soon(link);
}

static void host_send(void *self, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct sim_process *process = self;
    struct sim *sim = process->sim;
    if (port == WEIR_PORT_DISPATCH)
        sim_watch(process, frames);
    if (port >= WEIR_PORT_FROM && process->kind == SIM_WORKER)
        sim_overhear_worker(process, port, frames);
    if (sim->hostile.process == process && sim->hostile.peer == peer)
        sim->hostile.answers++;
    if (port == WEIR_PORT_SUBMIT && process->kind == SIM_VENTILATOR)
        sim_watch_turned_away(process, frames);
    if (port == WEIR_PORT_ADMIN && process->answer) {
        weir_frames_drop(process->answer);
        *process->answer = *frames;
        *frames = (struct weir_frames){0};
        return;
    }
    if (port == WEIR_PORT_ADMIN) {
        sim_operator_answered(process, peer, frames);
        weir_frames_drop(frames);
        return;
    }
    for (uint32_t i = 0; peer == 0 && i < process->link_count; i++) {
        struct sim_link *link = &process->links[i];
        if (link->client_port == port && link->peer != 0) {
            packet_send(link, true, frames);
            return;
        }
    }
    for (uint32_t p = 0; peer != 0 && p < sim->process_count; p++) {
        struct sim_process *client = &sim->processes[p];
        for (uint32_t i = 0; i < client->link_count; i++) {
            struct sim_link *link = &client->links[i];
            if (link->server == process && link->server_port == port && link->peer == peer) {
                if (port == WEIR_PORT_SUBMIT)
                    sim_watch_answer(process, client, frames);
                packet_send(link, false, frames);
                return;
            }
        }
    }
    weir_frames_drop(frames);
}

/* --- timers, storage, handlers --- */

static void wake(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)sim;
    (void)arg;
    if (!process || process->wake_serial != number)
        return;
    struct weir_event event = {.type = WEIR_EVENT_TIMER};
    sim_step(process, &event);
}

static void host_wake_at(void *self, int64_t mono_ns)
{
    struct sim_process *process = self;
    process->wake_serial++;
    if (mono_ns == WEIR_TIME_NEVER)
        return;
    int64_t delay = mono_ns - sim_now(process).mono_ns;
    delay -= delay / 1000000 * process->drift_ppm;
    sim_at(process->sim, delay > 0 ? delay : 1, process, wake, NULL, process->wake_serial);
}

static void host_store(void *self, struct weir_store_request *request)
{
    struct sim_process *process = self;
    if (process->kind != SIM_VENTILATOR) {
        sim_disk_submit(process, request);
        return;
    }
    sim_spool_submit(process, request);
}

static void host_run(void *self, struct weir_job *job)
{
    sim_handler_run(self, job);
}

static void host_kill(void *self, uint64_t job)
{
    sim_handler_kill(self, job);
}

static void stop_and_return(struct sim *sim, struct sim_process *process, void *arg,
                            uint64_t number)
{
    (void)arg;
    (void)number;
    if (!process)
        return;
    sim_end(process, SIM_STOPPED);
    if (!process->held_down)
        sim_start(process);
    (void)sim;
}

static void host_stopped(void *self, int status)
{
    struct sim_process *process = self;
    sim_log(process->sim, process->name, "stopped, status %d", status);
    process->stopping = true;
    if (status != 0 && !sim_storage_may_fail(process))
        sim_fail(process->sim, SIM_CHECK_CONDUCT, "%s stopped with status %d", process->name,
                 status);
    sim_at(process->sim, 1, process, stop_and_return, NULL, 0);
}

static void host_log(void *self, enum weir_log_level level, const char *text)
{
    struct sim_process *process = self;
    if (strstr(text, "beyond the credit"))
        sim_fail(process->sim, SIM_CHECK_CREDIT, "%s: %s", process->name, text);
    process->said_why = process->said_why || level == WEIR_LOG_ERROR;
    if (level <= WEIR_LOG_INFO)
        sim_log(process->sim, process->name, "says: %s", text);
}

/* --- processes --- */

struct sim_process *sim_process_add(struct sim *sim, enum sim_kind kind)
{
    static const char *const names[] = {"ventilator", "router",   "worker",  "sink",
                                        "dlq",        "producer", "replayer"};
    WEIR_ASSERT(sim->process_count < SIM_PROCESSES_MAX);
    struct sim_process *process = &sim->processes[sim->process_count++];
    process->sim = sim;
    process->kind = kind;
    for (uint32_t i = 0; i + 1 < sim->process_count; i++)
        process->index += sim->processes[i].kind == kind;
    snprintf(process->name, sizeof process->name, "%s%u", names[kind], process->index);
    process->host = (struct weir_host){.self = process,
                                       .send = host_send,
                                       .wake_at = host_wake_at,
                                       .store = host_store,
                                       .run = host_run,
                                       .kill = host_kill,
                                       .stopped = host_stopped,
                                       .log = host_log};
    return process;
}

void sim_link_add(struct sim_process *client, uint32_t client_port, struct sim_process *server,
                  uint32_t server_port)
{
    WEIR_ASSERT(client->link_count < SIM_LINKS_MAX);
    client->links[client->link_count++] = (struct sim_link){
        .client = client, .server = server, .client_port = client_port, .server_port = server_port};
}

static void each_link_of(struct sim_process *process, void (*call)(struct sim_link *link))
{
    struct sim *sim = process->sim;
    for (uint32_t p = 0; p < sim->process_count; p++) {
        for (uint32_t i = 0; i < sim->processes[p].link_count; i++) {
            struct sim_link *link = &sim->processes[p].links[i];
            if (link->client == process || link->server == process)
                call(link);
        }
    }
}

static void start_again(struct sim *sim, struct sim_process *process, void *arg, uint64_t number)
{
    (void)sim;
    (void)arg;
    (void)number;
    if (process && !process->held_down)
        sim_start(process);
}

void sim_start(struct sim_process *process)
{
    if (process->role || process->sim->over)
        return;
    process->epoch++;
    process->stopping = false;
    process->told_to_stop = false;
    process->said_why = false;
    process->busy_said = process->refused_said = 0;
    free(process->held);
    process->held = NULL;
    process->held_count = 0;
    memset(process->beats, 0, sizeof process->beats);
    process->stalled_until_ns = process->stalled_count = 0;
    process->role = sim_role_new(process);
    if (!process->role) { /* its storage cannot be opened now */
        sim_end(process, SIM_KILLED);
        sim_at(process->sim, sim_delay(process->sim, 500 * WEIR_NS_PER_MS), process, start_again,
               NULL, 0);
        return;
    }
    sim_log(process->sim, process->name, "starts");
    struct weir_event event = {.type = WEIR_EVENT_START};
    sim_step(process, &event);
    each_link_of(process, link_connect_soon);
}

void sim_end(struct sim_process *process, enum sim_ending how)
{
    static const char *const words[] = {"is gone", "crashes", "loses its power"};
    if (process->role || how == SIM_POWER_LOST)
        sim_log(process->sim, process->name, "%s", words[how]);
    const bool ran = process->role != NULL;
    if (ran) {
        sim_check_stale(process);
        sim_check_answers(process);
    }
    if (process->kind == SIM_RELAY)
        process->sim->router_died_ns = process->sim->now_ns;
    else
        sim_disturb(process);
    process->stale_acks = 0;
    memset(process->relayed, 0, sizeof process->relayed);
    weir_role_destroy(&process->role);
    process->epoch++;
    process->wake_serial++;
    if (process->spool)
        sim_spool_end(process, how);
    if (!ran)
        return;
    if (process->disk)
        sim_disk_crash(process);
    sim_handlers_fini(process);
    each_link_of(process, sim_break);
}

void sim_crash(struct sim_process *process)
{
    if (process->role)
        sim_end(process, SIM_KILLED);
}

void sim_world_fini(struct sim *sim)
{
    sim->over = true;
    for (uint32_t i = 0; i < sim->process_count; i++) {
        struct sim_process *process = &sim->processes[i];
        weir_role_destroy(&process->role);
        process->epoch++;
        sim_handlers_fini(process);
        sim_spool_destroy(process);
        sim_disk_destroy(&process->disk);
    }
    struct weir_heap_node *node;
    while ((node = weir_heap_first(&sim->events)) != NULL) { /* let each release what it carries */
        struct sim_event *event = WEIR_CONTAINER_OF(node, struct sim_event, node);
        weir_heap_remove(&sim->events, node);
        event->call(sim, NULL, event->arg, event->number);
        free(event);
    }
    weir_heap_fini(&sim->events);
    sim_leases_fini(sim);
    sim_hostile_fini(sim);
    free(sim->suspects);
    free(sim->letters);
    free(sim->messages);
}
