#include <base/error.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *weir_strerror(int code)
{
    switch (code) {
    case WEIR_OK:
        return "success";
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        WEIR_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}

int weir_error_set(struct weir_error *error, int code, const char *format, ...)
{
    va_list arguments;

    if (error == NULL)
        return code;
    error->code = code;
    va_start(arguments, format);
    /* A text that is too long is cut; that is better than none. */
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}

int weir_error_wrap(struct weir_error *error, const char *format, ...)
{
    char inner[WEIR_ERROR_TEXT_BYTES];
    va_list arguments;
    size_t length;

    if (error == NULL)
        return WEIR_EINVAL;
    memcpy(inner, error->text, sizeof inner);
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    length = strlen(error->text);
    (void)snprintf(error->text + length, sizeof error->text - length, ": %s", inner);
    return error->code;
}

_Noreturn void weir_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "weir: %s:%d: this must hold and does not: %s\n", file, line, condition);
    abort();
}
