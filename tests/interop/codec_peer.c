/* The C side of the codec's interoperation tests. Speaks lines, so that any language can sit
 * opposite.
 *
 *     codec_peer emit     prints one line for each frame or batch it encodes:
 *                             control HEX JSON
 *                             batch HEX HEX HEX JSON
 *     codec_peer read     takes lines "control HEX" and "batch HEX HEX HEX" and answers each with a
 *                         line: "ok JSON" or "refused TEXT"
 *
 * The JSON says what the frames hold, with bytes in hex, and does not come from msgpack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../unit/wire/full_control.h"

#include <base/alloc.h>
#include <wire/batch.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_hex(const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        printf("%02x", bytes[i]);
}

static void print_quoted_hex(const void *data, size_t size)
{
    putchar('"');
    print_hex(data, size);
    putchar('"');
}

/* ---- what a control frame holds ---- */

static void print_lease_values(const struct weir_lease_ref *lease)
{
    printf("%" PRIu64 ",%" PRIu64 ",%u,%u", lease->incarnation, lease->delivery, lease->first,
           lease->count);
}

static void print_leases(const struct weir_lease_ref *leases, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        printf("%s[", i > 0 ? "," : "");
        print_lease_values(&leases[i]);
        putchar(']');
    }
}

static void print_acks(const struct weir_ack *acks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        printf("%s[", i > 0 ? "," : "");
        print_lease_values(&acks[i].lease);
        printf(",%u,%" PRId64 ",", acks[i].outcome, acks[i].delay_ms);
        if (acks[i].error != NULL)
            print_quoted_hex(acks[i].error, acks[i].error_bytes);
        else
            printf("null");
        putchar(']');
    }
}

static void print_slices(const struct weir_slice_info *slices, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        printf("%s[%u,%u,%" PRIu64 ",%" PRId64 ",%u,%u]", i > 0 ? "," : "", slices[i].index,
               slices[i].count, slices[i].sequence, slices[i].time_ms, slices[i].attempt,
               slices[i].death);
}

static void print_array(const struct weir_control *control, enum weir_field field)
{
    putchar('[');
    if (field == WEIR_FIELD_LEASES)
        print_leases(control->leases, control->lease_count);
    else if (field == WEIR_FIELD_RUNNING)
        print_leases(control->running, control->running_count);
    else if (field == WEIR_FIELD_ACKS)
        print_acks(control->acks, control->ack_count);
    else if (field == WEIR_FIELD_SLICES)
        print_slices(control->slices, control->slice_count);
    for (uint32_t i = 0; field == WEIR_FIELD_TOPICS && i < control->topic_count; i++) {
        printf("%s", i > 0 ? "," : "");
        print_quoted_hex(control->topics[i].data, control->topics[i].bytes);
    }
    for (uint32_t i = 0; field == WEIR_FIELD_DUPLICATES && i < control->duplicate_count; i++) {
        printf("%s[%u,", i > 0 ? "," : "", control->duplicates[i].index);
        print_quoted_hex(control->duplicates[i].id, WEIR_ID_BYTES);
        putchar(']');
    }
    putchar(']');
}

static void print_field(const struct weir_control *control, enum weir_field field)
{
    const void *member = (const uint8_t *)control + weir_field_infos[field].offset;
    const struct weir_text *text = member;

    printf(",\"%s\":", weir_field_infos[field].key);
    switch (weir_field_infos[field].type) {
    case WEIR_TYPE_U64:
    case WEIR_TYPE_U16:
    case WEIR_TYPE_MS:
    case WEIR_TYPE_TIME:
        printf("%" PRIu64, *(const uint64_t *)member);
        return;
    case WEIR_TYPE_BOOL:
        printf("%s", *(const uint64_t *)member != 0 ? "true" : "false");
        return;
    case WEIR_TYPE_TEXT:
    case WEIR_TYPE_NAME:
        print_quoted_hex(text->data, text->bytes);
        return;
    case WEIR_TYPE_BIN16:
        print_quoted_hex(member, 16);
        return;
    default:
        print_array(control, field);
    }
}

