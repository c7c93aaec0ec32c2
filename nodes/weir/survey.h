/* All processes of a topology: what the supervisor says of them, and what they answer. */
#ifndef WEIR_SURVEY_H
#define WEIR_SURVEY_H

#include "admin_zmq.h"

#include <base/error.h>
#include <config/config.h>
#include <jansson.h>
#include <sys/types.h>

struct weir_seen {
    const struct weir_node *node;
    uint32_t instance;
    char label[WEIR_NAME_BYTES_MAX + 16];
    int64_t pid;        /* 0: none, or not known */
    const char *state;  /* a static string; "stopped" when there is no trace of it */
    int64_t restarts;   /* -1: nobody supervises it */
    int64_t started_ms; /* Unix time; 0: not known */
    json_t *stats;      /* its answer to STATS; NULL: see `error` */
    struct weir_error error;
};

struct weir_survey {
    struct weir_seen *at;
    uint32_t count;
    pid_t supervisor;                  /* 0: none */
    uint32_t alive;                    /* how many answered, or are known to run */
    int64_t made_ns;                   /* mono */
    const struct weir_survey *earlier; /* the one before, for rates; NULL: none are told */
};

/* Ask all processes (at most `timeout_ms` for those that do not answer). */
void weir_survey_make(struct weir_survey *self, const struct weir_topology *topology,
                      struct weir_admin *admin, int64_t timeout_ms);
void weir_survey_fini(struct weir_survey *self);

/* How much a counter of the process, or of a group of it (NULL: the process), has grown a second
 * since the earlier survey; -1: not known. */
int64_t weir_survey_rate(const struct weir_survey *self, const struct weir_seen *seen,
                         const char *group, const char *key);

/* "groups" of a process's answer: an object, or NULL. Lives as long as the survey. */
json_t *weir_seen_groups(const struct weir_seen *seen);
/* A process as `weir ps --json` tells it; the caller's. */
json_t *weir_seen_to_json(const struct weir_seen *seen);

#endif
