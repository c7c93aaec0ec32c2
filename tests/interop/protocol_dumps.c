/* Worked examples: the encoder's bytes, one token a line, with what each means. */
#include "protocol_doc.h"

#include <wire/batch.h>
#include <wire/control.h>
#include <wire/reader.h>

#include <inttypes.h>
#include <string.h>

#define DEPTH_MAX 8
#define LINE_BYTES 16 /* of hex before the meaning */

/* `size` bytes in lines of sixteen; the first one with its meaning. */
static void print_line(FILE *out, const uint8_t *data, size_t size, int depth, const char *meaning)
{
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        int width = 0;

        for (size_t i = at; i < size && i < at + LINE_BYTES; i++)
            width += fprintf(out, i > at ? " %02x" : "%02x", data[i]);
        if (at == 0)
            fprintf(out, "%*s%*s%s", 3 * LINE_BYTES + 1 - width, "", 2 * depth, "", meaning);
        fputc('\n', out);
    }
}

static void describe(const struct weir_token *token, char *text, size_t bytes)
{
    switch (token->type) {
    case WEIR_TOKEN_NIL:
        (void)snprintf(text, bytes, "nil");
        return;
    case WEIR_TOKEN_BOOL:
        (void)snprintf(text, bytes, token->u64 ? "true" : "false");
        return;
    case WEIR_TOKEN_UINT:
        (void)snprintf(text, bytes, "%" PRIu64, token->u64);
        return;
    case WEIR_TOKEN_TEXT:
        (void)snprintf(text, bytes, "\"%.*s\"", (int)token->size, (const char *)token->data);
        return;
    case WEIR_TOKEN_BIN:
        (void)snprintf(text, bytes, "bin, %u bytes", token->size);
        return;
    case WEIR_TOKEN_ARRAY:
        (void)snprintf(text, bytes, "array of %u", token->size);
        return;
    case WEIR_TOKEN_MAP:
        (void)snprintf(text, bytes, "map of %u", token->size);
        return;
    default:
        (void)snprintf(text, bytes, "?");
    }
}

static void print_msgpack(FILE *out, const uint8_t *data, size_t size)
{
    struct weir_reader reader = weir_reader_of(data, size);
    uint64_t owed[DEPTH_MAX] = {0};
    int depth = 0;

    while (weir_reader_left(&reader) > 0) {
        const uint8_t *start = reader.at;
        struct weir_token token;
        char text[128];

        if (!weir_read_token(&reader, &token))
            return;
        describe(&token, text, sizeof text);
        print_line(out, start, (size_t)(reader.at - start), depth, text);
        if (owed[depth] > 0)
            owed[depth]--;
        if ((token.type == WEIR_TOKEN_ARRAY || token.type == WEIR_TOKEN_MAP) &&
            depth + 1 < DEPTH_MAX)
            owed[++depth] = token.type == WEIR_TOKEN_MAP ? 2 * token.size : token.size;
        while (depth > 0 && owed[depth] == 0)
            depth--;
    }
}

static void print_index(FILE *out, const struct weir_bytes *index, uint32_t count)
{
    static const uint8_t none[16];
    uint32_t width = (uint32_t)index->size / count;

    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = index->data + (size_t)i * width;
        char text[64];

        (void)snprintf(text, sizeof text, "length %u", weir_index_length(index, width, i));
        print_line(out, entry, 4, 0, text);
        print_line(out, entry + 4, 8, 0,
                   memcmp(entry + 4, none, 8) != 0 ? "hash of the key" : "no key");
        print_line(out, entry + 12, 16, 0,
                   memcmp(entry + 12, none, 16) != 0 ? "hash of the idempotency key"
                                                     : "no idempotency key");
    }
}

static void print_control(FILE *out, const struct weir_control *control, int number)
{
    struct weir_bytes frame = weir_control_encode(control);

    fprintf(out, "frame %d, control, %zu bytes\n", number, frame.size);
    print_msgpack(out, frame.data, frame.size);
    weir_bytes_drop(&frame);
}

struct batch {
    struct weir_bytes header, index, body;
};

/* Two messages; the second has every part but an origin. */
static struct batch make_batch(void)
{
    static const struct weir_batch_header header = {
        .topic = "user.signed_up",
        .topic_bytes = 14,
        .producer = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    };
    static const struct weir_message_view first = {
        .payload = (const uint8_t *)"{\"user\":1}",
        .payload_bytes = 10,
    };
    static const struct weir_message_view second = {
        .payload = (const uint8_t *)"{\"user\":2}",
        .payload_bytes = 10,
        .key = "user-2",
        .key_bytes = 6,
        .headers = {{"source", 6, "web", 3}},
        .header_count = 1,
        .idempotency_key = "signup/2",
        .idempotency_key_bytes = 8,
    };
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct batch batch;

