/* Bugs found in what a sink and a collector keep, on their real files. */
#include "held_fixture.h"
#include "sqlite_memory.h"

#include <base/alloc.h>
#include <dlq/dlq_store.h>
#include <setjmp.h>
#include <signal.h>
#include <sink/sink_store.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static off_t wal_bytes(const char *database)
{
    char *path = weir_asprintf("%s-wal", database);
    struct stat file;

    assert_int_equal(stat(path, &file), 0);
    free(path);
    return file.st_size;
}

static struct weir_store_request request_of_one(void)
{
    struct weir_message_view view = fixture_result(1, "email", 1, "x");

    return fixture_hold(1, 1, 1, "t", &view, 1);
}

/* Hold one message and end without any goodbye. */
static void hold_and_die(const struct weir_sink_config *sink_config, const char *letters_path)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct weir_store_request request = request_of_one();
        struct weir_dlq_store *letters;
        struct weir_sink *sink;
        uint32_t duplicates;

        if (letters_path != NULL)
            _exit(weir_dlq_store_open(letters_path, true, &letters, NULL) != 0 ||
                  weir_dlq_store_hold(letters, 4, &request, 1, &duplicates, NULL) != 0);
        _exit(weir_sink_open(sink_config, &sink, NULL) != 0 ||
              weir_sink_hold(sink, &request, 1, &duplicates, NULL) != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* 1: what a process had written to the WAL, and failed to sync, the next one read from the page
 * cache and went on from: its own transactions, synced and confirmed, stood behind pages that no
 * sync ever wrote, and a power cut took them all back. Now a start takes the WAL into the database,
 * which writes those pages elsewhere and syncs them. */
static void a_start_makes_durable_what_it_reads(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "held");
    const struct weir_sink_config config = {
        .kind = WEIR_SINK_SQLITE, .path = path, .stdout_fd = -1, .tag = 4};
    struct weir_dlq_store *letters;
    struct weir_sink *sink;
    uint64_t count;

    (void)state;
    hold_and_die(&config, NULL);
    assert_true(wal_bytes(path) > 0);
    assert_int_equal(weir_sink_open(&config, &sink, NULL), 0);
    assert_int_equal(wal_bytes(path), 0);
    weir_sink_destroy(&sink);
    unlink(path);

    hold_and_die(NULL, path);
    assert_true(wal_bytes(path) > 0);
    assert_int_equal(weir_dlq_store_open(path, true, &letters, NULL), 0);
    assert_int_equal(wal_bytes(path), 0);
    assert_int_equal(weir_dlq_store_count(letters, &(struct weir_dlq_filter){0}, &count, NULL), 0);
    assert_int_equal(count, 1);
    weir_dlq_store_destroy(&letters);
    free(path);
    fixture_directory_destroy(&directory);
}

/* No file may grow beyond this many bytes: SQLite finds no room for its shared memory, as on a full
 * disk. Returns the limit there was. */
static rlim_t limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return before;
}

/* 2: after an orderly end, a start on a full disk failed with "disk I/O error", as a broken one
 * does; five such starts in a row, and the supervisor gave the node up, though it takes no more
 * than some space to go on. */
static void no_room_at_the_start_is_a_full_disk(void **state)
{
    char *directory = fixture_directory_new();
    char *path = fixture_path(directory, "dlq.db");
    struct weir_dlq_store *store;
    struct weir_error error = {0};

    (void)state;
    assert_int_equal(weir_dlq_store_open(path, true, &store, &error), 0);
    weir_dlq_store_destroy(&store);

    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    rlim_t before = limit_files(3);
    assert_int_equal(weir_dlq_store_open(path, true, &store, &error), WEIR_EFULL);
    assert_non_null(strstr(error.text, "is full: free some space"));
    limit_files(before);
    assert_int_equal(weir_dlq_store_open(path, true, &store, &error), 0);
    weir_dlq_store_destroy(&store);
    free(path);
    fixture_directory_destroy(&directory);
}

/* 3: where SQLite had no memory for a value of the filter, NULL stood in its place, which no letter
 * equals: `weir dlq` then found nothing, purged nothing, and said that all was well. */
