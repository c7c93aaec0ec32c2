#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/random.h>
#include <wire/batch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct batch {
    struct weir_bytes header, index, body;
};

static void drop(struct batch *batch)
{
    weir_bytes_drop(&batch->header);
    weir_bytes_drop(&batch->index);
    weir_bytes_drop(&batch->body);
}

static int check(const struct batch *batch, struct weir_batch_header *header,
                 struct weir_error *error)
{
    return weir_batch_check(&batch->header, &batch->index, &batch->body, header, error);
}

static const struct weir_batch_header plain = {
    .topic = "order.placed",
    .topic_bytes = 12,
    .producer = {0xa, 0xb, 0xc},
    .delay_ms = 5000,
    .ttl_ms = 60000,
    .has_spool = true,
    .spool = {0xd, 0xe, 0xf},
};

/* `count` messages "message 0", "message 1" … of growing length; every third has a key, every
 * fourth an idempotency key, as far as wanted. */
static struct batch make(uint32_t count, bool keys, bool idems)
{
    struct weir_batch_builder *builder = weir_batch_builder_new(&plain);
    struct batch batch;

    for (uint32_t i = 0; i < count; i++) {
        char payload[64], key[16], idem[16];
        int bytes = snprintf(payload, sizeof payload, "message %u %.*s", i, (int)(i % 20),
                             "....................");
        struct weir_message_view message = {.payload = (uint8_t *)payload,
                                            .payload_bytes = (size_t)bytes};

        if (keys && i % 3 == 0) {
            message.key = key;
            message.key_bytes = (uint32_t)snprintf(key, sizeof key, "key %u", i);
        }
        if (idems && i % 4 == 0) {
            message.idempotency_key = idem;
            message.idempotency_key_bytes = (uint32_t)snprintf(idem, sizeof idem, "once %u", i);
        }
        assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
    }
    weir_batch_builder_finish(builder, 17, 1234567890123, 0, &batch.header, &batch.index,
                              &batch.body);
    assert_int_equal(weir_batch_builder_count(builder), 0);
    weir_batch_builder_destroy(&builder);
    return batch;
}

/* The messages of a slice are those from `first` on that `make` makes. */
static void assert_messages(const struct weir_bytes *index, const struct weir_bytes *body,
                            uint32_t width, uint32_t flags, uint32_t first, uint32_t count)
{
    uint64_t offset = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = first + i, length = weir_index_length(index, width, i);
        struct weir_message_view message;
        char text[64];
        uint8_t hash[16];
        int bytes = snprintf(text, sizeof text, "message %u %.*s", number, (int)(number % 20),
                             "....................");

        assert_int_equal(weir_message_decode(body->data + offset, length, &message, NULL), 0);
        assert_int_equal(message.payload_bytes, bytes);
        assert_memory_equal(message.payload, text, bytes);
        offset += length;
        if ((flags & WEIR_BATCH_KEYED) != 0 && number % 3 == 0) {
            bytes = snprintf(text, sizeof text, "key %u", number);
            assert_int_equal(message.key_bytes, bytes);
            assert_memory_equal(message.key, text, bytes);
            assert_true(weir_index_key_hash(index, width, flags, i) ==
                        weir_key_hash(text, (size_t)bytes));
        } else {
            assert_null(message.key);
            assert_true(weir_index_key_hash(index, width, flags, i) == 0);
        }
        if ((flags & WEIR_BATCH_IDEMPOTENT) != 0 && number % 4 == 0) {
            bytes = snprintf(text, sizeof text, "once %u", number);
            weir_idem_hash(text, (size_t)bytes, hash);
            assert_memory_equal(weir_index_idem_hash(index, width, flags, i), hash, 16);
        } else {
            assert_null(weir_index_idem_hash(index, width, flags, i));
        }
    }
    assert_int_equal(offset, body->size);
}

