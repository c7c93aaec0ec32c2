/* The worker's role: each event is handled, then the turn is brought to its end: jobs start,
 * results and acks leave, credit is lent, and the next wake-up is asked for. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/admin.h>
#include <core/port_name.h>
#include <core/worker.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EAGER_NS WEIR_NS_PER_S
#define COMPLAIN_EVERY_NS WEIR_NS_PER_S
#define BEAT_MS_MIN 100

void weir_worker_complain(struct weir_worker *self, enum weir_log_level level,
                          const struct weir_now *now, const char *format, ...)
{
    char text[WEIR_ERROR_TEXT_BYTES];
    va_list arguments;
    self->counts.errors++;
    if (now->mono_ns < self->complain_again_ns)
        return;
    self->complain_again_ns = now->mono_ns + COMPLAIN_EVERY_NS;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->host.log(self->host.self, level, text);
}

static struct weir_worker_upstream *upstream_of(struct weir_worker *self, uint32_t port)
{
    return &self->upstreams[port - WEIR_PORT_FROM];
}

void weir_worker_join(const struct weir_worker *self, struct weir_worker_upstream *upstream)
{
    if (self->topic_count > 0)
        weir_session_join(upstream->session, self->group, (const char *const *)self->topics,
                          self->topic_count, self->from, true);
}

/* ---- what the sessions tell ---- */

static void on_welcome(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    struct weir_worker *self = arg;
    struct weir_worker_upstream *upstream = upstream_of(self, port);
    uint64_t beat_ms = control->heartbeat_ms;
    weir_worker_join(self, upstream);
    if (beat_ms < BEAT_MS_MIN)
        beat_ms = BEAT_MS_MIN;
    if (beat_ms > WEIR_HEARTBEAT_MS)
        beat_ms = WEIR_HEARTBEAT_MS;
    /* A little ahead of the session, which beats by itself when nobody else does. */
    upstream->beat_every_ns = (int64_t)beat_ms * WEIR_NS_PER_MS / 8 * 7;
    upstream->beat_next_ns = now->mono_ns; /* what lives of that which we hold? */
    if (self->held == 0)
        upstream->beat_next_ns += upstream->beat_every_ns;
    if (WEIR_HAS(control, INCARNATION))
        weir_worker_reaches(upstream, control->incarnation);
    upstream->refused = false;
    upstream->starved = false;
    self->begun = false;
    weir_worker_ack_repeat(self, upstream);
}

static void on_deliver(void *arg, uint32_t port, const struct weir_control *control,
                       struct weir_event *event)
{
    struct weir_worker *self = arg;
    struct weir_worker_upstream *upstream = upstream_of(self, port);
    upstream->eager_until_ns = event->now.mono_ns + EAGER_NS;
    upstream->refused_wait_ms = 0;
    weir_worker_take(self, upstream->number, control, event);
}

static void on_error(struct weir_worker *self, struct weir_worker_upstream *upstream,
                     const struct weir_control *control, const struct weir_now *now)
{
    const int bytes = (int)control->text.bytes;
    const struct weir_port_name name =
        weir_port_name(&self->host, WEIR_PORT_FROM + upstream->number);
    if (weir_text_is(&control->code, WEIR_CODE_NOT_READY)) /* the session says READY again */
        return;
    if (!weir_session_about_group(control)) {
        weir_worker_complain(self, WEIR_LOG_WARNING, now, "%s reports an error: %.*s", name.text,
                             bytes < 300 ? bytes : 300, control->text.data);
        return;
    }
    int64_t wait_ms = weir_worker_refused(upstream, now);
    if (wait_ms == 0)
        return;
    char *text = weir_asprintf(
        "group %s gets no work from %s: %.*s.%s Asking again in %" PRId64 " s", self->group,
        name.text, bytes, control->text.data,
        self->topic_count > 0 /* what a JOIN is refused for says what to do */
            ? ""
            : " Declare the group under the ventilator's `groups`, or join it with topics.",
        wait_ms / 1000);
    self->counts.errors++;
    self->host.log(self->host.self, WEIR_LOG_ERROR, text);
    free(text);
}

static void on_control(void *arg, uint32_t port, const struct weir_control *control,
                       const struct weir_now *now)
{
    struct weir_worker *self = arg;
    struct weir_worker_upstream *upstream = upstream_of(self, port);
    switch (control->verb) {
    case WEIR_VERB_WAITING:
        upstream->starved = true;
        upstream->eager_until_ns = now->mono_ns + EAGER_NS;
        break;
    case WEIR_VERB_GO:
        weir_worker_go(self, control);
        break;
    case WEIR_VERB_HEARTBEAT:
        weir_worker_echo(self, control);
        break;
    case WEIR_VERB_ERROR:
        on_error(self, upstream, control, now);
        break;
    default: /* CREDITED, JOINED: the session has noted it; credit follows at the turn's end */
        break;
    }
}

static void on_down(void *arg, uint32_t port, const struct weir_now *now)
{
    struct weir_worker *self = arg;
    (void)now;
    weir_worker_beats_forget(upstream_of(self, port));
    if (WEIR_CANARY(ACKS_NOT_REPEATED))
        weir_worker_ack_confirm(upstream_of(self, port), UINT64_MAX);
    self->begun = false;
}

