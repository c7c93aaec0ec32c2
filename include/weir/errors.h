/* Weir's error codes, and the object in which a caller gathers what went wrong.
 *
 * Every function that can fail returns 0 or one of the negative codes below. Where a function
 * takes a `struct weir_error *`, it may be NULL; otherwise it is filled on failure with the code
 * and one line for a person: the thing, the place, what was expected and what to do next. */
#ifndef WEIR_ERRORS_H
#define WEIR_ERRORS_H

#include <weir/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_ERRORS(X)                                                                             \
    X(WEIR_EINVAL, -1, "invalid argument")                                                         \
    X(WEIR_ENOMEM, -2, "out of memory")                                                            \
    X(WEIR_EPROTO, -3, "protocol error")                                                           \
    X(WEIR_ELIMIT, -4, "over a limit")                                                             \
    X(WEIR_EBUSY, -5, "busy, try again later")                                                     \
    X(WEIR_EREFUSED, -6, "refused by the peer")                                                    \
    X(WEIR_ETIMEDOUT, -7, "timed out")                                                             \
    X(WEIR_ECLOSED, -8, "closed")                                                                  \
    X(WEIR_EIO, -9, "input/output error")                                                          \
    X(WEIR_EDAMAGED, -10, "stored data is damaged")                                                \
    X(WEIR_ELOCKED, -11, "locked by another process")                                              \
    X(WEIR_ECONFIG, -12, "configuration error")                                                    \
    X(WEIR_ENOTFOUND, -13, "not found")                                                            \
    X(WEIR_EFULL, -14, "full")                                                                     \
    X(WEIR_EUNREACHABLE, -15, "peer is unreachable")                                               \
    X(WEIR_EEXIST, -16, "exists already")

enum weir_error_code {
    WEIR_OK = 0,
#define X(name, value, text) name = (value),
    WEIR_ERRORS(X)
#undef X
};

#define WEIR_ERROR_TEXT_BYTES 512

struct weir_error {
    int code;                         /* 0 or an enum weir_error_code */
    char text[WEIR_ERROR_TEXT_BYTES]; /* one line, ends with NUL */
};

/* The general text of a code, such as "over a limit". A static string; never NULL. */
WEIR_API const char *weir_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
