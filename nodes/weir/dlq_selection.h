/* Which dead letters a `weir dlq` command means: the collectors' files, and a filter. */
#ifndef WEIR_DLQ_SELECTION_H
#define WEIR_DLQ_SELECTION_H

#include "command.h"

#include <dlq/dlq_store.h>

#define WEIR_DLQ_IDS_MAX 4096u /* of one command line */

/* As the command line says it. */
struct weir_dlq_words {
    const char *file;  /* topology */
    const char *node;  /* one collector; NULL: all of the topology */
    const char *store; /* a file, instead of a topology */
    struct weir_dlq_filter filter;
    bool any_filter; /* something narrows it */
    bool all;        /* --all */
};

/* A collector's open file. */
struct weir_dlq_source {
    char *name; /* the node's, or the file's */
    struct weir_dlq_store *store;
};

struct weir_dlq_selection {
    struct weir_topology *topology; /* NULL: a store was named */
    struct weir_dlq_source *sources;
    uint32_t source_count;
    struct weir_dlq_filter filter;
    struct weir_id *ids; /* none: those that the filter lets through */
    uint32_t id_count;
};

/* Open what the words name. 0, or an exit status; what is wrong was said. A collector that has
 * never had a dead letter may have no file yet: it is no source then. */
int weir_dlq_selection_init(struct weir_dlq_selection *self, const struct weir_command *command,
                            const struct weir_dlq_words *words, char **ids, uint32_t id_count);
void weir_dlq_selection_fini(struct weir_dlq_selection *self);

/* Call `each` for all of them, source by source, until it returns false. It must not use the store.
 * 0, or an exit status; what is wrong was said. */
int weir_dlq_selection_walk(const struct weir_dlq_selection *self,
                            const struct weir_command *command,
                            bool (*each)(void *arg, const struct weir_dead_letter *letter),
                            void *arg);

/* A reason by its name, or NONE. */
enum weir_reason weir_reason_parse(const char *text);
/* "2h" (ago), "2026-11-22", "2026-11-22 10:00", "2026-11-22 10:00:30" (local time) → Unix ms. */
int weir_moment_parse(const char *text, int64_t now_ms, int64_t *unix_ms, struct weir_error *error);

#endif
