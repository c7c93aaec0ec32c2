/* The fields of a batch's header, from batch_fields.def. */
#ifndef WEIR_WIRE_BATCH_HEADER_H
#define WEIR_WIRE_BATCH_HEADER_H

#include <stdint.h>

enum batch_header_field {
#define X(name, key, type, range, required, text) BATCH_HEADER_##name,
#include <wire/batch_fields.def>
#undef X
    BATCH_HEADER_UNKNOWN,
};

enum {
    BATCH_HEADER_REQUIRED = 0
#define X(name, key, type, range, required, text) | (required) << BATCH_HEADER_##name
#include <wire/batch_fields.def>
#undef X
};

const char *weir_batch_header_key(enum batch_header_field field);
enum batch_header_field weir_batch_header_field(const char *key, uint32_t bytes);

#endif
