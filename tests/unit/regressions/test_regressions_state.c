/* Bugs found in the spool's state, on the real database. */
#include <spool_fixture.h>

#include <base/alloc.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <store/state.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static sqlite3 *database_of(const struct spool_fixture *fixture)
{
    char *path = fixture_path(fixture, "state.db");
    sqlite3 *database;

    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    free(path);
    return database;
}

static void execute(const struct spool_fixture *fixture, const char *text)
{
    sqlite3 *database = database_of(fixture);

    assert_int_equal(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

/* The names of all tables and indices, and the columns of the groups. */
static char *schema_of(const struct spool_fixture *fixture)
{
    sqlite3 *database = database_of(fixture);
    sqlite3_stmt *statement;

    assert_int_equal(
        sqlite3_prepare_v2(database,
                           "SELECT group_concat (name, ' ') FROM (SELECT name FROM sqlite_schema"
                           " UNION ALL SELECT name FROM pragma_table_info ('groups')"
                           " ORDER BY name)",
                           -1, &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    char *names = weir_strdup((const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    return names;
}

/* 2: a state of version 1 did not gain the index from which a start reads the keys, so each of its
 * starts went through all messages. */
static void an_upgraded_state_has_all_that_a_new_one_has(void **state)
{
    struct spool_fixture *fixture = *state;

    fixture_open(fixture);
    fixture_close(fixture);
    char *made = schema_of(fixture);
    assert_non_null(strstr(made, "messages_keyed"));
    execute(fixture, "ALTER TABLE groups DROP COLUMN ended; DROP INDEX messages_keyed;"
                     "PRAGMA user_version = 1");
    fixture_open(fixture);
    fixture_close(fixture);
    char *upgraded = schema_of(fixture);
    assert_string_equal(upgraded, made);
    free(upgraded);
    free(made);
}

static void put_group(struct spool_fixture *fixture)
{
    struct weir_op op = {.type = WEIR_OP_GROUP_PUT, .group = weir_zalloc(1, sizeof *op.group)};

    op.group->number = 1;
    op.group->policy = weir_group_policy_default();
    memcpy(op.group->policy.name, "broken", sizeof "broken");
    op.group->low = op.group->next = 9;
    op.group->ended.count = 1;
    op.group->ended.at[0] = (struct weir_ended_range){1, 2, WEIR_FATE_LOST};
    apply(&fixture->subject, &op, 1);
}

/* 3: the ranges of what has ended were believed as they stood in the state. One that ends with the
 * highest sequence there is made the next loss or drop in it go round for ever. */
static void ranges_that_cannot_be_are_damage(void **state)
{
    struct spool_fixture *fixture = *state;
    static const char *const ended[] = {
        "x'0000000000000000 0100000000000000 ffffffffffffffff 01000000'", /* ends nowhere */
        "x'0000000000000000 0200000000000000 0100000000000000 01000000'", /* ends before it begins
                                                                           */
        "x'0000000000000000 0100000000000000 0200000000000000 03000000'", /* no such fate */
        ("x'0000000000000000 0500000000000000 0600000000000000 01000000"
         " 0600000000000000 0700000000000000 01000000'"), /* not disjoint */
    };

    fixture_open(fixture);
    put_group(fixture);
    fixture_close(fixture);
    for (size_t i = 0; i < sizeof ended / sizeof ended[0]; i++) {
        struct weir_error error;
        char text[256] = "UPDATE groups SET ended = ";
        size_t used = strlen(text);

        for (const char *at = ended[i]; *at != '\0'; at++)
            if (*at != ' ')
                text[used++] = *at;
        execute(fixture, text);
        fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
        assert_non_null(strstr(error.text, "broken"));
    }
    execute(fixture, "UPDATE groups SET ended = x''");
    fixture_open(fixture);
}

/* 4: a state of version 1 does not tell what was lost or dropped, and after the upgrade all of it
 * was said to be done. Only that it has ended is known. */
static void what_version_1_did_not_keep_is_not_known(void **state)
{
    struct spool_fixture *fixture = *state;

    fixture_open(fixture);
    put_group(fixture);
    fixture_close(fixture);
    execute(fixture, "ALTER TABLE groups DROP COLUMN ended; PRAGMA user_version = 1");
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->groups[0].ended.known_from, 9);
    assert_int_equal(fixture->subject.recovered->groups[0].ended.count, 0);
}

/* 5: a start read all producers that the state had ever had more of than there is room for, and
 * sorted those it kept anew for each that came after them: hours, for a few days' worth of them. */
static void a_start_reads_the_newest_producers(void **state)
{
    struct spool_fixture *fixture = *state;

    fixture_open(fixture);
    fixture_close(fixture);
    execute(fixture, "INSERT INTO producers WITH RECURSIVE r (i) AS"
                     " (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 65536 + 3)"
                     " SELECT CAST (printf ('%016d', 100000 - i) AS BLOB), 1, i, x'' FROM r");
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->producer_count, WEIR_PRODUCERS_MAX);
    assert_int_equal(fixture->subject.recovered->producers[0].time_ms, 65536 + 3);
    assert_int_equal(fixture->subject.recovered->producers[WEIR_PRODUCERS_MAX - 1].time_ms, 4);
}

static void put_payloads(struct spool_fixture *fixture, uint32_t count, uint32_t bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        struct weir_op op = {.type = WEIR_OP_ROW_PUT, .row = weir_zalloc(1, sizeof *op.row)};

        *op.row = (struct weir_row){.group = 1, .sequence = 1 + i, .state = WEIR_ROW_DEFERRED};
        op.row->body = pattern(1 + i, 0, bytes);
        op.row->header = pattern(1 + i, 1, 16);
        op.row->index_entry = pattern(1 + i, 2, 4);
        apply(&fixture->subject, &op, 1);
    }
}

/* 6: the database kept the room of what was deleted from it, and all of it counted as in use. Once
 * the payloads copied out of the log had filled a spool up to its `max`, it was full for good, also
 * when all of them were done. (Seed 204 of the simulator, with --backlogs 1 --repeats 40 --window
 * 1.) */
static void room_in_the_state_is_room_in_the_spool(void **state)
{
    struct spool_fixture *fixture = *state;
    const uint32_t count = 40;
    struct weir_error error = {0};

    fixture->config.bytes_max = WEIR_SPOOL_BYTES_MIN;
    fixture_open(fixture);
    put_payloads(fixture, count, WEIR_SPOOL_BYTES_MIN / count);
    assert_int_equal(fixture_try_append(fixture, count + 1, 1000, &error), WEIR_EFULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_op drop = {.type = WEIR_OP_ROW_DROP, .number = 1, .sequence = 1 + i};

        if (i % 8 != 7) /* those that stay lie between those that go */
            apply(&fixture->subject, &drop, 1);
    }
    struct weir_store_request trim = trim_request(100, 1);
    perform_plain(&fixture->subject, &trim);
    assert_int_equal(fixture_try_append(fixture, count + 1, 1000, &error), 0);
    struct weir_store_request query = {.id = 101,
                                       .kind = WEIR_STORE_QUERY,
                                       .query = WEIR_QUERY_MESSAGE,
                                       .sequence = 8,
                                       .count = 1};
    struct weir_store_result result;
    perform(&fixture->subject, &query, &result);
    assert_int_equal(result.row_count, 1);
    assert_pattern(&result.rows[0].body, 8, 0, WEIR_SPOOL_BYTES_MIN / count);
    weir_store_result_fini(&result);
}

/* 7: the database was removed while the spool was open, and all that was noted from then on went
 * into a file without a name; the log was freed on its word. */
static void a_state_that_was_removed_takes_nothing_more(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};
    const struct weir_op op = {.type = WEIR_OP_ABSORBED, .sequence = 1};
    char *path, *aside;

    fixture_open(fixture);
    path = fixture_path(fixture, "state.db");
    aside = fixture_path(fixture, "state.aside");
    commit_something(fixture);
    assert_int_equal(rename(path, aside), 0);
    request = apply_request(7, &op, 1);
    fixture->subject.store->submit(fixture->subject.store, &request);
    fixture->subject.next(&fixture->subject, &result);
    assert_int_equal(result.status, WEIR_EDAMAGED);
    assert_non_null(strstr(result.error.text, "was removed or replaced"));
    weir_store_result_fini(&result);
    fixture_close(fixture);
    assert_int_equal(rename(aside, path), 0);
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 1);
    free(path);
    free(aside);
}

/* Somebody with the sqlite3 shell, who has read and does not end his transaction. */
static sqlite3 *reader_of(const struct spool_fixture *fixture)
{
    sqlite3 *database = database_of(fixture);

    assert_int_equal(sqlite3_exec(database, "BEGIN; SELECT * FROM spool", NULL, NULL, NULL),
                     SQLITE_OK);
    return database;
}

/* 8: somebody was reading, so a start could not take the WAL into the database, and went on as if
 * it had: what a power cut could take back was believed after all. */
static void a_reader_does_not_keep_a_start_from_making_durable(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_path(fixture, "state.db-wal");
    struct stat file;

    fixture_in_killed_child(fixture, commit_something);
    sqlite3 *reader = reader_of(fixture);
    assert_int_equal(truncate(path, 1 << 20), 0); /* blocks that nobody has written */
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 1);
    assert_int_equal(stat(path, &file), 0);
    assert_true(file.st_blocks * 512 >= 1 << 20); /* it was written anew, where it is */
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    free(path);
}

