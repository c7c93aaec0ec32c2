/* A scalar option: from its text to its field, and how its values are described. */
#include <base/alloc.h>
#include <base/topic.h>
#include <config/endpoint_address.h>
#include <config/options.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool weir_option_name_valid(const char *name)
{
    return name[0] != '.' && weir_name_valid(name, strlen(name));
}

static void set_text(void *field, char *text)
{
    char **slot = field;

    free(*slot);
    *slot = text;
}

static int parse_count(const struct weir_option *option, const char *text, uint64_t *value,
                       struct weir_error *error)
{
    char range[160], *end;

    errno = 0;
    *value = strtoull(text, &end, 10); /* the largest there is when it is larger than that */
    if (isdigit((unsigned char)text[0]) && *end == '\0' && (errno == 0 || option->max > 0))
        return 0;
    weir_option_describe(option, range, sizeof range);
    return weir_error_set(error, WEIR_EINVAL, "'%.64s' is not a whole number; expected %s", text,
                          range);
}

/* "2", "1.5": in thousandths. */
static int parse_factor(const char *text, uint64_t *value, struct weir_error *error)
{
    uint64_t whole = 0, fraction = 0;
    uint32_t scale = 1000;
    const char *at = text;

    for (; isdigit((unsigned char)*at) && whole < 1000000; at++)
        whole = whole * 10 + (uint64_t)(*at - '0');
    if (at > text && *at == '.') {
        for (at++; isdigit((unsigned char)*at) && scale > 1; at++) {
            scale /= 10;
            fraction += (uint64_t)(*at - '0') * scale;
        }
    }
    if (at == text || *at != '\0' || at[-1] == '.')
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.64s' is not a factor; expected a number with at most three "
                              "decimals, such as 2 or 1.5",
                              text);
    *value = whole * 1000 + fraction;
    return 0;
}

static int parse_number(const struct weir_option *option, const char *text, uint64_t *value,
                        struct weir_error *error)
{
    int64_t ms = 0;
    uint32_t permille = 0;
    int status;

    if (option->zero_word != NULL && strcmp(text, option->zero_word) == 0) {
        *value = 0;
        return 0;
    }
    switch (option->type) {
    case WEIR_OPTION_DURATION:
        status = weir_duration_parse(text, &ms, error);
        *value = (uint64_t)ms;
        break;
    case WEIR_OPTION_SIZE:
        status = weir_size_parse(text, value, error);
        break;
    case WEIR_OPTION_RATE:
        status = weir_rate_parse(text, &permille, error);
        *value = permille;
        break;
    case WEIR_OPTION_FACTOR:
        status = parse_factor(text, value, error);
        break;
    default:
        status = parse_count(option, text, value, error);
    }
    if (status != 0) {
        if (option->zero_word != NULL && error != NULL && !strstr(error->text, option->zero_word)) {
            size_t used = strlen(error->text);

            snprintf(error->text + used, sizeof error->text - used, ", or '%s'", option->zero_word);
        }
        return status;
    }
    if (option->max > 0 && (*value < option->min || *value > option->max)) {
        char range[160];

        weir_option_describe(option, range, sizeof range);
        return weir_error_set(error, WEIR_EINVAL, "'%.64s' is out of range; expected %s", text,
                              range);
    }
    return 0;
}

static int set_number(const struct weir_option *option, const char *text, void *field,
                      struct weir_error *error)
{
    uint64_t value = 0;
    int status = parse_number(option, text, &value, error);

    if (status != 0)
        return status;
    switch (option->type) {
    case WEIR_OPTION_TAG:
        *(uint16_t *)field = (uint16_t)value;
        break;
    case WEIR_OPTION_DURATION:
        *(int64_t *)field = (int64_t)value;
        break;
    case WEIR_OPTION_SIZE:
    case WEIR_OPTION_COUNT64:
        *(uint64_t *)field = value;
        break;
    default:
        *(uint32_t *)field = (uint32_t)value;
    }
    return 0;
}

static int set_choice(const struct weir_option *option, const char *text, void *field,
                      struct weir_error *error)
{
    char expected[160];

    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            /* Every enum of the table is an unsigned int to the compiler. */
            _Static_assert(sizeof(enum weir_role_kind) == sizeof i, "enums are stored as int");
            memcpy(field, &i, sizeof i);
            return 0;
        }
    }
    weir_option_describe(option, expected, sizeof expected);
    return weir_error_set(error, WEIR_EINVAL, "'%.64s' is unknown here; expected %s", text,
                          expected);
}

static int set_bool(const char *text, void *field, struct weir_error *error)
{
    bool yes = strcmp(text, "true") == 0;

    if (!yes && strcmp(text, "false") != 0)
        return weir_error_set(error, WEIR_EINVAL, "'%.64s' is unknown here; expected true or false",
                              text);
    *(bool *)field = yes;
    return 0;
}

static int set_endpoint(const char *text, void *field, struct weir_error *error)
{
    char *normal;
    int status = weir_endpoint_normalize(text, &normal, error);

    if (status == 0)
        set_text(field, normal);
    return status;
}

static int set_checked_text(const struct weir_option *option, const char *text, void *field,
                            struct weir_error *error)
{
    size_t bytes = strlen(text);

    if (option->type == WEIR_OPTION_NAME && !weir_option_name_valid(text))
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.80s' is not a name; expected 1 to %u letters, digits, '_', '-' "
                              "or '.', not starting with a dot",
                              text, WEIR_NAME_BYTES_MAX);
    if (option->type == WEIR_OPTION_TOPIC && !weir_topic_valid(text, bytes))
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.80s' is not a topic; expected words of letters, digits, '_' and "
                              "'-', joined by dots, such as user.signed_up",
                              text);
    if (option->type == WEIR_OPTION_PATH && (bytes == 0 || bytes > WEIR_PATH_BYTES_MAX))
        return weir_error_set(error, WEIR_EINVAL, "not a path; expected 1 to %u bytes",
                              WEIR_PATH_BYTES_MAX);
    set_text(field, weir_strdup(text));
    return 0;
}

