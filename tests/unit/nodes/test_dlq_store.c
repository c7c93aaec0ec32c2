/* The dead letters' store: each death once, filters, removal of exactly one, two openers. */
#include "held_fixture.h"

#include <base/alloc.h>
#include <dlq/dlq_rows.h>
#include <dlq/dlq_store.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char *directory, *path;
    struct weir_dlq_store *store;
    struct weir_error error;
};

static int setup(void **state)
{
    struct world *world = weir_zalloc(1, sizeof *world);
    world->directory = fixture_directory_new();
    world->path = fixture_path(world->directory, "dlq.db");
    assert_int_equal(weir_dlq_store_open(world->path, true, &world->store, &world->error), 0);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    weir_dlq_store_destroy(&world->store);
    fixture_directory_destroy(&world->directory);
    free(world->path);
    free(world);
    return 0;
}

static struct weir_message_view letter(uint64_t sequence, const char *group, uint32_t death,
                                       enum weir_reason reason, const char *payload)
{
    struct weir_message_view view = fixture_result(sequence, group, death, payload);
    view.origin.reason = reason;
    view.origin.attempt = 5;
    return view;
}

/* Returns how many were there already. */
static uint32_t hold(struct world *world, uint64_t number, const struct weir_message_view *messages,
                     uint32_t count)
{
    struct weir_store_request request =
        fixture_hold(number * 100, 1, number, "dead", messages, count);
    uint32_t duplicates = 99;
    assert_int_equal(weir_dlq_store_hold(world->store, 4, &request, 1, &duplicates, &world->error),
                     0);
    weir_store_request_fini(&request);
    return duplicates;
}

/* The payloads of what a filter lets through, joined. */
struct listing {
    char text[256];
    uint32_t count;
    int64_t last_row;
};

static bool list_one(void *arg, const struct weir_dead_letter *letter)
{
    struct listing *listing = arg;
    size_t used = strlen(listing->text);
    snprintf(listing->text + used, sizeof listing->text - used, "%s%.*s", used > 0 ? " " : "",
             (int)letter->payload_bytes, (const char *)letter->payload);
    listing->count++;
    listing->last_row = letter->row;
    return true;
}

static void assert_listed(struct world *world, struct weir_dlq_filter filter, const char *payloads)
{
    struct listing listing = {0};
    uint64_t count = 0;
    assert_int_equal(weir_dlq_store_list(world->store, &filter, list_one, &listing, &world->error),
                     0);
    assert_string_equal(listing.text, payloads);
    assert_int_equal(weir_dlq_store_count(world->store, &filter, &count, &world->error), 0);
    assert_int_equal(count, listing.count);
}

static void test_each_death_once(void **state)
{
    struct world *world = *state;
    struct weir_message_view first[] = {
        letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "a"),
        letter(1, "crm", 1, WEIR_REASON_ATTEMPTS, "b"),
        letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "again"),
    };
    assert_int_equal(hold(world, 1, first, 3), 1);
    struct weir_message_view second[] = {
        letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "again"),
        letter(1, "email", 2, WEIR_REASON_REJECTED, "c"),
    };
    assert_int_equal(hold(world, 2, second, 2), 1);
    assert_listed(world, (struct weir_dlq_filter){0}, "a b c");
}

struct capture {
    bool seen;
};

static bool check_full(void *arg, const struct weir_dead_letter *letter)
{
    struct capture *capture = arg;
    capture->seen = true;
    assert_int_equal(letter->id.sequence, 9);
    assert_int_equal(letter->id.tag, 7);
    assert_int_equal(letter->accepted_ms, 1600000000000);
    assert_int_equal(letter->died_ms, 1700000000001);
    assert_string_equal(letter->group, "email");
    assert_string_equal(letter->topic, "user.signed_up");
    assert_int_equal(letter->key_bytes, 3);
    assert_memory_equal(letter->key, "k\xff\x01", 3);
    assert_string_equal(letter->headers,
                        "{\"traceparent\":\"00-ab\",\"odd\":{\"base64\":\"/wA=\"}}");
    assert_int_equal(letter->payload_bytes, 4);
    assert_memory_equal(letter->payload, "p\0\xfeq", 4);
    assert_int_equal(letter->reason, WEIR_REASON_ATTEMPTS);
    assert_int_equal(letter->attempts, 5);
    assert_string_equal(letter->error, "no route");
    assert_string_equal(letter->history,
                        "[{\"attempt\":1,\"time_ms\":1600000000007,\"outcome\":"
                        "\"retry\",\"worker\":\"email.1\",\"error\":\"no route\"},"
                        "{\"attempt\":2,\"time_ms\":1600000001000,\"outcome\":\"lost\","
                        "\"worker\":\"email.2\",\"error\":\"\"}]");
    struct weir_message_view view;
    assert_int_equal(weir_message_decode(letter->message.data, letter->message.size, &view, NULL),
                     0);
    assert_int_equal(view.idempotency_key_bytes, 4);
    assert_memory_equal(view.idempotency_key, "once", 4);
    struct weir_attempt_note notes[4];
    assert_int_equal(weir_history_decode(&letter->origin_history, notes, 4), 2);
    return true;
}

