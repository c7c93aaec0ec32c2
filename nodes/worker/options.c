#include "options.h"

#include <base/alloc.h>
#include <base/topic.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <weir.h>

enum option_code {
    OPTION_FROM = 256,
    OPTION_GROUP,
    OPTION_TOPICS,
    OPTION_START,
    OPTION_TO,
    OPTION_RESULT_TOPIC,
    OPTION_NAME,
    OPTION_CONCURRENCY,
    OPTION_PREFETCH,
    OPTION_RUN,
    OPTION_SERVE,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct option known[] = {
    {"from", required_argument, NULL, OPTION_FROM},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"topics", required_argument, NULL, OPTION_TOPICS},
    {"start", required_argument, NULL, OPTION_START},
    {"to", required_argument, NULL, OPTION_TO},
    {"result-topic", required_argument, NULL, OPTION_RESULT_TOPIC},
    {"name", required_argument, NULL, OPTION_NAME},
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"prefetch", required_argument, NULL, OPTION_PREFETCH},
    {"run", no_argument, NULL, OPTION_RUN},
    {"serve", no_argument, NULL, OPTION_SERVE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static void print_help(void)
{
    printf(
        "usage: weir-worker --topology FILE --node NAME [--instance N] [--verbose]\n"
        "       weir-worker --from ENDPOINT --group NAME [OPTION…] --run PROGRAM [ARGUMENT…]\n"
        "\n"
        "Run handlers for the messages of one group: as a topology declares it, or as a new\n"
        "subscriber that no topology knows, while everything else keeps running.\n"
        "\n"
        "  -t, --topology FILE     the topology (default: $WEIR_TOPOLOGY)\n"
        "  -n, --node NAME         which of its nodes\n"
        "  -i, --instance N        which instance of the node, from 1 (default: 1)\n"
        "  -v, --verbose           log more\n"
        "\n"
        "      --from ENDPOINT     dispatch of a router or ventilator; may be repeated\n"
        "      --group NAME        the group to work for\n"
        "      --topics T[,T…]     make the group, with these topic patterns, where it does not\n"
        "                          exist (the ventilator must allow dynamic-groups)\n"
        "      --start now|earliest  where a new group begins (default: now)\n"
        "      --to ENDPOINT       submit of a sink or ventilator that takes the results\n"
        "      --result-topic T    topic of the results (default: the message's own)\n"
        "      --name NAME         of this worker, in logs and histories (default: the group's)\n"
        "      --concurrency N     handlers at once (default: 1)\n"
        "      --prefetch N        messages held at most (default: what keeps the handlers busy)\n"
        "      --run PROGRAM …     start this program for each message\n"
        "      --serve PROGRAM …   keep this program running; it answers JSON lines\n"
        "      --help, --version\n"
        "\n"
        "A handler finds the payload on stdin and the rest in its environment; its stdout is the\n"
        "result, its exit status the outcome: 0 done, 65 never again, 69 not now, else retry.\n"
        "docs/handlers.md says more.\n");
}

static bool complain(int *status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool complain(int *status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("weir-worker: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; see weir-worker --help\n", stderr);
    va_end(arguments);
    *status = EX_USAGE;
    return false;
}

bool weir_worker_options_apply(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--from") == 0 || strncmp(argv[i], "--from=", 7) == 0 ||
            strcmp(argv[i], "--help") == 0)
            return true;
        if (strcmp(argv[i], "--run") == 0 || strcmp(argv[i], "--serve") == 0)
            return true;
    }
    return false;
}

static bool parse_number(const char *name, uint32_t max, uint32_t *number, int *status)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(optarg, &end, 10);
    if (errno != 0 || end == optarg || *end != '\0' || optarg[0] == '-' || value == 0 ||
        value > max)
        return complain(status, "--%s %s: expected a number from 1 to %u", name, optarg, max);
    *number = (uint32_t)value;
    return true;
}

