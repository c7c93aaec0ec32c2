/* A file that uses every option, read back field by field; defaults; the graph. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <config/config.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct weir_topology *load(const char *file)
{
    struct weir_topology *topology;

    assert_int_equal(weir_topology_load(file, stderr, false, &topology, NULL), 0);
    return topology;
}

static const struct weir_node *node(const struct weir_topology *topology, const char *name)
{
    const struct weir_node *found = weir_topology_node(topology, name);

    assert_non_null(found);
    return found;
}

static void check_policy(const struct weir_group_policy *policy)
{
    assert_int_equal(policy->topic_count, 2);
    assert_string_equal(policy->topics[0], "user.signed_up");
    assert_string_equal(policy->topics[1], "user.*.mail");
    assert_int_equal(policy->order, WEIR_ORDER_KEY);
    assert_int_equal(policy->delivery, WEIR_AT_LEAST_ONCE);
    assert_int_equal(policy->start, WEIR_START_EARLIEST);
    assert_int_equal(policy->attempts, 0);
    assert_int_equal(policy->backoff.first_ms, 500);
    assert_int_equal(policy->backoff.factor_permille, 1500);
    assert_int_equal(policy->backoff.max_ms, 120000);
    assert_int_equal(policy->timeout_ms, 0);
    assert_int_equal(policy->lease_ms, 45000);
    assert_int_equal(policy->rate_permille, 200000);
    assert_int_equal(policy->max_backlog, 1000);
    assert_int_equal(policy->on_full, WEIR_ON_FULL_DEAD_LETTER);
    assert_int_equal(policy->expire_idle_ms, 7 * 86400000);
    assert_false(policy->dynamic);
}

static void test_ventilator(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    const struct weir_node *intake = node(topology, "intake");

    (void)state;
    assert_string_equal(topology->name, "full");
    assert_string_equal(topology->file, "full.yaml");
    assert_string_equal(topology->run_dir, "var/full");
    assert_string_equal(topology->directory, FILES_DIR);
    assert_int_equal(topology->node_count, 10);
    assert_int_equal(intake->role, WEIR_ROLE_VENTILATOR);
    assert_int_equal(intake->line, 4);
    assert_int_equal(intake->column, 3);
    assert_string_equal(intake->submit, "tcp://127.0.0.1:7400");
    assert_string_equal(intake->dispatch, "tcp://127.0.0.1:7401");
    assert_int_equal(intake->tag, 513);
    assert_string_equal(intake->spool_dir, "var/full/intake");
    assert_int_equal(intake->fsync, WEIR_FSYNC_INTERVAL);
    assert_int_equal(intake->spool_bytes_max, UINT64_C(4) << 30);
    assert_ptr_equal(intake->dead_letters, node(topology, "dlq"));
    assert_true(intake->dynamic_groups);
    assert_int_equal(intake->idempotency_window_ms, 600000);
    assert_int_equal(intake->idempotency_count_max, 5000);
    assert_int_equal(intake->group_count, 4);
    assert_string_equal(intake->groups[0].name, "email");
    assert_string_equal(intake->groups[1].name, "same");
    check_policy(&intake->groups[0]);
    check_policy(&intake->groups[1]);
    assert_string_equal(intake->groups[3].name, "once");
    assert_int_equal(intake->groups[3].delivery, WEIR_AT_MOST_ONCE);
    assert_true(intake->group_external[0]);
    assert_false(intake->group_external[2]);
    assert_ptr_equal(weir_topology_group(topology, "same"), &intake->groups[1]);
    assert_null(weir_topology_group(topology, "other"));
    weir_topology_destroy(&topology);
    assert_null(topology);
}

static void test_defaults(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    const struct weir_node *intake = node(topology, "intake"), *next = node(topology, "next");
    struct weir_group_policy expected = weir_group_policy_default();
    const struct weir_group_policy *plain = &intake->groups[2];

    (void)state;
    assert_string_equal(plain->name, "plain");
    assert_string_equal(plain->topics[0], ">");
    assert_int_equal(plain->order, expected.order);
    assert_int_equal(plain->delivery, expected.delivery);
    assert_int_equal(plain->start, expected.start);
    assert_int_equal(plain->attempts, expected.attempts);
    assert_int_equal(plain->backoff.first_ms, expected.backoff.first_ms);
    assert_int_equal(plain->backoff.factor_permille, expected.backoff.factor_permille);
    assert_int_equal(plain->backoff.max_ms, expected.backoff.max_ms);
    assert_int_equal(plain->timeout_ms, expected.timeout_ms);
    assert_int_equal(plain->lease_ms, expected.lease_ms);
    assert_int_equal(plain->rate_permille, expected.rate_permille);
    assert_int_equal(plain->max_backlog, expected.max_backlog);
    assert_int_equal(plain->on_full, expected.on_full);
    assert_int_equal(plain->expire_idle_ms, expected.expire_idle_ms);
    assert_int_equal(next->fsync, WEIR_FSYNC_ALWAYS);
    assert_int_equal(next->spool_bytes_max, 0);
    assert_int_equal(next->count, 1);
    assert_null(next->dead_letters);
    assert_false(next->dynamic_groups);
    assert_int_equal(next->idempotency_window_ms, 3600000);
    assert_int_equal(next->idempotency_count_max, 100000);
    assert_int_not_equal(next->tag, 0);
    weir_topology_destroy(&topology);
}

static void test_workers(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    const struct weir_node *work = node(topology, "work"), *other = node(topology, "coprocess");
    const struct weir_node *far = node(topology, "far");

    (void)state;
    assert_int_equal(far->from_count, 1);
    assert_ptr_equal(far->from[0], node(topology, "hub"));
    assert_int_equal(work->from_count, 2);
    assert_ptr_equal(work->from[0], far);
    assert_ptr_equal(work->from[1], node(topology, "intake"));
    assert_ptr_equal(work->to, node(topology, "next"));
    assert_string_equal(work->group, "email");
    assert_int_equal(work->count, 3);
    assert_string_equal(work->run[0], FILES_DIR "/./handler.sh");
    assert_string_equal(work->run[1], "--level");
    assert_string_equal(work->run[2], "3");
    assert_string_equal(work->run[3], "");
    assert_null(work->run[4]);
    assert_null(work->serve);
    assert_string_equal(work->env[0], "LANG=C.UTF-8");
    assert_string_equal(work->env[1], "EMPTY=");
    assert_null(work->env[2]);
    assert_int_equal(work->concurrency, 16);
    assert_int_equal(work->prefetch, 32);
    assert_int_equal(work->prefetch_bytes, 1 << 20);
    assert_string_equal(work->result_topic, "mail.sent");
    assert_null(other->run);
    assert_int_equal(other->serve[0][0], '/');
    assert_string_equal(strrchr(other->serve[0], '/'), "/sh");
    assert_string_equal(other->serve[2], "cat");
    assert_int_equal(other->prefetch, 2);
    assert_int_equal(other->concurrency, 1);
    assert_null(other->env[0]);
    assert_null(other->result_topic);
    weir_topology_destroy(&topology);
}

static void test_holders(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    const struct weir_node *lines = node(topology, "lines"), *rows = node(topology, "rows");
    const struct weir_node *shown = node(topology, "shown"), *dlq = node(topology, "dlq");

    (void)state;
    assert_int_equal(lines->sink, WEIR_SINK_JSONL);
    assert_string_equal(lines->sink_path, "var/full/out.jsonl");
    assert_string_equal(lines->ledger_path, "var/full/out.jsonl.ledger");
    assert_int_equal(rows->sink, WEIR_SINK_SQLITE);
    assert_string_equal(rows->sink_path, "var/full/out.db");
    assert_string_equal(rows->ledger_path, "var/full/out.db");
    assert_int_equal(shown->sink, WEIR_SINK_STDOUT);
    assert_null(shown->sink_path);
    assert_string_equal(shown->ledger_path, "var/full/seen.db");
    assert_string_equal(dlq->store_path, "var/full/dlq.db");
    assert_int_not_equal(lines->tag, rows->tag);
    weir_topology_destroy(&topology);
}

static void test_admin_endpoint(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    char *endpoint = weir_node_admin_endpoint(topology, node(topology, "work"), 3);

    (void)state;
    assert_string_equal(endpoint, "ipc://var/full/work.3.admin");
    free(endpoint);
    weir_topology_destroy(&topology);
}

static void test_graph(void **state)
{
    struct weir_topology *topology = load("full.yaml");
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    weir_topology_graph(topology, out);
    fclose(out);
    assert_non_null(strstr(text, "digraph \"full\" {\n"));
    assert_non_null(strstr(text, "\"work\" [shape=box, fillcolor=\"#fff3c4\", label=\"work × "
                                 "3\\nworker\\nhandler.sh\"];\n"));
    assert_non_null(strstr(text, "\"intake\" -> \"work\" [label=\"email\"];\n"));
    assert_non_null(strstr(text, "\"work\" -> \"next\" [label=\"results\"];\n"));
    assert_non_null(
        strstr(text, "\"intake\" -> \"dlq\" [label=\"dead letters\", style=dashed];\n"));
    assert_non_null(strstr(text, "\"producers of intake\" -> \"intake\";\n"));
    assert_null(strstr(text, "producers of next"));
    free(text);
    weir_topology_destroy(&topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ventilator),     cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_workers),        cmocka_unit_test(test_holders),
        cmocka_unit_test(test_admin_endpoint), cmocka_unit_test(test_graph),
    };

    if (chdir(FILES_DIR) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
