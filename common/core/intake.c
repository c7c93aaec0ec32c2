/* Server side of the submit protocol.
 *
 * What a PUT meets, by its number (`accepted`: the newest number taken; `first`: what the PUT says
 * is the oldest number its producer has no answer for):
 *
 *   answered, still in the ring    the same OK again
 *   accepted, not answered yet     nothing: its OK comes once, to where the producer is now
 *   max (accepted + 1, first)      is next: the owner decides; OK, BUSY or REFUSED
 *   anything else                  REFUSED order, with the number expected
 *
 * A number that was BUSY or REFUSED was not accepted, so what follows it in the producer's window
 * is refused until it comes again or until the producer, having its answer, moves `first` past it.
 */
#include <base/alloc.h>
#include <core/intake.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#define BUSY_WINDOW_MS 10 /* more than a window's worth of PUTs without an answer */
#define BUSY_PRODUCERS_MS 1000

struct answer { /* what an OK said */
    struct weir_producer_answer said;
    struct weir_duplicate *duplicates; /* owned; NULL: none, or not in memory any more */
    uint32_t duplicate_count;
};

struct pending { /* a batch that was accepted and is not answered yet */
    UT_hash_handle hh;
    uint64_t ticket;
    struct producer *producer;
    struct weir_producer_answer said; /* first and time as far as accept told them */
};

struct producer {
    UT_hash_handle hh;
    struct producer *prev, *next;
    uint8_t id[WEIR_PRODUCER_BYTES];
    uint64_t peer;     /* where it was last heard */
    int64_t time_ms;   /* and when */
    uint64_t accepted; /* newest number accepted */
    uint64_t settled;  /* newest number with nothing unanswered at or below it */
    struct answer answers[WEIR_PRODUCER_WINDOW_MAX]; /* by number, ascending */
    uint32_t answer_count;
    struct pending *pending[WEIR_PRODUCER_WINDOW_MAX]; /* by number, ascending */
    uint32_t pending_count;
};

struct weir_intake {
    uint32_t port;
    uint16_t tag;
    enum weir_fsync durability;
    struct weir_intake_owner owner;
    struct weir_host host;
    struct producer *by_id;
    struct producer *by_silence; /* longest silent first, once sorted */
    bool unsorted;               /* remembered ones stand in any order */
    uint32_t producer_count;
    struct pending *by_ticket;
    uint64_t last_ticket;
    uint32_t duplicates_kept;
    char *close_code, *close_text; /* NULL: open */
    uint64_t accepted, messages, bytes, repeats, duplicates, busy, refused, out_of_order, malformed,
        forgotten;
};

struct weir_intake *weir_intake_new(uint32_t port, uint16_t tag, enum weir_fsync durability,
                                    const struct weir_intake_owner *owner,
                                    const struct weir_host *host)
{
    struct weir_intake *self = weir_zalloc(1, sizeof *self);
    self->port = port;
    self->tag = tag;
    self->durability = durability;
    self->owner = *owner;
    self->host = *host;
    return self;
}

static void answer_fini(struct weir_intake *self, struct answer *answer)
{
    self->duplicates_kept -= answer->duplicate_count;
    free(answer->duplicates);
    *answer = (struct answer){0};
}

static void producer_destroy(struct weir_intake *self, struct producer *producer)
{
    WEIR_ASSERT(producer->pending_count == 0);
    for (uint32_t i = 0; i < producer->answer_count; i++)
        answer_fini(self, &producer->answers[i]);
    HASH_DELETE(hh, self->by_id, producer);
    DL_DELETE(self->by_silence, producer);
    self->producer_count--;
    free(producer);
}

void weir_intake_destroy(struct weir_intake **self)
{
    if (!*self)
        return;
    struct pending *pending, *next_pending;
    HASH_ITER (hh, (*self)->by_ticket, pending, next_pending) {
        HASH_DELETE(hh, (*self)->by_ticket, pending);
        pending->producer->pending_count = 0;
        free(pending);
    }
    struct producer *producer, *next_producer;
    DL_FOREACH_SAFE((*self)->by_silence, producer, next_producer)
    producer_destroy(*self, producer);
    free((*self)->close_code);
    free((*self)->close_text);
    free(*self);
    *self = NULL;
}

