#include "command.h"

#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: weir check [--strict] [FILE]\n"
    "       weir check --manual\n"
    "\n"
    "Tell everything that is wrong with a topology file, and what looks unwise.\n"
    "\n"
    "  -t, --topology FILE  the same as FILE (default: $WEIR_TOPOLOGY)\n"
    "      --strict         fail for warnings, too\n"
    "      --manual         print the manual of all options (docs/topology.md)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 it can be started; 64 usage; 78 it has errors (or, with --strict, warnings).\n";

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { STRICT = 256, MANUAL };
    static const struct option options[] = {{"topology", required_argument, NULL, 't'},
                                            {"strict", no_argument, NULL, STRICT},
                                            {"manual", no_argument, NULL, MANUAL},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *file = getenv("WEIR_TOPOLOGY");
    bool strict = false;
    struct weir_topology *topology;
    uint32_t warnings, process_count = 0;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            file = optarg;
        else if (option == STRICT)
            strict = true;
        else if (option == MANUAL) {
            weir_topology_manual(stdout);
            return fflush(stdout) == 0 ? 0 : EX_IOERR;
        }
    }
    if (argc - optind > 1)
        return weir_command_misused(self, "one file at a time");
    if (optind < argc)
        file = argv[optind];
    if (file == NULL || file[0] == '\0')
        return weir_command_misused(self, "which topology? name its file, or set WEIR_TOPOLOGY");
    if (weir_topology_load(file, stderr, true, &topology, &warnings) != 0)
        return EX_CONFIG;
    for (uint32_t i = 0; i < topology->node_count; i++)
        process_count += topology->nodes[i].count;
    printf("%s: '%s' is fine: %u nodes, %u processes\n", file, topology->name, topology->node_count,
           process_count);
    weir_topology_destroy(&topology);
    return strict && warnings > 0 ? EX_CONFIG : 0;
}

const struct weir_command weir_command_check = {"check", "tell what is wrong with a topology file",
                                                help, run};
