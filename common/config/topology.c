#include <base/alloc.h>
#include <config/config.h>
#include <stdlib.h>
#include <string.h>

static void destroy_words(char **words)
{
    for (char **word = words; word != NULL && *word != NULL; word++)
        free(*word);
    free(words);
}

static void fini_node(struct weir_node *node)
{
    free(node->name);
    free(node->submit);
    free(node->dispatch);
    free(node->from);
    free(node->spool_dir);
    free(node->groups);
    free(node->group_external);
    free(node->group);
    destroy_words(node->run);
    destroy_words(node->serve);
    destroy_words(node->env);
    free(node->result_topic);
    free(node->sink_path);
    free(node->ledger_path);
    free(node->store_path);
}

void weir_topology_destroy(struct weir_topology **self)
{
    struct weir_topology *topology = *self;

    if (topology == NULL)
        return;
    for (uint32_t i = 0; i < topology->node_count; i++)
        fini_node(&topology->nodes[i]);
    free(topology->nodes);
    free(topology->file);
    free(topology->directory);
    free(topology->name);
    free(topology->run_dir);
    free(topology);
    *self = NULL;
}

const struct weir_node *weir_topology_node(const struct weir_topology *self, const char *name)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (strcmp(self->nodes[i].name, name) == 0)
            return &self->nodes[i];
    }
    return NULL;
}

char *weir_node_admin_endpoint(const struct weir_topology *topology, const struct weir_node *node,
                               uint32_t instance)
{
    return weir_asprintf("ipc://%s/%s.%u.admin", topology->run_dir, node->name, instance);
}

const struct weir_group_policy *weir_topology_group(const struct weir_topology *self,
                                                    const char *group)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        const struct weir_node *node = &self->nodes[i];

        for (uint32_t j = 0; j < node->group_count; j++) {
            if (strcmp(node->groups[j].name, group) == 0)
                return &node->groups[j];
        }
    }
    return NULL;
}

const char *weir_role_name(enum weir_role_kind role)
{
    static const char *const names[] = {"ventilator", "router", "worker", "sink", "dlq"};

    return names[role];
}

const char *weir_role_program(enum weir_role_kind role)
{
    static const char *const programs[] = {"weir-ventilator", "weir-router", "weir-worker",
                                           "weir-sink", "weir-dlq"};

    return programs[role];
}
