/* UTF-8 as RFC 3629 has it: overlong forms, surrogates and what lies above U+10FFFF are none. */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the character at `text`, of which there are so many bytes, one at least; 0: it is
 * none. */
size_t weir_utf8_length(const uint8_t *text, size_t bytes);
bool weir_utf8_valid(const void *text, size_t bytes);

#endif
