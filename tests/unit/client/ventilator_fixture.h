/* A ventilator in this process, on a thread and ports of its own: the real machine, the real
 * reactor and a real spool in a temporary directory. */
#ifndef WEIR_VENTILATOR_FIXTURE_H
#define WEIR_VENTILATOR_FIXTURE_H

#include <contract/policy.h>

struct ventilator;

struct ventilator *ventilator_new(const struct weir_group_policy *groups, uint32_t group_count,
                                  bool dynamic_groups);
void ventilator_destroy(struct ventilator **self);
const char *ventilator_submit(const struct ventilator *self);
const char *ventilator_dispatch(const struct ventilator *self);

#endif
