/* What must hold between options, and between nodes. */
#include <base/alloc.h>
#include <base/limits.h>
#include <config/draft.h>
#include <stdlib.h>
#include <string.h>

/* Something that no two nodes may share: an endpoint, a file. */
struct claim {
    char *what;
    const char *option;
    uint32_t node;
    struct weir_place place;
};

struct claims {
    struct claim *at;
    uint32_t count;
};

/* Takes `what` over. Reports an earlier claim to the same. */
static void claim(struct weir_draft *draft, struct claims *claims, char *what, const char *kind,
                  uint32_t node, const char *option, struct weir_place place)
{
    for (uint32_t i = 0; i < claims->count; i++) {
        const struct claim *earlier = &claims->at[i];

        if (strcmp(earlier->what, what) != 0)
            continue;
        weir_findings_error(&draft->findings, place,
                            "%s %s is taken: %s of '%s' (line %u)\nexpected one of its own", kind,
                            what, earlier->option, draft->topology->nodes[earlier->node].name,
                            earlier->place.line);
        free(what);
        return;
    }
    claims->at = weir_realloc(claims->at, claims->count + 1, sizeof *claims->at);
    claims->at[claims->count++] = (struct claim){what, option, node, place};
}

static void claims_fini(struct claims *claims)
{
    for (uint32_t i = 0; i < claims->count; i++)
        free(claims->at[i].what);
    free(claims->at);
}

/* "./a//b/" and "a/b" are one file. (".." and links are not looked into.) */
static char *plain_path(const char *path)
{
    char *plain = weir_zalloc(strlen(path) + 2, 1);
    size_t used = 0;

    if (path[0] == '/')
        plain[used++] = '/';
    while (*path != '\0') {
        size_t bytes = strcspn(path, "/");

        if (bytes > 0 && !(bytes == 1 && path[0] == '.')) {
            if (used > 0 && plain[used - 1] != '/')
                plain[used++] = '/';
            memcpy(plain + used, path, bytes);
            used += bytes;
        }
        path += bytes + (path[bytes] == '/');
    }
    plain[used] = '\0';
    return plain;
}

static struct weir_place section_place(const struct weir_draft *draft, uint32_t node,
                                       const char *section, const char *option)
{
    struct weir_place place = weir_draft_option_place(draft, node, section);

    weir_draft_get(weir_draft_get(draft->nodes[node].map, section, NULL), option, &place);
    return place;
}

static void check_clashes(struct weir_draft *draft)
{
    struct weir_topology *topology = draft->topology;
    struct claims endpoints = {0}, files = {0};

    for (uint32_t i = 0; i < topology->node_count; i++) {
        struct weir_node *node = &topology->nodes[i];

        if (node->submit != NULL)
            claim(draft, &endpoints, weir_strdup(node->submit), "endpoint", i, "submit",
                  weir_draft_option_place(draft, i, "submit"));
        if (node->dispatch != NULL)
            claim(draft, &endpoints, weir_strdup(node->dispatch), "endpoint", i, "dispatch",
                  weir_draft_option_place(draft, i, "dispatch"));
        if (node->spool_dir != NULL)
            claim(draft, &files, plain_path(node->spool_dir), "path", i, "spool dir",
                  section_place(draft, i, "spool", "dir"));
        if (node->sink_path != NULL)
            claim(draft, &files, plain_path(node->sink_path), "path", i, "write",
                  section_place(draft, i, "write",
                                node->sink == WEIR_SINK_SQLITE ? "sqlite" : "jsonl"));
        if (node->ledger_path != NULL && node->sink != WEIR_SINK_SQLITE)
            claim(draft, &files, plain_path(node->ledger_path), "path", i, "ledger",
                  section_place(draft, i, "write", "ledger"));
        if (node->store_path != NULL)
            claim(draft, &files, plain_path(node->store_path), "path", i, "store",
                  weir_draft_option_place(draft, i, "store"));
    }
    claims_fini(&endpoints);
    claims_fini(&files);
}

static uint16_t tag_of_name(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a, folded */

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    uint16_t tag = (uint16_t)(hash ^ (hash >> 16));

    return tag != 0 ? tag : 1;
}

