#include <core/ended.h>
#include <string.h>

/* The first range that ends at or above the sequence. */
static uint32_t lower_bound(const struct weir_ended *self, uint64_t sequence)
{
    uint32_t low = 0, high = self->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (self->at[middle].last < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_at(struct weir_ended *self, uint32_t at)
{
    self->count--;
    memmove(&self->at[at], &self->at[at + 1], (self->count - at) * sizeof *self->at);
}

/* [first, last], of which nothing is known, at this place. */
static void insert(struct weir_ended *self, uint32_t at, uint64_t first, uint64_t last,
                   enum weir_fate fate)
{
    struct weir_ended_range *before = at > 0 ? &self->at[at - 1] : NULL;
    struct weir_ended_range *behind = at < self->count ? &self->at[at] : NULL;
    const bool joins = behind && behind->fate == fate && behind->first == last + 1;
    if (before && before->fate == fate && before->last + 1 == first) {
        before->last = joins ? behind->last : last;
        if (joins)
            remove_at(self, at);
        return;
    }
    if (joins) {
        behind->first = first;
        return;
    }
    if (self->count == WEIR_ENDED_RANGES_MAX) {
        if (at == 0) { /* it would be the oldest itself */
            weir_ended_forget(self, last + 1);
            return;
        }
        weir_ended_forget(self, self->at[0].last + 1);
        at--;
    }
    memmove(&self->at[at + 1], &self->at[at], (self->count - at) * sizeof *self->at);
    self->at[at] = (struct weir_ended_range){.first = first, .last = last, .fate = fate};
    self->count++;
}

void weir_ended_add(struct weir_ended *self, uint64_t first, uint64_t last, enum weir_fate fate)
{
    if (first < self->known_from)
        first = self->known_from;
    while (first <= last) {
        const uint32_t at = lower_bound(self, first);
        const struct weir_ended_range *behind = at < self->count ? &self->at[at] : NULL;
        if (behind && behind->first <= first) {
            first = behind->last + 1;
            continue;
        }
        const uint64_t to = behind && behind->first <= last ? behind->first - 1 : last;
        insert(self, at, first, to, fate);
        first = to + 1;
    }
}

const struct weir_ended_range *weir_ended_find(const struct weir_ended *self, uint64_t sequence)
{
    const uint32_t at = lower_bound(self, sequence);
    return at < self->count && self->at[at].first <= sequence ? &self->at[at] : NULL;
}

void weir_ended_forget(struct weir_ended *self, uint64_t below)
{
    while (self->count > 0 && self->at[0].last < below)
        remove_at(self, 0);
    if (self->count > 0 && self->at[0].first < below)
        self->at[0].first = below;
    if (self->known_from < below)
        self->known_from = below;
}
