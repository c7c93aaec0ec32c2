#include "pipeline.h"

#include <base/alloc.h>
#include <core/job_lease.h>
#include <core/roles.h>
#include <core/submit.h>
#include <stdio.h>
#include <stdlib.h>
#include <store/store.h>
#include <string.h>
#include <wire/batch.h>

#define TAG 7
#define START_MS INT64_C(1700000000000)
#define STEP_NS (10 * WEIR_NS_PER_MS / 1000) /* each event takes so long */
#define AHEAD 8 /* batches: accepted and not handled, beside a backlog */
#define PROCESSES_MAX (2 + PIPELINE_PRODUCERS_MAX + PIPELINE_WORKERS_MAX)
#define PACKETS_MAX 1024u
#define JOBS_MAX 16u
#define PREFETCH 16384u
#define IDLE_MAX 1000000u /* events without a message that ends: nothing goes on */

struct process {
    struct pipeline *pipeline;
    struct weir_host host;
    struct weir_role *role;     /* NULL: a producer */
    struct weir_submit *submit; /* of a producer */
    uint32_t server, port;      /* whom its client port is connected to */
    uint32_t client_port;
    int64_t wake_ns;
    struct weir_job jobs[JOBS_MAX]; /* of a worker */
    uint32_t job_count;
};

struct packet {
    uint32_t to;
    uint32_t port;
    uint64_t peer;
    struct weir_frames frames;
};

enum { VENTILATOR, ROUTER, OTHERS };

struct pipeline {
    struct process processes[PROCESSES_MAX];
    uint32_t producer_count, worker_count, process_count, batch;
    struct packet packets[PACKETS_MAX]; /* a ring */
    uint32_t packet_first, packet_count;
    struct weir_memory_store *store;
    uint32_t stored; /* requests handed over and not answered */
    struct weir_now now;
    struct weir_group_policy policy;
    uint64_t sent, accepted, handled;
    uint64_t wanted; /* sent */
    uint32_t turn;   /* of the producers */
    char payload[PIPELINE_PAYLOAD_BYTES];
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- The host of each --------------------------------------------------------------------------
 */

/* A server names its peers by their place, plus one. */
static void on_send(void *arg, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct process *from = arg;
    struct pipeline *self = from->pipeline;
    const uint32_t place = (uint32_t)(from - self->processes);
    if (self->packet_count == PACKETS_MAX)
        fail("too many packets are on their way");
    struct packet *packet =
        &self->packets[(self->packet_first + self->packet_count++) % PACKETS_MAX];
    *packet = (struct packet){.frames = *frames};
    *frames = (struct weir_frames){0};
    if (port == from->client_port) {
        packet->to = from->server;
        packet->port = from->port;
        packet->peer = place + 1;
    } else {
        packet->to = (uint32_t)peer - 1;
        packet->port = self->processes[peer - 1].client_port;
    }
}

static void on_wake(void *arg, int64_t mono_ns)
{
    ((struct process *)arg)->wake_ns = mono_ns;
}

static void on_store(void *arg, struct weir_store_request *request)
{
    struct pipeline *self = ((struct process *)arg)->pipeline;
    struct weir_store *store = weir_memory_store_store(self->store);
    self->stored++;
    store->submit(store, request);
}

static void on_run(void *arg, struct weir_job *job)
{
    struct process *process = arg;
    if (process->job_count == JOBS_MAX)
        fail("a worker runs too many jobs");
    process->jobs[process->job_count++] = *job;
    *job = (struct weir_job){0};
}

static void on_kill(void *arg, uint64_t job)
{
    (void)arg;
    (void)job;
    fail("a job was to be ended");
}

static void on_stopped(void *arg, int status)
{
    (void)arg;
    (void)status;
    fail("a role stopped");
}

static void on_log(void *arg, enum weir_log_level level, const char *text)
{
    (void)arg;
    if (level == WEIR_LOG_ERROR || level == WEIR_LOG_WARNING)
        fail(text);
}

static struct process *process_add(struct pipeline *self, uint32_t client_port, uint32_t server,
                                   uint32_t port)
{
    struct process *process = &self->processes[self->process_count++];
    *process = (struct process){.pipeline = self,
                                .client_port = client_port,
                                .server = server,
                                .port = port,
                                .wake_ns = WEIR_TIME_NEVER};
    process->host = (struct weir_host){.self = process,
                                       .send = on_send,
                                       .wake_at = on_wake,
                                       .store = on_store,
                                       .run = on_run,
                                       .kill = on_kill,
                                       .stopped = on_stopped,
                                       .log = on_log};
    return process;
}

static void step(struct process *process, struct weir_event *event)
{
    struct pipeline *self = process->pipeline;
    self->now.mono_ns += STEP_NS;
    self->now.wall_ms = START_MS + self->now.mono_ns / WEIR_NS_PER_MS;
    event->now = self->now;
    if (process->role != NULL)
        weir_role_step(process->role, event);
    else
        weir_submit_event(process->submit, event);
}

static void step_alone(struct process *process, enum weir_event_type type, uint32_t port)
{
    step(process, &(struct weir_event){.type = type, .port = port});
}

/* ---- Producers --------------------------------------------------------------------------------
 */

static void on_submitted(void *arg, const struct weir_submitted *submitted,
                         const struct weir_now *now)
{
    struct process *producer = arg;
    (void)now;
    if (submitted->status != 0)
        fail("a batch was refused");
    producer->pipeline->accepted += producer->pipeline->batch;
}

static void send_batch(struct process *producer)
{
    struct pipeline *self = producer->pipeline;
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = "t", .topic_bytes = 1};
    const struct weir_message_view message = {.payload = (const uint8_t *)self->payload,
                                              .payload_bytes = sizeof self->payload};
    struct weir_error error;
    memcpy(header.producer, weir_submit_producer(producer->submit), sizeof header.producer);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    for (uint32_t i = 0; i < self->batch; i++)
        if (weir_batch_builder_add(builder, &message, &error) != 0)
            fail(error.text);
    weir_submit_send(producer->submit, builder, 0, producer, &self->now);
    weir_batch_builder_destroy(&builder);
    self->sent += self->batch;
}

