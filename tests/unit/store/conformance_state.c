/* The part of the contract's suite that is about the state: APPLY, QUERY, and what a start finds.
 */
#include "conformance.h"

#include <base/alloc.h>
#include <base/limits.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_row(const struct weir_row *row, uint32_t group, uint64_t sequence,
                       enum weir_row_state state, int64_t due_ms, const char *payload)
{
    assert_int_equal(row->group, group);
    assert_int_equal(row->sequence, sequence);
    assert_int_equal(row->state, state);
    assert_int_equal(row->time_ms, 1234);
    assert_int_equal(row->due_ms, due_ms);
    assert_int_equal(row->attempt, 2);
    assert_int_equal(row->death, 1);
    assert_int_equal(row->releases, 3);
    assert_true(row->suspect);
    assert_int_equal(row->reason, WEIR_REASON_REJECTED);
    assert_true(row->key_hash == UINT64_C(0xfedcba9876543210));
    assert_true(row->incarnation == UINT64_C(0xffffffff00000007));
    assert_int_equal(row->delivery, 17);
    assert_int_equal(row->index, 4);
    assert_true(row->worker == UINT64_C(0x8000000000000001));
    assert_int_equal(row->deadline_ms, 98765);
    assert_int_equal(row->body.size, payload != NULL ? strlen(payload) : 0);
    if (payload != NULL) {
        assert_true(weir_bytes_equal(&row->body, payload, strlen(payload)));
        assert_true(weir_bytes_equal(&row->header, "head", 4));
        assert_true(weir_bytes_equal(&row->index_entry, "ixix", 4));
    }
}

static void query(struct subject *subject, struct weir_store_request request,
                  struct weir_store_result *result)
{
    request.id = 88;
    request.kind = WEIR_STORE_QUERY;
    if (request.count == 0)
        request.count = 100;
    perform(subject, &request, result);
}

static void test_query_sees_earlier_applies(void **state)
{
    struct subject *subject = *state;
    struct weir_op ops[2];
    struct weir_store_request request;
    struct weir_store_result result = {0};

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    apply(subject, ops, 1);
    for (uint64_t i = 1; i <= 20; i++) {
        ops[0] = row_op(1, i, WEIR_ROW_DEFERRED, 500);
        request = apply_request(2 * i, ops, 1);
        subject->store->submit(subject->store, &request);
        request = (struct weir_store_request){.id = 2 * i + 1,
                                              .kind = WEIR_STORE_QUERY,
                                              .query = WEIR_QUERY_DUE,
                                              .number = 1,
                                              .time_ms = 500,
                                              .count = 100};
        subject->store->submit(subject->store, &request);
    }
    for (uint64_t i = 1; i <= 20; i++) {
        subject->next(subject, &result);
        assert_int_equal(result.id, 2 * i);
        assert_int_equal(result.status, 0);
        weir_store_result_fini(&result);
        subject->next(subject, &result);
        assert_int_equal(result.id, 2 * i + 1);
        assert_int_equal(result.row_count, i);
        assert_row(&result.rows[i - 1], 1, i, WEIR_ROW_DEFERRED, 500, NULL);
        assert_true(weir_bytes_equal(&result.rows[i - 1].history, "\x91\x01", 2));
        weir_store_result_fini(&result);
    }
}

