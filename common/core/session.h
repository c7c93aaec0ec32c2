/* The client side of the dispatch protocol: one connection upwards, of a worker or a relay. Keeps
 * the session alive over reconnects: READY is said again when the link comes up or the
 * server says not-ready, and at each WELCOME the owner JOINs its groups and gives credit anew. */
#ifndef WEIR_CORE_SESSION_H
#define WEIR_CORE_SESSION_H

#include <contract/host.h>
#include <wire/control.h>

struct weir_session;

struct weir_session_owner {
    void *self;
    /* The server has said WELCOME: join and grant credit now (all starts anew in each session). */
    void (*welcome)(void *self, uint32_t port, const struct weir_control *control,
                    const struct weir_now *now);
    /* DELIVER, checked: slices and frames agree. `event->frames` may be moved out. The session has
     * accounted it against the credit. */
    void (*deliver)(void *self, uint32_t port, const struct weir_control *control,
                    struct weir_event *event);
    /* WAITING, CREDITED, GO, HEARTBEAT (echo), JOINED, ERROR (but for one of a CREDIT that was
     * followed by another). */
    void (*control)(void *self, uint32_t port, const struct weir_control *control,
                    const struct weir_now *now);
    /* The link broke: credit and what was in flight on it are gone; leases are not. */
    void (*down)(void *self, uint32_t port, const struct weir_now *now);
    /* What this side holds (of streams that may be reached this way): for READY. Appends to the
     * array with weir_realloc, counts in *count, at most WEIR_LEASES_MAX. */
    void (*held)(void *self, uint32_t port, struct weir_lease_ref **leases, uint32_t *count);
};

struct weir_session_config {
    uint32_t port;
    const char *name; /* of the node; copied */
    const char *role; /* "worker" or "router" */
    uint64_t worker;  /* a worker's own number; 0 for a relay */
};

struct weir_session *weir_session_new(const struct weir_session_config *config,
                                      const struct weir_session_owner *owner,
                                      const struct weir_host *host);
void weir_session_destroy(struct weir_session **self);

/* MESSAGE, LINK_UP and LINK_DOWN events of its port. */
void weir_session_event(struct weir_session *self, struct weir_event *event);
/* Missed echoes: a server silent for WEIR_PEER_SILENCE_MS is probed with READY anew. Returns when
 * to be called next. */
int64_t weir_session_tick(struct weir_session *self, const struct weir_now *now);

bool weir_session_open(const struct weir_session *self); /* WELCOME has come */
/* Say JOIN, in this session; `from` may be NULL. JOINED or ERROR bears the serial that is returned;
 * 0: the session is not open, nothing was said. `hold`: CREDIT for the group waits for JOINED. Any
 * number may be under way, of one group too: what refuses one says nothing of the others. */
uint64_t weir_session_join(struct weir_session *self, const char *group, const char *const *topics,
                           uint32_t topic_count, const char *from, bool hold);
/* Whether the serial is one of a JOIN: what refuses that voids no credit. */
bool weir_session_of_join(uint64_t serial);
/* ERROR that says that a group gets nothing here: there is none, or no room for one more. */
bool weir_session_about_group(const struct weir_control *error);
/* The cumulative credit of a group in this session. `used` is what DELIVERs have consumed. */
struct weir_credit {
    uint64_t limit_messages, limit_bytes;
    uint64_t used_messages, used_bytes;
    bool withdrawing; /* a lowered limit is not confirmed yet */
    /* What the server may still go by while it is not: the highest limit since it confirmed one. */
    uint64_t ceiling_messages, ceiling_bytes;
};
struct weir_credit weir_session_credit(const struct weir_session *self, const char *group);
/* Let the server send `messages` and `bytes` more than it has used: sets the limit to used + these,
 * and says CREDIT when that changes it; the first time always, so that the server knows who serves
 * the group. Lowering is answered by CREDITED. Nothing is granted before WELCOME. */
void weir_session_grant(struct weir_session *self, const char *group, uint64_t messages,
                        uint64_t bytes);
/* CREDIT for the group was said in this session, and the server has not voided it. */
bool weir_session_serves(const struct weir_session *self, const char *group);
/* Forget a group that is served no longer. False: not now, because this session's counts of it are
 * still needed. */
bool weir_session_forget(struct weir_session *self, const char *group);
/* What went wrong here so far: frames that did not parse, deliveries that lied about themselves or
 * went beyond the credit. */
uint64_t weir_session_errors(const struct weir_session *self);
/* Send any frame; dropped when the link is down (the next READY says what is held). */
void weir_session_send(struct weir_session *self, const struct weir_control *control);

#endif
