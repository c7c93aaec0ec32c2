/* What a start makes of a log that was cut off, torn or damaged. */
#include "spool_fixture.h"

#include <base/alloc.h>
#include <base/little_endian.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_BYTES 44u /* a record of 64 + 24 + 4 + 44 bytes: no padding */
#define RECORD_BYTES 136u

static void append_three(struct spool_fixture *fixture)
{
    for (uint64_t i = 1; i <= 3; i++)
        fixture_append(fixture, i, 1, BODY_BYTES);
}

static void append_five(struct spool_fixture *fixture)
{
    for (uint64_t i = 1; i <= 5; i++)
        fixture_append(fixture, i, 1, BODY_BYTES);
}

/* The log becomes this one file. (Good records above the mark went into segments of their own.) */
static void put_log(struct spool_fixture *fixture, const uint8_t *data, size_t size)
{
    char *path = fixture_segment(fixture, 1);

    for (uint64_t first = 2; first <= 6; first++) {
        char *other = fixture_segment(fixture, first);

        unlink(other);
        free(other);
    }
    file_write(path, data, size);
    free(path);
}

static uint8_t *killed_log(struct spool_fixture *fixture,
                           void (*work)(struct spool_fixture *fixture), size_t *size)
{
    char *path = fixture_segment(fixture, 1);
    uint8_t *data;

    fixture_in_killed_child(fixture, work);
    data = file_read(path, size);
    free(path);
    return data;
}

/* A crash may leave any part of the last record. Whatever it is: it ends before it. */
static void test_torn_tail_is_cut_at_every_byte(void **state)
{
    struct spool_fixture *fixture = *state;
    size_t size;
    uint8_t *whole = killed_log(fixture, append_three, &size);
    uint8_t *torn = weir_alloc(size);
    uint64_t last = WEIR_SEGMENT_HEADER_BYTES + 2 * RECORD_BYTES;

    for (uint32_t kept = 0; kept < RECORD_BYTES; kept++) {
        memcpy(torn, whole, size);
        memset(torn + last + kept, kept % 2 != 0 ? 0 : 0xa5, RECORD_BYTES - kept);
        put_log(fixture, torn, size);
        fixture_open(fixture);
        assert_null(fixture->subject.recovered->damage);
        assert_int_equal(fixture->subject.recovered->next_sequence, 3);
        fixture_assert_holds(fixture, 1, 2, BODY_BYTES);
        fixture_append(fixture, 3, 1, BODY_BYTES);
        fixture_assert_holds(fixture, 1, 3, BODY_BYTES);
        fixture_close(fixture);
    }
    free(whole);
    free(torn);
}

/* The file may end anywhere, too. */
static void test_short_file_is_a_torn_tail(void **state)
{
    struct spool_fixture *fixture = *state;
    size_t size;
    uint8_t *whole = killed_log(fixture, append_three, &size);

    put_log(fixture, whole, WEIR_SEGMENT_HEADER_BYTES + 2 * RECORD_BYTES + 70);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    fixture_assert_holds(fixture, 1, 2, BODY_BYTES);
    fixture_append(fixture, 3, 1, 3000);
    fixture_close(fixture);
    free(whole);
}

static void assert_kept_aside(struct spool_fixture *fixture, uint64_t offset, const uint8_t *bytes)
{
    char *name = weir_asprintf("damaged/%020d-%llu.bin", 1, (unsigned long long)offset);
    char *path = fixture_path(fixture, name);
    size_t size;
    uint8_t *kept = file_read(path, &size);

    assert_int_equal(size, RECORD_BYTES);
    assert_memory_equal(kept, bytes, RECORD_BYTES);
    assert_non_null(strstr(fixture->subject.recovered->damage, name));
    unlink(path);
    free(kept);
    free(path);
    free(name);
}

static void assert_all_but_the_second(struct spool_fixture *fixture)
{
    struct weir_store_request request = read_request(1, 1, 1u << 20);
    struct weir_store_result result = {0};

    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_record(&result.records[i], i == 0 ? 1 : i + 2, 1, BODY_BYTES);
    weir_store_result_fini(&result);
    request = read_request(2, 2, 1);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 3, 1, BODY_BYTES);
    weir_store_result_fini(&result);
}

