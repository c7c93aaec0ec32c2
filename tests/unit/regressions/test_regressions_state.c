/* Bugs found in the spool's state, on the real database. */
#include <spool_fixture.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

static off_t wal_bytes(const struct spool_fixture *fixture)
{
    char *path = fixture_path(fixture, "state.db-wal");
    struct stat file;

    assert_int_equal(stat(path, &file), 0);
    free(path);
    return file.st_size;
}

static void commit_something(struct spool_fixture *fixture)
{
    fixture_append(fixture, 1, 1, 100);
    fixture_absorb(fixture, 1);
}

/* 1: a transaction that a killed process had written and not yet synced was read by the next one,
 * which freed the log on its word; a power cut could take it back, and what was freed was lost. The
 * same after a sync that had failed: later syncs do not write those pages again. Now a start takes
 * the WAL into the database, which syncs both. */
static void a_start_makes_durable_what_it_reads(void **state)
{
    struct spool_fixture *fixture = *state;

    fixture_in_killed_child(fixture, commit_something);
    assert_true(wal_bytes(fixture) > 0);
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 1);
    assert_int_equal(wal_bytes(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_makes_durable_what_it_reads, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
