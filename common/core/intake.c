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
#include <base/canary.h>
#include <base/hash_table.h>
#include <core/intake.h>
#include <core/producers.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_WINDOW_MS 10 /* more than a window's worth of PUTs without an answer */
#define BUSY_PRODUCERS_MS 1000

struct weir_intake {
    uint32_t port;
    uint16_t tag;
    enum weir_fsync durability;
    struct weir_intake_owner owner;
    struct weir_host host;
    struct weir_producers producers;
    struct weir_intake_pending *by_ticket;
    uint64_t last_ticket;
    char *close_code, *close_text; /* NULL: open */
    uint64_t accepted, messages, bytes, repeats, duplicates, busy, refused, out_of_order, malformed;
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
    self->producers.forgot = owner->forgot;
    self->producers.arg = owner->self;
    return self;
}

void weir_intake_destroy(struct weir_intake **self)
{
    if (!*self)
        return;
    struct weir_intake_pending *pending, *next;
    HASH_ITER (hh, (*self)->by_ticket, pending, next) {
        HASH_DELETE(hh, (*self)->by_ticket, pending);
        weir_intake_pending_destroy(&pending);
    }
    weir_producers_fini(&(*self)->producers);
    free((*self)->close_code);
    free((*self)->close_text);
    free(*self);
    *self = NULL;
}

/* ---- producers ---- */

void weir_intake_remember(struct weir_intake *self, const struct weir_producer_row *row)
{
    weir_producers_remember(&self->producers, row);
}

void weir_intake_replayed(struct weir_intake *self, const struct weir_batch_header *header,
                          uint64_t first, uint32_t count, int64_t time_ms)
{
    const struct weir_producer_answer said = {
        .number = header->number, .first = first, .count = count, .time_ms = time_ms};
    weir_producers_replayed(&self->producers, header->producer, &said);
}

bool weir_intake_producer(const struct weir_intake *self, const uint8_t id[WEIR_PRODUCER_BYTES],
                          struct weir_producer_row *row)
{
    const struct weir_intake_producer *producer = weir_producers_find(&self->producers, id);
    if (producer)
        weir_intake_producer_settled_row(producer, row);
    return producer != NULL;
}

void weir_intake_row(const struct weir_intake *self, const struct weir_put *put,
                     struct weir_producer_row *row)
{
    const struct weir_intake_producer *producer =
        weir_producers_find(&self->producers, put->header.producer);
    WEIR_ASSERT(producer && weir_intake_producer_pending(producer, put->header.number));
    weir_intake_producer_accepted_row(producer, row);
    /* The newest answer in it is that of this batch itself. */
    struct weir_producer_answer *said = &row->answers[row->answer_count - 1];
    said->first = put->first;
    said->time_ms = put->time_ms;
    row->time_ms = put->time_ms;
}

