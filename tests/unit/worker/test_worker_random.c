/* The worker machine against a small model of a ventilator and a sink, over connections that break,
 * with handlers that do everything they may. From a seed: credit is kept, keys keep their order,
 * nothing is acked that is not leased, and when the faults end everything gets done. */
#include "worker_fixture.h"

#include <base/alloc.h>
#include <base/random.h>
#include <core/job_lease.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_THREAD__
#define SEEDS 5u /* one thread, and slow there */
#else
#define SEEDS 25u
#endif
#define MESSAGES 400u
#define KEYS 12u

struct message {
    uint64_t delivery; /* 0: not leased */
    uint32_t index;
    bool done;        /* acked done or rejected */
    bool handled;     /* a handler has ended it with done or reject */
    uint32_t running; /* handlers */
};

struct job {
    struct weir_job *job;
    uint32_t next; /* message of it that is next, or runs */
    bool started, stop, over;
};

struct model {
    struct worker *worker;
    struct weir_random random;
    uint64_t seed;
    bool ordered, results, faults;
    struct message messages[MESSAGES + 1]; /* by sequence */
    uint64_t last_delivery;
    bool up, sink_up, welcome_owed;
    uint64_t limit, used; /* messages */
    uint64_t beat_serial; /* one that is not echoed yet; 0: none */
    struct weir_lease_ref named[WEIR_LEASES_MAX];
    uint32_t named_count;
    bool broken; /* an ack was lost with its connection */
    uint32_t jobs_seen;
    struct job jobs[SCRIPT_MAX];
    uint64_t puts[64]; /* at the sink, unanswered: numbers … */
    uint32_t put_messages[64];
    uint32_t put_count;
    uint32_t credit_serial; /* of a CREDIT that lowered */
    bool begin_owed;
    struct weir_lease_ref begin;
};

static uint64_t dice(struct model *self, uint64_t sides)
{
    return weir_random_below(&self->random, sides);
}

static uint32_t key_of(uint64_t sequence)
{
    return (uint32_t)(sequence * 2654435761u >> 7) % KEYS; /* 0: none */
}

static struct message *leased(struct model *self, uint64_t delivery, uint32_t index)
{
    for (uint64_t sequence = 1; sequence <= MESSAGES; sequence++)
        if (self->messages[sequence].delivery == delivery &&
            self->messages[sequence].index == index)
            return &self->messages[sequence];
    return NULL;
}

/* ---- what the worker says ---- */

static void take_ack(struct model *self, const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->ack_count; i++)
        for (uint32_t n = 0; n < control->acks[i].lease.count; n++) {
            const struct weir_ack *ack = &control->acks[i];
            struct message *message = leased(self, ack->lease.delivery, ack->lease.first + n);
            if (!message) /* stale */
                continue;
            message->delivery = 0;
            message->done = ack->outcome == WEIR_DONE || ack->outcome == WEIR_REJECT;
            if (message->done)
                assert_true(message->handled);
        }
}

static void take_ready(struct model *self, const struct weir_control *control)
{
    self->limit = self->used = 0;
    self->beat_serial = 0;
    self->welcome_owed = true;
    self->begin_owed = false;
    for (uint64_t sequence = 1; sequence <= MESSAGES; sequence++) {
        struct message *message = &self->messages[sequence];
        bool named = false;
        for (uint32_t i = 0; i < control->lease_count; i++)
            named = named || (control->leases[i].delivery == message->delivery &&
                              message->index >= control->leases[i].first &&
                              message->index - control->leases[i].first < control->leases[i].count);
        if (!named)
            message->delivery = 0;
    }
}

