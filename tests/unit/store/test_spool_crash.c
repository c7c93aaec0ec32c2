/* A spool whose process ends in the middle of any call, by a kill or by a power cut: whatever was
 * answered is there afterwards, and nothing is taken for damage. */
#include "spool_fixture.h"
#include "test_disk.h"

#include <base/alloc.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_BYTES 9000u /* seven fill a segment */
#ifdef __SANITIZE_THREAD__
#define ROUNDS 16u /* each forks, which is slow there */
#else
#define ROUNDS 110u
#endif
#define APPENDS 12u

struct crash {
    struct spool_fixture *fixture;
    struct test_disk disk;
    uint64_t trimmed_below;
    int pipe[2];
};

static void say(struct crash *crash, uint64_t sequence)
{
    if (write(crash->pipe[1], &sequence, sizeof sequence) != sizeof sequence)
        _exit(95);
}

/* The child: open, let go of what is old, append, and tell the parent of each that was answered.
 * Nothing here asserts: a child that cannot go on says so with its exit status. */
static void live(struct crash *crash)
{
    struct spool_fixture *fixture = crash->fixture;
    struct weir_store_result result = {0};
    struct weir_store *store;
    struct weir_recovered *recovered;
    struct weir_error error = {0};
    uint64_t next;

    if (weir_spool_open_with(&fixture->config, fixture->io, &store, &recovered, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        _exit(94);
    }
    next = recovered->next_sequence;
    weir_recovered_destroy(&recovered);
    fixture->subject.store = store;
    if (next > 2 * APPENDS) {
        struct weir_op op = absorbed_op(next - 2 * APPENDS);
        struct weir_store_request request = apply_request(1, &op, 1);

        store->submit(store, &request);
        request = trim_request(2, next - 2 * APPENDS);
        store->submit(store, &request);
        for (int i = 0; i < 2; i++) {
            fixture->subject.next(&fixture->subject, &result);
            weir_store_result_fini(&result);
        }
    }
    for (uint64_t i = 0; i < APPENDS; i++) {
        struct weir_store_request request = append_request(next + i, next + i, 1, BODY_BYTES);

        store->submit(store, &request);
        fixture->subject.next(&fixture->subject, &result);
        if (result.status != 0)
            _exit(93);
        say(crash, result.id);
        weir_store_result_fini(&result);
    }
    weir_store_destroy(&store);
    _exit(0);
}

/* Returns the last sequence that the child was answered for; 0: none. */
static uint64_t run_child(struct crash *crash)
{
    uint64_t answered = 0, sequence;
    pid_t child;
    int status;

    assert_int_equal(pipe(crash->pipe), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(crash->pipe[0]);
        live(crash);
    }
    close(crash->pipe[1]);
    while (read(crash->pipe[0], &sequence, sizeof sequence) == sizeof sequence)
        answered = sequence;
    close(crash->pipe[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return answered;
}

/* What is there is there without a gap, from some sequence on, up to all that was answered. */
static void assert_whole(struct spool_fixture *fixture, uint64_t answered)
{
    struct weir_recovered *recovered = fixture->subject.recovered;

    if (recovered->damage != NULL)
        fail_msg("%s", recovered->damage);
    assert_true(recovered->next_sequence > answered);
    assert_true(recovered->oldest_sequence <= recovered->absorbed + 1);
    fixture_assert_holds(fixture, recovered->oldest_sequence, recovered->next_sequence - 1,
                         BODY_BYTES);
}

static void crash_everywhere(struct spool_fixture *fixture, enum disk_end end)
{
    struct crash crash = {.fixture = fixture};
    uint64_t answered = 0;

    for (uint32_t round = 1; round <= ROUNDS; round++) {
        uint64_t newest;

        test_disk_init(&crash.disk);
        weir_random_seed(&crash.disk.random, round);
        crash.disk.end = end;
        crash.disk.end_at = round * 4 % 55 + 1; /* few rounds are spread over all calls */
        fixture->io = &crash.disk.io;
        newest = run_child(&crash);
        test_disk_fini(&crash.disk);
        if (newest > answered)
            answered = newest;
        /* Every other time the next child itself finds what this one left. */
        if (round % 2 == 0)
            continue;
        fixture->io = &weir_io_posix;
        fixture_open(fixture);
        assert_whole(fixture, answered);
        fixture_close(fixture);
    }
    assert_true(answered > 5 * APPENDS);
}

static void test_killed_at_every_call(void **state)
{
    crash_everywhere(*state, DISK_KILL);
}

static void test_power_cut_at_every_call(void **state)
{
    crash_everywhere(*state, DISK_POWER_CUT);
}

static void test_torn_at_every_call(void **state)
{
    crash_everywhere(*state, DISK_TEAR);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_killed_at_every_call),
        CASE(test_power_cut_at_every_call),
        CASE(test_torn_at_every_call),
    };

    return cmocka_run_group_tests_name("spool crashes", tests, NULL, NULL);
}