static void test_content(void **state)
{
    struct world *world = *state;
    struct weir_message_view view = letter(9, "email", 1, WEIR_REASON_ATTEMPTS, "");
    view.payload = (const uint8_t *)"p\0\xfeq";
    view.payload_bytes = 4;
    view.key = "k\xff\x01";
    view.key_bytes = 3;
    view.idempotency_key = "once";
    view.idempotency_key_bytes = 4;
    view.headers[0] = (struct weir_header_pair){"traceparent", 11, "00-ab", 5};
    view.headers[1] = (struct weir_header_pair){"odd", 3, "\xff\0", 2};
    view.header_count = 2;
    const struct weir_attempt_note notes[] = {
        {.attempt = 1,
         .time_ms = 1600000000007,
         .outcome = WEIR_RETRY,
         .worker = "email.1",
         .worker_bytes = 7,
         .error = "no route",
         .error_bytes = 8},
        {.attempt = 2,
         .time_ms = 1600000001000,
         .outcome = WEIR_NOTE_LOST,
         .worker = "email.2",
         .worker_bytes = 7},
    };
    struct weir_bytes none = WEIR_BYTES_NONE;
    struct weir_bytes one = weir_history_add(&none, &notes[0]);
    struct weir_bytes two = weir_history_add(&one, &notes[1]);
    view.origin.history = two;
    assert_int_equal(hold(world, 1, &view, 1), 0);
    struct capture capture = {0};
    assert_int_equal(weir_dlq_store_list(world->store, &(struct weir_dlq_filter){0}, check_full,
                                         &capture, &world->error),
                     0);
    assert_true(capture.seen);
    weir_bytes_drop(&one);
    weir_bytes_drop(&two);
}

/* A body that is no message, and a message that never was in a group, are kept as they are. */
static void test_without_origin(void **state)
{
    struct world *world = *state;
    struct weir_message_view plain = {.payload = (const uint8_t *)"plain", .payload_bytes = 5};
    struct weir_store_request request = fixture_hold(50, 1, 1, "direct", &plain, 1);
    struct weir_store_request garbage = fixture_hold(51, 1, 2, "direct", &plain, 1);
    uint8_t *body;
    struct weir_bytes nonsense = weir_bytes_new(garbage.record.body.size, &body);
    memset(body, 'x', nonsense.size);
    weir_bytes_drop(&garbage.record.body);
    garbage.record.body = nonsense;
    char expected[64];
    snprintf(expected, sizeof expected, "plain %.*s", (int)nonsense.size, (const char *)body);

    uint32_t duplicates = 0;
    assert_int_equal(weir_dlq_store_hold(world->store, 4, &request, 1, &duplicates, &world->error),
                     0);
    assert_int_equal(weir_dlq_store_hold(world->store, 4, &garbage, 1, &duplicates, &world->error),
                     0);
    assert_listed(world, (struct weir_dlq_filter){0}, expected);
    const struct weir_id own = {.time_ms = 1700000000001, .tag = 4, .sequence = 50};
    assert_listed(world, (struct weir_dlq_filter){.id = &own, .group = ""}, "plain");
    weir_store_request_fini(&request);
    weir_store_request_fini(&garbage);
}

