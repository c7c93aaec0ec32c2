/* Durations, sizes and rates as people write them. */
#include <config/config.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits, then a unit out of a list that ends with a NULL name. */
static bool number_with_unit(const char *text, const struct unit *units, uint64_t max,
                             uint64_t *value)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    for (; units->name != NULL; units++) {
        if (strcmp(end, units->name) != 0)
            continue;
        if (number > max / units->factor)
            return false;
        *value = (uint64_t)number * units->factor;
        return true;
    }
    return false;
}

int weir_duration_parse(const char *text, int64_t *ms, struct weir_error *error)
{
    static const struct unit units[] = {{"ms", 1},          {"s", 1000},         {"m", 60 * 1000},
                                        {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0}};
    uint64_t value;

    if (strcmp(text, "0") == 0)
        value = 0;
    else if (!number_with_unit(text, units, INT64_MAX / 2000000, &value))
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.64s' is not a duration; expected a whole number and one of ms, "
                              "s, m, h, d, such as 1500ms or 30s",
                              text);
    *ms = (int64_t)value;
    return 0;
}

int weir_size_parse(const char *text, uint64_t *bytes, struct weir_error *error)
{
    static const struct unit units[] = {
        {"B", 1},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", UINT64_C(1000000000000)},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {NULL, 0},
    };

    if (strcmp(text, "0") == 0) {
        *bytes = 0;
        return 0;
    }
    if (!number_with_unit(text, units, INT64_MAX, bytes))
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.64s' is not a size; expected a whole number and one of B, KiB, "
                              "MiB, GiB, TiB (or KB, MB, GB, TB), such as 64KiB or 4GiB",
                              text);
    return 0;
}

int weir_rate_parse(const char *text, uint32_t *permille, struct weir_error *error)
{
    /* In thousandths of a message an hour first, so that nothing is rounded too early. */
    static const struct unit units[] = {
        {"/s", UINT64_C(3600) * 1000}, {"/m", 60 * 1000}, {"/h", 1000}, {NULL, 0}};
    uint64_t value;

    if (!number_with_unit(text, units, (uint64_t)UINT32_MAX * 3600, &value) || value < 3600)
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.64s' is not a rate; expected a whole number of messages and one "
                              "of /s, /m, /h, such as 200/s (between 4/h and 4000000/s)",
                              text);
    *permille = (uint32_t)(value / 3600);
    return 0;
}
