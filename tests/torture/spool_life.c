#include "spool_life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORKER_PEER 50u
#define WORKER 500u
#define PAYLOAD_BYTES 6000u /* so that two batches fill a segment */
#define TOGETHER 2u         /* batches on their way */
#define PRODUCE_ROUNDS 24u
#define DRAIN_ROUNDS 60u

static const char *const group_names[LIFE_GROUPS] = {"plain", "keyed"};

void truth_step(struct truth *self, const struct tape_entry *entry)
{
    const uint64_t group = entry->number / LIFE_MESSAGES, n = entry->number % LIFE_MESSAGES;

    if (entry->kind != TAPE_NOTE)
        return;
    switch ((enum life_note)entry->note) {
    case LIFE_NUMBERED:
        self->batch_of[entry->number] = (uint32_t)entry->value;
        self->numbers = (uint32_t)entry->number;
        break;
    case LIFE_CONFIRMED:
        self->first[self->batch_of[entry->number]] = entry->value;
        self->answered[entry->number] = true;
        break;
    case LIFE_REFUSED:
        self->answered[entry->number] = true;
        break;
    case LIFE_FAILED:
        self->failed[group][n] = true;
        break;
    case LIFE_DONE:
        self->done[group][n] = entry->value;
        break;
    case LIFE_DEAD:
        self->dead[group][n] = entry->value;
        break;
    }
}

/* The outside sees something: it goes onto the tape, and becomes part of the truth. */
static void see(struct truth *self, enum life_note note, uint64_t number, uint64_t value)
{
    const struct tape_entry entry = {
        .kind = TAPE_NOTE, .note = note, .number = number, .value = value};

    tape_note(note, number, value);
    truth_step(self, &entry);
}

struct weir_spool_config life_spool(const char *directory)
{
    return (struct weir_spool_config){.directory = directory,
                                      .tag = STAGE_TAG,
                                      .fsync = WEIR_FSYNC_ALWAYS,
                                      .bytes_max = WEIR_SPOOL_BYTES_MIN,
                                      .segment_bytes = WEIR_SEGMENT_BYTES_MIN};
}

/* ---- what happens to each message ---- */

static bool is_over(const struct stage *stage)
{
    return stage->stopped != -1;
}

static uint32_t number_of(const char *payload)
{
    unsigned batch = 0, message = 0;

    assert_int_equal(sscanf(payload, "b%u.%u", &batch, &message), 2);
    return (batch - 1) * LIFE_PER_BATCH + message;
}

static uint32_t group_of(const char *name)
{
    return strcmp(name, group_names[0]) == 0 ? 0 : 1;
}

/* The third of each batch always fails, the fourth once. */
static bool always_fails(uint32_t n)
{
    return n % LIFE_PER_BATCH == 2;
}

static bool fails_once(uint32_t n)
{
    return n % LIFE_PER_BATCH == 3;
}

static uint64_t name_of(uint64_t sequence, uint32_t death)
{
    return sequence << 8 | death;
}

/* A message is known by one name only, whoever hears of it and whenever. */
static void learn(struct truth *truth, enum life_note note, uint32_t group, uint32_t n,
                  uint64_t name)
{
    const uint64_t known = note == LIFE_DONE ? truth->done[group][n] : truth->dead[group][n];

    if (known != 0 && known != name)
        fail_msg("message %u of group %s is %llx and was %llx", n, group_names[group],
                 (unsigned long long)name, (unsigned long long)known);
    if (known == 0)
        see(truth, note, (uint64_t)group * LIFE_MESSAGES + n, name);
}

static void work(struct stage *stage, struct truth *truth)
{
    const struct got *next;

    while (!is_over(stage) && (next = stage_next(stage)) != NULL) {
        const struct got got = *next;
        const uint32_t group = group_of(got.group), n = number_of(got.payload);

        assert_true(got.attempt >= 1 && got.attempt <= 3);
        if (got.alone)
            stage_begin(stage, &got, WORKER);
        if (always_fails(n) || (fails_once(n) && !truth->failed[group][n])) {
            see(truth, LIFE_FAILED, (uint64_t)group * LIFE_MESSAGES + n, 0);
            stage_ack(stage, &got, WEIR_RETRY, "no");
        } else {
            learn(truth, LIFE_DONE, group, n, name_of(got.sequence, got.death));
            stage_ack(stage, &got, WEIR_DONE, NULL);
        }
    }
}

static void hear_answer(void *watcher, const struct answered *answered)
{
    struct truth *truth = watcher;

    if (truth->answered[answered->number])
        return;
    if (answered->verb == WEIR_VERB_OK)
        assert_int_equal(answered->count, LIFE_PER_BATCH);
    see(truth, answered->verb == WEIR_VERB_OK ? LIFE_CONFIRMED : LIFE_REFUSED, answered->number,
        answered->first);
}

static void hear_letter(void *watcher, const struct letter *letter)
{
    struct truth *truth = watcher;
    const uint32_t group = group_of(letter->group), n = number_of(letter->payload);

    assert_true(always_fails(n));
    learn(truth, LIFE_DEAD, group, n, name_of(letter->sequence, letter->death));
}

struct stage *life_start(const char *directory, struct truth *truth, int64_t after_ms)
{
    struct weir_group_policy policies[LIFE_GROUPS];
    struct weir_spool_config spool = life_spool(directory);
    struct stage *stage;

