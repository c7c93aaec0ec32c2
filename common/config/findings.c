#include <base/alloc.h>
#include <base/limits.h>
#include <config/findings.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LINE_CHARACTERS_MAX 110u /* of a source line; a longer one is cut around the caret */
#define TEXT_BYTES_MAX 2048u

void weir_findings_fini(struct weir_findings *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        free(self->at[i].text);
    free(self->at);
    *self = (struct weir_findings){0};
}

__attribute__((format(printf, 4, 0))) static void add(struct weir_findings *self,
                                                      enum weir_finding_kind kind,
                                                      struct weir_place place, const char *format,
                                                      va_list arguments)
{
    char text[TEXT_BYTES_MAX];

    if (kind == WEIR_FINDING_ERROR)
        self->error_count++;
    else if (kind == WEIR_FINDING_WARNING)
        self->warning_count++;
    else
        self->note_count++;
    if (self->count == WEIR_FINDINGS_MAX)
        return;
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 16;
        self->at = weir_realloc(self->at, self->capacity, sizeof *self->at);
    }
    vsnprintf(text, sizeof text, format, arguments);
    self->at[self->count] = (struct weir_finding){
        .kind = kind, .place = place, .order = self->count, .text = weir_strdup(text)};
    self->count++;
}

void weir_findings_error(struct weir_findings *self, struct weir_place place, const char *format,
                         ...)
{
    va_list arguments;

    va_start(arguments, format);
    add(self, WEIR_FINDING_ERROR, place, format, arguments);
    va_end(arguments);
}

void weir_findings_warning(struct weir_findings *self, struct weir_place place, const char *format,
                           ...)
{
    va_list arguments;

    va_start(arguments, format);
    add(self, WEIR_FINDING_WARNING, place, format, arguments);
    va_end(arguments);
}

static int compare(const void *left, const void *right)
{
    const struct weir_finding *a = left, *b = right;

    if (a->place.line != b->place.line)
        return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column)
        return a->place.column < b->place.column ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

/* Text from a file or a person goes to a terminal: no control character may pass. */
static void print_safely(const char *text, size_t bytes, FILE *out)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];

        fputc(c < 0x20 || c == 0x7f ? '?' : c, out);
    }
}

static bool continues_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The byte offset of a character (counted from 0) in a line. */
static size_t character_offset(const char *line, size_t bytes, uint32_t character)
{
    size_t at = 0;

    for (; character > 0 && at < bytes; character--) {
        at++;
        while (at < bytes && continues_character(line[at]))
            at++;
    }
    return at;
}

static bool find_line(const char *text, size_t bytes, uint32_t number, const char **line,
                      size_t *line_bytes)
{
    const char *at = text, *end = text + bytes;

    for (uint32_t i = 1; i < number; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        if (newline == NULL)
            return false;
        at = newline + 1;
    }
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    size_t length = (size_t)((newline ? newline : end) - at);

    if (length > 0 && at[length - 1] == '\r')
        length--;
    *line = at;
    *line_bytes = length;
    return true;
}

static void print_source(const struct weir_place *place, const char *text, size_t bytes, FILE *out)
{
    const char *line;
    size_t line_bytes;

    if (text == NULL || place->line == 0 ||
        !find_line(text, bytes, place->line, &line, &line_bytes))
        return;
    /* Show a window of the line that begins so that the caret is inside. */
    uint32_t caret = place->column > 0 ? place->column - 1 : 0;
    bool fits = character_offset(line, line_bytes, LINE_CHARACTERS_MAX) == line_bytes;
    bool far = caret > LINE_CHARACTERS_MAX * 3 / 4;
    uint32_t first = far && !fits ? caret - LINE_CHARACTERS_MAX / 2 : 0;
    size_t from = character_offset(line, line_bytes, first);
    size_t to = character_offset(line, line_bytes, first + LINE_CHARACTERS_MAX);

    fprintf(out, "%5u | ", place->line);
    print_safely(line + from, to - from, out);
    fprintf(out, "\n      | %*s^", (int)(caret - first), "");
    uint32_t end = caret + place->width;

    if (end > first + LINE_CHARACTERS_MAX)
        end = first + LINE_CHARACTERS_MAX;
    for (uint32_t i = caret + 1; i < end; i++)
        fputc('~', out);
    fputc('\n', out);
}

static void print_one(const struct weir_finding *finding, const char *file, const char *text,
                      size_t bytes, FILE *out)
{
    static const char *const kinds[] = {"error", "warning"};
    const char *hint = strchr(finding->text, '\n');
    size_t headline = hint ? (size_t)(hint - finding->text) : strlen(finding->text);

    fputs(file, out);
    if (finding->place.line > 0)
        fprintf(out, ":%u:%u", finding->place.line, finding->place.column);
    fprintf(out, ": %s: ", kinds[finding->kind]);
    print_safely(finding->text, headline, out);
    fputc('\n', out);
    print_source(&finding->place, text, bytes, out);
    if (hint != NULL) {
        fputs("      = ", out);
        print_safely(hint + 1, strlen(hint + 1), out);
        fputc('\n', out);
    }
}

static void print_count(uint32_t count, const char *what, FILE *out)
{
    fprintf(out, "%u %s%s", count, what, count == 1 ? "" : "s");
}

void weir_findings_print(struct weir_findings *self, const char *file, const char *text,
                         size_t bytes, FILE *out)
{
    uint32_t all = self->error_count + self->warning_count + self->note_count;

    if (all == 0)
        return;
    qsort(self->at, self->count, sizeof *self->at, compare);
    for (uint32_t i = 0; i < self->count; i++)
        print_one(&self->at[i], file, text, bytes, out);
    if (all > self->count)
        fprintf(out, "%s: %u more not shown\n", file, all - self->count);
    if (self->error_count + self->warning_count == 0)
        return;
    fprintf(out, "%s: ", file);
    if (self->error_count > 0)
        print_count(self->error_count, "error", out);
    if (self->error_count > 0 && self->warning_count > 0)
        fputs(", ", out);
    if (self->warning_count > 0)
        print_count(self->warning_count, "warning", out);
    fputc('\n', out);
}