static void every_width_comes_back(void **state)
{
    static const uint32_t widths[] = {4, 12, 20, 28};

    (void)state;
    for (uint32_t flags = 0; flags < 4; flags++) {
        struct batch batch = make(100, (flags & 1) != 0, (flags & 2) != 0);
        struct weir_batch_header header;

        assert_int_equal(check(&batch, &header, NULL), 0);
        assert_int_equal(header.version, WEIR_BATCH_VERSION);
        assert_int_equal(header.topic_bytes, 12);
        assert_memory_equal(header.topic, "order.placed", 12);
        assert_int_equal(header.count, 100);
        assert_true(header.created_ms == 1234567890123);
        assert_memory_equal(header.producer, plain.producer, 16);
        assert_int_equal(header.number, 17);
        assert_int_equal(header.delay_ms, 5000);
        assert_int_equal(header.ttl_ms, 60000);
        assert_int_equal(header.flags, flags);
        assert_true(header.has_spool);
        assert_memory_equal(header.spool, plain.spool, 16);
        assert_int_equal(weir_index_width(flags), widths[flags]);
        assert_int_equal(batch.index.size, 100 * widths[flags]);
        assert_messages(&batch.index, &batch.body, widths[flags], flags, 0, 100);
        drop(&batch);
    }
}

static void any_slice_is_a_cut(void **state)
{
    struct batch batch = make(40, true, true);

    (void)state;
    for (uint32_t first = 0; first < 40; first++) {
        uint64_t offset = weir_index_span(&batch.index, 28, 0, first);

        for (uint32_t count = 1; count <= 40 - first; count++) {
            struct weir_bytes index, body;
            uint32_t width;

            weir_slice_cut(&batch.index, &batch.body, 28, first, count,
                           count % 2 == 0 ? offset : UINT64_MAX, &index, &body);
            assert_int_equal(weir_slice_check(&index, &body, count, &width, NULL), 0);
            assert_int_equal(width, 28);
            assert_messages(&index, &body, 28, 3, first, count);
            weir_bytes_drop(&index);
            weir_bytes_drop(&body);
        }
    }
    drop(&batch);
}

static void spans_add_up_at_every_width(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags < 4; flags++) {
        struct batch batch = make(50, (flags & 1) != 0, (flags & 2) != 0);
        uint32_t width = weir_index_width(flags);
        uint64_t sum = 0;

        for (uint32_t i = 0; i < 50; i++) {
            assert_int_equal(weir_index_span(&batch.index, width, 0, i), sum);
            sum += weir_index_length(&batch.index, width, i);
        }
        assert_int_equal(sum, batch.body.size);
        drop(&batch);
    }
}

static void a_builder_goes_on_after_each_batch(void **state)
{
    struct weir_batch_builder *builder = weir_batch_builder_new(&plain);

    (void)state;
    for (uint64_t number = 1; number <= 3; number++) {
        /* Only the second batch has a key: its flag must not stick. */
        struct weir_message_view message = {.payload = (uint8_t *)"p",
                                            .payload_bytes = 1,
                                            .key = "k",
                                            .key_bytes = number == 2 ? 1 : 0};
        struct weir_batch_header header;
        struct batch batch;

        assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
        assert_int_equal(weir_batch_builder_count(builder), 1);
        weir_batch_builder_finish(builder, number, 1, number == 3 ? WEIR_BATCH_REPLAY : 0,
                                  &batch.header, &batch.index, &batch.body);
        assert_int_equal(check(&batch, &header, NULL), 0);
        assert_int_equal(header.number, number);
        assert_int_equal(header.count, 1);
        assert_int_equal(header.flags, number == 2   ? WEIR_BATCH_KEYED
                                       : number == 3 ? WEIR_BATCH_REPLAY
                                                     : 0);
        drop(&batch);
    }
    weir_batch_builder_destroy(&builder);
}

