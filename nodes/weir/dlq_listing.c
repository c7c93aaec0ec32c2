#include "dlq_listing.h"

#include "history_table.h"
#include "output.h"
#include <hold/message_json.h>

#include <base/clock.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_SHOWN_BYTES 4096u

/* The store keeps headers and history as JSON already. */
static json_t *parsed(const char *text)
{
    json_t *value = text != NULL ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

    return value != NULL ? value : json_null();
}

json_t *weir_dead_letter_to_json(const struct weir_dead_letter *letter)
{
    char moment[WEIR_TIME_TEXT_BYTES];
    json_t *row = json_pack(
        "{s:s, s:s, s:I, s:o, s:o}", "id", letter->id_text, "group", letter->group, "death",
        (json_int_t)letter->death, "topic", weir_json_bytes(letter->topic, strlen(letter->topic)),
        "key", letter->key ? weir_json_bytes(letter->key, letter->key_bytes) : json_null());

    json_object_set_new(row, "reason", json_string(weir_reason_name(letter->reason)));
    json_object_set_new(row, "attempts", json_integer(letter->attempts));
    json_object_set_new(row, "error", weir_json_bytes(letter->error, strlen(letter->error)));
    weir_time_format(letter->accepted_ms, moment);
    json_object_set_new(row, "accepted_at", json_string(moment));
    weir_time_format(letter->died_ms, moment);
    json_object_set_new(row, "died_at", json_string(moment));
    json_object_set_new(row, "headers", parsed(letter->headers));
    json_object_set_new(row, "history", parsed(letter->history));
    if (letter->payload != NULL)
        json_object_set_new(row, "payload",
                            weir_json_bytes(letter->payload, letter->payload_bytes));
    return row;
}

struct listing {
    struct weir_table *table; /* NULL: JSON lines */
    FILE *out;
    int64_t now_ms;
    uint64_t count;
    uint64_t rows_max; /* 0: all */
};

static bool list_json(void *arg, const struct weir_dead_letter *letter)
{
    struct listing *listing = arg;
    json_t *row = weir_dead_letter_to_json(letter);

    weir_print_json_line(row, listing->out);
    json_decref(row);
    listing->count++;
    return !ferror(listing->out);
}

static bool list_row(void *arg, const struct weir_dead_letter *letter)
{
    struct listing *listing = arg;
    struct weir_table *table = listing->table;
    char age[WEIR_AGE_BYTES];

    if (listing->rows_max > 0 && listing->count == listing->rows_max)
        return false;
    listing->count++;
    weir_format_age(listing->now_ms - letter->died_ms, age);
    weir_table_add(table, WEIR_PLAIN, "%s", letter->id_text);
    weir_table_add(table, WEIR_PLAIN, "%s", letter->group);
    weir_table_add(table, letter->death > 1 ? WEIR_YELLOW : WEIR_PLAIN, "%" PRIu32, letter->death);
    weir_table_add(table, WEIR_PLAIN, "%s", weir_reason_name(letter->reason));
    weir_table_add(table, WEIR_PLAIN, "%" PRIu32, letter->attempts);
    weir_table_add(table, WEIR_PLAIN, "%s", age);
    weir_table_add(table, WEIR_PLAIN, "%.60s", letter->topic);
    weir_table_add(table, WEIR_RED, "%.80s", letter->error);
    return true;
}

static uint64_t count_all(const struct weir_dlq_selection *selection)
{
    uint64_t all = 0;

    for (uint32_t i = 0; i < selection->source_count; i++) {
        uint64_t count = 0;

        if (weir_dlq_store_count(selection->sources[i].store, &selection->filter, &count, NULL) ==
            0)
            all += count;
    }
    return all;
}

