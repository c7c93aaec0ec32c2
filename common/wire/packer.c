/* The packer that roles fill an ANSWER with. */
#include <base/alloc.h>
#include <wire/control.h>
#include <wire/writer.h>

#include <stdlib.h>
#include <string.h>

struct weir_packer {
    struct weir_writer writer;
    msgpack_packer pack;
};

struct weir_packer *weir_packer_new(void)
{
    struct weir_packer *self = weir_zalloc(1, sizeof *self);

    weir_writer_pack(&self->writer, &self->pack);
    return self;
}

void weir_packer_destroy(struct weir_packer **self)
{
    if (*self == NULL)
        return;
    weir_writer_fini(&(*self)->writer);
    free(*self);
    *self = NULL;
}

void weir_pack_map(struct weir_packer *packer, uint32_t pairs)
{
    (void)msgpack_pack_map(&packer->pack, pairs);
}

void weir_pack_array(struct weir_packer *packer, uint32_t count)
{
    (void)msgpack_pack_array(&packer->pack, count);
}

void weir_pack_text(struct weir_packer *packer, const char *text)
{
    weir_pack_text_n(packer, text, strlen(text));
}

void weir_pack_text_n(struct weir_packer *packer, const char *text, size_t bytes)
{
    weir_write_raw(&packer->pack, text, bytes);
}

void weir_pack_bytes(struct weir_packer *packer, const void *data, size_t bytes)
{
    weir_write_bin(&packer->pack, data, bytes);
}

void weir_pack_u64(struct weir_packer *packer, uint64_t value)
{
    (void)msgpack_pack_uint64(&packer->pack, value);
}

void weir_pack_i64(struct weir_packer *packer, int64_t value)
{
    (void)msgpack_pack_int64(&packer->pack, value);
}

void weir_pack_bool(struct weir_packer *packer, int value)
{
    if (value)
        (void)msgpack_pack_true(&packer->pack);
    else
        (void)msgpack_pack_false(&packer->pack);
}

void weir_pack_nil(struct weir_packer *packer)
{
    (void)msgpack_pack_nil(&packer->pack);
}

struct weir_bytes weir_packer_finish(struct weir_packer **self)
{
    struct weir_bytes bytes = weir_writer_take(&(*self)->writer);

    weir_packer_destroy(self);
    return bytes;
}
