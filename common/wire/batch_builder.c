#include <base/alloc.h>
#include <base/topic.h>
#include <wire/batch_header.h>
#include <wire/message.h>
#include <wire/writer.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* One entry of the index with all its columns; finish writes those that anyone uses. */
struct entry {
    uint64_t key_hash;
    uint8_t idem_hash[16];
    uint32_t length;
};

struct weir_batch_builder {
    struct weir_batch_header header; /* its topic points to `topic` */
    char topic[WEIR_TOPIC_BYTES_MAX];
    uint32_t flags; /* of what was added */
    struct entry *entries;
    uint32_t count;
    uint32_t capacity;
    struct weir_writer body;
    msgpack_packer packer; /* onto the body */
};

struct weir_batch_builder *weir_batch_builder_new(const struct weir_batch_header *header)
{
    struct weir_batch_builder *self;

    WEIR_ASSERT(weir_topic_valid(header->topic, header->topic_bytes));
    self = weir_zalloc(1, sizeof *self);
    self->header = *header;
    self->header.version = WEIR_BATCH_VERSION;
    memcpy(self->topic, header->topic, header->topic_bytes);
    self->header.topic = self->topic;
    weir_writer_pack(&self->body, &self->packer);
    return self;
}

void weir_batch_builder_destroy(struct weir_batch_builder **self)
{
    if (*self == NULL)
        return;
    weir_writer_fini(&(*self)->body);
    free((*self)->entries);
    free(*self);
    *self = NULL;
}

static void entries_reserve(struct weir_batch_builder *self, uint32_t count)
{
    self->capacity = count;
    self->entries = weir_realloc(self->entries, count, sizeof *self->entries);
}

void weir_batch_builder_expect(struct weir_batch_builder *self, uint32_t messages, size_t bytes)
{
    if (messages > self->capacity)
        entries_reserve(self, messages);
    weir_writer_reserve(&self->body, bytes);
}

uint32_t weir_batch_builder_count(const struct weir_batch_builder *self)
{
    return self->count;
}

size_t weir_batch_builder_size(const struct weir_batch_builder *self)
{
    return WEIR_BATCH_HEADER_BYTES_MAX / 8 +
           (size_t)self->count * weir_index_width(self->flags | self->header.flags) +
           self->body.size;
}

static bool has_room(const struct weir_batch_builder *self, size_t bytes)
{
    /* The widest index there is, so that a first key in the last message cannot break the limit. */
    uint64_t width = weir_index_width(WEIR_BATCH_KEYED | WEIR_BATCH_IDEMPOTENT);

    return self->count < WEIR_BATCH_MESSAGES_MAX &&
           WEIR_BATCH_HEADER_BYTES_MAX + (self->count + 1) * width + self->body.size + bytes <=
               WEIR_BATCH_BYTES_MAX;
}

int weir_batch_builder_add(struct weir_batch_builder *self, const struct weir_message_view *message,
                           struct weir_error *error)
{
    size_t bytes_max, start = self->body.size;
    struct entry *entry;
    int rc = weir_message_check(message, &bytes_max, error);

    if (rc != 0)
        return rc;
    if (!has_room(self, bytes_max))
        return weir_error_set(error, WEIR_EFULL, "batch: no room after %u messages", self->count);
    if (self->count == self->capacity)
        entries_reserve(self, self->capacity > 0 ? 2 * self->capacity : 16);
    weir_message_write(message, &self->packer);

    entry = &self->entries[self->count++];
    *entry = (struct entry){.length = (uint32_t)(self->body.size - start)};
    if (message->key_bytes > 0) {
        entry->key_hash = weir_key_hash(message->key, message->key_bytes);
        self->flags |= WEIR_BATCH_KEYED;
    }
    if (message->idempotency_key_bytes > 0) {
        weir_idem_hash(message->idempotency_key, message->idempotency_key_bytes, entry->idem_hash);
        self->flags |= WEIR_BATCH_IDEMPOTENT;
    }
    return 0;
}

static struct weir_bytes make_index(const struct weir_batch_builder *self, uint32_t flags)
{
    uint8_t *at;
    struct weir_bytes index = weir_bytes_new((size_t)self->count * weir_index_width(flags), &at);

    for (uint32_t i = 0; i < self->count; i++) {
        const struct entry *entry = &self->entries[i];
        uint32_t length = htole32(entry->length);
        uint64_t key_hash = htole64(entry->key_hash);

        memcpy(at, &length, sizeof length);
        at += sizeof length;
        if ((flags & WEIR_BATCH_KEYED) != 0) {
            memcpy(at, &key_hash, sizeof key_hash);
            at += sizeof key_hash;
        }
        if ((flags & WEIR_BATCH_IDEMPOTENT) != 0) {
            memcpy(at, entry->idem_hash, sizeof entry->idem_hash);
            at += sizeof entry->idem_hash;
        }
    }
    return index;
}

static void write_key(msgpack_packer *packer, enum batch_header_field field)
{
    const char *key = weir_batch_header_key(field);

    weir_write_text(packer, key, strlen(key));
}

static void write_number(msgpack_packer *packer, enum batch_header_field field, uint64_t value)
{
    write_key(packer, field);
    (void)msgpack_pack_uint64(packer, value);
}

static struct weir_bytes make_header(const struct weir_batch_header *header)
{
    struct weir_writer writer = {0};
    msgpack_packer packer;

    weir_writer_pack(&writer, &packer);
    (void)msgpack_pack_map(&packer, 6u + (header->delay_ms > 0) + (header->ttl_ms > 0) +
                                        (header->flags != 0) + header->has_spool);
    write_number(&packer, BATCH_HEADER_VERSION, header->version);
    write_key(&packer, BATCH_HEADER_TOPIC);
    weir_write_text(&packer, header->topic, header->topic_bytes);
    write_number(&packer, BATCH_HEADER_COUNT, header->count);
    write_number(&packer, BATCH_HEADER_CREATED, (uint64_t)header->created_ms);
    write_key(&packer, BATCH_HEADER_PRODUCER);
    weir_write_bin(&packer, header->producer, sizeof header->producer);
    write_number(&packer, BATCH_HEADER_NUMBER, header->number);
    if (header->delay_ms > 0)
        write_number(&packer, BATCH_HEADER_DELAY, (uint64_t)header->delay_ms);
    if (header->ttl_ms > 0)
        write_number(&packer, BATCH_HEADER_TTL, (uint64_t)header->ttl_ms);
    if (header->flags != 0)
        write_number(&packer, BATCH_HEADER_FLAGS, header->flags);
    if (header->has_spool) {
        write_key(&packer, BATCH_HEADER_SPOOL);
        weir_write_bin(&packer, header->spool, sizeof header->spool);
    }
    return weir_writer_take(&writer);
}

void weir_batch_builder_finish(struct weir_batch_builder *self, uint64_t number, int64_t created_ms,
                               uint32_t extra_flags, struct weir_bytes *header,
                               struct weir_bytes *index, struct weir_bytes *body)
{
    struct weir_batch_header full = self->header;

    WEIR_ASSERT(self->count > 0 && number > 0);
    full.count = self->count;
    full.number = number;
    full.created_ms = created_ms;
    full.flags |= self->flags | extra_flags;
    *header = make_header(&full);
    *index = make_index(self, full.flags);
    *body = weir_writer_take(&self->body);
    self->count = 0;
    self->flags = 0;
}