static void check_tags(struct weir_draft *draft)
{
    struct weir_topology *topology = draft->topology;

    for (uint32_t i = 0; i < topology->node_count; i++) {
        struct weir_node *node = &topology->nodes[i];

        if (!draft->nodes[i].role_known || node->role == WEIR_ROLE_ROUTER ||
            node->role == WEIR_ROLE_WORKER)
            continue;
        if (node->tag == 0)
            node->tag = tag_of_name(node->name);
        for (uint32_t j = 0; j < i; j++) {
            if (topology->nodes[j].tag != node->tag)
                continue;
            weir_findings_error(&draft->findings, weir_draft_option_place(draft, i, "tag"),
                                "'%s' and '%s' have the same tag, %u\ngive one of them another: "
                                "'tag: NUMBER' (before it has kept its first message)",
                                topology->nodes[j].name, node->name, node->tag);
            break;
        }
    }
}

static void check_count(struct weir_draft *draft, uint32_t index)
{
    const struct weir_node *node = &draft->topology->nodes[index];
    struct weir_place place = weir_draft_option_place(draft, index, "count");

    if (node->count <= 1 || node->role == WEIR_ROLE_WORKER)
        return;
    if (node->role == WEIR_ROLE_VENTILATOR)
        weir_findings_error(&draft->findings, place,
                            "count: a ventilator cannot be sharded yet\nexpected 1; declare "
                            "further ventilators by name, each with its own spool");
    else
        weir_findings_error(&draft->findings, place,
                            "count: only workers may run more than once\nexpected 1; declare a "
                            "second %s by name, with its own endpoint",
                            weir_role_name(node->role));
}

static void check_worker(struct weir_draft *draft, uint32_t index)
{
    struct weir_node *node = &draft->topology->nodes[index];
    struct weir_place name = draft->nodes[index].place;
    struct fy_node *map = draft->nodes[index].map;
    bool run = weir_draft_get(map, "run", NULL) != NULL;
    bool serve = weir_draft_get(map, "serve", NULL) != NULL;

    if (run && serve)
        weir_findings_error(&draft->findings, weir_draft_option_place(draft, index, "serve"),
                            "worker '%s' has both run and serve\nkeep one", node->name);
    if (!run && !serve)
        weir_findings_error(&draft->findings, name,
                            "worker '%s' has no handler\nexpected run: [program, …] or serve: "
                            "[program, …]",
                            node->name);
    const uint32_t in_work = node->concurrency * (serve ? WEIR_SERVE_WINDOW : 1);
    if (node->prefetch == 0)
        node->prefetch = in_work > 4 ? 2 * in_work : 8;
    else if (node->prefetch < node->concurrency)
        weir_findings_error(&draft->findings, weir_draft_option_place(draft, index, "prefetch"),
                            "prefetch: %u is less than the concurrency, %u\nexpected at least as "
                            "many: running messages count, too",
                            node->prefetch, node->concurrency);
    if (weir_draft_get(map, "result-topic", NULL) != NULL &&
        weir_draft_get(map, "to", NULL) == NULL)
        weir_findings_error(&draft->findings, weir_draft_option_place(draft, index, "result-topic"),
                            "result-topic: the results of '%s' go nowhere\nexpected 'to', too",
                            node->name);
}

static void check_sink(struct weir_draft *draft, uint32_t index)
{
    struct weir_node *node = &draft->topology->nodes[index];
    struct weir_place place = draft->nodes[index].place;
    struct fy_node *write = weir_draft_get(draft->nodes[index].map, "write", &place);
    char *jsonl = weir_draft_text(weir_draft_get(write, "jsonl", NULL));
    char *sqlite = weir_draft_text(weir_draft_get(write, "sqlite", NULL));
    char *out = weir_draft_text(weir_draft_get(write, "stdout", NULL));
    bool to_stdout = out != NULL && strcmp(out, "true") == 0;

    free(out);
    if (write != NULL && (jsonl != NULL) + (sqlite != NULL) + to_stdout != 1)
        weir_findings_error(&draft->findings, place,
                            "write of '%s' must say one thing\nexpected one of { jsonl: FILE }, { "
                            "sqlite: FILE } and { stdout: true }",
                            node->name);
    if (sqlite != NULL && node->ledger_path != NULL)
        weir_findings_error(&draft->findings, section_place(draft, index, "write", "ledger"),
                            "ledger: a SQLite sink remembers in its own database\nleave it out");
    node->sink = sqlite ? WEIR_SINK_SQLITE : jsonl ? WEIR_SINK_JSONL : WEIR_SINK_STDOUT;
    if (sqlite != NULL) {
        free(node->ledger_path);
        node->ledger_path = weir_strdup(sqlite);
    } else if (node->ledger_path == NULL && jsonl != NULL) {
        node->ledger_path = weir_asprintf("%s.ledger", jsonl);
    } else if (node->ledger_path == NULL && to_stdout && draft->topology->run_dir != NULL) {
        node->ledger_path = weir_asprintf("%s/%s.ledger", draft->topology->run_dir, node->name);
    }
    node->sink_path = jsonl != NULL ? jsonl : sqlite;
    if (jsonl != NULL)
        free(sqlite);
}

