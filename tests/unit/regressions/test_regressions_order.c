/* Bugs of the order of keys, each with its number. */
#include <core/ventilator.h>
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define W 50
#define WORKER 500

/* 1: the second message of a key had failed, and was a row; the first was still out when the
 * ventilator crashed, with nothing of it in the state. After the restart the row was due before the
 * log had been gone through, and went out first. */
static void a_row_waits_for_what_the_log_hides(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "k"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = 2, .keys = keys});
    stage_credit(s, W, "g", 2);
    stage_expect(s, "m0");
    const struct got second = *stage_expect(s, "m1");
    stage_ack(s, &second, WEIR_RETRY, "no");
    stage_pass(s, 200);
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    stage_restart(s);
    stage_pass(s, 2000); /* the row is due */
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 1);
    const struct got first = *stage_expect(s, "m0");
    assert_null(stage_next(s));
    stage_ack(s, &first, WEIR_DONE, NULL);
    stage_credit(s, W + 1, "g", 2);
    stage_pass(s, 100);
    const struct got again = *stage_expect(s, "m1");
    assert_int_equal(again.attempt, 2);
    stage_ack(s, &again, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

/* 2: a message that had waited in the state for its key was in none of the group's numbers while it
 * was being fetched: the group seemed to be empty, and had room in its backlog that it had not.
 * (Seed 5 of the simulator, with --repeats 40 --window 4.) */
static void a_row_on_its_way_from_the_state_is_counted(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "k"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = 2, .keys = keys});
    stage_credit(s, W, "g", 8);
    const struct got first = *stage_expect(s, "m0");
    const struct got second = *stage_expect(s, "m1");
    stage_ack(s, &second, WEIR_RETRY, "no");
    stage_alive(s, W, WORKER, 2000); /* it is due, and waits for the first one */
    assert_int_equal(stage_stat(s, "g", "waiting"), 1);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    s->steps_left = 0; /* the state takes its time */
    stage_ack(s, &first, WEIR_DONE, NULL);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 1);
    s->steps_left = UINT64_MAX;
    s->crashed = false;
    stage_run(s);
    const struct got again = *stage_expect(s, "m1");
    assert_int_equal(again.attempt, 2);
    stage_ack(s, &again, WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    assert_int_equal(stage_stat(s, "g", "deferred"), 0);
    stage_destroy(&s);
}

/* 3: many keys had one message out, and so many of them another behind it that no more could be
 * listed. At the first one beyond the whole group stood still, though its workers had room, and
 * other keys had work. */
#define LISTED WEIR_LARGE_KEYS_MAX
#define KEYS (LISTED + 1000u)
#define DELIVERIES_MAX 64u

static void put_each_key(struct stage *s)
{
    static char names[KEYS][8];
    static const char *keys[KEYS];
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "k%u", (unsigned)i);
        keys[i] = names[i];
    }
    const uint32_t half = KEYS / 2;
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = half, .keys = keys});
    const struct stage_batch rest = {.prefix = "m", .count = KEYS - half, .keys = &keys[half]};
    assert_int_equal(stage_put(s, &rest).verb, WEIR_VERB_OK);
}

static void keys_that_cannot_be_listed_stop_nobody(void **state)
{
    (void)state;
    static struct got out[DELIVERIES_MAX];
    static const char *const free_key[] = {"free"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    put_each_key(s);
    uint32_t deliveries = 0;
    uint64_t taken = 0, credit = 0;
    while (taken < KEYS) { /* all of them go out, and are not answered */
        stage_credit(s, W, "g", credit += 4096);
        for (const struct got *got = stage_next(s); got; got = stage_next(s)) {
            assert_int_equal(got->sequence, ++taken);
            if (deliveries == 0 || out[deliveries - 1].delivery != got->delivery)
                out[deliveries++] = *got;
        }
        s->got_count = s->got_seen = 0;
    }
    put_each_key(s);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "waiting"), KEYS);
    stage_put(s, &(struct stage_batch){.prefix = "free", .count = 1, .keys = free_key});
    stage_credit(s, W, "g", credit += 4096);
    stage_ack(s, stage_expect(s, "free0"), WEIR_DONE, NULL);
    assert_null(stage_next(s));

    /* What was not listed is not forgotten, and comes in its turn. */
    const struct got last = out[deliveries - 1];
    assert_true(last.sequence <= LISTED + 1);
    stage_ack_range(s, &last, (uint32_t)(KEYS - last.sequence + 1), WEIR_DONE, -1);
    stage_credit(s, W, "g", credit += 8192);
    stage_alive(s, W, WORKER, 200);
    uint64_t next = KEYS + last.sequence;
    for (const struct got *got = stage_next(s); got; got = stage_next(s)) {
        assert_int_equal(got->sequence, next++);
        assert_int_equal(got->attempt, 1);
    }
    assert_int_equal(next, KEYS + KEYS + 1);
    assert_int_equal(stage_stat(s, "g", "waiting"), last.sequence - 1);
    stage_destroy(&s);
}

