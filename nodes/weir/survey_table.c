#include "survey_table.h"

#include "output.h"

#include <base/clock.h>
#include <inttypes.h>
#include <string.h>

static enum weir_colour state_colour(const char *state)
{
    if (strcmp(state, "running") == 0)
        return WEIR_GREEN;
    if (strcmp(state, "failed") == 0 || strcmp(state, "silent") == 0)
        return WEIR_RED;
    return strcmp(state, "stopped") == 0 ? WEIR_DIM : WEIR_YELLOW;
}

static void add_number(struct weir_table *table, int64_t number, enum weir_colour colour)
{
    if (number < 0)
        weir_table_add(table, WEIR_DIM, "-");
    else
        weir_table_add(table, number > 0 ? colour : WEIR_PLAIN, "%" PRId64, number);
}

/* Adds "WORD" or "NUMBER WORD" to a list in words. */
static size_t add_words(char *text, size_t bytes, size_t used, int64_t number, const char *word)
{
    const char *joint = used > 0 ? ", " : "";

    if (used >= bytes)
        return used;
    if (number < 0)
        return used + (size_t)snprintf(text + used, bytes - used, "%s%s", joint, word);
    return used +
           (size_t)snprintf(text + used, bytes - used, "%s%" PRId64 " %s", joint, number, word);
}

/* A few words on what the process does, from whatever it told. */
static void describe(const struct weir_survey *survey, const struct weir_seen *seen, char *text,
                     size_t bytes)
{
    static const struct {
        uint32_t roles;
        const char *key, *word;
        bool only_if_any, grows;
    } counters[] = {
        {1u << WEIR_ROLE_VENTILATOR, "accepted", "accepted", false, true},
        {1u << WEIR_ROLE_WORKER, "running", "running", false, false},
        {1u << WEIR_ROLE_WORKER, "done", "done", false, true},
        {1u << WEIR_ROLE_WORKER, "failed", "failed", true, false},
        {1u << WEIR_ROLE_WORKER, "rejected", "rejected", true, false},
        {1u << WEIR_ROLE_WORKER, "unavailable", "unavailable", true, false},
        {1u << WEIR_ROLE_SINK | 1u << WEIR_ROLE_DLQ, "held", "kept", false, true},
        {1u << WEIR_ROLE_SINK | 1u << WEIR_ROLE_DLQ, "duplicates", "duplicates", true, false},
    };
    const char *state = weir_json_text(seen->stats, "state", "open");
    const json_t *dispatch = json_object_get(seen->stats, "dispatch");
    int64_t used_bytes = weir_json_integer(seen->stats, "used_bytes", -1);
    int64_t peers = weir_json_integer(dispatch, "peer_count", -1);
    char size[WEIR_BYTES_BYTES];
    size_t used = 0;

    text[0] = '\0';
    if (seen->stats == NULL) {
        if (strcmp(seen->state, "stopped") != 0)
            snprintf(text, bytes, "%.*s", (int)bytes - 1, seen->error.text);
        return;
    }
    if (strcmp(state, "open") != 0)
        used = add_words(text, bytes, used, -1, state);
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        int64_t value = weir_json_integer(seen->stats, counters[i].key, -1);

        if (value < counters[i].only_if_any || (counters[i].roles & (1u << seen->node->role)) == 0)
            continue;
        used = add_words(text, bytes, used, value, counters[i].word);

        const int64_t rate =
            counters[i].grows ? weir_survey_rate(survey, seen, NULL, counters[i].key) : -1;

        if (rate >= 0 && used < bytes)
            used += (size_t)snprintf(text + used, bytes - used, " (%" PRId64 "/s)", rate);
    }
    if (used_bytes >= 0) {
        weir_format_bytes((uint64_t)used_bytes, size);
        used = add_words(text, bytes, used, -1, size);
    }
    if (peers >= 0)
        (void)add_words(text, bytes, used, peers, peers == 1 ? "client" : "clients");
}

void weir_survey_print_processes(const struct weir_survey *survey, FILE *out, bool coloured)
{
    struct weir_table *table = weir_table_new("NODE|ROLE|>PID|STATE|>RESTARTS|>UP|");
    int64_t now_ms = weir_clock_now().wall_ms;

    for (uint32_t i = 0; i < survey->count; i++) {
        const struct weir_seen *seen = &survey->at[i];
        char age[WEIR_AGE_BYTES], text[256];

        weir_table_add(table, WEIR_PLAIN, "%s", seen->label);
        weir_table_add(table, WEIR_PLAIN, "%s", weir_role_name(seen->node->role));
        add_number(table, seen->pid ? seen->pid : -1, WEIR_PLAIN);
        weir_table_add(table, state_colour(seen->state), "%s", seen->state);
        add_number(table, seen->restarts, WEIR_YELLOW);
        weir_format_age(seen->started_ms ? now_ms - seen->started_ms : -1, age);
        weir_table_add(table, WEIR_PLAIN, "%s", age);
        describe(survey, seen, text, sizeof text);
        weir_table_add(table, WEIR_DIM, "%s", text);
    }
    weir_table_print(&table, out, coloured);
}

