#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <wire/batch.h>

/* The digests are those that sha256sum prints. */
static void hashes_are_sha256_cut_off(void **state)
{
    static const uint8_t abc[16] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                    0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23};
    static const uint8_t empty[16] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
                                      0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24};
    /* Of 130 times "a": two blocks and a rest. */
    static const uint8_t many[16] = {0x1e, 0x3c, 0x4f, 0x47, 0x50, 0xc8, 0xc2, 0x9b,
                                     0xbf, 0xa9, 0xce, 0xd3, 0x17, 0x78, 0x81, 0x76};
    char text[130];
    uint8_t hash[16];

    (void)state;
    memset(text, 'a', sizeof text);
    weir_idem_hash(text, sizeof text, hash);
    assert_memory_equal(hash, many, 16);
    weir_idem_hash("abc", 3, hash);
    assert_memory_equal(hash, abc, 16);
    weir_idem_hash("", 0, hash);
    assert_memory_equal(hash, empty, 16);
    assert_true(weir_key_hash("abc", 3) == UINT64_C(0xeacf018fbf1678ba));
    assert_true(weir_key_hash("", 0) == UINT64_C(0x141cfc9842c4b0e3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_sha256_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
