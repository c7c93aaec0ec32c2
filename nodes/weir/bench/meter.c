#include "meter.h"

#include "../output.h"
#include "../survey.h"
#include "bodies.h"

#include <base/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *weir_bench_kind_name(enum weir_bench_kind kind)
{
    static const char *const names[] = {
        [WEIR_BENCH_PRODUCER] = "producer", [WEIR_BENCH_VENTILATOR] = "ventilator",
        [WEIR_BENCH_ROUTER] = "router",     [WEIR_BENCH_WORKER] = "worker",
        [WEIR_BENCH_SINK] = "sink",
    };

    return names[kind];
}

/* ---- CPU and memory ---------------------------------------------------------------------------
 */

void weir_bench_meter_add(struct weir_bench_meter *self, enum weir_bench_kind kind, pid_t pid)
{
    struct weir_bench_metered *metered = &self->at[self->count++];

    WEIR_ASSERT(self->count <= WEIR_BENCH_PARTS_MAX);
    *metered = (struct weir_bench_metered){.kind = kind, .pid = pid};
    /* The process's own clock of CPU time: in ns, all threads, those that have ended, too. */
    if (clock_getcpuclockid(pid, &metered->cpu) != 0)
        metered->pid = 0;
}

void weir_bench_meter_cut(struct weir_bench_meter *self, uint32_t first)
{
    self->count = first;
}

/* False: there is no such process. */
static bool anonymous_bytes(pid_t pid, uint64_t *bytes)
{
    char path[64], line[128];
    unsigned long long kib = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = strtoull(line + 8, NULL, 10);
            break;
        }
    }
    fclose(file);
    *bytes = kib * 1024;
    return true;
}

void weir_bench_meter_sample(struct weir_bench_meter *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        const enum weir_bench_kind kind = self->at[i].kind;
        uint64_t bytes = 0;

        /* Producers end when they have done their work; the crew knows of its own. */
        if (!anonymous_bytes(self->at[i].pid, &bytes) && kind != WEIR_BENCH_PRODUCER)
            self->gone = weir_bench_kind_name(kind);
        if (bytes > self->rss_max_bytes[kind])
            self->rss_max_bytes[kind] = bytes;
    }
}

uint64_t weir_bench_meter_rss(const struct weir_bench_meter *self, enum weir_bench_kind kind)
{
    uint64_t sum = 0, bytes = 0;

    for (uint32_t i = 0; i < self->count; i++) {
        if (self->at[i].kind == kind && anonymous_bytes(self->at[i].pid, &bytes))
            sum += bytes;
    }
    return sum;
}

struct weir_bench_cpu weir_bench_meter_cpu(const struct weir_bench_meter *self)
{
    struct weir_bench_cpu cpu = {0};
    struct timespec used;

    for (uint32_t i = 0; i < self->count; i++) {
        if (self->at[i].pid != 0 && clock_gettime(self->at[i].cpu, &used) == 0)
            cpu.ns[self->at[i].kind] += (int64_t)used.tv_sec * WEIR_NS_PER_S + used.tv_nsec;
    }
    return cpu;
}

/* ---- The topology -----------------------------------------------------------------------------
 */

static enum weir_bench_kind kind_of(const struct weir_node *node)
{
    switch (node->role) {
    case WEIR_ROLE_ROUTER:
        return WEIR_BENCH_ROUTER;
    case WEIR_ROLE_SINK:
        return WEIR_BENCH_SINK;
    case WEIR_ROLE_WORKER:
        return WEIR_BENCH_WORKER;
    default:
        return WEIR_BENCH_VENTILATOR;
    }
}

static void survey(const struct weir_bench_stage *stage, struct weir_survey *made)
{
    struct weir_admin *admin = weir_admin_new();

    weir_survey_make(made, stage->topology, admin, WEIR_ADMIN_TIMEOUT_MS);
    weir_admin_destroy(&admin);
}

static int check(const struct weir_survey *made, struct weir_error *error)
{
    for (uint32_t i = 0; i < made->count; i++) {
        const struct weir_seen *seen = &made->at[i];

        if (seen->restarts > 0)
            return weir_error_set(error, WEIR_EIO, "the %s has ended, and was started again",
                                  seen->label);
        if (seen->pid == 0) /* that it answers late on a busy machine is no fault */
            return weir_error_set(error, WEIR_EIO, "the %s is not there", seen->label);
    }
    return 0;
}

int weir_bench_stage_sound(const struct weir_bench_stage *stage, struct weir_error *error)
{
    struct weir_survey made;

    survey(stage, &made);
    const int status = check(&made, error);

    weir_survey_fini(&made);
    return status;
}

