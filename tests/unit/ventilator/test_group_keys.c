/* The queues of keys: who may go, who waits, what is found again. */
#include <base/random.h>
#include <core/group_keys.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct weir_key_entry hungry_front(const struct weir_keys *keys)
{
    struct weir_key_entry entry = {0};
    assert_non_null(weir_keys_next(keys, &entry));
    return entry;
}

static void test_first_goes_others_wait(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    assert_true(weir_keys_free(&keys, 5, 100, 1));
    weir_keys_set(&keys, 5, 100, WEIR_KEY_LEASED, 1);
    assert_true(weir_keys_free(&keys, 5, 101, 1)); /* in the same delivery */
    assert_false(weir_keys_free(&keys, 5, 101, 2));
    weir_keys_wait(&keys, 5, 101);
    assert_false(weir_keys_free(&keys, 5, 102, 1)); /* something lies between now */
    assert_int_equal(keys.waiting, 1);
    assert_int_equal(keys.hungry.count, 0);
    weir_keys_drop(&keys, 5, 100);
    assert_int_equal(keys.hungry.count, 1);
    assert_int_equal(hungry_front(&keys).sequence, 101);
    weir_keys_set(&keys, 5, 101, WEIR_KEY_LEASED, 2);
    assert_int_equal(keys.hungry.count, 0);
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
    assert_int_equal(keys.hungry.count, 0);
    assert_true(weir_keys_may_go(&keys, 9, 1, 0));
    assert_false(weir_keys_may_go(&keys, 9, 2, 7));
    assert_false(weir_keys_free(&keys, 9, 4, 7));
    weir_keys_drop(&keys, 9, 1);
    assert_int_equal(hungry_front(&keys).sequence, 2);
    assert_int_equal(hungry_front(&keys).place, WEIR_KEY_LISTED);
    weir_keys_drop(&keys, 9, 2);
    assert_int_equal(hungry_front(&keys).place, WEIR_KEY_PARKED);
    assert_int_equal(keys.waiting, 1);
    weir_keys_fini(&keys);
}

static void expect_next(struct weir_keys *keys, uint64_t hash, uint64_t sequence)
{
    struct weir_key_entry entry;
    const struct weir_key *key = weir_keys_next(keys, &entry);
    assert_non_null(key);
    assert_int_equal(key->hash, hash);
    assert_int_equal(entry.sequence, sequence);
}

/* Two keys in turn: a delivery takes them as they lie in the log. */
static void test_the_lowest_of_all_keys_goes_first(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    for (uint64_t i = 1; i <= 6; i++)
        weir_keys_set(&keys, 1 + i % 2, i, WEIR_KEY_LISTED, 0);
    weir_keys_set(&keys, 3, 7, WEIR_KEY_LEASED, 0);
    weir_keys_set(&keys, 3, 8, WEIR_KEY_LISTED, 0);
    weir_keys_deliver(&keys, 5);
    for (uint64_t i = 1; i <= 4; i++) {
        expect_next(&keys, 1 + i % 2, i);
        weir_keys_set(&keys, 1 + i % 2, i, WEIR_KEY_LEASED, 5);
    }
    expect_next(&keys, 2, 5);
    weir_keys_deliver(&keys, 0); /* what is left is behind what is out */
    assert_int_equal(keys.hungry.count, 0);
    weir_keys_drop(&keys, 3, 7);
    expect_next(&keys, 3, 8);
    weir_keys_drop(&keys, 1, 2);
    weir_keys_drop(&keys, 1, 4);
    expect_next(&keys, 1, 6);
    weir_keys_fini(&keys);
}

static void test_what_cannot_go_now_is_put_aside(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    struct weir_key_entry entry;
    for (uint64_t i = 1; i <= 3; i++)
        weir_keys_set(&keys, i, i, WEIR_KEY_LISTED, 0);
    weir_keys_later(&keys, weir_keys_next(&keys, &entry));
    expect_next(&keys, 2, 2);
    weir_keys_set(&keys, 2, 2, WEIR_KEY_LEASED, 9);
    weir_keys_set(&keys, 2, 4, WEIR_KEY_LISTED, 0);
    weir_keys_later(&keys, weir_keys_next(&keys, &entry));
    assert_null(weir_keys_next(&keys, &entry));
    weir_keys_drop(&keys, 1, 1); /* it has ended meanwhile */
    weir_keys_again(&keys);
    expect_next(&keys, 3, 3);
    assert_null(keys.aside);
    weir_keys_fini(&keys);
}

