#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int weir_command_option(const struct weir_command *self, int argc, char **argv, const char *letters,
                        const struct option *options, int *status)
{
    int option = getopt_long(argc, argv, letters, options, NULL);

    if (option == 'h') {
        fputs(self->help, stdout);
        *status = fflush(stdout) == 0 ? 0 : EX_IOERR;
        return WEIR_OPTION_END;
    }
    if (option == '?' || option == ':') {
        /* getopt has named the option already. */
        fprintf(stderr, "try 'weir %s --help'\n", self->name);
        *status = EX_USAGE;
        return WEIR_OPTION_END;
    }
    return option;
}

__attribute__((format(printf, 2, 0))) static void say(const struct weir_command *self,
                                                      const char *format, va_list arguments)
{
    fflush(stdout);
    fprintf(stderr, "weir %s: ", self->name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int weir_command_misused(const struct weir_command *self, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(self, format, arguments);
    va_end(arguments);
    fprintf(stderr, "try 'weir %s --help'\n", self->name);
    return EX_USAGE;
}

int weir_command_failed(const struct weir_command *self, int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(self, format, arguments);
    va_end(arguments);
    return status;
}

void weir_command_note(const struct weir_command *self, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(self, format, arguments);
    va_end(arguments);
}

int weir_command_topology(const struct weir_command *self, const char *file,
                          struct weir_topology **topology)
{
    if (file == NULL)
        file = getenv("WEIR_TOPOLOGY");
    if (file == NULL || file[0] == '\0')
        return weir_command_misused(
            self, "which topology? name its file with -t FILE, or set WEIR_TOPOLOGY");
    return weir_topology_load(file, stderr, false, topology, NULL) == 0 ? 0 : EX_CONFIG;
}

bool weir_command_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *number = value;
    return true;
}
