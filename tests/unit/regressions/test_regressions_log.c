/* Bugs found in the spool's log, on real files. */
#include <spool_fixture.h>

#include <base/alloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <store/log_format.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* 1: a damaged place was kept aside anew at each start, over what an earlier one had kept, and when
 * that failed the kept file was removed: a disk that got worse took the better copy with it. */
static void what_was_kept_aside_stays(void **state)
{
    struct spool_fixture *fixture = *state;
    char *segment = fixture_segment(fixture, 1);
    size_t size, size_now, part_bytes = 20;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 5; i++)
        fixture_append(fixture, i, 1, 100);
    fixture_close(fixture);
    const uint64_t damaged_at = record_offset(segment, 1);
    file_flip(segment, damaged_at + WEIR_RECORD_HEADER_BYTES + 3);
    fixture_open(fixture);
    fixture_close(fixture);
    char *name = weir_asprintf("damaged/%020d-%llu.bin", 1, (unsigned long long)damaged_at);
    char *path = fixture_path(fixture, name);
    uint8_t *kept = file_read(path, &size);

    file_flip(segment, damaged_at + WEIR_RECORD_HEADER_BYTES + 9); /* it gets worse */
    fixture_open(fixture);
    fixture_close(fixture);
    uint8_t *kept_now = file_read(path, &size_now);
    assert_int_equal(size_now, size);
    assert_memory_equal(kept_now, kept, size);
    free(kept_now);

    /* What has less than there is now is kept anew, and nothing else is left there. */
    assert_int_equal(truncate(path, (off_t)part_bytes), 0);
    fixture_open(fixture);
    fixture_close(fixture);
    kept_now = file_read(path, &size_now);
    assert_int_equal(size_now, size);
    assert_memory_equal(kept_now, kept, part_bytes);
    assert_int_equal(fixture_count_files(fixture, "damaged", ".part"), 0);
    free(kept_now);
    free(kept);
    free(path);
    free(name);
    free(segment);
}

/* 2: a crash left a segment without a record, and the batch that came next was too large for it.
 * The new segment got the same name, and the empty one, when it was freed, took that file with it:
 * all that had been accepted since was gone at the next start. (Seed 1051 of the simulator,
 * --fsync 1.) */
static void an_empty_segment_does_not_take_the_next_one_with_it(void **state)
{
    const uint32_t large_bytes = SEGMENT_BYTES + 1000;
    struct spool_fixture *fixture = *state;
    char *segment = fixture_segment(fixture, 1);
    size_t size;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    fixture_close(fixture);
    uint8_t *content = file_read(segment, &size);
    memset(content + WEIR_SEGMENT_HEADER_BYTES, 0, size - WEIR_SEGMENT_HEADER_BYTES);
    file_write(segment, content, size);
    free(content);
    free(segment);

    fixture_open(fixture);
    const uint64_t used_bytes = fixture->subject.recovered->used_bytes;
    fixture_append(fixture, 1, 1, large_bytes);
    fixture_append(fixture, 2, 1, large_bytes);
    struct weir_store_request trim = trim_request(3, 1);
    struct weir_store_result trimmed = {0};
    perform(&fixture->subject, &trim, &trimmed);
    assert_int_equal(trimmed.oldest_segment_last, 1);
    assert_true(trimmed.used_bytes < used_bytes + 2 * SEGMENT_BYTES); /* it counts no more */
    weir_store_result_fini(&trimmed);
    assert_int_equal(fixture_count_files(fixture, "log", ".seg"), 2);
    fixture_assert_holds(fixture, 1, 2, large_bytes);
    fixture_close(fixture);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 2, large_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_kept_aside_stays, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(an_empty_segment_does_not_take_the_next_one_with_it,
                                        fixture_set_up, fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
