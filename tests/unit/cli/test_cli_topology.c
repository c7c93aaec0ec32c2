/* Which ventilator takes a message; the supervisor's lock; its state file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/alloc.h>
#include <choose_ventilator.h>
#include <cmocka.h>
#include <config/config.h>
#include <run_lock_file.h>
#include <run_state_file.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char first_stage[] =
    "topology: t\nnodes:\n"
    "  a: { role: ventilator, submit: ipc://a, dispatch: ipc://b, spool: { dir: a },"
    " groups: { g: { topics: [in.>] } } }\n";
static const char second_stage[] =
    "  b: { role: ventilator, submit: ipc://c, dispatch: ipc://d, spool: { dir: b },"
    " groups: { h: { topics: [out.*] } } }\n"
    "  w: { role: worker, from: [a], group: g, to: b, run: [cat] }\n";
static const char third[] =
    "  c: { role: ventilator, submit: ipc://e, dispatch: ipc://f, spool: { dir: c },"
    " groups: { i: { topics: [out.x] } } }\n";

static int make_directory(void **state)
{
    char *directory = weir_strdup("/tmp/weir-cli-XXXXXX");

    if (mkdtemp(directory) == NULL || chdir(directory) != 0)
        return -1;
    *state = directory;
    return 0;
}

static int remove_directory(void **state)
{
    static const char *const files[] = {"t.yaml", "var/t/up.lock", "var/t/state.json"};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlink(files[i]);
    rmdir("var/t");
    rmdir("var");
    assert_int_equal(chdir("/"), 0);
    rmdir(*state);
    free(*state);
    return 0;
}

static struct weir_topology *load(const char *one, const char *two, const char *three)
{
    struct weir_topology *topology;
    FILE *out = fopen("t.yaml", "we");

    assert_non_null(out);
    fprintf(out, "%s%s%s", one, two, three);
    fclose(out);
    assert_int_equal(weir_topology_load("t.yaml", stderr, false, &topology, NULL), 0);
    return topology;
}

static void expect_choice(const struct weir_topology *topology, const char *topic, const char *name)
{
    const struct weir_node *node = NULL;
    struct weir_error error;

    assert_int_equal(weir_choose_ventilator(topology, topic, &node, &error), 0);
    assert_string_equal(node->name, name);
}

static void test_choice(void **state)
{
    struct weir_topology *topology = load(first_stage, "", "");
    const struct weir_node *node;
    struct weir_error error;

    (void)state;
    expect_choice(topology, "anything", "a"); /* the only one */
    assert_false(weir_ventilator_takes(weir_topology_node(topology, "a"), "anything"));
    assert_true(weir_ventilator_takes(weir_topology_node(topology, "a"), "in.x"));
    weir_topology_destroy(&topology);
    topology = load(first_stage, second_stage, "");
    expect_choice(topology, "in.x.y", "a"); /* the only one with a group */
    expect_choice(topology, "out.x", "b");
    expect_choice(topology, "anything", "a"); /* the only one that takes no results */
    weir_topology_destroy(&topology);
    topology = load(first_stage, second_stage, third);
    expect_choice(topology, "out.y", "b");
    assert_int_equal(weir_choose_ventilator(topology, "out.x", &node, &error), WEIR_EINVAL);
    assert_non_null(strstr(error.text, "--node: a, b, c"));
    weir_topology_destroy(&topology);
}

static void test_lock(void **state)
{
    struct weir_topology *topology = load(first_stage, "", "");
    struct weir_error error;
    int ready[2], done[2], fd = -1;
    char byte;

    (void)state;
    assert_int_equal(weir_run_lock_holder(topology), 0);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t pid = fork();

    if (pid == 0) {
        bool taken = weir_run_lock_take(topology, &fd, &error) == 0;

        (void)!write(ready[1], "r", 1);
        close(done[1]);
        (void)!read(done[0], &byte, 1);
        _exit(taken ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(weir_run_lock_holder(topology), pid);
    assert_int_equal(weir_run_lock_take(topology, &fd, &error), WEIR_ELOCKED);
    char *number = weir_asprintf("process %d", (int)pid);

    assert_non_null(strstr(error.text, number));
    free(number);
    close(done[1]);
    int wait_status;

    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_int_equal(wait_status, 0);
    /* The holder is gone, and with it the lock: nothing is stale. */
    assert_int_equal(weir_run_lock_holder(topology), 0);
    assert_int_equal(weir_run_lock_take(topology, &fd, &error), 0);
    close(fd);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
    weir_topology_destroy(&topology);
}

static void test_state_file(void **state)
{
    struct weir_topology *topology = load(first_stage, "", "");
    struct weir_error error;
    json_t *read_back;
    int fd;

    (void)state;
    assert_int_equal(weir_run_lock_take(topology, &fd, &error), 0);
    assert_null(weir_run_state_read(topology));
    assert_int_equal(weir_run_state_write(topology, json_pack("{s:i}", "pid", 42), &error), 0);
    assert_int_equal(weir_run_state_write(topology, json_pack("{s:i}", "pid", 43), &error), 0);
    read_back = weir_run_state_read(topology);
    assert_int_equal(json_integer_value(json_object_get(read_back, "pid")), 43);
    assert_int_equal(access("var/t/state.json.new", F_OK), -1);
    json_decref(read_back);
    close(fd);
    weir_topology_destroy(&topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_choice, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_lock, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_state_file, make_directory, remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
