/* Bugs of the ventilator machine, each with its number. The store is the one in memory: what a
 * request brings is seen when the test says so. */
#include <script.h>

#include <base/alloc.h>
#include <core/ventilator.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <store/store.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define TAG 7
#define WORKER 99
#define PEER 1

static const uint8_t producer_id[WEIR_PRODUCER_BYTES] = "producer-0000000";
static const uint8_t replayer_id[WEIR_PRODUCER_BYTES] = "replayer-0000000";

struct world {
    struct script *script;
    struct weir_memory_store *memory;
    struct weir_role *role;
    struct weir_group_policy group;
    struct weir_ventilator_config config;
    uint32_t handed; /* of the script's requests, to the store */
    bool reads_fail; /* of the first message */
    uint32_t reads_failed, errors_logged;
    uint64_t starts;
};

static int setup(void **state)
{
    struct world *self = weir_zalloc(1, sizeof *self);
    self->script = script_new();
    self->memory = weir_memory_store_new(TAG, 0);
    self->group = weir_group_policy_default();
    self->group.topic_count = 1;
    memcpy(self->group.name, "email", sizeof "email");
    memcpy(self->group.topics[0], "user.*", sizeof "user.*");
    self->config = (struct weir_ventilator_config){
        .name = "intake", .groups = &self->group, .group_count = 1, .dead_letters = true};
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct world *self = *state;
    weir_role_destroy(&self->role);
    weir_memory_store_destroy(&self->memory);
    script_destroy(&self->script);
    free(self);
    return 0;
}

/* ---- driving it ---- */

static void feed(struct world *self, uint32_t port, uint64_t peer, struct weir_frames *frames)
{
    struct weir_event event = script_event(self->script, WEIR_EVENT_MESSAGE, port, peer);
    event.frames = frames;
    weir_role_step(self->role, &event);
    weir_frames_drop(frames);
}

static void feed_control(struct world *self, const struct weir_control *control)
{
    struct weir_frames frames = script_frames(control);
    feed(self, WEIR_PORT_DISPATCH, PEER, &frames);
}

static void plain(struct world *self, enum weir_event_type type, uint32_t port)
{
    struct weir_event event = script_event(self->script, type, port, 0);
    weir_role_step(self->role, &event);
}

static void take_results(struct world *self)
{
    struct weir_store *store = weir_memory_store_store(self->memory);
    struct weir_store_result result;
    while (store->poll(store, &result)) {
        struct weir_event event = script_event(self->script, WEIR_EVENT_STORED, 0, 0);
        event.result = &result;
        weir_role_step(self->role, &event);
        weir_store_result_fini(&result);
    }
}

static void fail_read(struct world *self, const struct weir_store_request *request)
{
    struct weir_store_result result = {
        .id = request->id, .kind = WEIR_STORE_READ, .status = WEIR_EFULL};
    struct weir_event event = script_event(self->script, WEIR_EVENT_STORED, 0, 0);
    weir_error_set(&result.error, WEIR_EFULL, "no space left on device");
    event.result = &result;
    self->reads_failed++;
    self->script->log[0] = '\0';
    weir_role_step(self->role, &event);
    self->errors_logged += strstr(self->script->log, "cannot be read") != NULL;
}

/* Everything that storage and due timers bring about at this moment. */
static void settle(struct world *self)
{
    struct weir_store *store = weir_memory_store_store(self->memory);
    uint32_t turns = 0;
    bool more = true;
    while (more) {
        assert_true(turns++ < 1000);
        while (self->handed < self->script->request_count) {
            struct weir_store_request *request = &self->script->requests[self->handed++];
            if (self->reads_fail && request->kind == WEIR_STORE_READ && request->sequence == 1)
                fail_read(self, request);
            else
                store->submit(store, request);
        }
        more = weir_memory_store_step(self->memory, 1) > 0;
        take_results(self);
        if (!more && self->script->wake_ns <= self->script->now.mono_ns) {
            plain(self, WEIR_EVENT_TIMER, 0);
            more = true;
        }
    }
}

static void pass_ms(struct world *self, int64_t ms)
{
    script_pass_ms(self->script, ms);
    settle(self);
}

