/* `weir dlq replay`: brings dead letters back to the ventilator of their stream, for the group they
 * died in only. Each is removed from the collector once the ventilator has confirmed it, and not
 * before; so a replay that is broken off goes on where it was when it is said again. */
#ifndef WEIR_DLQ_REPLAY_H
#define WEIR_DLQ_REPLAY_H

#include "dlq_selection.h"

struct weir_dlq_replay_options {
    const struct weir_command *command;
    struct weir_dlq_selection *selection;
    const char *to;         /* node or endpoint; NULL: the ventilator of each letter's stream */
    uint32_t rate_permille; /* thousandths of a letter a second; 0: as fast as it goes */
    int64_t timeout_ms;     /* how long a ventilator may be away or full; -1: for ever */
    bool json;
};

/* Returns the exit status; counts and what went wrong were said. */
int weir_dlq_replay(const struct weir_dlq_replay_options *options);

#endif
