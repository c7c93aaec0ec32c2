/* SQLite gets no memory at its N-th request, for every N, once or from then on: while a spool's
 * state is made, written, asked, loaded and closed, and while a sink and a collector work. Each
 * call either gives what it always gives or says that it cannot; what was committed is there
 * afterwards, and nothing is left behind. */
#include "holder_life.h"
#include "ops.h"
#include "sqlite_memory.h"
#include "state_dump.h"
#include "tape.h"

#include <base/alloc.h>
#include <store/state.h>

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define EVERY 13u /* allocations; all of them with WEIR_TORTURE set */
#define HOLDERS_EVERY 43u
#else
#define EVERY 3u
#define HOLDERS_EVERY 13u
#endif
#define TAG 7u
#define TRANSACTIONS 4u
#define QUERIES 5u
#define LARGE_BYTES 9000u

static uint64_t step_of(uint64_t every)
{
    return getenv("WEIR_TORTURE") != NULL ? 1 : every;
}

static const char *left_out(uint64_t every)
{
    return step_of(every) > 1 ? " (some left out)" : "";
}

/* ---- the state's work ---- */

struct expected {
    char *loaded[TRANSACTIONS + 1]; /* after so many transactions */
    char *asked[QUERIES];           /* after all of them */
};

/* A row whose payload goes onto overflow pages. */
static struct weir_op large_row_op(uint32_t group, uint64_t sequence, enum weir_row_state state)
{
    char text[LARGE_BYTES + 1];

    memset(text, 'a' + (int)(sequence % 26), LARGE_BYTES);
    text[LARGE_BYTES] = '\0';
    return with_payload(row_op(group, sequence, state, 100 + (int64_t)sequence), text);
}

static struct weir_op small_row_op(uint32_t group, uint64_t sequence, enum weir_row_state state)
{
    return row_op(group, sequence, state, 100 + (int64_t)sequence);
}

/* A group that is new while message 11 waits for its time. */
static struct weir_op late_group_op(enum weir_op_type type)
{
    struct weir_op op = group_op(3, "late", WEIR_ORDER_NONE);

    op.type = type;
    op.sequence = 20;
    memcpy(op.group->policy.topics[0], "user.*", sizeof "user.*");
    return op;
}

/* The operations of one transaction; all kinds of them occur. */
static uint32_t transaction(uint32_t number, struct weir_op *ops)
{
    uint32_t count = 0;

    switch (number) {
    case 1:
        ops[count++] = group_op(1, "email", WEIR_ORDER_NONE);
        ops[count++] = group_op(2, "fraud", WEIR_ORDER_KEY);
        ops[count++] = large_row_op(1, 10, WEIR_ROW_DEFERRED);
        ops[count++] = small_row_op(2, 10, WEIR_ROW_DEFERRED);
        ops[count] = large_row_op(WEIR_GROUP_LATER, 11, WEIR_ROW_DEFERRED);
        weir_bytes_drop(&ops[count].row->history);
        ops[count++].row->history = weir_bytes_copy("user.1", 6); /* its topic */
        ops[count++] = small_row_op(1, 12, WEIR_ROW_LEASED);
        ops[count++] = small_row_op(2, 13, WEIR_ROW_PARKED);
        ops[count++] = large_row_op(1, 14, WEIR_ROW_DYING);
        ops[count++] = chunk_op(1, 0, 0x5a);
        ops[count++] = chunk_op(1, 1, 0x5b);
        ops[count++] = producer_op(1, 41, 100);
        ops[count++] = producer_op(2, 42, 200);
        break;
    case 2:
        ops[count++] = small_row_op(1, 12, WEIR_ROW_DEFERRED);
        ops[count] = large_row_op(1, 12, WEIR_ROW_DEFERRED);
        ops[count++].type = WEIR_OP_ROW_COPY;
        ops[count++] = idem_op(10, 10);
        ops[count++] = idem_op(11, 11);
        ops[count++] = late_group_op(WEIR_OP_GROUP_PUT);
        ops[count++] = late_group_op(WEIR_OP_INHERIT);
        break;
    case 3:
        ops[count++] = small_row_op(1, 14, WEIR_ROW_DEAD);
        ops[count++] = small_row_op(1, 15, WEIR_ROW_DEAD);
        ops[count++] = (struct weir_op){.type = WEIR_OP_TOMBSTONE_TRIM, .number = 1, .count = 1};
        ops[count++] = (struct weir_op){.type = WEIR_OP_CHUNK_TRIM, .number = 1, .chunk = 1};
        ops[count++] = (struct weir_op){.type = WEIR_OP_IDEM_TRIM, .sequence = 11};
        ops[count++] = (struct weir_op){.type = WEIR_OP_PRODUCER_TRIM, .time_ms = 150};
        ops[count] = producer_op(3, 43, 300);
        ops[count++].type = WEIR_OP_PRODUCER_DROP;
        break;
    default:
        ops[count++] = large_row_op(2, 16, WEIR_ROW_DYING);
        ops[count++] = row_drop_op(1, 10);
        ops[count++] = (struct weir_op){.type = WEIR_OP_GROUP_DROP, .number = 3};
        break;
    }
    ops[count++] = absorbed_op(10 * number);
    return count;
}

