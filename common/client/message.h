/* A message that is being filled, and its check before it is sent. */
#ifndef WEIR_CLIENT_MESSAGE_H
#define WEIR_CLIENT_MESSAGE_H

#include <weir.h>
#include <wire/batch.h>

struct text { /* grows and stays, so that a message used again does not allocate */
    char *data;
    size_t bytes, capacity;
    bool set;
};

struct message_header {
    char *name, *value;
};

struct weir_message {
    struct text topic, payload, key, idempotency_key;
    const void *lent; /* NULL, or what is sent in the place of `payload` */
    size_t lent_bytes;
    bool topic_valid;
    struct message_header *headers;
    uint32_t header_count, header_capacity;
    int64_t delay_ms, ttl_ms;
};

/* The view points into the message. What the batch builder checks (lengths) is left to it.
 * WEIR_EINVAL, WEIR_ELIMIT. */
int weir_message_view_of(const struct weir_message *self, struct weir_message_view *view,
                         struct weir_error *error);

#endif