uint32_t weir_intake_expire(struct weir_intake *self, int64_t before_ms)
{
    return weir_producers_expire(&self->producers, before_ms);
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
static bool put_repeated(struct weir_intake *self, const struct weir_intake_producer *producer,
                         uint64_t number)
{
    const struct weir_intake_said *answer = weir_intake_producer_answer(producer, number);
    if (answer)
        say_ok(self, producer->peer, &answer->answer, answer->duplicates, answer->duplicate_count);
    else if (!weir_intake_producer_pending(producer, number))
        return false;
    else if (WEIR_CANARY(REPEAT_ANSWERED_BEFORE_COMMIT))
        say_ok(self, producer->peer, &weir_intake_producer_pending(producer, number)->said, NULL,
               0);
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

static struct weir_intake_pending *pending_find(const struct weir_intake *self, uint64_t ticket)
{
    struct weir_intake_pending *pending;
    HASH_FIND(hh, self->by_ticket, &ticket, sizeof ticket, pending);
    return pending;
}

static struct weir_intake_pending *pending_add(struct weir_intake *self,
                                               struct weir_intake_producer *producer,
                                               const struct weir_put *put)
{
    struct weir_intake_pending *pending =
        weir_intake_pending_new(producer, put->header.number, put->header.count);
    pending->ticket = put->ticket;
    HASH_ADD(hh, self->by_ticket, ticket, sizeof pending->ticket, pending);
    return pending;
}

static void pending_end(struct weir_intake *self, struct weir_intake_pending *pending)
{
    HASH_DELETE(hh, self->by_ticket, pending);
    weir_intake_pending_destroy(&pending);
}

/* The batch counts as accepted while the owner looks at it, so that the owner may answer at once;
 * if it turns the batch away, all is as before. */
static void put_accept(struct weir_intake *self, struct weir_intake_producer *producer,
                       uint64_t peer, struct weir_put *put, const struct weir_now *now)
{
    const uint64_t number = put->header.number;
    const uint64_t count = put->header.count;
    const uint64_t bytes = put->header_frame.size + put->index.size + put->body.size;
    const bool known = producer != NULL;
    if (!known)
        producer = weir_producers_add(&self->producers, put->header.producer, now->wall_ms);
    const uint64_t accepted_before = producer->accepted;
    producer->peer = peer;
    producer->accepted = number;
    put->ticket = ++self->last_ticket;
    struct weir_intake_pending *pending = pending_add(self, producer, put);

    struct weir_turned_away away = {.retry_ms = BUSY_PRODUCERS_MS, .code = WEIR_CODE_LIMIT};
    int rc = self->owner.accept(self->owner.self, put, &away, now);
    if (rc == 0) {
        pending = pending_find(self, put->ticket);
        if (pending) {
            pending->said.first = put->first;
            pending->said.time_ms = put->time_ms;
            if (WEIR_CANARY(ANSWER_BEFORE_COMMIT))
                say_ok(self, peer, &pending->said, NULL, 0);
        }
        self->accepted++;
        self->messages += count;
        self->bytes += bytes;
        return;
    }
    producer->accepted = accepted_before;
    pending_end(self, pending);
    if (!known)
        weir_producers_drop(&self->producers, producer);
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
    struct weir_intake_producer *producer =
        weir_producers_find(&self->producers, put->header.producer);
    if (producer) {
        weir_producers_touch(&self->producers, producer, now->wall_ms);
        producer->peer = peer;
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
    } else if (!producer && !weir_producers_room(&self->producers)) {
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
        if (!WEIR_CANARY(NONSENSE_NOT_ANSWERED))
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

void weir_intake_answer(struct weir_intake *self, uint64_t ticket, uint64_t first, uint32_t count,
                        int64_t time_ms, const struct weir_duplicate *duplicates,
                        uint32_t duplicate_count)
{
    struct weir_intake_pending *pending = pending_find(self, ticket);
    WEIR_ASSERT(pending);
    struct weir_intake_producer *producer = pending->producer;
    const struct weir_producer_answer said = {
        .number = pending->said.number, .first = first, .count = count, .time_ms = time_ms};
    pending_end(self, pending);
    weir_producers_answered(&self->producers, producer, &said, duplicates, duplicate_count);
    self->duplicates += duplicate_count;
    say_ok(self, producer->peer, &said, duplicates, duplicate_count);
}

void weir_intake_withdraw(struct weir_intake *self, uint64_t ticket, uint64_t retry_ms,
                          const char *text)
{
    struct weir_intake_pending *pending = pending_find(self, ticket);
    WEIR_ASSERT(pending);
    struct weir_intake_producer *producer = pending->producer;
    const uint64_t number = pending->said.number;
    if (producer->accepted >= number)
        producer->accepted = number - 1;
    pending_end(self, pending);
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
    X("producers_forgotten", producers.forgotten)

uint32_t weir_intake_stats_count(void)
{
#define X(name, member) +1
    return 2 COUNTERS(X);
#undef X
}

void weir_intake_stats(const struct weir_intake *self, struct weir_packer *packer)
{
    weir_pack_text(packer, "producers");
    weir_pack_u64(packer, self->producers.count);
    weir_pack_text(packer, "outstanding");
    weir_pack_u64(packer, weir_intake_outstanding(self));
#define X(name, member)                                                                            \
    weir_pack_text(packer, name);                                                                  \
    weir_pack_u64(packer, self->member);
    COUNTERS(X)
#undef X
}
