/* One coprocess of `serve`: the process, its three pipes, and lines in and out of them. */
#ifndef WEIR_WORKER_COPROCESS_H
#define WEIR_WORKER_COPROCESS_H

#include <executor/buffer.h>
#include <executor/child.h>
#include <executor/program.h>
#include <poll.h>

struct weir_coprocess {
    uint32_t number; /* for the log */
    bool alive;
    struct weir_child child;
    int input; /* ours: what we write, it reads */
    int output;
    int errors;
    struct weir_buffer out;
    struct weir_buffer in;
    size_t in_searched;        /* of `in`, has no line end */
    struct weir_buffer spoken; /* a line of stderr on its way to the log */
    struct weir_tail tail;
};

/* WEIR_EIO: cannot be started now. */
int weir_coprocess_start(struct weir_coprocess *self, const struct weir_program *program,
                         struct weir_error *error);
/* Write what the pipe takes of `out`. */
void weir_coprocess_write(struct weir_coprocess *self);
/* Read what has come from stdout and stderr, within bounds; lines of stderr go to the log. A
 * stream that has ended is closed. False: a line is longer than WEIR_SERVE_LINE_BYTES_MAX. */
bool weir_coprocess_read(struct weir_coprocess *self);
/* Is there anything on its stdout that can be read now? */
bool weir_coprocess_more(const struct weir_coprocess *self);
/* The next whole line of stdout, without its end; valid until the next read. False: none yet. */
bool weir_coprocess_line(struct weir_coprocess *self, const char **line, size_t *size);
/* Forget the line that was taken. */
void weir_coprocess_line_done(struct weir_coprocess *self, size_t size);
/* Reap it when its end was seen (waits otherwise), close everything, forget what is buffered. */
struct weir_ending weir_coprocess_end(struct weir_coprocess *self);

/* What to poll for: input when there is something to write, output, errors, end. */
#define WEIR_COPROCESS_POLLS 4
void weir_coprocess_polls(const struct weir_coprocess *self,
                          struct pollfd polls[WEIR_COPROCESS_POLLS]);

#endif
