#include "outside.h"
#include <stdarg.h>
#include <stdio.h>
#include <store/spool_lock.h>

static struct sim_outside current;

void sim_outside_set(const struct sim_outside *outside)
{
    current = *outside;
}

struct weir_now __wrap_weir_clock_now(void);
void __wrap_weir_entropy(void *data, size_t bytes);
void __wrap_weir_log(enum weir_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct weir_now __wrap_weir_clock_now(void)
{
    return current.now;
}

void __wrap_weir_entropy(void *data, size_t bytes)
{
    weir_random_fill(current.random, data, bytes);
}

void __wrap_weir_log(enum weir_log_level level, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (current.said)
        current.said(current.self, level, text);
}

/* No second process ever opens a simulated disk. */
int weir_spool_lock(const char *directory, int *fd, struct weir_error *error)
{
    (void)directory;
    (void)error;
    *fd = -1;
    return 0;
}