static void take_said(struct model *self)
{
    struct script *script = self->worker->script;
    for (uint32_t i = 0; i < script->said_count; i++) {
        const struct said *said = &script->said[i];
        const struct weir_control *control = &said->control;
        if (said->port == WEIR_PORT_TO) {
            if (!self->sink_up)
                continue;
            struct weir_batch_header header;
            assert_int_equal(weir_batch_header_decode(&said->frames.at[1], &header, NULL), 0);
            assert_true(self->put_count < 64);
            self->puts[self->put_count] = header.number;
            self->put_messages[self->put_count++] = header.count;
            continue;
        }
        if (!self->up || self->broken)
            continue; /* lost on the way */
        if (control->verb == WEIR_VERB_READY) {
            take_ready(self, control);
        } else if (control->verb == WEIR_VERB_CREDIT) {
            if (control->messages < self->limit)
                self->credit_serial = (uint32_t)control->serial;
            self->limit = control->messages;
        } else if (control->verb == WEIR_VERB_ACK) {
            if (self->faults && dice(self, 40) == 0)
                self->broken = true;
            else
                take_ack(self, control);
        } else if (control->verb == WEIR_VERB_BEGIN) {
            self->begin = control->leases[0];
            self->begin_owed = true;
        } else if (control->verb == WEIR_VERB_HEARTBEAT) {
            self->beat_serial = control->serial;
            self->named_count = control->lease_count;
            if (control->lease_count)
                memcpy(self->named, control->leases, control->lease_count * sizeof self->named[0]);
        }
    }
    script_forget(script);
}

/* ---- the ventilator ---- */

static bool may_lease(const struct model *self, uint64_t sequence, uint64_t delivery)
{
    const struct message *message = &self->messages[sequence];
    if (message->done || message->delivery)
        return false;
    for (uint64_t ahead = 1; self->ordered && key_of(sequence) && ahead < sequence; ahead++)
        if (key_of(ahead) == key_of(sequence) && !self->messages[ahead].done &&
            self->messages[ahead].delivery != delivery)
            return false;
    return true;
}

static void ventilate(struct model *self)
{
    if (!self->up || self->welcome_owed || self->limit <= self->used)
        return;
    const uint64_t delivery = ++self->last_delivery;
    const bool alone = dice(self, 12) == 0;
    uint64_t most = 1 + dice(self, alone ? 1 : 30);
    if (most > self->limit - self->used)
        most = self->limit - self->used;
    uint64_t first = 1;
    while (first <= MESSAGES && !may_lease(self, first, delivery))
        first++;
    if (first > MESSAGES)
        return;
    uint32_t count = 0;
    const uint32_t index = (uint32_t)dice(self, 5);
    char names[64][4];
    const char *keys[64];
    while (count < most && first + count <= MESSAGES && may_lease(self, first + count, delivery)) {
        struct message *message = &self->messages[first + count];
        message->delivery = delivery;
        message->index = index + count;
        snprintf(names[count], sizeof names[count], "k%u", key_of(first + count) % 99);
        keys[count] = key_of(first + count) ? names[count] : NULL;
        count++;
    }
    self->used += count;
    static const uint8_t producer[16] = {1};
    struct weir_slice_info slice = {
        .index = index, .count = count, .sequence = first, .time_ms = 1, .attempt = 1};
    struct weir_control control = {.verb = WEIR_VERB_DELIVER, .slice_count = 1};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, incarnation, INCARNATION, INCARNATION);
    WEIR_SET(&control, delivery, DELIVERY, delivery);
    WEIR_SET(&control, lease_ms, LEASE_MS, 600000); /* expiry is not this test's business */
    WEIR_SET(&control, slices, SLICES, &slice);
    if (self->ordered)
        WEIR_SET(&control, ordered, ORDERED, 1);
    if (alone && count == 1)
        WEIR_SET(&control, alone, ALONE, 1);
    struct weir_frames frames = script_frames(&control);
    script_batch(producer, delivery, count, keys, &frames);
    worker_message(self->worker, UP(0), &frames);
}

