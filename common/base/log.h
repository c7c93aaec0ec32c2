/* Lines for the operator, on stderr: "2026-11-22T10:00:00.123Z level name: text". */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

enum weir_log_level {
    WEIR_LOG_ERROR,
    WEIR_LOG_WARNING,
    WEIR_LOG_INFO,
    WEIR_LOG_DEBUG,
};

/* Who speaks ("intake", "email.2") and from which level on. Call once, from main. */
void weir_log_init(const char *name, enum weir_log_level level);
/* One line; control characters in it are escaped. Any thread. */
void weir_log(enum weir_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