int weir_dlq_ls(const struct weir_command *command, struct weir_dlq_selection *selection, bool json)
{
    struct listing listing = {.out = stdout, .now_ms = weir_clock_now().wall_ms};

    selection->filter.without_payload = true;
    if (json)
        return weir_dlq_selection_walk(selection, command, list_json, &listing);
    listing.rows_max = selection->filter.limit > 0 ? 0 : WEIR_DLQ_ROWS_SHOWN;
    listing.table = weir_table_new("ID|GROUP|>DEATH|REASON|>ATTEMPTS|>AGE|TOPIC|LAST ERROR");
    int status = weir_dlq_selection_walk(selection, command, list_row, &listing);

    if (listing.count > 0)
        weir_table_print(&listing.table, stdout, weir_output_coloured(stdout));
    else
        weir_table_destroy(&listing.table);
    if (status == 0 && listing.count == 0)
        puts("no dead letters");
    if (status == 0 && listing.count > 0 && selection->id_count == 0) {
        uint64_t all = count_all(selection);

        if (all > listing.count)
            printf("… and %" PRIu64 " more: narrow it down, or say --limit %" PRIu64 "\n",
                   all - listing.count, all);
    }
    return status;
}

/* ---- One letter as a page ---------------------------------------------------------------------
 */

static bool printable(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static void print_payload(const struct weir_dead_letter *letter)
{
    size_t shown =
        letter->payload_bytes < PAYLOAD_SHOWN_BYTES ? letter->payload_bytes : PAYLOAD_SHOWN_BYTES;
    json_t *text = weir_json_bytes(letter->payload, letter->payload_bytes);

    printf("\npayload, %zu bytes%s\n", letter->payload_bytes,
           shown < letter->payload_bytes ? ", the beginning of it" : "");
    if (json_is_string(text) && printable(letter->payload, shown))
        printf("%.*s\n", (int)shown, (const char *)letter->payload);
    else
        puts("(not text: 'weir dlq show --json' has it)");
    json_decref(text);
}

static void print_fields(const struct weir_dead_letter *letter)
{
    struct weir_table *table = weir_table_new("|");
    char moment[WEIR_TIME_BYTES];
    json_t *headers = parsed(letter->headers), *value;
    const char *name;

#define ROW(name, ...)                                                                             \
    (weir_table_add(table, WEIR_DIM, name), weir_table_add(table, WEIR_PLAIN, __VA_ARGS__))
    ROW("id", "%s", letter->id_text);
    ROW("group", "%s", letter->group);
    ROW("death", "%" PRIu32 ", %s after %" PRIu32 " %s", letter->death,
        weir_reason_name(letter->reason), letter->attempts,
        letter->attempts == 1 ? "attempt" : "attempts");
    ROW("topic", "%s", letter->topic);
    if (letter->key != NULL)
        ROW("key", "%.200s", letter->key);
    weir_format_time(letter->accepted_ms, moment);
    ROW("accepted", "%s", moment);
    weir_format_time(letter->died_ms, moment);
    ROW("died", "%s", moment);
    json_object_foreach(headers, name, value)
    {
        weir_table_add(table, WEIR_DIM, "header %s", name);
        weir_table_add(table, WEIR_PLAIN, "%.400s",
                       json_is_string(value) ? json_string_value(value) : "(not text)");
    }
#undef ROW
    json_decref(headers);
    weir_table_print(&table, stdout, weir_output_coloured(stdout));
}

static bool show_page(void *arg, const struct weir_dead_letter *letter)
{
    struct listing *listing = arg;
    json_t *history = parsed(letter->history);

    if (listing->count++ > 0)
        fputs("\n", stdout);
    print_fields(letter);
    weir_history_print(history, "", stdout, weir_output_coloured(stdout));
    print_payload(letter);
    json_decref(history);
    return true;
}

int weir_dlq_show(const struct weir_command *command, struct weir_dlq_selection *selection,
                  bool json)
{
    struct listing listing = {.out = stdout, .now_ms = weir_clock_now().wall_ms};
    int status =
        weir_dlq_selection_walk(selection, command, json ? list_json : show_page, &listing);

    if (status == 0 && listing.count == 0)
        return weir_command_failed(command, EX_NOINPUT,
                                   "there is no such dead letter; 'weir dlq ls' lists them, 'weir "
                                   "status ID' tells where a message is");
    return status;
}

int weir_dlq_export(const struct weir_command *command, struct weir_dlq_selection *selection,
                    FILE *out)
{
    struct listing listing = {.out = out, .now_ms = weir_clock_now().wall_ms};

    return weir_dlq_selection_walk(selection, command, list_json, &listing);
}
