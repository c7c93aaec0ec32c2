#include "machine.h"

#include <base/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wire/control_table.h>

#define ARRAY_MAX 6u
#define RAW_BYTES_MAX 64u

const char *const speech_groups[SPEECH_GROUPS] = {"email", "fraud", "late"};

static const char *const texts[] = {
    "worker",    "router", "email",    "fraud",     "late",      "now",    "earliest",
    "malformed", "order",  "limit",    "group",     "draining",  "always", "storage",
    "deferred",  "dead",   "pause",    "resume",    "remove",    "tag",    "dying",
    "replay",    "",       "\xff\xfe", "in-flight", "not-ready",
};
static const char *const topics[] = {"user.signed_up", "user.*", "order.>", "order.placed"};

uint8_t input_byte(struct input *self)
{
    if (self->size == 0)
        return 0;
    self->size--;
    return *self->data++;
}

uint32_t input_below(struct input *self, uint32_t bound)
{
    return input_byte(self) % bound;
}

/* Small, or one that the machine has named, or any. */
static uint64_t number(struct machine *self)
{
    const uint8_t how = input_byte(&self->in);
    uint64_t value = 0;
    if (how < 160)
        return how % 16;
    if (how < 240)
        return self->numbers[how % MACHINE_SEEN];
    for (int i = 0; i < 8; i++)
        value = value << 8 | input_byte(&self->in);
    return value;
}

static struct weir_lease_ref lease(struct machine *self)
{
    const uint8_t how = input_byte(&self->in);
    struct weir_lease_ref ref = self->seen[how % MACHINE_SEEN];
    if (how >= 192) {
        ref.incarnation = number(self);
        ref.delivery = number(self);
    }
    if (how % 3 == 0) { /* a part of it, or what reaches beyond it */
        ref.first += input_below(&self->in, 4);
        ref.count = input_below(&self->in, 6);
    }
    ref.count += ref.count == 0;
    if (ref.first >= WEIR_DELIVERY_MESSAGES_MAX)
        ref.first = WEIR_DELIVERY_MESSAGES_MAX - 1;
    if (ref.count > WEIR_DELIVERY_MESSAGES_MAX - ref.first)
        ref.count = WEIR_DELIVERY_MESSAGES_MAX - ref.first;
    return ref;
}

static void id(struct machine *self, uint8_t bytes[WEIR_ID_BYTES])
{
    const struct weir_id value = {
        .time_ms = self->now.wall_ms, .tag = (uint16_t)number(self), .sequence = number(self)};
    weir_id_encode(&value, bytes);
}

struct arrays { /* what a control points to */
    struct weir_text topics[ARRAY_MAX];
    struct weir_lease_ref leases[ARRAY_MAX], running[ARRAY_MAX];
    struct weir_ack acks[ARRAY_MAX];
    struct weir_slice_info slices[ARRAY_MAX];
    struct weir_duplicate duplicates[ARRAY_MAX];
};

static void fill_acks(struct machine *self, struct arrays *arrays, struct weir_control *control)
{
    control->acks = arrays->acks;
    control->ack_count = 1 + input_below(&self->in, ARRAY_MAX);
    for (uint32_t i = 0; i < control->ack_count; i++) {
        arrays->acks[i] = (struct weir_ack){.lease = lease(self),
                                            .outcome = input_below(&self->in, 5),
                                            .delay_ms = (int64_t)input_byte(&self->in) - 1};
        if (arrays->acks[i].delay_ms % 2) {
            arrays->acks[i].error = "no";
            arrays->acks[i].error_bytes = 2;
        }
    }
}

static void fill_slices(struct machine *self, struct arrays *arrays, struct weir_control *control)
{
    uint32_t at = 0;
    control->slices = arrays->slices;
    control->slice_count = 1 + input_below(&self->in, ARRAY_MAX);
    for (uint32_t i = 0; i < control->slice_count; i++) {
        at += input_below(&self->in, 2);
        arrays->slices[i] = (struct weir_slice_info){.index = at,
                                                     .count = 1 + input_below(&self->in, 4),
                                                     .sequence = number(self) >> 1,
                                                     .time_ms = self->now.wall_ms,
                                                     .attempt = 1 + input_below(&self->in, 3),
                                                     .death = input_below(&self->in, 2)};
        at += arrays->slices[i].count;
    }
}

static uint32_t fill_leases(struct machine *self, struct weir_lease_ref *leases)
{
    const uint32_t count = input_below(&self->in, ARRAY_MAX);
    for (uint32_t i = 0; i < count; i++)
        leases[i] = lease(self);
    return count;
}

