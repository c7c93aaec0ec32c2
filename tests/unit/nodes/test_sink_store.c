/* The sink's store: what is written, and that every result is there once after any crash. */
#include "held_fixture.h"

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <sink/sink_store.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char *directory, *path, *ledger_path;
    struct weir_sink_config config;
    struct weir_sink *sink;
    struct weir_error error;
};

static void open_sink(struct world *world)
{
    if (weir_sink_open(&world->config, &world->sink, &world->error) != 0)
        fail_msg("%s", world->error.text);
}

static int setup(void **state)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    world->directory = fixture_directory_new();
    world->path = fixture_path(world->directory, "out.jsonl");
    world->ledger_path = fixture_path(world->directory, "out.jsonl.ledger");
    world->config = (struct weir_sink_config){.kind = WEIR_SINK_JSONL,
                                              .path = world->path,
                                              .ledger_path = world->ledger_path,
                                              .stdout_fd = -1,
                                              .tag = 4};
    open_sink(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_sink_destroy(&world->sink);
    fixture_directory_destroy(&world->directory);
    free(world->path);
    free(world->ledger_path);
    free(world);
    return 0;
}

static uint64_t next_number = 1;

/* Returns how many were there already. */
static uint32_t hold(struct world *world, const struct weir_message_view *messages, uint32_t count)
{
    uint64_t number = next_number++;
    struct weir_store_request request = fixture_hold(number * 100, 1, number, "t", messages, count);
    uint32_t duplicates = 99;
    if (weir_sink_hold(world->sink, &request, 1, &duplicates, &world->error) != 0)
        fail_msg("%s", world->error.text);
    weir_store_request_fini(&request);
    return duplicates;
}

static uint32_t hold_result(struct world *world, uint64_t sequence, const char *group,
                            uint32_t death)
{
    struct weir_message_view view = fixture_result(sequence, group, death, "x");
    return hold(world, &view, 1);
}

