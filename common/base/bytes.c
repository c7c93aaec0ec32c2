#include <base/alloc.h>
#include <base/bytes.h>
#include <base/error.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct weir_block {
    atomic_size_t refs;
    void (*release)(void *hint); /* NULL: the memory follows the block */
    void *hint;
    _Alignas(16) uint8_t memory[];
};

static struct weir_block *block_new(size_t extra, void (*release)(void *hint), void *hint)
{
    struct weir_block *block;

    WEIR_ASSERT(extra <= SIZE_MAX - sizeof *block);
    block = weir_alloc(sizeof *block + extra);
    atomic_init(&block->refs, 1);
    block->release = release;
    block->hint = hint;
    return block;
}

struct weir_bytes weir_bytes_new(size_t size, uint8_t **data)
{
    struct weir_block *block = block_new(size, NULL, NULL);

    *data = block->memory;
    return (struct weir_bytes){block, block->memory, size};
}

struct weir_bytes weir_bytes_copy(const void *data, size_t size)
{
    uint8_t *memory;
    struct weir_bytes bytes = weir_bytes_new(size, &memory);

    if (size > 0)
        memcpy(memory, data, size);
    return bytes;
}

struct weir_bytes weir_bytes_wrap(const void *data, size_t size, void (*release)(void *hint),
                                  void *hint)
{
    WEIR_ASSERT(release != NULL);
    return (struct weir_bytes){block_new(0, release, hint), data, size};
}

struct weir_bytes weir_bytes_borrow(const void *data, size_t size)
{
    return (struct weir_bytes){NULL, data, size};
}

struct weir_bytes weir_bytes_ref(const struct weir_bytes *bytes)
{
    if (bytes->block != NULL)
        atomic_fetch_add_explicit(&bytes->block->refs, 1, memory_order_relaxed);
    return *bytes;
}

struct weir_bytes weir_bytes_cut(const struct weir_bytes *bytes, size_t offset, size_t size)
{
    struct weir_bytes cut;

    WEIR_ASSERT(offset <= bytes->size && size <= bytes->size - offset);
    cut = weir_bytes_ref(bytes);
    if (offset > 0)
        cut.data += offset;
    cut.size = size;
    return cut;
}

void weir_bytes_drop(struct weir_bytes *bytes)
{
    struct weir_block *block = bytes->block;

    *bytes = WEIR_BYTES_NONE;
    if (block == NULL)
        return;
    /* Whoever releases last must see all that the others did with the memory before. */
    if (atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (block->release != NULL)
        block->release(block->hint);
    free(block);
}

bool weir_bytes_equal(const struct weir_bytes *bytes, const void *data, size_t size)
{
    return bytes->size == size && (size == 0 || memcmp(bytes->data, data, size) == 0);
}

void weir_frames_push(struct weir_frames *frames, struct weir_bytes bytes)
{
    if (frames->count == frames->capacity) {
        frames->capacity = frames->capacity > 0 ? 2 * frames->capacity : 4;
        frames->at = weir_realloc(frames->at, frames->capacity, sizeof *frames->at);
    }
    frames->at[frames->count++] = bytes;
}

void weir_frames_drop(struct weir_frames *frames)
{
    for (uint32_t i = 0; i < frames->count; i++)
        weir_bytes_drop(&frames->at[i]);
    free(frames->at);
    *frames = (struct weir_frames){NULL, 0, 0};
}

size_t weir_frames_size(const struct weir_frames *frames)
{
    size_t size = 0;

    for (uint32_t i = 0; i < frames->count; i++)
        size += frames->at[i].size;
    return size;
}