/* Below the certified mark a bad byte is damage, wherever it is: said, kept, and left out. */
static void test_damage_is_reported_and_the_rest_is_kept(void **state)
{
    struct spool_fixture *fixture = *state;
    size_t size;
    uint8_t *whole = killed_log(fixture, append_five, &size);
    uint64_t second = WEIR_SEGMENT_HEADER_BYTES + RECORD_BYTES;

    for (uint32_t at = 0; at < RECORD_BYTES; at++) {
        whole[second + at] ^= 0x40;
        put_log(fixture, whole, size);
        for (int times = 0; times < 2; times++) {
            fixture_open(fixture);
            assert_non_null(fixture->subject.recovered->damage);
            assert_non_null(strstr(fixture->subject.recovered->damage, "messages 2 to 2 "));
            assert_int_equal(fixture->subject.recovered->next_sequence, 6);
            assert_all_but_the_second(fixture);
            if (times == 1)
                assert_kept_aside(fixture, second, whole + second);
            fixture_close(fixture);
        }
        whole[second + at] ^= 0x40;
    }
    free(whole);
}

/* The last synced record is only known to have been synced once another one, or a mark, says so. */
static void test_the_mark_of_a_clean_end_certifies_the_last_record(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);

    fixture_open(fixture);
    append_three(fixture);
    fixture_close(fixture);
    file_flip(path, record_offset(path, 2) + WEIR_RECORD_HEADER_BYTES + 5);
    fixture_open(fixture);
    assert_non_null(fixture->subject.recovered->damage);
    assert_non_null(strstr(fixture->subject.recovered->damage, "messages 3 to 3 "));
    assert_int_equal(fixture->subject.recovered->next_sequence, 4);
    fixture_assert_holds(fixture, 1, 2, BODY_BYTES);
    fixture_append(fixture, 4, 1, BODY_BYTES);
    free(path);
}

static uint32_t salt_of(const char *path)
{
    size_t size;
    uint8_t *data = file_read(path, &size);
    uint32_t salt = get_u32(data + 12);

    free(data);
    return salt;
}

static void test_uncertified_records_are_written_anew(void **state)
{
    struct spool_fixture *fixture = *state;
    char *first = fixture_segment(fixture, 1);
    char *third = fixture_segment(fixture, 3);
    uint32_t salt;

    /* Killed: the third is above the mark, so it moves to a fresh segment. */
    fixture_in_killed_child(fixture, append_three);
    salt = salt_of(first);
    fixture_open(fixture);
    assert_int_equal(salt_of(first), salt);
    assert_int_equal(access(third, F_OK), 0);
    fixture_assert_holds(fixture, 1, 3, BODY_BYTES);
    fixture_append(fixture, 4, 1, BODY_BYTES);
    salt = salt_of(third);
    fixture_close(fixture);
    /* Ended cleanly: everything is certified, nothing moves. */
    fixture_open(fixture);
    assert_int_equal(salt_of(third), salt);
    assert_int_equal(fixture_count_files(fixture, "log", ".seg"), 2);
    fixture_assert_holds(fixture, 1, 4, BODY_BYTES);
    free(first);
    free(third);
}

static void append_one_more(struct spool_fixture *fixture)
{
    fixture_append(fixture, fixture->subject.recovered->next_sequence, 1, BODY_BYTES);
}

static void test_kills_in_a_row_lose_nothing_and_pile_nothing_up(void **state)
{
    struct spool_fixture *fixture = *state;

    for (uint32_t i = 0; i < 20; i++)
        fixture_in_killed_child(fixture, append_one_more);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    assert_int_equal(fixture->subject.recovered->next_sequence, 21);
    fixture_assert_holds(fixture, 1, 20, BODY_BYTES);
    assert_int_equal(fixture_count_files(fixture, "log", ".new"), 0);
}

/* Eight records of this size fill a segment. */
#define LARGE_BYTES 7000u

static void test_rotation_names_segments_by_their_first_sequence(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path;
    size_t size;
    uint8_t *data;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 50; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    fixture_assert_holds(fixture, 1, 50, LARGE_BYTES);
    fixture_close(fixture);
    assert_int_equal(fixture_count_files(fixture, "log", ".seg"), 7);
    path = fixture_segment(fixture, 9);
    data = file_read(path, &size);
    assert_int_equal(size, SEGMENT_BYTES);
    assert_int_equal(get_u64(data + 32), 9);
    /* Rotation synced everything before. */
    assert_int_equal(get_u64(data + 40), 8);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    assert_int_equal(fixture->subject.recovered->next_sequence, 51);
    fixture_assert_holds(fixture, 1, 50, LARGE_BYTES);
    free(data);
    free(path);
}

