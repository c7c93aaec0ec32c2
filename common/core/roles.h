/* The role machines: everything that Weir decides, as events in and host calls out. Each _new gives
 * a `struct weir_role` whose first event is START; `weir_role_destroy` ends it. Configurations are
 * copied. Machines are single-threaded: one turn at a time. */
#ifndef WEIR_CORE_ROLES_H
#define WEIR_CORE_ROLES_H

#include <contract/host.h>

void weir_role_step(struct weir_role *role, struct weir_event *event);
void weir_role_destroy(struct weir_role **self);

/* Ventilator: Submit server (WEIR_PORT_SUBMIT), Dispatch server (WEIR_PORT_DISPATCH), Submit client
 * to the collector (WEIR_PORT_TO, when dead_letters), admin. Uses host.store. */
struct weir_ventilator_config {
    const char *name;
    enum weir_fsync fsync;
    uint64_t spool_bytes_max; /* 0: unbounded */
    const struct weir_group_policy *groups;
    uint32_t group_count;
    bool dynamic_groups;
    bool dead_letters; /* there is a collector; else the dead stay as DYING rows */
    int64_t idempotency_window_ms;
    uint32_t idempotency_count_max;
};
/* `recovered` is taken over. */
struct weir_role *weir_ventilator_new(const struct weir_ventilator_config *config,
                                      struct weir_recovered **recovered,
                                      const struct weir_host *host, uint64_t seed);

/* Router: Dispatch server (WEIR_PORT_DISPATCH), a session on each WEIR_PORT_FROM + i, admin. */
struct weir_relay_config {
    const char *name;
    uint32_t upstream_count;
};
struct weir_role *weir_relay_new(const struct weir_relay_config *config,
                                 const struct weir_host *host, uint64_t seed);

/* Worker: a session on each WEIR_PORT_FROM + i, Submit client for results (WEIR_PORT_TO, when
 * results), admin. Uses host.run and host.kill. */
struct weir_worker_config {
    const char *name;
    const char *group;
    const char *const *topics; /* dynamic group: its patterns; NULL: the group is declared */
    uint32_t topic_count;
    const char *from; /* dynamic group: "now" or "earliest" */
    uint32_t upstream_count;
    bool results;             /* hand results on before the ack */
    const char *result_topic; /* topic of the results; NULL: the message's own */
    uint32_t concurrency;     /* jobs at once */
    uint32_t prefetch;        /* messages held at most, running ones included … */
    bool paced;               /* … and fewer where handlers are slow: worker_credit.c */
    uint64_t prefetch_bytes;
    uint32_t job_messages_max; /* 1 for executors that take one message a job */
};
struct weir_role *weir_worker_new(const struct weir_worker_config *config,
                                  const struct weir_host *host, uint64_t seed);

/* Sink and dead-letter collector: Submit server (WEIR_PORT_SUBMIT) over HOLD requests, admin. */
struct weir_holder_config {
    const char *name;
    const char *role; /* "sink" or "dlq" */
    uint16_t tag;     /* its own, for the OKs */
    enum weir_fsync fsync;
    const struct weir_spool_row *spools; /* that its store remembers */
    uint32_t spool_count;
};
/* `producers` are those its store remembers. */
struct weir_role *weir_holder_new(const struct weir_holder_config *config,
                                  const struct weir_producer_row *producers,
                                  uint32_t producer_count, uint64_t next_sequence,
                                  const struct weir_host *host, uint64_t seed);

#endif
