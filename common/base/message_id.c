#include <base/error.h>
#include <base/message_id.h>

#include <string.h>

#define TEXT_CHARS (WEIR_ID_TEXT_BYTES - 1)

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void put_big_endian(uint8_t *bytes, uint64_t value, int count)
{
    for (int i = count - 1; i >= 0; i--, value >>= 8)
        bytes[i] = (uint8_t)value;
}

static uint64_t get_big_endian(const uint8_t *bytes, int count)
{
    uint64_t value = 0;

    for (int i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

void weir_id_encode(const struct weir_id *id, uint8_t bytes[WEIR_ID_BYTES])
{
    put_big_endian(bytes, (uint64_t)id->time_ms, 6);
    put_big_endian(bytes + 6, id->tag, 2);
    put_big_endian(bytes + 8, id->sequence, 8);
}

void weir_id_decode(const uint8_t bytes[WEIR_ID_BYTES], struct weir_id *id)
{
    id->time_ms = (int64_t)get_big_endian(bytes, 6);
    id->tag = (uint16_t)get_big_endian(bytes + 6, 2);
    id->sequence = get_big_endian(bytes + 8, 8);
}

/* 26 digits hold 130 bits: the first one carries only the top three. */
void weir_id_format(const struct weir_id *id, char text[WEIR_ID_TEXT_BYTES])
{
    uint64_t high = ((uint64_t)id->time_ms << 16) | id->tag;
    uint64_t low = id->sequence;

    for (int i = TEXT_CHARS - 1; i >= 0; i--) {
        text[i] = digits[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    text[TEXT_CHARS] = '\0';
}

static int digit_value(char digit)
{
    const char *found;

    if (digit >= 'a' && digit <= 'z')
        digit = (char)(digit - 'a' + 'A');
    if (digit == 'I' || digit == 'L')
        return 1;
    if (digit == 'O')
        return 0;
    found = digit != '\0' ? strchr(digits, digit) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

int weir_id_parse(const char *text, struct weir_id *id)
{
    uint64_t high = 0, low = 0;

    if (strnlen(text, TEXT_CHARS + 1) != TEXT_CHARS || digit_value(text[0]) > 7)
        return WEIR_EINVAL;
    for (int i = 0; i < TEXT_CHARS; i++) {
        int value = digit_value(text[i]);

        if (value < 0)
            return WEIR_EINVAL;
        high = high << 5 | low >> 59;
        low = low << 5 | (uint64_t)value;
    }
    id->time_ms = (int64_t)(high >> 16);
    id->tag = (uint16_t)high;
    id->sequence = low;
    return 0;
}