static void print_control(const struct weir_control *control)
{
    printf("{\"verb\":\"%s\"", weir_verb_name(control->verb));
    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++)
        if ((control->has >> field & 1u) != 0)
            print_field(control, field);
    printf("}\n");
}

/* ---- what a batch holds ---- */

static void print_part(const char *name, const void *data, size_t size)
{
    printf(",\"%s\":", name);
    if (data != NULL)
        print_quoted_hex(data, size);
    else
        printf("null");
}

static void print_history(const struct weir_bytes *history)
{
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    int count = weir_history_decode(history, notes, WEIR_HISTORY_ENTRIES_MAX);

    putchar('[');
    for (int i = 0; i < count; i++) {
        printf("%s[%u,%" PRId64 ",%u,", i > 0 ? "," : "", notes[i].attempt, notes[i].time_ms,
               notes[i].outcome);
        print_quoted_hex(notes[i].worker, notes[i].worker_bytes);
        putchar(',');
        print_quoted_hex(notes[i].error, notes[i].error_bytes);
        putchar(']');
    }
    putchar(']');
}

static void print_decoded(const struct weir_message_view *message)
{
    const struct weir_origin *origin = &message->origin;

    print_part("payload", message->payload, message->payload_bytes);
    print_part("key", message->key, message->key_bytes);
    print_part("idempotency_key", message->idempotency_key, message->idempotency_key_bytes);
    printf(",\"headers\":{");
    for (uint32_t i = 0; i < message->header_count; i++) {
        printf("%s\"%.*s\":", i > 0 ? "," : "", (int)message->headers[i].name_bytes,
               message->headers[i].name);
        print_quoted_hex(message->headers[i].value, message->headers[i].value_bytes);
    }
    printf("},\"origin\":");
    if (!message->has_origin) {
        printf("null");
        return;
    }
    putchar('[');
    print_quoted_hex(origin->id, WEIR_ID_BYTES);
    printf(",\"%.*s\",\"%.*s\",%u,%u,%u,", (int)origin->topic_bytes, origin->topic,
           (int)origin->group_bytes, origin->group, origin->death, origin->attempt, origin->reason);
    print_history(&origin->history);
    putchar(']');
}

static int print_batch(const struct weir_bytes frames[3], struct weir_error *error)
{
    struct weir_batch_header header;
    struct weir_message_view message;
    uint32_t width;
    uint64_t offset = 0;
    int rc = weir_batch_check(&frames[0], &frames[1], &frames[2], &header, error);

    width = weir_index_width(header.flags);
    for (uint32_t i = 0; rc == 0 && i < header.count; i++) {
        uint32_t length = weir_index_length(&frames[1], width, i);

        rc = weir_message_decode(frames[2].data + offset, length, &message, error);
        offset += length;
    }
    if (rc != 0)
        return rc;
    printf("ok {\"topic\":\"%.*s\",\"created\":%" PRId64 ",\"number\":%" PRIu64
           ",\"delay\":%" PRId64 ",\"ttl\":%" PRId64 ",\"flags\":%u",
           (int)header.topic_bytes, header.topic, header.created_ms, header.number, header.delay_ms,
           header.ttl_ms, header.flags);
    print_part("producer", header.producer, 16);
    printf(",\"messages\":[");
    offset = 0;
    for (uint32_t i = 0; i < header.count; i++) {
        uint32_t length = weir_index_length(&frames[1], width, i);

        (void)weir_message_decode(frames[2].data + offset, length, &message, NULL);
        offset += length;
        printf("%s{\"key_hash\":%" PRIu64, i > 0 ? "," : "",
               weir_index_key_hash(&frames[1], width, header.flags, i));
        print_part("idempotency_hash", weir_index_idem_hash(&frames[1], width, header.flags, i),
                   16);
        print_decoded(&message);
        putchar('}');
    }
    printf("]}\n");
    return 0;
}

/* ---- emit ---- */

