#include <wire/control_table.h>

#include <stdlib.h>
#include <string.h>

_Static_assert(WEIR_FIELDS_END <= 64, "`has` holds a bit a field");

const struct weir_type_info weir_type_infos[WEIR_TYPES_END] = {
#define T(name, type, range) [WEIR_TYPE_##name] = {type, range},
#include <wire/control_types.def>
#undef T
};

const struct weir_field_info weir_field_infos[WEIR_FIELDS_END] = {
#define X(name, key, type, member, text)                                                           \
    [WEIR_FIELD_##name] = {key, sizeof key - 1, WEIR_TYPE_##type,                                  \
                           offsetof(struct weir_control, member), text},
#include <wire/control_fields.def>
#undef X
};

const struct weir_verb_info weir_verb_infos[WEIR_VERB_COUNT] = {
#define F(field) | UINT64_C(1) << WEIR_FIELD_##field
#define V(verb, name, frames, required, optional)                                                  \
    [WEIR_VERB_##verb] = {name, frames, 0 required, 0 optional},
#include <wire/control_verbs.def>
#undef V
#undef F
};

enum weir_verb weir_verb_find(const char *name, uint32_t bytes)
{
    for (enum weir_verb verb = 1; verb < WEIR_VERB_COUNT; verb++)
        if (strlen(weir_verb_infos[verb].name) == bytes &&
            memcmp(weir_verb_infos[verb].name, name, bytes) == 0)
            return verb;
    return WEIR_VERB_COUNT;
}

enum weir_field weir_field_find(const char *key, uint32_t bytes)
{
    for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++)
        if (weir_field_infos[field].key_bytes == bytes &&
            memcmp(weir_field_infos[field].key, key, bytes) == 0)
            return field;
    return WEIR_FIELDS_END;
}

const char *weir_verb_name(enum weir_verb verb)
{
    return verb >= 1 && verb < WEIR_VERB_COUNT ? weir_verb_infos[verb].name : "?";
}

uint32_t weir_control_frames(const struct weir_control *control)
{
    int frames = weir_verb_infos[control->verb].frames;

    return frames >= 0 ? (uint32_t)frames : 3 * control->slice_count;
}

struct weir_text weir_text_of(const char *text)
{
    return (struct weir_text){text, (uint32_t)strlen(text)};
}

bool weir_text_is(const struct weir_text *text, const char *word)
{
    return text->bytes == strlen(word) && memcmp(text->data, word, text->bytes) == 0;
}

void weir_control_fini(struct weir_control *control)
{
    free(control->topics);
    free(control->leases);
    free(control->running);
    free(control->acks);
    free(control->slices);
    free(control->duplicates);
    *control = (struct weir_control){0};
}
