/* Topics are words joined by dots ("user.signed_up"); letters, digits, '_', '-'. In a group's
 * pattern a word may be `*` (any one word), and the last may be `>` (one or more words). */
#ifndef WEIR_BASE_TOPIC_H
#define WEIR_BASE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

/* Whether the text is a valid topic, or a valid pattern. */
bool weir_topic_valid(const char *topic, size_t bytes);
bool weir_topic_pattern_valid(const char *pattern, size_t bytes);
bool weir_topic_match(const char *pattern, const char *topic, size_t topic_bytes);
/* A node's, group's or topology's name: letters, digits, '_', '-', '.'; 1 … WEIR_NAME_BYTES_MAX. */
bool weir_name_valid(const char *name, size_t bytes);

#endif