static void on_held(void *arg, uint32_t port, struct weir_lease_ref **leases, uint32_t *count)
{
    struct weir_worker *self = arg;
    weir_worker_held(self, upstream_of(self, port)->number, leases, count);
}

/* ---- admin ---- */

struct stat {
    const char *name;
    uint64_t value;
};

static uint32_t open_upstreams(const struct weir_worker *self)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        open += weir_session_open(self->upstreams[i].session);
    return open;
}

static uint64_t session_errors(const struct weir_worker *self)
{
    uint64_t errors = 0;
    for (uint32_t i = 0; i < self->upstream_count; i++)
        errors += weir_session_errors(self->upstreams[i].session);
    return errors;
}

static uint64_t messages_running(const struct weir_worker *self)
{
    uint64_t running = 0;
    for (uint32_t i = 0; i < self->concurrency; i++)
        if (self->jobs[i].id)
            running += weir_rangeset_size(&self->jobs[i].unended);
    return running;
}

static void answer_stats(struct weir_worker *self, const struct weir_event *event)
{
    const struct weir_worker_counts *counts = &self->counts;
    const struct stat stats[] = {
        {"upstreams", self->upstream_count},
        {"upstreams_open", open_upstreams(self)},
        {"prefetch", weir_worker_prefetch(self)},
        {"concurrency", self->concurrency},
        {"held", self->held},
        {"held_bytes", self->held_bytes},
        {"waiting", self->waiting},
        {"running", messages_running(self)},
        {"jobs", self->running},
        {"results_waiting", weir_worker_results_waiting(self)},
        {"results_waiting_bytes", self->queue_bytes + self->parcel_bytes},
        {"results", counts->results},
        {"results_refused", counts->results_refused},
        {"done", counts->done},
        {"failed", counts->failed},
        {"rejected", counts->rejected},
        {"unavailable", counts->unavailable},
        {"released", counts->released},
        {"lost", counts->lost},
        {"late", counts->late},
        {"errors", counts->errors + session_errors(self)},
    };
    const uint32_t count = sizeof stats / sizeof stats[0];
    struct weir_packer *packer = weir_packer_new();
    char number[17];
    snprintf(number, sizeof number, "%016" PRIx64, self->number);
    weir_pack_map(packer, 6 + count);
    weir_pack_text(packer, "node");
    weir_pack_text(packer, self->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, "worker");
    weir_pack_text(packer, "group");
    weir_pack_text(packer, self->group);
    weir_pack_text(packer, "worker");
    weir_pack_text(packer, number); /* as its upstreams tell it: JSON's numbers end at 2^53 */
    weir_pack_text(packer, "draining");
    weir_pack_bool(packer, self->state != WEIR_WORKER_SERVING);
    weir_pack_text(packer, "results_taken");
    weir_pack_bool(packer, weir_worker_result_flows(self));
    for (uint32_t i = 0; i < count; i++) {
        weir_pack_text(packer, stats[i].name);
        weir_pack_u64(packer, stats[i].value);
    }
    weir_admin_answer(&self->host, event, &packer);
}

static void on_admin(struct weir_worker *self, const struct weir_event *event)
{
    struct weir_control control;
    if (!weir_admin_decode(&self->host, event, &control))
        return;
    if (control.verb == WEIR_VERB_STATS) {
        answer_stats(self, event);
    } else if (control.verb == WEIR_VERB_DRAIN) {
        weir_admin_done(&self->host, event, "draining");
        weir_worker_drain(self, &event->now);
    } else {
        weir_admin_unknown(&self->host, event, control.verb);
    }
    weir_control_fini(&control);
}

/* ---- the turn ---- */

static void on_link(struct weir_worker *self, struct weir_event *event)
{
    const uint32_t port = event->port;
    if (port == WEIR_PORT_ADMIN)
        on_admin(self, event);
    else if (port == WEIR_PORT_TO && self->submit)
        weir_submit_event(self->submit, event);
    else if (port >= WEIR_PORT_FROM && port - WEIR_PORT_FROM < self->upstream_count)
        weir_session_event(upstream_of(self, port)->session, event);
}

static void handle(struct weir_worker *self, struct weir_event *event)
{
    switch (event->type) {
    case WEIR_EVENT_MESSAGE:
    case WEIR_EVENT_LINK_UP:
    case WEIR_EVENT_LINK_DOWN:
        on_link(self, event);
        break;
    case WEIR_EVENT_HANDLED:
        weir_worker_handled(self, event);
        break;
    case WEIR_EVENT_DRAIN:
        weir_worker_drain(self, &event->now);
        break;
    case WEIR_EVENT_START:
    case WEIR_EVENT_TIMER:
    case WEIR_EVENT_PEER_GONE:
    case WEIR_EVENT_STORED:
        break;
    }
}

static void sooner(int64_t *next_ns, int64_t at_ns)
{
    if (at_ns < *next_ns)
        *next_ns = at_ns;
}