/* 4: a key had more behind it than was listed when a full backlog was copied out of the log. What
 * lay at `next` was parked in the state, and counted as the key's front once what was out was done:
 * it went ahead of those that were not listed. */
static void what_is_parked_waits_for_what_is_not_listed(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    weir_keys_set(&keys, 1, 10, WEIR_KEY_LEASED, 0);
    keys.listed = WEIR_PARKED_MAX;
    weir_keys_wait(&keys, 1, 11);
    weir_keys_set(&keys, 1, 12, WEIR_KEY_PARKED, 0);
    keys.listed = 0;
    weir_keys_drop(&keys, 1, 10);
    assert_int_equal(keys.hungry.count, 0);
    assert_false(weir_keys_may_go(&keys, 1, 12, 0));
    weir_keys_rescan(&keys);
    assert_int_equal(keys.rescan_at, 11);
    assert_true(weir_keys_unlisted(&keys, 1, 11));
    assert_true(weir_keys_free(&keys, 1, 11, 2));
    weir_keys_set(&keys, 1, 11, WEIR_KEY_LEASED, 2);
    weir_keys_found(&keys, 1, 11);
    keys.rescan_at = 13;
    weir_keys_rescanned(&keys);
    assert_int_equal(keys.hungry.count, 0);
    weir_keys_drop(&keys, 1, 11);
    struct weir_key_entry next;
    assert_non_null(weir_keys_next(&keys, &next));
    assert_int_equal(next.sequence, 12);
    weir_keys_fini(&keys);
}

/* 5: a lease kept the keys of its messages as a reference into what had been read from the log with
 * them. Thousands of messages that were out, each from another place, held 64 KiB each. */
static void what_is_out_does_not_hold_what_was_read(void **state)
{
    (void)state;
    static const char *const keys[] = {"k", "l"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = 2, .keys = keys});
    stage_credit(s, W, "g", 2);
    stage_expect(s, "m0");
    stage_expect(s, "m1");
    struct weir_ventilator *v = WEIR_CONTAINER_OF(s->role, struct weir_ventilator, role);
    struct weir_stream_batch *batch;
    assert_int_equal(weir_stream_find(&v->stream, 1, &batch), WEIR_STREAM_HERE);
    const struct weir_lease *lease = v->leases.table;
    assert_int_equal(lease->slice_count, 1);
    assert_ptr_not_equal(lease->slices[0].keys.block, batch->record.index.block);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_not_equal(weir_lease_key(&lease->slices[0], i), 0);
        assert_int_equal(weir_lease_key(&lease->slices[0], i), weir_stream_batch_key(batch, 1 + i));
    }
    stage_destroy(&s);
}

/* 6: a backlog of listed messages went out key by key, so each message of a delivery was a slice of
 * its own, and each was read from another place of the log: 500,000 messages of 500 keys took 14
 * minutes, while workers sat idle. */
#define TURNS 20u
#define IN_TURN 100u

static void a_backlog_goes_out_as_it_lies_in_the_log(void **state)
{
    (void)state;
    static char names[IN_TURN][8];
    static const char *keys[TURNS * IN_TURN];
    for (uint32_t i = 0; i < TURNS * IN_TURN; i++) {
        snprintf(names[i % IN_TURN], sizeof *names, "k%u", (unsigned)(i % IN_TURN));
        keys[i] = names[i % IN_TURN];
    }
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    stage_put(s, &(struct stage_batch){.prefix = "m", .count = TURNS * IN_TURN, .keys = keys});
    stage_credit(s, W, "g", IN_TURN); /* a message of each key */
    const struct got first = *stage_expect(s, "m0");
    stage_credit(s, W, "g", TURNS * IN_TURN); /* all that is behind them is listed */
    assert_int_equal(s->got_count, IN_TURN);
    s->got_seen = s->got_count;
    stage_ack_range(s, &first, IN_TURN, WEIR_DONE, -1);
    const struct got second = *stage_expect(s, "m100");
    uint64_t next = second.sequence + 1;
    for (const struct got *got = stage_next(s); got; got = stage_next(s)) {
        assert_int_equal(got->sequence, next++);
        assert_int_equal(got->delivery, second.delivery);
    }
    assert_int_equal(next, TURNS * IN_TURN + 1);
    const struct weir_ventilator *v = WEIR_CONTAINER_OF(s->role, struct weir_ventilator, role);
    assert_int_equal(v->leases.table->slice_count, 1);
    stage_destroy(&s);
}

/* 7: a rescan went on to the end of the log when no more could be listed, and the next one began
 * all over: with a backlog of more than can be listed, each looked at all of it. */
#define BATCHES 5u
#define ALL (BATCHES * WEIR_BATCH_MESSAGES_MAX)

