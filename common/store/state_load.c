/* What a start wants to know of the state. */
#include "state.h"
#include "state_words.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/little_endian.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loading one kind of row: called for each, with the array that grows. */
struct loading {
    struct weir_state *state;
    struct weir_recovered *recovered;
    struct weir_error *error;
    uint64_t next_sequence;
};

typedef int (*take_function)(struct loading *loading, sqlite3_stmt *statement);

/* `rows_max`: what is bound to the text's ?1; 0: it has none. */
static int load(struct loading *loading, const char *text, int64_t rows_max, take_function take)
{
    sqlite3_stmt *statement = NULL;
    struct weir_database *database = &loading->state->database;
    int status = weir_database_prepare(database, text, &statement, loading->error);
    int step;

    if (status == 0 && rows_max > 0)
        sqlite3_bind_int64(statement, 1, rows_max);
    while (status == 0 && (step = sqlite3_step(statement)) != SQLITE_DONE) {
        if (step == SQLITE_ROW)
            status = take(loading, statement);
        else
            status = weir_database_error(database, "recovering", loading->error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Room for one more in an array that grows by doubling. */
static void *grow(void *array, uint32_t count, size_t bytes)
{
    if (count > 0 && (count & (count - 1)) != 0)
        return array;
    return weir_realloc(array, count > 0 ? 2 * (size_t)count : 1, bytes);
}

static void raise_next(struct loading *loading, uint64_t next)
{
    if (next > loading->next_sequence)
        loading->next_sequence = next;
}

static int damaged(struct loading *loading, const char *what, const char *value)
{
    return weir_error_set(loading->error, WEIR_EDAMAGED,
                          "%s: %s \"%s\" is none that Weir writes; put back what was there",
                          loading->state->database.path, what, value);
}

static const char *text_column(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text != NULL ? text : "";
}

static uint64_t u64_column(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}

/* The index of `text` in `words`, or -1. */
static int word_index(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return (int)i;
    }
    return -1;
}

#define WORD_INDEX(text, words) word_index(text, words, sizeof words / sizeof words[0])

static int split_topics(struct loading *loading, const char *text, struct weir_group_policy *policy)
{
    const char *rest = text;

    while (*rest != '\0') {
        size_t length = strcspn(rest, "\n");

        if (length > WEIR_TOPIC_BYTES_MAX || policy->topic_count == WEIR_TOPIC_PATTERNS_MAX)
            return damaged(loading, "a group's list of topics", text);
        memcpy(policy->topics[policy->topic_count], rest, length);
        policy->topics[policy->topic_count++][length] = '\0';
        rest += length + (rest[length] == '\n');
    }
    return 0;
}

static int take_policy(struct loading *loading, sqlite3_stmt *statement,
                       struct weir_group_policy *policy)
{
    int order = WORD_INDEX(text_column(statement, 3), order_words);
    int delivery = WORD_INDEX(text_column(statement, 4), delivery_words);
    int start = WORD_INDEX(text_column(statement, 5), start_words);
    int on_full = WORD_INDEX(text_column(statement, 14), on_full_words);

    if (strlen(text_column(statement, 1)) > WEIR_NAME_BYTES_MAX)
        return damaged(loading, "a group's name", text_column(statement, 1));
    if (order < 0)
        return damaged(loading, "a group's ordering", text_column(statement, 3));
    if (delivery < 0)
        return damaged(loading, "a group's delivery", text_column(statement, 4));
    if (start < 0)
        return damaged(loading, "a group's start_at", text_column(statement, 5));
    if (on_full < 0)
        return damaged(loading, "a group's on_full", text_column(statement, 14));
    snprintf(policy->name, sizeof policy->name, "%s", text_column(statement, 1));
    policy->order = (enum weir_order)order;
    policy->delivery = (enum weir_delivery_mode)delivery;
    policy->start = (enum weir_start)start;
    policy->on_full = (enum weir_on_full)on_full;
    policy->attempts = (uint32_t)u64_column(statement, 6);
    policy->backoff.first_ms = sqlite3_column_int64(statement, 7);
    policy->backoff.factor_permille = (uint32_t)u64_column(statement, 8);
    policy->backoff.max_ms = sqlite3_column_int64(statement, 9);
    policy->timeout_ms = sqlite3_column_int64(statement, 10);
    policy->lease_ms = sqlite3_column_int64(statement, 11);
    policy->rate_permille = (uint32_t)u64_column(statement, 12);
    policy->max_backlog = u64_column(statement, 13);
    policy->expire_idle_ms = sqlite3_column_int64(statement, 15);
    policy->dynamic = sqlite3_column_int(statement, 16) != 0;
    return split_topics(loading, text_column(statement, 2), policy);
}

static int take_ended(struct loading *loading, sqlite3_stmt *statement,
                      struct weir_group_row *group)
{
    struct weir_ended *ended = &group->ended;
    const uint8_t *at = sqlite3_column_blob(statement, 35);
    const uint32_t bytes = (uint32_t)sqlite3_column_bytes(statement, 35);
    uint64_t above = 0;

    if (bytes == 0) { /* of a state that was made before this was kept */
        ended->known_from = group->next;
        return 0;
    }
    if (bytes < 8 || (bytes - 8) % WEIR_STATE_ENDED_BYTES != 0 ||
        (bytes - 8) / WEIR_STATE_ENDED_BYTES > WEIR_ENDED_RANGES_MAX)
        return damaged(loading, "the length of what has ended in group", text_column(statement, 1));
    ended->known_from = get_u64(at);
    for (at += 8; ended->count < (bytes - 8) / WEIR_STATE_ENDED_BYTES;
         at += WEIR_STATE_ENDED_BYTES) {
        struct weir_ended_range *range = &ended->at[ended->count++];

        range->first = get_u64(at);
        range->last = get_u64(at + 8);
        range->fate = get_u32(at + 16);
        if (range->first <= above || range->last < range->first || range->last == UINT64_MAX ||
            (range->fate != WEIR_FATE_LOST && range->fate != WEIR_FATE_DROPPED))
            return damaged(loading, "a range of what has ended in group",
                           text_column(statement, 1));
        above = range->last;
    }
    return 0;
}

static int take_group(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_group_row *group;
    struct weir_group_totals *totals;

    recovered->groups = grow(recovered->groups, recovered->group_count, sizeof *recovered->groups);
    group = &recovered->groups[recovered->group_count];
    memset(group, 0, sizeof *group);
    group->number = (uint32_t)u64_column(statement, 0);
    group->start = u64_column(statement, 17);
    group->low = u64_column(statement, 18);
    group->next = u64_column(statement, 19);
    group->created_ms = sqlite3_column_int64(statement, 20);
    group->active_ms = sqlite3_column_int64(statement, 21);
    group->paused = sqlite3_column_int(statement, 22) != 0;
    group->listed = sqlite3_column_int(statement, 23) != 0;
    totals = &group->totals;
    totals->matched = u64_column(statement, 24);
    totals->passed = u64_column(statement, 25);
    totals->done = u64_column(statement, 26);
    totals->retried = u64_column(statement, 27);
    totals->dead = u64_column(statement, 28);
    totals->rejected = u64_column(statement, 29);
    totals->expired = u64_column(statement, 30);
    totals->released = u64_column(statement, 31);
    totals->dropped = u64_column(statement, 32);
    totals->replayed = u64_column(statement, 33);
    totals->stale = u64_column(statement, 34);
    recovered->group_count++;
    raise_next(loading, group->start);
    raise_next(loading, group->low);
    raise_next(loading, group->next);
    if (take_ended(loading, statement, group) != 0)
        return loading->error->code;
    return take_policy(loading, statement, &group->policy);
}

static int take_chunk(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_chunk_row *chunk;

    if (sqlite3_column_bytes(statement, 2) != WEIR_CHUNK_BYTES)
        return weir_error_set(loading->error, WEIR_EDAMAGED,
                              "%s: a chunk of group %d has %d bytes, not %u; put back what was "
                              "there",
                              loading->state->database.path, sqlite3_column_int(statement, 0),
                              sqlite3_column_bytes(statement, 2), WEIR_CHUNK_BYTES);
    recovered->chunks = grow(recovered->chunks, recovered->chunk_count, sizeof *recovered->chunks);
    chunk = &recovered->chunks[recovered->chunk_count++];
    chunk->group = (uint32_t)u64_column(statement, 0);
    chunk->chunk = u64_column(statement, 1);
    chunk->bits = weir_alloc(WEIR_CHUNK_BYTES);
    memcpy(chunk->bits, sqlite3_column_blob(statement, 2), WEIR_CHUNK_BYTES);
    return 0;
}

static int take_leased(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_row row;

    weir_state_row(statement, false, &row);
    if (weir_leased_join(recovered, &row)) {
        weir_row_fini(&row);
        return 0;
    }
    recovered->leased = grow(recovered->leased, recovered->leased_count, sizeof *recovered->leased);
    recovered->leased[recovered->leased_count++] = (struct weir_leased){row, 1};
    return 0;
}

static int take_keyed(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;

    recovered->keyed = grow(recovered->keyed, recovered->keyed_count, sizeof *recovered->keyed);
    recovered->keyed[recovered->keyed_count++] =
        (struct weir_keyed){.group = (uint32_t)u64_column(statement, 0),
                            .state = (enum weir_row_state)sqlite3_column_int(statement, 1),
                            .sequence = u64_column(statement, 2),
                            .key_hash = u64_column(statement, 3)};
    return 0;
}

static int take_counts(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_row_counts *counts;

    recovered->counts = grow(recovered->counts, recovered->counts_count, sizeof *recovered->counts);
    counts = &recovered->counts[recovered->counts_count++];
    counts->group = (uint32_t)u64_column(statement, 0);
    counts->deferred = u64_column(statement, 1);
    counts->dying = u64_column(statement, 2);
    counts->dead = u64_column(statement, 3);
    counts->due_ms = sqlite3_column_type(statement, 4) == SQLITE_NULL
                         ? WEIR_TIME_NEVER
                         : sqlite3_column_int64(statement, 4);
    return 0;
}

static int take_last(struct loading *loading, sqlite3_stmt *statement)
{
    raise_next(loading, u64_column(statement, 0) + 1);
    return 0;
}

static int take_producer(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_producer_row *producer;
    uint32_t bytes = (uint32_t)sqlite3_column_bytes(statement, 3);
    const uint8_t *at = sqlite3_column_blob(statement, 3);

    if (sqlite3_column_bytes(statement, 0) != WEIR_PRODUCER_BYTES ||
        bytes % WEIR_STATE_ANSWER_BYTES != 0 ||
        bytes / WEIR_STATE_ANSWER_BYTES > WEIR_PRODUCER_WINDOW_MAX)
        return damaged(loading, "the length of a producer's id or answers", "");
    recovered->producers =
        grow(recovered->producers, recovered->producer_count, sizeof *recovered->producers);
    producer = &recovered->producers[recovered->producer_count++];
    memset(producer, 0, sizeof *producer);
    producer->number = u64_column(statement, 1);
    producer->time_ms = sqlite3_column_int64(statement, 2);
    producer->answer_count = bytes / WEIR_STATE_ANSWER_BYTES;
    for (uint32_t i = 0; i < producer->answer_count; i++, at += WEIR_STATE_ANSWER_BYTES) {
        producer->answers[i].number = get_u64(at);
        producer->answers[i].first = get_u64(at + 8);
        producer->answers[i].count = get_u32(at + 16);
        producer->answers[i].time_ms = (int64_t)get_u64(at + 20);
        raise_next(loading, producer->answers[i].first + producer->answers[i].count);
    }
    memcpy(producer->id, sqlite3_column_blob(statement, 0), WEIR_PRODUCER_BYTES);
    return 0;
}

static int take_idem(struct loading *loading, sqlite3_stmt *statement)
{
    struct weir_recovered *recovered = loading->recovered;
    struct weir_idem_row *idem;

    if (sqlite3_column_bytes(statement, 1) != WEIR_HASH_BYTES)
        return damaged(loading, "the length of an idempotency key's hash", "");
    recovered->idems = grow(recovered->idems, recovered->idem_count, sizeof *recovered->idems);
    idem = &recovered->idems[recovered->idem_count++];
    idem->sequence = u64_column(statement, 0);
    idem->time_ms = sqlite3_column_int64(statement, 2);
    memcpy(idem->hash, sqlite3_column_blob(statement, 1), WEIR_HASH_BYTES);
    raise_next(loading, idem->sequence + 1);
    return 0;
}

int weir_state_load(struct weir_state *state, struct weir_recovered *recovered,
                    struct weir_error *error)
{
    static const struct {
        const char *text;
        take_function take;
    } parts[] = {
        /* What has many rows is answered from an index alone. */
        {"SELECT * FROM groups ORDER BY number", take_group},
        {"SELECT group_number, chunk, settled FROM chunks ORDER BY group_number, chunk",
         take_chunk},
        {"SELECT " WEIR_STATE_ROW_COLUMNS
         " FROM groups g CROSS JOIN messages m ON m.group_number = g.number AND m.state = 3"
         " ORDER BY g.number, m.sequence",
         take_leased},
        {"SELECT group_number, state, sequence, key_hash FROM messages"
         " WHERE key_hash <> 0 AND state IN (1, 2) ORDER BY group_number, state, sequence",
         take_keyed},
        {"SELECT c.group_number, sum (rows * (state = 1)), sum (rows * (state = 4)),"
         " sum (rows * (state = 5)), (SELECT min (m.due_ms) FROM messages m"
         "  WHERE m.group_number = c.group_number AND m.state = 1)"
         " FROM (SELECT group_number, state, count (*) AS rows FROM messages"
         "  GROUP BY group_number, state) c GROUP BY c.group_number ORDER BY c.group_number",
         take_counts},
        {"SELECT max (sequence) FROM messages", take_last},
        {"SELECT sequence, hash, accepted_ms FROM idempotency ORDER BY sequence", take_idem},
    };
    static const char producers[] =
        "SELECT * FROM (SELECT id, number, seen_ms, answers FROM producers"
        " ORDER BY seen_ms DESC LIMIT ?1) ORDER BY id";
    struct loading loading = {.state = state,
                              .recovered = recovered,
                              .error = error,
                              .next_sequence = state->absorbed + 1};
    int status = 0;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && status == 0; i++)
        status = load(&loading, parts[i].text, 0, parts[i].take);
    if (status == 0)
        status = load(&loading, producers, WEIR_PRODUCERS_MAX, take_producer);
    memcpy(recovered->uuid, state->uuid, sizeof recovered->uuid);
    recovered->tag = state->tag;
    recovered->absorbed = state->absorbed;
    recovered->next_sequence = loading.next_sequence;
    return status;
}