/* The workers of a group, as all routers and ventilators together know them. */
struct workers {
    size_t count, open; /* open: whose breaker is not closed */
    bool more;          /* a node has more peers than it tells */
};

static bool serves(const json_t *peer, const char *name)
{
    const json_t *group;
    size_t i;

    json_array_foreach(json_object_get(peer, "groups"), i, group)
    {
        if (strcmp(weir_json_text(group, "group", ""), name) == 0)
            return true;
    }
    return false;
}

static struct workers workers_of(const struct weir_survey *survey, const char *name)
{
    json_t *seen = json_object(), *open = json_object();
    struct workers workers = {0};

    for (uint32_t i = 0; i < survey->count; i++) {
        const json_t *dispatch = json_object_get(survey->at[i].stats, "dispatch"), *peer;
        const json_t *peers = json_object_get(dispatch, "peers");
        size_t at;

        if (weir_json_integer(dispatch, "peer_count", 0) > (int64_t)json_array_size(peers))
            workers.more = true;
        json_array_foreach(peers, at, peer)
        {
            const char *worker = weir_json_text(peer, "worker", "");

            if (worker[0] == '\0' || strcmp(weir_json_text(peer, "state", ""), "live") != 0 ||
                !serves(peer, name))
                continue;
            json_object_set_new(seen, worker, json_true());
            if (strcmp(weir_json_text(peer, "breaker", "closed"), "closed") != 0)
                json_object_set_new(open, worker, json_true());
        }
    }
    workers.count = json_object_size(seen);
    workers.open = json_object_size(open);
    json_decref(seen);
    json_decref(open);
    return workers;
}

/* What is out of the ordinary with a group, in words. */
static void remark(const json_t *group, const struct workers *workers, char *text, size_t bytes)
{
    char breakers[48];
    size_t used = 0;

    text[0] = '\0';
    snprintf(breakers, sizeof breakers, "of %zu breakers open", workers->count);
    if (workers->open > 0)
        used = add_words(text, bytes, used, (int64_t)workers->open, breakers);
    if (json_is_true(json_object_get(group, "paused")))
        used = add_words(text, bytes, used, -1, "paused");
    else if (json_is_false(json_object_get(group, "listed")))
        used = add_words(text, bytes, used, -1, "left over");
    if (weir_json_integer(group, "dying", 0) > 0)
        (void)add_words(text, bytes, used, -1, "dead letters wait for the collector");
}

static void add_group(struct weir_table *table, const struct weir_survey *survey,
                      const struct weir_seen *seen, const char *name, const json_t *group)
{
    const struct workers workers = workers_of(survey, name);
    int64_t waiting = weir_json_integer(group, "waiting", -1);
    char age[WEIR_AGE_BYTES], remarks[128];

    weir_table_add(table, WEIR_PLAIN, "%s", name);
    weir_table_add(table, WEIR_PLAIN, "%s", seen->label);
    add_number(table, waiting, WEIR_PLAIN);
    add_number(table, weir_json_integer(group, "in-flight", -1), WEIR_GREEN);
    add_number(table, weir_json_integer(group, "deferred", -1), WEIR_YELLOW);
    add_number(table, weir_json_integer(group, "dead", -1), WEIR_RED);
    add_number(table, weir_json_integer(group, "done", -1), WEIR_PLAIN);
    if (survey->earlier != NULL)
        add_number(table, weir_survey_rate(survey, seen, name, "done"), WEIR_GREEN);
    weir_format_age(waiting > 0 ? weir_json_integer(group, "oldest_age_ms", -1) : -1, age);
    weir_table_add(table, WEIR_PLAIN, "%s", age);
    weir_table_add(table, workers.count > 0 ? WEIR_PLAIN : WEIR_YELLOW, "%zu%s", workers.count,
                   workers.more ? "+" : "");
    remark(group, &workers, remarks, sizeof remarks);
    weir_table_add(table, WEIR_YELLOW, "%s", remarks);
}

void weir_survey_print_groups(const struct weir_survey *survey, FILE *out, bool coloured)
{
    struct weir_table *table = weir_table_new(
        survey->earlier != NULL
            ? "GROUP|VENTILATOR|>WAITING|>IN FLIGHT|>DEFERRED|>DEAD|>DONE|>DONE/S|>OLDEST|>WORKERS|"
            : "GROUP|VENTILATOR|>WAITING|>IN FLIGHT|>DEFERRED|>DEAD|>DONE|>OLDEST|>WORKERS|");
    uint32_t count = 0;

    for (uint32_t i = 0; i < survey->count; i++) {
        json_t *groups = weir_seen_groups(&survey->at[i]), *group;
        const char *name;

        json_object_foreach(groups, name, group)
        {
            add_group(table, survey, &survey->at[i], name, group);
            count++;
        }
    }
    if (count > 0)
        weir_table_print(&table, out, coloured);
    else
        weir_table_destroy(&table);
}
