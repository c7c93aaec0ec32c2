#include "sender.h"

#include "output.h"
#include "progress.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536u
#define REFUSALS_TOLD_MAX 10u

struct sender {
    const struct weir_sender_options *options;
    weir_producer_t *producer;
    struct weir_progress progress;
    int fd;
    char *input; /* bytes that are not sent yet */
    size_t start, used, capacity;
    bool input_ended;
    uint64_t line_number, bytes_read;
    uint64_t confirmed, refused;
    bool ids_shown;         /* stdout is a terminal */
    int64_t stuck_since_ns; /* nothing was confirmed since, though something waits; 0: not so */
    int status;
};

static void on_confirm(void *arg, const struct weir_receipt *receipt,
                       const struct weir_error *error)
{
    struct sender *self = arg;

    self->stuck_since_ns = 0;
    if (receipt != NULL) {
        self->confirmed++;
        printf("%s\n", receipt->id_text);
        return;
    }
    weir_progress_clear(&self->progress);
    if (++self->refused <= REFUSALS_TOLD_MAX)
        weir_command_note(self->options->command, "%s", error->text);
    self->status = EX_DATAERR;
}

static int start(struct sender *self, const struct weir_sender_options *options, int fd)
{
    weir_producer_options_t *producer_options = weir_producer_options_new(options->endpoint);
    struct stat status;
    struct weir_error error;

    *self = (struct sender){.options = options, .fd = fd, .ids_shown = isatty(STDOUT_FILENO)};
    signal(SIGPIPE, SIG_IGN); /* whoever reads the ids may leave: told at the end */
    weir_producer_options_set_when_full(producer_options, WEIR_WHEN_FULL_FAIL);
    self->producer = weir_producer_new(producer_options, &error);
    weir_producer_options_destroy(&producer_options);
    if (self->producer == NULL)
        return weir_command_failed(
            options->command, error.code == WEIR_EINVAL ? EX_USAGE : EX_OSERR, "%s", error.text);
    bool sized = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);

    weir_progress_init(&self->progress, sized ? (uint64_t)status.st_size : 0,
                       weir_clock_now().mono_ns);
    return 0;
}

/* ---- What the other side does -----------------------------------------------------------------
 */

static const char *remark(const struct sender *self)
{
    switch (weir_producer_link(self->producer)) {
    case WEIR_LINK_DOWN:
        return "waiting for a connection";
    case WEIR_LINK_BUSY:
        return "the ventilator is full; waiting";
    default:
        return "";
    }
}

static void print_ids(struct sender *self)
{
    if (self->ids_shown)
        weir_progress_clear(&self->progress);
    if (weir_producer_dispatch(self->producer) > 0)
        fflush(stdout);
}

/* Give up when the other side has been away, or has taken nothing, for too long. */
static bool gives_up(struct sender *self, int64_t now_ns)
{
    const struct weir_sender_options *options = self->options;
    uint32_t open = weir_producer_outstanding(self->producer);
    char age[WEIR_AGE_BYTES];
    struct weir_error why;

    if (open == 0) {
        self->stuck_since_ns = 0;
        return false;
    }
    if (self->stuck_since_ns == 0)
        self->stuck_since_ns = now_ns;
    if (options->timeout_ms < 0 ||
        now_ns - self->stuck_since_ns < options->timeout_ms * WEIR_NS_PER_MS)
        return false;
    weir_progress_clear(&self->progress);
    weir_format_age(options->timeout_ms, age);
    if (weir_producer_link(self->producer) == WEIR_LINK_BUSY)
        self->status = weir_command_failed(
            options->command, EX_TEMPFAIL,
            "%s takes nothing now: %s; not confirmed: %u. Try again later, or with --wait",
            options->endpoint,
            weir_producer_turned_away(self->producer, &why) ? why.text : "it is full", open);
    else
        self->status = weir_command_failed(
            options->command, EX_UNAVAILABLE,
            "%s at %s for %s; not confirmed: %u. Is the topology up ('weir ps')?",
            weir_producer_link(self->producer) == WEIR_LINK_UP ? "no answer" : "no connection",
            options->endpoint, age, open);
    return true;
}

/* ---- Input ------------------------------------------------------------------------------------
 */

/* Hand one payload over. False: the producer holds all it may; try again later. */
static bool send_one(struct sender *self, const char *payload, size_t bytes)
{
    struct weir_error error;

    weir_message_lend_payload(self->options->message, payload, bytes);
    int status =
        weir_producer_send_async(self->producer, self->options->message, on_confirm, self, &error);

    if (status == WEIR_EFULL)
        return false;
    if (status != 0) {
        weir_progress_clear(&self->progress);
        if (++self->refused <= REFUSALS_TOLD_MAX && self->line_number > 0)
            weir_command_note(self->options->command, "line %" PRIu64 ": %s", self->line_number,
                              error.text);
        else if (self->refused <= REFUSALS_TOLD_MAX)
            weir_command_note(self->options->command, "%s", error.text);
        self->status = EX_DATAERR;
    }
    return true;
}

