/* A circuit breaker for one worker: when nearly everything fails it is better to wait.
 *
 *            90 % of at least 20 outcomes within 10 s failed, or `unavailable`
 *   CLOSED ─────────────────────────────────────────────────────────────────────► OPEN
 *     ▲                                                                             │ interval over
 *     │ the probe succeeded                                                         ▼
 *     └───────────────────────────────────────────────────────────────────────── PROBING
 *                                    the probe failed: OPEN, with twice the interval
 */
#ifndef WEIR_CORE_BREAKER_H
#define WEIR_CORE_BREAKER_H

#include <contract/policy.h>
#include <stdbool.h>
#include <stdint.h>

enum weir_breaker_state { WEIR_BREAKER_CLOSED, WEIR_BREAKER_OPEN, WEIR_BREAKER_PROBING };

#define WEIR_BREAKER_SLOTS 10 /* of one second */

struct weir_breaker {
    enum weir_breaker_state state;
    int64_t slot_s; /* the second that the newest slot counts */
    uint32_t ok[WEIR_BREAKER_SLOTS];
    uint32_t failed[WEIR_BREAKER_SLOTS];
    int64_t interval_ms;
    int64_t probe_at_ns;
};

void weir_breaker_init(struct weir_breaker *self);
/* `count` messages ended so. RELEASE is no outcome. Returns whether the state changed. */
bool weir_breaker_note(struct weir_breaker *self, enum weir_outcome outcome, uint32_t count,
                       int64_t mono_ns);
/* May anything be sent: everything (CLOSED), one probe (OPEN and due), or nothing. */
bool weir_breaker_allows(const struct weir_breaker *self, int64_t mono_ns, bool *probe);
/* The probe is on its way. */
void weir_breaker_probe(struct weir_breaker *self);
/* The probe was lost or released without an outcome: probe again after the same interval. */
void weir_breaker_probe_lost(struct weir_breaker *self, int64_t mono_ns);

#endif