/* ---- producers ---- */

static struct producer *producer_find(const struct weir_intake *self, const uint8_t *id)
{
    struct producer *producer;
    HASH_FIND(hh, self->by_id, id, WEIR_PRODUCER_BYTES, producer);
    return producer;
}

static int by_time(const struct producer *a, const struct producer *b)
{
    return (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

static void sort_by_silence(struct weir_intake *self)
{
    if (self->unsorted)
        DL_SORT(self->by_silence, by_time);
    self->unsorted = false;
}

/* Room for one more: forget the longest silent one of those that wait for nothing. */
static bool producer_room(struct weir_intake *self)
{
    if (self->producer_count < WEIR_PRODUCERS_MAX)
        return true;
    sort_by_silence(self);
    struct producer *producer;
    DL_FOREACH (self->by_silence, producer) {
        if (producer->pending_count == 0) {
            producer_destroy(self, producer);
            self->forgotten++;
            return true;
        }
    }
    return false;
}

static struct producer *producer_add(struct weir_intake *self, const uint8_t *id, int64_t time_ms)
{
    struct producer *producer = weir_zalloc(1, sizeof *producer);
    memcpy(producer->id, id, WEIR_PRODUCER_BYTES);
    producer->time_ms = time_ms;
    HASH_ADD(hh, self->by_id, id, WEIR_PRODUCER_BYTES, producer);
    DL_APPEND(self->by_silence, producer);
    self->producer_count++;
    return producer;
}

/* It was heard: from this peer, and last of all. */
static void producer_touch(struct weir_intake *self, struct producer *producer, uint64_t peer,
                           int64_t time_ms)
{
    producer->peer = peer;
    producer->time_ms = time_ms;
    DL_DELETE(self->by_silence, producer);
    DL_APPEND(self->by_silence, producer);
}

static struct pending *pending_of(const struct producer *producer, uint64_t number)
{
    for (uint32_t i = 0; i < producer->pending_count; i++)
        if (producer->pending[i]->said.number == number)
            return producer->pending[i];
    return NULL;
}

static const struct answer *answer_of(const struct producer *producer, uint64_t number)
{
    for (uint32_t i = 0; i < producer->answer_count; i++)
        if (producer->answers[i].said.number == number)
            return &producer->answers[i];
    return NULL;
}

/* Keep an answer in the ring; the lowest number gives way. */
static void answer_keep(struct weir_intake *self, struct producer *producer,
                        const struct weir_producer_answer *said,
                        const struct weir_duplicate *duplicates, uint32_t duplicate_count)
{
    if (producer->answer_count == WEIR_PRODUCER_WINDOW_MAX) {
        answer_fini(self, &producer->answers[0]);
        producer->answer_count--;
        memmove(&producer->answers[0], &producer->answers[1],
                producer->answer_count * sizeof producer->answers[0]);
    }
    uint32_t at = producer->answer_count++;
    for (; at > 0 && producer->answers[at - 1].said.number > said->number; at--)
        producer->answers[at] = producer->answers[at - 1];
    struct answer *answer = &producer->answers[at];
    *answer = (struct answer){.said = *said};
    if (duplicate_count == 0 || duplicate_count > WEIR_DUPLICATES_KEPT_MAX - self->duplicates_kept)
        return;
    answer->duplicates = weir_alloc(duplicate_count * sizeof *duplicates);
    memcpy(answer->duplicates, duplicates, duplicate_count * sizeof *duplicates);
    answer->duplicate_count = duplicate_count;
    self->duplicates_kept += duplicate_count;
}

static void producer_settle(struct producer *producer)
{
    producer->settled =
        producer->pending_count ? producer->pending[0]->said.number - 1 : producer->accepted;
}

void weir_intake_remember(struct weir_intake *self, const struct weir_producer_row *row)
{
    struct producer *producer = producer_find(self, row->id);
    if (producer)
        producer_destroy(self, producer);
    if (!producer_room(self))
        return;
    producer = producer_add(self, row->id, row->time_ms);
    self->unsorted = true;
    producer->accepted = producer->settled = row->number;
    for (uint32_t i = 0; i < row->answer_count && i < WEIR_PRODUCER_WINDOW_MAX; i++)
        answer_keep(self, producer, &row->answers[i], NULL, 0);
}

void weir_intake_replayed(struct weir_intake *self, const struct weir_batch_header *header,
                          uint64_t first, uint32_t count, int64_t time_ms)
{
    struct producer *producer = producer_find(self, header->producer);
    if (!producer) {
        if (!producer_room(self))
            return;
        producer = producer_add(self, header->producer, time_ms);
    }
    self->unsorted = true;
    producer->time_ms = time_ms;
    if (header->number > producer->accepted)
        producer->accepted = header->number;
    producer_settle(producer);
    if (!answer_of(producer, header->number)) {
        const struct weir_producer_answer said = {
            .number = header->number, .first = first, .count = count, .time_ms = time_ms};
        answer_keep(self, producer, &said, NULL, 0);
    }
}

static void row_init(struct weir_producer_row *row, const uint8_t *id)
{
    *row = (struct weir_producer_row){0};
    memcpy(row->id, id, WEIR_PRODUCER_BYTES);
}

static void row_add(struct weir_producer_row *row, const struct weir_producer_answer *said)
{
    if (row->answer_count == WEIR_PRODUCER_WINDOW_MAX) {
        row->answer_count--;
        memmove(&row->answers[0], &row->answers[1], row->answer_count * sizeof row->answers[0]);
    }
    row->answers[row->answer_count++] = *said;
}

bool weir_intake_producer(const struct weir_intake *self, const uint8_t id[WEIR_PRODUCER_BYTES],
                          struct weir_producer_row *row)
{
    const struct producer *producer = producer_find(self, id);
    if (!producer)
        return false;
    row_init(row, id);
    row->number = producer->settled;
    row->time_ms = producer->time_ms;
    for (uint32_t i = 0; i < producer->answer_count; i++)
        if (producer->answers[i].said.number <= producer->settled)
            row_add(row, &producer->answers[i].said);
    return true;
}

void weir_intake_row(const struct weir_intake *self, const struct weir_put *put,
                     struct weir_producer_row *row)
{
    row_init(row, put->header.producer);
    const struct producer *producer = producer_find(self, put->header.producer);
    WEIR_ASSERT(producer && pending_of(producer, put->header.number));
    uint32_t a = 0, p = 0;
    while (a < producer->answer_count || p < producer->pending_count) {
        if (p == producer->pending_count ||
            (a < producer->answer_count &&
             producer->answers[a].said.number < producer->pending[p]->said.number))
            row_add(row, &producer->answers[a++].said);
        else
            row_add(row, &producer->pending[p++]->said);
    }
    /* The newest of them is this batch itself. */
    struct weir_producer_answer *said = &row->answers[row->answer_count - 1];
    said->first = put->first;
    said->time_ms = put->time_ms;
    row->number = said->number;
    row->time_ms = said->time_ms;
}

uint32_t weir_intake_expire(struct weir_intake *self, int64_t before_ms)
{
    uint32_t gone = 0;
    struct producer *producer, *next;
    sort_by_silence(self);
    DL_FOREACH_SAFE(self->by_silence, producer, next)
    {
        if (producer->time_ms >= before_ms)
            break;
        if (producer->pending_count == 0) {
            producer_destroy(self, producer);
            gone++;
        }
    }
    self->forgotten += gone;
    return gone;
}

/* ---- answers ---- */

static void say(struct weir_intake *self, uint64_t peer, const struct weir_control *control)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    self->host.send(self->host.self, self->port, peer, &frames);
}

static void say_ok(struct weir_intake *self, uint64_t peer, const struct weir_producer_answer *said,
                   const struct weir_duplicate *duplicates, uint32_t duplicate_count)
{
    struct weir_control ok = {.verb = WEIR_VERB_OK};
    WEIR_SET(&ok, number, NUMBER, said->number);
    WEIR_SET(&ok, first, FIRST, said->first);
    WEIR_SET(&ok, count, COUNT, said->count);
    WEIR_SET(&ok, tag, TAG, self->tag);
    WEIR_SET(&ok, time_ms, TIME, said->time_ms);
    WEIR_SET(&ok, durability, DURABILITY, weir_text_of(weir_fsync_name(self->durability)));
    struct weir_duplicate *copy = NULL;
    if (duplicate_count > 0) {
        copy = weir_alloc(duplicate_count * sizeof *copy);
        memcpy(copy, duplicates, duplicate_count * sizeof *copy);
        ok.duplicate_count = duplicate_count;
        WEIR_SET(&ok, duplicates, DUPLICATES, copy);
    }
    say(self, peer, &ok);
    free(copy);
}

static void say_busy(struct weir_intake *self, uint64_t peer, uint64_t number, uint64_t retry_ms,
                     const char *text)
{
    struct weir_control busy = {.verb = WEIR_VERB_BUSY};
    WEIR_SET(&busy, number, NUMBER, number);
    WEIR_SET(&busy, retry_ms, RETRY_MS, retry_ms);
    WEIR_SET(&busy, text, TEXT, weir_text_of(text));
    self->busy++;
    say(self, peer, &busy);
}

/* `expected` is 0 unless the code is "order". */
static void say_refused(struct weir_intake *self, uint64_t peer, uint64_t number, const char *code,
                        const char *text, uint64_t expected)
{
    struct weir_control refused = {.verb = WEIR_VERB_REFUSED};
    WEIR_SET(&refused, number, NUMBER, number);
    WEIR_SET(&refused, code, CODE, weir_text_of(code));
    WEIR_SET(&refused, text, TEXT, weir_text_of(text));
    if (expected)
        WEIR_SET(&refused, first, FIRST, expected);
    say(self, peer, &refused);
}

static void say_error(struct weir_intake *self, uint64_t peer, const char *code, const char *text)
{
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(code));
    WEIR_SET(&error, text, TEXT, weir_text_of(text));
    self->malformed++;
    say(self, peer, &error);
}