static json_t *read_line(const struct world *world, uint32_t at)
{
    size_t bytes;
    char *text = fixture_read(world->path, &bytes), *line = text;
    for (uint32_t i = 0; i < at; i++) {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    char *end = strchr(line, '\n');
    assert_non_null(end);
    json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
    assert_non_null(json);
    free(text);
    return json;
}

static void assert_text(json_t *line, const char *name, const char *expected)
{
    json_t *value = json_object_get(line, name);
    if (expected == NULL) {
        assert_null(value);
        return;
    }
    assert_true(json_is_string(value));
    assert_string_equal(json_string_value(value), expected);
}

static void test_lines(void **state)
{
    struct world *world = *state;
    struct weir_message_view views[3] = {
        fixture_result(9, "email", 0, "sent to \"anna\"\n"),
        fixture_result(10, "email", 2, ""),
        {.payload = (const uint8_t *)"direct", .payload_bytes = 6},
    };
    char id[WEIR_ID_TEXT_BYTES];
    views[0].key = "k1";
    views[0].key_bytes = 2;
    views[0].headers[0] = (struct weir_header_pair){"traceparent", 11, "00-ab", 5};
    views[0].headers[1] = (struct weir_header_pair){"odd", 3, "\xff\0", 2};
    views[0].header_count = 2;
    views[1].payload = (const uint8_t *)"\xff\xfe\0x";
    views[1].payload_bytes = 4;
    views[1].key = "\xe9";
    views[1].key_bytes = 1;
    next_number = 3;
    assert_int_equal(hold(world, views, 3), 0);

    json_t *line = read_line(world, 0);
    weir_id_format(&(struct weir_id){1600000000000, 7, 9}, id);
    assert_text(line, "id", id);
    assert_text(line, "topic", "t");
    assert_text(line, "group", "email");
    assert_text(line, "key", "k1");
    assert_int_equal(json_integer_value(json_object_get(line, "attempt")), 2);
    assert_null(json_object_get(line, "death"));
    assert_text(line, "result", "sent to \"anna\"\n");
    assert_text(line, "time", "2023-11-14T22:13:20.003Z");
    json_t *headers = json_object_get(line, "headers");
    assert_text(headers, "traceparent", "00-ab");
    assert_text(json_object_get(headers, "odd"), "base64", "/wA=");
    json_decref(line);

    line = read_line(world, 1);
    assert_text(line, "result", NULL);
    assert_text(line, "result_base64", "//4AeA==");
    assert_text(line, "key_base64", "6Q==");
    assert_int_equal(json_integer_value(json_object_get(line, "death")), 2);
    assert_null(json_object_get(line, "headers"));
    json_decref(line);

    line = read_line(world, 2);
    weir_id_format(&(struct weir_id){1700000000003, 4, 302}, id);
    assert_text(line, "id", id);
    assert_true(json_is_null(json_object_get(line, "group")));
    assert_true(json_is_null(json_object_get(line, "key")));
    assert_text(line, "result", "direct");
    json_decref(line);
}

/* A body that is no message is not thrown away. */
static void test_unreadable(void **state)
{
    struct world *world = *state;
    struct weir_message_view view = {.payload = (const uint8_t *)"direct", .payload_bytes = 6};
    struct weir_store_request request = fixture_hold(1, 1, 1, "t", &view, 1);
    uint8_t *body;
    uint32_t duplicates;
    struct weir_bytes nonsense = weir_bytes_new(request.record.body.size, &body);
    memset(body, 0xc1, nonsense.size);
    weir_bytes_drop(&request.record.body);
    request.record.body = nonsense;
    assert_int_equal(weir_sink_hold(world->sink, &request, 1, &duplicates, &world->error), 0);
    weir_store_request_fini(&request);
    json_t *line = read_line(world, 0);
    assert_true(json_is_true(json_object_get(line, "unreadable")));
    assert_non_null(json_object_get(line, "result_base64"));
    json_decref(line);
}

/* Every order of the same forty results, in batches of several sizes, each twice. */
static void test_once_in_any_order(void **state)
{
    struct world *world = *state;
    uint64_t random = 1;
    uint32_t written = 0;
    bool there[3][40] = {{false}};
    static const char *const groups[] = {"email", "email", "crm"};
    for (uint32_t round = 0; round < 300; round++) {
        struct weir_message_view *views = weir_zalloc(8, sizeof *views);
        uint32_t count = 1 + round % 8, fresh = 0;
        for (uint32_t i = 0; i < count; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint32_t which = (uint32_t)(random >> 33) % 3, sequence = (uint32_t)(random >> 40) % 40;
            views[i] = fixture_result(sequence, groups[which], which == 1, "x");
            fresh += !there[which][sequence];
            there[which][sequence] = true;
        }
        assert_int_equal(hold(world, views, count), count - fresh);
        written += fresh;
        free(views);
        if (round % 50 == 49) {
            weir_sink_destroy(&world->sink);
            open_sink(world);
        }
    }
    assert_int_equal(written, 120);
    size_t bytes;
    uint32_t lines = 0;
    char *text = fixture_read(world->path, &bytes);
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 120);
    free(text);
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(world->ledger_path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*), sum (last - first + 1) FROM ranges",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 3);
    assert_int_equal(sqlite3_column_int(statement, 1), 120);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void test_sequences_at_the_edges(void **state)
{
    struct world *world = *state;
    const uint64_t edges[] = {0, UINT64_MAX, (uint64_t)INT64_MAX, (uint64_t)INT64_MAX + 1, 1};
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(hold_result(world, edges[i], "email", 0), 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(hold_result(world, edges[i], "email", 0), 1);
    assert_int_equal(hold_result(world, 2, "email", 0), 0);
    assert_int_equal(hold_result(world, UINT64_MAX - 1, "email", 0), 0);
}

static void copy_file(const char *from, const char *to, size_t bytes_max)
{
    size_t bytes;
    char *data = fixture_read(from, &bytes);
    FILE *file = fopen(to, "wb");
    assert_non_null(file);
    bytes = bytes < bytes_max ? bytes : bytes_max;
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    free(data);
}

/* What a crash leaves: the files as they are now, the output cut at `cut`. */
static struct world crashed_copy(const struct world *world, size_t cut)
{
    struct world copy = {.config = world->config};
    copy.directory = fixture_directory_new();
    copy.path = fixture_path(copy.directory, "out.jsonl");
    copy.ledger_path = fixture_path(copy.directory, "out.jsonl.ledger");
    char *wal = weir_asprintf("%s-wal", world->ledger_path);
    char *copied_wal = weir_asprintf("%s-wal", copy.ledger_path);
    copy_file(world->path, copy.path, cut);
    copy_file(world->ledger_path, copy.ledger_path, SIZE_MAX);
    copy_file(wal, copied_wal, SIZE_MAX);
    copy.config.path = copy.path;
    copy.config.ledger_path = copy.ledger_path;
    free(wal);
    free(copied_wal);
    return copy;
}

static void crashed_copy_end(struct world *copy)
{
    weir_sink_destroy(&copy->sink);
    fixture_directory_destroy(&copy->directory);
    free(copy->path);
    free(copy->ledger_path);
}

static void test_cut_at_every_byte(void **state)
{
    struct world *world = *state;
    struct weir_message_view views[3] = {fixture_result(1, "email", 0, "one"),
                                         fixture_result(2, "email", 0, "two"),
                                         fixture_result(3, "email", 0, "three")};
    size_t synced, bytes;
    assert_int_equal(hold(world, views, 1), 0);
    free(fixture_read(world->path, &synced));
    assert_int_equal(hold(world, views, 3), 1);
    char *whole = fixture_read(world->path, &bytes);
    assert_true(bytes > synced);
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct world copy = crashed_copy(world, cut);
        size_t found_bytes;
        int status = weir_sink_open(&copy.config, &copy.sink, &copy.error);
        char *found = fixture_read(copy.path, &found_bytes);
        if (cut < synced) {
            assert_int_equal(status, WEIR_EDAMAGED);
            assert_int_equal(found_bytes, cut);
        } else {
            assert_int_equal(status, 0);
            assert_int_equal(found_bytes, bytes);
            assert_memory_equal(found, whole, bytes);
            assert_int_equal(hold(&copy, views, 3), 3);
        }
        free(found);
        crashed_copy_end(&copy);
    }
    free(whole);
}

/* What was written behind the last committed line, or torn, is cut off. */
static void test_garbage_behind(void **state)
{
    struct world *world = *state;
    hold_result(world, 1, "email", 0);
    size_t bytes, found_bytes;
    char *whole = fixture_read(world->path, &bytes);
    struct world copy = crashed_copy(world, SIZE_MAX);
    FILE *file = fopen(copy.path, "ab");
    fputs("{\"id\":\"torn", file);
    fclose(file);
    open_sink(&copy);
    char *found = fixture_read(copy.path, &found_bytes);
    assert_int_equal(found_bytes, bytes);
    assert_memory_equal(found, whole, bytes);
    free(found);
    free(whole);
    crashed_copy_end(&copy);
}

static void assert_refuses(struct world *world, int code, const char *named)
{
    assert_int_equal(weir_sink_open(&world->config, &world->sink, &world->error), code);
    assert_null(world->sink);
    if (strstr(world->error.text, named) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", world->error.text, named);
}

static void test_bad_files(void **state)
{
    struct world *world = *state;
    struct weir_sink *second = NULL;
    hold_result(world, 1, "email", 0);
    assert_int_equal(weir_sink_open(&world->config, &second, &world->error), WEIR_ELOCKED);
    assert_non_null(strstr(world->error.text, "another sink"));
    weir_sink_destroy(&world->sink);

    /* Another file of the same length. */
    size_t bytes, kept_bytes;
    char *whole = fixture_read(world->path, &bytes);
    char *garbage = weir_zalloc(bytes, 1);
    open_sink(world);
    hold_result(world, 2, "email", 0); /* makes the first line the tail */
    weir_sink_destroy(&world->sink);
    FILE *file = fopen(world->path, "r+b");
    assert_int_equal(fwrite(garbage, 1, bytes, file), bytes);
    fclose(file);
    assert_refuses(world, WEIR_EDAMAGED, "not the file");

    /* A file whose ledger is gone. */
    unlink(world->ledger_path);
    assert_refuses(world, WEIR_EINVAL, "ledger");
    char *kept = fixture_read(world->path, &kept_bytes);
    assert_true(kept_bytes > bytes);
    assert_memory_equal(kept, garbage, bytes);

    /* A ledger that is none. */
    unlink(world->path);
    unlink(world->ledger_path);
    file = fopen(world->ledger_path, "wb");
    for (int i = 0; i < 1000; i++)
        fputs("no ledger, but a poem\n", file);
    fclose(file);
    assert_refuses(world, WEIR_EDAMAGED, "damaged");
    free(kept);
    free(garbage);
    free(whole);
}

static void test_sqlite(void **state)
{
    struct world *world = *state;
    char *path = fixture_path(world->directory, "out.db");
    struct world rows = {.config = {.kind = WEIR_SINK_SQLITE, .path = path, .tag = 4}};
    struct weir_message_view views[2] = {fixture_result(1, "email", 0, "text"),
                                         fixture_result(2, "crm", 1, "")};
    views[1].payload = (const uint8_t *)"\xff\xfe";
    views[1].payload_bytes = 2;
    views[1].headers[0] = (struct weir_header_pair){"h", 1, "v", 1};
    views[1].header_count = 1;
    open_sink(&rows);
    next_number = 3;
    assert_int_equal(hold(&rows, views, 2), 0);
    weir_sink_destroy(&rows.sink);
    open_sink(&rows);
    assert_int_equal(hold(&rows, views, 2), 2);
    weir_sink_destroy(&rows.sink);

    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT group_concat (\"group\" || ' ' || attempt || ' ' || death ||"
                           " ' ' || typeof (result) || ' ' || hex (result) || ' ' || headers ||"
                           " ' ' || time_ms, '; ') FROM results",
                           -1, &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(statement, 0),
                        "email 2 0 text 74657874 {} 1700000000003; "
                        "crm 2 1 blob FFFE {\"h\":\"v\"} 1700000000003");
    sqlite3_finalize(statement);
    sqlite3_close(db);
    free(path);
}

static void test_stdout(void **state)
{
    struct world *world = *state;
    char *ledger = fixture_path(world->directory, "node.ledger");
    char *target = fixture_path(world->directory, "captured");
    int fd = open(target, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct world out = {
        .config = {.kind = WEIR_SINK_STDOUT, .ledger_path = ledger, .stdout_fd = fd, .tag = 4}};
    size_t once, twice;
    open_sink(&out);
    assert_int_equal(hold_result(&out, 1, "email", 0), 0);
    weir_sink_destroy(&out.sink);
    free(fixture_read(target, &once));
    assert_true(once > 0);
    open_sink(&out);
    assert_int_equal(hold_result(&out, 1, "email", 0), 1);
    weir_sink_destroy(&out.sink);
    free(fixture_read(target, &twice));
    assert_int_equal(twice, once);
    close(fd);
    free(ledger);
    free(target);
}

/* In place of the C library's: the disk, on demand, has no room for what was written. */
static int sync_errno;

int fdatasync(int fd)
{
    errno = sync_errno;
    return sync_errno ? -1 : fsync(fd);
}

static void test_failed_sync_is_final(void **state)
{
    struct world *world = *state;
    struct weir_message_view view = fixture_result(2, "email", 0, "x");
    struct weir_store_request request = fixture_hold(1, 1, next_number++, "t", &view, 1);
    uint32_t duplicates;
    hold_result(world, 1, "email", 0);
    sync_errno = ENOSPC;
    const int status = weir_sink_hold(world->sink, &request, 1, &duplicates, &world->error);
    sync_errno = 0;
    assert_int_equal(status, WEIR_EIO);
    assert_non_null(strstr(world->error.text, "cannot sync"));
    assert_non_null(strstr(world->error.text, "out.jsonl"));
    weir_store_request_fini(&request);
}

static void test_recovers_producers(void **state)
{
    struct world *world = *state;
    struct weir_producer_row *rows = NULL;
    uint32_t count = 0;
    uint64_t next = 0;
    next_number = 1;
    for (uint32_t i = 1; i <= 3; i++)
        hold_result(world, i, "email", 0);
    weir_sink_destroy(&world->sink);
    open_sink(world);
    assert_int_equal(weir_sink_recover(world->sink, &rows, &count, &next, &world->error), 0);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].number, 3);
    assert_int_equal(rows[0].answers[0].first, 300);
    assert_int_equal(next, 301);
    free(rows);
}

static void expect_spools(struct world *world, uint32_t expected)
{
    struct weir_spool_row *rows = NULL;
    uint32_t count = 99;
    assert_int_equal(weir_sink_spools(world->sink, &rows, &count, &world->error), 0);
    assert_int_equal(count, expected);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(rows[i].tag, 7);
        assert_int_equal(rows[i].uuid[0], FIXTURE_SPOOL);
        assert_int_equal(rows[i].uuid[15], FIXTURE_SPOOL);
    }
    free(rows);
}

static void test_remembers_spools(void **state)
{
    struct world *world = *state;
    struct weir_message_view plain = {.payload = (const uint8_t *)"x", .payload_bytes = 1};
    sqlite3 *ledger;
    assert_int_equal(hold(world, &plain, 1), 0); /* without an origin: of no stream */
    expect_spools(world, 0);
    hold_result(world, 1, "email", 0);
    hold_result(world, 2, "email", 0);
    weir_sink_destroy(&world->sink);
    open_sink(world);
    expect_spools(world, 1);
    /* A ledger from before these were noted goes on, and takes the next one that comes. */
    weir_sink_destroy(&world->sink);
    assert_int_equal(sqlite3_open(world->ledger_path, &ledger), SQLITE_OK);
    assert_int_equal(sqlite3_exec(ledger, "DROP TABLE spools", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(ledger);
    open_sink(world);
    expect_spools(world, 0);
    assert_int_equal(hold_result(world, 2, "email", 0), 1);
    expect_spools(world, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_once_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sequences_at_the_edges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sqlite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stdout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_sync_is_final, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recovers_producers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remembers_spools, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
