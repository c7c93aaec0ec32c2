/* The work of `weir send`: from an input through a producer to ids on stdout. */
#ifndef WEIR_SENDER_H
#define WEIR_SENDER_H

#include "command.h"

#include <stddef.h>
#include <weir.h>

struct weir_sender_options {
    const struct weir_command *command;
    const char *endpoint;
    weir_message_t *message; /* topic, key, headers …: everything but the payload */
    int64_t timeout_ms;      /* how long the other side may be away or full; -1: for ever */
    bool one_only;
};

/* Each returns the exit status; what went wrong was said. */
int weir_send_payload(const struct weir_sender_options *options, const void *payload, size_t bytes);
/* All of the input is the payload. */
int weir_send_input(const struct weir_sender_options *options, int fd);
/* Each line is one; a last one without a newline, too. */
int weir_send_lines(const struct weir_sender_options *options, int fd);

#endif