static void check_ventilator(struct weir_draft *draft, uint32_t index)
{
    const struct weir_node *node = &draft->topology->nodes[index];

    for (uint32_t i = 0; i < node->group_count; i++) {
        const struct weir_group_policy *group = &node->groups[i];
        struct fy_node *map = weir_draft_get(draft->nodes[index].groups_map, group->name, NULL);
        struct weir_place place = draft->nodes[index].group_places[i];

        if (group->backoff.max_ms < group->backoff.first_ms) {
            weir_draft_get(weir_draft_get(map, "backoff", &place), "max", &place);
            weir_findings_error(&draft->findings, place,
                                "backoff of group '%s': max is less than first\nexpected at least "
                                "%lldms",
                                group->name, (long long)group->backoff.first_ms);
        }
        if (weir_draft_get(map, "on-full", &place) != NULL && group->max_backlog == 0 &&
            !weir_draft_get(map, "max-backlog", NULL))
            weir_findings_error(&draft->findings, place,
                                "on-full: the backlog of group '%s' has no bound, so it is never "
                                "full\nexpected 'max-backlog: N' beside it; or leave 'on-full' out",
                                group->name);
        if (group->order == WEIR_ORDER_KEY && group->delivery == WEIR_AT_MOST_ONCE) {
            weir_draft_get(map, "order", &place);
            weir_findings_error(&draft->findings, place,
                                "order: group '%s' delivers at most once, and waits for nothing "
                                "that it has sent\nexpected 'delivery: at-least-once' beside it; "
                                "or leave 'order' out",
                                group->name);
        }
    }
}

static void check_admin_path(struct weir_draft *draft, uint32_t index)
{
    struct weir_topology *topology = draft->topology;
    struct weir_node *node = &topology->nodes[index];

    if (topology->run_dir == NULL)
        return;
    char *endpoint = weir_node_admin_endpoint(topology, node, node->count);
    size_t bytes = strlen(endpoint) - strlen("ipc://");

    if (bytes > WEIR_IPC_PATH_BYTES_MAX)
        weir_findings_error(&draft->findings, draft->nodes[index].place,
                            "the names are too long: the path of its admin socket, %s, has %zu "
                            "bytes\nexpected at most %u (a limit of the kernel): shorten the name "
                            "of the topology or of the node",
                            endpoint + strlen("ipc://"), bytes, WEIR_IPC_PATH_BYTES_MAX);
    free(endpoint);
}

void weir_draft_check(struct weir_draft *draft)
{
    struct weir_topology *topology = draft->topology;

    if (topology->name != NULL)
        topology->run_dir = weir_asprintf("var/%s", topology->name);
    for (uint32_t i = 0; i < topology->node_count; i++) {
        if (!draft->nodes[i].role_known)
            continue;
        check_count(draft, i);
        check_admin_path(draft, i);
        switch (topology->nodes[i].role) {
        case WEIR_ROLE_VENTILATOR:
            check_ventilator(draft, i);
            break;
        case WEIR_ROLE_WORKER:
            check_worker(draft, i);
            break;
        case WEIR_ROLE_SINK:
            check_sink(draft, i);
            break;
        default:
            break;
        }
    }
    check_tags(draft);
    check_clashes(draft);
}
