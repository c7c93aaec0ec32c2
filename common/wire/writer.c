#include <base/alloc.h>
#include <base/utf8.h>
#include <wire/writer.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void weir_writer_reserve(struct weir_writer *writer, size_t bytes)
{
    size_t wanted = writer->capacity > 0 ? writer->capacity : bytes > 256 ? bytes : 256;

    if (bytes <= writer->capacity - writer->size)
        return;
    while (bytes > wanted - writer->size)
        wanted *= 2;
    writer->data = weir_realloc(writer->data, wanted, 1);
    writer->capacity = wanted;
}

static int append(void *self, const char *data, size_t size)
{
    struct weir_writer *writer = self;

    weir_writer_reserve(writer, size);
    if (size > 0)
        memcpy(writer->data + writer->size, data, size);
    writer->size += size;
    return 0;
}

void weir_writer_pack(struct weir_writer *writer, msgpack_packer *packer)
{
    msgpack_packer_init(packer, writer, append);
}

void weir_writer_fini(struct weir_writer *writer)
{
    free(writer->data);
    *writer = (struct weir_writer){NULL, 0, 0};
}

struct weir_bytes weir_writer_take(struct weir_writer *writer)
{
    struct weir_bytes bytes;

    if (writer->size == 0) {
        weir_writer_fini(writer);
        return WEIR_BYTES_NONE;
    }
    /* What travels may be kept for long, by many: do not keep the room for growth with it. */
    if (writer->size < writer->capacity - writer->capacity / 4)
        writer->data = weir_realloc(writer->data, writer->size, 1);
    bytes = weir_bytes_wrap(writer->data, writer->size, free, writer->data);
    *writer = (struct weir_writer){NULL, 0, 0};
    return bytes;
}

void weir_write_text(msgpack_packer *packer, const char *text, size_t bytes)
{
    (void)msgpack_pack_str(packer, bytes);
    (void)msgpack_pack_str_body(packer, text, bytes);
}

void weir_write_bin(msgpack_packer *packer, const void *data, size_t bytes)
{
    (void)msgpack_pack_bin(packer, bytes);
    (void)msgpack_pack_bin_body(packer, data, bytes);
}

void weir_write_raw(msgpack_packer *packer, const char *text, size_t bytes)
{
    if (weir_utf8_valid(text, bytes))
        weir_write_text(packer, text, bytes);
    else
        weir_write_bin(packer, text, bytes);
}

uint32_t weir_text_fit(const char *text, uint32_t bytes, uint32_t max)
{
    uint32_t fit = max;

    if (bytes <= max)
        return bytes;
    while (fit > 0 && max - fit < 3 && ((uint8_t)text[fit] & 0xc0) == 0x80)
        fit--;
    return ((uint8_t)text[fit] & 0xc0) == 0x80 ? max : fit;
}