static void answer_beat(struct model *self)
{
    if (!self->up || self->welcome_owed || !self->beat_serial)
        return;
    struct weir_lease_ref live[4096];
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->named_count; i++)
        for (uint32_t n = 0; n < self->named[i].count; n++) {
            struct message *message =
                leased(self, self->named[i].delivery, self->named[i].first + n);
            if (message && self->faults && dice(self, 60) == 0) { /* somebody else has it now */
                message->delivery = 0;
                continue;
            }
            if (message && count < 4096)
                live[count++] = (struct weir_lease_ref){INCARNATION, self->named[i].delivery,
                                                        self->named[i].first + n, 1};
        }
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT, .lease_count = count};
    WEIR_SET(&echo, serial, SERIAL, self->beat_serial);
    WEIR_SET(&echo, incarnation, INCARNATION, INCARNATION);
    if (count)
        WEIR_SET(&echo, leases, LEASES, live);
    self->beat_serial = 0;
    worker_feed(self->worker, UP(0), &echo);
}

static void answer_control(struct model *self)
{
    if (!self->up)
        return;
    if (self->welcome_owed) {
        self->welcome_owed = false;
        worker_welcome(self->worker, 0, INCARNATION);
    } else if (self->credit_serial) {
        worker_credited(self->worker, 0, self->credit_serial, self->used, 0);
        self->credit_serial = 0;
    } else if (self->begin_owed) {
        self->begin_owed = false;
        if (!leased(self, self->begin.delivery, self->begin.first))
            return;
        struct weir_control go = {.verb = WEIR_VERB_GO, .lease_count = 1};
        WEIR_SET(&go, leases, LEASES, &self->begin);
        WEIR_SET(&go, worker, WORKER, self->worker->number);
        worker_feed(self->worker, UP(0), &go);
    }
}

static void link_flips(struct model *self, bool up)
{
    if (up == self->up)
        return;
    self->up = up;
    self->limit = self->used = 0;
    self->credit_serial = 0;
    worker_event(self->worker, up ? WEIR_EVENT_LINK_UP : WEIR_EVENT_LINK_DOWN, UP(0));
}

/* ---- the sink ---- */

static void sink(struct model *self)
{
    if (self->put_count == 0)
        return;
    const uint64_t number = self->puts[0];
    const uint32_t count = self->put_messages[0];
    self->put_count--;
    memmove(&self->puts[0], &self->puts[1], self->put_count * sizeof self->puts[0]);
    memmove(&self->put_messages[0], &self->put_messages[1],
            self->put_count * sizeof self->put_messages[0]);
    worker_results_held(self->worker, number, count);
}

static void sink_flips(struct model *self, bool up)
{
    if (up == self->sink_up)
        return;
    self->sink_up = up;
    self->put_count = 0;
    worker_event(self->worker, up ? WEIR_EVENT_LINK_UP : WEIR_EVENT_LINK_DOWN, WEIR_PORT_TO);
}

/* ---- the handlers ---- */

static void new_jobs(struct model *self)
{
    struct script *script = self->worker->script;
    for (; self->jobs_seen < script->job_count; self->jobs_seen++)
        self->jobs[self->jobs_seen] = (struct job){.job = &script->jobs[self->jobs_seen]};
}

static void check_start(struct model *self, uint64_t sequence)
{
    for (uint64_t other = 1; self->ordered && key_of(sequence) && other <= MESSAGES; other++) {
        if (key_of(other) != key_of(sequence))
            continue;
        if (self->messages[other].running > 0)
            fail_msg("seed %llu: %llu starts beside %llu", (unsigned long long)self->seed,
                     (unsigned long long)sequence, (unsigned long long)other);
        if (other < sequence && !self->messages[other].handled)
            fail_msg("seed %llu: %llu starts ahead of %llu", (unsigned long long)self->seed,
                     (unsigned long long)sequence, (unsigned long long)other);
    }
    self->messages[sequence].running++;
}

static bool killed(const struct model *self, uint64_t id)
{
    const struct script *script = self->worker->script;
    for (uint32_t i = 0; i < script->killed_count; i++)
        if (script->killed[i] == id)
            return true;
    return false;
}