static void test_due_and_dying_come_earliest_first(void **state)
{
    struct subject *subject = *state;
    struct weir_op ops[8];
    struct weir_store_result result = {0};

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[1] = group_op(2, "fraud", WEIR_ORDER_NONE);
    ops[2] = row_op(1, 10, WEIR_ROW_DEFERRED, 300);
    ops[3] = row_op(1, 20, WEIR_ROW_DEFERRED, 100);
    ops[4] = row_op(1, 30, WEIR_ROW_DEFERRED, 301);
    ops[5] = row_op(2, 10, WEIR_ROW_DEFERRED, 50);
    ops[6] = row_op(1, 40, WEIR_ROW_DYING, 90);
    ops[7] = with_payload(row_op(2, 5, WEIR_ROW_DYING, 80), "payload");
    apply(subject, ops, 8);
    query(subject,
          (struct weir_store_request){.query = WEIR_QUERY_DUE, .number = 1, .time_ms = 300},
          &result);
    assert_int_equal(result.row_count, 2);
    assert_false(result.more);
    assert_row(&result.rows[0], 1, 20, WEIR_ROW_DEFERRED, 100, NULL);
    assert_row(&result.rows[1], 1, 10, WEIR_ROW_DEFERRED, 300, NULL);
    weir_store_result_fini(&result);
    query(subject,
          (struct weir_store_request){
              .query = WEIR_QUERY_DUE, .number = 1, .time_ms = 1000, .count = 1},
          &result);
    assert_int_equal(result.row_count, 1);
    assert_true(result.more);
    assert_row(&result.rows[0], 1, 20, WEIR_ROW_DEFERRED, 100, NULL);
    weir_store_result_fini(&result);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_DYING, .time_ms = 90}, &result);
    assert_int_equal(result.row_count, 2);
    assert_row(&result.rows[0], 2, 5, WEIR_ROW_DYING, 80, "payload");
    assert_row(&result.rows[1], 1, 40, WEIR_ROW_DYING, 90, NULL);
    weir_store_result_fini(&result);
}

static void test_message_uncopied_and_list(void **state)
{
    struct subject *subject = *state;
    struct weir_op ops[10];
    struct weir_store_result result = {0};

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[1] = group_op(2, "fraud", WEIR_ORDER_NONE);
    ops[2] = row_op(2, 10, WEIR_ROW_LEASED, 0);
    ops[3] = row_op(1, 10, WEIR_ROW_DEFERRED, 5);
    ops[4] = with_payload(row_op(1, 11, WEIR_ROW_DEFERRED, 5), "copied");
    ops[5] = row_op(1, 12, WEIR_ROW_DYING, 5);
    ops[6] = row_op(1, 13, WEIR_ROW_DEAD, 5);
    ops[7] = row_op(1, 14, WEIR_ROW_DEFERRED, 5);
    ops[8] = with_payload(row_op(1, 9, WEIR_ROW_PARKED, 5), "parked");
    ops[9] = row_op(2, 8, WEIR_ROW_PARKED, 5);
    apply(subject, ops, 10);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .sequence = 10},
          &result);
    assert_int_equal(result.row_count, 2);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DEFERRED, 5, NULL);
    assert_row(&result.rows[1], 2, 10, WEIR_ROW_LEASED, 0, NULL);
    weir_store_result_fini(&result);
    query(subject,
          (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .number = 2, .sequence = 10},
          &result);
    assert_int_equal(result.row_count, 1);
    assert_row(&result.rows[0], 2, 10, WEIR_ROW_LEASED, 0, NULL);
    weir_store_result_fini(&result);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_UNCOPIED, .sequence = 14},
          &result);
    assert_int_equal(result.row_count, 4);
    assert_row(&result.rows[0], 2, 8, WEIR_ROW_PARKED, 5, NULL);
    assert_row(&result.rows[1], 1, 10, WEIR_ROW_DEFERRED, 5, NULL);
    assert_row(&result.rows[2], 2, 10, WEIR_ROW_LEASED, 0, NULL);
    assert_row(&result.rows[3], 1, 12, WEIR_ROW_DYING, 5, NULL);
    weir_store_result_fini(&result);
    query(subject,
          (struct weir_store_request){.query = WEIR_QUERY_LIST,
                                      .number = 1,
                                      .state = WEIR_ROW_DEFERRED,
                                      .sequence = 10,
                                      .count = 1},
          &result);
    assert_int_equal(result.row_count, 1);
    assert_true(result.more);
    assert_row(&result.rows[0], 1, 11, WEIR_ROW_DEFERRED, 5, NULL);
    weir_store_result_fini(&result);
}

