/* The window of idempotency keys: bounded in count and time, and found after any removal. */
#include <core/idempotency.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <wire/batch.h>

#include <cmocka.h>

static struct weir_idem_row row_of(uint64_t sequence)
{
    struct weir_idem_row row = {.sequence = sequence, .time_ms = (int64_t)sequence * 10};
    char text[32];
    snprintf(text, sizeof text, "key %llu", (unsigned long long)sequence);
    weir_idem_hash(text, strlen(text), row.hash);
    return row;
}

static void assert_window(const struct weir_idempotency *window, uint64_t first, uint64_t last)
{
    for (uint64_t i = 1; i <= last + 100; i++) {
        const struct weir_idem_row row = row_of(i);
        const struct weir_idem_row *found = weir_idempotency_find(window, row.hash);
        if (i < first || i > last) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_int_equal(found->sequence, i);
        }
    }
    assert_int_equal(window->count, last - first + 1);
}

static void test_window(void **state)
{
    (void)state;
    struct weir_idempotency window;
    weir_idempotency_init(&window, 3000);
    assert_null(weir_idempotency_find(&window, row_of(1).hash));
    for (uint64_t i = 1; i <= 5000; i++) {
        const struct weir_idem_row row = row_of(i);
        weir_idempotency_add(&window, &row);
    }
    assert_window(&window, 2001, 5000);
    assert_int_equal(window.forgotten, 2000);
    assert_true(window.trimmed);
    assert_int_equal(weir_idempotency_lowest(&window), 2001);
    weir_idempotency_expire(&window, 30000); /* accepted before sequence 3000 was */
    assert_window(&window, 3000, 5000);
    weir_idempotency_withdraw(&window, 4990);
    assert_window(&window, 3000, 4989);
    struct weir_idem_row twice = row_of(3500);
    twice.sequence = 9999;
    weir_idempotency_add(&window, &twice); /* the first one stays */
    assert_window(&window, 3000, 4989);
    weir_idempotency_expire(&window, INT64_MAX);
    assert_int_equal(weir_idempotency_lowest(&window), UINT64_MAX);
    weir_idempotency_fini(&window);
}

static void test_none_at_all(void **state)
{
    (void)state;
    struct weir_idempotency window;
    const struct weir_idem_row row = row_of(1);
    weir_idempotency_init(&window, 0);
    weir_idempotency_add(&window, &row);
    assert_null(weir_idempotency_find(&window, row.hash));
    weir_idempotency_fini(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_none_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