/* A start, up to where the log is to be read: what is fed then waits until that is over. */
static void start(struct world *self)
{
    struct weir_recovered *recovered = weir_memory_store_recover(self->memory);
    self->role =
        weir_ventilator_new(&self->config, &recovered, &self->script->host, ++self->starts);
    plain(self, WEIR_EVENT_START, 0);
}

static void crash(struct world *self)
{
    while (self->handed < self->script->request_count)
        weir_store_request_fini(&self->script->requests[self->handed++]);
    weir_memory_store_crash(self->memory);
    weir_role_destroy(&self->role);
    script_forget(self->script);
}

/* ---- what peers say ---- */

static void put(struct world *self, const uint8_t producer[16], const struct weir_batch_header *how,
                uint64_t number, const struct weir_message_view *message, uint32_t flags)
{
    struct weir_batch_header header = *how;
    const struct weir_control control = {.verb = WEIR_VERB_PUT};
    struct weir_frames frames = script_frames(&control);
    struct weir_bytes parts[3];
    header.version = WEIR_BATCH_VERSION;
    header.topic = "user.signed_up";
    header.topic_bytes = (uint32_t)strlen(header.topic);
    memcpy(header.producer, producer, sizeof header.producer);
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    assert_int_equal(weir_batch_builder_add(builder, message, NULL), 0);
    weir_batch_builder_finish(builder, number, 0, flags, &parts[0], &parts[1], &parts[2]);
    weir_batch_builder_destroy(&builder);
    for (int i = 0; i < 3; i++)
        weir_frames_push(&frames, parts[i]);
    feed(self, WEIR_PORT_SUBMIT, PEER, &frames);
}

static void worker_comes(struct world *self)
{
    struct weir_control ready = {.verb = WEIR_VERB_READY};
    WEIR_SET(&ready, version, VERSION, 1);
    WEIR_SET(&ready, role, ROLE, weir_text_of("worker"));
    WEIR_SET(&ready, name, NAME, weir_text_of("w"));
    WEIR_SET(&ready, worker, WORKER, WORKER);
    feed_control(self, &ready);
    struct weir_control credit = {.verb = WEIR_VERB_CREDIT};
    WEIR_SET(&credit, group, GROUP, weir_text_of("email"));
    WEIR_SET(&credit, messages, MESSAGES, 100);
    WEIR_SET(&credit, bytes, BYTES, 1 << 20);
    feed_control(self, &credit);
    settle(self);
}

static void ack(struct world *self, const struct weir_control *deliver, uint32_t outcome)
{
    struct weir_ack one = {.lease = {deliver->incarnation, deliver->delivery, 0, 1},
                           .outcome = outcome,
                           .delay_ms = -1};
    struct weir_control control = {.verb = WEIR_VERB_ACK, .ack_count = 1};
    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, acks, ACKS, &one);
    feed_control(self, &control);
    settle(self);
}

static const struct weir_message_view plain_message = {.payload = (const uint8_t *)"x",
                                                       .payload_bytes = 1};

/* ---- the bugs ---- */

/* 1: a death was replayed while the ventilator was asking the state for deaths to hand over. The
 * answer still told of it; it was submitted again, and the collector's OK made the message, which
 * was out already, a dead one. */
