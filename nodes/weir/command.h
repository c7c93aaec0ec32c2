/* What the commands share: their table, their words on the command line, exit statuses. */
#ifndef WEIR_COMMAND_H
#define WEIR_COMMAND_H

#include <base/error.h>
#include <config/config.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <sysexits.h>

struct weir_command {
    const char *name;
    const char *summary; /* one line, for `weir --help` */
    const char *help;    /* all of it, for `weir NAME --help` */
    int (*run)(const struct weir_command *self, int argc, char **argv);
};

extern const struct weir_command weir_command_up;
extern const struct weir_command weir_command_down;
extern const struct weir_command weir_command_ps;
extern const struct weir_command weir_command_check;
extern const struct weir_command weir_command_graph;
extern const struct weir_command weir_command_send;
extern const struct weir_command weir_command_status;
extern const struct weir_command weir_command_top;
extern const struct weir_command weir_command_dlq;
extern const struct weir_command weir_command_group;
extern const struct weir_command weir_command_bench;

/* getopt_long for a command: the next option; -1 after the last one. `--help` and what is unknown
 * end the command: the answer is then WEIR_OPTION_END, and *status its exit status. */
#define WEIR_OPTION_END 1000
int weir_command_option(const struct weir_command *self, int argc, char **argv, const char *letters,
                        const struct option *options, int *status);

/* Say what is wrong with the command line, and how to get help. Returns EX_USAGE. */
int weir_command_misused(const struct weir_command *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Say what went wrong: "weir NAME: …". Returns `status`. */
int weir_command_failed(const struct weir_command *self, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A hint or a piece of news on stderr, in the same form. */
void weir_command_note(const struct weir_command *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Load the topology from `file`, else from $WEIR_TOPOLOGY. 0, EX_USAGE (none is named) or
 * EX_CONFIG; what is wrong was said. */
int weir_command_topology(const struct weir_command *self, const char *file,
                          struct weir_topology **topology);

/* A number in [min, max] from an option's text. */
bool weir_command_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#endif
