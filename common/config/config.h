/* The topology file: one YAML file that is the truth for every process in it. Loading reports every
 * error at once, each with file, line, column, the line itself, a caret and what was expected. */
#ifndef WEIR_CONFIG_CONFIG_H
#define WEIR_CONFIG_CONFIG_H

#include <base/error.h>
#include <contract/policy.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum weir_role_kind {
    WEIR_ROLE_VENTILATOR,
    WEIR_ROLE_ROUTER,
    WEIR_ROLE_WORKER,
    WEIR_ROLE_SINK,
    WEIR_ROLE_DLQ,
    WEIR_ROLE_COUNT,
};

enum weir_sink_kind { WEIR_SINK_JSONL, WEIR_SINK_SQLITE, WEIR_SINK_STDOUT };

struct weir_node {
    char *name;
    enum weir_role_kind role;
    uint32_t line, column;   /* in the file */
    uint32_t count;          /* instances, from 1 */
    uint16_t tag;            /* of ventilator, sink and dlq: given, or derived from the name */
    char *submit;            /* endpoint; ventilator, sink, dlq */
    char *dispatch;          /* endpoint; ventilator, router */
    struct weir_node **from; /* router, worker */
    uint32_t from_count;
    struct weir_node *to;           /* worker: sink or ventilator; NULL: none */
    struct weir_node *dead_letters; /* ventilator; NULL: none */
    /* ventilator */
    char *spool_dir;
    enum weir_fsync fsync;
    uint64_t spool_bytes_max;
    struct weir_group_policy *groups;
    bool *group_external; /* one a group */
    uint32_t group_count;
    bool dynamic_groups;
    int64_t idempotency_window_ms;
    uint32_t idempotency_count_max;
    /* worker */
    char *group;
    char **run;         /* NULL-ended; NULL: none */
    char **serve;       /* NULL-ended; NULL: none */
    char **env;         /* "NAME=value", NULL-ended; never NULL */
    char *result_topic; /* NULL: the message's own */
    uint32_t concurrency;
    uint32_t prefetch;
    uint64_t prefetch_bytes;
    /* sink */
    enum weir_sink_kind sink;
    char *sink_path;   /* NULL for stdout */
    char *ledger_path; /* SQLite: what has been written */
    /* dlq */
    char *store_path;
};

struct weir_topology {
    char *file;
    char *directory; /* of the file: relative handler programs start here */
    char *name;
    char *run_dir; /* var/<name>: pid files, admin sockets, logs */
    struct weir_node *nodes;
    uint32_t node_count;
};

/* Load and resolve. On failure `*topology` is NULL, every error has been written to `report`, and
 * WEIR_ECONFIG is returned. Warnings (what `weir check` says of a topology that does start) are
 * written to `report` only when `warn`; their number goes to *warnings, which may be NULL. */
int weir_topology_load(const char *file, FILE *report, bool warn, struct weir_topology **topology,
                       uint32_t *warnings);
void weir_topology_destroy(struct weir_topology **self);
/* NULL: there is none of this name. */
const struct weir_node *weir_topology_node(const struct weir_topology *self, const char *name);

/* Where instance `instance` (from 1) of a node answers its admin: an ipc endpoint under run_dir. */
char *weir_node_admin_endpoint(const struct weir_topology *topology, const struct weir_node *node,
                               uint32_t instance);
/* A worker's groups policy, if a ventilator it can be reached from declares it; NULL otherwise. */
const struct weir_group_policy *weir_topology_group(const struct weir_topology *self,
                                                    const char *group);
const char *weir_role_name(enum weir_role_kind role);
/* The program of a role: "weir-ventilator" … */
const char *weir_role_program(enum weir_role_kind role);

/* "1500ms", "30s", "5m", "2h", "1d" → ms. "4GiB", "64KiB", "100B", "1MB" → bytes. "200/s", "10/m" →
 * thousandths of a message a second. 0, or WEIR_EINVAL with what was expected. */
int weir_duration_parse(const char *text, int64_t *ms, struct weir_error *error);
int weir_size_parse(const char *text, uint64_t *bytes, struct weir_error *error);
int weir_rate_parse(const char *text, uint32_t *permille, struct weir_error *error);

/* The manual of every option (docs/topology.md), from the option table. */
void weir_topology_manual(FILE *out);
/* The topology as Graphviz. */
void weir_topology_graph(const struct weir_topology *self, FILE *out);

#endif
