/* Bytes that come and go in pieces, and the last bytes of what was said. */
#ifndef WEIR_WORKER_BUFFER_H
#define WEIR_WORKER_BUFFER_H

#include <base/bytes.h>
#include <base/limits.h>

/* A growing buffer. Whoever fills it keeps it bounded. */
struct weir_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void weir_buffer_append(struct weir_buffer *self, const void *data, size_t size);
/* Forget the first `size` bytes. */
void weir_buffer_consume(struct weir_buffer *self, size_t size);
/* Hand the contents on; the buffer is empty afterwards. `data` of the result is never NULL. */
struct weir_bytes weir_buffer_finish(struct weir_buffer *self);
void weir_buffer_fini(struct weir_buffer *self);

/* The last WEIR_ERROR_BYTES_MAX bytes of a stream: what a handler said before it failed. */
struct weir_tail {
    char text[WEIR_ERROR_BYTES_MAX];
    size_t size;
    bool cut; /* there was more before */
};

void weir_tail_append(struct weir_tail *self, const char *text, size_t size);
/* "lead: tail" as the text of an error, without line ends at the end, and at most
 * WEIR_ERROR_BYTES_MAX bytes; only one of both where the other is empty or `lead` is NULL. */
struct weir_bytes weir_tail_error(const struct weir_tail *self, const char *lead);

#endif