static void a_replayed_death_is_not_handed_over(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    start(self);
    settle(self);
    worker_comes(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    settle(self);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    struct weir_message_view dead = plain_message;
    dead.has_origin = true;
    dead.origin = (struct weir_origin){.topic = "user.signed_up",
                                       .topic_bytes = (uint32_t)strlen("user.signed_up"),
                                       .group = "email",
                                       .group_bytes = (uint32_t)strlen("email"),
                                       .death = 1,
                                       .attempt = 1,
                                       .reason = WEIR_REASON_REJECTED};
    const struct weir_id id = {deliver->control.slices[0].time_ms, TAG,
                               deliver->control.slices[0].sequence};
    weir_id_encode(&id, dead.origin.id);
    ack(self, &deliver->control, WEIR_REJECT);
    pass_ms(self, 100);
    crash(self);

    start(self);
    put(self, replayer_id, &header, 1, &dead, WEIR_BATCH_REPLAY);
    settle(self);
    worker_comes(self);
    pass_ms(self, 100);
    deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    assert_int_equal(deliver->control.slices[0].sequence, id.sequence);
    assert_int_equal(deliver->control.slices[0].death, 1);
    plain(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    pass_ms(self, WEIR_DYING_RETRY_MS);
    for (const struct said *said; (said = script_next(self->script));)
        assert_int_not_equal(said->port, WEIR_PORT_TO);
}

/* 2: with delivery at-most-once a message that had been delayed was taken out of the state as soon
 * as it was due, whether there was a worker or not: a crash lost it before anybody had seen it. */
static void a_due_message_waits_in_the_state_for_a_worker(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {.delay_ms = 1000};
    self->group.delivery = WEIR_AT_MOST_ONCE;
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    pass_ms(self, 100);
    for (int i = 0; i < 30; i++)
        pass_ms(self, 100);
    crash(self);

    start(self);
    settle(self);
    worker_comes(self);
    for (int i = 0; i < 20; i++)
        pass_ms(self, 100);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    assert_int_equal(deliver->control.slices[0].sequence, 1);
    assert_null(script_find(self->script, WEIR_VERB_DELIVER));
}

/* 3: of a delivery of which a message had timed out here the echo still named all, so its worker
 * went on with that one, and then with those behind it that have its key. */
static void what_timed_out_is_not_echoed(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    self->group.timeout_ms = 1000;
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    put(self, producer_id, &header, 2, &plain_message, 0);
    put(self, producer_id, &header, 3, &plain_message, 0);
    settle(self);
    worker_comes(self);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    struct weir_lease_ref held = {deliver->control.incarnation, deliver->control.delivery, 0, 3};
    struct weir_lease_ref running = {held.incarnation, held.delivery, 1, 1};
    struct weir_control beat = {.verb = WEIR_VERB_HEARTBEAT, .lease_count = 1, .running_count = 1};
    WEIR_SET(&beat, worker, WORKER, WORKER);
    WEIR_SET(&beat, leases, LEASES, &held);
    WEIR_SET(&beat, running, RUNNING, &running);
    for (uint64_t serial = 1; serial <= 8; serial++) {
        WEIR_SET(&beat, serial, SERIAL, serial);
        feed_control(self, &beat);
        const struct said *echo = script_find(self->script, WEIR_VERB_HEARTBEAT);
        assert_non_null(echo);
        const struct weir_lease_ref *lives = echo->control.leases;
        if (serial < 6) { /* a second, and ten of grace */
            assert_int_equal(echo->control.lease_count, 1);
            assert_int_equal(lives[0].count, 3);
        } else {
            assert_int_equal(echo->control.lease_count, 2);
            assert_int_equal(lives[0].first, 0);
            assert_int_equal(lives[0].count, 1);
            assert_int_equal(lives[1].first, 2);
            assert_int_equal(lives[1].count, 1);
        }
        pass_ms(self, WEIR_HEARTBEAT_MS + 200);
    }
}

/* 4: beats with many names for the same lease, each of all that runs, kept the ventilator from
 * everything else for minutes. */
static void a_beat_that_repeats_itself_costs_little(void **state)
{
    struct world *self = *state;
    struct weir_control beat = {.verb = WEIR_VERB_HEARTBEAT};
    self->group.timeout_ms = 1000;
    start(self);
    settle(self);
    worker_comes(self);
    struct weir_control control = {.verb = WEIR_VERB_PUT};
    struct weir_frames frames = script_frames(&control);
    script_batch(producer_id, 1, 100, NULL, &frames);
    feed(self, WEIR_PORT_SUBMIT, PEER, &frames);
    settle(self);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    assert_int_equal(deliver->control.slices[0].count, 100);
    const struct weir_lease_ref all = {deliver->control.incarnation, deliver->control.delivery, 0,
                                       100};
    struct weir_lease_ref *held = weir_alloc(WEIR_LEASES_MAX * sizeof *held);
    struct weir_lease_ref *running = weir_alloc(WEIR_LEASES_MAX * sizeof *running);
    for (uint32_t i = 0; i < WEIR_LEASES_MAX; i++) {
        held[i] = running[i] = all;
        running[i].delivery += WEIR_LEASES_MAX - 1 - i; /* only the last one is there */
    }
    beat.lease_count = beat.running_count = WEIR_LEASES_MAX;
    WEIR_SET(&beat, serial, SERIAL, 1);
    WEIR_SET(&beat, worker, WORKER, WORKER);
    WEIR_SET(&beat, leases, LEASES, held);
    WEIR_SET(&beat, running, RUNNING, running);
    const clock_t before = clock();
    for (uint32_t i = 0; i < 10; i++)
        feed_control(self, &beat);
    assert_true(clock() - before < 10 * CLOCKS_PER_SEC); /* it was a minute */
    assert_non_null(script_find(self->script, WEIR_VERB_HEARTBEAT));
    free(held);
    free(running);
}

/* 5: a batch that was all duplicates left no trace in the log. After a crash before its answer,
 * with the next batch durable already, its repeat was refused as out of order: its worker had
 * results refused that were long taken, and rejected the messages. */
static void a_batch_of_duplicates_is_known_after_a_crash(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    struct weir_message_view keyed = plain_message;
    struct weir_store *store = weir_memory_store_store(self->memory);
    keyed.idempotency_key = "once";
    keyed.idempotency_key_bytes = 4;
    self->config.idempotency_window_ms = 60000;
    self->config.idempotency_count_max = 100;
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &keyed, 0);
    put(self, producer_id, &header, 2, &keyed, 0);
    put(self, producer_id, &header, 3, &plain_message, 0);
    while (self->handed < self->script->request_count)
        store->submit(store, &self->script->requests[self->handed++]);
    weir_memory_store_step(self->memory, 100); /* durable, and nobody was told */
    crash(self);

    start(self);
    settle(self);
    script_skip(self->script);
    put(self, producer_id, &header, 2, &keyed, 0);
    settle(self);
    const struct said *ok = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_OK);
    assert_int_equal(ok->control.number, 2);
    assert_int_equal(ok->control.count, 1);
}

