/* When what leaves is spaced. Small portions that follow each other closely cost every process they
 * pass as much as large ones. So once many messages have left within a window of time, the next
 * ones wait until that window is over, or until somebody has enough of them to fill a portion. A
 * few messages never wait, however they come. Nor do those of a sender that waits for an answer
 * itself: when nothing has come for a step of the time that some are held, they go, and nothing is
 * held for a while. */
#ifndef WEIR_BASE_PACE_H
#define WEIR_BASE_PACE_H

#include <stdint.h>

/* All zero is a valid one. Any thread, one at a time. */
struct weir_pace {
    int64_t from_ns;  /* when the window began … */
    uint64_t left;    /* … in which so many messages have left */
    int64_t look_ns;  /* while some are held: when to look at them again; 0: none are */
    uint64_t seen;    /* how many there were at the last look */
    int64_t until_ns; /* nothing is held before that */
};

/* So many messages leave. */
void weir_pace_leave(struct weir_pace *self, uint64_t messages, int64_t window_ns, int64_t now_ns);

/* Whether the `waiting` messages are to be held: returns when to ask again at the latest, or 0: let
 * them go. That is within a window after they came. */
int64_t weir_pace_hold(struct weir_pace *self, uint64_t waiting, int64_t window_ns, int64_t step_ns,
                       int64_t now_ns);

#endif
