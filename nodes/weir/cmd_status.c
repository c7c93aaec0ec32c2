#include "admin_zmq.h"
#include "command.h"
#include "history_table.h"
#include "output.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/message_id.h>
#include <hold/message_json.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: weir status [--json] ID\n"
    "\n"
    "Where a message is, in each group: waiting, in flight (where, and since when), deferred "
    "(until\n"
    "when, and why), done, dead, dropped (its backlog was full) or lost (with a damaged log). The\n"
    "id itself says which ventilator to ask. Of what was done nothing is kept but that: its\n"
    "attempt is null in JSON.\n"
    "\n"
    "  -t, --topology FILE  which topology (default: $WEIR_TOPOLOGY)\n"
    "      --json           one object\n"
    "      --timeout TIME   how long to wait for an answer (default: 2s)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 66 no ventilator knows this message; 69 its ventilator does not\n"
    "answer; 78 the topology has errors.\n";

static enum weir_colour state_colour(const char *state)
{
    if (strcmp(state, "done") == 0)
        return WEIR_GREEN;
    if (strcmp(state, "dead") == 0 || strcmp(state, "lost") == 0 || strcmp(state, "dropped") == 0)
        return WEIR_RED;
    return strcmp(state, "deferred") == 0 ? WEIR_YELLOW : WEIR_PLAIN;
}

/* "in 12s" or "3s ago"; "-" when it is not told. */
static void format_moment(const json_t *group, const char *key, char *text, size_t bytes)
{
    int64_t at_ms = weir_json_integer(group, key, -1);
    int64_t distance_ms = at_ms - weir_clock_now().wall_ms;
    char age[WEIR_AGE_BYTES];

    text[0] = '\0';
    if (at_ms < 0)
        return;
    weir_format_age(distance_ms < 0 ? -distance_ms : distance_ms, age);
    snprintf(text, bytes, distance_ms < 0 ? "%s ago" : "in %s", age);
}

/* Everything else that the ventilator told of it, in words. */
static void describe(const json_t *group, char *text, size_t bytes)
{
    static const struct {
        const char *key, *word;
    } texts[] = {{"worker", "worker "}, {"reason", ""}, {"error", ""}, {"note", ""}};
    char moment[WEIR_AGE_BYTES + 8];
    size_t used = 0;

    text[0] = '\0';
    format_moment(group, "due_ms", moment, sizeof moment);
    if (moment[0] != '\0')
        used += (size_t)snprintf(text, bytes, "due %s", moment);
    format_moment(group, "since_ms", moment, sizeof moment);
    if (moment[0] != '\0' && used < bytes)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "", moment);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && used < bytes; i++) {
        const char *value = weir_json_text(group, texts[i].key, "");

        if (value[0] != '\0')
            used += (size_t)snprintf(text + used, bytes - used, "%s%s%s", used ? ", " : "",
                                     texts[i].word, value);
    }
}

static void print_answer(const json_t *answer)
{
    bool coloured = weir_output_coloured(stdout);
    struct weir_table *table = weir_table_new("GROUP|STATE|>ATTEMPT|");
    char accepted[WEIR_TIME_BYTES], text[400];
    const json_t *group;
    const char *name;

    weir_format_time(weir_json_integer(answer, "accepted_at", -1), accepted);
    printf("%s%s%s  %s, accepted %s by %s\n\n", weir_colour_start(WEIR_BOLD, coloured),
           weir_json_text(answer, "id", "?"), weir_colour_end(coloured),
           weir_json_text(answer, "topic", "topic no longer known"), accepted,
           weir_json_text(answer, "stream", "?"));
    json_object_foreach(json_object_get(answer, "groups"), name, group)
    {
        const char *state = weir_json_text(group, "state", "?");
        int64_t attempt = weir_json_integer(group, "attempt", -1);

        weir_table_add(table, WEIR_PLAIN, "%s", name);
        weir_table_add(table, state_colour(state), "%s", state);
        weir_table_add(table, WEIR_PLAIN, attempt > 0 ? "%" PRId64 : "-", attempt);
        describe(group, text, sizeof text);
        weir_table_add(table, WEIR_DIM, "%s", text);
    }
    const bool trimmed = json_is_true(json_object_get(answer, "trimmed"));
    if (json_object_size(json_object_get(answer, "groups")) > 0)
        weir_table_print(&table, stdout, coloured);
    else
        puts(trimmed ? "No group has it." : "No group has it: none takes its topic.");
    weir_table_destroy(&table);
    if (trimmed)
        puts("\nThe message itself is gone from the log: its groups are told from what remains.");
    json_object_foreach(json_object_get(answer, "groups"), name, group)
        weir_history_print(json_object_get(group, "history"), name, stdout, coloured);
}

/* Times that are to be read, in JSON, are texts: numbers are told in keys that end in _ms. */
static void print_json(json_t *answer)
{
    int64_t accepted_ms = weir_json_integer(answer, "accepted_at", -1);
    char moment[WEIR_TIME_TEXT_BYTES];

    if (accepted_ms >= 0) {
        weir_time_format(accepted_ms, moment);
        json_object_set_new(answer, "accepted_at", json_string(moment));
    }
    weir_print_json_line(answer, stdout);
}

/* Every ventilator whose tag the id bears; more than one only in a topology that `check` refuses.
 */
static int ask(const struct weir_command *self, const struct weir_topology *topology,
               const struct weir_id *id, const char *id_text, int64_t timeout_ms, json_t **answer)
{
    struct weir_admin *admin = weir_admin_new();
    const struct weir_node *ventilator = NULL;
    int status = 0;

    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        if (node->role == WEIR_ROLE_VENTILATOR && node->tag == id->tag)
            ventilator = node;
    }
    if (ventilator == NULL) {
        status = weir_command_failed(self, EX_NOINPUT,
                                     "%s is of stream %u, which is none of '%s'; is it the right "
                                     "topology?",
                                     id_text, id->tag, topology->name);
    } else {
        struct weir_admin_call call = weir_admin_call_to(topology, ventilator, 1, WEIR_VERB_STATUS);

        weir_id_encode(id, call.request.id);
        WEIR_MARK(&call.request, ID);
        weir_admin_ask(admin, &call, 1, timeout_ms);
        *answer = json_incref(call.answer);
        if (*answer == NULL)
            status = weir_command_failed(
                self, call.error.code == WEIR_EREFUSED ? EX_NOINPUT : EX_UNAVAILABLE, "%s: %s",
                ventilator->name, call.error.text);
        else if (json_object_get(*answer, "stream") == NULL)
            json_object_set_new(*answer, "stream", json_string(ventilator->name));
        weir_admin_call_fini(&call);
    }
    weir_admin_destroy(&admin);
    return status;
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
    struct weir_error error;
    struct weir_id id;
    const char *file = NULL;
    int64_t timeout_ms = WEIR_ADMIN_TIMEOUT_MS;
    bool json = false;
    json_t *answer = NULL;
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
    if (argc - optind != 1)
        return weir_command_misused(self, "expected one message id");
    if (weir_id_parse(argv[optind], &id) != 0)
        return weir_command_misused(self,
                                    "'%s' is not a message id; expected the 26 letters and digits "
                                    "that 'weir send' prints",
                                    argv[optind]);
    status = weir_command_topology(self, file, &topology);
    if (status != 0)
        return status;
    status = ask(self, topology, &id, argv[optind], timeout_ms, &answer);
    if (status == 0 && json)
        print_json(answer);
    else if (status == 0)
        print_answer(answer);
    json_decref(answer);
    weir_topology_destroy(&topology);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

const struct weir_command weir_command_status = {"status", "tell where a message is", help, run};
