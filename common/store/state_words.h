/* How the state writes what is an enum here: as words, which stay when the enum's numbers change.
 * By value; the words are part of the format (docs/format.md). */
#ifndef WEIR_STORE_STATE_WORDS_H
#define WEIR_STORE_STATE_WORDS_H

#include <contract/policy.h>

static const char *const order_words[] = {[WEIR_ORDER_NONE] = "none", [WEIR_ORDER_KEY] = "key"};
static const char *const delivery_words[] = {
    [WEIR_AT_LEAST_ONCE] = "at-least-once", [WEIR_AT_MOST_ONCE] = "at-most-once"};
static const char *const start_words[] = {
    [WEIR_START_NOW] = "now", [WEIR_START_EARLIEST] = "earliest"};
static const char *const on_full_words[] = {[WEIR_ON_FULL_REFUSE] = "refuse",
                                            [WEIR_ON_FULL_DEAD_LETTER] = "dead-letter",
                                            [WEIR_ON_FULL_DROP] = "drop"};

#endif