    (void)weir_batch_builder_add(builder, &first, NULL);
    (void)weir_batch_builder_add(builder, &second, NULL);
    weir_batch_builder_finish(builder, 1, INT64_C(1700000000000), 0, &batch.header, &batch.index,
                              &batch.body);
    weir_batch_builder_destroy(&builder);
    return batch;
}

static void print_batch(FILE *out, const struct batch *batch, uint32_t count)
{
    fprintf(out, "\nframe 2, header, %zu bytes\n", batch->header.size);
    print_msgpack(out, batch->header.data, batch->header.size);
    fprintf(out, "\nframe 3, index, %zu bytes\n", batch->index.size);
    print_index(out, &batch->index, count);
    fprintf(out, "\nframe 4, body, %zu bytes\n", batch->body.size);
    print_msgpack(out, batch->body.data, batch->body.size);
}

static void batch_drop(struct batch *batch)
{
    weir_bytes_drop(&batch->header);
    weir_bytes_drop(&batch->index);
    weir_bytes_drop(&batch->body);
}

static void print_put(FILE *out)
{
    struct weir_control put = {.verb = WEIR_VERB_PUT};
    struct batch batch = make_batch();

    WEIR_SET(&put, first, FIRST, 1);
    print_control(out, &put, 1);
    print_batch(out, &batch, 2);
    batch_drop(&batch);
}

static void print_ok(FILE *out)
{
    struct weir_control ok = {.verb = WEIR_VERB_OK};

    WEIR_SET(&ok, number, NUMBER, 1);
    WEIR_SET(&ok, first, FIRST, 1000);
    WEIR_SET(&ok, count, COUNT, 2);
    WEIR_SET(&ok, tag, TAG, 7);
    WEIR_SET(&ok, time_ms, TIME, INT64_C(1700000000123));
    WEIR_SET(&ok, durability, DURABILITY, weir_text_of("always"));
    print_control(out, &ok, 1);
}

/* The second message alone: a cut of index and body, the header as it was. */
static void print_deliver(FILE *out)
{
    static const uint8_t spool[16] = {0x5b, 0x0c, 0x8e, 0x1f, 0x90, 0x27, 0x4d, 0x3a,
                                      0xa1, 0x44, 0x36, 0xde, 0x07, 0xb2, 0xc8, 0x19};
    struct weir_slice_info slice = {0, 1, 1001, INT64_C(1700000000123), 1, 0};
    struct weir_control deliver = {.verb = WEIR_VERB_DELIVER};
    struct batch whole = make_batch(), cut;

    WEIR_SET(&deliver, group, GROUP, weir_text_of("email"));
    WEIR_SET(&deliver, incarnation, INCARNATION, UINT64_C(0x1122334455660007));
    WEIR_SET(&deliver, delivery, DELIVERY, 5);
    WEIR_SET(&deliver, lease_ms, LEASE_MS, 30000);
    WEIR_SET(&deliver, timeout_ms, TIMEOUT_MS, 30000);
    WEIR_SET(&deliver, slices, SLICES, &slice);
    deliver.slice_count = 1;
    memcpy(deliver.uuid, spool, sizeof deliver.uuid);
    WEIR_MARK(&deliver, UUID);
    cut.header = weir_bytes_ref(&whole.header);
    weir_slice_cut(&whole.index, &whole.body, 28, 1, 1, UINT64_MAX, &cut.index, &cut.body);
    print_control(out, &deliver, 1);
    print_batch(out, &cut, 1);
    batch_drop(&cut);
    batch_drop(&whole);
}

static void print_ack(FILE *out)
{
    struct weir_ack ack = {{UINT64_C(0x1122334455660007), 5, 0, 1}, 1, -1, "mailbox full", 12};
    struct weir_control control = {.verb = WEIR_VERB_ACK};

    WEIR_SET(&control, group, GROUP, weir_text_of("email"));
    WEIR_SET(&control, acks, ACKS, &ack);
    control.ack_count = 1;
    print_control(out, &control, 1);
}

bool print_dump(const char *name, FILE *out)
{
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } dumps[] = {
        {"dump PUT", print_put},
        {"dump OK", print_ok},
        {"dump DELIVER", print_deliver},
        {"dump ACK", print_ack},
    };

    for (size_t i = 0; i < sizeof dumps / sizeof dumps[0]; i++) {
        if (strcmp(dumps[i].name, name) != 0)
            continue;
        fprintf(out, "\n```\n");
        dumps[i].print(out);
        fprintf(out, "```\n\n");
        return true;
    }
    return false;
}

const char *const *dump_names(void)
{
    static const char *const names[] = {"dump PUT", "dump OK", "dump DELIVER", "dump ACK", NULL};

    return names;
}
