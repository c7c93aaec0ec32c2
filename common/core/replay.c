/* Dead letters that come back. Each becomes a deferred row with its payload, due now, for the group
 * it failed in; durable before OK. One batch at a time, so that what the state says about a message
 * is what the one before has left. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct weir_replay {
    uint64_t ticket;
    uint8_t producer[WEIR_PRODUCER_BYTES];
    struct weir_bytes header_frame, index, body;
    struct weir_batch_header header;
    uint32_t at;     /* the message that is looked at */
    uint64_t offset; /* where it begins */
    uint64_t first;  /* sequence of the first */
    uint64_t flush;  /* durable with this one; 0: not all are looked at */
};

static struct weir_group *group_of(const struct weir_ventilator *v,
                                   const struct weir_origin *origin)
{
    return weir_groups_find(v, origin->group, origin->group_bytes);
}

static int decode(const struct weir_bytes *index, const struct weir_bytes *body,
                  const struct weir_batch_header *header, uint32_t entry, uint64_t offset,
                  struct weir_message_view *message, uint32_t *length, struct weir_error *error)
{
    *length = weir_index_length(index, weir_index_width(header->flags), entry);
    return weir_message_decode(body->data + offset, *length, message, error);
}

/* Whether every message is a dead letter of this stream. */
static int check(struct weir_ventilator *v, const struct weir_put *put, struct weir_error *error)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i < put->header.count; i++) {
        struct weir_message_view message;
        uint32_t length;
        int rc = decode(&put->index, &put->body, &put->header, i, offset, &message, &length, error);
        if (rc)
            return weir_error_wrap(error, "message %" PRIu32 " of the replay", i);
        offset += length;
        struct weir_id id;
        weir_id_decode(message.origin.id, &id);
        const struct weir_group *group = message.has_origin ? group_of(v, &message.origin) : NULL;
        if (!message.has_origin || id.tag != v->tag || message.origin.death == 0)
            return weir_error_set(error, WEIR_EREFUSED,
                                  "message %" PRIu32 " is not a dead letter of this stream", i);
        if (!group)
            return weir_error_set(error, WEIR_EREFUSED,
                                  "message %" PRIu32 " died in group %.*s, which is not here", i,
                                  (int)message.origin.group_bytes, message.origin.group);
        /* One from before the group's start may have come to it: it was delayed. */
        if (id.sequence >= v->stream.end || !weir_settled_has(&group->settled, id.sequence))
            return weir_error_set(error, WEIR_EREFUSED,
                                  "message %" PRIu32 " is not dead in group %s", i,
                                  group->row.policy.name);
    }
    return 0;
}

/* ---- one message ---- */

/* A batch of this message alone, without the origin that made it a dead letter. */
static bool payload_of(const struct weir_replay *replay, const struct weir_message_view *message,
                       struct weir_row *row)
{
    struct weir_batch_header header = replay->header;
    struct weir_message_view plain = *message;
    header.delay_ms = header.ttl_ms = 0;
    plain.has_origin = false;
    plain.idempotency_key = NULL;
    plain.idempotency_key_bytes = 0;
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    const bool added = weir_batch_builder_add(builder, &plain, NULL) == 0;
    if (added)
        weir_batch_builder_finish(builder, 1, row->time_ms, 0, &row->header, &row->index_entry,
                                  &row->body);
    weir_batch_builder_destroy(&builder);
    return added;
}

static void revive(struct weir_ventilator *v, struct weir_group *group,
                   const struct weir_replay *replay, const struct weir_message_view *message,
                   const struct weir_row *known)
{
    struct weir_id id;
    weir_id_decode(message->origin.id, &id);
    struct weir_row *row = weir_row_new(group, id.sequence, id.time_ms);
    if (!payload_of(replay, message, row)) {
        weir_row_destroy(&row);
        return;
    }
    if (known && known->state == WEIR_ROW_DYING) {
        group->dying--;
        v->dying.rows--;
        weir_dying_replayed(v, group->row.number, id.sequence);
    } else if (known) {
        group->dead--;
        group->tombstones--;
    }
    row->state = WEIR_ROW_DEFERRED;
    row->death = message->origin.death;
    row->due_ms = v->now.wall_ms;
    row->history = weir_bytes_copy(message->origin.history.data, message->origin.history.size);
    group->row.totals.replayed++;
    weir_flush_row(v, row, true);
    weir_deferred_put(v, group, row, v->now.wall_ms);
}

static void look_at_next(struct weir_ventilator *v);

