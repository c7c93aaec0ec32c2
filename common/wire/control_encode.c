#include <wire/control_table.h>
#include <wire/writer.h>

static void write_lease(msgpack_packer *packer, const struct weir_lease_ref *lease)
{
    (void)msgpack_pack_uint64(packer, lease->incarnation);
    (void)msgpack_pack_uint64(packer, lease->delivery);
    (void)msgpack_pack_uint32(packer, lease->first);
    (void)msgpack_pack_uint32(packer, lease->count);
}

static void write_leases(msgpack_packer *packer, const struct weir_lease_ref *leases,
                         uint32_t count)
{
    WEIR_ASSERT(count <= WEIR_LEASES_MAX);
    (void)msgpack_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        (void)msgpack_pack_array(packer, 4);
        write_lease(packer, &leases[i]);
    }
}

static void write_acks(msgpack_packer *packer, const struct weir_ack *acks, uint32_t count)
{
    WEIR_ASSERT(count > 0 && count <= WEIR_ACKS_MAX);
    (void)msgpack_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_ack *ack = &acks[i];
        uint32_t values = ack->error != NULL ? 7 : ack->delay_ms >= 0 ? 6 : 5;

        (void)msgpack_pack_array(packer, values);
        write_lease(packer, &ack->lease);
        (void)msgpack_pack_uint32(packer, ack->outcome);
        if (values > 5 && ack->delay_ms >= 0)
            (void)msgpack_pack_int64(packer, ack->delay_ms);
        else if (values > 5)
            (void)msgpack_pack_nil(packer);
        if (values > 6)
            weir_write_raw(packer, ack->error,
                           weir_text_fit(ack->error, ack->error_bytes, WEIR_ERROR_BYTES_MAX));
    }
}

static void write_slices(msgpack_packer *packer, const struct weir_slice_info *slices,
                         uint32_t count)
{
    WEIR_ASSERT(count > 0 && count <= WEIR_SLICES_MAX);
    (void)msgpack_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        (void)msgpack_pack_array(packer, 6);
        (void)msgpack_pack_uint32(packer, slices[i].index);
        (void)msgpack_pack_uint32(packer, slices[i].count);
        (void)msgpack_pack_uint64(packer, slices[i].sequence);
        (void)msgpack_pack_int64(packer, slices[i].time_ms);
        (void)msgpack_pack_uint32(packer, slices[i].attempt);
        (void)msgpack_pack_uint32(packer, slices[i].death);
    }
}

static void write_duplicates(msgpack_packer *packer, const struct weir_duplicate *duplicates,
                             uint32_t count)
{
    WEIR_ASSERT(count <= WEIR_BATCH_MESSAGES_MAX);
    (void)msgpack_pack_array(packer, count);
    for (uint32_t i = 0; i < count; i++) {
        (void)msgpack_pack_array(packer, 2);
        (void)msgpack_pack_uint32(packer, duplicates[i].index);
        weir_write_bin(packer, duplicates[i].id, WEIR_ID_BYTES);
    }
}

static void write_array_field(msgpack_packer *packer, enum weir_field field,
                              const struct weir_control *control)
{
    switch (field) {
    case WEIR_FIELD_TOPICS:
        WEIR_ASSERT(control->topic_count <= WEIR_TOPIC_PATTERNS_MAX);
        (void)msgpack_pack_array(packer, control->topic_count);
        for (uint32_t i = 0; i < control->topic_count; i++)
            weir_write_text(packer, control->topics[i].data, control->topics[i].bytes);
        return;
    case WEIR_FIELD_LEASES:
        write_leases(packer, control->leases, control->lease_count);
        return;
    case WEIR_FIELD_RUNNING:
        write_leases(packer, control->running, control->running_count);
        return;
    case WEIR_FIELD_ACKS:
        write_acks(packer, control->acks, control->ack_count);
        return;
    case WEIR_FIELD_SLICES:
        write_slices(packer, control->slices, control->slice_count);
        return;
    case WEIR_FIELD_DUPLICATES:
        write_duplicates(packer, control->duplicates, control->duplicate_count);
        return;
    default:
        WEIR_ASSERT(!"every array field has a case");
    }
}

static void write_field(msgpack_packer *packer, enum weir_field field,
                        const struct weir_control *control)
{
    const struct weir_field_info *info = &weir_field_infos[field];
    const void *member = (const uint8_t *)control + info->offset;
    const struct weir_text *text = member;

    weir_write_text(packer, info->key, info->key_bytes);
    switch (info->type) {
    case WEIR_TYPE_U64:
    case WEIR_TYPE_U16:
    case WEIR_TYPE_MS:
        (void)msgpack_pack_uint64(packer, *(const uint64_t *)member);
        return;
    case WEIR_TYPE_TIME:
        (void)msgpack_pack_int64(packer, *(const int64_t *)member);
        return;
    case WEIR_TYPE_BOOL:
        if (*(const uint64_t *)member != 0)
            (void)msgpack_pack_true(packer);
        else
            (void)msgpack_pack_false(packer);
        return;
    case WEIR_TYPE_TEXT:
        weir_write_raw(packer, text->data,
                       weir_text_fit(text->data, text->bytes, WEIR_TEXT_BYTES_MAX));
        return;
    case WEIR_TYPE_NAME:
        weir_write_text(packer, text->data, text->bytes);
        return;
    case WEIR_TYPE_BIN16:
        weir_write_bin(packer, member, 16);
        return;
    default:
        write_array_field(packer, field, control);
    }
}

struct weir_bytes weir_control_encode(const struct weir_control *control)
{
    const struct weir_verb_info *verb;
    struct weir_writer writer = {0};
    msgpack_packer packer;

    WEIR_ASSERT(control->verb >= 1 && control->verb < WEIR_VERB_COUNT);
    verb = &weir_verb_infos[control->verb];
    WEIR_ASSERT((verb->required & ~control->has) == 0);
    WEIR_ASSERT((control->has & ~(verb->required | verb->optional)) == 0);
    weir_writer_pack(&writer, &packer);
    (void)msgpack_pack_array(&packer, 2);
    weir_write_text(&packer, verb->name, strlen(verb->name));
    (void)msgpack_pack_map(&packer, (size_t)__builtin_popcountll(control->has));
    for (uint64_t left = control->has; left != 0; left &= left - 1)
        write_field(&packer, (enum weir_field)__builtin_ctzll(left), control);
    return weir_writer_take(&writer);
}
