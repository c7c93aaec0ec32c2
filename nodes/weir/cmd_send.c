#include "choose_ventilator.h"
#include "command.h"
#include "sender.h"

#include <base/alloc.h>
#include <base/topic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: weir send [OPTION]… TOPIC [PAYLOAD]\n"
    "       weir send [OPTION]… TOPIC --lines\n"
    "\n"
    "Send messages, and print the id of each, one a line, once it is durable. Without PAYLOAD the\n"
    "payload is what comes on the standard input.\n"
    "\n"
    "      --lines                each line of the input is a message\n"
    "      --file FILE            read FILE instead of the standard input\n"
    "  -k, --key KEY              groups with 'order: key' handle messages of one key in turn\n"
    "      --idempotency-key KEY  a repeat gets the first one's id, and is not taken in again\n"
    "  -H, --header NAME=VALUE    may be repeated\n"
    "      --delay TIME           hand it out not before, such as 5s\n"
    "      --ttl TIME             not handled by then, it is a dead letter\n"
    "  -n, --node NAME            which ventilator, where there are several\n"
    "      --to ENDPOINT          instead of a topology: tcp://ADDRESS:PORT or ipc://PATH\n"
    "      --wait                 wait as long as it takes while the ventilator is away or full\n"
    "      --timeout TIME         else: for so long (default: 10s)\n"
    "  -t, --topology FILE        which topology (default: $WEIR_TOPOLOGY)\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 all are durable; 64 usage; 65 some were refused; 66 no such input; 69 nobody\n"
    "answers; 75 it is full, try again or --wait; 78 the topology has errors. After 69 or "
    "75\n"
    "the messages without an id may have been accepted; an idempotency key makes a repeat safe.\n";

struct words {
    const char *file, *node, *to, *input;
    bool lines;
};

static bool add_header(struct weir_message *message, const char *text)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return false;
    char *name = weir_strndup(text, (size_t)(equals - text));

    weir_message_set_header(message, name, equals + 1);
    free(name);
    return true;
}

/* The endpoint to send to; NULL: *status says why. */
static char *find_endpoint(const struct weir_command *self, const struct words *words,
                           const char *topic, int *status)
{
    struct weir_topology *topology;
    const struct weir_node *node = NULL;
    struct weir_error error;
    char *endpoint = NULL;

    if (words->to != NULL)
        return weir_strdup(words->to);
    *status = weir_command_topology(self, words->file, &topology);
    if (*status != 0)
        return NULL;
    if (words->node != NULL) {
        node = weir_topology_node(topology, words->node);
        if (node == NULL || node->submit == NULL)
            *status = weir_command_misused(self, "'%s' has no node '%s' that takes messages",
                                           topology->name, words->node);
    } else if (weir_choose_ventilator(topology, topic, &node, &error) != 0) {
        *status = weir_command_misused(self, "%s", error.text);
    }
    if (*status == 0) {
        endpoint = weir_strdup(node->submit);
        if (node->role == WEIR_ROLE_VENTILATOR && !weir_ventilator_takes(node, topic))
            weir_command_note(self,
                              "note: no group of '%s' takes topic '%s'; it is accepted, for "
                              "nobody",
                              node->name, topic);
    }
    weir_topology_destroy(&topology);
    return endpoint;
}

enum { LINES = 256, INPUT, IDEMPOTENCY, DELAY, TTL, TO, WAIT, TIMEOUT };

/* --delay, --ttl, --timeout. */
static int take_time(const struct weir_command *self, int option, int64_t *ms)
{
    const char *name = option == DELAY ? "delay" : option == TTL ? "ttl" : "timeout";
    struct weir_error error;

    if (weir_duration_parse(optarg, ms, &error) != 0)
        return weir_command_misused(self, "--%s: %s", name, error.text);
    if (option == TTL && *ms == 0)
        return weir_command_misused(self,
                                    "--ttl: with '%s' it would be dead at once; expected a "
                                    "time such as 30s, or no --ttl for one that never is",
                                    optarg);
    if (*ms > WEIR_DURATION_MS_MAX)
        return weir_command_misused(self, "--%s: '%s' is too long; expected at most %lldd", name,
                                    optarg, (long long)(WEIR_DURATION_MS_MAX / 86400000));
    return 0;
}

/* One option; 0 or EX_USAGE. */
static int take_option(const struct weir_command *self, int option, struct words *words,
                       struct weir_sender_options *options, struct weir_message *message)
{
    int64_t ms = 0;
    int status;

