#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/error.h>
#include <base/message_id.h>
#include <base/random.h>

#include <ctype.h>
#include <string.h>

static void known_ids_have_known_texts(void **state)
{
    static const struct {
        struct weir_id id;
        const char *text;
    } known[] = {
        {{0, 0, 0}, "00000000000000000000000000"},
        {{0, 0, 1}, "00000000000000000000000001"},
        {{0, 0, 32}, "00000000000000000000000010"},
        {{0, 1, 0}, "0000000000000G000000000000"},
        {{(INT64_C(1) << 48) - 1, UINT16_MAX, UINT64_MAX}, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char text[WEIR_ID_TEXT_BYTES];
        struct weir_id id;

        weir_id_format(&known[i].id, text);
        assert_string_equal(text, known[i].text);
        assert_int_equal(weir_id_parse(known[i].text, &id), 0);
        assert_true(id.time_ms == known[i].id.time_ms);
        assert_int_equal(id.tag, known[i].id.tag);
        assert_true(id.sequence == known[i].id.sequence);
    }
}

static void bytes_are_big_endian(void **state)
{
    static const uint8_t expected[WEIR_ID_BYTES] = {1, 2,  3,  4,  5,  6,  7,  8,
                                                    9, 10, 11, 12, 13, 14, 15, 16};
    struct weir_id id = {0x010203040506, 0x0708, 0x090a0b0c0d0e0f10};
    struct weir_id back;
    uint8_t bytes[WEIR_ID_BYTES];

    (void)state;
    weir_id_encode(&id, bytes);
    assert_memory_equal(bytes, expected, sizeof bytes);
    weir_id_decode(bytes, &back);
    assert_true(back.time_ms == id.time_ms && back.tag == id.tag && back.sequence == id.sequence);
}

static void texts_and_bytes_sort_as_time_and_sequence_do(void **state)
{
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 3);
    for (int i = 0; i < 10000; i++) {
        struct weir_id early = {(int64_t)(weir_random_u64(&random) >> 17), 7,
                                weir_random_u64(&random) >> weir_random_below(&random, 64)};
        struct weir_id late = {early.time_ms + (i & 1), 7,
                               (i & 1) != 0 ? weir_random_u64(&random) : early.sequence + 1};
        char early_text[WEIR_ID_TEXT_BYTES], late_text[WEIR_ID_TEXT_BYTES];
        uint8_t early_bytes[WEIR_ID_BYTES], late_bytes[WEIR_ID_BYTES];
        struct weir_id parsed;

        if (late.sequence == 0)
            continue;
        weir_id_format(&early, early_text);
        weir_id_format(&late, late_text);
        assert_true(strcmp(early_text, late_text) < 0);
        weir_id_encode(&early, early_bytes);
        weir_id_encode(&late, late_bytes);
        assert_true(memcmp(early_bytes, late_bytes, WEIR_ID_BYTES) < 0);
        assert_int_equal(weir_id_parse(late_text, &parsed), 0);
        assert_true(parsed.time_ms == late.time_ms && parsed.sequence == late.sequence);
    }
}

static void people_may_write_lower_case_and_i_l_o(void **state)
{
    struct weir_id id;

    (void)state;
    assert_int_equal(weir_id_parse("0000000000000000000000abiLo", &id), WEIR_EINVAL);
    assert_int_equal(weir_id_parse("000000000000000000000abiLo", &id), 0);
    assert_true(id.sequence == ((((UINT64_C(10) * 32 + 11) * 32 + 1) * 32 + 1) * 32 + 0));
}

static void what_is_no_id_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        "0000000000000000000000000",
        "000000000000000000000000000",
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "0000000000000000000000000U",
        "0000000000000-000000000000",
        "0000000000000 000000000000",
        "000000000000000000000000\xc3\xbc",
    };
    struct weir_id id;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(weir_id_parse(bad[i], &id), WEIR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_ids_have_known_texts),
        cmocka_unit_test(bytes_are_big_endian),
        cmocka_unit_test(texts_and_bytes_sort_as_time_and_sequence_do),
        cmocka_unit_test(people_may_write_lower_case_and_i_l_o),
        cmocka_unit_test(what_is_no_id_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
