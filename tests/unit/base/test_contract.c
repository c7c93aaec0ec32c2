#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <contract/backend.h>

#include <string.h>

static void count_release(void *hint)
{
    (*(int *)hint)++;
}

static struct weir_bytes counted(int *released)
{
    return weir_bytes_wrap("x", 1, count_release, released);
}

static struct weir_row row_of(int *released)
{
    return (struct weir_row){.history = counted(released),
                             .header = counted(released),
                             .index_entry = counted(released),
                             .body = counted(released)};
}

static void a_policy_starts_from_the_documented_defaults(void **state)
{
    struct weir_group_policy policy = weir_group_policy_default();

    (void)state;
    assert_string_equal(policy.name, "");
    assert_int_equal(policy.topic_count, 0);
    assert_int_equal(policy.attempts, 5);
    assert_int_equal(policy.backoff.first_ms, 1000);
    assert_int_equal(policy.backoff.factor_permille, 2000);
    assert_int_equal(policy.backoff.max_ms, 60000);
    assert_int_equal(policy.timeout_ms, 30000);
    assert_int_equal(policy.lease_ms, WEIR_LEASE_MS);
    assert_int_equal(policy.order, WEIR_ORDER_NONE);
    assert_int_equal(policy.delivery, WEIR_AT_LEAST_ONCE);
    assert_int_equal(policy.on_full, WEIR_ON_FULL_REFUSE);
}

static void names_are_those_of_the_wire(void **state)
{
    (void)state;
    assert_string_equal(weir_outcome_name(WEIR_DONE), "done");
    assert_string_equal(weir_outcome_name(WEIR_UNAVAILABLE), "unavailable");
    assert_string_equal(weir_reason_name(WEIR_REASON_ATTEMPTS), "attempts");
    assert_string_equal(weir_reason_name(WEIR_REASON_BACKLOG), "backlog");
    assert_string_equal(weir_fsync_name(WEIR_FSYNC_ALWAYS), "always");
}

static void a_request_releases_all_it_owns(void **state)
{
    int released = 0;
    struct weir_store_request request = {
        .record = {.header = counted(&released),
                   .index = counted(&released),
                   .body = counted(&released),
                   .skips = weir_zalloc(1, sizeof(struct weir_skip)),
                   .skip_count = 1},
        .ops = weir_zalloc(3, sizeof(struct weir_op)),
        .op_count = 3,
    };

    (void)state;
    request.ops[0].group = weir_zalloc(1, sizeof *request.ops[0].group);
    request.ops[1].row = weir_zalloc(1, sizeof *request.ops[1].row);
    *request.ops[1].row = row_of(&released);
    request.ops[2].bits = weir_zalloc(1, WEIR_CHUNK_BYTES);
    weir_store_request_fini(&request);
    assert_int_equal(released, 7);
    assert_null(request.ops);
    weir_store_request_fini(&request);
    assert_int_equal(released, 7);
}

static void a_result_releases_all_it_owns(void **state)
{
    int released = 0;
    struct weir_store_result result = {
        .records = weir_zalloc(1, sizeof(struct weir_record)),
        .record_count = 1,
        .rows = weir_zalloc(2, sizeof(struct weir_row)),
        .row_count = 2,
    };

    (void)state;
    result.records[0].body = counted(&released);
    result.rows[0] = row_of(&released);
    result.rows[1] = row_of(&released);
    weir_store_result_fini(&result);
    assert_int_equal(released, 9);
    assert_int_equal(result.row_count, 0);
}

static void what_was_recovered_is_released_whole(void **state)
{
    int released = 0;
    struct weir_recovered *recovered = weir_zalloc(1, sizeof *recovered);

    (void)state;
    recovered->chunks = weir_zalloc(1, sizeof *recovered->chunks);
    recovered->chunk_count = 1;
    recovered->chunks[0].bits = weir_zalloc(1, WEIR_CHUNK_BYTES);
    recovered->leased = weir_zalloc(1, sizeof *recovered->leased);
    recovered->leased_count = 1;
    recovered->leased[0] = (struct weir_leased){row_of(&released), 1};
    recovered->damage = weir_strdup("record 7");
    weir_recovered_destroy(&recovered);
    assert_null(recovered);
    assert_int_equal(released, 4);
    weir_recovered_destroy(&recovered);
}

static void outcomes_of_a_job_are_released(void **state)
{
    int released = 0;
    struct weir_handled handled = {
        .outcomes = weir_zalloc(2, sizeof(struct weir_job_outcome)),
        .outcome_count = 2,
    };

    (void)state;
    handled.outcomes[0].error = counted(&released);
    handled.outcomes[1].result = counted(&released);
    weir_handled_fini(&handled);
    assert_int_equal(released, 2);
    assert_null(handled.outcomes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_starts_from_the_documented_defaults),
        cmocka_unit_test(names_are_those_of_the_wire),
        cmocka_unit_test(a_request_releases_all_it_owns),
        cmocka_unit_test(a_result_releases_all_it_owns),
        cmocka_unit_test(what_was_recovered_is_released_whole),
        cmocka_unit_test(outcomes_of_a_job_are_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
