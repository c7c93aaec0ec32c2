#include "survey.h"

#include "output.h"
#include "run_lock_file.h"
#include "run_state_file.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The pid that the process itself has noted, for those that nobody supervises. */
static int64_t noted_pid(const struct weir_topology *topology, const struct weir_seen *seen)
{
    char *path = weir_asprintf("%s/%s.%u.pid", topology->run_dir, seen->node->name, seen->instance);
    FILE *file = fopen(path, "re");
    char text[32] = "";
    int64_t pid = 0;

    if (file != NULL) {
        if (fgets(text, sizeof text, file) != NULL)
            pid = strtoll(text, NULL, 10);
        fclose(file);
    }
    free(path);
    return pid > 0 ? pid : 0;
}

static const char *known_state(const char *name)
{
    for (int state = WEIR_PROCESS_STARTING; state <= WEIR_PROCESS_FAILED; state++) {
        if (strcmp(name, weir_process_state_name(state)) == 0)
            return weir_process_state_name(state);
    }
    return "unknown";
}

static void take_supervised(struct weir_survey *self, const json_t *state)
{
    const json_t *process;
    size_t i;

    json_array_foreach(json_object_get(state, "processes"), i, process)
    {
        const char *node = weir_json_text(process, "node", "");
        int64_t instance = weir_json_integer(process, "instance", 0);

        for (uint32_t j = 0; j < self->count; j++) {
            struct weir_seen *seen = &self->at[j];

            if (strcmp(seen->node->name, node) != 0 || seen->instance != instance)
                continue;
            seen->pid = weir_json_integer(process, "pid", 0);
            seen->restarts = weir_json_integer(process, "restarts", 0);
            seen->started_ms = weir_json_integer(process, "started_ms", 0);
            seen->state = known_state(weir_json_text(process, "state", ""));
        }
    }
}

static void settle(struct weir_survey *self, const struct weir_topology *topology,
                   struct weir_seen *seen)
{
    bool runs = strcmp(seen->state, "running") == 0;

    if (seen->stats != NULL) {
        if (json_is_true(json_object_get(seen->stats, "draining")))
            seen->state = "draining";
        else if (!runs && strcmp(seen->state, "draining") != 0)
            seen->state = "running"; /* the supervisor's note is a moment old, or there is none */
        if (seen->pid == 0)
            seen->pid = weir_json_integer(seen->stats, "pid", noted_pid(topology, seen));
        self->alive++;
    } else if (runs) {
        seen->state = "silent";
        self->alive++;
    } else if (seen->pid != 0) {
        self->alive++;
    }
}

void weir_survey_make(struct weir_survey *self, const struct weir_topology *topology,
                      struct weir_admin *admin, int64_t timeout_ms)
{
    uint32_t count = 0;

    *self = (struct weir_survey){.supervisor = weir_run_lock_holder(topology)};
    for (uint32_t i = 0; i < topology->node_count; i++)
        self->count += topology->nodes[i].count;
    self->at = weir_zalloc(self->count, sizeof *self->at);
    struct weir_admin_call *calls = weir_zalloc(self->count, sizeof *calls);

    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct weir_node *node = &topology->nodes[i];

        for (uint32_t n = 1; n <= node->count; n++) {
            struct weir_seen *seen = &self->at[count];

            *seen =
                (struct weir_seen){.node = node, .instance = n, .restarts = -1, .state = "stopped"};
            if (node->count == 1)
                snprintf(seen->label, sizeof seen->label, "%s", node->name);
            else
                snprintf(seen->label, sizeof seen->label, "%s.%u", node->name, n);
            calls[count++] = weir_admin_call_to(topology, node, n, WEIR_VERB_STATS);
        }
    }
    weir_admin_ask(admin, calls, count, timeout_ms);
    json_t *state = self->supervisor != 0 ? weir_run_state_read(topology) : NULL;

    take_supervised(self, state);
    json_decref(state);
    for (uint32_t i = 0; i < count; i++) {
        self->at[i].stats = json_incref(calls[i].answer);
        self->at[i].error = calls[i].error;
        settle(self, topology, &self->at[i]);
        weir_admin_call_fini(&calls[i]);
    }
    self->made_ns = weir_clock_now().mono_ns;
    free(calls);
}

void weir_survey_fini(struct weir_survey *self)
{
    for (uint32_t i = 0; i < self->count; i++)
        json_decref(self->at[i].stats);
    free(self->at);
    *self = (struct weir_survey){0};
}

static int64_t counter(const struct weir_seen *seen, const char *group, const char *key)
{
    const json_t *stats = seen->stats;

    if (group != NULL)
        stats = json_object_get(weir_seen_groups(seen), group);
    return weir_json_integer(stats, key, -1);
}

int64_t weir_survey_rate(const struct weir_survey *self, const struct weir_seen *seen,
                         const char *group, const char *key)
{
    const struct weir_survey *earlier = self->earlier;
    const int64_t now = counter(seen, group, key);

    for (uint32_t i = 0; earlier != NULL && i < earlier->count; i++) {
        const int64_t before = counter(&earlier->at[i], group, key);
        const int64_t passed_ms = (self->made_ns - earlier->made_ns) / WEIR_NS_PER_MS;

        if (strcmp(earlier->at[i].label, seen->label) != 0)
            continue;
        return before >= 0 && now >= before && passed_ms > 0 ? (now - before) * 1000 / passed_ms
                                                             : -1; /* it began anew */
    }
    return -1;
}

json_t *weir_seen_groups(const struct weir_seen *seen)
{
    json_t *groups = json_object_get(seen->stats, "groups");

    return seen->node->role == WEIR_ROLE_VENTILATOR && json_is_object(groups) ? groups : NULL;
}

json_t *weir_seen_to_json(const struct weir_seen *seen)
{
    json_t *row = json_pack("{s:s, s:s, s:i}", "node", seen->node->name, "role",
                            weir_role_name(seen->node->role), "instance", (int)seen->instance);
    json_t *groups = weir_seen_groups(seen);

    json_object_set_new(row, "pid", seen->pid ? json_integer(seen->pid) : json_null());
    json_object_set_new(row, "state", json_string(seen->state));
    json_object_set_new(row, "restarts",
                        seen->restarts >= 0 ? json_integer(seen->restarts) : json_null());
    if (seen->started_ms > 0)
        json_object_set_new(row, "started_ms", json_integer(seen->started_ms));
    json_object_set_new(row, "groups", groups != NULL ? json_incref(groups) : json_object());
    if (seen->stats != NULL) {
        json_t *stats = json_copy(seen->stats);

        json_object_del(stats, "groups");
        json_object_set_new(row, "stats", stats);
    } else {
        json_object_set_new(row, "error", json_string(seen->error.text));
    }
    return row;
}