static void a_rescan_pauses_when_nothing_more_can_be_listed(void **state)
{
    (void)state;
    static const char *keys[WEIR_BATCH_MESSAGES_MAX];
    for (uint32_t i = 0; i < WEIR_BATCH_MESSAGES_MAX; i++)
        keys[i] = "k";
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    struct stage *s = stage_new(&policy, 1, 0);
    stage_worker(s, W, WORKER);
    for (uint32_t i = 0; i < BATCHES; i++)
        stage_put(s, &(struct stage_batch){
                         .prefix = "m", .count = WEIR_BATCH_MESSAGES_MAX, .keys = keys});
    const struct weir_ventilator *v = WEIR_CONTAINER_OF(s->role, struct weir_ventilator, role);
    const struct weir_group *group = v->groups[0];
    uint64_t taken = 0, highest = 0;
    while (taken < ALL) {
        stage_credit(s, W, "g", taken + WEIR_DELIVERY_MESSAGES_MAX + 1); /* more than may go */
        assert_non_null(stage_next(s));
        const struct got first = s->got[0];
        assert_int_equal(first.sequence, taken + 1);
        const uint32_t count = s->got_count;
        assert_int_equal(s->got[count - 1].sequence, taken + count);
        s->got_count = s->got_seen = 0;
        stage_ack_range(s, &first, count, WEIR_DONE, -1);
        taken += count;
        if (group->keys.rescan_at > highest)
            highest = group->keys.rescan_at;
        assert_true(group->keys.rescan_at <= taken + WEIR_PARKED_MAX + 1);
    }
    assert_true(highest > WEIR_PARKED_MAX); /* there was a rescan */
    stage_destroy(&s);
}

/* 8: a message found the backlog full, and was dropped, or a dead letter; the next one of its key
 * found room, and went out before that was durable. After a crash the first one was back, and was
 * handed out behind the second. (Seed 214295 of the simulator.) */
static void later_ones_wait_until_what_was_turned_away_is_durable(enum weir_on_full on_full)
{
    static const char *const key[] = {"k"}, *const other[] = {"other"};
    struct weir_group_policy policy = stage_policy("g");
    policy.order = WEIR_ORDER_KEY;
    policy.max_backlog = 1;
    policy.on_full = on_full;
    struct stage *s = stage_new(&policy, 1, 0);
    s->collector = COLLECTOR_SILENT;
    stage_put(s, &(struct stage_batch){.prefix = "fill", .count = 1, .keys = other});
    for (uint32_t i = 0; i < 2; i++) /* a first dead letter is fetched from the state at once */
        stage_put(s, &(struct stage_batch){.prefix = "away", .count = 1, .keys = key});
    stage_worker(s, W, WORKER);
    stage_credit(s, W, "g", 2);
    stage_expect(s, "fill0"); /* what is ahead of it is not held up */
    stage_put(s, &(struct stage_batch){.prefix = "later", .count = 1, .keys = key});
    stage_expect(s, "later0");
    stage_restart(s);
    assert_int_equal(stage_stat(s, "g", "dropped"), 2);
    assert_int_equal(stage_stat(s, "g", "dying"), on_full == WEIR_ON_FULL_DEAD_LETTER ? 2 : 0);
    stage_worker(s, W + 1, WORKER + 1);
    stage_credit(s, W + 1, "g", 3);
    stage_ack(s, stage_expect(s, "fill0"), WEIR_DONE, NULL);
    stage_ack(s, stage_expect(s, "later0"), WEIR_DONE, NULL);
    assert_null(stage_next(s));
    assert_int_equal(stage_stat(s, "g", "waiting"), 0);
    stage_destroy(&s);
}

static void later_ones_wait_until_a_drop_is_durable(void **state)
{
    (void)state;
    later_ones_wait_until_what_was_turned_away_is_durable(WEIR_ON_FULL_DROP);
}

static void later_ones_wait_until_a_dead_letter_of_the_backlog_is_durable(void **state)
{
    (void)state;
    later_ones_wait_until_what_was_turned_away_is_durable(WEIR_ON_FULL_DEAD_LETTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_waits_for_what_the_log_hides),
        cmocka_unit_test(a_row_on_its_way_from_the_state_is_counted),
        cmocka_unit_test(keys_that_cannot_be_listed_stop_nobody),
        cmocka_unit_test(what_is_parked_waits_for_what_is_not_listed),
        cmocka_unit_test(what_is_out_does_not_hold_what_was_read),
        cmocka_unit_test(a_backlog_goes_out_as_it_lies_in_the_log),
        cmocka_unit_test(a_rescan_pauses_when_nothing_more_can_be_listed),
        cmocka_unit_test(later_ones_wait_until_a_drop_is_durable),
        cmocka_unit_test(later_ones_wait_until_a_dead_letter_of_the_backlog_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
