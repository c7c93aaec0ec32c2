/* From the YAML tree to values, led by the option table. */
#include <base/alloc.h>
#include <base/topic.h>
#include <config/draft.h>
#include <config/suggest.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What is being read: the section of `map`, into `object`. */
struct reading {
    struct weir_draft *draft;
    const struct weir_section *section;
    uint32_t role_bit; /* 0: not a node's section, or no known role */
    void *object;
    const char *who;         /* for errors: "node 'intake' (a ventilator)" */
    struct weir_place place; /* of the name or key that the map belongs to */
};

static void read_section(const struct reading *reading, struct fy_node *map);

static const struct weir_option *find_option(const struct weir_section *section, const char *name)
{
    for (const struct weir_option *option = section->options; option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0)
            return option;
    }
    return NULL;
}

static bool applies(const struct weir_option *option, uint32_t role_bit)
{
    return option->roles == 0 || (option->roles & role_bit) != 0;
}

static void report_unknown(const struct reading *reading, const char *key, struct weir_place place)
{
    struct weir_suggestion near = {.word = key};
    char expected[1024] = "";
    size_t used = 0;

    for (const struct weir_option *option = reading->section->options; option->name != NULL;
         option++) {
        if (!applies(option, reading->role_bit))
            continue;
        weir_suggestion_offer(&near, option->name);
        if (used < sizeof expected)
            used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s",
                                     used ? ", " : "", option->name);
    }
    const struct weir_option *other = find_option(reading->section, key);

    if (other != NULL)
        weir_findings_error(&reading->draft->findings, place,
                            "'%s' is not an option of %s\nexpected one of: %s", key, reading->who,
                            expected);
    else if (near.best != NULL)
        weir_findings_error(&reading->draft->findings, place,
                            "unknown option '%.80s' of %s\ndid you mean '%s'?", key, reading->who,
                            near.best);
    else
        weir_findings_error(&reading->draft->findings, place,
                            "unknown option '%.80s' of %s\nexpected one of: %s", key, reading->who,
                            expected);
}

/* Whether the pair is the first in its map with this key. */
static bool first_of_key(struct fy_node *map, const char *key, const struct fy_node_pair *pair)
{
    void *state = NULL;
    struct fy_node_pair *other;

    while ((other = fy_node_mapping_iterate(map, &state)) != NULL && other != pair) {
        char *text = weir_draft_text(fy_node_pair_key(other));
        bool same = text != NULL && strcmp(text, key) == 0;

        free(text);
        if (same)
            return false;
    }
    return true;
}

/* The next key of a map that is a text and new; the others are reported. NULL at the end. */
static char *next_key(const struct reading *reading, struct fy_node *map, void **state,
                      struct weir_place *place, struct fy_node **value)
{
    struct fy_node_pair *pair;

    while ((pair = fy_node_mapping_iterate(map, state)) != NULL) {
        struct fy_node *name = fy_node_pair_key(pair);
        char *key = name != NULL && fy_node_is_alias(name) ? NULL : weir_draft_text(name);

        *place = weir_draft_place(name, reading->place);
        *value = fy_node_pair_value(pair);
        if (key == NULL)
            weir_findings_error(&reading->draft->findings, *place,
                                "a key of %s is not a word\nexpected 'name: value'", reading->who);
        else if (!first_of_key(map, key, pair))
            weir_findings_error(&reading->draft->findings, *place,
                                "'%.80s' is there twice in %s\nkeep one of them", key,
                                reading->who);
        else
            return key;
        free(key);
    }
    return NULL;
}

static bool expect_map(const struct reading *reading, const char *what, struct fy_node *node,
                       struct weir_place place)
{
    if (node != NULL && fy_node_is_mapping(node))
        return true;
    weir_findings_error(&reading->draft->findings, place,
                        "%s is not a map\nexpected 'option: value' lines below it, or { option: "
                        "value, … }",
                        what);
    return false;
}

static void read_scalar(const struct reading *reading, const struct weir_option *option,
                        struct fy_node *value, struct weir_place place)
{
    struct weir_error error;
    char *text = weir_draft_text(value);

    if (text == NULL) {
        char expected[160];

        weir_option_describe(option, expected, sizeof expected);
        weir_findings_error(&reading->draft->findings, place,
                            "'%s' of %s has no plain value\nexpected %s", option->name,
                            reading->who, expected);
    } else if (weir_option_set(option, text, reading->object, &error) != 0) {
        weir_findings_error(&reading->draft->findings, place, "%s: %s", option->name, error.text);
    }
    free(text);
}