static int apply(struct weir_state *state, uint32_t number, struct weir_error *error)
{
    struct weir_op *ops = weir_zalloc(16, sizeof *ops);
    uint32_t count = transaction(number, ops);
    struct weir_store_result result = {0};
    int status = weir_state_begin(state, error);

    if (status == 0)
        status = weir_state_apply(state, ops, count, &result, error);
    if (status == 0)
        status = weir_state_commit(state, error);
    weir_store_result_fini(&result);
    weir_ops_destroy(ops, count);
    return status;
}

static const struct weir_store_request queries[QUERIES] = {
    {.query = WEIR_QUERY_DUE, .number = 1, .time_ms = 1000, .count = 10},
    {.query = WEIR_QUERY_DYING, .time_ms = 1000, .count = 10},
    {.query = WEIR_QUERY_MESSAGE, .sequence = 12, .count = 10},
    {.query = WEIR_QUERY_UNCOPIED, .sequence = 100, .count = 10},
    {.query = WEIR_QUERY_LIST, .number = 1, .state = WEIR_ROW_DEAD, .count = 10},
};

/* Ask; what is said must be what is always said. */
static int ask(struct weir_state *state, uint32_t at, const char *expected, char **said,
               struct weir_error *error)
{
    struct weir_store_result result = {0};
    int status = weir_state_query(state, &queries[at], &result, error);
    char *text = dump_rows(&result);

    weir_store_result_fini(&result);
    if (status == 0 && expected != NULL)
        assert_string_equal(text, expected);
    if (said != NULL)
        *said = text;
    else
        free(text);
    return status;
}

static int load(const char *directory, const struct expected *expected, uint32_t transactions,
                char **said, struct weir_error *error)
{
    struct weir_recovered *recovered = weir_zalloc(1, sizeof *recovered);
    struct weir_state *state = NULL;
    int status = weir_state_open(directory, TAG, 0, &state, error);

    if (status == 0)
        status = weir_state_load(state, recovered, error);
    if (status == 0) {
        char *text = dump_recovered(recovered);

        if (expected != NULL)
            assert_string_equal(text, expected->loaded[transactions]);
        if (said != NULL)
            *said = text;
        else
            free(text);
    }
    weir_recovered_destroy(&recovered);
    weir_state_close(&state);
    return status;
}

/* All of it. Stops at the first failure, as a spool does; *committed says how far it came. */
static int work(const char *directory, const struct expected *expected, uint32_t *committed,
                struct weir_error *error)
{
    struct weir_state *state = NULL;
    int status = weir_state_open(directory, TAG, 0, &state, error);

    *committed = 0;
    while (status == 0 && *committed < TRANSACTIONS) {
        status = apply(state, *committed + 1, error);
        *committed += status == 0;
    }
    for (uint32_t i = 0; i < QUERIES && status == 0; i++)
        status = ask(state, i, expected->asked[i], NULL, error);
    weir_state_close(&state);
    return status == 0 ? load(directory, expected, TRANSACTIONS, NULL, error) : status;
}

