#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/random.h>
#include <wire/batch.h>
#include <wire/message.h>

#include <string.h>

static struct weir_attempt_note note_of(uint32_t attempt, const char *error)
{
    return (struct weir_attempt_note){attempt, 1000 + attempt,         1, "email.1", 7,
                                      error,   (uint32_t)strlen(error)};
}

static void add(struct weir_bytes *history, const struct weir_attempt_note *note)
{
    struct weir_bytes longer = weir_history_add(history, note);

    weir_bytes_drop(history);
    *history = longer;
}

static void notes_come_back_as_they_were(void **state)
{
    struct weir_bytes history = WEIR_BYTES_NONE;
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    struct weir_attempt_note first = note_of(1, "exit status 1");
    struct weir_attempt_note second = {2, 5000, WEIR_NOTE_LOST, "", 0, "not \xff utf-8", 11};

    (void)state;
    assert_int_equal(weir_history_decode(&history, notes, 16), 0);
    add(&history, &first);
    add(&history, &second);
    assert_int_equal(weir_history_decode(&history, notes, 16), 2);
    assert_int_equal(notes[0].attempt, 1);
    assert_int_equal(notes[0].time_ms, 1001);
    assert_int_equal(notes[0].outcome, 1);
    assert_int_equal(notes[0].worker_bytes, 7);
    assert_memory_equal(notes[0].worker, "email.1", 7);
    assert_int_equal(notes[0].error_bytes, 13);
    assert_memory_equal(notes[0].error, "exit status 1", 13);
    assert_int_equal(notes[1].attempt, 2);
    assert_int_equal(notes[1].outcome, WEIR_NOTE_LOST);
    assert_int_equal(notes[1].worker_bytes, 0);
    assert_memory_equal(notes[1].error, "not \xff utf-8", 11);
    assert_int_equal(weir_history_decode(&history, notes, 1), 1);
    weir_bytes_drop(&history);
}

static void the_first_and_the_newest_fifteen_stay(void **state)
{
    struct weir_bytes history = WEIR_BYTES_NONE;
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX + 1];

    (void)state;
    for (uint32_t attempt = 1; attempt <= 40; attempt++) {
        struct weir_attempt_note note = note_of(attempt, "again");
        uint32_t count = attempt < 16 ? attempt : 16;

        add(&history, &note);
        assert_int_equal(weir_history_decode(&history, notes, 17), count);
        assert_int_equal(notes[0].attempt, 1);
        for (uint32_t i = 1; i < count; i++)
            assert_int_equal(notes[i].attempt, attempt - (count - 1 - i));
    }
    weir_bytes_drop(&history);
}

static void long_errors_are_cut_between_characters(void **state)
{
    static char error[4000];
    struct weir_bytes history = WEIR_BYTES_NONE;
    struct weir_attempt_note note = {1, 0, 1, "w", 1, error, sizeof error};

    (void)state;
    /* Two-byte characters from an odd place on: the limit falls into one. */
    memset(error, 'x', sizeof error);
    for (size_t i = 1; i + 1 < sizeof error; i += 2)
        memcpy(error + i, "\xc3\xbc", 2);
    for (int i = 0; i < 40; i++)
        add(&history, &note);
    assert_true(history.size <= WEIR_HISTORY_BYTES_MAX);
    assert_true(weir_history_valid(&history));
    assert_int_equal(weir_history_decode(&history, &note, 1), 1);
    assert_int_equal(note.error_bytes, WEIR_ERROR_BYTES_MAX - 1);
    assert_memory_equal(note.error + note.error_bytes - 2, "\xc3\xbc", 2);
    weir_bytes_drop(&history);
}

static void what_is_no_history_is_left_behind(void **state)
{
    struct weir_attempt_note note = note_of(9, "e"), got;
    struct weir_bytes bad = weir_bytes_borrow("\x92\xc0", 2);
    struct weir_bytes odd = weir_bytes_borrow("\x91\x91\x01", 3);
    struct weir_bytes history = weir_history_add(&bad, &note);

    (void)state;
    assert_int_equal(weir_history_decode(&bad, &got, 1), WEIR_EPROTO);
    assert_int_equal(weir_history_decode(&odd, &got, 1), WEIR_EPROTO);
    assert_int_equal(weir_history_decode(&history, &got, 1), 1);
    assert_int_equal(got.attempt, 9);
    weir_bytes_drop(&history);
}

static void random_bytes_are_survived(void **state)
{
    struct weir_random random;
    uint8_t bytes[80];

    (void)state;
    weir_random_seed(&random, 8);
    for (int i = 0; i < 100000; i++) {
        struct weir_bytes borrowed =
            weir_bytes_borrow(bytes, weir_random_below(&random, sizeof bytes + 1));
        struct weir_attempt_note notes[16], note = note_of(1, "e");
        struct weir_bytes longer;

        weir_random_fill(&random, bytes, sizeof bytes);
        bytes[0] = (uint8_t)(0x90 | (bytes[0] & 15));
        (void)weir_history_decode(&borrowed, notes, 16);
        longer = weir_history_add(&borrowed, &note);
        assert_true(weir_history_valid(&longer));
        weir_bytes_drop(&longer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_come_back_as_they_were),
        cmocka_unit_test(the_first_and_the_newest_fifteen_stay),
        cmocka_unit_test(long_errors_are_cut_between_characters),
        cmocka_unit_test(what_is_no_history_is_left_behind),
        cmocka_unit_test(random_bytes_are_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