/* Send the complete lines that are there. False: the producer is full. */
static bool send_lines(struct sender *self)
{
    while (self->start < self->used) {
        char *line = self->input + self->start;
        char *newline = memchr(line, '\n', self->used - self->start);

        if (newline == NULL && !self->input_ended)
            break;
        size_t bytes = newline ? (size_t)(newline - line) : self->used - self->start;

        self->line_number++;
        if (!send_one(self, line, bytes)) {
            self->line_number--;
            return false;
        }
        self->start += bytes + (newline != NULL);
    }
    return true;
}

/* Read once. A line over the limit of a message cannot be sent; it ends the input. */
static void read_input(struct sender *self)
{
    if (self->start > 0) {
        self->used -= self->start;
        memmove(self->input, self->input + self->start, self->used);
        self->start = 0;
    }
    if (self->used > WEIR_MESSAGE_BYTES_MAX) {
        weir_progress_clear(&self->progress);
        self->status = weir_command_failed(
            self->options->command, EX_DATAERR,
            "line %" PRIu64 " is longer than %u bytes, the limit of a message; it and what follows "
            "was not sent",
            self->line_number + 1, WEIR_MESSAGE_BYTES_MAX);
        self->input_ended = true;
        self->used = 0;
        return;
    }
    if (self->capacity - self->used < READ_BYTES) {
        self->capacity = 2 * self->capacity + READ_BYTES;
        self->input = weir_realloc(self->input, self->capacity, 1);
    }
    ssize_t got = read(self->fd, self->input + self->used, READ_BYTES);

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got < 0)
        self->status = weir_command_failed(self->options->command, EX_NOINPUT, "cannot read: %s",
                                           strerror(errno));
    if (got <= 0) {
        self->input_ended = true;
        return;
    }
    self->used += (size_t)got;
    self->bytes_read += (uint64_t)got;
}

/* ---- The loop ---------------------------------------------------------------------------------
 */

/* Where the ids are on the terminal themselves, only what keeps them waiting is worth a line. */
static void draw(struct sender *self, int64_t now_ns)
{
    if (self->ids_shown && remark(self)[0] == '\0')
        return;
    weir_progress_draw(&self->progress, self->confirmed,
                       self->bytes_read - (self->used - self->start), remark(self), now_ns);
}

/* How long to sleep at most: a bar moves on, and so does the patience with the other side. */
static int patience_ms(const struct sender *self)
{
    if (weir_producer_outstanding(self->producer) == 0)
        return -1;
    return self->progress.wanted || self->options->timeout_ms >= 0 ? 100 : -1;
}

static void run_loop(struct sender *self)
{
    bool full = false;

    while (true) {
        int64_t now_ns = weir_clock_now().mono_ns;
        bool open = !self->input_ended && !full;

        if (self->input_ended && self->start == self->used &&
            weir_producer_outstanding(self->producer) == 0)
            break;
        if (gives_up(self, now_ns))
            break;
        draw(self, now_ns);
        struct pollfd items[] = {
            {.fd = weir_producer_fd(self->producer), .events = POLLIN},
            {.fd = open ? self->fd : -1, .events = POLLIN},
        };

        if (poll(items, 2, patience_ms(self)) < 0 && errno != EINTR)
            break;
        if (items[0].revents != 0)
            print_ids(self);
        if (items[1].revents != 0)
            read_input(self);
        full = !send_lines(self);
    }
    weir_progress_clear(&self->progress);
    print_ids(self);
}

static int finish(struct sender *self)
{
    if (self->refused > REFUSALS_TOLD_MAX)
        weir_command_note(self->options->command, "%" PRIu64 " messages were refused in all",
                          self->refused);
    weir_producer_destroy(&self->producer);
    free(self->input);
    if (fflush(stdout) != 0 || ferror(stdout))
        return self->status != 0 ? self->status : EX_IOERR;
    return self->status;
}

int weir_send_lines(const struct weir_sender_options *options, int fd)
{
    struct sender self;
    int status = start(&self, options, fd);

    if (status != 0)
        return status;
    run_loop(&self);
    return finish(&self);
}

int weir_send_payload(const struct weir_sender_options *options, const void *payload, size_t bytes)
{
    struct sender self;
    int status = start(&self, options, -1);

    if (status != 0)
        return status;
    self.input_ended = true;
    if (!send_one(&self, payload, bytes))
        self.status = weir_command_failed(options->command, EX_SOFTWARE, "no room for one message");
    run_loop(&self);
    return finish(&self);
}

int weir_send_input(const struct weir_sender_options *options, int fd)
{
    struct sender self;
    int status = start(&self, options, fd);

    if (status != 0)
        return status;
    if (isatty(fd))
        weir_command_note(options->command,
                          "reading the payload from the terminal; Ctrl-D ends it");
    while (!self.input_ended && self.used <= WEIR_MESSAGE_BYTES_MAX)
        read_input(&self);
    if (self.used > WEIR_MESSAGE_BYTES_MAX) {
        self.status = weir_command_failed(options->command, EX_DATAERR,
                                          "the payload is larger than %u bytes, the limit of a "
                                          "message; send a reference to it instead",
                                          WEIR_MESSAGE_BYTES_MAX);
    } else if (self.status == 0) {
        self.start = self.used; /* nothing is left for the loop to read lines from */
        (void)send_one(&self, self.input, self.used);
        run_loop(&self);
    }
    return finish(&self);
}
