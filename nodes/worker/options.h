/* The command line of a worker that no topology declares: a subscriber that joins while everything
 * runs. */
#ifndef WEIR_WORKER_OPTIONS_H
#define WEIR_WORKER_OPTIONS_H

#include <base/limits.h>
#include <stdbool.h>
#include <stdint.h>

#define WEIR_WORKER_FROM_MAX 64u

struct weir_worker_options {
    const char *from[WEIR_WORKER_FROM_MAX]; /* endpoints */
    uint32_t from_count;
    const char *group;
    char *topics_text; /* owned; what `topics` points into */
    const char *topics[WEIR_TOPIC_PATTERNS_MAX];
    uint32_t topic_count; /* 0: the group is declared */
    const char *start;    /* "now" or "earliest" */
    const char *to;       /* endpoint; NULL: results go nowhere */
    const char *result_topic;
    const char *name; /* of the worker */
    uint32_t concurrency;
    uint32_t prefetch;
    bool serve;  /* else run */
    char **argv; /* of the handler, NULL-ended */
};

/* Whether this command line is of that form: it names --from, or asks for help. */
bool weir_worker_options_apply(int argc, char **argv);
/* Read it. False: end with `*status`; what was wrong has been said. Points into argv. */
bool weir_worker_options_parse(struct weir_worker_options *options, int argc, char **argv,
                               int *status);
void weir_worker_options_fini(struct weir_worker_options *options);

#endif
