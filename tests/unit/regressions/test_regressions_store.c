/* Bugs found in the spool, on the simulator's disk. */
#include <simulated.h>

#include <base/alloc.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROUNDS 40u
#define MESSAGES 40u /* several segments of them */

/* 1: the process ended after it had given a new segment its name and before the directory was
 * synced. The next one found the segment and appended to it, synced its data, and said OK; a power
 * cut then took the name, and with it what was confirmed. (Seed 108 of the simulator.) */
static void a_start_syncs_the_names_it_finds(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;
        uint64_t next = 1;

        simulated_init(&spool, round);
        assert_int_equal(simulated_open(&spool), 0);
        sim_filesystem_fail(&spool.files, SIM_CALL_SYNC, round, 1, EIO);
        while (next <= MESSAGES && simulated_append(&spool, next) == 0)
            next++;
        simulated_kill(&spool);
        spool.files.fail[SIM_CALL_SYNC].times = 0;
        assert_int_equal(simulated_open(&spool), 0);
        next = spool.subject.recovered->next_sequence;
        assert_int_equal(simulated_append(&spool, next), 0);
        simulated_power_cut(&spool);
        assert_int_equal(simulated_open(&spool), 0);
        assert_null(spool.subject.recovered->damage);
        simulated_assert_holds(&spool, 1, next);
        simulated_fini(&spool);
    }
}

/* 2: a start that was killed had made the spool's directory, or one above it, and its name was not
 * durable yet. The next one took it for durable, and all that it confirmed could go with the
 * directory. */
static void a_start_syncs_the_directories_it_finds(void **state)
{
    (void)state;
    bool killed = true;
    uint32_t calls = 0;
    for (; killed; calls++) {
        for (uint64_t seed = 1; seed <= 16; seed++) {
            struct simulated spool;
            simulated_init(&spool, seed);
            spool.killed_at = calls + 1;
            if (simulated_open(&spool) == 0)
                (void)simulated_append(&spool, 1);
            killed = spool.files.dead;
            simulated_kill(&spool);
            assert_int_equal(simulated_open(&spool), 0);
            const uint64_t next = spool.subject.recovered->next_sequence;
            assert_int_equal(simulated_append(&spool, next), 0);
            simulated_power_cut(&spool);
            assert_int_equal(simulated_open(&spool), 0);
            simulated_assert_holds(&spool, 1, next);
            simulated_fini(&spool);
        }
    }
    assert_true(calls > 20); /* as many as a start and an append make */
}

static struct weir_op sized_row_op(uint64_t sequence, uint32_t bytes)
{
    struct weir_op op = row_op(1, sequence, WEIR_ROW_DEFERRED, 0);

    op.row->body = pattern(sequence, 3, bytes);
    return op;
}

static void expect_result(struct simulated *spool, uint64_t id, int status)
{
    struct weir_store_result result = {0};

    assert_true(spool->spool->store.poll(&spool->spool->store, &result));
    assert_int_equal(result.id, id);
    assert_int_equal(result.status, status);
    weir_store_result_fini(&result);
}

/* 3: the disk was full for one transaction, and had room for the next, smaller one, that was on its
 * way already: groups went on over messages whose rows were in the first. (Seed 10849 of the
 * simulator: two confirmed messages were lost.) */
static void a_transaction_does_not_overtake_one_that_found_no_room(void **state)
{
    struct simulated spool;
    struct weir_op large = sized_row_op(5, 200000), small = sized_row_op(6, 100);
    struct weir_store_request requests[3] = {apply_request(1, &large, 1),
                                             {.id = 2, .kind = WEIR_STORE_QUERY, .count = 1},
                                             apply_request(3, &small, 1)};
    struct weir_recovered *recovered = weir_zalloc(1, sizeof *recovered);

    (void)state;
    simulated_init(&spool, 1);
    assert_int_equal(simulated_open(&spool), 0);
    spool.files.bytes_max = sim_filesystem_used(&spool.files) - WEIR_RESERVE_BYTES + 100000;
    for (uint32_t i = 0; i < 3; i++) /* the query keeps them in transactions of their own */
        spool.spool->store.submit(&spool.spool->store, &requests[i]);
    simulated_serve(&spool);
    expect_result(&spool, 1, WEIR_EFULL);
    expect_result(&spool, 2, 0);
    expect_result(&spool, 3, WEIR_EFULL);
    weir_memory_state_recover(spool.state.memory, recovered);
    assert_int_equal(recovered->counts_count, 0);
    weir_recovered_destroy(&recovered);

    small = sized_row_op(6, 100); /* whoever has seen that may try again */
    requests[0] = apply_request(4, &small, 1);
    spool.spool->store.submit(&spool.spool->store, &requests[0]);
    simulated_serve(&spool);
    expect_result(&spool, 4, 0);
    simulated_fini(&spool);
}

