#include "holder_life.h"
#include "held_fixture.h"

#include <base/alloc.h>

#include <jansson.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TAG 4u
#define TOGETHER 3u
#define PAYLOAD_BYTES 700u
#define FULL_AGAIN 30u

static const char *const groups[] = {"email", "fraud"};

/* ---- the messages ---- */

/* Even batches are of one group, odd ones of the other; the last message of a batch is the first
 * of the next one of its group. */
static uint32_t message_of(uint32_t batch, uint32_t i)
{
    const uint32_t in_group = batch / 2 * (HOLDER_PER_BATCH - 1) + i;

    return 2 * in_group + batch % 2;
}

static uint32_t death_of(enum holder_kind kind, uint32_t message)
{
    return kind == HOLDER_LETTERS ? 1 + message % 2 : 0;
}

static void payload_of(uint32_t message, char payload[PAYLOAD_BYTES + 1])
{
    int bytes = snprintf(payload, PAYLOAD_BYTES + 1, "result %u ", message);

    memset(payload + bytes, 'a' + (int)(message % 26), PAYLOAD_BYTES - (uint32_t)bytes);
    payload[PAYLOAD_BYTES] = '\0';
}

static struct weir_store_request batch_request(enum holder_kind kind, uint32_t batch)
{
    char payloads[HOLDER_PER_BATCH][PAYLOAD_BYTES + 1];
    struct weir_message_view views[HOLDER_PER_BATCH];

    for (uint32_t i = 0; i < HOLDER_PER_BATCH; i++) {
        const uint32_t message = message_of(batch, i);

        payload_of(message, payloads[i]);
        views[i] =
            fixture_result(message + 1, groups[message % 2], death_of(kind, message), payloads[i]);
    }
    return fixture_hold(1 + (uint64_t)batch * HOLDER_PER_BATCH, 1, batch + 1, "t", views,
                        HOLDER_PER_BATCH);
}

void holder_truth_step(struct holder_truth *self, const struct tape_entry *entry)
{
    if (entry->kind != TAPE_NOTE)
        return;
    if (entry->note == HOLDER_HELD)
        self->held[entry->number] = true;
    else if (entry->note == HOLDER_REMOVING)
        self->removing[entry->number] = true;
    else
        self->removed[entry->number] = true;
}

/* ---- a holder's life ---- */

int holder_open(struct holder *self, enum holder_kind kind, const char *directory)
{
    struct weir_sink_config config = {.kind =
                                          kind == HOLDER_LINES ? WEIR_SINK_JSONL : WEIR_SINK_SQLITE,
                                      .stdout_fd = -1,
                                      .tag = TAG};
    int status;

    *self = (struct holder){.kind = kind, .directory = directory};
    self->path = weir_asprintf("%s/out", directory);
    self->ledger_path = weir_asprintf("%s/ledger", directory);
    config.path = self->path;
    config.ledger_path = kind == HOLDER_LINES ? self->ledger_path : NULL;
    status = kind == HOLDER_LETTERS
                 ? weir_dlq_store_open(self->path, true, &self->letters, &self->error)
                 : weir_sink_open(&config, &self->sink, &self->error);
    if (status != 0)
        holder_close(self);
    return status;
}

void holder_close(struct holder *self)
{
    weir_sink_destroy(&self->sink);
    weir_dlq_store_destroy(&self->letters);
    free(self->path);
    free(self->ledger_path);
    self->path = self->ledger_path = NULL;
}

static int hold_together(struct holder *self, struct holder_truth *truth, uint32_t first,
                         uint32_t count)
{
    struct weir_store_request requests[TOGETHER];
    uint32_t duplicates[TOGETHER];
    int status;

    for (uint32_t i = 0; i < count; i++)
        requests[i] = batch_request(self->kind, first + i);
    status =
        self->kind == HOLDER_LETTERS
            ? weir_dlq_store_hold(self->letters, TAG, requests, count, duplicates, &self->error)
            : weir_sink_hold(self->sink, requests, count, duplicates, &self->error);
    for (uint32_t i = 0; i < count; i++) {
        weir_store_request_fini(&requests[i]);
        if (status != 0)
            continue;
        truth->held[first + i] = true;
        tape_note(HOLDER_HELD, first + i, 0);
    }
    return status;
}

int holder_hold(struct holder *self, struct holder_truth *truth, uint32_t first, uint32_t last)
{
    uint32_t batch = first, again = 0;
    int status = 0;

    while (batch <= last && (status == 0 || (status == WEIR_EFULL && again++ < FULL_AGAIN))) {
        status = hold_together(self, truth, batch,
                               last - batch + 1 < TOGETHER ? last - batch + 1 : TOGETHER);
        if (status == 0)
            batch += TOGETHER;
    }
    return status;
}

static struct weir_id id_of(uint32_t message)
{
    return (struct weir_id){.time_ms = 1600000000000, .tag = 7, .sequence = message + 1};
}