static void test_damage_at_the_end_of_an_older_segment(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 20; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    fixture_close(fixture);
    /* The heads of the last two records of the first segment. */
    file_flip(path, record_offset(path, 7) + 20);
    file_flip(path, record_offset(path, 6) + 20);
    fixture_open(fixture);
    assert_non_null(strstr(fixture->subject.recovered->damage, "messages 7 to 8 "));
    assert_int_equal(fixture->subject.recovered->next_sequence, 21);
    request = read_request(1, 6, 20000);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 2);
    assert_record(&result.records[0], 6, 1, LARGE_BYTES);
    assert_record(&result.records[1], 9, 1, LARGE_BYTES);
    weir_store_result_fini(&result);
    free(path);
}

/* READ all there is: the messages 1 … 20 but `without`. What is told on stderr meanwhile is to be
 * freed. */
static char *read_twenty_but(struct spool_fixture *fixture, const uint64_t *without,
                             uint32_t without_count)
{
    struct weir_store_request request = read_request(1, 1, 1u << 20);
    struct weir_store_result result = {0};
    char *path = fixture_path(fixture, "stderr"), *said;
    const int before = dup(STDERR_FILENO);
    uint32_t at = 0, skipped = 0;
    size_t size;

    assert_non_null(freopen(path, "w", stderr));
    perform(&fixture->subject, &request, &result);
    fflush(stderr);
    assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
    close(before);
    assert_int_equal(result.record_count, 20 - without_count);
    for (uint64_t i = 1; i <= 20; i++) {
        if (skipped < without_count && without[skipped] == i)
            skipped++;
        else
            assert_record(&result.records[at++], i, 1, LARGE_BYTES);
    }
    weir_store_result_fini(&result);
    uint8_t *data = file_read(path, &size);
    said = weir_asprintf("%.*s", (int)size, (char *)data);
    free(data);
    unlink(path);
    free(path);
    return said;
}

/* A start does not look at what the state has absorbed. Damage there is told as ever, when it is
 * read. */
static void test_absorbed_segments_are_looked_at_when_they_are_read(void **state)
{
    static const uint64_t damaged[] = {3, 9};
    struct spool_fixture *fixture = *state;
    char *first = fixture_segment(fixture, 1), *second = fixture_segment(fixture, 9);
    char *said;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 20; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    fixture_absorb(fixture, 10);
    fixture_close(fixture);
    file_flip(first, record_offset(first, 2) + WEIR_RECORD_HEADER_BYTES + 30);
    file_flip(second, record_offset(second, 0) + WEIR_RECORD_HEADER_BYTES + 30);

    fixture_open(fixture); /* the second one may hold what the state does not know */
    assert_null(strstr(fixture->subject.recovered->damage, "messages 3 to 3 "));
    assert_non_null(strstr(fixture->subject.recovered->damage, "messages 9 to 9 "));
    assert_int_equal(fixture_count_files(fixture, "damaged", ".bin"), 1);
    said = read_twenty_but(fixture, damaged, 2);
    assert_non_null(strstr(said, "messages 3 to 3 "));
    assert_int_equal(fixture_count_files(fixture, "damaged", ".bin"), 2);
    free(said);
    fixture_absorb(fixture, 20);
    fixture_close(fixture);

    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    assert_int_equal(fixture->subject.recovered->next_sequence, 21);
    assert_int_equal(fixture->subject.recovered->oldest_sequence, 1);
    said = read_twenty_but(fixture, damaged, 2);
    assert_non_null(strstr(said, "messages 3 to 3 "));
    assert_non_null(strstr(said, "messages 9 to 9 "));
    free(said);
    said = read_twenty_but(fixture, damaged, 2);
    assert_string_equal(said, ""); /* once is enough */
    free(said);
    free(first);
    free(second);
}