static bool parse_topics(struct weir_worker_options *options, int *status)
{
    free(options->topics_text);
    options->topics_text = weir_strdup(optarg);
    options->topic_count = 0;
    for (char *rest = options->topics_text, *topic; (topic = strsep(&rest, ",")) != NULL;) {
        if (!weir_topic_pattern_valid(topic, strlen(topic)))
            return complain(status,
                            "--topics: '%s' is not a topic pattern; expected words joined by dots, "
                            "such as user.signed_up, user.* or order.>",
                            topic);
        if (options->topic_count == WEIR_TOPIC_PATTERNS_MAX)
            return complain(status, "--topics: more than %u patterns", WEIR_TOPIC_PATTERNS_MAX);
        options->topics[options->topic_count++] = topic;
    }
    return true;
}

static bool take(struct weir_worker_options *options, int code, int *status)
{
    switch (code) {
    case OPTION_FROM:
        if (options->from_count == WEIR_WORKER_FROM_MAX)
            return complain(status, "--from: more than %u endpoints", WEIR_WORKER_FROM_MAX);
        options->from[options->from_count++] = optarg;
        return true;
    case OPTION_GROUP:
        options->group = optarg;
        return weir_name_valid(optarg, strlen(optarg)) ||
               complain(status, "--group %s: expected letters, digits, '_', '-' and '.'", optarg);
    case OPTION_TOPICS:
        return parse_topics(options, status);
    case OPTION_START:
        options->start = optarg;
        return strcmp(optarg, "now") == 0 || strcmp(optarg, "earliest") == 0 ||
               complain(status, "--start %s: expected now or earliest", optarg);
    case OPTION_TO:
        options->to = optarg;
        return true;
    case OPTION_RESULT_TOPIC:
        options->result_topic = optarg;
        return weir_topic_valid(optarg, strlen(optarg)) ||
               complain(status, "--result-topic %s: not a topic", optarg);
    case OPTION_NAME:
        options->name = optarg;
        return weir_name_valid(optarg, strlen(optarg)) ||
               complain(status, "--name %s: expected letters, digits, '_', '-' and '.'", optarg);
    case OPTION_CONCURRENCY:
        return parse_number("concurrency", 4096, &options->concurrency, status);
    case OPTION_PREFETCH:
        return parse_number("prefetch", WEIR_CREDIT_MESSAGES_MAX, &options->prefetch, status);
    case OPTION_HELP:
        print_help();
        *status = 0;
        return false;
    case OPTION_VERSION:
        printf("weir-worker %d.%d.%d\n", WEIR_VERSION_MAJOR, WEIR_VERSION_MINOR,
               WEIR_VERSION_PATCH);
        *status = 0;
        return false;
    default:
        fputs("see weir-worker --help\n", stderr);
        *status = EX_USAGE;
        return false;
    }
}

static bool check(struct weir_worker_options *options, int *status)
{
    if (options->from_count == 0)
        return complain(status, "--from is missing");
    if (options->group == NULL)
        return complain(status, "--group is missing");
    if (options->argv == NULL)
        return complain(status, "--run or --serve is missing");
    if (options->argv[0] == NULL)
        return complain(status, "%s has no program", options->serve ? "--serve" : "--run");
    if (options->name == NULL)
        options->name = options->group;
    return true;
}

bool weir_worker_options_parse(struct weir_worker_options *options, int argc, char **argv,
                               int *status)
{
    *options = (struct weir_worker_options){.start = "now", .concurrency = 1};
    int code;
    /* '+': whatever follows --run or --serve is the handler's. */
    while (options->argv == NULL && (code = getopt_long(argc, argv, "+", known, NULL)) != -1) {
        if (code == OPTION_RUN || code == OPTION_SERVE) {
            options->serve = code == OPTION_SERVE;
            options->argv = argv + optind;
        } else if (!take(options, code, status)) {
            return false;
        }
    }
    if (options->argv == NULL && optind < argc)
        return complain(status, "unexpected argument %s", argv[optind]);
    return check(options, status);
}

void weir_worker_options_fini(struct weir_worker_options *options)
{
    free(options->topics_text);
    options->topics_text = NULL;
}
