/* The numbers of a server's peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <net/peers.h>
#include <string.h>

static void peers_are_found_by_identity_and_by_number(void **state)
{
    (void)state;
    struct weir_peers *peers = weir_peers_new();
    uint8_t long_identity[255];
    memset(long_identity, 7, sizeof long_identity);
    uint64_t first = weir_peers_add(peers, "\0abcd", 5, 11)->number;
    uint64_t second = weir_peers_add(peers, "\0abce", 5, 12)->number;
    uint64_t third = weir_peers_add(peers, long_identity, sizeof long_identity, -1)->number;

    assert_true(first != 0 && second != 0 && third != 0);
    assert_int_equal(weir_peers_identified(peers, "\0abcd", 5)->number, first);
    assert_int_equal(weir_peers_identified(peers, "\0abce", 5)->number, second);
    assert_int_equal(weir_peers_identified(peers, long_identity, 255)->number, third);
    assert_null(weir_peers_identified(peers, long_identity, 254));
    assert_int_equal(weir_peers_numbered(peers, second)->fd, 12);
    assert_memory_equal(weir_peers_numbered(peers, third)->identity, long_identity, 255);
    assert_null(weir_peers_numbered(peers, 99));
    assert_int_equal(weir_peers_count(peers), 3);
    weir_peers_destroy(&peers);
    assert_null(peers);
}

static void a_number_is_never_used_again(void **state)
{
    (void)state;
    struct weir_peers *peers = weir_peers_new();
    uint64_t highest = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t number = weir_peers_add(peers, "\0same", 5, 3)->number;
        assert_true(number > highest);
        highest = number;
        weir_peers_remove(peers, number);
        assert_null(weir_peers_identified(peers, "\0same", 5));
        assert_null(weir_peers_numbered(peers, number));
    }
    assert_int_equal(weir_peers_count(peers), 0);
    weir_peers_remove(peers, highest);
    weir_peers_destroy(&peers);
}

static void sum_up(void *arg, struct weir_peer *peer)
{
    *(uint64_t *)arg += peer->number;
}

static void each_visits_every_peer(void **state)
{
    (void)state;
    struct weir_peers *peers = weir_peers_new();
    uint64_t expected = 0, seen = 0;
    for (uint32_t i = 0; i < 1000; i++)
        expected += weir_peers_add(peers, &i, sizeof i, (int)i)->number;
    weir_peers_each(peers, sum_up, &seen);
    assert_int_equal(seen, expected);
    weir_peers_destroy(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_are_found_by_identity_and_by_number),
        cmocka_unit_test(a_number_is_never_used_again),
        cmocka_unit_test(each_visits_every_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
