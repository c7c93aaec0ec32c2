/* Topics are words joined by dots ("user.signed_up"); letters, digits, '_', '-'. In a group's
 * pattern a word may be `*` (any one word), and the last may be `>` (one or more words). */
#ifndef WEIR_BASE_TOPIC_H
#define WEIR_BASE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the text is a valid topic, or a valid pattern. */
bool weir_topic_valid(const char *topic, size_t bytes);
bool weir_topic_pattern_valid(const char *pattern, size_t bytes);
bool weir_topic_match(const char *pattern, const char *topic, size_t topic_bytes);
/* Patterns, for people: "user.signed_up, order.>", and how many more there are when not all fit. */
#define WEIR_TOPICS_TEXT_BYTES 512
void weir_topics_text(char text[WEIR_TOPICS_TEXT_BYTES], const char *const *patterns,
                      uint32_t count);
/* A node's, group's or topology's name: letters, digits, '_', '-', '.'; 1 … WEIR_NAME_BYTES_MAX. */
bool weir_name_valid(const char *name, size_t bytes);

#endif