static void test_payload_stays_until_the_row_ends(void **state)
{
    struct subject *subject = *state;
    struct weir_store_request by_sequence = {.query = WEIR_QUERY_MESSAGE, .sequence = 10};
    struct weir_store_result result = {0};
    struct weir_op ops[2];

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[1] = with_payload(row_op(1, 10, WEIR_ROW_DEFERRED, 5), "kept");
    apply(subject, ops, 2);
    ops[0] = row_op(1, 10, WEIR_ROW_LEASED, 6);
    apply(subject, ops, 1);
    query(subject, by_sequence, &result);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_LEASED, 6, "kept");
    weir_store_result_fini(&result);
    ops[0] = with_payload(row_op(1, 10, WEIR_ROW_DYING, 7), "newer");
    apply(subject, ops, 1);
    query(subject, by_sequence, &result);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DYING, 7, "newer");
    weir_store_result_fini(&result);
    ops[0] = row_op(1, 10, WEIR_ROW_DEAD, 8);
    apply(subject, ops, 1);
    query(subject, by_sequence, &result);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DEAD, 8, NULL);
    weir_store_result_fini(&result);
    /* A row that comes back to life (a replay) does not find the old payload. */
    ops[0] = row_op(1, 10, WEIR_ROW_DEFERRED, 9);
    apply(subject, ops, 1);
    query(subject, by_sequence, &result);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DEFERRED, 9, NULL);
    weir_store_result_fini(&result);
}

static void test_row_copy_adds_a_payload(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_op ops[4];

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[1] = row_op(1, 10, WEIR_ROW_DEFERRED, 5);
    ops[2] = with_payload(row_op(1, 10, WEIR_ROW_DEFERRED, 99), "copied out");
    ops[2].type = WEIR_OP_ROW_COPY;
    ops[3] = with_payload(row_op(1, 11, WEIR_ROW_DEFERRED, 99), "nobody's");
    ops[3].type = WEIR_OP_ROW_COPY;
    apply(subject, ops, 4);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .sequence = 10},
          &result);
    assert_int_equal(result.row_count, 1);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DEFERRED, 5, "copied out");
    weir_store_result_fini(&result);
    /* What is there may be a replay's, which came in while the copy was made. */
    ops[0] = with_payload(row_op(1, 10, WEIR_ROW_DEFERRED, 99), "again");
    ops[0].type = WEIR_OP_ROW_COPY;
    apply(subject, ops, 1);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .sequence = 10},
          &result);
    assert_row(&result.rows[0], 1, 10, WEIR_ROW_DEFERRED, 5, "copied out");
    weir_store_result_fini(&result);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_UNCOPIED, .sequence = 100},
          &result);
    assert_int_equal(result.row_count, 0);
    weir_store_result_fini(&result);
    /* A payload without a row left nothing behind that a later row would find. */
    ops[0] = row_op(1, 11, WEIR_ROW_DEFERRED, 5);
    apply(subject, ops, 1);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .sequence = 11},
          &result);
    assert_row(&result.rows[0], 1, 11, WEIR_ROW_DEFERRED, 5, NULL);
    weir_store_result_fini(&result);
}

static struct weir_op later_op(uint64_t sequence, int64_t due_ms, const char *topic)
{
    struct weir_op op = row_op(WEIR_GROUP_LATER, sequence, WEIR_ROW_DEFERRED, due_ms);

    weir_bytes_drop(&op.row->history);
    op.row->history = weir_bytes_copy(topic, strlen(topic));
    return op;
}

/* What the payloads in the state take. */
static uint64_t payload_bytes(struct subject *subject)
{
    struct weir_store_result result = {0};
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_MESSAGE, .sequence = 1},
          &result);
    const uint64_t bytes = result.payload_bytes;
    weir_store_result_fini(&result);
    return bytes;
}