static void learn_expected(const char *directory, struct expected *expected)
{
    struct weir_error error = {0};

    assert_int_equal(load(directory, NULL, 0, &expected->loaded[0], &error), 0);
    for (uint32_t i = 1; i <= TRANSACTIONS; i++) {
        struct weir_state *state;

        assert_int_equal(weir_state_open(directory, TAG, 0, &state, &error), 0);
        assert_int_equal(apply(state, i, &error), 0);
        for (uint32_t at = 0; at < QUERIES && i == TRANSACTIONS; at++)
            assert_int_equal(ask(state, at, NULL, &expected->asked[at], &error), 0);
        weir_state_close(&state);
        assert_int_equal(load(directory, NULL, i, &expected->loaded[i], &error), 0);
    }
    assert_non_null(strstr(expected->asked[0], "row 1 12"));
    assert_non_null(strstr(expected->loaded[2], "group 3 late"));
}

/* What failed is said; and want of memory is not said to be a full disk or a damaged file. */
static void assert_failed_well(int status, const struct weir_error *error, uint64_t nth)
{
    if (status == 0)
        return;
    if (status != WEIR_EIO || error->code != status || error->text[0] == '\0')
        fail_msg("allocation %llu fails, and what is said of it is %d, \"%s\"",
                 (unsigned long long)nth, status, error->text);
}

/* Is what is there what was committed? A commit that failed may have happened all the same. */
static void check_state(const char *directory, const struct expected *expected, uint32_t committed,
                        uint64_t nth)
{
    struct weir_error error = {0};
    char *text = NULL;

    if (load(directory, NULL, 0, &text, &error) != 0)
        fail_msg("allocation %llu failed, and the state does not open: %s", (unsigned long long)nth,
                 error.text);
    if (strcmp(text, expected->loaded[committed]) != 0 &&
        (committed == TRANSACTIONS || strcmp(text, expected->loaded[committed + 1]) != 0))
        fail_msg("allocation %llu failed, and after %u transactions the state is\n%s",
                 (unsigned long long)nth, committed, text);
    free(text);
}

static void test_state(void **state)
{
    char *directory = tape_directory_new();
    struct expected expected = {0};
    sqlite3_int64 used;
    uint64_t runs = 0, nth[2];

    (void)state;
    learn_expected(directory, &expected);
    used = sqlite3_memory_used();
    for (uint32_t for_good = 0; for_good < 2; for_good++) {
        bool failed = true;

        for (nth[for_good] = 1; failed; nth[for_good] += step_of(for_good ? 5 * EVERY : EVERY)) {
            struct weir_error error = {0};
            uint32_t committed;
            int status;

            tape_directory_clear(directory);
            sqlite_memory_fail(nth[for_good], for_good != 0);
            status = work(directory, &expected, &committed, &error);
            failed = sqlite_memory_failed();
            sqlite_memory_fail(0, false);
            runs++;
            assert_failed_well(status, &error, nth[for_good]);
            assert_true(status != 0 || committed == TRANSACTIONS);
            if (sqlite3_memory_used() != used)
                fail_msg("allocation %llu failed, and %lld bytes are left behind",
                         (unsigned long long)nth[for_good],
                         (long long)(sqlite3_memory_used() - used));
            if (status != 0) /* else its last load has looked already */
                check_state(directory, &expected, committed, nth[for_good]);
        }
    }
    print_message("%llu allocations%s, and from some on for good: %llu runs\n",
                  (unsigned long long)nth[0], left_out(EVERY), (unsigned long long)runs);
    for (uint32_t i = 0; i <= TRANSACTIONS; i++)
        free(expected.loaded[i]);
    for (uint32_t i = 0; i < QUERIES; i++)
        free(expected.asked[i]);
    tape_directory_destroy(&directory);
}

/* ---- sink and collector ---- */

#define BATCHES 6u