static void fill_array(struct machine *self, struct arrays *arrays, struct weir_control *control,
                       enum weir_field_type type, bool running)
{
    switch (type) {
    case WEIR_TYPE_PATTERNS:
        control->topics = arrays->topics;
        control->topic_count = input_below(&self->in, ARRAY_MAX);
        for (uint32_t i = 0; i < control->topic_count; i++)
            arrays->topics[i] = weir_text_of(topics[input_below(&self->in, 4)]);
        break;
    case WEIR_TYPE_LEASES:
        if (running) {
            control->running = arrays->running;
            control->running_count = fill_leases(self, arrays->running);
        } else {
            control->leases = arrays->leases;
            control->lease_count = fill_leases(self, arrays->leases);
        }
        break;
    case WEIR_TYPE_ACKS:
        fill_acks(self, arrays, control);
        break;
    case WEIR_TYPE_SLICES:
        fill_slices(self, arrays, control);
        break;
    case WEIR_TYPE_DUPLICATES:
        control->duplicates = arrays->duplicates;
        control->duplicate_count = input_below(&self->in, ARRAY_MAX);
        for (uint32_t i = 0; i < control->duplicate_count; i++) {
            arrays->duplicates[i].index = (uint32_t)(number(self) % WEIR_BATCH_MESSAGES_MAX);
            id(self, arrays->duplicates[i].id);
        }
        break;
    default:
        break;
    }
}

static void fill_field(struct machine *self, struct arrays *arrays, struct weir_control *control,
                       enum weir_field field)
{
    const struct weir_field_info *info = &weir_field_infos[field];
    void *member = (uint8_t *)control + info->offset;
    control->has |= UINT64_C(1) << field;
    switch (info->type) {
    case WEIR_TYPE_U64:
        *(uint64_t *)member = number(self);
        break;
    case WEIR_TYPE_U16:
        *(uint64_t *)member = number(self) & UINT16_MAX;
        break;
    case WEIR_TYPE_TIME:
        *(int64_t *)member = (int64_t)(number(self) % WEIR_TIME_MS_MAX);
        break;
    case WEIR_TYPE_MS:
        *(uint64_t *)member = number(self) % WEIR_DURATION_MS_MAX;
        break;
    case WEIR_TYPE_BOOL:
        *(uint64_t *)member = input_below(&self->in, 2);
        break;
    case WEIR_TYPE_TEXT:
        *(struct weir_text *)member =
            weir_text_of(texts[input_below(&self->in, sizeof texts / sizeof *texts)]);
        break;
    case WEIR_TYPE_NAME:
        *(struct weir_text *)member =
            weir_text_of(speech_groups[input_below(&self->in, SPEECH_GROUPS)]);
        break;
    case WEIR_TYPE_BIN16:
        id(self, member);
        break;
    default:
        fill_array(self, arrays, control, info->type, field == WEIR_FIELD_RUNNING);
    }
}

static struct weir_bytes raw(struct machine *self)
{
    uint8_t *data;
    const uint32_t size = input_below(&self->in, RAW_BYTES_MAX);
    struct weir_bytes bytes = weir_bytes_new(size, &data);
    for (uint32_t i = 0; i < size; i++)
        data[i] = input_byte(&self->in);
    return bytes;
}

/* A message in a batch; with an origin where the batch says it is a replay, or for the fun of it.
 */
static void add_message(struct machine *self, struct weir_batch_builder *builder, uint32_t flags)
{
    static const char *const keys[] = {"a", "b", "c"};
    const uint8_t how = input_byte(&self->in);
    struct weir_message_view view = {.payload = (const uint8_t *)"payload",
                                     .payload_bytes = how % 8};
    if (how & 8) {
        view.key = keys[how % 3];
        view.key_bytes = 1;
    }
    if (how & 16) {
        view.idempotency_key = keys[how % 3];
        view.idempotency_key_bytes = 1;
    }
    if ((flags & WEIR_BATCH_REPLAY) || how >= 200) {
        view.has_origin = true;
        id(self, view.origin.id);
        view.origin.topic = topics[0];
        view.origin.topic_bytes = (uint32_t)strlen(topics[0]);
        view.origin.group = speech_groups[how % SPEECH_GROUPS];
        view.origin.group_bytes = (uint32_t)strlen(view.origin.group);
        view.origin.death = input_below(&self->in, 3);
        view.origin.attempt = input_below(&self->in, 4);
        view.origin.reason = input_below(&self->in, 6);
    }
    if (weir_batch_builder_add(builder, &view, NULL) != 0) { /* without what makes it invalid */
        view.has_origin = false;
        const int status = weir_batch_builder_add(builder, &view, NULL);
        WEIR_ASSERT(status == 0);
    }
}

