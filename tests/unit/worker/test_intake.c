/* The submit server against producers that behave in every way. */
#include "script.h"

#include <base/alloc.h>
#include <core/intake.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PEER 7u

static const uint8_t one[16] = {1, 1, 1, 1}, two[16] = {2, 2};

struct fixture {
    struct script *script;
    struct weir_intake *intake;
    uint64_t tickets[256];
    uint64_t numbers[256];
    uint32_t accepted; /* batches so far */
    int turn_away;     /* accept gives this back */
    bool answer_at_once;
    struct weir_producer_row row; /* as accept saw it */
};

static int accept(void *arg, struct weir_put *put, struct weir_turned_away *away,
                  const struct weir_now *now)
{
    struct fixture *self = arg;
    if (self->turn_away) {
        away->retry_ms = 120;
        away->code = WEIR_CODE_REPLAY;
        return weir_error_set(&away->error, self->turn_away, "not now");
    }
    self->tickets[self->accepted] = put->ticket;
    self->numbers[self->accepted] = put->header.number;
    put->first = 100 * put->header.number;
    put->time_ms = now->wall_ms;
    weir_intake_row(self->intake, put, &self->row);
    self->accepted++;
    if (self->answer_at_once)
        weir_intake_answer(self->intake, put->ticket, put->first, put->header.count, put->time_ms,
                           NULL, 0);
    return 0;
}

static int setup(void **state)
{
    struct fixture *self = weir_zalloc(1, sizeof *self);
    const struct weir_intake_owner owner = {.self = self, .accept = accept};
    self->script = script_new();
    self->intake =
        weir_intake_new(WEIR_PORT_SUBMIT, 9, WEIR_FSYNC_ALWAYS, &owner, &self->script->host);
    *state = self;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *self = *state;
    weir_intake_destroy(&self->intake);
    script_destroy(&self->script);
    free(self);
    return 0;
}

static void feed(struct fixture *self, uint64_t peer, struct weir_frames *frames)
{
    struct weir_event event =
        script_event(self->script, WEIR_EVENT_MESSAGE, WEIR_PORT_SUBMIT, peer);
    event.frames = frames;
    weir_intake_event(self->intake, &event);
    weir_frames_drop(frames);
}

static void put_from(struct fixture *self, uint64_t peer, const uint8_t *producer, uint64_t number,
                     uint64_t floor)
{
    struct weir_control control = {.verb = WEIR_VERB_PUT};
    if (floor)
        WEIR_SET(&control, first, FIRST, floor);
    struct weir_frames frames = script_frames(&control);
    script_batch(producer, number, 2, NULL, &frames);
    feed(self, peer, &frames);
}

static void put(struct fixture *self, uint64_t number, uint64_t floor)
{
    put_from(self, PEER, one, number, floor);
}

static void answer(struct fixture *self, uint32_t batch)
{
    weir_intake_answer(self->intake, self->tickets[batch], 100 * self->numbers[batch], 2,
                       self->script->now.wall_ms, NULL, 0);
}

static void expect_ok(struct fixture *self, uint64_t peer, uint64_t number)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_OK);
    assert_int_equal(said->peer, peer);
    assert_int_equal(said->control.number, number);
    assert_int_equal(said->control.first, 100 * number);
    assert_int_equal(said->control.count, 2);
    assert_int_equal(said->control.tag, 9);
    assert_true(script_text_is(said->control.durability, "always"));
}

static void expect_refused(struct fixture *self, uint64_t number, const char *code,
                           uint64_t expected)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_REFUSED);
    assert_int_equal(said->control.number, number);
    assert_true(script_text_is(said->control.code, code));
    assert_int_equal(WEIR_HAS(&said->control, FIRST), expected != 0);
    if (expected)
        assert_int_equal(said->control.first, expected);
}

static void expect_silence(struct fixture *self)
{
    assert_null(script_next(self->script));
}

static void in_order_and_only_when_durable(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 2, 1);
    expect_silence(self);
    assert_int_equal(weir_intake_outstanding(self->intake), 2);
    answer(self, 0);
    expect_ok(self, PEER, 1);
    answer(self, 1);
    expect_ok(self, PEER, 2);
    expect_silence(self);
    assert_int_equal(weir_intake_outstanding(self->intake), 0);
}

static void a_gap_names_the_number_expected(void **state)
{
    struct fixture *self = *state;
    put(self, 2, 1); /* of a producer that is not known: 1 comes first */
    expect_refused(self, 2, WEIR_CODE_ORDER, 1);
    put(self, 1, 1);
    put(self, 3, 1);
    expect_refused(self, 3, WEIR_CODE_ORDER, 2);
    put(self, 2, 0);
    assert_int_equal(self->accepted, 2);
    assert_int_equal(self->numbers[1], 2);
}

