/* Reading from libfyaml's tree. Aliases are followed one at a time, when they are met: the walk
 * follows the option table and not the file, so neither depth nor size can be multiplied by them.
 */
#include <base/alloc.h>
#include <config/draft.h>
#include <string.h>

static struct fy_node *follow(struct fy_node *node)
{
    for (int hops = 0; node != NULL && fy_node_is_alias(node); hops++) {
        if (hops == 8)
            return NULL;
        node = fy_node_resolve_alias(node);
    }
    return node;
}

struct weir_place weir_draft_place(struct fy_node *node, struct weir_place otherwise)
{
    struct fy_token *token = NULL;

    if (node != NULL && (fy_node_is_scalar(node) || fy_node_is_alias(node)))
        token = fy_node_get_scalar_token(node);
    if (token == NULL)
        return otherwise;
    const struct fy_mark *start = fy_token_start_mark(token), *end = fy_token_end_mark(token);

    if (start == NULL)
        return otherwise;
    struct weir_place place = {
        .line = (uint32_t)start->line + 1, .column = (uint32_t)start->column + 1, .width = 1};

    if (end != NULL && end->line == start->line && end->column > start->column)
        place.width = (uint32_t)(end->column - start->column);
    return place;
}

struct fy_node *weir_draft_get(struct fy_node *map, const char *key, struct weir_place *place)
{
    void *state = NULL;
    struct fy_node_pair *pair;

    if (map == NULL || !fy_node_is_mapping(map))
        return NULL;
    while ((pair = fy_node_mapping_iterate(map, &state)) != NULL) {
        struct fy_node *name = fy_node_pair_key(pair);
        size_t bytes;
        const char *text;

        if (name == NULL || !fy_node_is_scalar(name) || fy_node_is_alias(name))
            continue;
        text = fy_node_get_scalar(name, &bytes);
        if (text == NULL || bytes != strlen(key) || memcmp(text, key, bytes) != 0)
            continue;
        struct fy_node *value = fy_node_pair_value(pair);

        if (place != NULL)
            *place = weir_draft_place(value, weir_draft_place(name, *place));
        return follow(value);
    }
    return NULL;
}

struct weir_place weir_draft_option_place(const struct weir_draft *draft, uint32_t node,
                                          const char *option)
{
    struct weir_place place = draft->nodes[node].place;

    weir_draft_get(draft->nodes[node].map, option, &place);
    return place;
}

char *weir_draft_text(struct fy_node *node)
{
    size_t bytes;
    const char *text;

    node = follow(node);
    if (node == NULL || !fy_node_is_scalar(node))
        return NULL;
    text = fy_node_get_scalar(node, &bytes);
    if (text == NULL || memchr(text, '\0', bytes) != NULL)
        return NULL;
    if (fy_node_get_style(node) == FYNS_PLAIN && (bytes == 0 || (bytes == 1 && text[0] == '~') ||
                                                  (bytes == 4 && memcmp(text, "null", 4) == 0)))
        return NULL;
    return weir_strndup(text, bytes);
}

struct fy_node *weir_draft_next(struct fy_node *list, void **state)
{
    if (list == NULL || fy_node_is_mapping(list))
        return NULL;
    if (fy_node_is_sequence(list))
        return fy_node_sequence_iterate(list, state);
    if (*state != NULL)
        return NULL;
    *state = list;
    return list;
}
