/* Bugs of what is remembered of those who send: idempotency keys, producers. Each has its number.
 */
#include <stage.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <base/alloc.h>

/* 1: more keys were on their way to the disk than are remembered. When the first batch was durable
 * its keys, forgotten by then, were remembered anew, behind those of the second. That one found the
 * disk full, and taking its keys back ended at the first older one: so what was sent again was
 * called a duplicate of messages that were never stored, and confirmed. */
static void keys_of_a_batch_that_was_turned_away_are_forgotten(void **state)
{
    (void)state;
    const char *const first_keys[] = {"a", "b"};
    const char *const second_keys[] = {"c", "d", "e", "f"};
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 3000);
    s->config.idempotency_count_max = 4;
    s->config.spool_bytes_max = 0; /* that there is no room only the store knows */
    stage_restart(s);
    const struct stage_batch first = {
        .prefix = "first", .count = 2, .once = first_keys, .payload_bytes = 500};
    const struct stage_batch second = {
        .prefix = "second", .count = 4, .once = second_keys, .payload_bytes = 600};
    stage_put_later(s, &first);
    const uint64_t number = stage_put_later(s, &second);
    stage_run(s);
    assert_int_equal(stage_answer(s, number - 1)->verb, WEIR_VERB_OK);
    assert_int_equal(stage_answer(s, number)->verb, WEIR_VERB_BUSY);
    stage_worker(s, 50, 500);
    stage_credit(s, 50, "g", 100);
    stage_ack(s, stage_next(s), WEIR_DONE, NULL);
    stage_ack(s, stage_next(s), WEIR_DONE, NULL);
    stage_pass(s, 5000); /* the log is freed: there is room */
    /* Whoever sends it again need not send it in the same batch. */
    const struct answered again =
        stage_put(s, &(struct stage_batch){.prefix = "again", .count = 1, .once = &second_keys[3]});
    assert_int_equal(again.verb, WEIR_VERB_OK);
    assert_int_equal(again.duplicate_count, 0);
    stage_ack(s, stage_expect(s, "again0"), WEIR_DONE, NULL);
    assert_int_equal(stage_stat(s, "g", "done"), 3);
    stage_destroy(&s);
}

/* Producers in the state, from the longest silent on. */
static void know_producers(struct stage *s, uint32_t count)
{
    struct weir_store *store = weir_memory_store_store(s->memory);
    struct weir_store_request request = {.kind = WEIR_STORE_APPLY,
                                         .ops = weir_zalloc(count, sizeof *request.ops),
                                         .op_count = count};
    struct weir_store_result result;
    for (uint32_t i = 0; i < count; i++) {
        struct weir_producer_row *row = weir_zalloc(1, sizeof *row);
        snprintf((char *)row->id, sizeof row->id, "old %08u", i);
        row->number = 1;
        row->time_ms = STAGE_START_MS - count + i;
        request.ops[i] = (struct weir_op){.type = WEIR_OP_PRODUCER_PUT, .producer = row};
    }
    store->submit(store, &request);
    assert_int_equal(weir_memory_store_step(s->memory, 1), 1);
    assert_true(store->poll(store, &result));
    assert_int_equal(result.status, 0);
    weir_store_result_fini(&result);
}

/* 2: a producer for whom there was no room in memory any more stayed in the state, until one that
 * was in memory had been silent for a day. Where so many came that none ever was, the state grew
 * for ever, and a start read it all. */
static void a_producer_without_room_leaves_the_state(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_crash(s);
    know_producers(s, WEIR_PRODUCERS_MAX);
    stage_start(s);
    stage_run(s);
    stage_fill(s, "m", 1);
    stage_pass(s, 100);
    stage_crash(s);
    struct weir_recovered *recovered = weir_memory_store_recover(s->memory);
    assert_int_equal(recovered->producer_count, WEIR_PRODUCERS_MAX);
    assert_string_equal((const char *)recovered->producers[0].id, "old 00000001");
    weir_recovered_destroy(&recovered);
    stage_destroy(&s);
}

/* 3: a start went on above all that the state mentioned, and of what lies between the state then
 * said that it had been in the log and was absorbed. The next start called the log cut off. (Seed
 * 16 of the simulator, with --fsync 1.) */
static void what_was_never_in_the_log_is_not_absorbed(void **state)
{
    (void)state;
    struct weir_group_policy policy = stage_policy("g");
    struct stage *s = stage_new(&policy, 1, 0);
    stage_fill(s, "m", 3);
    stage_pass(s, 100);
    stage_crash(s);
    struct weir_store_request request = {
        .id = 1, .kind = WEIR_STORE_APPLY, .ops = weir_alloc(sizeof *request.ops), .op_count = 1};
    struct weir_store_result result = {0};
    struct weir_row *row = weir_zalloc(1, sizeof *row);
    *row = (struct weir_row){.group = 1, .sequence = 499, .state = WEIR_ROW_DEAD};
    request.ops[0] = (struct weir_op){.type = WEIR_OP_ROW_PUT, .row = row};
    struct weir_store *store = weir_memory_store_store(s->memory);
    store->submit(store, &request);
    assert_int_equal(weir_memory_store_step(s->memory, 1), 1);
    assert_true(store->poll(store, &result));
    assert_int_equal(result.status, 0);
    weir_store_result_fini(&result);
    stage_start(s);
    stage_run(s);
    stage_pass(s, 1000);
    assert_int_equal(stage_stat(s, NULL, "next"), 500);
    stage_crash(s);
    struct weir_recovered *recovered = weir_memory_store_recover(s->memory);
    assert_int_equal(recovered->absorbed, 3);
    weir_recovered_destroy(&recovered);
    stage_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_a_batch_that_was_turned_away_are_forgotten),
        cmocka_unit_test(a_producer_without_room_leaves_the_state),
        cmocka_unit_test(what_was_never_in_the_log_is_not_absorbed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
