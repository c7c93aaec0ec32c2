/* weir: the command line. One file a command; this one finds it. */
#include "command.h"

#include <base/alloc.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

static const struct weir_command *const commands[] = {
    &weir_command_up,    &weir_command_down,   &weir_command_ps,    &weir_command_top,
    &weir_command_send,  &weir_command_status, &weir_command_group, &weir_command_dlq,
    &weir_command_check, &weir_command_graph,  &weir_command_bench,
};

static void print_help(FILE *out)
{
    fputs("usage: weir COMMAND [OPTION]… [ARGUMENT]…\n\nA messaging pipeline, as a topology file "
          "says.\n\n",
          out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nThe topology comes from -t FILE or from $WEIR_TOPOLOGY. 'weir COMMAND --help' tells "
          "more.\n"
          "Exit statuses follow sysexits.h: 64 usage, 69 nobody answers, 75 try again later,\n"
          "78 the topology has errors.\n",
          out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("weir %d.%d.%d\n", WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR, WEIR_VERSION_PATCH);
        return 0;
    }
    json_set_alloc_funcs(weir_alloc, free); /* as everywhere: running out of memory ends us */
    if (argv[1][0] == '-') {
        fprintf(stderr,
                "weir: '%s' is no command; options come behind one, as in 'weir ps -t FILE'\n"
                "try 'weir --help'\n",
                argv[1]);
        return EX_USAGE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i]->name) == 0) {
            argv[1] = weir_asprintf("weir %s", commands[i]->name); /* as getopt names it */
            int status = commands[i]->run(commands[i], argc - 1, argv + 1);
            free(argv[1]);
            return status;
        }
    }
    fprintf(stderr, "weir: there is no command '%s'\n", argv[1]);
    print_help(stderr);
    return EX_USAGE;
}
