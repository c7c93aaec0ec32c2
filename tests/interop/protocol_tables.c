/* Tables: the fields of each verb, a batch's header, the limits. */
#include "protocol_doc.h"

#include <base/alloc.h>
#include <wire/control_table.h>

#include <string.h>

static void print_field(FILE *out, enum weir_field field, bool required)
{
    const struct weir_field_info *info = &weir_field_infos[field];
    const struct weir_type_info *type = &weir_type_infos[info->type];

    fprintf(out, "| `%s` | %s | %s | %s | %s |\n", info->key, type->type, type->range,
            required ? "yes" : "no", info->text);
}

static void print_verb(FILE *out, const struct weir_verb_info *verb)
{
    if ((verb->required | verb->optional) == 0) {
        fprintf(out, "\nNo fields.\n\n");
        return;
    }
    fprintf(out, "\n| field | type | range | required | meaning |\n|---|---|---|---|---|\n");
    for (int required = 1; required >= 0; required--)
        for (enum weir_field field = 0; field < WEIR_FIELDS_END; field++)
            if (((required ? verb->required : verb->optional) >> field & 1u) != 0)
                print_field(out, field, required);
    fputc('\n', out);
}

static void print_batch_header(FILE *out)
{
    fprintf(out, "\n| field | type | range | required | meaning |\n|---|---|---|---|---|\n");
#define X(name, key, type, range, required, text)                                                  \
    fprintf(out, "| `%s` | %s | %s | %s | %s |\n", key, type, range, (required) ? "yes" : "no",    \
            text);
#include <wire/batch_fields.def>
#undef X
    fputc('\n', out);
}

/* L (constant, unit, what it bounds). */
#define LIMITS(L)                                                                                  \
    L(WEIR_MESSAGE_BYTES_MAX, "bytes", "one encoded message without an origin")                    \
    L(WEIR_ORIGIN_BYTES_MAX, "bytes", "what an origin adds to one, its idempotency key included")  \
    L(WEIR_BATCH_BYTES_MAX, "bytes", "a batch: header, index and body together")                   \
    L(WEIR_BATCH_HEADER_BYTES_MAX, "bytes", "a batch's header")                                    \
    L(WEIR_BATCH_MESSAGES_MAX, "messages", "a batch")                                              \
    L(WEIR_TOPIC_BYTES_MAX, "bytes", "a topic, and a topic pattern")                               \
    L(WEIR_NAME_BYTES_MAX, "bytes", "a name")                                                      \
    L(WEIR_KEY_BYTES_MAX, "bytes", "a key")                                                        \
    L(WEIR_IDEMPOTENCY_KEY_BYTES_MAX, "bytes", "an idempotency key")                               \
    L(WEIR_HEADERS_MAX, "headers", "a message")                                                    \
    L(WEIR_HEADER_NAME_BYTES_MAX, "bytes", "a header's name")                                      \
    L(WEIR_HEADER_VALUE_BYTES_MAX, "bytes", "a header's value")                                    \
    L(WEIR_HEADERS_BYTES_MAX, "bytes", "all names and values of a message's headers")              \
    L(WEIR_ERROR_BYTES_MAX, "bytes", "an error in an ACK; what is longer is cut")                  \
    L(WEIR_HISTORY_ENTRIES_MAX, "notes", "a history: the first and the newest fifteen")            \
    L(WEIR_HISTORY_BYTES_MAX, "bytes", "a history")                                                \
    L(WEIR_TOPIC_PATTERNS_MAX, "patterns", "a group")                                              \
    L(WEIR_CONTROL_BYTES_MAX, "bytes", "a control frame")                                          \
    L(WEIR_TEXT_BYTES_MAX, "bytes", "a field of type text")                                        \
    L(WEIR_SLICES_MAX, "slices", "a DELIVER")                                                      \
    L(WEIR_DELIVERY_MESSAGES_MAX, "messages", "a delivery; its indexes are below this")            \
    L(WEIR_LEASES_MAX, "entries", "`leases`, and `running`")                                       \
    L(WEIR_ACKS_MAX, "entries", "`acks`")                                                          \
    L(WEIR_PRODUCER_WINDOW_MAX, "batches", "of one producer without an answer")                    \
    L(WEIR_PEER_SILENCE_MS, "ms", "of silence, after which a peer gets nothing new")               \
    L(WEIR_HEARTBEAT_MS, "ms", "between beats, as WELCOME says unless it says otherwise")          \
    L(WEIR_PRODUCER_EXPIRE_MS, "ms", "of silence, after which a producer's numbers are forgotten")

static void print_limits(FILE *out)
{
    fprintf(out, "\n| limit | value | unit | of |\n|---|---|---|---|\n");
#define L(constant, unit, text)                                                                    \
    fprintf(out, "| `%s` | %llu | %s | %s |\n", &#constant[5], (unsigned long long)(constant),     \
            unit, text);
    LIMITS(L)
#undef L
    fputc('\n', out);
}

bool print_tables(const char *name, FILE *out)
{
    if (strcmp(name, "batch header") == 0) {
        print_batch_header(out);
        return true;
    }
    if (strcmp(name, "limits") == 0) {
        print_limits(out);
        return true;
    }
    if (strncmp(name, "verb ", 5) == 0) {
        enum weir_verb verb = weir_verb_find(name + 5, (uint32_t)strlen(name + 5));

        if (verb == WEIR_VERB_COUNT)
            return false;
        print_verb(out, &weir_verb_infos[verb]);
        return true;
    }
    return false;
}

const char *const *table_names(void)
{
    static const char *const names[] = {
#define V(verb, name, frames, required, optional) "verb " name,
#include <wire/control_verbs.def>
#undef V
        "batch header",
        "limits",
        NULL,
    };

    return names;
}