/* What a rescan does with a message, all of which are its own: leased in this delivery, or not. */
static bool meet(struct weir_keys *keys, uint64_t hash, uint64_t sequence, uint64_t delivery)
{
    assert_true(weir_keys_unlisted(keys, hash, sequence));
    keys->rescan_at = sequence;
    const bool free = weir_keys_free(keys, hash, sequence, delivery);
    if (free)
        weir_keys_set(keys, hash, sequence, WEIR_KEY_LEASED, delivery);
    weir_keys_found(keys, hash, sequence);
    keys->rescan_at++;
    if (!free)
        weir_keys_wait(keys, hash, sequence);
    return free;
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
    assert_int_equal(keys.unlisted, 4);
    assert_int_equal(keys.rescan_from, 2);
    assert_false(weir_keys_free(&keys, 1, 6, 1));
    assert_false(weir_keys_starving(&keys));
    weir_keys_drop(&keys, 1, 1);
    assert_true(weir_keys_starving(&keys));
    assert_false(weir_keys_free(&keys, 1, 6, 2));

    weir_keys_rescan(&keys);
    assert_int_equal(keys.rescan_at, 2);
    assert_true(meet(&keys, 1, 2, 2));
    assert_false(weir_keys_starving(&keys));
    assert_true(meet(&keys, 1, 3, 2)); /* follows into the same delivery */
    keys.listed = WEIR_PARKED_MAX;
    assert_false(meet(&keys, 1, 4, 3));
    weir_keys_drop(&keys, 1, 2);
    weir_keys_drop(&keys, 1, 3);
    assert_int_equal(keys.left, 1);
    assert_false(meet(&keys, 1, 5, 3)); /* 4 is ahead of it now, though nothing is out */
    assert_int_equal(keys.unlisted, 2);
    weir_keys_rescanned(&keys);
    assert_int_equal(keys.rescan_from, 4);
    assert_int_equal(keys.unlisted, 2);
    assert_true(weir_keys_starving(&keys));

    keys.listed = 0;
    weir_keys_rescan(&keys);
    assert_true(meet(&keys, 1, 4, 4));
    assert_false(meet(&keys, 1, 5, 5)); /* into the list this time */
    weir_keys_rescanned(&keys);
    assert_int_equal(keys.unlisted, 0);
    assert_int_equal(keys.waiting, 1);
    assert_false(weir_keys_free(&keys, 1, 6, 5));
    weir_keys_drop(&keys, 1, 4);
    assert_int_equal(hungry_front(&keys).sequence, 5);
    weir_keys_drop(&keys, 1, 5);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.waiting, 0);
    weir_keys_fini(&keys);
}

static void test_a_slot_remembers_that_some_are_not_listed(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    for (uint64_t hash = 1; hash <= 1000; hash++)
        weir_keys_set(&keys, hash, hash, WEIR_KEY_DEFERRED, 0);
    keys.large = WEIR_LARGE_KEYS_MAX; /* no room for another struct */
    for (uint64_t hash = 1; hash <= 1000; hash++)
        weir_keys_wait(&keys, hash, 1000 + hash);
    assert_int_equal(keys.large, WEIR_LARGE_KEYS_MAX);
    assert_int_equal(keys.unlisted, 1000);
    assert_true(weir_keys_may_go(&keys, 7, 7, 0));
    assert_false(weir_keys_starving(&keys));
    for (uint64_t hash = 1; hash <= 1000; hash += 2)
        weir_keys_drop(&keys, hash, hash);
    assert_int_equal(keys.count, 1000);
    assert_int_equal(keys.empty, 500);
    assert_false(weir_keys_free(&keys, 7, 2007, 0));

    /* Of those that are free every other one is taken, the rest is not there (damage). */
    weir_keys_rescan(&keys);
    assert_int_equal(keys.rescan_at, 1001);
    for (uint64_t hash = 1; hash <= 1000; hash++)
        if (hash % 2 == 0)
            assert_false(meet(&keys, hash, 1000 + hash, 9));
        else if (hash % 4 == 1)
            assert_true(meet(&keys, hash, 1000 + hash, 9));
    keys.rescan_at = 3000;
    weir_keys_rescanned(&keys);
    assert_int_equal(keys.rescan_from, 1002);
    assert_int_equal(keys.unlisted, 500);
    assert_int_equal(keys.waiting, 500);
    assert_int_equal(keys.empty, 0);
    assert_int_equal(keys.count, 750);
    assert_int_equal(keys.large, WEIR_LARGE_KEYS_MAX + 250);
    for (uint64_t hash = 1; hash <= 1000; hash++) {
        assert_int_equal(weir_keys_has(&keys, hash), hash % 4 != 3);
        assert_int_equal(weir_keys_unlisted(&keys, hash, 1000 + hash), hash % 2 == 0);
        assert_int_equal(weir_keys_at(&keys, hash, 1000 + hash, NULL), hash % 4 == 1);
        assert_int_equal(weir_keys_free(&keys, hash, 4000, 10), hash % 4 == 3);
    }
    keys.large = 250;
    weir_keys_fini(&keys);
}

