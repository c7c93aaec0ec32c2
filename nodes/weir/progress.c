#include "progress.h"

#include <base/clock.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_NS (500 * WEIR_NS_PER_MS)
#define INTERVAL_NS (100 * WEIR_NS_PER_MS)
#define BAR_WIDTH 30u

void weir_progress_init(struct weir_progress *self, uint64_t bytes_all, int64_t now_ns)
{
    *self = (struct weir_progress){
        .wanted = isatty(STDERR_FILENO), .bytes_all = bytes_all, .started_ns = now_ns};
}

void weir_progress_format(const struct weir_progress *self, uint64_t count, uint64_t bytes,
                          const char *remark, int64_t now_ns, char text[WEIR_PROGRESS_BYTES])
{
    int64_t spent_ms = (now_ns - self->started_ns) / WEIR_NS_PER_MS;
    uint64_t rate = spent_ms > 0 ? count * 1000 / (uint64_t)spent_ms : 0;
    size_t used = 0;

    if (self->bytes_all > 0) {
        if (bytes > self->bytes_all)
            bytes = self->bytes_all;
        char bar[BAR_WIDTH + 1];
        double part = (double)bytes / (double)self->bytes_all;

        memset(bar, ' ', BAR_WIDTH);
        memset(bar, '#', (size_t)(part * BAR_WIDTH));
        bar[BAR_WIDTH] = '\0';
        used = (size_t)snprintf(text, WEIR_PROGRESS_BYTES, "[%s] %3d %%  ", bar, (int)(part * 100));
    }
    snprintf(text + used, WEIR_PROGRESS_BYTES - used, "%" PRIu64 " messages, %" PRIu64 "/s%s%.100s",
             count, rate, remark[0] ? "  " : "", remark);
}

void weir_progress_draw(struct weir_progress *self, uint64_t count, uint64_t bytes,
                        const char *remark, int64_t now_ns)
{
    char text[WEIR_PROGRESS_BYTES];

    if (!self->wanted || now_ns - self->started_ns < PATIENCE_NS ||
        now_ns - self->drawn_ns < INTERVAL_NS)
        return;
    weir_progress_format(self, count, bytes, remark, now_ns, text);
    fprintf(stderr, "\r\033[K%s", text);
    fflush(stderr);
    self->shown = true;
    self->drawn_ns = now_ns;
}

void weir_progress_clear(struct weir_progress *self)
{
    if (!self->shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    self->shown = false;
}
