#include <base/alloc.h>
#include <base/limits.h>
#include <client/producer.h>
#include <stdlib.h>

weir_producer_options_t *weir_producer_options_new(const char *endpoint)
{
    struct weir_producer_options *self = weir_zalloc(1, sizeof *self);
    *self = (struct weir_producer_options){
        .endpoint = weir_strdup(endpoint != NULL ? endpoint : ""),
        .window = WEIR_CLIENT_WINDOW,
        .batch_messages_max = WEIR_CLIENT_BATCH_MESSAGES,
        .batch_bytes_max = WEIR_CLIENT_BATCH_BYTES,
        .queue_messages_max = WEIR_CLIENT_QUEUE_MESSAGES,
        .queue_bytes_max = WEIR_CLIENT_QUEUE_BYTES,
        .when_full = WEIR_WHEN_FULL_BLOCK,
        .timeout_ms = WEIR_CLIENT_TIMEOUT_MS,
    };
    return self;
}

void weir_producer_options_destroy(weir_producer_options_t **self)
{
    if (self == NULL || *self == NULL)
        return;
    free((*self)->endpoint);
    free(*self);
    *self = NULL;
}

void weir_producer_options_set_window(weir_producer_options_t *self, uint32_t batches)
{
    self->window = batches;
}

void weir_producer_options_set_batch(weir_producer_options_t *self, uint32_t messages_max,
                                     uint32_t bytes_max)
{
    self->batch_messages_max = messages_max;
    self->batch_bytes_max = bytes_max;
}

void weir_producer_options_set_queue(weir_producer_options_t *self, uint32_t messages_max,
                                     uint64_t bytes_max)
{
    self->queue_messages_max = messages_max;
    self->queue_bytes_max = bytes_max;
}

void weir_producer_options_set_when_full(weir_producer_options_t *self,
                                         enum weir_when_full when_full)
{
    self->when_full = when_full;
}

void weir_producer_options_set_timeout_ms(weir_producer_options_t *self, int64_t timeout_ms)
{
    self->timeout_ms = timeout_ms;
}
