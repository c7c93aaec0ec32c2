#include "output.h"

#include <base/alloc.h>
#include <base/error.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS_MAX 16u
#define CELL_BYTES_MAX 512u

struct cell {
    char *text;
    enum weir_colour colour;
    uint32_t width;
};

struct weir_table {
    uint32_t column_count;
    bool to_the_right[COLUMNS_MAX];
    uint32_t widths[COLUMNS_MAX];
    struct cell *cells;
    uint32_t cell_count, capacity;
};

bool weir_output_coloured(FILE *out)
{
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

    return isatty(fileno(out)) && (no == NULL || no[0] == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

const char *weir_colour_start(enum weir_colour colour, bool coloured)
{
    static const char *const codes[] = {"",         "\033[1m",  "\033[2m",
                                        "\033[32m", "\033[33m", "\033[31m"};

    return coloured ? codes[colour] : "";
}

const char *weir_colour_end(bool coloured)
{
    return coloured ? "\033[0m" : "";
}

/* Characters, which here are as wide as one column each. */
static uint32_t text_width(const char *text)
{
    uint32_t width = 0;

    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void add_cell(struct weir_table *self, enum weir_colour colour, const char *text)
{
    if (self->cell_count == self->capacity) {
        self->capacity = self->capacity ? 2 * self->capacity : 64;
        self->cells = weir_realloc(self->cells, self->capacity, sizeof *self->cells);
    }
    struct cell *cell = &self->cells[self->cell_count];
    uint32_t column = self->cell_count++ % self->column_count;

    *cell = (struct cell){.text = weir_strdup(text), .colour = colour, .width = text_width(text)};
    if (cell->width > self->widths[column])
        self->widths[column] = cell->width;
}

struct weir_table *weir_table_new(const char *titles)
{
    struct weir_table *self = weir_zalloc(1, sizeof *self);

    self->column_count = 1;
    for (const char *at = titles; *at != '\0'; at++)
        self->column_count += *at == '|';
    WEIR_ASSERT(self->column_count <= COLUMNS_MAX);
    for (uint32_t column = 0; column < self->column_count; column++) {
        size_t bytes = strcspn(titles, "|");
        bool right = titles[0] == '>';
        char *title = weir_strndup(titles + right, bytes - right);

        self->to_the_right[column] = right;
        add_cell(self, WEIR_BOLD, title);
        free(title);
        titles += bytes + 1;
    }
    return self;
}

void weir_table_add(struct weir_table *self, enum weir_colour colour, const char *format, ...)
{
    char text[CELL_BYTES_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    }
    add_cell(self, colour, text);
}

void weir_table_destroy(struct weir_table **self)
{
    if (*self == NULL)
        return;
    for (uint32_t i = 0; i < (*self)->cell_count; i++)
        free((*self)->cells[i].text);
    free((*self)->cells);
    free(*self);
    *self = NULL;
}

/* How many cells of a row there are to print: empty ones at its end leave no blanks. */
static uint32_t filled(const struct weir_table *self, const struct cell *row)
{
    uint32_t count = self->column_count;

    while (count > 1 && row[count - 1].width == 0)
        count--;
    return count;
}

void weir_table_print(struct weir_table **self, FILE *out, bool coloured)
{
    struct weir_table *table = *self;
    uint32_t titles_width = 0;

    for (uint32_t i = 0; i < table->column_count; i++)
        titles_width += table->cells[i].width;
    for (uint32_t i = titles_width > 0 ? 0 : table->column_count; i < table->cell_count; i++) {
        const struct cell *cell = &table->cells[i];
        uint32_t column = i % table->column_count;
        uint32_t count = filled(table, cell - column);
        bool last = column + 1 == count;
        int padding = (int)(table->widths[column] - cell->width);

        if (column >= count)
            continue;
        fprintf(out, "%*s%s%s%s", table->to_the_right[column] ? padding : 0, "",
                weir_colour_start(cell->colour, coloured), cell->text,
                weir_colour_end(coloured && cell->colour != WEIR_PLAIN));
        fprintf(out, "%*s%s", table->to_the_right[column] || last ? 0 : padding, "",
                last ? "\n" : "  ");
    }
    weir_table_destroy(self);
}

void weir_format_age(int64_t ms, char text[WEIR_AGE_BYTES])
{
    int64_t s = ms / 1000;

    if (ms < 0)
        snprintf(text, WEIR_AGE_BYTES, "-");
    else if (ms < 1000)
        snprintf(text, WEIR_AGE_BYTES, "%" PRId64 "ms", ms);
    else if (s < 60)
        snprintf(text, WEIR_AGE_BYTES, "%" PRId64 "s", s);
    else if (s < 3600)
        snprintf(text, WEIR_AGE_BYTES, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, WEIR_AGE_BYTES, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(text, WEIR_AGE_BYTES, "%" PRId64 "d%" PRId64 "h", s / 86400, s / 3600 % 24);
}

void weir_format_time(int64_t unix_ms, char text[WEIR_TIME_BYTES])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm local;
    size_t used = 0;

    if (unix_ms < 0 || localtime_r(&seconds, &local) == NULL) {
        snprintf(text, WEIR_TIME_BYTES, "-");
        return;
    }
    used = strftime(text, WEIR_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(text + used, WEIR_TIME_BYTES - used, ".%03d", (int)(unix_ms % 1000));
}

void weir_format_bytes(uint64_t bytes, char text[WEIR_BYTES_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(text, WEIR_BYTES_BYTES, "%" PRIu64 " B", bytes);
        return;
    }
    while (value >= 1024 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(text, WEIR_BYTES_BYTES, "%.1f %s", value, units[unit]);
}

void weir_print_json_line(const json_t *object, FILE *out)
{
    char *text = json_dumps(object, JSON_COMPACT);

    WEIR_ASSERT(text != NULL); /* whatever was not UTF-8 did not become part of the object */
    fprintf(out, "%s\n", text);
    free(text);
}

int64_t weir_json_integer(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

const char *weir_json_text(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : otherwise;
}