    for (uint32_t i = 0; i < LIFE_GROUPS; i++) {
        policies[i] = stage_policy(group_names[i]);
        policies[i].backoff = (struct weir_backoff){200, 1000, 200};
    }
    policies[1].order = WEIR_ORDER_KEY;
    stage = stage_new_on_files(policies, LIFE_GROUPS, &spool, after_ms);
    stage->watcher = truth;
    stage->on_answer = hear_answer;
    stage->on_letter = hear_letter;
    /* A producer remembers what was answered. */
    for (uint32_t number = 1; number <= truth->numbers; number++) {
        if (truth->answered[number])
            stage->answered[stage->answered_count++] =
                (struct answered){.verb = WEIR_VERB_OK, .number = number};
    }
    stage_start(stage);
    stage_run(stage);
    return stage;
}

/* A worker comes and works for so long. */
static void work_for(struct stage *stage, struct truth *truth, int64_t ms)
{
    if (!is_over(stage))
        stage_worker(stage, WORKER_PEER, WORKER);
    for (uint32_t i = 0; i < LIFE_GROUPS && !is_over(stage); i++)
        stage_credit(stage, WORKER_PEER, group_names[i], 100000);
    work(stage, truth);
    if (!is_over(stage))
        stage_pass(stage, ms);
    work(stage, truth);
}

static void put(struct stage *stage, uint32_t batch, uint32_t number)
{
    static const char *const keys[LIFE_PER_BATCH] = {"a", "b", "c", "d", "e"};
    char prefix[16];

    snprintf(prefix, sizeof prefix, "b%u.", batch);
    stage_put_later(stage, &(struct stage_batch){.prefix = prefix,
                                                 .count = LIFE_PER_BATCH,
                                                 .keys = keys,
                                                 .payload_bytes = PAYLOAD_BYTES,
                                                 .number = number});
}

static bool is_on_its_way(const struct truth *truth, uint32_t batch)
{
    for (uint32_t number = 1; number <= truth->numbers; number++) {
        if (truth->batch_of[number] == batch && !truth->answered[number])
            return true;
    }
    return false;
}

/* What had no answer is said again under its number; what was refused gets a new one. */
static bool put_some(struct stage *stage, struct truth *truth, uint32_t last)
{
    uint32_t count = 0;

    for (uint32_t number = 1; number <= truth->numbers && count < TOGETHER; number++) {
        if (!truth->answered[number]) {
            put(stage, truth->batch_of[number], number);
            count++;
        }
    }
    for (uint32_t batch = 1; batch <= last && count < TOGETHER; batch++) {
        if (truth->first[batch] != 0 || is_on_its_way(truth, batch))
            continue;
        see(truth, LIFE_NUMBERED, truth->numbers + 1, batch);
        assert_true(truth->numbers + 1 < LIFE_NUMBERS_MAX);
        put(stage, batch, truth->numbers);
        count++;
    }
    return count > 0;
}

void life_produce(struct stage *stage, struct truth *truth, uint32_t last)
{
    for (uint32_t round = 0; round < PRODUCE_ROUNDS && !is_over(stage); round++) {
        if (!put_some(stage, truth, last))
            break;
        stage_run(stage);
        work_for(stage, truth, 300);
    }
}

/* ---- the end ---- */

static uint64_t left(struct stage *stage)
{
    static const char *const places[] = {"waiting", "in-flight", "deferred", "dying"};
    uint64_t sum = 0;

    for (uint32_t i = 0; i < LIFE_GROUPS; i++)
        for (uint32_t at = 0; at < sizeof places / sizeof *places; at++)
            sum += stage_stat(stage, group_names[i], places[at]);
    return sum;
}

void life_drain(struct stage *stage, struct truth *truth, const char *where)
{
    for (uint32_t round = 0; round < DRAIN_ROUNDS && left(stage) > 0; round++)
        work_for(stage, truth, round < 4 ? 300 : 5000);
    if (left(stage) > 0)
        fail_msg("%s: %llu messages do not come to an end", where, (unsigned long long)left(stage));
    for (uint32_t group = 0; group < LIFE_GROUPS; group++) {
        for (uint32_t n = 0; n < LIFE_MESSAGES; n++) {
            const bool confirmed = truth->first[n / LIFE_PER_BATCH + 1] != 0;
            const bool done = truth->done[group][n] != 0, dead = truth->dead[group][n] != 0;

            if (confirmed && !(always_fails(n) ? dead : done))
                fail_msg("%s: message %u was confirmed and is lost for group %s", where, n,
                         group_names[group]);
            if (done && dead)
                fail_msg("%s: message %u of group %s is done and dead", where, n,
                         group_names[group]);
        }
    }
}

struct stage *life_live(const char *directory, struct truth *truth, uint32_t batches)
{
    struct stage *stage = life_start(directory, truth, 0);

    for (uint32_t life = 1; life <= 2 && !is_over(stage); life++) {
        if (life == 2) {
            stage_restart(stage);
            stage_pass(stage, 60000);
        }
        life_produce(stage, truth, life * batches / 2);
        for (uint32_t round = 0; round < 6; round++)
            work_for(stage, truth, 300);
    }
    return stage;
}