static void a_full_batch_says_so_and_stays_within_its_limit(void **state)
{
    static uint8_t big[1 << 20];
    struct weir_message_view message = {.payload = big, .payload_bytes = sizeof big};
    struct weir_message_view small = {.payload = big, .payload_bytes = 1};
    struct weir_batch_builder *builder = weir_batch_builder_new(&plain);
    struct weir_batch_header header;
    struct batch batch;

    (void)state;
    for (int i = 0; i < 15; i++)
        assert_int_equal(weir_batch_builder_add(builder, &message, NULL), 0);
    assert_int_equal(weir_batch_builder_add(builder, &message, NULL), WEIR_EFULL);
    assert_in_range(weir_batch_builder_size(builder), 15 << 20, WEIR_BATCH_BYTES_MAX);
    weir_batch_builder_finish(builder, 1, 0, 0, &batch.header, &batch.index, &batch.body);
    assert_int_equal(check(&batch, &header, NULL), 0);
    assert_int_equal(header.count, 15);
    drop(&batch);

    for (uint32_t i = 0; i < WEIR_BATCH_MESSAGES_MAX; i++)
        assert_int_equal(weir_batch_builder_add(builder, &small, NULL), 0);
    assert_int_equal(weir_batch_builder_add(builder, &small, NULL), WEIR_EFULL);
    weir_batch_builder_finish(builder, 2, 0, 0, &batch.header, &batch.index, &batch.body);
    assert_int_equal(check(&batch, &header, NULL), 0);
    assert_int_equal(header.count, WEIR_BATCH_MESSAGES_MAX);
    drop(&batch);
    weir_batch_builder_destroy(&builder);
}

static void frames_that_do_not_agree_are_refused(void **state)
{
    struct batch batch = make(10, true, false), wrong;
    struct weir_batch_header header;
    struct weir_error error;

    (void)state;
    for (size_t size = 0; size < batch.index.size; size++) {
        wrong = batch;
        wrong.index.size = size;
        assert_int_equal(check(&wrong, &header, &error), WEIR_EPROTO);
        assert_non_null(strstr(error.text, "index"));
    }
    for (size_t size = 0; size < batch.body.size; size++) {
        wrong = batch;
        wrong.body.size = size;
        assert_int_equal(check(&wrong, &header, &error), WEIR_EPROTO);
        assert_non_null(strstr(error.text, "add up"));
    }
    for (size_t size = 0; size < batch.header.size; size++) {
        wrong = batch;
        wrong.header = weir_bytes_copy(batch.header.data, size);
        assert_int_equal(check(&wrong, &header, &error), WEIR_EPROTO);
        assert_non_null(strstr(error.text, "batch header"));
        weir_bytes_drop(&wrong.header);
    }
    drop(&batch);
}

static void lengths_that_lie_are_refused(void **state)
{
    struct batch batch = make(2, false, false), wrong = batch;
    uint32_t lengths[2] = {UINT32_MAX, (uint32_t)batch.body.size + 1};
    struct weir_batch_header header;
    struct weir_error error;
    uint32_t width;

    (void)state;
    /* Their sum in 32 bits would be the body's size. */
    wrong.index = weir_bytes_borrow(lengths, sizeof lengths);
    assert_int_equal(check(&wrong, &header, &error), WEIR_EPROTO);
    assert_int_equal(weir_slice_check(&wrong.index, &wrong.body, 2, &width, &error), WEIR_EPROTO);
    lengths[0] = 0;
    lengths[1] = (uint32_t)batch.body.size;
    assert_int_equal(check(&wrong, &header, &error), WEIR_EPROTO);
    assert_non_null(strstr(error.text, "length 0"));
    assert_int_equal(weir_slice_check(&batch.index, &batch.body, 0, &width, &error), WEIR_EPROTO);
    assert_int_equal(weir_slice_check(&batch.index, &batch.body, 1, &width, &error), WEIR_EPROTO);
    assert_int_equal(weir_slice_check(&batch.index, &batch.body, UINT32_MAX, &width, &error),
                     WEIR_EPROTO);
    drop(&batch);
}

/* A header as a stranger may write it: `fields` is what follows the map's head. */
static int decode_header(uint8_t head, const char *fields, size_t size, struct weir_error *error)
{
    uint8_t bytes[512] = {0};
    struct weir_bytes frame = weir_bytes_borrow(bytes, size + 1);
    struct weir_batch_header header;

    bytes[0] = head;
    memcpy(bytes + 1, fields, size);
    return weir_batch_header_decode(&frame, &header, error);
}

