/* What the contract's structs own, and their defaults and names. */
#include <base/error.h>
#include <base/topic.h>
#include <contract/backend.h>

#include <stdlib.h>

bool weir_group_policy_wants(const struct weir_group_policy *policy, const char *topic,
                             uint32_t bytes)
{
    for (uint32_t i = 0; i < policy->topic_count; i++)
        if (weir_topic_match(policy->topics[i], topic, bytes))
            return true;
    return false;
}

struct weir_group_policy weir_group_policy_default(void)
{
    return (struct weir_group_policy){
        .order = WEIR_ORDER_NONE,
        .delivery = WEIR_AT_LEAST_ONCE,
        .start = WEIR_START_NOW,
        .attempts = 5,
        .backoff = {.first_ms = 1000, .factor_permille = 2000, .max_ms = 60 * 1000},
        .timeout_ms = 30 * 1000,
        .lease_ms = WEIR_LEASE_MS,
        .on_full = WEIR_ON_FULL_REFUSE,
    };
}

const char *weir_outcome_name(enum weir_outcome outcome)
{
    switch (outcome) {
    case WEIR_DONE:
        return "done";
    case WEIR_RETRY:
        return "retry";
    case WEIR_REJECT:
        return "reject";
    case WEIR_RELEASE:
        return "release";
    case WEIR_UNAVAILABLE:
        return "unavailable";
    }
    return NULL;
}

const char *weir_reason_name(enum weir_reason reason)
{
    switch (reason) {
    case WEIR_REASON_NONE:
        return "none";
    case WEIR_REASON_ATTEMPTS:
        return "attempts";
    case WEIR_REASON_REJECTED:
        return "rejected";
    case WEIR_REASON_EXPIRED:
        return "expired";
    case WEIR_REASON_BACKLOG:
        return "backlog";
    }
    return NULL;
}

const char *weir_fsync_name(enum weir_fsync mode)
{
    switch (mode) {
    case WEIR_FSYNC_ALWAYS:
        return "always";
    case WEIR_FSYNC_INTERVAL:
        return "interval";
    case WEIR_FSYNC_NEVER:
        return "never";
    }
    return NULL;
}

void weir_record_fini(struct weir_record *record)
{
    weir_bytes_drop(&record->header);
    weir_bytes_drop(&record->index);
    weir_bytes_drop(&record->body);
    free(record->skips);
    *record = (struct weir_record){0};
}

void weir_row_fini(struct weir_row *row)
{
    weir_bytes_drop(&row->history);
    weir_bytes_drop(&row->header);
    weir_bytes_drop(&row->index_entry);
    weir_bytes_drop(&row->body);
    *row = (struct weir_row){0};
}

static void rows_destroy(struct weir_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        weir_row_fini(&rows[i]);
    free(rows);
}

void weir_ops_destroy(struct weir_op *ops, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(ops[i].group);
        if (ops[i].row != NULL)
            weir_row_fini(ops[i].row);
        free(ops[i].row);
        free(ops[i].producer);
        free(ops[i].bits);
    }
    free(ops);
}

void weir_store_request_fini(struct weir_store_request *request)
{
    weir_record_fini(&request->record);
    weir_ops_destroy(request->ops, request->op_count);
    *request = (struct weir_store_request){0};
}

void weir_store_result_fini(struct weir_store_result *result)
{
    for (uint32_t i = 0; i < result->record_count; i++)
        weir_record_fini(&result->records[i]);
    free(result->records);
    rows_destroy(result->rows, result->row_count);
    free(result->inherited);
    *result = (struct weir_store_result){0};
}

void weir_recovered_destroy(struct weir_recovered **self)
{
    struct weir_recovered *recovered = *self;

    if (recovered == NULL)
        return;
    *self = NULL;
    free(recovered->groups);
    for (uint32_t i = 0; i < recovered->chunk_count; i++)
        free(recovered->chunks[i].bits);
    free(recovered->chunks);
    for (uint32_t i = 0; i < recovered->leased_count; i++)
        weir_row_fini(&recovered->leased[i].row);
    free(recovered->leased);
    free(recovered->keyed);
    free(recovered->counts);
    free(recovered->producers);
    free(recovered->idems);
    free(recovered->damage);
    free(recovered);
}

static bool has_past(const struct weir_row *row)
{
    return row->attempt || row->death || row->releases || row->suspect || row->key_hash ||
           row->history.size || row->incarnation == 0;
}

bool weir_leased_join(struct weir_recovered *recovered, const struct weir_row *row)
{
    if (recovered->leased_count == 0)
        return false;
    struct weir_leased *last = &recovered->leased[recovered->leased_count - 1];
    const struct weir_row *first = &last->row;
    if (first->group != row->group || first->incarnation != row->incarnation ||
        first->delivery != row->delivery || first->worker != row->worker ||
        first->deadline_ms != row->deadline_ms || first->time_ms != row->time_ms ||
        row->sequence - first->sequence != last->count || row->index - first->index != last->count)
        return false;
    if (has_past(first) || has_past(row))
        return false;
    last->count++;
    return true;
}

void weir_store_destroy(struct weir_store **self)
{
    struct weir_store *store = *self;

    *self = NULL;
    if (store != NULL)
        store->destroy(store);
}

void weir_executor_destroy(struct weir_executor **self)
{
    struct weir_executor *executor = *self;

    *self = NULL;
    if (executor != NULL)
        executor->destroy(executor);
}

void weir_handled_fini(struct weir_handled *handled)
{
    for (uint32_t i = 0; i < handled->outcome_count; i++) {
        weir_bytes_drop(&handled->outcomes[i].error);
        weir_bytes_drop(&handled->outcomes[i].result);
    }
    free(handled->outcomes);
    *handled = (struct weir_handled){0};
}