static void test_payloads_are_counted(void **state)
{
    struct subject *subject = *state;
    struct weir_op ops[3];

    assert_int_equal(payload_bytes(subject), 0);
    ops[0] = with_payload(row_op(1, 10, WEIR_ROW_DEFERRED, 5), "8 bytes.");
    apply(subject, ops, 1);
    const uint64_t one = payload_bytes(subject);
    assert_true(one > 8);
    ops[0] = row_op(1, 11, WEIR_ROW_DEFERRED, 5);
    ops[1] = with_payload(row_op(1, 11, WEIR_ROW_DEFERRED, 5), "8 bytes.");
    ops[1].type = WEIR_OP_ROW_COPY;
    ops[2] = with_payload(row_op(1, 12, WEIR_ROW_DEFERRED, 5), "nobody's");
    ops[2].type = WEIR_OP_ROW_COPY;
    apply(subject, ops, 3);
    assert_int_equal(payload_bytes(subject), 2 * one);
    ops[0] = row_op(1, 10, WEIR_ROW_LEASED, 6);
    ops[1] = with_payload(row_op(1, 11, WEIR_ROW_LEASED, 6), "3 more here");
    apply(subject, ops, 2);
    assert_int_equal(payload_bytes(subject), 2 * one + 3);
    ops[0] = row_op(1, 11, WEIR_ROW_DEAD, 6);
    ops[1] = with_payload(later_op(12, 700, "user.email"), "8 bytes.");
    apply(subject, ops, 2);
    assert_int_equal(payload_bytes(subject), 2 * one);
    ops[0] = group_op(2, "late", WEIR_ORDER_NONE);
    ops[1] = group_op(2, "late", WEIR_ORDER_NONE);
    snprintf(ops[1].group->policy.topics[0], sizeof ops[1].group->policy.topics[0], "user.*");
    ops[1].group->policy.topic_count = 1;
    ops[1].type = WEIR_OP_INHERIT;
    ops[1].sequence = 20;
    apply(subject, ops, 2);
    assert_int_equal(payload_bytes(subject), 3 * one);
    ops[0] = (struct weir_op){.type = WEIR_OP_ROW_DROP, .number = 1, .sequence = 10};
    apply(subject, ops, 1);
    assert_int_equal(payload_bytes(subject), 2 * one);
    ops[0] = (struct weir_op){.type = WEIR_OP_GROUP_DROP, .number = 2};
    apply(subject, ops, 1);
    assert_int_equal(payload_bytes(subject), one);
}

static void test_large_answers_are_cut(void **state)
{
    struct subject *subject = *state;
    struct weir_store_request due = {.query = WEIR_QUERY_DUE, .number = 1, .time_ms = 10};
    struct weir_store_result result = {0};
    struct weir_op ops[4];

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    for (uint32_t i = 1; i < 4; i++) {
        ops[i] = row_op(1, i, WEIR_ROW_DEFERRED, 5);
        ops[i].row->header = weir_bytes_copy("head", 4);
        ops[i].row->index_entry = weir_bytes_copy("ixix", 4);
        ops[i].row->body = pattern(i, 3, WEIR_MESSAGE_BYTES_MAX - 100);
    }
    apply(subject, ops, 4);
    query(subject, due, &result);
    assert_int_equal(result.row_count, 2);
    assert_true(result.more);
    assert_pattern(&result.rows[1].body, 2, 3, WEIR_MESSAGE_BYTES_MAX - 100);
    weir_store_result_fini(&result);
}

static void test_rows_are_dropped_and_tombstones_trimmed(void **state)
{
    struct subject *subject = *state;
    struct weir_store_result result = {0};
    struct weir_op ops[8];

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[1] = row_op(1, 1, WEIR_ROW_DEAD, 1);
    ops[2] = row_op(1, 2, WEIR_ROW_DEAD, 1);
    ops[3] = row_op(1, 3, WEIR_ROW_DEFERRED, 1);
    ops[4] = row_op(1, 4, WEIR_ROW_DONE, 1);
    ops[5] = row_op(1, 5, WEIR_ROW_DEAD, 1);
    ops[6] = row_drop_op(1, 5);
    ops[7] = (struct weir_op){.type = WEIR_OP_TOMBSTONE_TRIM, .number = 1, .count = 2};
    apply(subject, ops, 8);
    query(
        subject,
        (struct weir_store_request){.query = WEIR_QUERY_LIST, .number = 1, .state = WEIR_ROW_DEAD},
        &result);
    assert_int_equal(result.row_count, 1);
    assert_row(&result.rows[0], 1, 2, WEIR_ROW_DEAD, 1, NULL);
    weir_store_result_fini(&result);
    query(
        subject,
        (struct weir_store_request){.query = WEIR_QUERY_LIST, .number = 1, .state = WEIR_ROW_DONE},
        &result);
    assert_int_equal(result.row_count, 1);
    weir_store_result_fini(&result);
    query(subject,
          (struct weir_store_request){
              .query = WEIR_QUERY_LIST, .number = 1, .state = WEIR_ROW_DEFERRED},
          &result);
    assert_int_equal(result.row_count, 1);
    weir_store_result_fini(&result);
}