static void starve_holder(enum holder_kind kind)
{
    char *directory = tape_directory_new();
    const sqlite3_int64 used = sqlite3_memory_used();
    bool failed = true;
    uint64_t nth;

    for (nth = 1; failed; nth += step_of(HOLDERS_EVERY)) {
        struct holder_truth truth = {0};
        struct weir_error error = {0};
        struct holder holder;
        char where[48];
        int status;

        snprintf(where, sizeof where, "allocation %llu fails", (unsigned long long)nth);
        tape_directory_clear(directory);
        sqlite_memory_fail(nth, nth / step_of(HOLDERS_EVERY) % 4 == 0);
        status = holder_live(kind, directory, BATCHES, &truth, &error);
        failed = sqlite_memory_failed();
        sqlite_memory_fail(0, false);
        assert_failed_well(status, &error, nth);
        assert_true(status != 0 || truth.held[BATCHES - 1]);
        if (sqlite3_memory_used() != used)
            fail_msg("%s: %lld bytes are left behind", where,
                     (long long)(sqlite3_memory_used() - used));
        if (holder_open(&holder, kind, directory) != 0)
            fail_msg("%s: afterwards it does not open: %s", where, holder.error.text);
        holder_check(&holder, &truth, false, where);
        holder_close(&holder);
    }
    print_message("%llu allocations%s\n", (unsigned long long)nth, left_out(HOLDERS_EVERY));
    tape_directory_destroy(&directory);
}

static void test_sink_of_lines(void **state)
{
    (void)state;
    starve_holder(HOLDER_LINES);
}

static void test_sink_of_rows(void **state)
{
    (void)state;
    starve_holder(HOLDER_ROWS);
}

static void test_collector(void **state)
{
    (void)state;
    starve_holder(HOLDER_LETTERS);
}

/* ---- dead letters, picked by what they are ---- */

static bool count_one(void *arg, const struct weir_dead_letter *letter)
{
    *(uint64_t *)arg += letter->payload_bytes > 0;
    return true;
}

/* Count, list and purge one group's letters: as many as there are, or an error. */
static int pick(struct holder *holder, uint64_t expected, struct weir_error *error)
{
    const struct weir_dlq_filter filter = {
        .group = "email", .topic = "user.*", .text = "result", .until_ms = INT64_MAX};
    uint64_t count = 0, listed = 0;
    int status = weir_dlq_store_count(holder->letters, &filter, &count, error);

    if (status == 0)
        assert_int_equal(count, expected);
    if (status == 0)
        status = weir_dlq_store_list(holder->letters, &filter, count_one, &listed, error);
    if (status == 0)
        assert_int_equal(listed, expected);
    if (status == 0)
        status = weir_dlq_store_purge(holder->letters, &filter, &count, error);
    if (status == 0)
        assert_int_equal(count, expected);
    return status;
}

static void test_picking_letters(void **state)
{
    char *directory = tape_directory_new();
    bool failed = true;
    uint64_t nth;

    (void)state;
    for (nth = 1; failed; nth++) {
        struct holder_truth truth = {0};
        struct weir_error error = {0};
        struct holder holder;
        int status;

        tape_directory_clear(directory);
        assert_int_equal(holder_open(&holder, HOLDER_LETTERS, directory), 0);
        assert_int_equal(holder_hold(&holder, &truth, 0, 1), 0);
        sqlite_memory_fail(nth, nth % 4 == 0);
        status = pick(&holder, HOLDER_PER_BATCH, &error);
        failed = sqlite_memory_failed();
        sqlite_memory_fail(0, false);
        assert_failed_well(status, &error, nth);
        holder_close(&holder);
    }
    print_message("%llu allocations\n", (unsigned long long)nth);
    tape_directory_destroy(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_picking_letters), cmocka_unit_test(test_sink_of_lines),
        cmocka_unit_test(test_sink_of_rows),    cmocka_unit_test(test_collector),
        cmocka_unit_test(test_state),
    };

    sqlite_memory_use();
    return cmocka_run_group_tests_name("SQLite without memory", tests, NULL, NULL);
}