/* After a restart a row may be known whose key has others ahead of it in the log. */
static void test_one_that_is_not_listed_holds_up_a_known_one(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    weir_keys_set(&keys, 3, 10, WEIR_KEY_DEFERRED, 0);
    keys.listed = WEIR_PARKED_MAX;
    assert_true(weir_keys_free(&keys, 3, 5, 1)); /* it is the first */
    weir_keys_set(&keys, 3, 5, WEIR_KEY_LEASED, 1);
    assert_true(weir_keys_free(&keys, 3, 6, 1));
    assert_false(weir_keys_free(&keys, 3, 6, 2));
    weir_keys_wait(&keys, 3, 6);
    weir_keys_drop(&keys, 3, 5);
    assert_false(weir_keys_may_go(&keys, 3, 10, 0)); /* 6 is ahead */
    assert_true(weir_keys_starving(&keys));
    assert_int_equal(keys.hungry.count, 0);
    weir_keys_set(&keys, 3, 10, WEIR_KEY_PARKED, 0);
    assert_int_equal(keys.hungry.count, 0);
    weir_keys_rescan(&keys);
    assert_true(meet(&keys, 3, 6, 3));
    weir_keys_rescanned(&keys);
    assert_false(weir_keys_may_go(&keys, 3, 10, 0));
    weir_keys_drop(&keys, 3, 6);
    assert_true(weir_keys_may_go(&keys, 3, 10, 0));
    assert_int_equal(hungry_front(&keys).sequence, 10);
    weir_keys_drop(&keys, 3, 10);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.waiting, 0);
    keys.listed = 0;
    weir_keys_fini(&keys);
}

static void test_what_comes_back_finds_no_room(void **state)
{
    (void)state;
    struct weir_keys keys = {0};
    weir_keys_set(&keys, 3, 10, WEIR_KEY_LEASED, 1);
    weir_keys_set(&keys, 3, 11, WEIR_KEY_LEASED, 1);
    keys.listed = WEIR_PARKED_MAX;
    weir_keys_wait(&keys, 3, 11);
    assert_false(weir_keys_free(&keys, 3, 12, 1));
    weir_keys_wait(&keys, 3, 10);
    assert_int_equal(keys.large, 0);
    assert_int_equal(keys.rescan_from, 10);
    assert_true(weir_keys_starving(&keys));
    weir_keys_rescan(&keys);
    assert_true(meet(&keys, 3, 10, 2));
    assert_true(meet(&keys, 3, 11, 2));
    weir_keys_wait(&keys, 3, 10); /* and again, behind the rescan */
    assert_int_equal(keys.left, 1);
    assert_false(weir_keys_may_go(&keys, 3, 11, 0));
    weir_keys_rescanned(&keys);
    assert_int_equal(keys.rescan_from, 10);
    assert_int_equal(keys.unlisted, 1);
    weir_keys_rescan(&keys);
    assert_true(meet(&keys, 3, 10, 3));
    weir_keys_rescanned(&keys);
    weir_keys_drop(&keys, 3, 10);
    weir_keys_drop(&keys, 3, 11);
    assert_int_equal(keys.count, 0);
    assert_int_equal(keys.waiting, 0);
    keys.listed = 0;
    weir_keys_fini(&keys);
}

