#include "command.h"
#include "dlq_listing.h"
#include "dlq_replay.h"
#include "dlq_selection.h"

#include <base/clock.h>
#include <base/topic.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: weir dlq ls     [FILTER]… [--json]\n"
    "       weir dlq show   [FILTER]… [--json] ID\n"
    "       weir dlq replay [ID… | FILTER… | --all] [--rate N]\n"
    "       weir dlq purge  [ID… | FILTER… | --all] [--yes]\n"
    "       weir dlq export [FILTER]… [--output FILE]\n"
    "\n"
    "Dead letters: messages of a group that were rejected, expired, or tried as often as they may "
    "be.\n"
    "These commands work on the collector's file itself, whether it runs or not.\n"
    "\n"
    "  ls      list them\n"
    "  show    one message's, with its history and payload\n"
    "  replay  hand them back to the group they died in, under their old ids; each is removed "
    "here\n"
    "          once the ventilator has confirmed it\n"
    "  purge   remove them for good; asks on a terminal, unless --yes is there\n"
    "  export  all of each, as JSON lines\n"
    "\n"
    "Filters, of which all must hold:\n"
    "  -g, --group GROUP        died in this group\n"
    "  -r, --reason REASON      attempts, rejected, expired or backlog\n"
    "      --topic PATTERN      with such a topic\n"
    "      --since, --until T   died in this time: an age such as 2h, or '2026-11-22 10:00'\n"
    "      --text TEXT          with TEXT in the payload or in the last error\n"
    "      --death N            the N-th death of its message\n"
    "      --limit N            at most so many (ls)\n"
    "\n"
    "  -t, --topology FILE      which topology (default: $WEIR_TOPOLOGY)\n"
    "  -n, --node NAME          which of its collectors (default: all)\n"
    "      --store FILE         a collector's file, instead of a topology\n"
    "      --to NODE|ENDPOINT   replay: to this ventilator instead of that of the message's "
    "stream\n"
    "      --rate N             replay: at most N a second, or such as 10/m\n"
    "      --wait               replay: wait as long as it takes while a ventilator is away or "
    "full\n"
    "      --timeout TIME       replay: else for so long (default: 10s)\n"
    "      --json               one object a line\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0; 64 usage; 65 some could not be replayed; 66 there is no such dead letter; 69 "
    "a\n"
    "ventilator is away; 74 a file cannot be read or written; 75 a ventilator is full; 78 the "
    "topology\n"
    "has errors.\n";

struct dlq_words {
    struct weir_dlq_words selection;
    struct weir_dlq_replay_options replay;
    const char *output;
    bool json, yes, limited;
};

enum {
    TOPIC = 256,
    SINCE,
    UNTIL,
    TEXT,
    DEATH,
    LIMIT,
    STORE,
    TO,
    RATE,
    WAIT,
    TIMEOUT,
    JSON,
    ALL,
    YES
};

static int take_number(const struct weir_command *self, const char *what, uint32_t *number)
{
    uint64_t value;

    if (!weir_command_number(optarg, 1, UINT32_MAX, &value))
        return weir_command_misused(self, "%s: expected a number from 1, not '%s'", what, optarg);
    *number = (uint32_t)value;
    return 0;
}

/* "100" is 100 a second. */
static int take_rate(const struct weir_command *self, uint32_t *rate_permille)
{
    struct weir_error error;
    uint64_t number;

    if (weir_command_number(optarg, 1, 4000000, &number))
        *rate_permille = (uint32_t)number * 1000;
    else if (weir_rate_parse(optarg, rate_permille, &error) != 0)
        return weir_command_misused(self, "--rate: %s", error.text);
    return 0;
}

static int take_time(const struct weir_command *self, int option, struct dlq_words *words)
{
    struct weir_dlq_filter *filter = &words->selection.filter;
    struct weir_error error;
    int status;

    if (option == TIMEOUT)
        status = weir_duration_parse(optarg, &words->replay.timeout_ms, &error);
    else
        status = weir_moment_parse(optarg, weir_clock_now().wall_ms,
                                   option == SINCE ? &filter->since_ms : &filter->until_ms, &error);
    return status == 0 ? 0 : weir_command_misused(self, "%s", error.text);
}

