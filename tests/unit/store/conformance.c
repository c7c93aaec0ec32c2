#include "conformance.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/limits.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER_BYTES 24u

struct weir_bytes pattern(uint64_t first, uint32_t salt, uint32_t size)
{
    uint8_t *data;
    struct weir_bytes bytes = weir_bytes_new(size, &data);

    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)(first * 131 + salt * 17 + i * 7 + (i >> 8));
    return bytes;
}

void assert_pattern(const struct weir_bytes *bytes, uint64_t first, uint32_t salt, uint32_t size)
{
    struct weir_bytes expected = pattern(first, salt, size);

    assert_true(weir_bytes_equal(bytes, expected.data, expected.size));
    weir_bytes_drop(&expected);
}

struct weir_store_request append_request(uint64_t id, uint64_t first, uint32_t count,
                                         uint32_t body_bytes)
{
    struct weir_store_request request = {.id = id, .kind = WEIR_STORE_APPEND};

    request.record.first = first;
    request.record.count = count;
    request.record.time_ms = (int64_t)first + 1000;
    request.record.header = pattern(first, 1, HEADER_BYTES);
    request.record.index = pattern(first, 2, 4 * count);
    request.record.body = pattern(first, 3, body_bytes);
    if (count > 2) {
        request.record.skip_count = 2;
        request.record.skips = weir_alloc(2 * sizeof *request.record.skips);
        request.record.skips[0] = (struct weir_skip){0, 1};
        request.record.skips[1] = (struct weir_skip){2, count - 2};
    }
    return request;
}

void assert_record(const struct weir_record *record, uint64_t first, uint32_t count,
                   uint32_t body_bytes)
{
    assert_int_equal(record->first, first);
    assert_int_equal(record->count, count);
    assert_int_equal(record->time_ms, first + 1000);
    assert_pattern(&record->header, first, 1, HEADER_BYTES);
    assert_pattern(&record->index, first, 2, 4 * count);
    assert_pattern(&record->body, first, 3, body_bytes);
    assert_int_equal(record->skip_count, count > 2 ? 2 : 0);
    if (count > 2) {
        assert_int_equal(record->skips[0].first, 0);
        assert_int_equal(record->skips[0].count, 1);
        assert_int_equal(record->skips[1].first, 2);
        assert_int_equal(record->skips[1].count, count - 2);
    }
}

struct weir_store_request read_request(uint64_t id, uint64_t sequence, uint32_t bytes_max)
{
    return (struct weir_store_request){
        .id = id, .kind = WEIR_STORE_READ, .sequence = sequence, .bytes_max = bytes_max};
}

struct weir_store_request apply_request(uint64_t id, const struct weir_op *ops, uint32_t count)
{
    struct weir_store_request request = {.id = id, .kind = WEIR_STORE_APPLY, .op_count = count};

    request.ops = weir_alloc(count * sizeof *ops);
    memcpy(request.ops, ops, count * sizeof *ops);
    return request;
}

struct weir_store_request trim_request(uint64_t id, uint64_t sequence)
{
    return (struct weir_store_request){.id = id, .kind = WEIR_STORE_TRIM, .sequence = sequence};
}

void perform(struct subject *subject, struct weir_store_request *request,
             struct weir_store_result *result)
{
    uint64_t id = request->id;
    enum weir_store_kind kind = request->kind;

    subject->store->submit(subject->store, request);
    subject->next(subject, result);
    assert_string_equal(result->error.text, "");
    assert_int_equal(result->status, 0);
    assert_int_equal(result->id, id);
    assert_int_equal(result->kind, kind);
}

void perform_plain(struct subject *subject, struct weir_store_request *request)
{
    struct weir_store_result result = {0};

    perform(subject, request, &result);
    weir_store_result_fini(&result);
}

static void append(struct subject *subject, uint64_t first, uint32_t count, uint32_t body_bytes)
{
    struct weir_store_request request = append_request(first, first, count, body_bytes);

    perform_plain(subject, &request);
}

void apply(struct subject *subject, const struct weir_op *ops, uint32_t count)
{
    struct weir_store_request request = apply_request(77, ops, count);

    perform_plain(subject, &request);
}

void reopen(struct subject *subject)
{
    subject->close(subject);
    subject->open(subject, 0);
}

/* --- the log ------------------------------------------------------------------------------- */

static void test_new_store_is_empty(void **state)
{
    struct subject *subject = *state;
    struct weir_recovered *recovered = subject->recovered;
    struct weir_store_request request = read_request(1, 1, 1000);
    struct weir_store_result result = {0};

    assert_int_equal(recovered->tag, 7);
    assert_int_equal(recovered->absorbed, 0);
    assert_int_equal(recovered->next_sequence, 1);
    assert_int_equal(recovered->oldest_sequence, 1);
    assert_int_equal(recovered->group_count, 0);
    assert_int_equal(recovered->chunk_count, 0);
    assert_int_equal(recovered->leased_count, 0);
    assert_int_equal(recovered->counts_count, 0);
    assert_int_equal(recovered->producer_count, 0);
    assert_int_equal(recovered->idem_count, 0);
    assert_null(recovered->damage);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 0);
    assert_int_equal(result.oldest_segment_last, 0);
    weir_store_result_fini(&result);
}