/* What the state knows of the message: this death may have been replayed before. */
static void looked_up(struct weir_ventilator *v, struct weir_store_result *result,
                      uint64_t confirmed, void *pointer)
{
    (void)pointer;
    if (confirmed != v->dying.confirmed) { /* it may have been confirmed since: ask anew */
        look_at_next(v);
        return;
    }
    struct weir_replay *replay = &v->replays[0];
    struct weir_message_view message;
    struct weir_error error;
    uint32_t length;
    int rc = decode(&replay->index, &replay->body, &replay->header, replay->at, replay->offset,
                    &message, &length, &error);
    WEIR_ASSERT(rc == 0); /* it was decoded when it came */
    struct weir_group *group = group_of(v, &message.origin);
    const struct weir_row *known = result->row_count ? &result->rows[0] : NULL;
    const bool dead = known &&
                      (known->death == message.origin.death || WEIR_CANARY(OLD_DEATH_REPLAYED)) &&
                      (known->state == WEIR_ROW_DEAD || known->state == WEIR_ROW_DYING);
    /* Without a row its tombstone was trimmed: a repeat cannot be told from the first time. */
    if (group && (!known || dead))
        revive(v, group, replay, &message, known);
    for (uint32_t i = 0; WEIR_CANARY(REPLAY_TO_EVERY_GROUP) && i < v->group_count; i++)
        if (v->groups[i] != group)
            revive(v, v->groups[i], replay, &message, NULL);
    replay->offset += length;
    replay->at++;
    look_at_next(v);
}

static void look_at_next(struct weir_ventilator *v)
{
    struct weir_replay *replay = &v->replays[0];
    if (replay->at == replay->header.count) {
        replay->flush = weir_flush_need(v);
        return;
    }
    struct weir_message_view message;
    uint32_t length;
    struct weir_id id;
    int rc = decode(&replay->index, &replay->body, &replay->header, replay->at, replay->offset,
                    &message, &length, NULL);
    WEIR_ASSERT(rc == 0);
    weir_id_decode(message.origin.id, &id);
    if (replay->at == 0)
        replay->first = id.sequence;
    /* Its group may have been removed since; then nothing comes of the answer. */
    const struct weir_group *group = group_of(v, &message.origin);
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_MESSAGE,
                                         .number = group ? group->row.number : 0,
                                         .sequence = id.sequence,
                                         .count = 1};
    weir_flush_now(v);
    weir_ventilator_ask(v, &request, looked_up, v->dying.confirmed, NULL);
}

/* ---- the queue ---- */

static void replay_fini(struct weir_replay *replay)
{
    weir_bytes_drop(&replay->header_frame);
    weir_bytes_drop(&replay->index);
    weir_bytes_drop(&replay->body);
}

int weir_replay_put(struct weir_ventilator *v, struct weir_put *put, struct weir_turned_away *away)
{
    if (v->replay_count == WEIR_REPLAYS_MAX || v->flush.count >= WEIR_FLUSH_OPS_MAX) {
        away->retry_ms = WEIR_BUSY_RETRY_MS;
        return weir_error_set(&away->error, WEIR_EBUSY,
                              "%u replayed batches wait already; try again", v->replay_count);
    }
    if (check(v, put, &away->error) != 0) {
        away->code = WEIR_CODE_REPLAY;
        return WEIR_EREFUSED;
    }
    v->replays = weir_realloc(v->replays, v->replay_count + 1, sizeof *v->replays);
    struct weir_replay *replay = &v->replays[v->replay_count++];
    *replay = (struct weir_replay){.ticket = put->ticket,
                                   .header_frame = put->header_frame,
                                   .index = put->index,
                                   .body = put->body,
                                   .header = put->header};
    memcpy(replay->producer, put->header.producer, sizeof replay->producer);
    put->header_frame = put->index = put->body = WEIR_BYTES_NONE;
    put->time_ms = v->now.wall_ms;
    if (v->replay_count == 1)
        look_at_next(v);
    return 0;
}

void weir_replay_flushed(struct weir_ventilator *v)
{
    if (v->replay_count == 0 || v->replays[0].flush == 0 || v->replays[0].flush > v->flush.done)
        return;
    struct weir_replay done = v->replays[0];
    v->replay_count--;
    memmove(&v->replays[0], &v->replays[1], v->replay_count * sizeof *v->replays);
    weir_intake_answer(v->intake, done.ticket, done.first, done.header.count, v->now.wall_ms, NULL,
                       0);
    /* Its producer's row said nothing of this batch yet: it was not answered. */
    weir_flush_producer(v, done.producer);
    replay_fini(&done);
    if (v->replay_count)
        look_at_next(v);
}

void weir_replay_fini(struct weir_ventilator *v)
{
    for (uint32_t i = 0; i < v->replay_count; i++)
        replay_fini(&v->replays[i]);
    free(v->replays);
}
