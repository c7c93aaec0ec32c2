#include "dlq_replay.h"

#include "output.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <base/random.h>
#include <core/submit.h>
#include <inttypes.h>
#include <runtime/reactor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>
#include <wire/batch.h>

#define PAGE_LETTERS 16u /* in memory at once, each of up to WEIR_MESSAGE_BYTES_MAX */
#define REFUSALS_TOLD_MAX 10u

/* A ventilator that letters go back to. */
struct target {
    const char *name;
    char *endpoint;
    uint16_t tag;
    bool any_tag; /* named by --to */
    uint32_t port;
    struct weir_submit *submit;
    int64_t stuck_since_ns; /* it owes answers, and none came since; 0: not so */
};

struct letter { /* read, and not yet sent; then sent, and not yet confirmed */
    struct weir_dlq_store *store;
    struct target *target;
    struct weir_id id;
    char id_text[WEIR_ID_TEXT_BYTES];
    char group[WEIR_NAME_BYTES_MAX + 1];
    uint32_t death;
    char topic[WEIR_TOPIC_BYTES_MAX + 1];
    struct weir_bytes message;
};

struct replay {
    struct weir_role role; /* first: the reactor drives it */
    const struct weir_dlq_replay_options *options;
    const struct weir_host *host;
    struct target *targets;
    uint32_t target_count;
    struct weir_now now;
    /* Where the reading stands. */
    uint32_t source, id;
    int64_t after_row;
    bool all_read;
    struct letter *page[PAGE_LETTERS];
    uint32_t page_count, page_next;
    uint32_t outstanding;
    int64_t next_send_ns; /* with a rate */
    bool draining;
    uint64_t replayed, refused, kept;
    int status;
};

static void letter_destroy(struct letter *letter)
{
    weir_bytes_drop(&letter->message);
    free(letter);
}

/* ---- Telling ----------------------------------------------------------------------------------
 */

static void tell(struct replay *self, const struct letter *letter, const char *outcome,
                 const char *why)
{
    if (self->options->json) {
        json_t *row =
            json_pack("{s:s, s:s, s:I, s:s}", "id", letter->id_text, "group", letter->group,
                      "death", (json_int_t)letter->death, "outcome", outcome);

        if (why[0] != '\0')
            json_object_set_new(row, "error", json_string(why));
        weir_print_json_line(row, stdout);
        json_decref(row);
    } else if (why[0] != '\0' && self->refused + self->kept <= REFUSALS_TOLD_MAX) {
        weir_command_note(self->options->command, "%s in %s (death %" PRIu32 "): %s",
                          letter->id_text, letter->group, letter->death, why);
    }
}

