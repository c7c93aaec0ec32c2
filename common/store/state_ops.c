/* The operations of a state transaction, each as the statements that carry it out. */
#include "state.h"
#include "state_words.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/little_endian.h>

#include <stdlib.h>
#include <string.h>

static void bind_u64(sqlite3_stmt *statement, int at, uint64_t value)
{
    sqlite3_bind_int64(statement, at, (sqlite3_int64)value);
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static void bind_bytes(sqlite3_stmt *statement, int at, const struct weir_bytes *bytes)
{
    weir_bind_blob(statement, at, bytes->data, bytes->size);
}

/* The patterns, each on a line of its own; none holds a line feed. */
static char *join_topics(const struct weir_group_policy *policy)
{
    char *topics = weir_alloc((size_t)policy->topic_count * (WEIR_TOPIC_BYTES_MAX + 1) + 1);
    size_t size = 0;

    for (uint32_t i = 0; i < policy->topic_count; i++) {
        size_t length = strnlen(policy->topics[i], WEIR_TOPIC_BYTES_MAX);

        if (i > 0)
            topics[size++] = '\n';
        memcpy(topics + size, policy->topics[i], length);
        size += length;
    }
    topics[size] = '\0';
    return topics;
}

static size_t write_ended(const struct weir_ended *ended, uint8_t *bytes)
{
    uint8_t *at = bytes + 8;

    put_u64(bytes, ended->known_from);
    for (uint32_t i = 0; i < ended->count; i++, at += WEIR_STATE_ENDED_BYTES) {
        put_u64(at, ended->at[i].first);
        put_u64(at + 8, ended->at[i].last);
        put_u32(at + 16, ended->at[i].fate);
    }
    return (size_t)(at - bytes);
}

static int put_group(struct weir_state *state, const struct weir_group_row *group,
                     struct weir_error *error)
{
    sqlite3_stmt *put = weir_state_statement(state, STATEMENT_GROUP_PUT, error);
    const struct weir_group_policy *policy = &group->policy;
    const struct weir_group_totals *totals = &group->totals;
    const uint64_t counters[] = {totals->matched,  totals->passed,   totals->done,
                                 totals->retried,  totals->dead,     totals->rejected,
                                 totals->expired,  totals->released, totals->dropped,
                                 totals->replayed, totals->stale};
    uint8_t ended[8 + WEIR_ENDED_RANGES_MAX * WEIR_STATE_ENDED_BYTES];
    char *topics;
    int status;

    if (put == NULL)
        return error->code;
    topics = join_topics(policy);
    bind_u64(put, 1, group->number);
    bind_text(put, 2, policy->name);
    bind_text(put, 3, topics);
    bind_text(put, 4, order_words[policy->order]);
    bind_text(put, 5, delivery_words[policy->delivery]);
    bind_text(put, 6, start_words[policy->start]);
    bind_u64(put, 7, policy->attempts);
    sqlite3_bind_int64(put, 8, policy->backoff.first_ms);
    bind_u64(put, 9, policy->backoff.factor_permille);
    sqlite3_bind_int64(put, 10, policy->backoff.max_ms);
    sqlite3_bind_int64(put, 11, policy->timeout_ms);
    sqlite3_bind_int64(put, 12, policy->lease_ms);
    bind_u64(put, 13, policy->rate_permille);
    bind_u64(put, 14, policy->max_backlog);
    bind_text(put, 15, on_full_words[policy->on_full]);
    sqlite3_bind_int64(put, 16, policy->expire_idle_ms);
    sqlite3_bind_int(put, 17, policy->dynamic);
    bind_u64(put, 18, group->start);
    bind_u64(put, 19, group->low);
    bind_u64(put, 20, group->next);
    sqlite3_bind_int64(put, 21, group->created_ms);
    sqlite3_bind_int64(put, 22, group->active_ms);
    sqlite3_bind_int(put, 23, group->paused);
    sqlite3_bind_int(put, 24, group->listed);
    for (int i = 0; i < (int)(sizeof counters / sizeof counters[0]); i++)
        bind_u64(put, 25 + i, counters[i]);
    sqlite3_bind_blob(put, 36, ended, (int)write_ended(&group->ended, ended), SQLITE_STATIC);
    status = weir_state_run(state, put, error);
    free(topics);
    return status;
}

/* A statement with up to three whole numbers. */
static int run_numbers(struct weir_state *state, enum weir_statement which, int count,
                       const uint64_t *numbers, struct weir_error *error)
{
    sqlite3_stmt *statement = weir_state_statement(state, which, error);

    if (statement == NULL)
        return error->code;
    for (int i = 0; i < count; i++)
        bind_u64(statement, i + 1, numbers[i]);
    return weir_state_run(state, statement, error);
}

static int run_one(struct weir_state *state, enum weir_statement which, uint64_t a,
                   struct weir_error *error)
{
    return run_numbers(state, which, 1, (uint64_t[]){a}, error);
}

static int run_two(struct weir_state *state, enum weir_statement which, uint64_t a, uint64_t b,
                   struct weir_error *error)
{
    return run_numbers(state, which, 2, (uint64_t[]){a, b}, error);
}

/* --- payloads ------------------------------------------------------------------------------ */

/* Run a statement that gives the sizes of payloads, all of which come, or go. */
static int run_payloads(struct weir_state *state, sqlite3_stmt *statement, bool come,
                        struct weir_error *error)
{
    uint64_t *held = &state->payload_bytes_uncommitted, bytes = 0;
    int step, status = 0;

    while ((step = sqlite3_step(statement)) == SQLITE_ROW)
        bytes += (uint64_t)sqlite3_column_int64(statement, 0);
    if (step != SQLITE_DONE)
        status = weir_database_error(&state->database, "noting what has changed", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (come)
        *held += bytes;
    else
        *held -= bytes < *held ? bytes : *held;
    return status;
}

/* The same, with up to three whole numbers. */
static int run_payload_numbers(struct weir_state *state, enum weir_statement which, bool come,
                               int count, const uint64_t *numbers, struct weir_error *error)
{
    sqlite3_stmt *statement = weir_state_statement(state, which, error);

    if (statement == NULL)
        return error->code;
    for (int i = 0; i < count; i++)
        bind_u64(statement, i + 1, numbers[i]);
    return run_payloads(state, statement, come, error);
}

static int delete_payload(struct weir_state *state, uint32_t group, uint64_t sequence,
                          struct weir_error *error)
{
    return run_payload_numbers(state, STATEMENT_PAYLOAD_DROP, false, 2,
                               (uint64_t[]){group, sequence}, error);
}

/* --- groups -------------------------------------------------------------------------------- */

static int drop_group(struct weir_state *state, uint32_t number, struct weir_error *error)
{
    static const enum weir_statement parts[] = {STATEMENT_GROUP_DROP, STATEMENT_GROUP_DROP_CHUNKS,
                                                STATEMENT_GROUP_DROP_MESSAGES,
                                                STATEMENT_GROUP_DROP_PAYLOADS};
    int status =
        run_payload_numbers(state, STATEMENT_GROUP_PAYLOADS, false, 1, (uint64_t[]){number}, error);

    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && status == 0; i++)
        status = run_one(state, parts[i], number, error);
    return status;
}

static int put_chunk(struct weir_state *state, const struct weir_op *op, struct weir_error *error)
{
    sqlite3_stmt *put = weir_state_statement(state, STATEMENT_CHUNK_PUT, error);

    if (put == NULL)
        return error->code;
    bind_u64(put, 1, op->number);
    bind_u64(put, 2, op->chunk);
    sqlite3_bind_blob(put, 3, op->bits, WEIR_CHUNK_BYTES, SQLITE_STATIC);
    return weir_state_run(state, put, error);
}

/* The payload of a row that is there; otherwise nothing changes. */
static int add_payload(struct weir_state *state, enum weir_statement which,
                       const struct weir_row *row, struct weir_error *error)
{
    sqlite3_stmt *add = weir_state_statement(state, which, error);
    int status;

    if (add == NULL)
        return error->code;
    bind_u64(add, 1, row->group);
    bind_u64(add, 2, row->sequence);
    bind_bytes(add, 3, &row->header);
    bind_bytes(add, 4, &row->index_entry);
    bind_bytes(add, 5, &row->body);
    status = run_payloads(state, add, true, error);
    if (status != 0 || sqlite3_changes(state->database.handle) == 0)
        return status;
    return run_numbers(state, STATEMENT_ROW_COPIED, 3, (uint64_t[]){row->group, row->sequence, 1},
                       error);
}

static int put_payload(struct weir_state *state, const struct weir_row *row,
                       struct weir_error *error)
{
    int status = delete_payload(state, row->group, row->sequence, error);

    return status != 0 ? status : add_payload(state, STATEMENT_PAYLOAD_PUT, row, error);
}

static int drop_payload(struct weir_state *state, uint32_t group, uint64_t sequence,
                        struct weir_error *error)
{
    int status = delete_payload(state, group, sequence, error);

    if (status != 0 || sqlite3_changes(state->database.handle) == 0)
        return status;
    return run_numbers(state, STATEMENT_ROW_COPIED, 3, (uint64_t[]){group, sequence, 0}, error);
}

static int put_row(struct weir_state *state, const struct weir_row *row, struct weir_error *error)
{
    sqlite3_stmt *put = weir_state_statement(state, STATEMENT_ROW_PUT, error);
    int status;

    if (put == NULL)
        return error->code;
    bind_u64(put, 1, row->group);
    bind_u64(put, 2, row->sequence);
    sqlite3_bind_int(put, 3, (int)row->state);
    sqlite3_bind_int64(put, 4, row->time_ms);
    sqlite3_bind_int64(put, 5, row->due_ms);
    bind_u64(put, 6, row->attempt);
    bind_u64(put, 7, row->death);
    bind_u64(put, 8, row->releases);
    sqlite3_bind_int(put, 9, row->suspect);
    sqlite3_bind_int(put, 10, (int)row->reason);
    bind_u64(put, 11, row->key_hash);
    bind_u64(put, 12, row->incarnation);
    bind_u64(put, 13, row->delivery);
    bind_u64(put, 14, row->index);
    bind_u64(put, 15, row->worker);
    sqlite3_bind_int64(put, 16, row->deadline_ms);
    bind_bytes(put, 17, &row->history);
    status = weir_state_run(state, put, error);
    if (status != 0)
        return status;
    if (row->state == WEIR_ROW_DEAD || row->state == WEIR_ROW_DONE)
        return drop_payload(state, row->group, row->sequence, error);
    return row->body.size > 0 ? put_payload(state, row, error) : 0;
}

static int drop_row(struct weir_state *state, const struct weir_op *op, struct weir_error *error)
{
    int status = run_two(state, STATEMENT_ROW_DROP, op->number, op->sequence, error);

    return status != 0 ? status : delete_payload(state, op->number, op->sequence, error);
}

static int put_producer(struct weir_state *state, const struct weir_producer_row *producer,
                        struct weir_error *error)
{
    sqlite3_stmt *put = weir_state_statement(state, STATEMENT_PRODUCER_PUT, error);
    uint8_t answers[WEIR_PRODUCER_WINDOW_MAX * WEIR_STATE_ANSWER_BYTES];
    uint32_t count = producer->answer_count < WEIR_PRODUCER_WINDOW_MAX ? producer->answer_count
                                                                       : WEIR_PRODUCER_WINDOW_MAX;

    if (put == NULL)
        return error->code;
    for (uint32_t i = 0; i < count; i++) {
        const struct weir_producer_answer *answer = &producer->answers[i];
        uint8_t *at = answers + (size_t)i * WEIR_STATE_ANSWER_BYTES;

        put_u64(at, answer->number);
        put_u64(at + 8, answer->first);
        put_u32(at + 16, answer->count);
        put_u64(at + 20, (uint64_t)answer->time_ms);
    }
    sqlite3_bind_blob(put, 1, producer->id, sizeof producer->id, SQLITE_STATIC);
    bind_u64(put, 2, producer->number);
    sqlite3_bind_int64(put, 3, producer->time_ms);
    sqlite3_bind_blob(put, 4, answers, (int)(count * WEIR_STATE_ANSWER_BYTES), SQLITE_STATIC);
    return weir_state_run(state, put, error);
}

static int drop_producer(struct weir_state *state, const struct weir_producer_row *producer,
                         struct weir_error *error)
{
    sqlite3_stmt *drop = weir_state_statement(state, STATEMENT_PRODUCER_DROP, error);

    if (drop == NULL)
        return error->code;
    sqlite3_bind_blob(drop, 1, producer->id, sizeof producer->id, SQLITE_STATIC);
    return weir_state_run(state, drop, error);
}

static int put_idem(struct weir_state *state, const struct weir_idem_row *idem,
                    struct weir_error *error)
{
    sqlite3_stmt *put = weir_state_statement(state, STATEMENT_IDEM_PUT, error);

    if (put == NULL)
        return error->code;
    bind_u64(put, 1, idem->sequence);
    sqlite3_bind_blob(put, 2, idem->hash, sizeof idem->hash, SQLITE_STATIC);
    sqlite3_bind_int64(put, 3, idem->time_ms);
    return weir_state_run(state, put, error);
}

static int inherit_one(struct weir_state *state, const struct weir_op *op, uint64_t sequence,
                       struct weir_error *error)
{
    const uint64_t numbers[] = {WEIR_GROUP_LATER, op->group->number, sequence};
    int status = run_numbers(state, STATEMENT_INHERIT_ROW, 3, numbers, error);

    return status != 0
               ? status
               : run_payload_numbers(state, STATEMENT_INHERIT_PAYLOAD, true, 3, numbers, error);
}

static int inherit(struct weir_state *state, const struct weir_op *op,
                   struct weir_store_result *result, struct weir_error *error)
{
    sqlite3_stmt *from = weir_state_statement(state, STATEMENT_INHERIT_FROM, error);
    struct weir_row_counts counts = {.group = op->group->number, .due_ms = WEIR_TIME_NEVER};
    int step, status = 0;

    if (from == NULL)
        return error->code;
    bind_u64(from, 1, WEIR_GROUP_LATER);
    sqlite3_bind_int64(from, 2, op->time_ms);
    bind_u64(from, 3, op->sequence);
    while (status == 0 && (step = sqlite3_step(from)) != SQLITE_DONE) {
        const int64_t due_ms = sqlite3_column_int64(from, 1);

        if (step != SQLITE_ROW) {
            status =
                weir_database_error(&state->database, "reading what waits for its time", error);
        } else if (weir_group_policy_wants(&op->group->policy, sqlite3_column_blob(from, 2),
                                           (uint32_t)sqlite3_column_bytes(from, 2))) {
            status = inherit_one(state, op, (uint64_t)sqlite3_column_int64(from, 0), error);
            counts.deferred++;
            if (due_ms < counts.due_ms)
                counts.due_ms = due_ms;
        }
    }
    sqlite3_reset(from);
    result->inherited = weir_realloc(result->inherited, result->inherited_count + 1, sizeof counts);
    result->inherited[result->inherited_count++] = counts;
    return status;
}

static int apply_one(struct weir_state *state, const struct weir_op *op,
                     struct weir_store_result *result, struct weir_error *error)
{
    switch (op->type) {
    case WEIR_OP_GROUP_PUT:
        return put_group(state, op->group, error);
    case WEIR_OP_GROUP_DROP:
        return drop_group(state, op->number, error);
    case WEIR_OP_CHUNK_PUT:
        return put_chunk(state, op, error);
    case WEIR_OP_CHUNK_TRIM:
        return run_two(state, STATEMENT_CHUNK_TRIM, op->number, op->chunk, error);
    case WEIR_OP_ROW_PUT:
        return put_row(state, op->row, error);
    case WEIR_OP_ROW_COPY:
        return add_payload(state, STATEMENT_PAYLOAD_COPY, op->row, error);
    case WEIR_OP_ROW_DROP:
        return drop_row(state, op, error);
    case WEIR_OP_TOMBSTONE_TRIM:
        return run_two(state, STATEMENT_TOMBSTONE_TRIM, op->number, op->count, error);
    case WEIR_OP_PRODUCER_PUT:
        return put_producer(state, op->producer, error);
    case WEIR_OP_PRODUCER_DROP:
        return drop_producer(state, op->producer, error);
    case WEIR_OP_PRODUCER_TRIM:
        return run_one(state, STATEMENT_PRODUCER_TRIM, (uint64_t)op->time_ms, error);
    case WEIR_OP_IDEM_PUT:
        return put_idem(state, &op->idem, error);
    case WEIR_OP_IDEM_TRIM:
        return run_one(state, STATEMENT_IDEM_TRIM, op->sequence, error);
    case WEIR_OP_ABSORBED:
        state->absorbed_uncommitted = op->sequence;
        return run_one(state, STATEMENT_ABSORBED, op->sequence, error);
    case WEIR_OP_INHERIT:
        return inherit(state, op, result, error);
    }
    return weir_error_set(error, WEIR_EINVAL, "no such operation: %d", (int)op->type);
}

int weir_state_apply(struct weir_state *state, const struct weir_op *ops, uint32_t count,
                     struct weir_store_result *result, struct weir_error *error)
{
    int status = 0;

    result->inherited_count = 0; /* it may be the second try */
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = apply_one(state, &ops[i], result, error);
    if (status != 0)
        weir_state_roll_back(state);
    return status;
}