int holder_remove(struct holder *self, struct holder_truth *truth, uint32_t first, uint32_t last)
{
    int status = 0;

    for (uint32_t batch = first; batch <= last && status == 0; batch++) {
        for (uint32_t i = 0; i < HOLDER_PER_BATCH && status == 0; i++) {
            const uint32_t message = message_of(batch, i);
            const struct weir_id id = id_of(message);
            bool there;

            if (message % 7 != 0 || truth->removed[message])
                continue;
            truth->removing[message] = true;
            tape_note(HOLDER_REMOVING, message, 0);
            status = weir_dlq_store_remove(self->letters, &id, groups[message % 2],
                                           death_of(self->kind, message), &there, &self->error);
            if (status != 0)
                continue;
            assert_true(there);
            truth->removed[message] = true;
            tape_note(HOLDER_REMOVED, message, 0);
        }
    }
    return status;
}

int holder_live(enum holder_kind kind, const char *directory, uint32_t batches,
                struct holder_truth *truth, struct weir_error *error)
{
    struct holder holder;
    int status = 0;

    for (uint32_t life = 0; life < 2 && status == 0; life++) {
        const uint32_t first = life * batches / 2, last = first + batches / 2 - 1;

        status = holder_open(&holder, kind, directory);
        if (status != 0)
            break;
        status = holder_hold(&holder, truth, first, last);
        if (status == 0 && kind == HOLDER_LETTERS)
            status = holder_remove(&holder, truth, first, last);
        holder_close(&holder);
    }
    if (status != 0)
        *error = holder.error;
    return status;
}

/* ---- what is there ---- */

struct counts {
    const struct holder *holder;
    const char *where;
    uint32_t at[HOLDER_MESSAGES];
};

static void count(struct counts *counts, const char *id_text, const char *group, uint32_t death,
                  const char *payload, size_t bytes)
{
    char expected[PAYLOAD_BYTES + 1];
    struct weir_id id;
    uint32_t message;

    assert_int_equal(weir_id_parse(id_text, &id), 0);
    assert_true(id.sequence >= 1 && id.sequence <= HOLDER_MESSAGES);
    message = (uint32_t)id.sequence - 1;
    payload_of(message, expected);
    if (strcmp(group, groups[message % 2]) != 0 ||
        death != death_of(counts->holder->kind, message) || bytes != PAYLOAD_BYTES ||
        memcmp(payload, expected, bytes) != 0)
        fail_msg("%s: message %u is not what it was", counts->where, message);
    if (++counts->at[message] > 1)
        fail_msg("%s: message %u is there twice", counts->where, message);
}

static void count_lines(struct counts *counts)
{
    size_t bytes;
    char *text = fixture_read(counts->holder->path, &bytes), *line = text;

    for (char *end; line < text + bytes; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + bytes - line));
        json_t *json = end != NULL ? json_loadb(line, (size_t)(end - line), 0, NULL) : NULL;

        if (json == NULL)
            fail_msg("%s: the file does not consist of whole lines", counts->where);
        json_t *result = json_object_get(json, "result");
        count(counts, json_string_value(json_object_get(json, "id")),
              json_string_value(json_object_get(json, "group")), 0, json_string_value(result),
              json_string_length(result));
        json_decref(json);
    }
    free(text);
}

static void count_rows(struct counts *counts)
{
    sqlite3_stmt *statement;
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(counts->holder->path, &db, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT id, \"group\", death, result FROM results", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW)
        count(counts, (const char *)sqlite3_column_text(statement, 0),
              (const char *)sqlite3_column_text(statement, 1),
              (uint32_t)sqlite3_column_int(statement, 2), sqlite3_column_blob(statement, 3),
              (size_t)sqlite3_column_bytes(statement, 3));
    assert_int_equal(sqlite3_finalize(statement), SQLITE_OK);
    sqlite3_close(db);
}

static bool count_letter(void *arg, const struct weir_dead_letter *letter)
{
    count(arg, letter->id_text, letter->group, letter->death, letter->payload,
          letter->payload_bytes);
    return true;
}

void holder_check(struct holder *self, const struct holder_truth *truth, bool all,
                  const char *where)
{
    struct counts counts = {.holder = self, .where = where};

    if (self->kind == HOLDER_LINES) {
        count_lines(&counts);
    } else if (self->kind == HOLDER_ROWS) {
        count_rows(&counts);
    } else {
        const struct weir_dlq_filter everything = {0};

        assert_int_equal(
            weir_dlq_store_list(self->letters, &everything, count_letter, &counts, &self->error),
            0);
    }
    for (uint32_t batch = 0; batch < HOLDER_BATCHES; batch++) {
        for (uint32_t i = 0; i < HOLDER_PER_BATCH && (all || truth->held[batch]); i++) {
            const uint32_t message = message_of(batch, i);

            if (truth->removed[message] && counts.at[message] > 0)
                fail_msg("%s: message %u is back", where, message);
            if (!truth->removing[message] && counts.at[message] == 0)
                fail_msg("%s: message %u was held and is lost", where, message);
        }
    }
}