/* ---- PUT ---- */

/* A number that was dealt with before? Then whatever is to be said about it is said. */
static bool put_repeated(struct weir_intake *self, const struct producer *producer, uint64_t number)
{
    const struct answer *answer = answer_of(producer, number);
    if (answer)
        say_ok(self, producer->peer, &answer->said, answer->duplicates, answer->duplicate_count);
    else if (!pending_of(producer, number))
        return false;
    self->repeats++;
    return true;
}

static void put_out_of_order(struct weir_intake *self, uint64_t peer, uint64_t number,
                             uint64_t expected)
{
    struct weir_error error;
    weir_error_set(&error, WEIR_EREFUSED,
                   "batch %" PRIu64 " is out of order: send batch %" PRIu64 " first", number,
                   expected);
    self->out_of_order++;
    say_refused(self, peer, number, WEIR_CODE_ORDER, error.text, expected);
}

static struct pending *pending_find(const struct weir_intake *self, uint64_t ticket)
{
    struct pending *pending;
    HASH_FIND(hh, self->by_ticket, &ticket, sizeof ticket, pending);
    return pending;
}

static struct pending *pending_add(struct weir_intake *self, struct producer *producer,
                                   const struct weir_put *put)
{
    struct pending *pending = weir_zalloc(1, sizeof *pending);
    pending->ticket = put->ticket;
    pending->producer = producer;
    pending->said.number = put->header.number;
    pending->said.count = put->header.count;
    HASH_ADD(hh, self->by_ticket, ticket, sizeof pending->ticket, pending);
    producer->pending[producer->pending_count++] = pending;
    return pending;
}

