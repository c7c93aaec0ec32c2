#include <net/frame_zmq.h>

#include <base/alloc.h>
#include <base/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A frame on its way out. libzmq's I/O thread releases it; the flag says to tools that follow
 * memory from thread to thread what libzmq's own queues, which they cannot see, already order. */
struct lent {
    struct weir_bytes bytes;
    atomic_int handed_over;
};

static void release_message(void *hint)
{
    zmq_msg_t *message = hint;
    zmq_msg_close(message);
    free(message);
}

struct weir_bytes weir_frame_take(zmq_msg_t *message)
{
    size_t size = zmq_msg_size(message);
    if (size <= WEIR_FRAME_COPY_BYTES) {
        struct weir_bytes copy = weir_bytes_copy(zmq_msg_data(message), size);
        zmq_msg_close(message);
        zmq_msg_init(message);
        return copy;
    }
    zmq_msg_t *kept = weir_alloc(sizeof *kept);
    zmq_msg_init(kept);
    int rc = zmq_msg_move(kept, message);
    WEIR_ASSERT(rc == 0);
    return weir_bytes_wrap(zmq_msg_data(kept), size, release_message, kept);
}

static void release_lent(void *data, void *hint)
{
    struct lent *lent = hint;
    (void)data;
    (void)atomic_load_explicit(&lent->handed_over, memory_order_acquire);
    weir_bytes_drop(&lent->bytes);
    free(lent);
}

void weir_frame_give(struct weir_bytes *bytes, zmq_msg_t *message)
{
    /* What is merely borrowed is copied, too: it may not outlive libzmq's queue. */
    if (bytes->size <= WEIR_FRAME_COPY_BYTES || bytes->block == NULL) {
        int rc = zmq_msg_init_size(message, bytes->size);
        WEIR_ASSERT(rc == 0);
        if (bytes->size > 0)
            memcpy(zmq_msg_data(message), bytes->data, bytes->size);
        weir_bytes_drop(bytes);
        return;
    }
    struct lent *lent = weir_alloc(sizeof *lent);
    const struct weir_bytes whole = *bytes;
    lent->bytes = whole;
    *bytes = WEIR_BYTES_NONE;
    atomic_store_explicit(&lent->handed_over, 1, memory_order_release);
    /* libzmq wants a plain pointer, and does not write through it. */
    int rc =
        zmq_msg_init_data(message, (void *)(uintptr_t)whole.data, whole.size, release_lent, lent);
    WEIR_ASSERT(rc == 0);
}