static void read_patterns(const struct reading *reading, struct fy_node *value,
                          struct weir_place place)
{
    struct weir_group_policy *policy = reading->object;
    struct weir_findings *findings = &reading->draft->findings;
    void *state = NULL;
    struct fy_node *item;
    uint32_t seen = 0;

    while ((item = weir_draft_next(value, &state)) != NULL) {
        struct weir_place at = weir_draft_place(item, place);
        char *text = weir_draft_text(item);

        seen++;
        if (text == NULL || !weir_topic_pattern_valid(text, strlen(text)))
            weir_findings_error(findings, at,
                                "'%.80s' is not a topic pattern\nexpected words of letters, "
                                "digits, '_', '-' joined by dots, where a word may be '*' and the "
                                "last one '>'",
                                text ? text : "");
        else if (seen == WEIR_TOPIC_PATTERNS_MAX + 1)
            weir_findings_error(findings, at, "too many topics\nexpected at most %u of one group",
                                WEIR_TOPIC_PATTERNS_MAX);
        else if (seen <= WEIR_TOPIC_PATTERNS_MAX)
            snprintf(policy->topics[policy->topic_count++], sizeof policy->topics[0], "%s", text);
        free(text);
    }
    if (seen == 0)
        weir_findings_error(findings, place,
                            "topics of %s is empty\nexpected a list of topics or patterns, such "
                            "as [user.signed_up]",
                            reading->who);
}

static void read_command(const struct reading *reading, const struct weir_option *option,
                         struct fy_node *value, struct weir_place place)
{
    struct weir_findings *findings = &reading->draft->findings;
    char **words = weir_zalloc(WEIR_WORDS_MAX + 1, sizeof *words);
    char ***field = (char ***)(void *)((char *)reading->object + option->field);
    uint32_t count = 0;
    void *state = NULL;
    struct fy_node *item;

    *field = words; /* released with the topology, whatever comes */
    while ((item = weir_draft_next(value, &state)) != NULL) {
        struct weir_place at = weir_draft_place(item, place);

        if (count == WEIR_WORDS_MAX) {
            weir_findings_error(findings, at, "too many words in %s\nexpected at most %u",
                                option->name, WEIR_WORDS_MAX);
            return;
        }
        words[count] = weir_draft_text(item);
        if (words[count] == NULL) {
            weir_findings_error(findings, at,
                                "%s: a word of the command is not plain text\nexpected [program, "
                                "argument, …]; put quotes around what YAML reads otherwise",
                                option->name);
            return;
        }
        count++;
    }
    if (count == 0 || words[0][0] == '\0')
        weir_findings_error(findings, place,
                            "%s names no program\nexpected [program, argument, …], such as "
                            "[./handler.sh]",
                            option->name);
}

static bool variable_valid(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && *at != '_')
            return false;
    }
    return true;
}

