/* The tables of fields and verbs, as the .def files have them. */
#ifndef WEIR_WIRE_CONTROL_TABLE_H
#define WEIR_WIRE_CONTROL_TABLE_H

#include <stddef.h>
#include <wire/control.h>

enum weir_field_type {
#define T(type, ...) WEIR_TYPE_##type,
#include <wire/control_types.def>
#undef T
    WEIR_TYPES_END,
};

struct weir_type_info {
    const char *type; /* on the wire */
    const char *range;
};

struct weir_field_info {
    const char *key;
    uint32_t key_bytes;
    enum weir_field_type type;
    size_t offset; /* of the member in struct weir_control; arrays: of the pointer */
    const char *text;
};

struct weir_verb_info {
    const char *name;
    int frames; /* that follow; -1: three for each slice */
    uint64_t required;
    uint64_t optional;
};

extern const struct weir_type_info weir_type_infos[WEIR_TYPES_END];
extern const struct weir_field_info weir_field_infos[WEIR_FIELDS_END];
extern const struct weir_verb_info weir_verb_infos[WEIR_VERB_COUNT]; /* [0] is empty */

/* WEIR_VERB_COUNT, WEIR_FIELDS_END: there is none of this name. */
enum weir_verb weir_verb_find(const char *name, uint32_t bytes);
enum weir_field weir_field_find(const char *key, uint32_t bytes);

#endif