static void pending_destroy(struct weir_intake *self, struct pending *pending)
{
    struct producer *producer = pending->producer;
    uint32_t at = 0;
    while (producer->pending[at] != pending)
        at++;
    producer->pending_count--;
    memmove(&producer->pending[at], &producer->pending[at + 1],
            (producer->pending_count - at) * sizeof(struct pending *));
    HASH_DELETE(hh, self->by_ticket, pending);
    free(pending);
    producer_settle(producer);
}

/* The batch counts as accepted while the owner looks at it, so that the owner may answer at once;
 * if it turns the batch away, all is as before. */
static void put_accept(struct weir_intake *self, struct producer *producer, uint64_t peer,
                       struct weir_put *put, const struct weir_now *now)
{
    const uint64_t number = put->header.number;
    const uint64_t count = put->header.count;
    const uint64_t bytes = put->header_frame.size + put->index.size + put->body.size;
    const bool known = producer != NULL;
    if (!known)
        producer = producer_add(self, put->header.producer, now->wall_ms);
    const uint64_t accepted_before = producer->accepted;
    producer->peer = peer;
    producer->accepted = number;
    put->ticket = ++self->last_ticket;
    struct pending *pending = pending_add(self, producer, put);
    producer_settle(producer);

    struct weir_turned_away away = {.retry_ms = BUSY_PRODUCERS_MS, .code = WEIR_CODE_LIMIT};
    int rc = self->owner.accept(self->owner.self, put, &away, now);
    if (rc == 0) {
        pending = pending_find(self, put->ticket);
        if (pending) {
            pending->said.first = put->first;
            pending->said.time_ms = put->time_ms;
        }
        self->accepted++;
        self->messages += count;
        self->bytes += bytes;
        return;
    }
    producer->accepted = accepted_before;
    pending_destroy(self, pending);
    if (!known)
        producer_destroy(self, producer);
    if (rc == WEIR_EBUSY) {
        say_busy(self, peer, number, away.retry_ms, away.error.text);
    } else {
        self->refused++;
        say_refused(self, peer, number, away.code, away.error.text, 0);
    }
}

