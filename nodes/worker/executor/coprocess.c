#include <executor/coprocess.h>

#include <base/log.h>
#include <errno.h>
#include <executor/serve_lines.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 65536u
/* Read of one stream before the others have their turn. */
#define READS_MAX 16
/* A line of stderr longer than this is logged in pieces. */
#define LOG_LINE_BYTES_MAX 1024u

int weir_coprocess_start(struct weir_coprocess *self, const struct weir_program *program,
                         struct weir_error *error)
{
    int stdio[3] = {-1, -1, -1};
    int status = 0;
    self->input = self->output = self->errors = -1;
    self->tail.size = 0;
    self->tail.cut = false;
    if (weir_pipe_to_child(&self->input, &stdio[0]) != 0 ||
        weir_pipe_from_child(&self->output, &stdio[1]) != 0 ||
        weir_pipe_from_child(&self->errors, &stdio[2]) != 0)
        status = weir_error_set(error, WEIR_EIO, "cannot make a pipe for the coprocess: %s",
                                strerror(errno));
    else
        status = weir_child_spawn(&self->child, program->path, program->argv,
                                  weir_environment_base(program->environment), stdio, error);
    for (int i = 0; i < 3; i++)
        weir_fd_close(&stdio[i]);
    if (status != 0) {
        weir_fd_close(&self->input);
        weir_fd_close(&self->output);
        weir_fd_close(&self->errors);
    }
    self->alive = status == 0;
    return status;
}

void weir_coprocess_write(struct weir_coprocess *self)
{
    size_t written = 0;
    while (self->input >= 0 && written < self->out.size) {
        ssize_t size = write(self->input, self->out.data + written, self->out.size - written);
        if (size > 0)
            written += (size_t)size;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            weir_fd_close(&self->input); /* it does not read any more: its end will follow */
    }
    weir_buffer_consume(&self->out, written);
}

/* Bytes read; 0: nothing there now; -1: at its end. */
static ssize_t read_some(int fd, char buffer[READ_BYTES])
{
    ssize_t size;
    do
        size = read(fd, buffer, READ_BYTES);
    while (size < 0 && errno == EINTR);
    if (size > 0)
        return size;
    return size < 0 && errno == EAGAIN ? 0 : -1;
}

static void log_lines(struct weir_coprocess *self, const char *text, size_t size)
{
    weir_tail_append(&self->tail, text, size);
    weir_buffer_append(&self->spoken, text, size);
    for (;;) {
        struct weir_buffer *spoken = &self->spoken;
        const char *end = spoken->size ? memchr(spoken->data, '\n', spoken->size) : NULL;
        size_t line = end ? (size_t)(end - (const char *)spoken->data) : spoken->size;
        if (end == NULL && spoken->size < LOG_LINE_BYTES_MAX)
            return;
        size_t shown = line < LOG_LINE_BYTES_MAX ? line : LOG_LINE_BYTES_MAX;
        weir_log(WEIR_LOG_INFO, "coprocess %u: %.*s", self->number, (int)shown,
                 (const char *)spoken->data);
        weir_buffer_consume(spoken, shown + (end != NULL && shown == line));
    }
}

bool weir_coprocess_read(struct weir_coprocess *self)
{
    char buffer[READ_BYTES];
    ssize_t size = READ_BYTES; /* less is all there is */
    for (int i = 0; self->errors >= 0 && i < READS_MAX && size == READ_BYTES; i++) {
        size = read_some(self->errors, buffer);
        if (size > 0)
            log_lines(self, buffer, (size_t)size);
        else if (size < 0)
            weir_fd_close(&self->errors);
    }
    size = READ_BYTES;
    for (int i = 0; self->output >= 0 && i < READS_MAX && size == READ_BYTES; i++) {
        if (self->in.size > WEIR_SERVE_LINE_BYTES_MAX)
            return self->in_searched < self->in.size; /* lines wait in it, or it is one too long */
        size = read_some(self->output, buffer);
        if (size > 0)
            weir_buffer_append(&self->in, buffer, (size_t)size);
        else if (size < 0)
            weir_fd_close(&self->output);
    }
    return true;
}

bool weir_coprocess_more(const struct weir_coprocess *self)
{
    struct pollfd item = {.fd = self->output, .events = POLLIN};
    return self->output >= 0 && poll(&item, 1, 0) > 0;
}

bool weir_coprocess_line(struct weir_coprocess *self, const char **line, size_t *size)
{
    struct weir_buffer *in = &self->in;
    const char *start = (const char *)in->data;
    if (in->size == self->in_searched)
        return false;
    const char *end = memchr(start + self->in_searched, '\n', in->size - self->in_searched);
    if (end == NULL) {
        self->in_searched = in->size;
        return false;
    }
    *line = start;
    *size = (size_t)(end - start);
    return true;
}

void weir_coprocess_line_done(struct weir_coprocess *self, size_t size)
{
    weir_buffer_consume(&self->in, size + 1);
    self->in_searched = 0;
}

struct weir_ending weir_coprocess_end(struct weir_coprocess *self)
{
    struct weir_ending ending = weir_child_reap(&self->child);
    weir_fd_close(&self->input);
    weir_fd_close(&self->output);
    weir_fd_close(&self->errors);
    weir_buffer_fini(&self->out);
    weir_buffer_fini(&self->in);
    weir_buffer_fini(&self->spoken);
    self->in_searched = 0;
    self->alive = false;
    return ending;
}

void weir_coprocess_polls(const struct weir_coprocess *self,
                          struct pollfd polls[WEIR_COPROCESS_POLLS])
{
    const int fds[WEIR_COPROCESS_POLLS] = {
        self->out.size > 0 ? self->input : -1,
        self->output,
        self->errors,
        self->child.pidfd,
    };
    for (int i = 0; i < WEIR_COPROCESS_POLLS; i++)
        polls[i] =
            (struct pollfd){.fd = self->alive ? fds[i] : -1, .events = i == 0 ? POLLOUT : POLLIN};
}