static void test_appends_end_in_order(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    uint64_t used = 0;

    for (uint64_t i = 0; i < 200; i++) {
        struct weir_store_request request = append_request(1000 + i, 1 + i * 3, 3, 50);

        subject->store->submit(subject->store, &request);
        assert_null(request.record.body.block);
    }
    for (uint64_t i = 0; i < 200; i++) {
        subject->next(subject, &result);
        assert_int_equal(result.id, 1000 + i);
        assert_int_equal(result.status, 0);
        assert_true(result.used_bytes >= used);
        used = result.used_bytes;
        weir_store_result_fini(&result);
    }
    assert_true(used > 0);
    assert_false(subject->store->poll(subject->store, &result));
}

static void test_read_gives_whole_records_up_to_its_bytes(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_store_request request;

    for (uint64_t i = 0; i < 40; i++)
        append(subject, 1 + i * 10, 10, 900);
    request = read_request(1, 25, 3500);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 3);
    for (uint32_t i = 0; i < result.record_count; i++)
        assert_record(&result.records[i], 21 + 10 * i, 10, 900);
    weir_store_result_fini(&result);
    request = read_request(2, 400, 1);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 391, 10, 900);
    weir_store_result_fini(&result);
    request = read_request(3, 401, 100000);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 0);
    weir_store_result_fini(&result);
    request = read_request(4, 1, 10u << 20);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 40);
    for (uint32_t i = 0; i < result.record_count; i++)
        assert_record(&result.records[i], 1 + 10 * i, 10, 900);
    weir_store_result_fini(&result);
}

static void test_read_skips_holes(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_store_request request;

    append(subject, 5, 2, 10);
    append(subject, 100, 1, 300);
    append(subject, 101, 1, 0);
    request = read_request(1, 1, 1);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 5, 2, 10);
    weir_store_result_fini(&result);
    request = read_request(2, 7, 100000);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 2);
    assert_record(&result.records[0], 100, 1, 300);
    assert_record(&result.records[1], 101, 1, 0);
    weir_store_result_fini(&result);
}

static void test_sequences_never_go_back(void **state)
{
    struct subject *subject = *state;
    struct weir_op op;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    append(subject, 10, 5, 10);
    request = append_request(1, 14, 1, 10);
    subject->store->submit(subject->store, &request);
    subject->next(subject, &result);
    assert_int_equal(result.status, WEIR_EINVAL);
    assert_non_null(strstr(result.error.text, "15"));
    weir_store_result_fini(&result);
    /* That is final, for the state as well. */
    op = absorbed_op(14);
    request = apply_request(2, &op, 1);
    subject->store->submit(subject->store, &request);
    subject->next(subject, &result);
    assert_int_equal(result.status, WEIR_EINVAL);
    weir_store_result_fini(&result);
    request = read_request(3, 1, 1);
    perform(subject, &request, &result);
    assert_record(&result.records[0], 10, 5, 10);
    weir_store_result_fini(&result);
}

static void test_log_survives(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_store_request request;

    for (uint64_t i = 0; i < 30; i++)
        append(subject, 1 + i, 1, 700);
    for (uint64_t next = 31; next < 34; next++) {
        reopen(subject);
        assert_int_equal(subject->recovered->next_sequence, next);
        assert_int_equal(subject->recovered->oldest_sequence, 1);
        assert_null(subject->recovered->damage);
        append(subject, next, 1, 100);
    }
    request = read_request(1, 1, 1u << 20);
    perform(subject, &request, &result);
    assert_int_equal(result.record_count, 33);
    for (uint32_t i = 0; i < result.record_count; i++)
        assert_record(&result.records[i], 1 + i, 1, i < 30 ? 700 : 100);
    weir_store_result_fini(&result);
}

/* --- trim ---------------------------------------------------------------------------------- */

