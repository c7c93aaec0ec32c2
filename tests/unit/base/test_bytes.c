#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/bytes.h>

#include <stdlib.h>
#include <string.h>

static void count_release(void *hint)
{
    (*(int *)hint)++;
}

static void foreign_memory_is_released_with_the_last_reference(void **state)
{
    static const char text[] = "0123456789";
    int released = 0;
    struct weir_bytes all = weir_bytes_wrap(text, 10, count_release, &released);
    struct weir_bytes part = weir_bytes_cut(&all, 3, 4);
    struct weir_bytes again = weir_bytes_ref(&part);

    (void)state;
    assert_true(weir_bytes_equal(&part, "3456", 4));
    weir_bytes_drop(&all);
    assert_null(all.data);
    assert_int_equal(all.size, 0);
    weir_bytes_drop(&part);
    assert_int_equal(released, 0);
    assert_true(weir_bytes_equal(&again, "3456", 4));
    weir_bytes_drop(&again);
    assert_int_equal(released, 1);
    weir_bytes_drop(&again);
    assert_int_equal(released, 1);
}

static void copies_do_not_follow_their_source(void **state)
{
    char text[] = "abc";
    struct weir_bytes copy = weir_bytes_copy(text, 3);

    (void)state;
    text[0] = 'X';
    assert_true(weir_bytes_equal(&copy, "abc", 3));
    assert_false(weir_bytes_equal(&copy, "abd", 3));
    assert_false(weir_bytes_equal(&copy, "ab", 2));
    weir_bytes_drop(&copy);
}

static void borrowed_and_empty_bytes_own_nothing(void **state)
{
    struct weir_bytes borrowed = weir_bytes_borrow("xyz", 3);
    struct weir_bytes cut = weir_bytes_cut(&borrowed, 1, 2);
    struct weir_bytes none = WEIR_BYTES_NONE;
    struct weir_bytes nothing = weir_bytes_cut(&none, 0, 0);
    uint8_t *data;
    struct weir_bytes empty = weir_bytes_new(0, &data);

    (void)state;
    assert_true(weir_bytes_equal(&cut, "yz", 2));
    assert_null(cut.block);
    assert_true(weir_bytes_equal(&nothing, "", 0));
    assert_true(weir_bytes_equal(&empty, NULL, 0));
    weir_bytes_drop(&cut);
    weir_bytes_drop(&nothing);
    weir_bytes_drop(&empty);
}

static void frames_keep_order_and_own_their_bytes(void **state)
{
    static const char letters[] = "abcdefghi";
    struct weir_frames frames = {0};
    int released = 0;

    (void)state;
    for (int i = 0; i < 9; i++)
        weir_frames_push(&frames, weir_bytes_wrap(letters + i, 1, count_release, &released));
    assert_int_equal(frames.count, 9);
    assert_int_equal(weir_frames_size(&frames), 9);
    for (int i = 0; i < 9; i++)
        assert_true(weir_bytes_equal(&frames.at[i], letters + i, 1));
    weir_frames_drop(&frames);
    assert_int_equal(released, 9);
    assert_int_equal(frames.count, 0);
    assert_null(frames.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_memory_is_released_with_the_last_reference),
        cmocka_unit_test(copies_do_not_follow_their_source),
        cmocka_unit_test(borrowed_and_empty_bytes_own_nothing),
        cmocka_unit_test(frames_keep_order_and_own_their_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
