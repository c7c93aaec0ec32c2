#include <base/alloc.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn static void out_of_memory(size_t bytes)
{
    fprintf(stderr,
            "weir: out of memory: the system gave no %zu bytes; ending now, what is on disk "
            "is recovered at the next start\n",
            bytes);
    abort();
}

static size_t product(size_t count, size_t bytes)
{
    size_t total;

    if (__builtin_mul_overflow(count, bytes, &total))
        out_of_memory(SIZE_MAX);
    /* malloc (0) may give NULL, which would look like a failure. */
    return total > 0 ? total : 1;
}

void *weir_alloc(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);

    if (memory == NULL)
        out_of_memory(bytes);
    return memory;
}

void *weir_zalloc(size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    void *memory = calloc(1, total);

    if (memory == NULL)
        out_of_memory(total);
    return memory;
}

void *weir_realloc(void *memory, size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    void *moved = realloc(memory, total);

    if (moved == NULL)
        out_of_memory(total);
    return moved;
}

void *weir_allocated(void *memory, size_t bytes)
{
    if (memory == NULL)
        out_of_memory(bytes);
    return memory;
}

char *weir_strdup(const char *text)
{
    return weir_strndup(text, strlen(text));
}

char *weir_strndup(const char *text, size_t bytes)
{
    size_t length = strnlen(text, bytes);
    char *copy = weir_alloc(length + 1);

    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *weir_asprintf(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        out_of_memory(strlen(format));
    return text;
}