static bool has_asked(const struct world *self, enum weir_store_kind kind)
{
    for (uint32_t i = self->handed; i < self->script->request_count; i++)
        if (self->script->requests[i].kind == kind)
            return true;
    return false;
}

/* 6: the first start wrote its groups to the state and took batches at the same time. Where the log
 * was faster, or the state failed, what it confirmed was lost with a crash: the next start found no
 * groups, and made them anew, from there on. (Seed 1381 of the simulator.) */
static void nothing_is_taken_before_new_groups_are_durable(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    struct weir_store *store = weir_memory_store_store(self->memory);
    start(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    assert_true(has_asked(self, WEIR_STORE_READ));
    store->submit(store, &self->script->requests[self->handed++]);
    weir_memory_store_step(self->memory, 1);
    take_results(self);
    assert_true(has_asked(self, WEIR_STORE_APPLY));
    assert_false(has_asked(self, WEIR_STORE_APPEND));
    settle(self);
    const struct said *ok = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_OK);
    const uint64_t sequence = ok->control.first;
    worker_comes(self);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    assert_int_equal(deliver->control.slices[0].sequence, sequence);
}

/* 7: the collector's connection stood before the log had been read, and that was told to nobody who
 * would remember: dead letters stayed where they were until it broke and came again. */
static void a_link_that_comes_early_is_used(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    start(self);
    plain(self, WEIR_EVENT_LINK_UP, WEIR_PORT_TO);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    settle(self);
    worker_comes(self);
    settle(self);
    const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
    assert_non_null(deliver);
    ack(self, &deliver->control, WEIR_REJECT);
    for (int i = 0; i < 10; i++)
        pass_ms(self, 100);
    const struct said *letter = script_find(self->script, WEIR_VERB_PUT);
    assert_non_null(letter);
    assert_int_equal(letter->port, WEIR_PORT_TO);
}

/* 8: the state could not be read, and that was noted in the log as if it were one damaged place:
 * what had been asked for was never asked for again. Nobody can rely on such a state: the process
 * ends. */
