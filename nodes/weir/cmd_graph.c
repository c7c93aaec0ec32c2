#include "command.h"

#include <stdio.h>

static const char help[] =
    "usage: weir graph [FILE]\n"
    "\n"
    "Write a topology as Graphviz: weir graph topology.yaml | dot -Tpng > topology.png\n"
    "\n"
    "  -t, --topology FILE  the same as FILE (default: $WEIR_TOPOLOGY)\n"
    "  -h, --help\n";

static int run(const struct weir_command *self, int argc, char **argv)
{
    static const struct option options[] = {{"topology", required_argument, NULL, 't'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *file = NULL;
    struct weir_topology *topology;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        file = optarg;
    }
    if (argc - optind > 1)
        return weir_command_misused(self, "one file at a time");
    status = weir_command_topology(self, optind < argc ? argv[optind] : file, &topology);
    if (status != 0)
        return status;
    weir_topology_graph(topology, stdout);
    weir_topology_destroy(&topology);
    return fflush(stdout) == 0 ? 0 : EX_IOERR;
}

const struct weir_command weir_command_graph = {"graph", "write a topology as Graphviz", help, run};
