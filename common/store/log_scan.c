#include "log_scan.h"

#include <base/alloc.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void weir_window_init(struct weir_window *window, const struct weir_io *io, size_t step)
{
    *window = (struct weir_window){.io = io, .fd = -1, .step = step};
}

void weir_window_fini(struct weir_window *window)
{
    free(window->data);
    window->data = NULL;
}

void weir_window_set(struct weir_window *window, int fd, uint32_t salt, uint64_t limit)
{
    window->fd = fd;
    window->salt = salt;
    window->limit = limit;
    window->size = 0;
}

const uint8_t *weir_window_at(struct weir_window *window, uint64_t offset, size_t size)
{
    size_t wanted = size > window->step ? size : window->step;
    int got;

    if (offset >= window->offset && size <= window->size &&
        offset - window->offset <= window->size - size)
        return window->data + (offset - window->offset);
    errno = 0;
    if (offset > window->limit || size > window->limit - offset)
        return NULL;
    if (wanted > window->limit - offset)
        wanted = (size_t)(window->limit - offset);
    if (wanted > window->capacity) {
        free(window->data);
        window->data = weir_alloc(wanted);
        window->capacity = wanted;
    }
    window->size = 0;
    got = weir_io_read(window->io, window->fd, window->data, wanted, offset);
    if (got <= 0) {
        if (got == 0)
            errno = 0;
        return NULL;
    }
    window->offset = offset;
    window->size = wanted;
    return window->data;
}

static enum weir_look nothing_there(void)
{
    return errno == 0 ? WEIR_LOOK_NONE : WEIR_LOOK_ERROR;
}

enum weir_look weir_look_header(struct weir_window *window, uint64_t offset,
                                struct weir_record_header *header)
{
    const uint8_t *bytes = weir_window_at(window, offset, WEIR_RECORD_HEADER_BYTES);

    if (bytes == NULL)
        return nothing_there();
    return weir_record_header_decode(bytes, window->salt, header) ? WEIR_LOOK_GOOD : WEIR_LOOK_NONE;
}

enum weir_look weir_look_record(struct weir_window *window, uint64_t offset,
                                struct weir_record_header *header)
{
    enum weir_look look = weir_look_header(window, offset, header);
    const uint8_t *bytes;
    size_t size;
    uint32_t crc;

    if (look != WEIR_LOOK_GOOD)
        return look;
    size = (size_t)weir_record_content_bytes(header);
    bytes = weir_window_at(window, offset, size);
    if (bytes == NULL)
        return errno == 0 ? WEIR_LOOK_BAD_BODY : WEIR_LOOK_ERROR;
    crc = weir_record_header_crc(bytes, header->seed);
    crc = weir_crc32c(crc, bytes + WEIR_RECORD_HEADER_BYTES, size - WEIR_RECORD_HEADER_BYTES);
    return crc == header->crc ? WEIR_LOOK_GOOD : WEIR_LOOK_BAD_BODY;
}

/* A record's magic number at the next possible place from `offset` on. */
static enum weir_look look_for_magic(struct weir_window *window, uint64_t *offset)
{
    static const uint8_t magic[4] = {WEIR_RECORD_MAGIC & 0xff, (WEIR_RECORD_MAGIC >> 8) & 0xff,
                                     (WEIR_RECORD_MAGIC >> 16) & 0xff, WEIR_RECORD_MAGIC >> 24};

    for (uint64_t at = *offset;
         at <= window->limit && window->limit - at >= WEIR_RECORD_HEADER_BYTES;
         at += WEIR_RECORD_ALIGN) {
        const uint8_t *bytes = weir_window_at(window, at, WEIR_RECORD_HEADER_BYTES);

        if (bytes == NULL)
            return nothing_there();
        if (memcmp(bytes, magic, sizeof magic) == 0) {
            *offset = at;
            return WEIR_LOOK_GOOD;
        }
    }
    return WEIR_LOOK_NONE;
}

enum weir_look weir_look_for_record(struct weir_window *window, uint64_t offset, uint64_t after,
                                    uint64_t *found, struct weir_record_header *header)
{
    for (;; offset += WEIR_RECORD_ALIGN) {
        enum weir_look look = look_for_magic(window, &offset);

        if (look != WEIR_LOOK_GOOD)
            return look;
        look = weir_look_record(window, offset, header);
        if (look == WEIR_LOOK_ERROR)
            return look;
        if (look == WEIR_LOOK_GOOD && header->first > after) {
            *found = offset;
            return look;
        }
    }
}
