/* The stream in memory: the tail, chunks that were read, holes. */
#include <base/alloc.h>
#include <core/stream.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct reads {
    uint64_t sequence[64];
    uint32_t count;
};

static void on_read(void *arg, uint64_t sequence, uint32_t bytes)
{
    struct reads *reads = arg;
    assert_true(bytes > 0);
    reads->sequence[reads->count++] = sequence;
}

static struct weir_record record_of(uint64_t first, uint32_t count, uint32_t payload_bytes)
{
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION, .topic = "t.a", .topic_bytes = 3};
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct weir_record record = {.first = first, .count = count, .time_ms = 5};
    uint8_t *payload = weir_zalloc(1, payload_bytes);
    struct weir_message_view view = {.payload = payload, .payload_bytes = payload_bytes};
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(weir_batch_builder_add(builder, &view, NULL), 0);
    weir_batch_builder_finish(builder, 1, 0, 0, &record.header, &record.index, &record.body);
    weir_batch_builder_destroy(&builder);
    free(payload);
    return record;
}

static void push(struct weir_stream *stream, uint64_t first, uint32_t count, uint32_t bytes)
{
    struct weir_record record = record_of(first, count, bytes);
    struct weir_stream_batch batch;
    assert_int_equal(weir_stream_batch_init(&batch, &record), 0);
    stream->next = first + count;
    weir_stream_push(stream, &batch);
}

static void loaded(struct weir_stream *stream, uint64_t sequence, struct weir_record *records,
                   uint32_t count)
{
    struct weir_store_result result = {.kind = WEIR_STORE_READ, .record_count = count};
    result.records = weir_alloc((count + 1) * sizeof *records);
    if (count)
        memcpy(result.records, records, count * sizeof *records);
    weir_stream_loaded(stream, sequence, &result);
    weir_store_result_fini(&result);
}

static void test_tail(void **state)
{
    (void)state;
    struct reads reads = {0};
    struct weir_stream stream;
    struct weir_stream_batch *batch;
    weir_stream_init(&stream, 1, on_read, &reads);
    assert_int_equal(weir_stream_find(&stream, 1, &batch), WEIR_STREAM_END);
    push(&stream, 1, 3, 10);
    push(&stream, 8, 2, 10); /* 4 … 7 belong to no batch */
    assert_int_equal(weir_stream_find(&stream, 2, &batch), WEIR_STREAM_HERE);
    assert_int_equal(batch->record.first, 1);
    assert_int_equal(weir_stream_find(&stream, 5, &batch), WEIR_STREAM_HERE);
    assert_int_equal(batch->record.first, 8);
    assert_int_equal(weir_stream_find(&stream, 10, &batch), WEIR_STREAM_END);
    assert_int_equal(stream.end, 10);
    for (uint64_t i = 0; i < 40; i++) /* more than the tail keeps */
        push(&stream, 10 + i, 1, 1u << 20);
    assert_true(stream.tail_bytes <= WEIR_TAIL_BYTES_MAX);
    assert_int_equal(weir_stream_find(&stream, 2, &batch), WEIR_STREAM_UNKNOWN);
    assert_int_equal(weir_stream_find(&stream, 49, &batch), WEIR_STREAM_HERE);
    assert_int_equal(reads.count, 0);
    weir_stream_fini(&stream);
}

static void test_reading(void **state)
{
    (void)state;
    struct reads reads = {0};
    struct weir_stream stream;
    struct weir_stream_batch *batch;
    weir_stream_init(&stream, 1000, on_read, &reads);
    assert_int_equal(weir_stream_find(&stream, 5, &batch), WEIR_STREAM_UNKNOWN);
    weir_stream_want(&stream, 5, 100);
    weir_stream_want(&stream, 5, 100);
    assert_int_equal(reads.count, 1);
    struct weir_record records[] = {record_of(4, 3, 10), record_of(20, 2, 10)};
    loaded(&stream, 5, records, 2);
    assert_int_equal(weir_stream_find(&stream, 6, &batch), WEIR_STREAM_HERE);
    assert_int_equal(batch->record.first, 4);
    assert_int_equal(weir_stream_find(&stream, 7, &batch), WEIR_STREAM_HERE); /* a hole */
    assert_int_equal(batch->record.first, 20);
    assert_int_equal(weir_stream_find(&stream, 22, &batch), WEIR_STREAM_UNKNOWN);
    weir_stream_want(&stream, 22, 100);
    loaded(&stream, 22, NULL, 0); /* the log has nothing above */
    assert_int_equal(weir_stream_find(&stream, 22, &batch), WEIR_STREAM_END);
    assert_int_equal(weir_stream_find(&stream, 999, &batch), WEIR_STREAM_END);
    push(&stream, 1000, 1, 10);
    assert_int_equal(weir_stream_find(&stream, 22, &batch), WEIR_STREAM_HERE);
    assert_int_equal(batch->record.first, 1000);
    weir_stream_fini(&stream);
}

