#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/random.h>
#include <wire/control.h>
#include <wire/reader.h>

#include <string.h>

static struct weir_reader of(const char *bytes, size_t size)
{
    return weir_reader_of(bytes, size);
}

#define OF(literal) of(literal, sizeof(literal) - 1)

static void integers_of_every_format_are_one_type(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint64_t value;
    } unsigneds[] = {
        {"\x00", 1, 0},
        {"\x7f", 1, 127},
        {"\xcc\xff", 2, 255},
        {"\xcd\x01\x00", 3, 256},
        {"\xce\xff\xff\xff\xff", 5, UINT32_MAX},
        {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, UINT64_MAX},
        {"\xd0\x05", 2, 5},
        {"\xd1\x7f\xff", 3, 32767},
        {"\xd2\x00\x00\x00\x09", 5, 9},
        {"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 9, INT64_MAX},
    };
    static const struct {
        const char *bytes;
        size_t size;
        int64_t value;
    } negatives[] = {
        {"\xff", 1, -1},
        {"\xe0", 1, -32},
        {"\xd0\x80", 2, -128},
        {"\xd1\x80\x00", 3, -32768},
        {"\xd2\x80\x00\x00\x00", 5, INT32_MIN},
        {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9, INT64_MIN},
    };
    struct weir_token token;

    (void)state;
    for (size_t i = 0; i < sizeof unsigneds / sizeof unsigneds[0]; i++) {
        struct weir_reader reader = of(unsigneds[i].bytes, unsigneds[i].size);

        assert_true(weir_read_token(&reader, &token));
        assert_int_equal(token.type, WEIR_TOKEN_UINT);
        assert_true(token.u64 == unsigneds[i].value);
        assert_int_equal(weir_reader_left(&reader), 0);
    }
    for (size_t i = 0; i < sizeof negatives / sizeof negatives[0]; i++) {
        struct weir_reader reader = of(negatives[i].bytes, negatives[i].size);

        assert_true(weir_read_token(&reader, &token));
        assert_int_equal(token.type, WEIR_TOKEN_INT);
        assert_true(token.i64 == negatives[i].value);
    }
}

static void other_scalars_have_their_types(void **state)
{
    struct weir_reader reader =
        OF("\xc0\xc2\xc3\xca\x3f\xc0\x00\x00\xcb\xbf\xe0\x00\x00\x00\x00\x00\x00\xa2hi\xd9\x01x"
           "\xc4\x02\x01\x02\xd4\x05\x07\xc7\x01\x05z");
    struct weir_token token;

    (void)state;
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_NIL);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_BOOL && !token.u64);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_BOOL && token.u64);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_FLOAT);
    assert_true(token.f64 == 1.5);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_FLOAT);
    assert_true(token.f64 == -0.5);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_TEXT);
    assert_int_equal(token.size, 2);
    assert_memory_equal(token.data, "hi", 2);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_TEXT);
    assert_memory_equal(token.data, "x", 1);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_BIN);
    assert_memory_equal(token.data, "\x01\x02", 2);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_EXT);
    assert_int_equal(token.size, 1);
    assert_memory_equal(token.data, "\x07", 1);
    assert_true(weir_read_token(&reader, &token) && token.type == WEIR_TOKEN_EXT);
    assert_memory_equal(token.data, "z", 1);
    assert_int_equal(weir_reader_left(&reader), 0);
    assert_false(weir_read_token(&reader, &token));
}

static void lengths_that_lie_are_not_believed(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } lies[] = {
        {"\xa3hi", 3},
        {"\xd9\xff", 2},
        {"\xdb\xff\xff\xff\xff", 5},
        {"\xc6\xff\xff\xff\xff", 5},
        {"\xc9\xff\xff\xff\xff", 5},
        {"\xdd\xff\xff\xff\xff", 5},
        {"\xdf\x80\x00\x00\x00\x01", 6},
        {"\x92\xc0", 2},
        {"\x81\xc0", 2},
        {"\xc1", 1},
        {"\xcf\x00", 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct weir_reader reader = of(lies[i].bytes, lies[i].size);

        assert_false(weir_read_skip(&reader));
    }
}

static void skip_passes_over_one_value_whole(void **state)
{
    struct weir_reader reader = OF("\x93\x01\x82\xa1k\x91\xc0\xa1l\x90\xc4\x01x\x2a");
    uint64_t value;

    (void)state;
    assert_true(weir_read_skip(&reader));
    assert_true(weir_read_u64(&reader, UINT64_MAX, &value));
    assert_int_equal(value, 42);
    assert_int_equal(weir_reader_left(&reader), 0);
}

