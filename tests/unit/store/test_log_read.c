/* Finding and reading records in a log of many segments, also while it is written and trimmed. */
#include "spool_fixture.h"

#include <base/alloc.h>
#include <base/random.h>

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct written {
    uint64_t first;
    uint32_t count;
    uint32_t body_bytes;
};

static struct weir_spool *spool_of(const struct spool_fixture *fixture)
{
    return (struct weir_spool *)fixture->subject.store;
}

/* Batches of all kinds, with gaps between some. */
static struct written *write_many(struct spool_fixture *fixture, struct weir_random *random,
                                  uint32_t count)
{
    struct written *written = weir_alloc(count * sizeof *written);
    uint64_t next = 1;

    for (uint32_t i = 0; i < count; i++) {
        bool large = weir_random_below(random, 20) == 0;

        if (weir_random_below(random, 10) == 0)
            next += weir_random_below(random, 50);
        written[i].first = next;
        written[i].count = 1 + (uint32_t)weir_random_below(random, 9);
        written[i].body_bytes = (uint32_t)weir_random_below(random, large ? 90000 : 4000);
        fixture_append(fixture, next, written[i].count, written[i].body_bytes);
        next += written[i].count;
    }
    return written;
}

static uint32_t index_of(const struct written *written, uint32_t count, uint64_t sequence)
{
    uint32_t at = 0;

    while (at < count && written[at].first + written[at].count - 1 < sequence)
        at++;
    return at;
}

static void read_anywhere(struct spool_fixture *fixture, struct weir_random *random,
                          const struct written *written, uint32_t count)
{
    uint64_t end = written[count - 1].first + written[count - 1].count;

    for (uint32_t i = 0; i < 500; i++) {
        uint64_t sequence = weir_random_below(random, end + 5);
        uint32_t at = index_of(written, count, sequence);
        struct weir_store_request request =
            read_request(i, sequence, (uint32_t)weir_random_below(random, 300000));
        struct weir_store_result result = {0};

        perform(&fixture->subject, &request, &result);
        assert_int_equal(result.record_count == 0, at == count);
        for (uint32_t r = 0; r < result.record_count; r++)
            assert_record(&result.records[r], written[at + r].first, written[at + r].count,
                          written[at + r].body_bytes);
        weir_store_result_fini(&result);
    }
}

static uint32_t open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint32_t count = 0;

    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void test_any_sequence_is_found(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_random random;
    struct written *written;
    uint32_t before = open_files();

    weir_random_seed(&random, 11);
    fixture_open(fixture);
    written = write_many(fixture, &random, 700);
    assert_true(spool_of(fixture)->log->segment_count > 20);
    read_anywhere(fixture, &random, written, 700);
    /* Lock, state, WAL, its index, eventfd, active segment; and what reading keeps open. */
    assert_true(open_files() <= before + 8 + WEIR_OPEN_SEGMENTS_MAX);
    fixture_close(fixture);
    assert_int_equal(open_files(), before);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    read_anywhere(fixture, &random, written, 700);
    free(written);
}

/* A record of the greatest size has to be read back, whatever the segments' size. */
static void test_largest_batch(void **state)
{
    struct spool_fixture *fixture = *state;
    uint32_t body = WEIR_BATCH_BYTES_MAX - 24 - 4;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 10);
    fixture_append(fixture, 2, 1, body);
    fixture_append(fixture, 3, 1, 10);
    request = read_request(1, 1, 1000);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    weir_store_result_fini(&result);
    request = read_request(2, 2, 1000);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 2, 1, body);
    weir_store_result_fini(&result);
    assert_int_equal(fixture_try_append(fixture, 4, body + 1, NULL), WEIR_EINVAL);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    assert_int_equal(fixture->subject.recovered->next_sequence, 4);
}

static void test_index_is_sparse(void **state)
{
    struct spool_fixture *fixture = *state;
    const struct weir_log *log;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture->config.segment_bytes = 4u << 20;
    fixture_open(fixture);
    for (uint64_t i = 1; i <= 3000; i++) {
        request = append_request(i, i, 1, 3000);
        fixture->subject.store->submit(fixture->subject.store, &request);
        if (i % 500 != 0)
            continue;
        for (int taken = 0; taken < 500; taken++) {
            fixture->subject.next(&fixture->subject, &result);
            assert_int_equal(result.status, 0);
            weir_store_result_fini(&result);
        }
    }
    log = spool_of(fixture)->log;
    assert_int_equal(log->segment_count, 3);
    for (uint32_t i = 0; i < log->segment_count; i++)
        assert_true(log->segments[i]->place_count <= 4);
    for (uint64_t i = 1; i <= 3000; i += 97) {
        request = read_request(i, i, 1);
        perform(&fixture->subject, &request, &result);
        assert_record(&result.records[0], i, 1, 3000);
        weir_store_result_fini(&result);
    }
}

/* Everything at once, as a busy ventilator does it. */
static void test_reading_while_writing_and_trimming(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store *store;
    uint64_t next = 1, appended = 0, read = 0, outstanding = 0;
    bool reading = false;

    fixture_open(fixture);
    store = fixture->subject.store;
    while (read < 3000) {
        struct weir_store_request request;
        struct weir_store_result result = {0};

        while (next <= 3000 && outstanding < 40) {
            request = append_request(next, next, 1, 2000);
            store->submit(store, &request);
            next++;
            outstanding++;
        }
        if (!reading && read < appended) {
            request = read_request(1, read + 1, 60000);
            store->submit(store, &request);
            reading = true;
            outstanding++;
        }
        fixture->subject.next(&fixture->subject, &result);
        outstanding--;
        assert_int_equal(result.status, 0);
        if (result.kind == WEIR_STORE_APPEND) {
            appended = result.id;
        } else if (result.kind == WEIR_STORE_READ) {
            struct weir_op op;

            reading = false;
            assert_true(result.record_count > 0);
            for (uint32_t i = 0; i < result.record_count; i++)
                assert_record(&result.records[i], ++read, 1, 2000);
            assert_true(read <= appended);
            op = absorbed_op(read);
            request = apply_request(2, &op, 1);
            store->submit(store, &request);
            request = trim_request(3, read);
            store->submit(store, &request);
            outstanding += 2;
        }
        weir_store_result_fini(&result);
    }
    while (outstanding-- > 0) {
        struct weir_store_result result = {0};

        fixture->subject.next(&fixture->subject, &result);
        weir_store_result_fini(&result);
    }
    assert_int_equal(spool_of(fixture)->log->segment_count, 1);
    assert_true(fixture_count_files(fixture, "log", ".seg") <= 1 + WEIR_SPARE_SEGMENTS_MAX);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_any_sequence_is_found),
        CASE(test_largest_batch),
        CASE(test_index_is_sparse),
        CASE(test_reading_while_writing_and_trimming),
    };

    return cmocka_run_group_tests_name("log reading", tests, NULL, NULL);
}
