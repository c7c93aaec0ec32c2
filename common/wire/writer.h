/* Encoding with msgpack-c into a buffer that grows, shared by the encoders of this layer. */
#ifndef WEIR_WIRE_WRITER_H
#define WEIR_WIRE_WRITER_H

#include <base/bytes.h>
#include <msgpack.h>

struct weir_writer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* A packer that appends to the writer. It keeps the writer's address. */
void weir_writer_pack(struct weir_writer *writer, msgpack_packer *packer);
/* Make room for `bytes` more at once. */
void weir_writer_reserve(struct weir_writer *writer, size_t bytes);
void weir_writer_fini(struct weir_writer *writer);
/* What was written, as counted bytes; the writer is empty again. */
struct weir_bytes weir_writer_take(struct weir_writer *writer);

void weir_write_text(msgpack_packer *packer, const char *text, size_t bytes);
void weir_write_bin(msgpack_packer *packer, const void *data, size_t bytes);
/* Text that a person, a handler or a stranger gave: a str if it is UTF-8, or else a bin, so that a
 * strict decoder in any language can read the rest of the frame. */
void weir_write_raw(msgpack_packer *packer, const char *text, size_t bytes);
/* How much of `text` fits into `max` bytes without cutting a character of UTF-8 in two. */
uint32_t weir_text_fit(const char *text, uint32_t bytes, uint32_t max);

#endif