static void an_unknown_producer_goes_on_where_it_stands(void **state)
{
    struct fixture *self = *state;
    put(self, 58, 57);
    expect_refused(self, 58, WEIR_CODE_ORDER, 57);
    put(self, 57, 57);
    put(self, 58, 57);
    assert_int_equal(self->accepted, 2);
}

static void a_number_with_an_answer_is_left_behind(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    self->turn_away = WEIR_EREFUSED;
    put(self, 2, 1);
    expect_refused(self, 2, WEIR_CODE_REPLAY, 0);
    self->turn_away = 0;
    put(self, 3, 1); /* sent before the refusal was known */
    expect_refused(self, 3, WEIR_CODE_ORDER, 2);
    put(self, 3, 3);
    assert_int_equal(self->accepted, 2);
    assert_int_equal(self->numbers[1], 3);
}

static void busy_keeps_the_order(void **state)
{
    struct fixture *self = *state;
    self->turn_away = WEIR_EBUSY;
    put(self, 1, 1);
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_BUSY);
    assert_int_equal(said->control.number, 1);
    assert_int_equal(said->control.retry_ms, 120);
    assert_true(script_text_is(said->control.text, "not now"));
    self->turn_away = 0;
    put(self, 2, 1);
    expect_refused(self, 2, WEIR_CODE_ORDER, 1);
    put(self, 1, 1);
    put(self, 2, 1);
    assert_int_equal(self->accepted, 2);
}

static void repeats_are_answered_again(void **state)
{
    struct fixture *self = *state;
    const struct weir_duplicate duplicates[] = {{.index = 1, .id = "fifteen letters"}};
    put(self, 1, 1);
    weir_intake_answer(self->intake, self->tickets[0], 100, 2, self->script->now.wall_ms,
                       duplicates, 1);
    script_skip(self->script);
    put(self, 1, 1);
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_OK);
    assert_int_equal(said->control.first, 100);
    assert_int_equal(said->control.duplicate_count, 1);
    assert_int_equal(said->control.duplicates[0].index, 1);
    assert_memory_equal(said->control.duplicates[0].id, "fifteen letters", 16);

    put(self, 2, 1);
    put(self, 2, 1); /* on its way to the disk: one answer, then */
    expect_silence(self);
    assert_int_equal(self->accepted, 2);
    answer(self, 1);
    expect_ok(self, PEER, 2);
    expect_silence(self);
}

static void the_ring_keeps_sixteen_answers(void **state)
{
    struct fixture *self = *state;
    for (uint64_t number = 1; number <= 17; number++) {
        put(self, number, number);
        answer(self, (uint32_t)number - 1);
    }
    script_skip(self->script);
    put(self, 2, 2);
    expect_ok(self, PEER, 2);
    put(self, 1, 1); /* forgotten: it is not stored again */
    expect_refused(self, 1, WEIR_CODE_ORDER, 18);
    assert_int_equal(self->accepted, 17);
}

static void a_producer_moves_with_its_connection(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 2, 1);
    put_from(self, 8, one, 1, 1);
    answer(self, 0);
    expect_ok(self, 8, 1);
    answer(self, 1);
    expect_ok(self, 8, 2);
    put_from(self, 9, one, 2, 1);
    expect_ok(self, 9, 2);
}

static void producers_do_not_meet(void **state)
{
    struct fixture *self = *state;
    put_from(self, 1, one, 1, 1);
    put_from(self, 2, two, 1, 1);
    answer(self, 1);
    expect_ok(self, 2, 1);
    answer(self, 0);
    expect_ok(self, 1, 1);
}

static void at_most_a_window_waits(void **state)
{
    struct fixture *self = *state;
    for (uint64_t number = 1; number <= 16; number++)
        put(self, number, 1);
    put(self, 17, 1);
    script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_BUSY);
    assert_int_equal(self->accepted, 16);
    answer(self, 0);
    script_skip(self->script);
    put(self, 17, 2);
    assert_int_equal(self->accepted, 17);
}

static void answers_from_within_accept(void **state)
{
    struct fixture *self = *state;
    self->answer_at_once = true;
    put(self, 1, 1);
    expect_ok(self, PEER, 1);
    put(self, 2, 2);
    expect_ok(self, PEER, 2);
}