static void test_trim_frees_what_is_absorbed(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_store_request request;
    struct weir_op op;
    uint64_t full, oldest_last;

    for (uint64_t i = 0; i < 60; i++)
        append(subject, 1 + i, 1, 4000);
    request = trim_request(1, 61);
    perform(subject, &request, &result);
    full = result.used_bytes;
    oldest_last = result.oldest_segment_last;
    assert_true(oldest_last > 0);
    weir_store_result_fini(&result);
    request = read_request(2, 1, 1);
    perform(subject, &request, &result);
    assert_record(&result.records[0], 1, 1, 4000);
    weir_store_result_fini(&result);

    op = absorbed_op(oldest_last);
    apply(subject, &op, 1);
    request = trim_request(3, oldest_last);
    perform(subject, &request, &result);
    assert_int_equal(result.oldest_segment_last, oldest_last);
    weir_store_result_fini(&result);
    request = trim_request(4, 61);
    perform(subject, &request, &result);
    assert_true(result.oldest_segment_last > oldest_last);
    weir_store_result_fini(&result);
    request = read_request(5, 1, 1);
    perform(subject, &request, &result);
    assert_record(&result.records[0], oldest_last + 1, 1, 4000);
    weir_store_result_fini(&result);

    op = absorbed_op(60);
    apply(subject, &op, 1);
    request = trim_request(6, 61);
    perform(subject, &request, &result);
    assert_int_equal(result.oldest_segment_last, 0);
    assert_true(result.used_bytes < full);
    weir_store_result_fini(&result);
    reopen(subject);
    assert_int_equal(subject->recovered->absorbed, 60);
    assert_int_equal(subject->recovered->next_sequence, 61);
    assert_true(subject->recovered->oldest_sequence > oldest_last);
}

/* --- full ---------------------------------------------------------------------------------- */

static uint64_t fill(struct subject *subject, uint64_t next)
{
    struct weir_store_result result = {0};

    for (;; next++) {
        struct weir_store_request request = append_request(next, next, 1, 3000);

        subject->store->submit(subject->store, &request);
        subject->next(subject, &result);
        assert_int_equal(result.id, next);
        if (result.status != 0)
            break;
        weir_store_result_fini(&result);
        assert_true(next < 100000);
    }
    assert_int_equal(result.status, WEIR_EFULL);
    assert_non_null(strstr(result.error.text, "full"));
    weir_store_result_fini(&result);
    return next;
}

static void test_full_and_on(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_store_request request;
    struct weir_op op;
    uint64_t next;

    subject->close(subject);
    subject->open(subject, subject->small_bytes_max);
    next = fill(subject, 1);
    assert_true(next > 10);
    request = read_request(8, next - 1, 1);
    perform(subject, &request, &result);
    assert_true(result.oldest_segment_last > 0);
    weir_store_result_fini(&result);
    for (int times = 0; times < 5; times++) {
        uint64_t before = next;

        /* APPLY goes on while the log is full, or nothing would ever be freed. */
        op = absorbed_op(next - 1);
        apply(subject, &op, 1);
        request = trim_request(9, next);
        perform_plain(subject, &request);
        next = fill(subject, next);
        assert_true(next > before);
    }
}

static void test_full_takes_those_behind_it(void **state)
{
    struct subject *subject = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};
    struct weir_op op;
    uint64_t next;

    subject->close(subject);
    subject->open(subject, subject->small_bytes_max);
    next = fill(subject, 1);
    request = append_request(1, next, 1, 3000);
    subject->store->submit(subject->store, &request);
    op = absorbed_op(next - 1);
    request = apply_request(2, &op, 1);
    subject->store->submit(subject->store, &request);
    request = trim_request(3, next);
    subject->store->submit(subject->store, &request);
    request = append_request(4, next + 1, 1, 1);
    subject->store->submit(subject->store, &request);
    for (int seen = 0; seen < 4; seen++) {
        subject->next(subject, &result);
        if (result.kind == WEIR_STORE_APPEND)
            assert_int_equal(result.status, WEIR_EFULL);
        else
            assert_int_equal(result.status, 0);
        weir_store_result_fini(&result);
    }
    append(subject, next, 1, 3000);
    request = read_request(5, next, 1);
    perform(subject, &request, &result);
    assert_record(&result.records[0], next, 1, 3000);
    weir_store_result_fini(&result);
}

int conformance_set_up(void **state)
{
    struct subject *subject = *state;

    subject->open(subject, 0);
    return 0;
}

int conformance_tear_down(void **state)
{
    struct subject *subject = *state;

    subject->close(subject);
    subject->clear(subject);
    return 0;
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name, conformance_set_up, conformance_tear_down, subject                            \
    }

static int run_log(struct subject *subject)
{
    const struct CMUnitTest tests[] = {
        CASE(test_new_store_is_empty),
        CASE(test_appends_end_in_order),
        CASE(test_read_gives_whole_records_up_to_its_bytes),
        CASE(test_read_skips_holes),
        CASE(test_sequences_never_go_back),
        CASE(test_log_survives),
        CASE(test_trim_frees_what_is_absorbed),
        CASE(test_full_and_on),
        CASE(test_full_takes_those_behind_it),
    };

    return cmocka_run_group_tests_name("the contract: log", tests, NULL, NULL);
}

int conformance_run(struct subject *subject)
{
    return run_log(subject) + conformance_run_state(subject);
}
