/* The one table of what may stand in a topology file. The reader, its errors and the manual
 * (docs/topology.md) all come from it. A new option is one line here, and a field in config.h or
 * contract/policy.h. */
#ifndef WEIR_CONFIG_OPTIONS_H
#define WEIR_CONFIG_OPTIONS_H

#include <base/error.h>
#include <config/config.h>

/* The type of an option's value, and of the field it fills. */
enum weir_option_type {
    WEIR_OPTION_NAME,        /* char * */
    WEIR_OPTION_TOPIC,       /* char * */
    WEIR_OPTION_ENDPOINT,    /* char * */
    WEIR_OPTION_PATH,        /* char * */
    WEIR_OPTION_COUNT,       /* uint32_t */
    WEIR_OPTION_COUNT64,     /* uint64_t */
    WEIR_OPTION_TAG,         /* uint16_t */
    WEIR_OPTION_DURATION,    /* int64_t, ms */
    WEIR_OPTION_SIZE,        /* uint64_t, bytes */
    WEIR_OPTION_RATE,        /* uint32_t, thousandths of a message a second */
    WEIR_OPTION_FACTOR,      /* uint32_t, thousandths */
    WEIR_OPTION_BOOL,        /* bool */
    WEIR_OPTION_CHOICE,      /* an enum: its value is the index in `choices` */
    WEIR_OPTION_PATTERNS,    /* topics of a group policy */
    WEIR_OPTION_COMMAND,     /* char **, NULL-ended */
    WEIR_OPTION_ENVIRONMENT, /* char **, NULL-ended, "NAME=value" */
    WEIR_OPTION_NODE,        /* a wire: resolved when all nodes are known */
    WEIR_OPTION_NODES,       /* the same, several */
    WEIR_OPTION_SECTION,     /* a map of further options, of the same object */
    WEIR_OPTION_GROUPS,      /* a map from names to group sections */
    WEIR_OPTION_NODE_MAP,    /* a map from names to node sections */
};

#define WEIR_NO_FIELD SIZE_MAX

struct weir_option {
    const char *name;
    enum weir_option_type type;
    uint32_t roles;             /* 1 << enum weir_role_kind: whose option it is; 0: not a node's */
    bool required;              /* an error when it is missing */
    size_t field;               /* offset in the object that the section fills; or WEIR_NO_FIELD */
    const char *fallback;       /* default, as it would be written; NULL: none */
    const char *zero_word;      /* a word that stands for 0; NULL: none */
    uint64_t min, max;          /* numbers: the range, in the field's own unit */
    const char *const *choices; /* CHOICE: NULL-ended */
    const struct weir_section *section;
    uint32_t wire_roles; /* NODE, NODES: what may be wired to */
    const char *text;    /* for the manual; starts in lower case, no full stop at the end */
};

struct weir_section {
    const char *title; /* for the manual and for errors: "a node", "a group" */
    const char *text;
    const struct weir_option *options; /* ends with a NULL name */
};

extern const struct weir_section weir_section_topology;
extern const struct weir_section weir_section_node;
extern const struct weir_section weir_section_spool;
extern const struct weir_section weir_section_idempotency;
extern const struct weir_section weir_section_group;
extern const struct weir_section weir_section_backoff;
extern const struct weir_section weir_section_write;

/* Whether a word can name a node, a group, a topology: names become files, too, so no dot first. */
bool weir_option_name_valid(const char *name);

/* Set a scalar option's field from its text: check syntax and range. WEIR_EINVAL says what was
 * expected. A text that the field held is freed. */
int weir_option_set(const struct weir_option *option, const char *text, void *object,
                    struct weir_error *error);
/* Set all fields of a section, and of those below it, that have a default and apply to `role_bit`
 * (0: no node's section). */
void weir_section_set_defaults(const struct weir_section *section, uint32_t role_bit, void *object);

/* What may be written for a value, for the manual and for errors: "a duration, 1ms … 30d". */
void weir_option_describe(const struct weir_option *option, char *text, size_t bytes);

#endif