/* The turn's end: what is due, and when the next turn is at the latest. */
static void tick(struct weir_worker *self, int64_t next_ns, const struct weir_now *now)
{
    sooner(&next_ns, weir_worker_beat(self, now));
    weir_worker_begin(self);
    for (uint32_t i = 0; i < self->upstream_count; i++)
        sooner(&next_ns, weir_session_tick(self->upstreams[i].session, now));
    if (self->submit)
        sooner(&next_ns, weir_submit_tick(self->submit, now));
    sooner(&next_ns, weir_worker_drain_next(self));
    if (next_ns != self->wake_ns)
        self->host.wake_at(self->host.self, next_ns);
    self->wake_ns = next_ns;
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct weir_worker *self = (struct weir_worker *)(void *)role;
    const struct weir_now *now = &event->now;
    if (self->state == WEIR_WORKER_STOPPED)
        return;
    if (event->type == WEIR_EVENT_TIMER)
        self->wake_ns = 0; /* used up */
    handle(self, event);
    if (event->more) /* acks of handlers that end together leave together */
        return;
    weir_worker_drain_tick(self, now);
    const int64_t ask_ns = weir_worker_refused_tick(self, now);
    weir_worker_start_ready(self, now);
    weir_worker_result_flush(self, now);
    weir_worker_ack_flush(self);
    weir_worker_sweep(self);
    weir_worker_credit(self, now);
    weir_worker_leave(self, now);
    if (self->state != WEIR_WORKER_STOPPED)
        tick(self, ask_ns, now);
}

/* ---- life ---- */

static void destroy(struct weir_role *role)
{
    struct weir_worker *self = (struct weir_worker *)(void *)role;
    for (uint32_t i = 0; i < self->concurrency; i++) {
        weir_rangeset_fini(&self->jobs[i].unended);
        weir_job_lease_drop(&self->jobs[i].lease);
    }
    weir_worker_result_fini(self);
    weir_worker_ack_fini(self);
    weir_worker_hold_fini(self);
    for (uint32_t i = 0; i < self->upstream_count; i++) {
        weir_worker_beats_forget(&self->upstreams[i]);
        weir_session_destroy(&self->upstreams[i].session);
    }
    for (uint32_t i = 0; i < self->topic_count; i++)
        free(self->topics[i]);
    free(self->topics);
    free(self->from);
    free(self->upstreams);
    free(self->jobs);
    free(self->free_slots);
    free(self->name);
    free(self->group);
    free(self->result_topic);
    free(self);
}

static void upstreams_init(struct weir_worker *self, uint32_t count)
{
    const struct weir_session_owner owner = {.self = self,
                                             .welcome = on_welcome,
                                             .deliver = on_deliver,
                                             .control = on_control,
                                             .down = on_down,
                                             .held = on_held};
    self->upstreams = weir_zalloc(count, sizeof *self->upstreams);
    self->upstream_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_session_config config = {.port = WEIR_PORT_FROM + i,
                                                   .name = self->name,
                                                   .role = "worker",
                                                   .worker = self->number};
        self->upstreams[i].number = i;
        self->upstreams[i].session = weir_session_new(&config, &owner, &self->host);
    }
}

struct weir_role *weir_worker_new(const struct weir_worker_config *config,
                                  const struct weir_host *host, uint64_t seed)
{
    struct weir_worker *self = weir_zalloc(1, sizeof *self);
    struct weir_random random;
    WEIR_ASSERT(config->upstream_count > 0 && config->concurrency > 0 && config->prefetch > 0 &&
                config->job_messages_max > 0);
    weir_random_seed(&random, seed);
    self->role = (struct weir_role){.step = step, .destroy = destroy};
    self->host = *host;
    self->name = weir_strdup(config->name);
    self->group = weir_strdup(config->group);
    self->result_topic = config->result_topic ? weir_strdup(config->result_topic) : NULL;
    self->results = config->results;
    self->concurrency = config->concurrency;
    self->prefetch = config->prefetch;
    self->prefetch_bytes = config->prefetch_bytes ? config->prefetch_bytes : WEIR_CREDIT_BYTES_MAX;
    self->paced = config->paced;
    self->job_messages_max = config->job_messages_max;
    self->topic_count = config->topics ? config->topic_count : 0;
    self->topics = weir_zalloc(self->topic_count + 1, sizeof *self->topics);
    for (uint32_t i = 0; i < self->topic_count; i++)
        self->topics[i] = weir_strdup(config->topics[i]);
    self->from = config->from ? weir_strdup(config->from) : NULL;
    do
        self->number = weir_random_u64(&random);
    while (self->number == 0);
    /* Far from the numbers that a session gives its own beats. */
    self->last_serial = weir_random_u64(&random) >> 2 | UINT64_C(1) << 62;
    self->jobs = weir_zalloc(self->concurrency, sizeof *self->jobs);
    self->free_slots = weir_zalloc(self->concurrency, sizeof *self->free_slots);
    for (uint32_t i = 0; i < self->concurrency; i++)
        self->free_slots[i] = i;
    upstreams_init(self, config->upstream_count);
    if (self->results)
        weir_worker_result_init(self, &random);
    return &self->role;
}
