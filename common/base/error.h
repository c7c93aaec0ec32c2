/* Filling the caller's error object (include/weir/errors.h) on the way up. */
#ifndef WEIR_BASE_ERROR_H
#define WEIR_BASE_ERROR_H

#include <stdarg.h>
#include <weir/errors.h>

/* Fill `error` (may be NULL) and return `code`, so that a failing function can end with
 * `return weir_error_set(error, WEIR_EIO, "…: %s", …)`. */
int weir_error_set(struct weir_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " before the text that is there. Returns the error's code. */
int weir_error_wrap(struct weir_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A programmer's error: say where, and abort. Stays on in release builds.
 * Never for what a peer, a disk, a file or a person gave us. */
#define WEIR_ASSERT(condition)                                                                     \
    ((condition) ? (void)0 : weir_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void weir_assert_failed(const char *condition, const char *file, int line);

#endif