int weir_option_set(const struct weir_option *option, const char *text, void *object,
                    struct weir_error *error)
{
    union {
        char *text;
        uint64_t number;
    } nowhere = {0}; /* an option without a field is checked all the same */
    bool kept = option->field != WEIR_NO_FIELD;
    void *field = kept ? (char *)object + option->field : (void *)&nowhere;

    switch (option->type) {
    case WEIR_OPTION_CHOICE:
        return set_choice(option, text, field, error);
    case WEIR_OPTION_BOOL:
        return set_bool(text, field, error);
    case WEIR_OPTION_COUNT:
    case WEIR_OPTION_COUNT64:
    case WEIR_OPTION_TAG:
    case WEIR_OPTION_DURATION:
    case WEIR_OPTION_SIZE:
    case WEIR_OPTION_RATE:
    case WEIR_OPTION_FACTOR:
        return set_number(option, text, field, error);
    default:
        break;
    }
    int status = option->type == WEIR_OPTION_ENDPOINT
                     ? set_endpoint(text, field, error)
                     : set_checked_text(option, text, field, error);

    if (!kept)
        free(nowhere.text);
    return status;
}

void weir_section_set_defaults(const struct weir_section *section, uint32_t role_bit, void *object)
{
    struct weir_error error;

    for (const struct weir_option *option = section->options; option->name != NULL; option++) {
        if (option->roles != 0 && (option->roles & role_bit) == 0)
            continue;
        if (option->type == WEIR_OPTION_SECTION)
            weir_section_set_defaults(option->section, role_bit, object);
        else if (option->fallback != NULL)
            WEIR_ASSERT(weir_option_set(option, option->fallback, object, &error) == 0);
    }
}

static void format_scaled(uint64_t value, const char *const *units, const uint64_t *factors,
                          char *text, size_t bytes)
{
    size_t best = 0;

    for (size_t i = 0; units[i] != NULL; i++) {
        if (value % factors[i] == 0 && value >= factors[i])
            best = i;
    }
    snprintf(text, bytes, "%" PRIu64 "%s", value / factors[best], units[best]);
}

static void format_number(const struct weir_option *option, uint64_t value, char *text,
                          size_t bytes)
{
    static const char *const times[] = {"ms", "s", "m", "h", "d", NULL};
    static const uint64_t time_factors[] = {1, 1000, 60000, 3600000, 86400000};
    static const char *const sizes[] = {"B", "KiB", "MiB", "GiB", "TiB", NULL};
    static const uint64_t size_factors[] = {1, 1 << 10, 1 << 20, 1 << 30, UINT64_C(1) << 40};

    if (value == 0)
        snprintf(text, bytes, "0");
    else if (option->type == WEIR_OPTION_DURATION)
        format_scaled(value, times, time_factors, text, bytes);
    else if (option->type == WEIR_OPTION_SIZE)
        format_scaled(value, sizes, size_factors, text, bytes);
    else if (option->type == WEIR_OPTION_FACTOR)
        snprintf(text, bytes, "%" PRIu64, value / 1000);
    else
        snprintf(text, bytes, "%" PRIu64, value);
}

static void describe_choices(const char *const *choices, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; choices[i] != NULL && used < bytes; i++) {
        const char *joint = i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ";

        used += (size_t)snprintf(text + used, bytes - used, "%s%s", joint, choices[i]);
    }
}

void weir_option_describe(const struct weir_option *option, char *text, size_t bytes)
{
    static const char *const kinds[] = {
        [WEIR_OPTION_NAME] = "a name",
        [WEIR_OPTION_TOPIC] = "a topic",
        [WEIR_OPTION_ENDPOINT] = "an endpoint",
        [WEIR_OPTION_PATH] = "a path",
        [WEIR_OPTION_COUNT] = "a number",
        [WEIR_OPTION_COUNT64] = "a number",
        [WEIR_OPTION_TAG] = "a number",
        [WEIR_OPTION_DURATION] = "a duration",
        [WEIR_OPTION_SIZE] = "a size",
        [WEIR_OPTION_RATE] = "a rate",
        [WEIR_OPTION_FACTOR] = "a factor",
        [WEIR_OPTION_BOOL] = "true or false",
        [WEIR_OPTION_CHOICE] = "",
        [WEIR_OPTION_PATTERNS] = "a list of topic patterns",
        [WEIR_OPTION_COMMAND] = "a list: the program and its arguments",
        [WEIR_OPTION_ENVIRONMENT] = "a map from names to values",
        [WEIR_OPTION_NODE] = "a node's name",
        [WEIR_OPTION_NODES] = "a list of nodes' names",
        [WEIR_OPTION_SECTION] = "a map",
        [WEIR_OPTION_GROUPS] = "a map from names to groups",
        [WEIR_OPTION_NODE_MAP] = "a map from names to nodes",
    };

    if (option->type == WEIR_OPTION_CHOICE) {
        describe_choices(option->choices, text, bytes);
        return;
    }
    int used = snprintf(text, bytes, "%s", kinds[option->type]);

    if (option->max > 0 && (size_t)used < bytes) {
        char min[32], max[32];

        format_number(option, option->min, min, sizeof min);
        format_number(option, option->max, max, sizeof max);
        used += snprintf(text + used, bytes - (size_t)used, " from %s to %s", min, max);
    }
    if (option->zero_word != NULL && (size_t)used < bytes)
        snprintf(text + used, bytes - (size_t)used, ", or '%s'", option->zero_word);
}
