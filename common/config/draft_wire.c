/* Wires: from names to nodes, of the roles that fit; and what follows from who is wired to whom. */
#include <base/alloc.h>
#include <config/draft.h>
#include <config/suggest.h>
#include <stdlib.h>
#include <string.h>

static const struct weir_option *node_option(const char *name)
{
    const struct weir_option *option = weir_section_node.options;

    while (strcmp(option->name, name) != 0)
        option++;
    return option;
}

static void list_roles(uint32_t roles, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (int role = 0; role < WEIR_ROLE_COUNT && used < bytes; role++) {
        if ((roles & (1u << role)) != 0)
            used += (size_t)snprintf(text + used, bytes - used, "%sa %s", used ? " or " : "",
                                     weir_role_name(role));
    }
}

static struct weir_node *find_node(struct weir_topology *topology, const char *name)
{
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (strcmp(topology->nodes[i].name, name) == 0)
            return &topology->nodes[i];
    }
    return NULL;
}

static void report_missing(struct weir_draft *draft, const char *name, const char *option,
                           uint32_t roles, struct weir_place place)
{
    const struct weir_topology *topology = draft->topology;
    struct weir_suggestion near = {.word = name};
    char expected[128];

    list_roles(roles, expected, sizeof expected);
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (draft->nodes[i].role_known && (roles & (1u << topology->nodes[i].role)) != 0)
            weir_suggestion_offer(&near, topology->nodes[i].name);
    }
    if (near.best != NULL)
        weir_findings_error(&draft->findings, place,
                            "%s: there is no node '%.80s'\ndid you mean '%s'?", option, name,
                            near.best);
    else
        weir_findings_error(&draft->findings, place,
                            "%s: there is no node '%.80s'\nexpected the name of %s", option, name,
                            expected);
}

/* The node that one word of a wire names; NULL when it was reported. */
static struct weir_node *wire_end(struct weir_draft *draft, const struct weir_option *option,
                                  struct fy_node *word, struct weir_place place)
{
    char *name = weir_draft_text(word);
    char expected[128];
    struct weir_node *node = NULL;

    list_roles(option->wire_roles, expected, sizeof expected);
    if (name == NULL) {
        weir_findings_error(&draft->findings, place, "%s is not a node's name\nexpected %s",
                            option->name, expected);
        return NULL;
    }
    node = find_node(draft->topology, name);
    if (node == NULL) {
        report_missing(draft, name, option->name, option->wire_roles, place);
    } else if (!draft->nodes[node - draft->topology->nodes].role_known) {
        node = NULL; /* has its error already */
    } else if ((option->wire_roles & (1u << node->role)) == 0) {
        weir_findings_error(&draft->findings, place, "%s: '%s' is a %s\nexpected %s", option->name,
                            name, weir_role_name(node->role), expected);
        node = NULL;
    }
    free(name);
    return node;
}

/* Returns whether the wire is there and whole. */
static bool wire_from(struct weir_draft *draft, uint32_t index)
{
    const struct weir_option *option = node_option("from");
    struct weir_node *node = &draft->topology->nodes[index];
    struct weir_place place = draft->nodes[index].place, at;
    struct fy_node *list = weir_draft_get(draft->nodes[index].map, "from", &place), *word;
    void *state = NULL;
    bool whole = true;

    if (list == NULL)
        return false;
    while ((word = weir_draft_next(list, &state)) != NULL) {
        at = weir_draft_place(word, place);
        struct weir_node *end = wire_end(draft, option, word, at);

        for (uint32_t i = 0; end != NULL && i < node->from_count; i++) {
            if (node->from[i] == end) {
                weir_findings_error(&draft->findings, at, "from: '%s' is there twice\nkeep one",
                                    end->name);
                end = NULL;
            }
        }
        whole = whole && end != NULL;
        if (end == NULL)
            continue;
        if (end == node) {
            weir_findings_error(&draft->findings, at,
                                "from: '%s' would fetch work from itself\nexpected another node",
                                node->name);
            whole = false;
            continue;
        }
        node->from = weir_realloc(node->from, node->from_count + 1, sizeof(struct weir_node *));
        node->from[node->from_count++] = end;
    }
    if (whole && node->from_count == 0) {
        weir_findings_error(&draft->findings, place,
                            "from of '%s' is empty\nexpected the names of ventilators or routers",
                            node->name);
        return false;
    }
    return whole;
}

