/* The worked example in docs/format.md is a segment as the code writes it. */
#include <base/alloc.h>
#include <base/little_endian.h>
#include <store/log_format.h>

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IMAGE_BYTES 8192u

/* "00001000: 5752 4952 …  WRIR…" */
static bool take_line(const char *line, uint8_t *image)
{
    char *at;
    unsigned long offset;

    if (!isxdigit((unsigned char)line[0]) || strlen(line) < 50 || line[8] != ':')
        return false;
    offset = strtoul(line, &at, 16);
    assert_true(offset + 16 <= IMAGE_BYTES);
    for (int i = 0; i < 16; i++) {
        char pair[3] = {0};

        at += i == 0 ? 2 : (i % 2 == 0 ? 1 : 0);
        memcpy(pair, at, 2);
        image[offset + (unsigned)i] = (uint8_t)strtoul(pair, NULL, 16);
        at += 2;
    }
    return true;
}

static uint8_t *read_image(void)
{
    FILE *file = fopen(FORMAT_DOCUMENT, "r");
    uint8_t *image = weir_zalloc(1, IMAGE_BYTES);
    char line[1024];
    int lines = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        lines += take_line(line, image);
    fclose(file);
    assert_int_equal(lines, 29);
    return image;
}

static void test_the_example_is_a_segment(void **state)
{
    static const struct {
        uint64_t first, certified;
        uint32_t count, skips;
    } expected[] = {{1, 0, 2, 1}, {3, 2, 1, 0}, {4, 3, 0, 0}};
    uint8_t *image = read_image();
    struct weir_segment_header segment;
    struct weir_record_header record;
    struct weir_error error;
    uint64_t offset = WEIR_SEGMENT_HEADER_BYTES;
    uint32_t seed;

    (void)state;
    assert_int_equal(weir_segment_header_decode(image, &segment, &error), 0);
    assert_int_equal(segment.tag, 7);
    assert_int_equal(segment.first, 1);
    assert_int_equal(segment.certified, 0);
    seed = segment.salt;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        size_t size;
        uint32_t crc;

        assert_true(weir_record_header_decode(image + offset, segment.salt, &record));
        assert_int_equal(record.first, expected[i].first);
        assert_int_equal(record.count, expected[i].count);
        assert_int_equal(record.certified, expected[i].certified);
        assert_int_equal(record.skip_count, expected[i].skips);
        assert_int_equal(record.seed, seed);
        size = (size_t)weir_record_content_bytes(&record) - WEIR_RECORD_HEADER_BYTES;
        crc = weir_record_header_crc(image + offset, seed);
        crc = weir_crc32c(crc, image + offset + WEIR_RECORD_HEADER_BYTES, size);
        assert_int_equal(record.crc, crc);
        seed = crc;
        offset += weir_record_bytes(&record);
    }
    assert_int_equal(offset, 0x1190);
    assert_false(weir_record_header_decode(image + offset, segment.salt, &record));
    free(image);
}

/* "123456789" is the usual check value of a CRC; CRC32C's is e3069283 with both inversions. */
static void test_the_checksum_is_crc32c(void **state)
{
    (void)state;
    assert_int_equal(~weir_crc32c(UINT32_MAX, "123456789", 9) & UINT32_MAX, 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_is_a_segment),
        cmocka_unit_test(test_the_checksum_is_crc32c),
    };

    return cmocka_run_group_tests_name("docs/format.md", tests, NULL, NULL);
}