static void test_cache_is_bounded(void **state)
{
    (void)state;
    struct reads reads = {0};
    struct weir_stream stream;
    struct weir_stream_batch *batch;
    weir_stream_init(&stream, 100000, on_read, &reads);
    for (uint64_t i = 0; i < 3 * WEIR_READ_CHUNKS_MAX; i++) {
        struct weir_record record = record_of(1 + i * 10, 10, 100);
        reads.count = 0;
        weir_stream_want(&stream, 1 + i * 10, 100);
        assert_int_equal(reads.count, 1);
        loaded(&stream, 1 + i * 10, &record, 1);
        assert_int_equal(weir_stream_find(&stream, 1, &batch), WEIR_STREAM_HERE); /* in use */
    }
    assert_int_equal(stream.chunk_count, WEIR_READ_CHUNKS_MAX);
    assert_int_equal(weir_stream_find(&stream, 11, &batch), WEIR_STREAM_UNKNOWN);
    weir_stream_fini(&stream);
}

/* Neighbours that are wanted one after another come with one READ, and what it brought of the batch
 * before its beginning is known, too. */
static void test_neighbours_share_a_read(void **state)
{
    (void)state;
    struct reads reads = {0};
    struct weir_stream stream;
    struct weir_stream_batch *batch;
    struct weir_record record = record_of(1, 100, 90);
    const uint32_t bytes = (uint32_t)(record.index.size + record.body.size);
    weir_stream_init(&stream, 1000, on_read, &reads);
    weir_stream_want(&stream, 40, bytes);
    loaded(&stream, 40, &record, 1);
    assert_int_equal(weir_stream_find(&stream, 1, &batch), WEIR_STREAM_HERE);
    reads.count = 0;
    weir_stream_want(&stream, 101, bytes);
    weir_stream_want(&stream, 150, bytes);
    assert_int_equal(reads.count, 1);
    weir_stream_want(&stream, 301, bytes); /* hardly in the same one */
    assert_int_equal(reads.count, 2);
    loaded(&stream, 101, NULL, 0);
    loaded(&stream, 301, NULL, 0);
    weir_stream_fini(&stream);
}

static void test_skips(void **state)
{
    (void)state;
    struct weir_record record = record_of(10, 8, 4);
    struct weir_stream_batch batch;
    bool skipped;
    record.skips = weir_alloc(2 * sizeof *record.skips);
    record.skips[0] = (struct weir_skip){1, 2};
    record.skips[1] = (struct weir_skip){5, 1};
    record.skip_count = 2;
    assert_int_equal(weir_stream_batch_init(&batch, &record), 0);
    assert_int_equal(weir_stream_batch_run(&batch, 10, 18, &skipped), 1);
    assert_false(skipped);
    assert_int_equal(weir_stream_batch_run(&batch, 11, 18, &skipped), 2);
    assert_true(skipped);
    assert_int_equal(weir_stream_batch_run(&batch, 12, 13, &skipped), 1);
    assert_true(skipped);
    assert_int_equal(weir_stream_batch_run(&batch, 13, 18, &skipped), 2);
    assert_false(skipped);
    assert_int_equal(weir_stream_batch_run(&batch, 16, 18, &skipped), 2);
    assert_false(skipped);
    assert_int_equal(weir_stream_batch_offset(&batch, 3),
                     weir_index_span(&batch.record.index, batch.width, 0, 3));
    assert_int_equal(weir_stream_batch_offset(&batch, 1),
                     weir_index_span(&batch.record.index, batch.width, 0, 1));
    weir_stream_batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_cache_is_bounded),
        cmocka_unit_test(test_neighbours_share_a_read),
        cmocka_unit_test(test_skips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
