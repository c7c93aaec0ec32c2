#include <base/utf8.h>

#include <string.h>

size_t weir_utf8_length(const uint8_t *text, size_t bytes)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (length == 1)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4 || bytes < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

static bool ascii_eight(const uint8_t *text)
{
    uint64_t word;

    memcpy(&word, text, sizeof word);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

bool weir_utf8_valid(const void *text, size_t bytes)
{
    const uint8_t *at = text;

    for (size_t i = 0, length; i < bytes; i += length) {
        length = bytes - i >= 8 && ascii_eight(&at[i]) ? 8 : weir_utf8_length(&at[i], bytes - i);
        if (length == 0)
            return false;
    }
    return true;
}
