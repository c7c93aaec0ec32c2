/* Counted references to immutable memory: how message bodies travel without being copied. */
#ifndef WEIR_BASE_BYTES_H
#define WEIR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_block; /* the memory itself, with an atomic count of its holders */

/* One counted reference to part of a block. A struct weir_bytes owns one reference while `block`
 * is set; with `block` NULL it merely borrows (static or otherwise longer-lived) memory.
 * Copying the struct moves the reference; weir_bytes_ref makes a second one. Any thread may
 * hold, cut and release references of one block; the bytes themselves do not change. */
struct weir_bytes {
    struct weir_block *block;
    const uint8_t *data;
    size_t size;
};

#define WEIR_BYTES_NONE ((struct weir_bytes){NULL, NULL, 0})

/* New memory of `size` bytes, to be filled through `*data` before the reference is passed on. */
struct weir_bytes weir_bytes_new(size_t size, uint8_t **data);
struct weir_bytes weir_bytes_copy(const void *data, size_t size);
/* Take over foreign memory; `release (hint)` is called, on whichever thread, with the last ref. */
struct weir_bytes weir_bytes_wrap(const void *data, size_t size, void (*release)(void *hint),
                                  void *hint);
/* Borrow memory that outlives every use. */
struct weir_bytes weir_bytes_borrow(const void *data, size_t size);

struct weir_bytes weir_bytes_ref(const struct weir_bytes *bytes);
/* A new reference to [offset, offset + size), which must lie inside. */
struct weir_bytes weir_bytes_cut(const struct weir_bytes *bytes, size_t offset, size_t size);
/* Release the reference, if any, and clear the struct. */
void weir_bytes_drop(struct weir_bytes *bytes);
bool weir_bytes_equal(const struct weir_bytes *bytes, const void *data, size_t size);

/* One message on a socket: its frames, in order. Owns its references and its array. */
struct weir_frames {
    struct weir_bytes *at;
    uint32_t count;
    uint32_t capacity;
};

/* Append a frame; takes over the reference. */
void weir_frames_push(struct weir_frames *frames, struct weir_bytes bytes);
/* Release all frames and the array, and clear the struct. */
void weir_frames_drop(struct weir_frames *frames);
/* The sum of the frames' sizes. */
size_t weir_frames_size(const struct weir_frames *frames);

#endif
