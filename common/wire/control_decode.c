/* Reading a control frame into the flat struct. An array is allocated once, for as many entries as
 * the bytes behind its head can hold and its limit allows. */
#include <base/alloc.h>
#include <base/topic.h>
#include <contract/policy.h>
#include <wire/control_table.h>
#include <wire/reader.h>
#include <wire/writer.h>

#include <stdlib.h>
#include <string.h>

/* How to read one entry of an array into memory. `values` is how many the entry has on the wire. */
typedef bool read_entry(struct weir_reader *reader, uint32_t values, void *entry);

static bool read_lease(struct weir_reader *reader, uint32_t values, void *entry)
{
    struct weir_lease_ref *lease = entry;

    (void)values;
    return weir_read_u64(reader, UINT64_MAX, &lease->incarnation) &&
           weir_read_u64(reader, UINT64_MAX, &lease->delivery) &&
           weir_read_u32(reader, WEIR_DELIVERY_MESSAGES_MAX - 1, &lease->first) &&
           weir_read_u32(reader, WEIR_DELIVERY_MESSAGES_MAX - lease->first, &lease->count) &&
           lease->count > 0;
}

static bool read_ack(struct weir_reader *reader, uint32_t values, void *entry)
{
    struct weir_ack *ack = entry;

    ack->delay_ms = -1;
    if (!read_lease(reader, values, &ack->lease) ||
        !weir_read_u32(reader, WEIR_UNAVAILABLE, &ack->outcome))
        return false;
    if (values > 5 && !weir_read_nil(reader) &&
        !weir_read_time(reader, WEIR_DURATION_MS_MAX, &ack->delay_ms))
        return false;
    if (values > 6 && !weir_read_nil(reader)) {
        if (!weir_read_raw(reader, &ack->error, &ack->error_bytes))
            return false;
        ack->error_bytes = weir_text_fit(ack->error, ack->error_bytes, WEIR_ERROR_BYTES_MAX);
    }
    return true;
}

static bool read_slice(struct weir_reader *reader, uint32_t values, void *entry)
{
    struct weir_slice_info *slice = entry;

    (void)values;
    return weir_read_u32(reader, WEIR_DELIVERY_MESSAGES_MAX - 1, &slice->index) &&
           weir_read_u32(reader, WEIR_DELIVERY_MESSAGES_MAX - slice->index, &slice->count) &&
           slice->count > 0 &&
           weir_read_u64(reader, UINT64_MAX - WEIR_DELIVERY_MESSAGES_MAX, &slice->sequence) &&
           slice->sequence > 0 && weir_read_time(reader, WEIR_TIME_MS_MAX, &slice->time_ms) &&
           weir_read_u32(reader, UINT32_MAX, &slice->attempt) && slice->attempt > 0 &&
           weir_read_u32(reader, UINT32_MAX, &slice->death);
}

static bool read_duplicate(struct weir_reader *reader, uint32_t values, void *entry)
{
    struct weir_duplicate *duplicate = entry;

    (void)values;
    return weir_read_u32(reader, WEIR_BATCH_MESSAGES_MAX - 1, &duplicate->index) &&
           weir_read_fixed(reader, duplicate->id, WEIR_ID_BYTES);
}

static bool read_pattern(struct weir_reader *reader, uint32_t values, void *entry)
{
    struct weir_text *pattern = entry;

    (void)values;
    return weir_read_text(reader, &pattern->data, &pattern->bytes) &&
           weir_topic_pattern_valid(pattern->data, pattern->bytes);
}

struct array_kind {
    uint32_t count_min;
    uint32_t count_max;
    uint32_t values_min; /* of an entry on the wire; 0: it is no array itself */
    uint32_t values_max; /* more are of a later version, and skipped */
    size_t entry_bytes;  /* in memory */
    read_entry *read;
};