static void stop(struct replay *self, int status)
{
    if (self->status == 0)
        self->status = status;
    self->host->stopped(self->host->self, self->status);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static struct target *target_of(struct replay *self, const struct weir_id *id)
{
    for (uint32_t i = 0; i < self->target_count; i++) {
        if (self->targets[i].any_tag || self->targets[i].tag == id->tag)
            return &self->targets[i];
    }
    return NULL;
}

static bool keep_letter(void *arg, const struct weir_dead_letter *seen)
{
    struct replay *self = arg;
    struct letter *letter = weir_zalloc(1, sizeof *letter);

    letter->id = seen->id;
    letter->death = seen->death;
    memcpy(letter->id_text, seen->id_text, sizeof letter->id_text);
    snprintf(letter->group, sizeof letter->group, "%s", seen->group);
    snprintf(letter->topic, sizeof letter->topic, "%s", seen->topic);
    letter->store = self->options->selection->sources[self->source].store;
    letter->message = weir_bytes_copy(seen->message.data, seen->message.size);
    letter->target = target_of(self, &seen->id);
    self->after_row = seen->row;
    self->page[self->page_count++] = letter;
    return self->page_count < PAGE_LETTERS;
}

/* Read the next page; short ones, so that the collector may write in between. */
static bool read_page(struct replay *self)
{
    const struct weir_dlq_selection *selection = self->options->selection;
    uint32_t rounds = selection->id_count > 0 ? selection->id_count : 1;
    struct weir_error error;

    self->page_count = self->page_next = 0;
    while (self->source < selection->source_count) {
        struct weir_dlq_filter filter = selection->filter;

        filter.id = selection->id_count > 0 ? &selection->ids[self->id] : NULL;
        filter.after_row = self->after_row;
        filter.limit = PAGE_LETTERS;
        if (weir_dlq_store_list(selection->sources[self->source].store, &filter, keep_letter, self,
                                &error) != 0) {
            stop(self, weir_command_failed(self->options->command, EX_IOERR, "%s", error.text));
            return false;
        }
        if (self->page_count > 0)
            return true;
        self->after_row = 0;
        if (++self->id == rounds) {
            self->id = 0;
            self->source++;
        }
    }
    self->all_read = true;
    return false;
}

static struct letter *next_letter(struct replay *self)
{
    if (self->page_next == self->page_count && (self->all_read || !read_page(self)))
        return NULL;
    return self->page[self->page_next];
}

/* ---- Sending ----------------------------------------------------------------------------------
 */

static void keep(struct replay *self, struct letter *letter, const char *why)
{
    self->kept++;
    tell(self, letter, "kept", why);
    letter_destroy(letter);
}

static void send_letter(struct replay *self, struct letter *letter)
{
    struct weir_message_view view;
    struct weir_error error;
    struct weir_batch_header header = {.version = WEIR_BATCH_VERSION,
                                       .topic = letter->topic,
                                       .topic_bytes = (uint32_t)strlen(letter->topic)};
    struct weir_batch_builder *builder;

    if (letter->group[0] == '\0') {
        keep(self, letter,
             "it came straight from a producer and died in no group: there is nowhere "
             "to replay it to");
        return;
    }
    if (letter->target == NULL) {
        keep(self, letter, "its ventilator is not in this topology; name one with --to");
        return;
    }
    if (weir_message_decode(letter->message.data, letter->message.size, &view, &error) != 0) {
        keep(self, letter, error.text);
        return;
    }
    memcpy(header.producer, weir_submit_producer(letter->target->submit), sizeof header.producer);
    builder = weir_batch_builder_new(&header);
    if (weir_batch_builder_add(builder, &view, &error) == 0) {
        if (letter->target->stuck_since_ns == 0)
            letter->target->stuck_since_ns = self->now.mono_ns;
        self->outstanding++;
        weir_submit_send(letter->target->submit, builder, WEIR_BATCH_REPLAY, letter, &self->now);
    } else {
        keep(self, letter, error.text);
    }
    weir_batch_builder_destroy(&builder);
}

static void on_submitted(void *arg, const struct weir_submitted *submitted,
                         const struct weir_now *now)
{
    struct replay *self = arg;
    struct letter *letter = submitted->arg;
    struct weir_error error;
    bool removed;

    self->outstanding--;
    letter->target->stuck_since_ns =
        weir_submit_outstanding(letter->target->submit) > 0 ? now->mono_ns : 0;
    if (submitted->status != 0) {
        char why[512];

        snprintf(why, sizeof why, "refused (%.*s): %.*s", (int)submitted->answer->code.bytes,
                 submitted->answer->code.data, (int)submitted->answer->text.bytes,
                 submitted->answer->text.data);
        self->refused++;
        tell(self, letter, "refused", why);
    } else if (weir_dlq_store_remove(letter->store, &letter->id, letter->group, letter->death,
                                     &removed, &error) != 0) {
        /* A second replay of it is recognised by the ventilator. */
        stop(self, weir_command_failed(self->options->command, EX_IOERR, "%s", error.text));
    } else {
        self->replayed++;
        tell(self, letter, "replayed", "");
    }
    letter_destroy(letter);
}

static bool may_send_now(struct replay *self)
{
    if (self->options->rate_permille == 0)
        return true;
    if (self->now.mono_ns < self->next_send_ns)
        return false;
    int64_t gap_ns = WEIR_NS_PER_S * 1000 / self->options->rate_permille;

    if (self->next_send_ns == 0 || self->now.mono_ns - self->next_send_ns > WEIR_NS_PER_S)
        self->next_send_ns = self->now.mono_ns;
    self->next_send_ns += gap_ns;
    return true;
}

static void pump(struct replay *self)
{
    struct letter *letter;

    while (!self->draining && self->status == 0 && (letter = next_letter(self)) != NULL) {
        if (letter->target != NULL && !weir_submit_room(letter->target->submit))
            return;
        if (!may_send_now(self))
            return;
        self->page_next++;
        send_letter(self, letter);
    }
}

static void give_up_on(struct replay *self, const struct target *target)
{
    bool linked = weir_submit_linked(target->submit);

    stop(self,
         weir_command_failed(
             self->options->command, linked ? EX_TEMPFAIL : EX_UNAVAILABLE,
             "%s at %s %s; what it did not confirm is still in the collector. Try again later, "
             "or with --wait",
             target->name, target->endpoint,
             linked ? "takes nothing now" : "is not there: is the topology up ('weir ps')?"));
}

/* Ends it when all is said, else asks to be woken. */
static void settle(struct replay *self)
{
    int64_t next_ns = WEIR_TIME_NEVER;
    bool sending = !self->draining && !(self->all_read && self->page_next == self->page_count);

    for (uint32_t i = 0; i < self->target_count && self->status == 0; i++) {
        struct target *target = &self->targets[i];
        int64_t tick_ns = weir_submit_tick(target->submit, &self->now);

        next_ns = tick_ns < next_ns ? tick_ns : next_ns;
        if (target->stuck_since_ns == 0 || self->options->timeout_ms < 0)
            continue;
        int64_t limit_ns = target->stuck_since_ns + self->options->timeout_ms * WEIR_NS_PER_MS;

        if (self->now.mono_ns >= limit_ns)
            give_up_on(self, target);
        next_ns = limit_ns < next_ns ? limit_ns : next_ns;
    }
    if (self->status != 0)
        return;
    if (!sending && self->outstanding == 0) {
        stop(self, 0);
        return;
    }
    if (sending && self->options->rate_permille > 0 && self->next_send_ns < next_ns &&
        self->next_send_ns > self->now.mono_ns)
        next_ns = self->next_send_ns;
    if (next_ns != WEIR_TIME_NEVER)
        self->host->wake_at(self->host->self, next_ns);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct replay *self = (struct replay *)(void *)role;

    self->now = event->now;
    if (event->type == WEIR_EVENT_DRAIN)
        self->draining = true;
    for (uint32_t i = 0; i < self->target_count; i++) {
        if ((event->type == WEIR_EVENT_MESSAGE || event->type == WEIR_EVENT_LINK_UP ||
             event->type == WEIR_EVENT_LINK_DOWN) &&
            event->port == self->targets[i].port)
            weir_submit_event(self->targets[i].submit, event);
    }
    if (self->status != 0)
        return;
    pump(self);
    settle(self);
}

static void destroy(struct weir_role *role)
{
    (void)role; /* lives on the stack of weir_dlq_replay */
}

/* ---- Setting up -------------------------------------------------------------------------------
 */

static void add_target(struct replay *self, const char *name, const char *endpoint, uint16_t tag,
                       bool any_tag)
{
    self->targets = weir_realloc(self->targets, self->target_count + 1, sizeof *self->targets);
    self->targets[self->target_count] =
        (struct target){.name = name,
                        .endpoint = weir_strdup(endpoint),
                        .tag = tag,
                        .any_tag = any_tag,
                        .port = WEIR_PORT_FROM + self->target_count};
    self->target_count++;
}

static int find_targets(struct replay *self)
{
    const struct weir_topology *topology = self->options->selection->topology;
    const char *to = self->options->to;

    if (to != NULL && strstr(to, "://") != NULL) {
        add_target(self, "the ventilator", to, 0, true);
        return 0;
    }
    if (topology == NULL)
        return weir_command_misused(self->options->command,
                                    "with --store there is no topology: say --to ENDPOINT");
    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        if (node->role == WEIR_ROLE_VENTILATOR && (to == NULL || strcmp(to, node->name) == 0))
            add_target(self, node->name, node->submit, node->tag, to != NULL);
    }
    if (self->target_count == 0)
        return weir_command_misused(self->options->command,
                                    "'%s' has no ventilator%s%s; name one with --to",
                                    topology->name, to ? " " : "", to ? to : "");
    return 0;
}

