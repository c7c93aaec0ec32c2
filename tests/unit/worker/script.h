/* A scripted world for one machine: it notes every host call, and feeds events with real frames. */
#ifndef TEST_WORKER_SCRIPT_H
#define TEST_WORKER_SCRIPT_H

#include <core/roles.h>
#include <wire/batch.h>
#include <wire/control.h>

#define SCRIPT_MAX 8192u

struct said { /* one message that the machine sent */
    uint32_t port;
    uint64_t peer;
    struct weir_frames frames;
    struct weir_control control; /* decoded from the first frame */
};

struct script {
    struct weir_host host;
    struct weir_now now;
    struct said said[SCRIPT_MAX];
    uint32_t said_count, said_seen;
    struct weir_job jobs[SCRIPT_MAX];
    uint32_t job_count;
    uint64_t killed[SCRIPT_MAX];
    uint32_t killed_count;
    struct weir_store_request requests[SCRIPT_MAX];
    uint32_t request_count;
    int stopped; /* -1: not */
    int64_t wake_ns;
    char log[1024]; /* the last line */
};

struct script *script_new(void);
void script_destroy(struct script **self);
void script_pass_ms(struct script *self, int64_t ms);

/* The next message that was sent and not looked at yet; NULL: none. Lives as long as the script. */
struct said *script_next(struct script *self);
/* The next one, which must be of this verb, to this port. */
struct said *script_expect(struct script *self, uint32_t port, enum weir_verb verb);
/* The next one of this verb, whatever is said before it; NULL: none. */
struct said *script_find(struct script *self, enum weir_verb verb);
/* Whatever was sent so far is of no interest; and may be freed. */
void script_skip(struct script *self);
void script_forget(struct script *self);

/* An event without frames. */
struct weir_event script_event(const struct script *self, enum weir_event_type type, uint32_t port,
                               uint64_t peer);
/* Frames of a message with this control. */
struct weir_frames script_frames(const struct weir_control *control);
/* A batch of one topic; message i has payload "<number>.<i>" and key keys[i] (keys or one of them
 * NULL: none). */
void script_batch(const uint8_t producer[16], uint64_t number, uint32_t count,
                  const char *const *keys, struct weir_frames *frames);
bool script_text_is(struct weir_text text, const char *expected);
/* The answer's map has "name": value. */
bool script_stat(const struct said *answer, const char *name, uint64_t *value);

#endif
