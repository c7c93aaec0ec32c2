#include <base/alloc.h>
#include <base/utf8.h>
#include <json/json_text.h>
#include <nettle/base64.h>
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

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The same of eight bytes at once: the sums have a high bit where a byte is not ASCII, below a
 * space, a quote, or a backslash. One may borrow from its neighbour, but only when it is such a
 * byte itself. */
static bool plain_eight(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    const uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    return ((word | (word - EACH(0x20)) | (quote - EACH(1)) | (backslash - EACH(1))) &
            EACH(0x80)) == 0;
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
        length = bytes - i >= 8 && plain_eight(&text[i]) ? 8 : 1;
        if (length == 8 || plain(text[i]))
            continue;
        if (text[i] >= 0x80) {
            length = weir_utf8_length(&text[i], bytes - i);
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
    WEIR_JSON_TEXT(self, "\"");
    base64_encode_raw(extend(self, BASE64_ENCODE_RAW_LENGTH(bytes)), bytes, data);
    WEIR_JSON_TEXT(self, "\"");
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