static void test_filters(void **state)
{
    struct world *world = *state;
    struct weir_message_view first[] = {
        letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "apple"),
        letter(1, "crm", 1, WEIR_REASON_REJECTED, "banana"),
    };
    struct weir_message_view second[] = {
        letter(2, "email", 1, WEIR_REASON_EXPIRED, "cherry"),
        letter(2, "email", 2, WEIR_REASON_ATTEMPTS, "durian"),
    };
    second[1].origin.topic = "order.placed";
    second[1].origin.topic_bytes = 12;
    const struct weir_attempt_note note = {
        .attempt = 1, .outcome = WEIR_RETRY, .error = "mail host said \"no\"", .error_bytes = 19};
    struct weir_bytes none = WEIR_BYTES_NONE;
    second[1].origin.history = weir_history_add(&none, &note);
    hold(world, 1, first, 2);
    hold(world, 2, second, 2);

    const struct weir_id id = {.time_ms = 1600000000000, .tag = 7, .sequence = 2};
    assert_listed(world, (struct weir_dlq_filter){0}, "apple banana cherry durian");
    assert_listed(world, (struct weir_dlq_filter){.group = "email"}, "apple cherry durian");
    assert_listed(world, (struct weir_dlq_filter){.group = "nobody"}, "");
    assert_listed(world, (struct weir_dlq_filter){.reason = WEIR_REASON_REJECTED}, "banana");
    assert_listed(world, (struct weir_dlq_filter){.topic = "user.*"}, "apple banana cherry");
    assert_listed(world, (struct weir_dlq_filter){.topic = "order.>"}, "durian");
    assert_listed(world, (struct weir_dlq_filter){.since_ms = 1700000000002}, "cherry durian");
    assert_listed(world, (struct weir_dlq_filter){.until_ms = 1700000000002}, "apple banana");
    assert_listed(world, (struct weir_dlq_filter){.text = "an"}, "banana durian");
    assert_listed(world, (struct weir_dlq_filter){.text = "said \"no\""}, "durian");
    assert_listed(world, (struct weir_dlq_filter){.id = &id}, "cherry durian");
    assert_listed(world, (struct weir_dlq_filter){.id = &id, .death = 2}, "durian");
    assert_listed(world, (struct weir_dlq_filter){.limit = 3}, "apple banana cherry");
    struct listing page = {0};
    assert_int_equal(weir_dlq_store_list(world->store, &(struct weir_dlq_filter){.limit = 2},
                                         list_one, &page, &world->error),
                     0);
    assert_listed(world, (struct weir_dlq_filter){.after_row = page.last_row}, "cherry durian");
    weir_bytes_drop(&second[1].origin.history);
}

static void test_removes_one_death(void **state)
{
    struct world *world = *state;
    struct weir_message_view letters[] = {
        letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "one"),
        letter(1, "email", 2, WEIR_REASON_ATTEMPTS, "two"),
        letter(1, "crm", 1, WEIR_REASON_ATTEMPTS, "other"),
    };
    const struct weir_id id = {.time_ms = 1600000000000, .tag = 7, .sequence = 1};
    bool removed = false;
    hold(world, 1, letters, 3);
    assert_int_equal(weir_dlq_store_remove(world->store, &id, "email", 1, &removed, &world->error),
                     0);
    assert_true(removed);
    assert_listed(world, (struct weir_dlq_filter){0}, "two other");
    assert_int_equal(weir_dlq_store_remove(world->store, &id, "email", 1, &removed, &world->error),
                     0);
    assert_false(removed);
    /* The ventilator did not hear the first OK and submits the same death late. */
    assert_int_equal(hold(world, 2, letters, 3), 3);
    assert_listed(world, (struct weir_dlq_filter){0}, "two other");
}

static void test_purges_by_filter(void **state)
{
    struct world *world = *state;
    struct weir_message_view *letters = weir_zalloc(2500, sizeof *letters);
    uint64_t purged = 0, left = 0;
    for (uint32_t i = 0; i < 2500; i++)
        letters[i] = letter(i + 1, i % 5 == 0 ? "crm" : "email", 1, WEIR_REASON_ATTEMPTS, "x");
    hold(world, 1, letters, 2500);
    struct weir_dlq_filter email = {.group = "email", .limit = 1200};
    assert_int_equal(weir_dlq_store_purge(world->store, &email, &purged, &world->error), 0);
    assert_int_equal(purged, 1200);
    email.limit = 0;
    assert_int_equal(weir_dlq_store_purge(world->store, &email, &purged, &world->error), 0);
    assert_int_equal(purged, 800);
    assert_int_equal(
        weir_dlq_store_count(world->store, &(struct weir_dlq_filter){0}, &left, &world->error), 0);
    assert_int_equal(left, 500);
    assert_int_equal(hold(world, 2, letters, 2500), 2500);
    free(letters);
}