/* In turn, each as far as its window goes. */
static bool send_more(struct pipeline *self)
{
    if (self->sent >= self->wanted)
        return false;
    for (uint32_t i = 0; i < self->producer_count; i++) {
        struct process *producer = &self->processes[OTHERS + self->turn++ % self->producer_count];
        if (!weir_submit_room(producer->submit))
            continue;
        send_batch(producer);
        return true;
    }
    return false;
}

/* ---- Workers ----------------------------------------------------------------------------------
 */

/* Each message is decoded, as for a handler. */
static void handle_messages(struct pipeline *self, const struct weir_job *job)
{
    const uint32_t width = (uint32_t)(job->index.size / job->count);
    size_t offset = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        struct weir_message_view view;
        struct weir_error error;
        const uint32_t bytes = weir_index_length(&job->index, width, i);
        if (weir_message_decode(job->body.data + offset, bytes, &view, &error) != 0)
            fail(error.text);
        if (view.payload_bytes != sizeof self->payload ||
            memcmp(view.payload, self->payload, sizeof self->payload) != 0)
            fail("a message came with another payload");
        offset += bytes;
    }
    self->handled += job->count;
}

static void run_job(struct process *worker)
{
    struct weir_job job = worker->jobs[0];
    worker->job_count--;
    memmove(&worker->jobs[0], &worker->jobs[1], worker->job_count * sizeof job);
    struct weir_handled handled = {.type = WEIR_HANDLED_STARTED, .job = job.id};
    step(worker,
         &(struct weir_event){.type = WEIR_EVENT_HANDLED, .handled = &handled, .more = true});
    handle_messages(worker->pipeline, &job);
    struct weir_job_outcome outcome = {.count = job.count, .outcome = WEIR_DONE, .delay_ms = -1};
    handled = (struct weir_handled){
        .type = WEIR_HANDLED_OUTCOMES, .job = job.id, .outcomes = &outcome, .outcome_count = 1};
    step(worker,
         &(struct weir_event){.type = WEIR_EVENT_HANDLED, .handled = &handled, .more = true});
    handled = (struct weir_handled){.type = WEIR_HANDLED_END, .job = job.id};
    weir_job_fini(&job);
    step(worker, &(struct weir_event){.type = WEIR_EVENT_HANDLED, .handled = &handled});
}