/* A batch whose frames are in order and whose header says who sends it. */
static void put_number(struct weir_intake *self, uint64_t peer, uint64_t floor,
                       struct weir_put *put, const struct weir_now *now)
{
    const uint64_t number = put->header.number;
    struct producer *producer = producer_find(self, put->header.producer);
    if (producer) {
        producer_touch(self, producer, peer, now->wall_ms);
        if (put_repeated(self, producer, number))
            return;
    }
    if (self->close_code) {
        self->refused++;
        say_refused(self, peer, number, self->close_code, self->close_text, 0);
        return;
    }
    uint64_t expected = producer ? producer->accepted + 1 : 1;
    if (expected < floor)
        expected = floor;
    if (number != expected) {
        put_out_of_order(self, peer, number, expected);
    } else if (producer && producer->pending_count == WEIR_PRODUCER_WINDOW_MAX) {
        say_busy(self, peer, number, BUSY_WINDOW_MS,
                 "too many batches without an answer; wait for one");
    } else if (!producer && !producer_room(self)) {
        say_busy(self, peer, number, BUSY_PRODUCERS_MS,
                 "too many producers have unanswered batches; try again");
    } else {
        put_accept(self, producer, peer, put, now);
    }
}

static void put_check(struct weir_intake *self, struct weir_event *event, uint64_t floor)
{
    struct weir_frames *frames = event->frames;
    struct weir_error error = {0};
    struct weir_put put = {0};
    int rc = weir_batch_check(&frames->at[1], &frames->at[2], &frames->at[3], &put.header, &error);
    if (rc != 0) {
        struct weir_batch_header header;
        if (weir_batch_header_decode(&frames->at[1], &header, NULL) == 0) {
            self->malformed++;
            say_refused(self, event->peer, header.number,
                        rc == WEIR_ELIMIT ? WEIR_CODE_LIMIT : WEIR_CODE_MALFORMED, error.text, 0);
        } else {
            say_error(self, event->peer, WEIR_CODE_MALFORMED, error.text);
        }
        return;
    }
    put.header_frame = frames->at[1];
    put.index = frames->at[2];
    put.body = frames->at[3];
    frames->at[1] = frames->at[2] = frames->at[3] = WEIR_BYTES_NONE;
    put_number(self, event->peer, floor, &put, &event->now);
    weir_bytes_drop(&put.header_frame);
    weir_bytes_drop(&put.index);
    weir_bytes_drop(&put.body);
}