static void push_batch(struct machine *self, struct weir_frames *frames, uint32_t count)
{
    const uint8_t how = input_byte(&self->in);
    const char *topic = topics[how & 1 ? 3 : 0];
    const uint32_t flags = how % 16 == 15 ? WEIR_BATCH_REPLAY : 0;
    struct weir_batch_header header = {.version = WEIR_BATCH_VERSION,
                                       .topic = topic,
                                       .topic_bytes = (uint32_t)strlen(topic),
                                       .delay_ms = how & 32 ? 100 : 0,
                                       .ttl_ms = how & 64 ? 1000 : 0};
    header.producer[0] = how & 128 ? 1 : 2;
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    while (weir_batch_builder_count(builder) < count)
        add_message(self, builder, flags);
    struct weir_bytes parts[3];
    const uint64_t put = number(self);
    weir_batch_builder_finish(builder, put + !put, self->now.wall_ms, flags, &parts[0], &parts[1],
                              &parts[2]);
    for (int i = 0; i < 3; i++)
        weir_frames_push(frames, parts[i]);
    weir_batch_builder_destroy(&builder);
}

static void speak(struct machine *self, struct weir_frames *frames)
{
    struct arrays arrays;
    struct weir_control control = {.verb = 1 + input_below(&self->in, WEIR_VERB_COUNT - 1)};
    const struct weir_verb_info *verb = &weir_verb_infos[control.verb];
    const uint32_t wanted = input_byte(&self->in);
    uint32_t optional = 0;
    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++) {
        if (verb->required >> field & 1)
            fill_field(self, &arrays, &control, field);
        else if ((verb->optional >> field & 1) && (wanted >> optional++ % 8 & 1))
            fill_field(self, &arrays, &control, field);
    }
    if (WEIR_HAS(&control, FIRST) && WEIR_HAS(&control, COUNT))
        control.first >>= 1, control.count &= UINT16_MAX; /* their sum must not overflow */
    weir_frames_push(frames, weir_control_encode(&control));
    if (control.verb == WEIR_VERB_PUT)
        push_batch(self, frames, 1 + input_below(&self->in, 6));
    for (uint32_t i = 0; control.verb == WEIR_VERB_DELIVER && i < control.slice_count; i++)
        push_batch(self, frames, control.slices[i].count);
    if (control.verb == WEIR_VERB_ANSWER)
        weir_frames_push(frames, raw(self));
}

/* One byte of one frame becomes another, or a frame goes, or comes, or is cut. */
static void mangle(struct machine *self, struct weir_frames *frames)
{
    const uint32_t at = input_below(&self->in, frames->count);
    struct weir_bytes *frame = &frames->at[at];
    switch (input_below(&self->in, 4)) {
    case 0:
        weir_frames_push(frames, raw(self));
        return;
    case 1: {
        struct weir_bytes cut =
            weir_bytes_cut(frame, 0, frame->size ? input_byte(&self->in) % frame->size : 0);
        weir_bytes_drop(frame);
        *frame = cut;
        return;
    }
    case 2:
        weir_bytes_drop(&frames->at[--frames->count]);
        return;
    default: {
        uint8_t *data;
        struct weir_bytes copy = weir_bytes_new(frame->size, &data);
        if (frame->size > 0) {
            memcpy(data, frame->data, frame->size);
            data[(input_byte(&self->in) << 2 | input_below(&self->in, 4)) % frame->size] =
                input_byte(&self->in);
        }
        weir_bytes_drop(frame);
        *frame = copy;
    }
    }
}

void speech_message(struct machine *self, struct weir_frames *frames)
{
    const uint8_t how = input_byte(&self->in);
    if (how >= 250) {
        for (uint32_t i = input_below(&self->in, 5); i > 0; i--)
            weir_frames_push(frames, raw(self));
        return;
    }
    speak(self, frames);
    if (how >= 200)
        mangle(self, frames);
}

static void note_number(struct machine *self, uint64_t value)
{
    self->numbers[self->number_count++ % MACHINE_SEEN] = value;
}

void speech_heard(struct machine *self, const struct weir_frames *frames)
{
    struct weir_control control;
    struct weir_error error = {0};
    WEIR_ASSERT(frames->count > 0);
    WEIR_ASSERT(weir_control_decode(&frames->at[0], &control, &error) == 0);
    WEIR_ASSERT(frames->count == 1 + weir_control_frames(&control));
    if (WEIR_HAS(&control, SERIAL))
        note_number(self, control.serial);
    if (WEIR_HAS(&control, INCARNATION))
        note_number(self, control.incarnation);
    if (WEIR_HAS(&control, WORKER))
        note_number(self, control.worker);
    for (uint32_t i = 0; control.verb == WEIR_VERB_DELIVER && i < control.slice_count; i++)
        self->seen[self->seen_count++ % MACHINE_SEEN] =
            (struct weir_lease_ref){control.incarnation, control.delivery, control.slices[i].index,
                                    control.slices[i].count};
    for (uint32_t i = 0; i < control.lease_count; i++)
        self->seen[self->seen_count++ % MACHINE_SEEN] = control.leases[i];
    weir_control_fini(&control);
}
