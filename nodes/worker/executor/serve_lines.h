/* The JSON lines that `serve` speaks with its coprocesses (docs/handlers.md). No I/O. */
#ifndef WEIR_WORKER_SERVE_LINES_H
#define WEIR_WORKER_SERVE_LINES_H

#include <executor/buffer.h>
#include <executor/job_message.h>

/* The longest answer: a result of WEIR_MESSAGE_BYTES_MAX in base 64, with room for the rest. Text
 * whose JSON needs more must come in base 64. */
#define WEIR_SERVE_LINE_BYTES_MAX (2u * WEIR_MESSAGE_BYTES_MAX)

/* Append the request for a message, with its line end. */
void weir_serve_request(const struct weir_job_message *message, struct weir_buffer *out);

struct weir_serve_answer {
    char id[WEIR_ID_TEXT_BYTES];
    bool extend; /* no outcome yet: the message asks for its timeout anew */
    enum weir_outcome outcome;
    int64_t delay_ms;         /* -1: not said */
    struct weir_bytes result; /* owned; data NULL: none */
    struct weir_bytes error;  /* owned; at most WEIR_ERROR_BYTES_MAX */
};

/* Read an answer, without its line end. WEIR_EPROTO, with what was expected; `id` is then filled
 * where there was one, else empty. */
int weir_serve_answer(const char *line, size_t size, struct weir_serve_answer *answer,
                      struct weir_error *error);
void weir_serve_answer_fini(struct weir_serve_answer *answer);

#endif
