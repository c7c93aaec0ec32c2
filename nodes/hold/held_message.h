/* The messages of a batch as a holder sees them: each with the id, topic and group it is to be
 * known by, whether it is a result, a dead letter, or came straight from a producer. */
#ifndef WEIR_HELD_MESSAGE_H
#define WEIR_HELD_MESSAGE_H

#include <base/message_id.h>
#include <contract/store.h>
#include <wire/batch.h>

struct weir_held_message {
    /* The message; everything in it is empty but the payload where `readable` is false: its body is
     * no message, and the payload then is the body as it came, so that nothing is lost. */
    struct weir_message_view view;
    bool readable;
    struct weir_bytes body; /* borrowed from the record */
    struct weir_id id;      /* its origin's, or its own: the holder's tag and the sequence */
    const char *topic;      /* of the batch; not NUL-terminated */
    uint32_t topic_bytes;
};

/* Walks a record. */
struct weir_held_walk {
    const struct weir_record *record;
    struct weir_batch_header header;
    uint16_t tag;
    uint32_t width;
    uint32_t next;
    uint64_t offset;
    struct weir_held_message message; /* the current one */
};

/* `record` and its frames must outlive the walk; `tag` is the holder's own. WEIR_EPROTO: the frames
 * do not fit together (the intake lets no such batch through). */
int weir_held_walk_init(struct weir_held_walk *self, const struct weir_record *record, uint16_t tag,
                        struct weir_error *error);
/* Go to the first, the next message; false: there is none. */
bool weir_held_walk_next(struct weir_held_walk *self);

#endif
