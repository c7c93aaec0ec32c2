/* Frames between libzmq and weir_bytes: large ones change hands, small ones are copied. */
#ifndef WEIR_NET_FRAME_ZMQ_H
#define WEIR_NET_FRAME_ZMQ_H

#include <base/bytes.h>
#include <zmq.h>

/* Up to this size a copy is cheaper than handing memory on; and libzmq keeps received frames below
 * 8 KiB in one shared buffer, all of which a kept frame would hold. */
#define WEIR_FRAME_COPY_BYTES 1024u

/* Take over a received message; `message` is empty (but initialised) afterwards. */
struct weir_bytes weir_frame_take(zmq_msg_t *message);
/* Make a message of a frame; takes over the reference and clears the struct. */
void weir_frame_give(struct weir_bytes *bytes, zmq_msg_t *message);

#endif
