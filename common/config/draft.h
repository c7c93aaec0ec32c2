/* A topology while it is made from its file: the values as far as they could be read, beside the
 * YAML nodes they came from, so that later checks can point at the very word that is wrong. */
#ifndef WEIR_CONFIG_DRAFT_H
#define WEIR_CONFIG_DRAFT_H

#include <config/config.h>
#include <config/findings.h>
#include <config/options.h>
#include <libfyaml.h>

struct weir_draft_group {
    struct weir_group_policy policy; /* first: the table's fields are offsets in it */
    bool external;
};

struct weir_draft_node {
    struct weir_place place;         /* of its name */
    struct fy_node *map;             /* NULL: not even a map */
    bool role_known;                 /* without one nothing else was read */
    struct weir_place *group_places; /* one a group */
    struct fy_node *groups_map;      /* NULL: none */
};

struct weir_draft {
    struct weir_findings findings;
    struct weir_topology *topology;
    struct weir_draft_node *nodes; /* beside topology->nodes */
    struct fy_node *root;
    uint32_t group_total;
};

/* Steps of loading, in this order; each adds to the findings and goes on as far as it can. */
void weir_draft_read(struct weir_draft *draft);
void weir_draft_wire(struct weir_draft *draft);
void weir_draft_check(struct weir_draft *draft);
void weir_draft_check_programs(struct weir_draft *draft);
/* Only for a draft without errors. */
void weir_draft_warn(struct weir_draft *draft);

/* Where a scalar stands; for anything else `otherwise`. */
struct weir_place weir_draft_place(struct fy_node *node, struct weir_place otherwise);
/* The value of a key in a map (aliases followed), or NULL; *place (may be NULL) is that of the
 * value when it is a scalar, else of its key. */
struct fy_node *weir_draft_get(struct fy_node *map, const char *key, struct weir_place *place);
/* Where an option of a node stands, or the node's name when it is not there. */
struct weir_place weir_draft_option_place(const struct weir_draft *draft, uint32_t node,
                                          const char *option);
/* The text of a scalar; NULL when it is none, or null. The caller frees it. */
char *weir_draft_text(struct fy_node *node);

/* Item `i` of a list; a scalar counts as a list of one. NULL past the end. `*state` starts NULL. */
struct fy_node *weir_draft_next(struct fy_node *list, void **state);

#endif
