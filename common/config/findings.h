/* What is wrong with a topology file: gathered while it is read, told at the end, in the file's
 * order, as a compiler would. */
#ifndef WEIR_CONFIG_FINDINGS_H
#define WEIR_CONFIG_FINDINGS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A stretch of one line. Lines and columns count from 1, columns and width in characters. */
struct weir_place {
    uint32_t line; /* 0: the file as a whole */
    uint32_t column;
    uint32_t width;
};

enum weir_finding_kind { WEIR_FINDING_ERROR, WEIR_FINDING_WARNING };

struct weir_finding {
    enum weir_finding_kind kind;
    struct weir_place place;
    uint32_t order;
    char *text;
};

struct weir_findings {
    struct weir_finding *at;
    uint32_t count; /* kept: at most WEIR_FINDINGS_MAX */
    uint32_t capacity;
    uint32_t error_count; /* all of them */
    uint32_t warning_count;
    uint32_t note_count;
};

void weir_findings_fini(struct weir_findings *self);

/* Add one. What follows a newline in the text is told below the line and the caret. */
void weir_findings_error(struct weir_findings *self, struct weir_place place, const char *format,
                         ...) __attribute__((format(printf, 3, 4)));
void weir_findings_warning(struct weir_findings *self, struct weir_place place, const char *format,
                           ...) __attribute__((format(printf, 3, 4)));

/* Write all of them, sorted by place. `file` is the name to print, `text` its `bytes` bytes (may be
 * NULL when it could not be read). */
void weir_findings_print(struct weir_findings *self, const char *file, const char *text,
                         size_t bytes, FILE *out);

#endif
