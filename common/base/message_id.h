/* Message ids: 48-bit Unix time in ms, 16-bit stream tag, 64-bit sequence; big-endian, so that ids
 * sort by time; written as 26 characters of Crockford base 32. */
#ifndef WEIR_BASE_MESSAGE_ID_H
#define WEIR_BASE_MESSAGE_ID_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/types.h> /* WEIR_ID_BYTES, WEIR_ID_TEXT_BYTES */

struct weir_id {
    int64_t time_ms; /* 0 … 2^48 - 1 */
    uint16_t tag;
    uint64_t sequence;
};

void weir_id_encode(const struct weir_id *id, uint8_t bytes[WEIR_ID_BYTES]);
void weir_id_decode(const uint8_t bytes[WEIR_ID_BYTES], struct weir_id *id);
void weir_id_format(const struct weir_id *id, char text[WEIR_ID_TEXT_BYTES]);
/* Accepts lower case, and i, l, o for 1, 1, 0. Returns 0 or WEIR_EINVAL. */
int weir_id_parse(const char *text, struct weir_id *id);

#endif