static int connect_targets(struct replay *self, struct weir_reactor *reactor)
{
    const struct weir_submit_owner owner = {.self = self, .submitted = on_submitted};
    struct weir_error error;

    for (uint32_t i = 0; i < self->target_count; i++) {
        struct target *target = &self->targets[i];
        uint8_t producer[WEIR_PRODUCER_BYTES];

        weir_entropy(producer, sizeof producer);
        target->submit =
            weir_submit_new(target->port, producer, WEIR_PRODUCER_WINDOW, &owner, self->host);
        if (weir_reactor_connect(reactor, target->port, target->endpoint, &error) != 0)
            return weir_command_failed(self->options->command, EX_USAGE, "%s", error.text);
    }
    return 0;
}

static void fini(struct replay *self)
{
    for (uint32_t i = self->page_next; i < self->page_count; i++)
        letter_destroy(self->page[i]);
    for (uint32_t i = 0; i < self->target_count; i++) {
        weir_submit_destroy(&self->targets[i].submit);
        free(self->targets[i].endpoint);
    }
    free(self->targets);
}

static void print_counts(const struct replay *self)
{
    if (self->options->json)
        return;
    printf("%" PRIu64 " replayed", self->replayed);
    if (self->refused > 0)
        printf(", %" PRIu64 " refused", self->refused);
    if (self->kept > 0)
        printf(", %" PRIu64 " could not be sent", self->kept);
    if (self->refused + self->kept > 0)
        fputs(": these are still in the collector", stdout);
    fputc('\n', stdout);
}

int weir_dlq_replay(const struct weir_dlq_replay_options *options)
{
    struct replay self = {.role = {.step = step, .destroy = destroy}, .options = options};
    struct weir_error error;
    int status = find_targets(&self);

    if (status != 0) {
        fini(&self);
        return status;
    }
    struct weir_reactor *reactor = weir_reactor_new();

    self.host = weir_reactor_host(reactor);
    if (weir_reactor_signals(reactor, &error) != 0)
        status = weir_command_failed(options->command, EX_OSERR, "%s", error.text);
    if (status == 0)
        status = connect_targets(&self, reactor);
    if (status == 0) {
        status = weir_reactor_run(reactor, &self.role);
        print_counts(&self);
        if (status == 0 && self.draining)
            status = 128 + 15; /* told to end before all were replayed */
        if (status == 0 && self.refused + self.kept > 0)
            status = EX_DATAERR;
    }
    fini(&self);
    weir_reactor_destroy(&reactor);
    return status;
}
