#include <base/alloc.h>
#include <hold/json_text.h>
#include <sodium.h>
#include <string.h>

#define ROOM_BYTES 4096u /* beyond what is needed now */

/* Room for so many bytes, which the caller fills. */
static char *extend(struct weir_json_text *self, size_t bytes)
{
    if (self->capacity - self->bytes < bytes) {
        self->capacity = 2 * self->capacity + bytes + ROOM_BYTES;
        self->data = weir_realloc(self->data, self->capacity, 1);
    }
    self->bytes += bytes;
    return self->data + self->bytes - bytes;
}

void weir_json_text_raw(struct weir_json_text *self, const char *json, size_t bytes)
{
    if (bytes > 0)
        memcpy(extend(self, bytes), json, bytes);
}

/* ---- strings ---- */

static bool plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* How many bytes the character takes that begins here, which is not ASCII; 0: it is no UTF-8. */
static size_t character(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t mask, head;
        uint32_t least; /* that needs so many bytes */
    } forms[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t more = 1; more <= 3; more++) {
        if ((at[0] & forms[more - 1].mask) != forms[more - 1].head)
            continue;
        uint32_t code = at[0] & (uint8_t)~forms[more - 1].mask;
        if (left <= more)
            return 0;
        for (size_t i = 1; i <= more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (at[i] & 0x3f);
        }
        const bool surrogate = code >= 0xd800 && code <= 0xdfff;
        return code < forms[more - 1].least || code > 0x10ffff || surrogate ? 0 : more + 1;
    }
    return 0;
}

bool weir_utf8_valid(const void *data, size_t bytes)
{
    const uint8_t *text = data;
    for (size_t i = 0, length; i < bytes; i += length) {
        length = text[i] < 0x80 ? 1 : character(&text[i], bytes - i);
        if (length == 0)
            return false;
    }
    return true;
}

/* A quote, a backslash, or a control character. */
static void escape(struct weir_json_text *self, uint8_t byte)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < sizeof short_forms - 1; i += 2)
        if (byte == (uint8_t)short_forms[i]) {
            const char form[2] = {'\\', short_forms[i + 1]};
            weir_json_text_raw(self, form, sizeof form);
            return;
        }
    const char form[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    weir_json_text_raw(self, form, sizeof form);
}

bool weir_json_text_string(struct weir_json_text *self, const void *data, size_t bytes)
{
    const uint8_t *text = data;
    const size_t start = self->bytes;
    size_t done = 0, length;
    WEIR_JSON_TEXT(self, "\"");
    for (size_t i = 0; i < bytes; i += length) {
        length = 1;
        if (plain(text[i]))
            continue;
        if (text[i] >= 0x80) {
            length = character(&text[i], bytes - i);
            if (length == 0) {
                self->bytes = start;
                return false;
            }
            continue;
        }
        weir_json_text_raw(self, (const char *)&text[done], i - done);
        escape(self, text[i]);
        done = i + 1;
    }
    if (bytes > done)
        weir_json_text_raw(self, (const char *)&text[done], bytes - done);
    WEIR_JSON_TEXT(self, "\"");
    return true;
}

static void base64(struct weir_json_text *self, const void *data, size_t bytes)
{
    const size_t size = sodium_base64_encoded_len(bytes, sodium_base64_VARIANT_ORIGINAL);
    WEIR_JSON_TEXT(self, "\"");
    sodium_bin2base64(extend(self, size), size, data, bytes, sodium_base64_VARIANT_ORIGINAL);
    self->data[self->bytes - 1] = '"'; /* in the place of its NUL */
}

/* ---- what is made of them ---- */

void weir_json_text_member(struct weir_json_text *self, const char *start, const void *data,
                           size_t bytes)
{
    weir_json_text_raw(self, start, strlen(start));
    const size_t name_end = self->bytes;
    WEIR_JSON_TEXT(self, "\":");
    if (data == NULL) {
        WEIR_JSON_TEXT(self, "null");
    } else if (!weir_json_text_string(self, data, bytes)) {
        self->bytes = name_end;
        WEIR_JSON_TEXT(self, "_base64\":");
        base64(self, data, bytes);
    }
}

void weir_json_text_number(struct weir_json_text *self, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    weir_json_text_raw(self, &digits[at], sizeof digits - at);
}

static bool same_name(const struct weir_header_pair *left, const struct weir_header_pair *right)
{
    return left->name_bytes == right->name_bytes &&
           memcmp(left->name, right->name, left->name_bytes) == 0;
}

void weir_json_text_headers(struct weir_json_text *self, const struct weir_message_view *message)
{
    const struct weir_header_pair *const pairs = message->headers;
    const char *between = "{";
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct weir_header_pair *value = &pairs[i];
        bool told = false;
        for (uint32_t j = 0; j < i; j++)
            told = told || same_name(&pairs[j], &pairs[i]);
        if (told)
            continue;
        for (uint32_t j = i + 1; j < message->header_count; j++)
            if (same_name(&pairs[j], &pairs[i]))
                value = &pairs[j];
        weir_json_text_raw(self, between, 1);
        weir_json_text_string(self, value->name, value->name_bytes); /* a name is ASCII */
        WEIR_JSON_TEXT(self, ":");
        if (!weir_json_text_string(self, value->value, value->value_bytes)) {
            WEIR_JSON_TEXT(self, "{\"base64\":");
            base64(self, value->value, value->value_bytes);
            WEIR_JSON_TEXT(self, "}");
        }
        between = ",";
    }
    if (between[0] == '{')
        WEIR_JSON_TEXT(self, "{");
    WEIR_JSON_TEXT(self, "}");
}
