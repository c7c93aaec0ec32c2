/* The queues of keys: who may go, who waits, what is found again. */
#include <core/group_keys.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_first_goes_others_wait(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    assert_true(weir_keys_free(&keys, 5, 1));
    weir_keys_set(&keys, 5, 100, WEIR_KEY_LEASED, 1);
    assert_true(weir_keys_free(&keys, 5, 1)); /* in the same delivery */
    assert_false(weir_keys_free(&keys, 5, 2));
    weir_keys_wait(&keys, 5, 101);
    assert_false(weir_keys_free(&keys, 5, 1)); /* something lies between now */
    assert_int_equal(keys.waiting, 1);
    assert_null(keys.hungry);
    weir_keys_drop(&keys, 5, 100);
    assert_non_null(keys.hungry);
    assert_int_equal(weir_key_front(keys.hungry)->sequence, 101);
    weir_keys_set(&keys, 5, 101, WEIR_KEY_LEASED, 2);
    assert_null(keys.hungry);
    weir_keys_drop(&keys, 5, 101);
    assert_int_equal(keys.count, 0);
    weir_keys_fini(&keys);
}

static void test_a_retry_goes_back_to_its_place(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    for (uint64_t i = 1; i <= 3; i++)
        weir_keys_set(&keys, 9, i, WEIR_KEY_LEASED, 7);
    weir_keys_set(&keys, 9, 1, WEIR_KEY_DEFERRED, 0); /* failed */
    weir_keys_set(&keys, 9, 2, WEIR_KEY_LISTED, 0);   /* given back */
    weir_keys_set(&keys, 9, 3, WEIR_KEY_PARKED, 0);
    assert_null(keys.hungry);
    assert_true(weir_keys_may_go(&keys, 9, 1, 0));
    assert_false(weir_keys_may_go(&keys, 9, 2, 7));
    assert_false(weir_keys_free(&keys, 9, 7));
    weir_keys_drop(&keys, 9, 1);
    assert_int_equal(weir_key_front(keys.hungry)->sequence, 2);
    assert_int_equal(weir_key_front(keys.hungry)->place, WEIR_KEY_LISTED);
    weir_keys_drop(&keys, 9, 2);
    assert_int_equal(weir_key_front(keys.hungry)->place, WEIR_KEY_PARKED);
    assert_int_equal(keys.waiting, 1);
    weir_keys_fini(&keys);
}

static void test_what_is_not_listed_is_found_again(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    weir_keys_set(&keys, 1, 1, WEIR_KEY_LEASED, 1);
    keys.listed = WEIR_PARKED_MAX; /* the lists of other keys are full */
    for (uint64_t i = 2; i <= 4; i++)
        weir_keys_wait(&keys, 1, i);
    assert_int_equal(keys.waiting, 3);
    keys.listed = 0;
    weir_keys_wait(&keys, 1, 5); /* there would be room, but not its turn */
    struct weir_key *key = weir_keys_find(&keys, 1);
    assert_int_equal(key->unlisted, 4);
    assert_int_equal(weir_keys_rescan_from(&keys), UINT64_MAX);
    weir_keys_drop(&keys, 1, 1);
    assert_int_equal(weir_keys_rescan_from(&keys), 2);
    weir_keys_found(&keys, key, 2, false);
    weir_keys_set(&keys, 1, 2, WEIR_KEY_LEASED, 2);
    assert_null(keys.starving);
    assert_int_equal(key->rescan_from, 3);
    weir_keys_drop(&keys, 1, 2);
    assert_int_equal(weir_keys_rescan_from(&keys), 3);
    /* The log has no more of them: the account is closed. */
    weir_keys_rescanned(&keys, 3, 1);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.waiting, 0);
    weir_keys_fini(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_goes_others_wait),
        cmocka_unit_test(test_a_retry_goes_back_to_its_place),
        cmocka_unit_test(test_what_is_not_listed_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