/* One filter; 0 or EX_USAGE. */
static int take_filter(const struct weir_command *self, int option, struct dlq_words *words)
{
    struct weir_dlq_filter *filter = &words->selection.filter;

    words->selection.any_filter = true;
    switch (option) {
    case 'g':
        filter->group = optarg;
        return 0;
    case 'r':
        filter->reason = weir_reason_parse(optarg);
        if (filter->reason == WEIR_REASON_NONE)
            return weir_command_misused(self,
                                        "--reason: '%s' is unknown; expected attempts, rejected, "
                                        "expired or backlog",
                                        optarg);
        return 0;
    case TOPIC:
        filter->topic = optarg;
        if (!weir_topic_pattern_valid(optarg, strlen(optarg)))
            return weir_command_misused(self, "--topic: '%s' is not a topic pattern", optarg);
        return 0;
    case TEXT:
        filter->text = optarg;
        return 0;
    case DEATH:
        return take_number(self, "--death", &filter->death);
    default:
        return take_time(self, option, words);
    }
}

static int take_option(const struct weir_command *self, int option, struct dlq_words *words)
{
    switch (option) {
    case 't':
        words->selection.file = optarg;
        return 0;
    case 'n':
        words->selection.node = optarg;
        return 0;
    case 'o':
        words->output = optarg;
        return 0;
    case STORE:
        words->selection.store = optarg;
        return 0;
    case TO:
        words->replay.to = optarg;
        return 0;
    case RATE:
        return take_rate(self, &words->replay.rate_permille);
    case LIMIT:
        words->limited = true;
        return take_number(self, "--limit", &words->selection.filter.limit);
    case WAIT:
        words->replay.timeout_ms = -1;
        return 0;
    case TIMEOUT:
        return take_time(self, option, words);
    case JSON:
        words->json = true;
        return 0;
    case ALL:
        words->selection.all = true;
        return 0;
    case YES:
        words->yes = true;
        return 0;
    default:
        return take_filter(self, option, words);
    }
}

/* ---- The commands -----------------------------------------------------------------------------
 */

static int count_selected(const struct weir_command *self,
                          const struct weir_dlq_selection *selection, uint64_t *count)
{
    uint32_t rounds = selection->id_count > 0 ? selection->id_count : 1;
    struct weir_error error;

    *count = 0;
    for (uint32_t i = 0; i < selection->source_count; i++) {
        for (uint32_t n = 0; n < rounds; n++) {
            struct weir_dlq_filter filter = selection->filter;
            uint64_t found;

            filter.id = selection->id_count > 0 ? &selection->ids[n] : NULL;
            if (weir_dlq_store_count(selection->sources[i].store, &filter, &found, &error) != 0)
                return weir_command_failed(self, EX_IOERR, "%s", error.text);
            *count += found;
        }
    }
    return 0;
}