static void a_filter_that_cannot_be_bound_is_an_error(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "letters");
    const struct weir_dlq_filter filter = {.group = "email"};
    struct weir_store_request request = request_of_one();
    struct weir_dlq_store *letters;
    uint32_t duplicates, errors = 0;
    bool failed = true;

    (void)state;
    assert_int_equal(weir_dlq_store_open(path, true, &letters, NULL), 0);
    assert_int_equal(weir_dlq_store_hold(letters, 4, &request, 1, &duplicates, NULL), 0);
    weir_store_request_fini(&request);
    for (uint64_t nth = 1; failed; nth++) {
        uint64_t count = 0;
        int status;

        sqlite_memory_fail(nth, false);
        status = weir_dlq_store_count(letters, &filter, &count, NULL);
        failed = sqlite_memory_failed();
        sqlite_memory_fail(0, false);
        assert_int_equal(count, status == 0 ? 1 : 0);
        errors += status != 0;
    }
    assert_true(errors > 0);
    weir_dlq_store_destroy(&letters);
    free(path);
    fixture_directory_destroy(&directory);
}

/* 4: a ledger that could not be read, for want of memory or for the disk's error, was called
 * damaged, and the operator was told to put an older copy in its place. */
static void a_ledger_that_cannot_be_read_is_not_damaged(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "out");
    char *ledger_path = fixture_path(directory, "ledger");
    const struct weir_sink_config config = {.kind = WEIR_SINK_JSONL,
                                            .path = path,
                                            .ledger_path = ledger_path,
                                            .stdout_fd = -1,
                                            .tag = 4};
    struct weir_sink *sink;
    bool failed = true;

    (void)state;
    assert_int_equal(weir_sink_open(&config, &sink, NULL), 0);
    weir_sink_destroy(&sink);
    for (uint64_t nth = 1; failed; nth++) {
        sqlite_memory_fail(nth, false);
        assert_int_not_equal(weir_sink_open(&config, &sink, NULL), WEIR_EDAMAGED);
        failed = sqlite_memory_failed();
        sqlite_memory_fail(0, false);
        weir_sink_destroy(&sink);
    }
    free(path);
    free(ledger_path);
    fixture_directory_destroy(&directory);
}

/* 5: of results written as rows, one whose ledger could not be read was inserted all the same, and
 * the error was forgotten: SQLite had ended the transaction, so the row stood there by itself, and
 * once more when the batch came again. */
static void a_result_that_cannot_be_looked_up_is_not_written(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "results.db");
    const struct weir_sink_config config = {
        .kind = WEIR_SINK_SQLITE, .path = path, .stdout_fd = -1, .tag = 4};
    struct weir_store_request request = request_of_one();
    struct weir_error error = {0};
    struct weir_sink *sink;
    uint32_t duplicates;
    sqlite3_stmt *rows;
    sqlite3 *other;

    (void)state;
    assert_int_equal(weir_sink_open(&config, &sink, NULL), 0);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "ALTER TABLE ranges RENAME TO gone", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_not_equal(weir_sink_hold(sink, &request, 1, &duplicates, &error), 0);
    assert_non_null(strstr(error.text, "looking up what was written"));
    assert_int_equal(sqlite3_prepare_v2(other, "SELECT 1 FROM results", -1, &rows, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(rows), SQLITE_DONE);
    sqlite3_finalize(rows);
    sqlite3_close(other);
    weir_store_request_fini(&request);
    weir_sink_destroy(&sink);
    free(path);
    fixture_directory_destroy(&directory);
}

/* Hold one message more, whose sequence is its number. */
static int hold_number(struct weir_sink *sink, uint64_t number, struct weir_error *error)
{
    struct weir_message_view view = fixture_result(number, "email", 0, "x");
    struct weir_store_request request = fixture_hold(number, 1, number, "t", &view, 1);
    uint32_t duplicates;
    const int status = weir_sink_hold(sink, &request, 1, &duplicates, error);

    weir_store_request_fini(&request);
    return status;
}

/* 6: the database was removed, or another put in its place, while results were written to it. All
 * that came from then on was confirmed, and was gone when the sink ended. */
