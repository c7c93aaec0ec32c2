/* Bugs of the executors, each with its number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <executor/executor.h>
#include <job_fixture.h>

static const char script[] = "import sys, json, os\n"
                             "for line in sys.stdin:\n"
                             "    if json.loads(line)['payload'] == 'die': os._exit(3)\n";

static struct weir_executor *serve(void)
{
    char python[] = "python3", flag[] = "-c";
    char *argv[] = {python, flag, (char *)(uintptr_t)script, NULL};
    struct weir_handler_program handler = {.argv = argv};
    struct weir_executor *executor;
    struct weir_error error;
    if (weir_serve_executor_new(&handler, 1, &executor, &error) != 0)
        fail_msg("%s", error.text);
    return executor;
}

/* 1: when a coprocess ended, what else it had in work was asked of the next one, under at-most-once
 * delivery, too. It may have been handled. */
static void a_coprocess_is_not_asked_again_at_most_once(void **state)
{
    (void)state;
    struct weir_executor *executor = serve();
    static const char *const payloads[] = {"a", "b", "die"};
    for (uint64_t id = 1; id <= 3; id++) {
        struct weir_job job = job_of_text(id, payloads[id - 1]);
        job.once = true;
        executor->run(executor, &job);
    }
    for (uint64_t id = 1; id <= 3; id++)
        expect_end(executor, id, WEIR_RETRY, NULL, "the coprocess ended: exit status 3");
    weir_executor_destroy(&executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_coprocess_is_not_asked_again_at_most_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
