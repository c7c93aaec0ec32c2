#include "command.h"
#include "output.h"
#include "survey.h"
#include "survey_table.h"

#include <base/alloc.h>
#include <base/topic.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: weir group ls [--json]\n"
    "       weir group pause|resume GROUP\n"
    "       weir group rm [--force] GROUP\n"
    "\n"
    "Groups as the ventilators know them, those that came at run time and left-over ones, too.\n"
    "\n"
    "  ls      list them: one line a group and ventilator\n"
    "  pause   hand nothing out until 'resume'; what is in flight goes on\n"
    "  resume  hand out again\n"
    "  rm      forget a group that the topology file does not declare (any more), with what waits\n"
    "\n"
    "  -t, --topology FILE  which topology (default: $WEIR_TOPOLOGY)\n"
    "      --json           ls: one object a line\n"
    "      --force          rm: even if messages wait in it\n"
    "      --timeout TIME   how long to wait for answers (default: 2s)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 66 there is no such group; 69 a ventilator does not answer or says "
    "no;\n"
    "78 the topology has errors.\n";

struct words {
    const char *file;
    bool json, force;
    int64_t timeout_ms;
};

static void print_json(const struct weir_survey *survey)
{
    for (uint32_t i = 0; i < survey->count; i++) {
        json_t *groups = weir_seen_groups(&survey->at[i]), *group;
        const char *name;

        json_object_foreach(groups, name, group)
        {
            json_t *row = json_pack("{s:s, s:s}", "group", name, "node", survey->at[i].node->name);

            json_object_update_missing(row, group);
            weir_print_json_line(row, stdout);
            json_decref(row);
        }
    }
}

/* Whether every ventilator answered; says which did not. */
static bool all_answered(const struct weir_command *self, const struct weir_survey *survey)
{
    bool all = true;

    for (uint32_t i = 0; i < survey->count; i++) {
        const struct weir_seen *seen = &survey->at[i];

        if (seen->node->role != WEIR_ROLE_VENTILATOR || seen->stats != NULL)
            continue;
        weir_command_note(self, "%s: %s", seen->label, seen->error.text);
        all = false;
    }
    return all;
}

static int list(const struct weir_command *self, const struct weir_survey *survey, bool json)
{
    bool all = all_answered(self, survey);

    if (json)
        print_json(survey);
    else
        weir_survey_print_groups(survey, stdout, weir_output_coloured(stdout));
    return all ? 0 : EX_UNAVAILABLE;
}

static bool may_remove(const struct weir_command *self, const struct weir_topology *topology,
                       const char *name, const json_t *group, bool force)
{
    int64_t waiting =
        weir_json_integer(group, "waiting", 0) + weir_json_integer(group, "deferred", 0);

    if (weir_topology_group(topology, name) != NULL) {
        weir_command_note(self,
                          "group '%s' is declared in %s; take it out there and start again, "
                          "then remove it",
                          name, topology->file);
        return false;
    }
    if (waiting > 0 && !force) {
        weir_command_note(self,
                          "%" PRId64 " messages wait in group '%s' and would be gone; say "
                          "--force if they may",
                          waiting, name);
        return false;
    }
    return true;
}

/* Ask one ventilator to do something with one of its groups. */
static int act_on(const struct weir_command *self, const struct weir_topology *topology,
                  struct weir_admin *admin, const struct weir_seen *seen, const char *group,
                  const char *action, int64_t timeout_ms)
{
    struct weir_admin_call call =
        weir_admin_call_to(topology, seen->node, seen->instance, WEIR_VERB_GROUP);
    int status = 0;

    WEIR_SET(&call.request, group, GROUP, weir_text_of(group));
    WEIR_SET(&call.request, action, ACTION, weir_text_of(action));
    weir_admin_ask(admin, &call, 1, timeout_ms);
    if (call.answer == NULL)
        status = weir_command_failed(self, EX_UNAVAILABLE, "%s: %s", seen->label, call.error.text);
    weir_admin_call_fini(&call);
    return status;
}

static int act(const struct weir_command *self, const struct weir_topology *topology,
               struct weir_admin *admin, const struct weir_survey *survey, const char *verb,
               const char *name, const struct words *words)
{
    bool removing = strcmp(verb, "rm") == 0, found = false;
    int status = all_answered(self, survey) ? 0 : EX_UNAVAILABLE;

    for (uint32_t i = 0; i < survey->count; i++) {
        const json_t *group = json_object_get(weir_seen_groups(&survey->at[i]), name);

        if (group == NULL)
            continue;
        found = true;
        if (removing && !may_remove(self, topology, name, group, words->force))
            return EX_UNAVAILABLE;
        int result = act_on(self, topology, admin, &survey->at[i], name, removing ? "remove" : verb,
                            words->timeout_ms);

        status = status != 0 ? status : result;
    }
    if (!found)
        return weir_command_failed(self, EX_NOINPUT,
                                   "there is no group '%s'; 'weir group ls' lists them", name);
    return status;
}

static int run_on(const struct weir_command *self, int argc, char **argv, const struct words *words)
{
    const char *verb = argv[0];
    bool listing = strcmp(verb, "ls") == 0;
    struct weir_topology *topology;
    struct weir_survey survey;

    if (!listing && strcmp(verb, "pause") != 0 && strcmp(verb, "resume") != 0 &&
        strcmp(verb, "rm") != 0)
        return weir_command_misused(self, "'%s' is unknown; expected ls, pause, resume or rm",
                                    verb);
    if (argc != (listing ? 1 : 2))
        return weir_command_misused(self, listing ? "ls takes no argument"
                                                  : "expected the name of one group");
    if (!listing && !weir_name_valid(argv[1], strlen(argv[1])))
        return weir_command_misused(self, "'%s' is not a group's name", argv[1]);
    int status = weir_command_topology(self, words->file, &topology);

    if (status != 0)
        return status;
    struct weir_admin *admin = weir_admin_new();

    weir_survey_make(&survey, topology, admin, words->timeout_ms);
    status = listing ? list(self, &survey, words->json)
                     : act(self, topology, admin, &survey, verb, argv[1], words);
    weir_survey_fini(&survey);
    weir_admin_destroy(&admin);
    weir_topology_destroy(&topology);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    enum { JSON = 256, TIMEOUT, FORCE };
    static const struct option options[] = {
        {"topology", required_argument, NULL, 't'}, {"json", no_argument, NULL, JSON},
        {"force", no_argument, NULL, FORCE},        {"timeout", required_argument, NULL, TIMEOUT},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    struct words words = {.timeout_ms = WEIR_ADMIN_TIMEOUT_MS};
    struct weir_error error;
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:h", options, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        if (option == 't')
            words.file = optarg;
        else if (option == JSON)
            words.json = true;
        else if (option == FORCE)
            words.force = true;
        else if (weir_duration_parse(optarg, &words.timeout_ms, &error) != 0)
            return weir_command_misused(self, "--timeout: %s", error.text);
    }
    if (optind == argc)
        return weir_command_misused(self, "expected ls, pause, resume or rm");
    return run_on(self, argc - optind, argv + optind, &words);
}

const struct weir_command weir_command_group = {"group", "list, pause, resume or remove groups",
                                                help, run};
