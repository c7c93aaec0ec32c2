#include <base/alloc.h>
#include <base/error.h>
#include <core/producers.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static void said_fini(struct weir_producers *self, struct weir_intake_said *said)
{
    self->duplicates_kept -= said->duplicate_count;
    free(said->duplicates);
    *said = (struct weir_intake_said){0};
}

void weir_producers_drop(struct weir_producers *self, struct weir_intake_producer *producer)
{
    WEIR_ASSERT(producer->pending_count == 0);
    for (uint32_t i = 0; i < producer->answer_count; i++)
        said_fini(self, &producer->answers[i]);
    HASH_DELETE(hh, self->by_id, producer);
    DL_DELETE(self->by_silence, producer);
    self->count--;
    free(producer);
}

void weir_producers_fini(struct weir_producers *self)
{
    while (self->by_silence)
        weir_producers_drop(self, self->by_silence);
}

struct weir_intake_producer *weir_producers_find(const struct weir_producers *self,
                                                 const uint8_t *id)
{
    struct weir_intake_producer *producer;
    HASH_FIND(hh, self->by_id, id, WEIR_PRODUCER_BYTES, producer);
    return producer;
}

/* ---- by silence ---- */

static int by_time(const struct weir_intake_producer *a, const struct weir_intake_producer *b)
{
    return (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

static void sort_by_silence(struct weir_producers *self)
{
    if (self->unsorted)
        DL_SORT(self->by_silence, by_time);
    self->unsorted = false;
}

bool weir_producers_room(struct weir_producers *self)
{
    if (self->count < WEIR_PRODUCERS_MAX)
        return true;
    sort_by_silence(self);
    struct weir_intake_producer *producer;
    DL_FOREACH (self->by_silence, producer) {
        if (producer->pending_count == 0) {
            if (self->forgot)
                self->forgot(self->arg, producer->id);
            weir_producers_drop(self, producer);
            self->forgotten++;
            return true;
        }
    }
    return false;
}

struct weir_intake_producer *weir_producers_add(struct weir_producers *self, const uint8_t *id,
                                                int64_t time_ms)
{
    struct weir_intake_producer *producer = weir_zalloc(1, sizeof *producer);
    memcpy(producer->id, id, WEIR_PRODUCER_BYTES);
    producer->time_ms = time_ms;
    HASH_ADD(hh, self->by_id, id, WEIR_PRODUCER_BYTES, producer);
    DL_APPEND(self->by_silence, producer);
    self->count++;
    return producer;
}

void weir_producers_touch(struct weir_producers *self, struct weir_intake_producer *producer,
                          int64_t time_ms)
{
    producer->time_ms = time_ms;
    DL_DELETE(self->by_silence, producer);
    DL_APPEND(self->by_silence, producer);
}

uint32_t weir_producers_expire(struct weir_producers *self, int64_t before_ms)
{
    uint32_t gone = 0;
    struct weir_intake_producer *producer, *next;
    sort_by_silence(self);
    DL_FOREACH_SAFE(self->by_silence, producer, next)
    {
        if (producer->time_ms >= before_ms)
            break;
        if (producer->pending_count == 0) {
            weir_producers_drop(self, producer);
            gone++;
        }
    }
    self->forgotten += gone;
    return gone;
}

/* ---- answers ---- */

const struct weir_intake_said *weir_intake_producer_answer(const struct weir_intake_producer *self,
                                                           uint64_t number)
{
    for (uint32_t i = 0; i < self->answer_count; i++)
        if (self->answers[i].answer.number == number)
            return &self->answers[i];
    return NULL;
}

void weir_producers_answered(struct weir_producers *self, struct weir_intake_producer *producer,
                             const struct weir_producer_answer *said,
                             const struct weir_duplicate *duplicates, uint32_t duplicate_count)
{
    if (producer->answer_count == WEIR_PRODUCER_WINDOW_MAX) {
        said_fini(self, &producer->answers[0]);
        producer->answer_count--;
        memmove(&producer->answers[0], &producer->answers[1],
                producer->answer_count * sizeof producer->answers[0]);
    }
    uint32_t at = producer->answer_count++;
    for (; at > 0 && producer->answers[at - 1].answer.number > said->number; at--)
        producer->answers[at] = producer->answers[at - 1];
    struct weir_intake_said *kept = &producer->answers[at];
    *kept = (struct weir_intake_said){.answer = *said};
    if (duplicate_count == 0 || duplicate_count > WEIR_DUPLICATES_KEPT_MAX - self->duplicates_kept)
        return;
    kept->duplicates = weir_alloc(duplicate_count * sizeof *duplicates);
    memcpy(kept->duplicates, duplicates, duplicate_count * sizeof *duplicates);
    kept->duplicate_count = duplicate_count;
    self->duplicates_kept += duplicate_count;
}

void weir_producers_remember(struct weir_producers *self, const struct weir_producer_row *row)
{
    struct weir_intake_producer *producer = weir_producers_find(self, row->id);
    if (producer)
        weir_producers_drop(self, producer);
    if (!weir_producers_room(self))
        return;
    producer = weir_producers_add(self, row->id, row->time_ms);
    self->unsorted = true;
    producer->accepted = row->number;
    for (uint32_t i = 0; i < row->answer_count && i < WEIR_PRODUCER_WINDOW_MAX; i++)
        weir_producers_answered(self, producer, &row->answers[i], NULL, 0);
}

void weir_producers_replayed(struct weir_producers *self, const uint8_t *id,
                             const struct weir_producer_answer *said)
{
    struct weir_intake_producer *producer = weir_producers_find(self, id);
    if (!producer) {
        if (!weir_producers_room(self))
            return;
        producer = weir_producers_add(self, id, said->time_ms);
    }
    weir_producers_touch(self, producer, said->time_ms); /* the log has them in order */
    if (said->number > producer->accepted)
        producer->accepted = said->number;
    if (!weir_intake_producer_answer(producer, said->number))
        weir_producers_answered(self, producer, said, NULL, 0);
}

/* ---- pending ---- */

struct weir_intake_pending *weir_intake_producer_pending(const struct weir_intake_producer *self,
                                                         uint64_t number)
{
    for (uint32_t i = 0; i < self->pending_count; i++)
        if (self->pending[i]->said.number == number)
            return self->pending[i];
    return NULL;
}

struct weir_intake_pending *weir_intake_pending_new(struct weir_intake_producer *producer,
                                                    uint64_t number, uint32_t count)
{
    WEIR_ASSERT(producer->pending_count < WEIR_PRODUCER_WINDOW_MAX);
    struct weir_intake_pending *self = weir_zalloc(1, sizeof *self);
    self->producer = producer;
    self->said.number = number;
    self->said.count = count;
    producer->pending[producer->pending_count++] = self;
    return self;
}

void weir_intake_pending_destroy(struct weir_intake_pending **self)
{
    struct weir_intake_producer *producer = (*self)->producer;
    uint32_t at = 0;
    while (producer->pending[at] != *self)
        at++;
    producer->pending_count--;
    memmove(&producer->pending[at], &producer->pending[at + 1],
            (producer->pending_count - at) * sizeof(struct weir_intake_pending *));
    free(*self);
    *self = NULL;
}

/* ---- rows ---- */

static void row_init(const struct weir_intake_producer *self, struct weir_producer_row *row)
{
    *row = (struct weir_producer_row){.time_ms = self->time_ms};
    memcpy(row->id, self->id, WEIR_PRODUCER_BYTES);
}

static void row_add(struct weir_producer_row *row, const struct weir_producer_answer *said)
{
    if (row->answer_count == WEIR_PRODUCER_WINDOW_MAX) {
        row->answer_count--;
        memmove(&row->answers[0], &row->answers[1], row->answer_count * sizeof row->answers[0]);
    }
    row->answers[row->answer_count++] = *said;
}

void weir_intake_producer_settled_row(const struct weir_intake_producer *self,
                                      struct weir_producer_row *row)
{
    row_init(self, row);
    row->number = self->pending_count ? self->pending[0]->said.number - 1 : self->accepted;
    for (uint32_t i = 0; i < self->answer_count; i++)
        if (self->answers[i].answer.number <= row->number)
            row_add(row, &self->answers[i].answer);
}

void weir_intake_producer_accepted_row(const struct weir_intake_producer *self,
                                       struct weir_producer_row *row)
{
    uint32_t a = 0, p = 0;
    row_init(self, row);
    row->number = self->accepted;
    while (a < self->answer_count || p < self->pending_count) {
        if (p == self->pending_count ||
            (a < self->answer_count &&
             self->answers[a].answer.number < self->pending[p]->said.number))
            row_add(row, &self->answers[a++].answer);
        else
            row_add(row, &self->pending[p++]->said);
    }
}
