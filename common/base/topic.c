#include <base/limits.h>
#include <base/topic.h>

#include <stdio.h>
#include <string.h>

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* Whether [text, text + bytes) is words joined by dots; `wild` allows `*` and a last `>`. */
static bool words_valid(const char *text, size_t bytes, bool wild)
{
    size_t start = 0;

    if (bytes == 0 || bytes > WEIR_TOPIC_BYTES_MAX)
        return false;
    for (size_t i = 0; i <= bytes; i++) {
        if (i == bytes || text[i] == '.') {
            if (i == start)
                return false;
            start = i + 1;
        } else if (!word_char(text[i])) {
            bool alone = i == start && (i + 1 == bytes || text[i + 1] == '.');

            if (!wild || !alone || (text[i] != '*' && text[i] != '>'))
                return false;
            if (text[i] == '>' && i + 1 != bytes)
                return false;
        }
    }
    return true;
}

bool weir_topic_valid(const char *topic, size_t bytes)
{
    return words_valid(topic, bytes, false);
}

bool weir_topic_pattern_valid(const char *pattern, size_t bytes)
{
    return words_valid(pattern, bytes, true);
}

bool weir_topic_match(const char *pattern, const char *topic, size_t topic_bytes)
{
    const char *end = topic + topic_bytes;

    for (;;) {
        size_t pattern_word = strcspn(pattern, ".");
        const char *dot = memchr(topic, '.', (size_t)(end - topic));
        size_t topic_word = (size_t)((dot != NULL ? dot : end) - topic);

        if (topic_word == 0)
            return false;
        if (pattern_word == 1 && *pattern == '>')
            return true;
        if (!(pattern_word == 1 && *pattern == '*') &&
            (pattern_word != topic_word || memcmp(pattern, topic, topic_word) != 0))
            return false;
        pattern += pattern_word;
        topic += topic_word;
        if (*pattern == '\0' || topic == end)
            return *pattern == '\0' && topic == end;
        pattern++;
        topic++;
    }
}

bool weir_name_valid(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes > WEIR_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!word_char(name[i]) && name[i] != '.')
            return false;
    return true;
}

void weir_topics_text(char text[WEIR_TOPICS_TEXT_BYTES], const char *const *patterns,
                      uint32_t count)
{
    enum { MORE_BYTES = sizeof " and 4294967295 more" };
    size_t bytes = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        const size_t needs = strlen(patterns[i]) + (i > 0 ? 2 : 0);
        if (bytes + needs + MORE_BYTES > WEIR_TOPICS_TEXT_BYTES) {
            snprintf(text + bytes, WEIR_TOPICS_TEXT_BYTES - bytes, " and %u more", count - i);
            return;
        }
        snprintf(text + bytes, WEIR_TOPICS_TEXT_BYTES - bytes, "%s%s", i > 0 ? ", " : "",
                 patterns[i]);
        bytes += needs;
    }
}