static const struct array_kind array_kinds[WEIR_TYPES_END] = {
    [WEIR_TYPE_PATTERNS] = {0, WEIR_TOPIC_PATTERNS_MAX, 0, 0, sizeof(struct weir_text),
                            read_pattern},
    [WEIR_TYPE_LEASES] = {0, WEIR_LEASES_MAX, 4, 4, sizeof(struct weir_lease_ref), read_lease},
    [WEIR_TYPE_ACKS] = {1, WEIR_ACKS_MAX, 5, 7, sizeof(struct weir_ack), read_ack},
    [WEIR_TYPE_SLICES] = {1, WEIR_SLICES_MAX, 6, 6, sizeof(struct weir_slice_info), read_slice},
    [WEIR_TYPE_DUPLICATES] = {0, WEIR_BATCH_MESSAGES_MAX, 2, 2, sizeof(struct weir_duplicate),
                              read_duplicate},
};

static bool read_one(struct weir_reader *reader, const struct array_kind *kind, void *entry)
{
    uint32_t values = 0;

    if (kind->values_min > 0 && (!weir_read_array(reader, &values) || values < kind->values_min))
        return false;
    if (!kind->read(reader, values, entry))
        return false;
    for (uint32_t i = kind->values_max; i < values; i++)
        if (!weir_read_skip(reader))
            return false;
    return true;
}

/* Gives the entries, allocated; NULL when there are none or they are not as they should be. */
static void *read_entries(struct weir_reader *reader, enum weir_field_type type, uint32_t *count,
                          bool *valid)
{
    const struct array_kind *kind = &array_kinds[type];
    uint8_t *entries;

    *count = 0;
    *valid = weir_read_array(reader, count) && *count >= kind->count_min &&
             *count <= kind->count_max &&
             /* An entry takes a byte for itself and one for each value. */
             *count <= weir_reader_left(reader) / (kind->values_min + 1);
    if (!*valid || *count == 0)
        return NULL;
    entries = weir_zalloc(*count, kind->entry_bytes);
    for (uint32_t i = 0; *valid && i < *count; i++)
        *valid = read_one(reader, kind, entries + i * kind->entry_bytes);
    if (*valid)
        return entries;
    free(entries);
    *count = 0;
    return NULL;
}

static bool read_array_field(struct weir_reader *reader, enum weir_field field,
                             struct weir_control *control)
{
    enum weir_field_type type = weir_field_infos[field].type;
    bool valid;

    switch (field) {
    case WEIR_FIELD_TOPICS:
        control->topics = read_entries(reader, type, &control->topic_count, &valid);
        return valid;
    case WEIR_FIELD_LEASES:
        control->leases = read_entries(reader, type, &control->lease_count, &valid);
        return valid;
    case WEIR_FIELD_RUNNING:
        control->running = read_entries(reader, type, &control->running_count, &valid);
        return valid;
    case WEIR_FIELD_ACKS:
        control->acks = read_entries(reader, type, &control->ack_count, &valid);
        return valid;
    case WEIR_FIELD_SLICES:
        control->slices = read_entries(reader, type, &control->slice_count, &valid);
        return valid;
    case WEIR_FIELD_DUPLICATES:
        control->duplicates = read_entries(reader, type, &control->duplicate_count, &valid);
        return valid;
    default:
        WEIR_ASSERT(!"every array field has a case");
        return false;
    }
}

static bool read_bool(struct weir_reader *reader, uint64_t *value)
{
    struct weir_token token;

    if (!weir_read_token(reader, &token) || token.type != WEIR_TOKEN_BOOL)
        return false;
    *value = token.u64;
    return true;
}

static bool read_field(struct weir_reader *reader, enum weir_field field,
                       struct weir_control *control)
{
    const struct weir_field_info *info = &weir_field_infos[field];
    void *member = (uint8_t *)control + info->offset;
    struct weir_text *text = member;

    switch (info->type) {
    case WEIR_TYPE_U64:
        return weir_read_u64(reader, UINT64_MAX, member);
    case WEIR_TYPE_U16:
        return weir_read_u64(reader, UINT16_MAX, member);
    case WEIR_TYPE_TIME:
        return weir_read_time(reader, WEIR_TIME_MS_MAX, member);
    case WEIR_TYPE_MS:
        return weir_read_u64(reader, WEIR_DURATION_MS_MAX, member);
    case WEIR_TYPE_BOOL:
        return read_bool(reader, member);
    case WEIR_TYPE_TEXT:
        return weir_read_raw(reader, &text->data, &text->bytes) &&
               text->bytes <= WEIR_TEXT_BYTES_MAX;
    case WEIR_TYPE_NAME:
        return weir_read_text(reader, &text->data, &text->bytes) &&
               weir_name_valid(text->data, text->bytes);
    case WEIR_TYPE_BIN16:
        return weir_read_fixed(reader, member, 16);
    default:
        return read_array_field(reader, field, control);
    }
}

