#include <executor/buffer.h>

#include <base/alloc.h>
#include <stdlib.h>
#include <string.h>

void weir_buffer_append(struct weir_buffer *self, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (size > self->capacity - self->size) {
        size_t capacity = self->capacity ? self->capacity : 4096;
        while (capacity - self->size < size)
            capacity *= 2;
        self->data = weir_realloc(self->data, capacity, 1);
        self->capacity = capacity;
    }
    memcpy(self->data + self->size, data, size);
    self->size += size;
}

void weir_buffer_consume(struct weir_buffer *self, size_t size)
{
    self->size -= size;
    if (self->size > 0)
        memmove(self->data, self->data + size, self->size);
}

struct weir_bytes weir_buffer_finish(struct weir_buffer *self)
{
    if (self->size == 0) {
        weir_buffer_fini(self);
        return weir_bytes_borrow("", 0);
    }
    struct weir_bytes bytes = weir_bytes_wrap(self->data, self->size, free, self->data);
    *self = (struct weir_buffer){0};
    return bytes;
}

void weir_buffer_fini(struct weir_buffer *self)
{
    free(self->data);
    *self = (struct weir_buffer){0};
}

void weir_tail_append(struct weir_tail *self, const char *text, size_t size)
{
    if (size > sizeof self->text) {
        text += size - sizeof self->text;
        size = sizeof self->text;
        self->cut = true;
    }
    size_t over = self->size + size > sizeof self->text ? self->size + size - sizeof self->text : 0;
    if (over > 0) {
        memmove(self->text, self->text + over, self->size - over);
        self->size -= over;
        self->cut = true;
    }
    memcpy(self->text + self->size, text, size);
    self->size += size;
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0u) == 0x80u;
}

struct weir_bytes weir_tail_error(const struct weir_tail *self, const char *lead)
{
    const char *text = self->text;
    size_t size = self->size;
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    if (size == 0)
        return lead == NULL ? WEIR_BYTES_NONE : weir_bytes_copy(lead, strlen(lead));
    size_t lead_bytes = lead == NULL ? 0 : strlen(lead) + 2;
    bool cut = self->cut;
    if (lead_bytes + size > WEIR_ERROR_BYTES_MAX) {
        text += lead_bytes + size - WEIR_ERROR_BYTES_MAX;
        size = WEIR_ERROR_BYTES_MAX - lead_bytes;
        cut = true;
    }
    while (cut && size > 0 && continues_character(*text)) { /* no half of a UTF-8 character */
        text++;
        size--;
    }
    uint8_t *data;
    struct weir_bytes error = weir_bytes_new(lead_bytes + size, &data);
    if (lead_bytes > 0) {
        memcpy(data, lead, lead_bytes - 2);
        data[lead_bytes - 2] = ':';
        data[lead_bytes - 1] = ' ';
    }
    memcpy(data + lead_bytes, text, size);
    return error;
}