static void transact(struct simulated *spool, struct weir_op op)
{
    struct weir_store_request request = apply_request(100, &op, 1);

    spool->spool->store.submit(&spool->spool->store, &request);
    simulated_serve(spool);
    expect_result(spool, 100, 0);
}

/* 4: with `fsync: never` or `interval` the state could speak of messages that the log had not
 * synced. After a power cut they were gone, a start took that for damage, and a PUT that came again
 * was answered OK out of the state. (Seed 67 of the simulator, --fsync 1.) */
static void the_state_speaks_of_nothing_that_the_log_may_lose(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;

        simulated_init(&spool, round);
        spool.fsync = WEIR_FSYNC_NEVER;
        assert_int_equal(simulated_open(&spool), 0);
        for (uint64_t next = 1; next <= 5; next++)
            assert_int_equal(simulated_append(&spool, next), 0);
        transact(&spool, absorbed_op(5));
        simulated_power_cut(&spool);
        assert_int_equal(simulated_open(&spool), 0);
        assert_null(spool.subject.recovered->damage);
        simulated_assert_holds(&spool, 1, 5);
        simulated_fini(&spool);
    }
}

/* 5: with `fsync: never` or `interval` a power cut took messages of which sinks had results
 * already. Their sequences were given to others, whose results the sinks then took for repeats.
 * (Seed 41 of the simulator, --fsync 1.) */
static void a_sequence_is_not_given_twice_although_its_message_is_lost(void **state)
{
    uint32_t lost = 0;

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;

        simulated_init(&spool, round);
        spool.fsync = WEIR_FSYNC_NEVER;
        assert_int_equal(simulated_open(&spool), 0);
        transact(&spool, group_op(1, "email", WEIR_ORDER_NONE));
        for (uint64_t next = 1; next <= MESSAGES; next++)
            assert_int_equal(simulated_append(&spool, next), 0);
        simulated_power_cut(&spool);
        assert_int_equal(simulated_open(&spool), 0);
        assert_true(spool.subject.recovered->next_sequence > MESSAGES);
        lost += spool.spool->log->next_sequence <= MESSAGES;
        simulated_fini(&spool);
    }
    assert_true(lost > 0);
}

/* 6: the state knew of higher sequences than the log had, and the process ended in order: the mark
 * at the log's end stood at the higher one. The next start looked for uncertified records before
 * it, found none, and gave up. (Seed 61 of the simulator, --fsync 1.) */
static void a_mark_behind_a_gap_is_no_message(void **state)
{
    struct simulated spool;

    (void)state;
    simulated_init(&spool, 1);
    assert_int_equal(simulated_open(&spool), 0);
    assert_int_equal(simulated_append(&spool, 1), 0);
    transact(&spool, row_op(1, 500, WEIR_ROW_DEAD, 0));
    simulated_kill(&spool);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(simulated_open(&spool), 0);
        assert_int_equal(spool.subject.recovered->next_sequence, 501);
        simulated_assert_holds(&spool, 1, 1);
        spool.subject.close(&spool.subject);
    }
    simulated_fini(&spool);
}

#define TRIMMED 90u /* more segments than are kept as spares */

/* A log of which all is done but the end, and what is freed of it. */
static void begin_trimmed(struct simulated *spool, uint64_t seed)
{
    simulated_init(spool, seed);
    assert_int_equal(simulated_open(spool), 0);
    for (uint64_t next = 1; next <= TRIMMED; next++)
        assert_int_equal(simulated_append(spool, next), 0);
    transact(spool, absorbed_op(TRIMMED));
}