static void emit_control(const struct weir_control *control)
{
    struct weir_bytes frame = weir_control_encode(control);

    printf("control ");
    print_hex(frame.data, frame.size);
    putchar(' ');
    print_control(control);
    weir_bytes_drop(&frame);
}

static void emit_batch(bool replay)
{
    static const struct weir_batch_header header = {.topic = "order.placed",
                                                    .topic_bytes = 12,
                                                    .producer = {9, 8, 7},
                                                    .delay_ms = 5000,
                                                    .ttl_ms = 60000};
    struct weir_attempt_note note = {3, 1700000000000, 1, "email.1", 7, "not \xff utf-8", 11};
    struct weir_bytes none = WEIR_BYTES_NONE, history = weir_history_add(&none, &note);
    struct weir_message_view plain = {.payload = (const uint8_t *)"p", .payload_bytes = 1};
    struct weir_message_view full = {
        .payload = (const uint8_t *)"\x00\xff",
        .payload_bytes = 2,
        .key = "k\xfc",
        .key_bytes = 2,
        .headers = {{"traceparent", 11, "00-1-2-01", 9}, {"raw", 3, "\xff", 1}},
        .header_count = 2,
        .idempotency_key = "once",
        .idempotency_key_bytes = 4,
        .has_origin = true,
        .origin = {{1, 2, 3}, "order.placed", 12, "email", 5, 1, 3, 2, history}};
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    struct weir_bytes frames[3];

    if (!replay)
        (void)weir_batch_builder_add(builder, &plain, NULL);
    (void)weir_batch_builder_add(builder, &full, NULL);
    weir_batch_builder_finish(builder, 7, 1700000000000, replay ? WEIR_BATCH_REPLAY : 0, &frames[0],
                              &frames[1], &frames[2]);
    printf("batch ");
    for (int i = 0; i < 3; i++) {
        print_hex(frames[i].data, frames[i].size);
        putchar(' ');
    }
    (void)print_batch(frames, NULL);
    for (int i = 0; i < 3; i++)
        weir_bytes_drop(&frames[i]);
    weir_batch_builder_destroy(&builder);
    weir_bytes_drop(&history);
}

static void emit(void)
{
    for (enum weir_verb verb = 1; verb < WEIR_VERB_COUNT; verb++)
        for (int optional = 0; optional <= 1; optional++) {
            struct weir_control control = full_control_of(verb, optional != 0);

            emit_control(&control);
        }
    emit_batch(false);
    emit_batch(true);
}

/* ---- read ---- */

static struct weir_bytes from_hex(const char *text)
{
    uint8_t *data;
    size_t size = strlen(text) / 2;
    struct weir_bytes bytes = weir_bytes_new(size, &data);

    for (size_t i = 0; i < size; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        data[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return bytes;
}

static void read_line(char *line)
{
    struct weir_bytes frames[3] = {{0}};
    struct weir_control control;
    struct weir_error error = {0};
    char *kind = strsep(&line, " \n"), *word;
    int count = 0, rc;

    while (count < 3 && (word = strsep(&line, " \n")) != NULL)
        frames[count++] = from_hex(word);
    if (strcmp(kind, "control") == 0) {
        rc = weir_control_decode(&frames[0], &control, &error);
        if (rc == 0) {
            printf("ok ");
            print_control(&control);
        }
        weir_control_fini(&control);
    } else {
        rc = print_batch(frames, &error);
    }
    if (rc != 0)
        printf("refused %s\n", error.text);
    for (int i = 0; i < 3; i++)
        weir_bytes_drop(&frames[i]);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t capacity = 0;

    if (argc == 2 && strcmp(argv[1], "emit") == 0) {
        emit();
        return 0;
    }
    if (argc != 2 || strcmp(argv[1], "read") != 0) {
        fprintf(stderr, "usage: codec_peer emit|read\n");
        return 2;
    }
    while (getline(&line, &capacity, stdin) > 0) {
        read_line(line);
        (void)fflush(stdout);
    }
    free(line);
    return 0;
}
