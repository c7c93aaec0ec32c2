/* Client side of the submit protocol.
 *
 * A batch's number belongs to it for good. What changes is whether its PUT is on its way:
 *
 *              flush                    OK, REFUSED for good
 *   UNSENT ─────────────► SENT ────────────────────────────────► answered, and handed to the owner
 *      ▲                    │                                    once everything ahead of it is
 *      └────────────────────┘
 *        BUSY, REFUSED order, draining or storage; the link broke; long silence
 *
 * flush sends what is UNSENT in the order of the numbers. A batch that is SENT behind one that was
 * turned away is going to be turned away, too (REFUSED order), and comes back to UNSENT by itself:
 * each refusal causes one repetition of one batch, so nothing is sent twice in vain and the order
 * is right in the end. When the number that is expected instead went out on this link before the
 * refused one, it or its answer is lost, or that answer would have come first: then it goes out
 * again, too. A number that was refused for good is never taken: every PUT says which number is the
 * oldest without an answer, and the server goes on from there. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/port_name.h>
#include <core/submit.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNED_AWAY_MS 1000 /* draining, storage: somebody has to do something first */
#define DEAF_MS 100         /* a server that does not heed `first`: no quick circle */

struct slot {
    uint64_t number;
    void *arg;
    uint32_t count;
    struct weir_bytes header, index, body;
    bool sent;
    uint64_t floor;           /* `first` of its last PUT */
    uint64_t put;             /* which PUT of all that was */
    struct weir_bytes answer; /* the control frame that ended it; size 0: none yet */
};

struct weir_submit {
    uint32_t port;
    uint8_t producer[WEIR_PRODUCER_BYTES];
    uint32_t window;
    struct weir_submit_owner owner;
    struct weir_host host;
    bool linked;
    struct slot slots[WEIR_PRODUCER_WINDOW_MAX]; /* a ring, by number */
    uint32_t head, count;
    uint64_t last_number, last_put;
    bool told_busy;
    int64_t paused_until_ns; /* 0: not paused */
    int64_t heard_ns;        /* anything, or when it was first waited for */
    int64_t silence_ms;      /* repeat after so much of it */
};

struct weir_submit *weir_submit_new(uint32_t port, const uint8_t producer[16], uint32_t window,
                                    const struct weir_submit_owner *owner,
                                    const struct weir_host *host)
{
    WEIR_ASSERT(window > 0 && window <= WEIR_PRODUCER_WINDOW_MAX);
    struct weir_submit *self = weir_zalloc(1, sizeof *self);
    self->port = port;
    memcpy(self->producer, producer, sizeof self->producer);
    self->window = window;
    self->owner = *owner;
    self->host = *host;
    self->silence_ms = WEIR_SUBMIT_REPEAT_MS;
    return self;
}

static void slot_fini(struct slot *slot)
{
    weir_bytes_drop(&slot->header);
    weir_bytes_drop(&slot->index);
    weir_bytes_drop(&slot->body);
    weir_bytes_drop(&slot->answer);
}

/* The i-th oldest batch. */
static struct slot *slot_at(struct weir_submit *self, uint32_t i)
{
    return &self->slots[(self->head + i) % self->window];
}

/* The unanswered batch of this number; NULL: none. */
static struct slot *slot_find(struct weir_submit *self, uint64_t number)
{
    if (self->count == 0)
        return NULL;
    uint64_t i = number - slot_at(self, 0)->number; /* wraps to far beyond count when below */
    if (i >= self->count)
        return NULL;
    struct slot *slot = slot_at(self, (uint32_t)i);
    return slot->answer.size ? NULL : slot;
}

void weir_submit_destroy(struct weir_submit **self)
{
    if (!*self)
        return;
    for (uint32_t i = 0; i < (*self)->count; i++)
        slot_fini(slot_at(*self, i));
    free(*self);
    *self = NULL;
}

const uint8_t *weir_submit_producer(const struct weir_submit *self)
{
    return self->producer;
}

bool weir_submit_room(const struct weir_submit *self)
{
    return self->count < self->window;
}

uint32_t weir_submit_outstanding(const struct weir_submit *self)
{
    return self->count;
}

bool weir_submit_linked(const struct weir_submit *self)
{
    return self->linked;
}

static bool waits_for_answer(struct weir_submit *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        if (slot_at(self, i)->sent && slot_at(self, i)->answer.size == 0)
            return true;
    return false;
}