static bool run_jobs(struct pipeline *self)
{
    bool ran = false;
    for (uint32_t i = OTHERS + self->producer_count; i < self->process_count; i++) {
        if (self->processes[i].job_count == 0)
            continue;
        run_job(&self->processes[i]);
        ran = true;
    }
    return ran;
}

/* ---- What happens next --------------------------------------------------------------------------
 */

static bool take_packet(struct pipeline *self)
{
    if (self->packet_count == 0)
        return false;
    struct packet packet = self->packets[self->packet_first];
    self->packet_first = (self->packet_first + 1) % PACKETS_MAX;
    self->packet_count--;
    step(&self->processes[packet.to], &(struct weir_event){.type = WEIR_EVENT_MESSAGE,
                                                           .port = packet.port,
                                                           .peer = packet.peer,
                                                           .frames = &packet.frames});
    weir_frames_drop(&packet.frames);
    return true;
}

/* All that was handed over ends together, as with a sync that several wait for. */
static bool take_stored(struct pipeline *self)
{
    struct weir_store *store = weir_memory_store_store(self->store);
    struct weir_store_result result;
    if (self->stored == 0)
        return false;
    weir_memory_store_step(self->store, UINT32_MAX);
    while (store->poll(store, &result)) {
        self->stored--;
        step(&self->processes[VENTILATOR],
             &(struct weir_event){.type = WEIR_EVENT_STORED, .result = &result});
        weir_store_result_fini(&result);
    }
    return true;
}

static int64_t wake(struct pipeline *self)
{
    int64_t next_ns = WEIR_TIME_NEVER;
    for (uint32_t i = 0; i < self->process_count; i++) {
        struct process *process = &self->processes[i];
        if (process->role != NULL && process->wake_ns <= self->now.mono_ns) {
            process->wake_ns = WEIR_TIME_NEVER;
            step_alone(process, WEIR_EVENT_TIMER, 0);
        }
        if (process->role != NULL && process->wake_ns < next_ns)
            next_ns = process->wake_ns;
    }
    return next_ns;
}

/* Whatever there is to do, once; where there is nothing, time goes on to the next thing. */
static void turn(struct pipeline *self)
{
    const int64_t next_ns = wake(self);
    bool went_on = take_packet(self);
    if (!went_on) {
        went_on = run_jobs(self);
        went_on = send_more(self) || went_on;
        went_on = take_stored(self) || went_on;
    }
    if (!went_on && next_ns == WEIR_TIME_NEVER)
        fail("nothing will ever go on");
    if (!went_on && next_ns > self->now.mono_ns)
        self->now.mono_ns = next_ns;
}

static void run_until(struct pipeline *self, const uint64_t *count, uint64_t wanted)
{
    uint64_t before = *count;
    for (uint32_t idle = 0; *count < wanted; idle++) {
        if (*count != before)
            idle = 0;
        if (idle == IDLE_MAX)
            fail("messages are stuck");
        before = *count;
        turn(self);
    }
}

/* ---- From outside -------------------------------------------------------------------------------
 */

static void add_ventilator(struct pipeline *self)
{
    const struct weir_ventilator_config config = {.name = "ventilator",
                                                  .fsync = WEIR_FSYNC_ALWAYS,
                                                  .groups = &self->policy,
                                                  .group_count = 1};
    struct process *process = process_add(self, 0, 0, 0);
    self->policy = weir_group_policy_default();
    snprintf(self->policy.name, sizeof self->policy.name, "g");
    snprintf(self->policy.topics[0], sizeof self->policy.topics[0], "t");
    self->policy.topic_count = 1;
    self->store = weir_memory_store_new(TAG, 0);
    struct weir_recovered *recovered = weir_memory_store_recover(self->store);
    process->role = weir_ventilator_new(&config, &recovered, &process->host, 1);
}