static void assert_chunk(const struct weir_chunk_row *chunk, uint32_t group, uint64_t number,
                         uint8_t fill_byte)
{
    assert_int_equal(chunk->group, group);
    assert_int_equal(chunk->chunk, number);
    for (uint32_t i = 0; i < WEIR_CHUNK_BYTES; i++)
        assert_int_equal(chunk->bits[i], fill_byte);
}

static void test_groups_and_chunks_survive(void **state)
{
    struct subject *subject = *state;
    struct weir_recovered *recovered;
    struct weir_op ops[10], expected = group_op(1, "email", WEIR_ORDER_KEY);

    ops[0] = group_op(2, "fraud", WEIR_ORDER_NONE);
    ops[1] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[2] = group_op(1, "email", WEIR_ORDER_KEY);
    ops[3] = chunk_op(1, 3, 0x11);
    ops[4] = chunk_op(1, 4, 0x22);
    ops[5] = chunk_op(1, 5, 0x33);
    ops[6] = chunk_op(1, 4, 0x44);
    ops[7] = chunk_op(2, 1, 0x55);
    ops[8] = (struct weir_op){.type = WEIR_OP_CHUNK_TRIM, .number = 1, .chunk = 4};
    ops[9] = row_op(2, 6, WEIR_ROW_DEFERRED, 1);
    apply(subject, ops, 10);
    reopen(subject);
    recovered = subject->recovered;
    assert_int_equal(recovered->group_count, 2);
    assert_memory_equal(&recovered->groups[0], expected.group, sizeof *expected.group);
    assert_int_equal(recovered->groups[1].number, 2);
    assert_string_equal(recovered->groups[1].policy.name, "fraud");
    assert_int_equal(recovered->chunk_count, 3);
    assert_chunk(&recovered->chunks[0], 1, 4, 0x44);
    assert_chunk(&recovered->chunks[1], 1, 5, 0x33);
    assert_chunk(&recovered->chunks[2], 2, 1, 0x55);
    assert_int_equal(recovered->next_sequence, 8);
    free(expected.group);

    ops[0] = (struct weir_op){.type = WEIR_OP_GROUP_DROP, .number = 2};
    apply(subject, ops, 1);
    reopen(subject);
    recovered = subject->recovered;
    assert_int_equal(recovered->group_count, 1);
    assert_int_equal(recovered->chunk_count, 2);
    assert_int_equal(recovered->counts_count, 0);
}

static void assert_keyed(const struct weir_keyed *keyed, uint32_t group, enum weir_row_state state,
                         uint64_t sequence)
{
    const struct weir_op op = row_op(group, sequence, state, 0);

    assert_int_equal(keyed->group, group);
    assert_int_equal(keyed->state, state);
    assert_int_equal(keyed->sequence, sequence);
    assert_true(keyed->key_hash != 0 && keyed->key_hash == op.row->key_hash);
    weir_row_fini(op.row);
    free(op.row);
}

/* A delivery of messages without a past is one entry, not one a message. */
static void test_leased_runs_survive(void **state)
{
    struct subject *subject = *state;
    struct weir_recovered *recovered;
    struct weir_op ops[9];

    ops[0] = group_op(1, "email", WEIR_ORDER_NONE);
    for (uint32_t i = 0; i < 8; i++) {
        struct weir_row *row;

        ops[i + 1] = row_op(1, 10 + i, WEIR_ROW_LEASED, 0);
        row = ops[i + 1].row;
        weir_bytes_drop(&row->history);
        row->attempt = row->death = row->releases = 0;
        row->suspect = false;
        row->reason = WEIR_REASON_NONE;
        row->key_hash = 0;
        row->incarnation = 77;
        row->delivery = 5;
        row->index = 3 + i;
    }
    ops[3].row->attempt = 1;  /* 12 */
    ops[6].row->index = 100;  /* 15 */
    ops[8].row->delivery = 6; /* 17 */
    apply(subject, ops, 9);
    reopen(subject);
    recovered = subject->recovered;
    static const struct {
        uint64_t first;
        uint32_t count;
    } runs[] = {{10, 2}, {12, 1}, {13, 2}, {15, 1}, {16, 1}, {17, 1}};
    assert_int_equal(recovered->leased_count, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(recovered->leased[i].row.sequence, runs[i].first);
        assert_int_equal(recovered->leased[i].count, runs[i].count);
        assert_int_equal(recovered->leased[i].row.delivery, runs[i].first == 17 ? 6 : 5);
    }
}