static bool confirmed(uint64_t count)
{
    char answer[16] = "";

    fprintf(stderr, "Remove %" PRIu64 " dead letters for good? [y/N] ", count);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int purge(const struct weir_command *self, const struct weir_dlq_selection *selection,
                 bool ask)
{
    uint32_t rounds = selection->id_count > 0 ? selection->id_count : 1;
    struct weir_error error;
    uint64_t all, removed = 0;
    int status = count_selected(self, selection, &all);

    if (status != 0)
        return status;
    if (all > 0 && ask && !confirmed(all))
        return weir_command_failed(self, EX_NOPERM, "nothing was removed");
    for (uint32_t i = 0; i < selection->source_count; i++) {
        for (uint32_t n = 0; n < rounds; n++) {
            struct weir_dlq_filter filter = selection->filter;
            uint64_t count;

            filter.id = selection->id_count > 0 ? &selection->ids[n] : NULL;
            if (weir_dlq_store_purge(selection->sources[i].store, &filter, &count, &error) != 0)
                return weir_command_failed(self, EX_IOERR, "%s", error.text);
            removed += count;
        }
    }
    printf("%" PRIu64 " removed\n", removed);
    if (removed == 0 && selection->id_count > 0)
        return weir_command_failed(self, EX_NOINPUT, "there is no such dead letter");
    return 0;
}

static int export_to(const struct weir_command *self, struct weir_dlq_selection *selection,
                     const char *path)
{
    if (path == NULL || strcmp(path, "-") == 0)
        return weir_dlq_export(self, selection, stdout);
    FILE *out = fopen(path, "we");

    if (out == NULL)
        return weir_command_failed(self, EX_CANTCREAT, "cannot write %s: %s", path,
                                   strerror(errno));
    int status = weir_dlq_export(self, selection, out);
    bool bad = ferror(out) != 0;

    if ((fclose(out) != 0 || bad) && status == 0)
        status = weir_command_failed(self, EX_IOERR, "cannot write %s: %s", path, strerror(errno));
    return status;
}

static int replay(const struct weir_command *self, struct weir_dlq_selection *selection,
                  const struct dlq_words *words)
{
    struct weir_dlq_replay_options options = words->replay;
    uint64_t all;
    int status = count_selected(self, selection, &all);

    if (status != 0)
        return status;
    if (all == 0) {
        if (selection->id_count > 0)
            return weir_command_failed(self, EX_NOINPUT,
                                       "there is no such dead letter; 'weir "
                                       "status ID' tells where a message is");
        if (!words->json)
            puts("0 replayed: there are no such dead letters");
        return 0;
    }
    options.command = self;
    options.selection = selection;
    options.json = words->json;
    return weir_dlq_replay(&options);
}

static const char *const verbs[] = {"ls", "show", "replay", "purge", "export", NULL};
enum verb { LS, SHOW, REPLAY, PURGE, EXPORT, UNKNOWN };

static int check_words(const struct weir_command *self, enum verb verb,
                       const struct dlq_words *words, int id_count)
{
    bool narrowed = id_count > 0 || words->selection.any_filter;

    if ((verb == LS || verb == EXPORT) && id_count > 0)
        return weir_command_misused(self, "%s takes filters, not ids; 'weir dlq show ID' shows one",
                                    verbs[verb]);
    if (verb == SHOW && id_count == 0)
        return weir_command_misused(self, "show which? expected an id");
    if ((verb == REPLAY || verb == PURGE) && !narrowed && !words->selection.all)
        return weir_command_misused(self, "%s which? expected ids, a filter, or --all",
                                    verbs[verb]);
    if ((verb == REPLAY || verb == PURGE) && narrowed && words->selection.all)
        return weir_command_misused(self, "--all, or ids and filters: not both");
    if (words->limited && verb != LS && verb != EXPORT)
        return weir_command_misused(self, "--limit is for ls and export");
    return 0;
}

static int run_on(const struct weir_command *self, int argc, char **argv, struct dlq_words *words)
{
    struct weir_dlq_selection selection;
    enum verb verb = LS;

    while (verbs[verb] != NULL && strcmp(verbs[verb], argv[0]) != 0)
        verb++;
    if (verb == UNKNOWN)
        return weir_command_misused(
            self, "'%s' is unknown; expected ls, show, replay, purge or export", argv[0]);
    int status = check_words(self, verb, words, argc - 1);

    if (status != 0)
        return status;
    status = weir_dlq_selection_init(&selection, self, &words->selection, argv + 1,
                                     (uint32_t)(argc - 1));
    if (status != 0)
        return status;
    switch (verb) {
    case LS:
        status = weir_dlq_ls(self, &selection, words->json);
        break;
    case SHOW:
        status = weir_dlq_show(self, &selection, words->json);
        break;
    case REPLAY:
        status = replay(self, &selection, words);
        break;
    case PURGE:
        status = purge(self, &selection, !words->yes && isatty(STDIN_FILENO));
        break;
    default:
        status = export_to(self, &selection, words->output);
    }
    weir_dlq_selection_fini(&selection);
    return status == 0 && fflush(stdout) != 0 ? EX_IOERR : status;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    static const struct option known[] = {{"topology", required_argument, NULL, 't'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"store", required_argument, NULL, STORE},
                                          {"group", required_argument, NULL, 'g'},
                                          {"reason", required_argument, NULL, 'r'},
                                          {"topic", required_argument, NULL, TOPIC},
                                          {"since", required_argument, NULL, SINCE},
                                          {"until", required_argument, NULL, UNTIL},
                                          {"text", required_argument, NULL, TEXT},
                                          {"death", required_argument, NULL, DEATH},
                                          {"limit", required_argument, NULL, LIMIT},
                                          {"to", required_argument, NULL, TO},
                                          {"rate", required_argument, NULL, RATE},
                                          {"wait", no_argument, NULL, WAIT},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"output", required_argument, NULL, 'o'},
                                          {"json", no_argument, NULL, JSON},
                                          {"all", no_argument, NULL, ALL},
                                          {"yes", no_argument, NULL, YES},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct dlq_words words = {.replay = {.timeout_ms = 10000}};
    int option, status;

    while ((option = weir_command_option(self, argc, argv, "t:n:g:r:o:h", known, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            return status;
        status = take_option(self, option, &words);
        if (status != 0)
            return status;
    }
    if (optind == argc)
        return weir_command_misused(self, "expected ls, show, replay, purge or export");
    return run_on(self, argc - optind, argv + optind, &words);
}

const struct weir_command weir_command_dlq = {
    "dlq", "list, show, replay, purge or export dead letters", help, run};
