/* One writer with the functions under test, and somebody else with SQLite's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <base/limits.h>
#include <sqlite/database.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES 1000u
#define KEPT_BYTES (1u << 20)

struct world {
    char directory[64];
    char *path, *wal_path;
    struct weir_database database;
    struct weir_error error;
};

static int set_up(void **state)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    const char *base = getenv("TMPDIR");

    snprintf(world->directory, sizeof world->directory, "%s/weir-test-XXXXXX",
             base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(world->directory));
    world->path = weir_asprintf("%s/things.db", world->directory);
    world->wal_path = weir_asprintf("%s/things.db-wal", world->directory);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"things.db", "things.db-wal", "things.db-shm", "aside"};
    struct world *world = *state;

    weir_database_fini(&world->database);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = weir_asprintf("%s/%s", world->directory, names[i]);

        unlink(path);
        free(path);
    }
    assert_int_equal(rmdir(world->directory), 0);
    free(world->path);
    free(world->wal_path);
    free(world);
    return 0;
}

static void open_database(struct world *world)
{
    assert_int_equal(weir_database_init(&world->database, "list of things", world->path,
                                        SQLITE_OPEN_CREATE, &world->error),
                     0);
    assert_int_equal(weir_database_use_wal(&world->database, PAGES, KEPT_BYTES, &world->error), 0);
    assert_int_equal(weir_database_execute(&world->database,
                                           "CREATE TABLE IF NOT EXISTS things (name, data)",
                                           "making the table", &world->error),
                     0);
}

static void add(struct world *world, const char *name, size_t bytes)
{
    sqlite3_stmt *insert = NULL;
    char *data = weir_alloc(bytes);

    memset(data, 'x', bytes);
    assert_int_equal(weir_database_begin(&world->database, &world->error), 0);
    assert_int_equal(weir_database_prepare(&world->database, "INSERT INTO things VALUES (?, ?)",
                                           &insert, &world->error),
                     0);
    weir_bind_text(insert, 1, name, strlen(name));
    weir_bind_blob(insert, 2, data, bytes);
    assert_int_equal(weir_database_run(&world->database, insert, "adding", &world->error), 0);
    sqlite3_finalize(insert);
    free(data);
}

static void commit(struct world *world)
{
    assert_int_equal(weir_database_commit(&world->database, "adding", &world->error), 0);
}

static int64_t number(struct world *world, const char *sql)
{
    int64_t value = -1;

    assert_int_equal(weir_database_number(&world->database, sql, &value, &world->error), 0);
    return value;
}

/* Somebody with the sqlite3 shell, in the middle of a transaction. */
static sqlite3 *somebody(const struct world *world, const char *sql)
{
    sqlite3 *other;

    assert_int_equal(sqlite3_open(world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, sql, NULL, NULL, NULL), SQLITE_OK);
    return other;
}

static struct stat wal_of(const struct world *world)
{
    struct stat file;

    assert_int_equal(stat(world->wal_path, &file), 0);
    return file;
}

static void only_what_is_committed_stays(void **state)
{
    struct world *world = *state;

    open_database(world);
    add(world, "kept", 0);
    commit(world);
    add(world, "dropped", 0);
    weir_database_roll_back(&world->database);
    weir_database_roll_back(&world->database); /* of nothing */
    weir_database_fini(&world->database);
    open_database(world);
    assert_int_equal(number(world, "SELECT count (*) FROM things"), 1);
    assert_int_equal(
        number(world, "SELECT count (*) FROM things WHERE name = 'kept' AND data = x''"), 1);
    assert_int_equal(number(world, "PRAGMA synchronous"), 2);
}

static void what_somebody_has_locked_is_busy(void **state)
{
    struct world *world = *state;
    sqlite3 *writer;

    open_database(world);
    writer = somebody(world, "BEGIN IMMEDIATE");
    sqlite3_busy_timeout(world->database.handle, 0);
    assert_int_equal(weir_database_begin(&world->database, &world->error), WEIR_EBUSY);
    assert_non_null(strstr(world->error.text, "the list of things"));
    assert_non_null(strstr(world->error.text, world->path));
    assert_int_equal(sqlite3_close(writer), SQLITE_OK);
    add(world, "then", 0);
    commit(world);
}

static void a_file_of_no_database_is_damaged(void **state)
{
    struct world *world = *state;
    FILE *file = fopen(world->path, "w");
    int64_t value;

    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("not what SQLite writes\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(
        weir_database_init(&world->database, "list of things", world->path, 0, &world->error), 0);
    assert_int_equal(
        weir_database_number(&world->database, "PRAGMA user_version", &value, &world->error),
        WEIR_EDAMAGED);
    assert_non_null(strstr(world->error.text, "list of things"));
    assert_non_null(strstr(world->error.text, ".recover"));
}