static void what_found_the_disk_full_goes_back(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 2, 1);
    put(self, 3, 1);
    answer(self, 0);
    weir_intake_withdraw(self->intake, self->tickets[1], 500, "full");
    weir_intake_withdraw(self->intake, self->tickets[2], 500, "full");
    expect_ok(self, PEER, 1);
    for (uint64_t number = 2; number <= 3; number++) {
        const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_BUSY);
        assert_int_equal(said->control.number, number);
        assert_int_equal(said->control.retry_ms, 500);
    }
    put(self, 3, 2);
    expect_refused(self, 3, WEIR_CODE_ORDER, 2);
    put(self, 2, 2);
    put(self, 3, 2);
    assert_int_equal(self->accepted, 5);
}

static void closed_still_answers_repeats(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 2, 1);
    answer(self, 0);
    expect_ok(self, PEER, 1);
    weir_intake_close(self->intake, WEIR_CODE_DRAINING, "going");
    put(self, 1, 1);
    expect_ok(self, PEER, 1);
    put(self, 3, 1);
    expect_refused(self, 3, WEIR_CODE_DRAINING, 0);
    answer(self, 1);
    expect_ok(self, PEER, 2);
}

static void rows_say_what_may_be_stored(void **state)
{
    struct fixture *self = *state;
    struct weir_producer_row row;
    assert_false(weir_intake_producer(self->intake, one, &row));
    put(self, 1, 1);
    put(self, 2, 1);
    put(self, 3, 1);
    /* Within accept of 3: all three, as they will be answered. */
    assert_int_equal(self->row.number, 3);
    assert_int_equal(self->row.answer_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(self->row.answers[i].number, i + 1);
        assert_int_equal(self->row.answers[i].first, 100 * (i + 1));
        assert_int_equal(self->row.answers[i].count, 2);
    }
    /* Apart from the batches: 3 is durable, but 2 is not. */
    answer(self, 0);
    answer(self, 2);
    assert_true(weir_intake_producer(self->intake, one, &row));
    assert_memory_equal(row.id, one, 16);
    assert_int_equal(row.number, 1);
    assert_int_equal(row.answer_count, 1);
    assert_int_equal(row.answers[0].number, 1);
    answer(self, 1);
    assert_true(weir_intake_producer(self->intake, one, &row));
    assert_int_equal(row.number, 3);
    assert_int_equal(row.answer_count, 3);
    assert_int_equal(row.answers[1].number, 2);
}

static void remembers_over_a_restart(void **state)
{
    struct fixture *self = *state;
    struct weir_producer_row row = {.number = 5, .time_ms = 1700000000000, .answer_count = 2};
    memcpy(row.id, one, 16);
    row.answers[0] = (struct weir_producer_answer){.number = 4, .first = 400, .count = 2};
    row.answers[1] = (struct weir_producer_answer){.number = 5, .first = 500, .count = 2};
    weir_intake_remember(self->intake, &row);
    struct weir_batch_header header = {.number = 6};
    memcpy(header.producer, one, 16);
    weir_intake_replayed(self->intake, &header, 600, 2, 1700000000001);
    for (uint64_t number = 4; number <= 6; number++) {
        put(self, number, 4);
        expect_ok(self, PEER, number);
    }
    assert_int_equal(self->accepted, 0);
    put(self, 7, 7);
    assert_int_equal(self->accepted, 1);
}

static void forgets_those_silent_for_long(void **state)
{
    struct fixture *self = *state;
    struct weir_producer_row row = {.number = 5, .time_ms = 1000};
    memcpy(row.id, two, 16);
    put(self, 1, 1); /* outstanding: never forgotten */
    weir_intake_remember(self->intake, &row);
    assert_int_equal(weir_intake_expire(self->intake, 1000), 0);
    assert_int_equal(weir_intake_expire(self->intake, 1001), 1);
    assert_false(weir_intake_producer(self->intake, two, &row));
    assert_int_equal(weir_intake_expire(self->intake, INT64_MAX), 0);
    answer(self, 0);
    assert_int_equal(weir_intake_expire(self->intake, INT64_MAX), 1);
}

static void the_longest_silent_gives_way(void **state)
{
    struct fixture *self = *state;
    struct weir_producer_row row = {.number = 1};
    for (uint32_t i = 0; i < WEIR_PRODUCERS_MAX; i++) {
        uint32_t name = i + 1;
        memcpy(row.id, &name, sizeof name);
        row.time_ms = i == 4321 ? 10 : 1000;
        weir_intake_remember(self->intake, &row);
    }
    const uint8_t stranger[16] = {9, 9, 9, 9, 9};
    put_from(self, PEER, stranger, 1, 1);
    assert_int_equal(self->accepted, 1);
    uint32_t name = 4322;
    uint8_t id[16] = {0};
    memcpy(id, &name, sizeof name);
    assert_false(weir_intake_producer(self->intake, id, &row));
    name = 4321;
    memcpy(id, &name, sizeof name);
    assert_true(weir_intake_producer(self->intake, id, &row));
}

