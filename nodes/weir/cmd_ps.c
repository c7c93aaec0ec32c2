#include "command.h"
#include "output.h"
#include "survey.h"
#include "survey_table.h"

#include <stdio.h>

static const char help[] =
    "usage: weir ps [--json]\n"
    "\n"
    "Every process of a topology, and every group: how many messages wait, are in flight, "
    "deferred,\n"
    "dead, and how old the oldest is that waits.\n"
    "\n"
    "  -t, --topology FILE  which topology (default: $WEIR_TOPOLOGY)\n"
    "      --json           one object a line and process\n"
    "      --timeout TIME   how long to wait for answers (default: 2s)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 69 nothing of it runs; 78 the topology has errors.\n";

static void print_json(const struct weir_survey *survey)
{
    for (uint32_t i = 0; i < survey->count; i++) {
        json_t *row = weir_seen_to_json(&survey->at[i]);

        weir_print_json_line(row, stdout);
        json_decref(row);
    }
}

static void print_tables(const struct weir_survey *survey)
{
    bool coloured = weir_output_coloured(stdout);

    weir_survey_print_processes(survey, stdout, coloured);
    fputc('\n', stdout);
    weir_survey_print_groups(survey, stdout, coloured);
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { JSON = 256, TIMEOUT };
    static const struct option options[] = {{"topology", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, JSON},
                                            {"timeout", required_argument, NULL, TIMEOUT},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct weir_topology *topology;
    struct weir_survey survey;
    struct weir_error error;
    const char *file = NULL;
    int64_t timeout_ms = WEIR_ADMIN_TIMEOUT_MS;
    bool json = false;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            file = optarg;
        else if (option == JSON)
            json = true;
        else if (weir_duration_parse(optarg, &timeout_ms, &error) != 0)
            return weir_command_misused(self, "--timeout: %s", error.text);
    }
    if (optind < argc)
        return weir_command_misused(self, "unexpected argument '%s'", argv[optind]);
    status = weir_command_topology(self, file, &topology);
    if (status != 0)
        return status;
    struct weir_admin *admin = weir_admin_new();

    weir_survey_make(&survey, topology, admin, timeout_ms);
    if (survey.alive == 0 && survey.supervisor == 0)
        status = weir_command_failed(self, EX_UNAVAILABLE,
                                     "'%s' is not up in this directory; start it with 'weir up %s'",
                                     topology->name, topology->file);
    else if (json)
        print_json(&survey);
    else
        print_tables(&survey);
    weir_survey_fini(&survey);
    weir_admin_destroy(&admin);
    weir_topology_destroy(&topology);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

const struct weir_command weir_command_ps = {"ps", "list every process and every group", help, run};