static void add_producers(struct pipeline *self, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct process *process = process_add(self, WEIR_PORT_TO, VENTILATOR, WEIR_PORT_SUBMIT);
        const uint8_t id[WEIR_PRODUCER_BYTES] = {(uint8_t)(i + 1)};
        const struct weir_submit_owner owner = {.self = process, .submitted = on_submitted};
        process->submit =
            weir_submit_new(WEIR_PORT_TO, id, WEIR_PRODUCER_WINDOW_MAX, &owner, &process->host);
        step_alone(process, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    }
    self->producer_count = count;
}

static void add_worker(struct pipeline *self, uint32_t number)
{
    char name[16];
    const struct weir_worker_config config = {.name = name,
                                              .group = "g",
                                              .upstream_count = 1,
                                              .concurrency = 1,
                                              .prefetch = PREFETCH,
                                              .job_messages_max = WEIR_BATCH_MESSAGES_MAX};
    struct process *process = process_add(self, WEIR_PORT_FROM, ROUTER, WEIR_PORT_DISPATCH);
    snprintf(name, sizeof name, "w%u", number);
    process->role = weir_worker_new(&config, &process->host, 100 + number);
    step_alone(process, WEIR_EVENT_START, 0);
    step_alone(process, WEIR_EVENT_LINK_UP, WEIR_PORT_FROM);
}

struct pipeline *pipeline_new(uint32_t producers, uint32_t workers, uint32_t batch)
{
    const struct weir_relay_config relay = {.name = "router", .upstream_count = 1};
    struct pipeline *self = weir_zalloc(1, sizeof *self);
    self->now = (struct weir_now){.mono_ns = WEIR_NS_PER_S, .wall_ms = START_MS};
    self->worker_count = workers;
    self->batch = batch;
    memset(self->payload, 'x', sizeof self->payload);
    add_ventilator(self);
    struct process *router = process_add(self, WEIR_PORT_FROM, VENTILATOR, WEIR_PORT_DISPATCH);
    router->role = weir_relay_new(&relay, &router->host, 2);
    step_alone(&self->processes[VENTILATOR], WEIR_EVENT_START, 0);
    step_alone(router, WEIR_EVENT_START, 0);
    step_alone(router, WEIR_EVENT_LINK_UP, WEIR_PORT_FROM);
    add_producers(self, producers);
    return self;
}

void pipeline_destroy(struct pipeline **self)
{
    struct pipeline *pipeline = *self;
    for (uint32_t i = 0; i < pipeline->process_count; i++) {
        struct process *process = &pipeline->processes[i];
        for (uint32_t j = 0; j < process->job_count; j++)
            weir_job_fini(&process->jobs[j]);
        weir_role_destroy(&process->role);
        weir_submit_destroy(&process->submit);
    }
    for (; pipeline->packet_count > 0; pipeline->packet_count--, pipeline->packet_first++)
        weir_frames_drop(&pipeline->packets[pipeline->packet_first % PACKETS_MAX].frames);
    weir_memory_store_destroy(&pipeline->store);
    free(pipeline);
    *self = NULL;
}

void pipeline_fill(struct pipeline *self, uint64_t messages)
{
    self->wanted = self->sent + messages;
    run_until(self, &self->accepted, self->wanted);
}

void pipeline_connect(struct pipeline *self)
{
    for (uint32_t i = 0; i < self->worker_count; i++)
        add_worker(self, i);
}

void pipeline_flow(struct pipeline *self, uint64_t messages)
{
    const uint64_t backlog = self->accepted - self->handled;
    const uint64_t target = self->handled + messages;
    const uint64_t ahead = backlog > AHEAD * self->batch ? backlog : AHEAD * self->batch;
    while (self->handled < target) {
        self->wanted = self->handled + ahead;
        run_until(self, &self->handled, self->handled + 1);
    }
}
