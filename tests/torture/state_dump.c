#include "state_dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void put_bytes(FILE *out, const char *what, const void *data, size_t bytes)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * UINT64_C(1099511628211);
    fprintf(out, " %s %zu:%" PRIx64, what, bytes, bytes > 0 ? hash : 0);
}

static void put_row(FILE *out, const char *kind, const struct weir_row *row)
{
    fprintf(out,
            "%s %u %" PRIu64 " state %d time %" PRId64 " due %" PRId64
            " %u %u %u %d %d key %" PRIx64 " lease %" PRIx64 " %" PRIx64 " %u %" PRIx64 " %" PRId64,
            kind, row->group, row->sequence, (int)row->state, row->time_ms, row->due_ms,
            row->attempt, row->death, row->releases, row->suspect, (int)row->reason, row->key_hash,
            row->incarnation, row->delivery, row->index, row->worker, row->deadline_ms);
    put_bytes(out, "history", row->history.data, row->history.size);
    put_bytes(out, "header", row->header.data, row->header.size);
    put_bytes(out, "entry", row->index_entry.data, row->index_entry.size);
    put_bytes(out, "body", row->body.data, row->body.size);
    fprintf(out, "\n");
}

static void put_group(FILE *out, const struct weir_group_row *group)
{
    const struct weir_group_policy *policy = &group->policy;

    fprintf(out, "group %u %s", group->number, policy->name);
    for (uint32_t i = 0; i < policy->topic_count; i++)
        fprintf(out, " %s", policy->topics[i]);
    fprintf(out,
            " %d %d %d %d %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %d",
            (int)policy->order, (int)policy->delivery, (int)policy->start, (int)policy->on_full,
            policy->attempts, policy->rate_permille, policy->max_backlog, group->start, group->low,
            group->next, group->created_ms, group->paused);
    put_bytes(out, "totals", &group->totals, sizeof group->totals);
    fprintf(out, " ended %" PRIu64, group->ended.known_from);
    for (uint32_t i = 0; i < group->ended.count; i++)
        fprintf(out, " %" PRIu64 "-%" PRIu64 " %d", group->ended.at[i].first,
                group->ended.at[i].last, (int)group->ended.at[i].fate);
    fprintf(out, "\n");
}

char *dump_recovered(const struct weir_recovered *recovered)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        abort();
    fprintf(out, "tag %u absorbed %" PRIu64 " next %" PRIu64 "\n", recovered->tag,
            recovered->absorbed, recovered->next_sequence);
    for (uint32_t i = 0; i < recovered->group_count; i++)
        put_group(out, &recovered->groups[i]);
    for (uint32_t i = 0; i < recovered->chunk_count; i++) {
        fprintf(out, "chunk %u %" PRIu64, recovered->chunks[i].group, recovered->chunks[i].chunk);
        put_bytes(out, "bits", recovered->chunks[i].bits, WEIR_CHUNK_BYTES);
        fprintf(out, "\n");
    }
    for (uint32_t i = 0; i < recovered->leased_count; i++) {
        fprintf(out, "%u of ", recovered->leased[i].count);
        put_row(out, "leased", &recovered->leased[i].row);
    }
    for (uint32_t i = 0; i < recovered->keyed_count; i++)
        fprintf(out, "keyed %u %" PRIu64 " state %d key %" PRIx64 "\n", recovered->keyed[i].group,
                recovered->keyed[i].sequence, (int)recovered->keyed[i].state,
                recovered->keyed[i].key_hash);
    for (uint32_t i = 0; i < recovered->counts_count; i++)
        fprintf(out, "counts %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 "\n",
                recovered->counts[i].group, recovered->counts[i].deferred,
                recovered->counts[i].dying, recovered->counts[i].dead, recovered->counts[i].due_ms);
    for (uint32_t i = 0; i < recovered->producer_count; i++) {
        const struct weir_producer_row *producer = &recovered->producers[i];

        fprintf(out, "producer %" PRIu64, producer->number);
        put_bytes(out, "id", producer->id, sizeof producer->id);
        put_bytes(out, "answers", producer->answers,
                  producer->answer_count * sizeof *producer->answers);
        fprintf(out, "\n");
    }
    for (uint32_t i = 0; i < recovered->idem_count; i++) {
        fprintf(out, "idem %" PRIu64, recovered->idems[i].sequence);
        put_bytes(out, "hash", recovered->idems[i].hash, sizeof recovered->idems[i].hash);
        fprintf(out, "\n");
    }
    fclose(out);
    return text;
}

char *dump_rows(const struct weir_store_result *result)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        abort();
    for (uint32_t i = 0; i < result->row_count; i++)
        put_row(out, "row", &result->rows[i]);
    fprintf(out, "more %d\n", result->more);
    fclose(out);
    return text;
}