/* 9: of a spool with a small `max` the WAL counts as use, but that somebody's reading makes it grow
 * was said from 64 MiB on only; until then it was just full, for no reason that anybody could see.
 * A start did not look at all, so that each made it longer than it may be. */
static void a_reader_of_a_small_spool_is_complained_about(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error = {0};
    struct weir_state *opened;
    char *path = fixture_path(fixture, "state.db-wal");

    fixture_in_killed_child(fixture, commit_something);
    sqlite3 *reader = reader_of(fixture);
    assert_int_equal(truncate(path, 1 << 20), 0); /* as if it had grown */
    assert_int_equal(weir_state_open(fixture->directory, 7, 4 << 20, &opened, &error), 0);
    assert_int_equal(weir_state_check_wal(opened, &error), 0);
    assert_true(opened->database.warned_ns != 0);
    weir_state_close(&opened);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    free(path);
}

/* 10: the state gave room back until a segment of the usual size fitted. A batch that needs a
 * larger one found none, however often it was tried. (Seed 508 of the simulator.) */
static void there_is_room_for_a_large_batch_too(void **state)
{
    struct spool_fixture *fixture = *state;
    const uint32_t count = 40, large_bytes = WEIR_SPOOL_BYTES_MIN / 2;
    struct weir_error error = {0};

    fixture->config.bytes_max = WEIR_SPOOL_BYTES_MIN;
    fixture_open(fixture);
    put_payloads(fixture, count, WEIR_SPOOL_BYTES_MIN / 2 / count);
    assert_int_equal(fixture_try_append(fixture, count + 1, large_bytes, &error), WEIR_EFULL);
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_op drop = {.type = WEIR_OP_ROW_DROP, .number = 1, .sequence = 1 + i};

        apply(&fixture->subject, &drop, 1);
    }
    struct weir_store_request trim = trim_request(100, 1);
    perform_plain(&fixture->subject, &trim);
    assert_int_equal(fixture_try_append(fixture, count + 1, large_bytes, &error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_makes_durable_what_it_reads, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_upgraded_state_has_all_that_a_new_one_has,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(ranges_that_cannot_be_are_damage, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(what_version_1_did_not_keep_is_not_known, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_state_that_was_removed_takes_nothing_more, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_reader_does_not_keep_a_start_from_making_durable,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_reader_of_a_small_spool_is_complained_about,
                                        fixture_set_up, fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_start_reads_the_newest_producers, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(room_in_the_state_is_room_in_the_spool, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(there_is_room_for_a_large_batch_too, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
