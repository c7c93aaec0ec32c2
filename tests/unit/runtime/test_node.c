/* What every main shares: the command line, the run directory, the wires, the exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <getopt.h>
#include <runtime/node.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char topology[] =
    "topology: test\n"
    "nodes:\n"
    "  intake:\n"
    "    role: ventilator\n"
    "    submit: ipc://submit\n"
    "    dispatch: ipc://dispatch\n"
    "    spool: { dir: var/test/intake }\n"
    "    groups: { g: { topics: [t] } }\n"
    "  hub: { role: router, from: [intake], dispatch: ipc://hub }\n"
    "  work: { role: worker, from: [hub], group: g, run: [cat], count: 2 }\n";

static char directory[] = "/tmp/weir-test-XXXXXX";

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up_directory(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chdir(directory), 0);
    write_file("test.yaml", topology);
    unsetenv("WEIR_TOPOLOGY");
    return 0;
}

/* Names what the tests may leave, so that an unknown leftover is noticed. */
static int remove_directory(void **state)
{
    (void)state;
    static const char *const files[] = {"test.yaml",
                                        "bad.yaml",
                                        "hub",
                                        "hub.lock",
                                        "dispatch",
                                        "dispatch.lock",
                                        "var/test/hub.1.admin",
                                        "var/test/hub.1.admin.lock",
                                        "var/test/work.2.admin",
                                        "var/test/work.2.admin.lock"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        (void)unlink(files[i]);
    return rmdir("var/test") != 0 || rmdir("var") != 0 || chdir("/") != 0 || rmdir(directory) != 0;
}

static bool start(struct weir_process *process, enum weir_role_kind role, int *status, ...)
{
    char *argv[16] = {(char *)(uintptr_t) "program"};
    int argc = 1;
    va_list arguments;
    va_start(arguments, status);
    for (char *argument; (argument = va_arg(arguments, char *)) != NULL;)
        argv[argc++] = argument;
    va_end(arguments);
    optind = 0; /* getopt starts anew */
    *status = -1;
    return weir_process_start(process, role, argc, argv, status);
}

static void bad_command_lines_end_with_64_and_bad_topologies_with_78(void **state)
{
    (void)state;
    struct weir_process process;
    int status;
    const enum weir_role_kind router = WEIR_ROLE_ROUTER;
    assert_false(start(&process, router, &status, NULL));
    assert_int_equal(status, EX_USAGE);
    assert_false(start(&process, router, &status, "--node", "hub", NULL));
    assert_int_equal(status, EX_USAGE);
    assert_false(start(&process, router, &status, "--unknown", NULL));
    assert_int_equal(status, EX_USAGE);
    assert_false(start(&process, router, &status, "-t", "test.yaml", "-n", "hub", "more", NULL));
    assert_int_equal(status, EX_USAGE);
    static const char *const instances[] = {"0", "-1", "x", "", "99999999999"};
    for (size_t i = 0; i < sizeof instances / sizeof *instances; i++) {
        assert_false(start(&process, router, &status, "-t", "test.yaml", "-n", "hub", "-i",
                           instances[i], NULL));
        assert_int_equal(status, EX_USAGE);
    }
    assert_false(start(&process, router, &status, "--help", NULL));
    assert_int_equal(status, 0);
    assert_false(start(&process, router, &status, "--version", NULL));
    assert_int_equal(status, 0);

    assert_false(start(&process, router, &status, "-t", "test.yaml", "-n", "nobody", NULL));
    assert_int_equal(status, EX_CONFIG);
    assert_false(start(&process, router, &status, "-t", "test.yaml", "-n", "work", NULL));
    assert_int_equal(status, EX_CONFIG);
    assert_false(start(&process, router, &status, "-t", "test.yaml", "-n", "hub", "-i", "2", NULL));
    assert_int_equal(status, EX_CONFIG);
    assert_false(start(&process, router, &status, "-t", "missing.yaml", "-n", "hub", NULL));
    assert_int_equal(status, EX_CONFIG);
    write_file("bad.yaml", "topology: [\n");
    assert_false(start(&process, router, &status, "-t", "bad.yaml", "-n", "hub", NULL));
    assert_int_equal(status, EX_CONFIG);
    assert_int_not_equal(access("var", F_OK), 0); /* nothing was started */
}

struct toy {
    struct weir_role role;
    const struct weir_host *host;
    bool destroyed;
};

static void check_and_stop(struct weir_role *role, struct weir_event *event)
{
    struct toy *toy = (struct toy *)role;
    if (event->type != WEIR_EVENT_START)
        return;
    FILE *file = fopen("var/test/hub.1.pid", "r");
    char line[32];
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(strtol(line, NULL, 10), getpid());
    toy->host->stopped(toy->host->self, 5);
}

static void note_destroyed(struct weir_role *role)
{
    ((struct toy *)role)->destroyed = true;
}

static void a_node_is_wired_runs_and_leaves_no_pid_file(void **state)
{
    (void)state;
    struct weir_process process;
    int status;
    setenv("WEIR_TOPOLOGY", "test.yaml", 1);
    assert_true(start(&process, WEIR_ROLE_ROUTER, &status, "--node", "hub", NULL));
    assert_string_equal(process.label, "hub");
    assert_string_equal(process.node->name, "hub");
    struct weir_error error;
    assert_int_equal(weir_process_wire(&process, &error), 0);
    assert_string_equal(weir_reactor_endpoint(process.reactor, WEIR_PORT_DISPATCH), "ipc://hub");
    assert_string_equal(weir_reactor_endpoint(process.reactor, WEIR_PORT_ADMIN), process.admin);
    assert_string_equal(weir_reactor_endpoint(process.reactor, WEIR_PORT_FROM), "ipc://dispatch");
    assert_null(weir_reactor_endpoint(process.reactor, WEIR_PORT_SUBMIT));
    struct toy toy = {.role = {check_and_stop, note_destroyed},
                      .host = weir_reactor_host(process.reactor)};
    struct weir_role *role = &toy.role;
    assert_int_equal(weir_process_run(&process, &role), 5);
    assert_true(toy.destroyed);
    assert_null(role);
    weir_process_end(&process);
    assert_int_not_equal(access("var/test/hub.1.pid", F_OK), 0);
    unsetenv("WEIR_TOPOLOGY");
}

static void a_second_process_of_a_node_is_refused(void **state)
{
    (void)state;
    struct weir_process first, second;
    struct weir_error error;
    int status;
    assert_true(start(&first, WEIR_ROLE_WORKER, &status, "--topology=test.yaml", "--node=work",
                      "--instance=2", NULL));
    assert_string_equal(first.label, "work.2");
    assert_int_equal(weir_process_wire(&first, &error), 0);
    assert_true(start(&second, WEIR_ROLE_WORKER, &status, "--topology=test.yaml", "--node=work",
                      "--instance=2", NULL));
    assert_int_equal(weir_process_wire(&second, &error), WEIR_ELOCKED);
    assert_int_equal(weir_process_fail(&error), EX_TEMPFAIL);
    weir_process_end(&second);
    weir_process_end(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_command_lines_end_with_64_and_bad_topologies_with_78),
        cmocka_unit_test(a_node_is_wired_runs_and_leaves_no_pid_file),
        cmocka_unit_test(a_second_process_of_a_node_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up_directory, remove_directory);
}