static void a_state_that_cannot_be_read_ends_it(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {.delay_ms = 1000};
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    for (int i = 0; i < 5; i++)
        pass_ms(self, 100);
    for (int i = 0; i < 20 && !has_asked(self, WEIR_STORE_QUERY); i++) {
        script_pass_ms(self->script, 100);
        plain(self, WEIR_EVENT_TIMER, 0);
        if (!has_asked(self, WEIR_STORE_QUERY))
            settle(self);
    }
    struct weir_store_request *request = &self->script->requests[self->handed];
    while (request->kind != WEIR_STORE_QUERY)
        request++;
    struct weir_store_result result = {
        .id = request->id, .kind = WEIR_STORE_QUERY, .status = WEIR_EIO};
    weir_error_set(&result.error, WEIR_EIO, "state.db: disk I/O error");
    struct weir_event event = script_event(self->script, WEIR_EVENT_STORED, 0, 0);
    event.result = &result;
    assert_int_equal(self->script->stopped, -1);
    weir_role_step(self->role, &event);
    assert_true(self->script->stopped > 0);
    assert_non_null(strstr(self->script->log, "state.db: disk I/O error"));
}

/* What a start is to find in the state. */
static void apply(struct world *self, const struct weir_op *ops, uint32_t count)
{
    struct weir_store *store = weir_memory_store_store(self->memory);
    struct weir_store_request request = {.kind = WEIR_STORE_APPLY, .op_count = count};
    struct weir_store_result result;
    request.ops = weir_alloc(count * sizeof *ops);
    memcpy(request.ops, ops, count * sizeof *ops);
    store->submit(store, &request);
    weir_memory_store_step(self->memory, 1);
    assert_true(store->poll(store, &result));
    assert_int_equal(result.status, 0);
    weir_store_result_fini(&result);
}

/* 9: a deferred message whose record was damaged was dropped from the state when the log was to be
 * freed, and from nothing else: its group waited for it for ever. (Seed 28 of the simulator, with
 * damage.) */
static void a_deferred_message_of_a_damaged_record_is_given_up(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    char large[4096] = "";
    const struct weir_message_view view = {.payload = (const uint8_t *)large,
                                           .payload_bytes = sizeof large};
    struct weir_group_row group = {
        .number = 1, .policy = self->group, .start = 1, .low = 2, .next = 2, .listed = true};
    struct weir_row row = {.group = 1,
                           .sequence = 1, /* the log has nothing of it */
                           .state = WEIR_ROW_DEFERRED,
                           .due_ms = self->script->now.wall_ms + 30000};
    struct weir_op ops[] = {{.type = WEIR_OP_GROUP_PUT, .group = weir_zalloc(1, sizeof group)},
                            {.type = WEIR_OP_ROW_PUT, .row = weir_zalloc(1, sizeof row)},
                            {.type = WEIR_OP_ABSORBED, .sequence = 1}};
    *ops[0].group = group;
    *ops[1].row = row;
    apply(self, ops, 3);

    start(self);
    settle(self);
    worker_comes(self);
    for (uint64_t number = 1; number <= 10; number++) { /* more than a segment, and all is done */
        script_skip(self->script);
        put(self, producer_id, &header, number, &view, 0);
        settle(self);
        const struct said *deliver = script_find(self->script, WEIR_VERB_DELIVER);
        assert_non_null(deliver);
        ack(self, &deliver->control, WEIR_DONE);
    }
    const struct weir_ventilator *v = WEIR_CONTAINER_OF(self->role, struct weir_ventilator, role);
    for (uint32_t i = 0; i < 20; i++)
        pass_ms(self, WEIR_COPYOUT_MS);
    assert_int_equal(v->groups[0]->deferred.rows, 1);
    for (uint32_t i = 0; i < 20; i++) {
        worker_comes(self);
        pass_ms(self, WEIR_COPYOUT_MS);
    }
    assert_int_equal(v->groups[0]->deferred.rows, 0);
    assert_int_equal(v->count.missing, 1);
}

/* 10: a place in the log that could not be read was tried again each second, at each READ of others
 * that ended, and for a STATUS without any pause, for ever; each time it was said. With damage that
 * finds no room to be kept aside each try goes through a whole segment. */