static void handler_ends(struct model *self, uint32_t number, struct job *job)
{
    struct message *message = &self->messages[job->job->sequence + job->next];
    enum weir_outcome outcome = WEIR_DONE;
    const uint64_t luck = dice(self, self->faults ? 10 : 40);
    if (killed(self, job->job->id))
        outcome = WEIR_RETRY;
    else if (luck < 4)
        outcome = (enum weir_outcome)(1 + luck);
    message->running--;
    message->handled = message->handled || outcome == WEIR_DONE || outcome == WEIR_REJECT;
    const bool result = self->results && outcome == WEIR_DONE && dice(self, 4) > 0;
    worker_outcome(self->worker, number, job->next, 1, outcome, outcome ? "no" : NULL,
                   result ? "result" : NULL);
    job->next++;
    job->started = false;
    if (outcome != WEIR_DONE && job->job->ordered)
        job->stop = true;
}

static void handler_step(struct model *self)
{
    uint32_t open[64], count = 0;
    for (uint32_t i = 0; i < self->jobs_seen && count < 64; i++)
        if (!self->jobs[i].over)
            open[count++] = i;
    if (count == 0)
        return;
    const uint32_t number = open[dice(self, count)];
    struct job *job = &self->jobs[number];
    const int64_t deadline_ns = weir_job_lease_deadline(job->job->lease);
    if (job->started) {
        handler_ends(self, number, job);
    } else if (job->stop || job->next == job->job->count || killed(self, job->job->id) ||
               deadline_ns <= self->worker->script->now.mono_ns) {
        job->over = true;
        worker_job_end(self->worker, number);
    } else {
        check_start(self, job->job->sequence + job->next);
        job->started = true;
        if (dice(self, 3) > 0)
            worker_started(self->worker, number, job->next);
    }
}

/* ---- runs ---- */

static uint32_t remaining(const struct model *self)
{
    uint32_t left = 0;
    for (uint64_t sequence = 1; sequence <= MESSAGES; sequence++)
        left += !self->messages[sequence].done;
    return left;
}

static void round_of(struct model *self)
{
    const uint64_t what = dice(self, 100);
    if (what < 20)
        ventilate(self);
    else if (what < 60)
        handler_step(self);
    else if (what < 70)
        answer_beat(self);
    else if (what < 80)
        answer_control(self);
    else if (what < 88)
        sink(self);
    else if (what < 98)
        worker_pass_ms(self->worker, 1 + (int64_t)dice(self, 300));
    else if (self->faults && dice(self, 3) == 0)
        link_flips(self, false);
    else if (self->faults && dice(self, 3) == 0)
        sink_flips(self, false);
    else if (dice(self, 2) == 0)
        link_flips(self, true);
    else
        sink_flips(self, true);
    take_said(self);
    if (self->broken) {
        link_flips(self, false);
        self->broken = false;
        take_said(self);
    }
    new_jobs(self);
}

static void run_seed(uint64_t seed)
{
    struct model *self = weir_zalloc(1, sizeof *self);
    self->seed = seed;
    weir_random_seed(&self->random, seed);
    self->worker = worker_new();
    self->ordered = dice(self, 2);
    self->results = dice(self, 2);
    self->faults = true;
    self->worker->config.results = self->results;
    self->worker->config.concurrency = 1 + (uint32_t)dice(self, 4);
    self->worker->config.prefetch = 1 + (uint32_t)dice(self, 60);
    self->worker->config.job_messages_max = dice(self, 2) ? 1 : 1 + (uint32_t)dice(self, 40);
    worker_begin(self->worker);
    for (uint32_t round = 0;
         remaining(self) > 0 && self->worker->script->job_count < SCRIPT_MAX - 100; round++) {
        if (round == 6000)
            self->faults = false; /* and now everything must get done */
        if (round == 60000)
            fail_msg("seed %llu: %u messages are stuck", (unsigned long long)seed, remaining(self));
        round_of(self);
        assert_true(worker_stat(self->worker, "held") <=
                    self->worker->config.prefetch + (self->results ? WEIR_RESULTS_AHEAD_MAX : 0));
        take_said(self);
        new_jobs(self);
    }
    assert_int_equal(remaining(self), 0);
    worker_destroy(&self->worker);
    free(self);
}

static void everything_gets_done(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_gets_done)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