void weir_intake_event(struct weir_intake *self, struct weir_event *event)
{
    struct weir_frames *frames = event->frames;
    struct weir_control control;
    struct weir_error error = {0};
    if (frames->count == 0) {
        say_error(self, event->peer, WEIR_CODE_MALFORMED, "a message without a frame");
        return;
    }
    if (weir_control_decode(&frames->at[0], &control, &error) != 0) {
        say_error(self, event->peer, WEIR_CODE_MALFORMED, error.text);
        return;
    }
    if (control.verb != WEIR_VERB_PUT) {
        weir_error_set(&error, WEIR_EPROTO, "%s does not belong on a submit port: send PUT",
                       weir_verb_name(control.verb));
        say_error(self, event->peer, WEIR_CODE_UNEXPECTED, error.text);
    } else if (frames->count != 4) {
        weir_error_set(&error, WEIR_EPROTO,
                       "PUT takes 3 more frames (header, index, body), not %" PRIu32,
                       frames->count - 1);
        say_error(self, event->peer, WEIR_CODE_MALFORMED, error.text);
    } else {
        put_check(self, event, WEIR_HAS(&control, FIRST) ? control.first : 0);
    }
    weir_control_fini(&control);
}

void weir_intake_gone(struct weir_intake *self, uint64_t peer)
{
    /* Nothing is kept for a peer: its producers are known by their own ids and may be on their way
     * back. What is still said to it the host drops. */
    (void)self;
    (void)peer;
}

void weir_intake_answer(struct weir_intake *self, uint64_t ticket, uint64_t first, uint32_t count,
                        int64_t time_ms, const struct weir_duplicate *duplicates,
                        uint32_t duplicate_count, const struct weir_now *now)
{
    (void)now;
    struct pending *pending = pending_find(self, ticket);
    WEIR_ASSERT(pending);
    struct producer *producer = pending->producer;
    const struct weir_producer_answer said = {
        .number = pending->said.number, .first = first, .count = count, .time_ms = time_ms};
    pending_destroy(self, pending);
    answer_keep(self, producer, &said, duplicates, duplicate_count);
    self->duplicates += duplicate_count;
    say_ok(self, producer->peer, &said, duplicates, duplicate_count);
}

void weir_intake_withdraw(struct weir_intake *self, uint64_t ticket, uint64_t retry_ms,
                          const char *text)
{
    struct pending *pending = pending_find(self, ticket);
    WEIR_ASSERT(pending);
    struct producer *producer = pending->producer;
    const uint64_t number = pending->said.number;
    if (producer->accepted >= number)
        producer->accepted = number - 1;
    pending_destroy(self, pending);
    say_busy(self, producer->peer, number, retry_ms, text);
}

void weir_intake_close(struct weir_intake *self, const char *code, const char *text)
{
    free(self->close_code);
    free(self->close_text);
    self->close_code = weir_strdup(code);
    self->close_text = weir_strdup(text);
}

uint32_t weir_intake_outstanding(const struct weir_intake *self)
{
    return (uint32_t)HASH_COUNT(self->by_ticket);
}

/* ---- counters ---- */

#define COUNTERS(X)                                                                                \
    X("accepted_batches", accepted)                                                                \
    X("accepted_messages", messages)                                                               \
    X("accepted_bytes", bytes)                                                                     \
    X("repeats", repeats)                                                                          \
    X("deduplicated", duplicates)                                                                  \
    X("busy", busy)                                                                                \
    X("refused", refused)                                                                          \
    X("out_of_order", out_of_order)                                                                \
    X("malformed", malformed)                                                                      \
    X("producers_forgotten", forgotten)

uint32_t weir_intake_stats_count(void)
{
#define X(name, member) +1
    return 2 COUNTERS(X);
#undef X
}

void weir_intake_stats(const struct weir_intake *self, struct weir_packer *packer)
{
    weir_pack_text(packer, "producers");
    weir_pack_u64(packer, self->producer_count);
    weir_pack_text(packer, "outstanding");
    weir_pack_u64(packer, weir_intake_outstanding(self));
#define X(name, member)                                                                            \
    weir_pack_text(packer, name);                                                                  \
    weir_pack_u64(packer, self->member);
    COUNTERS(X)
#undef X
}