static void what_cannot_be_read_is_tried_less_and_less(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    for (int i = 0; i < 5; i++)
        pass_ms(self, 100);
    crash(self);
    self->reads_fail = true;
    start(self);
    settle(self);
    for (int i = 0; i < 600; i++) {
        worker_comes(self);
        pass_ms(self, 1000);
    }
    assert_in_range(self->reads_failed, 10, 20); /* after 1, 2, 4 … 60 s, and then each minute */
    assert_in_range(self->errors_logged, 2, 12);
    struct weir_control status = {.verb = WEIR_VERB_STATUS};
    const struct weir_id id = {self->script->now.wall_ms, TAG, 1};
    weir_id_encode(&id, status.id);
    status.has |= UINT64_C(1) << WEIR_FIELD_ID;
    struct weir_frames frames = script_frames(&status);
    feed(self, WEIR_PORT_ADMIN, PEER, &frames);
    settle(self);
    assert_non_null(script_find(self->script, WEIR_VERB_ANSWER));
    self->reads_fail = false; /* there is room again */
    script_skip(self->script);
    for (int i = 0; i < 62; i++) {
        worker_comes(self);
        pass_ms(self, 1000);
    }
    assert_non_null(script_find(self->script, WEIR_VERB_DELIVER));
}

static struct weir_op later_op(struct world *self, uint64_t sequence)
{
    struct weir_op op = {.type = WEIR_OP_ROW_PUT, .row = weir_zalloc(1, sizeof *op.row)};
    *op.row = (struct weir_row){.group = WEIR_GROUP_LATER,
                                .sequence = sequence,
                                .state = WEIR_ROW_DEFERRED,
                                .due_ms = self->script->now.wall_ms + 3600000,
                                .history = weir_bytes_copy("user.signed_up", 14)};
    return op;
}

/* 11: delayed messages for groups to come were counted, and one that two answers of the state told
 * of, as damaged and as due, was taken off twice. When the count said that there were none, a new
 * group did not inherit those that there were. */
static void a_group_inherits_whatever_was_dropped_before(void **state)
{
    struct world *self = *state;
    const struct weir_op ops[] = {
        later_op(self, 1), later_op(self, 2), {.type = WEIR_OP_ABSORBED, .sequence = 2}};
    struct weir_control join = {.verb = WEIR_VERB_JOIN};
    struct weir_text topic = weir_text_of("user.*");
    apply(self, ops, 3);
    self->config.dynamic_groups = true;
    start(self);
    settle(self);
    struct weir_ventilator *v = WEIR_CONTAINER_OF(self->role, struct weir_ventilator, role);
    weir_delayed_drop(v, 1);
    weir_delayed_drop(v, 1);
    worker_comes(self);
    WEIR_SET(&join, group, GROUP, weir_text_of("late"));
    WEIR_SET(&join, topics, TOPICS, &topic);
    join.topic_count = 1;
    feed_control(self, &join);
    settle(self);
    assert_int_equal(v->group_count, 2);
    assert_string_equal(v->groups[1]->row.policy.name, "late");
    assert_int_equal(v->groups[1]->deferred.rows, 1);
}

/* 12: told to end, and its time was over, a ventilator whose last append was still on its way to a
 * slow disk woke itself up again and again without a pause. */
static void the_end_of_an_append_is_waited_for(void **state)
{
    struct world *self = *state;
    const struct weir_batch_header header = {0};
    start(self);
    settle(self);
    put(self, producer_id, &header, 1, &plain_message, 0);
    plain(self, WEIR_EVENT_DRAIN, 0);
    assert_true(self->script->wake_ns > self->script->now.mono_ns);
    script_pass_ms(self->script, WEIR_DRAIN_MS);
    plain(self, WEIR_EVENT_TIMER, 0);
    assert_true(self->script->wake_ns > self->script->now.mono_ns);
    assert_int_equal(self->script->stopped, -1);
    settle(self);
    assert_int_equal(self->script->stopped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_replayed_death_is_not_handed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_due_message_waits_in_the_state_for_a_worker, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_timed_out_is_not_echoed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_beat_that_repeats_itself_costs_little, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_of_duplicates_is_known_after_a_crash, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nothing_is_taken_before_new_groups_are_durable, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_link_that_comes_early_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(a_state_that_cannot_be_read_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deferred_message_of_a_damaged_record_is_given_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_tried_less_and_less, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_group_inherits_whatever_was_dropped_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_end_of_an_append_is_waited_for, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
