#include <hold/held_message.h>

int weir_held_walk_init(struct weir_held_walk *self, const struct weir_record *record, uint16_t tag,
                        struct weir_error *error)
{
    *self = (struct weir_held_walk){.record = record, .tag = tag};
    int status =
        weir_batch_check(&record->header, &record->index, &record->body, &self->header, error);
    if (status != 0)
        return status;
    self->width = weir_index_width(self->header.flags);
    return 0;
}

bool weir_held_walk_next(struct weir_held_walk *self)
{
    if (self->next == self->header.count)
        return false;
    struct weir_held_message *message = &self->message;
    const struct weir_record *record = self->record;
    uint32_t length = weir_index_length(&record->index, self->width, self->next);
    message->body = weir_bytes_borrow(record->body.data + self->offset, length);
    message->readable = weir_message_decode(message->body.data, length, &message->view, NULL) == 0;
    if (!message->readable)
        message->view = (struct weir_message_view){.payload = message->body.data,
                                                   .payload_bytes = message->body.size};
    if (!message->view.has_origin)
        message->view.origin = (struct weir_origin){0};
    message->topic = self->header.topic;
    message->topic_bytes = self->header.topic_bytes;
    if (message->view.has_origin)
        weir_id_decode(message->view.origin.id, &message->id);
    else
        message->id = (struct weir_id){
            .time_ms = record->time_ms, .tag = self->tag, .sequence = record->first + self->next};
    self->offset += length;
    self->next++;
    return true;
}
