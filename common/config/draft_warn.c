/* What starts, but is likely not what was meant. */
#include <base/topic.h>
#include <config/draft.h>
#include <config/endpoint_address.h>
#include <string.h>

static bool leads_to(const struct weir_node *node, const struct weir_node *ventilator, int depth)
{
    if (node == ventilator)
        return true;
    for (uint32_t i = 0; i < node->from_count && depth < (int)WEIR_NODES_MAX; i++) {
        if (leads_to(node->from[i], ventilator, depth + 1))
            return true;
    }
    return false;
}

static bool served(const struct weir_topology *topology, const struct weir_node *ventilator,
                   const char *group)
{
    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        if (node->role == WEIR_ROLE_WORKER && strcmp(node->group, group) == 0 &&
            leads_to(node, ventilator, 0))
            return true;
    }
    return false;
}

static void warn_group(struct weir_draft *draft, uint32_t index, uint32_t group)
{
    const struct weir_node *node = &draft->topology->nodes[index];
    const struct weir_group_policy *policy = &node->groups[group];

    if (!node->group_external[group] && !served(draft->topology, node, policy->name))
        weir_findings_warning(&draft->findings, draft->nodes[index].group_places[group],
                              "no worker serves group '%s': its messages pile up\nadd a worker, or "
                              "'external: true' when its workers are started elsewhere",
                              policy->name);
}

static void warn_ventilator(struct weir_draft *draft, uint32_t index)
{
    const struct weir_node *node = &draft->topology->nodes[index];

    for (uint32_t i = 0; i < node->group_count; i++)
        warn_group(draft, index, i);
    if (node->group_count == 0 && !node->dynamic_groups)
        weir_findings_warning(&draft->findings, draft->nodes[index].place,
                              "'%s' has no groups: what it accepts goes to nobody\nadd 'groups', "
                              "or 'dynamic-groups: true'",
                              node->name);
    if (node->group_count > 0 && node->dead_letters == NULL)
        weir_findings_warning(&draft->findings, draft->nodes[index].place,
                              "'%s' has no dead-letter collector: its dead letters stay in the "
                              "spool and take up its room\nadd a node with role: dlq, and "
                              "'dead-letters' here",
                              node->name);
    if (node->spool_bytes_max == 0)
        weir_findings_warning(&draft->findings, weir_draft_option_place(draft, index, "spool"),
                              "the spool of '%s' may fill the disk\nadd 'max', such as max: 4GiB",
                              node->name);
    if (node->fsync != WEIR_FSYNC_ALWAYS)
        weir_findings_warning(&draft->findings, weir_draft_option_place(draft, index, "spool"),
                              "the spool of '%s' answers before the disk has it: a power cut may "
                              "lose messages\n'fsync: always' is the default",
                              node->name);
}

static void warn_endpoint(struct weir_draft *draft, uint32_t index, const char *option,
                          const char *endpoint)
{
    if (endpoint != NULL && !weir_endpoint_local(endpoint))
        weir_findings_warning(&draft->findings, weir_draft_option_place(draft, index, option),
                              "%s: %s is open to the network, unencrypted and without a password\n"
                              "keep it inside a network you trust, or use 127.0.0.1 or ipc://",
                              option, endpoint);
}

/* Results that go back to where the work came from, under a topic of the same group. */
static void warn_circle(struct weir_draft *draft, uint32_t index)
{
    const struct weir_node *worker = &draft->topology->nodes[index];
    const struct weir_node *to = worker->to;

    if (to == NULL || to->role != WEIR_ROLE_VENTILATOR || !leads_to(worker, to, 0))
        return;
    for (uint32_t i = 0; i < to->group_count; i++) {
        const struct weir_group_policy *group = &to->groups[i];
        bool again = worker->result_topic == NULL;

        if (strcmp(group->name, worker->group) != 0)
            continue;
        for (uint32_t j = 0; j < group->topic_count && !again; j++)
            again = weir_topic_match(group->topics[j], worker->result_topic,
                                     strlen(worker->result_topic));
        if (again)
            weir_findings_warning(&draft->findings, weir_draft_option_place(draft, index, "to"),
                                  "every result of '%s' is new work for '%s' again: an endless "
                                  "loop\nset a 'result-topic' that group '%s' does not take",
                                  worker->name, worker->name, group->name);
    }
}

void weir_draft_warn(struct weir_draft *draft)
{
    const struct weir_topology *topology = draft->topology;

    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        if (node->role == WEIR_ROLE_VENTILATOR)
            warn_ventilator(draft, i);
        if (node->role == WEIR_ROLE_WORKER)
            warn_circle(draft, i);
        warn_endpoint(draft, i, "submit", node->submit);
        warn_endpoint(draft, i, "dispatch", node->dispatch);
    }
}
