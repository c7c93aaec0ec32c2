#include "dlq_selection.h"

#include <base/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int open_source(struct weir_dlq_selection *self, const struct weir_command *command,
                       const char *name, const char *path, bool must_be_there)
{
    struct weir_dlq_source source = {0};
    struct weir_error error;
    int status = weir_dlq_store_open(path, false, &source.store, &error);

    if (status == WEIR_ENOTFOUND && !must_be_there)
        return 0;
    if (status != 0)
        return weir_command_failed(command, status == WEIR_ENOTFOUND ? EX_NOINPUT : EX_IOERR, "%s",
                                   error.text);
    source.name = weir_strdup(name);
    self->sources = weir_realloc(self->sources, self->source_count + 1, sizeof *self->sources);
    self->sources[self->source_count++] = source;
    return 0;
}

static int open_collectors(struct weir_dlq_selection *self, const struct weir_command *command,
                           const char *node_name)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < self->topology->node_count; i++) {
        const struct weir_node *node = &self->topology->nodes[i];

        if (node->role != WEIR_ROLE_DLQ ||
            (node_name != NULL && strcmp(node->name, node_name) != 0))
            continue;
        int status = open_source(self, command, node->name, node->store_path, false);

        if (status != 0)
            return status;
        found++;
    }
    if (found > 0)
        return 0;
    if (node_name != NULL)
        return weir_command_misused(command, "'%s' has no dead-letter collector '%s'",
                                    self->topology->name, node_name);
    return weir_command_failed(command, EX_CONFIG,
                               "'%s' has no dead-letter collector; add a node with role: dlq to %s",
                               self->topology->name, self->topology->file);
}

static int parse_ids(struct weir_dlq_selection *self, const struct weir_command *command,
                     char **ids, uint32_t id_count)
{
    if (id_count > WEIR_DLQ_IDS_MAX)
        return weir_command_misused(command, "at most %u ids at once", WEIR_DLQ_IDS_MAX);
    self->ids = weir_zalloc(id_count, sizeof *self->ids);
    for (uint32_t i = 0; i < id_count; i++) {
        if (weir_id_parse(ids[i], &self->ids[i]) != 0)
            return weir_command_misused(command,
                                        "'%s' is not a message id; expected the 26 letters and "
                                        "digits that 'weir dlq ls' prints",
                                        ids[i]);
    }
    self->id_count = id_count;
    return 0;
}

int weir_dlq_selection_init(struct weir_dlq_selection *self, const struct weir_command *command,
                            const struct weir_dlq_words *words, char **ids, uint32_t id_count)
{
    *self = (struct weir_dlq_selection){.filter = words->filter};
    int status = parse_ids(self, command, ids, id_count);

    if (status == 0 && words->store != NULL) {
        status = open_source(self, command, words->store, words->store, true);
    } else if (status == 0) {
        status = weir_command_topology(command, words->file, &self->topology);
        if (status == 0)
            status = open_collectors(self, command, words->node);
    }
    if (status != 0)
        weir_dlq_selection_fini(self);
    return status;
}

void weir_dlq_selection_fini(struct weir_dlq_selection *self)
{
    for (uint32_t i = 0; i < self->source_count; i++) {
        free(self->sources[i].name);
        weir_dlq_store_destroy(&self->sources[i].store);
    }
    free(self->sources);
    free(self->ids);
    weir_topology_destroy(&self->topology);
    *self = (struct weir_dlq_selection){0};
}

struct walk {
    bool (*each)(void *arg, const struct weir_dead_letter *letter);
    void *arg;
    bool stopped;
};

static bool walk_on(void *arg, const struct weir_dead_letter *letter)
{
    struct walk *walk = arg;

    walk->stopped = !walk->each(walk->arg, letter);
    return !walk->stopped;
}

int weir_dlq_selection_walk(const struct weir_dlq_selection *self,
                            const struct weir_command *command,
                            bool (*each)(void *arg, const struct weir_dead_letter *letter),
                            void *arg)
{
    struct walk walk = {.each = each, .arg = arg};
    struct weir_error error;
    uint32_t rounds = self->id_count > 0 ? self->id_count : 1;

    for (uint32_t source = 0; source < self->source_count; source++) {
        for (uint32_t i = 0; i < rounds && !walk.stopped; i++) {
            struct weir_dlq_filter filter = self->filter;

            filter.id = self->id_count > 0 ? &self->ids[i] : NULL;
            if (weir_dlq_store_list(self->sources[source].store, &filter, walk_on, &walk, &error) !=
                0)
                return weir_command_failed(command, EX_IOERR, "%s", error.text);
        }
    }
    return 0;
}

enum weir_reason weir_reason_parse(const char *text)
{
    for (int reason = WEIR_REASON_ATTEMPTS; reason <= WEIR_REASON_BACKLOG; reason++) {
        if (strcmp(text, weir_reason_name((enum weir_reason)reason)) == 0)
            return (enum weir_reason)reason;
    }
    return WEIR_REASON_NONE;
}

int weir_moment_parse(const char *text, int64_t now_ms, int64_t *unix_ms, struct weir_error *error)
{
    static const char *const formats[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
                                          "%Y-%m-%d %H:%M", "%Y-%m-%d"};
    int64_t ago_ms;

    if (weir_duration_parse(text, &ago_ms, NULL) == 0) {
        *unix_ms = now_ms > ago_ms ? now_ms - ago_ms : 1;
        return 0;
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm local = {.tm_isdst = -1};
        const char *end = strptime(text, formats[i], &local);
        time_t seconds;

        if (end == NULL || *end != '\0')
            continue;
        seconds = mktime(&local);
        if (seconds > 0) {
            *unix_ms = (int64_t)seconds * 1000;
            return 0;
        }
    }
    return weir_error_set(error, WEIR_EINVAL,
                          "'%.64s' is not a time; expected an age such as 2h, or a local time such "
                          "as '2026-11-22 10:00'",
                          text);
}
