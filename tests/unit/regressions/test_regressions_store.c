/* Bugs found in the spool, on the simulator's disk. */
#include <simulated.h>

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
        simulated_kill(&spool);
        sim_filesystem_power_cut(&spool.files);
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
            simulated_kill(&spool);
            sim_filesystem_power_cut(&spool.files);
            assert_int_equal(simulated_open(&spool), 0);
            simulated_assert_holds(&spool, 1, next);
            simulated_fini(&spool);
        }
    }
    assert_true(calls > 20); /* as many as a start and an append make */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_syncs_the_directories_it_finds),
        cmocka_unit_test(a_start_syncs_the_names_it_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
