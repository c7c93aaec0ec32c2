#include <base/alloc.h>
#include <base/error.h>
#include <base/topic.h>
#include <client/message.h>
#include <stdlib.h>
#include <string.h>

static void text_set(struct text *text, const void *data, size_t bytes)
{
    if (bytes + 1 > text->capacity) {
        text->capacity = bytes + 1;
        text->data = weir_realloc(text->data, text->capacity, 1);
    }
    if (bytes > 0)
        memcpy(text->data, data, bytes);
    text->data[bytes] = '\0';
    text->bytes = bytes;
    text->set = true;
}

static void text_clear(struct text *text)
{
    text->bytes = 0;
    text->set = false;
}

static void headers_clear(struct weir_message *self)
{
    for (uint32_t i = 0; i < self->header_count; i++) {
        free(self->headers[i].name);
        free(self->headers[i].value);
    }
    self->header_count = 0;
}

weir_message_t *weir_message_new(const char *topic, const void *payload, size_t bytes)
{
    struct weir_message *self = weir_zalloc(1, sizeof *self);
    weir_message_set_topic(self, topic);
    weir_message_set_payload(self, payload, bytes);
    return self;
}

void weir_message_destroy(weir_message_t **self_pointer)
{
    if (self_pointer == NULL || *self_pointer == NULL)
        return;
    struct weir_message *self = *self_pointer;
    headers_clear(self);
    free(self->headers);
    free(self->topic.data);
    free(self->payload.data);
    free(self->key.data);
    free(self->idempotency_key.data);
    free(self);
    *self_pointer = NULL;
}

void weir_message_clear(weir_message_t *self)
{
    self->lent = NULL;
    text_clear(&self->payload);
    text_clear(&self->key);
    text_clear(&self->idempotency_key);
    headers_clear(self);
    self->delay_ms = self->ttl_ms = 0;
}

void weir_message_set_topic(weir_message_t *self, const char *topic)
{
    text_set(&self->topic, topic, topic != NULL ? strlen(topic) : 0);
    self->topic_valid = weir_topic_valid(self->topic.data, self->topic.bytes);
}

void weir_message_set_payload(weir_message_t *self, const void *payload, size_t bytes)
{
    self->lent = NULL;
    text_set(&self->payload, payload, bytes);
}

void weir_message_lend_payload(weir_message_t *self, const void *payload, size_t bytes)
{
    text_clear(&self->payload);
    self->lent = payload;
    self->lent_bytes = bytes;
}

void weir_message_set_key(weir_message_t *self, const char *key)
{
    if (key != NULL && *key != '\0')
        text_set(&self->key, key, strlen(key));
    else
        text_clear(&self->key);
}

void weir_message_set_idempotency_key(weir_message_t *self, const char *key)
{
    if (key != NULL && *key != '\0')
        text_set(&self->idempotency_key, key, strlen(key));
    else
        text_clear(&self->idempotency_key);
}

static struct message_header *header_find(const struct weir_message *self, const char *name)
{
    for (uint32_t i = 0; i < self->header_count; i++)
        if (strcmp(self->headers[i].name, name) == 0)
            return &self->headers[i];
    return NULL;
}

void weir_message_set_header(weir_message_t *self, const char *name, const char *value)
{
    struct message_header *header = header_find(self, name);
    if (value == NULL) {
        if (header == NULL)
            return;
        free(header->name);
        free(header->value);
        uint32_t at = (uint32_t)(header - self->headers);
        self->header_count--;
        memmove(header, header + 1, (self->header_count - at) * sizeof *header);
        return;
    }
    if (header != NULL) {
        free(header->value);
        header->value = weir_strdup(value);
        return;
    }
    if (self->header_count == self->header_capacity) {
        self->header_capacity = self->header_capacity > 0 ? 2 * self->header_capacity : 4;
        self->headers = weir_realloc(self->headers, self->header_capacity, sizeof *self->headers);
    }
    self->headers[self->header_count++] =
        (struct message_header){weir_strdup(name), weir_strdup(value)};
}

void weir_message_set_delay_ms(weir_message_t *self, int64_t delay_ms)
{
    self->delay_ms = delay_ms;
}

void weir_message_set_ttl_ms(weir_message_t *self, int64_t ttl_ms)
{
    self->ttl_ms = ttl_ms;
}

/* What is longer than any limit is as good as UINT32_MAX: the check of lengths finds it. */
static uint32_t length_of(size_t bytes)
{
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

static bool duration_valid(int64_t ms)
{
    return ms >= 0 && ms <= WEIR_DURATION_MS_MAX;
}

int weir_message_view_of(const struct weir_message *self, struct weir_message_view *view,
                         struct weir_error *error)
{
    if (!self->topic_valid)
        return weir_error_set(error, WEIR_EINVAL,
                              "\"%.100s\" is no topic: words of letters, digits, '_' and '-', "
                              "joined by dots, %u bytes at most",
                              self->topic.data, WEIR_TOPIC_BYTES_MAX);
    if (!duration_valid(self->delay_ms) || !duration_valid(self->ttl_ms))
        return weir_error_set(
            error, WEIR_EINVAL, "delay and time to live are 0 … %lld ms, not %lld and %lld",
            (long long)WEIR_DURATION_MS_MAX, (long long)self->delay_ms, (long long)self->ttl_ms);
    if (self->header_count > WEIR_HEADERS_MAX)
        return weir_error_set(error, WEIR_ELIMIT, "the message has %u headers, %u are allowed",
                              self->header_count, WEIR_HEADERS_MAX);
    view->payload = self->lent != NULL ? self->lent : self->payload.data;
    view->payload_bytes = self->lent != NULL ? self->lent_bytes : self->payload.bytes;
    view->key = self->key.set ? self->key.data : NULL;
    view->key_bytes = length_of(self->key.bytes);
    view->idempotency_key = self->idempotency_key.set ? self->idempotency_key.data : NULL;
    view->idempotency_key_bytes = length_of(self->idempotency_key.bytes);
    view->header_count = self->header_count;
    view->has_origin = false;
    for (uint32_t i = 0; i < self->header_count; i++) {
        const struct message_header *header = &self->headers[i];
        view->headers[i] =
            (struct weir_header_pair){header->name, length_of(strlen(header->name)), header->value,
                                      length_of(strlen(header->value))};
    }
    return 0;
}