static void depth_costs_nothing(void **state)
{
    static uint8_t deep[1 << 20];
    struct weir_reader reader = weir_reader_of(deep, sizeof deep);

    (void)state;
    memset(deep, 0x91, sizeof deep);
    assert_false(weir_read_skip(&reader));
    deep[sizeof deep - 1] = 0xc0;
    reader = weir_reader_of(deep, sizeof deep);
    assert_true(weir_read_skip(&reader));
    assert_int_equal(weir_reader_left(&reader), 0);
}

static void typed_reads_refuse_what_is_out_of_range(void **state)
{
    struct weir_reader reader = OF("\xcd\x01\x00");
    uint64_t value;
    uint32_t narrow;
    int64_t time;
    uint8_t fixed[2];
    const char *text;

    (void)state;
    assert_false(weir_read_u64(&reader, 255, &value));
    reader = OF("\xcd\x01\x00");
    assert_true(weir_read_u32(&reader, 256, &narrow));
    assert_int_equal(narrow, 256);
    reader = OF("\xff");
    assert_false(weir_read_u64(&reader, UINT64_MAX, &value));
    reader = OF("\xff");
    assert_false(weir_read_time(&reader, INT64_MAX, &time));
    reader = OF("\xc4\x03"
                "abc");
    assert_false(weir_read_fixed(&reader, fixed, 2));
    reader = OF("\xa1x");
    assert_false(weir_read_fixed(&reader, fixed, 1));
    reader = OF("\xc4\x01x");
    assert_false(weir_read_text(&reader, &text, &narrow));
    reader = OF("\xc4\x01x");
    assert_true(weir_read_raw(&reader, &text, &narrow));
    assert_int_equal(narrow, 1);
    assert_memory_equal(text, "x", 1);
    reader = OF("\x05");
    assert_false(weir_read_nil(&reader));
    assert_int_equal(weir_reader_left(&reader), 1);
}

static void the_packer_writes_what_the_reader_reads(void **state)
{
    struct weir_packer *packer = weir_packer_new();
    struct weir_bytes bytes;

    (void)state;
    weir_pack_map(packer, 7);
    weir_pack_text(packer, "u");
    weir_pack_u64(packer, 300);
    weir_pack_text(packer, "i");
    weir_pack_i64(packer, -2);
    weir_pack_text(packer, "b");
    weir_pack_bool(packer, 1);
    weir_pack_text(packer, "n");
    weir_pack_nil(packer);
    weir_pack_text(packer, "a");
    weir_pack_array(packer, 1);
    weir_pack_bool(packer, 0);
    weir_pack_text(packer, "d");
    weir_pack_bytes(packer, "\x00\x01", 2);
    weir_pack_text(packer, "t");
    weir_pack_text_n(packer, "\xff!", 2);
    bytes = weir_packer_finish(&packer);
    assert_null(packer);
    assert_true(weir_bytes_equal(&bytes,
                                 "\x87\xa1u\xcd\x01\x2c\xa1i\xfe\xa1"
                                 "b\xc3\xa1n\xc0\xa1"
                                 "a\x91\xc2\xa1"
                                 "d\xc4\x02\x00\x01\xa1t\xc4\x02\xff!",
                                 31));
    weir_bytes_drop(&bytes);
}

/* Whatever the bytes, reading ends inside them. */
static void random_bytes_end(void **state)
{
    struct weir_random random;
    uint8_t bytes[64];

    (void)state;
    weir_random_seed(&random, 7);
    for (int i = 0; i < 200000; i++) {
        size_t size = weir_random_below(&random, sizeof bytes + 1);
        struct weir_reader reader = weir_reader_of(bytes, size);

        weir_random_fill(&random, bytes, size);
        while (weir_read_skip(&reader))
            assert_true(reader.at <= bytes + size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_format_are_one_type),
        cmocka_unit_test(other_scalars_have_their_types),
        cmocka_unit_test(lengths_that_lie_are_not_believed),
        cmocka_unit_test(skip_passes_over_one_value_whole),
        cmocka_unit_test(depth_costs_nothing),
        cmocka_unit_test(typed_reads_refuse_what_is_out_of_range),
        cmocka_unit_test(the_packer_writes_what_the_reader_reads),
        cmocka_unit_test(random_bytes_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
