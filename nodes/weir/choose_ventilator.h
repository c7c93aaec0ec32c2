/* Which ventilator of a topology takes a message, when nobody says. */
#ifndef WEIR_CHOOSE_VENTILATOR_H
#define WEIR_CHOOSE_VENTILATOR_H

#include <base/error.h>
#include <config/config.h>

/* The only one; else the only one that has a group for the topic; else the only one among those
 * that no worker hands results to. WEIR_ENOTFOUND, WEIR_EINVAL (several: it names them). */
int weir_choose_ventilator(const struct weir_topology *topology, const char *topic,
                           const struct weir_node **ventilator, struct weir_error *error);
/* Whether any group of a ventilator, or one that may yet join, takes the topic. */
bool weir_ventilator_takes(const struct weir_node *ventilator, const char *topic);

#endif