static void a_database_that_was_removed_takes_nothing_more(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "held");
    char *aside = fixture_path(directory, "aside");
    const struct weir_sink_config config = {
        .kind = WEIR_SINK_SQLITE, .path = path, .stdout_fd = -1, .tag = 4};
    struct weir_error error = {0};
    struct weir_sink *sink;

    (void)state;
    assert_int_equal(weir_sink_open(&config, &sink, NULL), 0);
    assert_int_equal(hold_number(sink, 1, &error), 0);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(hold_number(sink, 2, &error), WEIR_EDAMAGED);
    assert_non_null(strstr(error.text, "was removed or replaced"));
    assert_int_equal(rename(aside, path), 0);
    assert_int_equal(hold_number(sink, 2, &error), 0);
    weir_sink_destroy(&sink);
    free(aside);
    free(path);
    fixture_directory_destroy(&directory);
}

/* 7: somebody read the results in one transaction that did not end, and the WAL grew until the disk
 * was full, without a word of why. */
static void a_reader_that_stays_does_not_fill_the_disk(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "held");
    char *wal = fixture_path(directory, "held-wal");
    const struct weir_sink_config config = {
        .kind = WEIR_SINK_SQLITE, .path = path, .stdout_fd = -1, .tag = 4};
    struct weir_error error = {0};
    struct weir_sink *sink;
    sqlite3 *reader;

    (void)state;
    assert_int_equal(weir_sink_open(&config, &sink, NULL), 0);
    assert_int_equal(hold_number(sink, 1, &error), 0);
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT * FROM producers", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(truncate(wal, WEIR_WAL_BYTES_MAX), 0); /* as if it had grown */
    assert_int_equal(hold_number(sink, 2, &error), WEIR_EFULL);
    assert_non_null(strstr(error.text, "another program has been reading"));
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_int_equal(hold_number(sink, 2, &error), 0);
    assert_true(wal_bytes(path) < 1 << 20);
    weir_sink_destroy(&sink);
    free(wal);
    free(path);
    fixture_directory_destroy(&directory);
}

/* 8: a database of something else, named as a sink's by mistake, was refused; but it had been
 * switched to a WAL by then, which stays, and which its owner may not expect. */
static void what_is_refused_is_left_as_it_is(void **state)
{
    char *directory = fixture_directory_new(), *path = fixture_path(directory, "theirs.db");
    const struct weir_sink_config config = {
        .kind = WEIR_SINK_SQLITE, .path = path, .stdout_fd = -1, .tag = 4};
    struct weir_error error = {0};
    struct weir_sink *sink;
    sqlite3_stmt *mode;
    sqlite3 *theirs;

    (void)state;
    assert_int_equal(sqlite3_open(path, &theirs), SQLITE_OK);
    assert_int_equal(sqlite3_exec(theirs, "CREATE TABLE mine (a)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(theirs), SQLITE_OK);
    assert_int_equal(weir_sink_open(&config, &sink, &error), WEIR_EINVAL);
    assert_non_null(strstr(error.text, "SQLite file of something else"));
    assert_int_equal(sqlite3_open(path, &theirs), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(theirs, "PRAGMA journal_mode", -1, &mode, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(mode), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(mode, 0), "delete");
    sqlite3_finalize(mode);
    assert_int_equal(sqlite3_close(theirs), SQLITE_OK);
    free(path);
    fixture_directory_destroy(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_makes_durable_what_it_reads),
        cmocka_unit_test(no_room_at_the_start_is_a_full_disk),
        cmocka_unit_test(a_filter_that_cannot_be_bound_is_an_error),
        cmocka_unit_test(a_ledger_that_cannot_be_read_is_not_damaged),
        cmocka_unit_test(a_result_that_cannot_be_looked_up_is_not_written),
        cmocka_unit_test(a_database_that_was_removed_takes_nothing_more),
        cmocka_unit_test(a_reader_that_stays_does_not_fill_the_disk),
        cmocka_unit_test(what_is_refused_is_left_as_it_is),
    };

    sqlite_memory_use();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