/* ---- bad input ---- */

static void expect_error(struct fixture *self, const char *code)
{
    const struct said *said = script_expect(self->script, WEIR_PORT_SUBMIT, WEIR_VERB_ERROR);
    assert_true(script_text_is(said->control.code, code));
    assert_true(said->control.text.bytes > 0);
}

static void wrong_frames_are_named(void **state)
{
    struct fixture *self = *state;
    struct weir_frames none = {0};
    feed(self, PEER, &none);
    expect_error(self, WEIR_CODE_MALFORMED);

    struct weir_frames rubbish = {0};
    weir_frames_push(&rubbish, weir_bytes_copy("\xc1rubbish", 8));
    feed(self, PEER, &rubbish);
    expect_error(self, WEIR_CODE_MALFORMED);

    const struct weir_control stats = {.verb = WEIR_VERB_STATS};
    struct weir_frames unexpected = script_frames(&stats);
    feed(self, PEER, &unexpected);
    expect_error(self, WEIR_CODE_UNEXPECTED);

    const struct weir_control control = {.verb = WEIR_VERB_PUT};
    struct weir_frames short_of_frames = script_frames(&control);
    feed(self, PEER, &short_of_frames);
    expect_error(self, WEIR_CODE_MALFORMED);

    struct weir_frames no_header = script_frames(&control);
    script_batch(one, 1, 2, NULL, &no_header);
    weir_bytes_drop(&no_header.at[1]);
    no_header.at[1] = weir_bytes_copy("x", 1);
    feed(self, PEER, &no_header);
    expect_error(self, WEIR_CODE_MALFORMED);

    struct weir_frames lies = script_frames(&control);
    script_batch(one, 1, 2, NULL, &lies);
    struct weir_bytes cut = weir_bytes_cut(&lies.at[3], 0, lies.at[3].size - 1);
    weir_bytes_drop(&lies.at[3]);
    lies.at[3] = cut;
    feed(self, PEER, &lies);
    expect_refused(self, 1, WEIR_CODE_MALFORMED, 0);
    assert_int_equal(self->accepted, 0);
    put(self, 1, 1); /* and life goes on */
    assert_int_equal(self->accepted, 1);
}

static void the_counters_tell(void **state)
{
    struct fixture *self = *state;
    put(self, 1, 1);
    put(self, 1, 1);
    put(self, 5, 1);
    const struct weir_control stats = {.verb = WEIR_VERB_STATS};
    struct weir_frames unexpected = script_frames(&stats);
    feed(self, PEER, &unexpected);
    struct weir_packer *packer = weir_packer_new();
    weir_pack_map(packer, weir_intake_stats_count());
    weir_intake_stats(self->intake, packer);
    struct said answer = {.control = {.verb = WEIR_VERB_ANSWER}};
    weir_frames_push(&answer.frames, WEIR_BYTES_NONE);
    weir_frames_push(&answer.frames, weir_packer_finish(&packer));
    static const struct {
        const char *name;
        uint64_t value;
    } expected[] = {{"producers", 1},         {"outstanding", 1}, {"accepted_batches", 1},
                    {"accepted_messages", 2}, {"repeats", 1},     {"out_of_order", 1},
                    {"malformed", 1},         {"refused", 0},     {"busy", 0}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        uint64_t value;
        assert_true(script_stat(&answer, expected[i].name, &value));
        assert_int_equal(value, expected[i].value);
    }
    weir_frames_drop(&answer.frames);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_order_and_only_when_durable),
        TEST(a_gap_names_the_number_expected),
        TEST(an_unknown_producer_goes_on_where_it_stands),
        TEST(a_number_with_an_answer_is_left_behind),
        TEST(busy_keeps_the_order),
        TEST(repeats_are_answered_again),
        TEST(the_ring_keeps_sixteen_answers),
        TEST(a_producer_moves_with_its_connection),
        TEST(producers_do_not_meet),
        TEST(at_most_a_window_waits),
        TEST(answers_from_within_accept),
        TEST(what_found_the_disk_full_goes_back),
        TEST(closed_still_answers_repeats),
        TEST(rows_say_what_may_be_stored),
        TEST(remembers_over_a_restart),
        TEST(forgets_those_silent_for_long),
        TEST(the_longest_silent_gives_way),
        TEST(wrong_frames_are_named),
        TEST(the_counters_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
