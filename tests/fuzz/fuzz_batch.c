/* A batch as any producer may send it: three frames, here cut from one input by two lengths in
 * front. What passes the check is then read as a worker would. */
#include <wire/batch.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_messages(const struct weir_batch_header *header, const struct weir_bytes *index,
                          const struct weir_bytes *body)
{
    uint32_t width = weir_index_width(header->flags);
    size_t offset = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        uint32_t length = weir_index_length(index, width, i);
        WEIR_ASSERT(offset + length <= body->size);
        struct weir_message_view view;
        if (weir_message_decode(body->data + offset, length, &view, NULL) == 0 && view.has_origin) {
            struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
            weir_history_decode(&view.origin.history, notes, WEIR_HISTORY_ENTRIES_MAX);
        }
        offset += length;
    }
    WEIR_ASSERT(offset == body->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    size_t header_bytes = (size_t)data[0] << 8 | data[1],
           index_bytes = (size_t)data[2] << 8 | data[3];
    data += 4;
    size -= 4;
    header_bytes = header_bytes < size ? header_bytes : size;
    index_bytes = index_bytes < size - header_bytes ? index_bytes : size - header_bytes;
    struct weir_bytes frame = weir_bytes_borrow(data, header_bytes);
    struct weir_bytes index = weir_bytes_borrow(data + header_bytes, index_bytes);
    struct weir_bytes body =
        weir_bytes_borrow(data + header_bytes + index_bytes, size - header_bytes - index_bytes);
    struct weir_batch_header header;
    if (weir_batch_check(&frame, &index, &body, &header, NULL) == 0)
        read_messages(&header, &index, &body);
    struct weir_message_view view;
    (void)weir_message_decode(data, size, &view, NULL);
    return 0;
}
