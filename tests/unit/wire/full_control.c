#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "full_control.h"

#include <string.h>

static struct weir_text topics[] = {{"user.>", 6}, {"*.placed", 8}};
static struct weir_lease_ref leases[] = {{UINT64_MAX, 1, 0, 4096}, {7, UINT64_MAX, 4095, 1}};
static struct weir_lease_ref running[] = {{7, 1, 3, 1}};
static struct weir_ack acks[] = {
    {{1, 2, 3, 4}, 0, -1, NULL, 0},
    {{1, 2, 7, 1}, 1, 250, NULL, 0},
    {{1, 2, 8, 1}, 2, -1, "no such user", 12},
    {{1, 2, 9, 1}, 4, INT64_C(1) << 40, "\xff\xfe", 2},
};
static struct weir_slice_info slices[] = {
    {0, 10, 1, 0, 1, 0},
    {10, 4086, UINT64_MAX - 4096, WEIR_TIME_MS_MAX, UINT32_MAX, UINT32_MAX},
};
static struct weir_duplicate duplicates[] = {{0, {1, 2, 3}}, {65535, {255}}};

struct weir_control full_control(void)
{
    struct weir_control control = {
        .topics = topics,
        .topic_count = 2,
        .leases = leases,
        .lease_count = 2,
        .running = running,
        .running_count = 1,
        .acks = acks,
        .ack_count = 4,
        .slices = slices,
        .slice_count = 2,
        .duplicates = duplicates,
        .duplicate_count = 2,
    };

    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++) {
        void *member = (uint8_t *)&control + weir_field_infos[field].offset;

        switch (weir_field_infos[field].type) {
        case WEIR_TYPE_U64:
            *(uint64_t *)member = UINT64_MAX - 1000 + field;
            break;
        case WEIR_TYPE_U16:
            *(uint64_t *)member = 65000 + field;
            break;
        case WEIR_TYPE_TIME:
            *(int64_t *)member = WEIR_TIME_MS_MAX - field;
            break;
        case WEIR_TYPE_MS:
            *(uint64_t *)member = WEIR_DURATION_MS_MAX - field;
            break;
        case WEIR_TYPE_BOOL:
            *(uint64_t *)member = field % 2;
            break;
        case WEIR_TYPE_TEXT:
        case WEIR_TYPE_NAME:
            *(struct weir_text *)member = weir_text_of(weir_field_infos[field].key);
            break;
        case WEIR_TYPE_BIN16:
            memset(member, (int)(100 + field), 16);
            break;
        default:
            break;
        }
    }
    /* Their sum must not leave 64 bits. */
    control.first = UINT64_MAX - 1000;
    control.count = 1000;
    return control;
}

struct weir_control full_control_of(enum weir_verb verb, bool optional)
{
    struct weir_control control = full_control();

    control.verb = verb;
    control.has = weir_verb_infos[verb].required | (optional ? weir_verb_infos[verb].optional : 0);
    return control;
}

static void assert_same_text(const char *a, uint32_t a_bytes, const char *b, uint32_t b_bytes)
{
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a, b, a_bytes);
}

static void assert_same_leases(const struct weir_lease_ref *a, uint32_t a_count,
                               const struct weir_lease_ref *b, uint32_t b_count)
{
    assert_int_equal(a_count, b_count);
    for (uint32_t i = 0; i < a_count; i++)
        assert_memory_equal(&a[i], &b[i], sizeof a[i]);
}

static void assert_same_array(enum weir_field field, const struct weir_control *a,
                              const struct weir_control *b)
{
    switch (field) {
    case WEIR_FIELD_TOPICS:
        assert_int_equal(a->topic_count, b->topic_count);
        for (uint32_t i = 0; i < a->topic_count; i++)
            assert_same_text(a->topics[i].data, a->topics[i].bytes, b->topics[i].data,
                             b->topics[i].bytes);
        return;
    case WEIR_FIELD_LEASES:
        assert_same_leases(a->leases, a->lease_count, b->leases, b->lease_count);
        return;
    case WEIR_FIELD_RUNNING:
        assert_same_leases(a->running, a->running_count, b->running, b->running_count);
        return;
    case WEIR_FIELD_ACKS:
        assert_int_equal(a->ack_count, b->ack_count);
        for (uint32_t i = 0; i < a->ack_count; i++) {
            assert_memory_equal(&a->acks[i].lease, &b->acks[i].lease, sizeof a->acks[i].lease);
            assert_int_equal(a->acks[i].outcome, b->acks[i].outcome);
            assert_int_equal(a->acks[i].delay_ms, b->acks[i].delay_ms);
            assert_int_equal(a->acks[i].error == NULL, b->acks[i].error == NULL);
            assert_same_text(a->acks[i].error, a->acks[i].error_bytes, b->acks[i].error,
                             b->acks[i].error_bytes);
        }
        return;
    case WEIR_FIELD_SLICES:
        assert_int_equal(a->slice_count, b->slice_count);
        for (uint32_t i = 0; i < a->slice_count; i++) {
            assert_int_equal(a->slices[i].index, b->slices[i].index);
            assert_int_equal(a->slices[i].count, b->slices[i].count);
            assert_true(a->slices[i].sequence == b->slices[i].sequence);
            assert_true(a->slices[i].time_ms == b->slices[i].time_ms);
            assert_int_equal(a->slices[i].attempt, b->slices[i].attempt);
            assert_int_equal(a->slices[i].death, b->slices[i].death);
        }
        return;
    case WEIR_FIELD_DUPLICATES:
        assert_int_equal(a->duplicate_count, b->duplicate_count);
        for (uint32_t i = 0; i < a->duplicate_count; i++) {
            assert_int_equal(a->duplicates[i].index, b->duplicates[i].index);
            assert_memory_equal(a->duplicates[i].id, b->duplicates[i].id, WEIR_ID_BYTES);
        }
        return;
    default:
        fail_msg("no comparison for field %s", weir_field_infos[field].key);
    }
}

void assert_same_control(const struct weir_control *a, const struct weir_control *b)
{
    assert_int_equal(a->verb, b->verb);
    assert_true(a->has == b->has);
    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++) {
        const void *left = (const uint8_t *)a + weir_field_infos[field].offset;
        const void *right = (const uint8_t *)b + weir_field_infos[field].offset;
        const struct weir_text *left_text = left, *right_text = right;

        if ((a->has >> field & 1u) == 0)
            continue;
        switch (weir_field_infos[field].type) {
        case WEIR_TYPE_U64:
        case WEIR_TYPE_U16:
        case WEIR_TYPE_TIME:
        case WEIR_TYPE_MS:
        case WEIR_TYPE_BOOL:
            assert_memory_equal(left, right, 8);
            break;
        case WEIR_TYPE_TEXT:
        case WEIR_TYPE_NAME:
            assert_same_text(left_text->data, left_text->bytes, right_text->data,
                             right_text->bytes);
            break;
        case WEIR_TYPE_BIN16:
            assert_memory_equal(left, right, 16);
            break;
        default:
            assert_same_array(field, a, b);
        }
    }
}
