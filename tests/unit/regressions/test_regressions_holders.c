/* Bugs found in what a sink and a collector keep, on their real files. */
#include "held_fixture.h"

#include <base/alloc.h>
#include <dlq/dlq_store.h>
#include <setjmp.h>
#include <sink/sink_store.h>
#include <stdarg.h>
#include <stdlib.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_makes_durable_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
