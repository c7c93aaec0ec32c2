#include <config/suggest.h>
#include <stddef.h>
#include <string.h>

#define WORD_BYTES_MAX 64u

static uint32_t least(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Insertions, deletions, changes and swaps of neighbours. */
static uint32_t edit_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    uint32_t rows[3][WORD_BYTES_MAX + 1];
    uint32_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b_bytes; j++)
        last[j] = (uint32_t)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            row[j] = least(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        uint32_t *oldest = before;

        before = last;
        last = row;
        row = oldest;
    }
    return last[b_bytes];
}

void weir_suggestion_offer(struct weir_suggestion *self, const char *candidate)
{
    size_t word_bytes = strlen(self->word), bytes = strlen(candidate);

    if (word_bytes == 0 || word_bytes > WORD_BYTES_MAX || bytes > WORD_BYTES_MAX)
        return;
    uint32_t distance = edit_distance(self->word, word_bytes, candidate, bytes);
    size_t longer = word_bytes > bytes ? word_bytes : bytes;

    /* A third of the letters may be wrong, but something must be right. */
    if (distance > 1 + longer / 4 || distance >= longer)
        return;
    if (self->best == NULL || distance < self->distance) {
        self->best = candidate;
        self->distance = distance;
    }
}
