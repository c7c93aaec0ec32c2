/* A topology as Graphviz. Names need no escaping: weir_name_valid allows nothing that would. */
#include <config/config.h>
#include <string.h>

static const char *const shapes[] = {
    [WEIR_ROLE_VENTILATOR] = "shape=cylinder, fillcolor=\"#cfe8ff\"",
    [WEIR_ROLE_ROUTER] = "shape=diamond, fillcolor=\"#eeeeee\"",
    [WEIR_ROLE_WORKER] = "shape=box, fillcolor=\"#fff3c4\"",
    [WEIR_ROLE_SINK] = "shape=note, fillcolor=\"#d8f5d0\"",
    [WEIR_ROLE_DLQ] = "shape=folder, fillcolor=\"#ffd9d9\"",
};

/* A handler's program may be any file name. */
static void write_quoted(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc((unsigned char)*text < 0x20 ? '?' : *text, out);
    }
}

static void write_node(const struct weir_node *node, FILE *out)
{
    fprintf(out, "  \"%s\" [%s, label=\"%s", node->name, shapes[node->role], node->name);
    if (node->count > 1)
        fprintf(out, " × %u", node->count);
    fprintf(out, "\\n%s", weir_role_name(node->role));
    char **command = node->run != NULL ? node->run : node->serve;

    if (command != NULL) {
        const char *slash = strrchr(command[0], '/');

        fputs("\\n", out);
        write_quoted(slash != NULL ? slash + 1 : command[0], out);
    }
    fputs("\"];\n", out);
}

static void write_wires(const struct weir_node *node, FILE *out)
{
    for (uint32_t i = 0; i < node->from_count; i++) {
        fprintf(out, "  \"%s\" -> \"%s\"", node->from[i]->name, node->name);
        if (node->group != NULL)
            fprintf(out, " [label=\"%s\"]", node->group);
        fputs(";\n", out);
    }
    if (node->to != NULL)
        fprintf(out, "  \"%s\" -> \"%s\" [label=\"results\"];\n", node->name, node->to->name);
    if (node->dead_letters != NULL)
        fprintf(out, "  \"%s\" -> \"%s\" [label=\"dead letters\", style=dashed];\n", node->name,
                node->dead_letters->name);
}

/* Whether anybody outside hands messages to this ventilator: no worker's results do. */
static bool fed_from_outside(const struct weir_topology *self, const struct weir_node *ventilator)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (self->nodes[i].to == ventilator)
            return false;
    }
    return true;
}

void weir_topology_graph(const struct weir_topology *self, FILE *out)
{
    fprintf(out,
            "digraph \"%s\" {\n"
            "  rankdir=LR;\n"
            "  node [style=filled, fontname=\"Helvetica\", fontsize=11];\n"
            "  edge [fontname=\"Helvetica\", fontsize=9];\n",
            self->name);
    for (uint32_t i = 0; i < self->node_count; i++)
        write_node(&self->nodes[i], out);
    for (uint32_t i = 0; i < self->node_count; i++) {
        const struct weir_node *node = &self->nodes[i];

        if (node->role == WEIR_ROLE_VENTILATOR && fed_from_outside(self, node))
            fprintf(out,
                    "  \"producers of %s\" [shape=plaintext, style=\"\", label=\"producers\"];\n"
                    "  \"producers of %s\" -> \"%s\";\n",
                    node->name, node->name, node->name);
        write_wires(node, out);
    }
    fputs("}\n", out);
}