int weir_bench_meter_add_stage(struct weir_bench_meter *self, const struct weir_bench_stage *stage,
                               struct weir_error *error)
{
    struct weir_survey made;

    survey(stage, &made);
    const int status = check(&made, error);

    for (uint32_t i = 0; i < made.count && status == 0; i++)
        weir_bench_meter_add(self, kind_of(made.at[i].node), (pid_t)made.at[i].pid);
    weir_survey_fini(&made);
    return status;
}

/* How many of the last hop's peers serve groups: each worker serves one. */
static uint64_t workers_of(const struct weir_seen *seen)
{
    const json_t *peers = json_object_get(json_object_get(seen->stats, "dispatch"), "peers"), *peer;
    uint64_t count = 0;
    size_t i;

    json_array_foreach(peers, i, peer)
    {
        if (strcmp(weir_json_text(peer, "role", ""), "worker") == 0)
            count += json_array_size(json_object_get(peer, "groups"));
    }
    return count;
}

bool weir_bench_stage_joined(const struct weir_bench_stage *stage)
{
    const struct weir_node *last = stage->router != NULL ? stage->router : stage->ventilator;
    struct weir_survey made;
    uint64_t workers = 0, passed_up = stage->router != NULL ? 0 : stage->plan->groups;

    survey(stage, &made);
    for (uint32_t i = 0; i < made.count; i++) {
        const struct weir_seen *seen = &made.at[i];
        const json_t *group;
        const char *name;

        if (seen->node == last)
            workers = workers_of(seen);
        if (seen->node != stage->ventilator || stage->router == NULL)
            continue;
        json_object_foreach(weir_seen_groups(seen), name, group) passed_up +=
            weir_json_integer(group, "peers", 0) > 0;
    }
    weir_survey_fini(&made);
    return workers == (uint64_t)stage->plan->groups * stage->plan->workers &&
           passed_up == stage->plan->groups;
}

/* ---- Asking -----------------------------------------------------------------------------------
 */

void weir_bench_asker_init(struct weir_bench_asker *self, const struct weir_bench_stage *stage)
{
    self->admin = weir_admin_new();
    self->call = weir_admin_call_to(stage->topology, stage->ventilator, 1, WEIR_VERB_STATS);
    self->call.stay = true;
}

void weir_bench_asker_fini(struct weir_bench_asker *self)
{
    weir_admin_call_fini(&self->call);
    weir_admin_destroy(&self->admin);
}

int weir_bench_ask(struct weir_bench_asker *self, struct weir_bench_counts *counts,
                   struct weir_error *error)
{
    const json_t *stats, *group;
    const char *name;

    weir_admin_ask(self->admin, &self->call, 1, WEIR_ADMIN_TIMEOUT_MS);
    stats = self->call.answer;
    if (stats == NULL) {
        *error = self->call.error;
        return weir_error_wrap(error, "the ventilator");
    }
    *counts = (struct weir_bench_counts){
        .accepted = (uint64_t)weir_json_integer(stats, "accepted", 0),
        .done = UINT64_MAX,
        .log_syncs = (uint64_t)weir_json_integer(stats, "log_syncs", 0),
        .state_writes = (uint64_t)weir_json_integer(stats, "flushes", 0)};
    json_object_foreach(json_object_get(stats, "groups"), name, group)
    {
        const uint64_t done = (uint64_t)weir_json_integer(group, "done", 0);

        if (done < counts->done)
            counts->done = done;
    }
    return 0;
}

int weir_bench_groups(const struct weir_bench_stage *stage, bool pause, struct weir_error *error)
{
    struct weir_admin *admin = weir_admin_new();
    struct weir_error why = {0};

    for (uint32_t i = 0; i < stage->plan->groups && why.code == 0; i++) {
        struct weir_admin_call call =
            weir_admin_call_to(stage->topology, stage->ventilator, 1, WEIR_VERB_GROUP);
        char name[WEIR_BENCH_GROUP_BYTES];

        weir_bench_group_name(i, name);
        WEIR_SET(&call.request, group, GROUP, weir_text_of(name));
        WEIR_SET(&call.request, action, ACTION, weir_text_of(pause ? "pause" : "resume"));
        weir_admin_ask(admin, &call, 1, stage->plan->patience_ms);
        if (call.answer == NULL)
            why = call.error;
        weir_admin_call_fini(&call);
    }
    weir_admin_destroy(&admin);
    if (why.code == 0)
        return 0;
    return weir_error_set(error, WEIR_EIO, "the ventilator: %s", why.text);
}
