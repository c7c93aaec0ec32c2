#include "child_output.h"

#include <base/alloc.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void weir_child_output_init(struct weir_child_output *self, FILE *out, const char *name,
                            uint32_t number, uint32_t width, bool coloured)
{
    static const char *const colours[] = {"36", "32", "33", "35", "34", "96", "92", "93", "95"};

    *self = (struct weir_child_output){.out = out};
    self->line = weir_alloc(WEIR_LINE_BYTES_MAX);
    if (name == NULL)
        return;
    self->name = weir_asprintf(" %s: ", name);
    if (coloured)
        self->prefix =
            weir_asprintf("\033[%sm%-*s |\033[0m ",
                          colours[number % (sizeof colours / sizeof colours[0])], (int)width, name);
    else
        self->prefix = weir_asprintf("%-*s | ", (int)width, name);
}

void weir_child_output_fini(struct weir_child_output *self)
{
    free(self->prefix);
    free(self->name);
    free(self->line);
    *self = (struct weir_child_output){0};
}

/* "TIME LEVEL NAME: text": how long "TIME LEVEL" is; 0: the line is none of the process's log. */
static size_t log_head(const struct weir_child_output *self, const char *line, size_t bytes)
{
    const char *const end = line + bytes, *time_end = memchr(line, ' ', bytes);
    const size_t name_bytes = strlen(self->name);

    if (time_end == NULL || time_end == line || time_end[-1] != 'Z')
        return 0;
    const char *level_end = memchr(time_end + 1, ' ', (size_t)(end - time_end - 1));

    if (level_end == NULL || (size_t)(end - level_end) < name_bytes ||
        memcmp(level_end, self->name, name_bytes) != 0)
        return 0;
    return (size_t)(level_end - line);
}

static void print(struct weir_child_output *self, const char *line, size_t bytes)
{
    if (self->prefix != NULL) {
        const size_t head = log_head(self, line, bytes);

        fputs(self->prefix, self->out);
        if (head > 0) {
            const size_t rest = head + strlen(self->name);

            fwrite(line, 1, head, self->out);
            fputs(": ", self->out);
            line += rest;
            bytes -= rest;
        }
    }
    fwrite(line, 1, bytes, self->out);
    fputc('\n', self->out);
}

static void print_lines(struct weir_child_output *self)
{
    size_t start = 0;
    char *newline;

    while ((newline = memchr(self->line + start, '\n', self->used - start)) != NULL) {
        size_t end = (size_t)(newline - self->line);

        print(self, self->line + start, end - start);
        start = end + 1;
    }
    self->used -= start;
    memmove(self->line, self->line + start, self->used);
    if (self->used == WEIR_LINE_BYTES_MAX) {
        print(self, self->line, self->used);
        self->used = 0;
    }
}

bool weir_child_output_read(struct weir_child_output *self, int fd)
{
    ssize_t got = read(fd, self->line + self->used, WEIR_LINE_BYTES_MAX - self->used);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (got <= 0) {
        if (self->used > 0)
            print(self, self->line, self->used);
        self->used = 0;
        fflush(self->out);
        return false;
    }
    self->used += (size_t)got;
    print_lines(self);
    fflush(self->out);
    return true;
}