static void append_into_recycled(struct spool_fixture *fixture)
{
    for (uint64_t i = 30; i <= 33; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
}

/* A recycled file is full of old records at just the offsets where the next ones would be. */
static void test_stale_bytes_never_continue_a_chain(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    char *path = fixture_segment(fixture, 33);
    uint64_t end;
    size_t size;
    uint8_t *data;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 29; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    fixture_absorb(fixture, 29);
    request = trim_request(1, 30);
    perform_plain(&fixture->subject, &request);
    assert_true(fixture_count_files(fixture, "log", ".seg") >= 4);
    fixture_close(fixture);
    /* The active segment takes three more; the fourth begins a recycled one. */
    fixture_in_killed_child(fixture, append_into_recycled);
    data = file_read(path, &size);
    end = record_offset(path, 1);
    assert_int_equal(get_u32(data + end), WEIR_RECORD_MAGIC);
    free(data);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    assert_int_equal(fixture->subject.recovered->next_sequence, 34);
    fixture_assert_holds(fixture, 25, 33, LARGE_BYTES);
    free(path);
}

static void test_next_sequence_is_above_what_the_state_mentions(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);

    fixture_open(fixture);
    append_three(fixture);
    fixture_absorb(fixture, 3);
    fixture_close(fixture);
    unlink(path);
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 3);
    assert_int_equal(fixture->subject.recovered->next_sequence, 4);
    assert_int_equal(fixture->subject.recovered->oldest_sequence, 4);
    assert_int_equal(fixture_try_append(fixture, 3, 10, NULL), WEIR_EINVAL);
    free(path);
}

/* A file that was cut off has lost its marks, too. The state knows better. */
static void test_a_log_cut_below_what_the_state_absorbed_is_damage(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);

    fixture_open(fixture);
    append_five(fixture);
    fixture_absorb(fixture, 5);
    fixture_close(fixture);
    assert_int_equal(truncate(path, WEIR_SEGMENT_HEADER_BYTES + 3 * RECORD_BYTES + 10), 0);
    fixture_open(fixture);
    assert_non_null(fixture->subject.recovered->damage);
    assert_non_null(
        strstr(fixture->subject.recovered->damage, "ends after message 3, but messages up to 5 "));
    assert_int_equal(fixture->subject.recovered->next_sequence, 6);
    fixture_assert_holds(fixture, 1, 3, BODY_BYTES);
    fixture_append(fixture, 6, 1, BODY_BYTES);
    fixture_close(fixture);
    /* There is a record behind the gap now, so that it is not told again. */
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    free(path);
}

/* A log without its state is not begun anew: what was done is not known any more. */
static void test_a_log_without_its_state_keeps_the_spool_closed(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_path(fixture, "state.db");
    char *away = fixture_path(fixture, "away");
    struct weir_error error;

    fixture_open(fixture);
    append_three(fixture);
    fixture_close(fixture);
    assert_int_equal(rename(path, away), 0);
    fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
    assert_non_null(strstr(error.text, "state.db is gone or empty"));
    assert_int_equal(access(path, F_OK), -1);
    file_write(path, "", 0);
    fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
    assert_int_equal(rename(away, path), 0);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 3, BODY_BYTES);
    free(path);
    free(away);
}

static void test_damaged_header_keeps_the_spool_closed(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);
    struct weir_error error;
    uint8_t *before, *after;
    size_t size;

    fixture_open(fixture);
    append_three(fixture);
    fixture_close(fixture);
    file_flip(path, 34);
    before = file_read(path, &size);
    fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, "begin at 1"));
    after = file_read(path, &size);
    assert_memory_equal(before, after, size);
    file_flip(path, 34);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 3, BODY_BYTES);
    free(before);
    free(after);
    free(path);
}

static void test_damage_while_running_is_left_out(void **state)
{
    struct spool_fixture *fixture = *state;
    char *path = fixture_segment(fixture, 1);

    fixture_open(fixture);
    append_five(fixture);
    file_flip(path, record_offset(path, 1) + WEIR_RECORD_HEADER_BYTES + 3);
    assert_all_but_the_second(fixture);
    assert_all_but_the_second(fixture);
    free(path);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_torn_tail_is_cut_at_every_byte),
        CASE(test_short_file_is_a_torn_tail),
        CASE(test_damage_is_reported_and_the_rest_is_kept),
        CASE(test_the_mark_of_a_clean_end_certifies_the_last_record),
        CASE(test_uncertified_records_are_written_anew),
        CASE(test_kills_in_a_row_lose_nothing_and_pile_nothing_up),
        CASE(test_rotation_names_segments_by_their_first_sequence),
        CASE(test_damage_at_the_end_of_an_older_segment),
        CASE(test_absorbed_segments_are_looked_at_when_they_are_read),
        CASE(test_stale_bytes_never_continue_a_chain),
        CASE(test_next_sequence_is_above_what_the_state_mentions),
        CASE(test_a_log_cut_below_what_the_state_absorbed_is_damage),
        CASE(test_a_log_without_its_state_keeps_the_spool_closed),
        CASE(test_damaged_header_keeps_the_spool_closed),
        CASE(test_damage_while_running_is_left_out),
    };

    return cmocka_run_group_tests_name("log recovery", tests, NULL, NULL);
}
