/* Writes to stderr: one write(2) a line, so that the lines of threads never mix. */
#include <base/clock.h>
#include <base/log.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES 2048
/* Every byte of the text may become "\xNN"; before it stand time, level and name. */
#define LINE_BYTES (4 * TEXT_BYTES + 256)

static char log_name[128] = "weir";
static atomic_int log_level = WEIR_LOG_INFO;

static const char *const level_names[] = {
    [WEIR_LOG_ERROR] = "error",
    [WEIR_LOG_WARNING] = "warning",
    [WEIR_LOG_INFO] = "info",
    [WEIR_LOG_DEBUG] = "debug",
};

void weir_log_init(const char *name, enum weir_log_level level)
{
    (void)snprintf(log_name, sizeof log_name, "%s", name);
    atomic_store(&log_level, (int)level);
}

static size_t escape(char *line, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = 0;

    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte >= 0x20 && byte != 0x7f) {
            line[length++] = *text;
            continue;
        }
        line[length++] = '\\';
        line[length++] = 'x';
        line[length++] = digits[byte >> 4];
        line[length++] = digits[byte & 15];
    }
    return length;
}

void weir_log(enum weir_log_level level, const char *format, ...)
{
    char text[TEXT_BYTES], line[LINE_BYTES];
    struct weir_now now;
    time_t seconds;
    struct tm utc;
    va_list arguments;
    size_t length;

    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    now = weir_clock_now();
    seconds = (time_t)(now.wall_ms / 1000);
    (void)gmtime_r(&seconds, &utc);
    length = strftime(line, 64, "%Y-%m-%dT%H:%M:%S", &utc);
    length += (size_t)snprintf(line + length, 192, ".%03dZ %s %s: ", (int)(now.wall_ms % 1000),
                               level_names[level], log_name);
    length += escape(line + length, text);
    line[length++] = '\n';
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(STDERR_FILENO, line + done, length - done);

        /* There is nowhere to tell of a log that cannot be written. */
        if (wrote <= 0)
            break;
        done += (size_t)wrote;
    }
}