static void trim_below(struct simulated *spool, uint64_t sequence)
{
    struct weir_store_request request = {.id = 200, .kind = WEIR_STORE_TRIM, .sequence = sequence};

    spool->spool->store.submit(&spool->spool->store, &request);
    simulated_serve(spool);
    expect_result(spool, 200, 0);
}

static void trim(struct simulated *spool)
{
    trim_below(spool, TRIMMED + 1);
}

/* What the next life finds has a beginning, and from there on nothing is missing. Returns it. */
static uint64_t reopen_trimmed(struct simulated *spool)
{
    assert_int_equal(simulated_open(spool), 0);
    const uint64_t oldest = spool->subject.recovered->oldest_sequence;
    assert_null(spool->subject.recovered->damage);
    simulated_assert_holds(spool, oldest, TRIMMED);
    return oldest;
}

/* 7: several segments were freed, and a power cut brought some of their files back, but not all: a
 * group that began with the earliest message that was there was owed those between them, too, and
 * they were reported as damage. (Seed 56 of the simulator, --keys 1 --ordered 1.) */
static void freed_segments_come_back_without_a_gap(void **state)
{
    uint32_t back = 0;

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;

        begin_trimmed(&spool, round);
        trim(&spool);
        const uint64_t oldest = spool.spool->log->segments[0]->first;
        simulated_power_cut(&spool);
        back += reopen_trimmed(&spool) < oldest;
        simulated_fini(&spool);
    }
    assert_true(back > 0);
}

/* 8: the same, when one of them could not be removed. */
static void what_cannot_be_removed_keeps_what_is_behind_it(void **state)
{
    static const enum sim_call_kind kinds[] = {SIM_CALL_NAME, SIM_CALL_SYNC};

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;

        begin_trimmed(&spool, round);
        sim_filesystem_fail(&spool.files, kinds[round % 2], round / 2, 2, EIO);
        trim(&spool);
        simulated_power_cut(&spool);
        spool.files.fail[kinds[round % 2]].times = 0;
        reopen_trimmed(&spool);
        trim(&spool); /* now it can */
        assert_int_equal(spool.spool->log->segment_count, 1);
        simulated_fini(&spool);
    }
}

/* 9: the same, when a reader held one of them, and the process was killed meanwhile. */
static void what_is_being_read_keeps_what_is_behind_it(void **state)
{
    struct simulated spool;
    uint64_t readable;

    (void)state;
    begin_trimmed(&spool, 1);
    weir_log_pin(spool.spool->log, 1, &readable);
    trim(&spool);
    simulated_kill(&spool);
    assert_int_equal(reopen_trimmed(&spool), 1);

    struct weir_segment *held = weir_log_pin(spool.spool->log, 1, &readable);
    trim(&spool);
    assert_true(spool.spool->log->segment_count > 1);
    weir_log_unpin(spool.spool->log, held);
    assert_int_equal(spool.spool->log->segment_count, 1);
    simulated_fini(&spool);
}

#define SMALL_BYTES_MAX (64u << 10) /* a segment or two, beside the state and the reserve */
#define SMALL_BYTES_STEP 4096u

/* Full of what is done, while the state mentions higher sequences than the log has. Returns the
 * last that the log has; 0: there was no room for any. */
static uint64_t fill_up(struct simulated *spool, uint64_t bytes_max)
{
    uint64_t next = 1;

    simulated_init(spool, 1);
    spool->fsync = WEIR_FSYNC_NEVER;
    spool->subject.open(&spool->subject, bytes_max);
    transact(spool, group_op(1, "email", WEIR_ORDER_NONE));
    while (simulated_append(spool, next) == 0)
        next++;
    transact(spool, absorbed_op(next - 1));
    transact(spool, row_op(1, next + 500, WEIR_ROW_DEAD, 0));
    simulated_kill(spool);
    return next - 1;
}

/* 10: when a start had gone on above what was in the log, the first batch that found no room raised
 * the number with which the log's only segment ended to one below where it was to go on. Nothing
 * had been absorbed up to there, so the segment was never freed, and a small spool was full for
 * ever of work that was done. (Seed 15352 of the simulator.) */
