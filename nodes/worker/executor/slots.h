/* The coprocesses of `serve`, and which message is where: given out, answered, timed, and what
 * becomes of it when a coprocess ends. All of it belongs to the executor's thread. */
#ifndef WEIR_WORKER_SLOTS_H
#define WEIR_WORKER_SLOTS_H

#include <executor/mailbox.h>
#include <executor/program.h>
#include <poll.h>

struct weir_slots;

/* `program` and `mailbox` outlive it. Nothing is started before the first turn. */
struct weir_slots *weir_slots_new(const struct weir_program *program, uint32_t count,
                                  struct weir_mailbox *mailbox);
/* When weir_slots_ended. */
void weir_slots_destroy(struct weir_slots **self);

/* A new job (taken over); one that is to be ended. */
void weir_slots_take(struct weir_slots *self, struct weir_job *job);
void weir_slots_kill(struct weir_slots *self, uint64_t job);
/* End: what is in work at once, idle coprocesses by the end of their input or, after a while, by
 * SIGKILL. */
void weir_slots_close(struct weir_slots *self, int64_t now_ns);
bool weir_slots_ended(const struct weir_slots *self);

/* What to poll for, and when to have a turn at the latest. */
uint32_t weir_slots_poll_count(const struct weir_slots *self);
void weir_slots_polls(const struct weir_slots *self, struct pollfd *polls);
int64_t weir_slots_next_ns(const struct weir_slots *self);
/* Answers came in the last turn, and every coprocess has more in work: the next turn may wait for a
 * moment, so that it finds several. */
bool weir_slots_flow(const struct weir_slots *self);
/* Act on what was polled (NULL: nothing), on the time and on what came in. */
void weir_slots_turn(struct weir_slots *self, int64_t now_ns, const struct pollfd *polls);

#endif
