#include "choose_ventilator.h"

#include <base/topic.h>
#include <stdio.h>
#include <string.h>

static bool declares_topic(const struct weir_node *ventilator, const char *topic)
{
    for (uint32_t i = 0; i < ventilator->group_count; i++) {
        const struct weir_group_policy *group = &ventilator->groups[i];

        for (uint32_t j = 0; j < group->topic_count; j++) {
            if (weir_topic_match(group->topics[j], topic, strlen(topic)))
                return true;
        }
    }
    return false;
}

bool weir_ventilator_takes(const struct weir_node *ventilator, const char *topic)
{
    return ventilator->dynamic_groups || declares_topic(ventilator, topic);
}

static bool gets_results(const struct weir_topology *topology, const struct weir_node *ventilator)
{
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (topology->nodes[i].to == ventilator)
            return true;
    }
    return false;
}

enum criterion { ANY, HAS_GROUP, FROM_OUTSIDE, CRITERION_COUNT };

static bool meets(enum criterion criterion, const struct weir_topology *topology,
                  const struct weir_node *node, const char *topic)
{
    if (node->role != WEIR_ROLE_VENTILATOR)
        return false;
    if (criterion == HAS_GROUP)
        return declares_topic(node, topic);
    return criterion == ANY || !gets_results(topology, node);
}

int weir_choose_ventilator(const struct weir_topology *topology, const char *topic,
                           const struct weir_node **ventilator, struct weir_error *error)
{
    char names[256] = "";
    size_t used = 0;

    for (enum criterion criterion = ANY; criterion < CRITERION_COUNT; criterion++) {
        uint32_t count = 0;

        for (uint32_t i = 0; i < topology->node_count; i++) {
            const struct weir_node *node = &topology->nodes[i];

            if (!meets(criterion, topology, node, topic))
                continue;
            *ventilator = node;
            count++;
            if (criterion == ANY && used < sizeof names)
                used += (size_t)snprintf(names + used, sizeof names - used, "%s%s",
                                         used ? ", " : "", node->name);
        }
        if (count == 1)
            return 0;
    }
    if (used == 0)
        return weir_error_set(error, WEIR_ENOTFOUND, "'%s' has no ventilator to send to",
                              topology->name);
    return weir_error_set(
        error, WEIR_EINVAL,
        "'%s' has several ventilators, and nothing says which of them takes topic "
        "'%s'; name one with --node: %s",
        topology->name, topic, names);
}