static void put(struct weir_submit *self, struct slot *slot)
{
    struct weir_control control = {.verb = WEIR_VERB_PUT};
    WEIR_SET(&control, first, FIRST, slot_at(self, 0)->number);
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(&control));
    weir_frames_push(&frames, weir_bytes_ref(&slot->header));
    weir_frames_push(&frames, weir_bytes_ref(&slot->index));
    weir_frames_push(&frames, weir_bytes_ref(&slot->body));
    slot->sent = true;
    slot->floor = control.first;
    slot->put = ++self->last_put;
    self->host.send(self->host.self, self->port, 0, &frames);
}

static void flush(struct weir_submit *self, const struct weir_now *now)
{
    if (!self->linked || self->paused_until_ns)
        return;
    if (!waits_for_answer(self))
        self->heard_ns = now->mono_ns;
    for (uint32_t i = 0; i < self->count; i++) {
        struct slot *slot = slot_at(self, i);
        if (!slot->sent && slot->answer.size == 0)
            put(self, slot);
    }
}

static void all_unsent(struct weir_submit *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        slot_at(self, i)->sent = false;
}

/* What is in the way may change from one answer to the next. */
static void tell_busy(struct weir_submit *self, const struct weir_control *why,
                      const struct weir_now *now)
{
    if (!why && !self->told_busy)
        return;
    self->told_busy = why != NULL;
    if (self->owner.busy)
        self->owner.busy(self->owner.self, why, now);
}

static void pause_for(struct weir_submit *self, uint64_t ms, const struct weir_now *now)
{
    if (ms > WEIR_SUBMIT_REPEAT_MAX_MS)
        ms = WEIR_SUBMIT_REPEAT_MAX_MS;
    self->paused_until_ns = now->mono_ns + ((int64_t)ms + (ms == 0)) * WEIR_NS_PER_MS;
}

void weir_submit_send(struct weir_submit *self, struct weir_batch_builder *builder,
                      uint32_t extra_flags, void *arg, const struct weir_now *now)
{
    WEIR_ASSERT(weir_submit_room(self));
    self->count++;
    struct slot *slot = slot_at(self, self->count - 1);
    *slot = (struct slot){
        .number = ++self->last_number, .arg = arg, .count = weir_batch_builder_count(builder)};
    weir_batch_builder_finish(builder, slot->number, now->wall_ms, extra_flags, &slot->header,
                              &slot->index, &slot->body);
    flush(self, now);
}

/* ---- answers ---- */

static void complain(struct weir_submit *self, const char *what, const char *text, size_t bytes)
{
    const struct weir_port_name name = weir_port_name(&self->host, self->port);
    char line[WEIR_ERROR_TEXT_BYTES + sizeof name.text];
    snprintf(line, sizeof line, "%s %s: %.*s", name.text, what, (int)(bytes < 400 ? bytes : 400),
             text);
    self->host.log(self->host.self, WEIR_LOG_WARNING, line);
}

/* Give the owner what has been answered, oldest first, up to the first that has not. */
static void hand_over(struct weir_submit *self, const struct weir_now *now)
{
    while (self->count > 0 && slot_at(self, 0)->answer.size) {
        struct slot slot = *slot_at(self, 0);
        self->head = (self->head + 1) % self->window;
        self->count--;
        struct weir_control answer;
        int rc = weir_control_decode(&slot.answer, &answer, NULL);
        WEIR_ASSERT(rc == 0); /* it was decoded when it came */
        const struct weir_submitted submitted = {
            .number = slot.number,
            .arg = slot.arg,
            .status = answer.verb == WEIR_VERB_OK ? 0 : WEIR_EREFUSED,
            .answer = &answer,
            .index = &slot.index,
            .body = &slot.body};
        self->owner.submitted(self->owner.self, &submitted, now);
        weir_control_fini(&answer);
        slot_fini(&slot);
    }
}

static void answered(struct weir_submit *self, struct slot *slot, bool taken,
                     struct weir_event *event)
{
    slot->answer = event->frames->at[0];
    event->frames->at[0] = WEIR_BYTES_NONE;
    if (taken) { /* it may wait for those before it, and its owner needs it no more */
        weir_bytes_drop(&slot->header);
        weir_bytes_drop(&slot->index);
        weir_bytes_drop(&slot->body);
    }
    tell_busy(self, NULL, &event->now);
    hand_over(self, &event->now);
}

