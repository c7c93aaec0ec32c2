/* Listings for people: aligned columns, colours on a terminal, times and ages in few letters. */
#ifndef WEIR_OUTPUT_H
#define WEIR_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Whether colours are welcome: a terminal, and neither NO_COLOR nor TERM=dumb. */
bool weir_output_coloured(FILE *out);

enum weir_colour { WEIR_PLAIN, WEIR_BOLD, WEIR_DIM, WEIR_GREEN, WEIR_YELLOW, WEIR_RED };
/* Start and end a colour; "" when `coloured` is false. */
const char *weir_colour_start(enum weir_colour colour, bool coloured);
const char *weir_colour_end(bool coloured);

struct weir_table;

/* `titles` are divided by '|'; one that starts with '>' has its column aligned to the right. When
 * all are empty, they have no line. */
struct weir_table *weir_table_new(const char *titles);
/* The next cell, row by row; copied, control characters replaced. */
void weir_table_add(struct weir_table *self, enum weir_colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void weir_table_destroy(struct weir_table **self);
/* Print and destroy. A table without rows prints its titles alone. */
void weir_table_print(struct weir_table **self, FILE *out, bool coloured);

/* "250ms", "12s", "3m10s", "2h05m", "4d2h". */
#define WEIR_AGE_BYTES 32
void weir_format_age(int64_t ms, char text[WEIR_AGE_BYTES]);
/* Local time, "2026-11-22 10:00:00.123". */
#define WEIR_TIME_BYTES 32
void weir_format_time(int64_t unix_ms, char text[WEIR_TIME_BYTES]);
/* "1.2 GiB". */
#define WEIR_BYTES_BYTES 32
void weir_format_bytes(uint64_t bytes, char text[WEIR_BYTES_BYTES]);

/* One object a line. */
void weir_print_json_line(const json_t *object, FILE *out);
/* An integer member, or `otherwise`. */
int64_t weir_json_integer(const json_t *object, const char *key, int64_t otherwise);
/* A text member, or `otherwise`. Lives as long as the object. */
const char *weir_json_text(const json_t *object, const char *key, const char *otherwise);

#endif
