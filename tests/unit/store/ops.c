#include "ops.h"

#include <base/alloc.h>

#include <stdio.h>
#include <string.h>

struct weir_op group_op(uint32_t number, const char *name, enum weir_order order)
{
    struct weir_op op = {.type = WEIR_OP_GROUP_PUT};

    op.group = weir_zalloc(1, sizeof *op.group);
    op.group->number = number;
    op.group->policy = weir_group_policy_default();
    snprintf(op.group->policy.name, sizeof op.group->policy.name, "%s", name);
    op.group->policy.order = order;
    op.group->policy.topic_count = 2;
    snprintf(op.group->policy.topics[0], sizeof op.group->policy.topics[0], "user.%s", name);
    snprintf(op.group->policy.topics[1], sizeof op.group->policy.topics[1], "order.*");
    op.group->policy.rate_permille = 200000;
    op.group->policy.max_backlog = 5000000000u;
    op.group->policy.on_full = WEIR_ON_FULL_DROP;
    op.group->policy.delivery = WEIR_AT_MOST_ONCE;
    op.group->policy.start = WEIR_START_EARLIEST;
    op.group->policy.expire_idle_ms = 99;
    op.group->policy.dynamic = true;
    op.group->start = 3;
    op.group->low = 5;
    op.group->next = 8;
    op.group->created_ms = 111;
    op.group->active_ms = 222;
    op.group->paused = true;
    op.group->listed = true;
    op.group->totals = (struct weir_group_totals){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    op.group->ended.known_from = 2;
    op.group->ended.count = 2;
    op.group->ended.at[0] = (struct weir_ended_range){2, 3, WEIR_FATE_DROPPED};
    op.group->ended.at[1] = (struct weir_ended_range){5, UINT64_C(1) << 40, WEIR_FATE_LOST};
    return op;
}

struct weir_op row_op(uint32_t group, uint64_t sequence, enum weir_row_state state, int64_t due_ms)
{
    struct weir_op op = {.type = WEIR_OP_ROW_PUT};

    op.row = weir_zalloc(1, sizeof *op.row);
    *op.row = (struct weir_row){
        .group = group,
        .sequence = sequence,
        .state = state,
        .time_ms = 1234,
        .due_ms = due_ms,
        .attempt = 2,
        .death = 1,
        .releases = 3,
        .suspect = true,
        .reason = WEIR_REASON_REJECTED,
        .key_hash = UINT64_C(0xfedcba9876543210),
        .incarnation = UINT64_C(0xffffffff00000007),
        .delivery = 17,
        .index = 4,
        .worker = UINT64_C(0x8000000000000001),
        .deadline_ms = 98765,
        .history = weir_bytes_copy("\x91\x01", 2),
    };
    return op;
}

struct weir_op with_payload(struct weir_op op, const char *text)
{
    op.row->header = weir_bytes_copy("head", 4);
    op.row->index_entry = weir_bytes_copy("ixix", 4);
    op.row->body = weir_bytes_copy(text, strlen(text));
    return op;
}

struct weir_op row_drop_op(uint32_t group, uint64_t sequence)
{
    return (struct weir_op){.type = WEIR_OP_ROW_DROP, .number = group, .sequence = sequence};
}

struct weir_op chunk_op(uint32_t group, uint64_t chunk, uint8_t fill_byte)
{
    struct weir_op op = {.type = WEIR_OP_CHUNK_PUT, .number = group, .chunk = chunk};

    op.bits = weir_alloc(WEIR_CHUNK_BYTES);
    memset(op.bits, fill_byte, WEIR_CHUNK_BYTES);
    return op;
}

struct weir_op producer_op(uint8_t name, uint64_t number, int64_t time_ms)
{
    struct weir_op op = {.type = WEIR_OP_PRODUCER_PUT};

    op.producer = weir_zalloc(1, sizeof *op.producer);
    memset(op.producer->id, name, sizeof op.producer->id);
    op.producer->number = number;
    op.producer->time_ms = time_ms;
    op.producer->answer_count = 2;
    op.producer->answers[0] = (struct weir_producer_answer){number - 1, 70, 5, time_ms - 1};
    op.producer->answers[1] = (struct weir_producer_answer){number, 75, 6, time_ms};
    return op;
}

struct weir_op idem_op(uint8_t name, uint64_t sequence)
{
    struct weir_op op = {.type = WEIR_OP_IDEM_PUT};

    memset(op.idem.hash, name, sizeof op.idem.hash);
    op.idem.sequence = sequence;
    op.idem.time_ms = 2 * (int64_t)sequence;
    return op;
}

struct weir_op absorbed_op(uint64_t sequence)
{
    return (struct weir_op){.type = WEIR_OP_ABSORBED, .sequence = sequence};
}