static int read_fields(struct weir_reader *reader, struct weir_control *control,
                       struct weir_error *error)
{
    const struct weir_verb_info *verb = &weir_verb_infos[control->verb];
    uint32_t pairs;

    if (!weir_read_map(reader, &pairs))
        return weir_error_set(error, WEIR_EPROTO, "%s: expected a map of fields after the verb",
                              verb->name);
    for (uint32_t i = 0; i < pairs; i++) {
        const char *key;
        uint32_t bytes;
        enum weir_field field;
        uint64_t bit;

        if (!weir_read_text(reader, &key, &bytes))
            return weir_error_set(error, WEIR_EPROTO, "%s: expected a field's name", verb->name);
        field = weir_field_find(key, bytes);
        bit = field < WEIR_FIELDS_END ? UINT64_C(1) << field : 0;
        if ((bit & (verb->required | verb->optional)) == 0) {
            if (!weir_read_skip(reader))
                return weir_error_set(error, WEIR_EPROTO, "%s: a field's value does not parse",
                                      verb->name);
            continue;
        }
        if ((control->has & bit) != 0)
            return weir_error_set(error, WEIR_EPROTO, "%s: field \"%s\" is there twice", verb->name,
                                  weir_field_infos[field].key);
        if (!read_field(reader, field, control)) {
            const struct weir_type_info *type = &weir_type_infos[weir_field_infos[field].type];

            return weir_error_set(error, WEIR_EPROTO,
                                  "%s: field \"%s\" is not valid: expected %s (%s)", verb->name,
                                  weir_field_infos[field].key, type->type, type->range);
        }
        control->has |= bit;
    }
    return 0;
}

static int read_control(struct weir_reader *reader, struct weir_control *control,
                        struct weir_error *error)
{
    const struct weir_verb_info *verb;
    const char *name;
    uint32_t count, bytes;
    uint64_t missing;
    int rc;

    if (!weir_read_array(reader, &count) || count != 2 || !weir_read_text(reader, &name, &bytes))
        return weir_error_set(error, WEIR_EPROTO, "control frame: expected [verb, {fields}]");
    control->verb = weir_verb_find(name, bytes);
    if (control->verb == WEIR_VERB_COUNT)
        return weir_error_set(error, WEIR_EPROTO,
                              "control frame: a verb of %u bytes that version %d does not know",
                              bytes, WEIR_PROTOCOL_VERSION);
    verb = &weir_verb_infos[control->verb];
    rc = read_fields(reader, control, error);
    if (rc != 0)
        return rc;
    if (reader->at != reader->end)
        return weir_error_set(error, WEIR_EPROTO, "%s: bytes after the end of the control frame",
                              verb->name);
    missing = verb->required & ~control->has;
    if (missing != 0)
        return weir_error_set(error, WEIR_EPROTO, "%s: field \"%s\" is missing", verb->name,
                              weir_field_infos[__builtin_ctzll(missing)].key);
    if (WEIR_HAS(control, FIRST) && WEIR_HAS(control, COUNT) &&
        control->first > UINT64_MAX - control->count)
        return weir_error_set(error, WEIR_EPROTO, "%s: first + count is out of range", verb->name);
    return 0;
}

int weir_control_decode(const struct weir_bytes *frame, struct weir_control *control,
                        struct weir_error *error)
{
    struct weir_reader reader = weir_reader_of(frame->data, frame->size);
    int rc;

    *control = (struct weir_control){0};
    if (frame->size > WEIR_CONTROL_BYTES_MAX)
        return weir_error_set(error, WEIR_EPROTO, "control frame: %zu bytes, the limit is %u",
                              frame->size, WEIR_CONTROL_BYTES_MAX);
    rc = read_control(&reader, control, error);
    if (rc != 0)
        weir_control_fini(control);
    return rc;
}
