#include <base/alloc.h>
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

/* The length of the UTF-8 sequence at `text`; 0 when it is none. Overlong forms, surrogates and
 * what lies above U+10FFFF are none, as RFC 3629 has it. */
static size_t sequence_length(const uint8_t *text, size_t bytes)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (length == 1)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4 || bytes < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

static bool is_utf8(const char *text, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)text;

    while (bytes > 0) {
        size_t length = sequence_length(at, bytes);

        if (length == 0)
            return false;
        at += length;
        bytes -= length;
    }
    return true;
}

void weir_write_raw(msgpack_packer *packer, const char *text, size_t bytes)
{
    if (is_utf8(text, bytes))
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