static bool variable_reserved(const char *name)
{
    static const char *const names[] = {"WEIR_ID",  "WEIR_TOPIC",   "WEIR_GROUP",
                                        "WEIR_KEY", "WEIR_ATTEMPT", "TRACEPARENT"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return strncmp(name, "WEIR_HEADER_", 12) == 0;
}

static void read_environment(const struct reading *reading, const struct weir_option *option,
                             struct fy_node *map, struct weir_place place)
{
    struct weir_findings *findings = &reading->draft->findings;
    char **variables = weir_zalloc(WEIR_WORDS_MAX + 1, sizeof *variables);
    char ***field = (char ***)(void *)((char *)reading->object + option->field);
    struct weir_place at;
    struct fy_node *value;
    uint32_t count = 0;
    void *state = NULL;
    char *name;

    free(*field);
    *field = variables;
    if (!expect_map(reading, option->name, map, place))
        return;
    while ((name = next_key(reading, map, &state, &at, &value)) != NULL) {
        char *text = weir_draft_text(value);

        if (!variable_valid(name))
            weir_findings_error(findings, at,
                                "'%.80s' is not a variable's name\nexpected letters, digits and "
                                "'_', not starting with a digit",
                                name);
        else if (variable_reserved(name))
            weir_findings_error(
                findings, at, "'%.80s' is set for each message\nexpected a name of your own", name);
        else if (text == NULL)
            weir_findings_error(findings, weir_draft_place(value, at),
                                "'%.80s' has no plain value\nexpected a text; \"\" for an empty "
                                "one",
                                name);
        else if (count == WEIR_WORDS_MAX)
            weir_findings_error(findings, at, "too many variables\nexpected at most %u",
                                WEIR_WORDS_MAX);
        else
            variables[count++] = weir_asprintf("%s=%s", name, text);
        free(text);
        free(name);
    }
}

static void read_one_group(const struct reading *reading, struct weir_draft_node *beside,
                           const char *name, struct fy_node *value, struct weir_place place)
{
    struct weir_node *node = reading->object;
    struct weir_draft_group *group = weir_zalloc(1, sizeof *group);
    char who[WEIR_NAME_BYTES_MAX + 32];
    struct reading inner = {reading->draft, &weir_section_group, 0, group, who, place};

    snprintf(who, sizeof who, "group '%s'", name);
    snprintf(group->policy.name, sizeof group->policy.name, "%s", name);
    weir_section_set_defaults(&weir_section_group, 0, group);
    if (expect_map(reading, who, value, place)) {
        char *external = weir_draft_text(weir_draft_get(value, "external", NULL));

        read_section(&inner, value);
        group->external = external != NULL && strcmp(external, "true") == 0;
        free(external);
    }
    uint32_t count = node->group_count + 1;

    node->groups = weir_realloc(node->groups, count, sizeof *node->groups);
    node->group_external = weir_realloc(node->group_external, count, sizeof *node->group_external);
    beside->group_places = weir_realloc(beside->group_places, count, sizeof *beside->group_places);
    node->groups[count - 1] = group->policy;
    node->group_external[count - 1] = group->external;
    beside->group_places[count - 1] = place;
    node->group_count = count;
    free(group);
}

static void read_groups(const struct reading *reading, struct fy_node *map, struct weir_place place)
{
    struct weir_draft *draft = reading->draft;
    struct weir_node *node = reading->object;
    struct weir_draft_node *beside = &draft->nodes[node - draft->topology->nodes];
    struct weir_place at;
    struct fy_node *value;
    void *state = NULL;
    char *name;

    if (!expect_map(reading, "groups", map, place))
        return;
    beside->groups_map = map;
    while ((name = next_key(reading, map, &state, &at, &value)) != NULL) {
        if (!weir_option_name_valid(name))
            weir_findings_error(&draft->findings, at,
                                "'%.80s' cannot be a group's name\nexpected 1 to %u letters, "
                                "digits, '_', '-' or '.', not starting with a dot",
                                name, WEIR_NAME_BYTES_MAX);
        else if (++draft->group_total > WEIR_GROUPS_MAX) {
            if (draft->group_total == WEIR_GROUPS_MAX + 1)
                weir_findings_error(&draft->findings, at,
                                    "too many groups\nexpected at most %u in one file",
                                    WEIR_GROUPS_MAX);
        } else
            read_one_group(reading, beside, name, weir_draft_get(map, name, NULL), at);
        free(name);
    }
}

static void read_option(const struct reading *reading, const struct weir_option *option,
                        struct fy_node *value, struct weir_place key_place)
{
    struct weir_place place = weir_draft_place(value, key_place);

    switch (option->type) {
    case WEIR_OPTION_SECTION: {
        struct reading inner = *reading;
        char who[256];

        snprintf(who, sizeof who, "%s of %s", option->name, reading->who);
        inner.section = option->section;
        inner.role_bit = 0;
        inner.who = who;
        inner.place = key_place;
        if (expect_map(reading, option->name, value, place))
            read_section(&inner, value);
        break;
    }
    case WEIR_OPTION_GROUPS:
        read_groups(reading, value, place);
        break;
    case WEIR_OPTION_PATTERNS:
        read_patterns(reading, value, place);
        break;
    case WEIR_OPTION_COMMAND:
        read_command(reading, option, value, place);
        break;
    case WEIR_OPTION_ENVIRONMENT:
        read_environment(reading, option, value, place);
        break;
    case WEIR_OPTION_NODE:
    case WEIR_OPTION_NODES:
    case WEIR_OPTION_NODE_MAP:
        break; /* when all nodes are known */
    default:
        read_scalar(reading, option, value, place);
    }
}

static void read_section(const struct reading *reading, struct fy_node *map)
{
    struct fy_node *value;
    struct weir_place place;
    void *state = NULL;
    char *key;

    while ((key = next_key(reading, map, &state, &place, &value)) != NULL) {
        const struct weir_option *option = find_option(reading->section, key);

        if (option == NULL || !applies(option, reading->role_bit)) {
            report_unknown(reading, key, place);
        } else if (fy_node_is_alias(value) && weir_draft_get(map, key, NULL) == NULL) {
            weir_findings_error(&reading->draft->findings, weir_draft_place(value, place),
                                "this alias stands for nothing\nexpected the name of an anchor "
                                "(&name) above it");
        } else {
            /* weir_draft_get follows aliases; the place is that of the alias. */
            struct weir_place at = weir_draft_place(value, place);

            read_option(reading, option, weir_draft_get(map, key, NULL), at);
        }
        free(key);
    }
    for (const struct weir_option *option = reading->section->options; option->name != NULL;
         option++) {
        char expected[160];

        if (!option->required || !applies(option, reading->role_bit) ||
            weir_draft_get(map, option->name, NULL) != NULL)
            continue;
        weir_option_describe(option, expected, sizeof expected);
        weir_findings_error(&reading->draft->findings, reading->place,
                            "%s has no '%s'\nexpected %s: %s", reading->who, option->name,
                            option->text, expected);
    }
}

/* The role first: it says which options there are. */
static bool read_role(struct weir_draft *draft, struct weir_node *node, struct fy_node *map,
                      struct weir_place place)
{
    const struct weir_option *option = find_option(&weir_section_node, "role");
    struct weir_suggestion near = {0};
    struct fy_node *value = weir_draft_get(map, "role", &place);
    char *text = weir_draft_text(value);
    char expected[160];
    bool known = text != NULL && weir_option_set(option, text, node, NULL) == 0;

    weir_option_describe(option, expected, sizeof expected);
    if (text == NULL) {
        weir_findings_error(&draft->findings, place, "node '%s' has no role\nexpected role: %s",
                            node->name, expected);
    } else if (!known) {
        near.word = text;
        for (int i = 0; option->choices[i] != NULL; i++)
            weir_suggestion_offer(&near, option->choices[i]);
        weir_findings_error(&draft->findings, place, "'%.80s' is not a role\n%s%s%s", text,
                            near.best ? "did you mean '" : "expected ",
                            near.best ? near.best : expected, near.best ? "'?" : "");
    }
    free(text);
    return known;
}

static void read_node(struct weir_draft *draft, uint32_t index, struct fy_node *map)
{
    struct weir_node *node = &draft->topology->nodes[index];
    struct weir_draft_node *beside = &draft->nodes[index];
    char who[WEIR_NAME_BYTES_MAX + 64];
    struct reading reading = {draft, &weir_section_node, 0, node, who, beside->place};

    snprintf(who, sizeof who, "node '%s'", node->name);
    node->env = weir_zalloc(1, sizeof *node->env);
    node->count = 1;
    if (!expect_map(&reading, who, map, beside->place))
        return;
    beside->map = map;
    beside->role_known = read_role(draft, node, map, beside->place);
    if (!beside->role_known)
        return;
    snprintf(who, sizeof who, "node '%s' (%s)", node->name, weir_role_name(node->role));
    reading.role_bit = 1u << node->role;
    weir_section_set_defaults(&weir_section_node, reading.role_bit, node);
    read_section(&reading, map);
}

static void read_nodes(const struct reading *reading, struct fy_node *map, struct weir_place place)
{
    struct weir_draft *draft = reading->draft;
    struct weir_topology *topology = draft->topology;
    struct weir_place at;
    struct fy_node *value;
    void *state = NULL;
    char *name;

    if (!expect_map(reading, "nodes", map, place))
        return;
    topology->nodes = weir_zalloc(WEIR_NODES_MAX, sizeof *topology->nodes);
    draft->nodes = weir_zalloc(WEIR_NODES_MAX, sizeof *draft->nodes);
    while ((name = next_key(reading, map, &state, &at, &value)) != NULL) {
        if (!weir_option_name_valid(name)) {
            weir_findings_error(&draft->findings, at,
                                "'%.80s' cannot be a node's name\nexpected 1 to %u letters, "
                                "digits, '_', '-' or '.', not starting with a dot",
                                name, WEIR_NAME_BYTES_MAX);
            free(name);
            continue;
        }
        if (topology->node_count == WEIR_NODES_MAX) {
            weir_findings_error(&draft->findings, at, "too many nodes\nexpected at most %u",
                                WEIR_NODES_MAX);
            free(name);
            return;
        }
        uint32_t index = topology->node_count++;
        struct weir_node *node = &topology->nodes[index];

        node->name = name;
        node->line = at.line;
        node->column = at.column;
        draft->nodes[index].place = at;
        read_node(draft, index, weir_draft_get(map, name, NULL));
    }
    if (topology->node_count == 0)
        weir_findings_error(&draft->findings, place, "there are no nodes\nexpected at least one");
}

void weir_draft_read(struct weir_draft *draft)
{
    struct weir_place top = {.line = 1, .column = 1, .width = 1}, place = top;
    struct reading reading = {draft, &weir_section_topology, 0, draft->topology, "the file", top};

    if (!expect_map(&reading, "the file", draft->root, top))
        return;
    read_section(&reading, draft->root);
    struct fy_node *nodes = weir_draft_get(draft->root, "nodes", &place);

    if (nodes != NULL)
        read_nodes(&reading, nodes, place);
}