/* What a plain table of the test's own says, the keys say too, however they are kept. */
static void test_many_keys_come_and_go(void **state)
{
    enum { KEYS = 3000, STEPS = 200000 };
    static struct {
        uint64_t sequence;
        enum weir_key_place place;
    } known[KEYS];
    struct weir_keys keys = {0};
    struct weir_random random;
    uint32_t count = 0;
    (void)state;
    weir_random_seed(&random, 7);
    for (uint64_t step = 1; step <= STEPS; step++) {
        /* Phases: more and more keys, then fewer. */
        const bool grows = step % 50000 < 25000;
        const uint64_t k = weir_random_below(&random, KEYS), hash = (k + 1) << 40;
        if (known[k].sequence && weir_random_below(&random, 4) < (grows ? 1 : 3)) {
            weir_keys_drop(&keys, hash, known[k].sequence);
            known[k].sequence = 0;
            count--;
        } else if (known[k].sequence || grows) {
            count += !known[k].sequence;
            if (!known[k].sequence)
                known[k].sequence = step;
            known[k].place = (enum weir_key_place)weir_random_below(&random, 4);
            weir_keys_set(&keys, hash, known[k].sequence, known[k].place,
                          known[k].place == WEIR_KEY_LEASED ? step / 8 : 0);
        }
        assert_int_equal(keys.count, count);
        const uint64_t other = weir_random_below(&random, KEYS);
        enum weir_key_place place = WEIR_KEY_LISTED;
        assert_int_equal(weir_keys_has(&keys, (other + 1) << 40), known[other].sequence != 0);
        if (known[other].sequence) {
            assert_true(weir_keys_at(&keys, (other + 1) << 40, known[other].sequence, &place));
            assert_int_equal(place, known[other].place);
            assert_false(weir_keys_at(&keys, (other + 1) << 40, step + 1, NULL));
            assert_true(weir_keys_may_go(&keys, (other + 1) << 40, known[other].sequence, 0));
        }
    }
    uint64_t hash, first;
    uint32_t seen = 0;
    for (uint32_t i = 0; weir_keys_each(&keys, &i, &hash, &first); seen++)
        assert_int_equal(first, known[(hash >> 40) - 1].sequence);
    assert_int_equal(seen, count);
    weir_keys_fini(&keys);
}

static void test_a_key_that_is_merely_out_or_deferred_costs_a_slot(void **state)
{
    struct weir_keys keys = {0};
    (void)state;
    for (uint64_t hash = 1; hash <= 4096; hash++)
        weir_keys_set(&keys, hash, 100 + hash, WEIR_KEY_LEASED, 1);
    assert_int_equal(keys.large, 4096); /* others of them may follow into the same delivery */
    assert_true(weir_keys_free(&keys, 7, 6000, 1));
    weir_keys_set(&keys, 5000, 5100, WEIR_KEY_LEASED, 2);
    assert_int_equal(keys.large, 1);
    assert_false(weir_keys_free(&keys, 7, 6000, 2));
    weir_keys_set(&keys, 7, 107, WEIR_KEY_DEFERRED, 0);
    assert_int_equal(keys.large, 1);
    weir_keys_wait(&keys, 7, 6000);
    assert_int_equal(keys.large, 2);
    assert_int_equal(weir_key_entry(weir_keys_find(&keys, 7), 0)->sequence, 107);
    weir_keys_drop(&keys, 7, 107);
    assert_int_equal(hungry_front(&keys).sequence, 6000);
    keys.large = WEIR_LARGE_KEYS_MAX;
    assert_true(weir_keys_may_wait(&keys, 7));
    assert_false(weir_keys_may_wait(&keys, 8));
    keys.large = 2;
    weir_keys_fini(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_goes_others_wait),
        cmocka_unit_test(test_a_retry_goes_back_to_its_place),
        cmocka_unit_test(test_the_lowest_of_all_keys_goes_first),
        cmocka_unit_test(test_what_cannot_go_now_is_put_aside),
        cmocka_unit_test(test_what_is_not_listed_is_found_again),
        cmocka_unit_test(test_a_slot_remembers_that_some_are_not_listed),
        cmocka_unit_test(test_one_that_is_not_listed_holds_up_a_known_one),
        cmocka_unit_test(test_what_comes_back_finds_no_room),
        cmocka_unit_test(test_many_keys_come_and_go),
        cmocka_unit_test(test_a_key_that_is_merely_out_or_deferred_costs_a_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
