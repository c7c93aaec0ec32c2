#include <base/clock.h>
#include <base/error.h>
#include <core/breaker.h>
#include <string.h>

void weir_breaker_init(struct weir_breaker *self)
{
    *self = (struct weir_breaker){.state = WEIR_BREAKER_CLOSED};
}

/* Let the seconds that have passed fall out of the window. */
static void slide(struct weir_breaker *self, int64_t now_s)
{
    int64_t passed = now_s - self->slot_s;
    if (passed <= 0)
        return;
    for (int64_t i = 1; i <= passed && i <= WEIR_BREAKER_SLOTS; i++) {
        self->ok[(self->slot_s + i) % WEIR_BREAKER_SLOTS] = 0;
        self->failed[(self->slot_s + i) % WEIR_BREAKER_SLOTS] = 0;
    }
    self->slot_s = now_s;
}

static void open_for(struct weir_breaker *self, int64_t interval_ms, int64_t mono_ns)
{
    self->state = WEIR_BREAKER_OPEN;
    self->interval_ms = interval_ms < WEIR_BREAKER_LAST_MS ? interval_ms : WEIR_BREAKER_LAST_MS;
    self->probe_at_ns = mono_ns + self->interval_ms * WEIR_NS_PER_MS;
}

static bool closed_note(struct weir_breaker *self, bool failed, uint32_t count, int64_t mono_ns)
{
    slide(self, mono_ns / WEIR_NS_PER_S);
    uint32_t *slot = failed ? self->failed : self->ok;
    slot[self->slot_s % WEIR_BREAKER_SLOTS] += count;
    uint64_t failures = 0, outcomes = 0;
    for (uint32_t i = 0; i < WEIR_BREAKER_SLOTS; i++) {
        failures += self->failed[i];
        outcomes += (uint64_t)self->failed[i] + self->ok[i];
    }
    if (outcomes < WEIR_BREAKER_OUTCOMES_MIN ||
        failures * 100 < outcomes * WEIR_BREAKER_FAILED_PERCENT)
        return false;
    open_for(self, WEIR_BREAKER_FIRST_MS, mono_ns);
    return true;
}

bool weir_breaker_note(struct weir_breaker *self, enum weir_outcome outcome, uint32_t count,
                       int64_t mono_ns)
{
    if (outcome == WEIR_RELEASE || count == 0)
        return false;
    bool failed = outcome != WEIR_DONE;
    switch (self->state) {
    case WEIR_BREAKER_CLOSED:
        return closed_note(self, failed, count, mono_ns);
    case WEIR_BREAKER_OPEN: /* what was sent before it opened: no news */
        return false;
    case WEIR_BREAKER_PROBING:
        if (failed)
            open_for(self, self->interval_ms * 2, mono_ns);
        else
            weir_breaker_init(self);
        return true;
    }
    return false;
}

bool weir_breaker_allows(const struct weir_breaker *self, int64_t mono_ns, bool *probe)
{
    *probe = self->state == WEIR_BREAKER_OPEN && mono_ns >= self->probe_at_ns;
    return *probe || self->state == WEIR_BREAKER_CLOSED;
}

void weir_breaker_probe(struct weir_breaker *self)
{
    WEIR_ASSERT(self->state == WEIR_BREAKER_OPEN);
    self->state = WEIR_BREAKER_PROBING;
}

void weir_breaker_probe_lost(struct weir_breaker *self, int64_t mono_ns)
{
    if (self->state == WEIR_BREAKER_PROBING)
        open_for(self, self->interval_ms, mono_ns);
}
