/* A pipeline of the real machines in one process: producers, a ventilator on the store in memory, a
 * router, workers. No thread, no socket, no clock: what happens is the same in each run, down to
 * the instruction. */
#ifndef PIPELINE_H
#define PIPELINE_H

#include <stdint.h>

#define PIPELINE_PAYLOAD_BYTES 100u
#define PIPELINE_PRODUCERS_MAX 4u
#define PIPELINE_WORKERS_MAX 8u

struct pipeline;

/* Each batch has `batch` messages. */
struct pipeline *pipeline_new(uint32_t producers, uint32_t workers, uint32_t batch);
void pipeline_destroy(struct pipeline **self);

/* Until so many more messages have been accepted. No worker is there before pipeline_connect. */
void pipeline_fill(struct pipeline *self, uint64_t messages);
/* The workers come. */
void pipeline_connect(struct pipeline *self);
/* Until so many more messages have been handled and acked, the oldest first; as many new ones come
 * in meanwhile. */
void pipeline_flow(struct pipeline *self, uint64_t messages);

#endif