#define REQUIRED                                                                                   \
    "\xa7version\x01\xa5topic\xa1t\xa5"                                                            \
    "count\x01\xa7"                                                                                \
    "created\x01\xa8producer\xc4\x10"                                                              \
    "0123456789abcdef\xa6number\x01"
#define DECODE(head, fields) decode_header(head, fields, sizeof(fields) - 1, &error)

static void headers_are_checked_field_by_field(void **state)
{
    struct weir_error error;

    (void)state;
    assert_int_equal(DECODE(0x86, REQUIRED), 0);
    assert_int_equal(DECODE(0x87, REQUIRED "\xa5later\x93\x01\x02\x03"), 0);
    assert_int_equal(DECODE(0x87, REQUIRED "\xa5"
                                           "flags\x08"),
                     WEIR_EPROTO);
    assert_non_null(strstr(error.text, "\"flags\""));
    assert_int_equal(DECODE(0x87, REQUIRED "\xa5topic\xa1t"), WEIR_EPROTO);
    assert_non_null(strstr(error.text, "\"topic\""));
    assert_int_equal(DECODE(0x87, REQUIRED "\xa5"
                                           "delay\xff"),
                     WEIR_EPROTO);
    assert_non_null(strstr(error.text, "\"delay\""));
    assert_int_equal(DECODE(0x86, REQUIRED "\xc0"), WEIR_EPROTO);
    assert_non_null(strstr(error.text, "after its end"));
    assert_int_equal(DECODE(0x81, "\xa7version\x01"), WEIR_EPROTO);
    assert_non_null(strstr(error.text, "\"topic\" is missing"));
    assert_int_equal(DECODE(0x81, "\xa5topic\xa3"
                                  "a b"),
                     WEIR_EPROTO);
    assert_non_null(strstr(error.text, "\"topic\""));
    assert_int_equal(DECODE(0x81, "\xa5"
                                  "count\x00"),
                     WEIR_EPROTO);
    assert_int_equal(DECODE(0x81, "\xa6number\x00"), WEIR_EPROTO);
    assert_int_equal(DECODE(0x81, "\x05\x00"), WEIR_EPROTO);
}

static void another_version_is_named(void **state)
{
    char bytes[] = "\x86" REQUIRED;
    struct weir_bytes frame = weir_bytes_borrow(bytes, sizeof bytes - 1);
    struct weir_batch_header header;
    struct weir_error error;

    (void)state;
    bytes[9] = 2;
    assert_int_equal(weir_batch_header_decode(&frame, &header, &error), WEIR_EPROTO);
    assert_non_null(strstr(error.text, "version 2, expected 1"));
}

static void random_changes_are_survived(void **state)
{
    struct batch batch = make(20, true, true);
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 10);
    for (int i = 0; i < 50000; i++) {
        struct batch changed = {weir_bytes_copy(batch.header.data, batch.header.size),
                                weir_bytes_copy(batch.index.data, batch.index.size),
                                weir_bytes_ref(&batch.body)};
        struct weir_bytes *frame = i % 2 == 0 ? &changed.header : &changed.index;
        struct weir_batch_header header;
        uint64_t sum = 0;

        ((uint8_t *)frame->data)[weir_random_below(&random, frame->size)] =
            (uint8_t)weir_random_u64(&random);
        /* What is accepted can be walked to the end of the body. */
        if (check(&changed, &header, NULL) == 0) {
            for (uint32_t k = 0; k < header.count; k++)
                sum += weir_index_length(&changed.index, weir_index_width(header.flags), k);
            assert_int_equal(sum, changed.body.size);
        }
        drop(&changed);
    }
    drop(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width_comes_back),
        cmocka_unit_test(any_slice_is_a_cut),
        cmocka_unit_test(spans_add_up_at_every_width),
        cmocka_unit_test(a_builder_goes_on_after_each_batch),
        cmocka_unit_test(a_full_batch_says_so_and_stays_within_its_limit),
        cmocka_unit_test(frames_that_do_not_agree_are_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(headers_are_checked_field_by_field),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(random_changes_are_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