static void a_segment_ends_with_its_last_message(void **state)
{
    uint32_t freed = 0;

    (void)state;
    for (uint64_t bytes = SMALL_BYTES_STEP; bytes <= SMALL_BYTES_MAX; bytes += SMALL_BYTES_STEP) {
        struct simulated spool;
        const uint64_t last = fill_up(&spool, bytes);

        spool.subject.open(&spool.subject, bytes);
        const uint64_t next = spool.subject.recovered->next_sequence;
        assert_true(next > last + 500);
        if (last > 0 && simulated_append(&spool, next) == WEIR_EFULL) {
            trim_below(&spool, next);
            if (simulated_append(&spool, next) == 0)
                freed++;
            else /* the state has grown, and leaves no room for a segment */
                assert_true(spool.spool->log->segment_count == 0 ||
                            !weir_log_has_room(spool.spool->log, 0));
        }
        simulated_fini(&spool);
    }
    assert_true(freed > 0);
}

/* The next life of a spool with `fsync: never`, after a power cut: where it goes on. */
static uint64_t live_on(struct simulated *spool)
{
    simulated_kill(spool);
    sim_filesystem_power_cut(&spool->files);
    assert_int_equal(simulated_open(spool), 0);
    assert_null(spool->subject.recovered->damage);
    return spool->subject.recovered->next_sequence;
}

/* 11: a start with `fsync: never` or `interval` passed over what a power cut may have taken, and
 * noted that nowhere. When the first messages of that life were lost in the next power cut, the
 * life after it gave their sequences again. */
static void a_sequence_is_not_given_twice_although_two_power_cuts_follow_each_other(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct simulated spool;
        uint64_t next = 1;

        simulated_init(&spool, round);
        spool.fsync = WEIR_FSYNC_NEVER;
        assert_int_equal(simulated_open(&spool), 0);
        transact(&spool, group_op(1, "email", WEIR_ORDER_NONE));
        for (uint32_t life = 0; life < 4; life++) {
            const uint64_t given = next + round % 3;
            for (; next <= given; next++)
                assert_int_equal(simulated_append(&spool, next), 0);
            next = live_on(&spool);
            assert_true(next > given);
        }
        simulated_fini(&spool);
    }
}

/* 12: each start with `fsync: never` or `interval` passed over a segment's worth of sequences,
 * 16,777,216, also when nothing had been taken in since the last one. While an old message was
 * unfinished, its group stood still after four of them. */
static void a_start_passes_over_few_sequences(void **state)
{
    struct simulated spool;
    uint64_t next = 1;

    (void)state;
    simulated_init(&spool, 1);
    spool.fsync = WEIR_FSYNC_INTERVAL;
    spool.segment_bytes = 1u << 20;
    assert_int_equal(simulated_open(&spool), 0);
    transact(&spool, group_op(1, "email", WEIR_ORDER_NONE));
    for (uint32_t life = 0; life < 20; life++) {
        assert_int_equal(simulated_append(&spool, next), 0);
        const uint64_t then = live_on(&spool);
        assert_true(then <= next + 1 + WEIR_UNSYNCED_MESSAGES_MAX);
        transact(&spool, row_op(1, then - 1, WEIR_ROW_DEAD, 0)); /* as a group that is past it */
        next = live_on(&spool);
        assert_int_equal(next, then);
    }
    assert_true(next < WEIR_SETTLED_SPAN_MAX / 20); /* so there may be hundreds of them */
    simulated_fini(&spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_syncs_the_directories_it_finds),
        cmocka_unit_test(a_transaction_does_not_overtake_one_that_found_no_room),
        cmocka_unit_test(a_start_syncs_the_names_it_finds),
        cmocka_unit_test(the_state_speaks_of_nothing_that_the_log_may_lose),
        cmocka_unit_test(a_sequence_is_not_given_twice_although_its_message_is_lost),
        cmocka_unit_test(a_mark_behind_a_gap_is_no_message),
        cmocka_unit_test(freed_segments_come_back_without_a_gap),
        cmocka_unit_test(what_cannot_be_removed_keeps_what_is_behind_it),
        cmocka_unit_test(what_is_being_read_keeps_what_is_behind_it),
        cmocka_unit_test(a_segment_ends_with_its_last_message),
        cmocka_unit_test(a_sequence_is_not_given_twice_although_two_power_cuts_follow_each_other),
        cmocka_unit_test(a_start_passes_over_few_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