static void a_file_that_is_not_there_any_more_is_not_written_to(void **state)
{
    struct world *world = *state;
    char *aside = weir_asprintf("%s/aside", world->directory);

    open_database(world);
    add(world, "first", 0);
    commit(world);
    assert_int_equal(rename(world->path, aside), 0);
    assert_int_equal(weir_database_begin(&world->database, &world->error), WEIR_EDAMAGED);
    assert_non_null(strstr(world->error.text, "was removed or replaced"));
    assert_int_equal(rename(aside, world->path), 0);
    add(world, "second", 0);
    commit(world);
    free(aside);
}

static void the_wal_is_shortened_once_nobody_reads(void **state)
{
    struct world *world = *state;
    sqlite3 *reader;
    uint64_t bytes;

    open_database(world);
    add(world, "before", 0);
    commit(world);
    reader = somebody(world, "BEGIN; SELECT * FROM things");
    add(world, "large", KEPT_BYTES);
    commit(world);
    bytes = (uint64_t)wal_of(world).st_size;
    assert_true(bytes > KEPT_BYTES);
    assert_true(weir_database_bytes(&world->database) > bytes);
    weir_database_shorten_wal(&world->database, 0); /* does not wait for the reader */
    assert_int_equal(wal_of(world).st_size, bytes);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    weir_database_shorten_wal(&world->database, bytes); /* no longer than that */
    assert_int_equal(wal_of(world).st_size, bytes);
    weir_database_shorten_wal(&world->database, bytes - 1);
    assert_int_equal(wal_of(world).st_size, 0);
    assert_int_equal(number(world, "SELECT sum (length (data)) FROM things"), KEPT_BYTES);
}

static void a_reader_that_stays_is_complained_about_then_refused(void **state)
{
    struct world *world = *state;
    sqlite3 *reader;
    int64_t warned_ns;

    open_database(world);
    world->database.wal_bytes_warn = KEPT_BYTES;
    add(world, "before", 0);
    commit(world);
    reader = somebody(world, "BEGIN; SELECT * FROM things");
    assert_int_equal(weir_database_check_wal(&world->database, &world->error), 0);
    assert_int_equal(world->database.warned_ns, 0);
    add(world, "large", KEPT_BYTES);
    commit(world);
    assert_int_equal(weir_database_check_wal(&world->database, &world->error), 0);
    warned_ns = world->database.warned_ns;
    assert_true(warned_ns != 0);
    assert_int_equal(truncate(world->wal_path, WEIR_WAL_BYTES_MAX), 0); /* as if it had grown */
    assert_int_equal(weir_database_check_wal(&world->database, &world->error), WEIR_EFULL);
    assert_non_null(
        strstr(world->error.text, "another program has been reading the list of things"));
    assert_int_equal(world->database.warned_ns, warned_ns); /* once a minute is enough */
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_int_equal(weir_database_check_wal(&world->database, &world->error), 0);
    assert_int_equal(wal_of(world).st_size, 0);
}

static void a_start_makes_durable_what_it_finds(void **state)
{
    struct world *world = *state;
    sqlite3 *reader;

    open_database(world);
    add(world, "before", 0);
    commit(world);
    reader = somebody(world, "BEGIN; SELECT * FROM things");
    add(world, "behind it", 0);
    commit(world);
    assert_int_equal(truncate(world->wal_path, KEPT_BYTES), 0); /* blocks that nobody has written */
    assert_true(wal_of(world).st_blocks * 512 < KEPT_BYTES);
    assert_int_equal(weir_database_secure_wal(&world->database, &world->error), 0);
    assert_true(wal_of(world).st_blocks * 512 >= KEPT_BYTES); /* written anew, where it is */
    assert_int_equal(number(world, "SELECT count (*) FROM things"), 2);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_int_equal(weir_database_secure_wal(&world->database, &world->error), 0);
    assert_int_equal(wal_of(world).st_size, 0);
    add(world, "afterwards", 0);
    commit(world);
    assert_int_equal(number(world, "SELECT count (*) FROM things"), 3);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(only_what_is_committed_stays),
        CASE(what_somebody_has_locked_is_busy),
        CASE(a_file_of_no_database_is_damaged),
        CASE(a_file_that_is_not_there_any_more_is_not_written_to),
        CASE(the_wal_is_shortened_once_nobody_reads),
        CASE(a_reader_that_stays_is_complained_about_then_refused),
        CASE(a_start_makes_durable_what_it_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