static void test_two_openers(void **state)
{
    struct world *world = *state;
    struct weir_dlq_store *other = NULL;
    struct weir_message_view view = letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "seen");
    assert_int_equal(weir_dlq_store_open(world->path, false, &other, &world->error), 0);
    hold(world, 1, &view, 1);
    struct listing listing = {0};
    assert_int_equal(
        weir_dlq_store_list(other, &(struct weir_dlq_filter){0}, list_one, &listing, &world->error),
        0);
    assert_string_equal(listing.text, "seen");
    const struct weir_id id = {.time_ms = 1600000000000, .tag = 7, .sequence = 1};
    bool removed = false;
    assert_int_equal(weir_dlq_store_remove(other, &id, "email", 1, &removed, &world->error), 0);
    assert_true(removed);
    weir_dlq_store_destroy(&other);
    assert_listed(world, (struct weir_dlq_filter){0}, "");
}

static void test_recovers_producers(void **state)
{
    struct world *world = *state;
    struct weir_message_view view = letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "seen");
    hold(world, 7, &view, 1);
    weir_dlq_store_destroy(&world->store);
    assert_int_equal(weir_dlq_store_open(world->path, true, &world->store, &world->error), 0);
    struct weir_producer_row *rows = NULL;
    uint32_t count = 0;
    uint64_t next = 0;
    assert_int_equal(weir_dlq_store_recover(world->store, &rows, &count, &next, &world->error), 0);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].number, 7);
    assert_int_equal(rows[0].id[0], 1);
    assert_int_equal(rows[0].answer_count, 1);
    assert_int_equal(rows[0].answers[0].first, 700);
    assert_int_equal(rows[0].answers[0].count, 1);
    assert_int_equal(rows[0].answers[0].time_ms, 1700000000007);
    assert_int_equal(next, 701);
    free(rows);
    assert_listed(world, (struct weir_dlq_filter){0}, "seen");
}

/* Somebody purges: batches are to come again later, the collector is not to end. */
static void test_locked_is_like_full(void **state)
{
    struct world *world = *state;
    struct weir_message_view view = letter(1, "email", 1, WEIR_REASON_ATTEMPTS, "x");
    struct weir_store_request request = fixture_hold(100, 1, 1, "dead", &view, 1);
    sqlite3 *other;
    uint32_t duplicates;
    sqlite3_busy_timeout(world->store->db->file.handle, 0);
    assert_int_equal(sqlite3_open(world->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(weir_dlq_store_hold(world->store, 4, &request, 1, &duplicates, &world->error),
                     WEIR_EFULL);
    assert_non_null(strstr(world->error.text, "locked"));
    sqlite3_close(other);
    assert_int_equal(weir_dlq_store_hold(world->store, 4, &request, 1, &duplicates, &world->error),
                     0);
    weir_store_request_fini(&request);
}

static void test_bad_files(void **state)
{
    struct world *world = *state;
    struct weir_dlq_store *store = NULL;
    struct weir_error error = {0};
    char *path = fixture_path(world->directory, "other.db");
    assert_int_equal(weir_dlq_store_open(path, false, &store, &error), WEIR_ENOTFOUND);
    assert_null(store);
    assert_non_null(strstr(error.text, "other.db"));
    FILE *file = fopen(path, "wb");
    for (int i = 0; i < 1000; i++)
        fputs("this is a letter to a friend\n", file);
    fclose(file);
    assert_int_equal(weir_dlq_store_open(path, true, &store, &error), WEIR_EDAMAGED);
    assert_null(store);
    assert_non_null(strstr(error.text, "damaged"));
    size_t bytes;
    char *kept = fixture_read(path, &bytes);
    assert_int_equal(bytes, 29 * 1000);
    free(kept);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_death_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_content, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_origin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removes_one_death, setup, teardown),
        cmocka_unit_test_setup_teardown(test_purges_by_filter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_openers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recovers_producers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked_is_like_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