static void test_rows_survive(void **state)
{
    struct subject *subject = *state;
    struct weir_recovered *recovered;
    struct weir_op ops[12];

    ops[0] = group_op(1, "email", WEIR_ORDER_KEY);
    ops[1] = group_op(2, "fraud", WEIR_ORDER_NONE);
    ops[2] = row_op(1, 10, WEIR_ROW_LEASED, 0);
    ops[3] = with_payload(row_op(2, 9, WEIR_ROW_LEASED, 0), "not loaded");
    ops[4] = with_payload(row_op(1, 11, WEIR_ROW_PARKED, 0), "not loaded");
    ops[5] = row_op(1, 12, WEIR_ROW_DEFERRED, 700); /* holds its key up */
    ops[6] = row_op(1, 13, WEIR_ROW_DEFERRED, 600); /* no key: holds nothing up */
    ops[6].row->key_hash = 0;
    ops[7] = row_op(2, 14, WEIR_ROW_DEFERRED, 500); /* the group has no order any more */
    ops[8] = row_op(1, 15, WEIR_ROW_DEFERRED, 650); /* no key */
    ops[8].row->key_hash = 0;
    ops[9] = row_op(1, 16, WEIR_ROW_DYING, 1);
    ops[10] = row_op(1, 17, WEIR_ROW_DEAD, 1);
    ops[11] = row_op(1, 900, WEIR_ROW_DONE, 1);
    apply(subject, ops, 12);
    reopen(subject);
    recovered = subject->recovered;
    assert_int_equal(recovered->next_sequence, 901);
    assert_int_equal(recovered->leased_count, 2);
    assert_row(&recovered->leased[0].row, 1, 10, WEIR_ROW_LEASED, 0, NULL);
    assert_row(&recovered->leased[1].row, 2, 9, WEIR_ROW_LEASED, 0, NULL);
    assert_int_equal(recovered->leased[0].count, 1);
    assert_true(weir_bytes_equal(&recovered->leased[0].row.history, "\x91\x01", 2));
    assert_int_equal(recovered->keyed_count, 3);
    assert_keyed(&recovered->keyed[0], 1, WEIR_ROW_DEFERRED, 12);
    assert_keyed(&recovered->keyed[1], 1, WEIR_ROW_PARKED, 11);
    assert_keyed(&recovered->keyed[2], 2, WEIR_ROW_DEFERRED, 14);
    assert_int_equal(recovered->counts_count, 2);
    assert_int_equal(recovered->counts[0].group, 1);
    assert_int_equal(recovered->counts[0].deferred, 3);
    assert_int_equal(recovered->counts[0].dying, 1);
    assert_int_equal(recovered->counts[0].dead, 1);
    assert_int_equal(recovered->counts[0].due_ms, 600);
    assert_int_equal(recovered->counts[1].group, 2);
    assert_int_equal(recovered->counts[1].deferred, 1);
    assert_int_equal(recovered->counts[1].dying, 0);
    assert_int_equal(recovered->counts[1].due_ms, 500);
}

static void test_producers_and_keys_survive(void **state)
{
    struct subject *subject = *state;
    struct weir_recovered *recovered;
    struct weir_op ops[10];

    ops[0] = producer_op(9, 3, 100);
    ops[1] = producer_op(4, 8, 50);
    ops[2] = producer_op(9, 4, 120);
    ops[3] = (struct weir_op){.type = WEIR_OP_PRODUCER_TRIM, .time_ms = 100};
    ops[4] = idem_op(1, 30);
    ops[5] = idem_op(2, 10);
    ops[6] = idem_op(3, 20);
    ops[7] = (struct weir_op){.type = WEIR_OP_IDEM_TRIM, .sequence = 20};
    ops[8] = producer_op(5, 1, 130);
    ops[9] = producer_op(5, 1, 130);
    ops[9].type = WEIR_OP_PRODUCER_DROP;
    apply(subject, ops, 10);
    reopen(subject);
    recovered = subject->recovered;
    assert_int_equal(recovered->producer_count, 1);
    assert_int_equal(recovered->producers[0].id[15], 9);
    assert_int_equal(recovered->producers[0].number, 4);
    assert_int_equal(recovered->producers[0].time_ms, 120);
    assert_int_equal(recovered->producers[0].answer_count, 2);
    assert_int_equal(recovered->producers[0].answers[0].number, 3);
    assert_int_equal(recovered->producers[0].answers[0].time_ms, 119);
    assert_int_equal(recovered->producers[0].answers[1].first, 75);
    assert_int_equal(recovered->producers[0].answers[1].count, 6);
    assert_int_equal(recovered->idem_count, 2);
    assert_int_equal(recovered->idems[0].sequence, 20);
    assert_int_equal(recovered->idems[0].hash[0], 3);
    assert_int_equal(recovered->idems[0].time_ms, 40);
    assert_int_equal(recovered->idems[1].sequence, 30);
    assert_int_equal(recovered->idems[1].hash[15], 1);
    assert_int_equal(recovered->next_sequence, 81);
}