    switch (option) {
    case 't':
        words->file = optarg;
        break;
    case 'n':
        words->node = optarg;
        break;
    case TO:
        words->to = optarg;
        break;
    case INPUT:
        words->input = optarg;
        break;
    case LINES:
        words->lines = true;
        break;
    case WAIT:
        options->timeout_ms = -1;
        break;
    case 'k':
        weir_message_set_key(message, optarg);
        break;
    case IDEMPOTENCY:
        weir_message_set_idempotency_key(message, optarg);
        options->one_only = true;
        break;
    case 'H':
        if (!add_header(message, optarg))
            return weir_command_misused(self, "--header: expected NAME=VALUE, not '%s'", optarg);
        break;
    default:
        status = take_time(self, option, &ms);
        if (status != 0)
            return status;
        if (option == DELAY)
            weir_message_set_delay_ms(message, ms);
        else if (option == TTL)
            weir_message_set_ttl_ms(message, ms);
        else
            options->timeout_ms = ms;
    }
    return 0;
}

static int open_input(const struct weir_command *self, const struct words *words, int *fd)
{
    *fd = STDIN_FILENO;
    if (words->input == NULL || strcmp(words->input, "-") == 0)
        return 0;
    *fd = open(words->input, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 ? 0
                    : weir_command_failed(self, EX_NOINPUT, "cannot open %s: %s", words->input,
                                          strerror(errno));
}

static int check_words(const struct weir_command *self, const struct words *words,
                       const struct weir_sender_options *options, int argc, char **argv)
{
    if (argc == 0)
        return weir_command_misused(self, "which topic? expected TOPIC [PAYLOAD]");
    if (!weir_topic_valid(argv[0], strlen(argv[0])))
        return weir_command_misused(self,
                                    "'%s' is not a topic; expected words of letters, digits, '_' "
                                    "and '-', joined by dots, such as user.signed_up",
                                    argv[0]);
    if (argc > 2)
        return weir_command_misused(self, "expected TOPIC [PAYLOAD]; put quotes around a payload "
                                          "with spaces");
    if (argc == 2 && (words->lines || words->input != NULL))
        return weir_command_misused(self, "a PAYLOAD, or --lines and --file: not both");
    if (words->lines && options->one_only)
        return weir_command_misused(self, "--idempotency-key with --lines would make every line "
                                          "but the first a repeat of it");
    return 0;
}

static int run(const struct weir_command *self, int argc, char **argv)
{
    static const struct option known[] = {{"topology", required_argument, NULL, 't'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"to", required_argument, NULL, TO},
                                          {"lines", no_argument, NULL, LINES},
                                          {"file", required_argument, NULL, INPUT},
                                          {"key", required_argument, NULL, 'k'},
                                          {"idempotency-key", required_argument, NULL, IDEMPOTENCY},
                                          {"header", required_argument, NULL, 'H'},
                                          {"delay", required_argument, NULL, DELAY},
                                          {"ttl", required_argument, NULL, TTL},
                                          {"wait", no_argument, NULL, WAIT},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    struct weir_sender_options options = {.command = self, .timeout_ms = 10000};
    weir_message_t *message = weir_message_new("", NULL, 0);
    struct words words = {0};
    char *endpoint = NULL;
    int option, status = 0, fd = STDIN_FILENO;

    while ((option = weir_command_option(self, argc, argv, "t:n:k:H:h", known, &status)) != -1) {
        if (option == WEIR_OPTION_END)
            goto cleanup;
        status = take_option(self, option, &words, &options, message);
        if (status != 0)
            goto cleanup;
    }
    argc -= optind;
    argv += optind;
    status = check_words(self, &words, &options, argc, argv);
    if (status != 0)
        goto cleanup;
    weir_message_set_topic(message, argv[0]);
    endpoint = find_endpoint(self, &words, argv[0], &status);
    if (endpoint == NULL || (argc < 2 && (status = open_input(self, &words, &fd)) != 0))
        goto cleanup;
    options.endpoint = endpoint;
    options.message = message;
    if (words.lines)
        status = weir_send_lines(&options, fd);
    else if (argc == 2)
        status = weir_send_payload(&options, argv[1], strlen(argv[1]));
    else
        status = weir_send_input(&options, fd);
    if (fd != STDIN_FILENO && fd >= 0)
        close(fd);
cleanup:
    free(endpoint);
    weir_message_destroy(&message);
    return status;
}

const struct weir_command weir_command_send = {
    "send", "send messages, and print their ids once they are durable", help, run};
