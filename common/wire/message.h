/* Encoding one message: what the batch builder appends to a body. */
#ifndef WEIR_WIRE_MESSAGE_H
#define WEIR_WIRE_MESSAGE_H

#include <msgpack.h>
#include <wire/batch.h>

/* Whether the message may be sent: its parts within their limits, its headers' names and its origin
 * valid. 0, WEIR_ELIMIT or WEIR_EINVAL. `bytes_max` is what it takes encoded, or a little more. */
int weir_message_check(const struct weir_message_view *message, size_t *bytes_max,
                       struct weir_error *error);
/* Append a message that was checked. */
void weir_message_write(const struct weir_message_view *message, msgpack_packer *packer);

/* Whether these bytes are one msgpack array of at most WEIR_HISTORY_BYTES_MAX, and nothing else. */
bool weir_history_valid(const struct weir_bytes *history);

#endif
