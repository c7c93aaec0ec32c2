/* A host that writes everything down, and the frames that peers would say: for the tests of both
 * sides of dispatch. */
#ifndef TEST_DISPATCH_SCRIPT_H
#define TEST_DISPATCH_SCRIPT_H

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <base/alloc.h>
#include <contract/host.h>
#include <wire/batch.h>
#include <wire/control.h>

#define MS WEIR_NS_PER_MS
#define INCARNATION UINT64_C(0xabcdef0000000007) /* tag 7 */

struct sent {
    uint32_t port;
    uint64_t peer;
    struct weir_frames frames;
    struct weir_control control; /* of the first frame */
};

struct script {
    struct weir_host host;
    struct weir_now now;
    struct sent *sent; /* what was sent and not looked at yet */
    uint32_t at, count, capacity;
    int64_t wake_ns;
    bool stopped;
    int status;
    char log[4096]; /* the lines, one after another */
};

/* The host writes into the script, so this must not move afterwards. */
void script_init(struct script *script);
void script_fini(struct script *script);
/* Let time pass. */
void script_wait(struct script *script, int64_t ms);

/* The next frame that was sent, or NULL. Lives until script_forget or script_fini. */
struct sent *script_next(struct script *script);
/* The next frame, which must be this verb to this peer. */
struct sent *script_expect(struct script *script, uint32_t port, uint64_t peer,
                           enum weir_verb verb);
void script_expect_nothing(struct script *script);
/* The next one of this verb, past others; NULL: none. */
struct sent *script_find(struct script *script, uint32_t port, uint64_t peer, enum weir_verb verb);
/* Drop all that was sent, seen or not. */
void script_forget(struct script *script);

/* An event with this control frame, and with `frames` behind it (taken over; may be NULL), handed
 * to `take` with `arg`. */
typedef void script_take(void *arg, struct weir_event *event);
void script_say(struct script *script, uint32_t port, uint64_t peer,
                const struct weir_control *control, struct weir_frames *frames, script_take *take,
                void *arg);
void script_event(struct script *script, enum weir_event_type type, uint32_t port, uint64_t peer,
                  script_take *take, void *arg);

/* Messages as slices: the body of message `number` is "m<number>;" with `pad` more bytes, so that a
 * test can read back which ones came. Pushes header, index and body. `keys`: NULL or one hash each.
 */
void script_slice(struct weir_frames *frames, uint64_t number, uint32_t count, uint32_t pad,
                  const uint64_t *keys);
/* Read the numbers of a DELIVER back, checking every slice; returns how many. */
uint32_t script_numbers(const struct sent *sent, uint64_t *numbers, uint32_t max);

struct weir_control control_ready(const char *role, uint64_t worker, const char *name);
struct weir_control control_credit(const char *group, uint64_t messages, uint64_t bytes);
struct weir_control control_ack(const char *group, struct weir_ack *acks, uint32_t count);
struct weir_control control_leases(enum weir_verb verb, uint64_t worker,
                                   struct weir_lease_ref *leases, uint32_t count);
struct weir_control control_deliver(const char *group, uint64_t incarnation, uint64_t delivery,
                                    struct weir_slice_info *slices, uint32_t count);
struct weir_control control_welcome(const char *role, uint64_t incarnation);
struct weir_ack ack_of(uint64_t incarnation, uint64_t delivery, uint32_t first, uint32_t count,
                       uint32_t outcome);
void assert_text(const struct weir_text *text, const char *expected);

#endif