static void take_ok(struct weir_submit *self, const struct weir_control *control, struct slot *slot,
                    struct weir_event *event)
{
    bool fits = control->count == slot->count;
    for (uint32_t i = 0; i < control->duplicate_count; i++)
        fits = fits && control->duplicates[i].index < slot->count;
    if (fits)
        answered(self, slot, true, event);
    else
        complain(self, "sends an OK that does not fit its batch (ignored)", "count or duplicates",
                 19);
}

static void take_refused(struct weir_submit *self, const struct weir_control *control,
                         struct slot *slot, struct weir_event *event)
{
    if (weir_text_is(&control->code, WEIR_CODE_ORDER)) {
        const uint64_t expected = WEIR_HAS(control, FIRST) ? control->first : slot->number;
        if (expected > slot->number) { /* the server has left it behind: it will never take it */
            answered(self, slot, false, event);
            return;
        }
        struct slot *ahead = slot_find(self, expected);
        if (ahead && ahead->put < slot->put)
            ahead->sent = false;
        slot->sent = false;
        if (slot->floor == slot->number)
            pause_for(self, DEAF_MS, &event->now);
    } else if (weir_text_is(&control->code, WEIR_CODE_DRAINING) ||
               weir_text_is(&control->code, WEIR_CODE_STORAGE)) {
        slot->sent = false;
        tell_busy(self, control, &event->now);
        pause_for(self, TURNED_AWAY_MS, &event->now);
    } else {
        answered(self, slot, false, event);
    }
}

static void take_message(struct weir_submit *self, struct weir_event *event)
{
    struct weir_control control;
    struct weir_error error = {0};
    if (event->frames->count == 0 ||
        weir_control_decode(&event->frames->at[0], &control, &error) != 0) {
        complain(self, "sends an answer to a batch that does not parse", error.text,
                 strlen(error.text));
        return;
    }
    self->heard_ns = event->now.mono_ns;
    self->silence_ms = WEIR_SUBMIT_REPEAT_MS;
    struct slot *slot = WEIR_HAS(&control, NUMBER) ? slot_find(self, control.number) : NULL;
    if (slot && control.verb == WEIR_VERB_OK) {
        take_ok(self, &control, slot, event);
    } else if (slot && control.verb == WEIR_VERB_REFUSED) {
        take_refused(self, &control, slot, event);
    } else if (slot && control.verb == WEIR_VERB_ERROR) {
        answered(self, slot, false, event);
    } else if (slot && control.verb == WEIR_VERB_BUSY) {
        slot->sent = false;
        tell_busy(self, &control, &event->now);
        pause_for(self, control.retry_ms, &event->now);
    } else if (control.verb == WEIR_VERB_ERROR) {
        complain(self, "reports an error", control.text.data, control.text.bytes);
    }
    weir_control_fini(&control);
    flush(self, &event->now);
}

void weir_submit_event(struct weir_submit *self, struct weir_event *event)
{
    switch (event->type) {
    case WEIR_EVENT_MESSAGE:
        take_message(self, event);
        break;
    case WEIR_EVENT_LINK_UP:
    case WEIR_EVENT_LINK_DOWN:
        self->linked = event->type == WEIR_EVENT_LINK_UP;
        self->paused_until_ns = 0;
        self->silence_ms = WEIR_SUBMIT_REPEAT_MS;
        all_unsent(self);
        flush(self, &event->now);
        break;
    default:
        break;
    }
}

int64_t weir_submit_tick(struct weir_submit *self, const struct weir_now *now)
{
    if (self->paused_until_ns && now->mono_ns >= self->paused_until_ns) {
        self->paused_until_ns = 0;
        flush(self, now);
    }
    if (!self->linked || !waits_for_answer(self))
        return self->paused_until_ns && !WEIR_CANARY(WAKE_UP_LOST) ? self->paused_until_ns
                                                                   : WEIR_TIME_NEVER;
    int64_t repeat_ns = self->heard_ns + self->silence_ms * WEIR_NS_PER_MS;
    if (now->mono_ns >= repeat_ns) {
        self->silence_ms *= 2;
        if (self->silence_ms > WEIR_SUBMIT_REPEAT_MAX_MS)
            self->silence_ms = WEIR_SUBMIT_REPEAT_MAX_MS;
        self->heard_ns = now->mono_ns;
        all_unsent(self);
        flush(self, now);
        repeat_ns = now->mono_ns + self->silence_ms * WEIR_NS_PER_MS;
    }
    if (self->paused_until_ns && self->paused_until_ns < repeat_ns)
        return self->paused_until_ns;
    return repeat_ns;
}
