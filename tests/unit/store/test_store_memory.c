/* The contract's suite on the store in memory, and what that one promises beside. */
#include "conformance.h"

#include <base/error.h>
#include <store/store.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct memory_subject {
    struct subject subject;
    struct weir_memory_store *memory;
    uint64_t bytes_max;
};

static void memory_open(struct subject *subject, uint64_t bytes_max)
{
    struct memory_subject *self = (struct memory_subject *)subject;

    /* The limit is the store's for life: another one means a new, empty store. */
    if (self->memory != NULL && self->bytes_max != bytes_max)
        weir_memory_store_destroy(&self->memory);
    if (self->memory == NULL)
        self->memory = weir_memory_store_new(7, bytes_max);
    self->bytes_max = bytes_max;
    subject->store = weir_memory_store_store(self->memory);
    subject->recovered = weir_memory_store_recover(self->memory);
}

static void memory_close(struct subject *subject)
{
    struct memory_subject *self = (struct memory_subject *)subject;

    weir_memory_store_step(self->memory, UINT32_MAX);
    weir_memory_store_crash(self->memory);
    weir_recovered_destroy(&subject->recovered);
}

static void memory_next(struct subject *subject, struct weir_store_result *result)
{
    struct memory_subject *self = (struct memory_subject *)subject;

    if (subject->store->poll(subject->store, result))
        return;
    assert_int_equal(weir_memory_store_step(self->memory, 1), 1);
    assert_true(subject->store->poll(subject->store, result));
}

static void memory_clear(struct subject *subject)
{
    struct memory_subject *self = (struct memory_subject *)subject;

    weir_memory_store_destroy(&self->memory);
}

static void test_crash_forgets_what_had_not_completed(void **state)
{
    struct weir_memory_store *memory = weir_memory_store_new(7, 0);
    struct weir_store *store = weir_memory_store_store(memory);
    struct weir_store_result result = {0};
    struct weir_store_request request;
    struct weir_recovered *recovered;

    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        request = append_request(i, i, 1, 10);
        store->submit(store, &request);
    }
    assert_int_equal(weir_memory_store_step(memory, 2), 2);
    assert_true(store->poll(store, &result));
    weir_store_result_fini(&result);
    weir_memory_store_crash(memory);
    assert_false(store->poll(store, &result));
    recovered = weir_memory_store_recover(memory);
    assert_int_equal(recovered->next_sequence, 3);
    assert_int_equal(recovered->oldest_sequence, 1);
    weir_recovered_destroy(&recovered);
    request = append_request(4, 3, 1, 20);
    store->submit(store, &request);
    request = read_request(5, 2, 1000);
    store->submit(store, &request);
    assert_int_equal(weir_memory_store_step(memory, 10), 2);
    assert_true(store->poll(store, &result));
    assert_int_equal(result.id, 4);
    weir_store_result_fini(&result);
    assert_true(store->poll(store, &result));
    assert_int_equal(result.record_count, 2);
    assert_record(&result.records[0], 2, 1, 10);
    assert_record(&result.records[1], 3, 1, 20);
    weir_store_result_fini(&result);
    weir_memory_store_destroy(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_forgets_what_had_not_completed),
    };
    struct memory_subject self = {
        .subject = {.open = memory_open,
                    .close = memory_close,
                    .next = memory_next,
                    .clear = memory_clear,
                    .small_bytes_max = 256 << 10},
    };
    int failed = conformance_run(&self.subject);

    return failed + cmocka_run_group_tests_name("store in memory", tests, NULL, NULL);
}