static void test_a_new_group_inherits(void **state)
{
    struct subject *subject = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};
    struct weir_op ops[8];

    ops[0] = later_op(10, 501, "user.email");
    ops[1] = with_payload(later_op(11, 700, "order.new"), "copied");
    ops[2] = later_op(12, 800, "user.other"); /* not its topic */
    ops[3] = later_op(13, 500, "user.email"); /* due */
    ops[4] = later_op(20, 900, "user.email"); /* in the log, for this group */
    ops[5] = row_op(7, 14, WEIR_ROW_DEFERRED, 900);
    ops[6] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[7] = group_op(1, "email", WEIR_ORDER_NONE);
    ops[7].type = WEIR_OP_INHERIT;
    ops[7].sequence = 20;
    ops[7].time_ms = 500;
    request = apply_request(5, ops, 8);
    perform(subject, &request, &result);
    assert_int_equal(result.inherited_count, 1);
    assert_int_equal(result.inherited[0].group, 1);
    assert_int_equal(result.inherited[0].deferred, 2);
    assert_int_equal(result.inherited[0].due_ms, 501);
    weir_store_result_fini(&result);
    reopen(subject);
    query(subject,
          (struct weir_store_request){.query = WEIR_QUERY_DUE, .number = 1, .time_ms = 1000},
          &result);
    assert_int_equal(result.row_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct weir_row *row = &result.rows[i];
        assert_int_equal(row->sequence, 10 + i);
        assert_int_equal(row->state, WEIR_ROW_DEFERRED);
        assert_int_equal(row->time_ms, 1234);
        assert_int_equal(row->due_ms, i == 0 ? 501 : 700);
        assert_int_equal(row->attempt + row->death + row->releases + row->suspect + row->reason, 0);
        assert_true(row->key_hash == 0 && row->incarnation == 0 && row->worker == 0);
        assert_int_equal(row->history.size, 0);
    }
    assert_int_equal(result.rows[0].body.size, 0);
    assert_true(weir_bytes_equal(&result.rows[1].body, "copied", 6));
    assert_true(weir_bytes_equal(&result.rows[1].header, "head", 4));
    weir_store_result_fini(&result);
    query(subject, (struct weir_store_request){.query = WEIR_QUERY_UNCOPIED, .sequence = 12},
          &result);
    assert_int_equal(result.row_count, 2); /* of both: 10, not 11 */
    assert_int_equal(result.rows[0].sequence, 10);
    assert_int_equal(result.rows[1].sequence, 10);
    weir_store_result_fini(&result);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name, conformance_set_up, conformance_tear_down, subject                            \
    }

int conformance_run_state(struct subject *subject)
{
    const struct CMUnitTest tests[] = {
        CASE(test_query_sees_earlier_applies), CASE(test_due_and_dying_come_earliest_first),
        CASE(test_message_uncopied_and_list),  CASE(test_payload_stays_until_the_row_ends),
        CASE(test_row_copy_adds_a_payload),    CASE(test_payloads_are_counted),
        CASE(test_large_answers_are_cut),      CASE(test_rows_are_dropped_and_tombstones_trimmed),
        CASE(test_groups_and_chunks_survive),  CASE(test_rows_survive),
        CASE(test_leased_runs_survive),        CASE(test_producers_and_keys_survive),
        CASE(test_a_new_group_inherits),
    };

    return cmocka_run_group_tests_name("the contract: state", tests, NULL, NULL);
}
