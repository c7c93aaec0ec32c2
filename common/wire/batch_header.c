#include <wire/batch_header.h>

#include <string.h>

static const struct {
    const char *key;
    uint32_t bytes;
} fields[] = {
#define X(name, key, type, range, required, text) {key, sizeof key - 1},
#include <wire/batch_fields.def>
#undef X
    {"?", 0},
};

const char *weir_batch_header_key(enum batch_header_field field)
{
    return fields[field].key;
}

enum batch_header_field weir_batch_header_field(const char *key, uint32_t bytes)
{
    for (enum batch_header_field field = 0; field < BATCH_HEADER_UNKNOWN; field++)
        if (fields[field].bytes == bytes && memcmp(fields[field].key, key, bytes) == 0)
            return field;
    return BATCH_HEADER_UNKNOWN;
}
