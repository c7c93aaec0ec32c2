/* What a group is and how its messages are treated. Filled by the topology file, kept in the
 * spool's state, followed by the ventilator. */
#ifndef WEIR_CONTRACT_POLICY_H
#define WEIR_CONTRACT_POLICY_H

#include <base/limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <weir/types.h> /* enum weir_outcome, as ACK carries it; enum weir_fsync */

enum weir_order { WEIR_ORDER_NONE, WEIR_ORDER_KEY };
enum weir_delivery_mode { WEIR_AT_LEAST_ONCE, WEIR_AT_MOST_ONCE };
enum weir_on_full { WEIR_ON_FULL_REFUSE, WEIR_ON_FULL_DEAD_LETTER, WEIR_ON_FULL_DROP };
enum weir_start { WEIR_START_NOW, WEIR_START_EARLIEST };

/* Why a message died. */
enum weir_reason {
    WEIR_REASON_NONE = 0,
    WEIR_REASON_ATTEMPTS = 1, /* used up */
    WEIR_REASON_REJECTED = 2,
    WEIR_REASON_EXPIRED = 3,
    WEIR_REASON_BACKLOG = 4, /* on-full: dead-letter */
};

struct weir_backoff {
    int64_t first_ms;
    uint32_t factor_permille; /* 2000: doubles */
    int64_t max_ms;
};

struct weir_group_policy {
    char name[WEIR_NAME_BYTES_MAX + 1];
    uint32_t topic_count;
    char topics[WEIR_TOPIC_PATTERNS_MAX][WEIR_TOPIC_BYTES_MAX + 1];
    enum weir_order order;
    enum weir_delivery_mode delivery;
    enum weir_start start; /* for a group seen the first time */
    uint32_t attempts;     /* 0: no end */
    struct weir_backoff backoff;
    int64_t timeout_ms; /* of one attempt; 0: none */
    int64_t lease_ms;
    uint32_t rate_permille; /* messages per 1000 s …; 0: unlimited. 200/s is 200000 */
    uint64_t max_backlog;   /* messages; 0: no bound */
    enum weir_on_full on_full;
    int64_t expire_idle_ms; /* dynamic groups: gone after this long without a worker; 0: never */
    bool dynamic;           /* joined at run time, not in the topology file */
};

/* Whether one of its patterns matches the topic. */
bool weir_group_policy_wants(const struct weir_group_policy *policy, const char *topic,
                             uint32_t bytes);

/* The defaults of every field, with an empty name and no topics. */
struct weir_group_policy weir_group_policy_default(void);

/* Names as the topology, `status` and the wire write them. Never NULL for a valid value. */
const char *weir_outcome_name(enum weir_outcome outcome);
const char *weir_reason_name(enum weir_reason reason);
const char *weir_fsync_name(enum weir_fsync mode);

#endif
