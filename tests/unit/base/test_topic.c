#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/limits.h>
#include <base/topic.h>

#include <string.h>

static bool topic(const char *text)
{
    return weir_topic_valid(text, strlen(text));
}

static bool pattern(const char *text)
{
    return weir_topic_pattern_valid(text, strlen(text));
}

static void topics_are_words_joined_by_dots(void **state)
{
    char longest[WEIR_TOPIC_BYTES_MAX + 1];

    (void)state;
    assert_true(topic("user.signed_up"));
    assert_true(topic("a-b.C9"));
    assert_false(topic(""));
    assert_false(topic("."));
    assert_false(topic("a."));
    assert_false(topic(".a"));
    assert_false(topic("a..b"));
    assert_false(topic("a b"));
    assert_false(topic("a.*"));
    assert_false(topic(">"));
    assert_false(weir_topic_valid("a\0b", 3));
    memset(longest, 'a', sizeof longest);
    assert_true(weir_topic_valid(longest, WEIR_TOPIC_BYTES_MAX));
    assert_false(weir_topic_valid(longest, WEIR_TOPIC_BYTES_MAX + 1));
}

static void wildcards_stand_alone(void **state)
{
    (void)state;
    assert_true(pattern("*"));
    assert_true(pattern(">"));
    assert_true(pattern("a.*.b"));
    assert_true(pattern("*.*"));
    assert_true(pattern("a.>"));
    assert_false(pattern("a.>.b"));
    assert_false(pattern("a*"));
    assert_false(pattern("*a"));
    assert_false(pattern("a.>b"));
    assert_false(pattern("**"));
    assert_false(pattern(""));
}

static bool match(const char *wanted, const char *text)
{
    return weir_topic_match(wanted, text, strlen(text));
}

static void patterns_match_word_by_word(void **state)
{
    (void)state;
    assert_true(match("user.signed_up", "user.signed_up"));
    assert_false(match("user.signed_up", "user.signed_u"));
    assert_false(match("user.signed_u", "user.signed_up"));
    assert_false(match("user", "user.signed_up"));
    assert_false(match("user.signed_up", "user"));
    assert_true(match("user.*", "user.signed_up"));
    assert_true(match("*.signed_up", "user.signed_up"));
    assert_false(match("*", "user.signed_up"));
    assert_false(match("user.*", "user"));
    assert_false(match("user.*", "user.a.b"));
    assert_true(match("user.>", "user.a.b"));
    assert_false(match("user.>", "user"));
    assert_true(match(">", "user"));
    assert_true(match("*.b.>", "a.b.c"));
    assert_false(match("*.b.>", "a.c.c"));
    /* The topic need not end with NUL. */
    assert_true(weir_topic_match("a.b", "a.bc", 3));
}

static void names_have_no_spaces_or_slashes(void **state)
{
    char longest[WEIR_NAME_BYTES_MAX + 1];

    (void)state;
    assert_true(weir_name_valid("email.2", 7));
    assert_true(weir_name_valid("a_b-c", 5));
    assert_false(weir_name_valid("", 0));
    assert_false(weir_name_valid("a/b", 3));
    assert_false(weir_name_valid("a b", 3));
    memset(longest, 'a', sizeof longest);
    assert_true(weir_name_valid(longest, WEIR_NAME_BYTES_MAX));
    assert_false(weir_name_valid(longest, WEIR_NAME_BYTES_MAX + 1));
}

static void patterns_are_told_as_far_as_they_fit(void **state)
{
    static const char *const two[] = {"user.*", "order.>"};
    char longest[WEIR_TOPIC_BYTES_MAX + 1] = {0}, text[WEIR_TOPICS_TEXT_BYTES];
    const char *many[9];

    (void)state;
    weir_topics_text(text, two, 1);
    assert_string_equal(text, "user.*");
    weir_topics_text(text, two, 2);
    assert_string_equal(text, "user.*, order.>");
    memset(longest, 'a', WEIR_TOPIC_BYTES_MAX);
    for (size_t i = 0; i < 9; i++)
        many[i] = longest;
    weir_topics_text(text, many, 9);
    assert_memory_equal(text, longest, WEIR_TOPIC_BYTES_MAX);
    assert_string_equal(text + WEIR_TOPIC_BYTES_MAX, " and 8 more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_words_joined_by_dots),
        cmocka_unit_test(wildcards_stand_alone),
        cmocka_unit_test(patterns_match_word_by_word),
        cmocka_unit_test(names_have_no_spaces_or_slashes),
        cmocka_unit_test(patterns_are_told_as_far_as_they_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