static struct weir_node *wire_one(struct weir_draft *draft, uint32_t index, const char *name)
{
    struct weir_place place = draft->nodes[index].place;
    struct fy_node *word = weir_draft_get(draft->nodes[index].map, name, &place);

    return word == NULL ? NULL : wire_end(draft, node_option(name), word, place);
}

/* Every node that work comes through on its way to one. */
struct reach {
    struct weir_draft *draft;
    bool *seen;    /* one a node: reached */
    bool *on_path; /* one a node: on the way from the start to here */
};

/* False when a router is its own upstream. */
static bool reach(struct reach *walk, const struct weir_node *node)
{
    uint32_t index = (uint32_t)(node - walk->draft->topology->nodes);
    bool straight = true;

    if (walk->on_path[index])
        return false;
    if (walk->seen[index])
        return true;
    walk->seen[index] = walk->on_path[index] = true;
    for (uint32_t i = 0; i < node->from_count && straight; i++)
        straight = reach(walk, node->from[i]);
    walk->on_path[index] = false;
    return straight;
}

static bool declares(const struct weir_node *node, const char *group)
{
    for (uint32_t i = 0; i < node->group_count; i++) {
        if (strcmp(node->groups[i].name, group) == 0)
            return true;
    }
    return false;
}

static void check_worker_group(struct weir_draft *draft, uint32_t index, const bool *seen)
{
    const struct weir_topology *topology = draft->topology;
    const struct weir_node *worker = &topology->nodes[index];
    struct weir_suggestion near = {.word = worker->group};
    struct weir_place place = weir_draft_option_place(draft, index, "group");
    const struct weir_node *elsewhere = NULL;

    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        if (seen[i] && declares(node, worker->group))
            return;
        if (declares(node, worker->group))
            elsewhere = node;
        for (uint32_t j = 0; seen[i] && j < node->group_count; j++)
            weir_suggestion_offer(&near, node->groups[j].name);
    }
    if (elsewhere != NULL)
        weir_findings_error(&draft->findings, place,
                            "group '%s' is declared by '%s', which this worker does not reach\n"
                            "expected 'from' to lead there",
                            worker->group, elsewhere->name);
    else if (near.best != NULL)
        weir_findings_error(&draft->findings, place,
                            "no ventilator that this worker reaches has a group '%s'\ndid you "
                            "mean '%s'?",
                            worker->group, near.best);
    else
        weir_findings_error(&draft->findings, place,
                            "no ventilator that this worker reaches has a group '%s'\nexpected it "
                            "under 'groups' of the ventilator",
                            worker->group);
}

/* `whole` says of each node whether its own wires are. A group is only missed when no broken wire
 * on the way could hide it. */
static void check_reach(struct weir_draft *draft, uint32_t index, const bool *whole)
{
    struct weir_topology *topology = draft->topology;
    struct weir_node *node = &topology->nodes[index];
    bool *seen = weir_zalloc(2 * (size_t)topology->node_count, sizeof *seen);
    struct reach state = {draft, seen, seen + topology->node_count};
    bool straight = reach(&state, node);

    if (!straight && node->role == WEIR_ROLE_ROUTER)
        weir_findings_error(&draft->findings, weir_draft_option_place(draft, index, "from"),
                            "the routers above '%s' run in a circle\nexpected every way up to end "
                            "at a ventilator",
                            node->name);
    bool known = straight;

    for (uint32_t i = 0; i < topology->node_count; i++)
        known = known && (whole[i] || !seen[i]);
    if (known && node->role == WEIR_ROLE_WORKER && node->group != NULL)
        check_worker_group(draft, index, seen);
    free(seen);
}

void weir_draft_wire(struct weir_draft *draft)
{
    struct weir_topology *topology = draft->topology;
    bool *whole = weir_zalloc(topology->node_count + 1u, sizeof *whole);

    for (uint32_t i = 0; i < topology->node_count; i++) {
        struct weir_node *node = &topology->nodes[i];

        if (!draft->nodes[i].role_known)
            continue;
        if (node->role == WEIR_ROLE_VENTILATOR)
            node->dead_letters = wire_one(draft, i, "dead-letters");
        if (node->role == WEIR_ROLE_WORKER)
            node->to = wire_one(draft, i, "to");
        bool fetches = node->role == WEIR_ROLE_ROUTER || node->role == WEIR_ROLE_WORKER;

        whole[i] = !fetches || wire_from(draft, i);
    }
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (draft->nodes[i].role_known)
            check_reach(draft, i, whole);
    }
    free(whole);
}
