/* "Did you mean …?" */
#ifndef WEIR_CONFIG_SUGGEST_H
#define WEIR_CONFIG_SUGGEST_H

#include <stdint.h>

/* The nearest of what was offered so far. Start with all zero but `word`. */
struct weir_suggestion {
    const char *word;
    const char *best; /* NULL: nothing is near; lives as long as what was offered */
    uint32_t distance;
};

void weir_suggestion_offer(struct weir_suggestion *self, const char *candidate);

#endif
