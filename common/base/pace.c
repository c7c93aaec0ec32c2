#include <base/clock.h>
#include <base/limits.h>
#include <base/pace.h>

void weir_pace_leave(struct weir_pace *self, uint64_t messages, int64_t window_ns, int64_t now_ns)
{
    if (now_ns - self->from_ns >= window_ns) {
        self->from_ns = now_ns;
        self->left = 0;
    }
    self->left += messages;
    self->look_ns = 0;
}

int64_t weir_pace_hold(struct weir_pace *self, uint64_t waiting, int64_t window_ns, int64_t step_ns,
                       int64_t now_ns)
{
    const int64_t end_ns = self->from_ns + window_ns;
    if (self->left < WEIR_PACE_MESSAGES || now_ns >= end_ns || now_ns < self->until_ns)
        return 0;
    if (self->look_ns == 0 || (now_ns >= self->look_ns && waiting > self->seen)) {
        self->look_ns = now_ns + step_ns;
        self->seen = waiting;
    } else if (now_ns >= self->look_ns) {
        self->until_ns = now_ns + WEIR_PACE_REST_MS * WEIR_NS_PER_MS;
        return 0;
    }
    return self->look_ns < end_ns ? self->look_ns : end_ns;
}
